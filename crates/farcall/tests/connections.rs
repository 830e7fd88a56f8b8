//! What many connections cost the server that holds them: memory of a connection that waits, and whether ten thousand
//! are served. The server is this program once more, so that nothing else is in its memory.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use farcall::{Client, Codec, Server};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

/// Connections that are there before anything is measured: they pay for what all share.
const FIRST: usize = 500;
const MEASURED: usize = 2_000;
const ALL: usize = 10_000;
/// Descriptors that are no connections.
const OTHERS: usize = 100;

fn main() {
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    match std::env::args().nth(1).as_deref() {
        Some("serve") => runtime.block_on(serve()),
        _ => runtime.block_on(check()),
    }
}

/// Serves until the standard input ends, and so with its parent at the latest.
async fn serve() {
    let server = Server::builder()
        .method("Echo.Number", |number: u64| async move { Ok(number) })
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    println!("{}", server.address());
    let waiting = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    waiting.await.unwrap().unwrap();
}

async fn check() {
    // What a connection that waits may add to the server's resident memory: its two tasks, the socket, and what is
    // shared between them. gob's also describes its peer's types and the server's own, once in each direction.
    for (codec, bytes_max) in [(Codec::Postcard, 4 << 10), (Codec::Gob, 11 << 10)] {
        let server = ServerProcess::start();
        let mut clients = server.connect(FIRST, codec).await;
        let before = server.resident();
        clients.extend(server.connect(MEASURED, codec).await);
        let each = server.resident().saturating_sub(before) / MEASURED;
        println!("{codec}: {each} bytes for each of {MEASURED} connections that wait");
        assert!(each <= bytes_max, "{codec}: {each} bytes for a connection");
    }

    let all = ALL.min(descriptors().saturating_sub(OTHERS));
    let server = ServerProcess::start();
    let clients = server.connect(all, Codec::Postcard).await;
    for _ in 0..3 {
        call(&clients).await;
    }
    assert!(clients.iter().all(Client::is_connected));
    let megabytes = server.resident() >> 20;
    println!("{all} connections served, 4 calls each: {megabytes} MiB resident in all");
    if all < ALL {
        println!("the limit on open files is too low here for {ALL}");
    }
}

/// Opens as many files as this process may.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit
        .and_then(|limit| limit.try_into().ok())
        .unwrap_or(usize::MAX)
}

/// Calls once on each.
async fn call(clients: &[Client]) {
    let mut calls = JoinSet::new();
    for (client, number) in clients.iter().zip(0_u64..) {
        let client = client.clone();
        calls.spawn(async move {
            let reply: u64 = client.call("Echo.Number", &number).await.unwrap();
            assert_eq!(reply, number);
        });
    }
    calls.join_all().await;
}

struct ServerProcess {
    child: Child,
    address: String,
}

impl ServerProcess {
    fn start() -> ServerProcess {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        ServerProcess { child, address }
    }

    /// Connections that have made one call each.
    async fn connect(&self, count: usize, codec: Codec) -> Vec<Client> {
        let mut clients = Vec::new();
        // No more at a time than a listener's queue takes.
        while clients.len() < count {
            let mut connecting = JoinSet::new();
            for _ in 0..100.min(count - clients.len()) {
                let address = self.address.parse().unwrap();
                connecting.spawn(Client::builder(address).codec(codec).connect());
            }
            let connected = connecting.join_all().await;
            clients.extend(connected.into_iter().map(Result::unwrap));
        }
        call(&clients).await;
        clients
    }

    /// The bytes of memory that the process has.
    fn resident(&self) -> usize {
        let sizes = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        let pages: usize = sizes.split(' ').nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends by itself now, or must.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
