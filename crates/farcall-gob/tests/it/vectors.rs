//! The vectors: streams that Go wrote, and what Go makes of them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use farcall_gob::{Decoder, Encoder, Error, Limits, Next};
use flate2::read::GzDecoder;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::gotype::{Defs, GoType, Receiver, set_receivers};
use crate::judge::Judge;

/// The files that [`records`] reads.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name)
}

/// All bytes of a file, unpacked.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let file = File::open(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut bytes = vec![];
    if name.ends_with(".gz") {
        GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    } else {
        BufReader::new(file).read_to_end(&mut bytes).unwrap();
    }
    bytes
}

/// One line of a file of vectors. Its parts are kept as text, in which members have an order and depth costs nothing.
pub(crate) struct Record {
    pub(crate) name: String,
    parts: HashMap<String, Box<RawValue>>,
}

pub(crate) fn records(name: &str) -> Vec<Record> {
    let lines = bytes(name).lines().collect::<Result<Vec<_>, _>>().unwrap();
    let record = |line: &String| {
        let parts: HashMap<String, Box<RawValue>> = serde_json::from_str(line).unwrap();
        Record {
            name: serde_json::from_str(parts["name"].get()).unwrap(),
            parts,
        }
    };
    lines.iter().map(record).collect()
}

impl Record {
    pub(crate) fn json(&self, key: &str) -> Json {
        self.parts
            .get(key)
            .map_or(Json::Null, |part| serde_json::from_str(part.get()).unwrap())
    }

    pub(crate) fn stream(&self) -> Vec<u8> {
        match self.json("stream_file").as_str() {
            Some(file) => bytes(file),
            None => unhex(self.json("stream_hex").as_str().unwrap_or_default()),
        }
    }

    /// The definitions of all types with names: interfaces may hold others than the record's own.
    pub(crate) fn defs(&self) -> Defs {
        let mut defs = Defs::of(&serde_json::from_slice(&bytes("types.json")).unwrap());
        defs.0.extend(Defs::of(&self.json("defs")).0);
        defs
    }

    pub(crate) fn types(&self) -> Vec<GoType> {
        self.json("schema")
            .as_array()
            .unwrap()
            .iter()
            .map(GoType::of)
            .collect()
    }

    /// Which of the types each value has.
    pub(crate) fn value_types(&self) -> Vec<usize> {
        serde_json::from_str(self.parts["value_schema"].get()).unwrap()
    }

    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        let texts: Vec<Box<RawValue>> = serde_json::from_str(self.parts[key].get()).unwrap();
        texts.iter().map(|text| plain(text.get())).collect()
    }

    pub(crate) fn part<T: serde::de::DeserializeOwned>(&self, key: &str) -> T {
        serde_json::from_str(self.parts[key].get()).unwrap()
    }
}

