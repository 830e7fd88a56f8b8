//! The streams of one connection: what was sent of each and not taken yet, what came, who waits. It is kept under the
//! connection's lock, and is the same at both ends. What is sent, and when, is told in `carrier`.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use farcall_wire::{Credit, ReceiveWindow, SendWindow};
use rustc_hash::FxHashMap;

use crate::buffers::Kept;
use crate::{Code, Error, Result};

/// The streams of a connection, by their calls' Seq. Most connections have none, and then this holds no memory.
#[derive(Default)]
pub(crate) struct Streams {
    open: FxHashMap<u64, Stream>,
    /// Bytes of items that this side holds for a stream, and that the other side does.
    ours: usize,
    theirs: usize,
}

/// The items of one call, in both directions.
struct Stream {
    sending: SendWindow,
    sender: Option<Waker>,
    receiving: ReceiveWindow,
    arrived: VecDeque<Kept>,
    receiver: Option<Waker>,
    incoming: State,
    /// Why no more items are taken for the other side: the call has ended.
    over: Option<Error>,
}

enum State {
    Expected,
    /// Nobody takes them: they are dropped as they come.
    Unwanted,
    Ended(Option<Error>),
}

/// What became of an item that came.
pub(crate) enum Arrived {
    /// It is kept, or was of no use any more.
    Fine,
    /// Nobody wants it, and the other side is told that it was taken.
    Unwanted(Credit),
    /// It should not have been sent: the other side ignores the window.
    TooMany,
    /// Its call has no streams here.
    Unknown,
}

/// What there is to take.
pub(crate) enum Taken {
    /// An item; and perhaps the other side is to be told.
    Item(Kept, Option<Credit>),
    /// The end, with what it was that broke the items off, if it was not they that ended.
    End(Option<Error>),
    /// Nothing yet: the waker was left. Perhaps the other side is to be told what was taken before.
    Wait(Option<Credit>),
}

