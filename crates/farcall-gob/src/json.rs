//! Values as JSON for people: what a JSON of theirs means as a given type, and how a value looks to them.

use std::sync::Arc;

use serde_json::{Map, Number, Value as Json};

use crate::base64;
use crate::error::{Error, ErrorKind};
use crate::impls::Complex;
use crate::schema::{self, Field, Kind, Node, NodeId, Schema};
use crate::value::{Dynamic, Value};

impl Value {
    /// The value as JSON for people, as Go's `encoding/json` would write it.
    ///
    /// Bytes are base64, structs and maps are objects (a map whose keys are no text or numbers is a list of pairs), what
    /// an interface holds stands for itself. Fields that were not sent are missing: see [`fill_zeros`](Self::fill_zeros).
    ///
    /// The names of fields are there for each struct, so it can be much longer than what was received: for values from
    /// strangers, see the limit that [`fill_zeros`](Self::fill_zeros) has.
    pub fn to_plain_json(&self) -> Json {
        match self {
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Float(value) => float(*value),
            Self::Complex(value) => Json::Array(vec![float(value.re), float(value.im)]),
            Self::String(text) => Json::String(String::from_utf8_lossy(text).into_owned()),
            Self::Bytes(bytes) | Self::Opaque(_, bytes) => Json::String(base64::encode(bytes)),
            Self::List(items) => items.iter().map(Self::to_plain_json).collect(),
            Self::Map(pairs) => map(pairs),
            Self::Struct(fields) => fields
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_plain_json()))
                .collect(),
            Self::Interface(None) => Json::Null,
            Self::Interface(Some(dynamic)) => dynamic.value.to_plain_json(),
        }
    }

    /// What some JSON is as a value of type `ty`.
    ///
    /// As in Go, missing members and `null` are zero, unknown members are ignored, and names are found in small letters
    /// too. Bytes are base64 or a list of numbers; a type that encodes itself is the base64 of its bytes.
    ///
    /// # Errors
    /// If the JSON does not fit the type. The error has the path of the member.
    pub fn from_json(json: &Json, ty: &Schema) -> Result<Self, Error> {
        match json {
            Json::Null => zero(ty, ty.root()),
            json => from_json(json, ty, ty.root()),
        }
    }
}

fn float(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => "NaN".into(),
        None => (if value > 0.0 { "+Inf" } else { "-Inf" }).into(),
    }
}

