//! A client's list of servers, while its registry does what registries do.

use std::sync::Arc;
use std::time::Duration;

use farcall::Registry;
use farcall::discover::{Discover, Endpoint, Snapshot, State};
use farcall::registry::{Advertise, HttpRegistry};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::script::{Act, PATIENCE, Script, list};

/// A registry that is asked often and given up soon.
fn impatient(url: &str) -> HttpRegistry {
    let registry = HttpRegistry::new(url).unwrap();
    registry
        .refresh(Duration::from_millis(20))
        .timeout(Duration::from_millis(200))
}

async fn wait_for(
    snapshots: &mut watch::Receiver<Arc<Snapshot>>,
    what: impl FnMut(&Arc<Snapshot>) -> bool,
) -> Arc<Snapshot> {
    let found = timeout(PATIENCE, snapshots.wait_for(what)).await;
    found.expect("the list changes").unwrap().clone()
}

fn addresses(snapshot: &Snapshot) -> Vec<String> {
    let endpoints = snapshot.endpoints.iter();
    endpoints
        .map(|endpoint| endpoint.address.to_string())
        .collect()
}

#[tokio::test]
async fn no_failure_of_the_registry_empties_the_list_and_each_is_recovered_from() {
    let registry = Script::start(list("tcp@a:1,tcp@b:2")).await;
    let mut snapshots = impatient(&registry.url).watch();
    let good = ["tcp@a:1", "tcp@b:2"];
    let status =
        |status: &str| Act::Reply(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
    for (failure, says) in [
        (status("404 Not Found"), "404"),
        (status("500 Internal Server Error"), "500"),
        (status("200 OK"), "no list"),
        (status("204 No Content\r\nX-Tinyrpc-Servers: "), "204"),
        (Act::Reply("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[{\"addres".into()), "JSON"),
        (Act::Reply("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut".into()), "http://"),
        (Act::Reply("\x16\x03\x01 nonsense\r\n\r\n".into()), "http://"),
        (list("nobody,nowhere"), "no entry"),
        (list(""), "empty"),
        (Act::Close, "http://"),
        (Act::Hang, "no reply within"),
    ] {
        let fresh = wait_for(&mut snapshots, |s| s.known && s.stale.is_none()).await;
        assert_eq!(addresses(&fresh), good);
        registry.act(failure.clone());
        let is_told = |s: &Arc<Snapshot>| s.stale.as_ref().is_some_and(|stale| stale.reason.contains(says));
        let stale = wait_for(&mut snapshots, is_told).await;
        assert_eq!(addresses(&stale), good, "{failure:?}");
        registry.act(list("tcp@a:1,tcp@b:2"));
    }
    wait_for(&mut snapshots, |s| s.stale.is_none()).await;
}

#[tokio::test]
async fn a_registry_that_is_down_from_the_start_is_told_and_found_later() {
    let registry = Script::start(Act::Close).await;
    let mut snapshots = impatient(&registry.url).watch();
    let lost = wait_for(&mut snapshots, |s| s.stale.is_some()).await;
    assert!(!lost.known && lost.endpoints.is_empty());
    registry.act(list("tcp@a:1"));
    let found = wait_for(&mut snapshots, |s| s.known).await;
    assert_eq!(
        (addresses(&found), &found.stale),
        (vec!["tcp@a:1".to_owned()], &None)
    );
}

#[tokio::test]
async fn entries_that_are_no_servers_are_skipped_and_the_others_used() {
    let registry = Script::start(list("tcp@a:1,ftp@b:2,,tcp@c")).await;
    let mut snapshots = impatient(&registry.url).watch();
    let seen = wait_for(&mut snapshots, |s| s.known).await;
    assert_eq!(addresses(&seen), ["tcp@a:1"]);
}

#[tokio::test]
async fn asking_ends_with_the_last_receiver() {
    let registry = Script::start(list("tcp@a:1")).await;
    let mut snapshots = impatient(&registry.url).watch();
    wait_for(&mut snapshots, |s| s.known).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    drop(snapshots);
    let ended = async {
        while tasks() >= before {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the task ends");
}

#[tokio::test]
async fn what_servers_advertise_is_what_clients_see() {
    let registry = Registry::new();
    let server = registry.serve("127.0.0.1:0").await.unwrap();
    let remote = impatient(&server.url());
    let mut strong = Endpoint::new("tcp@127.0.0.1:9001".parse().unwrap());
    strong.weight = 5;
    strong.zone = "eu-1".into();
    let weak = Endpoint::new("netrpc+tcp@127.0.0.1:9002".parse().unwrap());
    let _first = remote.advertise(strong.clone()).unwrap();
    let second = remote.advertise(weak.clone()).unwrap();

    let mut snapshots = remote.watch();
    let both = wait_for(&mut snapshots, |s| s.endpoints.len() == 2).await;
    assert_eq!(both.endpoints, [weak, strong.clone()]);

    second.drain();
    let is_draining = |s: &Arc<Snapshot>| s.endpoints.iter().any(|e| e.state == State::Draining);
    wait_for(&mut snapshots, is_draining).await;
    second.withdraw().await;
    assert_eq!(registry.endpoints().len(), 1);
    let one = wait_for(&mut snapshots, |s| s.endpoints.len() == 1).await;
    assert_eq!(one.endpoints, [strong]);
}

#[tokio::test]
async fn thousands_of_servers_are_seen_although_no_header_holds_them() {
    let registry = Registry::new();
    let server = registry.serve("127.0.0.1:0").await.unwrap();
    let mut posts = String::new();
    for port in 1..=2000 {
        posts += &format!(
            "POST /_tinyrpc_/registry HTTP/1.1\r\nHost: h\r\nX-Tinyrpc-Server: tcp@10.0.0.1:{port}\r\n\r\n"
        );
    }
    posts += "GET /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    crate::script::exchange(server.local_addr(), &posts).await;
    assert_eq!(registry.endpoints().len(), 2000);
    let mut snapshots = impatient(&server.url()).timeout(PATIENCE).watch();
    let seen = wait_for(&mut snapshots, |s| s.known).await;
    assert_eq!(seen.endpoints, registry.endpoints());
}
