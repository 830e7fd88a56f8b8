//! Go's `encoding/gob` in Rust: typed and untyped, fast, without I/O.
//!
//! # Features
//!
//! Types of other crates, each off by default. What is lost on the way, and what is refused, stands in the file of
//! each, under `src/impls/foreign/`.
//!
//! | feature | Rust type | Go type |
//! |---|---|---|
//! | `bytes` | `Bytes`, `BytesMut` | `[]byte` |
//! | `chrono` | `DateTime<Utc>`, `DateTime<FixedOffset>` | `time.Time` |
//! | `jiff` | `Timestamp`, `Zoned` | `time.Time` |
//! | `time` | `OffsetDateTime` | `time.Time` |
//! | `num-bigint` | `BigInt`, `BigUint` | `big.Int` |
//! | `num-complex` | `Complex<f32>`, `Complex<f64>` | `complex64`, `complex128` |
//! | `url` | `Option<Url>` | `*url.URL` |
//! | `uuid` | `Uuid` | `uuid.UUID` of Go's library |
//! | `uuid` | `BinaryUuid` | `uuid.UUID` of github.com/google/uuid |
//!
//! The others: `derive` (on by default) is `#[derive(Gob)]`, `json` makes JSON for people of values without types, and
//! `serde` is what farcall's attribute `message` needs for JSON.

// The derive names this crate as its users do.
extern crate self as farcall_gob;

mod error;
mod limits;
mod wire;

mod schema;

mod describe;
mod encode;
mod write;

mod cursor;
mod plan;
mod read;
mod table;
mod walk;

mod decode;

mod gob;
mod impls;

mod value;

mod canonical;

#[cfg(any(feature = "json", feature = "serde"))]
mod base64;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "serde")]
mod message;

#[cfg(feature = "derive")]
pub use farcall_macros::Gob;

pub use decode::{Decoder, Next, Types};
pub use encode::{Encoder, Mark};
pub use error::{Error, ErrorKind};
pub use gob::Gob;
#[cfg(feature = "uuid")]
pub use impls::BinaryUuid;
pub use impls::{BinaryEncoded, Complex, GoString, GobEncoded, NetIp, SelfEncoded, TextEncoded};
pub use limits::Limits;
pub use schema::{Field, Kind, Node, NodeId, Opaque, Schema};
pub use value::{Dynamic, Thin, Value};

/// What the derive's output calls. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use crate::describe::Describer;
    pub use crate::gob::{Gob, GobField};
    #[cfg(feature = "serde")]
    pub mod json {
        //! JSON as the attribute `message` has it.
        pub use crate::message::{Object, base64, field, zero};
    }
    pub use crate::plan::At;
    pub use crate::read::{Contents, Fields, Reader};
    pub use crate::schema::NodeId;
    pub use crate::write::Writer;
}
