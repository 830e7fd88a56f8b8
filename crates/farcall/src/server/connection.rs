//! One accepted connection: its opening, its requests, its end. Which handler serves a request is the router's to say.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use farcall_wire::{
    Body, BodyRef, Code, Codec, Features, FrameReader, FrameWriter, Framing, GO_RPC_CONNECTED,
    GO_RPC_PATH, Header, Hello, Kind, Load, Opening, Side, Step, TINYRPC_CONNECTED, TINYRPC_PATH,
    Violation, go_duration, read_connect, sniff,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Shared;
use crate::context::Peer;
use crate::inbox::{Inbox, discard};
use crate::link::{Link, Sending, now, wake_all};
use crate::router::{Method, Missing, Replier, ReplyTo, RunOn, Running};
use crate::transport::{ReadHalf, Stream};
use crate::{Context, Error, Result};

/// How long a closed connection waits for the peer to have read what was written last.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection ended that did not simply end.
#[derive(Debug)]
enum Trouble {
    /// The peer broke the protocol, or took too long to open it.
    Violation(Violation),
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
    /// RPC.
    Rpc {
        framing: Framing,
        dialect: &'static str,
        features: Features,
        /// The longest a handler may take, by the client's wish.
        handle_timeout: Option<Duration>,
    },
    /// An HTTP request, which is still in the inbox.
    Http,
    /// Nothing more: it was answered, or the peer left.
    Done,
}