fn map(pairs: &[(Value, Value)]) -> Json {
    let mut object = Map::new();
    for (key, value) in pairs {
        let key = match key {
            Value::String(text) => String::from_utf8_lossy(text).into_owned(),
            Value::Int(number) => number.to_string(),
            Value::Uint(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => {
                return pairs
                    .iter()
                    .map(|(k, v)| Json::Array(vec![k.to_plain_json(), v.to_plain_json()]))
                    .collect();
            }
        };
        object.insert(key, value.to_plain_json());
    }
    Json::Object(object)
}

fn from_json(json: &Json, ty: &Schema, id: NodeId) -> Result<Value, Error> {
    let node = ty.node(id);
    let misfit = || misfit(json, node);
    Ok(match (&node.kind, json) {
        (Kind::Bool, Json::Bool(value)) => Value::Bool(*value),
        (Kind::Int, Json::Number(number)) => Value::Int(number.as_i64().ok_or_else(misfit)?),
        (Kind::Uint, Json::Number(number)) => Value::Uint(number.as_u64().ok_or_else(misfit)?),
        (Kind::Float, json) => Value::Float(float_from(json).ok_or_else(misfit)?),
        (Kind::Complex, Json::Array(parts)) => match &parts[..] {
            [re, im] => {
                let (re, im) = (
                    float_from(re).ok_or_else(misfit)?,
                    float_from(im).ok_or_else(misfit)?,
                );
                Value::Complex(Box::new(Complex { re, im }))
            }
            _ => return Err(misfit()),
        },
        (Kind::String, Json::String(text)) => Value::from(&**text),
        (Kind::Bytes, json) => Value::Bytes(bytes_from(json).ok_or_else(misfit)?.into()),
        (Kind::Opaque(how), Json::String(text)) => {
            Value::Opaque(*how, base64::decode(text).ok_or_else(misfit)?.into())
        }
        (Kind::Slice { elem }, Json::Array(items)) => list(items, ty, *elem)?,
        (Kind::Array { elem, len }, Json::Array(items)) if items.len() == *len => {
            list(items, ty, *elem)?
        }
        (&Kind::Map { key, elem }, Json::Object(members)) => {
            let pair = |(name, member): (&String, &Json)| {
                let key = key_from(name, &ty.node(key).kind).ok_or_else(misfit)?;
                Ok((key, element(member, ty, elem)?))
            };
            Value::Map(
                members
                    .iter()
                    .map(pair)
                    .collect::<Result<Vec<_>, Error>>()?
                    .into(),
            )
        }
        (&Kind::Map { key, elem }, Json::Array(pairs)) => {
            let pair = |pair: &Json| match pair.as_array().map(|pair| &pair[..]) {
                Some([k, v]) => Ok((element(k, ty, key)?, element(v, ty, elem)?)),
                _ => Err(misfit()),
            };
            Value::Map(
                pairs
                    .iter()
                    .map(pair)
                    .collect::<Result<Vec<_>, Error>>()?
                    .into(),
            )
        }
        (Kind::Struct { fields }, Json::Object(members)) => structure(members, ty, fields)?,
        (Kind::Interface, json) => dynamic(json)?,
        _ => return Err(misfit()),
    })
}

#[cold]
fn misfit(json: &Json, node: &Node) -> Error {
    let mut text = json.to_string();
    if let Some((cut, _)) = text.char_indices().nth(40) {
        text.truncate(cut);
        text.push_str("...");
    }
    let hint = match node.kind {
        Kind::Bytes | Kind::Opaque(_) => " as base64",
        _ => "",
    };
    Error::new(
        ErrorKind::Mismatch,
        format!(
            "{text} is given where {}{hint} is expected",
            node.in_short()
        ),
    )
}

fn list(items: &[Json], ty: &Schema, elem: NodeId) -> Result<Value, Error> {
    let items: Result<Vec<_>, Error> = items.iter().map(|item| element(item, ty, elem)).collect();
    Ok(Value::List(items?.into()))
}

/// An element cannot be missing, so `null` is written as a zero.
fn element(json: &Json, ty: &Schema, id: NodeId) -> Result<Value, Error> {
    let value = match json {
        Json::Null => zero(ty, id),
        json => from_json(json, ty, id),
    };
    value.map_err(Error::in_element)
}

fn structure(members: &Map<String, Json>, ty: &Schema, fields: &[Field]) -> Result<Value, Error> {
    let mut sent = vec![];
    for field in fields {
        let exact = members.get(&*field.name);
        let member = exact.or_else(|| {
            members
                .iter()
                .find(|(name, _)| same_letters(name, &field.name))
                .map(|(_, json)| json)
        });
        let Some(member) = member.filter(|member| !member.is_null()) else {
            continue;
        };
        let value = from_json(member, ty, field.ty).map_err(|e| e.in_field(&field.name))?;
        if !is_left_out(&value) {
            sent.push((field.name.clone(), value));
        }
    }
    Ok(Value::Struct(sent.into()))
}

fn same_letters(a: &str, b: &str) -> bool {
    a.chars()
        .flat_map(char::to_lowercase)
        .eq(b.chars().flat_map(char::to_lowercase))
}

/// Go's rule for fields.
fn is_left_out(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Float(value) => *value == 0.0,
        Value::Complex(value) => value.re == 0.0 && value.im == 0.0,
        Value::String(bytes) | Value::Bytes(bytes) => bytes.is_empty(),
        Value::Interface(value) => value.is_none(),
        _ => false,
    }
}

/// The zero of a type, where something must stand. What is in a struct may be left out.
fn zero(ty: &Schema, id: NodeId) -> Result<Value, Error> {
    let mut left = ZEROS_MAX;
    zero_within(ty, id, &mut left)
}

