//! `farcall bench`: many calls of one method, and how long they took. How a call is made is the library's; what is
//! measured, and from when on, is here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use farcall::{Channel, Client, Cluster, Dynamic, Error, Target, registry};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::argument::Argument;
use crate::out::{self, Failure};

/// Call a method again and again, and show how many calls a second there are and how long they take
///
/// Without --rps each call that ends is followed by the next. With --rps calls begin at fixed times, whether or not
/// those before have ended, and each is measured from the time at which it should have begun: what a slow server makes
/// callers wait is in the numbers.
#[derive(Args)]
pub(crate) struct Bench {
    /// A server, a registry's URL, or static:ADDR,ADDR.
    target: String,

    /// The method, as in Arith.Multiply.
    #[arg(value_name = "SERVICE.METHOD")]
    method: String,

    #[command(flatten)]
    argument: Argument,

    /// How many connections to open to each server.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,

    /// How many calls may be in flight at a time on each connection.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,

    /// How long to go on: 5s, 1m.
    #[arg(long, default_value = "5s", value_parser = out::duration)]
    duration: Duration,

    /// How many calls to begin a second. Without it: as many as there can be.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rps: Option<u32>,

    /// How long a call may take: 2s, 500ms; 0 is for ever.
    #[arg(long, default_value = "10s", value_parser = out::duration)]
    timeout: Duration,
}

/// What was measured, as `--json` prints it. Times are in microseconds, and of all calls, failed ones too.
#[derive(Serialize)]
struct Report {
    /// Calls that ended, however they did.
    calls: u64,
    /// Those of them that failed.
    errors: u64,
    errors_by_code: BTreeMap<&'static str, u64>,
    seconds: f64,
    /// Calls that succeeded, by the second.
    calls_per_s: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    /// Calls that were due by --rps, and could not begin before the time was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_begun: Option<u64>,
}

const A_LONG_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

impl Bench {
    pub(crate) async fn run(self, json: bool) -> Result<(), Failure> {
        let limit = (self.timeout > Duration::ZERO).then_some(self.timeout);
        let typed = self
            .argument
            .typed(&self.target, &self.method, limit)
            .await?;
        let load = Arc::new(Load {
            args: Dynamic::new(typed.0, typed.1),
            method: self.method.clone(),
            limit,
        });
        let channels = self.connect(limit).await?;
        let (tally, seconds) = self.load(load, channels).await;
        let report = Report::of(&tally, seconds);
        match json {
            true => out::json(&report)?,
            false => report.lines(self.rps).iter().try_for_each(out::line)?,
        }
        match tally.first_error {
            None => Ok(()),
            Some(first) => {
                let text = format!("{} of {} calls failed", report.errors, report.calls);
                Err(Failure::from(first).at_first(text))
            }
        }
    }

    async fn connect(&self, limit: Option<Duration>) -> Result<Vec<Channel>, Failure> {
        let target: Target = self.target.parse()?;
        let mut channels = Vec::new();
        for _ in 0..self.connections {
            channels.push(match &target {
                Target::Server(address) => {
                    let mut client = Client::builder(address.clone()).codec(self.argument.codec);
                    if let Some(limit) = limit {
                        client = client.connect_timeout(limit);
                    }
                    client.connect().await?.into()
                }
                _ => {
                    let servers = registry::open(&self.target)?;
                    Cluster::builder(servers)
                        .codec(self.argument.codec)
                        .build()
                        .into()
                }
            });
        }
        Ok(channels)
    }

