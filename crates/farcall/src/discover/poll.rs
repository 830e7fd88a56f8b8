//! Looking again and again, for back-ends that cannot be watched. What a look is, is theirs; which servers leave the
//! list, the publisher's.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::{Endpoint, Publisher, Snapshot};
use crate::backoff::{Backoff, jittered};

/// The first wait after a look that failed.
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// Looks once every `period`, with a fifth of jitter, until nobody sees the snapshots any more. After failures it is
/// sooner at first, and never later.
pub(crate) fn poll<L, F>(
    name: String,
    period: Duration,
    mut look: L,
) -> watch::Receiver<Arc<Snapshot>>
where
    L: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<Vec<Endpoint>, String>> + Send,
{
    poll_as_told(name, period, move || {
        let look = look();
        async move { Ok((look.await?, jittered(period))) }
    })
}

/// The same where each look tells how long it is good for. No wait after a failure is longer than `period_max`.
pub(crate) fn poll_as_told<L, F>(
    name: String,
    period_max: Duration,
    mut look: L,
) -> watch::Receiver<Arc<Snapshot>>
where
    L: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<(Vec<Endpoint>, Duration), String>> + Send,
{
    let (mut publisher, snapshots) = Publisher::new(name);
    tokio::spawn(async move {
        let mut backoff = Backoff::new(RETRY_FIRST, period_max);
        loop {
            let pause = match look().await {
                Ok((endpoints, good_for)) => {
                    publisher.update(endpoints);
                    backoff.reset();
                    good_for
                }
                Err(reason) => {
                    publisher.failed(reason);
                    backoff.next()
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = publisher.closed() => break,
            }
        }
    });
    snapshots
}
