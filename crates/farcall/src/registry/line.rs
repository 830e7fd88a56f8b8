//! What a registry tells those who watch it, line by line, and what a client makes of it. No sockets, no clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::table::Change;
use crate::address::Address;
use crate::discover::Endpoint;
use crate::discover::record::{Record, read_address};

/// One line: a whole list, the changes since the line before, or neither, which says that nothing changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// The life of the registry; another one begins with a restart.
    pub(super) epoch: String,
    /// Up to where the client knows all, with this line.
    pub(super) revision: u64,
    /// The registry has not lived long enough to miss anybody: who is not in the list may still come back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) warming: bool,
    /// Over how many seconds clients should spread when they come back after a loss.
    #[serde(default)]
    pub(super) spread_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) servers: Option<Vec<Record>>,
    /// The revision that the changes begin after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) changes: Vec<Told>,
}

/// One change: `{"put":{…}}` or `{"gone":"tcp@h:1","withdrawn":true}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    put: Option<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gone: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    withdrawn: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl From<&Change> for Told {
    fn from(change: &Change) -> Told {
        match change {
            Change::Put(endpoint) => Told {
                put: Some(Record::from(endpoint)),
                ..Told::default()
            },
            Change::Gone { address, withdrawn } => Told {
                gone: Some(address.clone()),
                withdrawn: *withdrawn,
                ..Told::default()
            },
        }
    }
}

/// A registry's list as a client knows it.
#[derive(Debug, Default)]
pub(super) struct Replica {
    /// Which life of the registry, and up to where.
    pub(super) at: Option<(String, u64)>,
    servers: BTreeMap<String, Endpoint>,
    /// Those of an earlier life of the registry, which the present one has not seen yet.
    carried: BTreeSet<String>,
    /// The first few entries of the last line that are no servers, and why.
    pub(super) bad: Vec<String>,
}

/// What a line meant.
#[derive(Debug, PartialEq)]
pub(super) enum Meant {
    /// The list is up to date; these servers left it on their own wish.
    Known(Vec<Address>),
    /// It does not follow on what is known: a whole list is needed.
    Gap,
}

