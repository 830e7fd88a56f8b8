//! Every order in which callers, the two loops and the end of a connection can take their steps, tried by loom on the
//! real code between the callers' futures and the stream. Run with `tools/loom`.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use farcall_wire::{Body, Code, Features, FrameReader, FrameWriter, Kind, Limits, Side, Step};
use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Agreed, CallTurn, Connection, NotBegun};
use crate::client::{CallOptions, InFlight};
use crate::inbox::Inbox;
use crate::link::model::{FRAMING, in_every_order};
use crate::{Reached, Result};

const MINUTE: Duration = Duration::from_secs(60);

/// A server in memory, and the stream to it: it answers each request with the request's own Seq, as soon as it is
/// written, and ends the stream when the client does.
#[derive(Clone)]
struct Peer(Arc<loom::sync::Mutex<PeerState>>);

struct PeerState {
    requests: FrameReader,
    replies: FrameWriter,
    /// Replies that were not read yet.
    unread: VecDeque<u8>,
    is_over: bool,
    requests_seen: usize,
    cancels: usize,
    /// False for one that reads and says nothing.
    answers: bool,
    reader: Option<Waker>,
}

impl Peer {
    fn new(answers: bool) -> Peer {
        Peer(Arc::new(loom::sync::Mutex::new(PeerState {
            requests: FrameReader::new(FRAMING, Side::Server, &Limits::default()),
            replies: FrameWriter::new(FRAMING, Side::Server),
            unread: VecDeque::new(),
            is_over: false,
            requests_seen: 0,
            cancels: 0,
            answers,
            reader: None,
        })))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut peer = self.0.lock().unwrap();
        let PeerState {
            requests,
            replies,
            unread,
            requests_seen,
            cancels,
            answers,
            ..
        } = &mut *peer;
        let mut rest = bytes;
        // What is written at once ends with a message.
        while let Step::Message { consumed, .. } = requests.next(rest).unwrap() {
            rest = &rest[consumed..];
            let seq = requests.header().seq;
            match requests.header().kind {
                Kind::Cancel => *cancels += 1,
                _ if *answers => {
                    *requests_seen += 1;
                    let mut reply = Vec::new();
                    replies.header().seq = seq;
                    replies.write(Body::from(&seq), &mut reply).unwrap();
                    unread.extend(reply);
                }
                _ => {}
            }
        }
        let reader = peer.reader.take();
        drop(peer);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut peer = self.0.lock().unwrap();
        peer.is_over = true;
        let reader = peer.reader.take();
        drop(peer);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut peer = self.0.lock().unwrap();
        if peer.unread.is_empty() && !peer.is_over {
            peer.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = peer.unread.len().min(room.remaining());
        let bytes: Vec<u8> = peer.unread.drain(..count).collect();
        room.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

fn connection(in_flight_max: usize) -> Arc<Connection> {
    let frames = FrameReader::new(FRAMING, Side::Client, &Limits::default());
    let agreed = Agreed {
        framing: FRAMING,
        features: Features::ALL.compressing(None),
        in_flight_max,
        window: Limits::default().stream_window,
    };
    let (kind, peer) = (frames.body_kind(), "the model".into());
    Arc::new(Connection::new(agreed, kind, peer, &Limits::default()))
}

/// The loop that writes, on a thread of its own.
fn write(connection: &Arc<Connection>, peer: &Peer) -> thread::JoinHandle<()> {
    let (connection, peer) = (Arc::clone(connection), peer.clone());
    thread::spawn(move || {
        block_on(connection.link.write_loop(Box::new(peer), MINUTE)).unwrap();
    })
}

/// The loop that reads. It ends with the connection.
async fn read(connection: &Connection, peer: &Peer) {
    let frames = FrameReader::new(FRAMING, Side::Client, &Limits::default());
    let reader = Box::new(peer.clone());
    connection.read_loop(frames, reader, Inbox::default()).await;
}

/// Both loops on one thread.
fn drive(connection: &Arc<Connection>, peer: &Peer) -> thread::JoinHandle<()> {
    let (connection, peer) = (Arc::clone(connection), peer.clone());
    thread::spawn(move || {
        block_on(async {
            let writing = connection.link.write_loop(Box::new(peer.clone()), MINUTE);
            let (written, ()) = tokio::join!(writing, read(&connection, &peer));
            written.unwrap();
        });
    })
}

/// Wakes someone, and counts it.
struct Counting {
    wakes: AtomicUsize,
    inner: Waker,
}

impl std::task::Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        self.inner.wake_by_ref();
    }
}

/// A call as its future makes it: it leaves its waker, and looks for the reply when that was woken. Gives the number in
/// the reply, and how often it was woken.
async fn call(connection: &Arc<Connection>) -> (Result<u64>, usize) {
    let mut begun = None;
    std::future::poll_fn(|context| {
        let (in_flight, counting) = match &mut begun {
            Some(begun) => begun,
            None => {
                let counting = Arc::new(Counting {
                    wakes: AtomicUsize::new(0),
                    inner: context.waker().clone(),
                });
                let waker = Waker::from(Arc::clone(&counting));
                match begin(connection, Some(&waker), None) {
                    Ok(in_flight) => begun = Some((in_flight, counting)),
                    Err(error) => return Poll::Ready((Err(error), 1)),
                }
                return Poll::Pending;
            }
        };
        // Loom polls when nobody asked for it, too. Whoever is not woken never looks.
        if counting.wakes.load(Ordering::Relaxed) == 0 {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(counting));
        let polled = Pin::new(in_flight).poll(&mut Context::from_waker(&waker));
        polled.map(|reply| {
            let number = reply.and_then(|reply| reply.decode());
            (number, counting.wakes.load(Ordering::Relaxed))
        })
    })
    .await
}

fn begin(
    connection: &Arc<Connection>,
    waker: Option<&Waker>,
    turn: Option<&CallTurn<'_>>,
) -> Result<InFlight> {
    let options = CallOptions::default();
    let begun = InFlight::begin(
        Arc::clone(connection),
        "A.B",
        Body::from(&()),
        &options,
        None,
        waker,
        turn,
    );
    begun.map_err(|not_begun| match not_begun {
        NotBegun::Failed(error) => error,
        NotBegun::Gone => {
            crate::Error::new(Code::Unavailable, "gone").with_reached(Reached::NotSent)
        }
        NotBegun::Full => crate::Error::refused(Code::ResourceExhausted, "full"),
    })
}

fn nothing_is_left(connection: &Connection) {
    assert_eq!(connection.in_flight(), 0);
}

#[test]
fn model_two_callers_get_each_its_own_reply_and_are_woken_once() {
    in_every_order(Some(2), || {
        let (connection, peer) = (connection(9), Peer::new(true));
        let driving = drive(&connection, &peer);
        let other = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || block_on(call(&connection)))
        };
        let (mine, woken) = block_on(call(&connection));
        let (others, other_woken) = other.join().unwrap();
        // Seqs go by who comes first, and the reply to each is its own.
        let mut replies = [mine.unwrap(), others.unwrap()];
        replies.sort_unstable();
        assert_eq!(replies, [1, 2]);
        assert_eq!((woken, other_woken), (1, 1));
        nothing_is_left(&connection);
        connection.retire();
        driving.join().unwrap();
    });
}

