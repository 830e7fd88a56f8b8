//! Types that only have serde's traits.

use std::collections::{BTreeMap, HashMap};

use farcall_gob::{Decoder, Encoder, Error, ErrorKind, Gob, Limits, Next, Schema, Serde};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::judge::Judge;
use crate::named;

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Everything {
    b: bool,
    i8: i8,
    u64: u64,
    f32: f32,
    c: char,
    text: String,
    bytes: Vec<u8>,
    array: [u8; 3],
    lists: Vec<Vec<i16>>,
    map: BTreeMap<String, Vec<Inner>>,
    some: Option<i64>,
    none: Option<String>,
    unit: (),
    level: Option<Level>,
    #[serde(rename = "Other", alias = "other_name", default)]
    other: Wrapped,
    #[serde(skip)]
    skipped: u8,
    pair: (i32, i32),
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Inner {
    x: i64,
    again: Option<Box<Inner>>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Wrapped(Vec<String>);

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
#[serde(rename_all = "lowercase")]
enum Level {
    Low,
    High,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Tree {
    key: String,
    left: Option<Box<Tree>>,
    kids: Vec<Tree>,
    by_name: HashMap<String, Tree>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct MutA {
    name: String,
    bs: Vec<MutB>,
    b: Option<Box<MutB>>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct MutB {
    n: i64,
    r#as: HashMap<String, MutA>,
    a: Option<Box<MutA>>,
}

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
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static>(value: T) {
    let value = Serde(value);
    assert_eq!(received::<Serde<T>>(&sent(&value)).unwrap(), value);
}

fn everything() -> Everything {
    let inner = Inner {
        x: -1,
        again: Some(Box::default()),
    };
    Everything {
        b: true,
        i8: -3,
        u64: u64::MAX,
        f32: 0.5,
        c: 'ж',
        text: "text".into(),
        bytes: vec![0, 1, 255],
        array: [1, 200, 3],
        lists: vec![vec![], vec![1, -2]],
        map: [("k".into(), vec![inner.clone(), Inner::default()])].into(),
        some: Some(0),
        none: None,
        unit: (),
        level: Some(Level::High),
        other: Wrapped(vec!["w".into()]),
        skipped: 0,
        pair: (1, 0),
    }
}

#[test]
fn types_are_what_they_ask_for() {
    assert_eq!(
        Schema::of::<Serde<Everything>>().to_string(),
        "Everything{B bool; I8 int; U64 uint; F32 float64; C int; Text string; Bytes []byte; Array [3]uint; \
         Lists [][]int; Map map[string][]Inner; Some int; None string; Unit struct{}; Level string; Other []string; \
         Pair [2]int}"
    );
    assert_eq!(
        Schema::of::<Serde<Tree>>().to_string(),
        Schema::of::<named::Tree>()
            .to_string()
            .replace("Right Tree; ", "")
            .replace("Idx", "ByName")
    );
    Serde::<MutA>::check().unwrap();
    assert!(
        Schema::of::<Serde<MutA>>()
            .to_go()
            .contains("type MutB struct")
    );
}

#[test]
fn values_come_back() {
    comes_back(everything());
    comes_back(Everything {
        level: None,
        ..Everything::default()
    });
    let leaf = |key: &str| Tree {
        key: key.into(),
        ..Tree::default()
    };
    comes_back(Tree {
        left: Some(Box::new(leaf("l"))),
        kids: vec![leaf("a")],
        by_name: [("x".into(), leaf("x"))].into(),
        ..leaf("r")
    });
    comes_back(vec![String::new(), "x".into()]);
    comes_back(HashMap::from([(1u8, [0.5, 0.0])]));
    comes_back(7u32);
}

#[test]
fn go_reads_what_adapted_types_write() {
    let stream = sent(&Serde(Tree {
        key: "k".into(),
        kids: vec![Tree::default()],
        ..Tree::default()
    }));
    let verdict = Judge::start().judge(r#""main.Tree""#, &[0], &stream);
    assert!(verdict.ok, "{}", verdict.error);
    let leaf = r#"{"Key":"","Left":null,"Right":null,"Kids":[],"Idx":{"$map":[]}}"#;
    let tree =
        format!(r#"{{"Key":"k","Left":null,"Right":null,"Kids":[{leaf}],"Idx":{{"$map":[]}}}}"#);
    assert_eq!(verdict.values(), [tree]);
}

#[test]
fn adapted_and_derived_types_understand_each_other() {
    #[derive(Gob, Debug, PartialEq)]
    struct Derived {
        text: String,
        extra: Vec<i64>,
        lists: Vec<Vec<i16>>,
    }
    let derived = Derived {
        text: "t".into(),
        extra: vec![1],
        lists: vec![vec![2]],
    };
    let found: Serde<Everything> = received(&sent(&derived)).unwrap();
    let expected = Everything {
        text: "t".into(),
        lists: vec![vec![2]],
        ..Everything::default()
    };
    assert_eq!(found.0, expected);
    let back: Derived = received(&sent(&found)).unwrap();
    assert_eq!(
        back,
        Derived {
            extra: vec![],
            ..derived
        }
    );
    let error = received::<Serde<Vec<i8>>>(&sent(&vec![1, 300])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
}

#[test]
fn types_that_cannot_be_adapted_say_why_and_where() {
    #[derive(Serialize, Deserialize)]
    enum Data {
        Empty,
        Full(i64),
    }
    #[derive(Serialize, Deserialize)]
    struct Holder {
        inner: Middle,
    }
    #[derive(Serialize, Deserialize)]
    struct Middle {
        good: i64,
        data: Vec<Data>,
    }
    #[derive(Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        rest: HashMap<String, i64>,
    }
    #[track_caller]
    fn says<T: Serialize + DeserializeOwned + 'static>(text: &str) {
        let error = Serde::<T>::check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(text), "{error}");
    }
    says::<Holder>(
        "gob: inner.data: the type cannot be sent: an enum whose variants hold something",
    );
    says::<(i64, String)>("a tuple of different types");
    says::<Vec<Option<i64>>>("an Option can only stand in a field");
    says::<Option<i64>>("an Option can only stand in a field");
    says::<u128>("128-bit");
    says::<std::num::NonZero<u8>>("nonzero");
    says::<Flat>("the type cannot be sent");
    let mut out = vec![];
    let holder = Serde(Holder {
        inner: Middle {
            good: 1,
            data: vec![Data::Empty, Data::Full(1)],
        },
    });
    assert_eq!(
        Encoder::new().encode(&holder, &mut out).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    assert!(out.is_empty());
}
