//! Peer: farcall over TCP, in each of its codecs, and Go's net/rpc by its client.

use benchkit::{Control, Spec};
use farcall::middleware::{Call as Passing, Meter, Next, Recorder, Side};
use farcall::{Address, Call, Client, Code, Codec, Dialect, Server};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[farcall::message]
pub struct Args {
    a: i64,
    b: i64,
}

/// What the first word says.
struct Variant {
    codec: Codec,
    /// The client's.
    dialect: Dialect,
    dress: Dress,
}

/// What every call has on.
#[derive(Clone, Copy, PartialEq)]
enum Dress {
    Bare,
    /// A deadline.
    Deadline,
    /// A deadline, metadata, and meters at both ends.
    Full,
    /// Meters at both ends.
    Metrics,
    /// A layer at both ends that does nothing.
    Layer,
}

/// Counts and times the calls of a method.
#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    errors: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Meter for Counts {
    fn ended(&self, outcome: Result<(), Code>, elapsed: Duration) {
        self.calls.fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(elapsed.as_nanos() as u64, Relaxed);
        if outcome.is_err() {
            self.errors.fetch_add(1, Relaxed);
        }
    }
}

struct Counting;

impl Recorder for Counting {
    fn meter(&self, _: Side, _: &str) -> Arc<dyn Meter> {
        Arc::new(Counts::default())
    }
}

static VARIANT: OnceLock<Variant> = OnceLock::new();

fn variant() -> &'static Variant {
    VARIANT.get().expect("set first thing in main")
}

fn server(port: u16) {
    benchkit::runtime!(mt).block_on(async move {
        let mut builder = Server::builder();
        match variant().dress {
            Dress::Bare | Dress::Deadline => {}
            Dress::Full | Dress::Metrics => builder = builder.metrics(Counting),
            Dress::Layer => builder = builder.layer(|call: Passing, next: Next| next.run(call)),
        }
        let server = builder
            .method("Arith.Multiply", |args: Args| async move { Ok(args.a.wrapping_mul(args.b)) })
            .method("Arith.Echo", |data: Vec<u8>| async move { Ok(data) })
            .limits(limits())
            .bind(&format!("tcp@127.0.0.1:{port}"))
            .start()
            .await
            .unwrap();
        std::future::pending::<()>().await;
        drop(server);
    })
}

fn limits() -> farcall::Limits {
    farcall::Limits { message_len_max: 64 << 20, ..Default::default() }
}

async fn dial(port: u16) -> Client {
    let mut address = Address::tcp(format!("127.0.0.1:{port}"));
    address.dialect = variant().dialect;
    let mut builder = Client::builder(address).codec(variant().codec).limits(limits());
    match variant().dress {
        Dress::Bare | Dress::Deadline => {}
        Dress::Full | Dress::Metrics => builder = builder.metrics(Counting),
        Dress::Layer => builder = builder.layer(|call: Passing, next: Next| next.run(call)),
    }
    builder.connect().await.unwrap()
}

/// A call as the variant wants it.
fn dressed<R>(call: Call<'_, R>) -> Call<'_, R> {
    let limit = Duration::from_secs(30);
    match variant().dress {
        Dress::Bare | Dress::Metrics | Dress::Layer => call,
        Dress::Deadline => call.timeout(limit),
        Dress::Full => call.timeout(limit).metadata("tenant", "seventh"),
    }
}

fn run(port: u16, spec: Spec, secs: f64) {
    benchkit::runtime!(mt).block_on(async move {
        if spec.idle > 0 {
            let one = dial(port).await;
            let _: i64 = one.call("Arith.Multiply", &Args { a: 3, b: 4 }).await.unwrap();
            benchkit::idle_start();
            let mut all = Vec::new();
            for _ in 0..spec.idle {
                let client = dial(port).await;
                let _: i64 = client.call("Arith.Multiply", &Args { a: 3, b: 4 }).await.unwrap();
                all.push(client);
            }
            benchkit::idle_done(&spec);
            return;
        }
        let ctl = Control::start(&spec, secs);
        let mut tasks = Vec::new();
        for _ in 0..spec.conns {
            let client = dial(port).await;
            for _ in 0..spec.inflight {
                let (client, spec, ctl) = (client.clone(), spec.clone(), ctl.clone());
                tasks.push(tokio::spawn(async move {
                    benchkit::call_loop!(
                        ctl,
                        spec,
                        |a, b| dressed(client.call::<i64>("Arith.Multiply", &Args { a, b })).await.unwrap(),
                        |n| dressed(client.call::<Vec<u8>>("Arith.Echo", &vec![7_u8; n])).await.unwrap().len()
                    );
                    drop(ctl);
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        ctl.finish();
    })
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let word = args.first().map(String::as_str).unwrap_or_default();
    let (wire, dress) = word.split_once('-').unwrap_or((word, ""));
    let dress = match dress {
        "" => Dress::Bare,
        "deadline" => Dress::Deadline,
        "full" => Dress::Full,
        "metrics" => Dress::Metrics,
        "layer" => Dress::Layer,
        _ => usage(),
    };
    let (codec, dialect) = match wire {
        "gob" => (Codec::Gob, Dialect::Farcall),
        "json" => (Codec::Json, Dialect::Farcall),
        "msgpack" => (Codec::MessagePack, Dialect::Farcall),
        "postcard" => (Codec::Postcard, Dialect::Farcall),
        "netrpc" => (Codec::Gob, Dialect::NetRpc),
        _ => usage(),
    };
    args.remove(0);
    VARIANT.get_or_init(|| Variant { codec, dialect, dress });
    benchkit::main_with(&args, server, run);
}

fn usage() -> ! {
    eprintln!(
        "the first word is postcard, gob, json, msgpack or netrpc; behind it may stand \
         -deadline, -metrics, -layer, or -full: deadline, metadata and metrics"
    );
    std::process::exit(2);
}
