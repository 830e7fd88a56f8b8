//! What the tests share: Rust servers, Go programs beside asynchronous tests. No claim is proved here.

use std::time::Duration;

use farcall::{Server, Transport};
use farcall_interop::{Error, Peer, run, services};
use serde_json::Value;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{interval, timeout};

/// No test waits longer for anything.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// How many Go programs run at a time. They wait more than they work.
const AT_A_TIME: usize = 8;

/// A Rust server with every service, on this address.
pub(crate) async fn serve(address: &str) -> Server {
    services::server().bind(address).start().await.unwrap()
}

/// A Rust server with every service, on a free port.
pub(crate) async fn serve_tcp() -> Server {
    serve("tcp@127.0.0.1:0").await
}

/// The `host:port` or the path of a server's first listener, as the Go programs want it.
pub(crate) fn place(server: &Server) -> String {
    match &server.address().transport {
        Transport::Tcp(place) => place.clone(),
        Transport::Unix(path) => path.display().to_string(),
        other => panic!("{other:?} is nothing to listen on"),
    }
}

/// Runs a Go program to its end while this task waits.
pub(crate) async fn go_run(args: Vec<String>) -> Result<Vec<Value>, Error> {
    let running = spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run(&args, WITHIN)
    });
    running.await.unwrap()
}

/// Starts a Go server while this task waits.
pub(crate) async fn go_serve(args: &[&str]) -> Peer {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let starting = spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Peer::serve(&args)
    });
    starting.await.unwrap().unwrap()
}

/// Runs Go clients, some at a time, and fails with what any of them found wrong.
pub(crate) async fn all_content(clients: impl IntoIterator<Item = Vec<String>>) {
    let mut waiting = clients.into_iter();
    let mut running = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        while running.len() < AT_A_TIME {
            let Some(client) = waiting.next() else { break };
            running.spawn(go_run(client));
        }
        match running.join_next().await {
            None => break,
            Some(ended) => match ended.unwrap() {
                Ok(checks) => assert!(!checks.is_empty()),
                Err(error) => failures.push(error.to_string()),
            },
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Waits for something that other programs will bring about, and of which nobody tells.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let asking = async {
        let mut again = interval(Duration::from_millis(10));
        while !holds() {
            again.tick().await;
        }
    };
    timeout(WITHIN, asking).await.expect("it should hold soon");
}
