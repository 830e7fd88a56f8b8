//! Who is there: a list of endpoints that changes, and the rule by which it may. Nothing here dials an endpoint or
//! chooses one. Back-ends that need a protocol of their own (the HTTP registry) live in `registry`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::address::Address;

pub mod conformance;
mod ledger;
pub(crate) mod poll;
pub(crate) mod record;
mod remembered;

use ledger::{Ledger, Seen};
pub use remembered::Remembered;

/// One server of a cluster, as its registry describes it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where the server is and how to speak to it.
    pub address: Address,
    /// How much work it can do beside the others; 1 unless said otherwise. 0 asks for none.
    pub weight: u32,
    /// The failure domain that it stands in, such as a data centre; empty when unknown.
    pub zone: String,
    /// The names of the services that it has, sorted; empty when unknown.
    pub services: Vec<String>,
    /// Whatever else its owner wrote down.
    pub metadata: BTreeMap<String, String>,
    /// Whether it takes new calls.
    pub state: State,
}

/// Whether a server takes new calls.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// It does.
    #[default]
    Up,
    /// It is about to go: it finishes what it has, and new calls belong elsewhere.
    Draining,
}

impl Endpoint {
    /// A server with weight 1, no zone and no metadata, which is up.
    pub fn new(address: Address) -> Endpoint {
        Endpoint {
            address,
            weight: 1,
            zone: String::new(),
            services: Vec::new(),
            metadata: BTreeMap::new(),
            state: State::Up,
        }
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Endpoint {
        Endpoint::new(address)
    }
}

impl State {
    /// The state's name in JSON and headers: `up`, `draining`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Draining => "draining",
        }
    }

    /// The state with this name. An unknown one is [`State::Up`]: a word from the future hides no server.
    pub fn from_name(name: &str) -> State {
        match name {
            "draining" => State::Draining,
            _ => State::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about a cluster at one moment.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The servers, each address once, sorted by address.
    pub endpoints: Vec<Endpoint>,
    /// False until a list was seen for the first time.
    pub known: bool,
    /// Set while the list cannot be trusted to be new; it is the last good one then.
    pub stale: Option<Stale>,
}

/// Since when, and why, a list is not confirmed any more.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The first look that failed.
    pub since: Instant,
    /// What was wrong with the latest one.
    pub reason: String,
}

/// Knows the servers of a cluster. Implement it to bring a back-end of your own; [`Publisher`] does most of the work.
///
/// ```
/// use std::sync::Arc;
/// use farcall::discover::{Discover, Endpoint, Publisher, Snapshot};
/// use tokio::sync::watch;
///
/// struct Neighbour;
///
/// impl Discover for Neighbour {
///     fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
///         let (mut publisher, snapshots) = Publisher::new("neighbour");
///         // Usually in a task that looks again and again, until `publisher.closed()`.
///         publisher.update(["tcp@10.0.0.2:9999".parse().map(Endpoint::new).expect("a right address")]);
///         snapshots
///     }
/// }
/// assert_eq!(Neighbour.watch().borrow().endpoints.len(), 1);
/// ```
pub trait Discover: Send + Sync + 'static {
    /// Begins to look, and gives what is known from now on. Looking ends when every receiver is dropped.
    ///
    /// It is called within a tokio runtime, and does not wait.
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>>;
}

impl Discover for Box<dyn Discover> {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        (**self).watch()
    }
}

/// A list that never changes.
#[derive(Clone, Debug)]
pub struct Static(Vec<Endpoint>);

impl Static {
    /// These servers: [`Address`]es, or [`Endpoint`]s with weights.
    pub fn new<I>(servers: I) -> Static
    where
        I: IntoIterator,
        I::Item: Into<Endpoint>,
    {
        Static(servers.into_iter().map(Into::into).collect())
    }
}

impl Discover for Static {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let (mut publisher, snapshots) = Publisher::new("static list");
        publisher.update(self.0.iter().cloned());
        snapshots
    }
}

/// Turns looks at a registry into snapshots that are safe to rely on.
///
/// No look empties a list by accident:
///
/// - a failed look keeps the last good list, and says since when it is stale;
/// - an empty list after a full one is taken for a failure of the registry: servers that are truly gone refuse calls
///   by themselves;
/// - a look without more than half of the servers removes them only when a second one, at least ten seconds later,
///   misses them too. New servers are there at once;
/// - a server that was [`State::Draining`], or [`Publisher::withdrawn`], said that it was going: the next look without
///   it removes it, whatever else is missing.
#[derive(Debug)]
pub struct Publisher {
    name: String,
    ledger: Ledger,
    sender: watch::Sender<Arc<Snapshot>>,
}

/// How much later a second look must be to confirm that many servers are gone.
const CONFIRM_AFTER: Duration = Duration::from_secs(10);

