//! What travels beside argument and reply: details of errors, metadata, pings, marks, deadlines of nested calls.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use farcall::{
    Client, Cluster, Code, Codec, Compression, Context, Error, Method, Reached, Server,
    ServerBuilder, Service,
};
use farcall_wire::{Features, Flags, Framing, Kind, Side};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::support::{PATIENCE, Raw, counts, running, soon, until};

#[farcall::message]
#[derive(Clone, Debug, PartialEq)]
struct Taken {
    name: String,
    free: Vec<String>,
}

fn taken() -> Taken {
    Taken {
        name: "ada".into(),
        free: vec!["ada2".into(), "ada3".into()],
    }
}

async fn start(builder: ServerBuilder) -> Server {
    builder.bind("tcp@127.0.0.1:0").start().await.unwrap()
}

async fn client(server: &Server, codec: Codec) -> Client {
    let builder = Client::builder(server.address().clone());
    builder.codec(codec).connect().await.unwrap()
}

/// `Names.Take` says no with details, `Names.Limit` refuses, `Names.Mirror` sends metadata back.
async fn names() -> Server {
    let names = Service::new("Names")
        .with(Method::new("Take", |_, _: ()| async move {
            let error = Error::new(Code::AlreadyExists, "the name is taken");
            Err::<(), _>(error.with_details(taken()))
        }))
        .with(Method::new("Limit", |_, _: ()| async move {
            Err::<(), _>(Error::refused(Code::ResourceExhausted, "not now"))
        }))
        .with(Method::new(
            "Mirror",
            |context: Context, later: bool| async move {
                if later {
                    tokio::task::yield_now().await;
                }
                context.reply_metadata("saw", context.metadata("tenant").unwrap_or("nobody"));
                context.reply_metadata("idempotent", context.is_idempotent().to_string());
                Ok(7_i64)
            },
        ));
    start(Server::builder().register(names)).await
}

#[tokio::test]
async fn an_error_s_details_travel_in_every_codec_and_only_to_those_who_know_them() {
    let server = names().await;
    for codec in Codec::ALL {
        let client = client(&server, codec).await;
        for _ in 0..2 {
            let error = client.call::<()>("Names.Take", &()).await.unwrap_err();
            assert_eq!(
                (error.code(), error.message()),
                (Code::AlreadyExists, "the name is taken")
            );
            assert_eq!(
                error.details::<Taken>().unwrap().unwrap(),
                taken(),
                "{codec}"
            );
            assert_eq!(
                error.details::<Vec<u64>>().unwrap().unwrap_err().code(),
                Code::Internal
            );
        }
        let error = client.call::<()>("Names.Missing", &()).await.unwrap_err();
        assert!(error.details::<Taken>().is_none());

        let mut old = Raw::connect(&server, codec, Features::default()).await;
        old.send(1, "Names.Take", &()).await;
        let (header, body) = old.receive().await.unwrap();
        assert_eq!(
            (header.flags, &*header.error),
            (Flags::default(), "the name is taken")
        );
        assert!(body.len() < 8, "{codec}: the empty struct, not {body:?}");
    }
}

#[tokio::test]
async fn a_refused_call_says_that_its_handler_did_not_run() {
    let server = names().await;
    for codec in Codec::ALL {
        let client = client(&server, codec).await;
        let error = client.call::<()>("Names.Limit", &()).await.unwrap_err();
        assert_eq!(
            (error.code(), error.reached()),
            (Code::ResourceExhausted, Reached::Refused)
        );
        assert!(error.is_retryable());
        let error = client.call::<()>("Names.Take", &()).await.unwrap_err();
        assert_eq!(error.reached(), Reached::Answered);
    }
}

