//! Gob streams on the command line, against streams that Go wrote.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{Ended, Farcall, farcall, json_of};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../farcall-gob/tests/vectors")
}

fn bytes(file: &str) -> Vec<u8> {
    let bytes = fs::read(vectors().join(file)).unwrap();
    if !file.ends_with(".gz") {
        return bytes;
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    unpacked
}

#[derive(serde::Deserialize)]
struct Record {
    name: String,
    stream_hex: Option<String>,
    stream_file: Option<String>,
    #[serde(default)]
    wire: Vec<Box<RawValue>>,
    #[serde(default)]
    wire_sha256: Vec<String>,
}

fn records(file: &str) -> Vec<Record> {
    let text = String::from_utf8(bytes(file)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

impl Record {
    fn stream(&self) -> Vec<u8> {
        match (&self.stream_hex, &self.stream_file) {
            (Some(hex), _) => unhex(hex),
            (None, Some(file)) => bytes(file),
            (None, None) => panic!("{} has no stream", self.name),
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// The canonical text: Go writes some letters as numbers that it has as they are.
fn canonical(text: &str) -> String {
    let letters = [
        ("\\u003c", "<"),
        ("\\u003e", ">"),
        ("\\u0026", "&"),
        ("\\u2028", "\u{2028}"),
        ("\\u2029", "\u{2029}"),
    ];
    let replace = |text: String, (number, letter): (&str, &str)| text.replace(number, letter);
    letters.into_iter().fold(text.to_owned(), replace)
}

/// A stream in a file.
struct Stored(TempDir, String);

fn stored(stream: &[u8]) -> Stored {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stream.gob");
    fs::write(&file, stream).unwrap();
    Stored(directory, file.to_str().unwrap().to_owned())
}

fn look(command: &[&str], stream: &[u8]) -> Ended {
    let Stored(_directory, file) = &stored(stream);
    let (commands, flags) = command.split_at(1);
    farcall(&[&["gob"], commands, &[file], flags].concat())
}

/// A stream of Go's with more than one value.
fn some_values() -> Vec<u8> {
    let hand = records("hand.jsonl");
    let record = hand.iter().find(|record| record.wire.len() > 1).unwrap();
    record.stream()
}

#[test]
fn every_stream_of_go_decodes_to_its_canonical_lines() {
    for file in ["hand.jsonl", "random.jsonl.gz"] {
        for record in records(file) {
            let ended = look(&["decode"], &record.stream());
            assert_eq!(
                (ended.code, &*ended.stderr),
                (Some(0), ""),
                "{}",
                record.name
            );
            let expected: Vec<_> = record
                .wire
                .iter()
                .map(|text| canonical(text.get()))
                .collect();
            assert_eq!(
                ended.stdout.lines().collect::<Vec<_>>(),
                expected,
                "{}",
                record.name
            );
        }
    }
}

#[test]
fn large_and_deep_streams_decode_to_the_same_text_as_in_go() {
    for record in records("big.jsonl") {
        let ended = look(&["decode"], &record.stream());
        assert_eq!(ended.code, Some(0), "{}: {}", record.name, ended.stderr);
        let digest = |line: &str| {
            let digest = Sha256::digest(line.as_bytes());
            digest
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let digests: Vec<_> = ended.stdout.lines().map(digest).collect();
        assert_eq!(digests, record.wire_sha256, "{}", record.name);
    }
}

#[test]
fn every_stream_of_go_has_types_to_print() {
    for record in records("hand.jsonl")
        .into_iter()
        .chain(records("random.jsonl.gz").into_iter().take(60))
    {
        for flags in [&["types"][..], &["types", "--rust"], &["types", "--json"]] {
            let ended = look(flags, &record.stream());
            assert_eq!(
                (ended.code, &*ended.stderr),
                (Some(0), ""),
                "{}",
                record.name
            );
            assert_eq!(
                ended.stdout.is_empty(),
                record.wire.is_empty(),
                "{}",
                record.name
            );
        }
    }
}

#[test]
fn types_are_definitions_in_either_language_or_json() {
    // As Go writes struct Point{X, Y int} and Point{1, 2}.
    let point = "1f ff 81 03 01 01 05 50 6f 69 6e 74 01 ff 82 00 01 02 01 01 58 01 04 00 01 01 59 01 04 00 00 00";
    let point = unhex(&point.replace(' ', ""));
    let value = unhex("07ff820102010400");
    let stream = [point, value].concat();
    let ended = look(&["types"], &stream);
    assert_eq!(
        ended.stdout, "type Point struct {\n\tX int\n\tY int\n}\n",
        "{ended:?}"
    );
    let ended = look(&["types", "--go"], &stream);
    assert_eq!(ended.stdout, "type Point struct {\n\tX int\n\tY int\n}\n");
    let ended = look(&["types", "--rust"], &stream);
    let rust = "#[derive(farcall_gob::Gob)]\nstruct Point {\n    x: i64,\n    y: i64,\n}\n";
    assert_eq!(ended.stdout, rust);
    let ended = look(&["types", "--json"], &stream);
    let expected = json!([{ "name": "Point", "type": { "struct": [["X", "int"], ["Y", "int"]] } }]);
    assert_eq!(json_of(&ended), expected);
    assert_eq!(look(&["decode"], &stream).stdout, "{\"X\":1,\"Y\":2}\n");
}

#[test]
fn types_inside_interfaces_are_told_too() {
    let hand = records("hand.jsonl");
    let holds = |record: &&Record| {
        record
            .wire
            .iter()
            .any(|text| text.get().contains("\"main.Point\""))
    };
    let record = hand
        .iter()
        .find(holds)
        .expect("an interface that holds a Point");
    let ended = look(&["types"], &record.stream());
    assert!(
        ended
            .stdout
            .contains("type Point struct {\n\tX int\n\tY int\n}\n"),
        "{ended:?}"
    );
}

#[test]
fn a_broken_stream_gives_the_values_before_the_fault_and_its_place() {
    let whole = some_values();
    let lines = look(&["decode"], &whole).stdout;
    for (stream, at, says) in [
        // Where the next message should begin there is no number.
        ([&whole[..], &[0x80]].concat(), whole.len(), "0x80"),
        // A value of a type that was never defined.
        (
            [&whole[..], &[3, 0x7e, 0, 2]].concat(),
            whole.len(),
            "type 63",
        ),
        // It ends in the middle of one.
        (
            [&whole[..], &[9, 1, 2]].concat(),
            whole.len() + 3,
            "at least 7 more bytes",
        ),
    ] {
        let ended = look(&["decode"], &stream);
        assert_eq!((ended.code, &ended.stdout), (Some(1), &lines), "{ended:?}");
        assert!(ended.stderr.contains(says), "{ended:?}");
        let offset = ended.stderr.rsplit_once("at byte ").unwrap().1;
        let offset: usize = offset.trim_end_matches([')', '\n']).parse().unwrap();
        assert!((at..=stream.len()).contains(&offset), "{at}: {ended:?}");
        assert_eq!(look(&["types"], &stream).code, Some(1));
    }
}

#[test]
fn what_is_no_stream_is_an_error_and_nothing_else() {
    for stream in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xf7; 64], &[0xf8; 9]] {
        let ended = look(&["decode"], stream);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.starts_with("farcall: gob: "), "{ended:?}");
    }
    let ended = look(&["decode"], b"");
    assert_eq!(
        (ended.code, &*ended.stdout, &*ended.stderr),
        (Some(0), "", "")
    );
    let ended = farcall(&["gob", "decode", "/nowhere/stream.gob"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("cannot open /nowhere/stream.gob"),
        "{ended:?}"
    );
}

#[test]
fn values_are_printed_as_they_come_in() {
    let whole = some_values();
    let lines = look(&["decode"], &whole).stdout;
    let mut decoding = Farcall::start_with(&["gob", "decode"], Stdio::piped());
    let mut stdin = decoding.stdin();
    stdin.write_all(&whole).unwrap();
    stdin.flush().unwrap();
    // The pipe is still open.
    for line in lines.lines() {
        assert_eq!(decoding.line(), line);
    }
    drop(stdin);
    assert_eq!(decoding.end().code, Some(0));
}
