//! Remote procedure calls from ordinary Rust traits, in the spirit of Go's `net/rpc`, and on its wire.

mod error;

mod address;
mod transport;

mod inbox;
mod link;
mod slab;

mod context;
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

pub use address::{Address, AddressError, Dialect, Target, Transport};
pub use channel::Channel;
pub use client::{Call, CallFuture, Client, ClientBuilder, Pending};
pub use cluster::{Cluster, ClusterBuilder};
pub use context::Context;
pub use describe::describe;
pub use error::{Code, Error, Reached, Result};
pub use farcall_gob::Gob;
pub use farcall_macros::service;
pub use farcall_wire::{Codec, Limits, Message};
pub use registry::Registry;
pub use router::{Method, MethodSnapshot, RegisterError, Service, ServiceSnapshot};
pub use server::{Handle, Server, ServerBuilder, StartError};

/// What the attributes' code refers to. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use farcall_gob as gob;
    pub use serde;
}
