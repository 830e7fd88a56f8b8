//! Go types as the vectors describe them, and what a Go program would hold: its view of a value.
//! This is the tests' own reading of the vectors' README, apart from the library.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

use farcall_gob::__private::{At, Describer, NodeId, Reader, Writer};
use farcall_gob::{Complex, Error, GoString, Gob, Kind, Opaque, Schema, Value};
use serde_json::Value as Json;

/// A Go type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GoType {
    Bool,
    Int(u32),
    Uint(u32),
    Float(u32),
    Complex(u32),
    String,
    Bytes,
    Any,
    /// An interface with methods, by name.
    Iface(String),
    Slice(Box<GoType>),
    Array(Box<GoType>, usize),
    Map(Box<GoType>, Box<GoType>),
    Ptr(Box<GoType>),
    Struct(Vec<(String, GoType)>),
    /// A named type, whose body is in the definitions.
    Named(String),
    /// A type that encodes itself, by name.
    Ext(String, Opaque),
}

/// The bodies of named types.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defs(pub(crate) HashMap<String, GoType>);

impl Defs {
    pub(crate) fn of(json: &Json) -> Self {
        let Some(map) = json.as_object() else {
            return Self::default();
        };
        Self(
            map.iter()
                .map(|(name, body)| (name.clone(), GoType::of(body)))
                .collect(),
        )
    }

    /// The type itself, if it is a name.
    pub(crate) fn resolve<'a>(&'a self, ty: &'a GoType) -> &'a GoType {
        match ty {
            GoType::Named(name) => &self.0[name],
            ty => ty,
        }
    }
}

impl GoType {
    pub(crate) fn of(json: &Json) -> Self {
        if let Some(text) = json.as_str() {
            return Self::basic(text).unwrap_or_else(|| panic!("unknown type {text}"));
        }
        let boxed = |json: &Json| Box::new(Self::of(json));
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        if let Some(name) = text("named") {
            Self::Named(name)
        } else if let Some(name) = text("iface") {
            Self::Iface(name)
        } else if let Some(name) = text("ext") {
            Self::Ext(
                name,
                if json["how"] == "gob" {
                    Opaque::Gob
                } else {
                    Opaque::Binary
                },
            )
        } else if !json["ptr"].is_null() {
            Self::Ptr(boxed(&json["ptr"]))
        } else if !json["slice"].is_null() {
            Self::Slice(boxed(&json["slice"]))
        } else if !json["array"].is_null() {
            Self::Array(
                boxed(&json["array"]),
                json["len"].as_u64().unwrap() as usize,
            )
        } else if let Some(pair) = json["map"].as_array() {
            Self::Map(boxed(&pair[0]), boxed(&pair[1]))
        } else if let Some(fields) = json["struct"].as_array() {
            Self::Struct(
                fields
                    .iter()
                    .map(|f| (f[0].as_str().unwrap().to_owned(), Self::of(&f[1])))
                    .collect(),
            )
        } else {
            panic!("unknown type {json}")
        }
    }

    fn basic(text: &str) -> Option<Self> {
        Some(match text {
            "bool" => Self::Bool,
            "int" | "int64" => Self::Int(64),
            "int8" => Self::Int(8),
            "int16" => Self::Int(16),
            "int32" => Self::Int(32),
            "uint" | "uint64" | "uintptr" => Self::Uint(64),
            "uint8" => Self::Uint(8),
            "uint16" => Self::Uint(16),
            "uint32" => Self::Uint(32),
            "float32" => Self::Float(32),
            "float64" => Self::Float(64),
            "complex64" => Self::Complex(32),
            "complex128" => Self::Complex(64),
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "any" => Self::Any,
            _ => return None,
        })
    }

