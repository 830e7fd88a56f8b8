//! The registry over HTTP, and its contract: TinyRPC's two headers, with additions that old peers ignore.
//! Here is the registry itself; `remote` is how others see it, `registrar` how a server stays in it. Choosing among
//! servers and the rule by which they leave a client's list live elsewhere (`balance`, `discover`).
//!
//! | request to `/_tinyrpc_/registry` | reply |
//! |---|---|
//! | `GET` | 200, empty body, the servers that are up in `X-Tinyrpc-Servers`, sorted, joined by `,` |
//! | `GET`, longer than 8192 bytes | the header ends after the last address that fits, `X-Farcall-Truncated: 300 of 1000` says so, and the body (`text/plain`) has the whole list, one address a line |
//! | `GET` with `Accept: application/json` | the body is `[{"address":"tcp@h:1","state":"up","weight":1,"zone":"","age_s":3}]`, with draining servers too |
//! | `POST` with `X-Tinyrpc-Server: tcp@h:1` | 200: the server is alive for one more TTL, which `X-Farcall-Ttl-Ms` tells (0: for ever) |
//! | the same with `X-Farcall-State`, `-Weight`, `-Zone` | the entry says so |
//! | the same with a body of `application/json` | the body describes the server: `{"address":"tcp@h:1","services":["Arith"],"weight":1,"zone":"","metadata":{},"state":"up","ttl_ms":15000,"owner":"secret"}`, of which all but the address may be missing. The reply tells the TTL in JSON, too |
//! | `DELETE` with `X-Tinyrpc-Server`, or a body like that | 200: the server is gone |
//! | `GET /_tinyrpc_/registry?watch=1` | lines of JSON without end (`application/x-ndjson`): the whole list, then each change; with `&epoch=…&revision=…` of the last line that was seen, the changes since |
//! | a `POST` or `DELETE` for an entry with another `owner` who is alive | 409 |
//! | a `POST` or `DELETE` without `Authorization: Bearer …`, where a token is asked for | 401 |
//! | a wrong or missing `X-Tinyrpc-Server` | 400 and a line that says why |
//!
//! An `owner` is a secret that whoever enters a server makes up; the entry is theirs until they miss their beats. It
//! guards against mistakes. Against enemies there are tokens.
//!
//! geerpc's names (`/_geerpc_/registry`, `X-Geerpc-Servers`, `X-Geerpc-Server`) mean the same.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use crate::address::Address;
use crate::discover::record::{Record, check_zone, read_address};
use crate::discover::{Endpoint, State};
use crate::http::{self, Ending, Reply, Request, Surface};

mod adverts;
mod dns;
mod etcd;
mod feed;
mod file;
mod line;
mod listen;
mod open;
mod page;
mod registrar;
mod remote;
mod srv;
mod table;

pub(crate) use adverts::{Advertised, Adverts};
pub use dns::Dns;
pub use etcd::Etcd;
use feed::Watcher;
pub use file::File;
pub use listen::RegistryServer;
pub use open::{open, open_to_enter};
pub use registrar::{Advertise, Beat, Registrar, Registration};
pub use remote::{Entry, HttpRegistry};
pub use srv::Srv;
use table::{Refused, Table};

const PATHS: &[&str] = &["/_tinyrpc_/registry", "/_geerpc_/registry"];
const SERVERS: [&str; 2] = ["x-tinyrpc-servers", "x-geerpc-servers"];
const SERVER: [&str; 2] = ["x-tinyrpc-server", "x-geerpc-server"];
const TTL_MS: &str = "x-farcall-ttl-ms";
const STATE: &str = "x-farcall-state";
const WEIGHT: &str = "x-farcall-weight";
const ZONE: &str = "x-farcall-zone";
const TRUNCATED: &str = "x-farcall-truncated";

