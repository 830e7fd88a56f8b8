//! Writes the seeds of all corpora from the vectors in `farcall-gob` and from what the writers of `farcall-wire`
//! write: `cargo run --example seed`. The corpora themselves are not kept in the repository.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fs, io};

use farcall_wire::{
    Body, Codec, Features, FrameWriter, Framing, GO_RPC_CONNECTED, GO_RPC_PATH, Hello, Side,
    TINYRPC_CONNECTED, TINYRPC_PATH, connect_request,
};

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let streams = streams(&here.join("../crates/farcall-gob/tests/vectors"))?;
    let untyped = Corpus::new(here, "gob_untyped")?;
    let typed = Corpus::new(here, "gob_typed")?;
    let serde = Corpus::new(here, "gob_serde")?;
    let foreign = Corpus::new(here, "gob_foreign")?;
    let chunks = Corpus::new(here, "gob_chunks")?;
    for (name, stream) in &streams {
        untyped.add(name, stream)?;
        typed.add(name, stream)?;
        serde.add(name, stream)?;
        foreign.add(name, stream)?;
        chunks.add(name, &[&[name.len() as u8], &stream[..]].concat())?;
    }
    let types = Corpus::new(here, "gob_types")?;
    for (number, text) in GO_TYPES.iter().enumerate() {
        types.add(&number.to_string(), text.as_bytes())?;
    }
    let sniff = Corpus::new(here, "wire_sniff")?;
    let connect = Corpus::new(here, "wire_connect")?;
    let hello = Corpus::new(here, "wire_hello")?;
    let frames = Corpus::new(here, "wire_frames")?;
    for (name, head) in [
        ("go", connect_request(GO_RPC_PATH)),
        ("tiny", connect_request(TINYRPC_PATH)),
        ("go-connected", GO_RPC_CONNECTED.to_vec()),
        ("tiny-connected", TINYRPC_CONNECTED.to_vec()),
        (
            "http11",
            b"CONNECT /_goRPC_ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
    ] {
        connect.add(name, &[&[0], &head[..]].concat())?;
        sniff.add(name, &[&[0], &head[..]].concat())?;
    }
    for (name, features) in [("plain", Features::default()), ("all", Features::ALL)] {
        for codec in Codec::ALL {
            let mut out = vec![0];
            Hello::new(codec, 10_000_000_000, 5, features).write(&mut out);
            hello.add(&format!("{name}-{codec}"), &out)?;
            sniff.add(&format!("{name}-{codec}"), &out)?;
        }
    }
    for (name, text) in [
        ("one", r#"{"method":"A.B","params":[[1,2]],"id":3}"#),
        ("one-reply", r#"{"id":3,"result":[1,2],"error":null}"#),
        (
            "two",
            r#"{"jsonrpc":"2.0","method":"A.B","params":{"x":1},"id":"q"}"#,
        ),
        ("two-reply", r#"{"jsonrpc":"2.0","result":5,"id":4}"#),
        (
            "two-error",
            r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"no","data":{"code":3}},"id":4}"#,
        ),
        (
            "batch",
            r#"[{"jsonrpc":"2.0","method":"A.B","params":[1],"id":1},{"jsonrpc":"2.0","method":"C.D"},5]"#,
        ),
    ] {
        for choice in [1, 1 + 6 * 22] {
            let seed = [&[choice, 0], text.as_bytes(), b"\n"].concat();
            frames.add(&format!("json-rpc-{name}-{choice}"), &seed)?;
        }
        sniff.add(
            &format!("json-rpc-{name}"),
            &[&[0], text.as_bytes()].concat(),
        )?;
    }
    for (choice, framing) in [
        (0, Framing::NetRpc),
        (2, Framing::Farcall(Codec::Gob)),
        (3, Framing::Farcall(Codec::Json)),
        (4, Framing::Farcall(Codec::MessagePack)),
        (5, Framing::Farcall(Codec::Postcard)),
    ] {
        for (side, choice) in [(Side::Client, choice), (Side::Server, choice + 6 * 22)] {
            let bytes = conversation(framing, side)?;
            frames.add(&format!("{choice}"), &[&[choice, 0], &bytes[..]].concat())?;
            sniff.add(&format!("{choice}"), &[&[0], &bytes[..]].concat())?;
        }
    }
    Ok(())
}

const GO_TYPES: &[&str] = &[
    "map[string][]byte",
    "struct{X, Y int; Label string `json:\"l\"`; *Point}",
    "type Node struct {\n\tValue int\n\tNext  *Node\n}\n",
    "type A []B\ntype B map[string]A // in a circle",
    "[4][2]complex128",
    "type T = time.Time\ntype U struct{ gob.GobEncoder }",
    "interface{ String() string }",
    "func(int) error",
    "type (\n\tX any\n\tY chan<- bool\n)",
];

/// Some messages with all that headers can hold, and bodies of several types.
fn conversation(framing: Framing, side: Side) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut writer = FrameWriter::new(framing, side);
    let mut out = vec![];
    let ints = vec![1_i64, -300];
    let text = "text".to_owned();
    let bodies = [Body::from(&ints), Body::from(&text), Body::from(&())];
    for (seq, body) in (0..).zip(bodies) {
        let header = writer.header();
        header.service_method.push_str("Arith.Multiply");
        header.seq = seq;
        if seq == 1 {
            header.error.push_str("divide by zero");
            header.code = 3;
            header.timeout_ns = 1_000_000;
            header.load.in_flight = 7;
            header.load.utilisation = 99;
            header.metadata.push(("trace".into(), "0af7".into()));
        }
        writer.write(body, &mut out)?;
    }
    Ok(out)
}

/// A stream and its name.
type Named = (String, Vec<u8>);

/// All streams of the vectors that are short enough to be changed at random with profit, by name.
fn streams(vectors: &Path) -> Result<Vec<Named>, Box<dyn Error>> {
    const LEN_MAX: usize = 8_000;
    let mut streams = vec![];
    for file in [
        "hand.jsonl",
        "cross.jsonl",
        "random.jsonl.gz",
        "malformed.jsonl.gz",
    ] {
        let bytes = fs::read(vectors.join(file))?;
        let text = if file.ends_with(".gz") {
            let mut text = String::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
            text
        } else {
            String::from_utf8(bytes)?
        };
        for line in text.lines() {
            let record: serde_json::Value = serde_json::from_str(line)?;
            let Some(hex) = record["stream_hex"].as_str() else {
                continue;
            };
            if hex.len() <= 2 * LEN_MAX {
                let name = format!("{file}-{}", record["name"].as_str().unwrap_or_default());
                streams.push((name.replace(['/', '.'], "-"), unhex(hex)?));
            }
        }
    }
    Ok(streams)
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let pairs = (0..text.len()).step_by(2);
    Ok(pairs
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16))
        .collect::<Result<_, _>>()?)
}

struct Corpus(PathBuf);

impl Corpus {
    fn new(here: &Path, target: &str) -> io::Result<Self> {
        let folder = here.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn add(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.0.join(name), bytes)
    }
}
