//! How many calls share a write: what makes many small calls cheap. In a program of its own, since other tests beside
//! it would take the processor away in the middle of a batch.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use farcall::{Address, Client, Codec, Server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A socket that counts its writes.
struct Counted {
    socket: TcpStream,
    writes: Arc<AtomicUsize>,
}

impl Counted {
    fn new(socket: TcpStream) -> (Counted, Arc<AtomicUsize>) {
        socket.set_nodelay(true).unwrap();
        let writes = Arc::default();
        let counts = Arc::clone(&writes);
        (Counted { socket, writes }, counts)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, room)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        if written.is_ready() {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

const AT_A_TIME: usize = 128;
const EACH: usize = 100;

async fn call(client: &Client) {
    let mut callers = JoinSet::new();
    for caller in 0..AT_A_TIME {
        let client = client.clone();
        callers.spawn(async move {
            for call in 0..EACH {
                let number = (caller * EACH + call) as u64;
                let reply: u64 = client.call("Echo.Number", &number).await.unwrap();
                assert_eq!(reply, number);
            }
        });
    }
    let limit = Duration::from_secs(60);
    let ended = tokio::time::timeout(limit, callers.join_all()).await;
    ended.expect("the calls should end soon");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_calls_and_more_share_a_write_with_128_in_flight() {
    let server = Server::builder()
        .method("Echo.Number", |number: u64| async move { Ok(number) })
        .start()
        .await
        .unwrap();
    for codec in Codec::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(place), listener.accept());
        let (near, requests) = Counted::new(near.unwrap());
        let (far, replies) = Counted::new(far.unwrap().0);
        server.serve_stream(far, "the test");
        let client = Client::builder(Address::tcp(place)).codec(codec);
        let client = client.connect_on(near).await.unwrap();
        // How threads take turns is the system's to say: the median is ours.
        let mut rounds = [(0, 0); 5];
        for round in &mut rounds {
            call(&client).await;
            *round = (
                requests.swap(0, Ordering::Relaxed),
                replies.swap(0, Ordering::Relaxed),
            );
        }
        let (requests, replies): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
        for (mut writes, what) in [(requests, "requests"), (replies, "replies")] {
            writes.sort_unstable();
            let a_call = writes[writes.len() / 2] as f64 / (AT_A_TIME * EACH) as f64;
            println!("{codec}: {a_call:.4} writes of {what} a call");
            assert!(a_call <= 0.05, "{codec}: {a_call} writes of {what} a call");
        }
    }
}
