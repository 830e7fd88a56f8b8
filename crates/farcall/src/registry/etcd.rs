//! etcd as the registry: how servers stand in it, for both sides. The keys are written down here alone; what is said
//! to etcd is in `api`, what its answers mean for the list in `mirror`, how a client follows them in `follow`, and how
//! a server stays entered in `keep`.
//!
//! | key | value |
//! |---|---|
//! | `/_tinyrpc_/registr/tcp@h:1` | `tcp@h:1`, as TinyRPC writes it: a server |
//! | `/_tinyrpc_/farcall/tcp@h:1` | `{"state":"up","weight":1,"zone":"","services":["Arith"]}`: what else is known of it |
//!
//! Both keys of a server hang on one lease. A server is in the list exactly while its first key is there, so that
//! programs which know only that one see the same servers. Another prefix than `/_tinyrpc_` may be chosen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::registrar::{Advertise, Registrar};
use crate::address::{AddressError, Target, TlsFiles};
use crate::discover::{Discover, Endpoint, Publisher, Snapshot};
use crate::http::client::Url;
#[cfg(feature = "tls")]
use crate::tls::ClientTls;

mod api;
mod follow;
mod keep;
mod mirror;

use api::{Api, Login};
use keep::Keeper;

const RIGHT: &str = "etcd://127.0.0.1:2379/";
#[cfg(feature = "tls")]
const RIGHT_TLS: &str = "etcds://etcd.example.org:2379/?ca=/etc/farcall/ca.pem";
const PREFIX: &str = "/_tinyrpc_";

/// An etcd cluster, version 3.4 or later, as the registry: over its JSON gateway, with TLS (feature `tls`) or without.
///
/// A server's entry hangs on a lease of its own, and is written again after any loss: the lease revoked or expired, the
/// key deleted, etcd away for however long. A client lists once and then watches from that revision on; it tries the
/// endpoints in turn, and keeps its last list while none answers.
///
/// ```
/// # async fn run() -> Result<(), farcall::AddressError> {
/// use farcall::Cluster;
/// use farcall::registry::Etcd;
/// let etcd = Etcd::new("etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379/")?;
/// let cluster = Cluster::builder(etcd).build();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Etcd {
    endpoints: Vec<Url>,
    layout: Layout,
    ttl: Duration,
    timeout: Duration,
    check: Duration,
    login: Option<Login>,
}

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    prefix: String,
}

impl Layout {
    /// The key that makes a server one.
    fn plain(&self, address: &str) -> String {
        format!("{}/registr/{address}", self.prefix)
    }

    /// The key of its description.
    fn rich(&self, address: &str) -> String {
        format!("{}/farcall/{address}", self.prefix)
    }

    /// The keys from the first to before the second are both kinds, and perhaps others between them.
    fn range(&self) -> (String, String) {
        // `0` is the byte after `/`.
        (
            format!("{}/farcall/", self.prefix),
            format!("{}/registr0", self.prefix),
        )
    }
}

impl Etcd {
    /// The etcd whose members this names: `etcd://host:port,host:port/prefix`. Without a prefix it is TinyRPC's,
    /// `/_tinyrpc_`. Nothing is sent yet.
    ///
    /// `etcds://host:port/prefix?ca=/ca.pem&cert=/me.pem&key=/me.key` is the same over TLS, which needs the feature
    /// `tls`: `ca` is the authority that signed the members' certificates; `cert` and `key` are for an etcd that wants
    /// certificates of its clients; `name=…` is the name to want in the members' certificates instead of their hosts'.
    ///
    /// # Errors
    ///
    /// It is no such address, or a file that it names cannot be used.
    pub fn new(target: &str) -> Result<Etcd, AddressError> {
        let (endpoints, prefix, files) = match target.parse()? {
            Target::Etcd(endpoints, prefix) => (endpoints, prefix, None),
            Target::Etcds(endpoints, prefix, files) => (endpoints, prefix, Some(files)),
            _ => {
                let wrong = "it begins neither with etcd:// nor with etcds://";
                return Err(AddressError::new(target, wrong, RIGHT));
            }
        };
        let urls = endpoints
            .iter()
            .map(|place| Url::parse(&format!("http://{place}/")));
        let prefix = match prefix.trim_end_matches('/') {
            "" => PREFIX,
            prefix => prefix,
        };
        let plain = Etcd {
            endpoints: urls.collect::<Result<_, _>>()?,
            layout: Layout {
                prefix: prefix.to_owned(),
            },
            ttl: Duration::from_secs(15),
            timeout: Duration::from_secs(2),
            check: Duration::from_secs(10),
            login: None,
        };
        match files {
            None => Ok(plain),
            Some(files) => plain.secured_by(target, files),
        }
    }