impl Streams {
    /// No streams; `ours` and `theirs` are the windows that the two sides announced.
    pub(crate) fn new(ours: usize, theirs: usize) -> Streams {
        Streams {
            open: FxHashMap::default(),
            ours,
            theirs,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Files the streams of a call. False when there are some under this Seq.
    pub(crate) fn open(&mut self, seq: u64, expects_items: bool) -> bool {
        if self.open.contains_key(&seq) {
            return false;
        }
        let stream = Stream {
            sending: SendWindow::new(self.theirs),
            sender: None,
            receiving: ReceiveWindow::new(self.ours),
            arrived: VecDeque::new(),
            receiver: None,
            incoming: match expects_items {
                true => State::Expected,
                false => State::Unwanted,
            },
            over: None,
        };
        self.open.insert(seq, stream);
        true
    }

    /// Forgets the streams of a call. Whoever still waits on them finds them gone.
    pub(crate) fn remove(&mut self, seq: u64, wake: &mut Vec<Waker>) {
        if let Some(mut stream) = self.open.remove(&seq) {
            stream.wake(wake);
        }
        if self.open.is_empty() {
            // A connection without streams holds no memory for them.
            self.open = FxHashMap::default();
        }
    }

    /// The call has ended, well or with an error. What came before can still be taken.
    pub(crate) fn end(&mut self, seq: u64, error: Option<&Error>, wake: &mut Vec<Waker>) {
        if let Some(stream) = self.open.get_mut(&seq) {
            stream.end(error, wake);
        }
    }

    /// All calls have ended with this error.
    pub(crate) fn end_all(&mut self, error: &Error, wake: &mut Vec<Waker>) {
        for stream in self.open.values_mut() {
            stream.end(Some(error), wake);
        }
    }

    /// An item came.
    pub(crate) fn arrive(&mut self, seq: u64, item: Kept, wake: &mut Vec<Waker>) -> Arrived {
        let Some(stream) = self.open.get_mut(&seq) else {
            return Arrived::Unknown;
        };
        match stream.incoming {
            State::Ended(_) => Arrived::Fine,
            State::Unwanted if stream.over.is_some() => Arrived::Fine,
            State::Unwanted => Arrived::Unwanted(1),
            State::Expected if !stream.receiving.arrived(item.bytes().len()) => Arrived::TooMany,
            State::Expected => {
                stream.arrived.push_back(item);
                wake.extend(stream.receiver.take());
                Arrived::Fine
            }
        }
    }

    /// The other side sends no more items, or could not.
    pub(crate) fn ended(&mut self, seq: u64, error: Option<Error>, wake: &mut Vec<Waker>) {
        if let Some(stream) = self.open.get_mut(&seq) {
            if let State::Expected = stream.incoming {
                stream.incoming = State::Ended(error);
                wake.extend(stream.receiver.take());
            }
        }
    }

    /// The other side has taken items.
    pub(crate) fn credited(&mut self, seq: u64, count: Credit, wake: &mut Vec<Waker>) {
        if let Some(stream) = self.open.get_mut(&seq) {
            stream.sending.credited(count);
            if stream.sending.has_room() {
                wake.extend(stream.sender.take());
            }
        }
    }

    /// Takes the next item, or leaves the waker.
    pub(crate) fn take(&mut self, seq: u64, context: &mut Context<'_>) -> Taken {
        let Some(stream) = self.open.get_mut(&seq) else {
            return Taken::End(Some(call_over()));
        };
        if let Some(item) = stream.arrived.pop_front() {
            let credit = stream.receiving.took(item.bytes().len());
            // Nobody sends any more.
            let credit = credit.filter(|_| matches!(stream.incoming, State::Expected));
            return Taken::Item(item, credit);
        }
        // A stream that is quiet for long holds no memory for it.
        stream.arrived = VecDeque::new();
        match &mut stream.incoming {
            State::Ended(error) => Taken::End(error.take()),
            State::Unwanted => Taken::End(None),
            State::Expected => {
                leave(&mut stream.receiver, context);
                Taken::Wait(stream.receiving.ran_empty())
            }
        }
    }

    /// Nobody takes items of this call any more. Those that are there are dropped, and so are those that come.
    pub(crate) fn unwanted(&mut self, seq: u64) -> Option<Credit> {
        let stream = self.open.get_mut(&seq)?;
        stream.receiver = None;
        let arrived = std::mem::take(&mut stream.arrived);
        if !matches!(stream.incoming, State::Expected) {
            return None;
        }
        stream.incoming = State::Unwanted;
        let mut credit = 0;
        for item in arrived {
            credit += stream.receiving.took(item.bytes().len()).unwrap_or(0);
        }
        credit += stream.receiving.ran_empty().unwrap_or(0);
        (credit > 0).then_some(credit)
    }

    /// Waits until an item may be sent; an error when none ever will.
    pub(crate) fn poll_room(&mut self, seq: u64, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(stream) = self.open.get_mut(&seq) else {
            return Poll::Ready(Err(call_over()));
        };
        if let Some(over) = &stream.over {
            return Poll::Ready(Err(over.clone()));
        }
        if stream.sending.has_room() {
            return Poll::Ready(Ok(()));
        }
        leave(&mut stream.sender, context);
        Poll::Pending
    }

    /// An item of so many bytes was sent.
    pub(crate) fn sent(&mut self, seq: u64, len: usize) {
        if let Some(stream) = self.open.get_mut(&seq) {
            stream.sending.sent(len);
        }
    }

    /// True while the call runs.
    pub(crate) fn is_running(&self, seq: u64) -> bool {
        self.open
            .get(&seq)
            .is_some_and(|stream| stream.over.is_none())
    }
}

impl Stream {
    fn end(&mut self, error: Option<&Error>, wake: &mut Vec<Waker>) {
        if self.over.is_some() {
            return;
        }
        self.over = Some(error.cloned().unwrap_or_else(call_over));
        if let State::Expected = self.incoming {
            self.incoming = State::Ended(error.cloned());
        }
        self.wake(wake);
    }

    fn wake(&mut self, wake: &mut Vec<Waker>) {
        wake.extend(self.sender.take());
        wake.extend(self.receiver.take());
    }
}

/// Said to whoever sends or takes items of a call that has its reply.
fn call_over() -> Error {
    Error::new(
        Code::Cancelled,
        "the call has ended, and its streams with it",
    )
}

fn leave(place: &mut Option<Waker>, context: &mut Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}
