//! What one round of the demo saw, phase by phase, and whether that is what had to be seen.
//! Pure: the phases measure and put their numbers in here; nothing here calls anybody.

use std::collections::BTreeMap;

use farcall::Code;
use serde::Serialize;

/// One round, as `farcall demo --once --json` prints it.
#[derive(Serialize)]
pub(super) struct Report {
    /// Whether every phase saw what it had to see.
    pub(super) ok: bool,
    pub(super) seconds: f64,
    pub(super) registry: String,
    pub(super) dashboard: String,
    /// The servers' addresses, sorted.
    pub(super) servers: Vec<String>,
    pub(super) phases: Vec<Phase>,
}

/// One phase of a round.
#[derive(Serialize)]
pub(super) struct Phase {
    pub(super) phase: &'static str,
    pub(super) ok: bool,
    /// What was not as expected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unexpected: Vec<String>,
    pub(super) seconds: f64,
    /// The codec that the client asked for.
    pub(super) codec: &'static str,
    /// The codecs in which calls reached the servers.
    pub(super) codecs_seen: Vec<&'static str>,
    #[serde(flatten)]
    pub(super) made: Made,
    /// The calls that began on each server, by the servers' own count.
    pub(super) per_server: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub(super) seen: Seen,
}

/// What the callers know: calls made, and how many ended as they should.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Made {
    pub(super) calls: u64,
    pub(super) right: u64,
    /// The first few that did not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) wrong: Vec<String>,
}

impl Made {
    /// Calls one by one: whether each ended as it should, and how it did end.
    pub(super) fn of<'a>(calls: impl IntoIterator<Item = (bool, &'a Outcome)>) -> Made {
        let mut made = Made::default();
        for (is_right, outcome) in calls {
            made.calls += 1;
            match is_right {
                true => made.right += 1,
                false => made.wrong.push(format!("{outcome:?}")),
            }
        }
        made
    }
}

/// What only this phase measures.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Seen {
    Discovery {
        /// The addresses that the client learned from the registry, sorted.
        discovered: Vec<String>,
    },
    Calls {},
    Broadcast {
        /// Every server's own outcome.
        outcomes: BTreeMap<String, Outcome>,
    },
    Timeout {
        asked_ms: f64,
        elapsed_ms: f64,
        outcome: Outcome,
    },
    Errors {
        error: Outcome,
        panic: Outcome,
        /// An ordinary call after both.
        after: Outcome,
    },
    Failover {
        /// The server that was killed.
        killed: String,
        right_before_kill: u64,
        right_after_kill: u64,
    },
    Recovery {
        /// The server that came back.
        returned: String,
        /// From its start to the first call it got.
        after_ms: f64,
    },
    /// The phase could not be carried out.
    Nothing {
        why: String,
    },
}

/// How one call ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Reply(i64),
    Error { code: &'static str, message: String },
}

impl Outcome {
    pub(super) fn of(result: farcall::Result<i64>) -> Outcome {
        match result {
            Ok(reply) => Outcome::Reply(reply),
            Err(error) => Outcome::Error {
                code: error.code().as_str(),
                message: error.message().to_owned(),
            },
        }
    }

    /// The reply or the error's text, for people.
    pub(super) fn text(&self) -> String {
        match self {
            Outcome::Reply(reply) => reply.to_string(),
            Outcome::Error { message, .. } => message.clone(),
        }
    }

    pub(super) fn is_error(&self, expected: Code) -> bool {
        matches!(self, Outcome::Error { code, .. } if *code == expected.as_str())
    }
}

/// The words of the error that dividing by zero is.
pub(super) const DIVIDED: &str = "divide by zero";

