//! etcd as the registry, a real one: the keys that others see, and servers and clients that survive whatever is done
//! to it. `FARCALL_ETCD_ROUNDS` says how often each disaster is repeated; once unless set.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farcall::discover::{Discover, Endpoint, Snapshot, State};
use farcall::registry::{Advertise, Etcd, Registrar, Registration};
use farcall::{Cluster, Server};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::etcd_server::Etcd as Process;
use crate::partition::Network;
use crate::support::PATIENCE;
use crate::traffic::{Calls, echo};

const TTL: Duration = Duration::from_secs(2);

/// etcd as clients and servers of these tests see it: with short times.
pub(crate) fn eager(url: &str) -> Etcd {
    let etcd = Etcd::new(url).unwrap().ttl(TTL);
    etcd.timeout(Duration::from_secs(1))
        .check(Duration::from_secs(1))
}

pub(crate) fn endpoint(port: u16) -> Endpoint {
    Endpoint::new(format!("tcp@127.0.0.1:{port}").parse().unwrap())
}

pub(crate) type Snapshots = watch::Receiver<Arc<Snapshot>>;

pub(crate) async fn wait_for(
    snapshots: &mut Snapshots,
    what: impl FnMut(&Arc<Snapshot>) -> bool,
) -> Arc<Snapshot> {
    let found = timeout(PATIENCE, snapshots.wait_for(what)).await;
    found.expect("the list changes").unwrap().clone()
}

pub(crate) async fn registered(registrar: &Registrar) {
    let mut registration = registrar.watch();
    let found = timeout(
        PATIENCE,
        registration.wait_for(|r| *r == Registration::Registered),
    )
    .await;
    let found = found.map(drop);
    assert!(
        found.is_ok(),
        "it does not register: {:?}",
        registrar.watch().borrow()
    );
}

fn names(snapshot: &Snapshot) -> BTreeSet<String> {
    let endpoints = snapshot.endpoints.iter();
    endpoints
        .map(|endpoint| endpoint.address.to_string())
        .collect()
}

#[tokio::test]
async fn a_server_stands_under_the_keys_of_tinyrpc_on_a_lease() {
    let process = Process::start().await;
    let mut server = endpoint(9001);
    server.weight = 3;
    let registrar = eager(&process.url()).advertise(server).unwrap();
    registered(&registrar).await;
    let lines = |key| process.ctl(&["get", "--prefix", key]);
    assert_eq!(
        lines("/_tinyrpc_/registr/"),
        "/_tinyrpc_/registr/tcp@127.0.0.1:9001\ntcp@127.0.0.1:9001\n"
    );
    assert_eq!(
        lines("/_tinyrpc_/farcall/"),
        "/_tinyrpc_/farcall/tcp@127.0.0.1:9001\n\
         {\"address\":\"tcp@127.0.0.1:9001\",\"state\":\"up\",\"weight\":3,\"zone\":\"\"}\n"
    );
    let lease = process.lease_of("/_tinyrpc_/registr/tcp@127.0.0.1:9001");
    assert_eq!(
        process.lease_of("/_tinyrpc_/farcall/tcp@127.0.0.1:9001"),
        lease
    );
    assert!(
        process
            .ctl(&["lease", "timetolive", &lease])
            .contains("granted with TTL(2s)")
    );
    registrar.withdraw().await;
    assert_eq!(process.ctl(&["get", "--prefix", "/_tinyrpc_/"]), "");
    assert!(
        !process.ctl(&["lease", "list"]).contains(&lease),
        "it is given back"
    );
}

#[tokio::test]
async fn keys_written_by_hand_are_discovered_and_siblings_are_not() {
    let process = Process::start().await;
    process.ctl(&["put", "/_tinyrpc_/registr/tcp@[::]:43117", "tcp@[::]:43117"]);
    process.ctl(&["put", "/_tinyrpc_/registry/tcp@h:1", "tcp@h:1"]);
    let mut snapshots = eager(&process.url()).watch();
    let first = wait_for(&mut snapshots, |s| s.known).await;
    assert_eq!(names(&first), BTreeSet::from(["tcp@[::]:43117".to_owned()]));
    process.ctl(&["put", "/_tinyrpc_/registr/nobody", "nobody"]);
    process.ctl(&["put", "/_tinyrpc_/registr/tcp@h:2", "tcp@h:2"]);
    wait_for(&mut snapshots, |s| s.endpoints.len() == 2).await;
    process.ctl(&["del", "/_tinyrpc_/registr/tcp@[::]:43117"]);
    let last = wait_for(&mut snapshots, |s| s.endpoints.len() == 1).await;
    assert_eq!(names(&last), BTreeSet::from(["tcp@h:2".to_owned()]));
}

