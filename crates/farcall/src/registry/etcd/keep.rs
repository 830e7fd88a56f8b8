//! How a server stays in etcd: a lease, two keys on it, and a watch for the day that somebody deletes them. When to
//! do it again is the registrar's to say.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::Layout;
use super::api::{Api, Refusal};
use crate::backoff::jittered;
use crate::discover::record::Record;
use crate::discover::{Endpoint, State};
use crate::registry::registrar::Beat;

/// One server's entry.
#[derive(Debug)]
pub(super) struct Keeper {
    api: Api,
    layout: Layout,
    ttl: Duration,
    entry: Mutex<Option<Entry>>,
}

/// What was written last.
#[derive(Clone, Copy, Debug)]
struct Entry {
    lease: i64,
    /// When both keys were surely there.
    revision: i64,
}

impl Keeper {
    pub(super) fn new(api: Api, layout: Layout, ttl: Duration) -> Keeper {
        Keeper {
            api,
            layout,
            ttl,
            entry: Mutex::default(),
        }
    }

    fn entry(&self) -> Option<Entry> {
        *self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, entry: Option<Entry>) {
        *self.entry.lock().unwrap_or_else(PoisonError::into_inner) = entry;
    }

    /// Both keys and their values.
    fn pairs(&self, endpoint: &Endpoint) -> [(String, String); 2] {
        let address = endpoint.address.to_string();
        let rich = serde_json::to_string(&Record::from(endpoint));
        let rich = rich.expect("a record is strings and numbers");
        [
            (self.layout.plain(&address), address.clone()),
            (self.layout.rich(&address), rich),
        ]
    }

    /// A lease that lives now: the one there is, or a new one.
    async fn lease(&self) -> Result<i64, Refusal> {
        if let Some(entry) = self.entry() {
            if self.api.keep_alive(entry.lease).await? {
                return Ok(entry.lease);
            }
            tracing::info!("the lease in etcd is lost; taking a new one");
            self.remember(None);
        }
        self.api.grant(self.ttl).await
    }

    async fn write(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let pairs = self.pairs(endpoint);
        for _ in 0..2 {
            let lease = self.lease().await?;
            // Remembered before it is used: if the answer to the write is lost, the lease is not.
            let revision = self.entry().map_or(0, |entry| entry.revision);
            self.remember(Some(Entry { lease, revision }));
            match self.api.put(lease, &pairs).await {
                Ok(revision) => {
                    self.remember(Some(Entry { lease, revision }));
                    return Ok(());
                }
                // It ended between the two requests.
                Err(refusal) if refusal.is_not_found() => self.remember(None),
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::new(
            "the lease ends as soon as it is granted".into(),
        ))
    }
}

impl Beat for Keeper {
    async fn beat(&self, endpoint: &Endpoint) -> Result<Duration, String> {
        let written = self.write(endpoint).await;
        written
            .map(|()| self.ttl / 3)
            .map_err(|refusal| refusal.text)
    }

    async fn remove(&self, endpoint: &Endpoint) -> Result<(), String> {
        let Some(Entry { lease, .. }) = self.entry() else {
            return Ok(());
        };
        // Clients tell a farewell from a loss by the state before it.
        let mut endpoint = endpoint.clone();
        endpoint.state = State::Draining;
        let [_, rich] = self.pairs(&endpoint);
        let said = self.api.put(lease, &[rich]).await;
        // Ending the lease deletes what hangs on it, and not what a successor wrote at the same address.
        let ended = self.api.revoke(lease).await;
        said.map(drop).and(ended).map_err(|refusal| refusal.text)
    }

    /// Watches for the deletion of either key.
    async fn lost(&self, endpoint: &Endpoint) {
        let Some(Entry { revision, .. }) = self.entry() else {
            return std::future::pending().await;
        };
        let address = endpoint.address.to_string();
        let ranges = [self.layout.plain(&address), self.layout.rich(&address)]
            .map(|key| (key.clone(), format!("{key}\0")));
        let ranges = ranges.each_ref().map(|(first, end)| (&**first, &**end));
        let Ok(mut watch) = self.api.watch(&ranges, revision + 1, true).await else {
            // The next beat in its time finds out the same.
            return std::future::pending().await;
        };
        loop {
            match watch.next().await {
                Ok(watched) if watched.events.is_empty() && !watched.canceled => {}
                Ok(watched) if !watched.events.is_empty() => return,
                // Perhaps etcd has gone, with all that it knew. Not all who see it come at once.
                _ => return sleep(jittered(Duration::from_millis(500))).await,
            }
        }
    }
}
