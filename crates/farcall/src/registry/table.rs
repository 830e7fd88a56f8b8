//! Which servers have beaten, and when; and what changed lately, for those who watch: the registry's memory. Time is
//! given; no clock, no HTTP.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::discover::{Endpoint, State};

/// From how many servers on a collapse of the heartbeats is taken for a fault of the network: of ten, two may well die.
const FREEZE_FROM: usize = 20;
/// A collapse is when more than this part of the servers is late at once.
const LATE_PERCENT: usize = 15;
/// After this time the dead are believed to be dead, however many they are.
const FROZEN_MAX: Duration = Duration::from_secs(600);
/// How much longer than a TTL a registry that started empty may still miss servers.
const WARM_UP: Duration = Duration::from_secs(10);
/// Changes that are remembered for those who were away: more than a whole list is not worth it.
const CHANGES_MAX: usize = 16 * 1024;

/// Servers by address, so that lists come out sorted.
#[derive(Debug)]
pub(super) struct Table {
    ttl: Duration,
    entries_max: usize,
    began: Instant,
    revision: u64,
    entries: BTreeMap<String, Entry>,
    changes: VecDeque<(u64, Change)>,
    /// When servers expired lately, for as long as they count against the late ones.
    expired: VecDeque<Instant>,
    frozen_since: Option<Instant>,
    pub(super) counts: Counts,
}

#[derive(Debug)]
struct Entry {
    endpoint: Endpoint,
    last_beat: Instant,
    ttl: Duration,
    /// The secret of whoever entered it; without one it is anyone's.
    owner: Option<String>,
}

/// One change of the list.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// A server is new, or says something new about itself.
    Put(Endpoint),
    /// A server is gone; on its own wish, or because it stopped beating.
    Gone { address: String, withdrawn: bool },
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) beats: u64,
    pub(super) entered: u64,
    pub(super) withdrawn: u64,
    pub(super) expired: u64,
    pub(super) refused: u64,
}

/// Why a server's wish is not granted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The table holds as many servers as it may.
    Full,
    /// The entry is somebody else's, who is alive for at least this time.
    NotYours(Duration),
}

impl Table {
    /// A server that has not beaten for `ttl` is gone, unless it asks for another time; with a `ttl` of zero none ever
    /// is.
    pub(super) fn new(ttl: Duration, entries_max: usize, now: Instant) -> Table {
        Table {
            ttl,
            entries_max,
            began: now,
            revision: 0,
            entries: BTreeMap::new(),
            changes: VecDeque::new(),
            expired: VecDeque::new(),
            frozen_since: None,
            counts: Counts::default(),
        }
    }

    /// Grows with every change of the list.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// True while servers of an earlier life may not have found their way back.
    pub(super) fn is_warming(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < self.ttl.saturating_add(WARM_UP)
    }

    /// Since when nobody expires, because too many would.
    pub(super) fn frozen_since(&self) -> Option<Instant> {
        self.frozen_since
    }

    /// A server says that it is alive; gives the time until which that holds.
    pub(super) fn beat(
        &mut self,
        endpoint: Endpoint,
        ttl: Option<Duration>,
        owner: Option<String>,
        now: Instant,
    ) -> Result<Duration, Refused> {
        let address = endpoint.address.to_string();
        let ttl = ttl.unwrap_or(self.ttl);
        self.check_owner(&address, owner.as_deref(), now)?;
        let known = self.entries.get(&address);
        if known.is_none() && self.entries.len() >= self.entries_max {
            self.sweep(now);
            if self.entries.len() >= self.entries_max {
                self.counts.refused += 1;
                return Err(Refused::Full);
            }
        }
        self.counts.beats += 1;
        let known = self.entries.get(&address);
        self.counts.entered += u64::from(known.is_none());
        if known.is_none_or(|entry| entry.endpoint != endpoint) {
            self.log(Change::Put(endpoint.clone()));
        }
        let last_beat = now;
        let entry = Entry {
            endpoint,
            last_beat,
            ttl,
            owner,
        };
        self.entries.insert(address, entry);
        Ok(ttl)
    }

    /// A server says that it is going.
    pub(super) fn remove(
        &mut self,
        address: &str,
        owner: Option<&str>,
        now: Instant,
    ) -> Result<(), Refused> {
        self.check_owner(address, owner, now)?;
        if self.entries.remove(address).is_some() {
            self.counts.withdrawn += 1;
            self.log(Change::Gone {
                address: address.to_owned(),
                withdrawn: true,
            });
        }
        Ok(())
    }

    /// An entry is its owner's, until the owner misses a beat: a server that crashed and came back has a new secret.
    fn check_owner(
        &mut self,
        address: &str,
        owner: Option<&str>,
        now: Instant,
    ) -> Result<(), Refused> {
        let Some(entry) = self.entries.get(address) else {
            return Ok(());
        };
        let is_owner = entry.owner.is_none() || entry.owner.as_deref() == owner;
        let age = now.saturating_duration_since(entry.last_beat);
        let left = (entry.ttl / 2).saturating_sub(age);
        if is_owner || (left.is_zero() && !entry.ttl.is_zero()) {
            return Ok(());
        }
        self.counts.refused += 1;
        Err(Refused::NotYours(left))
    }

