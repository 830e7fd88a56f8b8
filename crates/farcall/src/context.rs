//! What a handler can know about its call beside the argument.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use farcall_wire::{Codec, Metadata, Pairs};

use crate::link::now;
use crate::{Address, Dialect};

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: String,
    /// `farcall`, `tinyrpc`, `net/rpc`.
    pub(crate) dialect: &'static str,
    pub(crate) codec: Codec,
}

impl Peer {
    /// The server of a client; without an address, one that a cluster chooses later.
    pub(crate) fn server(address: Option<&Address>, codec: Codec) -> Arc<Peer> {
        Arc::new(Peer {
            address: address.map(Address::to_string).unwrap_or_default(),
            dialect: address
                .map_or(Dialect::Farcall, |address| address.dialect)
                .name(),
            codec,
        })
    }
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
    /// The bytes of a [`Metadata`].
    pub(crate) metadata: Option<Arc<[u8]>>,
    pub(crate) is_idempotent: bool,
    pub(crate) reply_metadata: Option<ReplyMetadata>,
    /// What layers left for those behind them.
    pub(crate) values: Option<Arc<Values>>,
}

/// Values by their types. There are few, so they are searched in turn.
#[derive(Clone, Default)]
pub(crate) struct Values(Vec<(TypeId, Arc<dyn Any + Send + Sync>)>);

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.0.len())
    }
}

/// What is to go back beside the reply, where the caller takes it.
pub(crate) type ReplyMetadata = Arc<Mutex<Metadata>>;

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
        self.pairs().last(name)
    }

    /// All metadata, in the order given.
    pub(crate) fn pairs(&self) -> Pairs<'_> {
        Pairs::of(self.metadata.as_deref().unwrap_or_default())
    }

    /// The value of this type that a [layer](crate::middleware) left for the handler: who calls, for instance.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        let Values(values) = self.values.as_deref()?;
        let (_, value) = values.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        value.downcast_ref()
    }

    pub(crate) fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        let values = Arc::make_mut(self.values.get_or_insert_default());
        values.0.retain(|(id, _)| *id != TypeId::of::<T>());
        values.0.push((TypeId::of::<T>(), Arc::new(value)));
    }

    /// Sends a name and a value back beside the reply. Callers that did not ask for them
    /// ([`crate::Call::with_metadata`]), and errors, go without.
    pub fn reply_metadata(&self, name: impl AsRef<str>, value: impl AsRef<str>) {
        if let Some(metadata) = &self.reply_metadata {
            let mut metadata = metadata.lock().unwrap_or_else(PoisonError::into_inner);
            metadata.push(name.as_ref(), value.as_ref());
        }
    }

    /// True when the caller said that running the call twice does no harm.
    pub fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }

    /// Runs a future for this call on another task: calls that it makes end by this call's deadline, as those do that
    /// the handler makes itself.
    ///
    /// Calls made within a handler inherit its deadline without it, as long as they are made by the handler's own
    /// task.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let deadline = self.deadline;
        async move {
            let mut future = Box::pin(future);
            poll_fn(|context| within(deadline, || future.as_mut().poll(context))).await
        }
    }
}

thread_local! {
    /// The deadline of the handler that this thread is polling.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Polls a part of a handler's work: calls that are made meanwhile inherit its deadline.
pub(crate) fn within<T>(deadline: Option<Instant>, poll: impl FnOnce() -> T) -> T {
    /// Also when the handler panics.
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            DEADLINE.set(self.0);
        }
    }
    if deadline.is_none() {
        return poll();
    }
    let _restore = Restore(DEADLINE.replace(deadline));
    poll()
}

/// When a call must end that begins now: after its own limit, or with the handler that makes it.
pub(crate) fn deadline(limit: Option<Duration>, is_detached: bool) -> Option<Instant> {
    deadline_at(now, limit, is_detached)
}

/// The same for one that may know what time it is.
pub(crate) fn deadline_at(
    now: impl FnOnce() -> Instant,
    limit: Option<Duration>,
    is_detached: bool,
) -> Option<Instant> {
    let own = limit.and_then(|limit| now().checked_add(limit));
    match is_detached {
        true => own,
        false => [own, DEADLINE.get()].into_iter().flatten().min(),
    }
}
