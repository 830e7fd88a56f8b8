//! What is said to etcd: its JSON gateway, member after member, with a token if there is a login. What the answers
//! mean is for `mirror` and `keep`.
//!
//! The gateway writes 64-bit numbers as strings, bytes as base64, and leaves out what is zero.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::http::client::{FetchError, Lines, Url};

/// A name and its password, which no log shows.
#[derive(Clone)]
pub(super) struct Login(Arc<(String, String)>);

impl Login {
    pub(super) fn new(user: String, password: String) -> Login {
        Login(Arc::new((user, password)))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Login")
            .field(&self.0.0)
            .finish_non_exhaustive()
    }
}

/// The members of one etcd cluster, one of which is asked until it fails.
#[derive(Debug)]
pub(super) struct Api {
    members: Vec<Url>,
    turn: AtomicUsize,
    timeout: Duration,
    login: Option<Login>,
    token: Mutex<Option<String>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Refusal {
    /// In words.
    pub(super) text: String,
    /// The number of the error in gRPC, when it was etcd that said no.
    code: Option<u32>,
}

impl Refusal {
    pub(super) fn new(text: String) -> Refusal {
        Refusal { text, code: None }
    }

    /// The lease does not exist any more.
    pub(super) fn is_not_found(&self) -> bool {
        self.code == Some(5)
    }

