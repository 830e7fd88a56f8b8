//! A call with streams as its caller sees it: options before it begins, then items in both directions, and one reply.
//! How items travel is told in `stream`.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use farcall_wire::{Body, Message};
use futures_core::Stream;

use super::call::{CallOptions, FromReply, RawReply, Reply};
use super::connection::Connection;
use crate::channel::Via;
use crate::stream::carrier::{CallStreams, Carrier};
use crate::stream::{Directions, Incoming, Items, Outgoing};
use crate::{Error, Result};

/// A call with streams, which begins when it is awaited: then there is a [`Streaming`].
///
/// A client's own layers and meters do not stand around it, a server's do.
///
/// `Up` are the items that go to the handler, `Down` those that come from it; [`crate::NoItems`] stands where there are
/// none. `R` is the reply.
#[must_use = "a call begins when it is awaited"]
pub struct StreamCall<'a, Up, Down, R> {
    via: Via<'a>,
    method: &'a str,
    body: Body<'a>,
    options: CallOptions,
    types: PhantomData<Types<Up, Down, R>>,
}

/// Types that are named and not held.
type Types<Up, Down, R> = fn(Up) -> (Down, R);

impl<'a, Up, Down, R> StreamCall<'a, Up, Down, R> {
    pub(crate) fn new(
        via: Via<'a>,
        method: &'a str,
        body: Body<'a>,
    ) -> StreamCall<'a, Up, Down, R> {
        StreamCall {
            via,
            method,
            body,
            options: CallOptions::default(),
            types: PhantomData,
        }
    }

    /// Ends the call with [`crate::Code::DeadlineExceeded`] when its reply has not come after this time, connecting and
    /// all items included. The server is told how much time is left.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// Sends a name and a value along, which the handler finds in its [`crate::Context`].
    pub fn metadata(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.options.metadata.push(name.as_ref(), value.as_ref());
        self
    }

    /// Waits for a connection rather than fail for want of one. See [`crate::Call::wait_for_ready`].
    pub fn wait_for_ready(mut self) -> Self {
        self.options.wait_for_ready = true;
        self
    }

    /// Says that running the call twice does no harm: the handler is told. Nothing makes it twice.
    pub fn idempotent(mut self) -> Self {
        self.options.is_idempotent = true;
        self
    }

    /// Lets the call live on when the handler that makes it has no time left. See [`crate::Call::detached`].
    pub fn detached(mut self) -> Self {
        self.options.is_detached = true;
        self
    }

    /// Asks for what the handler sends back beside the reply. See [`crate::Call::with_metadata`].
    pub fn with_metadata(mut self) -> StreamCall<'a, Up, Down, Reply<R>> {
        self.options.takes_metadata = true;
        let StreamCall {
            via,
            method,
            body,
            options,
            ..
        } = self;
        StreamCall {
            via,
            method,
            body,
            options,
            types: PhantomData,
        }
    }
}

impl<'a, Up: Items, Down: Items, R: FromReply> IntoFuture for StreamCall<'a, Up, Down, R> {
    type Output = Result<Streaming<Up, Down, R>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let StreamCall {
            via,
            method,
            body,
            mut options,
            ..
        } = self;
        options.streams = Some(Directions {
            up: Up::EXIST,
            down: Down::EXIST,
        });
        Box::pin(async move {
            let (in_flight, held) = via.open(method, body, &options).await?;
            let (connection, seq) = in_flight.into_parts();
            let streams = Arc::new(CallStreams::new(connection, seq, held));
            let carrier = || Arc::clone(&streams) as Arc<dyn Carrier>;
            Ok(Streaming {
                items: Incoming::new(carrier()),
                out: Outgoing::new(carrier(), Up::EXIST),
                reply: StreamReply {
                    streams,
                    is_over: false,
                    reply: PhantomData,
                },
            })
        })
    }
}