/// Common servers and clients refuse longer headers.
const LIST_LEN_MAX: usize = 8192;
const OWNER_LEN_MAX: usize = 128;
const TTL_ASKED_MIN: Duration = Duration::from_secs(1);
const TTL_ASKED_MAX: Duration = Duration::from_secs(3600);
/// How often the dead are looked for.
const SWEEP: Duration = Duration::from_millis(250);

/// A list of servers that keep saying that they are alive. Clones share the list.
///
/// It stands on a port of its own ([`Registry::serve`]) or beside a server's methods. Whoever reaches that port may
/// write: it is as trustworthy as its network. It lives in one process on purpose; clients and servers survive its
/// loss, and fill it again by themselves.
///
/// ```
/// # async fn run() -> std::io::Result<()> {
/// use farcall::Registry;
/// let registry = Registry::new();
/// let server = registry.serve("127.0.0.1:0").await?;
/// println!("listening on {}", server.url());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Mutex<Table>,
    /// Tells this life of the registry from others.
    epoch: String,
    /// The table's revision, for those who watch.
    changed: watch::Sender<u64>,
    /// One for each watcher that may come.
    watchers: Arc<Semaphore>,
    watchers_max: usize,
    tokens: Vec<String>,
    /// The line that was made last, and what it was made for: most watchers are told the same.
    last_line: Mutex<Option<(Cursor, Told)>>,
}

/// What a watcher knows, and the registry's revision and whether it warms up.
type Cursor = (Option<u64>, u64, bool);

/// A line, ready to be sent.
type Told = Bytes;

/// What a [`Registry`] is to be.
#[derive(Clone, Debug)]
pub struct RegistryBuilder {
    ttl: Duration,
    entries_max: usize,
    watchers_max: usize,
    tokens: Vec<String>,
}

impl RegistryBuilder {
    /// How long a server stays in the list after its last heartbeat; zero is for ever. Five minutes unless set.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How many servers the list holds at most; 10,000 unless set. Newcomers to a full list get 503.
    pub fn entries_max(mut self, entries_max: usize) -> Self {
        self.entries_max = entries_max;
        self
    }

    /// How many clients may watch the list at a time; 20,000 unless set. Others get 503, and ask again.
    pub fn watchers_max(mut self, watchers_max: usize) -> Self {
        self.watchers_max = watchers_max.min(Semaphore::MAX_PERMITS);
        self
    }

    /// Takes heartbeats and farewells only from those who know this token, or another one that was given here. They
    /// send it as `Authorization: Bearer`. Whoever reaches the port may read.
    pub fn write_token(mut self, token: impl Into<String>) -> Self {
        self.tokens.push(token.into());
        self
    }

    /// The registry, empty.
    pub fn build(self) -> Registry {
        Registry(Arc::new(Inner {
            table: Mutex::new(Table::new(self.ttl, self.entries_max, clock())),
            epoch: secret(),
            changed: watch::Sender::new(0),
            watchers: Arc::new(Semaphore::new(self.watchers_max)),
            watchers_max: self.watchers_max,
            tokens: self.tokens,
            last_line: Mutex::default(),
        }))
    }
}

impl Default for Registry {
    fn default() -> Self {
        Registry::new()
    }
}

/// An entry of the list as it stands in JSON.
#[derive(Serialize, Deserialize)]
struct Listed {
    #[serde(flatten)]
    record: Record,
    #[serde(default)]
    age_s: u64,
}

impl Registry {
    /// An empty registry with the usual bounds.
    pub fn new() -> Registry {
        Registry::builder().build()
    }

