//! Many servers behind one handle: discovery, balancing, a client for each server, and going elsewhere when one cannot
//! be reached. What a connection does is the client's; who is there, and who is chosen, are `discover` and `balance`.

mod fleet;

use std::collections::HashSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context as TaskContext, Poll, Waker, ready};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use farcall_gob::Schema;
use farcall_wire::{Body, Codec, Dynamic, Message};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::balance::{Balance, TwoChoices};
use crate::channel::Via;
use crate::client::{CallOptions, Config, InFlight, Patience, RawReply, backoff_bounds};
use crate::discover::{Discover, Snapshot};
use crate::{
    Address, Call, Client, ClientState, Code, Error, Pending, Reached, Result, context, registry,
};

type Fleet = fleet::Fleet<Client>;
type Line = fleet::Line<Client>;
type Busy = fleet::Busy<Client>;

/// How long a call waits for a new connection while another server could take it. The dial goes on without it.
const DIAL_PATIENCE: Duration = Duration::from_millis(500);
/// How often a call that waits for ready looks for a server that can be reached.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Sets a [`Cluster`] up.
#[must_use = "a cluster is made by build"]
pub struct ClusterBuilder {
    discover: Box<dyn Discover>,
    balance: Box<dyn Balance>,
    config: Config,
}

/// Calls whichever server of a cluster is chosen for a call.
///
/// A cluster is a handle: cloning is cheap, and clones share one connection to each server, made when it is first
/// needed. A call that surely reached no handler goes to another server, each of them once at most, until its
/// deadline; a server that cannot be reached is then left alone for a while. When none is left, the call ends, or waits
/// if it was told to ([`ClusterBuilder::wait_for_ready`]). Servers that leave the list get no new calls, and those that
/// run finish.
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
        self.config.connect_timeout = limit;
        self
    }

    /// The timeout of calls that have none of their own, over all servers that they try. Default: none.
    pub fn call_timeout(mut self, limit: Duration) -> ClusterBuilder {
        self.config.call_timeout = Some(limit);
        self
    }

    /// What calls do when there is no server, or none of them can be reached: wait until there is one, for as long as
    /// their deadline allows (true), or end with [`Code::Unavailable`] (false). A call can ask to wait by itself, with
    /// [`Call::wait_for_ready`]. Default: false.
    pub fn wait_for_ready(mut self, waits: bool) -> ClusterBuilder {
        self.config.wait_for_ready = waits;
        self
    }

    /// How long a server is left alone that could not be reached, as in [`crate::ClientBuilder::backoff`]. When no other is
    /// left, it is dialled all the same, a second after it failed at the latest.
    pub fn backoff(mut self, first: Duration, max: Duration) -> ClusterBuilder {
        self.config.backoff = backoff_bounds(first, max);
        self
    }

    /// Replaces connections that are so old. See [`crate::ClientBuilder::age_max`].
    pub fn age_max(mut self, age: Duration) -> ClusterBuilder {
        self.config.age_max = Some(age);
        self
    }

    /// How many connections calls to one server are spread over. See [`crate::ClientBuilder::connections`].
    pub fn connections(mut self, count: usize) -> ClusterBuilder {
        self.config.connections = count.max(1);
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

    /// Where the cluster stands with each server of the list at this moment, sorted by address.
    pub fn states(&self) -> Vec<(Address, ClientState)> {
        let fleet = self.0.fleet.load();
        let state = |line: &Arc<Line>| (line.address.clone(), line.client.state());
        fleet.all().map(state).collect()
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
                let line = &Arc::clone(line).busy();
                // Each server counts, also one that was out of reach just now.
                let patience = Patience::Insist;
                let calling = line.client.invoke_with(patience, method, body, options);
                let outcome = calling.await;
                note(line, &outcome);
                (line.address.clone(), outcome)
            };
            Box::pin(call) as Pin<Box<dyn Future<Output = _> + Send>>
        });
        Ok(all(calls.collect()).await)
    }

    /// Begins a call if that takes no waiting: when the server that is chosen has an open connection with room.
    /// Otherwise [`Cluster::invoke_after`] is to go on with what is given.
    pub(crate) fn begin_now(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
        waker: Option<&Waker>,
    ) -> Result<Result<Begun>, Attempts> {
        let deadline = self.0.deadline(options);
        let Some(line) = self.0.pick(&HashSet::new()) else {
            return Err(Attempts::new(deadline));
        };
        let line = line.busy();
        let client = &line.client;
        match client.begin_by(method, body, options, deadline.0, waker) {
            Some(begun) => Ok(begun.map(|in_flight| Begun {
                line,
                in_flight,
                deadline,
            })),
            None => Err(Attempts {
                chosen: Some(line),
                ..Attempts::new(deadline)
            }),
        }
    }

    /// Makes a call on one server after the other, until one of them may have got it.
    pub(crate) async fn invoke(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<RawReply> {
        let attempts = Attempts::new(self.0.deadline(options));
        self.invoke_after(attempts, method, body, options).await
    }

    /// Makes a call of which there were attempts.
    pub(crate) async fn invoke_after(
        &self,
        mut attempts: Attempts,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<RawReply> {
        let inner = &*self.0;
        let waits = options.wait_for_ready || inner.config.wait_for_ready;
        inner.fleet(attempts.deadline).await;
        loop {
            let chosen = attempts.chosen.take();
            let chosen = chosen.or_else(|| Some(inner.pick(&attempts.tried)?.busy()));
            let Some(line) = chosen else {
                let error = match attempts.last.take() {
                    Some(error) => nobody_else(attempts.tried.len(), error),
                    None => nobody(&inner.fleet.load()),
                };
                if !(waits && is_out_of_reach(&error)) {
                    return Err(error);
                }
                if !inner.may_be_better(attempts.deadline).await {
                    return Err(too_late(method, error));
                }
                attempts.tried.clear();
                continue;
            };
            let outcome = inner.attempt(&line, &attempts, method, body, options).await;
            if let Some(outcome) = attempts.conclude(&line, outcome) {
                return outcome;
            }
        }
    }
}

/// A call that was begun on one of the servers.
pub(crate) struct Begun {
    line: Busy,
    in_flight: InFlight,
    deadline: Deadline,
}

impl Begun {
    /// False for a one-way call.
    pub(crate) fn waits_for_reply(&self) -> bool {
        self.in_flight.waits_for_reply()
    }

    /// The call's outcome, or from where [`Cluster::invoke_after`] is to go on with another server.
    pub(crate) fn poll(
        &mut self,
        context: &mut TaskContext<'_>,
    ) -> Poll<Result<Result<RawReply>, Attempts>> {
        let outcome = ready!(Pin::new(&mut self.in_flight).poll(context));
        if outcome.is_ok() {
            self.line.is_well();
            return Poll::Ready(Ok(outcome));
        }
        let mut attempts = Attempts::new(self.deadline);
        let concluded = attempts.conclude(&self.line, outcome);
        Poll::Ready(concluded.ok_or(attempts))
    }
}

/// What became of a call so far.
pub(crate) struct Attempts {
    deadline: Deadline,
    /// The server that is next.
    chosen: Option<Busy>,
    tried: HashSet<Address>,
    /// Why the last of those that were tried did not take it.
    last: Option<Error>,
}

impl Attempts {
    fn new(deadline: Deadline) -> Attempts {
        Attempts {
            deadline,
            chosen: None,
            tried: HashSet::new(),
            last: None,
        }
    }

    /// Remembers what came of a try. The outcome is the call's, unless it is to be made elsewhere.
    fn conclude(&mut self, line: &Line, outcome: Result<RawReply>) -> Option<Result<RawReply>> {
        note(line, &outcome);
        match outcome {
            Err(error) if goes_elsewhere(&error) && !self.deadline.is_over() => {
                tracing::debug!(address = %line.address, %error, "a call goes elsewhere");
                self.tried.insert(line.address.clone());
                self.last = Some(error);
                None
            }
            outcome => Some(outcome),
        }
    }
}

impl Inner {
    fn deadline(&self, options: &CallOptions) -> Deadline {
        let limit = options.timeout.or(self.config.call_timeout);
        Deadline(context::deadline(limit, options.is_detached))
    }

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

    /// Waits until there may be a server that can be reached. False when the deadline came first.
    async fn may_be_better(&self, deadline: Deadline) -> bool {
        let mut changed = self.changed.subscribe();
        let fleet = self.fleet.load_full();
        let is_empty = fleet.all().len() == 0 && !fleet.is_closed;
        let waiting = async {
            // The list cannot say anything more once the cluster is gone, and the cluster is not gone.
            let told = async { drop(changed.changed().await) };
            match is_empty {
                true => told.await,
                // How often each server is dialled is its client's to say.
                false => drop(timeout(LOOK_AGAIN, told).await),
            }
        };
        deadline.bound(waiting).await.is_some() && !deadline.is_over()
    }

    fn pick(&self, tried: &HashSet<Address>) -> Option<Arc<Line>> {
        let fleet = self.fleet.load();
        fleet.pick(&*self.balance, tried, now).cloned()
    }

    async fn attempt(
        &self,
        line: &Line,
        Attempts {
            deadline, tried, ..
        }: &Attempts,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<RawReply> {
        let with_time_left = || CallOptions {
            timeout: deadline.left(),
            // It waits for any server, not for this one.
            wait_for_ready: false,
            ..options.clone()
        };
        let begun = line
            .client
            .begin_by(method, body, options, deadline.0, None);
        if let Some(begun) = begun {
            return begun?.await;
        }
        self.connected(line, tried, *deadline).await?;
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
        // A server that is the last hope is dialled although it was out of reach just now.
        let ready = line.client.connected(match has_other {
            true => Patience::FailFast,
            false => Patience::Insist,
        });
        let limit = match (deadline.left(), has_other) {
            (Some(left), true) => left.min(DIAL_PATIENCE),
            (Some(left), false) => left,
            (None, true) => DIAL_PATIENCE,
            (None, false) => return ready.await,
        };
        timeout(limit, ready).await.unwrap_or_else(|_| {
            let text = format!("{} was not connected within {limit:?}", line.address);
            Err(Error::new(Code::DeadlineExceeded, text).with_reached(Reached::NotSent))
        })
    }

    fn take_over(&self, snapshot: Arc<Snapshot>) {
        let is_closed = self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !*is_closed {
            let fleet = self.fleet.load().succeed(snapshot, now(), |address| {
                let config = Config {
                    // A call waits for any server, not for one of them.
                    wait_for_ready: false,
                    ..self.config.clone()
                };
                Client::new(address.clone(), config)
            });
            self.fleet.store(Arc::new(fleet));
            self.changed.send_replace(());
        }
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
            _ if is_out_of_reach(error) => {
                let until = match line.client.state() {
                    ClientState::BackingOff { until, .. } => Some(until),
                    _ => None,
                };
                line.cannot_be_reached(now(), until);
            }
            _ => {}
        },
    }
}

/// True when the server could not be reached in the time there was.
fn is_out_of_reach(error: &Error) -> bool {
    let is_about_that = matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded);
    is_about_that && error.reached() == Reached::NotSent
}

/// A call that waited for ready, and no server was.
fn too_late(method: &str, last: Error) -> Error {
    let text = format!("{method}: the deadline passed before a server could be reached: {last}");
    Error::new(Code::DeadlineExceeded, text)
        .with_reached(Reached::NotSent)
        .with_source(last)
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
