//! What Go programs in whose footsteps farcall walks got wrong, one test a fault, named for what should hold.
//! Some of their faults are held to elsewhere: split handshakes in `handshake`, descriptors that run out and silent
//! connections in `limits`, shutdowns in `shutdown`, addresses in `unix`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use farcall::{Client, Code, Codec, Context, Error, Gob, Reached, Result, Server, ServerBuilder};
use farcall_wire::{Features, Framing, Side};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::support::{Give, Raw, Scripted, counts, hello, running, soon, until};

/// A value that can fail wherever a value's own code runs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Awkward(i64);

const GOOD: Awkward = Awkward(5);
const REFUSES: i64 = -1;
const PANICS: i64 = -2;
const REFUSES_TO_BE_READ: i64 = -3;
const PANICS_WHEN_READ: i64 = -4;

impl Awkward {
    fn written(self) -> std::result::Result<i64, &'static str> {
        match self.0 {
            REFUSES => Err("awkward: not this one"),
            PANICS => panic!("on purpose, while it is written"),
            number => Ok(number),
        }
    }

    fn read(number: i64) -> std::result::Result<Awkward, &'static str> {
        match number {
            REFUSES_TO_BE_READ => Err("awkward: not for me"),
            PANICS_WHEN_READ => panic!("on purpose, while it is read"),
            number => Ok(Awkward(number)),
        }
    }
}

impl Serialize for Awkward {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        // The failure comes behind a good part.
        let number = serde::ser::Error::custom;
        let mut pair = serializer.serialize_struct("Awkward", 2)?;
        serde::ser::SerializeStruct::serialize_field(&mut pair, "Before", "some text")?;
        let written = self.written().map_err(number)?;
        serde::ser::SerializeStruct::serialize_field(&mut pair, "Number", &written)?;
        serde::ser::SerializeStruct::end(pair)
    }
}

impl<'de> Deserialize<'de> for Awkward {
    fn deserialize<D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Awkward, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Pair {
            // Some codecs go by the order of members.
            before: String,
            number: i64,
        }
        let Pair { before, number } = Pair::deserialize(deserializer)?;
        assert_eq!(before, "some text");
        Awkward::read(number).map_err(serde::de::Error::custom)
    }
}

impl Gob for Awkward {
    fn describe(d: &mut farcall_gob::__private::Describer) -> farcall_gob::NodeId {
        i64::describe(d)
    }

    fn zero() -> Option<Awkward> {
        Some(Awkward(0))
    }

    fn put(
        &self,
        w: &mut farcall_gob::__private::Writer<'_>,
    ) -> std::result::Result<(), farcall_gob::Error> {
        self.written().map_err(farcall_gob::Error::refused)?.put(w)
    }

    fn get(
        r: &mut farcall_gob::__private::Reader<'_>,
        at: farcall_gob::__private::At<'_>,
    ) -> std::result::Result<Awkward, farcall_gob::Error> {
        Awkward::read(i64::get(r, at)?).map_err(farcall_gob::Error::refused)
    }
}

fn foo() -> ServerBuilder {
    Server::builder()
        .method("Foo.Double", |number: i64| async move { Ok(number * 2) })
        .method("Foo.Fail", |text: String| async move {
            Err::<(), _>(Error::from(text))
        })
        .method("Foo.Never", |_: ()| std::future::pending::<Result<()>>())
        .method("Foo.Awkward", |value: Awkward| async move { Ok(value) })
        .method("Foo.MakeAwkward", |number: i64| async move {
            Ok(Awkward(number))
        })
}

async fn served() -> Server {
    foo().bind("tcp@127.0.0.1:0").start().await.unwrap()
}

async fn connect(server: &Server, codec: Codec) -> Client {
    let builder = Client::builder(server.address().clone()).codec(codec);
    builder.connect().await.unwrap()
}

/// A client in memory, and a server that does what the test says.
async fn scripted(codec: Codec, pipe: usize) -> (Client, Raw<tokio::io::DuplexStream>) {
    let (ours, mut theirs) = duplex(pipe);
    let builder = Client::builder("tcp@h:1".parse().unwrap()).codec(codec);
    let answer = async {
        let mut hello = Vec::new();
        while hello.last() != Some(&b'\n') {
            hello.push(theirs.read_u8().await.unwrap());
        }
        theirs.write_all(&hello).await.unwrap();
    };
    let (client, ()) = soon(async { tokio::join!(builder.connect_on(ours), answer) }).await;
    let server = Raw::opened(theirs, Framing::Farcall(codec), Side::Server);
    (client.unwrap(), server)
}

