//! One connection to a server: the calls that wait on it, the two loops that move its bytes, and its end.
//! When to connect again is the client's matter.

#[cfg(all(test, farcall_loom))]
mod model;

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use farcall_wire::{
    Body, BodyKind, Calls, Code, Credit, Features, Flags, FrameReader, FrameWriter, Framing,
    GEERPC_PATH, GO_RPC_PATH, Hello, Kind, Limits, Side, Step, TINYRPC_PATH, Violation,
    connect_request, go_duration, read_connected,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{CallOptions, Config};
use crate::buffers::Kept;
use crate::inbox::Inbox;
use crate::link::{Link, Sending, Turn, now, wake_all};
use crate::middleware::{Received, Source};
use crate::stream::carrier::{Carries, HasStreams, too_many};
use crate::stream::table::{Arrived, Streams};
use crate::transport::{ReadHalf, Stream};
use crate::{Address, Dialect, Error, Reached, Result, Transport};

/// A server that takes no byte for so long is given up. It may be slow for a while: one with all its handlers at work
/// does not read.
const STALL_MAX: Duration = Duration::from_secs(60);
/// How long a server may take to close its side of a connection that was closed here.
const LINGER: Duration = Duration::from_secs(2);
/// How many callers a reader remembers how to wake before that takes memory of its own.
const WAKE_KEPT_MAX: usize = 32;
/// A Seq that no call on farcall's own protocol gets.
const NO_CALL: u64 = 0;
/// A connection that was open for so long was of use even if nobody called.
const OF_USE_AFTER: Duration = Duration::from_secs(10);

/// What a call ends with: its reply, or why there is none.
type Outcome = Result<Received>;

/// An open connection.
pub(crate) struct Connection {
    link: Link<Waiting>,
    body_kind: BodyKind,
    features: Features,
    peer: String,
    /// Tells the timing task that a deadline is earlier than those it knew.
    earlier: Notify,
    /// Tells whoever keeps the connection from growing old that it is lost.
    lost: Notify,
}

/// The client's part of a connection's state.
pub(crate) struct Waiting {
    calls: Calls<Outcome>,
    /// The items of those calls that have some.
    streams: Streams,
    /// How many calls the server has at work for one connection. More would only keep it from reading what is behind
    /// them, their cancels too.
    in_flight_max: usize,
    state: State,
    is_timing: bool,
    opened: Instant,
    has_answered: bool,
    /// When and why it was open no longer.
    closed: Option<(Instant, String)>,
    /// Counts the times that something came.
    heard: u64,
    /// Why the server goes away, if it said so.
    server_says: Option<String>,
}

enum State {
    Open,
    /// The server is going away: what runs finishes, nothing new begins.
    Draining,
    Lost,
}

/// How a connection came to take no more calls.
pub(crate) struct Ended {
    pub(crate) at: Instant,
    /// True when it had answered a call, or was open for [`OF_USE_AFTER`]: what failed before it was opened does not
    /// count any more.
    pub(crate) was_of_use: bool,
    pub(crate) why: String,
}

/// The right to begin a call before those that wait.
pub(crate) type CallTurn<'a> = Turn<'a, Waiting>;

/// What the opening of a connection settled.
struct Agreed {
    framing: Framing,
    features: Features,
    /// How many calls the server has at work for the connection.
    in_flight_max: usize,
    /// How many bytes of items the server holds for a stream.
    window: usize,
}

/// Why a call could not begin on a connection.
pub(crate) enum NotBegun {
    /// The connection takes no more calls: another one is needed.
    Gone,
    /// Too much is queued, or too many calls run: wait for [`Connection::turn`].
    Full,
    /// The argument cannot be encoded.
    Failed(Error),
}

impl Connection {
    /// Dials, opens the conversation, and starts the connection's tasks. The caller bounds the time.
    pub(crate) async fn open(address: &Address, config: &Config) -> Result<Arc<Connection>> {
        let unreachable = |error: std::io::Error| {
            let text = format!("cannot connect to {address}: {error}");
            Error::new(Code::Unavailable, text)
                .with_source(error)
                .with_reached(Reached::NotSent)
        };
        let stream = Stream::dial(address).await.map_err(unreachable)?;
        Connection::on_stream(stream, address, config).await
    }

    /// Opens the conversation on a stream.
    pub(crate) async fn on_stream(
        mut stream: Stream,
        address: &Address,
        config: &Config,
    ) -> Result<Arc<Connection>> {
        let mut inbox = Inbox::default();
        let agreed = shake_hands(&mut stream, &mut inbox, address, config)
            .await
            .map_err(|trouble| {
                let text = format!("cannot open a conversation with {address}: {trouble}");
                Error::new(Code::Unavailable, text).with_reached(Reached::NotSent)
            })?;
        let features = agreed.features;
        let frames = FrameReader::new(agreed.framing, Side::Client, &config.limits)
            .with_compression(features.compression());
        let body_kind = frames.body_kind();
        let connection = Connection::new(agreed, body_kind, address.to_string(), &config.limits);
        let connection = Arc::new(connection);
        if let (true, Some(interval)) = (features.ping, config.keep_alive) {
            tokio::spawn(keep_alive(Arc::downgrade(&connection), interval));
        }
        let Stream { reader, writer, .. } = stream;
        let reading = LoseOnDrop(Arc::clone(&connection));
        let mut reading =
            tokio::spawn(async move { reading.0.read_loop(frames, reader, inbox).await });
        let writing = Arc::clone(&connection);
        tokio::spawn(async move {
            if let Err(error) = writing.link.write_loop(writer, STALL_MAX).await {
                writing.lose(&format!("writing failed: {error}"));
            }
            // Nothing more is sent, and the server was told. It closes its side, or is not waited for.
            if timeout(LINGER, &mut reading).await.is_err() {
                reading.abort();
                writing.lose("it was closed here");
            }
        });
        Ok(connection)
    }

    /// A connection whose conversation is open, without its tasks.
    fn new(agreed: Agreed, body_kind: BodyKind, peer: String, limits: &Limits) -> Connection {
        let Agreed {
            framing,
            features,
            in_flight_max,
            window,
        } = agreed;
        let first_seq = match framing {
            // As in Go's own clients.
            Framing::NetRpc | Framing::JsonRpc => 0,
            Framing::Farcall(_) => 1,
        };
        Connection {
            link: Link::new(
                FrameWriter::new(framing, Side::Client).with_compression(features.compression()),
                Waiting {
                    calls: Calls::new(first_seq),
                    streams: Streams::new(limits.stream_window, window),
                    in_flight_max,
                    state: State::Open,
                    is_timing: false,
                    opened: now(),
                    has_answered: false,
                    closed: None,
                    heard: 0,
                    server_says: None,
                },
            ),
            body_kind,
            features,
            peer,
            earlier: Notify::new(),
            lost: Notify::new(),
        }
    }

    /// Sends a request. Its reply is to be polled for under the Seq returned, once now or when the waker was woken. There
    /// is none for a one-way call. Whoever holds a turn goes before those who wait for one.
    pub(crate) fn begin(
        self: &Arc<Connection>,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
        deadline: Option<Instant>,
        waker: Option<&Waker>,
        turn: Option<&CallTurn<'_>>,
    ) -> Result<Option<u64>, NotBegun> {
        if options.streams.is_some() && !self.features.stream {
            return Err(NotBegun::Failed(self.without_streams(method)));
        }
        let mut sending = self.link.lock();
        match sending.side.state {
            State::Open => {}
            State::Draining | State::Lost => return Err(NotBegun::Gone),
        }
        let goes_behind = turn.is_none() && sending.has_turns();
        if !sending.has_room() || !sending.side.has_room() || goes_behind {
            return Err(NotBegun::Full);
        }
        let known = sending.side.calls.next_deadline();
        let seq = sending.side.calls.start(deadline, waker.cloned());
        let features = self.features;
        let sent = sending.send(body, |header| {
            header.service_method.push_str(method);
            header.seq = seq;
            if let (true, Some(deadline)) = (features.deadline, deadline) {
                let now = options.now.unwrap_or_else(now);
                let left = deadline.saturating_duration_since(now).as_nanos();
                header.timeout_ns = u64::try_from(left).unwrap_or(u64::MAX).max(1);
            }
            if features.metadata {
                header.metadata.extend(&options.metadata);
            }
            let sends_items = options.streams.is_some_and(|streams| streams.up);
            for (is_set, flag) in [
                (features.one_way && options.is_one_way, Flags::ONE_WAY),
                (
                    features.idempotent && options.is_idempotent,
                    Flags::IDEMPOTENT,
                ),
                (features.metadata && options.takes_metadata, Flags::METADATA),
                (sends_items, Flags::STREAMS),
            ] {
                if is_set {
                    header.flags |= flag;
                }
            }
        });
        let writer = match sent {
            Ok(writer) => writer,
            Err(error) => {
                sending.side.calls.forget(seq);
                let text = format!("{method}: the argument cannot be encoded: {error}");
                let error = Error::new(Code::InvalidArgument, text).with_reached(Reached::NotSent);
                return Err(NotBegun::Failed(error));
            }
        };
        if options.is_one_way {
            // A server that replies all the same replies to nobody.
            sending.side.calls.forget(seq);
            drop(sending);
            wake_all(writer);
            return Ok(None);
        }
        let end = sending.end();
        sending.side.calls.set_end(seq, end);
        if let Some(streams) = options.streams {
            sending.side.streams.open(seq, streams.down);
        }
        let times = deadline.is_some()
            && !std::mem::replace(&mut sending.side.is_timing, deadline.is_some());
        drop(sending);
        wake_all(writer);
        if times {
            tokio::spawn(time_loop(Arc::downgrade(self)));
        } else if deadline.is_some_and(|deadline| known.is_none_or(|known| deadline < known)) {
            self.earlier.notify_one();
        }
        Ok(Some(seq))
    }

    /// Asks the server whether it is there. The answer is to be polled for like a reply.
    pub(crate) fn ping(&self) -> Result<u64, NotBegun> {
        if !self.features.ping {
            let text = format!("{} does not understand pings", self.peer);
            return Err(NotBegun::Failed(Error::new(Code::Unimplemented, text)));
        }
        let mut sending = self.link.lock();
        let State::Open = sending.side.state else {
            return Err(NotBegun::Gone);
        };
        let seq = sending.side.calls.start(None, None);
        let writer = send_empty(&mut sending, Kind::Ping, seq);
        drop(sending);
        wake_all(writer);
        Ok(seq)
    }

    /// Takes the outcome of a call that was begun.
    pub(crate) fn poll_reply(&self, seq: u64, context: &mut Context<'_>) -> Poll<Outcome> {
        self.link.lock().side.calls.poll(seq, context)
    }

    /// Gives a call up. A server that understands it is told to stop.
    pub(crate) fn forget(&self, seq: u64) {
        let mut sending = self.link.lock();
        let was_waiting = sending.side.calls.forget(seq);
        let mut wake = Vec::new();
        if !sending.side.streams.is_empty() {
            sending.side.streams.remove(seq, &mut wake);
        }
        if was_waiting && self.features.cancel {
            wake.extend(send_empty(&mut sending, Kind::Cancel, seq));
        }
        wake.extend(sending.retire());
        drop(sending);
        wake_all(wake);
    }

    /// Waits until the connection takes another call, behind all calls that wait already.
    pub(crate) async fn turn(&self) -> CallTurn<'_> {
        self.link.turn(Waiting::has_room).await
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.link.lock().side.state, State::Open)
    }

    /// How it came to take no more calls; `None` while it takes some.
    pub(crate) fn ended(&self) -> Option<Ended> {
        let side = &self.link.lock().side;
        let (at, why) = side.closed.clone()?;
        let was_open = at.saturating_duration_since(side.opened);
        Some(Ended {
            at,
            was_of_use: side.has_answered || was_open >= OF_USE_AFTER,
            why,
        })
    }

    /// Ends when the connection is lost. One can wait for it at a time.
    pub(crate) async fn lost(&self) {
        self.lost.notified().await;
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.link.lock().side.calls.waiting()
    }

    /// Takes no new calls, and ends once those that run have ended.
    pub(crate) fn retire(&self) {
        let mut sending = self.link.lock();
        sending.side.drain("it was closed here");
        let wake = sending.retire();
        drop(sending);
        wake_all(wake);
    }

    /// Ends the connection now, and every call on it.
    fn lose(&self, why: &str) {
        let mut sending = self.link.lock();
        // A request that is said not to have been sent must not be sent now.
        let mut wake = sending.abandon();
        if !matches!(sending.side.state, State::Lost) {
            let mut text = format!("the connection to {} ended: {why}", self.peer);
            if let Some(says) = &sending.side.server_says {
                text += &format!("; it says: {says}");
            }
            let error = Error::new(Code::Unavailable, text).with_reached(Reached::Unknown);
            let accepted = sending.accepted_max();
            // A request whose last byte the kernel surely did not take cannot have been run by anyone.
            let outcome = |end: u64| {
                Err(match end <= accepted {
                    true => error.clone(),
                    false => error.clone().with_reached(Reached::NotSent),
                })
            };
            sending.side.calls.finish_all(outcome, &mut wake);
            sending.side.streams.end_all(&error, &mut wake);
            sending.side.drain(why);
            sending.side.state = State::Lost;
        }
        drop(sending);
        self.earlier.notify_one();
        self.lost.notify_one();
        wake_all(wake);
    }

    async fn read_loop(&self, mut frames: FrameReader, mut reader: ReadHalf, mut inbox: Inbox) {
        let mut wake = Vec::new();
        let why = loop {
            let at_least = match self.receive(&mut frames, &mut inbox, &mut wake) {
                Ok(at_least) => at_least,
                Err(violation) => {
                    tracing::warn!(peer = %self.peer, reason = %violation, "connection closed: the server broke the protocol");
                    break format!("the server broke the protocol: {violation}");
                }
            };
            match inbox.fill(&mut reader, at_least).await {
                Ok(0) => break "the server closed it".to_owned(),
                Ok(_) => {}
                Err(error) => break format!("reading failed: {error}"),
            }
        };
        self.lose(&why);
    }

    /// Hands out every message that is whole, with one lock for all, and says how many bytes the next one lacks.
    ///
    /// `wake` is empty before and after: its memory is used again.
    fn receive(
        &self,
        frames: &mut FrameReader,
        inbox: &mut Inbox,
        wake: &mut Vec<Waker>,
    ) -> Result<usize, Violation> {
        let mut room = Vec::new();
        let mut sending = self.link.lock();
        sending.side.heard = sending.side.heard.wrapping_add(1);
        let ended = loop {
            match frames.next(inbox.bytes()) {
                Ok(Step::More { consumed, at_least }) => {
                    inbox.consume(consumed);
                    break Ok(at_least);
                }
                Ok(Step::Message { consumed, body }) => {
                    let body = match frames.expand(body, &mut room) {
                        Ok(body) => body,
                        Err(violation) => break Err(violation),
                    };
                    let body = match inbox.ends_with(consumed, body) {
                        Some(len) => inbox.take(consumed, len),
                        None => {
                            let kept = Kept::copy(body);
                            inbox.consume(consumed);
                            kept
                        }
                    };
                    let seq = frames.header().seq;
                    match frames.header().kind {
                        Kind::Ping => wake.extend(send_empty(&mut sending, Kind::Pong, seq)),
                        Kind::Item => self.receive_item(&mut sending, seq, body, wake),
                        _ => sending.side.receive(frames, body, wake),
                    }
                }
                Err(violation) => break Err(violation),
            }
        };
        wake.extend(sending.retire());
        drop(sending);
        wake_all(wake.drain(..));
        // A burst of replies leaves nothing behind.
        wake.shrink_to(WAKE_KEPT_MAX);
        ended
    }
}

