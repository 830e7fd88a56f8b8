//! A registry over HTTP, seen from servers (heartbeats) and clients (lists). The contract is in `registry`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Response};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::feed::QUIET_MAX;
use super::line::{Line, Meant, Replica};
use super::registrar::{Advertise, Beat, Registrar};
use super::{Listed, SERVER, SERVERS, STATE, TTL_MS, WEIGHT, WishJson, secret};
use crate::address::AddressError;
use crate::backoff::{Backoff, jittered};
use crate::discover::record::{Record, read_address};
use crate::discover::{Discover, Endpoint, Publisher, Snapshot, State};
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
    ttl: Option<Duration>,
    token: Option<Arc<str>>,
}

/// Longer than this a registry cannot send its clients away.
const SPREAD_MAX_S: u64 = 60;

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
            ttl: None,
            token: None,
        })
    }

    /// How often a client asks for the list where the registry cannot be watched, with a fifth of jitter, and the
    /// longest wait after failures; ten seconds unless set.
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

    /// How long a server that was entered by this stays in the list after its last heartbeat, instead of the registry's
    /// own time; from a second to an hour. Registries of the originals know no such wish.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Enters servers with this token, for registries that ask for one. It goes over the network as it is.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.into());
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
        let reply = self.request(Method::GET, accept, Bytes::new()).await?;
        read_list(&reply).map_err(|why| format!("{}: {why}", self.url))
    }

    async fn request(
        &self,
        method: Method,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Response<Bytes>, String> {
        let reply = self.url.fetch(method, headers, body, self.timeout).await;
        let reply = reply.map_err(|error| error.to_string())?;
        self.good(reply)
    }

    /// The reply, if it says that all is well.
    fn good(&self, reply: Response<Bytes>) -> Result<Response<Bytes>, String> {
        if reply.status() != 200 {
            let body = String::from_utf8_lossy(reply.body());
            let line = body.lines().next().unwrap_or("");
            let says: String = line.chars().take(200).collect();
            return Err(format!("{}: status {}, {says:?}", self.url, reply.status()));
        }
        Ok(reply)
    }
}

impl Discover for HttpRegistry {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let (publisher, snapshots) = Publisher::new(self.url.to_string());
        tokio::spawn(follow(self.clone(), publisher));
        snapshots
    }
}

impl Advertise for HttpRegistry {
    fn advertise(&self, endpoint: Endpoint) -> Result<Registrar, AddressError> {
        // A beat in flight, and then the farewell.
        let withdraw_time_max = 2 * self.timeout;
        let seat = Seat {
            registry: self.clone(),
            owner: secret(),
        };
        Registrar::spawn(seat, endpoint, self.beat, withdraw_time_max)
    }
}

/// One server's entry.
#[derive(Debug)]
struct Seat {
    registry: HttpRegistry,
    owner: String,
}

impl Seat {
    /// Says it twice: in the headers for the originals, and all of it in the body.
    async fn say(&self, method: Method, endpoint: &Endpoint) -> Result<Response<Bytes>, String> {
        let (address, weight) = (endpoint.address.to_string(), endpoint.weight.to_string());
        let token = self.registry.token.as_ref();
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = SERVER.map(|name| (name, &*address)).to_vec();
        headers.push((CONTENT_TYPE.as_str(), "application/json"));
        headers.extend(
            bearer
                .as_ref()
                .map(|bearer| (AUTHORIZATION.as_str(), &**bearer)),
        );
        if endpoint.state != State::Up {
            headers.push((STATE, endpoint.state.as_str()));
        }
        if endpoint.weight != 1 {
            headers.push((WEIGHT, &weight));
        }
        let ttl_ms = self.registry.ttl.map(|ttl| ttl.as_millis());
        let wish = WishJson {
            record: Record::from(endpoint),
            ttl_ms: ttl_ms.and_then(|ms| u64::try_from(ms).ok()),
            owner: Some(self.owner.clone()),
        };
        let body = serde_json::to_vec(&wish).map_err(|error| error.to_string())?;
        self.registry.request(method, &headers, body.into()).await
    }
}

impl Beat for Seat {
    async fn beat(&self, endpoint: &Endpoint) -> Result<Duration, String> {
        let reply = self.say(Method::POST, endpoint).await?;
        let ttl_ms = reply.headers().get(TTL_MS);
        let ttl_ms = ttl_ms.and_then(|ms| ms.to_str().ok()?.parse().ok());
        Ok(match ttl_ms {
            // Not more often than the first retry, whatever the registry says.
            Some(ms @ 1..) => Duration::from_millis(ms / 3).max(Duration::from_millis(250)),
            _ => self.registry.beat,
        })
    }

