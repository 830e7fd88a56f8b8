//! Which types of the standard library and of other crates are what in Go.

#[cfg(feature = "bytes")]
mod foreign_bytes;
mod lists;
mod maps;
mod numbers;
mod opaque;
mod pointers;
mod std_types;
mod text;

pub use numbers::Complex;
pub use opaque::{BinaryEncoded, GobEncoded, SelfEncoded, TextEncoded};
pub use text::GoString;
