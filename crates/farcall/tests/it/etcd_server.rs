//! A real etcd, alone or three of them, for the tests to mistreat. No claim is proved here.

use std::collections::BTreeSet;
use std::net::TcpListener;
#[cfg(feature = "tls")]
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[cfg(feature = "tls")]
use crate::certificates::Identity;
use crate::partition::Network;

const INSTALL: &str = "the tests of discovery need etcd 3.4 or later: install the packages etcd-server and etcd-client \
                       (apt-get install etcd-server etcd-client), or put etcd and etcdctl into PATH";

/// One member, which ends with the value.
pub(crate) struct Etcd {
    /// Where clients reach it: `127.0.0.1:2379`.
    pub(crate) place: String,
    /// Where it listens to other members.
    pub(crate) peer_place: String,
    name: String,
    args: Vec<String>,
    /// What `etcdctl` has to be told to be let in.
    ctl_args: Vec<String>,
    dir: TempDir,
    child: Option<Child>,
}

impl Etcd {
    /// An etcd of one member, ready.
    pub(crate) async fn start() -> Etcd {
        let [etcd] = Etcd::cluster(["only"]).await;
        etcd
    }

    /// An etcd of one member which speaks TLS to its clients, ready: by this certificate and key, and only to those
    /// whose certificate this authority signed. `etcdctl` goes in with the last two.
    #[cfg(feature = "tls")]
    pub(crate) async fn start_secured(server: &Identity, ca: &Path, client: &Identity) -> Etcd {
        let (client_port, peer_port) = (free_port(), free_port());
        let peer = format!("http://127.0.0.1:{peer_port}");
        let mut etcd = Etcd::new("only", client_port, peer_port, &format!("only={peer}"));
        for arg in &mut etcd.args {
            if arg.starts_with("--listen-client") || arg.starts_with("--advertise-client") {
                *arg = arg.replace("http://", "https://");
            }
        }
        let file = |name: &str, path: &Path| format!("--{name}={}", path.display());
        etcd.args.extend([
            format!("--initial-advertise-peer-urls={peer}"),
            "--client-cert-auth".to_owned(),
            file("cert-file", &server.certificate),
            file("key-file", &server.key),
            file("trusted-ca-file", ca),
        ]);
        etcd.ctl_args = vec![
            // It knows no other name of the server than its address.
            "--insecure-skip-tls-verify".to_owned(),
            file("cert", &client.certificate),
            file("key", &client.key),
        ];
        etcd.run();
        etcd.ready().await;
        etcd
    }

    /// An etcd of three members, ready.
    pub(crate) async fn three() -> [Etcd; 3] {
        Etcd::cluster(["a", "b", "c"]).await
    }

    /// The same, which reach each other over a network that can be torn.
    pub(crate) async fn three_over(network: &Network) -> [Etcd; 3] {
        let members = ["a", "b", "c"].map(|name| (name, free_port(), free_port()));
        let mut ways = Vec::new();
        for (_, _, peer) in members {
            ways.push(network.way_to(format!("127.0.0.1:{peer}")).await);
        }
        Etcd::run_all(members, &ways).await
    }

    async fn cluster<const N: usize>(names: [&str; N]) -> [Etcd; N] {
        let members = names.map(|name| (name, free_port(), free_port()));
        let ways = members.map(|(_, _, peer)| format!("127.0.0.1:{peer}"));
        Etcd::run_all(members, &ways).await
    }

    /// Members with the ports for their clients and their peers, and where the peers reach each.
    async fn run_all<const N: usize>(members: [(&str, u16, u16); N], ways: &[String]) -> [Etcd; N] {
        let peers = members.iter().zip(ways);
        let peers: Vec<String> = peers
            .map(|((name, _, _), way)| format!("{name}=http://{way}"))
            .collect();
        let peers = peers.join(",");
        let mut etcds = members.map(|(name, client, peer)| Etcd::new(name, client, peer, &peers));
        for (etcd, way) in etcds.iter_mut().zip(ways) {
            etcd.args
                .push(format!("--initial-advertise-peer-urls=http://{way}"));
            etcd.run();
        }
        for etcd in &etcds {
            etcd.ready().await;
        }
        etcds
    }

