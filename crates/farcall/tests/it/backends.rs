//! Every back-end keeps the promises that `farcall::discover::conformance` tests; and what each one promises besides.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farcall::discover::conformance::{Roll, Stage, advertises, discovers};
use farcall::discover::{Discover, Endpoint, Publisher, Remembered, Snapshot};
use farcall::registry::{Advertise, Dns, Etcd, File, HttpRegistry, RegistryServer};
use farcall::{Address, Cluster, Registry};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::etcd_server;
use crate::script::{Act, Script, list};
use crate::support::{Log, PATIENCE};

const OFTEN: Duration = Duration::from_millis(20);

fn tcp(port: u16) -> Address {
    Address::tcp(format!("127.0.0.1:{port}"))
}

async fn wait_for(
    snapshots: &mut watch::Receiver<Arc<Snapshot>>,
    what: impl FnMut(&Arc<Snapshot>) -> bool,
) -> Arc<Snapshot> {
    let found = timeout(PATIENCE, snapshots.wait_for(what)).await;
    found.expect("the list changes").unwrap().clone()
}

struct InFile {
    path: PathBuf,
    _dir: TempDir,
}

impl InFile {
    fn new() -> InFile {
        let dir = tempfile::tempdir().unwrap();
        InFile {
            path: dir.path().join("servers"),
            _dir: dir,
        }
    }

    fn write(&self, text: &str) {
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &self.path).unwrap();
    }
}

impl Stage for InFile {
    fn discover(&self) -> Box<dyn Discover> {
        Box::new(File::new(&self.path).refresh(OFTEN))
    }

    async fn list(&mut self, endpoints: &[Endpoint]) {
        let lines = endpoints
            .iter()
            .map(|e| format!("{} weight={}\n", e.address, e.weight));
        self.write(&lines.collect::<String>());
    }

