//! Go's `encoding/gob` in Rust: typed and untyped, fast, without I/O.

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
pub use impls::{BinaryEncoded, Complex, GoString, GobEncoded, SelfEncoded, TextEncoded};
pub use limits::Limits;
pub use schema::{Field, Kind, Node, NodeId, Opaque, Schema, TypeSyntaxError};
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
