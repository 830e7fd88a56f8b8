//! The farcall client and Go's servers: typed clients of the same services, over every way there is. The same calls go
//! to a farcall server, too, in every codec: whoever calls should see no difference.

use std::collections::HashMap;

use farcall::{Address, Client, Code, Codec, Reached};
use farcall_gob::Complex;
use farcall_interop::Peer;
use farcall_interop::services::{
    Anything, ArithClient, Boxed, ByteSlices, Circle, Complexes, EchoClient, Empty, Event,
    Everything, FooClient, KindsClient, Line, Node, Operands, Optional, Pair, Point, Quotient,
    Time, Tree, limits,
};
use time::{OffsetDateTime, UtcOffset};
use tokio::task::JoinSet;

use crate::support::{WITHIN, go_serve, place, serve_tcp};

/// What both ends can say.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    /// All of it: Go's gob.
    Gob,
    /// What JSON can say, and in the way Go says it.
    Json,
    /// A codec of farcall's own.
    Own,
}

struct Way {
    address: String,
    codec: Codec,
    says: Says,
    /// The server's words begin so when a service or method is missing.
    missing: &'static str,
}

const TINY: &str = "rpc server: can't find";
const GO: &str = "rpc: can't find";

async fn client(way: &Way) -> Client {
    let address: Address = way.address.parse().unwrap();
    let builder = Client::builder(address)
        .codec(way.codec)
        .limits(limits())
        .call_timeout(WITHIN);
    builder.connect().await.unwrap()
}

/// Makes one call and compares the reply.
macro_rules! answers {
    ($way:ident, $client:ident.$method:ident, $($args:expr => $reply:expr),* $(,)?) => {$(
        let args = $args;
        let reply = $client.$method(&args).await;
        let reply = reply.unwrap_or_else(|error| {
            panic!("{} {}: {args:?}: {error}", $way.address, stringify!($method))
        });
        assert_eq!(reply, $reply, "{} {}: {args:?}", $way.address, stringify!($method));
    )*};
}

async fn basics(way: &Way) {
    let client = client(way).await;
    let arith = ArithClient::new(client.clone());
    let adder = FooClient::new(client.clone());
    let echo = EchoClient::new(client);
    answers!(way, arith.multiply,
        Operands { a: 7, b: 8 } => 56,
        Operands { a: -7, b: 8 } => -56,
        Operands { a: 0, b: 0 } => 0,
        Operands { a: 1 << 31, b: 1 << 31 } => 1 << 62,
    );
    answers!(way, arith.divide,
        Operands { a: 17, b: 5 } => Quotient { quo: 3, rem: 2 },
        Operands { a: 0, b: 5 } => Quotient { quo: 0, rem: 0 },
    );
    answers!(way, adder.sum,
        Pair { num1: 1, num2: 2 } => 3,
        Pair { num1: 5, num2: -5 } => 0,
    );
    answers!(way, adder.sleep, Pair { num1: 0, num2: 9 } => 9);
    answers!(way, echo.echo,
        b"bytes \x00\xff\n".to_vec() => b"bytes \x00\xff\n",
        vec![] => b"",
        pattern(20_000) => pattern(20_000),
    );
    answers!(way, echo.string,
        text("grüße, 世界 <&> \"\\\u{2028}") => "grüße, 世界 <&> \"\\\u{2028}",
        text("") => "",
    );
}

async fn large(way: &Way) {
    const SIZE: usize = 4 << 20;
    let client = client(way).await;
    let echo = EchoClient::new(client.clone());
    assert!(echo.echo(&pattern(SIZE)).await.unwrap() == pattern(SIZE));
    let text = "sixteen letters ".repeat(SIZE / 16);
    assert!(echo.string(&text).await.unwrap() == text);
    let adder = FooClient::new(client);
    answers!(way, adder.sum, Pair { num1: 1, num2: 2 } => 3);
}

