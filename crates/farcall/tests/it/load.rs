//! Many calls at a time on one connection: each gets its own outcome, once, and nothing is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use farcall::{Client, Code, Codec, Reached, Result, Server};
use tokio::task::JoinSet;

use crate::support::{running, soon, until};

const TASKS: usize = 64;

/// What a call must bring back: 128 bits that no other call has. The last byte is how the handler tarries.
fn nonce(random: &mut fastrand::Rng) -> Vec<u8> {
    random.u128(..).to_le_bytes().to_vec()
}

/// Replies overtake each other: handlers yield a few times, some sleep, and some are ready at once.
async fn tarry(nonce: &[u8]) {
    let how = nonce.last().copied().unwrap_or_default();
    for _ in 0..how % 8 {
        tokio::task::yield_now().await;
    }
    if how > 250 {
        tokio::time::sleep(Duration::from_millis(u64::from(how - 250))).await;
    }
}

async fn server() -> (Server, Arc<AtomicUsize>) {
    let began = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&began);
    let server = Server::builder()
        .method("Echo.Shuffled", move |nonce: Vec<u8>| {
            counts.fetch_add(1, Ordering::Relaxed);
            async move {
                tarry(&nonce).await;
                Ok(nonce)
            }
        })
        .method("Echo.Never", |_: ()| std::future::pending::<Result<()>>())
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    (server, began)
}

async fn connect(server: &Server, codec: Codec) -> Client {
    let builder = Client::builder(server.address().clone()).codec(codec);
    builder.connect().await.unwrap()
}

/// Runs `calls` in 64 tasks of their own randomness, and sums up what they count.
async fn in_tasks<F>(calls: impl Fn(fastrand::Rng) -> F) -> usize
where
    F: Future<Output = usize> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for seed in 0..TASKS as u64 {
        tasks.spawn(calls(fastrand::Rng::with_seed(seed)));
    }
    soon(tasks.join_all()).await.into_iter().sum()
}

async fn every_reply_reaches_its_caller(codec: Codec) {
    const CALLS: usize = 100_000;
    const AT_A_TIME: usize = 4;
    let (server, began) = server().await;
    let client = connect(&server, codec).await;
    let made = in_tasks(|mut random| {
        let client = client.clone();
        async move {
            let mut made = 0;
            while made < CALLS.div_ceil(TASKS) {
                let nonces: Vec<_> = (0..AT_A_TIME).map(|_| nonce(&mut random)).collect();
                let begin = |nonce: &Vec<u8>| client.go::<Vec<u8>>("Echo.Shuffled", nonce.clone());
                let pending: Vec<_> = nonces.iter().map(begin).collect();
                for (pending, nonce) in pending.into_iter().zip(nonces) {
                    assert_eq!(pending.await.unwrap(), nonce);
                    made += 1;
                }
            }
            made
        }
    })
    .await;
    assert!(made >= CALLS);
    assert_eq!(began.load(Ordering::Relaxed), made, "each ran once");
    until(|| running(&server) == 0).await;
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_reaches_its_caller_in_gob() {
    every_reply_reaches_its_caller(Codec::Gob).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_reaches_its_caller_in_json() {
    every_reply_reaches_its_caller(Codec::Json).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_when_the_server_goes_in_between() {
    for codec in Codec::ALL {
        let (server, began) = server().await;
        let client = connect(&server, codec).await;
        let kill = tokio::spawn({
            let began = Arc::clone(&began);
            async move {
                until(|| began.load(Ordering::Relaxed) > 5_000).await;
                drop(server);
            }
        });
        let replies = in_tasks(|mut random| {
            let client = client.clone();
            async move {
                let mut replies = 0;
                loop {
                    let nonce = nonce(&mut random);
                    match client.call::<Vec<u8>>("Echo.Shuffled", &nonce).await {
                        Ok(reply) => assert_eq!(reply, nonce),
                        Err(error) => {
                            assert_eq!(error.code(), Code::Unavailable, "{error:?}");
                            assert_ne!(error.reached(), Reached::Answered);
                            return replies;
                        }
                    }
                    replies += 1;
                }
            }
        })
        .await;
        soon(kill).await.unwrap();
        let began = began.load(Ordering::Relaxed);
        assert!(
            (5_000 - TASKS..=began).contains(&replies),
            "{replies} of {began}"
        );
        assert_eq!(client.in_flight(), 0);
        assert!(!client.is_connected());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_calls_that_were_dropped_or_timed_out() {
    for codec in Codec::ALL {
        let (server, _began) = server().await;
        let client = connect(&server, codec).await;
        let ended = in_tasks(|mut random| {
            let client = client.clone();
            async move {
                for _ in 0..300 {
                    let nonce = nonce(&mut random);
                    let limit = Duration::from_micros(random.u64(1..3_000));
                    match random.u8(..5) {
                        0 => {
                            let pending = client.go::<Vec<u8>>("Echo.Shuffled", nonce);
                            for _ in 0..random.u8(..6) {
                                tokio::task::yield_now().await;
                            }
                            drop(pending);
                        }
                        1 => {
                            let pending = client.go::<()>("Echo.Never", ());
                            tokio::task::yield_now().await;
                            drop(pending);
                        }
                        2 => {
                            let call = client.call::<()>("Echo.Never", &()).timeout(limit);
                            let error = call.await.unwrap_err();
                            assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
                        }
                        3 => {
                            let call = client.call::<Vec<u8>>("Echo.Shuffled", &nonce);
                            match call.timeout(limit).await {
                                Ok(reply) => assert_eq!(reply, nonce),
                                Err(error) => assert_eq!(error.code(), Code::DeadlineExceeded),
                            }
                        }
                        _ => {
                            let call = client.call::<Vec<u8>>("Echo.Shuffled", &nonce);
                            assert_eq!(call.await.unwrap(), nonce);
                        }
                    }
                }
                1
            }
        })
        .await;
        assert_eq!(ended, TASKS);
        until(|| running(&server) == 0).await;
        assert_eq!(client.in_flight(), 0);
        assert!(client.is_connected(), "it was one connection throughout");
        assert!(soon(server.shutdown(Duration::from_secs(20))).await);
    }
}
