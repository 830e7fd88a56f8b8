//! The named Go types of the vectors as Rust types with `derive(Gob)`, and the vectors again through them.

use std::collections::{BTreeMap, HashMap};

use farcall_gob::{
    BinaryEncoded, Complex, Decoder, Encoder, Error, GoString, Gob, GobEncoded, Limits, Value,
};

use crate::judge::Judge;
use crate::vectors::{each_value, question, records};

macro_rules! types {
    ($($item:item)*) => {$(
        #[derive(Gob, Debug, Default, PartialEq)]
        $item
    )*};
}

types! {
    pub(crate) struct Args { a: isize, b: isize }
    pub(crate) struct Quotient { quo: i64, rem: i64 }
    pub(crate) struct Request { service_method: String, seq: u64 }
    pub(crate) struct Response { service_method: String, seq: u64, error: String }
    pub(crate) struct Empty {}
    pub(crate) struct AllScalars {
        b: bool, i: isize, i8: i8, i16: i16, i32: i32, i64: i64, u: usize, u8: u8, u16: u16, u32: u32, u64: u64,
        uptr: usize, f32: f32, f64: f64, c64: Complex, c128: Complex, s: GoString, by: Vec<u8>,
    }
    pub(crate) struct AllPtr {
        b: Option<bool>, i: Option<i64>, i8: Option<i8>, u64: Option<u64>, f32: Option<f32>, f64: Option<f64>,
        c128: Option<Complex>, s: Option<String>, by: Option<Vec<u8>>, sl: Option<Vec<i64>>,
        m: Option<HashMap<String, i64>>, p: Option<Point>,
        #[gob(rename = "PP")] pp: Option<Box<Point>>,
        #[gob(rename = "PPP")] ppp: Option<i64>,
        arr: Option<[i64; 2]>,
    }
    pub(crate) struct Node { pub(crate) val: i64, pub(crate) next: Option<Box<Node>> }
    pub(crate) struct Tree {
        key: String, left: Option<Box<Tree>>, right: Option<Box<Tree>>, kids: Vec<Tree>, idx: BTreeMap<String, Tree>,
    }
    pub(crate) struct MutA { name: String, bs: Vec<MutB>, b: Option<Box<MutB>> }
    pub(crate) struct MutB { n: i64, r#as: HashMap<String, MutA>, a: Option<Box<MutA>>, c: Vec<MutC> }
    pub(crate) struct MutC { back: Vec<MutA>, flag: bool }
    pub(crate) struct RecSlice(pub(crate) Vec<RecSlice>);
    pub(crate) struct RecMap(HashMap<String, RecMap>);
    pub(crate) struct Base { id: i64, name: String }
    pub(crate) struct Embeds { base: Base, point: Option<Point>, extra: String }
    pub(crate) struct WithUnexported { a: i64, c: String, e: f64 }
    pub(crate) struct Byte(u8);
    pub(crate) struct Named {
        c: i64, cs: Vec<i64>, m: HashMap<i64, String>, s: String, bs: Vec<u8>, by: Vec<Byte>, ar: [Byte; 3],
    }
    pub(crate) struct Circle { r: f64 }
    pub(crate) struct Square { side: i64 }
    pub(crate) struct Scaled { by: i64, inner: Shape }
    pub(crate) struct HasIface {
        name: String, #[gob(default = "nil")] v: Any, s: Shape, l: Vec<Any>, m: HashMap<String, Any>, after: i64,
    }
    pub(crate) struct TwoAny { a: Any, b: Any }
    pub(crate) struct Zeroes {
        p: Point, e: Empty, a: [i64; 3], #[gob(rename = "AB")] ab: [u8; 4], #[gob(rename = "AS")] r#as: [String; 2],
        #[gob(rename = "AP")] ap: [Point; 2], m: Option<HashMap<String, i64>>, s: Vec<i64>,
        #[gob(rename = "PP")] pp: Option<Point>, i: Any, z: i64,
    }
    pub(crate) struct Deep {
        a: Vec<HashMap<String, Pairs>>,
        b: HashMap<String, HashMap<String, HashMap<String, Vec<u8>>>>,
        c: [[Vec<String>; 3]; 2],
        d: HashMap<[i64; 2], String>,
        e: BTreeMap<Point, Vec<Point>>,
        f: Vec<Vec<u8>>,
        g: Vec<Vec<i8>>,
        h: Vec<[i64; 0]>,
        j: HashMap<bool, HashMap<u8, f32>>,
    }
    pub(crate) struct Times {
        t: GobEncoded, #[gob(rename = "PT")] pt: Option<GobEncoded>, l: Vec<GobEncoded>,
        m: HashMap<String, GobEncoded>, d: i64,
    }
    pub(crate) struct Bigs {
        i: Option<GobEncoded>, r: Option<GobEncoded>, f: Option<GobEncoded>, l: Vec<GobEncoded>, v: GobEncoded,
        m: HashMap<String, GobEncoded>, n: Option<GobEncoded>, vz: GobEncoded,
    }
    pub(crate) struct ExtHost {
        v: GobEncoded, p: GobEncoded, #[gob(rename = "PV")] pv: Option<GobEncoded>,
        #[gob(rename = "PP")] pp: Option<GobEncoded>, #[gob(rename = "PPV")] ppv: Option<GobEncoded>,
        b: Option<BinaryEncoded>, #[gob(rename = "PB")] pb: Option<BinaryEncoded>, t: TextOnly, l: Vec<GobEncoded>,
        #[gob(rename = "LP")] lp: Vec<GobEncoded>, a: [BinaryEncoded; 2], m: HashMap<String, GobEncoded>, end: i64,
    }
    pub(crate) struct TextOnly { t: String }
    pub(crate) struct Unicode {
        #[gob(rename = "Élan")] elan: String, #[gob(rename = "Ωmega")] omega: i64, #[gob(rename = "X世界")] x: i64,
    }
    pub(crate) struct Wide {
        f00: i64, f01: i64, f02: i64, f03: i64, f04: i64, f05: i64, f06: i64, f07: i64, f08: i64, f09: i64,
        f10: String, f11: String, f12: String, f13: String, f14: String, f15: String, f16: String, f17: String,
        f18: String, f19: String,
        f20: u64, f21: u64, f22: u64, f23: u64, f24: u64, f25: u64, f26: u64, f27: u64, f28: u64, f29: u64,
    }
    pub(crate) struct Ref { id: i64, kind: String }
    pub(crate) struct Payload20 {
        id: i64, name: String, email: String, age: u32, score: f64, active: bool, tags: Vec<String>, origin: Point,
        target: Point, attrs: HashMap<String, String>, blob: Vec<u8>, created: i64, updated: i64, parent: Option<Ref>,
        children: Vec<Ref>, ratio: f32, flags: u64, level: i8, note: String, matrix: [f64; 4],
    }
}

#[derive(Gob, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    x: i64,
    y: i64,
}

