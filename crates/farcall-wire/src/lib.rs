//! farcall's wire protocols: bytes in, messages out. No sockets, no clock, no tasks.
//!
//! The bytes are told in `docs/protocol.md`. In reading order: [`sniff`] tells which protocol a connection speaks;
//! [`Hello`] is farcall's handshake, and [`read_connect`] the HTTP `CONNECT` before it; a [`FrameReader`] and a
//! [`FrameWriter`] turn bytes into headers and bodies and back; [`Calls`] matches replies with the calls that wait; a [`SendWindow`]
//! and a [`ReceiveWindow`] keep a stream's sender from running too far ahead.
//!
//! This crate moves in step with `farcall` and promises no stable interface of its own.

mod calls;
mod code;
mod codec;
mod connect;
mod duration;
mod error;
mod frame;
mod hello;
mod json;
mod limits;
mod metadata;
mod sniff;
mod window;

pub use calls::Calls;
pub use code::Code;
pub use codec::{Body, BodyRef, Codec, Dynamic, Encode, GobStream, Message};
pub use connect::{
    GEERPC_CONNECTED, GEERPC_PATH, GO_RPC_CONNECTED, GO_RPC_PATH, TINYRPC_CONNECTED, TINYRPC_PATH,
    connect_request, read_connect, read_connected,
};
pub use duration::go_duration;
pub use error::{DecodeError, EncodeError, Violation};
pub use frame::{
    BodyKind, Compression, Credit, Flags, FrameReader, FrameWriter, Framing, Header, JsonCall,
    Kind, Load, Side, Step,
};
pub use hello::{Features, Hello, MAGIC};
pub use limits::Limits;
pub use metadata::{Metadata, Pairs};
pub use sniff::{Opening, sniff};
pub use window::{ReceiveWindow, SendWindow};
