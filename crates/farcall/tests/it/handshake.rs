//! How conversations begin: whatever the bytes are, and however they are split.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use farcall::{Address, Client, Code, Codec, Limits, Reached, Server, ServerBuilder};
use farcall_wire::{
    Features, Framing, GO_RPC_CONNECTED, GO_RPC_PATH, Hello, Side, TINYRPC_CONNECTED, TINYRPC_PATH,
    connect_request,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Give, Log, Raw, Scripted, hello, place, soon, to_end, until};

const PATIENCE_OF_THE_SERVER: Duration = Duration::from_millis(300);

fn echo() -> ServerBuilder {
    Server::builder()
        .method("Echo.Int", |number: i64| async move { Ok(number) })
        .method("Echo.Text", |text: String| async move { Ok(text) })
}

/// What a stranger does after its bytes.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Waits,
    Ends,
}

#[tokio::test]
async fn strangers_are_closed_in_time_and_logged_once_and_nobody_else_notices() {
    let log = Log::start();
    let builder = echo().handshake_timeout(PATIENCE_OF_THE_SERVER);
    let server = builder.bind("tcp@127.0.0.1:0").start().await.unwrap();
    let client = Client::builder(server.address().clone())
        .connect()
        .await
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let bystander = {
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            let mut made = 0;
            while !stop.load(Ordering::Relaxed) {
                let reply: i64 = client.call("Echo.Int", &made).await.unwrap();
                assert_eq!(reply, made);
                made += 1;
            }
            made
        })
    };

    let mut megabyte = br#"{"CodecType":""#.to_vec();
    megabyte.resize(1 << 20, b'x');
    let long_head = [&b"CONNECT /_tinyrpc_ HTTP/1.0\nX: "[..], &[b'x'; 9000]].concat();
    let tiny = hello(Codec::Gob, Features::default());
    let not_whole = "the handshake was not whole after 300ms";
    let cut_off = "the peer ended the stream within its opening";
    let cases: &[(&[u8], Then, &str)] = &[
        (
            b"{\"MagicNumber\":7,\"CodecType\":\"application/gob\"}\n",
            Then::Waits,
            "the magic number is 7, not 3927900",
        ),
        (
            b"{\"MagicNumber\":3927900,\"CodecType\":\"application/evil\"}\n",
            Then::Waits,
            "the codec \"application/evil\" is not known",
        ),
        (b"{\"MagicNumber\":\"x\"}\n", Then::Waits, "no Option"),
        (&megabyte, Then::Waits, "8192 bytes"),
        (b"", Then::Waits, not_whole),
        (b"{", Then::Waits, not_whole),
        (b"hello\r\n", Then::Waits, "begin no protocol: hello\\r\\n"),
        (b"\x00\x01\x02", Then::Waits, "begin no protocol"),
        (b"\x16\x03\x01\x02\x00\x01", Then::Waits, "TLS"),
        (&tiny[..tiny.len() / 2], Then::Waits, not_whole),
        (&tiny[..tiny.len() / 2], Then::Ends, cut_off),
        (b"{", Then::Ends, cut_off),
        (
            b"CONNECT /nowhere HTTP/1.0\n\n",
            Then::Waits,
            "CONNECT asks for \"/nowhere\"",
        ),
        (
            b"CONNECT /_tinyrpc_ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            Then::Waits,
            "CONNECT has no body, yet sends Content-Length",
        ),
        (b"CONNECT /_tinyrpc_ HTTP/9.9\n\n", Then::Waits, "malformed"),
        (&long_head, Then::Waits, "longer than 8192 bytes"),
        (b"CONNECT /_tinyrpc_ HT", Then::Waits, not_whole),
        (b"CONNECT /_tinyrpc_ HT", Then::Ends, cut_off),
        (b"CONNECT /_tinyrpc_ HTTP/1.0\n\n", Then::Waits, not_whole),
        (
            b"CONNECT /_tinyrpc_ HTTP/1.0\n\nhello",
            Then::Waits,
            "cannot begin a JSON value",
        ),
    ];
    let mut seen = Vec::new();
    for (bytes, then, reason) in cases {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(place(&server)).await.unwrap();
        let peer = format!("peer={} ", stream.local_addr().unwrap());
        // The server may close before it has read a megabyte.
        let _ = stream.write_all(bytes).await;
        if *then == Then::Ends {
            stream.shutdown().await.unwrap();
        }
        let back = to_end(&mut stream).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{reason}");
        assert!(
            back.is_empty() || back.starts_with(b"HTTP/1."),
            "{}",
            back.escape_ascii()
        );
        drop(stream);
        until(|| !log.warnings(&peer).is_empty()).await;
        seen.push((peer, reason));
    }
    for (peer, reason) in seen {
        let lines = log.warnings(&peer);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(reason), "{lines:?} lacks {reason}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(soon(bystander).await.unwrap() > 0);
    assert_eq!(log.warnings("").len(), cases.len());
}

