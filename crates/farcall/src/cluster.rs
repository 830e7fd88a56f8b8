//! Many servers behind one handle: discovery, balancing, a client for each server, and going elsewhere when one cannot
//! be reached. What a connection does is the client's; who is there, and who is chosen, are `discover` and `balance`.

mod fleet;

use std::collections::HashSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use farcall_gob::Schema;
use farcall_wire::{Body, Codec, Dynamic, Message};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::balance::{Balance, TwoChoices};
use crate::channel::Via;
use crate::client::{CallOptions, InFlight, RawReply};
use crate::discover::{Discover, Snapshot};
use crate::stream::carrier::Held;
use crate::{
    Address, Call, Client, Code, Error, FromReply, Items, Pending, Reached, Result, StreamCall,
    context, registry,
};

type Fleet = fleet::Fleet<Client>;
type Line = fleet::Line<Client>;

/// How long a call waits for a new connection while another server could take it. The dial goes on without it.
const DIAL_PATIENCE: Duration = Duration::from_millis(500);

/// Sets a [`Cluster`] up.
#[must_use = "a cluster is made by build"]
pub struct ClusterBuilder {
    discover: Box<dyn Discover>,
    balance: Box<dyn Balance>,
    config: Config,
}

#[derive(Clone, Debug, Default)]
struct Config {
    codec: Codec,
    connect_timeout: Option<Duration>,
    call_timeout: Option<Duration>,
}

/// Calls whichever server of a cluster is chosen for a call.
///
/// A cluster is a handle: cloning is cheap, and clones share one connection to each server, made when it is first
/// needed. A call that surely reached no handler goes to another server, each of them once at most, until its
/// deadline; a server that cannot be reached is then left alone for a while. Servers that leave the list get no new
/// calls, and those that run finish.
///
/// ```
/// # async fn example() -> farcall::Result<()> {
/// use farcall::Cluster;
/// let cluster = Cluster::connect("http://127.0.0.1:9998/_tinyrpc_/registry").await?;
/// let product: i64 = cluster.call("Arith.Double", &21_i64).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    fleet: ArcSwap<Fleet>,
    /// Told whenever the fleet was replaced.
    changed: watch::Sender<()>,
    /// Held while the fleet is replaced; true once the cluster is closed.
    is_closed: Mutex<bool>,
    balance: Box<dyn Balance>,
    config: Config,
    following: AbortHandle,
}

impl ClusterBuilder {
    /// Who gets a call: [`TwoChoices`] unless set.
    pub fn balance(mut self, balance: impl Balance) -> ClusterBuilder {
        self.balance = Box::new(balance);
        self
    }

    /// The codec to ask for, in farcall's own protocol. Default: gob.
    pub fn codec(mut self, codec: Codec) -> ClusterBuilder {
        self.config.codec = codec;
        self
    }

    /// How long dialling a server and the handshake may take together. Default 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> ClusterBuilder {
        self.config.connect_timeout = Some(limit);
        self
    }

    /// The timeout of calls that have none of their own, over all servers that they try. Default: none.
    pub fn call_timeout(mut self, limit: Duration) -> ClusterBuilder {
        self.config.call_timeout = Some(limit);
        self
    }

    /// The cluster. It looks for servers from now on, and connects to each when it is first called.
    ///
    /// # Panics
    ///
    /// When there is no tokio runtime.
    pub fn build(self) -> Cluster {
        let ClusterBuilder {
            discover,
            balance,
            config,
        } = self;
        let mut snapshots = discover.watch();
        let first = Arc::clone(&snapshots.borrow_and_update());
        let (whole, is_whole) = oneshot::channel();
        let cluster = Cluster(Arc::new_cyclic(|inner: &Weak<Inner>| Inner {
            fleet: ArcSwap::from_pointee(Fleet::empty(false)),
            changed: watch::Sender::new(()),
            is_closed: Mutex::new(false),
            balance,
            config,
            following: tokio::spawn(follow(inner.clone(), snapshots, is_whole)).abort_handle(),
        }));
        cluster.0.take_over(first);
        // Only now: a list from another thread must meet a whole cluster, and must not be overwritten by the first one.
        let _ = whole.send(());
        cluster
    }
}

impl Cluster {
    /// A cluster of the servers that `discover` knows, set up further before it is built.
    pub fn builder(discover: impl Discover) -> ClusterBuilder {
        ClusterBuilder {
            discover: Box::new(discover),
            balance: Box::new(TwoChoices),
            config: Config::default(),
        }
    }

