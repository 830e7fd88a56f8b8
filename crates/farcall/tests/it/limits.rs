//! What one peer can make a server hold, and that nobody else pays for it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use farcall::{
    Client, Code, Codec, Limits, Method, Reached, Result, Server, ServerBuilder, Service,
};
use farcall_wire::Features;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Semaphore;

use crate::support::{Log, PATIENCE, Raw, counts, place, running, soon, to_end, until};

const MEGABYTE: usize = 1 << 20;

/// Lets everything happen that can happen by itself: paused time only goes on when all tasks wait.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A server in memory whose `Gate.Wait` replies when the gate lets it.
async fn gated(builder: ServerBuilder) -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let server = builder
        .method("Gate.Wait", move |number: i64| {
            let waits = Arc::clone(&waits);
            async move {
                waits.acquire().await.unwrap().forget();
                Ok(number)
            }
        })
        .method("Gate.Pass", |number: i64| async move { Ok(number) })
        .method("Gate.Never", |_: ()| std::future::pending::<Result<()>>())
        .method("Large.Now", |_: ()| async move { Ok(vec![7_u8; MEGABYTE]) })
        .method("Large.Later", |_: ()| async move {
            tokio::task::yield_now().await;
            Ok(vec![7_u8; MEGABYTE])
        })
        .method("Take.Bytes", |bytes: Vec<u8>| async move {
            Ok(bytes.len() as u64)
        });
    (server.start().await.unwrap(), gate)
}

async fn peer(server: &Server, codec: Codec, features: Features) -> Raw<DuplexStream> {
    let (ours, theirs) = duplex(64 << 10);
    server.serve_stream(theirs, "the peer");
    Raw::open(ours, codec, features).await
}