#[tokio::test]
async fn honest_ends_are_not_worth_a_warning() {
    let log = Log::start();
    let server = echo().bind("tcp@127.0.0.1:0").start().await.unwrap();
    // A check whether the port is open.
    let mut probe = TcpStream::connect(place(&server)).await.unwrap();
    probe.shutdown().await.unwrap();
    assert!(to_end(&mut probe).await.is_empty());
    for codec in Codec::ALL {
        let address = server.address().clone();
        let client = Client::builder(address).codec(codec).connect().await;
        let client = client.unwrap();
        assert_eq!(client.call::<i64>("Echo.Int", &3_i64).await.unwrap(), 3);
        client.close();
        let mut peer = Raw::connect(&server, codec, Features::default()).await;
        peer.send(1, "Echo.Int", &4_i64).await;
        assert_eq!(peer.reply::<i64>().await, (1, 4));
    }
    for dialect in ["netrpc+tcp", "netrpc+http", "jsonrpc+tcp"] {
        let address = format!("{dialect}@{}", place(&server));
        let client = Client::connect(&address).await.unwrap();
        assert_eq!(client.call::<i64>("Echo.Int", &3_i64).await.unwrap(), 3);
    }
    assert!(soon(server.shutdown(Duration::from_secs(20))).await);
    assert_eq!(log.warnings(""), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_stranger_says_fills_no_log() {
    let log = Log::start();
    let server = echo().bind("tcp@127.0.0.1:0").start().await.unwrap();
    let long = "\\n x".repeat(1500);
    for bytes in [
        format!("{{\"MagicNumber\":3927900,\"CodecType\":\"{long}\"}}\n"),
        format!("{{\"MagicNumber\":\"{long}\"}}\n"),
        format!("CONNECT /{} HTTP/1.0\n\n", "x".repeat(6000)),
    ] {
        let mut stream = TcpStream::connect(place(&server)).await.unwrap();
        let peer = format!("peer={} ", stream.local_addr().unwrap());
        stream.write_all(bytes.as_bytes()).await.unwrap();
        to_end(&mut stream).await;
        drop(stream);
        until(|| !log.warnings(&peer).is_empty()).await;
        let line = &log.warnings(&peer)[0];
        assert!(line.len() < 600, "{} bytes: {line}", line.len());
        assert!(!line.contains('\n'), "{line}");
    }
}

/// The opening of a conversation that goes this way.
fn opening(codec: Codec, over_http: bool, features: Features) -> Vec<u8> {
    let mut bytes = Vec::new();
    if over_http {
        bytes = connect_request(TINYRPC_PATH);
    }
    bytes.extend(hello(codec, features));
    bytes
}

/// Every way to begin: the bytes of an opening and of a few calls behind it, as a client writes them.
fn conversations() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for over_http in [false, true] {
        let framings = Codec::ALL.map(Framing::Farcall);
        for framing in framings.into_iter().chain([Framing::NetRpc]) {
            for features in [Features::default(), Features::ALL.compressing(None)] {
                let mut bytes = match framing {
                    Framing::Farcall(codec) => opening(codec, over_http, features),
                    _ if over_http => connect_request(GO_RPC_PATH),
                    _ => Vec::new(),
                };
                let mut raw = Raw::opened((), framing, Side::Client);
                bytes.extend(raw.request(0, "Echo.Int", &-5_i64));
                bytes.extend(raw.request(1, "Echo.Text", &"two".to_owned()));
                bytes.extend(raw.request(7, "Nope.Nope", &"three".to_owned()));
                bytes.extend(raw.request(3, "Echo.Int", &70_000_i64));
                all.push((format!("{framing:?} http {over_http}"), bytes));
            }
        }
    }
    all
}

async fn served(server: &Server, pieces: impl IntoIterator<Item = &[u8]>) -> Vec<u8> {
    let (stream, written) = Scripted::pieces(pieces);
    server.serve_stream(stream, "a script");
    written.all().await
}

#[tokio::test]
async fn a_server_says_the_same_however_an_opening_and_requests_are_split() {
    let server = echo().start().await.unwrap();
    for (name, bytes) in conversations() {
        let whole = served(&server, [&bytes[..]]).await;
        let text = String::from_utf8_lossy(&whole);
        assert!(text.contains("two"), "{name}: {text}");
        assert!(text.contains("find service Nope"), "{name}: {text}");
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            let split = served(&server, [first, second]).await;
            assert!(split == whole, "{name}, split at {at}");
        }
        let bytewise = served(&server, bytes.chunks(1)).await;
        assert!(bytewise == whole, "{name}, byte by byte");
    }
}