#[tokio::test]
async fn what_servers_say_of_themselves_is_what_clients_see_to_the_last_farewell() {
    let process = Process::start().await;
    let etcd = eager(&process.url());
    let mut strong = endpoint(9001);
    strong.weight = 5;
    strong.zone = "eu-1".into();
    strong.services = vec!["Arith".into(), "Echo".into()];
    strong.metadata.insert("rack".into(), "7".into());
    let weak = endpoint(9002);
    let first = etcd.advertise(strong.clone()).unwrap();
    let second = etcd.advertise(weak.clone()).unwrap();
    let mut snapshots = etcd.watch();
    let both = wait_for(&mut snapshots, |s| s.endpoints.len() == 2).await;
    assert_eq!(both.endpoints, [strong, weak]);
    second.drain();
    timeout(PATIENCE, second.drained())
        .await
        .expect("it is told");
    wait_for(&mut snapshots, |s| {
        s.endpoints.iter().any(|e| e.state == State::Draining)
    })
    .await;
    second.withdraw().await;
    wait_for(&mut snapshots, |s| s.endpoints.len() == 1).await;
    // The last one too, and without having drained before.
    first.withdraw().await;
    wait_for(&mut snapshots, |s| s.endpoints.is_empty()).await;
}

#[tokio::test]
async fn a_password_is_asked_for_and_its_token_renewed() {
    let mut process = Process::start().await;
    for command in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        process.ctl(command);
    }
    let mut refused = eager(&process.url()).watch();
    let stale = wait_for(&mut refused, |s| s.stale.is_some()).await;
    assert!(!stale.known, "{stale:?}");
    let etcd = eager(&process.url()).login("root", "secret");
    assert!(!format!("{etcd:?}").contains("secret"));
    let registrar = etcd.advertise(endpoint(9001)).unwrap();
    let mut snapshots = etcd.watch();
    registered(&registrar).await;
    wait_for(&mut snapshots, |s| s.endpoints.len() == 1).await;
    // A restart forgets all tokens.
    process.kill();
    process.run();
    process.ready().await;
    let key = "/_tinyrpc_/registr/tcp@127.0.0.1:9001";
    process.ctl(&["--user=root:secret", "del", key]);
    wait_for(&mut snapshots, |s| {
        s.endpoints.len() == 1 && s.stale.is_none()
    })
    .await;
    let again = async {
        while process.ctl(&["--user=root:secret", "get", key]).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("it registers again");
}

/// A way to etcd that can be cut.
struct Relay {
    place: String,
    open: watch::Sender<bool>,
}