    async fn remove(&self, endpoint: &Endpoint) -> Result<(), String> {
        self.say(Method::DELETE, endpoint).await.map(drop)
    }
}

/// How a look at the registry ended.
enum Looked {
    /// The list came; the registry is one of the originals, and has to be asked again.
    Listed(List),
    /// It could be watched, for a while; then this happened.
    Watched(String),
    /// More is to be known than it said: ask for everything, at once.
    Again,
    /// Nobody wants to know any more.
    Unwanted,
}

/// Publishes the list until nobody looks at it: watches, where the registry can be watched, and asks from time to time
/// elsewhere.
async fn follow(registry: HttpRegistry, mut publisher: Publisher) {
    let mut backoff = Backoff::new(Duration::from_millis(500), registry.refresh);
    let mut replica = Replica::default();
    let mut known_bad = Vec::new();
    loop {
        // How long a herd of clients should take to come back, by the registry's own word.
        let mut spread = Duration::ZERO;
        let pause = match look(&registry, &mut replica, &mut publisher, &mut spread).await {
            Ok(Looked::Unwanted) => return,
            Ok(Looked::Again) => continue,
            Ok(Looked::Listed(List { entries, bad })) => {
                if !bad.is_empty() && bad != known_bad {
                    let (url, bad) = (&registry.url, bad.join("; "));
                    tracing::warn!(%url, bad, "the registry lists what is no server");
                }
                known_bad = bad;
                publisher.update(entries.into_iter().map(|entry| entry.endpoint));
                backoff.reset();
                jittered(registry.refresh)
            }
            Ok(Looked::Watched(reason)) => {
                // One watch that ended says nothing about the list.
                tracing::debug!(url = %registry.url, reason, "the watch ended; watching again");
                backoff.reset();
                backoff.next().min(registry.refresh) + spread.mul_f64(fastrand::f64())
            }
            Err(reason) => {
                publisher.failed(reason);
                backoff.next()
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = publisher.closed() => return,
        }
    }
}

async fn look(
    registry: &HttpRegistry,
    replica: &mut Replica,
    publisher: &mut Publisher,
    spread: &mut Duration,
) -> Result<Looked, String> {
    let query = match &replica.at {
        Some((epoch, revision)) => format!("watch=1&epoch={epoch}&revision={revision}"),
        None => "watch=1".to_owned(),
    };
    let headers = [("accept", "application/x-ndjson, application/json")];
    let (url, limit) = (registry.url.with_query(&query), registry.timeout);
    let lines = url.open(Method::GET, &headers, Bytes::new(), limit).await;
    let mut lines = lines.map_err(|error| error.to_string())?;
    let kind = lines
        .headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let is_watch = kind.is_some_and(|kind| kind.starts_with("application/x-ndjson"));
    if lines.status != 200 || !is_watch {
        let whole = timeout(limit, lines.whole()).await;
        let whole =
            whole.map_err(|_| format!("{}: no whole reply within {limit:?}", registry.url))?;
        let reply = registry.good(whole.map_err(|error| format!("{}: {error}", registry.url))?)?;
        let list = read_list(&reply).map_err(|why| format!("{}: {why}", registry.url))?;
        return Ok(Looked::Listed(list));
    }
    // The first line comes at once; the others within the time after which a living registry says something.
    let mut patience = limit;
    loop {
        let confirm = async {
            match publisher.confirm_in() {
                Some(wait) => sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let line = tokio::select! {
            line = timeout(patience, lines.next()) => line,
            () = confirm => {
                replica.at = None;
                return Ok(Looked::Again);
            }
            () = publisher.closed() => return Ok(Looked::Unwanted),
        };
        let ended = |why: String| match patience == limit {
            // Nothing came at all: that is no watch.
            true => Err(format!("{}: {why}", registry.url)),
            false => Ok(Looked::Watched(why)),
        };
        let line = match line {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return ended("the registry ended the watch".into()),
            Ok(Err(error)) => return ended(error.to_string()),
            Err(_) => return ended(format!("nothing came within {patience:?}")),
        };
        let line: Line = match serde_json::from_slice(&line) {
            Ok(line) => line,
            Err(error) => {
                return Err(format!(
                    "{}: that is no line of a registry: {error}",
                    registry.url
                ));
            }
        };
        *spread = Duration::from_secs(line.spread_s.min(SPREAD_MAX_S));
        let Meant::Known(withdrawn) = replica.apply(line) else {
            replica.at = None;
            return Ok(Looked::Again);
        };
        if !replica.bad.is_empty() {
            tracing::warn!(url = %registry.url, bad = replica.bad.join("; "), "the registry describes servers wrongly");
        }
        for address in &withdrawn {
            publisher.withdrawn(address);
        }
        publisher.update(replica.endpoints());
        patience = 2 * QUIET_MAX;
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
