//! How far the sender of a stream's items may run ahead of who takes them, counted on both sides. Which items these are,
//! and who waits, is told by the engine above.

use std::collections::VecDeque;

use crate::Credit;

/// What an item costs beside its bytes: what it takes to keep it.
const ITEM_COST: usize = 64;
/// No side runs further ahead, whatever the other one allows: what was sent and not taken is remembered here.
const WINDOW_MAX: usize = 64 << 20;

/// The sender's count: what it has sent, and the other side has not said to have taken.
///
/// An item is sent while this is less than the window, so one item may be larger than the window.
#[derive(Debug)]
pub struct SendWindow {
    max: usize,
    /// The costs of the items that are out, the oldest first.
    out: VecDeque<u32>,
    sum: usize,
}

impl SendWindow {
    /// Nothing was sent yet, to a side that holds `window` bytes.
    pub fn new(window: usize) -> SendWindow {
        SendWindow {
            max: window.clamp(1, WINDOW_MAX),
            out: VecDeque::new(),
            sum: 0,
        }
    }

    /// True while an item may be sent.
    pub fn has_room(&self) -> bool {
        self.sum < self.max
    }

    /// An item of so many bytes was sent.
    pub fn sent(&mut self, len: usize) {
        let cost = u32::try_from(cost(len)).unwrap_or(u32::MAX);
        self.out.push_back(cost);
        self.sum += cost as usize;
    }

    /// The other side has taken this many items more. Of more than are out, the rest is nothing.
    pub fn credited(&mut self, count: Credit) {
        let count =
            usize::try_from(count).map_or(self.out.len(), |count| count.min(self.out.len()));
        let taken: usize = self.out.drain(..count).map(|cost| cost as usize).sum();
        self.sum -= taken;
        if self.out.is_empty() {
            // A stream that is quiet for long holds no memory for it.
            self.out = VecDeque::new();
        }
    }
}

/// The receiver's count: what it holds, and what it has taken without having said so.
#[derive(Debug)]
pub struct ReceiveWindow {
    max: usize,
    held: usize,
    taken: Credit,
    taken_cost: usize,
}

impl ReceiveWindow {
    /// Nothing came yet, and the sender was told of `window` bytes.
    pub fn new(window: usize) -> ReceiveWindow {
        ReceiveWindow {
            max: window.max(1),
            held: 0,
            taken: 0,
            taken_cost: 0,
        }
    }

    /// An item came whose body has so many bytes. False when it should not have been sent: the window was full.
    ///
    /// The two sides need not count the same: as long as the sender counts at least the bytes of the body, it never
    /// finds the window full here.
    #[must_use]
    pub fn arrived(&mut self, len: usize) -> bool {
        let had_room = self.held < self.max;
        if had_room {
            self.held = self.held.saturating_add(cost(len));
        }
        had_room
    }

    /// An item that had come was taken. The credit is to be sent now: half of the window was taken.
    pub fn took(&mut self, len: usize) -> Option<Credit> {
        let cost = cost(len);
        self.held = self.held.saturating_sub(cost);
        self.taken += 1;
        self.taken_cost = self.taken_cost.saturating_add(cost);
        match self.taken_cost >= self.max.div_ceil(2) {
            true => self.ran_empty(),
            false => None,
        }
    }

    /// All that came was taken, and more is waited for. The credit is to be sent now, if there is any: the sender may
    /// count more than is counted here, and wait for it.
    pub fn ran_empty(&mut self) -> Option<Credit> {
        self.taken_cost = 0;
        let taken = std::mem::take(&mut self.taken);
        (taken > 0).then_some(taken)
    }
}

