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

/// A type that is adapted and derived at once: both must mean the same by it.
#[derive(Gob, Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Twin {
    flag: bool,
    small: i8,
    big: i64,
    byte: u8,
    wide: u64,
    single: f32,
    double: f64,
    letter: char,
    text: String,
    bytes: Vec<u8>,
    ints: Vec<i32>,
    uints: Vec<u64>,
    array: [i16; 3],
    unit: (),
    maybe: Option<i64>,
    maybe_text: Option<String>,
    point: Point,
    next: Option<Box<Twin>>,
    list: Vec<Twin>,
    map: BTreeMap<String, Point>,
    by_number: BTreeMap<i64, Vec<String>>,
    ids: Vec<UserId>,
    raws: Vec<Raw>,
    nested: Vec<Vec<u8>>,
    grade: Grade,
}

#[derive(Gob, Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Point {
    x: i64,
    y: i64,
}

#[derive(Gob, Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct UserId(i64);

#[derive(Gob, Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Raw(u8);

#[derive(Gob, Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
#[gob(as = "string")]
enum Grade {
    #[default]
    #[gob(rename = "")]
    #[serde(rename = "")]
    Unset,
    Good,
}

/// Some of its fields in another order, as an older sender might have them, and one that it lacks.
#[derive(Gob, Debug)]
struct Older {
    list: Vec<Twin>,
    gone: Vec<String>,
    text: String,
    flag: bool,
    raws: Vec<Raw>,
    point: Point,
    ints: Vec<i32>,
}

struct Random(fastrand::Rng);

impl Random {
    /// Often 0, and of all lengths.
    fn bits(&mut self) -> u64 {
        match self.0.u32(..4) {
            0 => 0,
            _ => self.0.u64(..) >> self.0.u32(..64),
        }
    }

    fn int(&mut self) -> i64 {
        self.bits() as i64 * [1, -1][self.0.usize(..2)]
    }

    fn text(&mut self) -> String {
        (0..self.0.usize(..4)).map(|_| self.0.char(..)).collect()
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        // Also more than are read in one go.
        let len = match self.0.u32(..8) {
            0 => self.0.usize(..100),
            _ => self.0.usize(..4),
        };
        (0..len).map(|_| item(self)).collect()
    }

    fn maybe<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.bool().then(|| item(self))
    }

    fn point(&mut self) -> Point {
        let (x, y) = (self.int(), self.int());
        Point { x, y }
    }

    fn twin(&mut self, depth: usize) -> Twin {
        let inner = |random: &mut Self| random.twin(depth + 1);
        Twin {
            flag: self.0.bool(),
            small: self.int() as i8,
            big: self.int(),
            byte: self.bits() as u8,
            wide: self.bits(),
            single: f32::from_bits(self.bits() as u32),
            double: f64::from_bits(self.0.u64(..)),
            letter: self.0.char(..),
            text: self.text(),
            bytes: self.list(|random| random.0.u8(..)),
            ints: self.list(|random| random.int() as i32),
            uints: self.list(Self::bits),
            array: [0; 3].map(|_| self.int() as i16),
            unit: (),
            maybe: self.maybe(Self::int),
            maybe_text: self.maybe(Self::text),
            point: self.point(),
            next: match depth {
                0..3 => self.maybe(inner).map(Box::new),
                _ => None,
            },
            list: match depth {
                0 if self.0.u32(..4) == 0 => self.list(inner),
                _ => vec![],
            },
            map: self
                .list(|random| (random.text(), random.point()))
                .into_iter()
                .collect(),
            by_number: self
                .list(|random| (random.int(), random.list(Self::text)))
                .into_iter()
                .collect(),
            ids: self.list(|random| UserId(random.int())),
            raws: self.list(|random| Raw(random.0.u8(..))),
            nested: self.list(|random| random.list(|random| random.0.u8(..))),
            grade: [Grade::Unset, Grade::Good][self.0.usize(..2)].clone(),
        }
    }
}

#[test]
fn an_adapted_type_and_its_derived_twin_write_the_same_bytes_and_read_each_other() {
    let (adapted, derived) = (Schema::of::<Serde<Twin>>(), Schema::of::<Twin>());
    assert_eq!(adapted.to_go(), derived.to_go());
    let limits = Limits::trusting;
    let (mut by_serde, mut by_gob) = (Encoder::new(), Encoder::new());
    let (mut serde_decoder, mut gob_decoder) = (Decoder::new(limits()), Decoder::new(limits()));
    let (mut old_encoder, mut old_decoder) = (Encoder::new(), Decoder::new(limits()));
    for seed in 0..1_000 {
        let mut random = Random(fastrand::Rng::with_seed(seed));
        let twin = random.twin(0);
        let [mut out, mut gob_out, mut old_out] = [const { vec![] }; 3];
        by_serde.encode(&Serde(twin.clone()), &mut out).unwrap();
        by_gob.encode(&twin, &mut gob_out).unwrap();
        let value = |decoder: &mut Decoder, out: &[u8]| {
            let mut at = 0;
            loop {
                match decoder.next(&out[at..]).unwrap() {
                    Next::Value { raw, .. } => return raw.to_vec(),
                    Next::More { consumed, .. } => at += consumed,
                }
            }
        };
        let raw = value(&mut serde_decoder, &out);
        assert_eq!(raw, value(&mut gob_decoder, &gob_out), "seed {seed}");
        // NaN is not equal to itself, so what was read is compared by what it is written as.
        let again = |twin: &Twin| sent(twin);
        let from_serde: Twin = serde_decoder.decode(&raw).unwrap();
        let from_gob: Serde<Twin> = gob_decoder.decode(&raw).unwrap();
        assert_eq!(again(&from_serde), again(&twin), "seed {seed}");
        assert_eq!(again(&from_gob.0), again(&twin), "seed {seed}");

        let older = Older {
            list: twin.list,
            gone: random.list(Random::text),
            text: twin.text,
            flag: twin.flag,
            raws: twin.raws,
            point: twin.point,
            ints: twin.ints,
        };
        old_encoder.encode(&older, &mut old_out).unwrap();
        let raw = value(&mut old_decoder, &old_out);
        let adapted: Serde<Twin> = old_decoder.decode(&raw).unwrap();
        let derived: Twin = old_decoder.decode(&raw).unwrap();
        assert_eq!(again(&adapted.0), again(&derived), "seed {seed}");
    }
}