impl Relay {
    async fn to(place: String) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().to_string();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (place, mut is_open) = (place.clone(), is_open.clone());
                tokio::spawn(async move {
                    let carry = async {
                        let mut to = TcpStream::connect(place).await?;
                        copy_bidirectional(&mut from, &mut to).await
                    };
                    tokio::select! {
                        _ = carry => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Relay { place: here, open }
    }
}

#[tokio::test]
async fn what_was_deleted_while_the_watch_was_cut_and_compacted_away_is_gone() {
    let process = Process::start().await;
    let relay = Relay::to(process.place.clone()).await;
    for port in 1..=4 {
        process.ctl(&[
            "put",
            &format!("/_tinyrpc_/registr/tcp@h:{port}"),
            &format!("tcp@h:{port}"),
        ]);
    }
    let mut snapshots = eager(&format!("etcd://{}/", relay.place)).watch();
    wait_for(&mut snapshots, |s| s.endpoints.len() == 4).await;
    relay.open.send_replace(false);
    wait_for(&mut snapshots, |s| s.stale.is_some()).await;
    process.ctl(&["del", "/_tinyrpc_/registr/tcp@h:1"]);
    process.ctl(&["put", "/_tinyrpc_/registr/tcp@h:5", "tcp@h:5"]);
    process.ctl(&["compact", &process.revision().to_string()]);
    relay.open.send_replace(true);
    let fresh = wait_for(&mut snapshots, |s| s.stale.is_none()).await;
    assert_eq!(names(&fresh), process.servers().unwrap());
    // And the new watch works.
    process.ctl(&["del", "/_tinyrpc_/registr/tcp@h:2"]);
    wait_for(&mut snapshots, |s| s.endpoints.len() == 3).await;
}

/// Three servers entered in etcd, and a client that calls them five hundred times a second.
struct Scene {
    etcd: Etcd,
    servers: Vec<(Server, Registrar)>,
    cluster: Cluster,
    calls: Calls,
    name: &'static str,
    slowest: Duration,
}

fn rounds() -> u32 {
    match std::env::var("FARCALL_ETCD_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("FARCALL_ETCD_ROUNDS is a number"),
        Err(_) => 1,
    }
}

impl Scene {
    async fn start(name: &'static str, etcd: Etcd) -> Scene {
        let mut servers = Vec::new();
        for _ in 0..3 {
            let server = echo().start().await.unwrap();
            let registrar = etcd
                .advertise(Endpoint::new(server.address().clone()))
                .unwrap();
            registered(&registrar).await;
            servers.push((server, registrar));
        }
        let cluster = Cluster::builder(etcd.clone()).build();
        Scene {
            etcd,
            servers,
            calls: Calls::start(cluster.clone()),
            cluster,
            name,
            slowest: Duration::ZERO,
        }
    }

    fn addresses(&self) -> BTreeSet<String> {
        self.servers
            .iter()
            .map(|(server, _)| server.address().to_string())
            .collect()
    }

    /// Waits, since etcd has a quorum, until it lists every server again, and the client lists what etcd lists; and
    /// does so twice more, with a further entry and without it again, so that no list is right by standing still.
    async fn settle(&mut self, process: &Process) {
        const FURTHER: &str = "tcp@127.0.0.1:1";
        let since = Instant::now();
        let mut expected = self.addresses();
        self.agree(process, &expected).await;
        // It asks for no calls, and would take none.
        process.ctl(&[
            "put",
            &format!("/_tinyrpc_/farcall/{FURTHER}"),
            r#"{"weight":0}"#,
        ]);
        process.ctl(&["put", &format!("/_tinyrpc_/registr/{FURTHER}"), FURTHER]);
        expected.insert(FURTHER.to_owned());
        self.agree(process, &expected).await;
        process.ctl(&["del", &format!("/_tinyrpc_/registr/{FURTHER}")]);
        process.ctl(&["del", &format!("/_tinyrpc_/farcall/{FURTHER}")]);
        expected.remove(FURTHER);
        self.agree(process, &expected).await;
        self.slowest = self.slowest.max(since.elapsed());
    }

    async fn agree(&self, process: &Process, expected: &BTreeSet<String>) {
        let since = Instant::now();
        loop {
            let (listed, snapshot) = (process.servers(), self.cluster.snapshot());
            if listed.as_ref() == Some(expected)
                && names(&snapshot) == *expected
                && snapshot.stale.is_none()
            {
                return;
            }
            let waited = since.elapsed();
            assert!(
                waited < Duration::from_secs(15),
                "{}: after {waited:?} etcd lists {listed:?} and the client {snapshot:?} instead of {expected:?}",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the calls, and says how it went.
    async fn end(self) {
        self.end_within(Duration::from_secs(5)).await;
    }

    async fn end_within(self, limit: Duration) {
        let calls = self.calls.none_failed().await;
        println!(
            "{}: {} rounds, {calls} calls, 0 failed, at most {:?} to the right list",
            self.name,
            rounds(),
            self.slowest
        );
        assert!(self.slowest < limit, "{:?}", self.slowest);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_etcd_is_killed_and_comes_back_before_and_after_the_leases_end() {
    let mut process = Process::start().await;
    let mut scene = Scene::start("kill and restart", eager(&process.url())).await;
    scene.settle(&process).await;
    for _ in 0..rounds() {
        for away in [TTL / 4, 2 * TTL] {
            process.kill();
            tokio::time::sleep(away).await;
            process.run();
            process.ready().await;
            scene.settle(&process).await;
        }
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_when_etcd_comes_back_without_its_memory() {
    let mut process = Process::start().await;
    let mut scene = Scene::start("restart with nothing", eager(&process.url())).await;
    scene.settle(&process).await;
    for _ in 0..rounds() {
        // So far that the new store is surely behind it.
        for _ in 0..5 {
            process.ctl(&["put", "/elsewhere", "x"]);
        }
        process.kill();
        process.forget();
        process.run();
        process.ready().await;
        scene.settle(&process).await;
    }
    // A store that went back is watched for two seconds before it is believed.
    scene.end_within(Duration::from_secs(7)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_leases_are_revoked_and_keys_deleted_by_hand() {
    let process = Process::start().await;
    let mut scene = Scene::start("revoke and delete", eager(&process.url())).await;
    scene.settle(&process).await;
    for _ in 0..rounds() {
        let one = scene.addresses().pop_first().unwrap();
        let plain = format!("/_tinyrpc_/registr/{one}");
        process.ctl(&["lease", "revoke", &process.lease_of(&plain)]);
        scene.settle(&process).await;
        process.ctl(&["del", &plain]);
        scene.settle(&process).await;
        process.ctl(&["del", "--prefix", "/_tinyrpc_/"]);
        scene.settle(&process).await;
        // A key that someone wrote over, without a lease, is the server's again.
        process.ctl(&["put", &plain, &one]);
        let again = async {
            while process.lease_of(&plain) == "0" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, again).await.expect("it is on a lease");
        scene.settle(&process).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_etcd_is_frozen_for_longer_than_the_leases_live() {
    let process = Process::start().await;
    let mut scene = Scene::start("freeze etcd", eager(&process.url())).await;
    scene.settle(&process).await;
    for _ in 0..rounds() {
        process.freeze();
        tokio::time::sleep(2 * TTL).await;
        process.thaw();
        process.ready().await;
        scene.settle(&process).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_the_leader_of_three_is_killed() {
    let mut members = Process::three().await;
    let places: Vec<&str> = members.iter().map(|member| &*member.place).collect();
    let etcd = eager(&format!("etcd://{}/", places.join(",")));
    let mut scene = Scene::start("kill the leader", etcd).await;
    scene.settle(&members[0]).await;
    for _ in 0..rounds() {
        let leader = members
            .iter()
            .position(Process::is_leader)
            .expect("someone leads");
        members[leader].kill();
        let other = (leader + 1) % members.len();
        members[other].ready().await;
        scene.settle(&members[other]).await;
        members[leader].run();
        members[leader].ready().await;
        scene.settle(&members[leader]).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_a_member_is_cut_off_and_who_asks_only_that_one_knows_that_its_list_is_old()
 {
    let network = Network::new();
    let members = Process::three_over(&network).await;
    let places: Vec<&str> = members.iter().map(|member| &*member.place).collect();
    let etcd = eager(&format!("etcd://{}/", places.join(",")));
    let mut scene = Scene::start("cut a member off", etcd).await;
    scene.settle(&members[0]).await;
    let (mut slowest_to_tell, mut slowest_to_heal) = (Duration::ZERO, Duration::ZERO);
    for round in 0..2 * rounds() {
        // The leader in one round, another one in the next.
        let leads = members.iter().position(Process::is_leader);
        let leader = leads.expect("someone leads");
        let cut = (leader + round as usize % 2) % members.len();
        let other = &members[(cut + 1) % members.len()];
        let cut = &members[cut];
        let mut lonely = eager(&cut.url()).watch();
        wait_for(&mut lonely, |s| names(s) == scene.addresses()).await;

        let since = Instant::now();
        network.isolate(cut.id(), cut.peer_place.clone());
        let old = wait_for(&mut lonely, |s| s.stale.is_some()).await;
        slowest_to_tell = slowest_to_tell.max(since.elapsed());
        assert_eq!(names(&old), scene.addresses(), "the last good list is kept");
        other.ready().await;
        scene.settle(other).await;

        let since = Instant::now();
        network.heal();
        let is_fresh = |s: &Arc<Snapshot>| s.stale.is_none() && names(s) == scene.addresses();
        wait_for(&mut lonely, is_fresh).await;
        slowest_to_heal = slowest_to_heal.max(since.elapsed());
        cut.ready().await;
        scene.settle(cut).await;
    }
    println!(
        "cut a member off: told after at most {slowest_to_tell:?}, healed after at most {slowest_to_heal:?}"
    );
    // Its own limits for a request are a second, and then the watch is tried again.
    assert!(
        slowest_to_tell < Duration::from_secs(10),
        "{slowest_to_tell:?}"
    );
    assert!(
        slowest_to_heal < Duration::from_secs(5),
        "{slowest_to_heal:?}"
    );
    scene.end_within(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_frozen_for_longer_than_its_lease_is_back_by_itself() {
    let process = Process::start().await;
    let mut scene = Scene::start("freeze a registrar", eager(&process.url())).await;
    // A registrar on a thread of its own, which stands still as a stopped process does: no timer, no socket.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (server, registrar) = scene.servers.pop().unwrap();
    registrar.withdraw().await;
    let etcd = scene.etcd.clone();
    let address = server.address().clone();
    let registrar = runtime.spawn(async move { etcd.advertise(Endpoint::new(address)).unwrap() });
    let registrar = registrar.await.unwrap();
    registered(&registrar).await;
    scene.servers.push((server, registrar));
    scene.settle(&process).await;
    for _ in 0..rounds() {
        let (thaw, frozen) = std::sync::mpsc::channel::<()>();
        runtime.spawn(async move { frozen.recv() });
        let listed = async {
            while process.servers().is_some_and(|servers| servers.len() == 3) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, listed).await.expect("its lease ends");
        thaw.send(()).unwrap();
        scene.settle(&process).await;
    }
    scene.end().await;
    runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_replaced_one_by_one_cost_no_call_and_the_last_leaves_an_empty_list() {
    let process = Process::start().await;
    let etcd = eager(&process.url());
    let start = || async { echo().advertise(etcd.clone()).start().await.unwrap() };
    let mut server = start().await;
    let cluster = Cluster::builder(etcd.clone()).build();
    let mut snapshots = etcd.watch();
    let is_listed = |snapshot: &Snapshot, server: &Server, state| {
        let mut found = snapshot.endpoints.iter();
        found.any(|e| e.address == *server.address() && e.state == state && e.services == ["Echo"])
    };
    wait_for(&mut snapshots, |s| is_listed(s, &server, State::Up)).await;
    // The cluster watches by itself, and may have looked before the server was there.
    crate::support::until(|| is_listed(&cluster.snapshot(), &server, State::Up)).await;
    let calls = Calls::start(cluster.clone());
    for _ in 0..3 {
        let next = start().await;
        wait_for(&mut snapshots, |s| is_listed(s, &next, State::Up)).await;
        let last = std::mem::replace(&mut server, next);
        let address = last.address().clone();
        let mut states = etcd.watch();
        // Its first look must be before the server says that it goes.
        wait_for(&mut states, |s| is_listed(s, &last, State::Up)).await;
        let seen = tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                let snapshot = Arc::clone(&states.borrow_and_update());
                let found = snapshot.endpoints.iter().find(|e| e.address == address);
                let state = found.map(|endpoint| endpoint.state);
                if snapshot.known && seen.last() != Some(&state) {
                    seen.push(state);
                }
                if seen.last() == Some(&None) {
                    return seen;
                }
                states.changed().await.unwrap();
            }
        });
        assert!(last.shutdown(PATIENCE).await);
        let seen = timeout(PATIENCE, seen).await.expect("it leaves").unwrap();
        assert_eq!(seen, [Some(State::Up), Some(State::Draining), None]);
    }
    println!(
        "replace servers: {} calls, 0 failed",
        calls.none_failed().await
    );
    assert!(server.shutdown(PATIENCE).await);
    wait_for(&mut snapshots, |s| {
        s.endpoints.is_empty() && s.stale.is_none()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_no_client_could_dial_does_not_start_advertised() {
    let everywhere = Server::builder()
        .bind("tcp@0.0.0.0:0")
        .advertise(eager("etcd://127.0.0.1:1/"));
    let error = everywhere.start().await.unwrap_err().to_string();
    assert!(
        error.contains("advertise an address that they can reach"),
        "{error}"
    );
}