    /// Drops the expired, and gives the others, sorted by address, with the time since their last beat.
    pub(super) fn alive(
        &mut self,
        now: Instant,
    ) -> impl Iterator<Item = (&str, &Endpoint, Duration)> {
        self.sweep(now);
        self.entries.iter().map(move |(address, entry)| {
            let age = now.saturating_duration_since(entry.last_beat);
            (address.as_str(), &entry.endpoint, age)
        })
    }

    /// What changed after this revision; `None` when that is not known any more, or not yet.
    pub(super) fn since(&self, revision: u64) -> Option<impl Iterator<Item = &Change>> {
        let oldest = self
            .changes
            .front()
            .map_or(self.revision, |(first, _)| first - 1);
        if revision < oldest || revision > self.revision {
            return None;
        }
        let newer = self.changes.iter().filter(move |(at, _)| *at > revision);
        Some(newer.map(|(_, change)| change))
    }

    /// Drops those who stopped beating, unless so many did that the fault is more likely the network's.
    pub(super) fn sweep(&mut self, now: Instant) {
        let late: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_late(now))
            .map(|(address, _)| address.clone())
            .collect();
        if late.is_empty() {
            self.frozen_since = None;
            return;
        }
        // Those who expired a moment ago count too: many small steps are one big one.
        let window = self.ttl;
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > window;
        while self.expired.front().is_some_and(is_old) {
            self.expired.pop_front();
        }
        let expected = self.entries.len() + self.expired.len();
        // A server that drained before is no loss.
        let is_draining = |address: &&String| {
            let entry = self.entries.get(*address);
            entry.is_some_and(|entry| entry.endpoint.state == State::Draining)
        };
        let missed = late.len() - late.iter().filter(is_draining).count() + self.expired.len();
        let has_collapsed = expected >= FREEZE_FROM && missed * 100 > expected * LATE_PERCENT;
        if has_collapsed {
            let since = *self.frozen_since.get_or_insert(now);
            if now.saturating_duration_since(since) < FROZEN_MAX {
                return;
            }
        } else {
            self.frozen_since = None;
        }
        for address in late {
            self.entries.remove(&address);
            self.expired.push_back(now);
            self.counts.expired += 1;
            self.log(Change::Gone {
                address,
                withdrawn: false,
            });
        }
    }

    fn log(&mut self, change: Change) {
        self.revision += 1;
        self.changes.push_back((self.revision, change));
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }
}