/// Go writes some letters as numbers that the canonical form has as they are.
pub(crate) fn plain(text: &str) -> String {
    let letters = [
        ("\\u003c", "<"),
        ("\\u003e", ">"),
        ("\\u0026", "&"),
        ("\\u2028", "\u{2028}"),
        ("\\u2029", "\u{2029}"),
    ];
    letters
        .iter()
        .fold(text.to_owned(), |text, (number, letter)| {
            text.replace(number, letter)
        })
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Walks over the values of a stream.
pub(crate) fn each_value(
    stream: &[u8],
    limits: Limits,
    mut value: impl FnMut(&mut Decoder, &[u8]),
) -> Result<usize, Error> {
    let mut decoder = Decoder::new(limits);
    let mut at = 0;
    loop {
        match decoder.next(&stream[at..])? {
            Next::Value { consumed, raw } => {
                at += consumed;
                value(&mut decoder, raw);
            }
            Next::More { consumed, .. } => return Ok(at + consumed),
        }
    }
}

/// What a reader without types sees.
fn wire_views(record: &Record, limits: &Limits) -> Vec<String> {
    let stream = record.stream();
    let mut views = vec![];
    let end = each_value(&stream, limits.clone(), |decoder, raw| {
        let value = decoder
            .decode_value(raw)
            .unwrap_or_else(|e| panic!("{}: {e}", record.name));
        views.push(value.to_canonical_json());
    });
    assert_eq!(
        end.unwrap_or_else(|e| panic!("{}: {e}", record.name)),
        stream.len(),
        "{}",
        record.name
    );
    views
}

/// Go's view of a value, by the n-th of the types that are set.
pub(crate) fn go_view(n: usize, decoder: &mut Decoder, raw: &[u8]) -> Result<String, Error> {
    macro_rules! receive {
        ($($n:literal)*) => {
            match n {
                $($n => decoder.decode::<Receiver<$n>>(raw).map(|receiver| receiver.0),)*
                n => panic!("there is no receiver {n}"),
            }
        };
    }
    receive!(0 1 2 3 4 5 6 7)
}

#[test]
fn values_without_types_are_as_they_are_on_the_wire() {
    for file in ["hand.jsonl", "random.jsonl.gz"] {
        for record in records(file) {
            assert_eq!(
                wire_views(&record, &Limits::default()),
                record.texts("wire"),
                "{}",
                record.name
            );
        }
    }
}

#[test]
fn typed_values_are_what_go_programs_hold() {
    for file in ["hand.jsonl", "random.jsonl.gz"] {
        for record in records(file) {
            set_receivers(record.types(), &record.defs());
            let (order, mut views) = (record.value_types(), vec![]);
            each_value(&record.stream(), Limits::default(), |decoder, raw| {
                let view = go_view(order[views.len()], decoder, raw);
                views.push(view.unwrap_or_else(|e| panic!("{}: {e}", record.name)));
            })
            .unwrap();
            assert_eq!(views, record.texts("values"), "{}", record.name);
        }
    }
}

/// What happened to one value.
#[derive(serde::Deserialize)]
struct Outcome {
    ok: bool,
    value: Option<Box<RawValue>>,
    error: Option<String>,
}

#[test]
fn types_that_differ_go_together_as_in_go() {
    for record in records("cross.jsonl") {
        // Rust has no embedded structs, whose fields Go also finds by their own names.
        if record.name == "promoted" {
            continue;
        }
        let recv = record.json("recv_schema");
        let each: Vec<Json> = match recv.get("each") {
            Some(each) => each.as_array().unwrap().clone(),
            None => vec![recv],
        };
        // Null stands for a value that is passed over.
        set_receivers(
            each.iter()
                .filter(|ty| !ty.is_null())
                .map(GoType::of)
                .collect(),
            &record.defs(),
        );
        let receivers: Vec<_> = each
            .iter()
            .scan(0, |next, ty| {
                Some((!ty.is_null()).then(|| std::mem::replace(next, *next + 1)))
            })
            .collect();
        let outcomes: Vec<Outcome> = record.part("outcomes");
        let mut count = 0;
        each_value(&record.stream(), Limits::default(), |decoder, raw| {
            let outcome = &outcomes[count];
            let receiver = receivers[count.min(receivers.len() - 1)];
            count += 1;
            let Some(receiver) = receiver else {
                decoder.decode::<()>(raw).unwrap();
                return;
            };
            let view = go_view(receiver, decoder, raw);
            let panics = outcome
                .error
                .as_ref()
                .is_some_and(|e| e.starts_with("panic"));
            // Go loses its way where it skips over types that are new; see golang/go#34879.
            let better = record.name.contains("nested-new-type");
            match view {
                Ok(view) if outcome.ok => assert_eq!(
                    view,
                    plain(outcome.value.as_ref().unwrap().get()),
                    "{}",
                    record.name
                ),
                Err(error) if outcome.ok => panic!("{}: {error}", record.name),
                Ok(view) => assert!(
                    panics || better,
                    "{}: {view} instead of {:?}",
                    record.name,
                    outcome.error
                ),
                Err(error) => assert!(error.to_string().starts_with("gob: "), "{error}"),
            }
        })
        .unwrap();
        assert_eq!(count, outcomes.len(), "{}", record.name);
    }
}

#[test]
fn large_values_are_read_whole() {
    for record in records("big.jsonl") {
        let views = wire_views(&record, &Limits::default());
        let digests: Vec<_> = views.iter().map(|view| digest(view)).collect();
        assert_eq!(
            digests,
            record.part::<Vec<String>>("wire_sha256"),
            "{}",
            record.name
        );
    }
}

#[test]
fn large_values_are_what_go_programs_hold() {
    // The tests' own receivers take a lot of stack in slow builds, and look up keys one by one.
    let limits = Limits {
        stack: 48 << 20,
        ..Limits::trusting()
    };
    with_stack(64 << 20, || {
        for record in records("big.jsonl")
            .iter()
            .filter(|record| record.name != "map-50k")
        {
            set_receivers(record.types(), &record.defs());
            let mut digests = vec![];
            each_value(&record.stream(), limits.clone(), |decoder, raw| {
                digests.push(digest(&go_view(0, decoder, raw).unwrap()));
            })
            .unwrap();
            assert_eq!(
                digests,
                record.part::<Vec<String>>("values_sha256"),
                "{}",
                record.name
            );
        }
    });
}

/// Runs on a thread with a larger stack.
fn with_stack(bytes: usize, run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(bytes)
            .spawn_scoped(scope, run)
            .unwrap()
            .join()
            .unwrap();
    });
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What the judge is asked, and what it should say.
pub(crate) fn question(record: &Record) -> (String, Vec<usize>) {
    (
        record.parts["schema"].get().to_owned(),
        record.value_types(),
    )
}

