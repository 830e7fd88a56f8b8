//! `farcall ls`: the servers of a cluster, or the services of one server.

use std::time::Duration;

use clap::Args;
use farcall::registry::{self, HttpRegistry};
use farcall::{Address, ServiceSnapshot, Target};
use serde::Serialize;
use tokio::time::interval;

use crate::out::{self, Canvas, Failure};
use crate::signals::asked_to_end;

/// List the servers of a cluster, or the services of one server
#[derive(Args)]
pub(crate) struct Ls {
    /// A server, a registry's URL, or static:ADDR,ADDR.
    target: String,

    /// Look every second, and show what changed, until ctrl-c.
    #[arg(long)]
    watch: bool,
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A server that is slow to describe itself should not hold up the list for long.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(2);

/// What is listed.
#[derive(Serialize)]
#[serde(untagged)]
enum List {
    Servers(Vec<Row>),
    Services(Vec<ServiceSnapshot>),
}

/// One server of a cluster.
#[derive(Serialize)]
struct Row {
    address: String,
    /// `up` or `draining` as the server announced it, or `unreachable` as seen from here.
    state: String,
    /// The names of its services; null when it does not tell.
    services: Option<Vec<String>>,
    /// Seconds since its last heartbeat; null where there are no heartbeats.
    age_s: Option<u64>,
}

impl Ls {
    pub(crate) async fn run(self, json: bool) -> Result<(), Failure> {
        let target: Target = self.target.parse()?;
        let list = look(&self.target, &target).await?;
        match self.watch {
            false => list.show(json),
            true => self.watch(&target, list, json).await,
        }
    }

    async fn watch(&self, target: &Target, first: List, json: bool) -> Result<(), Failure> {
        let mut end = std::pin::pin!(asked_to_end()?);
        let mut clock = interval(LOOK_EVERY);
        let mut canvas = Canvas::default();
        let mut shown = None;
        let mut seen = Ok(first);
        loop {
            match &seen {
                Ok(list) if !json && out::is_terminal() => canvas.draw(&list.lines())?,
                Ok(list) if shown != Some(list.essence()) => {
                    list.show(json)?;
                    shown = Some(list.essence());
                }
                Ok(_) => {}
                // It may be back the next time.
                Err(failure) => eprintln!("farcall: {failure}; looking again"),
            }
            tokio::select! {
                () = &mut end => return Ok(()),
                _ = clock.tick() => {}
            }
            seen = look(&self.target, target).await;
        }
    }
}

/// Looks once.
async fn look(given: &str, target: &Target) -> Result<List, Failure> {
    let servers = match target {
        Target::Server(address) => {
            let services = farcall::describe(address, DESCRIBED_WITHIN).await?;
            return Ok(List::Services(services));
        }
        Target::Registry(url) => {
            let entries = HttpRegistry::new(url)?.entries().await?;
            let told = entries.into_iter().map(|e| (e.endpoint, e.age));
            told.collect::<Vec<_>>()
        }
        _ => {
            let mut snapshots = registry::open(given)?.watch();
            let snapshot = snapshots
                .wait_for(|list| list.known || list.stale.is_some())
                .await;
            let snapshot = snapshot
                .map(|snapshot| snapshot.clone())
                .unwrap_or_default();
            if let (false, Some(stale)) = (snapshot.known, &snapshot.stale) {
                let error = farcall::Error::new(farcall::Code::Unavailable, &stale.reason);
                return Err(error.into());
            }
            snapshot
                .endpoints
                .iter()
                .map(|endpoint| (endpoint.clone(), None))
                .collect()
        }
    };
    // All at once, and in the list's order.
    let looks: Vec<_> = servers
        .into_iter()
        .map(|(endpoint, age)| {
            let described = tokio::spawn(describe(endpoint.address.clone()));
            (endpoint, age, described)
        })
        .collect();
    let mut rows = Vec::new();
    for (endpoint, age, described) in looks {
        let described = described.await.unwrap_or(Described::Silent);
        rows.push(Row {
            address: endpoint.address.to_string(),
            state: match described {
                Described::Unreachable => "unreachable".to_owned(),
                Described::Silent | Described::As(_) => endpoint.state.to_string(),
            },
            services: match described {
                Described::As(services) => Some(services),
                Described::Silent | Described::Unreachable => None,
            },
            age_s: age.map(|age| age.as_secs()),
        });
    }
    Ok(List::Servers(rows))
}

/// What a server says about itself.
enum Described {
    As(Vec<String>),
    /// Somebody is there, who may well serve calls, and does not say which.
    Silent,
    Unreachable,
}

async fn describe(address: Address) -> Described {
    match farcall::describe(&address, DESCRIBED_WITHIN).await {
        Ok(services) => Described::As(services.into_iter().map(|service| service.name).collect()),
        // It could not even be dialled.
        Err(error) if error.is_retryable() => Described::Unreachable,
        Err(_) => Described::Silent,
    }
}

impl List {
    fn show(&self, json: bool) -> Result<(), Failure> {
        match json {
            true => out::json(self)?,
            false => self.lines().iter().try_for_each(out::line)?,
        }
        Ok(())
    }

    /// What is worth telling when it changes: everything but the ages, which always do.
    fn essence(&self) -> String {
        match self {
            List::Servers(rows) => {
                let rows = rows
                    .iter()
                    .map(|row| (&row.address, &row.state, &row.services));
                format!("{:?}", rows.collect::<Vec<_>>())
            }
            List::Services(services) => format!("{services:?}"),
        }
    }

    fn lines(&self) -> Vec<String> {
        match self {
            List::Servers(rows) if rows.is_empty() => vec!["no servers are registered".to_owned()],
            List::Servers(rows) => {
                let cells: Vec<_> = rows.iter().map(Row::cells).collect();
                out::table(["ADDRESS", "STATE", "HEARTBEAT", "SERVICES"], &cells)
            }
            List::Services(services) => {
                let methods = services.iter().flat_map(|service| {
                    let cells = |m: &farcall::MethodSnapshot| {
                        [
                            out::printable(&format!("{}.{}", service.name, m.name)),
                            m.calls.to_string(),
                            m.errors.to_string(),
                            out::printable(&m.signature()),
                        ]
                    };
                    service.methods.iter().map(cells)
                });
                let cells: Vec<_> = methods.collect();
                out::table(["METHOD", "CALLS", "ERRORS", "TYPES"], &cells)
            }
        }
    }
}

impl Row {
    fn cells(&self) -> [String; 4] {
        let services = self.services.as_ref().map(|names| names.join(" "));
        let age = self.age_s.map(|seconds| format!("{seconds} s ago"));
        [
            out::printable(&self.address),
            self.state.clone(),
            age.unwrap_or_else(|| "-".to_owned()),
            out::printable(&services.unwrap_or_else(|| "-".to_owned())),
        ]
    }
}
