//! Go's `encoding/gob` in Rust: the whole format, for your own types and for types you have never seen, without I/O.
//!
//! gob is what Go programs write to files, caches and `net/rpc` connections. A stream of it carries the definitions of
//! its types, once each, before their first values; receivers match fields by name. This crate reads what Go writes and
//! writes what Go reads, is several times faster than Go's own, and is safe to point at strangers: there is no `unsafe`
//! in it, nothing panics, and memory, depth and the number of types are bounded.
//!
//! ```
//! use farcall_gob::{Decoder, Encoder, Gob, Limits, Next};
//!
//! #[derive(Gob, Debug, PartialEq)]
//! struct Point {
//!     x: i64,
//!     y: i64,
//! }
//!
//! let mut stream = vec![];
//! let mut encoder = Encoder::new(); // One for each direction of a connection, or for a file.
//! encoder.encode(&Point { x: 22, y: 33 }, &mut stream)?;
//! encoder.encode(&Point { x: 0, y: -1 }, &mut stream)?;
//!
//! let mut decoder = Decoder::new(Limits::default());
//! let mut rest = &stream[..];
//! let mut points = vec![];
//! while let Next::Value { consumed, raw } = decoder.next(rest)? {
//!     points.push(decoder.decode::<Point>(raw)?);
//!     rest = &rest[consumed..];
//! }
//! assert_eq!(points, [Point { x: 22, y: 33 }, Point { x: 0, y: -1 }]);
//! # Ok::<(), farcall_gob::Error>(())
//! ```
//!
//! # The map
//!
//! | to | use |
//! |---|---|
//! | send values | [`Encoder`]; [`Encoder::mark`] to write several as one unit |
//! | find values in bytes that arrive in pieces, and decode them | [`Decoder`] |
//! | decode in another task while the decoder reads on | [`Decoder::types`] |
//! | read from a file or a socket, or write to one | [`io::Reader`] and [`io::Writer`] |
//! | the same without blocking | `io::AsyncReader` and `io::AsyncWriter` (feature `futures-io`) |
//! | handle values of types that are not known | [`Value`], [`Decoder::decode_value`], [`Encoder::encode_value`] |
//! | look at types, print them as Go or Rust | [`Schema`] |
//! | make a type that encodes itself, as Go's `GobEncoder` | [`SelfEncoded`] |
//! | use a type that has serde's traits | `Serde` (feature `serde`) |
//!
//! # Which type is what
//!
//! gob knows one `int` for all widths; a number that does not fit the receiver's is an error there. Signed and unsigned
//! do not mix, nor do integers and floats, strings and bytes, slices and arrays.
//!
//! | Go | Rust |
//! |---|---|
//! | `bool` | `bool` |
//! | `int`, `int8` … `int64`, `rune` | `i8` … `i64`, `isize`, `char` |
//! | `uint`, `uint8` … `uint64`, `uintptr`, `byte` | `u8` … `u64`, `usize` |
//! | `float32`, `float64` | `f32`, `f64` |
//! | `complex64`, `complex128` | [`Complex`] |
//! | `string` | `String`, `Box<str>`, `Arc<str>`, `Cow<'static, str>`; [`GoString`] if it need not be UTF-8 |
//! | `[]byte` | `Vec<u8>`, `Box<[u8]>`, … (`bytes::Bytes` with feature `bytes`) |
//! | `[]T` | `Vec<T>`, `Box<[T]>`, `VecDeque<T>`, `BTreeSet<T>`, `HashSet<T>`, … |
//! | `[N]T` (also `[N]byte`) | `[T; N]` |
//! | `map[K]V` | `HashMap<K, V>`, `BTreeMap<K, V>` |
//! | `struct` | a struct with `#[derive(Gob)]` |
//! | `struct{}` | `()`, which takes whatever comes; or a struct without fields |
//! | `*T` | `Option<T>` in a field; `Box<T>`, `Rc<T>`, `Arc<T>` are not seen |
//! | a named type | a struct with one unnamed field |
//! | constants (`iota`) | an enum without fields, `as = "int"`, `"uint"` or `"string"` |
//! | an interface, `any` | an enum `as = "interface"`, or [`Value`] |
//! | a struct of pointers of which one is set | an enum `as = "union"` |
//! | `time.Time` | `SystemTime` (in UTC) |
//! | `time.Duration` | `Duration`, if it is not negative; `i64` nanoseconds |
//! | `netip.Addr`, `netip.AddrPort` | `IpAddr`, `SocketAddr`, as an `Option` in fields |
//! | `net.IP` | [`NetIp`], as an `Option` in fields |
//! | any type with `GobEncode`, `MarshalBinary` | [`SelfEncoded`]; [`GobEncoded`], [`BinaryEncoded`] keep the bytes |
//!
//! Names are Go's: `user_id` is `UserID` on the wire, and a name that Go would drop is an error of the compiler.
//!
//! # What differs, and why
//!
//! * **Zero means "not sent".** gob leaves out fields that are 0, "" or empty, and so a field that is missing on the
//!   wire is zero here too. Types without a zero, as `NonZero` or an enum without a variant 0, stand in fields as an
//!   `Option`. `#[gob(default)]` is for senders whose type lacks the field.
//! * **`Some(0)` stays `Some(0)`.** Go leaves out pointers to zero, and its receivers then hold nil. Here the zero is
//!   written, which Go reads as a pointer to zero.
//! * **Empty maps are sent**, or Go's receiver would hold a nil map, which panics when it is written to.
//! * **-0.0 is zero in fields**, as in Go.
//! * **An interface's types are defined before the value**, not in the middle of it. Go takes both, but loses its way when
//!   it skips a value with definitions inside (golang/go#34879).
//! * **Nothing is half written.** A value that cannot be sent leaves the stream as it was. Go's encoder breaks the stream
//!   without a sign.
//! * **Nothing is half read.** The end of a value is known before it is decoded, so a value that does not fit
//!   leaves the next one where it is.
//! * **A type of yours must be one type.** Go's receivers refuse two definitions for what is one type to them inside one
//!   field; lists and maps of equal types therefore share a definition, and structs should be one struct in Rust too.
//!
//! # Limits
//!
//! [`Limits`] has them all, with defaults for strangers: 64 MiB a message, 10,000 levels or 1 MiB of stack, 10,000
//! types of 10,000 fields and 1 MiB of definitions in all, and 16 bytes of memory for each byte received, and 64 KiB. The last one can be met in good
//! faith, by a long list of large structs that are nearly all zero: raise `memory_base` for these.
//!
//! # The bytes
//!
//! ```
//! # use farcall_gob::{Encoder, Gob};
//! # #[derive(Gob)]
//! # struct Point { x: i64, y: i64 }
//! # let (mut encoder, mut out) = (Encoder::new(), vec![]);
//! encoder.encode(&Point { x: 22, y: 33 }, &mut out)?;
//! let bytes = [
//!     0x1E,                                     // 30 bytes follow
//!     0x7F,                                     // -64: the definition of type 64
//!     0x03,                                     //   of a struct
//!     0x01, 0x01, 0x05, b'P', b'o', b'i', b'n', b't', // its name
//!     0x01, 0xFF, 0x80, 0x00,                   //   and its id again, 64
//!     0x01, 0x02,                               //   two fields:
//!     0x01, 0x01, b'X', 0x01, 0x04, 0x00,       //   X, of type 2, which is int
//!     0x01, 0x01, b'Y', 0x01, 0x04, 0x00,       //   Y
//!     0x00, 0x00,
//!     0x07,                                     // 7 bytes follow
//!     0xFF, 0x80,                               // 64: a value of that type
//!     0x01, 0x2C,                               //   one field on: 22
//!     0x01, 0x42,                               //   one field on: 33
//!     0x00,                                     //   that was all
//! ];
//! assert_eq!(out, bytes);
//! # Ok::<(), farcall_gob::Error>(())
//! ```
//!
//! # Features
//!
//! `derive` (default), `json` (values and types from and to JSON for people), `serde`, `futures-io` (asynchronous readers
//! and writers), and one for each crate whose types are known here. None of them brings in an async runtime: tokio's
//! streams go through the crate `tokio-util`, whose feature `compat` gives them the traits of `futures-io`.
//!
//! | feature | type | Go | what to know |
//! |---|---|---|---|
//! | `bytes` | `Bytes`, `BytesMut` | `[]byte` | |
//! | `chrono` | `DateTime<Utc>`, `DateTime<FixedOffset>` | `time.Time` | a leap second is the first of the next minute |
//! | `jiff` | `Timestamp`, `Zoned` | `time.Time` | years -9999 to 9999 |
//! | `time` | `OffsetDateTime` | `time.Time` | years -9999 to 9999 |
//! | `num-bigint` | `BigInt`, `BigUint` | `big.Int` | |
//! | `num-complex` | `Complex<f32>`, `Complex<f64>` | `complex64`, `complex128` | |
//! | `url` | `Url`, as an `Option` in fields | `url.URL` | without a scheme it is refused; written by the web's rules |
//! | `uuid` | `Uuid` | `uuid.UUID` of the library | since Go 1.27 |
//! | `uuid` | `BinaryUuid` | `uuid.UUID` of github.com/google/uuid | |
//!
//! Times keep the offset of their zone, if their type has one, and lose its name; an offset of zero is UTC. What does not
//! fit a type's range is an error, and so is sending a zone that is one minute west of UTC, which Go takes for UTC itself.

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

pub mod io;

mod gob;
mod impls;

mod value;

mod canonical;

#[cfg(feature = "serde")]
mod adapter;
#[cfg(any(feature = "json", feature = "serde"))]
mod base64;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "serde")]
mod message;

#[cfg(feature = "derive")]
pub use farcall_macros::Gob;

#[cfg(feature = "serde")]
pub use adapter::Serde;
pub use decode::{Decoder, Next, Types};
pub use encode::{Encoder, Mark};
pub use error::{Error, ErrorKind};
pub use gob::Gob;
#[cfg(feature = "uuid")]
pub use impls::BinaryUuid;
pub use impls::{BinaryEncoded, Complex, GoString, GobEncoded, NetIp, SelfEncoded, TextEncoded};
pub use limits::Limits;
pub use schema::{Field, Kind, Node, NodeId, Opaque, Schema, SchemaBuilder, TypeSyntaxError};
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

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