/// A call with streams that was begun.
///
/// Items are sent with [`send`](Streaming::send) and taken with [`next`](Streaming::next), where the method has them;
/// the reply ends the call. Dropping it before that gives the call up, and the server is told to stop the handler.
///
/// ```
/// # async fn example(client: farcall::Client) -> farcall::Result<()> {
/// use farcall::NoItems;
/// let mut sum = client.stream::<i64, NoItems, i64>("Numbers.Sum", &()).await?;
/// for number in 1..=4 {
///     sum.send(&number).await?;
/// }
/// assert_eq!(sum.reply().await?, 10);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it gives the call up"]
pub struct Streaming<Up, Down, R> {
    items: Incoming<Down>,
    reply: StreamReply<R>,
    // The last one, so that it finds the others gone, and leaves it to the call's end to say that nothing follows.
    out: Outgoing<Up>,
}

impl<Up: Message, Down, R> Streaming<Up, Down, R> {
    /// Sends an item to the handler. See [`Outgoing::send`].
    ///
    /// # Errors
    ///
    /// What ended the call. When it had its reply already, that is still there.
    pub async fn send(&mut self, item: &Up) -> Result<()> {
        self.out.send(item).await
    }

    /// Sends every item of a stream. See [`Outgoing::send_all`].
    ///
    /// # Errors
    ///
    /// As [`Streaming::send`].
    pub async fn send_all(&mut self, items: impl Stream<Item = Up>) -> Result<()> {
        self.out.send_all(items).await
    }

    /// Says that no more items are sent. Items and the reply can still come.
    pub fn finish(&mut self) {
        self.out.end(None);
    }
}

impl<Up, Down: Message, R> Streaming<Up, Down, R> {
    /// The next item from the handler; `None` when there are no more, because the call has its reply.
    ///
    /// # Errors
    ///
    /// As [`Incoming::next`]. The handler's error comes here and as the reply.
    pub async fn next(&mut self) -> Option<Result<Down>> {
        self.items.next().await
    }
}

impl<Up, Down, R: FromReply> Streaming<Up, Down, R> {
    /// Finishes the items that go to the handler, drops those that still come, and waits for the reply.
    ///
    /// # Errors
    ///
    /// As [`crate::Client::call`].
    pub async fn reply(self) -> Result<R> {
        let Streaming {
            items,
            reply,
            mut out,
        } = self;
        out.end(None);
        drop(items);
        reply.await
    }
}

impl<Up, Down, R> Streaming<Up, Down, R> {
    /// The parts of the call, for tasks of their own: what sends, what takes, and the reply.
    ///
    /// The call is given up when all of them are dropped before the reply.
    pub fn split(self) -> (Outgoing<Up>, Incoming<Down>, StreamReply<R>) {
        (self.out, self.items, self.reply)
    }
}

impl<Up, Down: Message, R> Stream for Streaming<Up, Down, R> {
    type Item = Result<Down>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Down>>> {
        Pin::new(&mut self.items).poll_next(context)
    }
}

impl<Up, Down, R> fmt::Debug for Streaming<Up, Down, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").finish_non_exhaustive()
    }
}

/// The reply of a call with streams, which comes when it is awaited.
#[must_use = "futures do nothing unless polled"]
pub struct StreamReply<R> {
    streams: Arc<CallStreams<Connection>>,
    is_over: bool,
    reply: PhantomData<fn() -> R>,
}

impl<R: FromReply> Future for StreamReply<R> {
    type Output = Result<R>;

    /// # Panics
    ///
    /// When it is polled after its end.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        assert!(!self.is_over, "a reply was polled after it had come");
        let CallStreams {
            connection, seq, ..
        } = &*self.streams;
        let outcome: Result<_, Error> = ready!(connection.poll_reply(*seq, context));
        let raw =
            outcome.map(|received| RawReply::received(Some(Arc::clone(connection) as _), received));
        self.is_over = true;
        Poll::Ready(raw.and_then(R::from_raw))
    }
}

impl<R> fmt::Debug for StreamReply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReply").finish_non_exhaustive()
    }
}
