//! `farcall demo`: a registry, some servers and a balanced client in one process, and everything that happens to them.
//! What a phase does is here; what it must have seen is judged in `report`, and how it is told in `screen`.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use farcall::{Cluster, Code, Codec};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep_until};

use crate::out::{self, Exit, Failure};
use crate::services::{self, ArithClient, FooClient, Pair};
use crate::signals::asked_to_end;

mod fleet;
mod report;
mod screen;

use fleet::Fleet;
use report::{Made, Outcome, Phase, Report, Seen};
use screen::Screen;

/// See it work: a registry, servers, a balanced client, and what they do when a server dies
#[derive(Args)]
pub(crate) struct Demo {
    /// End after one round; the exit code says whether all went as it has to.
    #[arg(long)]
    once: bool,

    /// How many servers to run.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=64))]
    servers: u16,
}

/// Callers at work at once.
const CALLERS: usize = 8;
/// Calls of a phase, for each server.
const CALLS_PER_SERVER: u64 = 100;
/// A call of these phases takes a fraction of a millisecond; one that takes longer than this is lost.
const CALL_TIME_MAX: Duration = Duration::from_secs(3);
/// What the call that is too slow is allowed.
const SHORT: Duration = Duration::from_millis(200);
/// How long servers may take to be discovered or to be back, and how often to look.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long calls go on around the kill, and after the return.
const BEFORE_KILL: Duration = Duration::from_millis(200);
const AFTER_KILL: Duration = Duration::from_millis(600);
const AFTER_RETURN: Duration = Duration::from_millis(200);
/// Between rounds: time to read.
const PAUSE: Duration = Duration::from_secs(3);

impl Demo {
    pub(crate) async fn run(self, json: bool) -> Result<(), Failure> {
        hide_the_panics_asked_for();
        let end = asked_to_end()?;
        let mut fleet = Fleet::start(self.servers).await?;
        let ended = tokio::select! {
            ended = self.rounds(&mut fleet, json) => ended,
            () = end => Ok(()),
        };
        fleet.stop().await;
        ended
    }

    async fn rounds(&self, fleet: &mut Fleet, json: bool) -> Result<(), Failure> {
        let mut screen = Screen::new(json);
        for number in 1.. {
            screen.next_round();
            let title = format!(
                "round {number}: {} servers, {}",
                self.servers,
                fleet.dashboard()
            );
            screen.note(&out::paint(out::Tone::Strong, &title))?;
            let report = Round::new(fleet, &mut screen).run().await?;
            if json {
                out::json(&report)?;
            }
            if !report.ok && self.once {
                let failed = report.phases.iter().filter(|phase| !phase.ok);
                let failed: Vec<_> = failed
                    .map(|p| format!("{}: {}", p.phase, p.unexpected.join("; ")))
                    .collect();
                return Err(Failure::new(Exit::Failed, failed.join("\n         "))
                    .advise("on a machine that is busy the demo's deadlines can be too short: try again"));
            }
            if self.once {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// One of the demo's methods panics on purpose, and its message would tear the table.
fn hide_the_panics_asked_for() {
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        let asked_for = text.is_some_and(|text| text.starts_with(services::PANIC));
        if !asked_for {
            show(panic);
        }
    }));
}

/// One walk through all phases.
struct Round<'a> {
    fleet: &'a mut Fleet,
    screen: &'a mut Screen,
    phases: Vec<Phase>,
    began: Instant,
}

