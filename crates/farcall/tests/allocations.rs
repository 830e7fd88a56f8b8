//! How often a call asks for memory, caller and server together. It counts the whole process, so it is alone in its own.

use std::alloc::System;

use farcall::{Client, Codec, Result, Server};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: usize = 20_000;

#[farcall::message]
#[derive(Clone, Copy)]
struct Pair {
    a: i64,
    b: i64,
}

#[farcall::service]
trait Sum {
    async fn of(&self, pair: Pair) -> Result<i64>;
}

struct Adder;

impl Sum for Adder {
    async fn of(&self, pair: Pair) -> Result<i64> {
        Ok(pair.a + pair.b)
    }
}

async fn call_in_turn(sum: SumClient, calls: usize) {
    for a in 0..calls as i64 {
        assert_eq!(sum.of(&Pair { a, b: 300 }).await.unwrap(), a + 300);
    }
}

async fn call(sum: &SumClient, at_a_time: usize) {
    let mut callers = JoinSet::new();
    for _ in 0..at_a_time {
        callers.spawn(call_in_turn(sum.clone(), CALLS / at_a_time));
    }
    callers.join_all().await;
}

/// Allocations a call, and memory asked for again that grew or shrank, in the steady state.
async fn allocations_a_call(codec: Codec, at_a_time: usize) -> f64 {
    let server = Server::builder()
        .register(Adder.into_service())
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let client = Client::builder(server.address().clone()).codec(codec);
    let sum = SumClient::new(client.connect().await.unwrap());
    call(&sum, at_a_time).await;
    let region = Region::new(ALLOCATOR);
    call(&sum, at_a_time).await;
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / CALLS as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_call_asks_for_memory_at_most_twice() {
    for at_a_time in [1, 16, 128] {
        for codec in Codec::ALL {
            let max = match codec {
                // Their decoders make a new string of the method's name in each request's header.
                Codec::Gob | Codec::Json => 3.0,
                // One is the handler's future; buffers are used again.
                _ => 2.0,
            };
            let count = allocations_a_call(codec, at_a_time).await;
            println!("{codec}, {at_a_time} at a time: {count:.3} allocations a call");
            assert!(count <= max, "{codec}, {at_a_time} at a time: {count}");
        }
    }
}
