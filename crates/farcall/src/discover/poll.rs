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
    let (mut publisher, snapshots) = Publisher::new(name);
    tokio::spawn(async move {
        let mut backoff = Backoff::new(RETRY_FIRST, period);
        loop {
            let pause = match look().await {
                Ok(endpoints) => {
                    publisher.update(endpoints);
                    backoff.reset();
                    jittered(period)
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
