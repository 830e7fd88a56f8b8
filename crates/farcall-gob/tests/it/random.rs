//! Random types and values of them, to Go and back: what Go holds, and what our own receivers hold, is what was sent.

use std::sync::Arc;

use farcall_gob::{
    Complex, Dynamic, Encoder, Field, Kind, Limits, NodeId, Schema, SchemaBuilder, Value,
};

use crate::gotype::{Defs, GoType, set_receivers};
use crate::judge::Judge;
use crate::named::Point;
use crate::vectors::{each_value, go_view};

const TYPES: usize = 2_000;
const VALUES_EACH: usize = 10;

#[test]
fn random_values_of_random_types_go_to_go_and_back() {
    let mut judge = Judge::start();
    let mut rng = fastrand::Rng::with_seed(0xFA_CA11);
    let mut sent = 0;
    for _ in 0..TYPES {
        let seed = rng.u64(..);
        sent += one_type(
            &mut fastrand::Rng::with_seed(seed),
            &mut judge,
            &format!("seed {seed:#x}"),
        );
    }
    assert!(sent >= 20_000, "{sent}");
}

/// Sends values of one type in one stream.
fn one_type(rng: &mut fastrand::Rng, judge: &mut Judge, seed: &str) -> usize {
    let ty = random_type(rng, 0);
    let defs = point_defs();
    let values: Vec<_> = (0..VALUES_EACH)
        .map(|_| random_value(rng, &ty, 0))
        .collect();
    let schema = schema_of(&ty);
    let (mut encoder, mut stream) = (Encoder::new(), vec![]);
    for value in &values {
        encoder
            .encode_value(value, &schema, &mut stream)
            .unwrap_or_else(|e| panic!("{seed}: {e}"));
    }
    let wire: Vec<_> = values.iter().map(Value::to_canonical_json).collect();
    let held: Vec<_> = values
        .iter()
        .map(|value| ty.view(value, &defs).unwrap())
        .collect();

    let verdict = judge.judge(&json_of(&ty), &[0; VALUES_EACH], &stream);
    assert!(verdict.ok, "{seed}: {ty:?}: {}", verdict.error);
    assert_eq!(verdict.values(), held, "{seed}: {ty:?}");
    assert_eq!(verdict.wire(), wire, "{seed}: {ty:?}");

    set_receivers(vec![ty.clone()], &defs);
    let (mut ours, mut untyped) = (vec![], vec![]);
    each_value(&stream, Limits::trusting(), |decoder, raw| {
        ours.push(go_view(0, decoder, raw).unwrap_or_else(|e| panic!("{seed}: {ty:?}: {e}")));
        untyped.push(
            decoder
                .decode_value(raw)
                .unwrap_or_else(|e| panic!("{seed}: {e}")),
        );
        assert_eq!(decoder.schema_of_value(raw).unwrap(), schema, "{seed}");
    })
    .unwrap();
    assert_eq!(ours, held, "{seed}: {ty:?}");
    let untyped: Vec<_> = untyped.iter().map(Value::to_canonical_json).collect();
    assert_eq!(untyped, wire, "{seed}: {ty:?}");
    values.len()
}

fn point_defs() -> Defs {
    let fields = ["X", "Y"].map(|name| (name.to_owned(), GoType::Int(64)));
    Defs([("main.Point".to_owned(), GoType::Struct(fields.into()))].into())
}

fn random_type(rng: &mut fastrand::Rng, depth: usize) -> GoType {
    let boxed = |rng: &mut fastrand::Rng| Box::new(random_type(rng, depth + 1));
    // The deeper, the simpler.
    match rng.u32(..if depth > 3 { 10 } else { 17 }) {
        0 => GoType::Bool,
        1 | 2 => GoType::Int([8, 16, 32, 64][rng.usize(..4)]),
        3 => GoType::Uint([8, 16, 32, 64][rng.usize(..4)]),
        4 => GoType::Float([32, 64][rng.usize(..2)]),
        5 => GoType::Complex(64),
        6 | 7 => GoType::String,
        8 => GoType::Bytes,
        9 => GoType::Any,
        10 | 11 => match random_type(rng, depth + 1) {
            GoType::Uint(8) => GoType::Bytes,
            elem => GoType::Slice(Box::new(elem)),
        },
        12 => GoType::Array(boxed(rng), rng.usize(..4)),
        13 | 14 => {
            let key = [
                GoType::Bool,
                GoType::Int(16),
                GoType::Uint(64),
                GoType::String,
            ][rng.usize(..4)]
            .clone();
            GoType::Map(Box::new(key), boxed(rng))
        }
        _ => {
            let count = rng.usize(..6);
            let field = |ix: usize| {
                let ty = random_type(rng, depth + 1);
                let ty = if rng.bool() {
                    ty
                } else {
                    GoType::Ptr(Box::new(ty))
                };
                let letters: String = (0..rng.usize(..3)).map(|_| rng.lowercase()).collect();
                (format!("F{ix}{letters}"), ty)
            };
            GoType::Struct((0..count).map(field).collect())
        }
    }
}

