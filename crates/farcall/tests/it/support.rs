//! What the tests of calls share: peers made of raw bytes, a log that can be read, patience. No claim is proved here.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::IntoFuture;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Once};
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use farcall::{Address, Codec, Message, Server, Transport};
use farcall_wire::{
    Body, Features, FrameReader, FrameWriter, Framing, Header, Hello, Limits, Side, Step,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// The outcome of something that must not take for ever.
pub(crate) async fn soon<T>(what: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what.into_future())
        .await
        .expect("it should end soon")
}

/// Waits for something that other tasks will do.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The `host:port` of a server's first listener.
pub(crate) fn place(server: &Server) -> String {
    let (Transport::Tcp(place) | Transport::Http(place)) = &server.address().transport else {
        panic!("{} is no TCP address", server.address());
    };
    place.clone()
}

/// The server's address for clients that begin with `CONNECT`.
pub(crate) fn over_http(server: &Server) -> Address {
    format!("http@{}", place(server)).parse().unwrap()
}

/// Handlers of this method that run now, and how many calls of it have ended.
pub(crate) fn counts(server: &Server, name: &str) -> (u64, u64) {
    let (service, method) = name.rsplit_once('.').unwrap();
    let services = server.services();
    let service = services.iter().find(|found| found.name == service).unwrap();
    let method = service.methods.iter().find(|found| found.name == method);
    let method = method.unwrap();
    (method.in_flight, method.calls)
}

/// Calls of all methods that run now.
pub(crate) fn running(server: &Server) -> u64 {
    let services = server.services();
    let methods = services.iter().flat_map(|service| &service.methods);
    methods.map(|method| method.in_flight).sum()
}

/// The handshake as a client writes it.
pub(crate) fn hello(codec: Codec, features: Features) -> Vec<u8> {
    let mut bytes = Vec::new();
    Hello::new(codec, 0, 0, features).write(&mut bytes);
    bytes
}

/// One end of a farcall conversation that says exactly what the test wants.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) stream: S,
    reader: FrameReader,
    writer: FrameWriter,
    inbox: Vec<u8>,
}

impl Raw {
    /// A client whose handshake is done. Without features it is one of TinyRPC's.
    pub(crate) async fn connect(server: &Server, codec: Codec, features: Features) -> Raw {
        let stream = TcpStream::connect(place(server)).await.unwrap();
        Raw::open(stream, codec, features).await
    }
}

impl<S> Raw<S> {
    /// One end of a stream on which messages come next.
    pub(crate) fn opened(stream: S, framing: Framing, side: Side) -> Raw<S> {
        Raw {
            stream,
            reader: FrameReader::new(framing, side, &Limits::default()),
            writer: FrameWriter::new(framing, side),
            inbox: Vec::new(),
        }
    }

    /// The bytes of one message.
    pub(crate) fn message(
        &mut self,
        body: &impl Message,
        fill: impl FnOnce(&mut Header),
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        fill(self.writer.header());
        self.writer.write(Body::from(body), &mut bytes).unwrap();
        bytes
    }

