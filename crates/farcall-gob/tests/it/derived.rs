//! What `derive(Gob)` makes of types.

use std::collections::{BTreeMap, HashMap, VecDeque};

use farcall_gob::{Decoder, Encoder, Error, ErrorKind, Gob, Limits, Next};

fn sent<T: Gob>(value: &T) -> Vec<u8> {
    let mut out = vec![];
    Encoder::new().encode(value, &mut out).unwrap();
    out
}

fn received<T: Gob>(stream: &[u8]) -> Result<T, Error> {
    let mut decoder = Decoder::new(Limits::default());
    match decoder.next(stream)? {
        Next::Value { raw, .. } => decoder.decode(raw),
        Next::More { .. } => panic!("the stream is whole"),
    }
}

#[track_caller]
fn comes_back<T: Gob + PartialEq + std::fmt::Debug>(value: T) {
    assert_eq!(received::<T>(&sent(&value)).unwrap(), value);
}

#[derive(Gob, Debug, PartialEq, Default)]
struct Tree {
    key: String,
    left: Option<Box<Tree>>,
    kids: Vec<Tree>,
    by_name: HashMap<String, Tree>,
}

#[derive(Gob, Debug, PartialEq)]
struct Slices(Vec<Slices>);

#[derive(Gob, Debug, PartialEq, Clone, Copy)]
struct Byte(u8);

#[derive(Gob, Debug, PartialEq)]
enum Color {
    Red,
    Green = 5,
    Blue,
}

#[derive(Gob, Debug, PartialEq)]
#[gob(as = "string")]
enum Level {
    #[gob(rename = "")]
    Unset,
    Info,
    #[gob(other)]
    Unknown,
}

#[derive(Gob, Debug, PartialEq)]
struct Everything {
    b: bool,
    i8: i8,
    u64: u64,
    f32: f32,
    f64: f64,
    c: char,
    text: String,
    bytes: Vec<u8>,
    queue: VecDeque<u8>,
    named: Vec<Byte>,
    array: [u8; 3],
    nested: Vec<Vec<[i16; 2]>>,
    map: BTreeMap<u8, Vec<String>>,
    zero: Option<i64>,
    none: Option<i64>,
    unit: (),
    color: Color,
    colors: Vec<Color>,
    level: Level,
    nonzero: Option<std::num::NonZero<u16>>,
}

#[test]
fn every_kind_of_field_comes_back() {
    comes_back(Everything {
        b: true,
        i8: -128,
        u64: u64::MAX,
        f32: f32::MAX,
        f64: -0.5,
        c: '世',
        text: "text".into(),
        bytes: vec![0, 255],
        queue: [1, 200].into(),
        named: vec![Byte(3), Byte(250)],
        array: [1, 2, 200],
        nested: vec![vec![], vec![[1, -2]]],
        map: [(1, vec!["a".into(), String::new()]), (2, vec![])].into(),
        zero: Some(0),
        none: None,
        unit: (),
        color: Color::Blue,
        colors: vec![Color::Red, Color::Green],
        level: Level::Info,
        nonzero: std::num::NonZero::new(7),
    });
}

#[test]
fn recursive_types_come_back() {
    let leaf = |key: &str| Tree {
        key: key.into(),
        ..Tree::default()
    };
    comes_back(Tree {
        key: "root".into(),
        left: Some(Box::new(leaf("l"))),
        kids: vec![leaf("a"), leaf("b")],
        by_name: [("x".into(), leaf("x"))].into(),
    });
    comes_back(Slices(vec![Slices(vec![]), Slices(vec![Slices(vec![])])]));
}

#[test]
fn top_level_values_of_all_kinds_come_back() {
    comes_back(-5i32);
    comes_back("x".repeat(200));
    comes_back(vec![1u8, 2]);
    comes_back([1u64; 4]);
    comes_back(vec![String::new(), "b".into()]);
    comes_back(HashMap::from([(1, -1), (2, -2)]));
    comes_back(());
}

#[derive(Gob, Debug, PartialEq)]
struct Old {
    user_id: u64,
    gone: Vec<Color>,
    note: String,
}

#[derive(Gob, Debug, PartialEq)]
struct New {
    #[gob(alias = "Note")]
    remark: String,
    #[gob(default = "seven")]
    retries: i64,
    #[gob(rename = "UserID", default = "seven")]
    user: u64,
    #[gob(skip)]
    cached: Option<Option<String>>,
}

fn seven<T: From<u8>>() -> T {
    7.into()
}

#[test]
fn fields_are_matched_by_name_and_defaults_are_for_senders_without_the_field() {
    let old = |user_id| Old {
        user_id,
        gone: vec![Color::Blue],
        note: "n".into(),
    };
    let new = |user| New {
        remark: "n".into(),
        retries: 7,
        user,
        cached: None,
    };
    assert_eq!(received::<New>(&sent(&old(3))).unwrap(), new(3));
    assert_eq!(received::<New>(&sent(&old(0))).unwrap(), new(0));
}

#[test]
fn numbers_that_do_not_fit_are_refused_with_their_path() {
    #[derive(Gob, Debug)]
    struct Wide {
        values: Vec<i64>,
    }
    #[derive(Gob, Debug)]
    struct Narrow {
        values: Vec<i8>,
    }
    let error = received::<Narrow>(&sent(&Wide {
        values: vec![1, 300],
    }))
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert_eq!(
        error.to_string(),
        "gob: Values: 300 is out of range for i8 (at byte 9)"
    );
    assert_eq!(
        received::<Narrow>(&sent(&Wide {
            values: vec![127, -128]
        }))
        .unwrap()
        .values,
        [127, -128]
    );
}