#[tokio::test]
async fn the_first_request_and_the_first_reply_may_have_any_length() {
    let server = echo().start().await.unwrap();
    for codec in Codec::ALL {
        for len in 0..300 {
            let (ours, theirs) = tokio::io::duplex(4 << 10);
            server.serve_stream(theirs, "the client");
            let builder = Client::builder("tcp@h:1".parse().unwrap()).codec(codec);
            let client = soon(builder.connect_on(ours)).await.unwrap();
            let text = "x".repeat(len);
            let call = client.call::<String>("Echo.Text", &text);
            let reply = soon(call.into_future()).await;
            assert_eq!(reply.unwrap(), text, "{codec}, {len} bytes");
        }
    }
}

#[tokio::test]
async fn a_server_survives_an_end_at_every_byte() {
    let server = echo().start().await.unwrap();
    for (name, bytes) in conversations() {
        let whole = served(&server, [&bytes[..]]).await;
        for len in 0..bytes.len() {
            let cut = served(&server, [&bytes[..len]]).await;
            assert!(
                whole.starts_with(&cut),
                "{name}, cut at {len}: {}",
                cut.escape_ascii()
            );
        }
    }
    assert_eq!(crate::support::running(&server), 0);
}

/// What a server says to a client that makes one call `Echo.Int`: its opening, and its reply.
fn server_says(address: &Address, codec: Codec, features: Features) -> (Vec<u8>, Vec<u8>) {
    let (framing, opening) = match address.to_string() {
        a if a.starts_with("netrpc+http") => (Framing::NetRpc, GO_RPC_CONNECTED.to_vec()),
        a if a.starts_with("netrpc") => (Framing::NetRpc, Vec::new()),
        a if a.starts_with("http") => (
            Framing::Farcall(codec),
            [TINYRPC_CONNECTED, &hello(codec, features)].concat(),
        ),
        _ => (Framing::Farcall(codec), hello(codec, features)),
    };
    let first_seq = match framing {
        Framing::NetRpc => 0,
        _ => 1,
    };
    let mut raw = Raw::opened((), framing, Side::Server);
    let reply = raw.message(&42_i64, |header| {
        header.seq = first_seq;
        header.service_method = "Echo.Int".to_owned();
    });
    (opening, reply)
}

/// Every address form, codec and kind of server.
fn servers() -> Vec<(Address, Codec, Features)> {
    let mut all = Vec::new();
    for address in ["tcp@h:1", "http@h:1"] {
        for codec in Codec::ALL {
            for features in [Features::default(), Features::ALL.compressing(None)] {
                all.push((address.parse().unwrap(), codec, features));
            }
        }
    }
    for address in ["netrpc+tcp@h:1", "netrpc+http@h:1"] {
        let address = address.parse().unwrap();
        all.push((address, Codec::Gob, Features::default()));
    }
    all
}

/// A client's one call over a stream that follows a script.
async fn call(address: &Address, codec: Codec, stream: Scripted) -> farcall::Result<i64> {
    let builder = Client::builder(address.clone()).codec(codec);
    let client = soon(builder.connect_on(stream)).await?;
    soon(client.call("Echo.Int", &42_i64).into_future()).await
}

/// What the client writes before its request.
fn client_opening_len(address: &Address, codec: Codec) -> usize {
    // The client's hello also says its connect timeout, and how much of a stream it holds.
    let mut bytes = Vec::new();
    Hello::new(codec, 10_000_000_000, 0, Features::ALL.compressing(None))
        .with_window(Limits::default().stream_window)
        .write(&mut bytes);
    let hello = bytes.len();
    match address.to_string() {
        a if a.starts_with("netrpc+http") => connect_request(GO_RPC_PATH).len(),
        a if a.starts_with("netrpc") => 0,
        a if a.starts_with("http") => connect_request(TINYRPC_PATH).len() + hello,
        _ => hello,
    }
}

