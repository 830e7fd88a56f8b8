//! Measuring calls, for whichever system counts them: hooks, and no more. They are no layers, since they are to cost
//! next to nothing: the engine itself calls them.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use super::Side;
use crate::link::now;
use crate::{Code, Result};

/// Methods that a client is measured by. Those that it calls beyond them are measured together: names that come from
/// outside must not fill the memory.
const METHODS_MAX: usize = 1000;
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
    /// client for each one that it calls, up to a thousand, and for the rest together under `(other)`.
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

/// The meters of a client.
pub(crate) struct Meters {
    recorder: Arc<dyn Recorder>,
    /// Every call looks here, without a lock.
    known: ArcSwap<FxHashMap<Box<str>, Arc<dyn Meter>>>,
    adding: Mutex<()>,
}

impl Meters {
    pub(crate) fn new(recorder: Arc<dyn Recorder>) -> Meters {
        Meters {
            recorder,
            known: ArcSwap::default(),
            adding: Mutex::default(),
        }
    }

    /// Begins to measure a call.
    pub(crate) fn begin(&self, method: &str) -> Option<Metered> {
        let known = self.known.load().get(method).cloned();
        let meter = match known {
            Some(meter) => meter,
            None => guarded(|| self.add(method))?,
        };
        guarded(|| meter.begun())?;
        let began = now();
        let meter = Some(meter);
        Some(Metered { meter, began })
    }

    fn add(&self, method: &str) -> Arc<dyn Meter> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load_full();
        let name = match known.len() < METHODS_MAX {
            true => method,
            false => OTHER,
        };
        if let Some(meter) = known.get(name) {
            return Arc::clone(meter);
        }
        let meter = self.recorder.meter(Side::Client, name);
        let mut more = (*known).clone();
        more.insert(name.into(), Arc::clone(&meter));
        self.known.store(Arc::new(more));
        meter
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "meters of {} methods", self.known.load().len())
    }
}

/// A call that is measured, to its end or to its being given up.
pub(crate) struct Metered {
    /// None once its end was noted.
    meter: Option<Arc<dyn Meter>>,
    began: Instant,
}

impl Metered {
    /// Notes how the call ended.
    pub(crate) fn end<T>(mut self, outcome: &Result<T>) {
        self.note(outcome_of(outcome));
    }

    /// Measures what a future does, if calls are measured.
    pub(crate) async fn over<T>(
        metered: Option<Metered>,
        running: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let outcome = running.await;
        if let Some(metered) = metered {
            metered.end(&outcome);
        }
        outcome
    }

    fn note(&mut self, outcome: Result<(), Code>) {
        if let Some(meter) = self.meter.take() {
            let elapsed = now().saturating_duration_since(self.began);
            guarded(|| meter.ended(outcome, elapsed));
        }
    }
}

impl Drop for Metered {
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