#[test]
fn types_that_do_not_fit_are_refused_with_their_path() {
    #[derive(Gob, Debug)]
    struct Sent {
        lines: Vec<HashMap<String, u64>>,
    }
    #[derive(Gob, Debug)]
    struct Expected {
        lines: Vec<HashMap<String, i64>>,
    }
    let error = received::<Expected>(&sent(&Sent { lines: vec![] })).unwrap_err();
    assert_eq!(
        error.to_string(),
        "gob: Lines[][]: type mismatch: a uint was sent where an int is expected"
    );
}

#[test]
fn unknown_variants_are_refused_or_taken_as_other() {
    assert_eq!(
        received::<Color>(&sent(&4i64)).unwrap_err().kind(),
        ErrorKind::OutOfRange
    );
    assert_eq!(
        received::<Level>(&sent(&"new".to_owned())).unwrap(),
        Level::Unknown
    );
}

#[derive(Gob, Debug, PartialEq)]
struct Circle {
    r: f64,
}

#[derive(Gob, Debug, PartialEq)]
struct Scaled {
    by: i64,
    inner: Shape,
}

#[derive(Gob, Debug, PartialEq)]
#[gob(as = "interface")]
enum Shape {
    Nil,
    #[gob(rename = "main.Circle")]
    Circle(Circle),
    #[gob(rename = "main.Scaled")]
    Scaled(Box<Scaled>),
    #[gob(rename = "int")]
    Number(i64),
}

#[derive(Gob, Debug, PartialEq)]
#[gob(as = "interface")]
enum Anything {
    Nil,
    #[gob(rename = "main.Circle")]
    Circle(Circle),
    #[gob(other)]
    Other(farcall_gob::Value),
}

#[derive(Gob, Debug, PartialEq)]
#[gob(as = "union")]
enum Event {
    None,
    Started(Circle),
    Progress(u8),
    Done(String),
}

#[test]
fn interfaces_are_enums() {
    let scaled = |inner| Shape::Scaled(Box::new(Scaled { by: 2, inner }));
    comes_back(Shape::Nil);
    comes_back(Shape::Number(0));
    comes_back(vec![
        Shape::Nil,
        scaled(scaled(Shape::Circle(Circle { r: 0.5 }))),
        Shape::Circle(Circle { r: 0.0 }),
    ]);
    let shape = Scaled {
        by: 1,
        inner: scaled(Shape::Circle(Circle { r: 1.0 })),
    };
    let error = received::<Anything>(&sent(&shape.inner)).unwrap();
    assert!(matches!(error, Anything::Other(_)), "{error:?}");
    assert_eq!(received::<Shape>(&sent(&error)).unwrap(), shape.inner);
    let unknown = received::<Shape>(&sent(&farcall_gob::Value::from("text"))).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unregistered);
    assert_eq!(
        unknown.to_string(),
        "gob: the interface holds a \"string\", which is not known here (at byte 12)"
    );
    comes_back(shape);
}

#[test]
fn unions_are_structs_of_pointers() {
    let schema = farcall_gob::Schema::of::<Event>();
    assert_eq!(
        schema.to_string(),
        "Event{Started Circle; Progress uint; Done string}"
    );
    comes_back(vec![
        Event::None,
        Event::Started(Circle { r: 1.5 }),
        Event::Progress(0),
        Event::Done(String::new()),
    ]);
}

#[test]
fn types_that_are_one_in_go_are_defined_once() {
    #[derive(Gob, Debug, PartialEq, Default)]
    struct Ids(Vec<i64>);
    #[derive(Gob, Debug, PartialEq, Default)]
    struct Lists {
        a: Vec<i64>,
        b: Ids,
        c: VecDeque<i32>,
        d: BTreeMap<String, Vec<i64>>,
        e: HashMap<String, Ids>,
    }
    let schema = farcall_gob::Schema::of::<Lists>();
    assert_eq!(
        schema.to_string(),
        "Lists{A []int; B []int; C []int; D map[string][]int; E map[string][]int}"
    );
    assert_eq!(
        schema.nodes().len(),
        8 + 3,
        "the struct, the slice and the map, beside the basic types"
    );
    comes_back(Lists::default());
}

#[test]
fn numbers_of_all_lengths_in_any_order_come_back() {
    let bits = (0..64).flat_map(|shift| [1_u64 << shift, u64::MAX >> shift]);
    let in_turns = bits.clone().flat_map(|n| [n, 3, 200, !n, n]);
    // And in rows, of each length up to where the message ends.
    let in_rows = bits.flat_map(|n| [n; 5]);
    for unsigned in [
        in_turns.clone().collect::<Vec<_>>(),
        in_rows.clone().collect(),
        in_rows.chain(in_turns).collect(),
    ] {
        let signed: Vec<i64> = unsigned.iter().map(|&n| n as i64).collect();
        for end in (0..=unsigned.len()).rev().take(50) {
            comes_back(unsigned[..end].to_vec());
            comes_back(signed[..end].to_vec());
        }
    }
}

#[test]
fn a_number_that_does_not_fit_is_refused_wherever_it_stands() {
    for (values, text) in [
        (vec![1, 300], "300 is out of range for i8 (at byte 9)"),
        (vec![300, 1], "300 is out of range for i8 (at byte 8)"),
        (
            vec![100, -100, 300, 400],
            "300 is out of range for i8 (at byte 12)",
        ),
    ] {
        let error = received::<Vec<i8>>(&sent(&values)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
        assert_eq!(error.to_string(), format!("gob: {text}"), "{values:?}");
    }
}
