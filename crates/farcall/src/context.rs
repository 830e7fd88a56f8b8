//! What a handler can know about its call beside the argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use farcall_wire::Codec;

use crate::link::now;

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: String,
    /// `farcall`, `tinyrpc`, `net/rpc`.
    pub(crate) dialect: &'static str,
    pub(crate) codec: Codec,
}

/// The call that a handler serves: who calls, how much time is left, what came along.
///
/// A method takes one or not, as it likes:
///
/// ```
/// # use farcall::{Context, Result};
/// #[farcall::service]
/// trait Clock {
///     async fn now(&self) -> Result<i64>;
///     async fn peer(&self, context: &Context, greeting: String) -> Result<String>;
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) peer: Arc<Peer>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) metadata: Option<Arc<[(String, String)]>>,
}

impl Context {
    /// The caller's address: `127.0.0.1:40112`, or the path of the Unix socket it came through.
    pub fn peer(&self) -> &str {
        &self.peer.address
    }

    /// The protocol that the caller speaks: `farcall`, `tinyrpc`, `net/rpc`.
    pub fn dialect(&self) -> &str {
        self.peer.dialect
    }

    /// The codec of the connection.
    pub fn codec(&self) -> Codec {
        self.peer.codec
    }

    /// When the caller stops waiting, or the server stops the handler, whichever is first. `None` is never.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The time left until [`Context::deadline`]; zero when it has passed.
    pub fn time_left(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(now()))
    }

    /// The value that the caller sent under this name, the last one if there are several.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let mut pairs = self.metadata.as_deref()?.iter().rev();
        pairs
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }
}
