//! The service records of a name as the list of servers: where they are, in which order, with which weights, and for
//! how long that is true. How name servers are asked is in `ask`, the bytes in `message`. Addresses of hosts are not
//! looked up here: whoever dials one does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::address::{Address, AddressError, Target};
use crate::discover::poll::poll_as_told;
use crate::discover::{Discover, Endpoint, Snapshot};

mod ask;
mod message;

use message::Record;

const RIGHT: &str = "srv:_arith._tcp.example.org";
/// Answers that are good for less than this are not asked for more often.
const GOOD_FOR_MIN: Duration = Duration::from_secs(1);

/// The servers that the service records (SRV) of a name tell, with their priorities and weights.
///
/// Records of the lowest priority get the calls, by their weights; those of others come into play when none of the
/// first can be reached. The name is asked for again when the answer's time to live ends, and never while a call
/// waits. A failure keeps the last answer, and so does an empty one.
///
/// ```
/// use farcall::registry::Srv;
/// let servers = Srv::new("srv:_arith._tcp.example.org")?;
/// # Ok::<(), farcall::AddressError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Srv {
    name: String,
    name_servers: Vec<SocketAddr>,
    refresh: Duration,
    timeout: Duration,
}

impl Srv {
    /// The servers behind `srv:name`. The name is a whole one: nothing is added to it. No name server is asked yet.
    ///
    /// # Errors
    ///
    /// It is no such target.
    pub fn new(target: &str) -> Result<Srv, AddressError> {
        let Target::Srv(name) = target.parse()? else {
            let wrong = "it does not begin with srv:";
            return Err(AddressError::new(target, wrong, RIGHT));
        };
        Ok(Srv {
            name,
            name_servers: Vec::new(),
            refresh: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
        })
    }

    /// Asks these name servers, in this order, instead of those in `/etc/resolv.conf`.
    pub fn name_servers(mut self, name_servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.name_servers = name_servers.into_iter().collect();
        self
    }

    /// How long an answer is trusted at most, whatever time to live it has, and the longest wait after failures; a
    /// minute unless set. A shorter time to live counts, down to a second.
    pub fn refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh.max(Duration::from_millis(10));
        self
    }

    /// How long an answer may take, with all servers asked twice; five seconds unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn look(&self) -> Result<(Vec<Endpoint>, Duration), String> {
        // Read each time: a machine may change its network.
        let name_servers = match self.name_servers.is_empty() {
            true => ask::system_servers(),
            false => self.name_servers.clone(),
        };
        let name = &self.name;
        let records = ask::ask(&name_servers, name, self.timeout).await;
        let records = records.map_err(|reason| format!("srv:{name}: {reason}"))?;
        let ttl_s = records.iter().map(|record| record.ttl_s).min();
        let (endpoints, bad) = endpoints(records);
        if endpoints.is_empty() {
            let bad = bad.map(|bad| format!(" but {bad}")).unwrap_or_default();
            return Err(format!("srv:{name}: the name has no service records{bad}"));
        }
        if let Some(bad) = bad {
            tracing::warn!(name, bad, "a service record is for no server");
        }
        let good_for = Duration::from_secs(ttl_s.unwrap_or(0).into());
        Ok((endpoints, good_for.max(GOOD_FOR_MIN).min(self.refresh)))
    }
}

impl Discover for Srv {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let srv = self.clone();
        poll_as_told(format!("srv:{}", self.name), self.refresh, move || {
            let srv = srv.clone();
            async move { srv.look().await }
        })
    }
}

/// The servers in these records, and one record that is none.
fn endpoints(records: Vec<Record>) -> (Vec<Endpoint>, Option<String>) {
    // Weight 0 is for a share that is very small where others have more, and for equal shares where nobody has.
    let mut heaviest: BTreeMap<u16, u16> = BTreeMap::new();
    for record in &records {
        let heaviest = heaviest.entry(record.priority).or_default();
        *heaviest = (*heaviest).max(record.weight);
    }
    let has_none = records.iter().any(|record| record.weight == 0);
    let mut bad = None;
    let endpoints = records.into_iter().filter_map(|record| {
        let place = format!("{}:{}", record.target, record.port);
        let address = place.parse::<Address>();
        if record.target.is_empty() || record.port == 0 || address.is_err() {
            bad = Some(format!("{place:?}"));
        }
        let mut endpoint = Endpoint::new(address.ok()?);
        let weight = u32::from(record.weight);
        endpoint.weight = match heaviest.get(&record.priority) {
            Some(1..) if has_none => (weight * LIGHTEST_PART).max(1),
            Some(1..) => weight,
            _ => 1,
        };
        endpoint.priority = record.priority.into();
        (!record.target.is_empty() && record.port > 0).then_some(endpoint)
    });
    (endpoints.collect(), bad)
}

/// How much less than the weight 1 a weight of 0 is.
const LIGHTEST_PART: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, target: &str, port: u16) -> Record {
        Record {
            priority,
            weight,
            port,
            target: target.into(),
            ttl_s: 1,
        }
    }

    fn read(records: Vec<Record>) -> Vec<(String, u32, u32)> {
        let (endpoints, _) = endpoints(records);
        let told = endpoints.iter();
        told.map(|e| (e.address.to_string(), e.priority, e.weight))
            .collect()
    }

    #[test]
    fn priorities_and_weights_are_those_of_the_records() {
        let found = read(vec![record(10, 60, "a.h", 1), record(20, 5, "b.h", 2)]);
        let expected = [
            ("tcp@a.h:1".to_owned(), 10, 60),
            ("tcp@b.h:2".into(), 20, 5),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_weight_of_nothing_is_a_small_share_beside_others_and_an_equal_one_alone() {
        let weights = |records| read(records).into_iter().map(|(_, _, weight)| weight);
        let beside = vec![
            record(1, 0, "a", 1),
            record(1, 2, "b", 1),
            record(1, 0, "c", 1),
        ];
        assert!(weights(beside).eq([1, 200, 1]));
        assert!(weights(vec![record(1, 0, "a", 1), record(1, 0, "b", 1)]).eq([1, 1]));
    }

    #[test]
    fn records_that_name_no_server_are_left_out_and_named() {
        for (target, port) in [
            ("", 1),
            ("a", 0),
            ("a b", 1),
            ("a\n", 1),
            ("\u{e9}", 0),
            ("[::1]", 0),
        ] {
            let (left, bad) = endpoints(vec![record(0, 1, target, port), record(0, 1, "h", 1)]);
            assert_eq!(left.len(), 1, "{target:?}");
            assert!(bad.is_some());
        }
    }
}
