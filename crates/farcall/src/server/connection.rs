//! One accepted connection: its opening, its requests, its end. Which handler serves a request is the router's to say.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use farcall_wire::{
    Body, BodyKind, BodyRef, Code, Codec, Credit, Features, Flags, FrameReader, FrameWriter,
    Framing, GEERPC_CONNECTED, GEERPC_PATH, GO_RPC_CONNECTED, GO_RPC_PATH, Header, Hello, Kind,
    Limits, Load, Opening, Side, Step, TINYRPC_CONNECTED, TINYRPC_PATH, Violation, go_duration,
    read_connect, sniff,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Shared;
use crate::backoff::jittered;
use crate::buffers::Kept;
use crate::context::Peer;
use crate::inbox::{Inbox, discard};
use crate::link::{Link, Sending, now, wake_all};
use crate::middleware::outcome_of;
use crate::router::{Method, Missing, Recipient, ReplyTo, Request, RunOn, Running, no_streams};
use crate::run::{self, Held, TimeLimit};
use crate::slab::Slab;
use crate::stream::carrier::{CallStreams, Carrier, Carries, HasStreams, too_many};
use crate::stream::table::{Arrived, Streams};
use crate::transport::{ReadHalf, Stream, WriteHalf};
use crate::{Context, Dialect, Error, Result};

/// A client that takes no byte of its replies for so long is given up: they are memory.
const STALL_MAX: Duration = Duration::from_secs(10);
/// How long a peer may be silent within a message.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a closed connection waits for the peer to have read what was written last.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection ended that did not simply end.
#[derive(Debug)]
enum Trouble {
    /// The peer broke the protocol, or took too long to open it.
    Violation(Violation),
    /// The peer left within a message, and hears nothing any more.
    Cut(Violation),
    /// The network did.
    Io(std::io::Error),
}

