//! The connections of a client: when they are made, who waits for them, and when they are let go.
//! What one connection does, and how a call runs on it, are `connection` and `call`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use farcall_wire::{Code, go_duration};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::Config;
use super::connection::{Connection, Ended, connect_timed_out};
use super::lane::Lane;
use crate::backoff::{Backoff, jittered};
use crate::link::now;
use crate::{Address, Error, Reached, Result};

/// Each wait between dials may be so many times as long as the one before.
const BACKOFF_FACTOR: f64 = 1.6;
/// Who insists on a connection waits no longer than this after the last failure before the next dial.
const INSIST_AFTER: Duration = Duration::from_secs(1);

/// The ways to one server: as many connections as were asked for, each in a lane of its own.
///
/// A lane is filled when calls come. There is one dial at a time for all lanes, so that a server that is down is not
/// asked by each of them, and a wait after a dial that failed. While a lane is empty, the others carry its calls.
pub(super) struct Lanes {
    pub(super) address: Address,
    pub(super) config: Config,
    /// The connections made last, which may have ended since. Every call looks here, without a lock; they are changed
    /// with the lock of `dials` held.
    open: Box<[Lane]>,
    /// Whose turn it is.
    turn: AtomicUsize,
    dials: Mutex<Dials>,
    /// Wakes those who wait for the time of the next dial.
    changed: Notify,
}

/// What stands in the way of a new connection. A client of which nothing here holds may dial at once.
struct Dials {
    /// There are to be no further connections.
    is_closed: bool,
    /// Somebody dials: everyone who needs a connection waits for the same one.
    under_way: Option<Dialled>,
    /// The last dial failed, or what it opened came to nothing: nobody dials for a while.
    backing_off: Option<BackingOff>,
    backoff: Backoff,
    /// A connection came to nothing, and the next dial did not wait for it.
    was_lenient: bool,
    /// Connections that take no new calls, and may still have some that run.
    leaving: Vec<Weak<Connection>>,
}

/// Tells how a dial ended, once it has.
type Dialled = watch::Receiver<Option<Result<Arc<Connection>>>>;

struct BackingOff {
    since: Instant,
    until: Instant,
    error: Error,
}

/// What a call does that finds no open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It waits for a dial, and fails when that fails, or when none may be made yet.
    FailFast,
    /// It waits until there is a connection.
    WaitForReady,
    /// It waits for a dial that is made soon, however long the client would rather wait.
    Insist,
}

/// Where a client stands with its server: a moment's view, for people and for programs that show it.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum ClientState {
    /// There is no connection, and nothing in the way of one: the next call makes it.
    Idle,
    /// No connection is open, and one is being made.
    Connecting,
    /// Connections are open, so many of them: calls begin at once.
    Ready {
        /// How many; no more than [`ClientBuilder::connections`](crate::ClientBuilder::connections).
        connections: usize,
    },
    /// The server could not be reached, or let connections go before they were of any use.
    BackingOff {
        /// No call dials before.
        until: Instant,
        /// What the last dial ended with.
        error: Error,
    },
    /// The client was closed.
    Closed,
}

/// What is to be done next to get a connection.
enum Step {
    Use(Arc<Connection>),
    WaitFor(Dialled),
    WaitUntil(Instant),
}

impl Lanes {
    pub(super) fn new(address: Address, config: Config) -> Lanes {
        let lanes = (0..config.connections.max(1)).map(|_| Lane::empty());
        Lanes {
            open: lanes.collect(),
            turn: AtomicUsize::new(0),
            changed: Notify::new(),
            dials: Mutex::new(Dials {
                is_closed: false,
                under_way: None,
                backing_off: None,
                backoff: new_backoff(&config),
                was_lenient: false,
                leaving: Vec::new(),
            }),
            address,
            config,
        }
    }

    /// The connection whose turn it is, open or not. With one lane there is nothing to choose.
    pub(super) fn next(&self) -> Option<Arc<Connection>> {
        let lane = match &*self.open {
            [only] => only,
            lanes => lanes.get(self.turn() % lanes.len())?,
        };
        lane.get()
    }

