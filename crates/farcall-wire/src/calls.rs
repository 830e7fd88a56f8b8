//! The calls of one connection that wait for their replies. Which slot a call has follows from its Seq.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Calls waiting for replies, filed under their Seq.
///
/// A call's slot is its Seq modulo the table's size, and a slot remembers its call's whole Seq. So a Seq is index and
/// generation in one: Seqs count up by one as Go's do, finding a call takes no search, and a late reply to a call that
/// was given up meets no other call. A Seq whose slot is still taken is left out.
///
/// `R` is what a call ends with.
#[derive(Debug)]
pub struct Calls<R> {
    /// A power of two, at least twice the calls that have a slot.
    slots: Vec<Slot<R>>,
    next_seq: u64,
    /// Calls that have a slot: those that wait, and those whose outcome was not taken yet.
    filed: usize,
    waiting: usize,
    /// No call's deadline is before this instant.
    earliest: Option<Instant>,
}

#[derive(Debug)]
struct Slot<R> {
    seq: u64,
    deadline: Option<Instant>,
    /// Where the request ends in the bytes sent on the connection.
    end: u64,
    state: State<R>,
}

#[derive(Debug)]
enum State<R> {
    Free,
    Waiting(Option<Waker>),
    Done(R),
}

const SLOTS_MIN: usize = 8;

impl<R> Calls<R> {
    /// A table whose first call gets `first_seq`.
    pub fn new(first_seq: u64) -> Calls<R> {
        Calls {
            slots: Vec::new(),
            next_seq: first_seq,
            filed: 0,
            waiting: 0,
            earliest: None,
        }
    }

    /// Files a call, with the waker that its outcome is to wake, and gives its Seq.
    pub fn start(&mut self, deadline: Option<Instant>, waker: Option<Waker>) -> u64 {
        if self.slots.len() < 2 * (self.filed + 1) {
            self.grow();
        }
        // At most half of the slots are taken, so this ends; and long calls cost a step each once in a round.
        while !matches!(self.slot(self.next_seq).state, State::Free) {
            self.next_seq += 1;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.filed += 1;
        self.waiting += 1;
        if let Some(deadline) = deadline {
            self.earliest = Some(
                self.earliest
                    .map_or(deadline, |earliest| earliest.min(deadline)),
            );
        }
        *self.slot(seq) = Slot {
            seq,
            deadline,
            end: u64::MAX,
            state: State::Waiting(waker),
        };
        seq
    }

    /// Remembers where the call's request ends, counted in bytes since the connection began.
    pub fn set_end(&mut self, seq: u64, end: u64) {
        let slot = self.slot(seq);
        if slot.seq == seq {
            slot.end = end;
        }
    }

    /// Ends the call of this Seq. The waker is to be woken once no lock is held.
    ///
    /// False when there is no such call, or no more: the reply is late, and dropped.
    pub fn finish(&mut self, seq: u64, outcome: R, wake: &mut Vec<Waker>) -> bool {
        let Some(State::Waiting(waker)) = self.find(seq) else {
            return false;
        };
        wake.extend(waker.take());
        if let Some(state) = self.find(seq) {
            *state = State::Done(outcome);
        }
        self.waiting -= 1;
        true
    }

    /// Takes a call's outcome, or leaves the waker to be woken by it.
    ///
    /// A call's outcome can be taken once; its slot is free then.
    pub fn poll(&mut self, seq: u64, context: &mut Context<'_>) -> Poll<R> {
        let Some(state) = self.find(seq) else {
            debug_assert!(false, "call {seq} was polled after its end");
            return Poll::Pending;
        };
        match state {
            State::Waiting(Some(waker)) => waker.clone_from(context.waker()),
            State::Waiting(waker) => *waker = Some(context.waker().clone()),
            State::Free | State::Done(_) => {
                if let State::Done(outcome) = self.free(seq) {
                    return Poll::Ready(outcome);
                }
            }
        }
        Poll::Pending
    }

    /// Frees the slot of a call whose caller has gone. True when its reply had not come yet.
    pub fn forget(&mut self, seq: u64) -> bool {
        matches!(self.free(seq), State::Waiting(_))
    }

    /// True when the call of this Seq still waits for its reply.
    pub fn is_waiting(&mut self, seq: u64) -> bool {
        matches!(self.find(seq), Some(State::Waiting(_)))
    }

    /// Ends every waiting call. `outcome` is given where each one's request ends.
    pub fn finish_all(&mut self, mut outcome: impl FnMut(u64) -> R, wake: &mut Vec<Waker>) {
        self.finish_where(|_| true, |slot| outcome(slot.end), wake);
    }

    /// Ends the calls whose deadline has come, and passes their Seqs to `outcome`.
    pub fn finish_expired(
        &mut self,
        now: Instant,
        mut outcome: impl FnMut(u64) -> R,
        wake: &mut Vec<Waker>,
    ) {
        let expired = |slot: &Slot<R>| slot.deadline.is_some_and(|deadline| deadline <= now);
        self.finish_where(expired, |slot| outcome(slot.seq), wake);
        let waiting = self
            .slots
            .iter()
            .filter(|slot| matches!(slot.state, State::Waiting(_)));
        self.earliest = waiting.filter_map(|slot| slot.deadline).min();
    }

    /// When [`Calls::finish_expired`] is to be called next. It may find nothing then: calls end before their deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// How many calls wait for their reply. One whose outcome was not taken yet does not: it needs nothing any more.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    fn finish_where(
        &mut self,
        ends: impl Fn(&Slot<R>) -> bool,
        mut outcome: impl FnMut(&Slot<R>) -> R,
        wake: &mut Vec<Waker>,
    ) {
        for slot in &mut self.slots {
            if !ends(slot) {
                continue;
            }
            if let State::Waiting(waker) = &mut slot.state {
                wake.extend(waker.take());
                slot.state = State::Done(outcome(slot));
                self.waiting -= 1;
            }
        }
    }

