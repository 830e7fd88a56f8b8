//! Every dialect on one port: geerpc, which answers no handshake; dialects that are switched off; JSON-RPC and HTTP in
//! any pieces; all of them at once. Handshakes and gob in pieces are `handshake`'s.

use std::time::{Duration, Instant};

use farcall::{Address, Client, Code, Codec, Dialect, Error, Server, ServerBuilder};
use farcall_wire::{Features, Framing, GEERPC_CONNECTED, GEERPC_PATH, Side, connect_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{Log, Raw, Scripted, hello, place, soon, to_end, until};

fn echo() -> ServerBuilder {
    Server::builder()
        .method("Echo.Int", |number: i64| async move { Ok(number) })
        .method("Echo.Text", |text: String| async move { Ok(text) })
        .method("Echo.Who", |context: farcall::Context, ()| async move {
            Ok(context.dialect().to_owned())
        })
        .method("Echo.Late", |number: i64| async move {
            tokio::task::yield_now().await;
            Ok(number)
        })
        .method("Echo.Fail", |text: String| async move {
            Err::<(), _>(Error::from(text))
        })
}

async fn call(form: &str, place: &str, codec: Codec) -> farcall::Result<i64> {
    let address: Address = format!("{form}@{place}").parse()?;
    let client = Client::builder(address).codec(codec).connect().await?;
    soon(client.call("Echo.Int", &42_i64).into_future()).await
}

/// What a client of geerpc writes at once: its handshake, and requests behind it.
fn geerpc_opening(codec: Codec) -> (Vec<u8>, Raw<()>) {
    let mut bytes = hello(codec, Features::default());
    let mut raw = Raw::opened((), Framing::Farcall(codec), Side::Client);
    bytes.extend(raw.request(1, "Echo.Int", &-5_i64));
    bytes.extend(raw.request(2, "Nope.Nope", &"skipped".to_owned()));
    bytes.extend(raw.request(3, "Echo.Text", &"two".to_owned()));
    (bytes, raw)
}

async fn assert_geerpc_replies(stream: TcpStream, codec: Codec) {
    let mut raw = Raw::opened(stream, Framing::Farcall(codec), Side::Client);
    // Not one byte of an acknowledgement comes first.
    assert_eq!(raw.reply::<i64>().await, (1, -5));
    let (header, _) = raw.receive().await.unwrap();
    assert_eq!(header.error, "rpc server: can't find service Nope");
    assert_eq!(raw.reply::<String>().await, (3, "two".to_owned()));
}

#[tokio::test]
async fn geerpc_clients_get_replies_and_no_acknowledgement_at_their_listener() {
    let builder = echo().bind("geerpc+tcp@127.0.0.1:0");
    let server = builder.start().await.unwrap();
    assert!(server.address().to_string().starts_with("geerpc+tcp@"));
    for codec in Codec::ALL {
        let mut stream = TcpStream::connect(place(&server)).await.unwrap();
        let (bytes, _) = geerpc_opening(codec);
        stream.write_all(&bytes).await.unwrap();
        assert_geerpc_replies(stream, codec).await;
    }
}

#[tokio::test]
async fn geerpc_clients_get_replies_at_their_path_on_any_listener() {
    let server = echo().bind("tcp@127.0.0.1:0").start().await.unwrap();
    for codec in Codec::ALL {
        let mut stream = TcpStream::connect(place(&server)).await.unwrap();
        let connect = connect_request(GEERPC_PATH);
        assert_eq!(connect, b"CONNECT /_geeprc_ HTTP/1.0\n\n");
        stream.write_all(&connect).await.unwrap();
        let mut connected = vec![0; GEERPC_CONNECTED.len()];
        soon(stream.read_exact(&mut connected)).await.unwrap();
        assert_eq!(connected, b"HTTP/1.0 200 Connected to Gee RPC\n\n");
        let (bytes, _) = geerpc_opening(codec);
        stream.write_all(&bytes).await.unwrap();
        assert_geerpc_replies(stream, codec).await;
    }
}

#[tokio::test]
async fn a_client_speaks_geerpc_to_an_address_that_says_so() {
    let builder = echo().bind("geerpc+tcp@127.0.0.1:0");
    let server = builder.bind("tcp@127.0.0.1:0").start().await.unwrap();
    let [raw, any] = server.addresses() else {
        panic!("it listens at two addresses")
    };
    let over_http: Address = any
        .to_string()
        .replace("tcp", "geerpc+http")
        .parse()
        .unwrap();
    for address in [raw, &over_http] {
        for codec in Codec::ALL {
            let client = Client::builder(address.clone()).codec(codec).build();
            let who: String = soon(client.call("Echo.Who", &()).into_future())
                .await
                .unwrap();
            assert_eq!(who, "geerpc", "{address} {codec}");
            let no = "no".to_owned();
            let fail = client.call::<()>("Echo.Fail", &no).into_future();
            assert_eq!(soon(fail).await.unwrap_err().message(), "no");
        }
    }
}

#[tokio::test]
async fn a_listener_for_geerpc_serves_everybody_else_whose_first_bytes_differ() {
    let builder = echo().bind("geerpc+tcp@127.0.0.1:0");
    let server = builder.start().await.unwrap();
    let place = place(&server);
    for form in [
        "http",
        "netrpc+tcp",
        "netrpc+http",
        "jsonrpc+tcp",
        "geerpc+http",
    ] {
        assert_eq!(call(form, &place, Codec::Gob).await.unwrap(), 42, "{form}");
    }
}

#[tokio::test]
async fn a_dialect_that_is_switched_off_is_refused_with_the_reason_and_no_other_is() {
    let forms = [
        ("tcp", Dialect::Farcall),
        ("http", Dialect::Farcall),
        ("geerpc+http", Dialect::GeeRpc),
        ("netrpc+tcp", Dialect::NetRpc),
        ("netrpc+http", Dialect::NetRpc),
        ("jsonrpc+tcp", Dialect::JsonRpc),
    ];
    for (off, name) in [
        (Dialect::Farcall, "farcall"),
        (Dialect::GeeRpc, "geerpc"),
        (Dialect::NetRpc, "net/rpc"),
        (Dialect::JsonRpc, "json-rpc"),
    ] {
        let log = Log::start();
        let builder = echo().without(off).bind("tcp@127.0.0.1:0");
        let server = builder.start().await.unwrap();
        let place = place(&server);
        let reason = format!("{name} is switched off on this server");
        let mut refused = 0;
        for (form, dialect) in forms {
            let outcome = call(form, &place, Codec::Gob).await;
            if dialect != off {
                assert_eq!(outcome.unwrap(), 42, "{form} without {name}");
                continue;
            }
            let error = outcome.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable, "{form}: {error}");
            if form.ends_with("http") {
                assert!(error.message().contains("403 Forbidden"), "{error}");
            }
            refused += 1;
            until(|| log.warnings(&reason).len() == refused).await;
        }
        assert_eq!(log.warnings("").len(), refused);
    }
}