    /// A registry with bounds of its own.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder {
            ttl: Duration::from_secs(5 * 60),
            entries_max: 10_000,
            watchers_max: 20_000,
            tokens: Vec::new(),
        }
    }

    /// The servers that are alive, sorted by address.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.with(|table| {
            let alive = table.alive(clock());
            alive.map(|(_, endpoint, _)| endpoint.clone()).collect()
        })
    }

    /// Answers at the registry's paths, and from now on sees to it that those who watch learn who stopped beating.
    pub(crate) fn mount(&self, surface: Surface) -> Surface {
        tokio::spawn(sweep(Arc::downgrade(&self.0)));
        let (registry, pages) = (self.clone(), self.clone());
        surface
            .at(PATHS, move |request| {
                let reply = registry.answer(&request, clock());
                async move { reply }
            })
            .at(page::PATHS, move |request| {
                let reply = pages.page(&request, clock());
                async move { reply }
            })
    }

    fn answer(&self, request: &Request, now: Instant) -> Reply {
        let headers = request.headers();
        match *request.method() {
            Method::GET if is_watch(request) => self.watch(request),
            Method::GET | Method::HEAD if wants_json(headers) => self.list_as_json(now),
            Method::GET | Method::HEAD => self.list(now),
            Method::POST | Method::DELETE if !self.may_write(headers) => {
                let says = "401 this registry takes entries from those who know its token: \
                            Authorization: Bearer <token>\n";
                let mut reply = http::text(StatusCode::UNAUTHORIZED, says);
                put(&mut reply, "www-authenticate", "Bearer");
                reply
            }
            Method::POST => match Wish::read(request) {
                Ok(wish) => self.beat(wish, now),
                Err(why) => bad_request(&why),
            },
            Method::DELETE => match Wish::read(request) {
                Ok(wish) => self.remove(&wish, now),
                Err(why) => bad_request(&why),
            },
            _ => http::method_not_allowed("GET, HEAD, POST, DELETE"),
        }
    }

    fn may_write(&self, headers: &HeaderMap) -> bool {
        let tokens = &self.0.tokens;
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
        tokens.is_empty()
            || given.is_some_and(|given| {
                // All are looked at, so that time tells nothing.
                let same = tokens.iter().map(|token| is_same(token.as_bytes(), given));
                same.fold(false, |any, same| any | same)
            })
    }

    fn list(&self, now: Instant) -> Reply {
        // Old clients know no states: they get those that take calls.
        let addresses: Vec<String> = self.with(|table| {
            let up = table.alive(now).filter(|(_, e, _)| e.state == State::Up);
            up.map(|(address, _, _)| address.to_owned()).collect()
        });
        let fitting = how_many_fit(&addresses, LIST_LEN_MAX);
        let (listed, rest) = addresses.split_at(fitting);

        let mut reply = match rest {
            [] => Reply::default(),
            _ => http::text(StatusCode::OK, addresses.join("\n") + "\n"),
        };
        if !rest.is_empty() {
            let says = format!("{fitting} of {}", addresses.len());
            put(&mut reply, TRUNCATED, &says);
        }
        let listed = listed.join(",");
        for name in SERVERS {
            put(&mut reply, name, &listed);
        }
        reply
    }

    fn list_as_json(&self, now: Instant) -> Reply {
        http::json(&self.listed(now))
    }

    fn listed(&self, now: Instant) -> Vec<Listed> {
        self.with(|table| {
            let alive = table.alive(now);
            let listed = alive.map(|(_, endpoint, age)| Listed {
                record: Record::from(endpoint),
                age_s: age.as_secs(),
            });
            listed.collect()
        })
    }

    fn watch(&self, request: &Request) -> Reply {
        let Ok(slot) = Arc::clone(&self.0.watchers).try_acquire_owned() else {
            let says = format!(
                "503 {} clients watch already; ask again later\n",
                self.0.watchers_max
            );
            return http::text(StatusCode::SERVICE_UNAVAILABLE, says);
        };
        let ending = request.extensions().get::<Ending>().cloned();
        http::lines(Box::new(Watcher::new(
            self,
            known_by(request, &self.0.epoch),
            ending,
            slot,
        )))
    }

    fn beat(&self, wish: Wish, now: Instant) -> Reply {
        let is_json = wish.is_json;
        let taken = self.with(|table| table.beat(wish.endpoint, wish.ttl, wish.owner, now));
        let ttl_ms = match taken {
            Ok(ttl) => ttl.as_millis(),
            Err(refused) => return refusal(&refused),
        };
        let mut reply = match is_json {
            true => http::json(
                &serde_json::json!({ "ttl_ms": u64::try_from(ttl_ms).unwrap_or(u64::MAX) }),
            ),
            false => Reply::default(),
        };
        put(&mut reply, TTL_MS, &ttl_ms.to_string());
        reply
    }

    fn remove(&self, wish: &Wish, now: Instant) -> Reply {
        let address = wish.endpoint.address.to_string();
        match self.with(|table| table.remove(&address, wish.owner.as_deref(), now)) {
            Ok(()) => Reply::default(),
            Err(refused) => refusal(&refused),
        }
    }

    /// Does something with the table, and tells those who watch if it changed.
    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        // A table is whole after every statement, also after one that panicked.
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        let before = table.revision();
        let outcome = act(&mut table);
        let revision = table.revision();
        if revision != before {
            self.0.changed.send_replace(revision);
        }
        outcome
    }
}

