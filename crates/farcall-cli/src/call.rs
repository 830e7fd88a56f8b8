//! `farcall call`: one call by name, JSON in and JSON out.

use std::time::{Duration, Instant};

use clap::Args;
use farcall::{Address, Cluster, Code, Error, Schema, registry};
use serde::Serialize;
use serde_json::Value;

use crate::argument::Argument;
use crate::out::{self, Failure};

/// Call a method of a server, or of one or all servers of a cluster
#[derive(Args)]
pub(crate) struct Call {
    /// A server, a registry's URL, or static:ADDR,ADDR.
    target: String,

    /// The method, as in Arith.Multiply.
    #[arg(value_name = "SERVICE.METHOD")]
    method: String,

    #[command(flatten)]
    argument: Argument,

    /// How long the call may take, connecting included: 2s, 500ms; 0 is for ever.
    #[arg(long, default_value = "10s", value_parser = out::duration)]
    timeout: Duration,

    /// Call every server, and show each one's reply.
    #[arg(long)]
    all: bool,
}

/// The end of a call, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Reply(Value),
    Error {
        code: &'static str,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<Value>,
    },
}

/// The same, with who answered.
#[derive(Serialize)]
struct OutcomeAt {
    address: String,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Call {
    pub(crate) async fn run(self, json: bool) -> Result<(), Failure> {
        let asked = Instant::now();
        let (args, types) = self
            .argument
            .typed(&self.target, &self.method, self.limit())
            .await?;
        // The time that it took to learn the types is the call's.
        let limit = self
            .limit()
            .map(|limit| limit.saturating_sub(asked.elapsed()));
        let cluster = Cluster::builder(registry::open(&self.target)?)
            .codec(self.argument.codec)
            .build();
        match self.all {
            false => self.one(&cluster, args, types, limit, json).await,
            true => self.every(&cluster, args, types, limit, json).await,
        }
    }

    async fn one(
        &self,
        cluster: &Cluster,
        args: Value,
        types: Option<Schema>,
        limit: Option<Duration>,
        json: bool,
    ) -> Result<(), Failure> {
        let outcome = cluster.call_json(&self.method, args, types, limit).await;
        match (&outcome, json) {
            (_, true) => out::json(&Outcome::of(&outcome))?,
            (Ok(reply), false) => out::json(reply)?,
            // It is told on stderr.
            (Err(_), false) => {}
        }
        outcome.map(drop).map_err(failure)
    }

    async fn every(
        &self,
        cluster: &Cluster,
        args: Value,
        types: Option<Schema>,
        limit: Option<Duration>,
        json: bool,
    ) -> Result<(), Failure> {
        let outcomes = match cluster
            .broadcast_json(&self.method, args, types, limit)
            .await
        {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let outcome = Err(error.clone());
                if json {
                    out::json(&Outcome::of(&outcome))?;
                }
                return Err(failure(error));
            }
        };
        if json {
            let at = |(address, outcome): &(Address, _)| OutcomeAt {
                address: address.to_string(),
                outcome: Outcome::of(outcome),
            };
            out::json(&outcomes.iter().map(at).collect::<Vec<_>>())?;
        } else {
            for (address, outcome) in &outcomes {
                let address = out::printable(&address.to_string());
                out::line(format_args!("{address}  {}", shown(outcome)))?;
            }
        }
        let count = outcomes.len();
        let errors = outcomes
            .into_iter()
            .filter_map(|(_, outcome)| outcome.err());
        let errors: Vec<_> = errors.collect();
        let text = format!("{} of {count} servers failed", errors.len());
        match errors.into_iter().next() {
            None => Ok(()),
            Some(first) => Err(failure(first).at_first(text)),
        }
    }

    fn limit(&self) -> Option<Duration> {
        (self.timeout > Duration::ZERO).then_some(self.timeout)
    }
}

fn failure(error: Error) -> Failure {
    let is_late = error.code() == Code::DeadlineExceeded;
    // Go's decoder says what it was sent, and ours what the JSON is not.
    let is_misfit = error.message().contains("gob: ");
    let failure = Failure::from(error);
    match (is_late, is_misfit) {
        (true, _) => failure.advise("give a call that needs more time more with --timeout 30s"),
        (_, true) => failure.advise(
            "`farcall describe ADDR` may show the argument's type; --type tells it, as in --type '[]byte'",
        ),
        _ => failure,
    }
}

impl Outcome {
    fn of(outcome: &farcall::Result<Value>) -> Outcome {
        match outcome {
            Ok(reply) => Outcome::Reply(reply.clone()),
            Err(error) => Outcome::Error {
                code: error.code().as_str(),
                message: error.message().to_owned(),
                details: details(error),
            },
        }
    }
}

/// What a handler added to its error, if there is something that can be shown.
fn details(error: &Error) -> Option<Value> {
    error.details_json()?.ok()
}

fn shown(outcome: &farcall::Result<Value>) -> String {
    match outcome {
        // JSON escapes control characters by itself.
        Ok(reply) => reply.to_string(),
        Err(error) => {
            let details = details(error).map(|details| format!(" {details}"));
            format!(
                "{}: {}{}",
                error.code(),
                out::printable(error.message()),
                details.unwrap_or_default()
            )
        }
    }
}