async fn kinds(way: &Way) {
    let kinds = KindsClient::new(client(way).await);
    answers!(way, kinds.bool, true => false, false => true);
    answers!(way, kinds.int, 0 => -1, -1 => 0, i64::MAX => i64::MIN);
    answers!(way, kinds.int8, -128 => 127, 127 => -128);
    answers!(way, kinds.int16, -32768 => 32767);
    answers!(way, kinds.int32, i32::MIN => i32::MAX);
    answers!(way, kinds.int64, i64::MIN => i64::MAX, (1 << 53) + 1 => -(1 << 53) - 2);
    answers!(way, kinds.uint, 0 => u64::MAX);
    answers!(way, kinds.uint8, 127 => 128, 128 => 127);
    answers!(way, kinds.uint16, 1 => 65534);
    answers!(way, kinds.uint32, 0 => u32::MAX);
    answers!(way, kinds.uint64, u64::MAX => 0);
    answers!(way, kinds.float32, 0.1 => 0.05, f32::MAX => f32::MAX / 2.0);
    answers!(way, kinds.float64,
        17.0 => 8.5,
        -std::f64::consts::PI => -std::f64::consts::FRAC_PI_2,
        f64::MIN_POSITIVE => f64::MIN_POSITIVE / 2.0,
        0.0 => 0.0,
    );
    let minus_zero = kinds.float64(&-0.0).await.unwrap();
    assert!(minus_zero.is_sign_negative() && minus_zero == 0.0);
    answers!(way, kinds.string,
        text("añ世😀") => "😀世ña",
        text("") => "",
        "ab".repeat(5000) => "ba".repeat(5000),
    );
    answers!(way, kinds.bytes,
        vec![0, 1, 127, 128, 255] => [255, 128, 127, 1, 0],
        vec![] => [0_u8; 0],
    );
    answers!(way, kinds.bools, vec![true, true, false] => [false, true, true]);
    answers!(way, kinds.ints,
        vec![1, -2, 1 << 40] => [1 << 40, -2, 1],
        vec![] => [0_i64; 0],
        vec![0; 1000] => [0; 1000],
    );
    answers!(way, kinds.uints, vec![0, 1, u64::MAX] => [u64::MAX, 1, 0]);
    answers!(way, kinds.floats, vec![0.5, 0.0, -1e300] => [-1e300, 0.0, 0.5]);
    answers!(way, kinds.strings, texts(["", "b", "c"]) => ["c", "b", ""]);
    answers!(way, kinds.points,
        vec![point(1, 2), point(0, 0), point(3, 0)] => [point(3, 0), point(0, 0), point(1, 2)],
    );
    answers!(way, kinds.matrix, vec![vec![1, 2], vec![], vec![3]] => [vec![3], vec![], vec![1, 2]]);
    answers!(way, kinds.byte_slices,
        ByteSlices(vec![vec![1], vec![], vec![2, 255]]) => ByteSlices(vec![vec![2, 255], vec![], vec![1]]),
    );
    answers!(way, kinds.array, [1, 0, -3, 4] => [4, -3, 0, 1], [0; 4] => [0; 4]);
    answers!(way, kinds.byte_array, [0, 1, 128, 255] => [255, 128, 1, 0]);
    answers!(way, kinds.string_array, ["", "z"].map(text) => ["z", ""]);
    answers!(way, kinds.duration, 1_500_000_000 => -1_500_000_001);
    answers!(way, kinds.map,
        map([("", 0), ("one", 1), ("minus", -1)]) => map([("", -1), ("one", -2), ("minus", 0)]),
        map([]) => map([]),
    );
    answers!(way, kinds.int_map,
        HashMap::from([(-1, text("a")), (0, text("b")), (300, text(""))])
            => map([("a", -1), ("b", 0), ("", 300)]),
    );
    answers!(way, kinds.map_of_slices,
        map([("a", vec![1, 2]), ("none", vec![])]) => map([("a", vec![2, 1]), ("none", vec![])]),
    );
    answers!(way, kinds.map_of_structs,
        map([("p", point(1, 2)), ("zero", point(0, 0))]) => map([("p", point(2, 1)), ("zero", point(0, 0))]),
    );
    answers!(way, kinds.map_of_maps,
        map([("outer", map([("t", true), ("f", false)])), ("none", map([]))])
            => map([("outer", map([("t", false), ("f", true)])), ("none", map([]))]),
    );
    answers!(way, kinds.structure,
        point(1, 0) => point(0, 1),
        point(-1, 300) => point(300, -1),
        point(0, 0) => point(0, 0),
    );
    answers!(way, kinds.empty, Empty {} => Empty {});
    answers!(way, kinds.nested,
        Line { from: point(1, 2), to: point(0, 3), label: text("abc") }
            => Line { from: point(2, 1), to: point(3, 0), label: text("cba") },
        Line::default() => Line::default(),
    );
    if way.says != Says::Json {
        // encoding/json spreads an embedded struct over its holder.
        answers!(way, kinds.embedded,
            Circle { point: point(1, 2), radius: 3 } => Circle { point: point(2, 1), radius: -4 },
        );
    }
    let full = Optional {
        int: Some(5),
        text: Some(text("xy")),
        ratio: Some(3.0),
        point: Some(point(1, 2)),
    };
    let full_changed = Optional {
        int: Some(-6),
        text: Some(text("yx")),
        ratio: Some(1.5),
        point: Some(point(2, 1)),
    };
    answers!(way, kinds.pointers,
        full => full_changed,
        // farcall sends a zero behind a pointer, and Go's gob takes it.
        Optional { int: Some(0), ..Optional::default() } => Optional { int: Some(-1), ..Optional::default() },
        Optional { point: Some(point(0, 0)), ..Optional::default() }
            => Optional { point: Some(point(0, 0)), ..Optional::default() },
        Optional::default() => Optional::default(),
    );
    answers!(way, kinds.tree,
        tree(1, [tree(2, []), tree(3, [tree(4, []), tree(0, [])])])
            => tree(-2, [tree(-4, [tree(-1, []), tree(-5, [])]), tree(-3, [])]),
        tree(0, []) => tree(-1, []),
    );
    answers!(way, kinds.list, list([1, 2, 3]) => list([3, 2, 1]), list([7]) => list([7]));
}