#[tokio::test]
async fn metadata_comes_back_with_the_reply_to_those_who_ask_for_it() {
    let server = names().await;
    for codec in Codec::ALL {
        let client = client(&server, codec).await;
        for later in [false, true] {
            let call = client
                .call::<i64>("Names.Mirror", &later)
                .metadata("tenant", "blue");
            let reply = call.idempotent().with_metadata().await.unwrap();
            assert_eq!(reply.value, 7);
            let pairs = [("saw", "blue"), ("idempotent", "true")];
            let expected = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut metadata = reply.metadata;
            if codec == Codec::Json {
                // An object has no order.
                metadata.reverse();
            }
            assert_eq!(metadata, expected, "{codec}");
        }
        let mut raw = Raw::connect(&server, codec, Features::ALL.compressing(None)).await;
        raw.send(1, "Names.Mirror", &false).await;
        let (header, _) = raw.receive().await.unwrap();
        assert!(header.metadata.is_empty(), "it was not asked for");
    }
}

/// `Log.Wait` waits for a word, `Log.Fail` fails, `Log.Echo` answers.
async fn log(in_flight_max: usize) -> (Server, Arc<Notify>, Arc<AtomicUsize>) {
    let (go, ended) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (Arc::clone(&go), Arc::clone(&ended));
    let log = Service::new("Log")
        .with(Method::new("Wait", move |_, _: ()| {
            let (wait, count) = (Arc::clone(&wait), Arc::clone(&count));
            async move {
                wait.notified().await;
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }))
        .with(Method::new("Fail", |_, _: ()| async move {
            Err::<(), _>("no".into())
        }))
        .with(Method::new(
            "Echo",
            |_, text: String| async move { Ok(text) },
        ));
    let server = Server::builder().register(log).in_flight_max(in_flight_max);
    (start(server).await, go, ended)
}

#[tokio::test]
async fn a_one_way_call_ends_when_it_is_sent_and_gets_no_reply() {
    let (server, go, ended) = log(256).await;
    for codec in Codec::ALL {
        let before = ended.load(Ordering::Relaxed);
        let client = client(&server, codec).await;
        soon(client.call("Log.Wait", &()).one_way()).await.unwrap();
        soon(client.call("Log.Fail", &()).one_way()).await.unwrap();
        soon(client.call("Log.Missing", &()).one_way())
            .await
            .unwrap();
        let echo: String = soon(client.call("Log.Echo", &"x".to_owned()))
            .await
            .unwrap();
        assert_eq!((echo.as_str(), client.in_flight()), ("x", 0));
        // Its caller leaves, and it goes on.
        drop(client);
        until(|| running(&server) == 1).await;
        go.notify_one();
        until(|| ended.load(Ordering::Relaxed) == before + 1).await;
    }
    let mut raw = Raw::connect(&server, Codec::Postcard, Features::ALL.compressing(None)).await;
    for (seq, method) in [(1, "Log.Fail"), (2, "Log.Missing"), (3, "Log.Echo")] {
        let bytes = raw.message(&"x".to_owned(), |header| {
            header.seq = seq;
            header.service_method = method.to_owned();
            header.flags |= Flags::ONE_WAY;
        });
        raw.write(&bytes).await;
    }
    raw.send(4, "Log.Echo", &"x".to_owned()).await;
    assert_eq!(raw.reply::<String>().await, (4, "x".to_owned()));
}

#[tokio::test]
async fn one_way_calls_take_no_place_of_calls_that_wait_and_are_bounded_as_well() {
    let (server, go, ended) = log(2).await;
    let client = client(&server, Codec::Gob).await;
    for _ in 0..5 {
        soon(client.call("Log.Wait", &()).one_way()).await.unwrap();
    }
    until(|| running(&server) == 2).await;
    // What is behind the third of them waits; other connections do not.
    let other = self::client(&server, Codec::Gob).await;
    let echo: String = soon(other.call("Log.Echo", &"x".to_owned())).await.unwrap();
    assert_eq!((echo.as_str(), running(&server)), ("x", 2));
    until(|| {
        go.notify_one();
        ended.load(Ordering::Relaxed) == 5
    })
    .await;
    let echo: String = soon(client.call("Log.Echo", &"y".to_owned()))
        .await
        .unwrap();
    assert_eq!(echo, "y");
}

#[tokio::test]
async fn a_server_that_shuts_down_finishes_one_way_calls_whose_caller_has_left() {
    let (server, go, ended) = log(256).await;
    let client = client(&server, Codec::Gob).await;
    client.call("Log.Wait", &()).one_way().await.unwrap();
    until(|| running(&server) == 1).await;
    drop(client);
    let mut shutdown = Box::pin(server.shutdown(PATIENCE));
    let still = tokio::time::timeout(Duration::from_millis(50), &mut shutdown).await;
    assert!(still.is_err(), "it waits");
    go.notify_one();
    assert!(soon(shutdown).await);
    assert_eq!(ended.load(Ordering::Relaxed), 1);
}

/// A server made of bytes: it accepts one connection and agrees to these features.
async fn raw_server(features: Features) -> (Client, Raw<tokio::net::TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp@{}", listener.local_addr().unwrap());
    let client = Client::builder(address.parse().unwrap())
        .keep_alive(Some(Duration::from_millis(30)))
        .build();
    let accepting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = Vec::new();
        while hello.last() != Some(&b'\n') {
            hello.push(stream.read_u8().await.unwrap());
        }
        let ack = crate::support::hello(Codec::Gob, features);
        let mut raw = Raw::opened(stream, Framing::Farcall(Codec::Gob), Side::Server);
        raw.write(&ack).await;
        raw
    };
    let first = async {
        let _ = client.call("Log.First", &()).one_way().await;
    };
    let (mut raw, ()) = soon(async { tokio::join!(accepting, first) }).await;
    let (header, _) = raw.receive().await.unwrap();
    assert_eq!(header.service_method, "Log.First");
    (client, raw)
}