fn random_value(rng: &mut fastrand::Rng, ty: &GoType, depth: usize) -> Value {
    let count = |rng: &mut fastrand::Rng| rng.usize(..if depth > 2 { 3 } else { 6 });
    match ty {
        GoType::Bool => Value::Bool(rng.bool()),
        GoType::Int(bits) => {
            Value::Int((rng.i64(..) >> rng.u32(..64)) << (64 - bits) >> (64 - bits))
        }
        GoType::Uint(bits) => {
            Value::Uint((rng.u64(..) >> rng.u32(..64)) << (64 - bits) >> (64 - bits))
        }
        GoType::Float(32) => Value::Float(f64::from(f32::from_bits(rng.u32(..) & 0xFF7F_FFFF))),
        GoType::Float(_) => Value::Float(random_float(rng)),
        GoType::Complex(_) => Value::Complex(Box::new(Complex {
            re: random_float(rng),
            im: random_float(rng),
        })),
        GoType::String => Value::String(random_text(rng).into()),
        GoType::Bytes => Value::Bytes((0..count(rng)).map(|_| rng.u8(..)).collect()),
        GoType::Any => random_interface(rng),
        GoType::Slice(elem) => (0..count(rng))
            .map(|_| random_value(rng, elem, depth + 1))
            .collect::<Vec<_>>()
            .into_list(),
        GoType::Array(elem, len) => (0..*len)
            .map(|_| random_value(rng, elem, depth + 1))
            .collect::<Vec<_>>()
            .into_list(),
        GoType::Map(key, elem) => {
            let mut pairs: Vec<(Value, Value)> = vec![];
            for _ in 0..count(rng) {
                let key = random_value(rng, key, depth + 1);
                if !pairs.iter().any(|(other, _)| *other == key) {
                    pairs.push((key, random_value(rng, elem, depth + 1)));
                }
            }
            Value::Map(pairs.into())
        }
        GoType::Struct(fields) => {
            let mut sent: Vec<(Arc<str>, Value)> = vec![];
            for (name, ty) in fields {
                let pointer = matches!(ty, GoType::Ptr(_));
                // What is not sent is nil or zero; arrays and structs without a pointer are always sent.
                let must = matches!(ty, GoType::Array(..) | GoType::Struct(_));
                let inner = if let GoType::Ptr(inner) = ty {
                    inner
                } else {
                    ty
                };
                if must || rng.u32(..4) > 0 && !(pointer && matches!(inner, GoType::Any)) {
                    sent.push((name.as_str().into(), random_value(rng, inner, depth + 1)));
                }
            }
            Value::Struct(sent.into())
        }
        GoType::Ptr(inner) => random_value(rng, inner, depth),
        other => unreachable!("{other:?} is not made"),
    }
}

trait IntoList {
    fn into_list(self) -> Value;
}

impl IntoList for Vec<Value> {
    fn into_list(self) -> Value {
        Value::List(self.into())
    }
}

fn random_float(rng: &mut fastrand::Rng) -> f64 {
    match rng.u32(..6) {
        0 => 0.0,
        1 => -0.0,
        2 => f64::NAN,
        3 => f64::NEG_INFINITY,
        4 => rng.i32(..).into(),
        _ => f64::from_bits(rng.u64(..)),
    }
}

