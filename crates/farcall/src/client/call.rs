//! A call as the caller sees it: options before it begins, one outcome after. How its bytes move is in `connection`.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use farcall_wire::{Body, Code, Message, Metadata};

use super::connection::{CallTurn, Connection, NotBegun};
use super::lane::spare;
use crate::channel::{Attempts, Begun, BegunByCluster, Via};
use crate::link::now;
pub(crate) use crate::middleware::Reply as RawReply;
use crate::middleware::{Metered, Received, Source};
use crate::stream::{Directions, Json};
use crate::{Error, Reached, Result};

/// What a caller can say about one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Metadata,
    /// Which streams of items the call has, if it has any.
    pub(crate) streams: Option<Directions>,
    /// Waits for a connection rather than fail for want of one, whatever the client's setting.
    pub(crate) wait_for_ready: bool,
    /// The call does not end with the handler that makes it.
    pub(crate) is_detached: bool,
    pub(crate) is_idempotent: bool,
    pub(crate) is_one_way: bool,
    /// The caller takes the reply's metadata.
    pub(crate) takes_metadata: bool,
    /// The time now, where it was just read: clocks are slow.
    pub(crate) now: Option<Instant>,
}

/// A call that begins when it is awaited.
///
/// Awaiting it gives the reply, or the error that ended the call: exactly one of them, once. Dropping it before that
/// gives the call up; a farcall server is told to stop the handler.
///
/// ```
/// # async fn example(client: farcall::Client) -> farcall::Result<()> {
/// use std::time::Duration;
/// let sum: i64 = client.call("Arith.Double", &21_i64).timeout(Duration::from_millis(50)).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a call begins when it is awaited"]
pub struct Call<'a, R> {
    via: Via<'a>,
    method: &'a str,
    body: Body<'a>,
    options: CallOptions,
    reply: PhantomData<fn() -> R>,
}

impl<'a, R> Call<'a, R> {
    pub(crate) fn new(via: Via<'a>, method: &'a str, body: Body<'a>) -> Call<'a, R> {
        Call {
            via,
            method,
            body,
            options: CallOptions::default(),
            reply: PhantomData,
        }
    }

    /// Ends the call with [`Code::DeadlineExceeded`] when its reply has not come after this time, connecting
    /// included. The server is told how much time is left.
    pub fn timeout(mut self, limit: Duration) -> Call<'a, R> {
        self.options.timeout = Some(limit);
        self
    }

    /// Waits until there is a connection, for as long as the call's deadline allows, where the call would otherwise end
    /// with [`Code::Unavailable`] because the server cannot be reached. See [`crate::ClientBuilder::wait_for_ready`].
    pub fn wait_for_ready(mut self) -> Call<'a, R> {
        self.options.wait_for_ready = true;
        self
    }

    /// Sends a name and a value along, which the handler finds in its [`crate::Context`]. Servers that are not
    /// farcall's do not get them.
    pub fn metadata(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Call<'a, R> {
        let metadata = &mut self.options.metadata;
        metadata.push(name.as_ref(), value.as_ref());
        self
    }

    /// Says that running the call twice does no harm. Then it is made again when its connection was lost and nobody
    /// knows whether it ran: once more, by a client of one server; on each of the other servers, by a cluster. A typed
    /// client says so of methods that are marked `#[rpc(idempotent)]`.
    pub fn idempotent(mut self) -> Call<'a, R> {
        self.options.is_idempotent = true;
        self
    }

    /// Lets the call live on when the handler that makes it has no time left. Otherwise a call made by a handler ends
    /// at the handler's own deadline, and its server is told so.
    pub fn detached(mut self) -> Call<'a, R> {
        self.options.is_detached = true;
        self
    }

    /// Asks for what the handler sends back beside the reply ([`crate::Context::reply_metadata`]). Servers that are not
    /// farcall's send nothing.
    pub fn with_metadata(mut self) -> Call<'a, Reply<R>> {
        self.options.takes_metadata = true;
        let Call {
            via,
            method,
            body,
            options,
            ..
        } = self;
        Call {
            via,
            method,
            body,
            options,
            reply: PhantomData,
        }
    }
}

impl<'a> Call<'a, ()> {
    /// Wants no reply, not even an error: awaiting the call ends once the request is queued on an open connection. What
    /// becomes of it after that, nobody is told; it is run once at most. Its handler goes on when the connection ends.
    ///
    /// A server that is not farcall's replies, and its reply is dropped.
    pub fn one_way(mut self) -> Call<'a, ()> {
        self.options.is_one_way = true;
        self
    }
}

/// A reply, and what came beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<R> {
    /// The reply itself.
    pub value: R,
    /// Names and values, in the order in which the handler gave them.
    pub metadata: Vec<(String, String)>,
}

/// What a call can end with: a reply, or a [`Reply`].
pub trait FromReply: Sized {
    #[doc(hidden)]
    fn from_raw(raw: RawReply) -> Result<Self>;

    /// The same of what just came, which is cheaper.
    #[doc(hidden)]
    fn from_received(source: &dyn Source, received: Received) -> Result<Self>;
}