impl Round<'_> {
    fn new<'a>(fleet: &'a mut Fleet, screen: &'a mut Screen) -> Round<'a> {
        Round {
            fleet,
            screen,
            phases: Vec::new(),
            began: Instant::now(),
        }
    }

    async fn run(mut self) -> io::Result<Report> {
        let gob = self.fleet.client(Codec::Gob);
        let json = self.fleet.client(Codec::Json);

        let phase = self.begin("servers are discovered", Codec::Gob)?;
        let saw = self.discover([&gob, &json]).await;
        self.end("discovery", phase, saw)?;

        let phase = self.begin("balanced calls over gob", Codec::Gob)?;
        let saw = self.calls(&gob).await?;
        self.end("gob", phase, saw)?;

        let phase = self.begin("balanced calls over JSON", Codec::Json)?;
        let saw = self.calls(&json).await?;
        self.end("json", phase, saw)?;

        let phase = self.begin("broadcast to every server", Codec::Gob)?;
        let saw = self.broadcast(&gob).await;
        self.end("broadcast", phase, saw)?;

        let phase = self.begin("a call that takes too long", Codec::Gob)?;
        let saw = self.timeout(&gob).await;
        self.end("timeout", phase, saw)?;

        let phase = self.begin("an error, and a panic", Codec::Gob)?;
        let saw = self.errors(&gob).await;
        self.end("errors", phase, saw)?;

        let phase = self.begin("a server dies while calls go on", Codec::Gob)?;
        let saw = self.failover(&gob).await?;
        self.end("failover", phase, saw)?;

        let phase = self.begin("the server comes back", Codec::Gob)?;
        let saw = self.recovery(&gob).await?;
        self.end("recovery", phase, saw)?;

        Ok(Report {
            ok: self.phases.iter().all(|phase| phase.ok),
            seconds: self.began.elapsed().as_secs_f64(),
            registry: self.fleet.registry(),
            dashboard: self.fleet.dashboard(),
            servers: self.fleet.servers(),
            phases: self.phases,
        })
    }

    fn begin(&mut self, title: &'static str, codec: Codec) -> io::Result<Begun> {
        self.screen.begin(title)?;
        Ok(Begun {
            title,
            codec,
            at: Instant::now(),
            counts: self.fleet.counts(),
        })
    }

    fn end(&mut self, name: &'static str, begun: Begun, (made, seen): Saw) -> io::Result<()> {
        let ran = self.fleet.ran_since(&begun.counts);
        let phase = Phase {
            phase: name,
            ok: false,
            unexpected: Vec::new(),
            seconds: begun.at.elapsed().as_secs_f64(),
            codec: begun.codec.as_str(),
            codecs_seen: ran.codecs,
            made,
            per_server: ran.per_server,
            seen,
        };
        let phase = phase.judged(&self.fleet.servers());
        self.screen.end(begun.title, &phase)?;
        self.phases.push(phase);
        Ok(())
    }

    /// Waits until every client knows every server: each looks at the registry for itself.
    async fn discover(&self, clusters: [&Cluster; 2]) -> Saw {
        let everyone = self.fleet.servers();
        let began = Instant::now();
        loop {
            let mut known = clusters.map(fleet::known_to).into_iter();
            let lacking = known.find(|known| *known != everyone);
            if lacking.is_none() || began.elapsed() > PATIENCE {
                let discovered = lacking.unwrap_or(everyone);
                return (Made::default(), Seen::Discovery { discovered });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn calls(&mut self, cluster: &Cluster) -> io::Result<Saw> {
        let load = Load::start(cluster, CALLS_PER_SERVER * self.fleet.len());
        let made = load.finish(self.screen).await?;
        Ok((made, Seen::Calls {}))
    }

    async fn broadcast(&self, cluster: &Cluster) -> Saw {
        let outcomes = cluster
            .broadcast::<i64>("Arith.Multiply", &SIX_TIMES_SEVEN)
            .await;
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(error) => return nothing(error),
        };
        let outcomes: BTreeMap<_, _> = outcomes
            .into_iter()
            .map(|(address, outcome)| (address.to_string(), Outcome::of(outcome)))
            .collect();
        let made = Made::of(
            outcomes
                .values()
                .map(|outcome| (*outcome == Outcome::Reply(42), outcome)),
        );
        (made, Seen::Broadcast { outcomes })
    }

    async fn timeout(&self, cluster: &Cluster) -> Saw {
        let sums = FooClient::new(cluster.clone());
        let one_second = Pair { num1: 1, num2: 0 };
        let began = Instant::now();
        let outcome = Outcome::of(sums.sleep(&one_second).timeout(SHORT).await);
        let elapsed_ms = milliseconds(began.elapsed());
        let made = Made::of([(outcome.is_error(Code::DeadlineExceeded), &outcome)]);
        let seen = Seen::Timeout {
            asked_ms: milliseconds(SHORT),
            elapsed_ms,
            outcome,
        };
        (made, seen)
    }

    async fn errors(&self, cluster: &Cluster) -> Saw {
        let arith = ArithClient::new(cluster.clone());
        let sums = FooClient::new(cluster.clone());
        let divided = arith
            .divide(&services::Args { a: 1, b: 0 })
            .timeout(CALL_TIME_MAX)
            .await;
        let error = Outcome::of(divided.map(|quotient| quotient.quo));
        let panic = Outcome::of(sums.panic(&7).timeout(CALL_TIME_MAX).await);
        let after = Outcome::of(
            arith
                .multiply(&SIX_TIMES_SEVEN)
                .timeout(CALL_TIME_MAX)
                .await,
        );
        let made = Made::of([
            (error.is_error(Code::Failed), &error),
            (panic.is_error(Code::Internal), &panic),
            (after == Outcome::Reply(42), &after),
        ]);
        let seen = Seen::Errors {
            error,
            panic,
            after,
        };
        (made, seen)
    }

    async fn failover(&mut self, cluster: &Cluster) -> io::Result<Saw> {
        let load = Load::start(cluster, u64::MAX);
        load.run_for(BEFORE_KILL, self.screen).await?;
        let killed = self.fleet.kill_last().await.unwrap_or_default();
        let right_before_kill = load.right();
        self.screen.note(&format!(
            "     {killed} was killed without a goodbye; what it had is made again elsewhere"
        ))?;
        load.run_for(AFTER_KILL, self.screen).await?;
        load.stop();
        let made = load.finish(self.screen).await?;
        let seen = Seen::Failover {
            killed,
            right_before_kill,
            right_after_kill: made.right.saturating_sub(right_before_kill),
        };
        Ok((made, seen))
    }

    async fn recovery(&mut self, cluster: &Cluster) -> io::Result<Saw> {
        let before = self.fleet.counts();
        let load = Load::start(cluster, u64::MAX);
        let began = Instant::now();
        let returned = match self.fleet.revive_last().await {
            Ok(returned) => returned,
            Err(failure) => return Ok(nothing(failure)),
        };
        let got_a_call = || {
            self.fleet
                .ran_since(&before)
                .per_server
                .get(&returned)
                .is_some_and(|n| *n > 0)
        };
        // If it never gets one, the counts say so.
        while !got_a_call() && began.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let after_ms = milliseconds(began.elapsed());
        load.run_for(AFTER_RETURN, self.screen).await?;
        load.stop();
        let made = load.finish(self.screen).await?;
        Ok((made, Seen::Recovery { returned, after_ms }))
    }
}

/// What a phase's callers know, and what else it saw.
type Saw = (Made, Seen);

fn nothing(why: impl std::fmt::Display) -> Saw {
    let why = why.to_string();
    (Made::default(), Seen::Nothing { why })
}

/// A phase under way.
struct Begun {
    title: &'static str,
    codec: Codec,
    at: Instant,
    counts: fleet::Counts,
}

const SIX_TIMES_SEVEN: services::Args = services::Args { a: 6, b: 7 };

fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e4).round() / 10.0
}