/// Arrays of arrays can have more elements than there is memory.
const ZEROS_MAX: usize = 1 << 16;

fn zero_within(ty: &Schema, id: NodeId, left: &mut usize) -> Result<Value, Error> {
    Ok(match &ty.node(id).kind {
        Kind::Bool => Value::Bool(false),
        Kind::Int => Value::Int(0),
        Kind::Uint => Value::Uint(0),
        Kind::Float => Value::Float(0.0),
        Kind::Complex => Value::Complex(Box::default()),
        Kind::Bytes => Value::Bytes(vec![].into()),
        Kind::String => Value::String(vec![].into()),
        Kind::Interface => Value::Interface(None),
        Kind::Slice { .. } => Value::List(vec![].into()),
        Kind::Map { .. } => Value::Map(vec![].into()),
        Kind::Struct { .. } => Value::Struct(vec![].into()),
        &Kind::Array { elem, len } if len < *left => {
            *left -= 1 + len;
            let items = (0..len).map(|_| zero_within(ty, elem, left));
            Value::List(items.collect::<Result<Vec<_>, _>>()?.into())
        }
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "null is given for {}, whose zero is not known",
                    ty.node(id).in_short()
                ),
            ));
        }
    })
}

fn float_from(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "+Inf" | "Inf" => Some(f64::INFINITY),
            "-Inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn bytes_from(json: &Json) -> Option<Vec<u8>> {
    match json {
        Json::String(text) => base64::decode(text),
        Json::Array(items) => items
            .iter()
            .map(|item| item.as_u64().and_then(|n| u8::try_from(n).ok()))
            .collect(),
        _ => None,
    }
}

fn key_from(name: &str, kind: &Kind) -> Option<Value> {
    Some(match kind {
        Kind::String => Value::from(name),
        Kind::Int => Value::Int(name.parse().ok()?),
        Kind::Uint => Value::Uint(name.parse().ok()?),
        Kind::Bool => Value::Bool(name.parse().ok()?),
        Kind::Float => Value::Float(name.parse().ok()?),
        _ => return None,
    })
}

/// What an interface takes: lists and objects are Go's `[]any` and `map[string]any`, which it must have registered.
fn dynamic(json: &Json) -> Result<Value, Error> {
    let wrapped = |name: &str, kind: Kind, json: &Json| {
        let mut nodes = schema::basic_nodes();
        let root = NodeId(schema::BASIC_NODES as u32);
        nodes.push(Node {
            name: "".into(),
            kind,
        });
        let schema = Schema::new(nodes, root);
        let value = from_json(json, &schema, root)?;
        Ok(Value::Interface(Some(Box::new(Dynamic {
            name: name.into(),
            schema,
            value,
        }))))
    };
    match json {
        Json::Null => Ok(Value::Interface(None)),
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), _, _) => Ok(Value::Int(int)),
            (_, Some(uint), _) => Ok(Value::Uint(uint)),
            (_, _, float) => Ok(Value::Float(float.unwrap_or(f64::NAN))),
        },
        Json::String(text) => Ok(Value::from(&**text)),
        Json::Array(_) => wrapped(
            "[]interface {}",
            Kind::Slice {
                elem: NodeId::INTERFACE,
            },
            json,
        ),
        Json::Object(_) => {
            let kind = Kind::Map {
                key: NodeId::STRING,
                elem: NodeId::INTERFACE,
            };
            wrapped("map[string]interface {}", kind, json)
        }
    }
}

impl Value {
    /// Puts zeros where a struct's fields were not sent, so that a reader sees them all. `ty` is the value's type.
    ///
    /// A field that is a struct or an array is only missing if it was a nil pointer: it stays so.
    ///
    /// A byte on the wire may be a struct of thousands of zeros. `memory` is how many bytes the fields of all structs may
    /// take together, their names included, as they are when they are written out. What the value itself was allowed is a
    /// good measure: [`Limits::memory_for`](crate::Limits::memory_for).
    ///
    /// # Errors
    /// If they would take more: then only some of the zeros are there.
    pub fn fill_zeros(&mut self, ty: &Schema, memory: usize) -> Result<(), Error> {
        let mut left = memory;
        fill(self, ty, ty.root(), &mut left).ok_or_else(|| {
            Error::limit(format!(
                "with all fields that are zero, the value would take more than {memory} bytes"
            ))
        })
    }
}

