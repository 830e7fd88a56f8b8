//! Which server gets a call: pure choices from a slice of candidates. No connections, no clock; the dice are given.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::address::Address;

/// A server that may get the call, and how busy this process keeps it.
#[derive(Clone, Debug)]
pub struct Candidate {
    address: Address,
    weight: u32,
    in_flight: Arc<AtomicUsize>,
}

impl Candidate {
    /// A candidate whose calls in flight are counted by whoever makes it.
    pub fn new(address: Address, weight: u32, in_flight: Arc<AtomicUsize>) -> Candidate {
        Candidate {
            address,
            weight,
            in_flight,
        }
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How much work it can do beside the others.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The calls that this process has sent there and that have not ended.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// True when this one has fewer calls for its weight than the other.
    fn is_less_busy_than(&self, other: &Candidate) -> bool {
        // The call to come counts, or weights would not matter while all are idle.
        let after = |candidate: &Candidate| candidate.in_flight() as u128 + 1;
        after(self) * u128::from(other.weight) < after(other) * u128::from(self.weight)
    }
}

/// Chooses the server for a call.
///
/// Choosing is on the way of every call and from many threads at once: keep it short and without locks.
pub trait Balance: Send + Sync + 'static {
    /// The index of the one chosen; `None` only when there are no candidates. `random` is new for each call, and
    /// every bit of it is random.
    fn pick(&self, candidates: &[Candidate], random: u64) -> Option<usize>;
}

/// Any of them, each as likely as the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

/// One after the other.
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: AtomicUsize,
}

/// Any of them, as likely as its weight says. Weight 0 is chosen only when all have it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighted;

/// The one with the fewest calls in flight for its weight. It looks at all of them: for small clusters.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastRequests;

/// The less busy of two that are drawn: nearly as even as [`LeastRequests`] at a fixed price. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct TwoChoices;

impl Balance for Random {
    fn pick(&self, candidates: &[Candidate], random: u64) -> Option<usize> {
        below(candidates.len() as u64, random).map(|index| index as usize)
    }
}

impl Balance for RoundRobin {
    fn pick(&self, candidates: &[Candidate], _random: u64) -> Option<usize> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        turn.checked_rem(candidates.len())
    }
}

impl Balance for Weighted {
    fn pick(&self, candidates: &[Candidate], random: u64) -> Option<usize> {
        let total = candidates.iter().map(|c| u64::from(c.weight)).sum();
        let Some(mut ticket) = below(total, random) else {
            return Random.pick(candidates, random);
        };
        candidates.iter().position(|candidate| {
            let weight = u64::from(candidate.weight);
            let is_hit = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            is_hit
        })
    }
}

impl Balance for LeastRequests {
    fn pick(&self, candidates: &[Candidate], random: u64) -> Option<usize> {
        // The search begins anywhere: of equals, the first would get everything.
        let start = Random.pick(candidates, random)?;
        let (before, after) = candidates.split_at_checked(start)?;
        let in_turn = (start..candidates.len())
            .zip(after)
            .chain((0..).zip(before));
        let least = in_turn.reduce(|best, next| match next.1.is_less_busy_than(best.1) {
            true => next,
            false => best,
        });
        least.map(|(index, _)| index)
    }
}

impl Balance for TwoChoices {
    fn pick(&self, candidates: &[Candidate], random: u64) -> Option<usize> {
        let len = candidates.len() as u64;
        // Two different ones: the second is drawn from the others, that is by its distance from the first.
        let first = below(len, random & 0xFFFF_FFFF_0000_0000)?;
        let Some(distance) = below(len - 1, random << 32) else {
            return Some(first as usize);
        };
        let second = (first + 1 + distance) % len;
        let (a, b) = (
            candidates.get(first as usize)?,
            candidates.get(second as usize)?,
        );
        Some(match b.is_less_busy_than(a) {
            true => second as usize,
            false => first as usize,
        })
    }
}