// 1, 5
#[tokio::test]
async fn an_unknown_service_or_method_is_an_error_reply_and_the_stream_stays_in_step() {
    let server = served().await;
    let body: BTreeMap<String, Vec<String>> = (0..50)
        .map(|n| (format!("{n}"), vec!["x".repeat(n)]))
        .collect();
    for codec in Codec::ALL {
        let mut peer = Raw::connect(&server, codec, Features::default()).await;
        for (seq, method, says) in [
            (1, "Nope.Double", "rpc server: can't find service Nope"),
            (2, "Foo.Nope", "rpc server: can't find method Nope"),
            (
                3,
                "Foo",
                "rpc server: service/method request ill-formed: Foo",
            ),
            (4, "", "rpc server: service/method request ill-formed: "),
            (5, ".", "rpc server: can't find service "),
            (6, "Foo.", "rpc server: can't find method "),
        ] {
            peer.send(seq, method, &body).await;
            let (header, _) = peer.receive().await.unwrap();
            assert_eq!((header.seq, &header.error[..]), (seq, says));
            assert_eq!(header.service_method, method, "as the peer wrote it");
            peer.send(100 + seq, "Foo.Double", &(seq as i64)).await;
            assert_eq!(peer.reply::<i64>().await, (100 + seq, 2 * seq as i64));
        }
    }
}

// 2
#[tokio::test]
async fn options_of_the_user_are_used() {
    let server = served().await;
    for codec in Codec::ALL {
        let builder = Client::builder(server.address().clone()).codec(codec);
        let builder = builder.handle_timeout(Duration::from_millis(50));
        let client = builder.connect().await.unwrap();
        let error = soon(client.call::<()>("Foo.Never", &()).into_future()).await;
        let error = error.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (
                Code::DeadlineExceeded,
                "rpc server: request handle timeout: expect within 50ms"
            )
        );
        until(|| running(&server) == 0).await;

        let builder = Client::builder(server.address().clone()).codec(codec);
        let client = builder.call_timeout(Duration::from_millis(50)).build();
        let error = soon(client.call::<()>("Foo.Never", &()).into_future()).await;
        assert_eq!(error.unwrap_err().code(), Code::DeadlineExceeded);
    }
}

// 2
#[tokio::test]
async fn a_hostile_server_changes_no_option_of_later_clients() {
    let evil = b"{\"MagicNumber\":3927900,\"CodecType\":\"application/json\",\"ConnectTimeout\":1,\"HandleTimeout\":1}\n";
    let mut hellos = Vec::new();
    for _ in 0..2 {
        let (stream, written) = Scripted::new([Give::Bytes(evil.to_vec())]);
        let builder = Client::builder("tcp@h:1".parse().unwrap());
        builder.connect_on(stream).await.unwrap_err();
        hellos.push(written.all().await);
    }
    assert_eq!(hellos[0], hellos[1]);
    let text = String::from_utf8(hellos.remove(0)).unwrap();
    assert!(text.contains(
        "\"CodecType\":\"application/gob\",\"ConnectTimeout\":10000000000,\"HandleTimeout\":0"
    ));
}

// 3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reply_is_lost_when_the_handler_is_faster_than_the_waiter() {
    let builder = foo().handle_timeout(Duration::from_secs(60));
    let server = builder.bind("tcp@127.0.0.1:0").start().await.unwrap();
    for codec in Codec::ALL {
        let client = connect(&server, codec).await;
        for batch in 0..200 {
            let numbers = batch * 100..(batch + 1) * 100;
            let begin = |number: i64| client.go::<i64>("Foo.Double", number);
            let pending: Vec<_> = numbers.clone().map(begin).collect();
            for (number, pending) in numbers.zip(pending) {
                assert_eq!(soon(pending).await.unwrap(), 2 * number);
            }
        }
    }
}

// 4
#[tokio::test]
async fn a_handler_ends_with_its_timeout_its_caller_or_its_connection() {
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let ended = Arc::new(AtomicUsize::new(0));
    let ends = Arc::clone(&ended);
    let server = Server::builder()
        .method("Foo.Never", move |_: ()| {
            let ends = Ends(Arc::clone(&ends));
            async move {
                let _ends = ends;
                std::future::pending::<Result<()>>().await
            }
        })
        .handle_timeout(Duration::from_millis(100))
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    for codec in Codec::ALL {
        ended.store(0, Ordering::Relaxed);
        let mut peer = Raw::connect(&server, codec, Features::default()).await;
        peer.send(1, "Foo.Never", &()).await;
        let (header, _) = peer.receive().await.unwrap();
        assert!(header.error.contains("timeout"), "{}", header.error);
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        let client = connect(&server, codec).await;
        drop(client.go::<()>("Foo.Never", ()));
        until(|| ended.load(Ordering::Relaxed) == 2).await;
        let mut peer = Raw::connect(&server, codec, Features::ALL.compressing(None)).await;
        peer.send(1, "Foo.Never", &()).await;
        until(|| counts(&server, "Foo.Never").0 == 1).await;
        drop(peer);
        until(|| ended.load(Ordering::Relaxed) == 3).await;
    }
}

