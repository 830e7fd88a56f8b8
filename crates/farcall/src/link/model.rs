//! Every order in which the threads of a connection can take their steps, tried by loom on the real sending side.
//! A wake-up that is lost shows as a deadlock. Run with `tools/loom`.
//!
//! Small models are tried without bound. In larger ones a thread is interrupted three times at most where it need not
//! wait, or twice: faults that take more are not known.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use farcall_wire::{Body, Codec, FrameReader, FrameWriter, Framing, Limits, Side, Step};
use loom::future::block_on;
use loom::thread;
use tokio::io::AsyncWrite;

use super::{Link, QUEUED_MAX, wake_all};

pub(crate) const FRAMING: Framing = Framing::Farcall(Codec::Postcard);

/// Tries every order, with so many preemptions of a thread at most; `None` is any number.
pub(crate) fn in_every_order(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    // Timeouts are made, and never waited for.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    let began = std::time::Instant::now();
    let orders = std::sync::atomic::AtomicUsize::new(0);
    let orders = Arc::new(orders);
    let counted = Arc::clone(&orders);
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    let orders = orders.load(std::sync::atomic::Ordering::Relaxed);
    println!("{orders} orders in {:?}", began.elapsed());
}

/// A peer that takes everything at once, or `at_a_time` bytes.
#[derive(Clone)]
struct Sink {
    written: Arc<std::sync::Mutex<Vec<u8>>>,
    at_a_time: usize,
}

impl Sink {
    fn new(at_a_time: usize) -> Sink {
        Sink {
            written: Arc::default(),
            at_a_time,
        }
    }

    /// The Seqs of the messages that were written, in their order.
    fn seqs(&self) -> Vec<u64> {
        let mut reader = FrameReader::new(FRAMING, Side::Server, &Limits::default());
        let written = self.written.lock().unwrap();
        let mut rest = written.as_slice();
        let mut seqs = Vec::new();
        loop {
            match reader.next(rest).unwrap() {
                Step::More { consumed, .. } => {
                    assert_eq!(consumed, rest.len(), "no message is written in part");
                    return seqs;
                }
                Step::Message { consumed, .. } => {
                    rest = &rest[consumed..];
                    seqs.push(reader.header().seq);
                }
            }
        }
    }
}

impl AsyncWrite for Sink {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.at_a_time);
        self.written
            .lock()
            .unwrap()
            .extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn link<S>(side: S) -> Arc<Link<S>> {
    Arc::new(Link::new(FrameWriter::new(FRAMING, Side::Client), side))
}

fn send<S>(link: &Link<S>, seq: u64, body: Body<'_>) {
    let sent = link.lock().send(body, |header| {
        header.seq = seq;
        header.service_method.push_str("A.B");
    });
    wake_all(sent.unwrap());
}

fn close<S>(link: &Link<S>) {
    let wake = link.lock().close();
    wake_all(wake);
}

/// The real loop, on a thread of its own.
fn write<S: Send + 'static>(link: &Arc<Link<S>>, sink: &Sink) -> thread::JoinHandle<()> {
    let (link, sink) = (Arc::clone(link), sink.clone());
    thread::spawn(move || {
        block_on(link.write_loop(Box::new(sink), Duration::from_secs(60))).unwrap();
    })
}

#[test]
fn model_what_is_queued_is_written_once_and_in_order() {
    in_every_order(Some(3), || {
        let (link, sink) = (link(()), Sink::new(usize::MAX));
        let writing = write(&link, &sink);
        let other = {
            let link = Arc::clone(&link);
            thread::spawn(move || send(&link, 9, Body::from(&())))
        };
        send(&link, 1, Body::from(&()));
        send(&link, 2, Body::from(&()));
        other.join().unwrap();
        // Closing wakes the writer, too, and would hide that nothing else did.
        block_on(link.idle(|()| true));
        close(&link);
        writing.join().unwrap();
        let mut seqs = sink.seqs();
        let nine = seqs.iter().position(|seq| *seq == 9).unwrap();
        seqs.remove(nine);
        assert_eq!(seqs, [1, 2]);
    });
}

