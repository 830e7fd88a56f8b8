//! Conversations of Go's net/rpc as they were recorded, played to the farcall server and to the farcall client. The
//! form of the records is told in `vectors/README.md`.

use std::collections::HashMap;

use farcall::{Address, Client, Error, Gob, Reached, Result, Server, message, service};
use farcall_gob as gob;
use farcall_interop::services::{Empty, Operands, Point, Quotient};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{WITHIN, place};

/// Values of interfaces: those whose names the Go program registered, and any other.
#[derive(Clone, Debug, Gob, Serialize, Deserialize)]
#[gob(as = "interface")]
#[serde(untagged)]
enum Anything {
    Nil,
    #[gob(rename = "main.Point")]
    Point(Point),
    #[gob(other)]
    #[serde(skip)]
    Other(gob::Value),
}

#[message]
struct HasIface {
    v: Anything,
}

/// The service that was recorded.
#[service]
trait Arith {
    async fn multiply(&self, args: Operands) -> Result<i64>;
    async fn divide(&self, args: Operands) -> Result<Quotient>;
    async fn empty(&self, args: Operands) -> Result<Empty>;
    async fn str(&self, text: String) -> Result<String>;
    async fn bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;
    async fn map(&self, map: HashMap<String, i64>) -> Result<HashMap<String, i64>>;
    async fn slice(&self, slice: Vec<i64>) -> Result<Vec<i64>>;
    async fn nil_map(&self, number: i64) -> Result<HashMap<String, i64>>;
    async fn any(&self, args: HasIface) -> Result<Anything>;
}

struct Recorded;

impl Arith for Recorded {
    async fn multiply(&self, Operands { a, b }: Operands) -> Result<i64> {
        Ok(a * b)
    }

    async fn divide(&self, Operands { a, b }: Operands) -> Result<Quotient> {
        match b {
            0 => Err("divide by zero".into()),
            b => Ok(Quotient {
                quo: a / b,
                rem: a % b,
            }),
        }
    }

    async fn empty(&self, _: Operands) -> Result<Empty> {
        Ok(Empty {})
    }

    async fn str(&self, text: String) -> Result<String> {
        Ok(text.repeat(2))
    }

    async fn bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes.repeat(2))
    }

    async fn map(&self, map: HashMap<String, i64>) -> Result<HashMap<String, i64>> {
        Ok(map
            .into_iter()
            .map(|(key, value)| (key, value + 1))
            .collect())
    }

    async fn slice(&self, slice: Vec<i64>) -> Result<Vec<i64>> {
        Ok(slice)
    }

    async fn nil_map(&self, _: i64) -> Result<HashMap<String, i64>> {
        Ok(HashMap::new())
    }

    async fn any(&self, args: HasIface) -> Result<Anything> {
        Ok(args.v)
    }
}

#[derive(Deserialize)]
struct Record {
    name: String,
    proto: Proto,
    steps: Vec<Step>,
    server_closed: bool,
    #[serde(default)]
    client: Vec<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Proto {
    Gob,
    Http,
    JsonRpc,
}

#[derive(Deserialize)]
struct Step {
    dir: String,
    hex: String,
    wire: Option<Vec<Value>>,
}

/// What became of a call of Go's client.
#[derive(Deserialize)]
struct Outcome {
    reply: i64,
    #[serde(default)]
    error: String,
    #[serde(default)]
    server_error: bool,
}

impl Step {
    fn bytes(&self) -> Vec<u8> {
        let digits = self.hex.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.map(byte).collect()
    }

    fn is_from_client(&self) -> bool {
        self.dir == "c2s"
    }
}

fn records() -> Vec<Record> {
    let lines = include_str!("../../vectors/rpc.jsonl").lines();
    let records: Vec<Record> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 37);
    records
}

/// One direction of a conversation, cut into values that can be compared.
struct Direction {
    proto: Proto,
    bytes: Vec<u8>,
    decoder: gob::Decoder,
    /// An HTTP head comes first.
    head: bool,
}

impl Direction {
    fn new(proto: Proto) -> Direction {
        Direction {
            proto,
            bytes: Vec::new(),
            decoder: gob::Decoder::new(gob::Limits::default()),
            head: proto == Proto::Http,
        }
    }

    /// The next whole value. Gob as canonical JSON, an HTTP head as its text.
    fn next(&mut self) -> Option<Value> {
        if self.head {
            let text = std::str::from_utf8(&self.bytes).unwrap();
            let len = ["\r\n\r\n", "\n\n"]
                .iter()
                .find_map(|end| Some(text.find(end)? + end.len()));
            let head: Vec<u8> = self.bytes.drain(..len?).collect();
            self.head = false;
            return Some(String::from_utf8(head).unwrap().into());
        }
        if self.proto == Proto::JsonRpc {
            let mut values = serde_json::Deserializer::from_slice(&self.bytes).into_iter::<Value>();
            let value = values.next().and_then(Result::ok)?;
            let len = values.byte_offset();
            self.bytes.drain(..len);
            return Some(value);
        }
        match self.decoder.next(&self.bytes).unwrap() {
            gob::Next::More { consumed, .. } => {
                self.bytes.drain(..consumed);
                None
            }
            gob::Next::Value { consumed, raw } => {
                let value = self.decoder.decode_value(raw).unwrap();
                let value = serde_json::from_str(&value.to_canonical_json()).unwrap();
                self.bytes.drain(..consumed);
                Some(value)
            }
        }
    }