async fn times_and_everything(way: &Way) {
    let kinds = KindsClient::new(client(way).await);
    let zone = |seconds| UtcOffset::from_whole_seconds(seconds).unwrap();
    // An hour of one fixed day, east of UTC by so many seconds.
    let moment = |offset: i32, hour: i64| {
        let unix = 1_709_164_800 + hour * 3600 + 916 - i64::from(offset);
        let utc = OffsetDateTime::from_unix_timestamp(unix).unwrap();
        Time(
            utc.replace_millisecond(170)
                .unwrap()
                .to_offset(zone(offset)),
        )
    };
    let first_hour = Time(Time::default().0 + time::Duration::HOUR);
    answers!(way, kinds.time,
        moment(0, 1) => moment(0, 2),
        moment(5 * 3600 + 30 * 60, 1) => moment(5 * 3600 + 30 * 60, 2),
        moment(-8 * 3600, 22) => moment(-8 * 3600, 23),
        Time::default() => first_hour,
    );
    if way.says == Says::Gob {
        // Not a whole number of minutes, which RFC 3339 cannot say.
        answers!(way, kinds.time, moment(3723, 1) => moment(3723, 2));
    }
    answers!(way, kinds.event,
        Event { name: text("start"), at: moment(0, 1), took: 1_000_000_000 }
            => Event { name: text("trats"), at: moment(0, 2), took: -1_000_000_001 },
        Event::default() => Event { name: text(""), at: first_hour, took: -1 },
    );
    let from_zero = Everything {
        bool: true,
        int: -1,
        int8: -1,
        int16: -1,
        int32: -1,
        int64: -1,
        uint: u64::MAX,
        uint8: u8::MAX,
        uint16: u16::MAX,
        uint32: u32::MAX,
        uint64: u64::MAX,
        time: first_hour,
        ..Everything::default()
    };
    let full = Everything {
        bool: true,
        int: -1,
        int8: 1,
        int16: -300,
        int32: 70000,
        int64: i64::MIN,
        uint: u64::MAX,
        uint8: 200,
        uint16: 300,
        uint32: 70000,
        uint64: 1 << 63,
        float32: 1.5,
        float64: -1e-300,
        string: text("hello"),
        bytes: vec![1, 2, 255],
        ints: vec![1, 0, -1],
        strings: texts(["", "s"]),
        points: vec![point(1, 2), point(0, 0)],
        map: map([("a", 1)]),
        lists: map([("l", vec![1, 2, 3])]),
        array: [0, 5, 6],
        point: point(0, 9),
        pointer: Some(point(8, 7)),
        time: moment(2 * 3600, 10),
    };
    let full_changed = Everything {
        bool: false,
        int: 0,
        int8: -2,
        int16: 299,
        int32: -70001,
        int64: i64::MAX,
        uint: 0,
        uint8: 55,
        uint16: 65235,
        uint32: u32::MAX - 70000,
        uint64: (1 << 63) - 1,
        float32: 0.75,
        float64: -5e-301,
        string: text("olleh"),
        bytes: vec![255, 2, 1],
        ints: vec![-1, 0, 1],
        strings: texts(["s", ""]),
        points: vec![point(0, 0), point(1, 2)],
        map: map([("a", -2)]),
        lists: map([("l", vec![3, 2, 1])]),
        array: [6, 5, 0],
        point: point(9, 0),
        pointer: Some(point(7, 8)),
        time: moment(2 * 3600, 11),
    };
    answers!(way, kinds.everything, Everything::default() => from_zero, full => full_changed);
}

