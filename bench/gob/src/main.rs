//! Times farcall-gob on one warm stream, beside postcard and gobwire on the same values.
//! Prints "case ns" for each; `go/main.go` prints the same for Go.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use farcall_gob::{Decoder, Encoder, Gob, Limits, Next};
use serde::{Deserialize, Serialize};

#[derive(Gob, Serialize, Deserialize, Clone)]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Gob, Serialize, Deserialize, Clone)]
struct Header {
    service_method: String,
    seq: u64,
    error: String,
}

#[derive(Gob, Serialize, Deserialize, Clone)]
struct Point {
    x: i64,
    y: i64,
}

#[derive(Gob, Serialize, Deserialize, Clone)]
struct Ref {
    id: i64,
    kind: String,
}

#[derive(Gob, Serialize, Deserialize, Clone)]
struct Payload20 {
    id: i64,
    name: String,
    email: String,
    age: u32,
    score: f64,
    active: bool,
    tags: Vec<String>,
    origin: Point,
    target: Point,
    attrs: HashMap<String, String>,
    blob: Vec<u8>,
    created: i64,
    updated: i64,
    parent: Option<Box<Ref>>,
    children: Vec<Ref>,
    ratio: f32,
    flags: u64,
    level: i8,
    note: String,
    matrix: [f64; 4],
}

fn payload() -> Payload20 {
    let child = |id| Ref { id, kind: "leaf".into() };
    Payload20 {
        id: 123_456,
        name: "Ada Lovelace".into(),
        email: "ada@example.com".into(),
        age: 36,
        score: 0.875,
        active: true,
        tags: ["math", "poetry", "engine"].map(String::from).into(),
        origin: Point { x: 1, y: 2 },
        target: Point { x: 300, y: -400 },
        attrs: [("lang", "en"), ("tz", "UTC")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        blob: vec![1, 2, 3, 4, 250, 251, 252, 253],
        created: 1_700_000_000,
        updated: 1_700_000_123,
        parent: Some(Box::new(Ref { id: 1, kind: "root".into() })),
        children: vec![child(2), child(3)],
        ratio: 0.5,
        flags: 1 << 40,
        level: -3,
        note: "n".into(),
        matrix: [1.0, 0.0, 0.0, 1.0],
    }
}

fn points() -> Vec<Point> {
    (0..1000).map(|i| Point { x: i, y: -i }).collect()
}

fn ints() -> Vec<i64> {
    let mut x = 1u64;
    (0..10_000)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x as i64) >> (x >> 58 & 63)
        })
        .collect()
}

/// The best of several runs, in nanoseconds each.
fn time(mut run: impl FnMut()) -> f64 {
    let mut times = 1u64;
    let count = loop {
        let start = Instant::now();
        (0..times).for_each(|_| run());
        if start.elapsed() > Duration::from_millis(30) {
            break times;
        }
        times *= 2;
    };
    (0..9)
        .map(|_| {
            let start = Instant::now();
            (0..count).for_each(|_| run());
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .fold(f64::MAX, f64::min)
}

fn gob<T: Gob>(name: &str, value: &T) {
    let mut encoder = Encoder::new();
    let (mut first, mut out) = (vec![], vec![]);
    encoder.encode(value, &mut first).unwrap();
    let encode = time(|| {
        out.clear();
        encoder.encode(black_box(value), &mut out).unwrap();
        black_box(&out);
    });
    println!("{name}-encode {encode:.1} gob, {} bytes", out.len());

    let mut decoder = Decoder::new(Limits::default());
    assert!(matches!(decoder.next(&first).unwrap(), Next::Value { .. }));
    let decode = time(|| {
        let Next::Value { raw, .. } = decoder.next(black_box(&out)).unwrap() else { unreachable!() };
        black_box(decoder.decode::<T>(raw).unwrap());
    });
    println!("{name}-decode {decode:.1} gob");
    let types = decoder.types();
    let decode = time(|| {
        let Next::Value { raw, .. } = decoder.next(black_box(&out)).unwrap() else { unreachable!() };
        black_box(types.decode::<T>(raw).unwrap());
    });
    println!("{name}-decode {decode:.1} gob through a handle");
}

fn postcard<T: Serialize + for<'de> Deserialize<'de>>(name: &str, value: &T) {
    let mut out = vec![];
    let encode = time(|| {
        out.clear();
        out = postcard::to_extend(black_box(value), std::mem::take(&mut out)).unwrap();
        black_box(&out);
    });
    println!("{name}-encode {encode:.1} postcard, {} bytes", out.len());
    let decode = time(|| {
        black_box(postcard::from_bytes::<T>(black_box(&out)).unwrap());
    });
    println!("{name}-decode {decode:.1} postcard");
}

fn main() {
    gob("args", &Args { a: 7, b: 8 });
    postcard("args", &Args { a: 7, b: 8 });
    let header = Header { service_method: "Arith.Multiply".into(), seq: 123_456, error: String::new() };
    gob("header", &header);
    postcard("header", &header);
    gob("payload20", &payload());
    postcard("payload20", &payload());
    gob("points1000", &points());
    postcard("points1000", &points());
    gob("ints10000", &ints());
    postcard("ints10000", &ints());
}
