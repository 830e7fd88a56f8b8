//! Steady calls, for tests that mistreat whatever the calls depend on. No claim is proved here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use farcall::{Cluster, Server, ServerBuilder};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::support::PATIENCE;

/// Five hundred calls a second, until it is asked how they went.
pub(crate) struct Calls {
    outcomes: Arc<Mutex<(u64, Vec<String>)>>,
    stop: watch::Sender<bool>,
    calling: JoinHandle<()>,
}

impl Calls {
    pub(crate) fn start(cluster: Cluster) -> Calls {
        let outcomes: Arc<Mutex<(u64, Vec<String>)>> = Arc::default();
        let (stop, stopped) = watch::channel(false);
        let noted = Arc::clone(&outcomes);
        let calling = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(2));
            let mut running = JoinSet::new();
            while !*stopped.borrow() {
                ticks.tick().await;
                while running.try_join_next().is_some() {}
                let (cluster, noted) = (cluster.clone(), Arc::clone(&noted));
                running.spawn(async move {
                    let text = "hello".to_owned();
                    let call = cluster.call::<String>("Echo.Say", &text);
                    let outcome = call.timeout(Duration::from_secs(10)).await;
                    let mut noted = noted.lock().unwrap();
                    noted.0 += 1;
                    noted.1.extend(outcome.err().map(|error| error.to_string()));
                });
            }
            while running.join_next().await.is_some() {}
        });
        Calls {
            outcomes,
            stop,
            calling,
        }
    }

    /// How many calls there were, none of which failed.
    pub(crate) async fn none_failed(self) -> u64 {
        self.stop.send_replace(true);
        timeout(PATIENCE, self.calling)
            .await
            .expect("calls end")
            .unwrap();
        let outcomes = self.outcomes.lock().unwrap();
        let (calls, failures) = (outcomes.0, &outcomes.1);
        assert!(
            failures.is_empty(),
            "{} of {calls} failed: {:?}",
            failures.len(),
            failures.first()
        );
        assert!(calls > 50, "{calls}");
        calls
    }
}

/// A server for those calls.
pub(crate) fn echo() -> ServerBuilder {
    Server::builder()
        .method("Echo.Say", |text: String| async move { Ok(text) })
        .bind("tcp@127.0.0.1:0")
}
