//! The addresses of a name as the list of servers. Resolving is the system's, or somebody else's that is handed in;
//! service records and the lives of answers are not looked at.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::address::{Address, AddressError, Target};
use crate::discover::poll::poll;
use crate::discover::{Discover, Endpoint, Snapshot};

/// More are the mistake of somebody.
const ADDRESSES_MAX: usize = 1000;
const RIGHT: &str = "dns:arith.example.org:9999";

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type Lookup = dyn Fn(String) -> Found + Send + Sync;

/// Every address of a name, of both families, all at the same port.
///
/// It is resolved again from time to time and never while a call waits. A failure keeps the last answer, and so does an
/// empty one.
///
/// ```
/// use farcall::registry::Dns;
/// let servers = Dns::new("dns:arith.example.org:9999")?;
/// # Ok::<(), farcall::AddressError>(())
/// ```
#[derive(Clone)]
pub struct Dns {
    host_port: String,
    refresh: Duration,
    timeout: Duration,
    lookup: Arc<Lookup>,
}

impl Dns {
    /// The servers behind `dns:name:port`. Nothing is resolved yet.
    ///
    /// # Errors
    ///
    /// It is no such target.
    pub fn new(target: &str) -> Result<Dns, AddressError> {
        let Target::Dns(host_port) = target.parse()? else {
            return Err(AddressError::new(
                target,
                "it does not begin with dns:",
                RIGHT,
            ));
        };
        if host_port.starts_with(':') {
            return Err(AddressError::new(target, "the name is missing", RIGHT));
        }
        let system = |host_port: String| -> Found {
            Box::pin(async move { Ok(tokio::net::lookup_host(host_port).await?.collect()) })
        };
        Ok(Dns {
            host_port,
            refresh: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            lookup: Arc::new(system),
        })
    }

    /// How often the name is resolved, with a fifth of jitter; ten seconds unless set.
    pub fn refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh.max(Duration::from_millis(10));
        self
    }

    /// How long an answer may take; five seconds unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Resolves with this instead of the system's resolver. It is given `name:port`.
    pub fn lookup_with<F, R>(mut self, lookup: F) -> Self
    where
        F: Fn(String) -> R + Send + Sync + 'static,
        R: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.lookup = Arc::new(move |host_port| Box::pin(lookup(host_port)));
        self
    }

    async fn look(&self) -> Result<Vec<Endpoint>, String> {
        let found = timeout(self.timeout, (self.lookup)(self.host_port.clone())).await;
        let name = &self.host_port;
        let found = match found {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(format!("dns:{name}: {error}")),
            Err(_) => return Err(format!("dns:{name}: no answer within {:?}", self.timeout)),
        };
        let found: BTreeSet<SocketAddr> = found.into_iter().collect();
        if found.is_empty() {
            return Err(format!("dns:{name}: the name has no addresses"));
        }
        if found.len() > ADDRESSES_MAX {
            tracing::warn!(
                name,
                addresses = found.len(),
                "only {ADDRESSES_MAX} addresses are used"
            );
        }
        let used = found.into_iter().take(ADDRESSES_MAX);
        Ok(used
            .map(|address| Endpoint::new(Address::tcp(address)))
            .collect())
    }
}

impl Discover for Dns {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let dns = self.clone();
        poll(format!("dns:{}", self.host_port), self.refresh, move || {
            let dns = dns.clone();
            async move { dns.look().await }
        })
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns")
            .field("host_port", &self.host_port)
            .field("refresh", &self.refresh)
            .finish_non_exhaustive()
    }
}
