//! Remote procedure calls from ordinary Rust traits, in the spirit of Go's `net/rpc`, and on its wire.
//!
//! A trait with [`service`] is a remote service; a struct with [`message`] is what it takes and gives:
//!
//! ```
//! use farcall::{Result, Server};
//!
//! #[farcall::message]
//! pub struct Args {
//!     pub a: i64,
//!     pub b: i64,
//! }
//!
//! #[farcall::service]
//! pub trait Arith {
//!     /// Multiplies.
//!     async fn multiply(&self, args: Args) -> Result<i64>;
//! }
//!
//! struct Calculator;
//!
//! impl Arith for Calculator {
//!     async fn multiply(&self, args: Args) -> Result<i64> {
//!         Ok(args.a * args.b)
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder()
//!     .register(Calculator.into_service())
//!     .bind("tcp@127.0.0.1:0")
//!     .start()
//!     .await?;
//!
//! let arith = ArithClient::connect(&server.address().to_string()).await?;
//! assert_eq!(arith.multiply(&Args { a: 7, b: 8 }).await?, 56);
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! - [`Server`] serves services on sockets. One port answers every client in the language it opens with: farcall's,
//!   TinyRPC's, Go's `net/rpc`, JSON-RPC, or HTTP (`POST /rpc/Service.Method`, a debug page at `/debug/farcall`).
//! - [`Client`] calls one server, [`Cluster`] whichever of many is chosen. [`Channel`] is either: typed clients are made
//!   of it. Connections are made when calls need them, and again when they were lost: [`Client`] tells what calls do
//!   meanwhile, [`ClientBuilder`] what can be set.
//! - [`Incoming`] and [`Outgoing`] are streams of items beside a call's argument and reply: a method takes them after its
//!   argument, and its caller gets a [`Streaming`].
//! - [`discover`] is who is there, [`registry`] who keeps the list, [`balance`] who gets a call.
//! - [`middleware`] is what stands around calls, on either side: tracing, checks, limits, functions of one's own.
//! - [`Error`] is what ends a call; [`Error::is_retryable`] tells whether the handler surely did not run.
//! - [`Address`] and [`Target`] are the forms in which servers and clusters are named.
//!
//! # Beside argument and reply
//!
//! Everything here is agreed on in the handshake: a peer that is older, or Go's, goes without and calls on.
//!
//! | what | client | handler |
//! |---|---|---|
//! | deadline | [`Call::timeout`] | [`Context::deadline`]; calls that the handler makes end with it |
//! | cancellation | dropping the call | its future is dropped |
//! | metadata | [`Call::metadata`], [`Call::with_metadata`] | [`Context::metadata`], [`Context::reply_metadata`] |
//! | code and details of an error | [`Error::code`], [`Error::details`] | [`Error::new`], [`Error::with_details`] |
//! | no reply wanted | [`Call::one_way`], `#[rpc(one_way)]` | |
//! | harmless when run twice | [`Call::idempotent`], `#[rpc(idempotent)]` | [`Context::is_idempotent`] |
//! | is it there? | [`Client::ping`], [`ClientBuilder::keep_alive`] | |
//! | compression | [`ClientBuilder::compression`] | |
//!
//! # Limits
//!
//! What a peer can make this process hold is bounded by [`Limits`] and the builders' settings; every bound has a default:
//! 8 KiB and 10 s for the opening of a connection, 4 MiB for a message, 128 levels of nesting, 256 handlers at work for
//! a connection, 256 KiB of items for a stream each way, 1 MiB of queued replies before a connection is read from no
//! more, 10,000 connections.
//!
//! # Features
//!
//! None is on unless asked for. `tls`: etcd over TLS ([`registry::Etcd`], targets `etcds://`), with rustls and ring.
//! `zstd`: Zstandard for long bodies, beside LZ4, with its C library.
//!
//! # Types
//!
//! An argument or a reply is any [`Message`]: numbers, strings, vectors, maps, `()`, and structs with [`message`]. The
//! crate `farcall_gob` has the table of which Go type each of them is. A type that only has serde's traits travels in
//! [`Serde`]; whether it can is found out when a method with it is registered.
//!
//! # Features
//!
//! - `tower`: layers of `tower` as [`middleware`].
//! - `zstd`: Zstandard beside LZ4, for long bodies. It brings a C library.

mod error;

mod address;
mod backoff;
mod buffers;
mod slab;
mod sync;
#[cfg(feature = "tls")]
mod tls;
mod transport;

mod inbox;
mod link;
mod stream;

mod context;
pub mod middleware;
mod router;
mod run;
mod schema;

mod channel;
mod client;

mod http;

pub mod balance;
pub mod discover;
pub mod registry;

mod cluster;

mod dashboard;
mod describe;
mod server;

pub use address::{Address, AddressError, Dialect, Target, TlsFiles, Transport};
pub use channel::Channel;
pub use client::{
    Call, CallFuture, Client, ClientBuilder, ClientState, FromReply, Pending, Reply, StreamCall,
    StreamReply, Streaming,
};
pub use cluster::{Cluster, ClusterBuilder};
pub use context::Context;
pub use describe::{MethodTypes, ServiceTypes, describe, describe_types};
pub use error::{Code, Error, Reached, Result};
pub use farcall_gob::{Gob, Schema, Serde, TypeSyntaxError};
pub use farcall_macros::{message, service};
pub use farcall_wire::{Codec, Compression, Dynamic, Limits, Message};
pub use registry::Registry;
pub use router::{Method, MethodSnapshot, RegisterError, Service, ServiceSnapshot};
pub use server::{Handle, Server, ServerBuilder, StartError};
pub use stream::{Incoming, Items, Json, NoItems, Outgoing};
#[cfg(feature = "tls")]
pub use tls::{ClientTls, Pem, TlsError};

/// What the attributes' code refers to. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use farcall_gob as gob;
    pub use serde;
}

/// The program in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
