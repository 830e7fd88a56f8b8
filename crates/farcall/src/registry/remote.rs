//! A registry over HTTP, seen from servers (heartbeats) and clients (lists). The contract is in `registry`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Response};
use tokio::sync::watch;

use super::registrar::{Advertise, Beat, Registrar};
use super::{Listed, SERVER, SERVERS, STATE, TTL_MS, WEIGHT, ZONE};
use crate::address::AddressError;
use crate::discover::poll::poll;
use crate::discover::record::read_address;
use crate::discover::{Discover, Endpoint, Snapshot, State};
use crate::error::{Code, Error, Reached};
use crate::http::client::Url;

/// A registry that speaks HTTP: [`Registry`](super::Registry), or one of the Go originals.
///
/// ```
/// use farcall::registry::HttpRegistry;
/// let registry = HttpRegistry::new("http://127.0.0.1:9998/_tinyrpc_/registry")?;
/// # Ok::<(), farcall::AddressError>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpRegistry {
    url: Url,
    refresh: Duration,
    beat: Duration,
    timeout: Duration,
}

/// Asking more often would be a busy loop.
const PERIOD_MIN: Duration = Duration::from_millis(10);

impl HttpRegistry {
    /// The registry at this URL. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// It is no `http://host:port/path`.
    pub fn new(url: &str) -> Result<HttpRegistry, AddressError> {
        Ok(HttpRegistry {
            url: Url::parse(url)?,
            refresh: Duration::from_secs(10),
            beat: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
        })
    }