/// `None` if the memory that is left is too little.
fn fill(value: &mut Value, ty: &Schema, id: NodeId, left: &mut usize) -> Option<()> {
    match (value, &ty.node(id).kind) {
        (Value::List(items), &(Kind::Slice { elem } | Kind::Array { elem, .. })) => {
            for item in items.iter_mut() {
                fill(item, ty, elem, left)?;
            }
        }
        (Value::Map(pairs), &Kind::Map { elem, .. }) => {
            for (_, value) in pairs.iter_mut() {
                fill(value, ty, elem, left)?;
            }
        }
        (Value::Struct(sent), Kind::Struct { fields }) => {
            // The list itself, and for each field its place, its name, and what the largest zero takes.
            *left = left.checked_sub(size_of::<Vec<Value>>())?;
            for field in fields {
                let place = size_of::<(Arc<str>, Value)>() + size_of::<Complex>();
                *left = left.checked_sub(place + field.name.len())?;
            }
            let mut found = std::mem::take(sent).into_iter().peekable();
            let mut all: Vec<(Arc<str>, Value)> = Vec::with_capacity(fields.len());
            for field in fields {
                if let Some((name, mut value)) = found.next_if(|(name, _)| *name == field.name) {
                    fill(&mut value, ty, field.ty, left)?;
                    all.push((name, value));
                    continue;
                }
                match ty.node(field.ty).kind {
                    Kind::Struct { .. } | Kind::Array { .. } | Kind::Opaque(_) => {}
                    _ => {
                        if let Ok(zero) = zero(ty, field.ty) {
                            all.push((field.name.clone(), zero));
                        }
                    }
                }
            }
            *sent = all.into();
        }
        (Value::Interface(Some(dynamic)), _) => {
            let Dynamic { schema, value, .. } = &mut **dynamic;
            fill(value, schema, schema.root(), left)?;
        }
        _ => {}
    }
    Some(())
}

impl Schema {
    /// A type for some JSON of which nothing else is known.
    ///
    /// Whole numbers are `int`, others `float`, a list is a slice of what its first element is, an object is a struct.
    /// Its fields are the members, with a capital letter, since Go drops others. `null`, and what a list is of when it
    /// is empty, is an interface.
    pub fn infer(json: &Json) -> Self {
        let mut nodes = schema::basic_nodes();
        let root = infer(json, &mut nodes);
        Self::new(nodes, root)
    }
}

fn infer(json: &Json, nodes: &mut Vec<Node>) -> NodeId {
    let kind = match json {
        Json::Null => return NodeId::INTERFACE,
        Json::Bool(_) => return NodeId::BOOL,
        Json::Number(number) if number.is_i64() => return NodeId::INT,
        Json::Number(number) if number.is_u64() => return NodeId::UINT,
        Json::Number(_) => return NodeId::FLOAT,
        Json::String(_) => return NodeId::STRING,
        Json::Array(items) => {
            let elem = items
                .first()
                .map_or(NodeId::INTERFACE, |first| infer(first, nodes));
            // [1, 2.5] is a list of floats.
            let elem = match elem {
                NodeId::INT | NodeId::UINT if items.iter().any(Json::is_f64) => NodeId::FLOAT,
                elem => elem,
            };
            Kind::Slice { elem }
        }
        Json::Object(members) => {
            let fields = members.iter().map(|(name, json)| Field {
                name: capital(name),
                ty: infer(json, nodes),
            });
            Kind::Struct {
                fields: fields.collect(),
            }
        }
    };
    nodes.push(Node {
        name: "".into(),
        kind,
    });
    NodeId((nodes.len() - 1) as u32)
}

fn capital(name: &str) -> Arc<str> {
    let mut letters = name.chars();
    let name: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect();
    name.into()
}