#[test]
fn go_reads_what_is_written_again() {
    let mut judge = Judge::start();
    for file in ["hand.jsonl", "random.jsonl.gz"] {
        for record in records(file) {
            let mut stream = vec![];
            let mut encoder = Encoder::new();
            each_value(&record.stream(), Limits::default(), |decoder, raw| {
                let (value, schema) = (
                    decoder.decode_value(raw).unwrap(),
                    decoder.schema_of_value(raw).unwrap(),
                );
                encoder
                    .encode_value(&value, &schema, &mut stream)
                    .unwrap_or_else(|e| panic!("{}: {e}", record.name));
            })
            .unwrap();
            let (schema, value_types) = question(&record);
            let verdict = judge.judge(&schema, &value_types, &stream);
            assert!(verdict.ok, "{}: {}", record.name, verdict.error);
            assert_eq!(verdict.values(), record.texts("values"), "{}", record.name);
            assert_eq!(verdict.wire(), record.texts("wire"), "{}", record.name);
        }
    }
}

/// What Go did with a broken stream.
#[derive(serde::Deserialize)]
struct Run {
    #[serde(default)]
    outcomes: Vec<Outcome>,
}

/// What we do with one: each value's view, or the error; and whether the stream ended in the middle of something.
fn run(stream: &[u8], skip: bool, limits: &Limits) -> Vec<Result<String, Error>> {
    let mut outcomes = vec![];
    let end = each_value(stream, limits.clone(), |decoder, raw| {
        outcomes.push(if skip {
            decoder.decode::<()>(raw).map(|()| String::new())
        } else {
            go_view(0, decoder, raw)
        });
        // What is said of a value without types must not panic either.
        let _ = decoder
            .schema_of_value(raw)
            .and_then(|_| decoder.decode_value(raw));
    });
    match end {
        Ok(end) if end == stream.len() => {}
        Ok(_) => outcomes.push(Err(Error::refused("the stream is cut off"))),
        Err(error) => outcomes.push(Err(error)),
    }
    outcomes
}

#[test]
fn broken_streams_are_refused_where_go_refuses_them() {
    // The tests' own receivers take a lot of stack in slow builds.
    with_stack(256 << 20, judge_broken_streams);
}

fn judge_broken_streams() {
    let limits = Limits {
        stack: 240 << 20,
        ..Limits::default()
    };
    for record in records("malformed.jsonl.gz") {
        set_receivers(
            vec![GoType::of(&record.json("recv_schema"))],
            &record.defs(),
        );
        let stream = record.stream();
        run(&stream, true, &limits);
        let ours = run(&stream, false, &limits);
        let go = record.part::<Run>("typed").outcomes;
        let verdict: String = record.part("verdict");
        // Of long values only a digest is known, or only that they came.
        let same = |ours: &Result<String, Error>, go: Option<&Outcome>| match (ours, go) {
            (Ok(ours), Some(go)) if go.ok => go.value.as_ref().is_none_or(|go| {
                let go = plain(go.get());
                *ours == go || go.contains(&digest(ours))
            }),
            _ => false,
        };
        let report = || format!("{} ({verdict}): {ours:.400?}", record.name);
        match &*verdict {
            "value" => {
                assert_eq!(ours.len(), go.len(), "{}", report());
                assert!(
                    ours.iter().zip(&go).all(|(ours, go)| same(ours, Some(go))),
                    "{}",
                    report()
                );
            }
            "error" => {
                // A cut between messages is an end like any other; Go calls it an error if values were to follow.
                let cut = go
                    .get(ours.len())
                    .and_then(|go| go.error.as_ref())
                    .is_some_and(|e| e.contains("EOF"));
                let failed = ours
                    .iter()
                    .position(Result::is_err)
                    .or(cut.then_some(ours.len()));
                let failed = failed.unwrap_or_else(|| panic!("nothing fails: {}", report()));
                assert!(
                    ours.iter()
                        .zip(&go)
                        .take(failed)
                        .all(|(ours, go)| same(ours, Some(go))),
                    "{}",
                    report()
                );
            }
            "lenient" => {
                let whole = ours.iter().take_while(|ours| ours.is_ok());
                assert!(
                    whole.enumerate().all(|(ix, ours)| same(ours, go.get(ix))),
                    "{}",
                    report()
                );
            }
            _ => assert_eq!(verdict, "unsafe"),
        }
    }
}