impl From<Violation> for Trouble {
    fn from(violation: Violation) -> Trouble {
        Trouble::Violation(violation)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

/// What the opening of a connection settled.
enum Opened {
    Rpc(Agreed),
    /// An HTTP request, which is still in the inbox.
    Http,
    /// Nothing more: it was answered, or the peer left.
    Done,
}

/// How RPC is spoken on a connection.
struct Agreed {
    framing: Framing,
    dialect: &'static str,
    features: Features,
    /// The longest a handler may take, by the client's wish.
    handle_timeout: Option<Duration>,
    /// Bytes of items that the client holds for a stream.
    window: usize,
}

/// Serves one connection to its end, and says in the log how it ended if that was not by itself.
///
/// `dialect` is farcall's or geerpc's, whose first bytes are the same.
pub(super) async fn serve(shared: Arc<Shared>, mut stream: Stream, dialect: Dialect) {
    let mut inbox = Inbox::default();
    let patience = shared.config.handshake_timeout;
    let mut draining = shared.draining.subscribe();
    let opened = tokio::select! {
        opened = timeout(patience, open(&shared, &mut stream, &mut inbox, dialect)) => {
            opened.unwrap_or_else(|_| Err(Trouble::Violation(Violation::new(format!(
                "the handshake was not whole after {}",
                go_duration(patience)
            )))))
        }
        // Nothing was asked yet, so nothing is lost.
        () = is_draining(&mut draining) => Ok(Opened::Done),
    };
    let peer = stream.peer.clone();
    let ended = match opened {
        Ok(Opened::Rpc(agreed)) => {
            let codec = match agreed.framing {
                Framing::Farcall(codec) => codec,
                Framing::NetRpc => Codec::Gob,
                Framing::JsonRpc => Codec::Json,
            };
            let peer = Arc::new(Peer {
                address: stream.peer.clone(),
                dialect: agreed.dialect,
                codec,
            });
            let connection = Connection::new(&shared, agreed, peer);
            let Stream {
                mut reader, writer, ..
            } = stream;
            connection.serve(&mut reader, writer, &mut inbox).await
        }
        Ok(Opened::Http) => {
            let Stream { reader, writer, .. } = stream;
            let stream = inbox.replayed_on(reader, writer);
            // Boxed, or every connection would have the room that HTTP takes.
            Box::pin(super::serve_http(&shared, stream, &peer)).await;
            Ok(())
        }
        Ok(Opened::Done) => Ok(()),
        Err(trouble) => {
            // The peer may still be sending: closing at once would tell it "reset" and nothing else.
            let Stream {
                mut reader, writer, ..
            } = stream;
            drop(writer);
            let _ = timeout(LINGER, discard(&mut reader)).await;
            Err(trouble)
        }
    };
    match ended {
        Ok(()) => tracing::debug!(%peer, "connection ended"),
        Err(Trouble::Violation(violation) | Trouble::Cut(violation)) => {
            tracing::warn!(%peer, reason = %violation, "connection closed: the peer broke the protocol");
        }
        Err(Trouble::Io(error)) => tracing::debug!(%peer, %error, "connection lost"),
    }
}

/// Reads until it is known what the peer speaks, and answers its handshake.
async fn open(
    shared: &Shared,
    stream: &mut Stream,
    inbox: &mut Inbox,
    dialect: Dialect,
) -> Result<Opened, Trouble> {
    let limits = &shared.config.limits;
    let opening = read_until(stream, inbox, |input| sniff(input, limits)).await?;
    match opening {
        None => Ok(Opened::Done),
        Some(Opening::Connect) => connect(shared, stream, inbox).await,
        Some(Opening::Hello) => {
            admit(shared, dialect)?;
            hello(shared, stream, inbox, dialect).await
        }
        Some(Opening::NetRpc) => {
            admit(shared, Dialect::NetRpc)?;
            Ok(plain(Framing::NetRpc, Dialect::NetRpc))
        }
        Some(Opening::JsonRpc) => {
            admit(shared, Dialect::JsonRpc)?;
            Ok(plain(Framing::JsonRpc, Dialect::JsonRpc))
        }
        Some(Opening::Http) if shared.config.without_http => {
            let violation = switched_off("HTTP");
            refuse(stream, "403 Forbidden", &violation.to_string()).await?;
            Err(violation.into())
        }
        Some(Opening::Http) => Ok(Opened::Http),
        Some(Opening::Tls) => {
            Err(Violation::new("the peer speaks TLS, and this server has none").into())
        }
    }
}

/// An RPC protocol over HTTP: the path tells which.
async fn connect(
    shared: &Shared,
    stream: &mut Stream,
    inbox: &mut Inbox,
) -> Result<Opened, Trouble> {
    let limits = &shared.config.limits;
    let read = |input: &[u8]| {
        let read = read_connect(input, limits)?;
        Ok(read.map(|(path, len)| (path.to_owned(), len)))
    };
    let Some((path, len)) = read_until(stream, inbox, read).await? else {
        return Ok(Opened::Done);
    };
    inbox.consume(len);
    let (dialect, connected) = match path.as_str() {
        TINYRPC_PATH => (Dialect::Farcall, TINYRPC_CONNECTED),
        GEERPC_PATH => (Dialect::GeeRpc, GEERPC_CONNECTED),
        GO_RPC_PATH => (Dialect::NetRpc, GO_RPC_CONNECTED),
        _ => {
            refuse(stream, "404 Not Found", "404 page not found").await?;
            let text = format!("CONNECT asks for {path:?}, where nothing is");
            return Err(Violation::new(text).into());
        }
    };
    if let Err(violation) = admit(shared, dialect) {
        refuse(stream, "403 Forbidden", &violation.to_string()).await?;
        return Err(violation.into());
    }
    stream.writer.write_all(connected).await?;
    match dialect {
        Dialect::NetRpc => Ok(plain(Framing::NetRpc, dialect)),
        dialect => hello(shared, stream, inbox, dialect).await,
    }
}

/// Answers an HTTP request with a status and a line that says why, as the last thing.
async fn refuse(stream: &mut Stream, status: &str, why: &str) -> Result<(), Trouble> {
    let answer = format!(
        "HTTP/1.0 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    Ok(stream.writer.write_all(answer.as_bytes()).await?)
}

fn admit(shared: &Shared, dialect: Dialect) -> Result<(), Violation> {
    match shared.config.without.contains(&dialect) {
        true => Err(switched_off(dialect.name())),
        false => Ok(()),
    }
}

fn switched_off(protocol: &str) -> Violation {
    Violation::new(format!("{protocol} is switched off on this server"))
}

/// A dialect without a handshake.
fn plain(framing: Framing, dialect: Dialect) -> Opened {
    Opened::Rpc(Agreed {
        framing,
        dialect: dialect.name(),
        features: Features::default(),
        handle_timeout: None,
        window: Limits::default().stream_window,
    })
}

/// The handshake of farcall and TinyRPC, or of geerpc, which wants no acknowledgement and so agrees to nothing.
async fn hello(
    shared: &Shared,
    stream: &mut Stream,
    inbox: &mut Inbox,
    dialect: Dialect,
) -> Result<Opened, Trouble> {
    let limits = &shared.config.limits;
    let Some((hello, len)) = read_until(stream, inbox, |input| Hello::read(input, limits)).await?
    else {
        return Ok(Opened::Done);
    };
    inbox.consume(len);
    let codec = hello.codec()?;
    let mut features = Features::default();
    if dialect != Dialect::GeeRpc {
        let ack = hello
            .acknowledge(Features::ALL, shared.config.in_flight_max)
            .with_window(limits.stream_window);
        let mut bytes = Vec::new();
        ack.write(&mut bytes);
        stream.writer.write_all(&bytes).await?;
        features = ack.features();
    }
    let wished = u64::try_from(hello.handle_timeout()).unwrap_or(0);
    Ok(Opened::Rpc(Agreed {
        framing: Framing::Farcall(codec),
        dialect: match dialect {
            Dialect::Farcall if features == Features::default() => "tinyrpc",
            dialect => dialect.name(),
        },
        features,
        handle_timeout: (wished > 0).then(|| Duration::from_nanos(wished)),
        window: hello.window().unwrap_or(Limits::default().stream_window),
    }))
}

/// Reads until `parse` finds something, or the peer ends its direction, which is `None`.
async fn read_until<T>(
    stream: &mut Stream,
    inbox: &mut Inbox,
    parse: impl Fn(&[u8]) -> Result<Option<T>, Violation>,
) -> Result<Option<T>, Trouble> {
    loop {
        if let Some(found) = parse(inbox.bytes())? {
            return Ok(Some(found));
        }
        if inbox.fill(&mut stream.reader, 1).await? == 0 {
            return match inbox.bytes() {
                [] => Ok(None),
                _ => Err(Violation::new("the peer ended the stream within its opening").into()),
            };
        }
    }
}

/// A connection that carries calls.
struct Connection {
    shared: Arc<Shared>,
    link: Link<Serving>,
    peer: Arc<Peer>,
    framing: Framing,
    features: Features,
    handle_timeout: Option<Duration>,
    /// How items are decoded. Set before the first request where methods take some.
    body_kind: OnceLock<BodyKind>,
}

/// The server's part of a connection's state.
pub(crate) struct Serving {
    /// The items of those calls that have some.
    streams: Streams,
    /// Handlers that were not ready at once. Those that were are answered before the next request is looked at, and
    /// are never filed.
    running: Slab<Task>,
    /// Those of them that nobody waits for. They have as many places of their own: a client does not count them.
    one_ways: usize,
    /// Wakes the reading task when a handler has ended.
    reader: Option<Waker>,
}

impl Serving {
    /// How many handlers are at work that share their places with one like this.
    fn at_work(&self, is_one_way: bool) -> usize {
        match is_one_way {
            true => self.one_ways,
            false => self.running.len() - self.one_ways,
        }
    }
}

/// A handler at work on a task, which holds a [`Place`].
struct Task {
    request: Request,
    method: Arc<Method>,
    /// None until it was spawned.
    handle: Option<AbortHandle>,
    /// When it began, where calls are measured.
    began: Option<Instant>,
    outcome: Result<(), Code>,
}

/// A handler's place among those at work. It is free when the handler has stopped, not when its caller has gone: a peer
/// that calls and cancels in turn must not have more handlers at work than one that waits.
struct Place {
    connection: Arc<Connection>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sending = self.connection.link.lock();
        let Some(task) = sending.side.running.remove(self.id) else {
            return;
        };
        // In this order, none is over that was not counted.
        task.method.ended(task.began, task.outcome);
        task.method.stops();
        sending.side.one_ways -= usize::from(task.request.is_one_way);
        let reader = sending.side.reader.take();
        let idle = sending.side_changed();
        drop(sending);
        wake_all(reader.into_iter().chain(idle));
    }
}

impl Connection {
    fn new(shared: &Arc<Shared>, agreed: Agreed, peer: Arc<Peer>) -> Arc<Connection> {
        let Agreed {
            framing,
            features,
            handle_timeout,
            window,
            ..
        } = agreed;
        let both = [shared.config.handle_timeout, handle_timeout];
        Arc::new(Connection {
            shared: Arc::clone(shared),
            link: Link::new(
                FrameWriter::new(framing, Side::Server).with_compression(features.compression()),
                Serving {
                    streams: Streams::new(shared.config.limits.stream_window, window),
                    running: Slab::default(),
                    one_ways: 0,
                    reader: None,
                },
            ),
            peer,
            framing,
            features,
            handle_timeout: both.into_iter().flatten().min(),
            body_kind: OnceLock::new(),
        })
    }

    // What is handed down by reference here and below is so because a future keeps room of its own for each value that
    // is moved into it, for as long as the connection lives.
    async fn serve(
        self: &Arc<Self>,
        reader: &mut ReadHalf,
        writer: WriteHalf,
        inbox: &mut Inbox,
    ) -> Result<(), Trouble> {
        let _stops = StopRunning(self);
        let ended = self.converse(reader, writer, inbox).await;
        self.stop_running(false);
        self.one_ways_ended().await;
        ended
    }

    /// Reads and writes until the peer has gone, or has everything.
    async fn converse(
        self: &Arc<Self>,
        reader: &mut ReadHalf,
        writer: WriteHalf,
        inbox: &mut Inbox,
    ) -> Result<(), Trouble> {
        let writing = {
            let connection = Arc::clone(self);
            tokio::spawn(async move { connection.link.write_loop(writer, STALL_MAX).await })
        };
        let mut writing = AbortOnDrop(writing);
        let read = tokio::select! {
            read = self.read_and_drain(reader, inbox) => read,
            // The peer takes no more replies.
            written = &mut writing.0 => return Ok(written.unwrap_or(Ok(()))?),
        };
        if let Err(Trouble::Io(error)) = read {
            return Err(error.into());
        }
        if let Err(Trouble::Violation(violation)) = &read {
            self.say_go_away(&violation.to_string());
        }
        let closed = self.link.lock().close();
        wake_all(closed);
        if let Ok(written) = (&mut writing.0).await {
            written?;
            // What was written last must reach the peer before the socket is gone.
            let _ = timeout(LINGER, discard(reader)).await;
        }
        read
    }

    /// Serves until the peer has ended its requests and got all its replies, or the server has drained.
    async fn read_and_drain(
        self: &Arc<Self>,
        reader: &mut ReadHalf,
        inbox: &mut Inbox,
    ) -> Result<(), Trouble> {
        let mut draining = self.shared.draining.subscribe();
        let mut reading = pin!(self.read(reader, inbox));
        let age_max = self.shared.config.connection_age_max;
        let goes_away = async {
            match age_max.filter(|_| self.features.drain) {
                // Early or late, it is told once: it makes no calls here any more.
                // Boxed, or every connection would have the room that a timer takes.
                Some(age) => {
                    drop(Box::pin(timeout(jittered(age), is_draining(&mut draining))).await)
                }
                None => is_draining(&mut draining).await,
            }
        };
        let read = tokio::select! {
            read = &mut reading => read,
            () = goes_away => {
                self.say_go_away("");
                // A farcall peer moves to another connection and then ends this one. Others cannot be told, so
                // their connection ends when nothing runs on it.
                tokio::select! {
                    read = &mut reading => read,
                    () = self.answered(), if !self.features.drain => return Ok(()),
                }
            }
        };
        match read {
            Err(Trouble::Io(_)) => {}
            // A peer that can cancel ends its stream when it waits for nothing more, or is gone.
            Ok(()) if self.features.cancel => {}
            // As in Go: requests that were read get their replies, also when nothing after them makes sense.
            _ => self.answered().await,
        }
        read
    }

    /// Waits until every request has its reply, and the kernel has the replies.
    async fn answered(&self) {
        self.link.idle(|side| side.running.is_empty()).await;
    }

    async fn read(
        self: &Arc<Self>,
        reader: &mut ReadHalf,
        inbox: &mut Inbox,
    ) -> Result<(), Trouble> {
        let mut frames = FrameReader::new(self.framing, Side::Server, &self.shared.config.limits)
            .with_compression(self.features.compression());
        if self.features.stream && self.shared.router.takes_items() {
            let _ = self.body_kind.set(frames.body_kind());
        }
        let mut room = Vec::new();
        let mut is_full = false;
        loop {
            // When the first request of this read began to wait for a place.
            let mut waits_since = None;
            // The time at which what was read is taken to have arrived, once somebody asked: clocks are slow.
            let mut arrived = None;
            let at_least = loop {
                match frames.next(inbox.bytes())? {
                    Step::More { consumed, at_least } => {
                        inbox.consume(consumed);
                        break at_least;
                    }
                    Step::Message { consumed, body } => {
                        let body = frames.expand(body, &mut room)?;
                        let (header, body) = frames.message(body);
                        // Looked at before a call begins, and not after the last that may: what a peer that keeps to
                        // the number it was told sends then are cancels, and they are what makes room.
                        if is_full && header.kind == Kind::Call {
                            let since = *waits_since.get_or_insert_with(now);
                            self.place_for(self.is_one_way(header)).await;
                            is_full = self.is_full();
                            // What it waited is taken from its time here.
                            arrived = None;
                            if !take_wait(header, since) {
                                self.expired(header);
                                inbox.consume(consumed);
                                continue;
                            }
                        }
                        is_full |= self.receive(header, body, &mut arrived);
                        inbox.consume(consumed);
                        // One read may hold thousands of requests, and each may have a large reply.
                        if self.link.is_full() {
                            self.link.room(|_| true).await;
                        }
                    }
                }
            };
            let is_within = !inbox.bytes().is_empty();
            let filling = inbox.fill(reader, at_least);
            // Between messages a peer may be silent for as long as it likes. Within one, its silence is our memory.
            let read = match is_within {
                // Boxed, or every connection would have the room that a timer takes.
                true => Box::pin(timeout(SILENCE_MAX, filling)).await,
                false => Ok(filling.await),
            };
            let read = read.map_err(|_| {
                let silence = go_duration(SILENCE_MAX);
                Violation::new(format!(
                    "the peer was silent for {silence} within a message"
                ))
            })?;
            if read? == 0 {
                return match inbox.bytes() {
                    [] => Ok(()),
                    _ => Err(Trouble::Cut(Violation::new(
                        "the peer ended the stream within a message",
                    ))),
                };
            }
        }
    }

    /// Pressure flows backward: a peer with too many handlers at work is not read from.
    async fn place_for(&self, is_one_way: bool) {
        poll_fn(|context| {
            let side = &mut self.link.lock().side;
            if side.at_work(is_one_way) < self.shared.config.in_flight_max {
                return Poll::Ready(());
            }
            side.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits for the handlers that nobody else waits for: their caller may have gone long ago.
    async fn one_ways_ended(&self) {
        poll_fn(|context| {
            let side = &mut self.link.lock().side;
            if side.one_ways == 0 {
                return Poll::Ready(());
            }
            side.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// True when there may be no place for the next request.
    fn is_full(&self) -> bool {
        let max = self.shared.config.in_flight_max;
        let side = &self.link.lock().side;
        side.at_work(true) >= max || side.at_work(false) >= max
    }

    fn is_one_way(&self, header: &Header) -> bool {
        self.features.one_way && header.flags.has(Flags::ONE_WAY)
    }

    /// Answers a request whose time was over before there was a place for it.
    fn expired(&self, header: &mut Header) {
        let request = Request {
            seq: header.seq,
            json: header.json.take(),
            is_one_way: self.is_one_way(header),
            echo: (!self.features.code).then(|| header.service_method.as_str().into()),
            ..Request::default()
        };
        let text = "the call's deadline passed before its handler could begin";
        self.fail(&request, Error::refused(Code::DeadlineExceeded, text));
    }

    /// Does what a message asks. True when no more handlers can be at work.
    fn receive(
        self: &Arc<Self>,
        header: &mut Header,
        body: BodyRef<'_>,
        arrived: &mut Option<Instant>,
    ) -> bool {
        match header.kind {
            Kind::Call => self.call(header, body, arrived),
            Kind::Cancel => {
                self.cancel(header.seq);
                false
            }
            Kind::Ping => {
                self.pong(header.seq);
                false
            }
            Kind::Item | Kind::End | Kind::Credit => {
                self.receive_of_stream(header, body);
                false
            }
            // Clients that go away close.
            Kind::GoAway | Kind::Pong => false,
        }
    }

    fn cancel(&self, seq: u64) {
        let mut wake = Vec::new();
        let handle = {
            let mut sending = self.link.lock();
            let streams = &mut sending.side.streams;
            if !streams.is_empty() {
                let error = Error::new(Code::Cancelled, "the caller gave the call up");
                streams.end(seq, Some(&error), &mut wake);
            }
            let mut tasks = sending.side.running.iter().map(|(_, task)| task);
            // A handler that is not filed has ended: there is nothing to stop.
            let cancelled = tasks.find(|task| task.request.seq == seq);
            cancelled.and_then(Task::give_up)
        };
        if let Some(handle) = handle {
            handle.abort();
        }
        wake_all(wake);
    }

    fn call(
        self: &Arc<Self>,
        header: &mut Header,
        body: BodyRef<'_>,
        arrived: &mut Option<Instant>,
    ) -> bool {
        let mut arrived = || *arrived.get_or_insert_with(now);
        let mut request = Request {
            seq: header.seq,
            json: header.json.take(),
            sends_items: header.flags.has(Flags::STREAMS),
            is_one_way: self.is_one_way(header),
            ..Request::default()
        };
        let (method, name) = match self.shared.router.find(&header.service_method) {
            Ok(found) => found,
            Err(missing) => {
                let text = missing_text(self.framing, missing, &header.service_method);
                request.echo = Some(header.service_method.as_str().into());
                self.fail(&request, Error::new(Code::Unimplemented, text));
                return false;
            }
        };
        if !self.features.code {
            request.echo = Some(Arc::clone(name));
        }
        if let Err(error) = method.takes_what_comes(request.sends_items) {
            self.fail(&request, error);
            return false;
        }
        let asked = (header.timeout_ns > 0).then(|| Duration::from_nanos(header.timeout_ns));
        let limit = [asked, self.handle_timeout].into_iter().flatten().min();
        let limit = limit.and_then(|limit| {
            let deadline = arrived().checked_add(limit)?;
            Some(TimeLimit { deadline, limit })
        });
        if self.features.metadata && header.flags.has(Flags::METADATA) {
            request.metadata = Some(Arc::default());
        }
        if method.run_on() == RunOn::BlockingThread {
            request.is_over = Some(Arc::default());
        }
        let context = || Context {
            peer: Arc::clone(&self.peer),
            deadline: limit.map(|limit| limit.deadline),
            metadata: (!header.metadata.is_empty()).then(|| header.metadata.as_bytes().into()),
            is_idempotent: self.features.idempotent && header.flags.has(Flags::IDEMPOTENT),
            reply_metadata: request.metadata.clone(),
            values: None,
        };
        let began = method.began(arrived);
        let layers = self.shared.layers.layers();
        let started = method
            .open_streams(self, &request)
            .and_then(|streams| run::start(layers, name, method, &context, body, streams));
        let to = Recipient::Caller {
            to: &**self,
            request: &request,
        };
        let ready = match started {
            Err(error) => Err(error),
            Ok(mut running) => match run::poll_once(&mut running, method, limit, to) {
                Poll::Ready(ended) => ended,
                Poll::Pending => {
                    let method = Arc::clone(method);
                    return self.spawn(request, running, method, began, limit);
                }
            },
        };
        method.ended(began, outcome_of(&ready));
        if let Err(error) = ready {
            self.fail(&request, error);
        }
        false
    }

    /// Gives a handler that is not ready a task. True when no more can be at work.
    fn spawn(
        self: &Arc<Self>,
        request: Request,
        running: Running,
        method: Arc<Method>,
        began: Option<Instant>,
        limit: Option<TimeLimit>,
    ) -> bool {
        method.runs();
        let mut sending = self.link.lock();
        let id = sending.side.running.insert(Task {
            request: request.clone(),
            method: Arc::clone(&method),
            handle: None,
            began,
            outcome: Err(Code::Cancelled),
        });
        sending.side.one_ways += usize::from(request.is_one_way);
        let is_full = sending.side.at_work(request.is_one_way) >= self.shared.config.in_flight_max;
        drop(sending);
        let place = Place {
            connection: Arc::clone(self),
            id,
        };
        let connection = Arc::clone(self);
        let task = tokio::spawn(async move {
            let place = Arc::new(place);
            let to = Held::Caller {
                to: Arc::clone(&connection) as Arc<dyn ReplyTo>,
                request: request.clone(),
            };
            let ended = run::to_end(running, &method, limit, to, Arc::clone(&place)).await;
            connection.note(id, outcome_of(&ended));
            if let Err(error) = ended {
                connection.fail(&request, error);
            }
        });
        // It may have ended already.
        if let Some(filed) = self.link.lock().side.running.get_mut(id) {
            filed.handle = Some(task.abort_handle());
        }
        is_full
    }

    fn note(&self, id: u64, outcome: Result<(), Code>) {
        if let Some(task) = self.link.lock().side.running.get_mut(id) {
            task.outcome = outcome;
        }
    }

    /// Sends an error as the reply. The connection stays in step: an error has a body too.
    fn fail(&self, request: &Request, error: Error) {
        if !request.end() {
            return;
        }
        if request.is_one_way {
            tracing::debug!(peer = %self.peer.address, %error, "a one-way call failed");
            return;
        }
        let mut wake = Vec::new();
        let mut sending = self.link.lock();
        if !sending.side.streams.is_empty() {
            // A handler on a blocking thread may live on, and must find that nobody is there any more.
            sending
                .side
                .streams
                .end(request.seq, Some(&error), &mut wake);
        }
        let load = self.load(&sending);
        let fill = |header: &mut Header| {
            address(header, request);
            // An empty text would look like success.
            let text = match error.message() {
                "" => error.code().as_str(),
                text => text,
            };
            header.error.push_str(text);
            if self.features.code || self.framing == Framing::JsonRpc {
                header.code = error.code().number();
            }
            if self.features.code && error.is_refusal() {
                header.flags |= Flags::REFUSED;
            }
            header.load = load;
        };
        let details = error.given_details().filter(|_| self.features.details);
        let sent = details.and_then(|details| {
            let sent = sending.send(details, |header| {
                fill(header);
                header.flags |= Flags::DETAILS;
            });
            // Without them, then: code and text are what matters.
            sent.inspect_err(|error| tracing::warn!(%error, "an error's details cannot be encoded"))
                .ok()
        });
        let sent = match sent {
            Some(sent) => sent,
            // The empty struct can always be encoded.
            None => sending.send(Body::from(&()), fill).ok().flatten(),
        };
        drop(sending);
        wake_all(sent);
        wake_all(wake);
    }

    fn load(&self, sending: &Sending<Serving>) -> Load {
        match self.features.load {
            true => Load {
                in_flight: u16::try_from(sending.side.running.len()).unwrap_or(u16::MAX),
                utilisation: 0,
            },
            false => Load::default(),
        }
    }

    /// Tells a peer that understands it to make no further calls here; and why, where that is the peer's own doing.
    fn say_go_away(&self, why: &str) {
        if !self.features.drain {
            return;
        }
        let sent = self.link.lock().send(Body::from(&()), |header| {
            header.kind = Kind::GoAway;
            header.error.push_str(why);
        });
        wake_all(sent.ok().flatten());
    }

    /// Tells a peer that asks for it that its connection is alive.
    fn pong(&self, seq: u64) {
        let sent = self.link.lock().send(Body::from(&()), |header| {
            header.kind = Kind::Pong;
            header.seq = seq;
        });
        wake_all(sent.ok().flatten());
    }

    /// Stops handlers whose caller has gone, and those too that never had one who waits.
    fn stop_running(&self, and_one_ways: bool) {
        let text = format!("the connection to {} ended", self.peer.address);
        let mut wake = Vec::new();
        let handles: Vec<_> = {
            let mut sending = self.link.lock();
            let streams = &mut sending.side.streams;
            streams.end_all(&Error::new(Code::Unavailable, text), &mut wake);
            let tasks = sending.side.running.iter().map(|(_, task)| task);
            let tasks = tasks.filter(|task| and_one_ways || !task.request.is_one_way);
            tasks.filter_map(Task::give_up).collect()
        };
        for handle in handles {
            handle.abort();
        }
        wake_all(wake);
    }
}

/// Streams of items.
impl Connection {
    fn receive_of_stream(&self, header: &mut Header, body: BodyRef<'_>) {
        let seq = header.seq;
        let mut wake = Vec::new();
        let mut sending = self.link.lock();
        let mut is_too_fast = false;
        match header.kind {
            // Those that come late are not worth a copy.
            Kind::Item if sending.side.streams.is_empty() => {}
            Kind::Item => {
                let arrived = sending.arrive(seq, Kept::copy(body.bytes()), &mut wake);
                is_too_fast = matches!(arrived, Arrived::TooMany);
            }
            Kind::End => {
                let error = (!header.error.is_empty()).then(|| {
                    let text = std::mem::take(&mut header.error);
                    Error::new(Code::from_number(header.code.into()), text)
                });
                sending.side.streams.ended(seq, error, &mut wake);
            }
            _ => {
                // What is no number says nothing.
                let count = body.decode::<Credit>().unwrap_or_default();
                sending.side.streams.credited(seq, count, &mut wake);
            }
        }
        drop(sending);
        wake_all(wake);
        if is_too_fast {
            self.stop(seq, too_many(&self.peer.address));
        }
    }

    /// Ends a call that runs, whatever its handler does.
    fn stop(&self, seq: u64, error: Error) {
        let (request, handle) = {
            let sending = self.link.lock();
            let mut tasks = sending.side.running.iter().map(|(_, task)| task);
            let Some(task) = tasks.find(|task| task.request.seq == seq) else {
                return;
            };
            (task.request.clone(), task.handle.clone())
        };
        self.fail(&request, error);
        if let Some(handle) = handle {
            handle.abort();
        }
    }
}

impl Carries for Connection {
    type Side = Serving;

    fn link(&self) -> &Link<Serving> {
        &self.link
    }

    fn body_kind(&self) -> &BodyKind {
        let set = self.body_kind.get();
        set.expect("it was set, since a method takes items")
    }

    // The streams end with the handler, whatever became of its parts.
    fn dropped(&self, _: u64) {}
}

impl HasStreams for Serving {
    fn streams(&mut self) -> &mut Streams {
        &mut self.streams
    }
}

impl Task {
    /// Drops the reply, and gives what stops the handler.
    fn give_up(&self) -> Option<AbortHandle> {
        self.request.end();
        self.handle.clone()
    }
}

impl ReplyTo for Connection {
    fn reply(&self, request: &Request, body: Body<'_>) -> Result<()> {
        if !request.end() || request.is_one_way {
            // It timed out or was cancelled, and its handler could not be stopped: the late reply is dropped. Or there
            // is to be none.
            return Ok(());
        }
        let mut sending = self.link.lock();
        let load = self.load(&sending);
        let sent = sending.send(body, |header| {
            address(header, request);
            header.load = load;
            if let Some(metadata) = &request.metadata {
                let metadata = metadata.lock().unwrap_or_else(PoisonError::into_inner);
                header.metadata.extend(&metadata);
            }
        });
        drop(sending);
        match sent {
            Ok(writer) => {
                wake_all(writer);
                Ok(())
            }
            Err(error) => {
                // The error is the reply then.
                request.resume();
                let text = format!("the reply cannot be encoded: {error}");
                Err(Error::new(Code::Internal, text))
            }
        }
    }

    fn streams(
        self: Arc<Self>,
        request: &Request,
        expects_items: bool,
    ) -> Result<Arc<dyn Carrier>> {
        if !self.features.stream {
            return Err(no_streams(self.peer.dialect));
        }
        if request.is_one_way {
            let text = "a call with a stream of items cannot be one-way";
            return Err(Error::new(Code::Unimplemented, text));
        }
        if expects_items && !request.sends_items {
            // Its handler would wait for them for ever.
            let text = "the method takes a stream of items, and none came: call it with `stream`";
            return Err(Error::new(Code::Unimplemented, text));
        }
        if !self
            .link
            .lock()
            .side
            .streams
            .open(request.seq, expects_items)
        {
            let text = format!("a call with the Seq {} has streams already", request.seq);
            return Err(Error::new(Code::InvalidArgument, text));
        }
        let seq = request.seq;
        Ok(Arc::new(CallStreams::new(self, seq, None)))
    }
}

/// Takes the time that a request has waited here from what it has left. False when nothing is left of it.
fn take_wait(header: &mut Header, since: Instant) -> bool {
    if header.timeout_ns == 0 {
        return true;
    }
    let waited = now().saturating_duration_since(since).as_nanos();
    let waited = u64::try_from(waited).unwrap_or(u64::MAX);
    header.timeout_ns = header.timeout_ns.saturating_sub(waited);
    header.timeout_ns > 0
}

/// Makes a header the one of this request's reply.
fn address(header: &mut Header, request: &Request) {
    header.seq = request.seq;
    header
        .service_method
        .push_str(request.echo.as_deref().unwrap_or_default());
    header.json = request.json.clone();
}

/// The texts that people match on: TinyRPC's in its dialect, Go's in Go's.
fn missing_text(framing: Framing, missing: Missing, name: &str) -> String {
    let (service, method) = name.rsplit_once('.').unwrap_or((name, name));
    match (framing, missing) {
        (Framing::NetRpc | Framing::JsonRpc, missing) => missing.go_text(name),
        (_, Missing::Service) => format!("rpc server: can't find service {service}"),
        (_, Missing::Method) => format!("rpc server: can't find method {method}"),
        (_, Missing::IllFormed) => format!("rpc server: service/method request ill-formed: {name}"),
    }
}

async fn is_draining(draining: &mut watch::Receiver<bool>) {
    if draining.wait_for(|draining| *draining).await.is_err() {
        std::future::pending().await
    }
}

/// Stops what still runs for a connection when the connection ends, however it does.
struct StopRunning<'a>(&'a Connection);

impl Drop for StopRunning<'_> {
    fn drop(&mut self) {
        self.0.stop_running(true);
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<std::io::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
