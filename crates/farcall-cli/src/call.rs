//! `farcall call`: one call by name, JSON in and JSON out.

use std::time::Duration;

use clap::Args;
use farcall::{Address, Cluster, Code, Codec, Error, registry};
use serde::Serialize;
use serde_json::Value;

use crate::out::{self, Failure};

/// Call a method of a server, or of one or all servers of a cluster
#[derive(Args)]
pub(crate) struct Call {
    /// A server, a registry's URL, or static:ADDR,ADDR.
    target: String,

    /// The method, as in Arith.Multiply.
    #[arg(value_name = "SERVICE.METHOD")]
    method: String,

    /// The argument: '{"A": 6, "B": 7}'. Left out, an argument without fields is sent.
    #[arg(value_name = "JSON", value_parser = json)]
    args: Option<Value>,

    /// What the call is encoded in: gob, json or msgpack.
    #[arg(long, default_value_t = Codec::Gob)]
    codec: Codec,

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
    Error { code: &'static str, message: String },
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
        let servers = registry::open(&self.target)?;
        let cluster = Cluster::builder(servers).codec(self.codec).build();
        // What "no argument" is: a struct without fields to gob, and null to the others.
        let args = self.args.clone().unwrap_or_else(|| match self.codec {
            Codec::Gob => Value::Object(serde_json::Map::new()),
            _ => Value::Null,
        });
        match self.all {
            false => self.one(&cluster, args, json).await,
            true => self.every(&cluster, args, json).await,
        }
    }

    async fn one(&self, cluster: &Cluster, args: Value, json: bool) -> Result<(), Failure> {
        let limit = self.limit();
        let outcome = cluster.call_json(&self.method, args, None, limit).await;
        match (&outcome, json) {
            (_, true) => out::json(&Outcome::of(&outcome))?,
            (Ok(reply), false) => out::json(reply)?,
            // It is told on stderr.
            (Err(_), false) => {}
        }
        outcome.map(drop).map_err(failure)
    }

    async fn every(&self, cluster: &Cluster, args: Value, json: bool) -> Result<(), Failure> {
        let limit = self.limit();
        let outcomes = match cluster
            .broadcast_json(&self.method, args, None, limit)
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
    let failure = Failure::from(error);
    match is_late {
        true => failure.advise("give a call that needs more time more with --timeout 30s"),
        false => failure,
    }
}

impl Outcome {
    fn of(outcome: &farcall::Result<Value>) -> Outcome {
        match outcome {
            Ok(reply) => Outcome::Reply(reply.clone()),
            Err(error) => Outcome::Error {
                code: error.code().as_str(),
                message: error.message().to_owned(),
            },
        }
    }
}

fn shown(outcome: &farcall::Result<Value>) -> String {
    match outcome {
        // JSON escapes control characters by itself.
        Ok(reply) => reply.to_string(),
        Err(error) => format!("{}: {}", error.code(), out::printable(error.message())),
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("{error}; write JSON such as '{{\"A\": 6, \"B\": 7}}', 5 or '\"text\"'")
    })
}