    /// Makes the calls. Also gives how long it took, to the end of the last call.
    async fn load(&self, load: Arc<Load>, channels: Vec<Channel>) -> (Tally, f64) {
        let begin = Instant::now();
        // What is longer than the clock goes is for ever.
        let end = begin
            .checked_add(self.duration)
            .unwrap_or(begin + A_LONG_TIME);
        let schedule = self.rps.map(|rps| Schedule::start(rps, begin, end));
        let mut callers = JoinSet::new();
        for channel in &channels {
            let tally = Arc::new(Mutex::new(Tally::default()));
            for _ in 0..self.in_flight {
                let (load, channel) = (Arc::clone(&load), channel.clone());
                let (schedule, tally) = (schedule.clone(), Arc::clone(&tally));
                callers.spawn(async move {
                    match schedule {
                        Some(schedule) => {
                            while let Some(due) = schedule.next().await {
                                load.call(&channel, due, &tally).await;
                            }
                        }
                        None => loop {
                            let now = Instant::now();
                            if now >= end {
                                break;
                            }
                            load.call(&channel, now, &tally).await;
                        },
                    }
                    tally
                });
            }
        }
        // One tally for each connection; all of its callers give it back.
        let mut tallies: Vec<Arc<Mutex<Tally>>> = Vec::new();
        while let Some(tally) = callers.join_next().await {
            let Ok(tally) = tally else { continue };
            if !tallies.iter().any(|other| Arc::ptr_eq(other, &tally)) {
                tallies.push(tally);
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        let mut all = Tally::default();
        for tally in tallies {
            all.add(&tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all.not_begun = schedule.map(|schedule| schedule.left());
        (all, seconds)
    }
}

/// The call that is made again and again.
struct Load {
    method: String,
    args: Dynamic,
    limit: Option<Duration>,
}

impl Load {
    /// Makes one call, which is measured from when it was due.
    async fn call(&self, channel: &Channel, due: Instant, tally: &Mutex<Tally>) {
        let mut call = channel.call_dynamic::<()>(&self.method, &self.args);
        if let Some(limit) = self.limit {
            call = call.timeout(limit);
        }
        let outcome = call.await;
        let took = due.elapsed();
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.count(took, outcome.err());
    }
}

/// When calls are due, at a fixed rate.
#[derive(Clone)]
struct Schedule {
    begin: Instant,
    rps: u32,
    /// A permit for each call that is due. Closed when the time is over.
    due: Arc<Semaphore>,
    /// How many calls began.
    begun: Arc<AtomicU64>,
}

impl Schedule {
    /// A thread of its own keeps the time: the runtime's clock has milliseconds, which are long.
    fn start(rps: u32, begin: Instant, end: Instant) -> Schedule {
        let schedule = Schedule {
            begin,
            rps,
            due: Arc::new(Semaphore::new(0)),
            begun: Arc::new(AtomicU64::new(0)),
        };
        let clock = schedule.clone();
        std::thread::spawn(move || {
            let mut released = 0;
            while clock.time_of(released) < end {
                let now = Instant::now();
                let mut due = 0;
                while clock.is_due(released + due, now, end) && due < MADE_DUE_MAX {
                    due += 1;
                }
                clock.due.add_permits(due as usize);
                released += due;
                let next = clock.time_of(released).min(end);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            std::thread::sleep(TO_BEGIN);
            clock.due.close();
        });
        schedule
    }

    /// When the call with this number should begin.
    fn time_of(&self, number: u64) -> Instant {
        self.begin + Duration::from_secs_f64(number as f64 / f64::from(self.rps))
    }

    fn is_due(&self, number: u64, now: Instant, end: Instant) -> bool {
        let time = self.time_of(number);
        time <= now && time < end
    }

    /// Waits until a call is due, and gives the time at which it should begin; `None` when the time is over.
    async fn next(&self) -> Option<Instant> {
        let permit = self.due.acquire().await.ok()?;
        permit.forget();
        Some(self.time_of(self.begun.fetch_add(1, Ordering::Relaxed)))
    }

    /// How many calls were due and did not begin.
    fn left(&self) -> u64 {
        self.due.available_permits() as u64
    }
}

/// How long callers that are free may take to begin the calls that were due last.
const TO_BEGIN: Duration = Duration::from_millis(5);

/// At very high rates permits are given in groups of this size, so that the end is seen in time.
const MADE_DUE_MAX: u64 = 100_000;

/// Calls that took longer than an hour count as if they had taken that.
const TOOK_MAX_NS: u64 = 3_600_000_000_000;

/// What happened.
struct Tally {
    /// How long calls took, in nanoseconds.
    took: Histogram<u64>,
    errors: BTreeMap<&'static str, u64>,
    first_error: Option<Error>,
    not_begun: Option<u64>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            took: Histogram::new_with_bounds(1, TOOK_MAX_NS, 3).expect("three digits of an hour"),
            errors: BTreeMap::new(),
            first_error: None,
            not_begun: None,
        }
    }
}

impl Tally {
    fn count(&mut self, took: Duration, error: Option<Error>) {
        self.took
            .saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        if let Some(error) = error {
            *self.errors.entry(error.code().as_str()).or_default() += 1;
            self.first_error.get_or_insert(error);
        }
    }

    fn add(&mut self, other: &Tally) {
        self.took += &other.took;
        for (code, count) in &other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }
}

impl Report {
    fn of(tally: &Tally, seconds: f64) -> Report {
        let calls = tally.took.len();
        let errors = tally.errors.values().sum();
        let us = |ns: u64| ns as f64 / 1e3;
        let quantile = |quantile| us(tally.took.value_at_quantile(quantile));
        Report {
            calls,
            errors,
            errors_by_code: tally.errors.clone(),
            seconds,
            calls_per_s: calls.saturating_sub(errors) as f64 / seconds.max(f64::EPSILON),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: us(tally.took.max()),
            not_begun: tally.not_begun,
        }
    }

    fn lines(&self, rps: Option<u32>) -> Vec<String> {
        let mut lines = vec![
            format!(
                "{} calls in {:.2} s: {:.0} a second",
                self.calls, self.seconds, self.calls_per_s
            ),
            format!(
                "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
                shown(self.p50_us),
                shown(self.p90_us),
                shown(self.p99_us),
                shown(self.p999_us),
                shown(self.max_us)
            ),
        ];
        if let (Some(rps), Some(not_begun @ 1..)) = (rps, self.not_begun) {
            lines.push(format!(
                "saturated: {rps} a second were asked for, and {not_begun} calls that were due did not begin"
            ));
        }
        if self.errors > 0 {
            let by_code = self
                .errors_by_code
                .iter()
                .map(|(code, count)| format!("{count} {code}"));
            lines.push(format!(
                "errors: {}",
                by_code.collect::<Vec<_>>().join(", ")
            ));
        }
        lines
    }
}

/// A time as people read it.
fn shown(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_every_call_and_names_what_failed() {
        let mut tally = Tally::default();
        for ms in 1..=100 {
            let error = (ms % 10 == 0).then(|| Error::from("no"));
            tally.count(Duration::from_millis(ms), error);
        }
        let mut all = Tally::default();
        all.add(&tally);
        let report = Report::of(&all, 2.0);
        assert_eq!((report.calls, report.errors), (100, 10));
        assert_eq!(report.errors_by_code, BTreeMap::from([("failed", 10)]));
        assert!((report.calls_per_s - 45.0).abs() < 0.01);
        for (us, ms) in [
            (report.p50_us, 50.0),
            (report.p90_us, 90.0),
            (report.max_us, 100.0),
        ] {
            assert!((us / 1e3 - ms).abs() < 0.2, "{us} µs for {ms} ms");
        }
        assert!(all.first_error.is_some());
    }

    #[tokio::test]
    async fn calls_that_are_due_are_told_when_they_should_have_begun() {
        let begin = Instant::now();
        let schedule = Schedule::start(1000, begin, begin + Duration::from_millis(50));
        // Nobody calls until all are due, as when every caller waits for a slow server.
        while !schedule.due.is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(schedule.next().await.is_none(), "the time is over");
        assert_eq!(schedule.left(), 50);

        let begin = Instant::now();
        let schedule = Schedule::start(1000, begin, begin + Duration::from_millis(50));
        let mut dues = Vec::new();
        while let Some(due) = schedule.next().await {
            dues.push(due - begin);
        }
        let expected: Vec<_> = (0..dues.len() as u64).map(Duration::from_millis).collect();
        assert_eq!(dues, expected);
        assert_eq!(dues.len() as u64 + schedule.left(), 50);
    }
}