/// Streams of items.
impl Connection {
    fn without_streams(&self, method: &str) -> Error {
        let text = format!(
            "{method} cannot have a stream of items on the connection to {}: that takes a farcall server with streams",
            self.peer
        );
        Error::new(Code::Unimplemented, text).with_reached(Reached::NotSent)
    }

    fn receive_item(
        &self,
        sending: &mut Sending<Waiting>,
        seq: u64,
        item: Kept,
        wake: &mut Vec<Waker>,
    ) {
        sending.side.has_answered = true;
        let error = match sending.arrive(seq, item, wake) {
            Arrived::TooMany => too_many(&self.peer),
            Arrived::Unknown if sending.side.calls.is_waiting(seq) => {
                // Nobody would ever say that they were taken, so the handler would wait for ever.
                let text = "the method sends a stream of items: call it with `stream`";
                Error::new(Code::Unimplemented, text)
            }
            // A call that was given up has no end any more, and nobody is told.
            Arrived::Fine | Arrived::Unwanted(_) | Arrived::Unknown => return,
        };
        sending.side.finish(seq, Err(error), wake);
        if self.features.cancel {
            wake.extend(send_empty(sending, Kind::Cancel, seq));
        }
    }
}

impl Carries for Connection {
    type Side = Waiting;

    fn link(&self) -> &Link<Waiting> {
        &self.link
    }