// 6
#[tokio::test(start_paused = true)]
async fn a_handler_that_took_too_long_has_timed_out_however_busy_the_machine_was() {
    let server = Server::builder()
        .method("Foo.Sleep", |(): ()| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(1_i64)
        })
        .handle_timeout(Duration::from_millis(600))
        .start()
        .await
        .unwrap();
    let (near, far) = duplex(4096);
    server.serve_stream(far, "a busy machine");
    let mut raw = Raw::open(near, Codec::Gob, Features::default()).await;
    raw.send(1, "Foo.Sleep", &()).await;
    until(|| running(&server) == 1).await;
    // Its task has a turn, and then nobody has one for two seconds.
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(2)).await;
    let (header, _) = raw.receive().await.unwrap();
    let says = "rpc server: request handle timeout: expect within 600ms";
    assert_eq!(header.error, says);
}

#[tokio::test]
async fn one_unencodable_argument_fails_that_call_alone() {
    let server = served().await;
    for codec in Codec::ALL {
        let client = connect(&server, codec).await;
        let bystander = client.go::<()>("Foo.Never", ());
        for bad in [REFUSES, PANICS] {
            let bad = Awkward(bad);
            let call = client.call::<Awkward>("Foo.Awkward", &bad);
            let error = soon(call.into_future()).await.unwrap_err();
            assert_eq!(
                (error.code(), error.reached()),
                (Code::InvalidArgument, Reached::NotSent),
                "{error}"
            );
            let call = client.call::<Awkward>("Foo.Awkward", &GOOD);
            assert_eq!(soon(call.into_future()).await.unwrap(), GOOD);
        }
        assert_eq!(client.in_flight(), 1);
        drop(bystander);
    }
}

// 6, 12
#[tokio::test]
async fn one_unencodable_reply_or_unreadable_argument_fails_that_call_alone() {
    let server = served().await;
    for codec in Codec::ALL {
        let client = connect(&server, codec).await;
        let bystander = client.go::<()>("Foo.Never", ());
        for (method, bad, code) in [
            ("Foo.MakeAwkward", REFUSES, Code::Internal),
            ("Foo.MakeAwkward", PANICS, Code::Internal),
            ("Foo.Awkward", REFUSES_TO_BE_READ, Code::InvalidArgument),
            ("Foo.Awkward", PANICS_WHEN_READ, Code::Internal),
        ] {
            let error = match method {
                "Foo.Awkward" => {
                    let args = Awkward(bad);
                    soon(client.call::<Awkward>(method, &args).into_future()).await
                }
                _ => soon(client.call::<Awkward>(method, &bad).into_future()).await,
            };
            let error = error.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert_eq!(error.reached(), Reached::Answered);
            let call = client.call::<Awkward>("Foo.Awkward", &GOOD);
            assert_eq!(soon(call.into_future()).await.unwrap(), GOOD);
        }
        assert_eq!(client.in_flight(), 1);
        drop(bystander);
        until(|| running(&server) == 0).await;
    }
}

// 7
#[tokio::test]
async fn a_caller_that_never_takes_its_reply_holds_up_nobody() {
    let server = served().await;
    for codec in Codec::ALL {
        let client = connect(&server, codec).await;
        let before = counts(&server, "Foo.Double").1;
        let begin = |number: i64| client.go::<i64>("Foo.Double", number);
        let untaken: Vec<_> = (0..1_000).map(begin).collect();
        until(|| counts(&server, "Foo.Double").1 == before + 1_000).await;
        for number in 0..100_i64 {
            let call = client.call::<i64>("Foo.Double", &number);
            assert_eq!(soon(call.into_future()).await.unwrap(), 2 * number);
        }
        assert_eq!(client.in_flight(), 0);
        drop(untaken);
    }
}

