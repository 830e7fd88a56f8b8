//! The rule by which servers leave a list: a pure book of who was seen when. No clock, no tasks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Endpoint, State};

/// Every server seen, also those that are missing but not yet surely gone.
#[derive(Debug)]
pub(super) struct Ledger {
    confirm_after: Duration,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    endpoint: Endpoint,
    missing: Option<Missing>,
}

/// A server that the list did not name any more.
#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    /// Still shown, since too many went missing with it.
    held: bool,
}

/// What became of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The list is as the look says, or as earlier looks made it.
    Applied,
    /// This many servers went missing, too many to believe at once. They are kept until they are missing later too.
    Held(usize),
    /// The look was empty and the list is not: nothing changed.
    Empty,
}

impl Ledger {
    pub(super) fn new(confirm_after: Duration) -> Ledger {
        Ledger {
            confirm_after,
            entries: BTreeMap::new(),
        }
    }

    /// Takes in one look at the whole list.
    pub(super) fn observe(
        &mut self,
        offered: impl IntoIterator<Item = Endpoint>,
        now: Instant,
    ) -> Seen {
        let offered: BTreeMap<String, Endpoint> = offered
            .into_iter()
            .map(|endpoint| (endpoint.address.to_string(), endpoint))
            .collect();
        // Who said that it was going is gone.
        let is_going = |entry: &Entry| entry.endpoint.state == State::Draining;
        let mut shown = self.entries.values().filter(|entry| entry.is_shown());
        if offered.is_empty() && !shown.all(is_going) {
            return Seen::Empty;
        }
        self.entries
            .retain(|address, entry| offered.contains_key(address) || !is_going(entry));

        // Who has been missing for long enough is gone for good.
        let confirm_after = self.confirm_after;
        self.entries.retain(|address, entry| {
            let since = entry.missing.map(|missing| missing.since);
            let is_confirmed =
                since.is_some_and(|since| now.saturating_duration_since(since) >= confirm_after);
            offered.contains_key(address) || !is_confirmed
        });

        let absent = |address: &String| !offered.contains_key(address);
        let (mut shown, mut hidden, mut newly_missing) = (0, 0, 0);
        for (address, entry) in &self.entries {
            let is_shown = entry.is_shown();
            shown += usize::from(is_shown);
            hidden += usize::from(absent(address) && !is_shown);
            newly_missing += usize::from(absent(address) && entry.missing.is_none());
        }
        // Those hidden a moment ago count too: many small steps are one big one.
        let held = (hidden + newly_missing) * 2 > shown + hidden;
        for (_, entry) in self.entries.iter_mut().filter(|(a, _)| absent(a)) {
            entry.missing.get_or_insert(Missing { since: now, held });
        }

        for (address, endpoint) in offered {
            let missing = None;
            self.entries.insert(address, Entry { endpoint, missing });
        }
        match held && newly_missing > 0 {
            true => Seen::Held(newly_missing),
            false => Seen::Applied,
        }
    }

    /// This server said that it is going.
    pub(super) fn withdrawn(&mut self, address: &str) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.endpoint.state = State::Draining;
        }
    }

    /// In how long a look would settle whether those who are held are gone; `None` when nobody is.
    pub(super) fn confirm_in(&self, now: Instant) -> Option<Duration> {
        let missing = self.entries.values().filter_map(|entry| entry.missing);
        let held = missing.filter(|missing| missing.held);
        let since = held.map(|missing| missing.since).max()?;
        let waited = now.saturating_duration_since(since);
        Some(self.confirm_after.saturating_sub(waited))
    }

    /// The servers to show, sorted by address.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let shown = self.entries.values().filter(|entry| entry.is_shown());
        shown.map(|entry| entry.endpoint.clone()).collect()
    }
}

