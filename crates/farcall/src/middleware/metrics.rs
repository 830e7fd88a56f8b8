//! Measuring calls, for whichever system counts them: hooks, and no more. They are no layers, since they are to cost
//! next to nothing: the engine itself calls them.

use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxBuildHasher;

use super::Side;
use crate::link::now;
use crate::{Code, Result};

/// Methods that a client is measured by. Those that it calls beyond them are measured together: names that come from
/// outside must not fill the memory.
const METHODS_MAX: usize = 256;
/// What those are called.
const OTHER: &str = "(other)";

/// Measures the calls of a server ([`crate::ServerBuilder::metrics`]), a client or a cluster
/// ([`crate::ClientBuilder::metrics`], [`crate::ClusterBuilder::metrics`]).
///
/// It is asked once for each method, and gives what measures that method's calls, so that no name is looked up for a
/// call.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
///
/// use farcall::middleware::{Meter, Recorder, Side};
/// use farcall::{Code, Result};
///
/// #[derive(Default)]
/// struct Counts {
///     calls: AtomicU64,
///     errors: AtomicU64,
///     nanoseconds: AtomicU64,
/// }
///
/// impl Meter for Counts {
///     fn ended(&self, outcome: Result<(), Code>, elapsed: Duration) {
///         self.calls.fetch_add(1, Ordering::Relaxed);
///         self.errors.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
///         self.nanoseconds.fetch_add(elapsed.as_nanos() as u64, Ordering::Relaxed);
///     }
/// }
///
/// /// Counts all methods together.
/// struct Total(Arc<Counts>);
///
/// impl Recorder for Total {
///     fn meter(&self, _: Side, _method: &str) -> Arc<dyn Meter> {
///         Arc::clone(&self.0) as _
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// let counts = Arc::new(Counts::default());
/// let server = farcall::Server::builder()
///     .method("Echo.Say", |text: String| async move { Ok(text) })
///     .bind("tcp@127.0.0.1:0")
///     .start()
///     .await?;
/// let client = farcall::Client::builder(server.address().clone())
///     .metrics(Total(Arc::clone(&counts)))
///     .connect()
///     .await?;
/// let _: String = client.call("Echo.Say", &"hello".to_string()).await?;
/// assert_eq!(counts.calls.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
pub trait Recorder: Send + Sync + 'static {
    /// What measures the calls of `Service.Method` on this side. A server asks for all its methods when it starts; a
    /// client for each one that it calls, up to 256, and for the rest together under `(other)`.
    fn meter(&self, side: Side, method: &str) -> Arc<dyn Meter>;
}

impl<R: Recorder + ?Sized> Recorder for Arc<R> {
    fn meter(&self, side: Side, method: &str) -> Arc<dyn Meter> {
        (**self).meter(side, method)
    }
}

/// Measures the calls of one method, on one side. Both functions are run by whoever makes or serves the call, and should
/// take no time. A panic in them is dropped.
pub trait Meter: Send + Sync + 'static {
    /// A call began: on a client when it was first polled, on a server when its request was read.
    fn begun(&self) {}

    /// A call ended, after this time: its layers, and on a client connecting, trying servers and waiting included. One
    /// that was given up ended with [`Code::Cancelled`].
    fn ended(&self, outcome: Result<(), Code>, elapsed: Duration);
}

/// Runs what a user wrote to measure with. It must neither end a connection, nor panic while another panic unwinds.
pub(crate) fn guarded<T>(measure: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(measure)).ok()
}

/// The meters of a client. Looking for one takes neither a lock nor a write to shared memory: places are only ever filled.
pub(crate) struct Meters {
    recorder: Arc<dyn Recorder>,
    /// A method's place is at its hash, or the next one that is free.
    places: Box<[OnceLock<Known>]>,
    /// How many places are filled.
    filled: Mutex<usize>,
}

struct Known {
    method: Box<str>,
    meter: Arc<dyn Meter>,
}

impl Meters {
    pub(crate) fn new(recorder: Arc<dyn Recorder>) -> Meters {
        // Twice as many as are filled, so that the next free one is near.
        let places = (0..2 * METHODS_MAX).map(|_| OnceLock::new());
        Meters {
            recorder,
            places: places.collect(),
            filled: Mutex::default(),
        }
    }

    /// Begins to measure a call.
    pub(crate) fn begin(&self, method: &str) -> Option<Metered<'_>> {
        let meter = match self.find(method) {
            Ok(meter) => meter,
            Err(_) => guarded(|| self.add(method))??,
        };
        guarded(|| meter.begun())?;
        Some(Metered {
            meter: Some(Held::Lent(meter)),
            began: now(),
        })
    }

    /// A method's meter, or the place for it.
    fn find(&self, method: &str) -> Result<&Arc<dyn Meter>, Option<&OnceLock<Known>>> {
        let start = FxBuildHasher.hash_one(method) as usize % self.places.len();
        let (before, from) = self.places.split_at(start);
        for place in from.iter().chain(before) {
            match place.get() {
                Some(known) if *known.method == *method => return Ok(&known.meter),
                Some(_) => {}
                None => return Err(Some(place)),
            }
        }
        Err(None)
    }

    fn add(&self, method: &str) -> Option<&Arc<dyn Meter>> {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let method = match *filled < METHODS_MAX {
            true => method,
            false => OTHER,
        };
        match self.find(method) {
            Ok(meter) => Some(meter),
            Err(place) => {
                let known = place?.get_or_init(|| Known {
                    method: method.into(),
                    meter: self.recorder.meter(Side::Client, method),
                });
                *filled += 1;
                Some(&known.meter)
            }
        }
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "meters of {filled} methods")
    }
}

/// A call that is measured, to its end or to its being given up.
pub(crate) struct Metered<'a> {
    /// None once its end was noted.
    meter: Option<Held<'a>>,
    began: Instant,
}

enum Held<'a> {
    Lent(&'a Arc<dyn Meter>),
    Kept(Arc<dyn Meter>),
}

impl Metered<'_> {
    /// When the call began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// For a call that outlives the client.
    pub(crate) fn keep(mut self) -> Metered<'static> {
        let meter = self.meter.take().map(|meter| match meter {
            Held::Lent(meter) => Held::Kept(Arc::clone(meter)),
            Held::Kept(meter) => Held::Kept(meter),
        });
        Metered {
            meter,
            began: self.began,
        }
    }

    /// Notes how the call ended.
    pub(crate) fn end<T>(mut self, outcome: &Result<T>) {
        self.note(outcome_of(outcome));
    }

    /// Measures what a future does, if calls are measured.
    pub(crate) async fn over<T>(
        metered: Option<Metered<'_>>,
        running: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let outcome = running.await;
        if let Some(metered) = metered {
            metered.end(&outcome);
        }
        outcome
    }

    fn note(&mut self, outcome: Result<(), Code>) {
        let meter = match &self.meter {
            None => return,
            Some(Held::Lent(meter)) => *meter,
            Some(Held::Kept(meter)) => meter,
        };
        let elapsed = now().saturating_duration_since(self.began);
        guarded(|| meter.ended(outcome, elapsed));
        self.meter = None;
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        self.note(Err(Code::Cancelled));
    }
}

/// What a meter is told of an outcome.
pub(crate) fn outcome_of<T>(outcome: &Result<T>) -> Result<(), Code> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) => Err(error.code()),
    }
}