#[tokio::test]
async fn without_http_there_is_still_connect() {
    let log = Log::start();
    let builder = echo().without_http().bind("tcp@127.0.0.1:0");
    let server = builder.start().await.unwrap();
    let mut stream = TcpStream::connect(place(&server)).await.unwrap();
    let request = b"GET /rpc HTTP/1.1\r\nHost: h\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let answer = String::from_utf8(to_end(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.0 403 Forbidden\r\n"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nHTTP is switched off on this server\n"),
        "{answer}"
    );
    drop(stream);
    until(|| log.warnings("HTTP is switched off").len() == 1).await;
    for form in ["tcp", "http", "netrpc+tcp", "netrpc+http", "jsonrpc+tcp"] {
        let reply = call(form, &place(&server), Codec::Gob).await;
        assert_eq!(reply.unwrap(), 42, "{form}");
    }
}

#[tokio::test]
async fn a_way_that_does_not_exist_is_no_address() {
    let error = "jsonrpc+http@h:1".parse::<Address>().unwrap_err();
    assert!(error.to_string().contains("JSON-RPC has no way over http"));
}

/// Conversations of the dialects that have no handshake of farcall's, as clients write them.
fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    let post = |body: &str| {
        let len = body.len();
        format!("POST /rpc/Echo.Int HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n{body}")
    };
    let over_http = connect_request(GEERPC_PATH);
    vec![
        (
            "json-rpc 1.0",
            br#"{"method":"Echo.Int","params":[-5],"id":0}
                {"id":"x","params":["two"],"method":"Echo.Text"} {"method":"Nope","params":[],"id":[1]}"#
                .to_vec(),
        ),
        (
            "json-rpc 2.0",
            br#" {"jsonrpc":"2.0","method":"Echo.Int","params":[-5],"id":0}
                [{"jsonrpc":"2.0","method":"Echo.Text","params":["two"],"id":"x"},7,{"jsonrpc":"2.0","method":"Nope"}]"#
                .to_vec(),
        ),
        (
            "http",
            format!("{}{}GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", post("-5"), post("\"two\"")).into(),
        ),
        ("geerpc over http", [over_http, geerpc_opening(Codec::Gob).0].concat()),
    ]
}