    fn is_for_want_of_a_token(&self) -> bool {
        self.code == Some(16)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The part of every answer that says how far the store was.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Head {
    #[serde(default, deserialize_with = "number")]
    pub(super) revision: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ranged {
    #[serde(default)]
    pub(super) header: Head,
    #[serde(default)]
    pub(super) kvs: Vec<KeyValue>,
    #[serde(default, deserialize_with = "number")]
    pub(super) count: i64,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct KeyValue {
    #[serde(default, deserialize_with = "decoded")]
    pub(super) key: Vec<u8>,
    #[serde(default, deserialize_with = "decoded")]
    pub(super) value: Vec<u8>,
    #[serde(default, deserialize_with = "number")]
    pub(super) mod_revision: i64,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Watched {
    #[serde(default)]
    pub(super) canceled: bool,
    #[serde(default, deserialize_with = "number")]
    pub(super) compact_revision: i64,
    #[serde(default)]
    pub(super) cancel_reason: String,
    #[serde(default)]
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(default, rename = "type")]
    kind: String,
    pub(super) kv: KeyValue,
}

impl Event {
    pub(super) fn is_delete(&self) -> bool {
        self.kind == "DELETE"
    }

    #[cfg(test)]
    pub(super) fn new(kv: KeyValue, is_delete: bool) -> Event {
        let kind = if is_delete { "DELETE" } else { "" };
        Event {
            kind: kind.to_owned(),
            kv,
        }
    }
}

#[derive(Deserialize)]
struct Leased {
    #[serde(default, rename = "ID", deserialize_with = "number")]
    id: i64,
    #[serde(default, rename = "TTL", deserialize_with = "number")]
    ttl: i64,
}

/// One message of a stream.
#[derive(Deserialize)]
struct Streamed<T> {
    result: Option<T>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Txned {
    #[serde(default)]
    header: Head,
}

#[derive(Deserialize)]
struct Authenticated {
    token: String,
}

impl Api {
    pub(super) fn new(members: Vec<Url>, timeout: Duration, login: Option<Login>) -> Api {
        Api {
            // Not every process begins with the first member.
            turn: AtomicUsize::new(fastrand::usize(..1 << 16)),
            members,
            timeout,
            login,
            token: Mutex::default(),
        }
    }

    /// The keys from `first` to before `end`, with their values.
    pub(super) async fn list(&self, first: &str, end: &str) -> Result<Ranged, Refusal> {
        self.ask(
            "/v3/kv/range",
            json!({"key": bytes(first), "range_end": bytes(end)}),
        )
        .await
    }

    /// How many keys there are in the range, and the one that changed last.
    pub(super) async fn latest(&self, first: &str, end: &str) -> Result<Ranged, Refusal> {
        let question = json!({
            "key": bytes(first), "range_end": bytes(end), "keys_only": true,
            "limit": "1", "sort_target": "MOD", "sort_order": "DESCEND",
        });
        self.ask("/v3/kv/range", question).await
    }

    /// A new lease.
    pub(super) async fn grant(&self, ttl: Duration) -> Result<i64, Refusal> {
        let ttl = ttl.as_secs().to_string();
        let leased: Leased = self.ask("/v3/lease/grant", json!({ "TTL": ttl })).await?;
        Ok(leased.id)
    }

    /// Lets the lease begin anew; false when there is none any more.
    pub(super) async fn keep_alive(&self, lease: i64) -> Result<bool, Refusal> {
        let question = json!({ "ID": lease.to_string() });
        let answer: Streamed<Leased> = self.ask("/v3/lease/keepalive", question).await?;
        Ok(answer.result.is_some_and(|leased| leased.ttl > 0))
    }

    /// Ends the lease, and with it its keys.
    pub(super) async fn revoke(&self, lease: i64) -> Result<(), Refusal> {
        let question = json!({ "ID": lease.to_string() });
        self.ask("/v3/lease/revoke", question)
            .await
            .map(|_: Value| ())
    }

    /// Makes these the values of these keys on this lease, in one step, unless they are so already. Gives the revision
    /// at which they surely are.
    pub(super) async fn put(&self, lease: i64, pairs: &[(String, String)]) -> Result<i64, Refusal> {
        let lease = lease.to_string();
        let conditions = pairs.iter().flat_map(|(key, value)| {
            let (key, value) = (bytes(key), bytes(value));
            [
                json!({"key": key, "target": "LEASE", "result": "EQUAL", "lease": lease}),
                json!({"key": key, "target": "VALUE", "result": "EQUAL", "value": value}),
            ]
        });
        let puts = pairs.iter().map(|(key, value)| {
            json!({"request_put": {"key": bytes(key), "value": bytes(value), "lease": lease}})
        });
        let (conditions, puts): (Vec<Value>, Vec<Value>) = (conditions.collect(), puts.collect());
        let question = json!({"compare": conditions, "failure": puts});
        let answer: Txned = self.ask("/v3/kv/txn", question).await?;
        Ok(answer.header.revision)
    }

    /// Watches each of these ranges from a revision on.
    pub(super) async fn watch(
        &self,
        ranges: &[(&str, &str)],
        revision: i64,
        deletes_only: bool,
    ) -> Result<Watch, Refusal> {
        let filters = if deletes_only {
            json!(["NOPUT"])
        } else {
            json!([])
        };
        let request = |(first, end): &(&str, &str)| {
            let create = json!({
                "key": bytes(first), "range_end": bytes(end), "start_revision": revision.to_string(),
                "progress_notify": true, "filters": filters,
            });
            json!({ "create_request": create }).to_string()
        };
        let requests: String = ranges.iter().map(request).collect();
        let lines = self.begin("/v3/watch", requests.into()).await?;
        Ok(Watch(lines))
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, question: Value) -> Result<T, Refusal> {
        let question = Bytes::from(question.to_string());
        let token = self.token(false).await?;
        match self.ask_all(path, &question, token.as_deref()).await {
            Err(refusal) if self.login.is_some() && refusal.is_for_want_of_a_token() => {
                let token = self.token(true).await?;
                self.ask_all(path, &question, token.as_deref()).await
            }
            answer => answer,
        }
    }

    async fn begin(&self, path: &str, question: Bytes) -> Result<Lines, Refusal> {
        let token = self.token(false).await?;
        let member = self.member()?.with_path(path);
        let headers = headers(token.as_deref());
        let opened = member
            .open(Method::POST, &headers, question, self.timeout)
            .await;
        let outcome = match opened {
            Ok(lines) if lines.status == StatusCode::OK => return Ok(lines),
            Ok(lines) => {
                let status = lines.status;
                let says = timeout(self.timeout, lines.whole()).await;
                let says = says
                    .ok()
                    .and_then(Result::ok)
                    .map(hyper::Response::into_body);
                refused(&member, status, &says.unwrap_or_default())
            }
            Err(error) => unreached(&member, &error),
        };
        self.next_member();
        if outcome.is_for_want_of_a_token() {
            self.forget_token();
        }
        Err(outcome)
    }

    /// Asks the members in turn until one answers, whatever it says.
    async fn ask_all<T: DeserializeOwned>(
        &self,
        path: &str,
        question: &Bytes,
        token: Option<&str>,
    ) -> Result<T, Refusal> {
        let mut outcome = self.ask_one(path, question, token).await;
        for _ in 1..self.members.len() {
            match outcome {
                Err((_, true)) => outcome = self.ask_one(path, question, token).await,
                _ => break,
            }
        }
        outcome.map_err(|(refusal, _)| refusal)
    }

    /// Asks one member. When it fails, true says that another one may do better.
    async fn ask_one<T: DeserializeOwned>(
        &self,
        path: &str,
        question: &Bytes,
        token: Option<&str>,
    ) -> Result<T, (Refusal, bool)> {
        let member = self
            .member()
            .map_err(|refusal| (refusal, false))?
            .with_path(path);
        let headers = headers(token);
        let reply = member
            .fetch(Method::POST, &headers, question.clone(), self.timeout)
            .await;
        let reply = reply.map_err(|error| {
            self.next_member();
            (unreached(&member, &error), true)
        })?;
        if reply.status() != StatusCode::OK {
            let is_ill = reply.status().is_server_error();
            if is_ill {
                self.next_member();
            }
            return Err((refused(&member, reply.status(), reply.body()), is_ill));
        }
        serde_json::from_slice(reply.body()).map_err(|error| {
            self.next_member();
            let text = format!("{member}: the answer is not etcd's: {error}");
            (Refusal { text, code: None }, true)
        })
    }

    /// The token of the login, if there is one.
    async fn token(&self, anew: bool) -> Result<Option<String>, Refusal> {
        let Some(Login(login)) = &self.login else {
            return Ok(None);
        };
        let known = self
            .token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if known.is_some() && !anew {
            return Ok(known);
        }
        let (name, password) = &**login;
        let question = json!({ "name": name, "password": password }).to_string();
        let answer: Authenticated = self
            .ask_all("/v3/auth/authenticate", &question.into(), None)
            .await?;
        let token = Some(answer.token);
        self.token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&token);
        Ok(token)
    }

    fn forget_token(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn member(&self) -> Result<&Url, Refusal> {
        let turn = self.turn.load(Ordering::Relaxed);
        let index = turn.checked_rem(self.members.len()).unwrap_or(0);
        self.members.get(index).ok_or_else(|| Refusal {
            text: "etcd has no members".into(),
            code: None,
        })
    }

    /// The one that was asked failed.
    pub(super) fn next_member(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a watch brings.
#[derive(Debug)]
pub(super) struct Watch(Lines);

impl Watch {
    /// The next message. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Watched, Refusal> {
        let refusal = |text: String| Refusal { text, code: None };
        let line = self
            .0
            .next()
            .await
            .map_err(|error| refusal(error.to_string()))?;
        let Some(line) = line else {
            return Err(refusal("the watch ended".into()));
        };
        let message: Streamed<Watched> = serde_json::from_slice(&line)
            .map_err(|error| refusal(format!("the watch brings what is not etcd's: {error}")))?;
        match message {
            Streamed {
                result: Some(watched),
                ..
            } => Ok(watched),
            Streamed { error, .. } => {
                let why = error.unwrap_or_default();
                Err(refusal(format!(
                    "the watch was refused: {}",
                    brief(&why.to_string())
                )))
            }
        }
    }
}

/// A partitioned member hangs a watch without a word, unless told that it must have a leader.
fn headers(token: Option<&str>) -> Vec<(&'static str, &str)> {
    let mut headers = vec![
        ("content-type", "application/json"),
        ("grpc-metadata-hasleader", "true"),
    ];
    headers.extend(token.map(|token| ("authorization", token)));
    headers
}

fn unreached(member: &Url, error: &FetchError) -> Refusal {
    Refusal::new(match error.is_hang_up && !member.is_secured() {
        // So it does when it is killed, too.
        true => format!("{error}; if it always does that, perhaps it wants TLS: etcds://"),
        false => error.to_string(),
    })
}

fn refused(member: &Url, status: StatusCode, body: &[u8]) -> Refusal {
    #[derive(Deserialize)]
    struct Words {
        #[serde(default)]
        error: String,
        code: Option<u32>,
    }
    match serde_json::from_slice(body) {
        Ok(Words { error, code }) => Refusal {
            text: format!("{member}: {}", brief(&error)),
            code,
        },
        Err(_) => {
            let says = brief(&String::from_utf8_lossy(body));
            let advice = match says.contains("CommonName") {
                true => {
                    "; an etcd with users takes certificates without a CommonName through its gateway"
                }
                false => "",
            };
            Refusal::new(format!("{member}: status {status}, {says:?}{advice}"))
        }
    }
}

fn brief(text: &str) -> String {
    text.chars().take(200).collect()
}

fn bytes(text: &str) -> String {
    STANDARD.encode(text)
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(from)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

fn decoded<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let encoded = String::deserialize(from)?;
    STANDARD.decode(encoded).map_err(serde::de::Error::custom)
}
