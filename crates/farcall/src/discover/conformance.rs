//! What every back-end promises, as tests that it runs against itself. They panic when a promise is not kept, so they
//! belong into tests alone. The back-ends of this crate run them too.
//!
//! A new back-end is one file: a [`Discover`], and, if servers enter themselves there, a
//! [`Beat`](crate::registry::Beat) and an [`Advertise`] that starts a [`Registrar`](crate::registry::Registrar) with
//! it. Its test says how to change what the back-end lists, and how to take it away:
//!
//! ```
//! use farcall::discover::{Discover, Endpoint, conformance::{self, Stage}};
//! use farcall::registry::File;
//!
//! struct InFile { path: std::path::PathBuf }
//!
//! impl Stage for InFile {
//!     fn discover(&self) -> Box<dyn Discover> {
//!         let often = std::time::Duration::from_millis(20);
//!         Box::new(File::new(&self.path).refresh(often))
//!     }
//!
//!     async fn list(&mut self, endpoints: &[Endpoint]) {
//!         let lines = endpoints.iter().map(|e| format!("{} weight={}\n", e.address, e.weight));
//!         // Renamed into place, so that nobody reads half of it.
//!         let beside = self.path.with_extension("new");
//!         std::fs::write(&beside, lines.collect::<String>()).unwrap();
//!         std::fs::rename(&beside, &self.path).unwrap();
//!     }
//!
//!     async fn cut(&mut self) {
//!         std::fs::remove_file(&self.path).unwrap();
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() {
//! let path = std::env::temp_dir().join(format!("conformance-{}", std::process::id()));
//! conformance::discovers(InFile { path: path.clone() }).await;
//! # let _ = std::fs::remove_file(path);
//! # }
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{Discover, Endpoint, Snapshot, State};
use crate::address::Address;
use crate::registry::{Advertise, Registration};

/// How long anything may take before it counts as never happening.
const PATIENCE: Duration = Duration::from_secs(25);

/// A back-end that clients look at, as its test sets it.
pub trait Stage: Send {
    /// What a client would make of it. With short times, the tests are.
    fn discover(&self) -> Box<dyn Discover>;

    /// Makes these the servers that the back-end lists; a back-end that was [`Stage::cut`] comes back with it.
    fn list(&mut self, endpoints: &[Endpoint]) -> impl Future<Output = ()> + Send;

    /// Makes every look at the back-end fail.
    fn cut(&mut self) -> impl Future<Output = ()> + Send;

    /// False when it knows nothing of a server but its address, as DNS.
    fn has_weights(&self) -> bool {
        true
    }
}

/// A back-end that servers enter themselves in, as its test sets it.
pub trait Roll: Send {
    /// What a client would make of it.
    fn discover(&self) -> Box<dyn Discover>;

    /// What a server would make of it.
    fn advertise(&self) -> Box<dyn Advertise>;

    /// Makes the back-end lose every entry, and go on.
    fn forget(&mut self) -> impl Future<Output = ()> + Send;
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint::new(Address::tcp(format!("127.0.0.{number}:9999")))
}

fn endpoints(numbers: &[u8]) -> Vec<Endpoint> {
    numbers.iter().copied().map(endpoint).collect()
}

async fn sees(
    snapshots: &mut watch::Receiver<Arc<Snapshot>>,
    promise: &str,
    holds: impl Fn(&Snapshot) -> bool,
) -> Arc<Snapshot> {
    let found = timeout(PATIENCE, snapshots.wait_for(|snapshot| holds(snapshot))).await;
    let found = found.map(|found| found.map(|snapshot| Arc::clone(&snapshot)));
    match found {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(_)) => panic!("{promise}: the back-end stopped looking"),
        Err(_) => panic!(
            "{promise}: not within {PATIENCE:?}; it is {:?}",
            snapshots.borrow()
        ),
    }
}

fn is_fresh(snapshot: &Snapshot, expected: &[Endpoint]) -> bool {
    snapshot.known && snapshot.stale.is_none() && snapshot.endpoints == expected
}

