//! Peer: farcall over TCP, in each of its codecs, and Go's net/rpc by its client.

use benchkit::{Control, Spec};
use farcall::{Address, Client, Codec, Dialect, Server};
use std::sync::OnceLock;

#[farcall::message]
pub struct Args {
    a: i64,
    b: i64,
}

/// What the first word says: the codec, and the dialect of the client.
static WIRE: OnceLock<(Codec, Dialect)> = OnceLock::new();

fn wire() -> (Codec, Dialect) {
    *WIRE.get().expect("set first thing in main")
}

fn server(port: u16) {
    benchkit::runtime!(mt).block_on(async move {
        let server = Server::builder()
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
    let (codec, dialect) = wire();
    let mut address = Address::tcp(format!("127.0.0.1:{port}"));
    address.dialect = dialect;
    Client::builder(address).codec(codec).limits(limits()).connect().await.unwrap()
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
                        |a, b| client.call::<i64>("Arith.Multiply", &Args { a, b }).await.unwrap(),
                        |n| client.call::<Vec<u8>>("Arith.Echo", &vec![7_u8; n]).await.unwrap().len()
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
    let wire = match args.first().map(String::as_str) {
        Some("gob") => (Codec::Gob, Dialect::Farcall),
        Some("json") => (Codec::Json, Dialect::Farcall),
        Some("msgpack") => (Codec::MessagePack, Dialect::Farcall),
        Some("postcard") => (Codec::Postcard, Dialect::Farcall),
        Some("netrpc") => (Codec::Gob, Dialect::NetRpc),
        _ => {
            eprintln!("the first word is postcard, gob, json, msgpack or netrpc");
            std::process::exit(2);
        }
    };
    args.remove(0);
    WIRE.get_or_init(|| wire);
    benchkit::main_with(&args, server, run);
}