#[tokio::test]
async fn a_one_way_call_to_an_old_server_is_a_call_whose_reply_is_dropped() {
    let (client, mut raw) = raw_server(Features::default()).await;
    let reply = raw.message(&(), |header| header.seq = 1);
    raw.write(&reply).await;
    let call = client.call::<i64>("Log.Second", &());
    let answering = async {
        let (header, _) = raw.receive().await.unwrap();
        assert_eq!((header.seq, header.flags), (2, Flags::default()));
        let reply = raw.message(&7_i64, |header| header.seq = 2);
        raw.write(&reply).await;
    };
    let (reply, ()) = soon(async { tokio::join!(call, answering) }).await;
    assert_eq!(reply.unwrap(), 7);
}

#[tokio::test]
async fn a_silent_server_is_asked_whether_it_is_there_and_stays_while_it_answers() {
    let (client, mut raw) = raw_server(Features::ALL.compressing(None)).await;
    let call = client.call::<i64>("Log.Slow", &());
    let answering = async {
        let (header, _) = raw.receive().await.unwrap();
        assert_eq!(header.service_method, "Log.Slow");
        for _ in 0..5 {
            let (ping, _) = raw.receive().await.unwrap();
            assert_eq!(ping.kind, Kind::Ping);
            let pong = raw.message(&(), |header| {
                header.kind = Kind::Pong;
                header.seq = ping.seq;
            });
            raw.write(&pong).await;
        }
        let reply = raw.message(&7_i64, |reply| reply.seq = header.seq);
        raw.write(&reply).await;
    };
    let (reply, ()) = soon(async { tokio::join!(call, answering) }).await;
    assert_eq!(reply.unwrap(), 7);
}

#[tokio::test]
async fn a_server_that_answers_no_ping_is_given_up() {
    let (client, mut raw) = raw_server(Features::ALL.compressing(None)).await;
    let error = soon(client.call::<i64>("Log.Slow", &())).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::Unavailable, Reached::Unknown)
    );
    assert!(error.message().contains("after a ping"), "{error}");
    let (header, _) = raw.receive().await.unwrap();
    assert_eq!(header.service_method, "Log.Slow");
    assert_eq!(raw.receive().await.unwrap().0.kind, Kind::Ping);
}

