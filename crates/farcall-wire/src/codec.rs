//! One value in each codec: what can travel, and how its bytes are read back.
//! Which bytes belong to which call is told in [`crate::frame`].

use std::any::Any;
use std::panic::AssertUnwindSafe;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use farcall_gob as gob;
use farcall_gob::Gob;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{DecodeError, EncodeError};

/// How values are written in farcall's protocol. Client and server agree on one in the handshake.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Go's gob, the default: `application/gob`.
    #[default]
    Gob,
    /// JSON as Go writes it: `application/json`.
    Json,
}

impl Codec {
    /// Every codec there is.
    pub const ALL: [Codec; 2] = [Codec::Gob, Codec::Json];

    /// The name in the handshake.
    pub fn mime(self) -> &'static str {
        match self {
            Codec::Gob => "application/gob",
            Codec::Json => "application/json",
        }
    }

    /// The codec with this name in the handshake.
    pub fn from_mime(mime: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.mime() == mime)
    }

    /// The short name: `gob`, `json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::Gob => "gob",
            Codec::Json => "json",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Codec {
    type Err = String;

    fn from_str(name: &str) -> Result<Codec, String> {
        let found = Codec::ALL.into_iter().find(|codec| codec.as_str() == name);
        found.ok_or_else(|| format!("there is no codec {name:?}; there are gob and json"))
    }
}

/// What can be an argument or a reply: a type that every codec knows.
///
/// `#[farcall::message]` on a struct makes it one. So are numbers, strings, `Vec`s, maps and `()`. A type that only
/// has serde's traits travels inside `farcall::Serde`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel: not every codec knows it",
    label = "no argument and no reply",
    note = "put #[farcall::message] on `{Self}`; on a type that is not yours, wrap it in one of your own"
)]
pub trait Message: Gob + Serialize + DeserializeOwned + Send + Sync + 'static {}

// Whoever forgets the attribute should read that, once, and not which of three traits it would have brought.
#[diagnostic::do_not_recommend]
impl<T: Gob + Serialize + DeserializeOwned + Send + Sync + 'static> Message for T {}

/// A body to be written, in whichever codec the connection speaks.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// A value of a Rust type.
    Typed(&'a dyn Encode),
    /// A value without one.
    Dynamic(&'a Dynamic),
}

impl<'a, T: Message> From<&'a T> for Body<'a> {
    fn from(value: &'a T) -> Body<'a> {
        Body::Typed(value)
    }
}

impl Body<'_> {
    pub(crate) fn to_gob(
        self,
        encoder: &mut gob::Encoder,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        match self {
            Body::Typed(value) => guarded(|| value.to_gob(encoder, out)),
            Body::Dynamic(dynamic) => dynamic.to_gob(encoder, out),
        }
    }

    pub(crate) fn to_json(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Body::Typed(value) => guarded(|| value.to_json(out)),
            Body::Dynamic(dynamic) => serde_json::to_writer(out, &dynamic.json)
                .map_err(|error| EncodeError::new("json", error)),
        }
    }
}

/// A value's own code may panic while it is encoded. That is an error of this value alone: the stream it is written to
/// belongs to many calls.
fn guarded(encode: impl FnOnce() -> Result<(), EncodeError>) -> Result<(), EncodeError> {
    std::panic::catch_unwind(AssertUnwindSafe(encode)).unwrap_or_else(|_| {
        Err(EncodeError::new(
            "argument or reply",
            "its encoding panicked",
        ))
    })
}

/// A value given as JSON, for callers that have no Rust type for it.
#[derive(Clone, Debug)]
pub struct Dynamic {
    json: serde_json::Value,
    schema: gob::Schema,
}

impl Dynamic {
    /// A value whose gob type is told by `schema`, or else taken from the JSON: integers are `int`, other numbers
    /// `float64`, objects structs.
    pub fn new(json: serde_json::Value, schema: Option<gob::Schema>) -> Dynamic {
        let schema = schema.unwrap_or_else(|| gob::Schema::infer(&json));
        Dynamic { json, schema }
    }

    fn to_gob(&self, encoder: &mut gob::Encoder, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let failed = |error| EncodeError::new("argument", error);
        let value = gob::Value::from_json(&self.json, &self.schema).map_err(failed)?;
        encoder
            .encode_value(&value, &self.schema, out)
            .map_err(failed)
    }
}