impl<R: Message> FromReply for R {
    fn from_raw(raw: RawReply) -> Result<R> {
        raw.decode()
    }

    fn from_received(source: &dyn Source, received: Received) -> Result<R> {
        received.decode(source)
    }
}

impl FromReply for Json {
    fn from_raw(raw: RawReply) -> Result<Json> {
        raw.to_plain_json().map(Json)
    }

    fn from_received(source: &dyn Source, received: Received) -> Result<Json> {
        received.to_plain_json(source).map(Json)
    }
}

impl<R: Message> FromReply for Reply<R> {
    fn from_raw(raw: RawReply) -> Result<Reply<R>> {
        let metadata = raw.all_metadata();
        let value = raw.decode()?;
        Ok(Reply { value, metadata })
    }

    fn from_received(source: &dyn Source, received: Received) -> Result<Reply<R>> {
        let metadata = received.all_metadata();
        let value = received.decode(source)?;
        Ok(Reply { value, metadata })
    }
}

impl<'a, R: FromReply> IntoFuture for Call<'a, R> {
    type Output = Result<R>;
    type IntoFuture = CallFuture<'a, R>;

    fn into_future(self) -> CallFuture<'a, R> {
        CallFuture {
            call: self,
            stage: Stage::New,
            metered: None,
        }
    }
}

/// The future of a [`Call`].
#[must_use = "futures do nothing unless polled"]
pub struct CallFuture<'a, R> {
    /// It stays where it is while its request is on its way: moving it is dearer than keeping it.
    call: Call<'a, R>,
    stage: Stage<'a>,
    /// From the first poll on, if calls are measured.
    metered: Option<Metered<'a>>,
}

enum Stage<'a> {
    New,
    /// The request is queued on an open connection: the common case, which allocates nothing.
    Sent(InFlight),
    /// The same through a cluster: the call may have to go to another server.
    SentByCluster(BegunByCluster),
    /// A connection is to be made first, or a server to be chosen.
    Slow(Pin<Box<dyn Future<Output = Result<RawReply>> + Send + 'a>>),
    Over,
}

impl<'a, R> CallFuture<'a, R> {
    /// Begins the call. True when it is on its way, and its reply will wake the task.
    fn begin(&mut self, waker: &Waker) -> Result<bool> {
        let Call {
            via,
            method,
            body,
            options,
            ..
        } = &mut self.call;
        if options.is_idempotent {
            // However often it is made, this is its time.
            options.timeout = options.timeout.or(via.call_timeout());
        }
        if let Some(metered) = via.metered(method) {
            options.now = Some(metered.began());
            self.metered = Some(metered);
        } else if options.timeout.is_some() {
            options.now = Some(now());
        }
        match via.begin_now(method, *body, options, Some(waker)) {
            Ok(Ok(Begun::ByClient(in_flight))) => {
                let waits = in_flight.waits_for_reply();
                self.stage = Stage::Sent(in_flight);
                Ok(waits)
            }
            Ok(Ok(Begun::ByCluster(begun))) => {
                let waits = begun.waits_for_reply();
                self.stage = Stage::SentByCluster(begun);
                Ok(waits)
            }
            Ok(Err(error)) => Err(error),
            Err(attempts) => {
                self.go_on(attempts);
                Ok(false)
            }
        }
    }

    /// Makes the call without haste, after the attempts that were made.
    fn go_on(&mut self, attempts: Option<Attempts>) {
        let Call {
            via, method, body, ..
        } = self.call;
        let mut options = std::mem::take(&mut self.call.options);
        options.now = None;
        let calling = async move { via.invoke(attempts, method, body, &options).await };
        self.stage = Stage::Slow(Box::pin(calling));
    }

    /// Makes a call once more of which nobody knows whether it ran.
    fn repeat(&mut self, first: Error) {
        let Call {
            via, method, body, ..
        } = self.call;
        let mut options = std::mem::take(&mut self.call.options);
        if let (Some(limit), Some(began)) = (options.timeout, options.now.take()) {
            options.timeout = Some(limit.saturating_sub(now().saturating_duration_since(began)));
        }
        let again = async move { via.invoke(None, method, body, &options).await };
        self.stage = Stage::Slow(Box::pin(once_more(first, again)));
    }

    /// Notes how the call ended, if calls are measured.
    fn conclude(&mut self, outcome: Result<R>) -> Poll<Result<R>> {
        self.stage = Stage::Over;
        if let Some(metered) = self.metered.take() {
            metered.end(&outcome);
        }
        Poll::Ready(outcome)
    }
}

// Nothing in it is pinned in place: the one future inside is boxed.
impl<R> Unpin for CallFuture<'_, R> {}

