//! How a client follows the list in etcd: one list, then a watch from its revision on, for ever. What the messages
//! mean is in `mirror`, and what becomes of servers that are missing is the publisher's to say.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Layout;
use super::api::{Api, Refusal, Watch};
use super::mirror::Mirror;
use crate::backoff::{Backoff, jittered};
use crate::discover::Publisher;

/// The waits after failures. The longest keeps the list within seconds of etcd once it is back.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(3);
/// A watch may be this much behind a check that overtook it.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// Everything is listed again this often, come what may.
const RELIST: Duration = Duration::from_secs(600);
/// A store whose revisions have gone back is believed after this time: it was set up anew.
const WENT_BACK_FOR: Duration = Duration::from_secs(2);

/// Publishes the list until nobody looks at it.
pub(super) async fn follow(api: Api, layout: Layout, check: Duration, publisher: Publisher) {
    let mut follower = Follower {
        mirror: Mirror::new(layout.clone()),
        api,
        layout,
        check,
        publisher,
        needs_list: true,
        went_back_at: None,
        known_bad: Vec::new(),
        failures: 0,
    };
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    loop {
        let Some(end) = follower.until_cut().await else {
            return;
        };
        let pause = match end {
            End::Relist => continue,
            End::Cut(reason) => {
                if follower.failures == 0 {
                    backoff.reset();
                }
                follower.failures += 1;
                // A watch that ended once says nothing about the list yet: perhaps only a member went.
                if follower.failures > 1 || follower.mirror.revision() == 0 {
                    follower.publisher.failed(&reason.text);
                }
                follower.api.next_member();
                tracing::debug!(%reason, "the watch in etcd is cut");
                backoff.next()
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = follower.publisher.closed() => return,
        }
    }
}

struct Follower {
    api: Api,
    layout: Layout,
    check: Duration,
    publisher: Publisher,
    mirror: Mirror,
    needs_list: bool,
    went_back_at: Option<Instant>,
    known_bad: Vec<String>,
    /// Attempts in a row that brought nothing.
    failures: u32,
}

/// Why a watch is over.
enum End {
    /// It is to be begun again with a list, at once.
    Relist,
    /// It, or the way to it, failed.
    Cut(Refusal),
}

impl Follower {
    /// One list, if it is needed, and one watch, as long as it goes well. `None` when nobody looks any more.
    async fn until_cut(&mut self) -> Option<End> {
        if self.needs_list {
            if let Err(reason) = self.list().await {
                return Some(End::Cut(reason));
            }
            self.needs_list = false;
        }
        let (first, end) = self.layout.range();
        let from = self.mirror.revision() + 1;
        let watch = match self.api.watch(&[(&first, &end)], from, false).await {
            Ok(watch) => watch,
            Err(reason) => return Some(End::Cut(reason)),
        };
        let ended = self.watch(watch).await?;
        self.needs_list |= matches!(ended, End::Relist);
        Some(ended)
    }

    async fn list(&mut self) -> Result<(), Refusal> {
        let (first, end) = self.layout.range();
        let list = self.api.list(&first, &end).await?;
        let (now, was) = (list.header.revision, self.mirror.revision());
        // A read goes through the leader: it does not go back unless the store did.
        if now < was {
            let since = *self.went_back_at.get_or_insert_with(Instant::now);
            if since.elapsed() < WENT_BACK_FOR {
                let text = format!(
                    "etcd went back from revision {was} to {now}; waiting whether it stays so"
                );
                return Err(Refusal::new(text));
            }
            tracing::warn!(
                was,
                now,
                "etcd went back and stays there; its list is taken as it is"
            );
        }
        self.went_back_at = None;
        self.mirror.list(now, list.kvs);
        self.failures = 0;
        self.publish();
        Ok(())
    }

    async fn watch(&mut self, mut watch: Watch) -> Option<End> {
        let relist_at = Instant::now() + jittered(RELIST);
        let mut check_at = Instant::now() + jittered(self.check);
        let mut is_behind = false;
        // Told once a quiet moment came: a burst of events is one new list.
        let mut has_news = false;
        loop {
            let confirm_at = self
                .publisher
                .confirm_in()
                .map(|wait| Instant::now() + wait);
            let relist_at = confirm_at.map_or(relist_at, |at| relist_at.min(at));
            let message = tokio::select! {
                biased;
                message = watch.next() => message,
                () = std::future::ready(()), if has_news => {
                    has_news = false;
                    self.publish();
                    continue;
                }
                () = self.publisher.closed() => return None,
                () = sleep_until(relist_at) => return Some(End::Relist),
                () = sleep_until(check_at) => {
                    let whole = match self.check().await {
                        Ok(whole) => whole,
                        Err(reason) => return Some(End::Cut(reason)),
                    };
                    if is_behind && !whole {
                        tracing::warn!("the watch in etcd lost something; listing again");
                        return Some(End::Relist);
                    }
                    if whole && self.failures > 0 {
                        self.failures = 0;
                        has_news = true;
                    }
                    is_behind = !whole;
                    check_at = Instant::now() + if whole { jittered(self.check) } else { BEHIND_MAX };
                    continue;
                }
            };
            let message = match message {
                Ok(message) => message,
                Err(reason) => return Some(End::Cut(reason)),
            };
            if message.canceled && message.compact_revision > 0 {
                // What happened meanwhile is forgotten, deletions too: only a list tells.
                return Some(End::Relist);
            }
            if message.canceled {
                let text = format!("etcd cancelled the watch: {:?}", message.cancel_reason);
                return Some(End::Cut(Refusal::new(text)));
            }
            if self.failures > 0 {
                // It goes again. Whether it has caught up, the next check tells.
                check_at = Instant::now();
            }
            is_behind &= message.events.is_empty();
            let change = self.mirror.apply(message.events);
            for address in &change.withdrawn {
                self.publisher.withdrawn(address);
            }
            has_news |= change.is_news;
        }
    }

    /// Whether the watch brought everything that happened.
    async fn check(&mut self) -> Result<bool, Refusal> {
        let (first, end) = self.layout.range();
        let latest = self.api.latest(&first, &end).await?;
        let changed = latest.kvs.first().map_or(0, |kv| kv.mod_revision);
        Ok(self
            .mirror
            .agrees(latest.header.revision, latest.count, changed))
    }

    fn publish(&mut self) {
        let (endpoints, bad) = self.mirror.endpoints();
        if !bad.is_empty() && bad != self.known_bad {
            tracing::warn!(
                bad = bad.join("; "),
                "etcd lists what is no server, or describes it wrongly"
            );
        }
        self.known_bad = bad;
        self.publisher.update(endpoints);
    }
}
