//! Streams of items beside calls: their order, their ends, their pace, and what they leave to others.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use farcall::{
    Client, Cluster, Code, Codec, Context, Error, Incoming, Limits, NoItems, Outgoing, Reached,
    Result, Server, ServerBuilder,
};
use farcall_wire::{Credit, Features, Flags, Kind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

use crate::support::{PATIENCE, Raw, counts, place, running, soon, to_end, until};

/// What travels: more than a number, so that codecs have something to do.
#[farcall::message]
#[derive(Clone, Debug, PartialEq)]
struct Event {
    number: u64,
    name: String,
    data: Vec<u8>,
}

impl Event {
    fn new(number: u64) -> Event {
        Event {
            number,
            name: format!("event {number}"),
            data: vec![number as u8; number as usize % 50],
        }
    }
}

/// Says that it was dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(());
        }
    }
}

/// What the handlers of a test share with it.
#[derive(Clone, Default)]
struct Seen {
    /// Opened by the test.
    gate: Arc<Notify>,
    /// Items that `Items.Flood` has sent.
    flooded: Arc<AtomicU64>,
    /// True while `Items.Flood` runs.
    floods: Arc<AtomicBool>,
    /// The end of what `Items.Sum` got.
    ended: Arc<std::sync::Mutex<Option<Error>>>,
}

struct Floods(Arc<AtomicBool>);