/// Infinity, complex numbers and interface values: what only gob says, or says in its own way.
async fn gob_only(way: &Way) {
    let kinds = KindsClient::new(client(way).await);
    answers!(way, kinds.float64, f64::NEG_INFINITY => f64::NEG_INFINITY);
    assert!(kinds.float64(&f64::NAN).await.unwrap().is_nan());
    let complex = |re, im| Complex { re, im };
    answers!(way, kinds.complex64, complex(1.0, 2.0) => complex(1.0, -2.0));
    answers!(way, kinds.complex128, complex(1.5, -2.5) => complex(1.5, 2.5));
    answers!(way, kinds.complexes,
        Complexes { narrow: complex(0.0, 1.0), wide: complex(2.0, 3.0), list: vec![complex(1.0, 1.0), complex(0.0, 0.0)] }
            => Complexes { narrow: complex(0.0, -1.0), wide: complex(2.0, -3.0), list: vec![complex(0.0, 0.0), complex(1.0, 1.0)] },
    );
}

async fn interfaces(way: &Way) {
    let kinds = KindsClient::new(client(way).await);
    let boxed = |value| Boxed {
        value,
        list: vec![],
    };
    let word = |word: &str| Anything::Text(text(word));
    answers!(way, kinds.any,
        boxed(Anything::Nil) => boxed(Anything::Nil),
        boxed(Anything::Int(5)) => boxed(Anything::Int(-6)),
        boxed(word("text")) => boxed(word("txet")),
        boxed(Anything::Bytes(vec![1, 255])) => boxed(Anything::Bytes(vec![255, 1])),
        boxed(Anything::Point(point(1, 2))) => boxed(Anything::Point(point(2, 1))),
        Boxed {
            value: Anything::Bool(true),
            list: vec![
                Anything::Float(1.5), Anything::Nil, Anything::Point(point(3, 4)), word("ab"),
                Anything::Bool(false), Anything::Point(point(0, 0)),
            ],
        } => Boxed {
            value: Anything::Bool(false),
            list: vec![
                Anything::Float(0.75), Anything::Nil, Anything::Point(point(4, 3)), word("ba"),
                Anything::Bool(true), Anything::Point(point(0, 0)),
            ],
        },
    );
}

