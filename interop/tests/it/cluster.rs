//! Go and Rust in one registry and in one cluster, whoever keeps the registry and whoever calls.

use std::collections::BTreeSet;
use std::time::Duration;

use farcall::balance::RoundRobin;
use farcall::discover::{Endpoint, Static};
use farcall::registry::{Advertise, HttpRegistry, Registration};
use farcall::{Address, Cluster, Registry, Server};
use farcall_interop::Peer;
use farcall_interop::services::{Operands, Pair};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::support::{WITHIN, all_content, go_run, go_serve, place, serve_tcp, until};

const BEAT: Duration = Duration::from_millis(200);

/// Who a Go program finds in a registry.
async fn discovered(url: &str) -> Vec<String> {
    let lines = go_run(vec!["discover".to_owned(), url.to_owned()]).await;
    let servers = lines.unwrap()[0]["servers"].clone();
    serde_json::from_value(servers).unwrap()
}

/// The next line that a Go program prints, and the program again.
async fn next_line(mut peer: Peer) -> (Value, Peer) {
    let reading = spawn_blocking(move || (peer.next_line(WITHIN).unwrap(), peer));
    reading.await.unwrap()
}

/// Waits until the cluster knows these servers.
async fn knows(cluster: &Cluster, addresses: &BTreeSet<String>) {
    until(|| {
        let known = cluster.snapshot();
        let known = known.endpoints.iter().map(|e| e.address.to_string());
        known.collect::<BTreeSet<_>>() == *addresses
    })
    .await;
}

/// Every server of the cluster answers for itself.
async fn all_answer(cluster: &Cluster, servers: usize) {
    let args = Operands { a: 7, b: 8 };
    let replies = cluster.broadcast::<i64>("Arith.Multiply", &args).await;
    let replies = replies.unwrap();
    assert_eq!(replies.len(), servers);
    for (address, reply) in replies {
        assert_eq!(reply.unwrap(), 56, "{address}");
    }
}