// 8
#[tokio::test]
async fn percent_signs_in_error_texts_arrive_unchanged() {
    let server = served().await;
    for codec in Codec::ALL {
        let client = connect(&server, codec).await;
        for text in [
            "100% of %d",
            "%s%n%%",
            "%!o(MISSING)",
            "{} {0}",
            "line\nline\0",
        ] {
            let text = text.to_owned();
            let error = client.call::<()>("Foo.Fail", &text).await.unwrap_err();
            assert_eq!((error.code(), error.message()), (Code::Failed, &text[..]));
        }
    }
}

// 9
#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_the_peer_does_not_read() {
    for codec in Codec::ALL {
        let (client, server) = scripted(codec, 1 << 10).await;
        let args = vec![1_u8; 400 << 10];
        let begin = |_| client.go::<()>("Foo.Take", args.clone());
        // The first fill what may be queued, the others wait for room.
        let stuck: Vec<_> = (0..8).map(begin).collect();
        let begun = tokio::time::Instant::now();
        let call = client.call::<()>("Foo.Take", &args);
        let error = call.timeout(Duration::from_millis(500)).await.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert_eq!(error.reached(), Reached::NotSent);
        let took = begun.elapsed().as_millis();
        assert!((500..=501).contains(&took), "{took} ms");
        drop((stuck, server));
    }
}

// 9
#[tokio::test(start_paused = true)]
async fn deadlines_go_by_the_clock_that_tests_can_pause() {
    let server = foo().start().await.unwrap();
    for codec in Codec::ALL {
        let (ours, theirs) = duplex(64 << 10);
        server.serve_stream(theirs, "the client");
        let builder = Client::builder("tcp@h:1".parse().unwrap()).codec(codec);
        let client = builder.connect_on(ours).await.unwrap();
        tokio::time::advance(Duration::from_secs(3600)).await;
        let begun = tokio::time::Instant::now();
        let call = client.call::<()>("Foo.Never", &());
        let error = call.timeout(Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert_eq!(begun.elapsed().as_secs(), 60);
    }
}

// 10
#[tokio::test]
async fn all_pending_calls_end_with_one_stable_error_when_the_connection_ends() {
    for codec in Codec::ALL {
        let (client, mut server) = scripted(codec, 64 << 10).await;
        let begin = |number: i64| client.go::<i64>("Foo.Double", number);
        let pending: Vec<_> = (0..100).map(begin).collect();
        for _ in 0..100 {
            server.receive().await.unwrap();
        }
        drop(server);
        for pending in pending {
            let error = soon(pending).await.unwrap_err();
            assert_eq!(
                (error.code(), error.reached()),
                (Code::Unavailable, Reached::Unknown)
            );
            assert!(
                error
                    .message()
                    .starts_with("the connection to tcp@h:1 ended: ")
            );
        }
        assert_eq!(client.in_flight(), 0);
        assert!(!client.is_connected());
    }
}

// 10
#[tokio::test]
async fn replies_that_are_late_twice_or_to_no_call_reach_nobody() {
    for codec in Codec::ALL {
        let (client, mut server) = scripted(codec, 64 << 10).await;
        drop(client.go::<String>("Foo.Name", ()));
        let wanted = client.go::<String>("Foo.Name", ());
        assert_eq!(server.receive().await.unwrap().0.seq, 1);
        assert_eq!(
            server.receive().await.unwrap().0.kind,
            farcall_wire::Kind::Cancel
        );
        assert_eq!(server.receive().await.unwrap().0.seq, 2);
        for (seq, text) in [
            (1, "late"),
            (3, "early"),
            (u64::MAX, "never"),
            (0, "never"),
            (2, "mine"),
            (2, "twice"),
        ] {
            let bytes = server.message(&text.to_owned(), |header| header.seq = seq);
            server.write(&bytes).await;
        }
        assert_eq!(soon(wanted).await.unwrap(), "mine");
        let next = client.go::<String>("Foo.Name", ());
        assert_eq!(server.receive().await.unwrap().0.seq, 3);
        let bytes = server.message(&"next".to_owned(), |header| header.seq = 3);
        server.write(&bytes).await;
        assert_eq!(soon(next).await.unwrap(), "next");
    }
}

// 11
#[tokio::test]
async fn maps_and_lists_are_replies_like_any_other() {
    let server = Server::builder()
        .method("Make.Map", |count: i64| async move {
            let pairs = (0..count).map(|number| (format!("key {number}"), number));
            Ok(pairs.collect::<BTreeMap<String, i64>>())
        })
        .method("Make.List", |count: i64| async move {
            Ok((0..count)
                .map(|number| number.to_string())
                .collect::<Vec<String>>())
        })
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    for codec in Codec::ALL {
        let client = connect(&server, codec).await;
        for count in [0_i64, 1, 1_000] {
            let map: BTreeMap<String, i64> = client.call("Make.Map", &count).await.unwrap();
            assert_eq!(map.len() as i64, count);
            let list: Vec<String> = client.call("Make.List", &count).await.unwrap();
            assert_eq!(list.len() as i64, count);
        }
    }
}

// 12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panicking_handler_is_one_error_reply_wherever_it_panics() {
    let server = Server::builder()
        .method("Panic.AtOnce", |yes: bool| {
            assert!(!yes, "on purpose");
            async move { Ok(()) }
        })
        .method("Panic.First", |yes: bool| async move {
            assert!(!yes, "on purpose");
            Ok(())
        })
        .method("Panic.Later", |yes: bool| async move {
            tokio::task::yield_now().await;
            assert!(!yes, "on purpose");
            Ok(())
        })
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    for codec in Codec::ALL {
        let client = connect(&server, codec).await;
        for method in ["Panic.AtOnce", "Panic.First", "Panic.Later"] {
            for _ in 0..20 {
                let error = client.call::<()>(method, &true).await.unwrap_err();
                assert_eq!(
                    (error.code(), error.message()),
                    (Code::Internal, "rpc server: the handler panicked")
                );
                client.call::<()>(method, &false).await.unwrap();
            }
        }
    }
    until(|| running(&server) == 0).await;
}

