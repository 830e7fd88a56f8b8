//! What those who watch a registry are sent, and when: at once what they lack, then every change, a few at a time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

use super::line::{Line, Told};
use super::{Registry, clock};
use crate::backoff::jittered;
use crate::discover::record::Record;
use crate::http::{Ending, Feed, Next};

/// Changes within this time are told together.
const BATCH: Duration = Duration::from_millis(100);
/// Silence ends with a line that says that nothing changed, so that a dead connection is found out.
pub(super) const QUIET_MAX: Duration = Duration::from_secs(15);
/// So many come back within a second after a loss, if they do as they are told.
const BACK_PER_SECOND: usize = 2000;

/// One client that watches.
pub(super) struct Watcher {
    registry: Registry,
    /// What it knows; `None` before the first line, if that is the whole list.
    known: Option<u64>,
    is_first: bool,
    changed: watch::Receiver<u64>,
    ending: watch::Receiver<()>,
    _slot: OwnedSemaphorePermit,
}

impl Watcher {
    /// A client that knows all up to this revision, or nothing.
    pub(super) fn new(
        registry: &Registry,
        known: Option<u64>,
        ending: Option<Ending>,
        slot: OwnedSemaphorePermit,
    ) -> Watcher {
        Watcher {
            registry: registry.clone(),
            known,
            is_first: true,
            changed: registry.0.changed.subscribe(),
            // Whoever gave none ends the body by dropping it.
            ending: ending.map_or_else(|| watch::channel(()).1, |ending| ending.0),
            _slot: slot,
        }
    }
}

impl Feed for Watcher {
    fn next(mut self: Box<Self>) -> Next {
        Box::pin(async move {
            if !std::mem::replace(&mut self.is_first, false) {
                let told = async {
                    tokio::select! {
                        changed = self.changed.changed() => if changed.is_ok() { sleep(BATCH).await },
                        () = sleep(jittered(QUIET_MAX)) => {}
                    }
                };
                tokio::select! {
                    () = told => {}
                    _ = self.ending.changed() => return None,
                }
            }
            self.changed.mark_unchanged();
            let (line, revision) = self.registry.line(self.known, clock());
            self.known = Some(revision);
            Some((line, self as Box<dyn Feed>))
        })
    }
}

impl Registry {
    /// The line for whoever knows all up to this revision, or nothing; and up to where they know all with it.
    fn line(&self, known: Option<u64>, now: Instant) -> (Bytes, u64) {
        let spread_s = (self.watching() / BACK_PER_SECOND).max(1) as u64;
        let (cursor, made) = self.with(|table| {
            let cursor = (known, table.revision(), table.is_warming(now));
            if let Some(line) = self.known_line(cursor) {
                return (cursor, Err(line));
            }
            let changes = known.and_then(|after| {
                let changes = table.since(after)?;
                Some((after, changes.map(Told::from).collect::<Vec<_>>()))
            });
            let mut line = Line {
                epoch: self.0.epoch.clone(),
                revision: cursor.1,
                warming: cursor.2,
                spread_s,
                servers: None,
                after: None,
                changes: Vec::new(),
            };
            match changes {
                Some((after, changes)) => (line.after, line.changes) = (Some(after), changes),
                None => {
                    let alive = table.alive(now);
                    line.servers = Some(alive.map(|(_, e, _)| Record::from(e)).collect());
                    line.revision = table.revision();
                }
            }
            (cursor, Ok(line))
        });
        let line = match made {
            Ok(line) => line,
            Err(known) => return (known, cursor.1),
        };
        let revision = line.revision;
        let mut bytes = serde_json::to_vec(&line).expect("a line is strings and numbers");
        bytes.push(b'\n');
        let bytes = Bytes::from(bytes);
        if revision == cursor.1 {
            let mut last = self
                .0
                .last_line
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            *last = Some((cursor, bytes.clone()));
        }
        (bytes, revision)
    }

    fn known_line(&self, cursor: super::Cursor) -> Option<Bytes> {
        let last = self
            .0
            .last_line
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (made_for, line) = last.as_ref()?;
        (*made_for == cursor).then(|| line.clone())
    }

    /// How many clients watch now.
    pub(super) fn watching(&self) -> usize {
        self.0.watchers_max - self.0.watchers.available_permits()
    }
}
