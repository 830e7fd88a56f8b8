//! A call as the caller sees it: options before it begins, one outcome after. How its bytes move is in `connection`.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use farcall_wire::{Body, BodyRef, Code, Message};

use super::connection::{CallTurn, Connection, NotBegun, Received};
use crate::channel::{Attempts, Begun, BegunByCluster, Via};
use crate::{Error, Result};

/// What a caller can say about one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Vec<(String, String)>,
    /// Waits for a connection rather than fail for want of one, whatever the client's setting.
    pub(crate) wait_for_ready: bool,
    /// The call does not end with the handler that makes it.
    pub(crate) is_detached: bool,
    pub(crate) is_idempotent: bool,
    pub(crate) is_one_way: bool,
    /// The caller takes the reply's metadata.
    pub(crate) takes_metadata: bool,
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
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Call<'a, R> {
        self.options.metadata.push((name.into(), value.into()));
        self
    }

    /// Says that running the call twice does no harm, so that it may be made again when nobody knows whether it ran. A
    /// typed client says so of methods that are marked `#[rpc(idempotent)]`.
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
}

impl<R: Message> FromReply for R {
    fn from_raw(raw: RawReply) -> Result<R> {
        raw.decode()
    }
}

impl<R: Message> FromReply for Reply<R> {
    fn from_raw(mut raw: RawReply) -> Result<Reply<R>> {
        let metadata = raw.take_metadata();
        let value = raw.decode()?;
        Ok(Reply { value, metadata })
    }
}

impl<'a, R: FromReply> IntoFuture for Call<'a, R> {
    type Output = Result<R>;
    type IntoFuture = CallFuture<'a, R>;

    fn into_future(self) -> CallFuture<'a, R> {
        CallFuture(Stage::New(self))
    }
}

/// The future of a [`Call`].
#[must_use = "futures do nothing unless polled"]
pub struct CallFuture<'a, R>(Stage<'a, R>);

enum Stage<'a, R> {
    New(Call<'a, R>),
    /// The request is queued on an open connection: the common case, which allocates nothing.
    Sent(InFlight),
    /// The same through a cluster: the call may have to go to another server.
    SentByCluster(Call<'a, R>, BegunByCluster),
    /// A connection is to be made first, or a server to be chosen.
    Slow(Pin<Box<dyn Future<Output = Result<RawReply>> + Send + 'a>>),
    Over,
}

impl<'a, R> Stage<'a, R> {
    fn take(&mut self) -> Stage<'a, R> {
        std::mem::replace(self, Stage::Over)
    }

    /// Makes the call without haste, after the attempts that were made.
    fn go_on(&mut self, attempts: Option<Attempts>) {
        let (Stage::New(call) | Stage::SentByCluster(call, _)) = self.take() else {
            return;
        };
        let Call {
            via,
            method,
            body,
            options,
            ..
        } = call;
        let calling = async move { via.invoke(attempts, method, body, &options).await };
        *self = Stage::Slow(Box::pin(calling));
    }
}

// Nothing in it is pinned in place: the one future inside is boxed.
impl<R> Unpin for CallFuture<'_, R> {}

impl<R: FromReply> Future for CallFuture<'_, R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        loop {
            let raw = match &mut self.0 {
                Stage::New(Call {
                    via,
                    method,
                    body,
                    options,
                    ..
                }) => {
                    match via.begin_now(method, *body, options, Some(context.waker())) {
                        Ok(Ok(Begun::ByClient(in_flight))) => {
                            let waits = in_flight.waits_for_reply();
                            self.0 = Stage::Sent(in_flight);
                            // The reply wakes this task: there is no need to look for it now.
                            if waits {
                                return Poll::Pending;
                            }
                        }
                        Ok(Ok(Begun::ByCluster(begun))) => {
                            let waits = begun.waits_for_reply();
                            if let Stage::New(call) = self.0.take() {
                                self.0 = Stage::SentByCluster(call, begun);
                            }
                            if waits {
                                return Poll::Pending;
                            }
                        }
                        Ok(Err(error)) => {
                            self.0 = Stage::Over;
                            return Poll::Ready(Err(error));
                        }
                        Err(attempts) => self.0.go_on(attempts),
                    }
                    continue;
                }
                Stage::Sent(in_flight) => ready!(Pin::new(in_flight).poll(context)),
                Stage::SentByCluster(_, begun) => match ready!(begun.poll(context)) {
                    Ok(outcome) => outcome,
                    Err(attempts) => {
                        self.0.go_on(Some(attempts));
                        continue;
                    }
                },
                Stage::Slow(invoking) => ready!(invoking.as_mut().poll(context)),
                Stage::Over => panic!("a call was polled after its end"),
            };
            self.0 = Stage::Over;
            return Poll::Ready(raw.and_then(R::from_raw));
        }
    }
}

/// A call that was begun, and runs while its caller does something else.
///
/// Awaiting it gives the outcome. Dropping it gives the call up.
#[must_use = "dropping it gives the call up"]
pub struct Pending<R> {
    running: Pin<Box<dyn Future<Output = Result<RawReply>> + Send>>,
    reply: PhantomData<fn() -> R>,
}

impl<R> Pending<R> {
    pub(crate) fn new(
        running: impl Future<Output = Result<RawReply>> + Send + 'static,
    ) -> Pending<R> {
        Pending {
            running: Box::pin(running),
            reply: PhantomData,
        }
    }

    /// On a task of its own, so that it runs before it is awaited.
    pub(crate) fn spawn(
        running: impl Future<Output = Result<RawReply>> + Send + 'static,
    ) -> Pending<R> {
        let mut task = AbortOnDrop(tokio::spawn(running));
        Pending::new(async move {
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
        Poll::Ready(raw.and_then(|raw| raw.decode()))
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
}

impl Future for InFlight {
    type Output = Result<RawReply>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<RawReply>> {
        let Some(connection) = self.connection.as_ref() else {
            return Poll::Ready(Ok(RawReply {
                connection: None,
                received: Received::default(),
            }));
        };
        let outcome = ready!(connection.poll_reply(self.seq, context));
        let connection = self.connection.take();
        Poll::Ready(outcome.map(|received| RawReply {
            connection,
            received,
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

/// A good reply that was not decoded yet.
pub struct RawReply {
    /// None after a one-way call, to which nothing came.
    connection: Option<Arc<Connection>>,
    received: Received,
}

impl RawReply {
    pub(crate) fn decode<R: Message>(self) -> Result<R> {
        self.body().decode().map_err(undecodable)
    }

    pub(crate) fn to_plain_json(&self) -> Result<serde_json::Value> {
        self.body().to_plain_json().map_err(undecodable)
    }

    fn take_metadata(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.received.metadata)
    }

    fn body(&self) -> BodyRef<'_> {
        match &self.connection {
            Some(connection) => connection.body_kind().body(self.received.body.bytes()),
            None => BodyRef::Zero,
        }
    }
}

/// The handler ran, so nothing is to be tried again; the connection stays in step.
fn undecodable(error: farcall_wire::DecodeError) -> Error {
    Error::new(
        Code::Internal,
        format!("the reply does not fit the type asked for: {error}"),
    )
}