fn random_text(rng: &mut fastrand::Rng) -> Vec<u8> {
    match rng.u32(..5) {
        0 => vec![],
        1 => "ключ 鍵 🔑 \"\\\u{0}".into(),
        2 => vec![b'x'; rng.usize(..300)],
        3 => vec![0xFF, 0xFE, b'a'],
        _ => (0..rng.usize(..12))
            .map(|_| rng.alphanumeric() as u8)
            .collect(),
    }
}

fn random_interface(rng: &mut fastrand::Rng) -> Value {
    let dynamic = |name: &str, schema: Schema, value: Value| {
        Value::Interface(Some(Box::new(Dynamic {
            name: name.into(),
            schema,
            value,
        })))
    };
    match rng.u32(..6) {
        0 => Value::Interface(None),
        1 => dynamic("int", Schema::of::<i64>(), Value::Int(rng.i64(..))),
        2 => dynamic("string", Schema::of::<String>(), Value::from("text")),
        3 => {
            let point = vec![
                ("X".into(), Value::Int(rng.i64(..))),
                ("Y".into(), Value::Int(1)),
            ];
            dynamic(
                "main.Point",
                Schema::of::<Point>(),
                Value::Struct(point.into()),
            )
        }
        4 => dynamic(
            "[]string",
            Schema::of::<Vec<String>>(),
            vec![Value::from("a")].into_list(),
        ),
        _ => {
            let inner = random_interface(rng);
            // An interface in an interface holds something that has a name.
            dynamic(
                "[]interface {}",
                Schema::of::<Vec<Value>>(),
                vec![inner].into_list(),
            )
        }
    }
}

/// The type as the judge is told.
fn json_of(ty: &GoType) -> String {
    match ty {
        GoType::Bool => "\"bool\"".into(),
        GoType::Int(bits) => format!("\"int{bits}\""),
        GoType::Uint(bits) => format!("\"uint{bits}\""),
        GoType::Float(bits) => format!("\"float{bits}\""),
        GoType::Complex(_) => "\"complex128\"".into(),
        GoType::String => "\"string\"".into(),
        GoType::Bytes => "\"bytes\"".into(),
        GoType::Any => "\"any\"".into(),
        GoType::Slice(elem) => format!("{{\"slice\":{}}}", json_of(elem)),
        GoType::Array(elem, len) => format!("{{\"array\":{},\"len\":{len}}}", json_of(elem)),
        GoType::Map(key, elem) => format!("{{\"map\":[{},{}]}}", json_of(key), json_of(elem)),
        GoType::Ptr(inner) => format!("{{\"ptr\":{}}}", json_of(inner)),
        GoType::Struct(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, ty)| format!("[\"{name}\",{}]", json_of(ty)))
                .collect();
            format!("{{\"struct\":[{}]}}", fields.join(","))
        }
        other => unreachable!("{other:?} is not made"),
    }
}

/// The type as the library is told.
fn schema_of(ty: &GoType) -> Schema {
    let mut builder = SchemaBuilder::new();
    let root = build(ty, &mut builder);
    builder.finish(root)
}

fn build(ty: &GoType, b: &mut SchemaBuilder) -> NodeId {
    match ty {
        GoType::Bool => NodeId::BOOL,
        GoType::Int(_) => NodeId::INT,
        GoType::Uint(_) => NodeId::UINT,
        GoType::Float(_) => NodeId::FLOAT,
        GoType::Complex(_) => NodeId::COMPLEX,
        GoType::String => NodeId::STRING,
        GoType::Bytes => NodeId::BYTES,
        GoType::Any => NodeId::INTERFACE,
        GoType::Ptr(inner) => build(inner, b),
        GoType::Slice(elem) => {
            let elem = build(elem, b);
            b.add("", Kind::Slice { elem })
        }
        GoType::Array(elem, len) => {
            let elem = build(elem, b);
            b.add("", Kind::Array { elem, len: *len })
        }
        GoType::Map(key, elem) => {
            let (key, elem) = (build(key, b), build(elem, b));
            b.add("", Kind::Map { key, elem })
        }
        GoType::Struct(fields) => {
            let field = |(name, ty): &(String, GoType)| Field {
                name: name.as_str().into(),
                ty: build(ty, b),
            };
            let fields = fields.iter().map(field).collect();
            b.add("", Kind::Struct { fields })
        }
        other => unreachable!("{other:?} is not made"),
    }
}
