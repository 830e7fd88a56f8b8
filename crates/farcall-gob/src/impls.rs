//! Which types of the standard library and of other crates are what in Go.

#[cfg(feature = "bytes")]
mod foreign_bytes;
mod lists;
mod maps;
mod numbers;
mod pointers;
mod text;

pub use text::GoString;
