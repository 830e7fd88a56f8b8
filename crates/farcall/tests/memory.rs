//! What a body costs that is larger than memory: as one message it is refused, as a stream it passes. A program of its
//! own, since it counts every allocation.

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farcall::{
    Client, Code, Codec, Context, Incoming, Limits, NoItems, Outgoing, Server, Transport,
};
use farcall_wire::{Features, FrameReader, Framing, Hello, Kind, Side, Step};
use peak_alloc::PeakAlloc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;
/// Larger than what there may be of memory.
const BODY_LEN: usize = 100 * MIB;
const MEMORY_MAX: usize = 64 * MIB;
const ITEM_LEN: usize = 64 << 10;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(100);
    tokio::time::timeout(patience, what)
        .await
        .expect("it should end soon")
}

/// A server that counts the bytes that it was sent, and the items that it sends.
async fn start(taken: &Arc<AtomicU64>, given: &Arc<AtomicU64>) -> Server {
    let (put, upload) = (Arc::clone(taken), Arc::clone(taken));
    let given = Arc::clone(given);
    let server = Server::builder()
        .method("Store.Put", move |bytes: Vec<u8>| {
            let put = Arc::clone(&put);
            async move {
                put.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                Ok(bytes.len() as u64)
            }
        })
        .streaming(
            "Store.Upload",
            move |_: Context, _: (), mut parts: Incoming<Vec<u8>>, _: Outgoing<NoItems>| {
                let upload = Arc::clone(&upload);
                async move {
                    let mut len = 0;
                    while let Some(part) = parts.next().await {
                        len += part?.len() as u64;
                    }
                    upload.fetch_add(len, Ordering::SeqCst);
                    Ok(len)
                }
            },
        )
        .streaming(
            "Store.Download",
            move |_: Context, len: u64, _: Incoming<NoItems>, mut parts: Outgoing<Vec<u8>>| {
                let given = Arc::clone(&given);
                async move {
                    let mut left = len as usize;
                    while left > 0 {
                        let part = vec![7; left.min(ITEM_LEN)];
                        left -= part.len();
                        parts.send(&part).await?;
                        given.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(len)
                }
            },
        )
        .bind("tcp@127.0.0.1:0");
    server.start().await.unwrap()
}

async fn client(server: &Server, codec: Codec) -> Client {
    let builder = Client::builder(server.address().clone()).codec(codec);
    builder.connect().await.unwrap()
}

/// The most that was in use while something ran.
async fn peak<T>(what: impl Future<Output = T>) -> (T, usize) {
    MEMORY.reset_peak_usage();
    let output = what.await;
    (output, MEMORY.peak_usage())
}

/// Sends a request with a large body, a piece at a time, and gives what the server says to it last.
async fn send_without_holding(server: &Server) -> Option<String> {
    let Transport::Tcp(place) = &server.address().transport else {
        panic!("{} is no TCP address", server.address());
    };
    let mut stream = TcpStream::connect(place).await.unwrap();
    let mut hello = Vec::new();
    Hello::new(Codec::Postcard, 0, 0, Features::ALL.compressing(None)).write(&mut hello);
    stream.write_all(&hello).await.unwrap();
    while stream.read_u8().await.unwrap() != b'\n' {}
    let (mut reading, mut writing) = stream.into_split();
    let sending = tokio::spawn(async move {
        let mut request = vec![0, 1, 1];
        let name = b"Store.Put";
        request.push(name.len() as u8);
        request.extend_from_slice(name);
        let len = (request.len() + BODY_LEN) as u32;
        writing.write_all(&len.to_le_bytes()).await?;
        writing.write_all(&request).await?;
        let piece = vec![7; ITEM_LEN];
        for _ in 0..BODY_LEN / ITEM_LEN {
            writing.write_all(&piece).await?;
        }
        std::io::Result::Ok(())
    });
    let framing = Framing::Farcall(Codec::Postcard);
    let mut frames = FrameReader::new(framing, Side::Client, &Limits::default());
    let mut inbox = Vec::new();
    let mut says = None;
    loop {
        while let Step::Message { consumed, .. } = frames.next(&inbox).unwrap() {
            inbox.drain(..consumed);
            assert_eq!(frames.header().kind, Kind::GoAway);
            says = Some(frames.header().error.clone());
        }
        // A reset says the same as an end here.
        if reading.read_buf(&mut inbox).await.unwrap_or(0) == 0 {
            break;
        }
    }
    // The server may have closed before all of it was sent.
    let _ = sending.await.unwrap();
    says
}

/// One test, so that nothing else runs in this program while memory is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_larger_than_memory_is_refused_as_one_message_and_passes_as_a_stream() {
    let taken = Arc::default();
    let given = Arc::default();
    let server = start(&taken, &given).await;

    let (says, most) = peak(soon(send_without_holding(&server))).await;
    println!("refused: at most {} KiB of heap", most >> 10);
    assert!(most < MEMORY_MAX, "{most} bytes");
    let says = says.expect("the server says why it closes");
    assert!(says.contains("4194304"), "{says}");

    // JSON goes the same way; as base64, without optimisation, it takes many seconds.
    for codec in [Codec::Gob, Codec::MessagePack, Codec::Postcard] {
        let client = client(&server, codec).await;
        let upload = async {
            let call = client.stream::<Vec<u8>, NoItems, u64>("Store.Upload", &());
            let mut upload = call.await?;
            let part = vec![7; ITEM_LEN];
            for _ in 0..BODY_LEN / ITEM_LEN {
                upload.send(&part).await?;
            }
            upload.reply().await
        };
        let (len, most) = peak(soon(upload)).await;
        println!("{codec} up: at most {} KiB of heap", most >> 10);
        assert_eq!(len.unwrap(), BODY_LEN as u64);
        assert!(most < MEMORY_MAX, "{codec}: {most} bytes");

        let download = async {
            let len = BODY_LEN as u64;
            let call = client.stream::<NoItems, Vec<u8>, u64>("Store.Download", &len);
            let mut parts = call.await?;
            let mut len = 0;
            while let Some(part) = parts.next().await {
                len += part?.len();
            }
            farcall::Result::<usize>::Ok(len)
        };
        let (len, most) = peak(soon(download)).await;
        println!("{codec} down: at most {} KiB of heap", most >> 10);
        assert_eq!(len.unwrap(), BODY_LEN);
        assert!(most < MEMORY_MAX, "{codec}: {most} bytes");
    }
    assert_eq!(taken.load(Ordering::SeqCst), 3 * BODY_LEN as u64);

    // Whoever does not take what was asked for costs neither side more than the window.
    let client_of_many = client(&server, Codec::Postcard).await;
    given.store(0, Ordering::SeqCst);
    let stalled = async {
        let (len, nothing) = (BODY_LEN as u64, Vec::<u8>::new());
        let mut streams = Vec::new();
        for _ in 0..10 {
            let call = client_of_many.stream::<NoItems, Vec<u8>, u64>("Store.Download", &len);
            streams.push(call.await.unwrap());
        }
        // Until nothing moves any more, while other calls go on.
        let mut before = u64::MAX;
        while before != given.load(Ordering::SeqCst) {
            before = given.load(Ordering::SeqCst);
            for _ in 0..50 {
                let put = client_of_many.call::<u64>("Store.Put", &nothing);
                assert_eq!(put.await.unwrap(), 0);
            }
        }
        streams
    };
    let (streams, most) = peak(soon(stalled)).await;
    println!("ten stalled: at most {} KiB of heap", most >> 10);
    // Four items fill a window of 256 KiB, or come so near to it that a fifth one goes.
    let given = given.load(Ordering::SeqCst);
    assert!((10..=50).contains(&given), "{given} items");
    assert!(most < 16 * MIB, "{most} bytes");
    drop(streams);

    // Whoever has the memory to send it all the same reads why it was no use.
    let body = vec![7_u8; BODY_LEN];
    let client = client(&server, Codec::Postcard).await;
    let error = soon(client.call::<u64>("Store.Put", &body).into_future()).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("more than 4194304"), "{error}");
    assert_eq!(taken.load(Ordering::SeqCst), 3 * BODY_LEN as u64);
}