impl Entry {
    fn is_shown(&self) -> bool {
        self.missing.is_none_or(|missing| missing.held)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::address::Address;

    const CONFIRM: Duration = Duration::from_secs(10);

    fn endpoint(port: u16) -> Endpoint {
        Endpoint::new(Address::tcp(format!("h:{port}")))
    }

    fn shown(ledger: &Ledger) -> BTreeSet<String> {
        let endpoints = ledger.endpoints();
        endpoints.iter().map(|e| e.address.to_string()).collect()
    }

    fn names(ports: impl IntoIterator<Item = u16>) -> BTreeSet<String> {
        let name = |port| endpoint(port).address.to_string();
        ports.into_iter().map(name).collect()
    }

    /// Shows these lists at these seconds, and gives what is shown after each.
    fn play(looks: &[(u64, &[u16])]) -> Vec<BTreeSet<String>> {
        let (mut ledger, start) = (Ledger::new(CONFIRM), Instant::now());
        let mut after = Vec::new();
        for (second, ports) in looks {
            let now = start + Duration::from_secs(*second);
            ledger.observe(ports.iter().map(|p| endpoint(*p)), now);
            after.push(shown(&ledger));
        }
        after
    }

    #[test]
    fn up_to_half_go_at_once() {
        let after = play(&[(0, &[1, 2, 3, 4]), (1, &[1, 2])]);
        assert_eq!(after[1], names([1, 2]));
    }

    #[test]
    fn more_than_half_go_when_a_later_look_misses_them_too() {
        let after = play(&[(0, &[1, 2, 3]), (1, &[1]), (10, &[1]), (11, &[1])]);
        assert_eq!(after[1], names([1, 2, 3]));
        assert_eq!(after[2], names([1, 2, 3]), "nine seconds confirm nothing");
        assert_eq!(after[3], names([1]));
    }

    #[test]
    fn the_only_server_is_replaced_after_confirmation_and_the_new_one_is_there_at_once() {
        let after = play(&[
            (0, &[1]),
            (1, &[2, 3, 4]),
            (5, &[2, 3, 4]),
            (11, &[2, 3, 4]),
        ]);
        assert_eq!(after[1], names([1, 2, 3, 4]));
        assert_eq!(after[2], names([1, 2, 3, 4]));
        assert_eq!(after[3], names([2, 3, 4]));
    }

    #[test]
    fn many_small_steps_are_one_big_one() {
        let all: Vec<u16> = (0..8).collect();
        let after = play(&[(0, &all), (1, &all[4..]), (2, &all[6..]), (3, &all[7..])]);
        assert_eq!(after[1].len(), 4);
        assert_eq!(after[2].len(), 4);
        assert_eq!(after[3].len(), 4);
    }

    #[test]
    fn who_comes_back_was_never_away() {
        let after = play(&[(0, &[1, 2]), (1, &[1]), (2, &[1, 2]), (20, &[2])]);
        assert_eq!(after[2], names([1, 2]));
        assert_eq!(
            after[3],
            names([2]),
            "missing for the first time, one of two"
        );
    }

    #[test]
    fn who_comes_back_makes_no_room_for_others_to_go() {
        let after = play(&[(0, &[0, 8]), (0, &[1, 2, 3, 6, 8]), (0, &[0, 1, 2])]);
        assert_eq!(after[1], names([1, 2, 3, 6, 8]));
        assert_eq!(after[2], names([0, 1, 2, 3, 6, 8]));
    }

    #[test]
    fn who_said_that_it_is_going_goes_at_once_also_the_last() {
        let (mut ledger, now) = (Ledger::new(CONFIRM), Instant::now());
        let draining = |port| {
            let mut endpoint = endpoint(port);
            endpoint.state = State::Draining;
            endpoint
        };
        ledger.observe([draining(1), draining(2), endpoint(3), draining(4)], now);
        assert_eq!(ledger.observe([endpoint(3)], now), Seen::Applied);
        assert_eq!(shown(&ledger), names([3]));
        assert_eq!(ledger.observe([], now), Seen::Empty);
        assert_eq!(shown(&ledger), names([3]), "it said nothing");
        ledger.observe([endpoint(3), endpoint(4)], now);
        ledger.observe([endpoint(3)], now);
        ledger.withdrawn("tcp@h:3");
        assert_eq!(ledger.observe([], now), Seen::Applied);
        assert_eq!(
            shown(&ledger),
            names([]),
            "whom nobody sees holds nobody back"
        );
    }

    #[test]
    fn a_farewell_of_some_does_not_hide_that_the_others_were_lost() {
        let (mut ledger, now) = (Ledger::new(CONFIRM), Instant::now());
        ledger.observe([1, 2, 3, 4].map(endpoint), now);
        ledger.withdrawn("tcp@h:1");
        assert_eq!(ledger.observe([endpoint(4)], now), Seen::Held(2));
        assert_eq!(shown(&ledger), names([2, 3, 4]));
        assert_eq!(ledger.confirm_in(now + CONFIRM / 4), Some(CONFIRM * 3 / 4));
        assert_eq!(ledger.observe([endpoint(4)], now + CONFIRM), Seen::Applied);
        assert_eq!(shown(&ledger), names([4]));
        assert_eq!(ledger.confirm_in(now + CONFIRM), None);
    }

    #[test]
    fn a_changed_description_is_taken_over() {
        let (mut ledger, now) = (Ledger::new(CONFIRM), Instant::now());
        ledger.observe([endpoint(1)], now);
        let mut heavier = endpoint(1);
        heavier.weight = 7;
        ledger.observe([heavier.clone()], now);
        assert_eq!(ledger.endpoints(), [heavier]);
    }

    proptest! {
        #[test]
        fn no_history_of_looks_breaks_the_rule(
            looks in prop::collection::vec((prop::collection::btree_set(0..12u16, 0..12), 0..15u64), 1..40)
        ) {
            let mut ledger = Ledger::new(CONFIRM);
            let mut now = Instant::now();
            // When each server was last in a list, and when it began to be missing.
            let mut missing_since: BTreeMap<String, Instant> = BTreeMap::new();
            for (ports, seconds) in looks {
                now += Duration::from_secs(seconds);
                let (before, offered) = (shown(&ledger), names(ports.iter().copied()));
                let seen = ledger.observe(ports.into_iter().map(endpoint), now);
                let after = shown(&ledger);
                if offered.is_empty() {
                    prop_assert_eq!(&after, &before, "an empty look changes nothing");
                    prop_assert!(before.is_empty() || seen == Seen::Empty);
                    continue;
                }
                prop_assert!(after.is_superset(&offered), "who is in the list is shown");
                let gone: Vec<&String> = before.difference(&after).collect();
                let is_confirmed = |address: &&&String| {
                    missing_since.get(**address).is_some_and(|since| now - *since >= CONFIRM)
                };
                let unconfirmed = gone.iter().filter(|a| !is_confirmed(a)).count();
                prop_assert!(unconfirmed * 2 <= before.len(), "{before:?} became {after:?}");
                for address in before.union(&after) {
                    match offered.contains(address) {
                        true => { missing_since.remove(address); }
                        false => {
                            let since = *missing_since.entry(address.clone()).or_insert(now);
                            prop_assert!(
                                now - since < CONFIRM || !after.contains(address),
                                "{address} is missing since {:?} and still shown", now - since
                            );
                        }
                    }
                }
            }
        }
    }
}