/// Each failing call fails alone; the connection serves on.
async fn errors(way: &Way) {
    let client = client(way).await;
    let adder = FooClient::new(client.clone());
    let failed = async |method: &str, args: &Line| {
        let error = client.call::<i64>(method, args).await.unwrap_err();
        assert_eq!(error.reached(), Reached::Answered, "{method}: {error}");
        error.message().to_owned()
    };
    let line = Line {
        label: text("to skip"),
        ..Line::default()
    };
    let error = ArithClient::new(client.clone())
        .divide(&Operands { a: 1, b: 0 })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Failed, "divide by zero")
    );
    let words = "100% of %d, {} and grüße\nline two";
    let kinds = KindsClient::new(client.clone());
    let error = kinds.fail(&text(words)).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Failed, words));
    for name in ["Nope.Sum", "foo.Sum", "net.rpc.Nope.Sum", "100%d.Sum"] {
        let says = failed(name, &line).await;
        let service = name.rsplit_once('.').map_or("", |(service, _)| service);
        let full = if way.missing == GO { name } else { service };
        assert_eq!(says, format!("{} service {full}", way.missing));
    }
    for name in ["Foo.Nope", "Foo.sum"] {
        let says = failed(name, &line).await;
        let full = name.strip_prefix(if way.missing == GO { "" } else { "Foo." });
        assert_eq!(says, format!("{} method {}", way.missing, full.unwrap()));
    }
    assert!(
        failed("FooSum", &line)
            .await
            .ends_with("ill-formed: FooSum")
    );
    // Arguments of another type. What is said of them is the decoder's own.
    let says = failed("Echo.String", &line).await;
    assert!(way.says != Says::Gob || says.starts_with("gob: "), "{says}");
    answers!(way, adder.sum, Pair { num1: 1, num2: 2 } => 3);

    // A reply of another type than the caller wants is that call's own trouble.
    let args = Pair { num1: 1, num2: 2 };
    let error = client.call::<Line>("Foo.Sum", &args).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal, "{error}");
    assert!(error.message().contains("does not fit"), "{error}");
    answers!(way, adder.sum, Pair { num1: 3, num2: 4 } => 7);
}