fn cost(len: usize) -> usize {
    len.saturating_add(ITEM_COST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_item_larger_than_the_window_goes_alone() {
        let mut sender = SendWindow::new(100);
        sender.sent(1 << 20);
        assert!(!sender.has_room());
        sender.credited(1);
        assert!(sender.has_room());
    }

    #[test]
    fn more_credit_than_items_is_no_harm() {
        let mut sender = SendWindow::new(100);
        sender.sent(10);
        sender.credited(u64::MAX);
        sender.credited(3);
        sender.sent(200);
        assert!(!sender.has_room(), "credit is not saved up");
    }

    #[test]
    fn a_window_of_nothing_still_lets_one_item_pass_at_a_time() {
        let mut sender = SendWindow::new(0);
        let mut receiver = ReceiveWindow::new(0);
        for _ in 0..3 {
            assert!(sender.has_room());
            sender.sent(5);
            assert!(!sender.has_room());
            assert!(receiver.arrived(5));
            sender.credited(receiver.took(5).expect("it is half of the window"));
        }
    }

    #[test]
    fn who_ignores_the_window_is_seen() {
        let mut receiver = ReceiveWindow::new(1000);
        let held = (0..).take_while(|_| receiver.arrived(36)).count();
        assert_eq!(held, 10);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Send(usize),
        Deliver,
        Take,
        Credit,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let len = prop_oneof![8 => 0..300_usize, 1 => 0..5000_usize];
        let step = prop_oneof![
            3 => len.prop_map(Step::Send),
            2 => Just(Step::Deliver),
            2 => Just(Step::Take),
            1 => Just(Step::Credit),
        ];
        proptest::collection::vec(step, 0..400)
    }

    /// Both sides of a stream, and what is on its way between them.
    struct Pair {
        sender: SendWindow,
        receiver: ReceiveWindow,
        next: u64,
        wire: VecDeque<(u64, usize)>,
        held: VecDeque<(u64, usize)>,
        taken: Vec<u64>,
        credits: VecDeque<Credit>,
        window: usize,
        /// What a header adds to what the sender counts.
        header: usize,
    }

    impl Pair {
        fn send(&mut self, len: usize) {
            if self.sender.has_room() {
                self.sender.sent(len + self.header);
                self.wire.push_back((self.next, len));
                self.next += 1;
            }
        }

        fn deliver(&mut self) {
            if let Some((item, len)) = self.wire.pop_front() {
                assert!(self.receiver.arrived(len), "the sender kept to the window");
                self.held.push_back((item, len));
                let costs: usize = self.held.iter().map(|(_, len)| cost(*len)).sum();
                let last = self.held.back().map_or(0, |(_, len)| cost(*len));
                assert!(costs - last < self.window.max(1), "one item more at most");
            }
        }

        fn take(&mut self) {
            let credit = match self.held.pop_front() {
                Some((item, len)) => {
                    self.taken.push(item);
                    self.receiver.took(len)
                }
                None => self.receiver.ran_empty(),
            };
            self.credits.extend(credit);
        }

        fn credit(&mut self) {
            if let Some(credit) = self.credits.pop_front() {
                self.sender.credited(credit);
            }
        }
    }

    proptest! {
        #[test]
        fn any_interleaving_keeps_order_and_the_window_and_loses_nothing(
            window in 0..2000_usize,
            header in 0..200_usize,
            steps in steps(),
        ) {
            let mut pair = Pair {
                sender: SendWindow::new(window),
                receiver: ReceiveWindow::new(window),
                next: 0,
                wire: VecDeque::new(),
                held: VecDeque::new(),
                taken: Vec::new(),
                credits: VecDeque::new(),
                window,
                header,
            };
            for step in steps {
                match step {
                    Step::Send(len) => pair.send(len),
                    Step::Deliver => pair.deliver(),
                    Step::Take => pair.take(),
                    Step::Credit => pair.credit(),
                }
            }
            // Whatever happened, the rest gets through: nobody waits for ever.
            while !pair.wire.is_empty() {
                pair.deliver();
            }
            while !pair.held.is_empty() {
                pair.take();
            }
            pair.take();
            while !pair.credits.is_empty() {
                pair.credit();
            }
            prop_assert!(pair.sender.has_room());
            prop_assert_eq!(pair.sender.sum, 0);
            prop_assert_eq!(pair.taken, Vec::from_iter(0..pair.next));
        }
    }
}