#[test]
fn model_a_full_queue_opens_again_to_everyone_who_waits() {
    let long = vec![7_u8; QUEUED_MAX];
    in_every_order(Some(3), move || {
        let (link, sink) = (link(()), Sink::new(QUEUED_MAX / 2));
        let writing = write(&link, &sink);
        let sender = |seq| {
            let (link, long) = (Arc::clone(&link), long.clone());
            move || {
                block_on(link.room(|()| true));
                send(&link, seq, Body::from(&long));
            }
        };
        let other = thread::spawn(sender(2));
        sender(1)();
        other.join().unwrap();
        block_on(link.idle(|()| true));
        close(&link);
        writing.join().unwrap();
        assert!(!link.is_full());
        assert!(link.lock().waiting_for_room.is_empty());
        let mut seqs = sink.seqs();
        seqs.sort_unstable();
        assert_eq!(seqs, [1, 2]);
    });
}

#[test]
fn model_one_who_stops_waiting_for_room_takes_nobody_s_turn() {
    let long = vec![7_u8; QUEUED_MAX];
    in_every_order(Some(3), move || {
        let (link, sink) = (link(()), Sink::new(usize::MAX));
        send(&link, 1, Body::from(&long));
        assert!(link.is_full());
        let leaves = {
            let link = Arc::clone(&link);
            thread::spawn(move || {
                let mut room = Box::pin(link.room(|()| true));
                let waker = std::task::Waker::noop();
                let _ = room.as_mut().poll(&mut Context::from_waker(waker));
            })
        };
        let stays = {
            let link = Arc::clone(&link);
            thread::spawn(move || {
                block_on(link.room(|()| true));
                close(&link);
            })
        };
        block_on(link.write_loop(Box::new(sink), Duration::from_secs(60))).unwrap();
        leaves.join().unwrap();
        stays.join().unwrap();
        assert!(link.lock().waiting_for_room.is_empty());
    });
}

#[test]
fn model_a_connection_is_idle_once_all_is_written_and_nothing_runs() {
    in_every_order(Some(3), || {
        // The side counts what runs.
        let (link, sink) = (link(1_u32), Sink::new(usize::MAX));
        let writing = write(&link, &sink);
        let handler = {
            let link = Arc::clone(&link);
            thread::spawn(move || {
                send(&link, 1, Body::from(&()));
                let idle = {
                    let mut sending = link.lock();
                    sending.side -= 1;
                    sending.side_changed()
                };
                wake_all(idle);
            })
        };
        block_on(link.idle(|running| *running == 0));
        assert_eq!(sink.seqs(), [1], "the reply is out");
        close(&link);
        handler.join().unwrap();
        writing.join().unwrap();
    });
}

#[test]
fn model_closing_wakes_those_who_wait_for_room_or_idleness() {
    let long = vec![7_u8; QUEUED_MAX];
    in_every_order(None, move || {
        let link = link(());
        send(&link, 1, Body::from(&long));
        let waits = {
            let link = Arc::clone(&link);
            thread::spawn(move || block_on(link.room(|()| true)))
        };
        let idles = {
            let link = Arc::clone(&link);
            thread::spawn(move || block_on(link.idle(|()| false)))
        };
        close(&link);
        waits.join().unwrap();
        idles.join().unwrap();
    });
}

#[test]
fn model_closing_ends_the_writer_once_all_is_written() {
    in_every_order(None, || {
        let (link, sink) = (link(()), Sink::new(usize::MAX));
        let writing = write(&link, &sink);
        send(&link, 1, Body::from(&()));
        let closes = {
            let link = Arc::clone(&link);
            thread::spawn(move || close(&link))
        };
        send(&link, 2, Body::from(&()));
        closes.join().unwrap();
        writing.join().unwrap();
        // The second came before the close or not at all.
        assert!([&[1][..], &[1, 2]].contains(&&*sink.seqs()));
    });
}