#[test]
fn model_a_reply_reaches_its_caller_whatever_reader_and_writer_do() {
    in_every_order(Some(3), || {
        let (connection, peer) = (connection(9), Peer::new(true));
        let writing = write(&connection, &peer);
        let reading = {
            let (connection, peer) = (Arc::clone(&connection), peer.clone());
            thread::spawn(move || block_on(read(&connection, &peer)))
        };
        let (reply, woken) = block_on(call(&connection));
        assert_eq!((reply.unwrap(), woken), (1, 1));
        nothing_is_left(&connection);
        connection.retire();
        writing.join().unwrap();
        reading.join().unwrap();
    });
}

#[test]
fn model_a_call_ends_once_when_the_connection_is_lost_meanwhile() {
    in_every_order(Some(3), || {
        let (connection, peer) = (connection(9), Peer::new(true));
        let driving = drive(&connection, &peer);
        let losing = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection.lose("the model says so"))
        };
        let (reply, woken) = block_on(call(&connection));
        match reply {
            Ok(number) => assert_eq!(number, 1),
            Err(error) => {
                assert_eq!(error.code(), Code::Unavailable);
                if error.reached() == Reached::NotSent {
                    assert_eq!(peer.0.lock().unwrap().requests_seen, 0, "it was sent");
                }
            }
        }
        assert_eq!(woken, 1);
        losing.join().unwrap();
        driving.join().unwrap();
        nothing_is_left(&connection);
        assert!(begin(&connection, None, None).is_err());
    });
}