#[tokio::test]
async fn a_ping_is_answered_whatever_runs_and_old_servers_are_not_asked() {
    let (server, go, _) = log(1).await;
    let client = client(&server, Codec::Gob).await;
    let waiting = client.go::<()>("Log.Wait", ());
    until(|| running(&server) == 1).await;
    soon(client.ping(PATIENCE)).await.unwrap();
    go.notify_one();
    soon(waiting).await.unwrap();
    let go_s = format!("netrpc+{}", server.address());
    let old = Client::connect(&go_s).await.unwrap();
    let error = soon(old.ping(PATIENCE)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

/// Says when the handler that holds it has stopped.
struct Stops(Arc<Mutex<Vec<Duration>>>, Instant);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1.elapsed());
    }
}

/// A chain of servers, each of which calls the next, and the last for ever. Gives the first one's client, and what its
/// handlers leave behind when they stop.
async fn chain(hops: usize) -> (Vec<Server>, Client, Arc<Mutex<Vec<Duration>>>) {
    let (begun, stops) = (Instant::now(), Arc::default());
    let mut servers = Vec::new();
    let mut next: Option<Client> = None;
    for _ in 0..hops {
        let (behind, stops) = (next.clone(), Arc::clone(&stops));
        let hop = Method::new("Go", move |context: Context, before: i64| {
            let (behind, stops) = (behind.clone(), Arc::clone(&stops));
            async move {
                let _stops = Stops(stops, begun);
                let left = context.time_left().unwrap().as_nanos() as i64;
                assert!(left <= before, "{left} ns of {before}");
                match behind {
                    Some(client) => client.call::<()>("Hop.Go", &left).await,
                    None => std::future::pending().await,
                }
            }
        });
        let server = start(Server::builder().register(Service::new("Hop").with(hop))).await;
        next = Some(client(&server, Codec::Postcard).await);
        servers.push(server);
    }
    (servers, next.unwrap(), stops)
}

#[tokio::test]
async fn a_budget_shrinks_along_five_hops_and_all_of_them_stop_when_it_is_over() {
    const BUDGET: Duration = Duration::from_secs(1);
    // The machine may be busy with something else; once in three times it is not.
    let mut latest = Vec::new();
    for _ in 0..3 {
        let (_servers, client, stops) = chain(5).await;
        let begun = Instant::now();
        let call = client.call::<()>("Hop.Go", &i64::MAX).timeout(BUDGET);
        let error = soon(call).await.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(begun.elapsed() >= BUDGET);
        until(|| stops.lock().unwrap().len() == 5).await;
        let stops = stops.lock().unwrap();
        assert!(stops.iter().all(|stop| *stop >= BUDGET), "{stops:?}");
        latest.push(begun.elapsed());
        if latest.last() <= Some(&Duration::from_millis(1050)) {
            return;
        }
    }
    panic!("they stopped after {latest:?}");
}

#[tokio::test]
async fn giving_up_the_first_call_stops_the_whole_chain() {
    let (servers, client, stops) = chain(5).await;
    let call = tokio::spawn(async move {
        let call = client.call::<()>("Hop.Go", &i64::MAX);
        call.timeout(PATIENCE).await
    });
    until(|| servers.iter().map(running).sum::<u64>() == 5).await;
    call.abort();
    until(|| stops.lock().unwrap().len() == 5).await;
    until(|| servers.iter().map(running).sum::<u64>() == 0).await;
}

#[tokio::test]
async fn a_cancelled_call_s_handler_stops_within_ten_milliseconds() {
    let (stopped, mut stops) = mpsc::unbounded_channel();
    struct Says(mpsc::UnboundedSender<Instant>);
    impl Drop for Says {
        fn drop(&mut self) {
            let _ = self.0.send(Instant::now());
        }
    }
    let wait = Method::new("Wait", move |_, _: ()| {
        let says = Says(stopped.clone());
        async move {
            let _says = says;
            std::future::pending::<farcall::Result<()>>().await
        }
    });
    let server = start(Server::builder().register(Service::new("Job").with(wait))).await;
    let client = client(&server, Codec::Gob).await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let call = client.go::<()>("Job.Wait", ());
        until(|| running(&server) == 1).await;
        let given_up = Instant::now();
        drop(call);
        let stopped = soon(stops.recv()).await.unwrap();
        times.push(stopped.saturating_duration_since(given_up));
    }
    times.sort_unstable();
    // Half of them, since the machine may be busy with something else.
    assert!(times[10] <= Duration::from_millis(10), "{times:?}");
}