impl Replica {
    /// The servers, sorted by address.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.servers.values().cloned().collect()
    }

    pub(super) fn apply(&mut self, line: Line) -> Meant {
        self.bad.clear();
        let mut withdrawn = Vec::new();
        if let Some(records) = line.servers {
            let is_restarted = self
                .at
                .as_ref()
                .is_some_and(|(epoch, _)| *epoch != line.epoch);
            let before = std::mem::take(&mut self.servers);
            for record in records {
                self.put(record);
            }
            if line.warming && (is_restarted || !self.carried.is_empty()) {
                for (address, endpoint) in before {
                    if !self.servers.contains_key(&address) {
                        self.carried.insert(address.clone());
                        self.servers.insert(address, endpoint);
                    }
                }
            }
        } else {
            let follows = |(epoch, revision): &(String, u64)| {
                *epoch == line.epoch && line.after.unwrap_or(line.revision) == *revision
            };
            if !self.at.as_ref().is_some_and(follows) {
                return Meant::Gap;
            }
            for told in line.changes {
                if let Some(record) = told.put {
                    self.put(record);
                } else if let Some(address) = told.gone {
                    self.carried.remove(&address);
                    if let Some(gone) = self.servers.remove(&address) {
                        withdrawn.extend(told.withdrawn.then_some(gone.address));
                    }
                }
            }
        }
        if !line.warming {
            for address in std::mem::take(&mut self.carried) {
                self.servers.remove(&address);
            }
        }
        self.at = Some((line.epoch, line.revision));
        Meant::Known(withdrawn)
    }

    fn put(&mut self, record: Record) {
        let name = record.address.clone();
        let endpoint = match record.clone().into_endpoint() {
            Ok(endpoint) => endpoint,
            Err(why) => {
                if self.bad.len() < 3 {
                    self.bad.push(format!("{name:?}: {why}"));
                }
                // Nonsense about a server hides no server.
                let Ok(address) = read_address(&name) else {
                    return;
                };
                Endpoint::new(address)
            }
        };
        let address = endpoint.address.to_string();
        self.carried.remove(&address);
        self.servers.insert(address, endpoint);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::super::table::Table;
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    /// A registry that may restart.
    struct Source {
        table: Table,
        epoch: u32,
        now: Instant,
    }

    impl Source {
        fn new() -> Source {
            let now = Instant::now();
            Source {
                table: Table::new(TTL, 100, now),
                epoch: 0,
                now,
            }
        }

        fn beat(&mut self, host: u8, weight: u32) {
            let mut endpoint = Endpoint::new(Address::tcp(format!("h:{host}")));
            endpoint.weight = weight;
            self.table.beat(endpoint, None, None, self.now).unwrap();
        }

        fn restart(&mut self) {
            self.table = Table::new(TTL, 100, self.now);
            self.epoch += 1;
        }

        fn line(&mut self, at: Option<&(String, u64)>) -> Line {
            let epoch = self.epoch.to_string();
            let known = at
                .filter(|(known, _)| *known == epoch)
                .map(|(_, revision)| *revision);
            self.table.sweep(self.now);
            let changes = known.and_then(|after| {
                let changes = self.table.since(after)?;
                Some((after, changes.map(Told::from).collect::<Vec<_>>()))
            });
            let (revision, warming) = (self.table.revision(), self.table.is_warming(self.now));
            let (servers, after, changes) = match changes {
                Some((after, changes)) => (None, Some(after), changes),
                None => {
                    let alive = self.table.alive(self.now);
                    (
                        Some(
                            alive
                                .map(|(_, endpoint, _)| Record::from(endpoint))
                                .collect(),
                        ),
                        None,
                        Vec::new(),
                    )
                }
            };
            let line = Line {
                epoch,
                revision,
                warming,
                spread_s: 1,
                servers,
                after,
                changes,
            };
            // As it goes over the wire.
            serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap()
        }

        fn servers(&mut self) -> Vec<Endpoint> {
            self.table
                .alive(self.now)
                .map(|(_, endpoint, _)| endpoint.clone())
                .collect()
        }
    }

    #[test]
    fn a_restarted_registry_takes_nobody_away_while_it_warms_up() {
        let (mut source, mut replica) = (Source::new(), Replica::default());
        for host in 1..=3 {
            source.beat(host, 1);
        }
        replica.apply(source.line(None));
        source.restart();
        source.beat(1, 9);
        replica.apply(source.line(replica.at.as_ref()));
        assert_eq!(replica.endpoints().len(), 3);
        assert_eq!(replica.endpoints()[0].weight, 9);
        source.table.remove("tcp@h:1", None, source.now).unwrap();
        let meant = replica.apply(source.line(replica.at.as_ref()));
        assert_eq!(
            meant,
            Meant::Known(vec![Address::tcp("h:1")]),
            "a farewell is one"
        );
        source.beat(2, 1);
        source.now += TTL + Duration::from_secs(10);
        source.beat(2, 1);
        replica.apply(source.line(replica.at.as_ref()));
        assert_eq!(
            replica.endpoints(),
            source.servers(),
            "who has not come by now is gone"
        );
    }

    #[test]
    fn what_does_not_follow_is_a_gap_and_changes_nothing() {
        let (mut source, mut replica) = (Source::new(), Replica::default());
        source.beat(1, 1);
        replica.apply(source.line(None));
        source.beat(2, 1);
        let lost = source.line(replica.at.as_ref());
        source.beat(3, 1);
        let next = source.line(Some(&("0".into(), lost.revision)));
        assert_eq!(replica.apply(next), Meant::Gap);
        assert_eq!(replica.endpoints().len(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Beat(u8, u32),
        Withdraw(u8),
        Wait(u64),
        Restart,
        /// A line is sent, and arrives or is lost with its connection.
        Tell(bool),
        /// The client asks for everything.
        List,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..8u8, 0..3u32).prop_map(|(host, weight)| Step::Beat(host, weight)),
            1 => (0..8u8).prop_map(Step::Withdraw),
            1 => (0..40u64).prop_map(Step::Wait),
            1 => Just(Step::Restart),
            4 => any::<bool>().prop_map(Step::Tell),
            1 => Just(Step::List),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
        #[test]
        fn any_interleaving_of_lists_deltas_losses_and_restarts_ends_as_the_source_of_truth(
            steps in prop::collection::vec(step(), 1..80)
        ) {
            let (mut source, mut replica) = (Source::new(), Replica::default());
            for step in steps {
                match step {
                    Step::Beat(host, weight) => source.beat(host, weight),
                    Step::Withdraw(host) => {
                        source.table.remove(&format!("tcp@h:{host}"), None, source.now).unwrap();
                    }
                    Step::Wait(seconds) => source.now += Duration::from_secs(seconds),
                    Step::Restart => source.restart(),
                    Step::Tell(arrives) => {
                        let line = source.line(replica.at.as_ref());
                        if arrives {
                            prop_assert_ne!(replica.apply(line), Meant::Gap);
                        }
                    }
                    Step::List => drop(replica.apply(source.line(None))),
                }
                // Nobody is missing whom the registry has told of; more may be there while it warms up.
                if replica.at == Some((source.epoch.to_string(), source.table.revision())) {
                    let (here, there) = (replica.endpoints(), source.servers());
                    if source.table.revision() == replica.at.as_ref().unwrap().1 {
                        prop_assert!(there.iter().all(|server| here.contains(server)));
                    }
                }
            }
            source.now += TTL + Duration::from_secs(10);
            for host in 0..3 {
                source.beat(host, 5);
            }
            replica.apply(source.line(replica.at.as_ref()));
            prop_assert_eq!(replica.endpoints(), source.servers());
        }
    }
}