async fn client(server: &Server, codec: Codec) -> Client {
    let (ours, theirs) = duplex(64 << 10);
    server.serve_stream(theirs, "the client");
    let builder = Client::builder("tcp@h:1".parse().unwrap()).codec(codec);
    builder.connect_on(ours).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_not_read_from_and_closed_in_the_end() {
    for codec in Codec::ALL {
        for method in ["Large.Now", "Large.Later"] {
            let (server, _gate) = gated(Server::builder().in_flight_max(8)).await;
            let other = client(&server, codec).await;
            let mut peer = peer(&server, codec, Features::ALL.compressing(None)).await;
            let mut requests = Vec::new();
            for seq in 1..=400 {
                requests.extend(peer.request(seq, method, &()));
            }
            assert!(requests.len() < 64 << 10, "it fits into one read");
            peer.write(&requests).await;
            let begun = tokio::time::Instant::now();
            settle().await;
            let (running, ended) = counts(&server, method);
            assert!(running + ended <= 10, "{running} and {ended} of {method}");
            assert_eq!(other.call::<i64>("Gate.Pass", &3_i64).await.unwrap(), 3);

            // Nobody reads for ten seconds: then there is an end, with what the pipe holds before it.
            until_ended(&server, method, ended).await;
            assert!(begun.elapsed() < Duration::from_secs(12), "{begun:?}");
            let mut rest = Vec::new();
            soon(peer.stream.read_to_end(&mut rest)).await.unwrap();
            assert!(rest.len() <= 64 << 10);
            assert_eq!(other.call::<i64>("Gate.Pass", &4_i64).await.unwrap(), 4);
        }
    }
}

/// Waits until nothing of a method runs any more. The end of the connection is what the time is for.
async fn until_ended(server: &Server, method: &str, ended: u64) {
    tokio::time::sleep(Duration::from_secs(11)).await;
    let (running, now) = counts(server, method);
    assert_eq!(running, 0);
    assert!(now <= ended + 10, "{now} calls of {method} ran");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_again_gets_every_reply() {
    for codec in Codec::ALL {
        let (server, _gate) = gated(Server::builder()).await;
        let mut peer = peer(&server, codec, Features::default()).await;
        let mut requests = Vec::new();
        for seq in 1..=40 {
            requests.extend(peer.request(seq, "Large.Now", &()));
        }
        peer.write(&requests).await;
        settle().await;
        for seq in 1..=40 {
            let (replied, bytes) = peer.reply::<Vec<u8>>().await;
            assert_eq!((replied, bytes.len()), (seq, MEGABYTE));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_of_a_connection_run_than_allowed() {
    for codec in Codec::ALL {
        let (server, gate) = gated(Server::builder().in_flight_max(3)).await;
        let other = client(&server, codec).await;
        let mut peer = peer(&server, codec, Features::default()).await;
        for seq in 1..=10 {
            peer.send(seq, "Gate.Wait", &(seq as i64)).await;
        }
        for left in (0..=10_u64).rev() {
            settle().await;
            assert_eq!(running(&server), left.min(3));
            assert_eq!(other.call::<i64>("Gate.Pass", &1_i64).await.unwrap(), 1);
            gate.add_permits(1);
        }
        let mut seqs = Vec::new();
        for _ in 1..=10 {
            seqs.push(peer.reply::<i64>().await.0);
        }
        seqs.sort_unstable();
        assert_eq!(seqs, Vec::from_iter(1..=10));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_dropped_never_block_their_connection() {
    for codec in Codec::ALL {
        let (server, _gate) = gated(Server::builder().in_flight_max(4)).await;
        let client = client(&server, codec).await;
        let pending: Vec<_> = (0..20).map(|_| client.go::<()>("Gate.Never", ())).collect();
        let other = client.clone();
        let waits = tokio::spawn(async move { other.call::<i64>("Gate.Pass", &3_i64).await });
        settle().await;
        assert_eq!(running(&server), 4, "the others wait at the client");
        assert!(!waits.is_finished());
        drop(pending);
        assert_eq!(soon(waits).await.unwrap().unwrap(), 3);
        settle().await;
        assert_eq!((running(&server), client.in_flight()), (0, 0));
        assert_eq!(counts(&server, "Gate.Never").1, 4, "the others never began");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_await_their_turn_outlive_any_patience_with_the_network() {
    for codec in Codec::ALL {
        let builder = Server::builder().in_flight_max(2);
        let builder = builder.method("Slow.Take", |bytes: Vec<u8>| async move {
            tokio::time::sleep(Duration::from_secs(15)).await;
            Ok(bytes.len() as u64)
        });
        let (server, _gate) = gated(builder).await;
        let client = client(&server, codec).await;
        let begin = |_| client.go::<u64>("Slow.Take", vec![1_u8; 200 << 10]);
        let pending: Vec<_> = (0..20).map(begin).collect();
        for pending in pending {
            assert_eq!(pending.await.unwrap(), 200 << 10);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_awaits_its_turn_ends_at_its_deadline_and_moves_with_its_client() {
    let (server, gate) = gated(Server::builder().in_flight_max(1)).await;
    let client = client(&server, Codec::Gob).await;
    let running = client.go::<i64>("Gate.Wait", 1_i64);
    settle().await;
    let call = client.call::<i64>("Gate.Pass", &2_i64);
    let error = call.timeout(Duration::from_secs(30)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::DeadlineExceeded, Reached::NotSent)
    );
    let waits = client.go::<i64>("Gate.Pass", 2_i64);
    settle().await;
    client.close();
    let error = soon(waits).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::Cancelled, Reached::NotSent)
    );
    gate.add_permits(1);
    assert_eq!(soon(running).await.unwrap(), 1);
}

#[tokio::test]
async fn a_cancelled_handler_keeps_its_place_until_it_ends() {
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let inside = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&inside);
    let method = Method::new("Block", move |_, number: i64| {
        let (released, inside) = (Arc::clone(&released), Arc::clone(&counts));
        async move {
            inside.fetch_add(1, Ordering::SeqCst);
            let _ = released.lock().unwrap().recv();
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(number)
        }
    });
    let server = Server::builder()
        .register(Service::new("Thread").with(method.blocking()))
        .in_flight_max(3)
        .start()
        .await
        .unwrap();
    let mut peer = peer(&server, Codec::Gob, Features::ALL.compressing(None)).await;
    for seq in 1..=3 {
        peer.send(seq, "Thread.Block", &(seq as i64)).await;
    }
    until(|| inside.load(Ordering::SeqCst) == 3).await;
    let mut bytes = Vec::new();
    for seq in 1..=100 {
        if seq > 3 {
            bytes.extend(peer.request(seq, "Thread.Block", &(seq as i64)));
        }
        bytes.extend(peer.message(&(), |header| {
            header.seq = seq;
            header.kind = farcall_wire::Kind::Cancel;
        }));
    }
    bytes.extend(peer.request(101, "Thread.Block", &101_i64));
    peer.write(&bytes).await;
    let last = tokio::spawn(async move {
        while peer.reply::<i64>().await.0 != 101 {}
        peer
    });
    while !last.is_finished() {
        let inside = inside.load(Ordering::SeqCst);
        assert!(inside <= 3, "{inside} threads at a time");
        assert!(running(&server) <= 3);
        let _ = release.send(());
        tokio::task::yield_now().await;
    }
    drop(release);
    let _peer = soon(last).await.unwrap();
    until(|| running(&server) == 0).await;
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection_with_its_reason() {
    for codec in Codec::ALL {
        let log = Log::start();
        let limits = Limits {
            message_len_max: 10_000,
            ..Limits::default()
        };
        let (server, _gate) = gated(Server::builder().limits(limits.clone())).await;
        let other = client(&server, codec).await;
        let sender = client(&server, codec).await;
        let small = vec![0_u8; 5_000];
        let call = sender.call::<u64>("Take.Bytes", &small);
        assert_eq!(call.await.unwrap(), 5_000);
        let large = vec![0_u8; 20_000];
        let call = sender.call::<u64>("Take.Bytes", &large);
        let error = soon(call.into_future()).await.unwrap_err();
        assert_eq!(
            (error.code(), error.reached()),
            (Code::Unavailable, Reached::Unknown)
        );
        until(|| !log.warnings("the client").is_empty()).await;
        let lines = log.warnings("the client");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("10000"), "{lines:?}");
        assert_eq!(other.call::<i64>("Gate.Pass", &3_i64).await.unwrap(), 3);

        // The other way round the client knows why.
        let (server, _gate) = gated(Server::builder()).await;
        let (ours, theirs) = duplex(64 << 10);
        server.serve_stream(theirs, "the client");
        let builder = Client::builder("tcp@h:1".parse().unwrap());
        let builder = builder.codec(codec).limits(limits);
        let client = builder.connect_on(ours).await.unwrap();
        let call = client.call::<Vec<u8>>("Large.Now", &());
        let error = soon(call.into_future()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        let text = error.to_string();
        assert!(text.contains("10000"), "{text}");
        assert!(text.contains("tcp@h:1"), "{text}");
    }
}

#[tokio::test]
async fn an_idle_connection_that_said_half_a_message_holds_only_what_it_sent() {
    let (server, _gate) = gated(Server::builder()).await;
    let mut peer = peer(&server, Codec::Gob, Features::default()).await;
    // A length of 3 MiB, and three bytes of it.
    peer.write(&[0xfd, 0x30, 0, 0, 1, 2, 3]).await;
    let other = client(&server, Codec::Gob).await;
    assert_eq!(other.call::<i64>("Gate.Pass", &3_i64).await.unwrap(), 3);
    peer.stream.shutdown().await.unwrap();
    assert!(to_end(&mut peer.stream).await.is_empty());
}

/// Set in the child that a test starts of itself, where descriptors are scarce.
const SCARCE: &str = "FARCALL_TEST_SCARCE";

/// The child: serves until its standard input ends.
async fn serve_with_scarce_descriptors() {
    let server = Server::builder()
        .method("Echo.Int", |number: i64| async move { Ok(number) })
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", server.address()).unwrap();
    out.flush().unwrap();
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    wait.await.unwrap().unwrap();
}

/// Ends the child, however the test ends.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_server_without_descriptors_accepts_again_when_there_are_some() {
    if std::env::var_os(SCARCE).is_some() {
        return serve_with_scarce_descriptors().await;
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 40 && exec \"$@\"", "sh"]);
    shell.arg(std::env::current_exe().unwrap());
    let this = "limits::a_server_without_descriptors_accepts_again_when_there_are_some";
    shell
        .args(["--exact", "--nocapture", this])
        .env(SCARCE, "1");
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Child(shell.spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut lines = lines.map(|line| line.unwrap());
    let address = lines
        .find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()))
        .unwrap();
    let open = Client::connect(&address).await.unwrap();

    for _ in 0..3 {
        let place = address.trim_start_matches("tcp@");
        let mut greedy = Vec::new();
        for _ in 0..80 {
            greedy.push(tokio::net::TcpStream::connect(place).await.unwrap());
        }
        // The listener has none left: a newcomer's handshake gets no answer, and the open connection goes on.
        let newcomer = Client::builder(address.parse().unwrap());
        let newcomer = newcomer.connect_timeout(Duration::from_millis(300));
        let error = newcomer.connect().await.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        for number in 0..100_i64 {
            let reply: i64 = open.call("Echo.Int", &number).await.unwrap();
            assert_eq!(reply, number);
        }
        drop(greedy);
        let late = soon(Client::connect(&address)).await.unwrap();
        assert_eq!(late.call::<i64>("Echo.Int", &7_i64).await.unwrap(), 7);
    }
    drop(child.0.stdin.take());
    let ended = tokio::task::spawn_blocking(move || child.0.wait());
    assert!(soon(ended).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let builder = Server::builder()
        .method("Echo.Int", |number: i64| async move { Ok(number) })
        .handshake_timeout(Duration::from_millis(200))
        .bind("tcp@127.0.0.1:0");
    let server = builder.start().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..200 {
        let connected = tokio::net::TcpStream::connect(place(&server)).await;
        silent.push(connected.unwrap());
    }
    for stream in &mut silent {
        assert!(to_end(stream).await.is_empty());
    }
    let client = Client::builder(server.address().clone()).connect().await;
    let reply: i64 = client.unwrap().call("Echo.Int", &7_i64).await.unwrap();
    assert_eq!(reply, 7);
    assert!(soon(server.shutdown(PATIENCE)).await);
}

#[tokio::test(start_paused = true)]
async fn a_peer_may_be_silent_between_messages_but_not_within_one() {
    let echo = |number: i64| async move { Ok(number) };
    let server = Server::builder()
        .method("Echo.Int", echo)
        .start()
        .await
        .unwrap();
    let (mut peer, theirs) = duplex(1 << 16);
    server.serve_stream(theirs, "the client");
    let hello = b"{\"MagicNumber\":3927900,\"CodecType\":\"application/json\"}\n";
    peer.write_all(hello).await.unwrap();
    let mut peer = tokio::io::BufReader::new(peer);
    let mut line = String::new();
    peer.read_line(&mut line).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;

    let request = "{\"ServiceMethod\":\"Echo.Int\",\"Seq\":1}\n7\n";
    peer.write_all(request.as_bytes()).await.unwrap();
    line.clear();
    peer.read_line(&mut line).await.unwrap();
    assert!(line.contains("\"Seq\":1"), "{line}");

    let begun = tokio::time::Instant::now();
    let half = request.split_at(20).0;
    peer.write_all(half.as_bytes()).await.unwrap();
    peer.read_to_end(&mut Vec::new()).await.unwrap();
    let silence = begun.elapsed();
    assert!((60..65).contains(&silence.as_secs()), "{silence:?}");
}

#[tokio::test]
async fn a_server_takes_exactly_as_many_connections_as_it_may() {
    for listeners in [1, 3] {
        let mut builder = Server::builder().connections_max(2);
        for _ in 0..listeners {
            builder = builder.bind("tcp@127.0.0.1:0");
        }
        let server = builder.start().await.unwrap();
        let connect = || Client::builder(server.address().clone()).connect();
        let first = connect().await.unwrap();
        let second = connect().await.unwrap();
        let error = connect().await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(first.is_connected() && second.is_connected());
        drop(first);
        // Its place is free when the server has seen it go.
        soon(async { while connect().await.is_err() {} }).await;
    }
}

#[tokio::test]
async fn calls_that_wait_for_a_place_begin_in_turn() {
    const TASKS: usize = 8;
    const CALLS: usize = 50 * TASKS;
    let (server, _gate) = gated(Server::builder().in_flight_max(1)).await;
    let client = client(&server, Codec::Gob).await;
    let (done, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (client, done) = (client.clone(), done.clone());
        tasks.spawn(async move {
            // Whoever has its reply calls again at once, and must not go before those who wait.
            while client.call::<i64>("Gate.Pass", &3_i64).await.is_ok() {
                if done.send(task).is_err() {
                    return;
                }
            }
        });
    }
    let mut calls = [0; TASKS];
    for _ in 0..CALLS {
        calls[soon(ended.recv()).await.unwrap()] += 1;
    }
    tasks.shutdown().await;
    assert!(
        calls.iter().all(|calls| *calls >= CALLS / TASKS / 2),
        "{calls:?}"
    );
}
