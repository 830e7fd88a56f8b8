//! `farcall call`: one call by name, JSON in and JSON out.

use std::time::Duration;

use clap::Args;
use farcall::{Address, Cluster, Codec, Error, registry};
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

    /// What the call is encoded in: gob or json.
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
        let limit = (self.timeout > Duration::ZERO).then_some(self.timeout);
        let mut cluster = Cluster::builder(registry::open(&self.target)?).codec(self.codec);
        if let Some(limit) = limit {
            cluster = cluster.call_timeout(limit);
        }
        let cluster = cluster.build();
        // No argument is a struct without fields to gob, and null to JSON.
        let args = self.args.clone().unwrap_or_else(|| match self.codec {
            Codec::Json => Value::Null,
            _ => Value::Object(serde_json::Map::new()),
        });
        let ended = match self.all {
            false => self.one(&cluster, args, json).await?,
            true => self.every(&cluster, args, json).await?,
        };
        ended.map_err(|error| self.failure(error))
    }

    async fn one(
        &self,
        cluster: &Cluster,
        args: Value,
        json: bool,
    ) -> Result<farcall::Result<()>, Failure> {
        let outcome = cluster.call_json(&self.method, args, None, None).await;
        match (&outcome, json) {
            (_, true) => out::json(&Outcome::of(&outcome))?,
            (Ok(reply), false) => out::json(reply)?,
            (Err(_), false) => {}
        }
        Ok(outcome.map(drop))
    }

    async fn every(
        &self,
        cluster: &Cluster,
        args: Value,
        json: bool,
    ) -> Result<farcall::Result<()>, Failure> {
        let outcomes = match cluster.broadcast_json(&self.method, args, None).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                if json {
                    out::json(&Outcome::of(&Err(error.clone())))?;
                }
                return Ok(Err(error));
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
                let (address, outcome) = (address.to_string(), shown(outcome));
                out::line(format_args!("{}  {outcome}", out::printable(&address)))?;
            }
        }
        let count = outcomes.len();
        let mut failed = outcomes
            .into_iter()
            .filter_map(|(_, outcome)| outcome.err());
        Ok(match failed.next() {
            None => Ok(()),
            Some(first) => {
                let text = format!(
                    "{} of {count} servers failed; the first: {first}",
                    1 + failed.count()
                );
                Err(Error::new(first.code(), text))
            }
        })
    }

    fn failure(&self, error: Error) -> Failure {
        let failure = Failure::from(error);
        match failure.is_timeout() {
            true => failure
                .advise("a call that needs more time gets it with --timeout, as in --timeout 30s"),
            false => failure,
        }
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