#[tokio::test]
async fn a_detached_call_and_one_in_a_scope_know_which_deadline_is_theirs() {
    let saw = Method::new("Left", |context: Context, _: ()| async move {
        Ok(context.time_left().is_some())
    });
    let server = start(Server::builder().register(Service::new("Time").with(saw))).await;
    let behind = client(&server, Codec::Gob).await;
    let ask = Method::new("Ask", move |context: Context, how: String| {
        let behind = behind.clone();
        async move {
            match how.as_str() {
                "plain" => behind.call::<bool>("Time.Left", &()).await,
                "detached" => behind.call::<bool>("Time.Left", &()).detached().await,
                how => {
                    let call = async move { behind.call::<bool>("Time.Left", &()).await };
                    let task = match how {
                        "scope" => tokio::spawn(context.scope(call)),
                        _ => tokio::spawn(call),
                    };
                    task.await.unwrap()
                }
            }
        }
    });
    let front = start(Server::builder().register(Service::new("Front").with(ask))).await;
    let client = client(&front, Codec::Gob).await;
    for (how, inherits) in [
        ("plain", true),
        ("detached", false),
        ("scope", true),
        ("task", false),
    ] {
        let argument = how.to_owned();
        let call = client.call::<bool>("Front.Ask", &argument);
        let saw = soon(call.timeout(PATIENCE)).await.unwrap();
        assert_eq!(saw, inherits, "{how}");
    }
}

#[tokio::test]
async fn a_request_whose_time_is_over_before_there_is_a_place_for_it_does_not_begin() {
    let (server, go, _) = log(1).await;
    let mut raw = Raw::connect(&server, Codec::Gob, Features::ALL.compressing(None)).await;
    raw.send(1, "Log.Wait", &()).await;
    until(|| running(&server) == 1).await;
    let begun = counts(&server, "Log.Echo");
    let mut bytes = Vec::new();
    for (seq, timeout_ns) in [(2, 1_000_000), (3, 60_000_000_000)] {
        bytes.extend(raw.message(&"x".to_owned(), |header| {
            header.seq = seq;
            header.service_method = "Log.Echo".to_owned();
            header.timeout_ns = timeout_ns;
        }));
    }
    raw.write(&bytes).await;
    // Only that time passes matters here: the request's own millisecond.
    tokio::time::sleep(Duration::from_millis(50)).await;
    go.notify_one();
    assert_eq!(raw.reply::<()>().await, (1, ()));
    let (header, _) = raw.receive().await.unwrap();
    assert_eq!(
        (header.seq, Code::from_number(header.code.into())),
        (2, Code::DeadlineExceeded)
    );
    assert!(header.flags.has(Flags::REFUSED));
    assert_eq!(raw.reply::<String>().await, (3, "x".to_owned()));
    assert_eq!(counts(&server, "Log.Echo"), (0, begun.1 + 1));
}