    fn body_kind(&self) -> &BodyKind {
        &self.body_kind
    }

    fn dropped(&self, seq: u64) {
        self.forget(seq);
    }
}

impl HasStreams for Waiting {
    fn streams(&mut self) -> &mut Streams {
        &mut self.streams
    }
}

impl Source for Connection {
    fn body_kind(&self) -> &BodyKind {
        &self.body_kind
    }
}

/// Ends the connection with the task that reads it, also when that ends with its runtime: nobody would ever answer.
struct LoseOnDrop(Arc<Connection>);

impl Drop for LoseOnDrop {
    fn drop(&mut self) {
        self.0.lose("its reading task ended");
    }
}

impl Waiting {
    /// False while a new call has to wait for another one to end. A connection that takes no calls keeps nobody.
    fn has_room(&self) -> bool {
        !matches!(self.state, State::Open) || self.calls.waiting() < self.in_flight_max
    }

    /// Takes no new calls.
    fn drain(&mut self, why: &str) {
        if let State::Open = self.state {
            self.state = State::Draining;
            self.closed = Some((now(), why.to_owned()));
        }
    }

    fn receive(&mut self, frames: &mut FrameReader, body: Kept, wake: &mut Vec<Waker>) {
        let header = frames.header();
        match header.kind {
            Kind::Call => {
                self.has_answered = true;
                let seq = header.seq;
                let outcome = match header.error.is_empty() {
                    true => Ok(Received {
                        body,
                        metadata: std::mem::take(&mut header.metadata),
                    }),
                    false => Err(received_error(frames, &body)),
                };
                if !self.finish(seq, outcome, wake) {
                    tracing::trace!(seq, "a reply came that nobody waits for");
                }
            }
            Kind::GoAway => {
                if !header.error.is_empty() {
                    self.server_says = Some(std::mem::take(&mut header.error));
                }
                self.drain("the server is going away");
            }
            Kind::Pong => {
                self.has_answered = true;
                self.calls.finish(header.seq, Ok(Received::default()), wake);
            }
            Kind::Credit => {
                self.has_answered = true;
                let (header, credit) = frames.message(body.bytes());
                let seq = header.seq;
                // What is no number says nothing.
                let count = credit.decode::<Credit>().unwrap_or_default();
                self.streams.credited(seq, count, wake);
            }
            Kind::Cancel | Kind::Ping | Kind::Item | Kind::End => {}
        }
    }