#[test]
fn model_a_call_that_is_dropped_leaves_nothing_whenever_its_reply_comes() {
    in_every_order(Some(3), || {
        let (connection, peer) = (connection(9), Peer::new(true));
        let driving = drive(&connection, &peer);
        let dropped = begin(&connection, Some(Waker::noop()), None).unwrap();
        drop(dropped);
        // The next call is not met by the first one's reply.
        let (reply, woken) = block_on(call(&connection));
        assert_eq!((reply.unwrap(), woken), (2, 1));
        connection.retire();
        driving.join().unwrap();
        nothing_is_left(&connection);
        assert!(peer.0.lock().unwrap().cancels <= 1);
    });
}

#[test]
fn model_a_place_that_is_given_up_goes_to_all_who_wait_in_turn() {
    in_every_order(Some(3), || {
        // One call at a time, and a server that never answers.
        let connection = connection(1);
        let first = begin(&connection, Some(Waker::noop()), None).unwrap();
        let waiting = |connection: &Arc<Connection>| {
            let connection = Arc::clone(connection);
            move || {
                let next = match begin(&connection, None, None) {
                    Ok(next) => next,
                    Err(error) => {
                        assert_eq!(error.message(), "full");
                        block_on(async {
                            let turn = connection.turn().await;
                            // Whoever has the turn finds room: nobody goes before.
                            begin(&connection, None, Some(&turn)).unwrap()
                        })
                    }
                };
                drop(next);
            }
        };
        let waits = thread::spawn(waiting(&connection));
        let waits_too = thread::spawn(waiting(&connection));
        drop(first);
        waits.join().unwrap();
        waits_too.join().unwrap();
        nothing_is_left(&connection);
    });
}

#[test]
fn model_one_who_leaves_the_queue_for_a_place_passes_the_turn_on() {
    in_every_order(Some(3), || {
        let connection = connection(1);
        let first = begin(&connection, Some(Waker::noop()), None).unwrap();
        let leaving = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || {
                let mut turn = Box::pin(connection.turn());
                let _ = turn.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            })
        };
        let waiting = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || {
                let turn = block_on(connection.turn());
                drop(begin(&connection, None, Some(&turn)).unwrap());
            })
        };
        drop(first);
        leaving.join().unwrap();
        waiting.join().unwrap();
        nothing_is_left(&connection);
    });
}

#[test]
fn model_a_connection_that_retires_gives_its_last_call_its_reply() {
    in_every_order(Some(3), || {
        let (connection, peer) = (connection(9), Peer::new(true));
        let driving = drive(&connection, &peer);
        let retiring = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection.retire())
        };
        let (reply, woken) = block_on(call(&connection));
        match reply {
            Ok(number) => assert_eq!(number, 1),
            Err(error) => assert_eq!(error.message(), "gone", "it came too late"),
        }
        assert_eq!(woken, 1);
        retiring.join().unwrap();
        driving.join().unwrap();
        nothing_is_left(&connection);
    });
}

#[test]
fn model_losing_a_connection_wakes_those_who_wait_for_room_on_it() {
    in_every_order(None, || {
        let connection = connection(1);
        let first = begin(&connection, Some(Waker::noop()), None).unwrap();
        let waiting = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || drop(block_on(connection.turn())))
        };
        let losing = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection.lose("the model says so"))
        };
        losing.join().unwrap();
        waiting.join().unwrap();
        drop(first);
        nothing_is_left(&connection);
    });
}
