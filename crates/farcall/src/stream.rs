//! Streams of items beside a call's argument and reply, as handlers and callers hold them. How items travel is told in
//! `carrier`, what is kept of them in `table`; how a call with streams begins and ends, in `client` and `router`.

pub(crate) mod carrier;
pub(crate) mod table;

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use farcall_gob::Schema;
use farcall_wire::{Body, BodyRef, DecodeError, Dynamic, Message};
use futures_core::Stream;

use self::carrier::{Carrier, Waits};
use crate::{Code, Error, Result};

/// What a stream consists of: any [`Message`], or [`NoItems`] where there is no stream.
pub trait Items: Send + Sync + 'static {
    /// False for [`NoItems`].
    #[doc(hidden)]
    const EXIST: bool;

    /// The type of an item, if there are items.
    #[doc(hidden)]
    fn schema() -> Option<Schema>;

    /// If items of this type cannot travel: the path of the field, and why.
    #[doc(hidden)]
    fn unfit() -> Option<(String, String)>;
}

/// Says that a call has no stream in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoItems {}

impl<T: Message> Items for T {
    const EXIST: bool = true;

    fn schema() -> Option<Schema> {
        Some(Schema::of::<T>())
    }

    fn unfit() -> Option<(String, String)> {
        let error = Schema::try_of::<T>().err()?;
        Some((error.path().to_owned(), error.to_string()))
    }
}

impl Items for NoItems {
    const EXIST: bool = false;

    fn schema() -> Option<Schema> {
        None
    }

    fn unfit() -> Option<(String, String)> {
        None
    }
}

/// A value as JSON, for callers that have no Rust type for it: an item of a stream, or a reply. Servers have types.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub serde_json::Value);

impl Items for Json {
    const EXIST: bool = true;

    fn schema() -> Option<Schema> {
        None
    }

    fn unfit() -> Option<(String, String)> {
        let why = "a server has to tell their type; use one with #[farcall::message]";
        Some((String::new(), why.to_owned()))
    }
}

/// Which streams a call has, seen from where it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Directions {
    pub(crate) up: bool,
    pub(crate) down: bool,
}

/// Items that come from the other side of a call, in the order in which they were sent.
///
/// A handler that takes one gets the client's items; a caller, those of the handler. It is a
/// [`Stream`] too, for those who use its combinators.
///
/// What comes is held until it is taken, up to [`crate::Limits::stream_window`]; then the sender waits, and nobody
/// else does. Dropping it drops what still comes, and the call goes on.
///
/// ```
/// # use farcall::{Incoming, Result};
/// #[farcall::service]
/// trait Numbers {
///     /// Adds up what the caller sends.
///     async fn sum(&self, numbers: Incoming<i64>) -> Result<i64>;
/// }
///
/// struct Adder;
/// impl Numbers for Adder {
///     async fn sum(&self, mut numbers: Incoming<i64>) -> Result<i64> {
///         let mut sum = 0;
///         while let Some(number) = numbers.next().await {
///             sum += number?;
///         }
///         Ok(sum)
///     }
/// }
/// ```
#[must_use = "items that nobody takes are dropped"]
pub struct Incoming<T> {
    carrier: Arc<dyn Carrier>,
    waits: Waits,
    is_over: bool,
    item: PhantomData<fn() -> T>,
}

impl<T> Incoming<T> {
    pub(crate) fn new(carrier: Arc<dyn Carrier>) -> Incoming<T> {
        Incoming {
            carrier,
            waits: Waits::default(),
            is_over: false,
            item: PhantomData,
        }
    }
}

impl<T: Message> Incoming<T> {
    /// The next item, once it is there; `None` when the other side has sent all of them.
    ///
    /// Dropping the future loses no item.
    ///
    /// # Errors
    ///
    /// What broke the items off: the other side's own error, or the end of the call or the connection. It comes once,
    /// after all items that were sent before, and then there is `None`. An item that does not fit the type is
    /// [`Code::InvalidArgument`], and the next one may fit.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|context| self.poll_item(context, |body| body.decode())).await
    }
}

impl Incoming<Json> {
    /// The next item, in whichever codec the connection speaks. See the other `next`.
    ///
    /// # Errors
    ///
    /// As for items of Rust types. postcard's bytes do not tell their types.
    pub async fn next(&mut self) -> Option<Result<Json>> {
        let decode = |body: BodyRef<'_>| body.to_plain_json().map(Json);
        poll_fn(|context| self.poll_item(context, decode)).await
    }
}

impl<T> Incoming<T> {
    fn poll_item(
        &mut self,
        context: &mut Context<'_>,
        decode: impl FnOnce(BodyRef<'_>) -> Result<T, DecodeError>,
    ) -> Poll<Option<Result<T>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Incoming { carrier, waits, .. } = self;
        let taken = ready!(carrier.poll_next(waits, context));
        Poll::Ready(match taken {
            Ok(Some(item)) => {
                let body = carrier.body_kind().body(item.bytes());
                Some(decode(body).map_err(|error| {
                    let text = format!("an item does not fit the type asked for: {error}");
                    Error::new(Code::InvalidArgument, text)
                }))
            }
            Ok(None) => {
                self.is_over = true;
                None
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        })
    }
}

impl<T: Message> Stream for Incoming<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        self.poll_item(context, |body| body.decode())
    }
}