    /// Ends a call, and its streams with it. False when there is no such call, or no more.
    fn finish(&mut self, seq: u64, outcome: Outcome, wake: &mut Vec<Waker>) -> bool {
        if !self.streams.is_empty() {
            self.streams.end(seq, outcome.as_ref().err(), wake);
        }
        self.calls.finish(seq, outcome, wake)
    }
}

impl Sending<Waiting> {
    /// Lets those go on who wait for a call to end, and closes a connection that takes no new calls and has none left.
    /// To be called whenever a call has ended.
    fn retire(&mut self) -> Vec<Waker> {
        match self.side.state {
            State::Draining if self.side.calls.waiting() == 0 => self.close(),
            _ if self.side.has_room() => self.side_has_room(),
            _ => Vec::new(),
        }
    }
}

/// Sends a message that has no body of its own.
fn send_empty(sending: &mut Sending<Waiting>, kind: Kind, seq: u64) -> Option<Waker> {
    let sent = sending.send(Body::from(&()), |header| {
        header.kind = kind;
        header.seq = seq;
    });
    // The empty struct can always be encoded.
    sent.ok().flatten()
}

/// The error that a reply is.
fn received_error(frames: &mut FrameReader, body: &Kept) -> Error {
    let kind = frames.body_kind();
    let header = frames.header();
    let code = Code::from_number(header.code.into());
    let mut error = Error::new(code, std::mem::take(&mut header.error));
    if header.flags.has(Flags::REFUSED) {
        error = error.with_reached(Reached::Refused);
    }
    // Otherwise its body says nothing.
    if header.flags.has(Flags::DETAILS) {
        error = error.with_received_details(kind, body.bytes());
    }
    error
}

