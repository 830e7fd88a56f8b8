//! The servers of a cluster, one line to each, and which line a call takes. Nothing here waits; the time is given.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::balance::{Balance, Candidate};
use crate::discover::{Endpoint, Snapshot, State};

/// How long a server is left alone after the first failure to reach it, and after many.
const REST_FIRST: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(30);

/// The way to one server: a client (`C`), and what this process knows about the server. It outlives changes of the
/// server's description, and ends with the last call on it.
#[derive(Debug)]
pub(super) struct Line<C> {
    pub(super) address: Address,
    pub(super) client: C,
    in_flight: Arc<AtomicUsize>,
    /// Milliseconds after `made` until which it is left alone; 0 when it is well.
    resting_until_ms: AtomicU64,
    backoff: Mutex<Backoff>,
    made: Instant,
}

/// The lines to all servers of one snapshot. It never changes: a new snapshot makes a new fleet.
#[derive(Debug)]
pub(super) struct Fleet<C> {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) is_closed: bool,
    members: Vec<Member<C>>,
    /// Those of the members that take new calls, ready for the balance, and their lines in the same order.
    candidates: Vec<Candidate>,
    lines: Vec<Arc<Line<C>>>,
}

#[derive(Debug)]
struct Member<C> {
    endpoint: Endpoint,
    line: Arc<Line<C>>,
}

/// A line with a call on it, which counts for as long as this lives.
#[derive(Debug)]
pub(super) struct Busy<C>(Arc<Line<C>>);

impl<C> Line<C> {
    fn new(address: Address, client: C, now: Instant) -> Line<C> {
        Line {
            address,
            client,
            in_flight: Arc::default(),
            resting_until_ms: AtomicU64::new(0),
            backoff: Mutex::new(Backoff::new(REST_FIRST, REST_MAX)),
            made: now,
        }
    }

    /// Counts a call.
    pub(super) fn busy(self: Arc<Line<C>>) -> Busy<C> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    /// The server answered.
    pub(super) fn is_well(&self) {
        if self.resting_until_ms.load(Ordering::Relaxed) != 0 {
            self.resting_until_ms.store(0, Ordering::Relaxed);
            self.backoff().reset();
        }
    }

    /// The server could not be reached: it is left alone `until` its client dials again, or for a while that is chosen
    /// here if the client does not say. Many calls that fail together are one failure.
    pub(super) fn cannot_be_reached(&self, now: Instant, until: Option<Instant>) {
        let mut backoff = self.backoff();
        let until = match until {
            Some(until) => until,
            None if self.is_resting(|| now) => return,
            None => now + backoff.next(),
        };
        let until = until.saturating_duration_since(self.made);
        let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.resting_until_ms
            .store(until_ms.max(1), Ordering::Relaxed);
    }

    /// The clock is read only for one that was out of reach: a call without a deadline needs none.
    fn is_resting(&self, now: impl FnOnce() -> Instant) -> bool {
        let until_ms = self.resting_until_ms.load(Ordering::Relaxed);
        let now_ms = || now().saturating_duration_since(self.made).as_millis();
        until_ms > 0 && now_ms() < u128::from(until_ms)
    }