    fn new(name: &str, client: u16, peer: u16, peers: &str) -> Etcd {
        let dir = tempfile::tempdir().unwrap();
        let (client, peer) = (
            format!("http://127.0.0.1:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let data = dir.path().join("data");
        let options = [
            ("name", name),
            ("data-dir", data.to_str().unwrap()),
            ("listen-client-urls", &client),
            ("advertise-client-urls", &client),
            ("listen-peer-urls", &peer),
            ("initial-cluster", peers),
            ("log-level", "error"),
        ];
        let args = options.iter();
        Etcd {
            place: client.trim_start_matches("http://").to_owned(),
            peer_place: peer.trim_start_matches("http://").to_owned(),
            name: name.to_owned(),
            args: args
                .map(|(name, value)| format!("--{name}={value}"))
                .collect(),
            ctl_args: Vec::new(),
            dir,
            child: None,
        }
    }

    /// Starts the process, with what it knew when it ended.
    pub(crate) fn run(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let child = Command::new("etcd")
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child =
            Some(child.unwrap_or_else(|error| panic!("etcd does not start: {error}; {INSTALL}")));
    }

    /// Waits until it serves, with a quorum.
    pub(crate) async fn ready(&self) {
        let asked = Instant::now();
        while !self.is_ready() {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(
                asked.elapsed() < Duration::from_secs(20),
                "etcd {} is not ready: {}",
                self.name,
                log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// True when it reads through its leader; also when it would not tell what, for want of a password.
    fn is_ready(&self) -> bool {
        let asked = self.try_ctl(&["get", "ready"]);
        let is_let_in = |error: String| {
            // The second is for one that showed a certificate, which names no user.
            error.contains("user name is empty") || error.contains("permission denied")
        };
        asked.map_or_else(is_let_in, |_| true)
    }

    /// Ends the process without warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Loses all that it knew. It must not run.
    pub(crate) fn forget(&mut self) {
        assert!(self.child.is_none());
        std::fs::remove_dir_all(self.dir.path().join("data")).unwrap();
    }

    /// Stops the process where it is: its connections stay open, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen process go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// What farcall calls it.
    pub(crate) fn url(&self) -> String {
        format!("etcd://{}/", self.place)
    }

    /// The output of `etcdctl` with these arguments.
    pub(crate) fn ctl(&self, args: &[&str]) -> String {
        self.try_ctl(args)
            .unwrap_or_else(|error| panic!("etcdctl {args:?}: {error}"))
    }

    fn try_ctl(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args([
                "--endpoints",
                &self.place,
                "--command-timeout=2s",
                "--dial-timeout=2s",
            ])
            .args(&self.ctl_args)
            .args(args)
            .output()
            .unwrap_or_else(|error| panic!("etcdctl does not start: {error}; {INSTALL}"));
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The servers that etcd lists, as a program of TinyRPC would find them; `None` when it cannot be asked.
    pub(crate) fn servers(&self) -> Option<BTreeSet<String>> {
        let list = self.try_ctl(&[
            "get",
            "--prefix",
            "--print-value-only",
            "/_tinyrpc_/registr/",
        ]);
        Some(list.ok()?.lines().map(str::to_owned).collect())
    }

    /// The lease that a key hangs on, as `etcdctl lease` wants it; `0` when it hangs on none.
    pub(crate) fn lease_of(&self, key: &str) -> String {
        let found: serde_json::Value =
            serde_json::from_str(&self.ctl(&["get", "-w", "json", key])).unwrap();
        format!("{:x}", found["kvs"][0]["lease"].as_i64().unwrap_or(0))
    }

    /// The revision that the store is at.
    pub(crate) fn revision(&self) -> i64 {
        let found: serde_json::Value =
            serde_json::from_str(&self.ctl(&["get", "-w", "json", "x"])).unwrap();
        found["header"]["revision"].as_i64().unwrap()
    }

    /// True when this member leads the others.
    pub(crate) fn is_leader(&self) -> bool {
        let status = self.status();
        status["leader"] == status["header"]["member_id"]
    }

    /// Its number, as members tell it to each other.
    pub(crate) fn id(&self) -> String {
        format!(
            "{:x}",
            self.status()["header"]["member_id"].as_u64().unwrap()
        )
    }

    fn status(&self) -> serde_json::Value {
        let found: serde_json::Value =
            serde_json::from_str(&self.ctl(&["endpoint", "status", "-w", "json"])).unwrap();
        found[0]["Status"].clone()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A frozen process ends by this, too.
            self.kill();
        }
    }
}

/// A port that was free a moment ago: etcd has to be told which to take.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