/// Lets the dead expire, for as long as there is a registry.
async fn sweep(registry: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(inner) = registry.upgrade() else {
            return;
        };
        Registry(inner).with(|table| table.sweep(clock()));
    }
}

/// What a server wants of a registry.
struct Wish {
    endpoint: Endpoint,
    ttl: Option<Duration>,
    owner: Option<String>,
    is_json: bool,
}

/// A wish as it stands in JSON.
#[derive(Serialize, Deserialize)]
struct WishJson {
    #[serde(flatten)]
    record: Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

impl Wish {
    /// Reads the body if it is JSON, and the headers otherwise; or says what is wrong.
    fn read(request: &Request) -> Result<Wish, String> {
        let headers = request.headers();
        if !is_json(headers) {
            let endpoint = endpoint_of(headers)?;
            return Ok(Wish {
                endpoint,
                ttl: None,
                owner: None,
                is_json: false,
            });
        }
        let wish: WishJson = serde_json::from_slice(request.body())
            .map_err(|error| format!("the body is not what it should be: {error}"))?;
        let endpoint = wish.record.into_endpoint()?;
        let named = only(headers, &SERVER)?.map(read_address).transpose()?;
        if named.is_some_and(|named| named != endpoint.address) {
            return Err("the header and the body name different addresses".into());
        }
        if wish
            .owner
            .as_ref()
            .is_some_and(|owner| owner.is_empty() || owner.len() > OWNER_LEN_MAX)
        {
            return Err(format!(
                "owner is empty or longer than {OWNER_LEN_MAX} bytes"
            ));
        }
        let ttl = wish.ttl_ms.map(Duration::from_millis);
        if ttl.is_some_and(|ttl| ttl < TTL_ASKED_MIN || ttl > TTL_ASKED_MAX) {
            return Err(format!(
                "ttl_ms is not from {} to {}",
                TTL_ASKED_MIN.as_millis(),
                TTL_ASKED_MAX.as_millis()
            ));
        }
        Ok(Wish {
            endpoint,
            ttl,
            owner: wish.owner,
            is_json: true,
        })
    }
}

fn refusal(refused: &Refused) -> Reply {
    match refused {
        Refused::Full => {
            let says = "503 the registry is full; raise its entries_max\n";
            http::text(StatusCode::SERVICE_UNAVAILABLE, says)
        }
        Refused::NotYours(left) => {
            let says = format!(
                "409 the entry is another owner's, who was alive a moment ago; it is free in {left:?} if they are not\n"
            );
            http::text(StatusCode::CONFLICT, says)
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// The value of a name in the query.
fn queried<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut pairs = request
        .uri()
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

fn is_watch(request: &Request) -> bool {
    queried(request, "watch") == Some("1")
}

/// Up to where whoever asks knows all of this life of the registry.
fn known_by(request: &Request, epoch: &str) -> Option<u64> {
    let revision = queried(request, "revision")?.parse().ok()?;
    (queried(request, "epoch") == Some(epoch)).then_some(revision)
}

/// A word that nobody guesses: the standard library's hashers are keyed by the system's randomness.
fn secret() -> String {
    let word = || std::hash::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}

/// Compares in a time that depends on the lengths alone.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && differences == 0
}

/// The one clock, which tests can move.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn wants_json(headers: &HeaderMap) -> bool {
    let mut accepts = headers.get_all(ACCEPT).iter();
    accepts.any(|value| value.to_str().is_ok_and(|v| v.contains("application/json")))
}

/// The server that a heartbeat speaks for.
fn endpoint_of(headers: &HeaderMap) -> Result<Endpoint, String> {
    let mut endpoint = Endpoint::new(address_of(headers)?);
    if let Some(state) = only(headers, &[STATE])? {
        endpoint.state = match state {
            "up" => State::Up,
            "draining" => State::Draining,
            _ => return Err(format!("{STATE} is not one of up, draining")),
        };
    }
    if let Some(weight) = only(headers, &[WEIGHT])? {
        let wrong = |_| format!("{WEIGHT} is no number from 0 to 4294967295");
        endpoint.weight = weight.parse().map_err(wrong)?;
    }
    if let Some(zone) = only(headers, &[ZONE])? {
        check_zone(ZONE, zone)?;
        zone.clone_into(&mut endpoint.zone);
    }
    Ok(endpoint)
}

fn address_of(headers: &HeaderMap) -> Result<Address, String> {
    let Some(address) = only(headers, &SERVER)? else {
        return Err(
            "the header X-Tinyrpc-Server is missing; a right one is tcp@127.0.0.1:9999".into(),
        );
    };
    read_address(address)
}

/// The value of these headers, which must agree when there are several.
fn only<'a>(headers: &'a HeaderMap, names: &[&'static str]) -> Result<Option<&'a str>, String> {
    let mut values = names.iter().flat_map(|name| headers.get_all(*name));
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.any(|other| other != first) {
        return Err(format!("{} came twice", names.join(" or ")));
    }
    let value = first.to_str();
    value
        .map(Some)
        .map_err(|_| format!("{} is not ASCII text", names.join(" or ")))
}

/// How many addresses, joined by commas, fit in this many bytes.
fn how_many_fit(addresses: &[String], len_max: usize) -> usize {
    let ends = addresses.iter().scan(0, |len, address| {
        let end = *len + address.len();
        *len = end + 1;
        Some(end)
    });
    ends.take_while(|end| *end <= len_max).count()
}

fn bad_request(why: &str) -> Reply {
    http::text(StatusCode::BAD_REQUEST, format!("400 {why}\n"))
}

fn put(reply: &mut Reply, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("only checked addresses and numbers get here");
    let headers = reply.headers_mut();
    headers.insert(HeaderName::from_static(name), value);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;
    use crate::discover::record::ADDRESS_LEN_MAX;

    const GIVEN: &str = "X-Tinyrpc-Server";

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = hyper::Request::builder().method(method).uri(PATHS[0]);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request.body(Bytes::new()).unwrap()
    }

    fn ask(
        registry: &Registry,
        method: &str,
        headers: &[(&str, &str)],
    ) -> (u16, HeaderMap, String) {
        let reply = registry.answer(&request(method, headers), clock());
        let (head, body) = reply.into_parts();
        let body = whole(body);
        (head.status.as_u16(), head.headers, body)
    }

    /// A whole body is there at its first poll.
    fn whole(body: http::Body) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let body = runtime.block_on(body.collect()).unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn listed(registry: &Registry) -> String {
        let (status, headers, body) = ask(registry, "GET", &[]);
        assert_eq!((status, &*body), (200, ""));
        for name in ["X-Tinyrpc-Servers", "X-Geerpc-Servers"] {
            assert_eq!(headers[name], headers["x-tinyrpc-servers"]);
        }
        headers["x-tinyrpc-servers"].to_str().unwrap().to_owned()
    }

    #[test]
    fn servers_come_back_sorted_in_one_header() {
        let registry = Registry::new();
        assert_eq!(listed(&registry), "");
        for address in ["tcp@b:2", "unix@/run/a@b.sock", "tcp@a:1", "http@[::]:80"] {
            assert_eq!(ask(&registry, "POST", &[(GIVEN, address)]).0, 200);
        }
        assert_eq!(
            listed(&registry),
            "http@[::]:80,tcp@a:1,tcp@b:2,unix@/run/a@b.sock"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stops_beating_leaves_the_list() {
        let registry = Registry::builder().ttl(Duration::from_secs(30)).build();
        registry.answer(&request("POST", &[(GIVEN, "tcp@a:1")]), clock());
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(registry.endpoints().len(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(registry.endpoints(), []);
    }

    #[test]
    fn the_older_names_mean_the_same() {
        let registry = Registry::new();
        assert_eq!(
            ask(&registry, "POST", &[("X-Geerpc-Server", "tcp@a:1")]).0,
            200
        );
        let both = [("X-Geerpc-Server", "tcp@b:1"), (GIVEN, "tcp@b:1")];
        assert_eq!(ask(&registry, "POST", &both).0, 200);
        assert_eq!(listed(&registry), "tcp@a:1,tcp@b:1");
    }

    #[test]
    fn a_heartbeat_without_a_right_address_is_refused_with_the_reason_and_stores_nothing() {
        let registry = Registry::new();
        let long = format!("unix@/{}", "x".repeat(ADDRESS_LEN_MAX));
        for (headers, says) in [
            (vec![], "X-Tinyrpc-Server is missing"),
            (vec![(GIVEN, "")], "it is empty"),
            (vec![(GIVEN, "tcp@a:1,tcp@b:2")], "comma"),
            (vec![(GIVEN, "tcp@a\t:1")], "control"),
            (vec![(GIVEN, "tcp@é:1")], "ASCII"),
            (vec![(GIVEN, "ftp@a:1")], "\"ftp\""),
            (vec![(GIVEN, "tcp@a")], "port is missing"),
            (vec![(GIVEN, &*long)], "longer than 512"),
            (vec![(GIVEN, "tcp@a:1"), (GIVEN, "tcp@b:1")], "twice"),
            (
                vec![(GIVEN, "tcp@a:1"), ("x-geerpc-server", "tcp@b:1")],
                "twice",
            ),
            (vec![(GIVEN, "tcp@a:1"), (WEIGHT, "-1")], "x-farcall-weight"),
            (vec![(GIVEN, "tcp@a:1"), (STATE, "dead")], "x-farcall-state"),
            (vec![(GIVEN, "tcp@a:1"), (ZONE, &*long)], "x-farcall-zone"),
        ] {
            let (status, _, body) = ask(&registry, "POST", &headers);
            assert_eq!(status, 400, "{headers:?}");
            assert!(
                body.contains(says) && body.ends_with('\n'),
                "{headers:?}: {body}"
            );
            assert_eq!(listed(&registry), "", "{headers:?}");
        }
    }

    #[test]
    fn a_server_that_leaves_is_gone_at_once() {
        let registry = Registry::new();
        ask(&registry, "POST", &[(GIVEN, "tcp@a:1")]);
        assert_eq!(ask(&registry, "DELETE", &[]).0, 400);
        assert_eq!(listed(&registry), "tcp@a:1");
        assert_eq!(ask(&registry, "DELETE", &[(GIVEN, "tcp@a:1")]).0, 200);
        assert_eq!(listed(&registry), "");
        assert_eq!(ask(&registry, "DELETE", &[(GIVEN, "tcp@a:1")]).0, 200);
    }

    #[test]
    fn other_methods_get_405() {
        let (status, headers, _) = ask(&Registry::new(), "PUT", &[(GIVEN, "tcp@a:1")]);
        assert_eq!(
            (status, &headers["allow"]),
            (405, &HeaderValue::from_static("GET, HEAD, POST, DELETE"))
        );
    }

    #[test]
    fn json_tells_more_and_shows_draining_servers_which_the_header_hides() {
        let registry = Registry::builder().ttl(Duration::from_secs(30)).build();
        let draining = [
            (GIVEN, "tcp@a:1"),
            (STATE, "draining"),
            (WEIGHT, "3"),
            (ZONE, "eu-1"),
        ];
        let (_, headers, _) = ask(&registry, "POST", &draining);
        assert_eq!(headers[TTL_MS], "30000");
        ask(&registry, "POST", &[(GIVEN, "tcp@b:1")]);
        assert_eq!(listed(&registry), "tcp@b:1");
        let accept = [("Accept", "text/html, application/json;q=0.9")];
        let (status, headers, body) = ask(&registry, "GET", &accept);
        assert_eq!(
            (status, &headers["content-type"]),
            (200, &HeaderValue::from_static("application/json"))
        );
        let expected = concat!(
            r#"[{"address":"tcp@a:1","state":"draining","weight":3,"zone":"eu-1","age_s":0},"#,
            r#"{"address":"tcp@b:1","state":"up","weight":1,"zone":"","age_s":0}]"#,
            "\n"
        );
        assert_eq!(body, expected);
    }

    #[test]
    fn a_full_registry_refuses_newcomers_only() {
        let registry = Registry::builder().entries_max(1).build();
        assert_eq!(ask(&registry, "POST", &[(GIVEN, "tcp@a:1")]).0, 200);
        let (status, _, body) = ask(&registry, "POST", &[(GIVEN, "tcp@b:1")]);
        assert!(status == 503 && body.contains("full"), "{body}");
        assert_eq!(ask(&registry, "POST", &[(GIVEN, "tcp@a:1")]).0, 200);
    }

    #[test]
    fn a_list_too_long_for_a_header_is_cut_there_and_whole_in_the_body() {
        let registry = Registry::new();
        let addresses: Vec<String> = (1000..2000).map(|p| format!("tcp@10.0.0.1:{p}")).collect();
        for address in &addresses {
            ask(&registry, "POST", &[(GIVEN, address)]);
        }
        let (status, headers, body) = ask(&registry, "GET", &[]);
        assert_eq!(status, 200);
        // 17 bytes and a comma each.
        assert_eq!(headers[TRUNCATED], "455 of 1000");
        assert_eq!(
            headers["x-tinyrpc-servers"].to_str().unwrap(),
            addresses[..455].join(",")
        );
        assert!(body.lines().eq(&addresses));
    }

    #[test]
    fn a_list_that_just_fits_is_not_cut() {
        assert_eq!(how_many_fit(&["ab", "cd"].map(str::to_owned), 5), 2);
        assert_eq!(how_many_fit(&["ab", "cd"].map(str::to_owned), 4), 1);
        assert_eq!(how_many_fit(&["ab", "cd"].map(str::to_owned), 1), 0);
        assert_eq!(how_many_fit(&[], 0), 0);
    }

    proptest! {
        #[test]
        fn no_header_value_can_smuggle_a_second_entry(value in prop::collection::vec(any::<u8>(), 0..80)) {
            let registry = Registry::new();
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let request = hyper::Request::post("/").header(GIVEN, value).body(Bytes::new()).unwrap();
            let status = registry.answer(&request, clock()).status();
            let endpoints = registry.endpoints();
            prop_assert_eq!(endpoints.len(), usize::from(status == StatusCode::OK));
            let listed = listed(&registry);
            prop_assert_eq!(listed, endpoints.first().map_or(String::new(), |e| e.address.to_string()));
        }
    }
}
