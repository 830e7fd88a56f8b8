//! One lane of a client: the connection made last, where every call looks for it. When it is made and let go is told in
//! `lanes`.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;

use super::connection::Connection;

thread_local! {
    /// The connection that this thread's last call was done with. The next one is mostly made through the same: it takes
    /// this handle over, where making and dropping one of its own would be the dearest part of a small call.
    static SPARE: Cell<Option<Arc<Connection>>> = const { Cell::new(None) };
}

/// The connection made last, which may have ended since. Calls look here without a lock; whoever changes it holds one.
pub(super) struct Lane {
    connection: ArcSwapOption<Connection>,
    /// Where it lies, 0 for none: tells whether a handle is to it. A connection that somebody has a handle to is never
    /// at the place of another one.
    address: AtomicUsize,
}

impl Lane {
    pub(super) fn empty() -> Lane {
        Lane {
            connection: ArcSwapOption::empty(),
            address: AtomicUsize::new(0),
        }
    }

    pub(super) fn get(&self) -> Option<Arc<Connection>> {
        // A thread that is ending has none any more.
        if let Ok(Some(spare)) = SPARE.try_with(Cell::take) {
            if Arc::as_ptr(&spare).addr() == self.address.load(Ordering::Relaxed) {
                return Some(spare);
            }
        }
        self.connection.load_full()
    }

    pub(super) fn swap(&self, connection: Option<Arc<Connection>>) -> Option<Arc<Connection>> {
        let address = connection.as_ref().map_or(0, |it| Arc::as_ptr(it).addr());
        let before = self.connection.swap(connection);
        self.address.store(address, Ordering::Relaxed);
        before
    }
}

/// Leaves the handle of a call that is over to the next one.
pub(super) fn spare(connection: Arc<Connection>) {
    let _ = SPARE.try_with(|spare| spare.set(Some(connection)));
}