/// Asks a server that has calls to answer and says nothing whether it is there, and ends the connection when no answer
/// comes in as much time again.
async fn keep_alive(connection: Weak<Connection>, interval: Duration) {
    let mut heard = 0;
    let mut was_asked = false;
    loop {
        tokio::time::sleep(interval).await;
        let Some(connection) = connection.upgrade() else {
            return;
        };
        let mut sending = connection.link.lock();
        if let State::Lost = sending.side.state {
            return;
        }
        let was_heard = std::mem::replace(&mut heard, sending.side.heard) != heard;
        if was_heard || sending.side.calls.waiting() == 0 {
            was_asked = false;
            continue;
        }
        if was_asked {
            drop(sending);
            let interval = go_duration(interval);
            connection.lose(&format!("no byte came for {interval} after a ping"));
            return;
        }
        was_asked = true;
        // No call has this Seq: that something comes is all that matters.
        let writer = send_empty(&mut sending, Kind::Ping, NO_CALL);
        drop(sending);
        wake_all(writer);
    }
}

/// Ends calls at their deadlines, while the connection lives.
///
/// One task for all calls: most calls end before their deadline, so it wakes about once in a call's timeout, however
/// many calls there are.
async fn time_loop(connection: Weak<Connection>) {
    loop {
        let next = {
            let Some(connection) = connection.upgrade() else {
                return;
            };
            let mut wake = Vec::new();
            let mut sending = connection.link.lock();
            if let State::Lost = sending.side.state {
                return;
            }
            let cancel = connection.features.cancel;
            let mut expired = Vec::new();
            let Waiting { calls, streams, .. } = &mut sending.side;
            let mut ended = Vec::new();
            calls.finish_expired(
                now(),
                |seq| {
                    expired.push(seq);
                    let error = Error::new(
                        Code::DeadlineExceeded,
                        "the call's deadline passed before its reply came",
                    )
                    .with_reached(Reached::Unknown);
                    streams.end(seq, Some(&error), &mut ended);
                    Err(error)
                },
                &mut wake,
            );
            wake.extend(ended);
            for seq in expired {
                if cancel {
                    wake.extend(send_empty(&mut sending, Kind::Cancel, seq));
                }
            }
            wake.extend(sending.retire());
            let next = sending.side.calls.next_deadline();
            drop(sending);
            wake_all(wake);
            next
        };
        // Without the connection, lest the task keep it alive.
        let Some(earlier) = connection.upgrade() else {
            return;
        };
        let earlier = async move { earlier.earlier.notified().await };
        match next {
            None => earlier.await,
            Some(next) => {
                tokio::select! {
                    () = tokio::time::sleep_until(next.into()) => {}
                    () = earlier => {}
                }
            }
        }
    }
}

