//! How long to wait after a failure, and how to keep many from waiting in step. Pure but for the dice.

use std::time::Duration;

/// Waits that grow while failures go on: full jitter below a ceiling that grows by a factor.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    factor: f64,
    failures: u32,
}

impl Backoff {
    /// The first wait is about `first`; none is longer than `max`. Each ceiling is twice the one before.
    pub(crate) fn new(first: Duration, max: Duration) -> Backoff {
        Backoff {
            first: first.min(max),
            max,
            factor: 2.0,
            failures: 0,
        }
    }

    /// Each ceiling is so many times the one before; at least 1.
    pub(crate) fn growing_by(self, factor: f64) -> Backoff {
        Backoff { factor, ..self }
    }

    /// The wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        // Never nothing at all: a tenth is kept, so that bad luck is no busy loop.
        between(ceiling / 10, ceiling)
    }

    /// A success: the next failure is a first one again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    fn ceiling(&self) -> Duration {
        let exponent = i32::try_from(self.failures).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * self.factor.powi(exponent);
        // What is too long for a duration is longer than the longest, too.
        let ceiling = Duration::try_from_secs_f64(seconds).unwrap_or(self.max);
        ceiling.min(self.max)
    }
}

/// This period, a fifth more or less, so that what started together drifts apart.
pub(crate) fn jittered(period: Duration) -> Duration {
    let period = period.min(Duration::from_secs(365 * 24 * 3600));
    between(period * 4 / 5, period * 6 / 5)
}

fn between(low: Duration, high: Duration) -> Duration {
    low + high.saturating_sub(low).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_success() {
        let mut backoff = Backoff::new(FIRST, MAX);
        for failure in 0..100 {
            let ceiling = MAX.min(FIRST * (1 << failure.min(20)));
            let wait = backoff.next();
            assert!(
                wait <= ceiling && wait >= ceiling / 10,
                "{failure}: {wait:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }

    #[test]
    fn waits_grow_by_another_factor_if_told() {
        let mut backoff = Backoff::new(FIRST, MAX).growing_by(1.6);
        for ceiling_ms in [100.0, 160.0, 256.0, 409.6, 655.36] {
            let ceiling = Duration::from_secs_f64(ceiling_ms / 1000.0);
            let wait = backoff.next();
            assert!(wait <= ceiling && wait >= ceiling / 10, "{wait:?}");
        }
        let longest = (0..1000).map(|_| backoff.next()).max().unwrap();
        assert!(longest > MAX / 2 && longest <= MAX, "{longest:?}");
    }

    #[test]
    fn jitter_is_a_fifth_each_way_and_uses_all_of_it() {
        let waits: Vec<Duration> = (0..1000).map(|_| jittered(MAX)).collect();
        let (low, high) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*low >= MAX * 4 / 5 && *low < MAX * 9 / 10, "{low:?}");
        assert!(*high <= MAX * 6 / 5 && *high > MAX * 11 / 10, "{high:?}");
    }

    #[test]
    fn absurd_periods_do_not_overflow() {
        assert!(Backoff::new(Duration::MAX, Duration::MAX).next() <= Duration::MAX);
        assert!(jittered(Duration::MAX) <= Duration::MAX);
    }
}