fn calls_of_sum(server: &Server) -> u64 {
    let services = server.services();
    let adder = services.iter().find(|service| service.name == "Foo");
    let mut methods = adder.unwrap().methods.iter();
    methods.find(|method| method.name == "Sum").unwrap().calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_and_rust_servers_stand_in_a_rust_registry_for_clients_of_both() {
    let registry = Registry::builder().ttl(BEAT * 10).build();
    let registry = registry.serve("127.0.0.1:0").await.unwrap();
    let url = registry.url();
    // Two Go servers that beat by themselves, and a Rust one.
    let beats = ["-registry", &url, "-beat", "200ms"];
    let go = go_serve(&[&["tiny-server"], &beats[..]].concat()).await;
    let torn = go_serve(&[&["tiny-server", "-byte-by-byte"], &beats[..]].concat()).await;
    let rust = serve_tcp().await;
    let back_end = HttpRegistry::new(&url).unwrap().refresh(BEAT);
    let registrar = back_end.advertise(Endpoint::new(rust.address().clone()));
    let _registrar = registrar.unwrap();

    let mut addresses = BTreeSet::from([
        format!("tcp@{}", go.address()),
        format!("tcp@{}", torn.address()),
        rust.address().to_string(),
    ]);
    let cluster = Cluster::builder(back_end).balance(RoundRobin::default());
    let cluster = cluster.build();
    knows(&cluster, &addresses).await;
    all_answer(&cluster, 3).await;
    for number in 0..30 {
        let args = Pair {
            num1: number,
            num2: 1,
        };
        let sum: i64 = cluster.call("Foo.Sum", &args).await.unwrap();
        assert_eq!(sum, number + 1);
    }
    assert_eq!(calls_of_sum(&rust), 10, "the others went to Go");

    // A Go client finds the same servers, and is content with each.
    let found = discovered(&url).await;
    assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), addresses);
    let client = |address: &String| {
        let place = address.strip_prefix("tcp@").unwrap();
        ["tiny-client", place, "basic"].map(str::to_owned).to_vec()
    };
    all_content(found.iter().map(client)).await;

    // A Go server that dies stops beating, and is forgotten; calls go on.
    addresses.remove(&format!("tcp@{}", go.address()));
    drop(go);
    knows(&cluster, &addresses).await;
    all_answer(&cluster, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rust_server_enters_itself_in_a_go_registry_and_clients_of_both_find_it() {
    let registry = go_serve(&["registry"]).await;
    let url = registry.first_line()["url"].as_str().unwrap().to_owned();
    let rust = serve_tcp().await;
    let address = rust.address().to_string();
    let back_end = HttpRegistry::new(&url).unwrap().refresh(BEAT).beat(BEAT);
    let endpoint = Endpoint::new(rust.address().clone());
    let registrar = back_end.advertise(endpoint).unwrap();
    // The first beat, and the ones after it.
    let mut registry = registry;
    for _ in 0..3 {
        let (line, peer) = next_line(registry).await;
        registry = peer;
        assert_eq!(line, json!({ "heartbeat": address }));
    }
    let mut registration = registrar.watch();
    let registered = registration.wait_for(|now| *now == Registration::Registered);
    timeout(WITHIN, registered).await.unwrap().unwrap();

    // A Go server beats at the same registry.
    let go = ["tiny-server", "-registry", &url, "-beat", "200ms"];
    let go = go_serve(&go).await;
    let addresses = BTreeSet::from([address.clone(), format!("tcp@{}", go.address())]);
    let cluster = Cluster::builder(back_end).build();
    knows(&cluster, &addresses).await;
    all_answer(&cluster, 2).await;
    let found = discovered(&url).await;
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), addresses);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_go_heartbeat_keeps_any_server_in_a_rust_registry() {
    let registry = Registry::builder().ttl(BEAT * 10).build();
    let server = registry.serve("127.0.0.1:0").await.unwrap();
    let rust = serve_tcp().await;
    let address = rust.address().to_string();
    let url = server.url();
    let beat = [
        "heartbeat",
        "-registry",
        &url,
        "-advertise",
        &address,
        "-every",
        "200ms",
    ];
    let beat = beat.map(str::to_owned);
    let beater = spawn_blocking(move || {
        let beat: Vec<&str> = beat.iter().map(String::as_str).collect();
        Peer::start(&beat).unwrap()
    });
    let mut beater = beater.await.unwrap();
    // For longer than one beat counts.
    for _ in 0..15 {
        let (line, peer) = next_line(beater).await;
        beater = peer;
        assert_eq!(line["ok"], true, "{line}");
        let known = registry.endpoints();
        let known: Vec<_> = known.iter().map(|e| e.address.to_string()).collect();
        assert_eq!(known, [&*address]);
    }
    let cluster = Cluster::connect(&url).await.unwrap();
    all_answer(&cluster, 1).await;
    drop(beater);
    until(|| registry.endpoints().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_every_dialect_are_one_cluster() {
    let tiny = go_serve(&["tiny-server"]).await;
    let tiny_http = go_serve(&["tiny-server", "-http"]).await;
    let netrpc = go_serve(&["netrpc-server"]).await;
    let netrpc_http = go_serve(&["netrpc-server", "-http"]).await;
    let jsonrpc = go_serve(&["netrpc-server", "-json"]).await;
    let rust = serve_tcp().await;
    let rust = place(&rust);
    // The Rust server stands in the list once for each of its dialects.
    let addresses = [
        format!("tcp@{}", tiny.address()),
        format!("http@{}", tiny_http.address()),
        format!("netrpc+tcp@{}", netrpc.address()),
        format!("netrpc+http@{}", netrpc_http.address()),
        format!("jsonrpc+tcp@{}", jsonrpc.address()),
        format!("tcp@{rust}"),
        format!("http@{rust}"),
        format!("netrpc+tcp@{rust}"),
        format!("netrpc+http@{rust}"),
        format!("jsonrpc+tcp@{rust}"),
    ];
    let all = addresses
        .iter()
        .map(|address| address.parse::<Address>().unwrap());
    let cluster = Cluster::builder(Static::new(all)).balance(RoundRobin::default());
    let cluster = cluster.build();
    all_answer(&cluster, addresses.len()).await;
    for number in 0..100 {
        let args = Pair {
            num1: number,
            num2: 1,
        };
        let sum: i64 = cluster.call("Foo.Sum", &args).await.unwrap();
        assert_eq!(sum, number + 1);
    }
    let named = format!("static:{}", addresses.join(","));
    all_answer(&Cluster::connect(&named).await.unwrap(), addresses.len()).await;

    // When the Go servers are gone, the others take all calls.
    drop((tiny, tiny_http, netrpc, netrpc_http, jsonrpc));
    let args = Operands { a: 7, b: 8 };
    let replies = cluster.broadcast::<i64>("Arith.Multiply", &args).await;
    for (address, reply) in replies.unwrap() {
        let is_rust = address.to_string().ends_with(&rust);
        assert_eq!(reply.is_ok(), is_rust, "{address}: {reply:?}");
    }
    for number in 0..20 {
        let args = Pair {
            num1: number,
            num2: 1,
        };
        let sum: i64 = cluster.call("Foo.Sum", &args).await.unwrap();
        assert_eq!(sum, number + 1);
    }
}