// 15
#[tokio::test]
async fn requests_behind_the_opening_in_the_same_packet_are_answered() {
    let server = served().await;
    for codec in Codec::ALL {
        let mut client = Raw::opened((), Framing::Farcall(codec), Side::Client);
        let mut bytes = hello(codec, Features::default());
        bytes.extend(client.request(1, "Foo.Double", &21_i64));
        let (stream, written) = Scripted::pieces([&bytes[..]]);
        server.serve_stream(stream, "one packet");
        let back = written.all().await;
        let (replies, _) = Scripted::pieces([&back[hello(codec, Features::default()).len()..]]);
        let mut replies = Raw::opened(replies, Framing::Farcall(codec), Side::Client);
        assert_eq!(replies.reply::<i64>().await, (1, 42));
    }
}

// 16
#[tokio::test]
async fn two_servers_live_in_one_process_and_know_nothing_of_each_other() {
    let named = |name: &'static str| {
        Server::builder()
            .method("Who.Am", move |_: ()| async move { Ok(name.to_owned()) })
            .bind("http@127.0.0.1:0")
            .start()
    };
    let (first, second) = (
        named("first").await.unwrap(),
        named("second").await.unwrap(),
    );
    for (server, name) in [(&first, "first"), (&second, "second")] {
        for address in [server.address().clone(), crate::support::over_http(server)] {
            let client = Client::builder(address).connect().await.unwrap();
            let reply: String = client.call("Who.Am", &()).await.unwrap();
            assert_eq!(reply, name);
        }
        assert_eq!(counts(server, "Who.Am").1, 2);
    }
}

// 25
#[tokio::test]
async fn the_seq_zero_of_net_rpc_is_a_call_like_any_other() {
    let server = served().await;
    let (ours, theirs) = duplex(64 << 10);
    server.serve_stream(theirs, "a Go program");
    let mut peer = Raw::opened(ours, Framing::NetRpc, Side::Client);
    for seq in 0..3 {
        peer.send(seq, "Foo.Double", &21_i64).await;
        assert_eq!(peer.reply::<i64>().await, (seq, 42));
    }
    // A client of ours counts from zero, too.
    let place = crate::support::place(&server);
    let client = Client::connect(&format!("netrpc+tcp@{place}"))
        .await
        .unwrap();
    assert_eq!(client.call::<i64>("Foo.Double", &4_i64).await.unwrap(), 8);
}

#[tokio::test]
async fn a_handler_knows_its_caller_and_what_came_along() {
    let server = Server::builder()
        .method("Who.Calls", |context: Context, _: ()| async move {
            let left = context
                .time_left()
                .is_some_and(|left| left <= Duration::from_secs(9));
            Ok(format!("{:?} {left}", context.metadata("tenant")))
        })
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    for codec in Codec::ALL {
        let client = connect(&server, codec).await;
        let call = client.call::<String>("Who.Calls", &());
        let call = call.metadata("tenant", "7").timeout(Duration::from_secs(9));
        assert_eq!(call.await.unwrap(), "Some(\"7\") true");
        let call = client.call::<String>("Who.Calls", &());
        assert_eq!(call.await.unwrap(), "None false");
    }
}