    async fn cut(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

#[tokio::test]
async fn a_file_keeps_the_promises() {
    discovers(InFile::new()).await;
}

#[tokio::test]
async fn a_line_that_cannot_be_read_keeps_the_list_and_is_named() {
    let file = InFile::new();
    file.write("tcp@a:1\ntcp@b:2\n");
    let mut snapshots = File::new(&file.path).refresh(OFTEN).watch();
    wait_for(&mut snapshots, |s| s.endpoints.len() == 2).await;
    file.write("tcp@a:1\ntcp@b:2 weight=heavy\n");
    let stale = wait_for(&mut snapshots, |s| s.stale.is_some()).await;
    let reason = &stale.stale.as_ref().unwrap().reason;
    assert!(
        reason.contains("servers, line 2: the weight \"heavy\""),
        "{reason}"
    );
    assert_eq!(stale.endpoints.len(), 2);
    file.write("tcp@a:1\ntcp@b:2 weight=9\n");
    let fresh = wait_for(&mut snapshots, |s| s.stale.is_none()).await;
    assert_eq!(fresh.endpoints[1].weight, 9);
}

/// A resolver that the test answers for.
#[derive(Clone)]
struct Zone(Arc<Mutex<Result<Vec<SocketAddr>, String>>>);

impl Zone {
    fn new() -> Zone {
        Zone(Arc::new(Mutex::new(Ok(Vec::new()))))
    }

    fn say(&self, answer: Result<Vec<SocketAddr>, String>) {
        *self.0.lock().unwrap() = answer;
    }

    fn dns(&self) -> Dns {
        let zone = self.clone();
        let dns = Dns::new("dns:arith.test:9999").unwrap().refresh(OFTEN);
        dns.lookup_with(move |name| {
            assert_eq!(name, "arith.test:9999");
            let answer = zone.0.lock().unwrap().clone();
            async move { answer.map_err(io::Error::other) }
        })
    }
}

impl Stage for Zone {
    fn discover(&self) -> Box<dyn Discover> {
        Box::new(self.dns())
    }

    async fn list(&mut self, endpoints: &[Endpoint]) {
        let place = |e: &Endpoint| e.address.to_string().replace("tcp@", "").parse().unwrap();
        self.say(Ok(endpoints.iter().map(place).collect()));
    }

    async fn cut(&mut self) {
        self.say(Err("SERVFAIL".into()));
    }

    fn has_weights(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn dns_keeps_the_promises() {
    discovers(Zone::new()).await;
}

#[tokio::test]
async fn both_families_are_used_and_a_flood_of_addresses_is_bounded() {
    let zone = Zone::new();
    zone.say(Ok(vec![
        "[::1]:9999".parse().unwrap(),
        "127.0.0.1:9999".parse().unwrap(),
    ]));
    let mut snapshots = zone.dns().watch();
    let seen = wait_for(&mut snapshots, |s| s.known).await;
    let seen: Vec<String> = seen
        .endpoints
        .iter()
        .map(|e| e.address.to_string())
        .collect();
    assert_eq!(seen, ["tcp@127.0.0.1:9999", "tcp@[::1]:9999"]);
    let many = (0..5000u32).map(|n| SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 9999)));
    zone.say(Ok(many.collect()));
    wait_for(&mut snapshots, |s| s.endpoints.len() > 500).await;
    wait_for(&mut snapshots, |s| s.endpoints.len() <= 1002).await;
}

#[tokio::test]
async fn the_systems_resolver_finds_this_machine() {
    let mut snapshots = Dns::new("dns:localhost:9999").unwrap().watch();
    let seen = wait_for(&mut snapshots, |s| s.known).await;
    let is_here =
        |e: &Endpoint| ["tcp@127.0.0.1:9999", "tcp@[::1]:9999"].contains(&&*e.address.to_string());
    assert!(
        !seen.endpoints.is_empty() && seen.endpoints.iter().all(is_here),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_resolver_that_hangs_holds_up_no_call() {
    let server = farcall::Server::builder()
        .method("Echo.Say", |text: String| async move { Ok(text) })
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let place: SocketAddr = crate::support::place(&server).parse().unwrap();
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let dns = Dns::new("dns:arith.test:9999")
        .unwrap()
        .refresh(OFTEN)
        .lookup_with(move |_| {
            let is_first = std::mem::replace(&mut *counted.lock().unwrap(), 1) == 0;
            async move {
                match is_first {
                    true => Ok(vec![place]),
                    false => std::future::pending().await,
                }
            }
        });
    let cluster = Cluster::builder(dns).build();
    for _ in 0..50 {
        let reply: String = cluster
            .call("Echo.Say", &"hello".to_owned())
            .timeout(PATIENCE)
            .await
            .unwrap();
        assert_eq!(reply, "hello");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(*asked.lock().unwrap(), 1);
}

/// A registry as old ones answer: a header, and no more.
struct Old(Script);

impl Stage for Old {
    fn discover(&self) -> Box<dyn Discover> {
        Box::new(HttpRegistry::new(&self.0.url).unwrap().refresh(OFTEN))
    }

    async fn list(&mut self, endpoints: &[Endpoint]) {
        let addresses: Vec<String> = endpoints.iter().map(|e| e.address.to_string()).collect();
        self.0.act(list(&addresses.join(",")));
    }

    async fn cut(&mut self) {
        self.0.act(Act::Close);
    }

    fn has_weights(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_registry_of_the_originals_keeps_the_promises() {
    discovers(Old(Script::start(list("")).await)).await;
}

/// A registry of ours.
struct Ours(Option<RegistryServer>);

impl Roll for Ours {
    fn discover(&self) -> Box<dyn Discover> {
        let url = self.0.as_ref().unwrap().url();
        Box::new(HttpRegistry::new(&url).unwrap().refresh(OFTEN))
    }

    fn advertise(&self) -> Box<dyn Advertise> {
        let url = self.0.as_ref().unwrap().url();
        Box::new(HttpRegistry::new(&url).unwrap().beat(OFTEN))
    }

    async fn forget(&mut self) {
        let server = self.0.take().unwrap();
        let address = server.local_addr();
        server.shutdown().await;
        self.0 = Some(Registry::new().serve(address).await.unwrap());
    }
}

#[tokio::test]
async fn a_registry_of_ours_keeps_the_promises_to_servers() {
    advertises(Ours(Some(
        Registry::new().serve("127.0.0.1:0").await.unwrap(),
    )))
    .await;
}

/// etcd, with the keys as `etcdctl` writes them.
struct InEtcd {
    process: etcd_server::Etcd,
    is_cut: bool,
    listed: BTreeMap<String, u32>,
}

impl InEtcd {
    async fn start() -> InEtcd {
        InEtcd {
            process: etcd_server::Etcd::start().await,
            is_cut: false,
            listed: BTreeMap::new(),
        }
    }

    fn etcd(&self) -> Etcd {
        let etcd = Etcd::new(&self.process.url())
            .unwrap()
            .ttl(Duration::from_secs(2));
        etcd.check(Duration::from_millis(500))
    }
}

impl Stage for InEtcd {
    fn discover(&self) -> Box<dyn Discover> {
        Box::new(self.etcd())
    }

    async fn list(&mut self, endpoints: &[Endpoint]) {
        if std::mem::take(&mut self.is_cut) {
            self.process.run();
            self.process.ready().await;
        }
        let wanted = endpoints.iter().map(|e| (e.address.to_string(), e.weight));
        let wanted: BTreeMap<String, u32> = wanted.collect();
        for (address, weight) in &wanted {
            let described = format!(r#"{{"weight":{weight}}}"#);
            self.process
                .ctl(&["put", &format!("/_tinyrpc_/farcall/{address}"), &described]);
            self.process
                .ctl(&["put", &format!("/_tinyrpc_/registr/{address}"), address]);
        }
        for address in self
            .listed
            .keys()
            .filter(|address| !wanted.contains_key(*address))
        {
            self.process
                .ctl(&["del", &format!("/_tinyrpc_/registr/{address}")]);
        }
        self.listed = wanted;
    }

    async fn cut(&mut self) {
        self.process.kill();
        self.is_cut = true;
    }
}

impl Roll for InEtcd {
    fn discover(&self) -> Box<dyn Discover> {
        Box::new(self.etcd())
    }

    fn advertise(&self) -> Box<dyn Advertise> {
        Box::new(self.etcd())
    }

    async fn forget(&mut self) {
        self.process.kill();
        self.process.forget();
        self.process.run();
        self.process.ready().await;
    }
}

#[tokio::test]
async fn etcd_keeps_the_promises_to_clients() {
    discovers(InEtcd::start().await).await;
}

#[tokio::test]
async fn etcd_keeps_the_promises_to_servers() {
    advertises(InEtcd::start().await).await;
}

/// A list that the test changes.
struct Told(watch::Receiver<Arc<Snapshot>>);

impl Discover for Told {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.clone()
    }
}

#[tokio::test]
async fn a_client_that_starts_without_its_registry_has_the_list_of_last_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("servers.json");
    let mut heavy = Endpoint::new(tcp(1));
    heavy.weight = 5;
    let (mut publisher, told) = Publisher::new("test");
    let mut snapshots = Remembered::new(Told(told), &path).watch();
    publisher.update([heavy.clone(), Endpoint::new(tcp(2))]);
    wait_for(&mut snapshots, |s| s.endpoints.len() == 2).await;
    crate::support::until(|| path.exists()).await;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }

    let (mut publisher, told) = Publisher::new("test");
    let mut snapshots = Remembered::new(Told(told), &path).watch();
    publisher.failed("away");
    let old = wait_for(&mut snapshots, |s| {
        s.stale.as_ref().is_some_and(|s| s.reason == "away")
    })
    .await;
    assert_eq!(old.endpoints, [heavy.clone(), Endpoint::new(tcp(2))]);
    // It came back, and remembers nothing.
    publisher.update([]);
    publisher.update([heavy.clone()]);
    let fresh = wait_for(&mut snapshots, |s| s.stale.is_none()).await;
    assert_eq!(fresh.endpoints, [heavy.clone()]);
    publisher.withdrawn(&heavy.address);
    publisher.update([]);
    wait_for(&mut snapshots, |s| s.endpoints.is_empty()).await;
}

#[tokio::test]
async fn a_file_of_remembered_servers_that_cannot_be_read_is_told_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("servers.json");
    std::fs::write(&path, "[{\"address\":\"tcp@a:1\"").unwrap();
    let log = Log::start();
    let (mut publisher, told) = Publisher::new("test");
    let mut snapshots = Remembered::new(Told(told), &path).watch();
    publisher.update([Endpoint::new(tcp(1))]);
    wait_for(&mut snapshots, |s| s.known && s.stale.is_none()).await;
    assert_eq!(log.warnings("cannot be read").len(), 1);
}