    #[cfg(feature = "tls")]
    fn secured_by(self, target: &str, files: TlsFiles) -> Result<Etcd, AddressError> {
        let tls = || {
            let mut tls = ClientTls::trusting(files.ca)?;
            if let Some((cert, key)) = files.identity {
                tls = tls.identity(cert, key)?;
            }
            match files.name {
                Some(name) => tls.server_name(&name),
                None => Ok(tls),
            }
        };
        let tls = tls().map_err(|error| AddressError::new(target, error.to_string(), RIGHT_TLS))?;
        Ok(self.tls(tls))
    }

    #[cfg(not(feature = "tls"))]
    fn secured_by(self, target: &str, _: TlsFiles) -> Result<Etcd, AddressError> {
        let wrong = "this program was built without TLS: build farcall with its feature \"tls\"";
        Err(AddressError::new(target, wrong, RIGHT))
    }

    /// Speaks TLS with every member.
    ///
    /// etcd's gateway takes a client's certificate as leave to connect, and never as the name of a user: that is for
    /// [`Etcd::login`]. Once etcd has users, it turns away certificates that have a CommonName.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        let plain = self.endpoints.into_iter();
        self.endpoints = plain.map(|url| url.secured(tls.clone())).collect();
        self
    }

    /// How long a server stays in the list after its last sign of life: whole seconds, at least 2; 15 unless set. It
    /// gives a sign every third of it. After a change of etcd's leader it may be as long again.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Duration::from_secs(ttl.as_secs().max(2));
        self
    }

    /// How long one member may take for an answer before the next one is asked; two seconds unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a client makes sure that its watch still brings what happens, with a fifth of jitter; ten seconds
    /// unless set. A member that hangs is noticed no later.
    pub fn check(mut self, check: Duration) -> Self {
        self.check = check.max(Duration::from_millis(100));
        self
    }

    /// Logs in as a user of etcd's own. Without TLS the password goes over the network as it is.
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some(Login::new(user.into(), password.into()));
        self
    }

    fn api(&self) -> Api {
        Api::new(self.endpoints.clone(), self.timeout, self.login.clone())
    }

    fn name(&self) -> String {
        let places = self.endpoints.iter().map(Url::authority);
        let places: Vec<&str> = places.collect();
        let is_secured = self.endpoints.iter().any(Url::is_secured);
        let scheme = if is_secured { "etcds" } else { "etcd" };
        format!("{scheme}://{}{}", places.join(","), self.layout.prefix)
    }
}

impl Discover for Etcd {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let (publisher, snapshots) = Publisher::new(self.name());
        tokio::spawn(follow::follow(
            self.api(),
            self.layout.clone(),
            self.check,
            publisher,
        ));
        snapshots
    }
}

impl Advertise for Etcd {
    fn advertise(&self, endpoint: Endpoint) -> Result<Registrar, AddressError> {
        let keeper = Keeper::new(self.api(), self.layout.clone(), self.ttl);
        // A beat in flight, the farewell, and the end of the lease.
        let withdraw_time_max = 3 * self.timeout;
        // Failures are tried again that often, so that an etcd that came back is not kept waiting.
        let period_max = (self.ttl / 3).min(Duration::from_secs(4));
        Registrar::spawn(keeper, endpoint, period_max, withdraw_time_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_which_members_and_which_keys() {
        let etcd = Etcd::new("etcd://a:1,[::1]:2").unwrap();
        assert_eq!(etcd.name(), "etcd://a:1,[::1]:2/_tinyrpc_");
        assert_eq!(etcd.layout.plain("tcp@h:1"), "/_tinyrpc_/registr/tcp@h:1");
        assert_eq!(etcd.layout.rich("tcp@h:1"), "/_tinyrpc_/farcall/tcp@h:1");
        let other = Etcd::new("etcd://a:1/x/y/").unwrap();
        assert_eq!(other.layout.plain("tcp@h:1"), "/x/y/registr/tcp@h:1");
        for wrong in ["http://a:1/", "etcd://a/", "etcd://:1/"] {
            let error = Etcd::new(wrong).unwrap_err().to_string();
            assert!(error.contains("a right one is"), "{error}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_target_with_tls_tells_a_program_without_it_how_to_have_it() {
        let error = Etcd::new("etcds://a:1/?ca=/ca.pem")
            .unwrap_err()
            .to_string();
        assert!(error.contains("its feature \"tls\""), "{error}");
    }

    #[test]
    fn the_range_has_both_kinds_of_keys_and_no_sibling() {
        let layout = Layout {
            prefix: "/_tinyrpc_".into(),
        };
        let (first, end) = layout.range();
        let is_in = |key: &str| *first <= *key && *key < *end;
        for address in ["tcp@h:1", "unix@/a", "\u{10ffff}"] {
            assert!(is_in(&layout.plain(address)) && is_in(&layout.rich(address)));
        }
        assert!(!is_in("/_tinyrpc_/registry/tcp@h:1"));
        assert!(!is_in("/_tinyrpc_/registr0"));
    }
}