    /// The type that a value in an interface has, by its registered name.
    fn registered(name: &str) -> Option<Self> {
        let named = |name: &str| Some(Self::Named(name.to_owned()));
        let ext = |name: &str| Some(Self::Ext(name.to_owned(), Opaque::Gob));
        match name {
            "main.Point" | "main.Args" | "main.Circle" | "main.Scaled" | "main.Inner1"
            | "main.Inner2" | "main.Inner3" | "main.Empty" | "main.Tree" | "main.Node" => {
                named(name)
            }
            "*main.Square" => named("main.Square"),
            "custom/name.X" => named("main.Base"),
            "main.Color" => Some(Self::Int(64)),
            "time.Time" => ext("time.Time"),
            "*big.Int" => ext("big.Int"),
            "main.GobVal" => ext("main.GobVal"),
            "[]interface {}" => Some(Self::Slice(Box::new(Self::Any))),
            "map[string]interface {}" => {
                Some(Self::Map(Box::new(Self::String), Box::new(Self::Any)))
            }
            "map[string]int" => Some(Self::Map(Box::new(Self::String), Box::new(Self::Int(64)))),
            "[3]int" => Some(Self::Array(Box::new(Self::Int(64)), 3)),
            "[]uint8" => Some(Self::Bytes),
            _ => match name.strip_prefix("[]") {
                Some(elem) => Some(Self::Slice(Box::new(Self::basic(elem)?))),
                None => Self::basic(name),
            },
        }
    }

    /// A field that was not sent.
    fn zero_text(&self, defs: &Defs) -> String {
        match defs.resolve(self) {
            Self::Bool => "false".into(),
            Self::Int(_) | Self::Uint(_) => "0".into(),
            Self::Float(_) => Value::Float(0.0).to_canonical_json(),
            Self::Complex(_) => Value::Complex(Box::default()).to_canonical_json(),
            Self::String => "\"\"".into(),
            Self::Bytes => r#"{"$bytes":""}"#.into(),
            Self::Any | Self::Iface(_) | Self::Ptr(_) => "null".into(),
            Self::Slice(_) => "[]".into(),
            Self::Map(..) => r#"{"$map":[]}"#.into(),
            Self::Array(elem, len) => list_text((0..*len).map(|_| elem.zero_text(defs))),
            Self::Struct(fields) => struct_text(
                fields
                    .iter()
                    .map(|(name, ty)| (&**name, ty.zero_text(defs))),
            ),
            // What Go's zero of that type encodes to.
            Self::Ext(name, _) => match &**name {
                "time.Time" => r#"{"$gob":"01000000000000000000000000ffff"}"#.into(),
                "big.Int" => r#"{"$gob":"02"}"#.into(),
                "main.GobVal" => r#"{"$gob":"3c3e"}"#.into(),
                "main.GobPtr" => r#"{"$gob":"5b5d"}"#.into(),
                "netip.Prefix" => r#"{"$bin":"ff"}"#.into(),
                "netip.AddrPort" => r#"{"$bin":"0000"}"#.into(),
                "big.Rat" => r#"{"$gob":"0200000000"}"#.into(),
                "big.Float" => r#"{"$gob":"010800000000"}"#.into(),
                _ => r#"{"$bin":""}"#.into(),
            },
            Self::Named(_) => unreachable!("resolved"),
        }
    }

    /// Go's view of a value that is known as it is on the wire. Only for what is in interfaces: all else is received
    /// by [`Receiver`].
    pub(crate) fn view(&self, value: &Value, defs: &Defs) -> Result<String, String> {
        Ok(match (defs.resolve(self), value) {
            (Self::Ptr(ty), value) => ty.view(value, defs)?,
            (Self::Slice(elem) | Self::Array(elem, _), Value::List(items)) => {
                let items: Result<Vec<_>, _> =
                    items.iter().map(|item| elem.view(item, defs)).collect();
                list_text(items?.into_iter())
            }
            (Self::Map(key, elem), Value::Map(pairs)) => {
                let pair = |(k, v): &(Value, Value)| Ok((key.view(k, defs)?, elem.view(v, defs)?));
                map_text(pairs.iter().map(pair).collect::<Result<Vec<_>, String>>()?)
            }
            (Self::Struct(fields), Value::Struct(sent)) => {
                if !fields.is_empty()
                    && !sent.is_empty()
                    && !sent.iter().any(|(n, _)| fields.iter().any(|f| f.0 == **n))
                {
                    return Err("no fields match".into());
                }
                let mut texts = vec![];
                for (name, ty) in fields {
                    texts.push((
                        &**name,
                        match value.field(name) {
                            Some(value) => ty.view(value, defs)?,
                            None => ty.zero_text(defs),
                        },
                    ));
                }
                struct_text(texts.into_iter())
            }
            (Self::Any, value) => interface_text(value, None, defs)?,
            (Self::Iface(name), value) => interface_text(value, Some(name), defs)?,
            (Self::Ext(name, how), Value::Opaque(sent, bytes)) if how == sent => {
                ext_text(name, *how, bytes)?
            }
            (Self::Bool, Value::Bool(_))
            | (Self::Int(64), Value::Int(_))
            | (Self::Uint(64), Value::Uint(_))
            | (Self::Float(64), Value::Float(_))
            | (Self::Complex(64), Value::Complex(_))
            | (Self::String, Value::String(_))
            | (Self::Bytes, Value::Bytes(_)) => value.to_canonical_json(),
            (&Self::Int(bits), &Value::Int(v)) if v == v << (64 - bits) >> (64 - bits) => {
                value.to_canonical_json()
            }
            (&Self::Uint(bits), &Value::Uint(v)) if v == v << (64 - bits) >> (64 - bits) => {
                value.to_canonical_json()
            }
            (&Self::Float(32), &Value::Float(v)) => {
                Value::Float(f64::from(v as f32)).to_canonical_json()
            }
            (ty, value) => return Err(format!("{value:?} is no {ty:?}")),
        })
    }
}