impl Phase {
    /// Judges the phase: what is not as it has to be with these servers.
    pub(super) fn judged(mut self, servers: &[String]) -> Phase {
        let mut wrong = Vec::new();
        let mut expect = |holds: bool, otherwise: String| {
            if !holds {
                wrong.push(otherwise);
            }
        };
        let Made {
            calls,
            right,
            wrong: first_wrong,
        } = &self.made;
        let ran = &self.per_server;
        let idle: Vec<_> = servers
            .iter()
            .filter(|server| ran.get(*server).is_none_or(|count| *count == 0))
            .collect();

        expect(
            calls == right,
            format!("{right} of {calls} calls ended as they should; first wrong: {first_wrong:?}"),
        );
        if *calls > 0 {
            expect(
                self.codecs_seen == [self.codec],
                format!(
                    "{} was asked for, and {:?} was spoken",
                    self.codec, self.codecs_seen
                ),
            );
        }
        // A call that died with its server ran twice, or may have.
        if !matches!(self.seen, Seen::Failover { .. }) {
            let sum: u64 = ran.values().sum();
            expect(
                sum == *calls,
                format!("{calls} calls were made, and {sum} ran: {ran:?}"),
            );
        }
        match &self.seen {
            Seen::Discovery { discovered } => expect(
                discovered == servers,
                format!("{servers:?} run, and {discovered:?} were discovered"),
            ),
            Seen::Calls {} => expect(idle.is_empty(), format!("no call reached {idle:?}")),
            Seen::Broadcast { outcomes } => expect(
                outcomes.keys().eq(servers),
                format!("{servers:?} run, and {:?} answered", outcomes.keys()),
            ),
            Seen::Timeout {
                asked_ms,
                elapsed_ms,
                ..
            } => expect(
                // A busy machine is late, but a caller who waits for the method itself waits a second.
                elapsed_ms >= asked_ms && *elapsed_ms < 1000.0,
                format!("{asked_ms:.0} ms were allowed, and the caller waited {elapsed_ms:.0}"),
            ),
            Seen::Errors { error, .. } => expect(
                error.text() == DIVIDED,
                format!("dividing by zero ended with {:?}", error.text()),
            ),
            Seen::Failover {
                killed,
                right_after_kill,
                ..
            } => {
                expect(
                    !idle.contains(&killed),
                    format!("{killed} got no call before it was killed"),
                );
                expect(
                    *right_after_kill > 0,
                    "no call ended well after the kill".to_owned(),
                );
            }
            Seen::Recovery { .. } => expect(idle.is_empty(), format!("no call reached {idle:?}")),
            Seen::Nothing { why } => expect(false, why.clone()),
        }
        self.ok = wrong.is_empty();
        self.unexpected = wrong;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVERS: [&str; 2] = ["tcp@a:1", "tcp@b:1"];

    fn phase(calls: u64, right: u64, ran: [u64; 2], seen: Seen) -> Phase {
        let phase = Phase {
            phase: "test",
            ok: false,
            unexpected: Vec::new(),
            seconds: 0.1,
            codec: "gob",
            codecs_seen: vec!["gob"],
            made: Made {
                calls,
                right,
                wrong: Vec::new(),
            },
            per_server: SERVERS.map(str::to_owned).into_iter().zip(ran).collect(),
            seen,
        };
        phase.judged(&SERVERS.map(str::to_owned))
    }

    fn failover(right_after_kill: u64) -> Seen {
        Seen::Failover {
            killed: SERVERS[1].to_owned(),
            right_before_kill: 1,
            right_after_kill,
        }
    }

    #[test]
    fn a_round_as_it_should_be_is_ok() {
        assert!(phase(4, 4, [3, 1], Seen::Calls {}).ok);
        assert!(phase(4, 4, [4, 1], failover(2)).ok);
    }

    #[test]
    fn each_deviation_is_named() {
        let timeout = |elapsed_ms| Seen::Timeout {
            asked_ms: 200.0,
            elapsed_ms,
            outcome: Outcome::Reply(1),
        };
        for (phase, says) in [
            (phase(4, 3, [3, 1], Seen::Calls {}), "3 of 4 calls"),
            (phase(4, 4, [3, 0], Seen::Calls {}), "3 ran"),
            (
                phase(4, 4, [4, 0], Seen::Calls {}),
                "no call reached [\"tcp@b:1\"]",
            ),
            (
                phase(0, 0, [0, 0], Seen::Discovery { discovered: vec![] }),
                "[] were discovered",
            ),
            (phase(1, 1, [1, 0], timeout(199.0)), "waited 199"),
            (phase(1, 1, [1, 0], timeout(1001.0)), "waited 1001"),
            (phase(4, 4, [4, 0], failover(2)), "before it was killed"),
            (phase(4, 4, [3, 1], failover(0)), "after the kill"),
        ] {
            assert!(!phase.ok);
            let unexpected = phase.unexpected.join("; ");
            assert!(unexpected.contains(says), "{unexpected}");
        }
        let mut spoken = phase(4, 4, [3, 1], Seen::Calls {});
        spoken.codec = "json";
        let spoken = spoken.judged(&SERVERS.map(str::to_owned));
        assert_eq!(
            spoken.unexpected,
            ["json was asked for, and [\"gob\"] was spoken"]
        );
    }
}