impl Drop for Floods {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn builder(seen: &Seen) -> ServerBuilder {
    let Seen {
        gate,
        flooded,
        floods,
        ended,
    } = seen.clone();
    Server::builder()
        .method("Echo.Say", |text: String| async move { Ok(text) })
        .streaming(
            "Items.Tail",
            |_: Context, count: u64, _: Incoming<NoItems>, mut out: Outgoing<Event>| async move {
                for number in 0..count {
                    out.send(&Event::new(number)).await?;
                }
                Ok(count)
            },
        )
        .streaming(
            "Items.Sum",
            move |_: Context, start: i64, mut numbers: Incoming<i64>, _: Outgoing<NoItems>| {
                let ended = Arc::clone(&ended);
                async move {
                    let mut sum = start;
                    while let Some(number) = numbers.next().await {
                        match number {
                            Ok(number) => sum += number,
                            Err(error) => {
                                *ended.lock().unwrap() = Some(error.clone());
                                return Err(error);
                            }
                        }
                    }
                    Ok(sum)
                }
            },
        )
        .streaming(
            "Items.Double",
            |_: Context, _: (), mut events: Incoming<Event>, mut out: Outgoing<Event>| async move {
                let mut count = 0_u64;
                while let Some(event) = events.next().await {
                    let event = event?;
                    out.send(&event).await?;
                    out.send(&event).await?;
                    count += 1;
                }
                Ok(count)
            },
        )
        .streaming(
            "Items.FailAfter",
            |_: Context, count: u64, _: Incoming<NoItems>, mut out: Outgoing<u64>| async move {
                for number in 0..count {
                    out.send(&number).await?;
                }
                Err::<(), _>(Error::new(Code::DataLoss, "the disk is gone"))
            },
        )
        .streaming(
            "Items.Wait",
            move |_: Context, _: (), _: Incoming<NoItems>, mut out: Outgoing<u64>| {
                let gate = Arc::clone(&gate);
                async move {
                    out.send(&1).await?;
                    gate.notified().await;
                    out.send(&2).await?;
                    Ok(())
                }
            },
        )
        .streaming(
            "Items.Flood",
            move |_: Context, len: u64, _: Incoming<NoItems>, mut out: Outgoing<Vec<u8>>| {
                let flooded = Arc::clone(&flooded);
                let floods = Arc::clone(&floods);
                async move {
                    floods.store(true, Ordering::SeqCst);
                    let _floods = Floods(floods);
                    let item = vec![7; len as usize];
                    loop {
                        out.send(&item).await?;
                        flooded.fetch_add(1, Ordering::SeqCst);
                    }
                    #[allow(unreachable_code)]
                    Ok(())
                }
            },
        )
        .streaming(
            "Items.Ignore",
            |_: Context, _: (), numbers: Incoming<Vec<u8>>, mut out: Outgoing<u64>| async move {
                // It keeps what comes, and takes nothing.
                out.send(&1).await?;
                let _numbers = numbers;
                std::future::pending::<Result<()>>().await
            },
        )
        .streaming(
            "Items.Discard",
            |_: Context, _: (), items: Incoming<Vec<u8>>, mut out: Outgoing<u64>| async move {
                drop(items);
                out.send(&1).await?;
                std::future::pending::<Result<u64>>().await
            },
        )
        .streaming(
            "Items.Panic",
            |_: Context, _: (), mut numbers: Incoming<u64>, mut out: Outgoing<u64>| async move {
                while let Some(Ok(number)) = numbers.next().await {
                    out.send(&number).await?;
                    assert!(number < 3, "asked to panic");
                }
                Ok(())
            },
        )
        .streaming(
            "Items.First",
            |_: Context, _: (), mut numbers: Incoming<i64>, _: Outgoing<NoItems>| async move {
                numbers.next().await.unwrap_or(Ok(0))
            },
        )
}

async fn start(seen: &Seen) -> Server {
    let server = builder(seen).bind("tcp@127.0.0.1:0").start().await;
    server.unwrap()
}

async fn connect(server: &Server, codec: Codec) -> Client {
    let builder = Client::builder(server.address().clone()).codec(codec);
    builder.connect().await.unwrap()
}

/// A server and a client of it in one codec.
async fn pair(codec: Codec, seen: &Seen) -> (Server, Client) {
    let server = start(seen).await;
    let client = connect(&server, codec).await;
    (server, client)
}

async fn is_idle(server: &Server, client: &Client) {
    until(|| running(server) == 0 && client.in_flight() == 0).await;
}

#[tokio::test]
async fn items_of_a_server_come_in_order_and_end_with_the_reply() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        for count in [0, 1, 3000] {
            let call = client.stream::<NoItems, Event, u64>("Items.Tail", &count);
            let mut events = soon(call.into_future()).await.unwrap();
            for number in 0..count {
                let event = soon(events.next()).await.unwrap().unwrap();
                assert_eq!(event, Event::new(number), "{codec}");
            }
            assert!(soon(events.next()).await.is_none());
            assert!(soon(events.next()).await.is_none(), "the end stays");
            assert_eq!(soon(events.reply()).await.unwrap(), count);
        }
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn items_of_a_client_come_in_order_and_end_when_it_says_so() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        for count in [0, 1, 5000_i64] {
            let call = client.stream::<i64, NoItems, i64>("Items.Sum", &7_i64);
            let mut sum = soon(call.into_future()).await.unwrap();
            for number in 1..=count {
                soon(sum.send(&number)).await.unwrap();
            }
            let expected = 7 + count * (count + 1) / 2;
            assert_eq!(soon(sum.reply()).await.unwrap(), expected, "{codec}");
        }
        is_idle(&server, &client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_flow_at_once_from_tasks_of_their_own() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        let call = client.stream::<Event, Event, u64>("Items.Double", &());
        let (mut out, mut items, reply) = soon(call.into_future()).await.unwrap().split();
        let count = 5000_u64;
        let sending = tokio::spawn(async move {
            for number in 0..count {
                out.send(&Event::new(number)).await.unwrap();
            }
            out.finish();
        });
        for number in 0..count {
            for _ in 0..2 {
                let event = soon(items.next()).await.unwrap().unwrap();
                assert_eq!(event, Event::new(number), "{codec}");
            }
        }
        assert!(soon(items.next()).await.is_none());
        soon(sending).await.unwrap();
        assert_eq!(soon(reply).await.unwrap(), count);
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn after_a_half_close_items_still_come_the_other_way() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        let call = client.stream::<Event, Event, u64>("Items.Double", &());
        let mut both = soon(call.into_future()).await.unwrap();
        for number in 0..3 {
            both.send(&Event::new(number)).await.unwrap();
        }
        both.finish();
        let late = both.send(&Event::new(9)).await.unwrap_err();
        assert_eq!(late.code(), Code::FailedPrecondition);
        let mut numbers = Vec::new();
        while let Some(event) = soon(both.next()).await {
            numbers.push(event.unwrap().number);
        }
        assert_eq!(numbers, [0, 0, 1, 1, 2, 2]);
        assert_eq!(soon(both.reply()).await.unwrap(), 3);
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn an_error_of_the_handler_follows_its_items_and_is_the_reply() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        for count in [0, 1, 2000_u64] {
            let call = client.stream::<NoItems, u64, ()>("Items.FailAfter", &count);
            let mut items = soon(call.into_future()).await.unwrap();
            for number in 0..count {
                assert_eq!(soon(items.next()).await.unwrap().unwrap(), number);
            }
            let error = soon(items.next()).await.unwrap().unwrap_err();
            assert_eq!(error.code(), Code::DataLoss);
            assert_eq!(error.message(), "the disk is gone");
            assert!(soon(items.next()).await.is_none(), "an error comes once");
            let error = soon(items.reply()).await.unwrap_err();
            assert_eq!(error.code(), Code::DataLoss, "{codec}");
        }
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn a_handler_that_panics_between_items_ends_its_call_alone() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        let call = client.stream::<u64, u64, ()>("Items.Panic", &());
        let mut both = soon(call.into_future()).await.unwrap();
        for number in 0..=3 {
            both.send(&number).await.unwrap();
            assert_eq!(soon(both.next()).await.unwrap().unwrap(), number);
        }
        let error = soon(both.next()).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{codec}");
        let late = soon(both.send(&4)).await.unwrap_err();
        assert_eq!(late.code(), Code::Internal, "what ended the call");
        assert_eq!(soon(both.reply()).await.unwrap_err().code(), Code::Internal);
        let said: String = client.call("Echo.Say", &"hello".to_owned()).await.unwrap();
        assert_eq!(said, "hello");
        is_idle(&server, &client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_windows_and_the_sizes_no_item_is_lost_or_overtaken() {
    let seen = Seen::default();
    // A generator of the test's own, so that a failure can be seen again.
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    for round in 0..24 {
        let codec = Codec::ALL[round % 4];
        let limits = |window: u64| Limits {
            stream_window: window as usize,
            ..Limits::default()
        };
        let window = [1, 100, 5_000, 300_000];
        let ours = limits(window[random(4) as usize]);
        let server = builder(&seen).limits(limits(window[random(4) as usize]));
        let server = server.bind("tcp@127.0.0.1:0").start().await.unwrap();
        let client = Client::builder(server.address().clone()).codec(codec);
        let client = client.limits(ours).connect().await.unwrap();
        let sizes: Vec<u64> = (0..100)
            .map(|_| {
                let most = [10, 1000, 50_000][random(3) as usize];
                random(most)
            })
            .collect();
        let event = move |number: usize, size: u64| Event {
            number: number as u64,
            name: format!("round {round}"),
            data: vec![number as u8; size as usize],
        };
        let call = client.stream::<Event, Event, u64>("Items.Double", &());
        let (mut out, mut items, reply) = soon(call.into_future()).await.unwrap().split();
        let sent = sizes.clone();
        let sending = tokio::spawn(async move {
            for (number, size) in sent.into_iter().enumerate() {
                out.send(&event(number, size)).await.unwrap();
            }
            out.finish();
        });
        for (number, size) in sizes.into_iter().enumerate() {
            for _ in 0..2 {
                let item = soon(items.next()).await.unwrap().unwrap();
                assert_eq!(item, event(number, size), "round {round}");
            }
        }
        assert!(soon(items.next()).await.is_none());
        soon(sending).await.unwrap();
        assert_eq!(soon(reply).await.unwrap(), 100);
    }
}

#[tokio::test]
async fn a_client_that_breaks_its_items_off_says_why() {
    for codec in Codec::ALL {
        let seen = Seen::default();
        let (server, client) = pair(codec, &seen).await;
        let call = client.stream::<i64, NoItems, i64>("Items.Sum", &0_i64);
        let (mut out, _, reply) = soon(call.into_future()).await.unwrap().split();
        out.send(&1).await.unwrap();
        out.break_off(&Error::new(Code::OutOfRange, "no more numbers"));
        let error = soon(reply).await.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::OutOfRange, "no more numbers")
        );

        let call = client.stream::<i64, NoItems, i64>("Items.Sum", &0_i64);
        let (mut out, _, reply) = soon(call.into_future()).await.unwrap().split();
        out.send(&1).await.unwrap();
        drop(out);
        let error = soon(reply).await.unwrap_err();
        assert_eq!(error.code(), Code::Cancelled, "dropping is no good end");
        let ended = seen.ended.lock().unwrap().take().unwrap();
        assert_eq!(ended.code(), Code::Cancelled);
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn a_handler_that_ends_early_ends_its_client_s_items() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        let call = client.stream::<i64, NoItems, i64>("Items.First", &());
        let mut first = soon(call.into_future()).await.unwrap();
        let refused = soon(async {
            loop {
                if let Err(error) = first.send(&5).await {
                    return error;
                }
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(refused.await.code(), Code::Cancelled);
        assert_eq!(soon(first.reply()).await.unwrap(), 5, "{codec}");
        // The items that were late did no harm.
        let said: String = client
            .call("Echo.Say", &"still here".to_owned())
            .await
            .unwrap();
        assert_eq!(said, "still here");
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn dropping_a_call_stops_its_handler_within_milliseconds() {
    for codec in Codec::ALL {
        let seen = Seen::default();
        let (server, client) = pair(codec, &seen).await;
        let mut times = Vec::new();
        for _ in 0..9 {
            let call = client.stream::<NoItems, Vec<u8>, ()>("Items.Flood", &100_u64);
            let mut items = soon(call.into_future()).await.unwrap();
            soon(items.next()).await.unwrap().unwrap();
            assert!(seen.floods.load(Ordering::SeqCst));
            let dropped = Instant::now();
            drop(items);
            until(|| !seen.floods.load(Ordering::SeqCst)).await;
            times.push(dropped.elapsed());
        }
        times.sort();
        assert!(times[4] < Duration::from_millis(50), "{times:?}");
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn the_call_lives_while_any_of_its_parts_does() {
    let seen = Seen::default();
    let (server, client) = pair(Codec::Gob, &seen).await;
    let call = client.stream::<NoItems, u64, ()>("Items.Wait", &());
    let (_, mut items, _) = soon(call.into_future()).await.unwrap().split();
    assert_eq!(soon(items.next()).await.unwrap().unwrap(), 1);
    seen.gate.notify_one();
    assert_eq!(soon(items.next()).await.unwrap().unwrap(), 2);
    assert!(soon(items.next()).await.is_none());
    drop(items);
    let call = client.stream::<NoItems, u64, ()>("Items.Wait", &());
    let (_, items, reply) = soon(call.into_future()).await.unwrap().split();
    drop(items);
    until(|| running(&server) == 1).await;
    seen.gate.notify_one();
    soon(reply).await.unwrap();
    is_idle(&server, &client).await;
}

#[tokio::test]
async fn items_that_nobody_wants_are_taken_so_that_the_handler_goes_on() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        // Far more than the window.
        let call = client.stream::<NoItems, Event, u64>("Items.Tail", &20_000_u64);
        let tail = soon(call.into_future()).await.unwrap();
        assert_eq!(soon(tail.reply()).await.unwrap(), 20_000);
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn a_slow_consumer_stalls_its_own_stream_and_nothing_else() {
    for codec in Codec::ALL {
        let seen = Seen::default();
        let (server, client) = pair(codec, &seen).await;
        let call = client.stream::<NoItems, Vec<u8>, ()>("Items.Flood", &1000_u64);
        let slow = soon(call.into_future()).await.unwrap();
        let window = Limits::default().stream_window as u64;
        // JSON's base64 makes an item longer.
        until(|| seen.flooded.load(Ordering::SeqCst) >= window / 1500).await;
        let mut before = 0;
        loop {
            // Calls and other streams on the same connection go on.
            let said: String = client.call("Echo.Say", &"hello".to_owned()).await.unwrap();
            assert_eq!(said, "hello");
            let call = client.stream::<NoItems, Event, u64>("Items.Tail", &5000_u64);
            let mut tail = soon(call.into_future()).await.unwrap();
            let mut count = 0;
            while let Some(event) = soon(tail.next()).await {
                event.unwrap();
                count += 1;
            }
            assert_eq!(count, 5000);
            let now = seen.flooded.load(Ordering::SeqCst);
            if now == before {
                break;
            }
            before = now;
        }
        // Each item counts as 1,064 bytes at least, and the last one may reach beyond the window.
        assert!(
            before <= window / 1064 + 1,
            "{codec}: {before} items are held"
        );
        drop(slow);
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn a_handler_may_drop_its_items_and_go_on() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        let call = client.stream::<Vec<u8>, u64, u64>("Items.Discard", &());
        let (mut out, mut items, reply) = soon(call.into_future()).await.unwrap().split();
        assert_eq!(soon(items.next()).await.unwrap().unwrap(), 1);
        // Many windows full: they are taken, and kept nowhere.
        let item = vec![3; 10_000];
        for _ in 0..300 {
            soon(out.send(&item)).await.unwrap();
        }
        out.finish();
        drop((items, reply));
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn a_server_that_ignores_the_window_loses_its_call_and_keeps_its_connection() {
    for codec in Codec::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp@{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut peer = Raw::accept(stream, all()).await;
            let (request, _) = peer.receive().await.unwrap();
            assert_eq!(request.service_method, "Any.Thing");
            for _ in 0..100 {
                let item = peer.message(&vec![1_u8; 10_000], |header| {
                    header.kind = Kind::Item;
                    header.seq = request.seq;
                });
                peer.write(&item).await;
            }
            let (cancel, _) = peer.receive().await.unwrap();
            assert_eq!((cancel.kind, cancel.seq), (Kind::Cancel, request.seq));
            let (request, body) = peer.receive().await.unwrap();
            let text: String = peer.decode(&body);
            let reply = peer.message(&text, |header| header.seq = request.seq);
            peer.write(&reply).await;
        });
        let builder = Client::builder(address.parse().unwrap()).codec(codec);
        let client = builder.connect().await.unwrap();
        let call = client.stream::<NoItems, Vec<u8>, ()>("Any.Thing", &());
        let (_, mut items, reply) = soon(call.into_future()).await.unwrap().split();
        let error = soon(reply).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{codec}");
        let mut count = 0;
        let error = loop {
            match soon(items.next()).await.unwrap() {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Code::ResourceExhausted);
        assert!((10..=30).contains(&count), "{count} items were held");
        let said: String = client.call("Echo.Say", &"hello".to_owned()).await.unwrap();
        assert_eq!(said, "hello");
        soon(serving).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_goes_on_when_its_consumer_does() {
    for codec in Codec::ALL {
        let limits = Limits {
            stream_window: 4 << 10,
            ..Limits::default()
        };
        let seen = Seen::default();
        let server = builder(&seen)
            .limits(limits.clone())
            .bind("tcp@127.0.0.1:0");
        let server = server.start().await.unwrap();
        let builder = Client::builder(server.address().clone()).codec(codec);
        let client = builder.limits(limits).connect().await.unwrap();
        // Items both smaller and much larger than the window.
        for len in [10, 3000, 100_000_u64] {
            let call = client.stream::<NoItems, Vec<u8>, ()>("Items.Flood", &len);
            let mut items = soon(call.into_future()).await.unwrap();
            for _ in 0..100 {
                let item = soon(items.next()).await.unwrap().unwrap();
                assert_eq!(item.len() as u64, len);
                tokio::task::yield_now().await;
            }
        }
        is_idle(&server, &client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_streams_run_on_one_connection_at_once() {
    let seen = Seen::default();
    let server = builder(&seen).in_flight_max(5000).bind("tcp@127.0.0.1:0");
    let server = server.start().await.unwrap();
    let client = connect(&server, Codec::Postcard).await;
    let mut streams = Vec::new();
    for _ in 0..3000 {
        let call = client.stream::<Event, Event, u64>("Items.Double", &());
        streams.push(soon(call.into_future()).await.unwrap());
    }
    until(|| running(&server) == 3000).await;
    assert_eq!(client.in_flight(), 3000);
    for (stream, number) in streams.iter_mut().zip(0..) {
        soon(stream.send(&Event::new(number))).await.unwrap();
        stream.finish();
    }
    for (stream, number) in streams.into_iter().zip(0..) {
        let (_, mut items, reply) = stream.split();
        for _ in 0..2 {
            assert_eq!(
                soon(items.next()).await.unwrap().unwrap(),
                Event::new(number)
            );
        }
        assert!(soon(items.next()).await.is_none());
        assert_eq!(soon(reply).await.unwrap(), 1);
    }
    is_idle(&server, &client).await;
}

#[tokio::test]
async fn a_deadline_ends_both_directions_at_both_ends() {
    for codec in Codec::ALL {
        let seen = Seen::default();
        let (server, client) = pair(codec, &seen).await;
        let call = client
            .stream::<NoItems, u64, ()>("Items.Wait", &())
            .timeout(Duration::from_millis(100));
        let mut items = soon(call.into_future()).await.unwrap();
        assert_eq!(soon(items.next()).await.unwrap().unwrap(), 1);
        let error = soon(items.next()).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{codec}");
        let error = soon(items.reply()).await.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        is_idle(&server, &client).await;

        let call = client
            .stream::<Vec<u8>, u64, ()>("Items.Ignore", &())
            .timeout(Duration::from_millis(100));
        let mut stuck = soon(call.into_future()).await.unwrap();
        let item = vec![1; 10_000];
        let error = soon(async {
            loop {
                if let Err(error) = stuck.send(&item).await {
                    return error;
                }
            }
        });
        assert_eq!(error.await.code(), Code::DeadlineExceeded);
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn a_lost_connection_ends_both_ends() {
    for codec in Codec::ALL {
        let seen = Seen::default();
        let (server, client) = pair(codec, &seen).await;
        let call = client.stream::<NoItems, u64, ()>("Items.Wait", &());
        let mut items = soon(call.into_future()).await.unwrap();
        assert_eq!(soon(items.next()).await.unwrap().unwrap(), 1);
        let call = client.stream::<Vec<u8>, u64, ()>("Items.Ignore", &());
        let mut stuck = soon(call.into_future()).await.unwrap();
        assert_eq!(soon(stuck.next()).await.unwrap().unwrap(), 1);
        let sending = tokio::spawn(async move {
            let item = vec![1; 10_000];
            loop {
                if let Err(error) = stuck.send(&item).await {
                    return error;
                }
            }
        });
        drop(server);
        let error = soon(items.next()).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{codec}");
        assert!(soon(items.next()).await.is_none());
        assert_eq!(soon(sending).await.unwrap().code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn a_client_that_is_gone_stops_the_handlers_of_its_streams() {
    let seen = Seen::default();
    let server = start(&seen).await;
    let mut peer = Raw::connect(&server, Codec::Json, Features::ALL.compressing(None)).await;
    peer.send(1, "Items.Flood", &100_u64).await;
    until(|| seen.floods.load(Ordering::SeqCst)).await;
    drop(peer);
    until(|| !seen.floods.load(Ordering::SeqCst)).await;
    until(|| running(&server) == 0).await;
}

#[tokio::test]
async fn a_shutdown_lets_streams_finish_within_its_grace() {
    for codec in Codec::ALL {
        let seen = Seen::default();
        let (server, client) = pair(codec, &seen).await;
        let call = client.stream::<NoItems, u64, ()>("Items.Wait", &());
        let mut items = soon(call.into_future()).await.unwrap();
        assert_eq!(soon(items.next()).await.unwrap().unwrap(), 1);
        let call = client.stream::<i64, NoItems, i64>("Items.Sum", &0_i64);
        let mut sum = soon(call.into_future()).await.unwrap();
        let shutdown = tokio::spawn(server.shutdown(PATIENCE));
        until(|| !client.is_connected()).await;
        sum.send(&40).await.unwrap();
        sum.send(&2).await.unwrap();
        assert_eq!(soon(sum.reply()).await.unwrap(), 42);
        seen.gate.notify_one();
        assert_eq!(soon(items.next()).await.unwrap().unwrap(), 2);
        assert!(soon(items.next()).await.is_none());
        soon(items.reply()).await.unwrap();
        assert!(soon(shutdown).await.unwrap(), "{codec}");
    }
}

fn all() -> Features {
    Features::ALL.compressing(None)
}

#[tokio::test]
async fn a_peer_that_ignores_the_window_loses_its_call_and_keeps_its_connection() {
    for codec in Codec::ALL {
        let seen = Seen::default();
        let server = start(&seen).await;
        let mut peer = Raw::connect(&server, codec, all()).await;
        let request = peer.message(&(), |header| {
            header.seq = 1;
            header.service_method = "Items.Ignore".to_owned();
            header.flags |= Flags::STREAMS;
        });
        peer.write(&request).await;
        let (header, _) = peer.receive().await.unwrap();
        assert_eq!((header.kind, header.seq), (Kind::Item, 1));
        let item = peer.message(&vec![1_u8; 10_000], |header| {
            header.kind = Kind::Item;
            header.seq = 1;
        });
        peer.write(&item).await;
        let rest = peer.message(&vec![1_u8; 10_000], |header| {
            header.kind = Kind::Item;
            header.seq = 1;
        });
        // Gob's definitions came with the first one.
        for _ in 0..50 {
            peer.write(&rest).await;
        }
        let (header, _) = peer.receive().await.unwrap();
        assert_eq!((header.kind, header.seq), (Kind::Call, 1));
        assert_eq!(header.code, Code::ResourceExhausted.number(), "{codec}");
        assert!(
            header.error.contains("ignores the window"),
            "{}",
            header.error
        );
        until(|| running(&server) == 0).await;
        peer.send(2, "Echo.Say", &"still here".to_owned()).await;
        assert_eq!(peer.reply::<String>().await, (2, "still here".to_owned()));
    }
}

#[tokio::test]
async fn messages_for_unknown_streams_are_dropped() {
    for codec in Codec::ALL {
        let seen = Seen::default();
        let server = start(&seen).await;
        let mut peer = Raw::connect(&server, codec, all()).await;
        for kind in [Kind::Item, Kind::End, Kind::Credit] {
            for seq in [0, 7, u64::MAX] {
                let message = peer.message(&5_u64, |header| {
                    header.kind = kind;
                    header.seq = seq;
                });
                peer.write(&message).await;
            }
        }
        // The same while a stream runs.
        let request = peer.message(&0_i64, |header| {
            header.seq = 1;
            header.service_method = "Items.Sum".to_owned();
            header.flags |= Flags::STREAMS;
        });
        peer.write(&request).await;
        for (seq, number) in [(1, 20_i64), (3, 1000), (1, 22)] {
            let item = peer.message(&number, |header| {
                header.kind = Kind::Item;
                header.seq = seq;
            });
            peer.write(&item).await;
        }
        // Credit for items that were never sent.
        let credit: Credit = u64::MAX;
        let bytes = peer.message(&credit, |header| {
            header.kind = Kind::Credit;
            header.seq = 1;
        });
        peer.write(&bytes).await;
        // What is no number, as credit.
        let bytes = peer.message(&"many".to_owned(), |header| {
            header.kind = Kind::Credit;
            header.seq = 1;
        });
        peer.write(&bytes).await;
        let end = peer.message(&(), |header| {
            header.kind = Kind::End;
            header.seq = 1;
        });
        peer.write(&end).await;
        let sum = loop {
            let (header, body) = peer.receive().await.unwrap();
            if header.kind == Kind::Call {
                assert_eq!((header.seq, &*header.error), (1, ""), "{codec}");
                break peer.decode::<i64>(&body);
            }
            assert_eq!(header.kind, Kind::Credit);
        };
        assert_eq!(sum, 42);
    }
}

#[tokio::test]
async fn an_item_of_another_type_is_an_error_of_that_item() {
    for codec in [Codec::Gob, Codec::Json, Codec::MessagePack] {
        let seen = Seen::default();
        let (server, client) = pair(codec, &seen).await;
        let call = client.stream::<String, NoItems, i64>("Items.Sum", &0_i64);
        let mut sum = soon(call.into_future()).await.unwrap();
        sum.send(&"one".to_owned()).await.unwrap();
        let error = soon(sum.reply()).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{codec}");
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn a_call_of_the_wrong_kind_is_refused_with_what_to_do() {
    for codec in Codec::ALL {
        let (server, client) = pair(codec, &Seen::default()).await;
        // Called as a plain method.
        let error = soon(client.call::<i64>("Items.Sum", &0_i64).into_future()).await;
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
        assert!(error.message().contains("`stream`"), "{error}");
        let error = soon(client.call::<()>("Items.Flood", &10_u64).into_future()).await;
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
        assert!(error.message().contains("`stream`"), "{error}");
        // Items for a method that takes none.
        let text = String::new();
        let call = client.stream::<u64, NoItems, String>("Echo.Say", &text);
        let error = soon(soon(call.into_future()).await.unwrap().reply())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
        assert!(error.message().contains("no stream of items"), "{error}");
        is_idle(&server, &client).await;
    }
}

#[tokio::test]
async fn peers_without_streams_are_told_so_and_stay_connected() {
    let seen = Seen::default();
    let server = start(&seen).await;
    // A client of TinyRPC.
    for codec in [Codec::Gob, Codec::Json] {
        let mut peer = Raw::connect(&server, codec, Features::default()).await;
        for (seq, method) in [(1, "Items.Sum"), (2, "Items.Tail")] {
            peer.send(seq, method, &0_u64).await;
            let (header, _) = peer.receive().await.unwrap();
            assert_eq!(header.seq, seq);
            assert!(header.error.contains("over tinyrpc"), "{}", header.error);
        }
        peer.send(3, "Echo.Say", &"hello".to_owned()).await;
        assert_eq!(peer.reply::<String>().await, (3, "hello".to_owned()));
    }
    // Clients of Go's dialects, which are ours.
    for dialect in ["netrpc", "jsonrpc"] {
        let address = format!("{dialect}+tcp@{}", place(&server));
        let client = Client::connect(&address).await.unwrap();
        let call = client.stream::<NoItems, Event, u64>("Items.Tail", &1_u64);
        let error = soon(call.into_future()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
        assert_eq!(error.reached(), Reached::NotSent);
        assert!(error.message().contains("Items.Tail"), "{error}");
        let error = soon(client.call::<u64>("Items.Tail", &1_u64).into_future()).await;
        let error = error.unwrap_err();
        assert!(error.message().contains("only farcall's own"), "{error}");
        let said: String = client.call("Echo.Say", &"hello".to_owned()).await.unwrap();
        assert_eq!(said, "hello");
    }
    // Anyone with curl.
    let mut stream = tokio::net::TcpStream::connect(place(&server))
        .await
        .unwrap();
    let post = "POST /rpc/Items.Tail HTTP/1.0\r\nContent-Length: 1\r\n\r\n3";
    stream.write_all(post.as_bytes()).await.unwrap();
    let answer = String::from_utf8(to_end(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.0 404"), "{answer}");
    assert!(answer.contains("came over HTTP"), "{answer}");
    until(|| running(&server) == 0).await;
}

#[tokio::test]
async fn a_server_without_streams_is_not_asked_for_any() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp@{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // It answers the handshake as TinyRPC does, and every request with its own argument.
        crate::support::echo_as_tiny_rpc(stream, 1).await;
    });
    let client = Client::connect(&address).await.unwrap();
    let call = client.stream::<i64, i64, ()>("Any.Thing", &());
    let error = soon(call.into_future()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::Unimplemented, Reached::NotSent)
    );
    let said: String = client.call("Echo.Say", &"hello".to_owned()).await.unwrap();
    assert_eq!(said, "hello");
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn a_cluster_gives_a_stream_to_one_server_and_counts_it_there() {
    let seen = Seen::default();
    let servers = [start(&seen).await, start(&seen).await];
    // Nobody is there: the stream goes elsewhere.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("tcp@{}", gone.local_addr().unwrap());
    drop(gone);
    let target = format!(
        "static:{nobody},{},{}",
        servers[0].address(),
        servers[1].address()
    );
    let cluster = Cluster::connect(&target).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..6 {
        let call = cluster.stream::<NoItems, u64, ()>("Items.Wait", &());
        let mut items = soon(call.into_future()).await.unwrap();
        assert_eq!(soon(items.next()).await.unwrap().unwrap(), 1);
        streams.push(items);
    }
    // The choice goes by what runs already, so no server has all of them.
    let counts = servers
        .each_ref()
        .map(|server| counts(server, "Items.Wait").0);
    assert_eq!(counts.iter().sum::<u64>(), 6);
    assert!(counts.iter().all(|count| *count >= 1), "{counts:?}");
    drop(streams);
    until(|| servers.iter().all(|server| running(server) == 0)).await;
}

#[tokio::test]
async fn a_handler_on_a_blocking_thread_has_streams_too() {
    let (dropped, is_dropped) = oneshot::channel();
    let dropped = Arc::new(std::sync::Mutex::new(Some(dropped)));
    let method = farcall::Method::streaming(
        "Flood",
        move |_: Context, _: (), mut numbers: Incoming<u64>, mut out: Outgoing<u64>| {
            let dropped = Dropped(dropped.lock().unwrap().take());
            async move {
                let _dropped = dropped;
                while let Some(number) = numbers.next().await {
                    out.send(&(number? * 2)).await?;
                }
                Ok(())
            }
        },
    );
    let server = Server::builder()
        .register(farcall::Service::new("Thread").with(method.blocking()))
        .bind("tcp@127.0.0.1:0");
    let server = server.start().await.unwrap();
    let client = connect(&server, Codec::Gob).await;
    let call = client.stream::<u64, u64, ()>("Thread.Flood", &());
    let mut both = soon(call.into_future()).await.unwrap();
    for number in 0..100 {
        both.send(&number).await.unwrap();
        assert_eq!(soon(both.next()).await.unwrap().unwrap(), 2 * number);
    }
    // The thread waits for items, and no task can be dropped to stop it: it is told.
    drop(both);
    let _ = soon(is_dropped).await;
    is_idle(&server, &client).await;
}

#[farcall::service]
trait Journal {
    /// Sends what was written, from a number on.
    async fn tail(&self, from: u64, events: Outgoing<Event>) -> Result<u64>;
    /// Writes what comes.
    async fn append(&self, context: &Context, events: Incoming<Event>) -> Result<u64>;
    /// Gives the data of each event back, and its name with it.
    async fn names(
        &self,
        context: &Context,
        prefix: String,
        names: Outgoing<String>,
        events: Incoming<Event>,
    ) -> Result<()>;
    #[rpc(idempotent)]
    async fn len(&self) -> Result<u64>;
    /// Left as it is by implementations.
    async fn nothing(&self, _: Outgoing<String>) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Memory(std::sync::Mutex<Vec<Event>>);

impl Journal for Memory {
    async fn tail(&self, from: u64, mut events: Outgoing<Event>) -> Result<u64> {
        let known = self.0.lock().unwrap().clone();
        for event in known.iter().skip(from as usize) {
            events.send(event).await?;
        }
        Ok(known.len() as u64)
    }

    async fn append(&self, context: &Context, mut events: Incoming<Event>) -> Result<u64> {
        context.reply_metadata("journal", context.metadata("who").unwrap_or("nobody"));
        let mut count = 0;
        while let Some(event) = events.next().await {
            let event = event?;
            self.0.lock().unwrap().push(event);
            count += 1;
        }
        Ok(count)
    }

    async fn names(
        &self,
        _: &Context,
        prefix: String,
        mut names: Outgoing<String>,
        mut events: Incoming<Event>,
    ) -> Result<()> {
        while let Some(event) = events.next().await {
            names.send(&format!("{prefix}{}", event?.name)).await?;
        }
        Ok(())
    }

    async fn len(&self) -> Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

/// The items of an iterator, as those have them who use the combinators of other crates.
struct Iter<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Iter<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn a_service_trait_has_streams_and_its_client_too() {
    for codec in Codec::ALL {
        let server = Server::builder()
            .register(Memory::default().into_service())
            .bind("tcp@127.0.0.1:0");
        let server = server.start().await.unwrap();
        let journal = JournalClient::new(connect(&server, codec).await);

        let call = journal.append().metadata("who", "a test").with_metadata();
        let mut append = soon(call.into_future()).await.unwrap();
        append.send(&Event::new(0)).await.unwrap();
        let rest = Iter((1..5).map(Event::new));
        soon(append.send_all(rest)).await.unwrap();
        let reply = soon(append.reply()).await.unwrap();
        assert_eq!(reply.value, 5);
        assert_eq!(
            reply.metadata,
            [("journal".to_owned(), "a test".to_owned())]
        );
        assert_eq!(journal.len().await.unwrap(), 5);

        let mut tail = soon(journal.tail(&2).into_future()).await.unwrap();
        for number in 2..5 {
            assert_eq!(
                soon(tail.next()).await.unwrap().unwrap(),
                Event::new(number)
            );
        }
        assert!(soon(tail.next()).await.is_none());
        assert_eq!(soon(tail.reply()).await.unwrap(), 5);

        let prefix = "the ".to_owned();
        let mut names = soon(journal.names(&prefix).into_future()).await.unwrap();
        for number in 0..3 {
            names.send(&Event::new(number)).await.unwrap();
            let name = soon(names.next()).await.unwrap().unwrap();
            assert_eq!(name, format!("the event {number}"), "{codec}");
        }
        soon(names.reply()).await.unwrap();

        let mut nothing = soon(journal.nothing().into_future()).await.unwrap();
        assert!(soon(nothing.next()).await.is_none());
        until(|| running(&server) == 0).await;
    }
}

#[tokio::test]
async fn a_server_tells_what_its_streams_consist_of() {
    let server = Server::builder()
        .register(Memory::default().into_service())
        .bind("tcp@127.0.0.1:0");
    let server = server.start().await.unwrap();
    let services = farcall::describe_types(server.address(), PATIENCE).await;
    let services = services.unwrap();
    let methods = services[0].methods.iter();
    let signatures: Vec<_> = methods
        .map(|method| format!("{}{}", method.name, method.signature()))
        .collect();
    let event = "Event{Number uint; Name string; Data []byte}";
    assert_eq!(
        signatures,
        [
            format!("Journal.Append(struct{{}}, incoming {event}) uint"),
            "Journal.Len(struct{}) uint".to_owned(),
            format!("Journal.Names(string, incoming {event}, outgoing string) struct{{}}"),
            "Journal.Nothing(struct{}, outgoing string) struct{}".to_owned(),
            format!("Journal.Tail(uint, outgoing {event}) uint"),
        ]
    );
    let append = &services[0].methods[0];
    let schema = append.incoming.as_ref().unwrap();
    let properties = &schema["$defs"]["Event"]["properties"];
    assert_eq!(properties["Name"]["type"], "string", "{schema}");
    assert!(append.outgoing.is_none());
    let types = append.incoming_schema().unwrap();
    assert_eq!(types.to_string(), event);
    let seen = farcall::describe(server.address(), PATIENCE).await.unwrap();
    assert_eq!(seen[0].methods[4].outgoing.as_deref(), Some(event));
}

#[tokio::test]
async fn layers_of_a_server_stand_around_streams_and_lose_no_item() {
    for codec in Codec::ALL {
        let seen = Seen::default();
        let gate = Arc::clone(&seen.gate);
        let layer = move |call: farcall::middleware::Call, next: farcall::middleware::Next| {
            let gate = Arc::clone(&gate);
            async move {
                if call.metadata("who").is_none() {
                    return Err(Error::new(Code::Unauthenticated, "say who you are"));
                }
                // Items come meanwhile.
                gate.notified().await;
                next.run(call).await
            }
        };
        let server = builder(&seen).layer(layer).bind("tcp@127.0.0.1:0");
        let server = server.start().await.unwrap();
        let client = connect(&server, codec).await;
        let call = client.stream::<Event, Event, u64>("Items.Double", &());
        let mut both = soon(call.metadata("who", "a test").into_future())
            .await
            .unwrap();
        for number in 0..10 {
            soon(both.send(&Event::new(number))).await.unwrap();
        }
        both.finish();
        until(|| running(&server) == 1).await;
        seen.gate.notify_one();
        for number in 0..10 {
            for _ in 0..2 {
                let event = soon(both.next()).await.unwrap().unwrap();
                assert_eq!(event, Event::new(number), "{codec}");
            }
        }
        assert!(soon(both.next()).await.is_none());
        assert_eq!(soon(both.reply()).await.unwrap(), 10);

        let call = client.stream::<Event, Event, u64>("Items.Double", &());
        let mut refused = soon(call.into_future()).await.unwrap();
        let error = soon(refused.next()).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{codec}");
        is_idle(&server, &client).await;
    }
}