impl Entry {
    fn is_late(&self, now: Instant) -> bool {
        !self.ttl.is_zero() && now.saturating_duration_since(self.last_beat) >= self.ttl
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

    fn table(entries_max: usize) -> (Table, Instant) {
        let now = Instant::now();
        (Table::new(TTL, entries_max, now), now)
    }

    fn beat(table: &mut Table, host: &str, now: Instant) -> Result<(), Refused> {
        table.beat(endpoint(host), None, None, now).map(drop)
    }

    fn alive(table: &mut Table, now: Instant) -> Vec<(String, u64)> {
        let seen = table.alive(now);
        seen.map(|(address, _, age)| (address.to_owned(), age.as_secs()))
            .collect()
    }

    #[test]
    fn a_server_lives_for_its_ttl_after_each_beat() {
        let (mut table, start) = table(10);
        beat(&mut table, "a", start).unwrap();
        let almost = TTL - Duration::from_nanos(1);
        assert_eq!(alive(&mut table, start + almost).len(), 1);
        beat(&mut table, "a", start + almost).unwrap();
        assert_eq!(
            alive(&mut table, start + TTL + almost - Duration::from_secs(1)).len(),
            1
        );
        assert_eq!(alive(&mut table, start + TTL + almost).len(), 0);
    }

    #[test]
    fn a_ttl_of_zero_never_ends() {
        let start = Instant::now();
        let mut table = Table::new(Duration::ZERO, 10, start);
        beat(&mut table, "a", start).unwrap();
        let later = Duration::from_secs(1_000_000);
        let listed = alive(&mut table, start + later);
        assert_eq!(listed, [("tcp@a:1".to_owned(), later.as_secs())]);
    }

    #[test]
    fn a_server_may_ask_for_a_ttl_of_its_own() {
        let (mut table, start) = table(10);
        let short = Duration::from_secs(2);
        assert_eq!(
            table.beat(endpoint("a"), Some(short), None, start),
            Ok(short)
        );
        beat(&mut table, "b", start).unwrap();
        assert_eq!(
            alive(&mut table, start + short),
            [("tcp@b:1".to_owned(), 2)]
        );
    }

    #[test]
    fn the_list_is_sorted_and_names_each_server_once() {
        let (mut table, now) = table(10);
        for host in ["c", "a", "b", "a"] {
            beat(&mut table, host, now).unwrap();
        }
        let listed = alive(&mut table, now);
        let addresses: Vec<&str> = listed.iter().map(|(address, _)| &**address).collect();
        assert_eq!(addresses, ["tcp@a:1", "tcp@b:1", "tcp@c:1"]);
    }

    #[test]
    fn a_full_table_refuses_newcomers_keeps_the_others_and_has_room_when_some_expire() {
        let (mut table, start) = table(2);
        beat(&mut table, "a", start).unwrap();
        let later = start + TTL / 2;
        beat(&mut table, "b", later).unwrap();
        assert_eq!(beat(&mut table, "c", later), Err(Refused::Full));
        beat(&mut table, "b", later).unwrap();
        beat(&mut table, "c", start + TTL).unwrap();
        assert_eq!(alive(&mut table, start + TTL).len(), 2);
    }

    #[test]
    fn a_removed_server_is_gone_at_once_and_may_come_back() {
        let (mut table, now) = table(2);
        beat(&mut table, "a", now).unwrap();
        table.remove("tcp@a:1", None, now).unwrap();
        table.remove("tcp@never:1", None, now).unwrap();
        assert_eq!(alive(&mut table, now), []);
        beat(&mut table, "a", now).unwrap();
        assert_eq!(alive(&mut table, now).len(), 1);
    }

    #[test]
    fn an_entry_is_its_owners_until_the_owner_misses_a_beat() {
        let (mut table, start) = table(10);
        let mine = || Some("mine".to_owned());
        table.beat(endpoint("a"), None, mine(), start).unwrap();
        let left = TTL / 2 - Duration::from_secs(1);
        let soon = start + Duration::from_secs(1);
        for other in [None, Some("other".to_owned())] {
            assert_eq!(
                table.remove("tcp@a:1", other.as_deref(), soon),
                Err(Refused::NotYours(left))
            );
            let taken = table.beat(endpoint("a"), None, other, soon);
            assert_eq!(taken, Err(Refused::NotYours(left)));
        }
        table.beat(endpoint("a"), None, mine(), soon).unwrap();
        assert_eq!(
            alive(&mut table, start + Duration::from_secs(2)),
            [("tcp@a:1".to_owned(), 1)]
        );
        table
            .beat(endpoint("a"), None, Some("heir".into()), soon + TTL / 2)
            .unwrap();
        assert!(
            table
                .remove("tcp@a:1", Some("mine"), soon + TTL / 2)
                .is_err()
        );
        table
            .remove("tcp@a:1", Some("heir"), soon + TTL / 2)
            .unwrap();
    }

    #[test]
    fn when_heartbeats_collapse_nobody_expires_until_they_are_back_or_ten_minutes_went_by() {
        let (mut table, start) = table(1000);
        let beat_some = |table: &mut Table, hosts: std::ops::Range<u32>, now| {
            for host in hosts {
                beat(table, &format!("h{host}"), now).unwrap();
            }
        };
        beat_some(&mut table, 0..100, start);
        beat_some(&mut table, 10..100, start + TTL / 2);
        assert_eq!(alive(&mut table, start + TTL).len(), 90, "a tenth may die");
        let collapse = start + TTL + TTL / 2;
        assert_eq!(alive(&mut table, collapse).len(), 90, "all of them may not");
        assert!(table.frozen_since().is_some());
        beat_some(&mut table, 10..98, collapse);
        let later = collapse + TTL / 2;
        assert_eq!(
            alive(&mut table, later).len(),
            88,
            "the network is back, and two are dead"
        );
        assert!(table.frozen_since().is_none());
        let again = later + TTL / 2;
        assert_eq!(alive(&mut table, again).len(), 88);
        assert_eq!(
            alive(&mut table, again + FROZEN_MAX).len(),
            0,
            "they are dead indeed"
        );
    }

    #[test]
    fn few_servers_are_never_frozen() {
        let (mut table, start) = table(100);
        for host in 0..19 {
            beat(&mut table, &format!("h{host}"), start).unwrap();
        }
        assert_eq!(alive(&mut table, start + TTL), []);
    }

    #[test]
    fn changes_are_told_once_each_and_what_is_too_old_is_not_guessed() {
        let (mut table, now) = table(CHANGES_MAX * 2);
        beat(&mut table, "a", now).unwrap();
        beat(&mut table, "a", now).unwrap();
        assert_eq!(
            table.revision(),
            1,
            "a beat that says nothing new is no change"
        );
        let told = |table: &Table, from| {
            table
                .since(from)
                .map(|changes| changes.cloned().collect::<Vec<_>>())
        };
        assert_eq!(told(&table, 0), Some(vec![Change::Put(endpoint("a"))]));
        assert_eq!(told(&table, 1), Some(vec![]));
        assert_eq!(told(&table, 2), None, "that is another registry's");
        table.remove("tcp@a:1", None, now).unwrap();
        let gone = Change::Gone {
            address: "tcp@a:1".into(),
            withdrawn: true,
        };
        assert_eq!(told(&table, 1), Some(vec![gone]));
        for host in 0..CHANGES_MAX {
            beat(&mut table, &format!("h{host}"), now).unwrap();
        }
        assert_eq!(told(&table, 1), None);
        assert_eq!(told(&table, 2).unwrap().len(), CHANGES_MAX);
    }
}
