//! How servers, clients and connections end: what runs is finished, nothing lingers, nobody is left waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use farcall::{Address, Client, Code, Codec, Reached, Server};
use farcall_wire::Features;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::support::{PATIENCE, Raw, counts, place, running, soon, to_end, until};

/// A server whose `Gate.Wait` replies once the gate is opened.
async fn gated(bind: &str) -> (Server, Arc<Notify>) {
    let gate = Arc::new(Notify::new());
    let waits = Arc::clone(&gate);
    let server = Server::builder()
        .method("Gate.Wait", move |number: i64| {
            let waits = Arc::clone(&waits);
            async move {
                waits.notified().await;
                Ok(number)
            }
        })
        .method("Gate.Pass", |number: i64| async move { Ok(number) })
        .method("Gate.Never", |_: ()| {
            std::future::pending::<farcall::Result<()>>()
        })
        .bind(bind)
        .start()
        .await
        .unwrap();
    (server, gate)
}

const ANY: &str = "tcp@127.0.0.1:0";

async fn connect(server: &Server, codec: Codec) -> Client {
    let builder = Client::builder(server.address().clone()).codec(codec);
    builder.connect().await.unwrap()
}

#[tokio::test]
async fn a_shutdown_finishes_what_runs_and_ends_before_its_grace() {
    for codec in Codec::ALL {
        let (server, gate) = gated(ANY).await;
        let client = connect(&server, codec).await;
        let pending = client.go::<i64>("Gate.Wait", 7_i64);
        until(|| counts(&server, "Gate.Wait").0 == 1).await;
        let shutdown = tokio::spawn(server.shutdown(PATIENCE));
        until(|| !client.is_connected()).await;
        gate.notify_one();
        assert_eq!(soon(pending).await.unwrap(), 7);
        assert!(soon(shutdown).await.unwrap(), "{codec}");
    }
}

#[tokio::test]
async fn a_reply_that_nobody_takes_does_not_hold_up_a_shutdown() {
    let (server, gate) = gated(ANY).await;
    let client = connect(&server, Codec::Gob).await;
    let pending = client.go::<i64>("Gate.Wait", 7_i64);
    until(|| counts(&server, "Gate.Wait").0 == 1).await;
    gate.notify_one();
    let shutdown = server.shutdown(PATIENCE);
    assert!(soon(shutdown).await);
    assert_eq!(pending.await.unwrap(), 7);
}

#[tokio::test]
async fn a_shutdown_answers_peers_that_cannot_be_told_of_it() {
    for codec in Codec::ALL {
        let (server, gate) = gated(ANY).await;
        let mut peer = Raw::connect(&server, codec, Features::default()).await;
        peer.send(1, "Gate.Wait", &7_i64).await;
        until(|| counts(&server, "Gate.Wait").0 == 1).await;
        let shutdown = tokio::spawn(server.shutdown(PATIENCE));
        gate.notify_one();
        assert_eq!(peer.reply::<i64>().await, (1, 7));
        assert!(
            peer.receive().await.is_none(),
            "the server closes, and says nothing that the peer does not know"
        );
        drop(peer);
        assert!(soon(shutdown).await.unwrap());
    }
}

#[tokio::test]
async fn a_shutdown_is_not_held_up_by_connections_that_carry_no_calls() {
    let (server, _gate) = gated(ANY).await;
    let silent = TcpStream::connect(place(&server)).await.unwrap();
    let mut half = TcpStream::connect(place(&server)).await.unwrap();
    half.write_all(b"{\"MagicNumber\":39279").await.unwrap();
    let mut connect = TcpStream::connect(place(&server)).await.unwrap();
    connect.write_all(b"CONNECT /_tinyrpc_ HT").await.unwrap();
    let idle = self::connect(&server, Codec::Gob).await;
    let tiny = Raw::connect(&server, Codec::Gob, Features::default()).await;
    let begun = Instant::now();
    assert!(soon(server.shutdown(Duration::from_secs(8))).await);
    assert!(begun.elapsed() < Duration::from_secs(5), "{begun:?}");
    drop((silent, half, connect, idle, tiny));
}