#[derive(Gob, Debug, Default, PartialEq)]
#[gob(as = "interface")]
pub(crate) enum Shape {
    #[default]
    Nil,
    #[gob(rename = "main.Circle")]
    Circle(Circle),
    #[gob(rename = "*main.Square")]
    Square(Square),
    #[gob(rename = "main.Scaled")]
    Scaled(Box<Scaled>),
}

#[derive(Gob, Debug, Default, PartialEq)]
#[gob(as = "interface")]
pub(crate) enum Any {
    #[default]
    Nil,
    #[gob(rename = "main.Point")]
    Point(Point),
    #[gob(rename = "main.Tree")]
    Tree(Box<Tree>),
    #[gob(rename = "string")]
    Text(String),
    #[gob(rename = "[]interface {}")]
    List(Vec<Any>),
    #[gob(other)]
    Other(Value),
}

fn nil() -> Any {
    Any::Nil
}

type Pairs = Vec<HashMap<i64, [Point; 2]>>;

/// Receives a value as one of the types above, and sends it on.
type Again = fn(&mut Decoder, &[u8], &mut Encoder, &mut Vec<u8>) -> Result<(), Error>;

fn again<T: Gob>(
    decoder: &mut Decoder,
    raw: &[u8],
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    encoder.encode(&decoder.decode::<T>(raw)?, out)
}