/// Tests the client's side.
///
/// # Panics
///
/// When a promise is not kept: the words say which.
pub async fn discovers(mut stage: impl Stage) {
    stage.list(&endpoints(&[3, 1, 2])).await;
    let mut snapshots = stage.discover().watch();
    sees(&mut snapshots, "the list comes, sorted by address", |s| {
        is_fresh(s, &endpoints(&[1, 2, 3]))
    })
    .await;

    stage.list(&endpoints(&[1, 2, 3, 4])).await;
    sees(&mut snapshots, "a new server is seen", |s| {
        is_fresh(s, &endpoints(&[1, 2, 3, 4]))
    })
    .await;

    stage.list(&endpoints(&[1, 2])).await;
    sees(&mut snapshots, "up to half may leave at once", |s| {
        is_fresh(s, &endpoints(&[1, 2]))
    })
    .await;

    if stage.has_weights() {
        let mut changed = endpoints(&[1, 2]);
        changed[0].weight = 7;
        stage.list(&changed).await;
        sees(&mut snapshots, "a changed description is seen", |s| {
            is_fresh(s, &changed)
        })
        .await;
        stage.list(&endpoints(&[1, 2])).await;
        sees(&mut snapshots, "a description changed back is seen", |s| {
            is_fresh(s, &endpoints(&[1, 2]))
        })
        .await;
    }

    for round in ["a back-end that is away", "a back-end that is away again"] {
        stage.cut().await;
        let lost = sees(&mut snapshots, round, |s| s.stale.is_some()).await;
        let kept = lost.known && lost.endpoints == endpoints(&[1, 2]);
        assert!(kept, "the last good list is kept: it is {lost:?}");
        assert!(
            lost.stale
                .as_ref()
                .is_some_and(|stale| !stale.reason.is_empty()),
            "a stale list says why"
        );
        stage.list(&endpoints(&[1, 2])).await;
        sees(&mut snapshots, "a back-end that is back is trusted", |s| {
            is_fresh(s, &endpoints(&[1, 2]))
        })
        .await;
    }

    stage.list(&[]).await;
    let emptied = sees(&mut snapshots, "an emptied list is told", |s| {
        s.stale.is_some() || s.endpoints.len() < 2
    });
    let emptied = emptied.await;
    assert_eq!(
        emptied.endpoints,
        endpoints(&[1, 2]),
        "an empty list is taken for a loss"
    );

    stage.list(&endpoints(&[1, 2])).await;
    let mut second = stage.discover().watch();
    sees(&mut second, "every watch has the whole list", |s| {
        is_fresh(s, &endpoints(&[1, 2]))
    })
    .await;
    drop(snapshots);
    stage.list(&endpoints(&[1, 2, 3])).await;
    sees(&mut second, "a watch does not end with another", |s| {
        is_fresh(s, &endpoints(&[1, 2, 3]))
    })
    .await;
}

/// Tests the server's side, as a client sees it.
///
/// # Panics
///
/// When a promise is not kept: the words say which.
pub async fn advertises(mut roll: impl Roll) {
    let registry = roll.advertise();
    let undialable = Endpoint::new(Address::tcp("0.0.0.0:9999"));
    assert!(
        registry.advertise(undialable).is_err(),
        "an address that means every interface is refused"
    );

    let mut snapshots = roll.discover().watch();
    let mut described = endpoint(1);
    described.weight = 5;
    described.zone = "eu-1".into();
    let first = registry
        .advertise(described.clone())
        .expect("it is a right address");
    let second = registry
        .advertise(endpoint(2))
        .expect("it is a right address");
    let both = [described.clone(), endpoint(2)];
    sees(
        &mut snapshots,
        "servers are listed as they describe themselves",
        |s| is_fresh(s, &both),
    )
    .await;
    let mut registration = first.watch();
    let registered = registration.wait_for(|r| *r == Registration::Registered);
    let registered = timeout(PATIENCE, registered).await;
    assert!(
        registered.is_ok_and(|r| r.is_ok()),
        "a registrar tells that it is registered"
    );

    roll.forget().await;
    let mut anew = roll.discover().watch();
    sees(
        &mut anew,
        "servers enter themselves again after a loss",
        |s| is_fresh(s, &both),
    )
    .await;

    second.drain();
    let told = timeout(PATIENCE, second.drained()).await;
    assert!(
        told.is_ok(),
        "a registrar tells when its registry knows of the draining"
    );
    let is_draining = |s: &Snapshot| s.endpoints.iter().any(|e| e.state == State::Draining);
    sees(
        &mut anew,
        "a draining server stays in the list and is marked",
        is_draining,
    )
    .await;
    second.withdraw().await;
    sees(&mut anew, "a withdrawn server is gone", |s| {
        is_fresh(s, &both[..1])
    })
    .await;

    let third = registry
        .advertise(endpoint(3))
        .expect("it is a right address");
    sees(&mut anew, "a newcomer is listed", |s| {
        s.endpoints.len() == 2
    })
    .await;
    drop(third);
    sees(&mut anew, "a dropped registrar withdraws", |s| {
        is_fresh(s, &both[..1])
    })
    .await;
    first.withdraw().await;
}
