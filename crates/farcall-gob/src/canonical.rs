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