#[tokio::test]
async fn a_client_understands_however_an_acknowledgement_and_a_reply_are_split() {
    for (address, codec, features) in servers() {
        let (opening, reply) = server_says(&address, codec, features);
        let request_out = Give::AfterWritten(client_opening_len(&address, codec) + 1);
        let whole = [&opening[..], &reply].concat();
        // Before binary frames it is a part of the handshake.
        let newline_late = opening.ends_with(b"}\n") && matches!(codec, Codec::Gob | Codec::Json);
        for at in 0..whole.len() {
            let mut gives = Vec::new();
            if at <= opening.len() {
                let (first, second) = opening.split_at(at);
                gives.extend([first.to_vec(), second.to_vec()].map(Give::Bytes));
                gives.push(request_out.clone());
                gives.push(Give::Bytes(reply.clone()));
            } else {
                let (first, second) = reply.split_at(at - opening.len());
                gives.push(Give::Bytes(opening.clone()));
                gives.push(request_out.clone());
                gives.extend([first.to_vec(), second.to_vec()].map(Give::Bytes));
            }
            gives.retain(|give| !matches!(give, Give::Bytes(bytes) if bytes.is_empty()));
            gives.push(Give::Silence);
            let (stream, _written) = Scripted::new(gives);
            let outcome = call(&address, codec, stream).await;
            assert_eq!(outcome.unwrap(), 42, "{address} {codec}, split at {at}");
        }
        if newline_late {
            let mut gives: Vec<Give> = opening[..opening.len() - 1]
                .iter()
                .map(|byte| Give::Bytes(vec![*byte]))
                .collect();
            gives.push(request_out.clone());
            gives.push(Give::Bytes(vec![b'\n']));
            gives.extend(reply.iter().map(|byte| Give::Bytes(vec![*byte])));
            gives.push(Give::Silence);
            let (stream, _written) = Scripted::new(gives);
            let outcome = call(&address, codec, stream).await;
            assert_eq!(outcome.unwrap(), 42, "{address} {codec}, late newline");
        }
    }
}

#[tokio::test]
async fn a_client_survives_an_end_at_every_byte() {
    for (address, codec, features) in servers() {
        let (opening, reply) = server_says(&address, codec, features);
        let request_out = Give::AfterWritten(client_opening_len(&address, codec) + 1);
        for len in 0..opening.len() + reply.len() {
            let first = &opening[..len.min(opening.len())];
            let second = &reply[..len.saturating_sub(opening.len())];
            let mut gives = vec![Give::Bytes(first.to_vec())];
            if len >= opening.len() {
                gives.push(request_out.clone());
                gives.push(Give::Bytes(second.to_vec()));
            }
            gives.retain(|give| !matches!(give, Give::Bytes(bytes) if bytes.is_empty()));
            let (stream, _written) = Scripted::new(gives);
            match call(&address, codec, stream).await {
                // The newline behind a JSON value is no part of it.
                Ok(reply) => assert_eq!((reply, codec), (42, Codec::Json), "cut at {len}"),
                Err(error) => {
                    assert_eq!(error.code(), Code::Unavailable, "{error}");
                    // The acknowledgement's newline may be missing.
                    let opened = len + 1 >= opening.len();
                    let reached = match opened {
                        true => Reached::Unknown,
                        false => Reached::NotSent,
                    };
                    if len + 1 != opening.len() {
                        assert_eq!(error.reached(), reached, "{address} cut at {len}: {error}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_answers_wrongly_is_told_apart_in_words() {
    let tcp = "tcp@h:1";
    let http = "http@h:1";
    let gob = String::from_utf8(hello(Codec::Gob, Features::default())).unwrap();
    let json = String::from_utf8(hello(Codec::Json, Features::default())).unwrap();
    let long = "x".repeat(9000);
    for (address, says, words) in [
        (tcp, gob.replace("3927900", "7"), "the magic number is 7"),
        (
            tcp,
            json,
            "the server answered with the codec json, not gob",
        ),
        (
            tcp,
            gob.replace("gob", "evil"),
            "\"application/evil\" is not known",
        ),
        (
            tcp,
            "SSH-2.0-OpenSSH\r\n".to_owned(),
            "cannot begin a JSON value",
        ),
        (tcp, String::new(), "the server closed the connection"),
        (tcp, format!("{{\"x\":\"{long}"), "8192 bytes"),
        (
            http,
            "HTTP/1.0 404 Not Found\r\n\r\n".to_owned(),
            "404 Not Found",
        ),
        (http, gob, "malformed"),
        (http, format!("HTTP/1.0 200 OK\nX: {long}"), "8192 bytes"),
    ] {
        let (stream, _written) = Scripted::pieces([says.as_bytes()]);
        let address: Address = address.parse().unwrap();
        let error = call(&address, Codec::Gob, stream).await.unwrap_err();
        assert_eq!(
            (error.code(), error.reached()),
            (Code::Unavailable, Reached::NotSent)
        );
        let text = error.to_string();
        assert!(text.contains(words), "{text} lacks {words}");
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.len() < 600, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_after_the_connect_timeout() {
    let (stream, _written) = Scripted::new([Give::Silence]);
    let builder = Client::builder("tcp@h:1".parse().unwrap());
    let builder = builder.connect_timeout(Duration::from_millis(1500));
    let begun = tokio::time::Instant::now();
    let error = builder.connect_on(stream).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.to_string().contains("1.5s"), "{error}");
    assert_eq!(begun.elapsed().as_millis(), 1500);
}