/// Counts the bytes that are read from and written to a stream.
struct Counting<S> {
    stream: S,
    bytes: Arc<AtomicUsize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = room.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, room);
        let count = room.filled().len() - before;
        self.bytes.fetch_add(count, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &polled {
            self.bytes.fetch_add(*count, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
async fn long_bodies_are_compressed_both_ways_when_the_client_wishes() {
    let seen = Arc::new(AtomicBool::new(false));
    let saw = Arc::clone(&seen);
    let echo = move |words: Vec<String>| {
        saw.store(true, Ordering::Relaxed);
        async move { Ok(words) }
    };
    let server = start(Server::builder().method("Echo.Words", echo)).await;
    let words: Vec<String> = (0..20_000).map(|n| format!("word {}", n % 100)).collect();
    for codec in Codec::ALL {
        let mut moved = Vec::new();
        for compression in [None, Some(Compression::Lz4)] {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            server.serve_stream(theirs, "a pipe");
            let bytes = Arc::new(AtomicUsize::new(0));
            let counting = Counting {
                stream: ours,
                bytes: Arc::clone(&bytes),
            };
            let mut builder = Client::builder(server.address().clone()).codec(codec);
            if let Some(compression) = compression {
                builder = builder.compression(compression);
            }
            let client = builder.connect_on(counting).await.unwrap();
            for _ in 0..3 {
                let reply: Vec<String> = soon(client.call("Echo.Words", &words)).await.unwrap();
                assert!(reply == words, "{codec}");
            }
            moved.push(bytes.load(Ordering::Relaxed));
        }
        // gob's first message of each direction goes as it is.
        let factor = if codec == Codec::Gob { 2 } else { 5 };
        assert!(moved[1] * factor < moved[0], "{codec}: {moved:?}");
    }
    assert!(seen.load(Ordering::Relaxed));
}

/// A server made of bytes that reads one request on each of `deaths` connections and then closes them, and answers 7
/// on those that follow. Gives its address, and counts the requests.
async fn dying(deaths: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp@{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = Vec::new();
            while hello.last() != Some(&b'\n') {
                hello.push(stream.read_u8().await.unwrap());
            }
            let ack = crate::support::hello(Codec::Gob, Features::ALL.compressing(None));
            let mut raw = Raw::opened(stream, Framing::Farcall(Codec::Gob), Side::Server);
            raw.write(&ack).await;
            while let Some((header, _)) = raw.receive().await {
                counted.fetch_add(1, Ordering::Relaxed);
                if number < deaths {
                    break;
                }
                let reply = raw.message(&7_i64, |reply| reply.seq = header.seq);
                raw.write(&reply).await;
            }
        }
    });
    (address, requests)
}

#[tokio::test]
async fn an_idempotent_call_whose_connection_was_lost_is_made_once_more_and_others_are_not() {
    let (address, requests) = dying(1).await;
    let client = Client::connect(&address).await.unwrap();
    let error = soon(client.call::<i64>("Any.Thing", &()))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::Unavailable, Reached::Unknown)
    );
    assert_eq!(requests.load(Ordering::Relaxed), 1);

    for is_connected in [true, false] {
        let (address, requests) = dying(1).await;
        let client = Client::builder(address.parse().unwrap()).build();
        if is_connected {
            client.ready().await.unwrap();
        }
        let call = client.call::<i64>("Any.Thing", &()).idempotent();
        assert_eq!(soon(call.timeout(PATIENCE)).await.unwrap(), 7);
        assert_eq!(requests.load(Ordering::Relaxed), 2);
    }

    let (address, requests) = dying(usize::MAX).await;
    let client = Client::connect(&address).await.unwrap();
    let call = client.call::<i64>("Any.Thing", &()).idempotent();
    let error = soon(call).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::Unavailable, Reached::Unknown)
    );
    assert_eq!(
        requests.load(Ordering::Relaxed),
        2,
        "once more, and no more"
    );
}

#[tokio::test]
async fn a_cluster_makes_an_idempotent_call_on_each_server_until_one_answers() {
    let mut addresses = Vec::new();
    let mut counts = Vec::new();
    for _ in 0..3 {
        let (address, requests) = dying(usize::MAX).await;
        addresses.push(address);
        counts.push(requests);
    }
    let all = || {
        counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum::<usize>()
    };
    let cluster = Cluster::connect(&format!("static:{}", addresses.join(",")))
        .await
        .unwrap();
    let error = soon(cluster.call::<i64>("Any.Thing", &()))
        .await
        .unwrap_err();
    assert_eq!((error.reached(), all()), (Reached::Unknown, 1));
    let call = cluster.call::<i64>("Any.Thing", &()).idempotent();
    let error = soon(call).await.unwrap_err();
    assert_eq!(
        (error.reached(), all()),
        (Reached::Unknown, 1 + 3),
        "{error}"
    );

    let (well, _) = dying(0).await;
    addresses.push(well);
    let cluster = Cluster::connect(&format!("static:{}", addresses.join(",")))
        .await
        .unwrap();
    for _ in 0..10 {
        let call = cluster.call::<i64>("Any.Thing", &()).idempotent();
        assert_eq!(soon(call).await.unwrap(), 7);
    }
}