    fn values(&mut self, bytes: &[u8]) -> Vec<Value> {
        self.bytes.extend_from_slice(bytes);
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Reads until there are as many values, or the peer ends its direction.
    async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<Value> {
        let mut values = self.values(&[]);
        while values.len() < count {
            let reading = timeout(WITHIN, stream.read_buf(&mut self.bytes)).await;
            if reading.expect("the peer should answer or end").unwrap_or(0) == 0 {
                break;
            }
            values.extend(self.values(&[]));
        }
        values
    }
}

/// What a step says, to be compared. `go` reads what Go's end wrote so far.
fn expected(go: &mut Direction, step: &Step, name: &str) -> Vec<Value> {
    let values = go.values(&step.bytes());
    if let Some(wire) = &step.wire {
        assert_eq!(&values, wire, "{name}: gob is read as the record has it");
    }
    values
}

/// The words for what cannot be decoded are each decoder's own. That they are a decoder's is not.
fn without_decoders_words(mut values: Vec<Value>) -> Vec<Value> {
    for value in &mut values {
        for member in ["Error", "error"] {
            let Some(Value::String(text)) = value.get_mut(member) else {
                continue;
            };
            if let Some(decoder) = ["gob: ", "json: "].iter().find(|d| text.starts_with(**d)) {
                *text = format!("{decoder}…");
            }
        }
    }
    values
}

/// The order of replies to what was sent together is free.
fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by_key(Value::to_string);
    values
}

async fn play_to_server(record: &Record, server: &Server) {
    let name = &record.name;
    let mut stream = TcpStream::connect(place(server)).await.unwrap();
    let mut go = Direction::new(record.proto);
    let mut farcall = Direction::new(record.proto);
    let steps = record.steps.iter().enumerate();
    for (at, step) in steps {
        if step.is_from_client() {
            stream.write_all(&step.bytes()).await.unwrap();
            continue;
        }
        // It may come only after the end.
        if at + 1 == record.steps.len() && !record.server_closed {
            stream.shutdown().await.unwrap();
        }
        let expected = expected(&mut go, step, name);
        let said = farcall.read(&mut stream, expected.len()).await;
        let (mut said, mut expected) = (
            without_decoders_words(said),
            without_decoders_words(expected),
        );
        if name.contains("pipelined") {
            (said, expected) = (sorted(said), sorted(expected));
        }
        if name == "http-other-path" {
            // The head's fields are the HTTP server's affair.
            let status =
                |values: Vec<Value>| values[0].as_str().unwrap()[.."HTTP/1.0 404".len()].to_owned();
            assert_eq!(status(said), status(expected), "{name}");
            continue;
        }
        assert_eq!(said, expected, "{name}, step {at}");
    }
    if !record.server_closed {
        // It may have been closed for writing above.
        let _ = stream.shutdown().await;
    }
    let mut rest = std::mem::take(&mut farcall.bytes);
    let ending = timeout(WITHIN, stream.read_to_end(&mut rest)).await;
    // A reset ends a connection, too.
    let _ =
        ending.unwrap_or_else(|_| panic!("{name}: the server should have ended the connection"));
    if name != "http-other-path" {
        assert!(
            rest.trim_ascii().is_empty(),
            "{name}: {}",
            rest.escape_ascii()
        );
    }
}

#[tokio::test]
async fn the_server_says_what_gos_server_said() {
    let server = Server::builder().register(Recorded.into_service());
    let server = server.bind("tcp@127.0.0.1:0").start().await.unwrap();
    let mut played = 0;
    for record in records().iter().filter(|record| record.client.is_empty()) {
        play_to_server(record, &server).await;
        played += 1;
    }
    assert_eq!(played, 25);
}

async fn play_to_client(record: &Record) {
    let name = &record.name;
    let address: Address = match record.proto {
        Proto::JsonRpc => "jsonrpc+tcp@recorded:1",
        _ => "netrpc+tcp@recorded:1",
    }
    .parse()
    .unwrap();
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let client = Client::builder(address).connect_on(near).await.unwrap();
    let mut go = Direction::new(record.proto);
    let mut farcall = Direction::new(record.proto);
    let mut steps = record.steps.iter();
    let mut unanswered = Vec::new();
    for outcome in &record.client {
        let begun = client.go::<i64>("Arith.Multiply", Operands { a: 7, b: 8 });
        if let Some(request) = steps.next() {
            let expected = expected(&mut go, request, name);
            let said = farcall.read(&mut far, expected.len()).await;
            assert_eq!(said, expected, "{name}");
        }
        match steps.next() {
            Some(reply) => far.write_all(&reply.bytes()).await.unwrap(),
            None => far.shutdown().await.unwrap(),
        }
        if steps.len() == 0 {
            // The script is over, and the server goes.
            far.shutdown().await.unwrap();
        }
        if outcome.error.starts_with("(no answer") {
            unanswered.push(begun);
            continue;
        }
        let became = timeout(WITHIN, begun).await;
        let became = became.unwrap_or_else(|_| panic!("{name}: the call should have ended"));
        if outcome.error.is_empty() {
            assert_eq!(became.unwrap(), outcome.reply, "{name}");
        } else {
            let error = became.unwrap_err();
            assert_eq!(
                error.reached() == Reached::Answered,
                outcome.server_error,
                "{name}: {error}"
            );
            if outcome.server_error {
                assert_eq!(error.message(), outcome.error, "{name}");
            }
        }
    }
    drop(far);
    for begun in unanswered {
        // Not by what came, but by the connection's end.
        let ended: Error = timeout(WITHIN, begun).await.unwrap().unwrap_err();
        assert_eq!(ended.reached(), Reached::Unknown, "{name}: {ended}");
    }
}

#[tokio::test]
async fn the_client_takes_what_gos_client_took() {
    let mut played = 0;
    for record in records().iter().filter(|record| !record.client.is_empty()) {
        play_to_client(record).await;
        played += 1;
    }
    assert_eq!(played, 12);
}