    /// How often a client asks for the list, with a fifth of jitter; ten seconds unless set.
    pub fn refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh.max(PERIOD_MIN);
        self
    }

    /// How often a server beats at most, with a fifth of jitter; ten seconds unless set. A registry that tells its
    /// TTL gets a beat every third of it, when that is sooner.
    pub fn beat(mut self, beat: Duration) -> Self {
        self.beat = beat.max(PERIOD_MIN);
        self
    }

    /// How long a request to the registry may take; three seconds unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks for the list now, once: every server with the time since its last heartbeat. Clients that stay use
    /// [`Discover::watch`].
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`] when the registry cannot be reached in time, or its answer is no list.
    pub async fn entries(&self) -> crate::Result<Vec<Entry>> {
        match self.list().await {
            Ok(list) => Ok(list.entries),
            Err(why) => Err(Error::new(Code::Unavailable, why).with_reached(Reached::NotSent)),
        }
    }

    async fn list(&self) -> Result<List, String> {
        let accept = &[("accept", "application/json")];
        let reply = self.request(Method::GET, accept).await?;
        read_list(&reply).map_err(|why| format!("{}: {why}", self.url))
    }

    async fn request(
        &self,
        method: Method,
        headers: &[(&'static str, &str)],
    ) -> Result<Response<Bytes>, String> {
        let reply = self.url.fetch(method, headers, self.timeout).await;
        let reply = reply.map_err(|error| error.to_string())?;
        if reply.status() != 200 {
            let body = String::from_utf8_lossy(reply.body());
            let says: String = body
                .lines()
                .next()
                .unwrap_or("")
                .chars()
                .take(200)
                .collect();
            return Err(format!("{}: status {}, {says:?}", self.url, reply.status()));
        }
        Ok(reply)
    }
}

impl Discover for HttpRegistry {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let registry = self.clone();
        let known_bad = Arc::new(Mutex::new(Vec::new()));
        poll(self.url.to_string(), self.refresh, move || {
            let (registry, known_bad) = (registry.clone(), Arc::clone(&known_bad));
            async move {
                let List { entries, bad } = registry.list().await?;
                let mut known_bad = known_bad.lock().unwrap_or_else(PoisonError::into_inner);
                if !bad.is_empty() && bad != *known_bad {
                    let (url, bad) = (&registry.url, bad.join("; "));
                    tracing::warn!(%url, bad, "the registry lists what is no server");
                }
                *known_bad = bad;
                Ok(entries.into_iter().map(|entry| entry.endpoint).collect())
            }
        })
    }
}

impl Advertise for HttpRegistry {
    fn advertise(&self, endpoint: Endpoint) -> Result<Registrar, AddressError> {
        // A beat in flight, and then the farewell.
        let withdraw_time_max = 2 * self.timeout;
        Registrar::spawn(self.clone(), endpoint, self.beat, withdraw_time_max)
    }
}

impl Beat for HttpRegistry {
    async fn beat(&self, endpoint: &Endpoint) -> Result<Duration, String> {
        let (address, weight) = (endpoint.address.to_string(), endpoint.weight.to_string());
        let mut headers = SERVER.map(|name| (name, &*address)).to_vec();
        if endpoint.state != State::Up {
            headers.push((STATE, endpoint.state.as_str()));
        }
        if endpoint.weight != 1 {
            headers.push((WEIGHT, &weight));
        }
        if !endpoint.zone.is_empty() {
            headers.push((ZONE, &endpoint.zone));
        }
        let reply = self.request(Method::POST, &headers).await?;
        let ttl_ms = reply.headers().get(TTL_MS);
        let ttl_ms = ttl_ms.and_then(|ms| ms.to_str().ok()?.parse().ok());
        Ok(match ttl_ms {
            // Not more often than the first retry, whatever the registry says.
            Some(ms @ 1..) => Duration::from_millis(ms / 3).max(Duration::from_millis(250)),
            _ => self.beat,
        })
    }

    async fn remove(&self, endpoint: &Endpoint) -> Result<(), String> {
        let address = endpoint.address.to_string();
        let headers = SERVER.map(|name| (name, &*address));
        self.request(Method::DELETE, &headers).await.map(drop)
    }
}

/// One server as a registry lists it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The server.
    pub endpoint: Endpoint,
    /// How long ago it sent its last heartbeat; `None` when the registry does not tell, as the originals do not.
    pub age: Option<Duration>,
}

/// What a reply lists.
#[derive(Debug, PartialEq, Eq)]
struct List {
    entries: Vec<Entry>,
    /// The first few entries that are no servers, and why.
    bad: Vec<String>,
}

/// Reads a list in whichever form it came. An answer that is no list, or has not one good entry among bad ones, is
/// an error: whoever sent it is no registry.
fn read_list(reply: &Response<Bytes>) -> Result<List, String> {
    let header = |name| reply.headers().get(name);
    let kind = header(CONTENT_TYPE.as_str()).and_then(|value| value.to_str().ok());
    let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
    let entries: Vec<Result<Entry, String>> = if is_json {
        let records: Vec<serde_json::Value> = serde_json::from_slice(reply.body())
            .map_err(|error| format!("the list is no JSON array: {error}"))?;
        records.into_iter().map(read_record).collect()
    } else {
        let Some(list) = SERVERS.iter().find_map(|name| header(name)) else {
            return Err("the answer is no list: it has neither JSON nor X-Tinyrpc-Servers".into());
        };
        let list = list.to_str().map_err(|_| "the list is not ASCII text")?;
        let addresses = list.split(',').map(str::trim).filter(|a| !a.is_empty());
        addresses.map(read_old).collect()
    };

    let mut list = List {
        entries: Vec::new(),
        bad: Vec::new(),
    };
    for entry in entries {
        match entry {
            Ok(entry) => list.entries.push(entry),
            Err(why) if list.bad.len() < 3 => list.bad.push(why),
            Err(_) => {}
        }
    }
    match list {
        List { entries, bad } if entries.is_empty() && !bad.is_empty() => Err(format!(
            "no entry of the list is a server: {}",
            bad.join("; ")
        )),
        list => Ok(list),
    }
}

fn read_record(record: serde_json::Value) -> Result<Entry, String> {
    let listed: Listed = serde_json::from_value(record).map_err(|e| e.to_string())?;
    Ok(Entry {
        endpoint: listed.record.into_endpoint()?,
        age: Some(Duration::from_secs(listed.age_s)),
    })
}

fn read_old(address: &str) -> Result<Entry, String> {
    Ok(Entry {
        endpoint: Endpoint::new(read_address(address)?),
        age: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    fn reply(headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let mut reply = Response::builder();
        for (name, value) in headers {
            reply = reply.header(*name, *value);
        }
        reply.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    fn addresses(list: &List) -> Vec<String> {
        let entries = list.entries.iter();
        entries.map(|e| e.endpoint.address.to_string()).collect()
    }

    const JSON: (&str, &str) = ("Content-Type", "application/json");

    #[test]
    fn lists_of_every_registry_are_read() {
        for (headers, body, expected) in [
            (
                &[("X-Tinyrpc-Servers", "tcp@a:1,unix@/b@c")][..],
                "",
                &["tcp@a:1", "unix@/b@c"][..],
            ),
            (&[("X-Geerpc-Servers", " tcp@a:1 , ,")], "", &["tcp@a:1"]),
            (&[("X-Tinyrpc-Servers", "")], "", &[]),
            (&[JSON], "[]", &[]),
            (
                &[JSON],
                r#"[{"address":"tcp@a:1","new":[1]}]"#,
                &["tcp@a:1"],
            ),
        ] {
            let list = read_list(&reply(headers, body)).unwrap();
            assert_eq!(addresses(&list), expected, "{headers:?} {body}");
            assert_eq!(list.bad, [""; 0]);
        }
    }

    #[test]
    fn json_tells_state_weight_zone_and_age() {
        let body =
            r#"[{"address":"tcp@a:1","state":"draining","weight":3,"zone":"eu-1","age_s":9}]"#;
        let list = read_list(&reply(&[JSON], body)).unwrap();
        let mut expected = Endpoint::new(Address::tcp("a:1"));
        expected.state = State::Draining;
        expected.weight = 3;
        expected.zone = "eu-1".into();
        let age = Some(Duration::from_secs(9));
        let endpoint = expected;
        assert_eq!(list.entries, [Entry { endpoint, age }]);
    }

    #[test]
    fn bad_entries_are_skipped_and_named() {
        let body = r#"[{"address":"nonsense"},7,{"address":"tcp@a:1"}]"#;
        let list = read_list(&reply(&[JSON], body)).unwrap();
        assert_eq!(addresses(&list), ["tcp@a:1"]);
        assert!(
            list.bad.len() == 2 && list.bad[0].contains("nonsense"),
            "{list:?}"
        );
        let list = read_list(&reply(&[("x-tinyrpc-servers", "ftp@a:1,tcp@b:2")], "")).unwrap();
        assert_eq!(addresses(&list), ["tcp@b:2"]);
    }

    #[test]
    fn what_is_no_list_is_an_error_and_not_an_empty_list() {
        for (headers, body) in [
            (&[][..], "<html>please log in</html>"),
            (&[JSON], ""),
            (&[JSON], "{}"),
            (&[JSON], r#"[{"address":"tcp@a:1"}"#),
            (&[JSON], "[1,2,3,4,5]"),
            (&[("x-tinyrpc-servers", "\u{e9}")], ""),
            (&[("x-tinyrpc-servers", "nobody,nowhere")], ""),
        ] {
            read_list(&reply(headers, body)).unwrap_err();
        }
    }
}