/// The Rust type for a Go type, by its name.
pub(crate) fn rust_type(go: &str) -> Option<Again> {
    macro_rules! table {
        ($($name:literal: $ty:ty,)*) => {
            match go {
                $($name => Some(again::<$ty>),)*
                _ => None,
            }
        };
    }
    table! {
        "main.Point": Point, "main.Args": Args, "main.Quotient": Quotient, "main.Request": Request,
        "main.Response": Response, "main.Empty": Empty, "struct {}": (), "main.AllScalars": AllScalars,
        "main.AllPtr": AllPtr, "main.Node": Node, "main.Tree": Tree, "main.MutA": MutA, "main.RecSlice": RecSlice,
        "main.RecMap": RecMap, "main.Embeds": Embeds, "main.WithUnexported": WithUnexported, "main.Named": Named,
        "main.Circle": Circle, "main.HasIface": HasIface, "main.TwoAny": TwoAny, "main.Zeroes": Zeroes,
        "main.Deep": Deep, "main.Times": Times, "main.Bigs": Bigs, "main.ExtHost": ExtHost, "main.Unicode": Unicode,
        "main.Wide": Wide, "main.Payload20": Payload20, "time.Time": GobEncoded, "big.Int": GobEncoded,
        "main.GobVal": GobEncoded, "int": i64, "uint": u64, "bool": bool, "float64": f64, "complex128": Complex,
        "string": GoString, "[]uint8": Vec<u8>, "bytes": Vec<u8>, "[4]uint8": [u8; 4], "[]int8": Vec<i8>,
        "[]int": Vec<i64>, "[]int64": Vec<i64>, "[]string": Vec<String>, "[]bool": Vec<bool>,
        "[]main.Point": Vec<Point>, "[]*main.Point": Vec<Box<Point>>, "map[string]int": HashMap<String, i64>,
        "map[string]*int": BTreeMap<String, i64>, "map[string]map[string][]int": HashMap<String, HashMap<String, Vec<i64>>>,
        "map[string][]main.Point": HashMap<String, Vec<Point>>, "[2]int": [i64; 2], "[3]int": [i64; 3],
        "[0]int": [i64; 0], "[2][2]string": [[String; 2]; 2], "[]interface {}": Vec<Any>, "interface {}": Any,
        "any": Any, "[]any": Vec<Any>, "[]main.Payload20": Vec<Payload20>, "[]struct{}": Vec<Empty>,
        "[][0]int": Vec<[i64; 0]>, "map[struct{}]struct{}": BTreeMap<Nothing, Empty>,
    }
}

/// A struct without fields that can be a key.
#[derive(Gob, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nothing {}

#[test]
fn go_reads_what_derived_types_write() {
    let mut judge = Judge::start();
    let mut count = 0;
    for record in records("hand.jsonl") {
        let names: Vec<String> = record.part("go_type");
        let Some(types) = names
            .iter()
            .map(|name| rust_type(name))
            .collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let (mut encoder, mut stream) = (Encoder::new(), vec![]);
        let mut order = record.value_types().into_iter();
        each_value(&record.stream(), Limits::default(), |decoder, raw| {
            let receive = types[order.next().unwrap()];
            receive(decoder, raw, &mut encoder, &mut stream)
                .unwrap_or_else(|e| panic!("{}: {e}", record.name));
        })
        .unwrap();
        let (schema, value_types) = question(&record);
        let verdict = judge.judge(&schema, &value_types, &stream);
        assert!(verdict.ok, "{}: {}", record.name, verdict.error);
        assert_eq!(verdict.values(), record.texts("values"), "{}", record.name);
        count += 1;
    }
    assert_eq!(count, 41, "all but the two whose types have no counterpart");
}
