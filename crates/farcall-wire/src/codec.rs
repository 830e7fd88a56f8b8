//! One value in each codec: what can travel, and how its bytes are read back.
//! Which bytes belong to which call is told in [`crate::frame`].

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use farcall_gob as gob;
use farcall_gob::Gob;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::{ByteBuf, Bytes as RawBytes};

use crate::frame::binary::{put_varint, varint};
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
    /// MessagePack with named members, for other languages and types that grow: `application/msgpack`.
    MessagePack,
    /// postcard, the fastest and smallest, for peers with the same Rust types: `application/x-postcard`.
    Postcard,
}

impl Codec {
    /// Every codec there is.
    pub const ALL: [Codec; 4] = [Codec::Gob, Codec::Json, Codec::MessagePack, Codec::Postcard];

    /// The name in the handshake.
    pub fn mime(self) -> &'static str {
        match self {
            Codec::Gob => "application/gob",
            Codec::Json => "application/json",
            Codec::MessagePack => "application/msgpack",
            Codec::Postcard => "application/x-postcard",
        }
    }

    /// The codec with this name in the handshake.
    pub fn from_mime(mime: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.mime() == mime)
    }

    /// True for the codecs whose messages are binary frames.
    pub(crate) fn is_binary(self) -> bool {
        match self {
            Codec::Gob | Codec::Json => false,
            Codec::MessagePack | Codec::Postcard => true,
        }
    }

    /// The short name: `gob`, `json`, `msgpack`, `postcard`.
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::Gob => "gob",
            Codec::Json => "json",
            Codec::MessagePack => "msgpack",
            Codec::Postcard => "postcard",
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
        found.ok_or_else(|| {
            format!("there is no codec {name:?}; there are gob, json, msgpack and postcard")
        })
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

    pub(crate) fn to_binary(self, codec: Codec, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Body::Typed(value) => guarded(|| value.to_binary(codec, out)),
            Body::Dynamic(_) if codec == Codec::Postcard => Err(EncodeError::new(
                "postcard",
                "it takes values of Rust types only; use another codec",
            )),
            Body::Dynamic(dynamic) => message_pack(&dynamic.json, out),
        }
    }

    /// Appends the value as JSON. On error `out` may hold a part of it.
    ///
    /// # Errors
    ///
    /// When the value has no JSON form.
    pub fn to_json(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
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
///
/// It can be sent any number of times.
#[derive(Clone, Debug)]
pub struct Dynamic {
    json: serde_json::Value,
    schema: gob::Schema,
    /// The JSON as a value of that type, once it was needed.
    gob: OnceLock<Result<gob::Value, EncodeError>>,
}

impl Dynamic {
    /// A value whose gob type is told by `schema`, or else taken from the JSON: integers are `int`, other numbers
    /// `float64`, objects structs.
    pub fn new(json: serde_json::Value, schema: Option<gob::Schema>) -> Dynamic {
        let schema = schema.unwrap_or_else(|| gob::Schema::infer(&json));
        Dynamic {
            json,
            schema,
            gob: OnceLock::new(),
        }
    }

    fn to_gob(&self, encoder: &mut gob::Encoder, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let failed = |error| EncodeError::new("argument", error);
        let value = self
            .gob
            .get_or_init(|| gob::Value::from_json(&self.json, &self.schema).map_err(failed));
        let value = value.as_ref().map_err(EncodeError::clone)?;
        encoder
            .encode_value(value, &self.schema, out)
            .map_err(failed)
    }
}

/// A value of a type that can travel, with the type forgotten. Every [`Message`] is one.
pub trait Encode: Send + Sync {
    /// Appends the value to a gob stream. On error nothing is appended.
    fn to_gob(&self, encoder: &mut gob::Encoder, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Appends the value as JSON. On error `out` may hold a part of it.
    fn to_json(&self, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Appends the value in MessagePack or postcard. On error `out` may hold a part of it.
    fn to_binary(&self, codec: Codec, out: &mut Vec<u8>) -> Result<(), EncodeError>;
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
        if let Some(bytes) = as_bytes(self) {
            return serde_json::to_writer(out, &BASE64_STANDARD.encode(bytes)).map_err(failed);
        }
        if (self as &dyn Any).is::<()>() {
            out.extend_from_slice(b"{}");
            return Ok(());
        }
        serde_json::to_writer(out, self).map_err(failed)
    }

    fn to_binary(&self, codec: Codec, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match (codec, as_bytes(self)) {
            // The same bytes as from serde, which would write them one by one.
            (Codec::Postcard, Some(bytes)) => {
                put_varint(bytes.len() as u64, out);
                out.extend_from_slice(bytes);
                Ok(())
            }
            (Codec::Postcard, None) => postcard::serialize_with_flavor(self, Append(out))
                .map_err(|error| EncodeError::new("postcard", error)),
            (_, Some(bytes)) => message_pack(RawBytes::new(bytes), out),
            (_, None) => message_pack(self, out),
        }
    }
}

/// The bytes of a value that is nothing but bytes.
fn as_bytes<T: 'static>(value: &T) -> Option<&[u8]> {
    let value: &dyn Any = value;
    match value.downcast_ref::<Vec<u8>>() {
        Some(bytes) => Some(bytes),
        None => value.downcast_ref::<Bytes>().map(|bytes| &bytes[..]),
    }
}

/// A value that is nothing but bytes, if the type asked for is such a type.
fn from_bytes<T: 'static>(
    bytes: impl FnOnce() -> Result<Vec<u8>, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    // The slot has the type asked for. Where that is one of bytes, it is filled through `Any`.
    let mut slot: Option<T> = None;
    let any: &mut dyn Any = &mut slot;
    if let Some(slot) = any.downcast_mut::<Option<Vec<u8>>>() {
        *slot = Some(bytes()?);
    } else if let Some(slot) = any.downcast_mut::<Option<Bytes>>() {
        *slot = Some(bytes()?.into());
    }
    Ok(slot)
}