    fn backoff(&self) -> std::sync::MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Deref for Busy<C> {
    type Target = Line<C>;

    fn deref(&self) -> &Line<C> {
        &self.0
    }
}

impl<C> Drop for Busy<C> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<C> Fleet<C> {
    /// A fleet before its first snapshot, or after its end.
    pub(super) fn empty(is_closed: bool) -> Fleet<C> {
        Fleet {
            snapshot: Arc::default(),
            is_closed,
            members: Vec::new(),
            candidates: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// The fleet for a new snapshot. Servers that stay keep their lines, whatever else is said about them now.
    pub(super) fn succeed(
        &self,
        snapshot: Arc<Snapshot>,
        now: Instant,
        connect: impl Fn(&Address) -> C,
    ) -> Fleet<C> {
        let known = self
            .members
            .iter()
            .map(|member| (&member.line.address, &member.line));
        let known: HashMap<&Address, &Arc<Line<C>>> = known.collect();
        let members = snapshot.endpoints.iter().map(|endpoint| {
            let address = &endpoint.address;
            let line = match known.get(address) {
                Some(line) => Arc::clone(line),
                None => Arc::new(Line::new(address.clone(), connect(address), now)),
            };
            let endpoint = endpoint.clone();
            Member { endpoint, line }
        });
        let members: Vec<Member<C>> = members.collect();
        let up = || members.iter().filter(|m| m.endpoint.state == State::Up);
        Fleet {
            is_closed: self.is_closed,
            candidates: up().map(Member::candidate).collect(),
            lines: up().map(|member| Arc::clone(&member.line)).collect(),
            members,
            snapshot,
        }
    }

    /// The line for a call that tried some servers already; `None` when it tried all.
    ///
    /// Servers that are draining come after those that are up, and those that could not be reached a moment ago come
    /// last.
    pub(super) fn pick(
        &self,
        balance: &dyn Balance,
        tried: &HashSet<Address>,
        now: impl Fn() -> Instant,
    ) -> Option<&Arc<Line<C>>> {
        // The usual way, which allocates nothing.
        let picked = balance.pick(&self.candidates, fastrand::u64(..));
        if let Some(line) = picked.and_then(|index| self.lines.get(index)) {
            if !tried.contains(&line.address) && !line.is_resting(&now) {
                return Some(line);
            }
        }
        let rank = |member: &Member<C>| {
            let is_draining = member.endpoint.state != State::Up;
            (member.line.is_resting(&now), is_draining)
        };
        let untried = || {
            self.members
                .iter()
                .filter(|m| !tried.contains(&m.line.address))
        };
        let best = untried().map(rank).min()?;
        let members: Vec<&Member<C>> = untried().filter(|member| rank(member) == best).collect();
        let candidates: Vec<Candidate> = members.iter().map(|member| member.candidate()).collect();
        let picked = balance.pick(&candidates, fastrand::u64(..));
        // A balance that picks nobody does not make the servers go away.
        let picked = picked
            .and_then(|index| members.get(index))
            .or(members.first());
        picked.map(|member| &member.line)
    }

    /// True when a server other than this one and those tried can be expected to answer.
    pub(super) fn has_other(&self, line: &Line<C>, tried: &HashSet<Address>, now: Instant) -> bool {
        self.lines.iter().any(|other| {
            let is_other = other.address != line.address && !tried.contains(&other.address);
            is_other && !other.is_resting(|| now)
        })
    }

    /// The lines to all servers, sorted by address.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Line<C>>> {
        self.members.iter().map(|member| &member.line)
    }
}

impl<C> Member<C> {
    fn candidate(&self) -> Candidate {
        let in_flight = Arc::clone(&self.line.in_flight);
        Candidate::new(self.line.address.clone(), self.endpoint.weight, in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{LeastRequests, RoundRobin};

    fn address(port: u16) -> Address {
        Address::tcp(format!("h:{port}"))
    }

    fn snapshot(servers: &[(u16, State)]) -> Arc<Snapshot> {
        let endpoint = |(port, state): &(u16, State)| {
            let mut endpoint = Endpoint::new(address(*port));
            endpoint.state = *state;
            endpoint
        };
        Arc::new(Snapshot {
            endpoints: servers.iter().map(endpoint).collect(),
            known: true,
            stale: None,
        })
    }

    fn fleet(servers: &[(u16, State)], now: Instant) -> Fleet<Address> {
        Fleet::empty(false).succeed(snapshot(servers), now, Address::clone)
    }

    /// Every server that a call tries, in order, when none answers.
    fn order(fleet: &Fleet<Address>, now: Instant) -> Vec<Address> {
        let (balance, mut tried) = (RoundRobin::default(), HashSet::new());
        let mut order = Vec::new();
        while let Some(line) = fleet.pick(&balance, &tried, || now) {
            assert!(
                tried.insert(line.address.clone()),
                "{} came twice",
                line.address
            );
            order.push(line.address.clone());
        }
        order
    }

    const UP: State = State::Up;

    #[test]
    fn a_call_tries_each_server_once_the_draining_later_and_the_unreachable_last() {
        let now = Instant::now();
        let fleet = fleet(&[(1, UP), (2, State::Draining), (3, UP), (4, UP)], now);
        let unreachable = fleet.all().find(|line| line.address == address(3)).unwrap();
        unreachable.cannot_be_reached(now, None);
        let mut order = order(&fleet, now);
        assert_eq!(order.split_off(2), [address(2), address(3)]);
        order.sort_by_key(Address::to_string);
        assert_eq!(order, [address(1), address(4)]);
    }

    #[test]
    fn an_empty_fleet_has_nobody() {
        let now = Instant::now();
        assert_eq!(order(&fleet(&[], now), now), []);
    }

    #[test]
    fn rest_grows_with_failures_and_ends_with_the_first_answer() {
        let start = Instant::now();
        let fleet = fleet(&[(1, UP)], start);
        let line = fleet.all().next().unwrap();
        let mut now = start;
        for failure in 0..40 {
            line.cannot_be_reached(now, None);
            assert!(line.is_resting(|| now), "{failure}");
            line.cannot_be_reached(now, None);
            now += REST_MAX;
            assert!(
                !line.is_resting(|| now),
                "no rest is longer than {REST_MAX:?}"
            );
        }
        line.cannot_be_reached(now, None);
        line.is_well();
        assert!(!line.is_resting(|| now));
        line.cannot_be_reached(now, None);
        assert!(!line.is_resting(|| now + REST_FIRST), "it begins anew");
    }

    #[test]
    fn a_server_is_left_alone_until_its_client_dials_again() {
        let now = Instant::now();
        let fleet = fleet(&[(1, UP)], now);
        let line = fleet.all().next().unwrap();
        let until = now + 2 * REST_MAX;
        for _ in 0..2 {
            line.cannot_be_reached(now, Some(until));
            assert!(line.is_resting(|| until - Duration::from_millis(1)));
            assert!(!line.is_resting(|| until));
        }
    }

    #[test]
    fn failures_that_come_together_are_one() {
        let now = Instant::now();
        let fleet = fleet(&[(1, UP)], now);
        let line = fleet.all().next().unwrap();
        for _ in 0..1000 {
            line.cannot_be_reached(now, None);
        }
        assert!(!line.is_resting(|| now + REST_FIRST));
    }

    #[test]
    fn servers_that_stay_keep_their_lines_and_what_is_new_about_them_counts() {
        let now = Instant::now();
        let before = fleet(&[(1, UP), (2, UP)], now);
        let line = Arc::clone(before.all().next().unwrap());
        let after = before.succeed(
            snapshot(&[(1, State::Draining), (3, UP)]),
            now,
            Address::clone,
        );
        assert!(Arc::ptr_eq(after.all().next().unwrap(), &line));
        assert_eq!(order(&after, now), [address(3), address(1)]);
    }

    #[test]
    fn calls_in_flight_are_seen_by_the_balance_until_they_end() {
        let now = Instant::now();
        let fleet = fleet(&[(1, UP), (2, UP)], now);
        let pick = || fleet.pick(&LeastRequests, &HashSet::new(), || now).unwrap();
        let first = pick();
        let busy = Arc::clone(first).busy();
        for _ in 0..20 {
            assert_ne!(pick().address, first.address);
        }
        drop(busy);
        let picked: HashSet<String> = (0..100).map(|_| pick().address.to_string()).collect();
        assert_eq!(picked.len(), 2);
    }

    #[test]
    fn a_balance_that_picks_wrongly_costs_no_call() {
        struct Wrong;
        impl Balance for Wrong {
            fn pick(&self, candidates: &[Candidate], random: u64) -> Option<usize> {
                (random % 2 == 0).then_some(candidates.len())
            }
        }
        let now = Instant::now();
        let fleet = fleet(&[(1, UP), (2, UP)], now);
        for _ in 0..20 {
            assert!(fleet.pick(&Wrong, &HashSet::new(), || now).is_some());
        }
    }

    #[test]
    fn whether_there_is_another_server_leaves_out_the_hopeless() {
        let now = Instant::now();
        let fleet = fleet(&[(1, UP), (2, UP), (3, State::Draining)], now);
        let lines: Vec<_> = fleet.all().collect();
        assert!(fleet.has_other(lines[0], &HashSet::new(), now));
        assert!(!fleet.has_other(lines[0], &HashSet::from([address(2)]), now));
        lines[1].cannot_be_reached(now, None);
        assert!(!fleet.has_other(lines[0], &HashSet::new(), now));
    }
}