#[tokio::test]
async fn a_handler_longer_than_the_grace_is_stopped_and_its_caller_told() {
    let (server, _gate) = gated(ANY).await;
    let client = connect(&server, Codec::Gob).await;
    let pending = client.go::<()>("Gate.Never", ());
    until(|| running(&server) == 1).await;
    let begun = Instant::now();
    assert!(!soon(server.shutdown(Duration::from_millis(100))).await);
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let error = soon(pending).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::Unavailable, Reached::Unknown)
    );
}

/// Forwards each connection to the server that is current when it comes, so that there is one at any time.
async fn front(current: watch::Receiver<String>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::tcp(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let to = current.borrow().clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_move_to_the_next_server_without_a_failed_call() {
    let served = Arc::new(AtomicUsize::new(0));
    let start = || async {
        let served = Arc::clone(&served);
        let server = Server::builder().method("Who.Am", move |number: i64| {
            let served = Arc::clone(&served);
            async move {
                tokio::task::yield_now().await;
                served.fetch_add(1, Ordering::Relaxed);
                Ok(number + 1)
            }
        });
        server.bind(ANY).start().await.unwrap()
    };
    let mut server = start().await;
    let (current, watched) = watch::channel(place(&server));
    let address = front(watched).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for codec in Codec::ALL.into_iter().cycle().take(8) {
        let client = Client::builder(address.clone()).codec(codec).build();
        let stop = Arc::clone(&stop);
        callers.push(tokio::spawn(async move {
            let mut made = 0;
            while !stop.load(Ordering::Relaxed) {
                let reply: i64 = client.call("Who.Am", &made).await.unwrap();
                made += 1;
                assert_eq!(reply, made);
            }
        }));
    }
    for _ in 0..20 {
        let before = served.load(Ordering::Relaxed);
        until(|| served.load(Ordering::Relaxed) > before + 200).await;
        let next = start().await;
        current.send_replace(place(&next));
        let last = std::mem::replace(&mut server, next);
        assert!(soon(last.shutdown(PATIENCE)).await);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        soon(caller).await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_server_ends_its_connections_and_handlers() {
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let ended = Arc::new(AtomicUsize::new(0));
    let ends = Arc::clone(&ended);
    let server = Server::builder()
        .method("Gate.Never", move |_: ()| {
            let ends = Ends(Arc::clone(&ends));
            async move {
                let _ends = ends;
                std::future::pending::<farcall::Result<()>>().await
            }
        })
        .bind(ANY)
        .start()
        .await
        .unwrap();
    let place = place(&server);
    let client = connect(&server, Codec::Gob).await;
    let pending = client.go::<()>("Gate.Never", ());
    let mut raw = Raw::connect(&server, Codec::Json, Features::default()).await;
    raw.send(1, "Gate.Never", &()).await;
    until(|| running(&server) == 2).await;
    drop(server);
    let error = soon(pending).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(raw.receive().await.is_none());
    until(|| ended.load(Ordering::Relaxed) == 2).await;
    soon(async {
        // The task that accepts ends when it is next polled.
        while TcpStream::connect(&place).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_last_handle_of_a_client_closes_its_connection() {
    for codec in Codec::ALL {
        let (server, gate) = gated(ANY).await;
        let (client_end, mut server_end) = tokio::io::duplex(1 << 16);
        // The server's end, seen from between the two.
        let (relay, far) = tokio::io::duplex(1 << 16);
        server.serve_stream(far, "the test");
        let closed = Arc::new(Notify::new());
        let closes = Arc::clone(&closed);
        tokio::spawn(async move {
            let (mut from_server, mut to_server) = tokio::io::split(relay);
            let (mut from_client, mut to_client) = tokio::io::split(&mut server_end);
            let up = async {
                tokio::io::copy(&mut from_client, &mut to_server)
                    .await
                    .unwrap();
                closes.notify_one();
                to_server.shutdown().await.unwrap();
            };
            let down = tokio::io::copy(&mut from_server, &mut to_client);
            let _ = tokio::join!(up, down);
        });
        let address = "127.0.0.1:1".parse().unwrap();
        let builder = Client::builder(address).codec(codec);
        let client = soon(builder.connect_on(client_end)).await.unwrap();
        let clone = client.clone();
        let pending = client.go::<i64>("Gate.Wait", 5_i64);
        drop((client, clone));
        until(|| counts(&server, "Gate.Wait").0 == 1).await;
        gate.notify_one();
        assert_eq!(
            soon(pending).await.unwrap(),
            5,
            "a call outlives its client"
        );
        soon(closed.notified()).await;
    }
}

#[tokio::test]
async fn a_closed_client_finishes_its_calls_and_makes_no_others() {
    let (server, gate) = gated(ANY).await;
    let client = connect(&server, Codec::Gob).await;
    let pending = client.go::<i64>("Gate.Wait", 5_i64);
    until(|| counts(&server, "Gate.Wait").0 == 1).await;
    client.close();
    let error = client.call::<i64>("Gate.Pass", &1_i64).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::Cancelled, Reached::NotSent)
    );
    gate.notify_one();
    assert_eq!(soon(pending).await.unwrap(), 5);
    assert!(soon(server.shutdown(PATIENCE)).await);
}

#[tokio::test]
async fn a_call_whose_deadline_passes_is_the_last_to_hold_a_closed_client() {
    let (server, _gate) = gated(ANY).await;
    let mut peer = None;
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let address = "127.0.0.1:1".parse().unwrap();
    let builder = Client::builder(address);
    let answer = async {
        // A server that only shakes hands.
        let mut theirs = theirs;
        let len = crate::support::hello(Codec::Gob, Features::ALL.compressing(None)).len();
        let mut hello = Vec::new();
        while hello.last() != Some(&b'\n') {
            tokio::io::AsyncReadExt::read_buf(&mut theirs, &mut hello)
                .await
                .unwrap();
        }
        assert!(hello.len() >= len);
        theirs.write_all(&hello).await.unwrap();
        peer = Some(theirs);
    };
    let (client, ()) = soon(async { tokio::join!(builder.connect_on(ours), answer) }).await;
    let client = client.unwrap();
    let call = client.clone();
    let pending = tokio::spawn(async move {
        call.call::<()>("Gate.Never", &())
            .timeout(Duration::from_millis(50))
            .await
    });
    until(|| client.in_flight() == 1).await;
    client.close();
    let error = soon(pending).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    // The client ends its direction, though the server never said a word.
    to_end(&mut peer.unwrap()).await;
    drop(server);
}

#[test]
fn a_client_outlives_the_runtimes_that_its_connections_and_dials_began_on() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    };
    let serving = runtime();
    let (server, _gate) = serving.block_on(gated(ANY));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();

    let first = runtime();
    let client = first.block_on(connect(&server, Codec::Gob));
    let pending = client.go::<()>("Gate.Never", ());
    let address = Address::tcp(silent.local_addr().unwrap());
    let dials = Client::builder(address).build();
    let dialling = dials.clone();
    first.spawn(async move { dialling.call::<i64>("Gate.Pass", &1_i64).await });
    let (stream, _) = silent.accept().unwrap();
    drop(first);

    let second = runtime();
    let error = second.block_on(soon(pending)).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let call = async { client.call::<i64>("Gate.Pass", &2_i64).await };
    assert_eq!(second.block_on(soon(call)).unwrap(), 2);
    // The second dial is begun, and answered: by the end of the connection.
    let call = second.spawn(async move { dials.call::<i64>("Gate.Pass", &3_i64).await });
    drop(silent.accept().unwrap());
    let error = second.block_on(soon(call)).unwrap().unwrap_err();
    assert!(
        error.to_string().contains("cannot open a conversation"),
        "{error}"
    );
    drop(stream);
}

#[tokio::test]
async fn handlers_stop_when_their_caller_has_gone() {
    for codec in Codec::ALL {
        let (server, _gate) = gated(ANY).await;
        let mut peer = Raw::connect(&server, codec, Features::ALL.compressing(None)).await;
        peer.send(1, "Gate.Never", &()).await;
        peer.send(2, "Gate.Never", &()).await;
        until(|| running(&server) == 2).await;
        drop(peer);
        until(|| running(&server) == 0).await;
    }
}

#[tokio::test]
async fn a_peer_that_ends_its_requests_still_gets_its_replies() {
    for codec in Codec::ALL {
        let (server, gate) = gated(ANY).await;
        let mut peer = Raw::connect(&server, codec, Features::default()).await;
        peer.send(1, "Gate.Wait", &7_i64).await;
        peer.stream.shutdown().await.unwrap();
        until(|| running(&server) == 1).await;
        gate.notify_one();
        assert_eq!(peer.reply::<i64>().await, (1, 7));
        assert!(peer.receive().await.is_none());
    }
}
