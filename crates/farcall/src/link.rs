//! The sending side of a connection: one state behind one short lock, and the loop that writes.
//! Nothing is awaited under the lock. What is sent, and what replies mean, is told in `client` and `server`.

#[cfg(all(test, farcall_loom))]
pub(crate) mod model;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use farcall_wire::{Body, EncodeError, FrameWriter, Header};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::buffers;
use crate::slab::Slab;
use crate::sync::{AtomicBool, Mutex, MutexGuard};
use crate::transport::WriteHalf;

/// Queued bytes above which a connection takes no more: writing to it waits, and a server stops reading from it.
///
/// Models fill it many thousand times.
const QUEUED_MAX: usize = if cfg!(all(test, farcall_loom)) {
    64
} else {
    1 << 20
};
/// A send buffer that grew larger is not kept.
const KEPT_MAX: usize = 2 << 20;

/// A connection's state: what is to be written, and `side`, which is what only one end knows.
pub(crate) struct Link<S> {
    sending: Mutex<Sending<S>>,
    /// True while so much is queued that no more is to be added: looked at without the lock.
    is_full: Arc<AtomicBool>,
}

pub(crate) struct Sending<S> {
    is_full: Arc<AtomicBool>,
    frames: FrameWriter,
    /// Bytes that the writer has not taken yet.
    queue: Vec<u8>,
    /// Bytes that the writer has taken and the kernel has not.
    in_writer: usize,
    /// Bytes that the kernel has accepted since the connection began.
    accepted: u64,
    /// The kernel takes none of the bytes that the writer has: it said so last.
    is_stalled: bool,
    closing: bool,
    writer: Option<Waker>,
    waiting_for_room: Slab<Waker>,
    turns: Turns,
    waiting_for_idle: Option<Waker>,
    pub(crate) side: S,
}

impl<S> Link<S> {
    pub(crate) fn new(frames: FrameWriter, side: S) -> Link<S> {
        let is_full = Arc::new(AtomicBool::new(false));
        let sending = Mutex::new(Sending {
            is_full: Arc::clone(&is_full),
            frames,
            queue: Vec::new(),
            in_writer: 0,
            accepted: 0,
            is_stalled: false,
            closing: false,
            writer: None,
            waiting_for_room: Slab::default(),
            turns: Turns::default(),
            waiting_for_idle: None,
            side,
        });
        Link { sending, is_full }
    }

    /// True while [`Link::room`] would wait, or was so just now.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// A panic in a value's own encoding rolls back like an error of it, so the state is whole even then.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Sending<S>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the connection takes more and `has_room` holds of the side.
    pub(crate) async fn room(&self, has_room: impl Fn(&S) -> bool) {
        let mut waits = Waits {
            link: self,
            id: None,
        };
        poll_fn(|context| {
            let mut sending = self.lock();
            if sending.has_room() && has_room(&sending.side) {
                return Poll::Ready(());
            }
            sending.wait_for_room(&mut waits.id, context);
            Poll::Pending
        })
        .await;
    }