/// Opens the conversation in the dialect that the address names.
async fn shake_hands(
    stream: &mut Stream,
    inbox: &mut Inbox,
    address: &Address,
    config: &Config,
) -> Result<Agreed, String> {
    // With a server that agrees to nothing.
    let plain = |framing| Agreed {
        framing,
        features: Features::default(),
        in_flight_max: usize::MAX,
        window: Limits::default().stream_window,
    };
    if let Transport::Http(_) = address.transport {
        let path = match address.dialect {
            Dialect::NetRpc => GO_RPC_PATH,
            Dialect::GeeRpc => GEERPC_PATH,
            Dialect::Farcall | Dialect::JsonRpc => TINYRPC_PATH,
        };
        write(stream, &connect_request(path)).await?;
        // Go's server loses what is sent before its answer.
        let len = read_until(stream, inbox, |input| read_connected(input, &config.limits)).await?;
        inbox.consume(len);
    }
    match address.dialect {
        Dialect::NetRpc => Ok(plain(Framing::NetRpc)),
        Dialect::JsonRpc => Ok(plain(Framing::JsonRpc)),
        Dialect::GeeRpc => {
            // Nothing comes back: the first request follows at once.
            write(stream, &hello(config, Features::default())).await?;
            Ok(plain(Framing::Farcall(config.codec)))
        }
        Dialect::Farcall => {
            let offered = Features::ALL.compressing(config.compression);
            write(stream, &hello(config, offered)).await?;
            let (ack, len) =
                read_until(stream, inbox, |input| Hello::read(input, &config.limits)).await?;
            inbox.consume(len);
            let codec = ack.codec().map_err(|violation| violation.to_string())?;
            if codec != config.codec {
                return Err(format!(
                    "the server answered with the codec {codec}, not {}",
                    config.codec
                ));
            }
            let plain = plain(Framing::Farcall(codec));
            Ok(Agreed {
                features: ack.features().and(offered),
                in_flight_max: ack.in_flight_max().unwrap_or(plain.in_flight_max),
                window: ack.window().unwrap_or(plain.window),
                ..plain
            })
        }
    }
}

