//! The demo's registry and servers. Each server lives in a runtime of its own, so that it can die as a process dies:
//! all at once, saying goodbye to nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use farcall::discover::Endpoint;
use farcall::registry::{Advertise, HttpRegistry, Registrar, RegistryServer};
use farcall::{Address, Cluster, Codec, Server, Transport};
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;

use crate::out::{Exit, Failure};
use crate::services::{self, Began};

/// Short, because a demo should not make anybody wait for a heartbeat.
const TTL: Duration = Duration::from_secs(3);
const REFRESH: Duration = Duration::from_millis(500);

/// How long ending takes at most.
const GRACE: Duration = Duration::from_secs(2);

pub(super) struct Fleet {
    registry: RegistryServer,
    discovery: HttpRegistry,
    nodes: Vec<Node>,
}

/// A server: its place and counts, which outlive it, and itself, while it lives.
struct Node {
    address: Address,
    began: Began,
    alive: Option<Alive>,
}

struct Alive {
    runtime: Runtime,
    server: Server,
    registrar: Registrar,
}

/// Calls that ran: how many on each server, by codec.
pub(super) type Counts = BTreeMap<String, BTreeMap<&'static str, u64>>;

/// Calls that ran since some moment.
pub(super) struct Ran {
    pub(super) per_server: BTreeMap<String, u64>,
    /// The codecs they came in.
    pub(super) codecs: Vec<&'static str>,
}

impl Fleet {
    pub(super) async fn start(count: u16) -> Result<Fleet, Failure> {
        let registry = farcall::Registry::builder().ttl(TTL).build();
        let registry = registry.serve("127.0.0.1:0").await.map_err(cannot_start)?;
        let discovery = HttpRegistry::new(&registry.url())?.refresh(REFRESH);
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(Node::start(&discovery).await?);
        }
        nodes.sort_by_key(|node| node.address.to_string());
        Ok(Fleet {
            registry,
            discovery,
            nodes,
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// The servers' addresses, sorted, whether they live or not.
    pub(super) fn servers(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.address.to_string())
            .collect()
    }

    pub(super) fn registry(&self) -> String {
        self.registry.url()
    }

    /// The debug page of a server that is never killed.
    pub(super) fn dashboard(&self) -> String {
        match self.nodes.first().map(|node| &node.address.transport) {
            Some(Transport::Tcp(place)) => format!("http://{place}/debug/farcall"),
            _ => String::new(),
        }
    }

    /// A balanced client that finds the servers through the registry.
    pub(super) fn client(&self, codec: Codec) -> Cluster {
        Cluster::builder(self.discovery.clone())
            .codec(codec)
            .build()
    }

    pub(super) fn counts(&self) -> Counts {
        let counts = self
            .nodes
            .iter()
            .map(|node| (node.address.to_string(), node.began.by_codec()));
        counts.collect()
    }

    pub(super) fn ran_since(&self, before: &Counts) -> Ran {
        let mut ran = Ran {
            per_server: BTreeMap::new(),
            codecs: Vec::new(),
        };
        for (server, now) in self.counts() {
            let total = ran.per_server.entry(server.clone()).or_default();
            for (codec, now) in now {
                let before = before.get(&server).and_then(|counts| counts.get(codec));
                let new = now.saturating_sub(before.copied().unwrap_or(0));
                *total += new;
                if new > 0 && !ran.codecs.contains(&codec) {
                    ran.codecs.push(codec);
                }
            }
        }
        ran
    }

    /// Kills the last server: its sockets close under its clients, and its heartbeats stop. Gives its address.
    pub(super) async fn kill_last(&mut self) -> Option<String> {
        let node = self.nodes.last_mut()?;
        node.kill().await;
        Some(node.address.to_string())
    }

    /// Starts the last server again where it was, with its counts.
    pub(super) async fn revive_last(&mut self) -> Result<String, Failure> {
        let node = self
            .nodes
            .last_mut()
            .ok_or_else(|| cannot_start("there is no server"))?;
        node.live(&self.discovery).await?;
        Ok(node.address.to_string())
    }

    /// Ends everything in good order.
    pub(super) async fn stop(self) {
        for Alive {
            runtime,
            server,
            registrar,
        } in self.nodes.into_iter().filter_map(|node| node.alive)
        {
            registrar.withdraw().await;
            server.shutdown(GRACE).await;
            end(runtime).await;
        }
        self.registry.shutdown().await;
    }
}

impl Node {
    async fn start(registry: &HttpRegistry) -> Result<Node, Failure> {
        let mut node = Node {
            address: Address::tcp("127.0.0.1:0"),
            began: Began::default(),
            alive: None,
        };
        node.live(registry).await?;
        Ok(node)
    }

    /// Starts the server at the node's address, and remembers where that is if the system had to choose a port.
    async fn live(&mut self, registry: &HttpRegistry) -> Result<(), Failure> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.map_err(cannot_start)?;
        let (address, began) = (self.address.to_string(), self.began.clone());
        let registry = registry.clone();
        let started = runtime.spawn(async move {
            let mut server = Server::builder().bind(&address);
            for service in services::all(began) {
                server = server.register(service);
            }
            let server = server.start().await.map_err(cannot_start)?;
            let registrar = registry.advertise(Endpoint::new(server.address().clone()))?;
            Ok::<_, Failure>((server, registrar))
        });
        let (server, registrar) = started.await.map_err(cannot_start)??;
        self.address = server.address().clone();
        self.alive = Some(Alive {
            runtime,
            server,
            registrar,
        });
        Ok(())
    }

    async fn kill(&mut self) {
        if let Some(Alive {
            runtime,
            server,
            registrar,
        }) = self.alive.take()
        {
            // First the tasks, and with them the sockets and heartbeats: what the handles say when they are dropped
            // afterwards reaches nobody.
            end(runtime).await;
            drop((server, registrar));
        }
    }
}

/// Ends a runtime with all its tasks, wherever they are.
async fn end(runtime: Runtime) {
    // It waits for its threads, which a thread of another runtime must not.
    let ended = spawn_blocking(move || runtime.shutdown_timeout(GRACE));
    // A panic there leaves nothing to be done here.
    let _ = ended.await;
}

/// The addresses that a client knows, sorted.
pub(super) fn known_to(cluster: &Cluster) -> Vec<String> {
    let snapshot = cluster.snapshot();
    let mut known: Vec<_> = snapshot
        .endpoints
        .iter()
        .map(|e| e.address.to_string())
        .collect();
    known.sort();
    known
}

fn cannot_start(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        format_args!("cannot start the demo's servers: {error}"),
    )
    .advise("they need free ports on 127.0.0.1")
}