impl<T> Drop for Incoming<T> {
    fn drop(&mut self) {
        self.carrier.leave(&mut self.waits);
        self.carrier.unwanted();
    }
}

impl<T> fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

/// Items that go to the other side of a call.
///
/// A handler that takes one sends to its caller, for as long as it runs: its reply ends the items. A caller sends to
/// the handler, until it says that it has [finished](Outgoing::finish).
///
/// ```
/// # use farcall::{Outgoing, Result};
/// #[farcall::service]
/// trait Clock {
///     /// Counts down to zero.
///     async fn count_down(&self, from: u64, out: Outgoing<u64>) -> Result<()>;
/// }
///
/// struct Wall;
/// impl Clock for Wall {
///     async fn count_down(&self, from: u64, mut out: Outgoing<u64>) -> Result<()> {
///         for number in (0..=from).rev() {
///             out.send(&number).await?;
///         }
///         Ok(())
///     }
/// }
/// ```
#[must_use = "dropping it sends nothing"]
pub struct Outgoing<T> {
    carrier: Arc<dyn Carrier>,
    waits: Waits,
    /// True where the end of the items is said by a message of its own: at the client, until it was said.
    says_end: bool,
    is_over: bool,
    item: PhantomData<fn(T)>,
}

impl<T> Outgoing<T> {
    pub(crate) fn new(carrier: Arc<dyn Carrier>, says_end: bool) -> Outgoing<T> {
        Outgoing {
            carrier,
            waits: Waits::default(),
            says_end,
            is_over: false,
            item: PhantomData,
        }
    }

    pub(crate) fn end(&mut self, error: Option<&Error>) {
        self.is_over = true;
        if std::mem::take(&mut self.says_end) {
            self.carrier.finish(error);
        }
    }
}

impl<T: Message> Outgoing<T> {
    /// Sends an item, once the other side has room for it: when it is slow to take them, this waits.
    ///
    /// An item may be as large as a message ([`crate::Limits::message_len_max`]): larger things are sent in parts.
    ///
    /// Dropping the future before it is ready sends nothing.
    ///
    /// # Errors
    ///
    /// What ended the call, or the connection under it: nobody takes items any more. [`Code::InvalidArgument`] when
    /// the item cannot be encoded; the stream goes on then.
    pub async fn send(&mut self, item: &T) -> Result<()> {
        poll_fn(|context| self.poll_send(Body::from(item), context)).await
    }

    /// Sends every item of a stream, and returns at its end. More can be sent after it.
    ///
    /// # Errors
    ///
    /// As [`Outgoing::send`].
    pub async fn send_all(&mut self, items: impl Stream<Item = T>) -> Result<()> {
        let mut items = pin!(items);
        while let Some(item) = poll_fn(|context| items.as_mut().poll_next(context)).await {
            self.send(&item).await?;
        }
        Ok(())
    }
}

impl Outgoing<Json> {
    /// Sends an item that has no Rust type. See the other `send`.
    ///
    /// # Errors
    ///
    /// As for items of Rust types, and when the JSON does not fit its type.
    pub async fn send(&mut self, item: &Dynamic) -> Result<()> {
        poll_fn(|context| self.poll_send(Body::Dynamic(item), context)).await
    }
}

impl<T: Items> Outgoing<T> {
    /// Says that there are no more items. The call goes on, and its reply is still to come.
    pub fn finish(mut self) {
        self.end(None);
    }

    /// Says that there would be more items, and what keeps them from coming: the other side gets this error after
    /// those that were sent. At the server, the handler's own error says so.
    pub fn break_off(mut self, error: &Error) {
        self.end(Some(error));
    }

    fn poll_send(&mut self, item: Body<'_>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.is_over {
            let text = "no item can follow those that were finished";
            return Poll::Ready(Err(Error::new(Code::FailedPrecondition, text)));
        }
        self.carrier.poll_send(item, &mut self.waits, context)
    }
}

impl<T> Drop for Outgoing<T> {
    fn drop(&mut self) {
        self.carrier.leave(&mut self.waits);
        // When no other part is left, the call is given up, which says all.
        if self.says_end && Arc::strong_count(&self.carrier) > 1 {
            let text = "the caller dropped the items before their end";
            self.end(Some(&Error::new(Code::Cancelled, text)));
        }
    }
}

impl<T> fmt::Debug for Outgoing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").finish_non_exhaustive()
    }
}

/// Ends the streams of a call with the handler, however it ends.
pub(crate) struct CloseOnDrop(pub(crate) Arc<dyn Carrier>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