    /// The bytes of a request.
    pub(crate) fn request(&mut self, seq: u64, method: &str, args: &impl Message) -> Vec<u8> {
        self.message(args, |header| {
            header.seq = seq;
            header.service_method = method.to_owned();
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// A client on a stream, whose handshake is done.
    pub(crate) async fn open(mut stream: S, codec: Codec, features: Features) -> Raw<S> {
        let hello = hello(codec, features);
        stream.write_all(&hello).await.unwrap();
        let mut ack = Vec::new();
        while ack.last() != Some(&b'\n') {
            ack.push(soon(stream.read_u8()).await.unwrap());
        }
        let (ack, _) = Hello::read(&ack, &Limits::default()).unwrap().unwrap();
        assert_eq!(ack.features(), features, "the server has every feature");
        Raw::opened(stream, Framing::Farcall(codec), Side::Client)
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, seq: u64, method: &str, args: &impl Message) {
        let bytes = self.request(seq, method, args);
        self.write(&bytes).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    /// The next message and its body's bytes; `None` when the stream ended.
    pub(crate) async fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        soon(async {
            loop {
                match self.reader.next(&self.inbox).unwrap() {
                    Step::More { consumed, .. } => drop(self.inbox.drain(..consumed)),
                    Step::Message { consumed, body } => {
                        let body = body.to_vec();
                        self.inbox.drain(..consumed);
                        return Some((std::mem::take(self.reader.header()), body));
                    }
                }
                // A reset says the same as an end here.
                if self.stream.read_buf(&mut self.inbox).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        })
        .await
    }

    /// A body that was received.
    pub(crate) fn decode<R: Message>(&self, body: &[u8]) -> R {
        self.reader.body_kind().body(body).decode().unwrap()
    }

    /// The next reply with its decoded body, which must be a good one.
    pub(crate) async fn reply<R: Message>(&mut self) -> (u64, R) {
        let (header, body) = self.receive().await.expect("a reply should come");
        assert_eq!(header.error, "", "of request {}", header.seq);
        let body = self.reader.body_kind().body(&body).decode().unwrap();
        (header.seq, body)
    }
}

impl Raw {
    /// A server whose handshake is done, with these features.
    pub(crate) async fn accept(mut stream: TcpStream, features: Features) -> Raw {
        let mut hello = Vec::new();
        while hello.last() != Some(&b'\n') {
            hello.push(soon(stream.read_u8()).await.unwrap());
        }
        let (hello, _) = Hello::read(&hello, &Limits::default()).unwrap().unwrap();
        let codec = hello.codec().unwrap();
        let mut ack = Vec::new();
        Hello::new(codec, 0, 0, features).write(&mut ack);
        stream.write_all(&ack).await.unwrap();
        Raw::opened(stream, Framing::Farcall(codec), Side::Server)
    }
}

/// A server as TinyRPC's, which gives so many requests their arguments back.
pub(crate) async fn echo_as_tiny_rpc(stream: TcpStream, requests: usize) {
    let mut peer = Raw::accept(stream, Features::default()).await;
    for _ in 0..requests {
        let (request, body) = peer.receive().await.unwrap();
        let text: String = peer.decode(&body);
        let reply = peer.message(&text, |header| header.seq = request.seq);
        peer.write(&reply).await;
    }
}

/// Reads until the peer has closed, and gives what came.
pub(crate) async fn to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    soon(async {
        // A reset says the same as an end here.
        while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
    })
    .await;
    bytes
}

/// What this thread has logged since. For tests on a runtime of one thread.
///
/// There is one subscriber for all tests: those that come and go leave it to chance whether a line that another thread
/// is the first to log is seen.
pub(crate) struct Log {
    since: usize,
}

static LINES: Mutex<Vec<(ThreadId, String)>> = Mutex::new(Vec::new());

impl Log {
    pub(crate) fn start() -> Log {
        static SUBSCRIBED: Once = Once::new();
        SUBSCRIBED.call_once(|| {
            let subscriber = tracing_subscriber::registry().with(Lines);
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        // Another thread may have looked, just before, whether anyone listens.
        tracing::callsite::rebuild_interest_cache();
        let since = LINES.lock().unwrap().len();
        Log { since }
    }

    /// The warnings and errors of farcall that mention `text`: `WARN message name=value …`.
    pub(crate) fn warnings(&self, text: &str) -> Vec<String> {
        let is_warning = |line: &String| !line.starts_with("SPAN") && !line.starts_with("NOTE");
        let lines = self.lines(text).into_iter();
        lines.filter(is_warning).collect()
    }

    /// These, and what farcall's spans are told that mention `text`: `SPAN name name=value …`, `NOTE name=value`.
    pub(crate) fn lines(&self, text: &str) -> Vec<String> {
        let this = std::thread::current().id();
        let lines = LINES.lock().unwrap();
        let lines = lines.iter().skip(self.since);
        let found = lines.filter(|(thread, line)| *thread == this && line.contains(text));
        found.map(|(_, line)| line.clone()).collect()
    }
}

struct Lines;

fn keep(line: String) {
    let thread = std::thread::current().id();
    LINES.lock().unwrap().push((thread, line));
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let metadata = span.metadata();
        if metadata.target().starts_with("farcall") {
            let mut line = Line(format!("SPAN {}", metadata.name()));
            span.record(&mut line);
            keep(line.0);
        }
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut line = Line("NOTE".to_owned());
        values.record(&mut line);
        keep(line.0);
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > tracing::Level::WARN || !metadata.target().starts_with("farcall") {
            return;
        }
        let mut line = Line(metadata.level().to_string());
        event.record(&mut line);
        keep(line.0);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.unwrap();
    }
}

/// What a [`Scripted`] stream gives its reader next.
#[derive(Clone)]
pub(crate) enum Give {
    Bytes(Vec<u8>),
    /// Nothing, until this many bytes were written in all.
    AfterWritten(usize),
    /// Nothing any more, without an end.
    Silence,
}

/// A stream in memory whose reader gets exactly these pieces, one at a read, and then the end.
pub(crate) struct Scripted {
    gives: VecDeque<Give>,
    /// The reader was told to wait before the next piece, as if it had not arrived yet.
    paused: bool,
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<Waker>,
    dropped: Option<oneshot::Sender<()>>,
}

/// What was written to a [`Scripted`] stream, once its user has dropped it.
pub(crate) struct Written {
    bytes: Arc<Mutex<Vec<u8>>>,
    dropped: oneshot::Receiver<()>,
}

impl Scripted {
    pub(crate) fn new(gives: impl IntoIterator<Item = Give>) -> (Scripted, Written) {
        let (drops, dropped) = oneshot::channel();
        let written = Arc::default();
        let bytes = Arc::clone(&written);
        let scripted = Scripted {
            gives: gives.into_iter().collect(),
            paused: false,
            written,
            reader: None,
            dropped: Some(drops),
        };
        (scripted, Written { bytes, dropped })
    }

    /// These bytes in these pieces.
    pub(crate) fn pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Scripted, Written) {
        let gives = pieces.into_iter().filter(|piece| !piece.is_empty());
        Scripted::new(gives.map(|piece| Give::Bytes(piece.to_vec())))
    }
}

impl Written {
    pub(crate) async fn all(self) -> Vec<u8> {
        // An error says that the other half was dropped as well.
        let _ = soon(self.dropped).await;
        std::mem::take(&mut *self.bytes.lock().unwrap())
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if let Some(dropped) = self.dropped.take() {
            let _ = dropped.send(());
        }
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.paused, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let written = self.written.lock().unwrap().len();
        while let Some(Give::AfterWritten(goal)) = self.gives.front() {
            if written < *goal {
                self.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            self.gives.pop_front();
        }
        match self.gives.pop_front() {
            Some(Give::Bytes(mut piece)) => {
                let rest = piece.split_off(piece.len().min(room.remaining()));
                room.put_slice(&piece);
                if !rest.is_empty() {
                    self.gives.push_front(Give::Bytes(rest));
                }
                self.paused = false;
                Poll::Ready(Ok(()))
            }
            Some(silence) => {
                self.gives.push_front(silence);
                Poll::Pending
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.lock().unwrap().extend_from_slice(bytes);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