fn list_text(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn map_text(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort();
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(k, v)| format!("[{k},{v}]"))
        .collect();
    format!(r#"{{"$map":[{}]}}"#, pairs.join(","))
}

fn struct_text<'a>(fields: impl Iterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<_> = fields
        .map(|(n, v)| format!("{}:{v}", Value::from(n).to_canonical_json()))
        .collect();
    format!("{{{}}}", fields.join(","))
}

/// A value in an interface: Go must know the name, and the type must have the interface's methods.
fn interface_text(value: &Value, methods: Option<&str>, defs: &Defs) -> Result<String, String> {
    let Value::Interface(dynamic) = value else {
        return Err("no interface".into());
    };
    let Some(dynamic) = dynamic else {
        return Ok("null".into());
    };
    let name = &*dynamic.name;
    let ty = GoType::registered(name).ok_or_else(|| format!("{name} is not registered"))?;
    if methods.is_some() && !["main.Circle", "*main.Square", "main.Scaled"].contains(&name) {
        return Err(format!("{name} lacks methods"));
    }
    if !fits(&ty, defs, &dynamic.schema) {
        return Err(format!("{name} is sent as {}", dynamic.schema));
    }
    let text = ty.view(&dynamic.value, defs)?;
    let name = Value::from(name).to_canonical_json();
    Ok(format!(r#"{{"$type":{name},"value":{text}}}"#))
}

/// Does Go take that type for this one, where only the outermost matters to the tests?
fn fits(ty: &GoType, defs: &Defs, schema: &Schema) -> bool {
    match (defs.resolve(ty), &schema.root_node().kind) {
        (GoType::Struct(fields), Kind::Struct { fields: sent }) => {
            fields.is_empty()
                || sent.is_empty()
                || sent.iter().any(|s| fields.iter().any(|f| f.0 == *s.name))
        }
        (GoType::Struct(_), _) | (_, Kind::Struct { .. }) => false,
        _ => true,
    }
}

fn ext_text(name: &str, how: Opaque, bytes: &[u8]) -> Result<String, String> {
    let kept = |bytes: &[u8]| Value::Opaque(how, bytes.to_vec().into()).to_canonical_json();
    Ok(match (name, bytes) {
        ("time.Time", [version @ (1 | 2), rest @ ..])
            if rest.len() == 13 + usize::from(*version) && rest[8] < 0x80 =>
        {
            let mut bytes = bytes.to_vec();
            bytes[9] &= 0x3F; // Go keeps 30 bits of nanoseconds, and goes astray if they are negative.
            kept(&bytes)
        }
        ("time.Time", _) => return Err("no time".into()),
        ("big.Int", []) => kept(&[2]),
        ("big.Int", [2 | 3, rest @ ..]) => {
            let zeros = rest.iter().take_while(|&&b| b == 0).count();
            let mut norm = vec![if zeros == rest.len() { 2 } else { bytes[0] }];
            norm.extend_from_slice(&rest[zeros..]);
            kept(&norm)
        }
        ("big.Int", _) => return Err("no integer".into()),
        ("main.GobVal", [_, inner @ .., _]) => kept(&[b"<", inner, b">"].concat()),
        ("main.GobPtr", [_, inner @ .., _]) => kept(&[b"[", inner, b"]"].concat()),
        ("main.GobVal" | "main.GobPtr", _) => return Err("too short".into()),
        ("main.BinVal", bytes) => kept(&vec![0; bytes.len()]),
        _ => kept(bytes),
    })
}

thread_local! {
    static NUMBERS: RefCell<HashMap<String, u32>> = RefCell::default();
    /// What the receivers are to be, one for each N.
    static RECEIVERS: RefCell<Vec<(GoType, Rc<Defs>)>> = const { RefCell::new(vec![]) };
}

/// A type that is whatever Go type the test wants: it goes through the same doors as derived types, so that all the
/// vectors' types can be received. It holds Go's view of what came.
#[derive(Debug)]
pub(crate) struct Receiver<const N: usize>(pub(crate) String);

/// Says what the receivers are.
pub(crate) fn set_receivers(types: Vec<GoType>, defs: &Defs) {
    let defs = Rc::new(defs.clone());
    RECEIVERS.with_borrow_mut(|r| *r = types.into_iter().map(|ty| (ty, defs.clone())).collect());
}

impl<const N: usize> Gob for Receiver<N> {
    fn describe(d: &mut Describer) -> NodeId {
        let (ty, defs) = RECEIVERS.with_borrow(|r| r[N].clone());
        describe::<N>(&ty, &defs, d)
    }

    fn zero() -> Option<Self> {
        None
    }

    fn put(&self, _: &mut Writer<'_>) -> Result<(), Error> {
        unreachable!("receivers are not sent")
    }

    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        let (ty, defs) = RECEIVERS.with_borrow(|r| r[N].clone());
        read(&ty, &defs, r, at).map(Self)
    }
}

/// The node of a type; equal types have the same.
fn describe<const N: usize>(ty: &GoType, defs: &Defs, d: &mut Describer) -> NodeId {
    let part = |ty: &GoType, d: &mut Describer| describe::<N>(ty, defs, d);
    let key = NUMBERS.with_borrow_mut(|numbers| {
        let key = format!("{ty:?}");
        let next = numbers.len() as u32;
        *numbers.entry(key).or_insert(next)
    });
    let named = |kind: &dyn Fn(&mut Describer) -> Kind, d: &mut Describer| {
        d.made_up::<Receiver<N>>(key, "", kind)
    };
    match defs.resolve(ty) {
        GoType::Bool => Describer::BOOL,
        GoType::Int(_) => Describer::INT,
        GoType::Uint(_) => Describer::UINT,
        GoType::Float(_) => Describer::FLOAT,
        GoType::Complex(_) => Describer::COMPLEX,
        GoType::String => Describer::STRING,
        GoType::Bytes => Describer::BYTES,
        GoType::Any | GoType::Iface(_) => Describer::INTERFACE,
        GoType::Ptr(ty) => part(ty, d),
        GoType::Slice(elem) => named(
            &|d| Kind::Slice {
                elem: part(elem, d),
            },
            d,
        ),
        GoType::Array(elem, len) => named(
            &|d| Kind::Array {
                elem: part(elem, d),
                len: *len,
            },
            d,
        ),
        GoType::Map(key, elem) => named(
            &|d| Kind::Map {
                key: part(key, d),
                elem: part(elem, d),
            },
            d,
        ),
        GoType::Struct(fields) => {
            let fields = |d: &mut Describer| {
                let field = |(name, ty): &(String, GoType)| farcall_gob::Field {
                    name: (&**name).into(),
                    ty: part(ty, d),
                };
                Kind::Struct {
                    fields: fields.iter().map(field).collect(),
                }
            };
            named(&fields, d)
        }
        GoType::Ext(_, how) => named(&|_| Kind::Opaque(*how), d),
        GoType::Named(_) => unreachable!("resolved"),
    }
}

fn read(ty: &GoType, defs: &Defs, r: &mut Reader<'_>, at: At<'_>) -> Result<String, Error> {
    fn text<T: Gob>(
        r: &mut Reader<'_>,
        at: At<'_>,
        text: impl FnOnce(T) -> Value,
    ) -> Result<String, Error> {
        T::get(r, at).map(|value| text(value).to_canonical_json())
    }
    match defs.resolve(ty) {
        GoType::Bool => text(r, at, Value::Bool),
        GoType::Int(8) => text(r, at, |v: i8| Value::Int(v.into())),
        GoType::Int(16) => text(r, at, |v: i16| Value::Int(v.into())),
        GoType::Int(32) => text(r, at, |v: i32| Value::Int(v.into())),
        GoType::Int(_) => text(r, at, Value::Int),
        GoType::Uint(8) => text(r, at, |v: u8| Value::Uint(v.into())),
        GoType::Uint(16) => text(r, at, |v: u16| Value::Uint(v.into())),
        GoType::Uint(32) => text(r, at, |v: u32| Value::Uint(v.into())),
        GoType::Uint(_) => text(r, at, Value::Uint),
        GoType::Float(32) => text(r, at, |v: f32| Value::Float(v.into())),
        GoType::Float(_) => text(r, at, Value::Float),
        GoType::Complex(32) => {
            let parts = [f32::get(r, at)?, f32::get(r, at)?].map(f64::from);
            Ok(Value::Complex(Box::new(Complex {
                re: parts[0],
                im: parts[1],
            }))
            .to_canonical_json())
        }
        GoType::Complex(_) => text(r, at, |v: Complex| Value::Complex(Box::new(v))),
        GoType::String => text(r, at, |v: GoString| Value::String(v.0.into())),
        GoType::Bytes => text(r, at, |v: Vec<u8>| Value::Bytes(v.into())),
        GoType::Any => interface_text(&Value::get(r, at)?, None, defs).map_err(Error::refused),
        GoType::Iface(name) => {
            interface_text(&Value::get(r, at)?, Some(name), defs).map_err(Error::refused)
        }
        GoType::Ptr(ty) => read(ty, defs, r, at),
        GoType::Slice(elem) => {
            let count = r.count::<String>()?;
            read_items(count, elem, defs, r, at)
        }
        GoType::Array(elem, len) => {
            let count = r.count::<String>()?;
            if count != *len {
                return Err(Error::refused("the array's length"));
            }
            read_items(count, elem, defs, r, at)
        }
        GoType::Map(key, elem) => {
            let count = r.count::<[String; 2]>()?;
            let (key_at, elem_at) = at.pair();
            r.enter()?;
            let mut pairs: Vec<(String, String)> = vec![];
            for _ in 0..count {
                let k = read(key, defs, r, key_at)?;
                let v = read(elem, defs, r, elem_at)?;
                // The last of equal keys wins, and NaN is never equal.
                let is_nan = matches!(defs.resolve(key), GoType::Float(_)) && is_nan_text(&k);
                match pairs.iter_mut().find(|(other, _)| *other == k && !is_nan) {
                    Some(pair) => pair.1 = v,
                    None => pairs.push((k, v)),
                }
            }
            r.leave();
            Ok(map_text(pairs))
        }
        GoType::Struct(fields) => {
            r.enter()?;
            let mut texts: Vec<_> = fields
                .iter()
                .map(|(name, ty)| (&**name, ty.zero_text(defs)))
                .collect();
            let mut steps = r.fields(at);
            while let Some((number, at)) = steps.step(r)? {
                texts[number as usize].1 = read(&fields[number as usize].1, defs, r, at)?;
            }
            r.leave();
            Ok(struct_text(texts.into_iter()))
        }
        GoType::Ext(name, how) => {
            let bytes = r.bytes()?;
            ext_text(name, *how, bytes).map_err(Error::refused)
        }
        GoType::Named(_) => unreachable!("resolved"),
    }
}

fn read_items(
    count: usize,
    elem: &GoType,
    defs: &Defs,
    r: &mut Reader<'_>,
    at: At<'_>,
) -> Result<String, Error> {
    r.enter()?;
    let mut out = String::from("[");
    for ix in 0..count {
        let comma = if ix > 0 { "," } else { "" };
        write!(out, "{comma}{}", read(elem, defs, r, at.elem())?).unwrap();
    }
    r.leave();
    out.push(']');
    Ok(out)
}

fn is_nan_text(text: &str) -> bool {
    let bits = text
        .trim_start_matches(r#"{"$f64":""#)
        .trim_end_matches(r#""}"#);
    u64::from_str_radix(bits, 16).is_ok_and(|bits| f64::from_bits(bits).is_nan())
}
