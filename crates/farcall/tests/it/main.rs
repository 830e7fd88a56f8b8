//! Tests over real sockets, one module a topic. Everything listens on loopback, at a port that the system chose.

mod backends;
mod calls;
mod cluster;
mod dialects;
mod discover;
mod etcd;
mod etcd_server;
mod handshake;
mod http_calls;
mod life;
mod limits;
mod load;
mod originals;
mod pages;
mod plain_serde;
mod registry;
mod script;
mod semantics;
mod service;
mod shutdown;
mod support;
mod traffic;
mod unix;
mod writes;