/// What the server answers to these pieces. The date in HTTP answers is not the dialect's.
async fn answered(server: &Server, pieces: impl IntoIterator<Item = &[u8]>) -> String {
    let (stream, written) = Scripted::pieces(pieces);
    server.serve_stream(stream, "a script");
    let said = written.all().await.escape_ascii().to_string();
    let lines = said.split_inclusive("\\n");
    let is_date = |line: &&str| {
        line.get(..5)
            .is_some_and(|name| name.eq_ignore_ascii_case("date:"))
    };
    lines.filter(|line| !is_date(line)).collect()
}

#[tokio::test]
async fn the_answers_do_not_depend_on_how_the_bytes_are_split() {
    let server = echo().start().await.unwrap();
    for (name, bytes) in conversations() {
        let whole = answered(&server, [&bytes[..]]).await;
        assert!(
            whole.contains("-5") || name.starts_with("geerpc"),
            "{name}: {whole}"
        );
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            let split = answered(&server, [first, second]).await;
            assert_eq!(split, whole, "{name}, split at {at}");
        }
        let bytewise = answered(&server, bytes.chunks(1)).await;
        assert_eq!(bytewise, whole, "{name}, byte by byte");
    }
}

#[tokio::test]
async fn who_stops_after_any_prefix_is_closed_in_time() {
    const PATIENCE_OF_THE_SERVER: Duration = Duration::from_millis(200);
    let builder = echo().handshake_timeout(PATIENCE_OF_THE_SERVER);
    let server = builder.bind("tcp@127.0.0.1:0").start().await.unwrap();
    let mut openings: Vec<Vec<u8>> = conversations()
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    openings.push(hello(Codec::Gob, Features::ALL.compressing(None)));
    let mut raw = Raw::opened((), Framing::NetRpc, Side::Client);
    openings.push(raw.request(0, "Echo.Int", &5_i64));
    let mut silent = JoinSet::new();
    for opening in openings {
        for len in 0..opening.len().min(64) {
            // Nothing yet tells what it is going to be, or its handshake is not whole.
            let is_open = match opening[..len] {
                [] => false,
                [b'C', ..] => true,
                [b'{', ..] if opening.starts_with(b"{\"Magic") => true,
                _ => len < 2,
            };
            if !is_open {
                continue;
            }
            let place = place(&server);
            let prefix = opening[..len].to_vec();
            silent.spawn(async move {
                let begun = Instant::now();
                let mut stream = TcpStream::connect(place).await.unwrap();
                stream.write_all(&prefix).await.unwrap();
                to_end(&mut stream).await;
                assert!(
                    begun.elapsed() >= PATIENCE_OF_THE_SERVER,
                    "{}",
                    prefix.escape_ascii()
                );
                // Also without a word about it, others are served meanwhile.
            });
        }
    }
    assert!(silent.len() > 80, "{}", silent.len());
    assert_eq!(call("tcp", &place(&server), Codec::Gob).await.unwrap(), 42);
    while let Some(ended) = silent.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_dialects_are_served_at_once_on_one_port() {
    let server = echo().bind("tcp@127.0.0.1:0").start().await.unwrap();
    let place = place(&server);
    let mut clients = JoinSet::new();
    for (form, codecs) in [
        ("tcp", &Codec::ALL[..]),
        ("http", &Codec::ALL),
        ("geerpc+http", &Codec::ALL),
        ("netrpc+tcp", &[Codec::Gob]),
        ("netrpc+http", &[Codec::Gob]),
        ("jsonrpc+tcp", &[Codec::Json]),
    ] {
        for &codec in codecs {
            let address: Address = format!("{form}@{place}").parse().unwrap();
            clients.spawn(async move {
                let client = Client::builder(address)
                    .codec(codec)
                    .connect()
                    .await
                    .unwrap();
                for number in 0..50_i64 {
                    let late = client.go::<i64>("Echo.Late", number);
                    let now: i64 = client.call("Echo.Int", &-number).await.unwrap();
                    assert_eq!((now, late.await.unwrap()), (-number, number), "{client:?}");
                }
            });
        }
    }
    while let Some(ended) = soon(clients.join_next()).await {
        ended.unwrap();
    }
}
