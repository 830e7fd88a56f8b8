//! How the streams of a call use its connection: what is sent when items are sent and taken. One implementation for both
//! ends; what ends a call is told in `client` and `server`.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use farcall_wire::{Body, BodyKind, Credit, Kind};

use super::table::{Arrived, Streams, Taken};
use crate::buffers::Kept;
use crate::link::{Link, Sending, wake_all};
use crate::{Code, Error, Result};

/// One end of a connection that carries streams.
pub(crate) trait Carries: Send + Sync + 'static {
    /// What this end keeps under the connection's lock.
    type Side: HasStreams + Send;

    fn link(&self) -> &Link<Self::Side>;

    /// How items are decoded.
    fn body_kind(&self) -> &BodyKind;

    /// Nobody holds any part of the call any more.
    fn dropped(&self, seq: u64);
}

/// The state of one end, with streams in it.
pub(crate) trait HasStreams {
    fn streams(&mut self) -> &mut Streams;
}

/// The streams of one call, as those hold it who send and take its items. It is left when all of them have gone.
pub(crate) struct CallStreams<C: Carries> {
    pub(crate) connection: Arc<C>,
    pub(crate) seq: u64,
    /// What is to live as long as the call.
    _held: Option<Held>,
}

/// Something that counts a call for as long as it lives.
pub(crate) type Held = Box<dyn Any + Send + Sync>;

impl<C: Carries> CallStreams<C> {
    pub(crate) fn new(connection: Arc<C>, seq: u64, held: Option<Held>) -> CallStreams<C> {
        CallStreams {
            connection,
            seq,
            _held: held,
        }
    }
}

impl<C: Carries> Drop for CallStreams<C> {
    fn drop(&mut self) {
        self.connection.dropped(self.seq);
    }
}

/// A [`CallStreams`] of either end.
pub(crate) trait Carrier: Send + Sync {
    /// Sends an item once the other side and the connection take it.
    fn poll_send(
        &self,
        item: Body<'_>,
        waits: &mut Waits,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>>;

    /// Says that no more items are sent, and why, if not because there are no more.
    fn finish(&self, error: Option<&Error>);

    /// Takes the next item; its end is `None`, and an error that broke it off comes before that.
    fn poll_next(&self, waits: &mut Waits, context: &mut Context<'_>)
    -> Poll<Result<Option<Kept>>>;

    /// Nobody takes items any more.
    fn unwanted(&self);

    /// How items are decoded.
    fn body_kind(&self) -> &BodyKind;

    /// Ends the streams: their call has its reply.
    fn close(&self);

    /// Waits no more.
    fn leave(&self, waits: &mut Waits);
}

/// A place among those who wait for the connection's room.
#[derive(Default)]
pub(crate) struct Waits(Option<u64>);

impl<C: Carries> Carrier for CallStreams<C> {
    fn poll_send(
        &self,
        item: Body<'_>,
        waits: &mut Waits,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let mut sending = self.connection.link().lock();
        ready!(sending.side.streams().poll_room(self.seq, context))?;
        if !sending.has_room() {
            sending.wait_for_room(&mut waits.0, context);
            return Poll::Pending;
        }
        let sent = sending.send_counted(item, |header| {
            header.kind = Kind::Item;
            header.seq = self.seq;
        });
        let (len, writer) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                let text = format!("the item cannot be encoded: {error}");
                return Poll::Ready(Err(Error::new(Code::InvalidArgument, text)));
            }
        };
        sending.side.streams().sent(self.seq, len);
        drop(sending);
        wake_all(writer);
        Poll::Ready(Ok(()))
    }

    fn finish(&self, error: Option<&Error>) {
        let mut sending = self.connection.link().lock();
        if !sending.side.streams().is_running(self.seq) {
            return;
        }
        let sent = sending.send(Body::from(&()), |header| {
            header.kind = Kind::End;
            header.seq = self.seq;
            if let Some(error) = error {
                // An empty text would look like no error.
                header.error.push_str(match error.message() {
                    "" => error.code().as_str(),
                    text => text,
                });
                header.code = error.code().number();
            }
        });
        drop(sending);
        // The empty struct can always be encoded.
        wake_all(sent.ok().flatten());
    }

    fn poll_next(
        &self,
        waits: &mut Waits,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Kept>>> {
        let mut sending = self.connection.link().lock();
        if !sending.has_room() {
            // What is taken is acknowledged, and that must not fill the memory of a side whose peer does not read.
            sending.wait_for_room(&mut waits.0, context);
            return Poll::Pending;
        }
        let (polled, credit) = match sending.side.streams().take(self.seq, context) {
            Taken::Item(item, credit) => (Poll::Ready(Ok(Some(item))), credit),
            Taken::End(None) => (Poll::Ready(Ok(None)), None),
            Taken::End(Some(error)) => (Poll::Ready(Err(error)), None),
            Taken::Wait(credit) => (Poll::Pending, credit),
        };
        let writer = credit.and_then(|credit| sending.send_credit(self.seq, credit));
        drop(sending);
        wake_all(writer);
        polled
    }

    fn unwanted(&self) {
        let mut sending = self.connection.link().lock();
        let credit = sending.side.streams().unwanted(self.seq);
        let writer = credit.and_then(|credit| sending.send_credit(self.seq, credit));
        drop(sending);
        wake_all(writer);
    }

    fn body_kind(&self) -> &BodyKind {
        self.connection.body_kind()
    }

    fn close(&self) {
        let mut wake = Vec::new();
        let mut sending = self.connection.link().lock();
        sending.side.streams().remove(self.seq, &mut wake);
        drop(sending);
        wake_all(wake);
    }

    fn leave(&self, waits: &mut Waits) {
        if waits.0.is_some() {
            self.connection.link().lock().wait_no_more(&mut waits.0);
        }
    }
}

impl<S: HasStreams> Sending<S> {
    /// Takes in an item that came for a call.
    pub(crate) fn arrive(&mut self, seq: u64, item: Kept, wake: &mut Vec<Waker>) -> Arrived {
        let arrived = self.side.streams().arrive(seq, item, wake);
        if let Arrived::Unwanted(credit) = arrived {
            wake.extend(self.send_credit(seq, credit));
        }
        arrived
    }

    fn send_credit(&mut self, seq: u64, credit: Credit) -> Option<Waker> {
        let sent = self.send(Body::from(&credit), |header| {
            header.kind = Kind::Credit;
            header.seq = seq;
        });
        // A number can always be encoded.
        sent.ok().flatten()
    }
}

/// Said of a call one of whose streams does not keep to the window.
pub(crate) fn too_many(peer: &str) -> Error {
    let text = format!(
        "{peer} sends items faster than they are taken, and ignores the window that it was told"
    );
    Error::new(Code::ResourceExhausted, text)
}