impl<R: FromReply> Future for CallFuture<'_, R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let this = &mut *self;
        loop {
            let raw = match &mut this.stage {
                Stage::New => match this.begin(context.waker()) {
                    // There is no need to look for the reply now.
                    Ok(true) => return Poll::Pending,
                    Ok(false) => continue,
                    Err(error) => return this.conclude(Err(error)),
                },
                Stage::Sent(in_flight) => match ready!(in_flight.poll_received(context)) {
                    Ok((Some(connection), received)) => {
                        let outcome = R::from_received(&*connection, received);
                        spare(connection);
                        return this.conclude(outcome);
                    }
                    Ok((None, received)) => Ok(RawReply::received(None, received)),
                    Err(error) if this.call.options.is_idempotent && is_unknown(&error) => {
                        this.repeat(error);
                        continue;
                    }
                    Err(error) => Err(error),
                },
                Stage::SentByCluster(begun) => match ready!(begun.poll(context)) {
                    Ok(outcome) => outcome,
                    Err(attempts) => {
                        this.go_on(Some(attempts));
                        continue;
                    }
                },
                Stage::Slow(invoking) => ready!(invoking.as_mut().poll(context)),
                Stage::Over => panic!("a call was polled after its end"),
            };
            return this.conclude(raw.and_then(R::from_raw));
        }
    }
}

/// True when nobody knows whether the call ran, because its connection was lost.
pub(crate) fn is_unknown(error: &Error) -> bool {
    error.reached() == Reached::Unknown && error.code() == Code::Unavailable
}

/// The outcome of a call that was made again. What keeps it from being sent again does not tell what became of the
/// first one.
pub(crate) async fn once_more(
    first: Error,
    again: impl Future<Output = Result<RawReply>>,
) -> Result<RawReply> {
    match again.await {
        Err(error) if error.is_retryable() => Err(first),
        outcome => outcome,
    }
}

/// A call that was begun, and runs while its caller does something else.
///
/// Awaiting it gives the outcome. Dropping it gives the call up.
#[must_use = "dropping it gives the call up"]
pub struct Pending<R> {
    running: Pin<Box<dyn Future<Output = Result<RawReply>> + Send>>,
    metered: Option<Metered<'static>>,
    reply: PhantomData<fn() -> R>,
}

impl<R> Pending<R> {
    pub(crate) fn new(
        metered: Option<Metered<'static>>,
        running: impl Future<Output = Result<RawReply>> + Send + 'static,
    ) -> Pending<R> {
        Pending {
            running: Box::pin(running),
            metered,
            reply: PhantomData,
        }
    }

    /// On a task of its own, so that it runs before it is awaited.
    pub(crate) fn spawn(
        metered: Option<Metered<'static>>,
        running: impl Future<Output = Result<RawReply>> + Send + 'static,
    ) -> Pending<R> {
        let mut task = AbortOnDrop(tokio::spawn(running));
        Pending::new(metered, async move {
            (&mut task.0).await.unwrap_or_else(|error| {
                let text = format!("the task of the call ended: {error}");
                Err(Error::new(Code::Internal, text))
            })
        })
    }
}

/// The task of a call that may be given up.
struct AbortOnDrop(tokio::task::JoinHandle<Result<RawReply>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<R: Message> Future for Pending<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let raw = ready!(self.running.as_mut().poll(context));
        let outcome = raw.and_then(|raw| raw.decode());
        if let Some(metered) = self.metered.take() {
            metered.end(&outcome);
        }
        Poll::Ready(outcome)
    }
}

/// A request that was queued: its reply, or its being given up.
pub(crate) struct InFlight {
    /// None when no reply is to come, or it has come.
    connection: Option<Arc<Connection>>,
    seq: u64,
}

impl InFlight {
    pub(crate) fn begin(
        connection: Arc<Connection>,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
        deadline: Option<Instant>,
        waker: Option<&Waker>,
        turn: Option<&CallTurn<'_>>,
    ) -> Result<InFlight, NotBegun> {
        let seq = connection.begin(method, body, options, deadline, waker, turn)?;
        Ok(InFlight {
            connection: seq.is_some().then_some(connection),
            seq: seq.unwrap_or_default(),
        })
    }

    /// Asks the server whether it is there. What comes is an empty reply.
    pub(crate) fn ping(connection: Arc<Connection>) -> Result<InFlight, NotBegun> {
        let seq = connection.ping()?;
        Ok(InFlight {
            connection: Some(connection),
            seq,
        })
    }

    /// False for a one-way call.
    pub(crate) fn waits_for_reply(&self) -> bool {
        self.connection.is_some()
    }

    /// The reply as it came, and the connection through which it did; neither after a one-way call.
    fn poll_received(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Option<Arc<Connection>>, Received)>> {
        let Some(connection) = self.connection.as_ref() else {
            return Poll::Ready(Ok((None, Received::default())));
        };
        let outcome = ready!(connection.poll_reply(self.seq, context));
        let connection = self.connection.take();
        Poll::Ready(outcome.map(|received| (connection, received)))
    }

    /// The call itself, for whoever gives it up from now on.
    pub(super) fn into_parts(mut self) -> (Arc<Connection>, u64) {
        let connection = self.connection.take();
        (connection.expect("it waits for its reply"), self.seq)
    }
}

impl Future for InFlight {
    type Output = Result<RawReply>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<RawReply>> {
        let outcome = ready!(self.poll_received(context));
        Poll::Ready(outcome.map(|(connection, received)| {
            RawReply::received(connection.map(|connection| connection as _), received)
        }))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.forget(self.seq);
        }
    }
}
