//! Values as JSON text without any loss, in one form: what is equal has equal text. For tools and tests; JSON for
//! people is in `json`.

use std::fmt::Write;

use crate::schema::Opaque;
use crate::value::Value;

/// Larger numbers are not exact in the JSON of many programs.
const EXACT_MAX: u64 = 1 << 53;

impl Value {
    /// The value as JSON text without loss, on one line without spaces.
    ///
    /// | value | JSON |
    /// |---|---|
    /// | bool, string | as in JSON; a string that is not UTF-8 is `{"$str":"hex"}` |
    /// | integer | a number, or `{"$int":"…"}`, `{"$uint":"…"}` beyond 2^53 |
    /// | float | `{"$f64":"16 hex digits of its bits"}` |
    /// | complex | `{"$c128":["…","…"]}` |
    /// | bytes | `{"$bytes":"hex"}` |
    /// | list | an array |
    /// | map | `{"$map":[[key,value],…]}`, sorted by their texts |
    /// | struct | an object of the fields that were sent |
    /// | interface | `null` or `{"$type":"name","value":…}` |
    /// | types that encode themselves | `{"$gob":"hex"}`, `{"$bin":"hex"}`, `{"$text":"hex"}` |
    pub fn to_canonical_json(&self) -> String {
        let mut out = String::new();
        write(self, &mut out);
        out
    }
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => {
            let exact = value.unsigned_abs() <= EXACT_MAX;
            number(out, exact, "$int", value);
        }
        Value::Uint(value) => number(out, *value <= EXACT_MAX, "$uint", value),
        Value::Float(value) => put(
            out,
            format_args!(r#"{{"$f64":"{:016x}"}}"#, value.to_bits()),
        ),
        Value::Complex(value) => put(
            out,
            format_args!(
                r#"{{"$c128":["{:016x}","{:016x}"]}}"#,
                value.re.to_bits(),
                value.im.to_bits()
            ),
        ),
        Value::String(text) => match std::str::from_utf8(text) {
            Ok(text) => string(text, out),
            Err(_) => hex("$str", text, out),
        },
        Value::Bytes(bytes) => hex("$bytes", bytes, out),
        Value::Opaque(Opaque::Gob, bytes) => hex("$gob", bytes, out),
        Value::Opaque(Opaque::Binary, bytes) => hex("$bin", bytes, out),
        Value::Opaque(Opaque::Text, bytes) => hex("$text", bytes, out),
        Value::List(items) => {
            out.push('[');
            for (ix, item) in items.iter().enumerate() {
                comma(ix, out);
                write(item, out);
            }
            out.push(']');
        }
        Value::Map(pairs) => {
            let mut texts: Vec<_> = pairs
                .iter()
                .map(|(key, value)| (key.to_canonical_json(), value.to_canonical_json()))
                .collect();
            texts.sort();
            out.push_str(r#"{"$map":["#);
            for (ix, (key, value)) in texts.iter().enumerate() {
                comma(ix, out);
                put(out, format_args!("[{key},{value}]"));
            }
            out.push_str("]}");
        }
        Value::Struct(fields) => {
            out.push('{');
            for (ix, (name, value)) in fields.iter().enumerate() {
                comma(ix, out);
                string(name, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::Interface(None) => out.push_str("null"),
        Value::Interface(Some(dynamic)) => {
            out.push_str(r#"{"$type":"#);
            string(&dynamic.name, out);
            out.push_str(r#","value":"#);
            write(&dynamic.value, out);
            out.push('}');
        }
    }
}

fn number(out: &mut String, exact: bool, tag: &str, value: impl std::fmt::Display) {
    if exact {
        put(out, format_args!("{value}"));
    } else {
        put(out, format_args!(r#"{{"{tag}":"{value}"}}"#));
    }
}

fn hex(tag: &str, bytes: &[u8], out: &mut String) {
    put(out, format_args!(r#"{{"{tag}":""#));
    for byte in bytes {
        put(out, format_args!("{byte:02x}"));
    }
    out.push_str(r#""}"#);
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\0'..='\x1f' => put(out, format_args!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

fn comma(ix: usize, out: &mut String) {
    if ix > 0 {
        out.push(',');
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a String does not fail");
}

#[cfg(feature = "json")]
mod read {
    use std::sync::Arc;

    use serde_json::Value as Json;

    use crate::error::{Error, ErrorKind};
    use crate::impls::Complex;
    use crate::schema::{Kind, NodeId, Opaque, Schema};
    use crate::value::{Dynamic, Value};

    impl Value {
        /// The value of type `ty` whose [canonical form](Self::to_canonical_json) this is.
        ///
        /// `registered` gives the type of what an interface holds, by its name.
        ///
        /// # Errors
        /// If the JSON is not the canonical form of such a value. The error has the path of the member.
        pub fn from_canonical_json(
            json: &Json,
            ty: &Schema,
            registered: &dyn Fn(&str) -> Option<Schema>,
        ) -> Result<Self, Error> {
            read(json, ty, ty.root(), registered)
        }
    }

    fn read(
        json: &Json,
        ty: &Schema,
        id: NodeId,
        registered: &dyn Fn(&str) -> Option<Schema>,
    ) -> Result<Value, Error> {
        let kind = &ty.node(id).kind;
        let misfit = || {
            let what = ty.node(id).in_short();
            Error::new(
                ErrorKind::Mismatch,
                format!("this is not the canonical form of {what}"),
            )
        };
        let tagged = |tag: &str| json.get(tag).and_then(Json::as_str).ok_or_else(misfit);
        let bytes = |tag: &str| unhex(tagged(tag)?).ok_or_else(misfit);
        let part = |json: &Json, id: NodeId| read(json, ty, id, registered);
        let list = |elem: NodeId| {
            let items = json.as_array().ok_or_else(misfit)?.iter();
            items
                .map(|item| part(item, elem).map_err(Error::in_element))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match kind {
            Kind::Bool => Value::Bool(json.as_bool().ok_or_else(misfit)?),
            Kind::Int => Value::Int(match json {
                Json::Number(number) => number.as_i64().ok_or_else(misfit)?,
                _ => tagged("$int")?.parse().map_err(|_| misfit())?,
            }),
            Kind::Uint => Value::Uint(match json {
                Json::Number(number) => number.as_u64().ok_or_else(misfit)?,
                _ => tagged("$uint")?.parse().map_err(|_| misfit())?,
            }),
            Kind::Float => Value::Float(float(tagged("$f64")?).ok_or_else(misfit)?),
            Kind::Complex => match json
                .get("$c128")
                .and_then(Json::as_array)
                .map(|parts| &parts[..])
            {
                Some([Json::String(re), Json::String(im)]) => {
                    let (re, im) = (float(re).ok_or_else(misfit)?, float(im).ok_or_else(misfit)?);
                    Value::Complex(Box::new(Complex { re, im }))
                }
                _ => return Err(misfit()),
            },
            Kind::String => match json {
                Json::String(text) => Value::from(&**text),
                _ => Value::String(bytes("$str")?.into()),
            },
            Kind::Bytes => Value::Bytes(bytes("$bytes")?.into()),
            Kind::Opaque(Opaque::Gob) => Value::Opaque(Opaque::Gob, bytes("$gob")?.into()),
            Kind::Opaque(Opaque::Binary) => Value::Opaque(Opaque::Binary, bytes("$bin")?.into()),
            Kind::Opaque(Opaque::Text) => Value::Opaque(Opaque::Text, bytes("$text")?.into()),
            &Kind::Slice { elem } | &Kind::Array { elem, .. } => Value::List(list(elem)?.into()),
            &Kind::Map { key, elem } => {
                let pair = |pair: &Json| match pair.as_array().map(|pair| &pair[..]) {
                    Some([k, v]) => Ok((part(k, key)?, part(v, elem)?)),
                    _ => Err(misfit()),
                };
                let pairs = json
                    .get("$map")
                    .and_then(Json::as_array)
                    .ok_or_else(misfit)?;
                let pairs = pairs
                    .iter()
                    .map(|json| pair(json).map_err(Error::in_element));
                Value::Map(pairs.collect::<Result<Vec<_>, _>>()?.into())
            }
            Kind::Struct { fields } => {
                let members = json.as_object().ok_or_else(misfit)?;
                let mut sent: Vec<(Arc<str>, Value)> = vec![];
                for field in fields {
                    if let Some(json) = members.get(&*field.name) {
                        let value = part(json, field.ty).map_err(|e| e.in_field(&field.name))?;
                        sent.push((field.name.clone(), value));
                    }
                }
                if sent.len() != members.len() {
                    return Err(misfit());
                }
                Value::Struct(sent.into())
            }
            Kind::Interface if json.is_null() => Value::Interface(None),
            Kind::Interface => {
                let name = tagged("$type")?;
                let Some(schema) = registered(name) else {
                    return Err(Error::new(
                        ErrorKind::Unregistered,
                        format!("the type of {name:?} is not known"),
                    ));
                };
                let value = read(
                    json.get("value").ok_or_else(misfit)?,
                    &schema,
                    schema.root(),
                    registered,
                )
                .map_err(|e| e.in_field(&format!("({name})")))?;
                Value::Interface(Some(Box::new(Dynamic {
                    name: name.into(),
                    schema,
                    value,
                })))
            }
        })
    }

    fn unhex(text: &str) -> Option<Vec<u8>> {
        let digits = text.as_bytes().chunks(2);
        digits
            .map(|pair| {
                u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?, 16)
                    .ok()
            })
            .collect()
    }

    fn float(bits: &str) -> Option<f64> {
        u64::from_str_radix(bits, 16).ok().map(f64::from_bits)
    }
}