    /// Waits like [`Link::room`], and for everyone who began to wait for a turn before. Whoever holds the turn goes
    /// first, and lets the next one go by dropping it.
    pub(crate) async fn turn(&self, has_room: impl Fn(&S) -> bool) -> Turn<'_, S> {
        let turn = Turn {
            link: self,
            number: self.lock().turns.enter(),
        };
        poll_fn(|context| {
            let mut sending = self.lock();
            let may_go = sending.has_room() && has_room(&sending.side);
            if may_go && sending.turns.is_first(turn.number) {
                return Poll::Ready(());
            }
            sending.turns.wait(turn.number, context.waker());
            Poll::Pending
        })
        .await;
        turn
    }

    /// Waits until everything queued has been handed to the kernel and `is_idle` holds of the side.
    pub(crate) async fn idle(&self, is_idle: impl Fn(&S) -> bool) {
        poll_fn(|context| {
            let mut sending = self.lock();
            if sending.closing || (sending.queued() == 0 && is_idle(&sending.side)) {
                return Poll::Ready(());
            }
            sending.waiting_for_idle = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Writes what is queued, until the connection closes and all is written, or the peer fails.
    ///
    /// A peer that takes no byte for `stall_max` is given up.
    pub(crate) async fn write_loop(
        &self,
        mut writer: WriteHalf,
        stall_max: Duration,
    ) -> io::Result<()> {
        let mut batch = Vec::new();
        let queue = |context: &mut Context<'_>, batch: &mut Vec<u8>| {
            let polled = self.lock().poll_queue(context);
            if polled.is_pending() {
                // An idle connection holds no buffer.
                buffers::give_back(std::mem::take(batch));
            }
            polled
        };
        while poll_fn(|context| queue(context, &mut batch)).await {
            // Everyone who is runnable now appends first: this is what makes one write of many messages.
            tokio::task::yield_now().await;
            self.lock().take_batch(&mut batch);
            let mut rest = batch.as_slice();
            while !rest.is_empty() {
                let count = self.write_some(&mut writer, rest, stall_max).await?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = rest.get(count..).unwrap_or_default();
                wake_all(self.lock().accept(count));
            }
        }
        writer.shutdown().await
    }

    /// Writes what the kernel takes, and gives a peer up that takes nothing for `stall_max`.
    async fn write_some(
        &self,
        writer: &mut WriteHalf,
        bytes: &[u8],
        stall_max: Duration,
    ) -> io::Result<usize> {
        // Made when there is something to wait for, and not before: a timer is large, and seldom needed.
        let mut stall = None;
        poll_fn(|context| {
            if stall.is_some() {
                self.lock().is_stalled = false;
            }
            let written = Pin::new(&mut *writer).poll_write(context, bytes);
            if let Poll::Ready(Ok(_)) = written {
                return written;
            }
            // Whoever ends the connection now knows exactly what was sent.
            self.lock().is_stalled = true;
            if written.is_ready() {
                return written;
            }
            let stall = stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
            stall
                .as_mut()
                .poll(context)
                .map(|()| Err(stalled(stall_max)))
        })
        .await
    }
}

/// Someone who waits for room, however long and however often polled: one waker, gone with who waits.
struct Waits<'a, S> {
    link: &'a Link<S>,
    id: Option<u64>,
}

impl<S> Drop for Waits<'_, S> {
    fn drop(&mut self) {
        if self.id.is_some() {
            self.link.lock().wait_no_more(&mut self.id);
        }
    }
}

/// The right to go before everyone who came later.
pub(crate) struct Turn<'a, S> {
    link: &'a Link<S>,
    number: u64,
}

impl<S> Drop for Turn<'_, S> {
    fn drop(&mut self) {
        let next = self.link.lock().turns.leave(self.number);
        wake_all(next);
    }
}

/// Those who wait for their turn, the first one first. Without it, whoever has just got a reply would go before those
/// who wait, time after time.
#[derive(Default)]
struct Turns {
    next: u64,
    waiting: BTreeMap<u64, Option<Waker>>,
}

impl Turns {
    fn enter(&mut self) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, None);
        self.next
    }

    fn is_first(&self, number: u64) -> bool {
        self.waiting
            .first_key_value()
            .is_none_or(|(first, _)| *first == number)
    }

    fn wait(&mut self, number: u64, waker: &Waker) {
        if let Some(place) = self.waiting.get_mut(&number) {
            *place = Some(waker.clone());
        }
    }

    /// The waker of whoever is first, to look whether there is room.
    fn first(&mut self) -> Option<Waker> {
        self.waiting.first_entry()?.get_mut().take()
    }

    /// Ends a turn, and gives the waker of the next one's.
    fn leave(&mut self, number: u64) -> Option<Waker> {
        self.waiting.remove(&number);
        self.first()
    }
}

