//! Which servers have beaten, and when: the registry's memory. Time is given; no clock, no HTTP.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::discover::Endpoint;

/// Servers by address, so that lists come out sorted.
#[derive(Debug)]
pub(super) struct Table {
    ttl: Duration,
    entries_max: usize,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    endpoint: Endpoint,
    last_beat: Instant,
}

/// The table holds as many servers as it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Table {
    /// A server that has not beaten for `ttl` is gone; with a `ttl` of zero none ever is.
    pub(super) fn new(ttl: Duration, entries_max: usize) -> Table {
        Table {
            ttl,
            entries_max,
            entries: BTreeMap::new(),
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A server says that it is alive.
    pub(super) fn beat(&mut self, endpoint: Endpoint, now: Instant) -> Result<(), Full> {
        let address = endpoint.address.to_string();
        if !self.entries.contains_key(&address) && self.entries.len() >= self.entries_max {
            self.expire(now);
            if self.entries.len() >= self.entries_max {
                return Err(Full);
            }
        }
        let last_beat = now;
        self.entries.insert(
            address,
            Entry {
                endpoint,
                last_beat,
            },
        );
        Ok(())
    }

    /// A server says that it is going.
    pub(super) fn remove(&mut self, address: &str) {
        self.entries.remove(address);
    }

    /// Drops the expired, and gives the others, sorted by address, with the time since their last beat.
    pub(super) fn alive(
        &mut self,
        now: Instant,
    ) -> impl Iterator<Item = (&str, &Endpoint, Duration)> {
        self.expire(now);
        self.entries.iter().map(move |(address, entry)| {
            let age = now.saturating_duration_since(entry.last_beat);
            (address.as_str(), &entry.endpoint, age)
        })
    }

    fn expire(&mut self, now: Instant) {
        let ttl = self.ttl;
        if !ttl.is_zero() {
            self.entries
                .retain(|_, entry| now.saturating_duration_since(entry.last_beat) < ttl);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    const TTL: Duration = Duration::from_secs(300);

    fn endpoint(host: &str) -> Endpoint {
        Endpoint::new(Address::tcp(format!("{host}:1")))
    }

    fn alive(table: &mut Table, now: Instant) -> Vec<(String, u64)> {
        let seen = table.alive(now);
        seen.map(|(address, _, age)| (address.to_owned(), age.as_secs()))
            .collect()
    }

    #[test]
    fn a_server_lives_for_its_ttl_after_each_beat() {
        let (mut table, start) = (Table::new(TTL, 10), Instant::now());
        table.beat(endpoint("a"), start).unwrap();
        let almost = TTL - Duration::from_nanos(1);
        assert_eq!(alive(&mut table, start + almost).len(), 1);
        table.beat(endpoint("a"), start + almost).unwrap();
        assert_eq!(
            alive(&mut table, start + TTL + almost - Duration::from_secs(1)).len(),
            1
        );
        assert_eq!(alive(&mut table, start + TTL + almost).len(), 0);
    }

    #[test]
    fn a_ttl_of_zero_never_ends() {
        let (mut table, start) = (Table::new(Duration::ZERO, 10), Instant::now());
        table.beat(endpoint("a"), start).unwrap();
        let later = Duration::from_secs(1_000_000);
        let listed = alive(&mut table, start + later);
        assert_eq!(listed, [("tcp@a:1".to_owned(), later.as_secs())]);
    }

    #[test]
    fn the_list_is_sorted_and_names_each_server_once() {
        let (mut table, now) = (Table::new(TTL, 10), Instant::now());
        for host in ["c", "a", "b", "a"] {
            table.beat(endpoint(host), now).unwrap();
        }
        let listed = alive(&mut table, now);
        let addresses: Vec<&str> = listed.iter().map(|(address, _)| &**address).collect();
        assert_eq!(addresses, ["tcp@a:1", "tcp@b:1", "tcp@c:1"]);
    }

    #[test]
    fn a_full_table_refuses_newcomers_keeps_the_others_and_has_room_when_some_expire() {
        let (mut table, start) = (Table::new(TTL, 2), Instant::now());
        table.beat(endpoint("a"), start).unwrap();
        let later = start + TTL / 2;
        table.beat(endpoint("b"), later).unwrap();
        assert_eq!(table.beat(endpoint("c"), later), Err(Full));
        table.beat(endpoint("b"), later).unwrap();
        table.beat(endpoint("c"), start + TTL).unwrap();
        assert_eq!(alive(&mut table, start + TTL).len(), 2);
    }

    #[test]
    fn a_removed_server_is_gone_at_once_and_may_come_back() {
        let (mut table, now) = (Table::new(TTL, 2), Instant::now());
        table.beat(endpoint("a"), now).unwrap();
        table.remove("tcp@a:1");
        table.remove("tcp@never:1");
        assert_eq!(alive(&mut table, now), []);
        table.beat(endpoint("a"), now).unwrap();
        assert_eq!(alive(&mut table, now).len(), 1);
    }
}
