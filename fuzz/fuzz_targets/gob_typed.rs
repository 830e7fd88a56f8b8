//! Any bytes can be decoded into any Rust type: no panic, no more memory than the limits allow, and what comes out
//! can be sent again and is then the same, read by the decoder itself or through a handle.
#![no_main]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::num::NonZero;
use std::sync::Arc;

use farcall_fuzz::{find, peak, roomy, roomy_encoder};
use farcall_gob::{
    BinaryEncoded, Complex, Decoder, Error, ErrorKind, GoString, Gob, GobEncoded, Limits,
    TextEncoded, Types, Value,
};
use libfuzzer_sys::fuzz_target;

#[derive(Gob)]
struct Empty {}

#[derive(Gob)]
struct Point {
    x: i64,
    y: i64,
}

#[derive(Gob)]
struct Header {
    service_method: String,
    seq: u64,
    error: GoString,
}

#[derive(Gob)]
struct Tree {
    key: String,
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
    kids: Vec<Tree>,
    by_name: HashMap<String, Tree>,
}

#[derive(Gob)]
struct Slices(Vec<Slices>);

#[derive(Gob)]
struct Maps(BTreeMap<i8, Maps>);

#[derive(Gob)]
struct Byte(u8);

#[derive(Gob)]
enum Color {
    Red,
    Green = 5,
    Blue,
}

#[derive(Gob)]
#[gob(as = "string")]
enum Level {
    #[gob(rename = "")]
    Unset,
    Info,
    #[gob(other)]
    Unknown,
}

#[derive(Gob)]
struct Pair<A: 'static, B: 'static> {
    a: A,
    b: B,
}

/// Large in memory and small on the wire: what the memory limit is for.
#[derive(Gob)]
struct Wide {
    #[gob(alias = "X", alias = "A")]
    one: [[u64; 16]; 16],
    two: Option<Box<Wide>>,
}

#[derive(Gob)]
struct Everything {
    a: bool,
    b: i8,
    #[gob(alias = "X")]
    c: u64,
    d: f32,
    e: f64,
    f: char,
    g: String,
    h: Vec<u8>,
    i: VecDeque<u8>,
    j: Vec<Byte>,
    k: [u8; 3],
    l: Vec<Vec<[i16; 2]>>,
    m: BTreeMap<u8, Vec<String>>,
    n: Option<i64>,
    o: Option<Box<Everything>>,
    p: (),
    q: Color,
    r: Vec<Color>,
    s: Level,
    t: Option<NonZero<u16>>,
    u: Value,
    v: Option<Complex>,
    w: GobEncoded,
    #[gob(default)]
    x: Cow<'static, str>,
    y: Arc<[Point]>,
    z: HashMap<Level2, Value>,
}

#[derive(Gob, PartialEq, Eq, Hash)]
#[gob(as = "uint")]
enum Level2 {
    Low,
    High,
}

/// What a value may take beside its parts: an error's text, and a set's own size.
const SLACK: usize = 4 << 10;

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    let mut decoder = Decoder::new(limits.clone());
    let types = decoder.types();
    for (raw, _) in find(&mut decoder, data).values {
        let mut stream = Stream {
            decoder: &mut decoder,
            types: &types,
            raw: &raw,
            allowed: limits.memory_base + limits.memory_factor * raw.len(),
        };
        stream.check::<()>();
        stream.check::<bool>();
        stream.check::<i8>();
        stream.check::<i16>();
        stream.check::<i64>();
        stream.check::<NonZero<i32>>();
        stream.check::<u8>();
        stream.check::<u32>();
        stream.check::<u64>();
        stream.check::<f32>();
        stream.check::<f64>();
        stream.check::<char>();
        stream.check::<String>();
        stream.check::<GoString>();
        stream.check::<Vec<u8>>();
        stream.check::<bytes::Bytes>();
        stream.check::<Complex>();
        stream.check::<Value>();
        stream.check::<GobEncoded>();
        stream.check::<BinaryEncoded>();
        stream.check::<TextEncoded>();
        stream.check::<Vec<()>>();
        stream.check::<Vec<i32>>();
        stream.check::<Vec<Vec<String>>>();
        stream.check::<Vec<Value>>();
        stream.check::<VecDeque<Point>>();
        stream.check::<BTreeSet<u64>>();
        stream.check::<LinkedList<u8>>();
        // Their order is by chance, so there is no text to compare.
        let _ = stream.decode::<HashSet<String>>();
        let _ = stream.decode::<BinaryHeap<i64>>();
        stream.check::<[u8; 3]>();
        stream.check::<[i16; 2]>();
        stream.check::<HashMap<String, i64>>();
        stream.check::<HashMap<String, Value>>();
        stream.check::<BTreeMap<i64, Vec<u8>>>();
        stream.check::<Empty>();
        stream.check::<Point>();
        stream.check::<Header>();
        stream.check::<Tree>();
        stream.check::<Slices>();
        stream.check::<Maps>();
        stream.check::<Color>();
        stream.check::<Level>();
        stream.check::<Vec<Wide>>();
        stream.check::<Pair<i32, Box<Wide>>>();
        stream.check::<Pair<Value, Vec<Pair<u8, String>>>>();
        stream.check::<Everything>();
        stream.check::<Vec<Everything>>();
    }
});

struct Stream<'a> {
    decoder: &'a mut Decoder,
    types: &'a Types,
    raw: &'a [u8],
    allowed: usize,
}

impl Stream<'_> {
    fn check<T: Gob>(&mut self) {
        let text = |value: Result<T, Error>| {
            value
                .map_err(|error| error.to_string())
                .and_then(|value| text(&value))
        };
        let (first, second) = self.decode::<T>();
        let text_first = text(first);
        assert_eq!(text(second), text_first);
        assert_eq!(text(self.types.decode(self.raw)), text_first);
    }

    /// Twice: the first time also works out how the types go together, so memory is counted the second time.
    fn decode<T: Gob>(&mut self) -> (Result<T, Error>, Result<T, Error>) {
        let first = self.decoder.decode(self.raw);
        let (second, memory) = peak(|| self.decoder.decode(self.raw));
        assert!(
            memory <= self.allowed + SLACK,
            "{memory} bytes of memory for {} as {}",
            self.raw.len(),
            std::any::type_name::<T>()
        );
        (first, second)
    }
}

/// A value's text, by way of the wire: read back into its type, and once more written.
fn text<T: Gob>(value: &T) -> Result<String, String> {
    let stream = match written(value) {
        Ok(stream) => stream,
        // Structs with two fields of one name cannot be written from a tree.
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let mut decoder = Decoder::new(roomy());
    let found = find(&mut decoder, &stream);
    let [(raw, _)] = &found.values[..] else {
        panic!("{} values, {:?}", found.values.len(), found.error);
    };
    let text = decoder
        .decode_value(raw)
        .unwrap_or_else(|error| panic!("{error}"))
        .to_canonical_json();
    let again: T = decoder
        .decode(raw)
        .unwrap_or_else(|error| panic!("{error}"));
    let stream_again = written(&again).unwrap_or_else(|error| panic!("{error}"));
    let mut decoder = Decoder::new(roomy());
    let found = find(&mut decoder, &stream_again);
    for (raw, _) in &found.values {
        let value = decoder
            .decode_value(raw)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(value.to_canonical_json(), text);
    }
    assert_eq!(found.values.len(), 1);
    Ok(text)
}

fn written<T: Gob>(value: &T) -> Result<Vec<u8>, Error> {
    let mut stream = vec![];
    roomy_encoder().encode(value, &mut stream)?;
    Ok(stream)
}
