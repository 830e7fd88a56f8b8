//! How many calls at a time, and how many in a second. What is beyond is turned away at once: a queue would only hide
//! from clients that another server may be less busy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Call, Middleware, Next, Running};
use crate::link::now;
use crate::{Code, Error};

/// Lets at most `count` calls run at a time; the next one ends at once with [`Code::ResourceExhausted`].
///
/// On a server such a call surely did not run, and the client is told so: a cluster tries another server. The limit is
/// over all connections; [`crate::ServerBuilder::in_flight_max`] is for each one, and makes callers wait instead.
pub fn concurrency_limit(count: usize) -> ConcurrencyLimit {
    ConcurrencyLimit {
        count,
        running: Arc::default(),
    }
}

/// What [`concurrency_limit`] makes. Clones share the limit.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    count: usize,
    running: Arc<AtomicUsize>,
}

impl Middleware for ConcurrencyLimit {
    fn call(&self, call: Call, next: Next) -> Running {
        // The place is taken before it is known whether there is one, so that two cannot take the last.
        let running = self.running.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.running));
        if running >= self.count {
            let text = format!("{}: {} calls run already", call.method(), self.count);
            return refused(text);
        }
        let running = next.run(call);
        Box::pin(async move {
            let _place = place;
            running.await
        })
    }
}

struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets `per_second` calls begin in a second on average, and at most `burst` at once after a pause; what is beyond ends
/// at once with [`Code::ResourceExhausted`], as with [`concurrency_limit`].
///
/// `per_second` may be a fraction; what is no positive, finite number lets nothing begin after the first `burst` calls.
pub fn rate_limit(per_second: f64, burst: u32) -> RateLimit {
    RateLimit(Arc::new(Mutex::new(Bucket {
        per_second: match per_second.is_finite() {
            true => per_second.max(0.0),
            false => 0.0,
        },
        burst: f64::from(burst),
        tokens: f64::from(burst),
        filled: None,
    })))
}

/// What [`rate_limit`] makes. Clones share the limit.
#[derive(Clone, Debug)]
pub struct RateLimit(Arc<Mutex<Bucket>>);

impl Middleware for RateLimit {
    fn call(&self, call: Call, next: Next) -> Running {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let took = bucket.take(now());
        drop(bucket);
        match took {
            Ok(()) => next.run(call),
            Err(wait) => {
                let wait = match wait {
                    Some(wait) => format!("the next one may begin in {wait:?}"),
                    None => "no more may begin".to_owned(),
                };
                refused(format!("{}: too many calls; {wait}", call.method()))
            }
        }
    }
}

/// Holds a token for each call that may begin.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    /// When the tokens were counted last.
    filled: Option<Instant>,
}

impl Bucket {
    /// Takes a token, or says when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Option<Duration>> {
        if let Some(filled) = self.filled {
            let seconds = now.saturating_duration_since(filled).as_secs_f64();
            self.tokens = (self.tokens + seconds * self.per_second).min(self.burst);
        }
        // Threads may come here in another order than they read the clock.
        self.filled = self.filled.max(Some(now));
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // With a burst of zero there will never be a whole one.
        let missing = (1.0 - self.tokens) / self.per_second;
        match self.burst >= 1.0 {
            true => Err(Duration::try_from_secs_f64(missing).ok()),
            false => Err(None),
        }
    }
}

fn refused(text: String) -> Running {
    Box::pin(std::future::ready(Err(Error::new(
        Code::ResourceExhausted,
        text,
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bucket(per_second: f64, burst: u32) -> Bucket {
        let limit = rate_limit(per_second, burst);
        Arc::into_inner(limit.0).unwrap().into_inner().unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = bucket(10.0, 3);
        let start = Instant::now();
        for _ in 0..3 {
            bucket.take(start).unwrap();
        }
        let wait = bucket.take(start).unwrap_err().unwrap();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(bucket.take(start + Duration::from_millis(99)).is_err());
        bucket.take(start + Duration::from_millis(101)).unwrap();
        let later = start + Duration::from_secs(3600);
        let passed = (0..100).filter(|_| bucket.take(later).is_ok()).count();
        assert_eq!(passed, 3, "a pause saves no more than a burst");
    }

    #[test]
    fn a_rate_that_is_none_lets_the_burst_pass_and_no_more() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut bucket = bucket(rate, 1);
            let start = Instant::now();
            bucket.take(start).unwrap();
            let refused = bucket.take(start + Duration::from_secs(1_000_000));
            assert_eq!(refused, Err(None), "{rate}");
        }
        assert_eq!(bucket(5.0, 0).take(Instant::now()), Err(None));
    }

    proptest! {
        #[test]
        fn no_more_pass_than_burst_and_rate_allow(
            per_second in 0.1_f64..1000.0,
            burst in 1_u32..50,
            gaps_us in proptest::collection::vec(0_u64..20_000, 1..400),
        ) {
            let mut bucket = bucket(per_second, burst);
            let start = Instant::now();
            let mut now = start;
            let mut passed = 0_u32;
            for gap in gaps_us {
                now += Duration::from_micros(gap);
                passed += u32::from(bucket.take(now).is_ok());
                let allowed = f64::from(burst) + (now - start).as_secs_f64() * per_second;
                prop_assert!(f64::from(passed) <= allowed + 1e-6);
            }
        }
    }
}