fn stalled(stall_max: Duration) -> io::Error {
    let text = format!("the peer took no byte for {} s", stall_max.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

impl<S> Sending<S> {
    /// Queues one message: `fill` sets the header's members, of which the others are empty.
    ///
    /// The waker is the writer's, to be woken when the lock is no longer held.
    ///
    /// # Errors
    ///
    /// When the body cannot be encoded. Nothing is queued then.
    pub(crate) fn send(
        &mut self,
        body: Body<'_>,
        fill: impl FnOnce(&mut Header),
    ) -> Result<Option<Waker>, EncodeError> {
        self.send_counted(body, fill).map(|(_, writer)| writer)
    }

    /// As [`Sending::send`], and tells how many bytes the message has before it is compressed.
    pub(crate) fn send_counted(
        &mut self,
        body: Body<'_>,
        fill: impl FnOnce(&mut Header),
    ) -> Result<(usize, Option<Waker>), EncodeError> {
        if self.closing {
            return Ok((0, None));
        }
        if self.queue.capacity() == 0 {
            self.queue = buffers::take();
        }
        fill(self.frames.header());
        let len = self.frames.write(body, &mut self.queue)?;
        if self.queued() >= QUEUED_MAX {
            self.is_full.store(true, Ordering::Relaxed);
        }
        Ok((len, self.writer.take()))
    }

    /// Where the bytes queued so far end, counted since the connection began.
    pub(crate) fn end(&self) -> u64 {
        self.accepted + self.queued() as u64
    }

    /// How many bytes the kernel may have accepted since the connection began. Those that the writer has may be with it
    /// already, without the writer having said so.
    pub(crate) fn accepted_max(&self) -> u64 {
        match self.is_stalled {
            true => self.accepted,
            false => self.accepted + self.in_writer as u64,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.queued() < QUEUED_MAX || self.closing
    }

    /// Leaves the waker to be woken when there may be room: in this place, which is given back by
    /// [`Sending::wait_no_more`].
    pub(crate) fn wait_for_room(&mut self, place: &mut Option<u64>, context: &Context<'_>) {
        let waiting = &mut self.waiting_for_room;
        match place.and_then(|id| waiting.get_mut(id)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => *place = Some(waiting.insert(context.waker().clone())),
        }
    }

    pub(crate) fn wait_no_more(&mut self, place: &mut Option<u64>) {
        if let Some(id) = place.take() {
            self.waiting_for_room.remove(id);
        }
    }

    /// Takes no further messages; what is queued is still written, and then the writing loop ends.
    #[must_use = "the wakers are to be woken when the lock is no longer held"]
    pub(crate) fn close(&mut self) -> Vec<Waker> {
        self.closing = true;
        let mut wake = self.waiting_for_room.drain();
        wake.extend(self.turns.first());
        wake.extend(self.writer.take());
        wake.extend(self.waiting_for_idle.take());
        wake
    }

    /// Closes, and drops what the writer has not taken yet: nobody gets it any more.
    #[must_use = "the wakers are to be woken when the lock is no longer held"]
    pub(crate) fn abandon(&mut self) -> Vec<Waker> {
        self.queue = Vec::new();
        self.close()
    }

    /// To be called when the side may have become idle.
    #[must_use = "the waker is to be woken when the lock is no longer held"]
    pub(crate) fn side_changed(&mut self) -> Option<Waker> {
        self.waiting_for_idle.take()
    }

    /// To be called when the side may have room again.
    #[must_use = "the wakers are to be woken when the lock is no longer held"]
    pub(crate) fn side_has_room(&mut self) -> Vec<Waker> {
        let mut wake = self.waiting_for_room.drain();
        wake.extend(self.turns.first());
        wake
    }

    /// True while someone waits for a turn: whoever comes now goes behind.
    pub(crate) fn has_turns(&self) -> bool {
        !self.turns.waiting.is_empty()
    }

    fn queued(&self) -> usize {
        self.queue.len() + self.in_writer
    }

    /// True when there is something to write, false when nothing more will come.
    fn poll_queue(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.queue.is_empty() {
            return Poll::Ready(true);
        }
        if self.closing {
            return Poll::Ready(false);
        }
        buffers::give_back(std::mem::take(&mut self.queue));
        self.writer = Some(context.waker().clone());
        Poll::Pending
    }

    fn take_batch(&mut self, batch: &mut Vec<u8>) {
        batch.clear();
        if batch.capacity() > KEPT_MAX {
            *batch = Vec::new();
        }
        std::mem::swap(&mut self.queue, batch);
        self.in_writer = batch.len();
    }

    fn accept(&mut self, count: usize) -> Vec<Waker> {
        self.in_writer -= count;
        self.accepted += count as u64;
        let mut wake = Vec::new();
        if self.has_room() {
            self.is_full.store(false, Ordering::Relaxed);
            wake = self.waiting_for_room.drain();
            wake.extend(self.turns.first());
        }
        if self.queued() == 0 {
            wake.extend(self.waiting_for_idle.take());
        }
        wake
    }
}

/// The time by the clock that timers go by, which tests can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