    /// An open connection, as soon as patience allows. Nobody waits for a dial for longer than the connect timeout,
    /// and it goes on when nobody waits for it any more.
    pub(super) async fn connection(
        self: &Arc<Lanes>,
        patience: Patience,
    ) -> Result<Arc<Connection>> {
        loop {
            // Made before it is known whether there is something to wait for: what changes from here on is seen.
            let changed = self.changed.notified();
            let mut dialled = match self.step(patience)? {
                Step::Use(connection) => return Ok(connection),
                Step::WaitFor(dialled) => dialled,
                Step::WaitUntil(until) => {
                    tokio::select! {
                        () = sleep_until(until.into()) => {}
                        () = changed => {}
                    }
                    continue;
                }
            };
            let outcome = match dialled.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(outcome)) => outcome.clone(),
                // The runtime on which it ran has ended. The next call dials on its own.
                _ => Err(unavailable(format!(
                    "dialling {} was broken off",
                    self.address
                ))),
            };
            match (&outcome, patience) {
                (Err(_), Patience::WaitForReady) => {}
                _ => return outcome,
            }
        }
    }

    /// Looks what there is, and begins a dial if one is needed and may begin.
    fn step(self: &Arc<Lanes>, patience: Patience) -> Result<Step> {
        let mut dials = self.lock();
        if dials.is_closed {
            let text = format!("the client of {} was closed", self.address);
            return Err(Error::new(Code::Cancelled, text).with_reached(Reached::NotSent));
        }
        let open = self.sort_out(&mut dials);
        let chosen = open.get(self.turn() % open.len().max(1)).map(Arc::clone);
        if let (Some(connection), true) = (&chosen, open.len() == self.open.len()) {
            return Ok(Step::Use(Arc::clone(connection)));
        }
        let step = match (&dials.under_way, &dials.backing_off) {
            (Some(dialled), _) => Ok(Step::WaitFor(dialled.clone())),
            (None, Some(wait)) if wait.over(patience) > now() => match patience {
                Patience::FailFast => Err(wait.refusal()),
                _ => Ok(Step::WaitUntil(wait.over(patience))),
            },
            (None, _) => {
                let (done, dialled) = watch::channel(None);
                // A task of its own: those who wait may leave.
                tokio::spawn(Arc::clone(self).dial(done));
                dials.under_way = Some(dialled.clone());
                dials.backing_off = None;
                Ok(Step::WaitFor(dialled))
            }
        };
        // Nobody waits for one lane while another is open.
        chosen.map_or(step, |connection| Ok(Step::Use(connection)))
    }

    /// Fills a lane, for everyone who waits.
    async fn dial(self: Arc<Lanes>, done: watch::Sender<Option<Result<Arc<Connection>>>>) {
        let opened = open(&self.address, &self.config).await;
        match &opened {
            Ok(connection) => {
                self.take_in(connection, None);
                if let Some(age_max) = self.config.age_max {
                    let (lanes, connection) = (Arc::downgrade(&self), Arc::downgrade(connection));
                    tokio::spawn(keep_young(lanes, connection, age_max));
                }
            }
            Err(error) => {
                let mut dials = self.lock();
                dials.under_way = None;
                dials.failed(now(), error.clone());
            }
        }
        done.send_replace(Some(opened));
        self.changed.notify_waiters();
    }

    /// Gives a new connection a lane: that of the one that it is to replace, or an empty one. False when there is none,
    /// and the connection ends.
    ///
    /// A connection that replaces none is what the dial under way was for.
    pub(super) fn take_in(&self, next: &Arc<Connection>, old: Option<&Weak<Connection>>) -> bool {
        let find = |wanted: Option<*const Connection>| {
            let holds = |lane: &&Lane| lane.get().as_ref().map(Arc::as_ptr) == wanted;
            self.open.iter().find(holds)
        };
        let mut dials = self.lock();
        self.sort_out(&mut dials);
        if old.is_none() {
            // With the lock that is held until the lane is filled: nobody may find neither a dial nor a connection.
            dials.under_way = None;
        }
        let lane = match dials.is_closed {
            true => None,
            false => find(old.map(Weak::as_ptr)).or_else(|| find(None)),
        };
        // Whoever finds the old one closed looks again, and finds the new one.
        let leaves = match lane {
            Some(lane) => lane.swap(Some(Arc::clone(next))),
            None => Some(Arc::clone(next)),
        };
        if let Some(connection) = &leaves {
            dials.leaves(connection);
        }
        drop(dials);
        if let Some(connection) = leaves {
            connection.retire();
        }
        self.changed.notify_waiters();
        lane.is_some()
    }

    /// Empties the lanes whose connection takes no more calls, remembers what came of it, and gives the open ones.
    fn sort_out(&self, dials: &mut Dials) -> Vec<Arc<Connection>> {
        // A dial ends without an outcome when the runtime goes on which it was begun.
        let is_orphan = |dialled: &Dialled| dialled.has_changed().is_err();
        if dials.under_way.as_ref().is_some_and(is_orphan) {
            dials.under_way = None;
        }
        let mut open = Vec::with_capacity(self.open.len());
        let mut useless = None;
        for lane in &self.open {
            let Some(connection) = lane.get() else {
                continue;
            };
            match connection.ended() {
                None => open.push(connection),
                Some(ended) => {
                    lane.swap(None);
                    dials.leaves(&connection);
                    match ended.was_of_use {
                        true => dials.is_well(),
                        false => useless = Some(ended),
                    }
                }
            }
        }
        if let Some(Ended { at, why, .. }) = useless {
            let text = format!("the connection to {} ended: {why}", self.address);
            dials.came_to_nothing(at, unavailable(text));
        }
        open
    }

    pub(super) fn state(&self) -> ClientState {
        let mut dials = self.lock();
        let connections = self.sort_out(&mut dials).len();
        match &*dials {
            Dials {
                is_closed: true, ..
            } => ClientState::Closed,
            _ if connections > 0 => ClientState::Ready { connections },
            Dials {
                under_way: Some(_), ..
            } => ClientState::Connecting,
            Dials {
                backing_off: Some(wait),
                ..
            } if wait.until > now() => ClientState::BackingOff {
                until: wait.until,
                error: wait.error.clone(),
            },
            _ => ClientState::Idle,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        let is_open = |lane: &Lane| lane.get().is_some_and(|found| found.is_open());
        self.open.iter().any(is_open)
    }

    /// Calls that wait for their reply, also on connections that take no others.
    pub(super) fn in_flight(&self) -> usize {
        let dials = self.lock();
        let leaving = dials.leaving.iter().filter_map(Weak::upgrade);
        let open = self.open.iter().filter_map(|lane| lane.get());
        open.chain(leaving)
            .map(|connection| connection.in_flight())
            .sum()
    }

    /// Makes no further connections, and ends those that there are when the calls on them have ended.
    pub(super) fn close(&self) {
        let mut ending = Vec::new();
        {
            let mut dials = self.lock();
            dials.is_closed = true;
            for lane in &self.open {
                if let Some(connection) = lane.swap(None) {
                    dials.leaves(&connection);
                    ending.push(connection);
                }
            }
        }
        for connection in ending {
            connection.retire();
        }
        self.changed.notify_waiters();
    }

    fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Dials> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.close();
    }
}