/// Some callers that multiply, and what came of it so far.
struct Load {
    state: Arc<LoadState>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct LoadState {
    /// How many calls are to be made.
    limit: AtomicU64,
    made: AtomicU64,
    right: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    fn start(cluster: &Cluster, limit: u64) -> Load {
        let state = Arc::new(LoadState {
            limit: AtomicU64::new(limit),
            ..LoadState::default()
        });
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (client, state) = (ArithClient::new(cluster.clone()), Arc::clone(&state));
            callers.spawn(async move {
                while let Some(number) = state.next() {
                    state.call(&client, number).await;
                }
            });
        }
        Load { state, callers }
    }

    fn right(&self) -> u64 {
        self.state.right.load(Ordering::Relaxed)
    }

    /// Lets the callers call for so long.
    async fn run_for(&self, time: Duration, screen: &mut Screen) -> io::Result<()> {
        let end = tokio::time::Instant::now() + time;
        let mut redraw = interval(screen::REDRAW);
        loop {
            tokio::select! {
                () = sleep_until(end) => return Ok(()),
                _ = redraw.tick() => screen.progress(&self.state.progress())?,
            }
        }
    }

    /// Lets the callers end the calls they are in, and make no more.
    fn stop(&self) {
        self.state.limit.store(0, Ordering::Relaxed);
    }

    /// Waits until the last call has ended.
    async fn finish(mut self, screen: &mut Screen) -> io::Result<Made> {
        let mut redraw = interval(screen::REDRAW);
        loop {
            tokio::select! {
                ended = self.callers.join_next() => {
                    if ended.is_none() {
                        return Ok(self.state.counted());
                    }
                }
                _ = redraw.tick() => screen.progress(&self.state.progress())?,
            }
        }
    }
}

impl LoadState {
    fn next(&self) -> Option<u64> {
        let limit = self.limit.load(Ordering::Relaxed);
        let one_more = |made: u64| (made < limit).then_some(made + 1);
        self.made
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
    }

    async fn call(&self, client: &ArithClient, number: u64) {
        let a = i64::try_from(number).unwrap_or(i64::MAX);
        let args = services::Args { a, b: 7 };
        // The trait says that multiplying twice does no harm: a call whose server died is made on another one.
        match client.multiply(&args).timeout(CALL_TIME_MAX).await {
            Ok(product) if product == a.wrapping_mul(7) => {
                self.right.fetch_add(1, Ordering::Relaxed);
            }
            wrong => {
                let mut first_few = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
                if first_few.len() < 3 {
                    first_few.push(format!("{a} times 7 ended as {wrong:?}"));
                }
            }
        }
    }

    fn progress(&self) -> String {
        format!("{} calls right", self.right.load(Ordering::Relaxed))
    }

    fn counted(&self) -> Made {
        Made {
            calls: self.made.load(Ordering::Relaxed),
            right: self.right.load(Ordering::Relaxed),
            wrong: self
                .wrong
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}