/// A value of a type that can travel, with the type forgotten. Every [`Message`] is one.
pub trait Encode: Send + Sync {
    /// Appends the value to a gob stream. On error nothing is appended.
    fn to_gob(&self, encoder: &mut gob::Encoder, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Appends the value as JSON. On error `out` may hold a part of it.
    fn to_json(&self, out: &mut Vec<u8>) -> Result<(), EncodeError>;
}

impl<T: Message> Encode for T {
    fn to_gob(&self, encoder: &mut gob::Encoder, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encoder
            .encode(self, out)
            .map_err(|error| EncodeError::new("argument or reply", error))
    }

    fn to_json(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let failed = |error| EncodeError::new("json", error);
        // Go writes []byte as base64 and struct{} as {}. Inside messages the attribute sees to it.
        let this: &dyn Any = self;
        if let Some(bytes) = this.downcast_ref::<Vec<u8>>() {
            return serde_json::to_writer(out, &BASE64_STANDARD.encode(bytes)).map_err(failed);
        }
        if let Some(bytes) = this.downcast_ref::<Bytes>() {
            return serde_json::to_writer(out, &BASE64_STANDARD.encode(bytes)).map_err(failed);
        }
        if this.is::<()>() {
            out.extend_from_slice(b"{}");
            return Ok(());
        }
        serde_json::to_writer(out, self).map_err(failed)
    }
}

/// A body as it arrived, not yet decoded.
pub enum BodyRef<'a> {
    /// All messages of one gob value, and the stream whose definitions it uses.
    Gob(GobStream<'a>, &'a [u8]),
    /// One JSON value.
    Json(&'a [u8]),
    /// Nothing was given, which stands for the zero value.
    Zero,
    /// What was given can be no body, for this reason.
    Bad(&'static str),
}

/// Where a gob value's type definitions are.
pub enum GobStream<'a> {
    /// With the reader of the connection.
    Reader(&'a mut gob::Decoder),
    /// Shared with whoever decodes later.
    Shared(&'a gob::Types),
}

impl BodyRef<'_> {
    /// Decodes the value.
    ///
    /// # Errors
    ///
    /// When the value does not fit the type. The text says where and why.
    pub fn decode<T: Message>(self) -> Result<T, DecodeError> {
        match self {
            BodyRef::Gob(GobStream::Reader(decoder), raw) => {
                decoder.decode(raw).map_err(DecodeError::new)
            }
            BodyRef::Gob(GobStream::Shared(types), raw) => {
                types.decode(raw).map_err(DecodeError::new)
            }
            BodyRef::Json(raw) => from_json(raw),
            BodyRef::Zero => T::zero()
                .ok_or_else(|| DecodeError::new("the argument is missing, and has no zero value")),
            BodyRef::Bad(why) => Err(DecodeError::new(why)),
        }
    }

    /// Decodes the value without a type for it, as JSON for people.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged.
    pub fn to_plain_json(self) -> Result<serde_json::Value, DecodeError> {
        match self {
            BodyRef::Gob(GobStream::Reader(decoder), raw) => {
                decoder.decode_value(raw).map_err(DecodeError::new)
            }
            BodyRef::Gob(GobStream::Shared(types), raw) => {
                types.decode_value(raw).map_err(DecodeError::new)
            }
            BodyRef::Json(raw) => return serde_json::from_slice(raw).map_err(DecodeError::new),
            BodyRef::Zero => return Ok(serde_json::Value::Null),
            BodyRef::Bad(why) => return Err(DecodeError::new(why)),
        }
        .map(|value| value.to_plain_json())
    }
}

fn from_json<T: Message>(raw: &[u8]) -> Result<T, DecodeError> {
    // The slot has the type asked for. Where that is one of the special types, it is filled through `Any`.
    let mut slot: Option<T> = None;
    let special: &mut dyn Any = &mut slot;
    if let Some(slot) = special.downcast_mut::<Option<Vec<u8>>>() {
        *slot = Some(bytes_from_json(raw)?);
    } else if let Some(slot) = special.downcast_mut::<Option<Bytes>>() {
        *slot = Some(bytes_from_json(raw)?.into());
    } else if let Some(slot) = special.downcast_mut::<Option<()>>() {
        *slot = Some(());
    }
    match slot {
        Some(value) => Ok(value),
        None => {
            serde_json::from_slice(raw).map_err(|error| DecodeError::new(format!("json: {error}")))
        }
    }
}

fn bytes_from_json(raw: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let failed =
        |error: &dyn std::fmt::Display| DecodeError::new(format!("json: bytes as base64: {error}"));
    let text: Option<String> = serde_json::from_slice(raw).map_err(|error| failed(&error))?;
    BASE64_STANDARD
        .decode(text.unwrap_or_default())
        .map_err(|error| failed(&error))
}