/// Serves one connection to its end, and says in the log how it ended if that was not by itself.
pub(super) async fn serve(shared: Arc<Shared>, mut stream: Stream) {
    let mut inbox = Inbox::default();
    let patience = shared.config.handshake_timeout;
    let mut draining = shared.draining.subscribe();
    let opened = tokio::select! {
        opened = timeout(patience, open(&shared, &mut stream, &mut inbox)) => {
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
        Ok(Opened::Rpc {
            framing,
            dialect,
            features,
            handle_timeout,
        }) => {
            let codec = match framing {
                Framing::Farcall(codec) => codec,
                Framing::NetRpc => Codec::Gob,
            };
            let peer = Arc::new(Peer {
                address: stream.peer.clone(),
                dialect,
                codec,
            });
            Connection::serve(
                &shared,
                stream,
                inbox,
                framing,
                features,
                handle_timeout,
                peer,
            )
            .await
        }
        Ok(Opened::Http) => {
            let Stream { reader, writer, .. } = stream;
            super::serve_http(&shared, inbox.replayed_on(reader, writer)).await;
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
        Err(Trouble::Violation(violation)) => {
            tracing::warn!(%peer, reason = %violation, "connection closed: the peer broke the protocol");
        }
        Err(Trouble::Io(error)) => tracing::debug!(%peer, %error, "connection lost"),
    }
}

/// Reads until it is known what the peer speaks, and answers its handshake.
async fn open(shared: &Shared, stream: &mut Stream, inbox: &mut Inbox) -> Result<Opened, Trouble> {
    let limits = &shared.config.limits;
    let opening = read_until(stream, inbox, |input| sniff(input, limits)).await?;
    match opening {
        None => Ok(Opened::Done),
        Some(Opening::Hello) => hello(shared, stream, inbox, None).await,
        Some(Opening::NetRpc) => Ok(net_rpc()),
        Some(Opening::Connect) => {
            let read = |input: &[u8]| {
                let read = read_connect(input, limits)?;
                Ok(read.map(|(path, len)| (path.to_owned(), len)))
            };
            let Some((path, len)) = read_until(stream, inbox, read).await? else {
                return Ok(Opened::Done);
            };
            inbox.consume(len);
            match path.as_str() {
                TINYRPC_PATH => hello(shared, stream, inbox, Some(TINYRPC_CONNECTED)).await,
                GO_RPC_PATH => {
                    stream.writer.write_all(GO_RPC_CONNECTED).await?;
                    Ok(net_rpc())
                }
                _ => {
                    stream.writer.write_all(NO_SUCH_PATH).await?;
                    let text = format!("CONNECT asks for {path:?}, where nothing is");
                    Err(Violation::new(text).into())
                }
            }
        }
        Some(Opening::Http) => Ok(Opened::Http),
        Some(Opening::Tls) => {
            Err(Violation::new("the peer speaks TLS, and this server has none").into())
        }
        Some(Opening::JsonRpc) => {
            Err(Violation::new("the peer speaks JSON-RPC, and this server does not").into())
        }
    }
}

const NO_SUCH_PATH: &[u8] =
    b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 19\r\n\
    Connection: close\r\n\r\n404 page not found\n";

fn net_rpc() -> Opened {
    Opened::Rpc {
        framing: Framing::NetRpc,
        dialect: "net/rpc",
        features: Features::default(),
        handle_timeout: None,
    }
}

/// farcall's handshake. `before` is what is to be written first.
async fn hello(
    shared: &Shared,
    stream: &mut Stream,
    inbox: &mut Inbox,
    before: Option<&[u8]>,
) -> Result<Opened, Trouble> {
    if let Some(before) = before {
        stream.writer.write_all(before).await?;
    }
    let limits = &shared.config.limits;
    let Some((hello, len)) = read_until(stream, inbox, |input| Hello::read(input, limits)).await?
    else {
        return Ok(Opened::Done);
    };
    inbox.consume(len);
    let codec = hello.codec()?;
    let ack = hello.acknowledge(Features::ALL);
    let mut bytes = Vec::new();
    ack.write(&mut bytes);
    stream.writer.write_all(&bytes).await?;
    let features = ack.features();
    let wished = u64::try_from(hello.handle_timeout()).unwrap_or(0);
    Ok(Opened::Rpc {
        framing: Framing::Farcall(codec),
        dialect: match features == Features::default() {
            true => "tinyrpc",
            false => "farcall",
        },
        features,
        handle_timeout: (wished > 0).then(|| Duration::from_nanos(wished)),
    })
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
}

/// The server's part of a connection's state.
#[derive(Default)]
struct Serving {
    /// Requests that have no reply yet, or whose handler still runs.
    requests: HashMap<u64, Request>,
    /// Names the next request. The peer's own numbers may repeat.
    next_request: u64,
    /// Wakes the reading task when a request has ended.
    reader: Option<Waker>,
}

struct Request {
    seq: u64,
    method: Option<Arc<Method>>,
    /// Stops the handler's task, once it has one. The task holds a [`Slot`].
    task: Option<AbortHandle>,
    /// The name as the peer wrote it: peers that may be Go's get it back.
    name: Option<String>,
    /// Nobody waits for the reply any more: it was sent, or given up.
    is_over: bool,
    /// It ended with an error.
    failed: bool,
}

impl Connection {
    async fn serve(
        shared: &Arc<Shared>,
        stream: Stream,
        inbox: Inbox,
        framing: Framing,
        features: Features,
        client_timeout: Option<Duration>,
        peer: Arc<Peer>,
    ) -> Result<(), Trouble> {
        let Stream { reader, writer, .. } = stream;
        let both = [shared.config.handle_timeout, client_timeout];
        let connection = Arc::new(Connection {
            shared: Arc::clone(shared),
            link: Link::new(FrameWriter::new(framing, Side::Server), Serving::default()),
            peer,
            framing,
            features,
            handle_timeout: both.into_iter().flatten().min(),
        });
        let _aborts = AbortRequests(&connection);
        let writing = {
            let connection = Arc::clone(&connection);
            tokio::spawn(async move { connection.link.write_loop(writer).await })
        };
        let mut writing = AbortOnDrop(writing);
        let mut reader = reader;
        let read = tokio::select! {
            read = connection.read_and_drain(&mut reader, inbox) => read,
            // The peer takes no more replies.
            written = &mut writing.0 => return Ok(written.unwrap_or_else(|_| Ok(()))?),
        };
        if let Err(Trouble::Io(error)) = read {
            return Err(error.into());
        }
        let closed = connection.link.lock().close();
        wake_all(closed);
        if let Ok(written) = (&mut writing.0).await {
            written?;
            // What was written last must reach the peer before the socket is gone.
            let _ = timeout(LINGER, discard(&mut reader)).await;
        }
        read
    }

    /// Serves until the peer has ended its requests and got all its replies, or the server has drained.
    async fn read_and_drain(
        self: &Arc<Self>,
        reader: &mut ReadHalf,
        inbox: Inbox,
    ) -> Result<(), Trouble> {
        let mut draining = self.shared.draining.subscribe();
        let mut reading = pin!(self.read(reader, inbox));
        let read = tokio::select! {
            read = &mut reading => read,
            () = is_draining(&mut draining) => {
                self.say_go_away();
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
        self.link.idle(|side| side.requests.is_empty()).await;
    }

    async fn read(
        self: &Arc<Self>,
        reader: &mut ReadHalf,
        mut inbox: Inbox,
    ) -> Result<(), Trouble> {
        let mut frames = FrameReader::new(self.framing, &self.shared.config.limits);
        loop {
            let at_least = loop {
                match frames.next(inbox.bytes())? {
                    Step::More { consumed, at_least } => {
                        inbox.consume(consumed);
                        break at_least;
                    }
                    Step::Message { consumed, body } => {
                        let header = std::mem::take(frames.header());
                        self.receive(header, frames.body(body));
                        inbox.consume(consumed);
                        // One read may hold thousands of requests, and each may have a large reply.
                        self.room().await;
                    }
                }
            };
            if inbox.fill(reader, at_least).await? == 0 {
                return match inbox.bytes() {
                    [] => Ok(()),
                    _ => Err(Violation::new("the peer ended the stream within a message").into()),
                };
            }
        }
    }

    /// Pressure flows backward: a peer with too many requests running, or too many replies to take, is not read from.
    async fn room(&self) {
        let is_full = |sending: &Sending<Serving>| {
            sending.side.requests.len() >= self.shared.config.in_flight_max
        };
        let (too_many, has_room) = {
            let sending = self.link.lock();
            (is_full(&sending), sending.has_room())
        };
        if too_many {
            poll_fn(|context| {
                let mut sending = self.link.lock();
                if !is_full(&sending) {
                    return Poll::Ready(());
                }
                sending.side.reader = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
        }
        if too_many || !has_room {
            self.link.room().await;
        }
    }

    fn receive(self: &Arc<Self>, header: Header, body: BodyRef<'_>) {
        match header.kind {
            Kind::Call => self.call(header, body),
            Kind::Cancel => {
                let mut sending = self.link.lock();
                let mut requests = sending.side.requests.values_mut();
                let cancelled = requests.find(|request| request.seq == header.seq);
                // A handler without a task ends within the reading task's own poll: there is nothing to stop.
                let task = cancelled.and_then(Request::give_up);
                drop(sending);
                if let Some(task) = task {
                    task.abort();
                }
            }
            // Clients that go away close.
            Kind::GoAway => {}
        }
    }

    fn call(self: &Arc<Self>, header: Header, body: BodyRef<'_>) {
        let found = self
            .shared
            .router
            .find(&header.service_method)
            .map(Arc::clone);
        let method = found.as_ref().ok().cloned();
        let now_needed = self.handle_timeout.is_some() || header.timeout_ns > 0;
        let started = now_needed.then(now);
        let asked = (header.timeout_ns > 0).then(|| Duration::from_nanos(header.timeout_ns));
        let limit = [asked, self.handle_timeout].into_iter().flatten().min();
        if let Some(method) = &method {
            method.began();
        }
        let missing = found
            .as_ref()
            .err()
            .map(|missing| missing_text(self.framing, *missing, &header.service_method));
        let name = (!self.features.code).then_some(header.service_method);
        let id = self.link.lock().side.begin(header.seq, method, name);
        let Ok(method) = found else {
            return self.fail(
                id,
                Error::new(Code::Unimplemented, missing.unwrap_or_default()),
            );
        };
        let context = Context {
            peer: Arc::clone(&self.peer),
            deadline: started
                .zip(limit)
                .and_then(|(started, limit)| started.checked_add(limit)),
            metadata: (!header.metadata.is_empty()).then(|| header.metadata.into()),
        };
        let replier = Replier {
            to: Arc::clone(self) as Arc<dyn ReplyTo>,
            request: id,
        };
        // The argument is decoded by code that may be the user's.
        let running =
            std::panic::catch_unwind(AssertUnwindSafe(|| method.start(context, body, replier)));
        match running {
            Err(_) => self.fail(id, panicked()),
            Ok(Err(error)) => self.fail(id, error),
            Ok(Ok(running)) => self.run(id, running, method.run_on(), limit),
        }
    }

    /// Polls the handler once, and gives it a task if it is not ready then.
    fn run(
        self: &Arc<Self>,
        id: u64,
        mut running: Running,
        run_on: RunOn,
        limit: Option<Duration>,
    ) {
        if run_on == RunOn::Reader {
            let mut context = TaskContext::from_waker(Waker::noop());
            let polled =
                std::panic::catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut context)));
            match polled {
                Ok(Poll::Ready(Ok(()))) => return,
                Ok(Poll::Ready(Err(error))) => return self.fail(id, error),
                Ok(Poll::Pending) => {}
                Err(_) => return self.fail(id, panicked()),
            }
        }
        let mut slot = Some(Slot {
            connection: Arc::clone(self),
            id,
        });
        if run_on == RunOn::BlockingThread {
            running = on_blocking_thread(running, slot.take());
        }
        let connection = Arc::clone(self);
        let ends = async move {
            let _slot = slot;
            let caught = CatchUnwind(running);
            let ended = match limit {
                None => caught.await,
                Some(limit) => timeout(limit, caught)
                    .await
                    .unwrap_or_else(|_| Err(timed_out(limit))),
            };
            if let Err(error) = ended {
                connection.fail(id, error);
            }
        };
        let task = tokio::spawn(ends).abort_handle();
        // It may have ended already.
        if let Some(request) = self.link.lock().side.requests.get_mut(&id) {
            request.task = Some(task);
        }
    }

    /// Sends an error as the reply, if there was none yet. The connection stays in step: an error has a body too.
    fn fail(&self, id: u64, error: Error) {
        let mut sending = self.link.lock();
        let Some((seq, name)) = sending.side.reply_to(id) else {
            return;
        };
        let load = self.load(&sending);
        let sent = sending.send(Body::from(&()), |header| {
            header.seq = seq;
            header
                .service_method
                .push_str(name.as_deref().unwrap_or_default());
            // An empty text would look like success.
            let text = match error.message() {
                "" => error.code().as_str(),
                text => text,
            };
            header.error.push_str(text);
            if self.features.code {
                header.code = error.code().number();
            }
            header.load = load;
        });
        let mut wake = sending.replied(id, true);
        // The empty struct can always be encoded.
        wake.extend(sent.ok().flatten());
        drop(sending);
        wake_all(wake);
    }

    fn load(&self, sending: &Sending<Serving>) -> Load {
        match self.features.load {
            true => Load {
                in_flight: u16::try_from(sending.side.requests.len()).unwrap_or(u16::MAX),
                utilisation: 0,
            },
            false => Load::default(),
        }
    }

    /// Tells a peer that understands it to make no further calls here.
    fn say_go_away(&self) {
        if !self.features.drain {
            return;
        }
        let sent = self
            .link
            .lock()
            .send(Body::from(&()), |header| header.kind = Kind::GoAway);
        wake_all(sent.ok().flatten());
    }

    /// Stops handlers whose caller has gone.
    fn abort_requests(&self) {
        let mut sending = self.link.lock();
        let requests = sending.side.requests.values_mut();
        let tasks: Vec<_> = requests.filter_map(Request::give_up).collect();
        drop(sending);
        for task in tasks {
            task.abort();
        }
    }
}

impl ReplyTo for Connection {
    fn reply(&self, id: u64, body: Body<'_>) -> Result<()> {
        let mut sending = self.link.lock();
        let Some((seq, name)) = sending.side.reply_to(id) else {
            // It was cancelled or timed out: the late reply is dropped.
            return Ok(());
        };
        let load = self.load(&sending);
        let sent = sending.send(body, |header| {
            header.seq = seq;
            header
                .service_method
                .push_str(name.as_deref().unwrap_or_default());
            header.load = load;
        });
        match sent {
            Ok(writer) => {
                let mut wake = sending.replied(id, false);
                wake.extend(writer);
                drop(sending);
                wake_all(wake);
                Ok(())
            }
            Err(error) => {
                // The error is to be sent under the same name.
                if let Some(request) = sending.side.requests.get_mut(&id) {
                    request.name = name;
                }
                Err(Error::new(
                    Code::Internal,
                    format!("the reply cannot be encoded: {error}"),
                ))
            }
        }
    }
}

impl Sending<Serving> {
    /// Notes that a request has its reply. Its slot is free once its handler has ended, too.
    fn replied(&mut self, id: u64, failed: bool) -> Vec<Waker> {
        let Some(request) = self.side.requests.get_mut(&id) else {
            return Vec::new();
        };
        request.is_over = true;
        request.failed = failed;
        match request.task {
            Some(_) => Vec::new(),
            None => self.release(id),
        }
    }

    /// Forgets a request whose handler has ended.
    fn release(&mut self, id: u64) -> Vec<Waker> {
        let Some(request) = self.side.requests.remove(&id) else {
            return Vec::new();
        };
        if let Some(method) = &request.method {
            method.ended(request.failed);
        }
        let mut wake = Vec::new();
        wake.extend(self.side.reader.take());
        wake.extend(self.side_changed());
        wake
    }
}

impl Serving {
    fn begin(&mut self, seq: u64, method: Option<Arc<Method>>, name: Option<String>) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        let request = Request {
            seq,
            method,
            task: None,
            name,
            is_over: false,
            failed: false,
        };
        self.requests.insert(id, request);
        id
    }

    /// The Seq and the name that a request's reply is to carry, unless nobody waits for it any more.
    fn reply_to(&mut self, id: u64) -> Option<(u64, Option<String>)> {
        let request = self.requests.get_mut(&id)?;
        (!request.is_over).then(|| (request.seq, request.name.take()))
    }
}

impl Request {
    /// Drops the reply, and gives what stops the handler. The slot is free when the handler has stopped: a peer that
    /// calls and cancels in turn must not have more handlers running than one that waits.
    fn give_up(&mut self) -> Option<AbortHandle> {
        let task = self.task.clone()?;
        if !std::mem::replace(&mut self.is_over, true) {
            self.failed = true;
        }
        Some(task)
    }
}

/// A request's place among those that run, held for as long as its handler runs.
struct Slot {
    connection: Arc<Connection>,
    id: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let wake = self.connection.link.lock().release(self.id);
        wake_all(wake);
    }
}

/// The texts that people match on, in each dialect's words.
fn missing_text(framing: Framing, missing: Missing, name: &str) -> String {
    let (service, method) = name.rsplit_once('.').unwrap_or((name, name));
    match (framing, missing) {
        (Framing::Farcall(_), Missing::Service) => {
            format!("rpc server: can't find service {service}")
        }
        (Framing::Farcall(_), Missing::Method) => format!("rpc server: can't find method {method}"),
        (Framing::Farcall(_), Missing::IllFormed) => {
            format!("rpc server: service/method request ill-formed: {name}")
        }
        (Framing::NetRpc, Missing::Service) => format!("rpc: can't find service {name}"),
        (Framing::NetRpc, Missing::Method) => format!("rpc: can't find method {name}"),
        (Framing::NetRpc, Missing::IllFormed) => {
            format!("rpc: service/method request ill-formed: {name}")
        }
    }
}

fn panicked() -> Error {
    Error::new(Code::Internal, "rpc server: the handler panicked")
}

fn timed_out(limit: Duration) -> Error {
    let limit = go_duration(limit);
    Error::new(
        Code::DeadlineExceeded,
        format!("rpc server: request handle timeout: expect within {limit}"),
    )
}

async fn is_draining(draining: &mut watch::Receiver<bool>) {
    if draining.wait_for(|draining| *draining).await.is_err() {
        std::future::pending().await
    }
}

/// Runs a handler where it may block. One that has begun stays there when nobody waits any more, and keeps its slot.
fn on_blocking_thread(running: Running, slot: Option<Slot>) -> Running {
    let runtime = tokio::runtime::Handle::current();
    let task = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        runtime.block_on(running)
    });
    let mut task = AbortOnDrop(task);
    Box::pin(async move {
        let ended = (&mut task.0).await;
        ended.unwrap_or_else(|_| Err(panicked()))
    })
}

/// Stops what still runs for a connection when the connection ends, however it does.
struct AbortRequests<'a>(&'a Connection);

impl Drop for AbortRequests<'_> {
    fn drop(&mut self) {
        self.0.abort_requests();
    }
}

/// A task that ends with its owner.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A handler whose panic is its call's error.
struct CatchUnwind(Running);

impl Future for CatchUnwind {
    type Output = Result<()>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Result<()>> {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(panicked())))
    }
}