    fn find(&mut self, seq: u64) -> Option<&mut State<R>> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = self.slot(seq);
        (slot.seq == seq).then_some(&mut slot.state)
    }

    fn free(&mut self, seq: u64) -> State<R> {
        let Some(state) = self.find(seq) else {
            return State::Free;
        };
        let state = std::mem::replace(state, State::Free);
        match state {
            State::Free => {}
            State::Done(_) => self.filed -= 1,
            State::Waiting(_) => {
                self.filed -= 1;
                self.waiting -= 1;
            }
        }
        state
    }

    fn slot(&mut self, seq: u64) -> &mut Slot<R> {
        let mask = self.slots.len() as u64 - 1;
        &mut self.slots[(seq & mask) as usize]
    }

    /// Doubles the table. Two Seqs that had slots of their own have so in any larger table.
    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(SLOTS_MIN);
        let mut slots = Vec::with_capacity(len);
        slots.resize_with(len, || Slot {
            seq: 0,
            deadline: None,
            end: 0,
            state: State::Free,
        });
        for slot in std::mem::replace(&mut self.slots, slots) {
            if !matches!(slot.state, State::Free) {
                let seq = slot.seq;
                *self.slot(seq) = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn take<R>(calls: &mut Calls<R>, seq: u64) -> Poll<R> {
        calls.poll(seq, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn seqs_count_up_from_the_first_as_in_go() {
        let mut calls = Calls::<()>::new(0);
        for seq in 0..100 {
            assert_eq!(calls.start(None, None), seq);
            assert!(calls.finish(seq, (), &mut Vec::new()));
            assert_eq!(take(&mut calls, seq), Poll::Ready(()));
        }
        assert_eq!(calls.waiting(), 0);
    }

    #[test]
    fn a_late_reply_meets_no_other_call() {
        let mut calls = Calls::new(1);
        let first = calls.start(None, None);
        assert!(calls.forget(first));
        let others: Vec<u64> = (0..50).map(|_| calls.start(None, None)).collect();
        assert!(!calls.finish(first, "late", &mut Vec::new()));
        assert!(!calls.finish(9999, "never made", &mut Vec::new()));
        for seq in others {
            assert!(calls.is_waiting(seq));
        }
    }

    #[test]
    fn deadlines_end_calls_and_only_those() {
        let mut calls = Calls::new(1);
        let now = Instant::now();
        let soon = calls.start(Some(now + Duration::from_millis(1)), None);
        let later = calls.start(Some(now + Duration::from_millis(9)), None);
        let never = calls.start(None, None);
        assert_eq!(calls.next_deadline(), Some(now + Duration::from_millis(1)));
        calls.finish_expired(now + Duration::from_millis(2), |seq| seq, &mut Vec::new());
        assert_eq!(take(&mut calls, soon), Poll::Ready(soon));
        assert!(calls.is_waiting(later) && calls.is_waiting(never));
        assert_eq!(calls.next_deadline(), Some(now + Duration::from_millis(9)));
        assert!(!calls.forget(soon), "its outcome was taken");
    }

    proptest! {
        #[test]
        fn every_call_ends_once_with_its_own_outcome(steps in proptest::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..400)) {
            let mut calls = Calls::new(0);
            // What a table should hold: each Seq, and whether its reply came.
            let mut model: HashMap<u64, bool> = HashMap::new();
            for (step, pick) in steps {
                let mut seqs: Vec<u64> = model.keys().copied().collect();
                seqs.sort_unstable();
                if step == 0 || seqs.is_empty() {
                    let seq = calls.start(None, None);
                    prop_assert!(model.insert(seq, false).is_none());
                    continue;
                }
                let seq = seqs[pick.index(seqs.len())];
                match step {
                    1 => {
                        let was_waiting = !model[&seq];
                        prop_assert_eq!(calls.finish(seq, seq, &mut Vec::new()), was_waiting);
                        model.insert(seq, true);
                    }
                    2 => {
                        prop_assert_eq!(calls.forget(seq), !model[&seq]);
                        model.remove(&seq);
                    }
                    _ => {
                        let expected = if model[&seq] { Poll::Ready(seq) } else { Poll::Pending };
                        prop_assert_eq!(take(&mut calls, seq), expected);
                        if model[&seq] {
                            model.remove(&seq);
                        }
                    }
                }
                let waiting = model.values().filter(|came| !**came).count();
                prop_assert_eq!(calls.waiting(), waiting);
                prop_assert_eq!(calls.filed, model.len());
            }
        }
    }
}