impl Publisher {
    /// A publisher that knows nothing yet, and the receiver of its snapshots. The name stands in log lines.
    pub fn new(name: impl Into<String>) -> (Publisher, watch::Receiver<Arc<Snapshot>>) {
        let (sender, receiver) = watch::channel(Arc::default());
        let publisher = Publisher {
            name: name.into(),
            ledger: Ledger::new(CONFIRM_AFTER),
            sender,
        };
        (publisher, receiver)
    }

    /// A look succeeded, and these servers were in the list.
    pub fn update(&mut self, endpoints: impl IntoIterator<Item = Endpoint>) {
        let now = tokio::time::Instant::now().into_std();
        match self.ledger.observe(endpoints, now) {
            Seen::Applied => {}
            Seen::Held(missing) => {
                tracing::warn!(
                    registry = self.name,
                    missing,
                    "most servers left the list at once; they are kept until a later look confirms it"
                );
            }
            Seen::Empty => {
                return self.failed("the list is empty; the last servers are kept");
            }
        }
        let endpoints = self.ledger.endpoints();
        self.sender.send_if_modified(|snapshot| {
            if let Some(stale) = &snapshot.stale {
                let seconds = now.saturating_duration_since(stale.since).as_secs();
                tracing::info!(registry = self.name, seconds, "the list is fresh again");
            }
            let new = Snapshot {
                endpoints,
                known: true,
                stale: None,
            };
            replace(snapshot, new)
        });
    }

    /// This server takes itself out of the list: the next look without it is believed, also when it leaves nobody.
    /// For back-ends that can tell a farewell from a loss and do not show the draining before it.
    pub fn withdrawn(&mut self, address: &Address) {
        self.ledger.withdrawn(&address.to_string());
    }

    /// In how long a second look is needed, because too many servers went missing in an earlier one. A back-end that
    /// looks from time to time anyway need not ask.
    pub fn confirm_in(&self) -> Option<Duration> {
        let now = tokio::time::Instant::now().into_std();
        self.ledger.confirm_in(now)
    }

    /// A look failed, for this reason. The last good list stays.
    pub fn failed(&mut self, reason: impl fmt::Display) {
        let reason = reason.to_string();
        self.sender.send_if_modified(|snapshot| {
            let since = match &snapshot.stale {
                Some(stale) => stale.since,
                None => {
                    let servers = snapshot.endpoints.len();
                    tracing::warn!(registry = self.name, reason, servers, "the list is stale");
                    tokio::time::Instant::now().into_std()
                }
            };
            let new = Snapshot {
                stale: Some(Stale { since, reason }),
                ..Snapshot::clone(snapshot)
            };
            replace(snapshot, new)
        });
    }

    /// Ends when nobody looks at the snapshots any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// Puts the new snapshot in place; false when it says nothing new.
fn replace(snapshot: &mut Arc<Snapshot>, new: Snapshot) -> bool {
    let is_news = **snapshot != new;
    if is_news {
        *snapshot = Arc::new(new);
    }
    is_news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(ports: &[u16]) -> Vec<Endpoint> {
        let address = |port| Address::tcp(format!("h:{port}"));
        ports.iter().map(|p| Endpoint::new(address(p))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_registry_keeps_the_last_good_list_and_says_since_when() {
        let (mut publisher, snapshots) = Publisher::new("test");
        assert!(!snapshots.borrow().known);
        publisher.update(endpoints(&[1, 2]));
        let failed_at = tokio::time::Instant::now().into_std();
        publisher.failed("first");
        tokio::time::advance(Duration::from_secs(3600)).await;
        publisher.failed("second");
        let snapshot = snapshots.borrow().clone();
        assert_eq!(snapshot.endpoints, endpoints(&[1, 2]));
        let stale = snapshot.stale.clone().unwrap();
        assert_eq!((stale.since, &*stale.reason), (failed_at, "second"));
        publisher.update(endpoints(&[1, 2]));
        assert_eq!(snapshots.borrow().stale, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_list_is_stale_and_removes_nothing_however_often_it_comes() {
        let (mut publisher, snapshots) = Publisher::new("test");
        publisher.update([]);
        assert!(snapshots.borrow().known, "an empty first list is an answer");
        publisher.update(endpoints(&[1, 2]));
        for _ in 0..5 {
            publisher.update([]);
            let snapshot = snapshots.borrow().clone();
            assert_eq!(snapshot.endpoints, endpoints(&[1, 2]));
            assert!(snapshot.stale.clone().unwrap().reason.contains("empty"));
            tokio::time::advance(CONFIRM_AFTER).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_brings_nothing_new_wakes_nobody() {
        let (mut publisher, mut snapshots) = Publisher::new("test");
        publisher.update(endpoints(&[1]));
        snapshots.mark_unchanged();
        publisher.update(endpoints(&[1]));
        assert!(!snapshots.has_changed().unwrap());
        publisher.update(endpoints(&[1, 2]));
        assert!(snapshots.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_static_list_names_each_server_once_in_order() {
        let snapshots = Static::new(endpoints(&[2, 1, 2])).watch();
        assert_eq!(snapshots.borrow().endpoints, endpoints(&[1, 2]));
        assert!(snapshots.borrow().known);
    }
}
