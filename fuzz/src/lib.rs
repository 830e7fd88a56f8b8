//! What several fuzz targets share: streams cut into values or pieces, values compared, memory counted.
//! What each target claims stands in `fuzz_targets`.

pub mod model;

use farcall_gob::{Decoder, Error, Kind, Limits, Next, Schema, Value};

/// The values of one stream, found in a whole or in pieces, until it ends or breaks.
#[derive(Debug, Default)]
pub struct Found {
    /// The bytes of each, and where the stream was done with it.
    pub values: Vec<(Vec<u8>, usize)>,
    pub error: Option<Error>,
}

/// Reads a stream that has arrived as a whole.
pub fn find(decoder: &mut Decoder, stream: &[u8]) -> Found {
    let mut found = Found::default();
    let mut at = 0;
    loop {
        match decoder.next(&stream[at..]) {
            Ok(Next::Value { consumed, raw }) => {
                at += consumed;
                found.values.push((raw.to_vec(), at));
            }
            Ok(Next::More { .. }) => return found,
            Err(error) => {
                found.error = Some(error);
                return found;
            }
        }
    }
}

/// Lengths of pieces, made from one byte: some streams come byte by byte, others in a few pieces.
pub struct Pieces(u32);

impl Pieces {
    pub fn new(seed: u8) -> Self {
        Self(u32::from(seed) + 1)
    }

    pub fn next_len(&mut self) -> usize {
        // A linear congruence is plenty: only its upper bits are looked at.
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match self.0 >> 30 {
            0 => 1,
            1 => 2 + (self.0 >> 24) as usize % 6,
            2 => 8 + (self.0 >> 20) as usize % 100,
            _ => 1 + (self.0 >> 16) as usize % 1_000,
        }
    }
}

/// Writes a value and reads it again.
pub fn sent_again(value: &Value, schema: &Schema) -> Result<(Value, Schema), Error> {
    let mut stream = vec![];
    roomy_encoder().encode_value(value, schema, &mut stream)?;
    let mut decoder = Decoder::new(roomy());
    let found = find(&mut decoder, &stream);
    assert!(found.error.is_none(), "{:?}", found.error);
    let [(raw, end)] = &found.values[..] else {
        panic!("{} values instead of one", found.values.len());
    };
    assert_eq!(*end, stream.len());
    Ok((decoder.decode_value(raw)?, decoder.schema_of_value(raw)?))
}

/// Limits for what passed others before. What was sent in a roundabout way may take more than is allowed for its
/// shortest form, and slow builds need more of the stack to write than to read.
pub fn roomy() -> Limits {
    Limits {
        stack: 6 << 20,
        ..Limits::trusting()
    }
}

pub fn roomy_encoder() -> farcall_gob::Encoder {
    farcall_gob::Encoder::with_limits(roomy())
}

/// True if a value may be impossible to write again although it was read: where a struct has two fields of one name,
/// the tree does not tell which of them was meant.
pub fn is_ambiguous(value: &Value, schema: &Schema) -> bool {
    let twice = |schema: &Schema| {
        schema.nodes().iter().any(|node| match &node.kind {
            Kind::Struct { fields } => {
                let mut names: Vec<_> = fields.iter().map(|field| &field.name).collect();
                names.sort();
                names.windows(2).any(|pair| pair[0] == pair[1])
            }
            _ => false,
        })
    };
    if twice(schema) {
        return true;
    }
    let mut todo = vec![value];
    while let Some(value) = todo.pop() {
        match value {
            Value::List(items) => todo.extend(items.iter()),
            Value::Map(pairs) => pairs.iter().for_each(|(k, v)| todo.extend([k, v])),
            Value::Struct(fields) => todo.extend(fields.iter().map(|(_, value)| value)),
            Value::Interface(Some(dynamic)) => {
                if twice(&dynamic.schema) {
                    return true;
                }
                todo.push(&dynamic.value);
            }
            _ => {}
        }
    }
    false
}

/// Runs something and counts the memory that it held at most, in bytes.
pub fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let mut out = None;
    let info = allocation_counter::measure(|| out = Some(run()));
    let Some(out) = out else {
        panic!("the closure was not run")
    };
    (out, usize::try_from(info.bytes_max).unwrap_or(usize::MAX))
}