impl Dials {
    /// A connection was of use: what was the matter before it is forgotten.
    fn is_well(&mut self) {
        self.backoff.reset();
        self.backing_off = None;
        self.was_lenient = false;
    }

    /// A dial failed.
    fn failed(&mut self, at: Instant, error: Error) {
        self.backing_off = Some(BackingOff {
            since: at,
            until: at + self.backoff.next(),
            error,
        });
    }

    /// A connection ended before it was of use. Once that may be chance, and the next server of a port may be better:
    /// a server that is told to stop goes away from connections as young as this. Twice is a failure like that of a
    /// dial, lest calls open one connection after the other.
    fn came_to_nothing(&mut self, at: Instant, error: Error) {
        if std::mem::replace(&mut self.was_lenient, true) {
            self.failed(at, error);
        }
    }

    /// The connection takes no new calls, and those that run are still to be counted.
    fn leaves(&mut self, connection: &Arc<Connection>) {
        self.leaving.retain(|leaving| leaving.strong_count() > 0);
        self.leaving.push(Arc::downgrade(connection));
    }
}

impl BackingOff {
    /// When the next dial may begin.
    fn over(&self, patience: Patience) -> Instant {
        match patience {
            Patience::Insist => self.until.min(self.since + INSIST_AFTER),
            Patience::FailFast | Patience::WaitForReady => self.until,
        }
    }

    /// What calls end with that do not wait so long.
    fn refusal(&self) -> Error {
        let wait = go_duration(self.until.saturating_duration_since(now()));
        let text = format!("{}; the next try is in {wait}", self.error);
        unavailable(text).with_source(self.error.clone())
    }
}

/// A connection, or why there is none after the connect timeout at the latest.
async fn open(address: &Address, config: &Config) -> Result<Arc<Connection>> {
    let limit = config.connect_timeout;
    let opened = timeout(limit, Connection::open(address, config)).await;
    opened.unwrap_or_else(|_| Err(connect_timed_out(address, limit)))
}

fn unavailable(text: String) -> Error {
    Error::new(Code::Unavailable, text).with_reached(Reached::NotSent)
}

/// Replaces a connection whenever it has become old, until it is lost or its client is gone. The next one is opened
/// first, so that no call waits for it; while that fails, the old one goes on.
async fn keep_young(lanes: Weak<Lanes>, mut connection: Weak<Connection>, age_max: Duration) {
    loop {
        {
            let Some(lost) = connection.upgrade() else {
                return;
            };
            tokio::select! {
                () = sleep(jittered(age_max)) => {}
                () = lost.lost() => return,
            }
        }
        let Some(next) = replaced(&lanes, &connection).await else {
            return;
        };
        connection = next;
    }
}

async fn replaced(lanes: &Weak<Lanes>, old: &Weak<Connection>) -> Option<Weak<Connection>> {
    let mut backoff = None;
    loop {
        // Without the client and the connection, lest a dial keep them alive.
        let (address, config) = {
            let lanes = lanes.upgrade()?;
            old.upgrade().filter(|old| old.is_open())?;
            (lanes.address.clone(), lanes.config.clone())
        };
        match open(&address, &config).await {
            Ok(next) => {
                let is_in = lanes
                    .upgrade()
                    .is_some_and(|lanes| lanes.take_in(&next, Some(old)));
                if !is_in {
                    next.retire();
                }
                return is_in.then(|| Arc::downgrade(&next));
            }
            Err(error) => {
                tracing::debug!(%address, %error, "a connection cannot be replaced yet");
                let backoff = backoff.get_or_insert_with(|| new_backoff(&config));
                sleep(backoff.next()).await;
            }
        }
    }
}

fn new_backoff(config: &Config) -> Backoff {
    let (first, max) = config.backoff;
    Backoff::new(first, max).growing_by(BACKOFF_FACTOR)
}