/// Spreads `random` evenly over `0..len`; `None` when that is empty.
fn below(len: u64, random: u64) -> Option<u64> {
    // The high word of the product: no division, and the high bits decide.
    let scaled = (u128::from(random) * u128::from(len)) >> 64;
    (len > 0).then_some(scaled as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Candidates with these weights and calls in flight.
    fn candidates(given: &[(u32, usize)]) -> Vec<Candidate> {
        let one = |(port, (weight, busy)): (usize, &(u32, usize))| {
            let address = Address::tcp(format!("h:{port}"));
            Candidate::new(address, *weight, Arc::new(AtomicUsize::new(*busy)))
        };
        given.iter().enumerate().map(one).collect()
    }

    fn all() -> Vec<(&'static str, Box<dyn Balance>)> {
        vec![
            ("random", Box::new(Random)),
            ("round robin", Box::new(RoundRobin::default())),
            ("weighted", Box::new(Weighted)),
            ("least requests", Box::new(LeastRequests)),
            ("two choices", Box::new(TwoChoices)),
        ]
    }

    /// How often each is picked in this many picks.
    fn shares(balance: &dyn Balance, candidates: &[Candidate], picks: usize) -> Vec<usize> {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut shares = vec![0; candidates.len()];
        for _ in 0..picks {
            shares[balance.pick(candidates, rng.u64(..)).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn idle_equals_get_equal_shares() {
        let candidates = candidates(&[(1, 0); 7]);
        for (name, balance) in all() {
            for share in shares(&*balance, &candidates, 70_000) {
                assert!((9_500..10_500).contains(&share), "{name}: {share}");
            }
        }
    }

    #[test]
    fn round_robin_takes_turns_exactly() {
        let candidates = candidates(&[(1, 0), (1, 9), (5, 0)]);
        let balance = RoundRobin::default();
        let picks: Vec<_> = (0..6)
            .filter_map(|_| balance.pick(&candidates, 0))
            .collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn weighted_follows_the_weights() {
        let shares = shares(&Weighted, &candidates(&[(1, 0), (0, 0), (3, 0)]), 40_000);
        assert_eq!(shares[1], 0);
        assert!((9_500..10_500).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn weights_of_nothing_but_zero_still_choose() {
        let shares = shares(&Weighted, &candidates(&[(0, 0); 2]), 1_000);
        assert!(shares.iter().all(|share| *share > 400), "{shares:?}");
    }

    #[test]
    fn least_requests_finds_the_one_with_room() {
        let given = candidates(&[(1, 3), (1, 1), (1, 2)]);
        assert_eq!(shares(&LeastRequests, &given, 100), [0, 100, 0]);
        let twice_as_strong = candidates(&[(1, 2), (2, 3), (1, 2)]);
        assert_eq!(shares(&LeastRequests, &twice_as_strong, 100), [0, 100, 0]);
    }

    #[test]
    fn two_choices_never_take_the_busiest_and_know_weights() {
        let given = candidates(&[(1, 5), (1, 0), (1, 0), (1, 0)]);
        assert_eq!(shares(&TwoChoices, &given, 1_000)[0], 0);
        let weak_and_strong = candidates(&[(1, 0), (4, 2)]);
        assert_eq!(shares(&TwoChoices, &weak_and_strong, 100), [0, 100]);
    }

    #[test]
    fn two_choices_are_even_under_load_where_random_is_not() {
        // A thousand calls that do not end, over ten servers.
        let spread = |balance: &dyn Balance| {
            let candidates = candidates(&[(1, 0); 10]);
            let mut rng = fastrand::Rng::with_seed(1);
            for _ in 0..1_000 {
                let index = balance.pick(&candidates, rng.u64(..)).unwrap();
                candidates[index].in_flight.fetch_add(1, Ordering::Relaxed);
            }
            let busy = candidates.iter().map(Candidate::in_flight);
            busy.clone().max().unwrap() - busy.min().unwrap()
        };
        assert!(spread(&TwoChoices) <= 6, "{}", spread(&TwoChoices));
        assert!(spread(&Random) > 6, "{}", spread(&Random));
    }

    proptest! {
        #[test]
        fn a_pick_is_a_candidate_and_there_is_one_unless_there_are_none(
            given in prop::collection::vec((any::<u32>(), any::<usize>()), 0..20), random: u64,
        ) {
            let candidates = candidates(&given);
            for (name, balance) in all() {
                match balance.pick(&candidates, random) {
                    Some(index) => prop_assert!(index < candidates.len(), "{name}"),
                    None => prop_assert!(candidates.is_empty(), "{name}"),
                }
            }
        }
    }
}