/// Many tasks on one connection, each with arguments of its own, so that a reply that finds the wrong caller is seen.
async fn concurrent(way: &Way) {
    const CALLS: i64 = 100;
    const AT_A_TIME: i64 = 4;
    let client = client(way).await;
    let slow = client.go::<i64>("Foo.Sleep", Pair { num1: 1, num2: 41 });
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let client = client.clone();
        tasks.spawn(async move {
            for call in 0..CALLS {
                let args = format!("task {task}, call {call}");
                let reply: String = client.call("Echo.String", &args).await.unwrap();
                assert_eq!(reply, args);
                let first = task * 1_000_000;
                let numbers = call * AT_A_TIME..(call + 1) * AT_A_TIME;
                let pair = |num2| Pair { num1: first, num2 };
                let begun: Vec<_> = numbers
                    .map(|number| (number, client.go::<i64>("Foo.Sum", pair(number))))
                    .collect();
                for (number, pending) in begun {
                    assert_eq!(pending.await.unwrap(), first + number);
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(slow.await.unwrap(), 42);
}

/// All calls but those that are many or long.
async fn calls(way: &Way) {
    basics(way).await;
    kinds(way).await;
    times_and_everything(way).await;
    errors(way).await;
    if way.says == Says::Gob {
        gob_only(way).await;
        interfaces(way).await;
    }
}

async fn all(way: &Way) {
    calls(way).await;
    large(way).await;
    concurrent(way).await;
}

/// A Go server, and the address for it in front of its place.
async fn go_server(args: &[&str], form: &str) -> (Peer, String) {
    let server = go_serve(args).await;
    let address = format!("{form}@{}", server.address());
    (server, address)
}

fn ways(address: &str, codecs: &[Codec], missing: &'static str) -> Vec<Way> {
    let is_json = address.starts_with("jsonrpc");
    codecs
        .iter()
        .map(|&codec| Way {
            address: address.to_owned(),
            codec,
            says: match codec {
                _ if is_json => Says::Json,
                Codec::Gob => Says::Gob,
                Codec::Json => Says::Json,
                _ => Says::Own,
            },
            missing,
        })
        .collect()
}

const BOTH: &[Codec] = &[Codec::Gob, Codec::Json];
const ONE: &[Codec] = &[Codec::Gob];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tinyrpc_servers_answer_over_tcp_and_http_in_both_codecs() {
    for (args, form) in [
        (&["tiny-server"][..], "tcp"),
        (&["tiny-server", "-http"], "http"),
    ] {
        let (_server, address) = go_server(args, form).await;
        for way in ways(&address, BOTH, TINY) {
            all(&way).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn geerpc_servers_answer_over_tcp_and_http_in_both_codecs() {
    for (args, form) in [
        (&["tiny-server", "-gee"][..], "geerpc+tcp"),
        (&["tiny-server", "-gee", "-http"], "geerpc+http"),
    ] {
        let (_server, address) = go_server(args, form).await;
        for way in ways(&address, BOTH, TINY) {
            all(&way).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn netrpc_servers_answer_in_every_form() {
    for (args, form) in [
        (&["netrpc-server"][..], "netrpc+tcp"),
        (&["netrpc-server", "-http"], "netrpc+http"),
        (&["netrpc-server", "-json"], "jsonrpc+tcp"),
    ] {
        let (_server, address) = go_server(args, form).await;
        for way in ways(&address, ONE, GO) {
            all(&way).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_on_unix_sockets_answer() {
    let directory = tempfile::tempdir().unwrap();
    for (args, form, codecs, missing) in [
        (&["tiny-server"][..], "unix", BOTH, TINY),
        (&["netrpc-server"], "netrpc+unix", ONE, GO),
        (&["netrpc-server", "-json"], "jsonrpc+unix", ONE, GO),
    ] {
        let socket = directory.path().join(form);
        let socket = ["-net", "unix", "-addr", socket.to_str().unwrap()];
        let (_server, address) = go_server(&[args, &socket].concat(), form).await;
        for way in ways(&address, codecs, missing) {
            all(&way).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_answer_when_every_byte_travels_alone() {
    for (args, form, codecs, missing) in [
        (&["tiny-server", "-byte-by-byte"][..], "tcp", BOTH, TINY),
        (&["tiny-server", "-http"], "http", BOTH, TINY),
        (&["netrpc-server"], "netrpc+tcp", ONE, GO),
        (&["netrpc-server", "-http"], "netrpc+http", ONE, GO),
        (&["netrpc-server", "-json"], "jsonrpc+tcp", ONE, GO),
    ] {
        let (server, _) = go_server(args, form).await;
        // What the client writes is torn apart on its way, too.
        let (_proxy, address) = go_server(&["echo-proxy", "-to", server.address()], form).await;
        for way in ways(&address, codecs, missing) {
            calls(&way).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_farcall_server_answers_the_same_in_every_dialect_and_codec() {
    let server = serve_tcp().await;
    let place = place(&server);
    for (form, codecs, missing) in [
        ("tcp", &Codec::ALL[..], TINY),
        ("http", BOTH, TINY),
        ("netrpc+tcp", ONE, GO),
        ("netrpc+http", ONE, GO),
        ("jsonrpc+tcp", ONE, GO),
    ] {
        for way in ways(&format!("{form}@{place}"), codecs, missing) {
            all(&way).await;
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(text).to_vec()
}

fn point(x: i64, y: i64) -> Point {
    Point { x, y }
}

fn map<V, const N: usize>(pairs: [(&str, V); N]) -> HashMap<String, V> {
    HashMap::from(pairs.map(|(key, value)| (text(key), value)))
}

fn tree<const N: usize>(value: i64, children: [Tree; N]) -> Tree {
    let children = children.into();
    Tree { value, children }
}

fn list<const N: usize>(values: [i64; N]) -> Node {
    let mut next = None;
    for value in values.into_iter().rev() {
        next = Some(Box::new(Node { value, next }));
    }
    *next.expect("a list is not empty")
}
