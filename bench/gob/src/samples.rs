//! The values that are sent, the same ones as in `go/samples.go`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

#[derive(farcall_gob::Gob, gobwire::Gob, Serialize, Deserialize, Default)]
pub struct Args {
    a: i64,
    b: i64,
}

#[derive(farcall_gob::Gob, gobwire::Gob, Serialize, Deserialize, Default)]
pub struct Point {
    x: i64,
    y: i64,
}

#[derive(farcall_gob::Gob, gobwire::Gob, Serialize, Deserialize, Default)]
pub struct Ref {
    number: i64,
    kind: String,
}

#[derive(farcall_gob::Gob, gobwire::Gob, Serialize, Deserialize, Default)]
pub struct Order {
    number: i64,
    name: String,
    email: String,
    age: u32,
    score: f64,
    active: bool,
    tags: Vec<String>,
    origin: Point,
    target: Point,
    attrs: HashMap<String, String>,
    #[serde(with = "serde_bytes")]
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

pub fn args() -> Args {
    Args { a: 7, b: 8 }
}

pub fn order() -> Order {
    let text = |text: &str| text.to_owned();
    let leaf = |number| Ref {
        number,
        kind: text("leaf"),
    };
    Order {
        number: 123_456,
        name: text("Ada Lovelace"),
        email: text("ada@example.com"),
        age: 36,
        score: 0.875,
        active: true,
        tags: ["math", "poetry", "engine"].map(text).into(),
        origin: Point { x: 1, y: 2 },
        target: Point { x: 300, y: -400 },
        attrs: [("lang", "en"), ("tz", "UTC")]
            .map(|(key, value)| (text(key), text(value)))
            .into(),
        blob: vec![1, 2, 3, 4, 250, 251, 252, 253],
        created: 1_700_000_000,
        updated: 1_700_000_123,
        parent: Some(Box::new(Ref {
            number: 1,
            kind: text("root"),
        })),
        children: vec![leaf(2), leaf(3)],
        ratio: 0.5,
        flags: 1 << 40,
        level: -3,
        note: text("n"),
        matrix: [1.0, 0.0, 0.0, 1.0],
    }
}

pub fn points() -> Vec<Point> {
    (0..1_000).map(|i| Point { x: i, y: -i }).collect()
}

/// Lengths as processors can foresee them: a byte, then two, then three.
pub fn counting() -> Vec<i64> {
    (0..10_000).collect()
}

/// Of all lengths, in an order that processors cannot foresee.
pub fn random() -> Vec<i64> {
    let mut x = 1_u64;
    let mut next = || {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x as i64) >> (x >> 58)
    };
    (0..10_000).map(|_| next()).collect()
}

pub fn map() -> HashMap<String, i64> {
    (0..1_000).map(|i| (format!("key-{i}"), i * i)).collect()
}

pub fn bytes() -> Vec<u8> {
    (0..64 << 10).map(|i: u32| i as u8).collect()
}

pub fn strings() -> Vec<String> {
    (0..1_000)
        .map(|i| format!("the string number {i}"))
        .collect()
}
