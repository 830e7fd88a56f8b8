//! A good outcome of a call: a value on a server, bytes that were not decoded yet on a client.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use farcall_wire::{Body, BodyKind, BodyRef, Encode, Message, Metadata};

use crate::buffers::Kept;
use crate::{Code, Error, Result};

/// A call's good reply.
///
/// Layers pass it on, or make one of their own with [`Reply::new`].
pub struct Reply(Content);

enum Content {
    /// What came, and the connection through which it did. There is none after a one-way call, to which nothing came.
    Received(Option<Arc<dyn Source>>, Received),
    Value(Box<dyn Value>),
}

/// A good reply as it came.
#[derive(Default)]
pub struct Received {
    pub(crate) body: Kept,
    pub(crate) metadata: Metadata,
}

/// Knows how the bodies of a connection are decoded.
pub trait Source: Send + Sync {
    /// How they are.
    fn body_kind(&self) -> &BodyKind;
}

/// A message with its type forgotten, which can be asked for again.
trait Value: Encode + Any {
    fn as_encode(&self) -> &dyn Encode;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T: Message> Value for T {
    fn as_encode(&self) -> &dyn Encode {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Reply {
    /// A reply that is not the handler's or the server's. Its type must be the method's: on a client, a caller who asks
    /// for another one gets [`Code::Internal`]; from a server it travels as it is.
    pub fn new<R: Message>(value: R) -> Reply {
        Reply(Content::Value(Box::new(value)))
    }

    pub(crate) fn received(source: Option<Arc<dyn Source>>, received: Received) -> Reply {
        Reply(Content::Received(source, received))
    }

    /// The value that came back beside a client's reply under this name, the last one if there are several. They come if
    /// the caller asked for them ([`crate::Call::with_metadata`]).
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let Content::Received(_, Received { metadata, .. }) = &self.0 else {
            return None;
        };
        metadata.pairs().last(name)
    }

    pub(crate) fn all_metadata(&self) -> Vec<(String, String)> {
        match &self.0 {
            Content::Received(_, received) => received.all_metadata(),
            Content::Value(_) => Vec::new(),
        }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// [`Code::Internal`] when it has another type.
    pub fn decode<R: Message>(self) -> Result<R> {
        match self.0 {
            Content::Received(source, received) => received
                .body(source.as_deref())
                .decode()
                .map_err(undecodable),
            Content::Value(value) => match value.into_any().downcast() {
                Ok(value) => Ok(*value),
                Err(_) => Err(undecodable("a layer made it, with another type")),
            },
        }
    }

    pub(crate) fn to_plain_json(&self) -> Result<serde_json::Value> {
        match &self.0 {
            Content::Received(source, received) => received
                .body(source.as_deref())
                .to_plain_json()
                .map_err(undecodable),
            Content::Value(value) => {
                let mut json = Vec::new();
                let body = Body::Typed((**value).as_encode());
                body.to_json(&mut json).map_err(undecodable)?;
                serde_json::from_slice(&json).map_err(undecodable)
            }
        }
    }

    /// The value as it is to be sent.
    pub(crate) fn body(&self) -> Result<Body<'_>> {
        match &self.0 {
            Content::Value(value) => Ok(Body::Typed((**value).as_encode())),
            Content::Received(..) => {
                let text = "a layer gave the undecoded reply of another call: decode it first";
                Err(Error::new(Code::Internal, text))
            }
        }
    }
}

impl Received {
    pub(crate) fn decode<R: Message>(&self, source: &dyn Source) -> Result<R> {
        self.body(Some(source)).decode().map_err(undecodable)
    }

    pub(crate) fn to_plain_json(&self, source: &dyn Source) -> Result<serde_json::Value> {
        self.body(Some(source)).to_plain_json().map_err(undecodable)
    }

    pub(crate) fn all_metadata(&self) -> Vec<(String, String)> {
        let pairs = self.metadata.pairs();
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn body<'a>(&'a self, source: Option<&'a dyn Source>) -> BodyRef<'a> {
        match source {
            Some(source) => source.body_kind().body(self.body.bytes()),
            None => BodyRef::Zero,
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Content::Received(_, Received { body, .. }) => {
                write!(f, "Reply({} bytes)", body.bytes().len())
            }
            Content::Value(_) => f.write_str("Reply(a value)"),
        }
    }
}

/// The handler ran, so nothing is to be tried again; the connection stays in step.
fn undecodable(why: impl fmt::Display) -> Error {
    Error::new(
        Code::Internal,
        format!("the reply does not fit the type asked for: {why}"),
    )
}