    /// The cluster that a target names, once its list is there: `http://127.0.0.1:9998/_tinyrpc_/registry`,
    /// `static:tcp@10.0.0.1:9999,tcp@10.0.0.2:9999`, or the address of one server.
    ///
    /// # Errors
    ///
    /// When the target is none ([`Code::InvalidArgument`]), or its registry cannot be asked. To start without it,
    /// build the cluster from [`registry::open`].
    pub async fn connect(target: &str) -> Result<Cluster> {
        let cluster = Cluster::builder(registry::open(target)?).build();
        let fleet = cluster.0.fleet(Deadline(None)).await;
        match fleet.snapshot.known {
            true => Ok(cluster),
            false => Err(nobody(&fleet)),
        }
    }

    /// Calls `Service.Method` on one of the servers. See [`Client::call`].
    ///
    /// # Errors
    ///
    /// As [`Client::call`], and [`Code::Unavailable`] when there is no server or none could be reached.
    pub fn call<'a, R: Message>(&'a self, method: &'a str, args: &'a impl Message) -> Call<'a, R> {
        Call::new(Via::Cluster(self), method, Body::from(args))
    }

    /// Calls `Service.Method` with streams of items on one of the servers. See [`Client::stream`].
    ///
    /// Another server is tried while the request was not sent, and none after that: items are gone once they were
    /// sent. The call counts as one of that server's until its last part is dropped.
    ///
    /// # Errors
    ///
    /// As [`Client::stream`], and [`Code::Unavailable`] when there is no server or none could be reached.
    pub fn stream<'a, Up: Items, Down: Items, R: Message>(
        &'a self,
        method: &'a str,
        args: &'a impl Message,
    ) -> StreamCall<'a, Up, Down, R> {
        StreamCall::new(Via::Cluster(self), method, Body::from(args))
    }

    /// Calls with streams of items and an argument that has no Rust type. See [`Client::stream_dynamic`].
    pub fn stream_dynamic<'a, Up: Items, Down: Items, R: FromReply>(
        &'a self,
        method: &'a str,
        args: &'a Dynamic,
    ) -> StreamCall<'a, Up, Down, R> {
        StreamCall::new(Via::Cluster(self), method, Body::Dynamic(args))
    }

    /// Begins a call now, and gives a handle to its outcome. See [`Client::go`].
    pub fn go<R: Message>(&self, method: &str, args: impl Message) -> Pending<R> {
        Via::Cluster(self).go(method, args)
    }

    /// Calls without Rust types, JSON in and JSON out. See [`Client::call_json`].
    ///
    /// # Errors
    ///
    /// As [`Cluster::call`], and when the JSON does not fit `types`.
    pub async fn call_json(
        &self,
        method: &str,
        args: serde_json::Value,
        types: Option<Schema>,
        limit: Option<Duration>,
    ) -> Result<serde_json::Value> {
        let args = Dynamic::new(args, types);
        let options = CallOptions {
            timeout: limit,
            ..CallOptions::default()
        };
        let reply = self.invoke(method, Body::Dynamic(&args), &options).await?;
        reply.to_plain_json()
    }

    /// Calls with an argument that has no Rust type. See [`Client::call_dynamic`].
    ///
    /// # Errors
    ///
    /// As [`Cluster::call`], and when the JSON does not fit its type.
    pub fn call_dynamic<'a, R: Message>(
        &'a self,
        method: &'a str,
        args: &'a Dynamic,
    ) -> Call<'a, R> {
        Call::new(Via::Cluster(self), method, Body::Dynamic(args))
    }

    /// Calls `Service.Method` on every server at once, and gives each one's own outcome, sorted by address. Nothing is
    /// tried twice, and no failure keeps the others from ending.
    ///
    /// # Errors
    ///
    /// When there is no server to call: that is no success.
    pub async fn broadcast<R: Message>(
        &self,
        method: &str,
        args: &impl Message,
    ) -> Result<Vec<(Address, Result<R>)>> {
        let replies = self.ask_all(method, Body::from(args), None).await?;
        let decode = |(address, reply): (Address, Result<RawReply>)| {
            let reply = reply.and_then(|raw| raw.decode());
            (address, reply)
        };
        Ok(replies.into_iter().map(decode).collect())
    }

    /// [`Cluster::broadcast`] without Rust types, as in [`Cluster::call_json`].
    ///
    /// # Errors
    ///
    /// When there is no server to call.
    pub async fn broadcast_json(
        &self,
        method: &str,
        args: serde_json::Value,
        types: Option<Schema>,
        limit: Option<Duration>,
    ) -> Result<Vec<(Address, Result<serde_json::Value>)>> {
        let args = Dynamic::new(args, types);
        let replies = self.ask_all(method, Body::Dynamic(&args), limit).await?;
        let decode = |(address, reply): (Address, Result<RawReply>)| {
            let reply = reply.and_then(|raw| raw.to_plain_json());
            (address, reply)
        };
        Ok(replies.into_iter().map(decode).collect())
    }

    /// What is known about the servers now, and whether the list is stale.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.fleet.load().snapshot)
    }

    /// Makes no further calls: they end with [`Code::Cancelled`]. Calls that run finish, and connections end with the
    /// last of them.
    pub fn close(&self) {
        let mut is_closed = self
            .0
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *is_closed = true;
        self.0.following.abort();
        self.0.fleet.store(Arc::new(Fleet::empty(true)));
        self.0.changed.send_replace(());
    }

    async fn ask_all(
        &self,
        method: &str,
        body: Body<'_>,
        limit: Option<Duration>,
    ) -> Result<Vec<(Address, Result<RawReply>)>> {
        let limit = limit.or(self.0.config.call_timeout);
        let deadline = Deadline(context::deadline(limit, false));
        let fleet = self.0.fleet(deadline).await;
        if fleet.all().len() == 0 {
            return Err(nobody(&fleet));
        }
        let options = CallOptions {
            timeout: deadline.left(),
            ..CallOptions::default()
        };
        let calls = fleet.all().map(|line| {
            let options = &options;
            let call = async move {
                let _busy = line.busy();
                let outcome = line.client.invoke(method, body, options).await;
                note(line, &outcome);
                (line.address.clone(), outcome)
            };
            Box::pin(call) as Pin<Box<dyn Future<Output = _> + Send>>
        });
        Ok(all(calls.collect()).await)
    }

    /// Makes a call on one server after the other, until one of them may have got it.
    pub(crate) async fn invoke(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<RawReply> {
        let inner = &*self.0;
        let limit = options.timeout.or(inner.config.call_timeout);
        let deadline = Deadline(context::deadline(limit, options.is_detached));
        inner.fleet(deadline).await;
        let mut tried = HashSet::new();
        let mut last = None;
        loop {
            let line = inner.pick(&tried);
            let Some(line) = line else {
                return Err(match last {
                    Some(error) => nobody_else(tried.len(), error),
                    None => nobody(&inner.fleet.load()),
                });
            };
            let outcome = inner
                .attempt(&line, &tried, method, body, options, deadline)
                .await;
            note(&line, &outcome);
            match outcome {
                Err(error) if goes_elsewhere(&error) && !deadline.is_over() => {
                    tracing::debug!(address = %line.address, %error, "a call goes elsewhere");
                    tried.insert(line.address.clone());
                    last = Some(error);
                }
                outcome => return outcome,
            }
        }
    }
}

