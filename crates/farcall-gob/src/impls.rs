//! Which types of the standard library and of other crates are what in Go.

mod foreign;
mod lists;
mod maps;
mod numbers;
mod opaque;
mod pointers;
mod std_types;
mod text;

#[cfg(feature = "uuid")]
pub use foreign::BinaryUuid;
pub use numbers::Complex;
pub use opaque::{BinaryEncoded, GobEncoded, SelfEncoded, TextEncoded};
pub use std_types::NetIp;
pub use text::GoString;

/// Sends a value and receives it as a `T`.
#[cfg(test)]
fn sent_as<T: crate::Gob>(value: &impl crate::Gob) -> Result<T, crate::Error> {
    let mut stream = vec![];
    crate::Encoder::new().encode(value, &mut stream)?;
    let mut decoder = crate::Decoder::new(crate::Limits::default());
    match decoder.next(&stream)? {
        crate::Next::Value { raw, .. } => decoder.decode(raw),
        crate::Next::More { .. } => panic!("the value is whole"),
    }
}