/// The bytes of the handshake.
fn hello(config: &Config, features: Features) -> Vec<u8> {
    let nanos = |limit: Option<Duration>| {
        limit.map_or(0, |limit| limit.as_nanos().min(i64::MAX as u128) as i64)
    };
    let connect_timeout = nanos(Some(config.connect_timeout));
    let handle_timeout = nanos(config.handle_timeout);
    let mut bytes = Vec::new();
    Hello::new(config.codec, connect_timeout, handle_timeout, features)
        .with_window(config.limits.stream_window)
        .write(&mut bytes);
    bytes
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), String> {
    let written = stream.writer.write_all(bytes).await;
    written.map_err(|error| format!("writing failed: {error}"))
}

async fn read_until<T>(
    stream: &mut Stream,
    inbox: &mut Inbox,
    parse: impl Fn(&[u8]) -> Result<Option<T>, Violation>,
) -> Result<T, String> {
    loop {
        if let Some(found) = parse(inbox.bytes()).map_err(|violation| violation.to_string())? {
            return Ok(found);
        }
        match inbox.fill(&mut stream.reader, 1).await {
            Ok(0) => return Err("the server closed the connection within the handshake".into()),
            Ok(_) => {}
            Err(error) => return Err(format!("reading failed: {error}")),
        }
    }
}

/// What is said when the time for connecting is over.
pub(crate) fn connect_timed_out(address: &Address, limit: Duration) -> Error {
    let limit = go_duration(limit);
    let text = format!("cannot connect to {address}: dial and handshake took longer than {limit}");
    Error::new(Code::DeadlineExceeded, text).with_reached(Reached::NotSent)
}

/// The limits of a client: what a server may make it hold.
pub(crate) fn default_limits() -> Limits {
    Limits::default()
}