impl Cluster {
    /// Begins a call with streams on one server after the other, until one of them may have got it. What it gives
    /// beside it counts the call as that server's.
    pub(crate) async fn open(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<(InFlight, Held)> {
        let inner = &*self.0;
        let limit = options.timeout.or(inner.config.call_timeout);
        let deadline = Deadline(context::deadline(limit, options.is_detached));
        inner.fleet(deadline).await;
        let mut tried = HashSet::new();
        let mut last = None;
        loop {
            let Some(line) = inner.pick(&tried) else {
                return Err(match last {
                    Some(error) => nobody_else(tried.len(), error),
                    None => nobody(&inner.fleet.load()),
                });
            };
            let busy = line.busy();
            let opened = async {
                inner.connected(&line, &tried, deadline).await?;
                let options = CallOptions {
                    timeout: deadline.left(),
                    ..options.clone()
                };
                line.client.open(method, body, &options).await
            };
            let opened = opened.await;
            note(&line, &opened);
            match opened {
                Ok(in_flight) => return Ok((in_flight, Box::new(busy))),
                Err(error) if goes_elsewhere(&error) && !deadline.is_over() => {
                    tracing::debug!(address = %line.address, %error, "a call goes elsewhere");
                    tried.insert(line.address.clone());
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Inner {
    /// The fleet, once a first look at the list succeeded or failed, or as it is at the deadline.
    async fn fleet(&self, deadline: Deadline) -> Arc<Fleet> {
        let is_settled = |fleet: &Fleet| {
            let Snapshot { known, stale, .. } = &*fleet.snapshot;
            *known || stale.is_some() || fleet.is_closed
        };
        let mut fleet = self.fleet.load_full();
        if !is_settled(&fleet) {
            let mut changed = self.changed.subscribe();
            let settled = changed.wait_for(|()| is_settled(&self.fleet.load()));
            // Late or not: what is known then is all there is.
            let _ = deadline.bound(settled).await;
            fleet = self.fleet.load_full();
        }
        fleet
    }

    fn pick(&self, tried: &HashSet<Address>) -> Option<Arc<Line>> {
        let fleet = self.fleet.load();
        fleet.pick(&*self.balance, tried, now).cloned()
    }

    async fn attempt(
        &self,
        line: &Line,
        tried: &HashSet<Address>,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
        deadline: Deadline,
    ) -> Result<RawReply> {
        let _busy = line.busy();
        let with_time_left = || CallOptions {
            timeout: deadline.left(),
            ..options.clone()
        };
        if let Some(begun) = line.client.begin_now(method, body, &with_time_left(), None) {
            return begun?.await;
        }
        self.connected(line, tried, deadline).await?;
        line.client.invoke(method, body, &with_time_left()).await
    }

    /// Waits for the line's connection: to the deadline if need be, but not for long while another server could take
    /// the call.
    async fn connected(
        &self,
        line: &Line,
        tried: &HashSet<Address>,
        deadline: Deadline,
    ) -> Result<()> {
        let has_other = self.fleet.load().has_other(line, tried, now());
        let patience = match (deadline.left(), has_other) {
            (Some(left), true) => left.min(DIAL_PATIENCE),
            (Some(left), false) => left,
            (None, true) => DIAL_PATIENCE,
            (None, false) => return line.client.ready().await,
        };
        let ready = timeout(patience, line.client.ready()).await;
        ready.unwrap_or_else(|_| {
            let text = format!("{} was not connected within {patience:?}", line.address);
            Err(Error::new(Code::DeadlineExceeded, text).with_reached(Reached::NotSent))
        })
    }

    fn take_over(&self, snapshot: Arc<Snapshot>) {
        let is_closed = self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !*is_closed {
            let fleet = self
                .fleet
                .load()
                .succeed(snapshot, now(), |address| self.client(address));
            self.fleet.store(Arc::new(fleet));
            self.changed.send_replace(());
        }
    }

    fn client(&self, address: &Address) -> Client {
        let mut builder = Client::builder(address.clone()).codec(self.config.codec);
        if let Some(limit) = self.config.connect_timeout {
            builder = builder.connect_timeout(limit);
        }
        builder.build()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fleet = self.0.fleet.load();
        let servers = fleet.all().map(|line| line.address.to_string());
        f.debug_list().entries(servers).finish()
    }
}

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// Takes over what discovery says, until the cluster is gone.
async fn follow(
    cluster: Weak<Inner>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    is_whole: oneshot::Receiver<()>,
) {
    if is_whole.await.is_err() {
        return;
    }
    while snapshots.changed().await.is_ok() {
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        cluster.take_over(snapshot);
    }
}

/// When a call must have ended, if ever.
#[derive(Clone, Copy)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn left(self) -> Option<Duration> {
        self.0
            .map(|deadline| deadline.saturating_duration_since(now()))
    }

    fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Waits until the deadline; `None` when it came first.
    async fn bound<T>(self, waiting: impl Future<Output = T>) -> Option<T> {
        match self.left() {
            Some(left) => timeout(left, waiting).await.ok(),
            None => Some(waiting.await),
        }
    }
}

/// The one clock, which tests can move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// True when another server may be able to do what this one surely did not.
fn goes_elsewhere(error: &Error) -> bool {
    // An argument that cannot be encoded cannot be encoded for anyone.
    error.is_retryable() && error.code() != Code::InvalidArgument
}

/// Remembers whether the server could be reached.
fn note<T>(line: &Line, outcome: &Result<T>) {
    match outcome {
        Ok(_) => line.is_well(),
        Err(error) => match (error.reached(), error.code()) {
            (Reached::Answered | Reached::Refused, _) => line.is_well(),
            (Reached::NotSent, Code::Unavailable | Code::DeadlineExceeded) => {
                line.cannot_be_reached(now());
            }
            _ => {}
        },
    }
}

/// Why there is no server to call.
fn nobody(fleet: &Fleet) -> Error {
    if fleet.is_closed {
        let error = Error::new(Code::Cancelled, "the cluster was closed");
        return error.with_reached(Reached::NotSent);
    }
    let Snapshot { known, stale, .. } = &*fleet.snapshot;
    // These words are those of the Go originals.
    let mut text = "rpc discovery: no available servers".to_owned();
    match stale {
        Some(stale) => {
            let seconds = now().saturating_duration_since(stale.since).as_secs();
            text += &format!(" (unknown for {seconds} s: {})", stale.reason);
        }
        None if !known => text += " (the list did not come in time)",
        None => text += " (the list is empty)",
    }
    Error::new(Code::Unavailable, text).with_reached(Reached::NotSent)
}

/// None of several servers took the call.
fn nobody_else(tried: usize, last: Error) -> Error {
    if tried < 2 {
        return last;
    }
    let text = format!("none of {tried} servers took the call; the last one: {last}");
    Error::new(last.code(), text)
        .with_reached(last.reached())
        .with_source(last)
}

/// Runs all to their ends, and gives their outputs in the same order. Each wake polls all: that is dear for many
/// thousands, and simple for as many servers as one calls at once.
async fn all<T>(mut running: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut outputs: Vec<Option<T>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                if let Poll::Ready(value) = future.as_mut().poll(context) {
                    *output = Some(value);
                }
            }
        }
        match outputs.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