/// Members go by name, so that types can grow.
fn message_pack<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value
        .serialize(&mut serializer)
        .map_err(|error| EncodeError::new("msgpack", error))
}

/// Where postcard writes.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // Most are the few bytes of a number, for which a call to copy them takes longer than copying them.
        if bytes.len() <= 4 {
            self.0.extend(bytes.iter().copied());
        } else {
            self.0.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// A body as it arrived, not yet decoded.
pub enum BodyRef<'a> {
    /// All messages of one gob value, and the stream whose definitions it uses.
    Gob(GobStream<'a>, &'a [u8]),
    /// One JSON value.
    Json(&'a [u8]),
    /// A value in MessagePack or postcard.
    Binary(Codec, &'a [u8]),
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
    /// The bytes, to be decoded elsewhere by [`crate::BodyKind::body`].
    pub fn bytes(&self) -> &[u8] {
        match self {
            BodyRef::Gob(_, raw) | BodyRef::Json(raw) | BodyRef::Binary(_, raw) => raw,
            BodyRef::Zero | BodyRef::Bad(_) => &[],
        }
    }

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
            BodyRef::Binary(Codec::Postcard, raw) => from_postcard(raw),
            BodyRef::Binary(_, raw) => from_message_pack(raw),
            BodyRef::Zero => T::zero()
                .ok_or_else(|| DecodeError::new("the argument is missing, and has no zero value")),
            BodyRef::Bad(why) => Err(DecodeError::new(why)),
        }
    }

    /// Decodes the value without a type for it, as JSON for people.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged, or the value would take more memory with all the fields that gob leaves out.
    pub fn to_plain_json(self) -> Result<serde_json::Value, DecodeError> {
        let (value, schema, memory) = match self {
            BodyRef::Gob(GobStream::Reader(decoder), raw) => (
                decoder.decode_value(raw),
                decoder.schema_of_value(raw),
                decoder.limits().memory_for(raw.len()),
            ),
            BodyRef::Gob(GobStream::Shared(types), raw) => (
                types.decode_value(raw),
                types.schema_of_value(raw),
                types.limits().memory_for(raw.len()),
            ),
            BodyRef::Json(raw) => return serde_json::from_slice(raw).map_err(DecodeError::new),
            BodyRef::Binary(Codec::Postcard, _) => {
                return Err(DecodeError::new(
                    "postcard: its bytes do not tell their types",
                ));
            }
            BodyRef::Binary(_, raw) => {
                return rmp_serde::from_slice(raw)
                    .map_err(|error| DecodeError::new(format!("msgpack: {error}")));
            }
            BodyRef::Zero => return Ok(serde_json::Value::Null),
            BodyRef::Bad(why) => return Err(DecodeError::new(why)),
        };
        let mut value = value.map_err(DecodeError::new)?;
        // gob leaves zeros out, and people want to see them.
        value
            .fill_zeros(&schema.map_err(DecodeError::new)?, memory)
            .map_err(DecodeError::new)?;
        Ok(value.to_plain_json())
    }
}

/// `()`, if that is the type asked for: whoever asks for nothing takes whatever comes.
fn nothing<T: 'static>() -> Option<T> {
    let mut slot: Option<T> = None;
    let any: &mut dyn Any = &mut slot;
    if let Some(slot) = any.downcast_mut::<Option<()>>() {
        *slot = Some(());
    }
    slot
}

fn from_json<T: Message>(raw: &[u8]) -> Result<T, DecodeError> {
    if let Some(nothing) = nothing() {
        return Ok(nothing);
    }
    match from_bytes(|| bytes_from_json(raw))? {
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

fn from_postcard<T: Message>(raw: &[u8]) -> Result<T, DecodeError> {
    let bytes = || {
        let mut rest = raw;
        let len = varint(&mut rest).and_then(|len| usize::try_from(len).ok());
        let bytes = len.and_then(|len| rest.get(..len));
        bytes
            .map(<[u8]>::to_vec)
            .ok_or_else(|| DecodeError::new("postcard: the bytes end early"))
    };
    match from_bytes(bytes)? {
        Some(value) => Ok(value),
        None => match postcard::take_from_bytes(raw) {
            Ok((value, [])) => Ok(value),
            // Its bytes do not tell their types; that all of them were used is the one thing to check.
            Ok((_, rest)) => Err(DecodeError::new(format!(
                "postcard: {} bytes are left over: the peer has another type",
                rest.len()
            ))),
            Err(error) => Err(DecodeError::new(format!("postcard: {error}"))),
        },
    }
}

fn from_message_pack<T: Message>(raw: &[u8]) -> Result<T, DecodeError> {
    if let Some(nothing) = nothing() {
        return Ok(nothing);
    }
    let failed = |error| DecodeError::new(format!("msgpack: {error}"));
    let bytes = || {
        let bytes: ByteBuf = rmp_serde::from_slice(raw).map_err(failed)?;
        Ok(bytes.into_vec())
    };
    match from_bytes(bytes)? {
        Some(value) => Ok(value),
        None => rmp_serde::from_slice(raw).map_err(failed),
    }
}
