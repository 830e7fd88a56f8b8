//! What the tasks of a connection share its state by: std's own, or loom's in builds with `--cfg farcall_loom`, whose
//! tests try every order in which threads can take their steps. Only `link` needs it: all else lies behind its lock.

#[cfg(all(test, farcall_loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::AtomicBool};
#[cfg(not(all(test, farcall_loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};
