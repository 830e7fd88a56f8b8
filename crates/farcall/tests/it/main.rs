//! Tests over real sockets, one module a topic. Everything listens on loopback, at a port that the system chose.

mod backends;
mod calls;
#[cfg(feature = "tls")]
mod certificates;
mod cluster;
mod dialects;
mod discover;
mod etcd;
mod etcd_server;
#[cfg(feature = "tls")]
mod etcd_tls;
mod handshake;
mod http_calls;
mod life;
mod limits;
mod load;
mod middleware;
mod originals;
mod pages;
mod partition;
mod plain_serde;
mod registry;
mod script;
mod semantics;
mod service;
mod shutdown;
mod srv;
mod streams;
mod support;
#[cfg(feature = "tower")]
mod tower;
mod traffic;
mod unix;
