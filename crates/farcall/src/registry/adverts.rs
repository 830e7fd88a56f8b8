//! The registrations of one server, from when it listens to when it has ended. How each is kept is `registrar`'s.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::registrar::{Advertise, Registrar};
use crate::address::{Address, AddressError};
use crate::discover::Endpoint;

/// How long a registry may take to hear that the server is draining.
const TOLD_MAX: Duration = Duration::from_secs(2);
/// How long clients get, after that, to hear it and go elsewhere.
const MOVE: Duration = Duration::from_secs(1);

/// Where a server is to be entered, and as what.
#[derive(Default)]
pub(crate) struct Adverts(Vec<(Box<dyn Advertise>, Option<Endpoint>)>);

/// The registrations that are kept.
#[derive(Debug, Default)]
pub(crate) struct Advertised(Vec<Registrar>);

impl Adverts {
    pub(crate) fn add(&mut self, registry: Box<dyn Advertise>, endpoint: Option<Endpoint>) {
        self.0.push((registry, endpoint));
    }

    /// Enters a server that listens there and has these services, wherever nothing else was said of it.
    pub(crate) fn enter(
        self,
        address: Option<&Address>,
        services: &[String],
    ) -> Result<Advertised, AddressError> {
        let entered = self.0.into_iter().map(|(registry, endpoint)| {
            let listening = || address.cloned().map(Endpoint::new);
            let mut endpoint = endpoint.or_else(listening).ok_or_else(|| {
                AddressError::new("", "the server listens nowhere", "tcp@10.0.0.7:9999")
            })?;
            if endpoint.services.is_empty() {
                endpoint.services = services.to_vec();
            }
            registry.advertise(endpoint)
        });
        entered.collect::<Result<_, _>>().map(Advertised)
    }
}

impl Advertised {
    /// Says that the server is draining, and gives clients the time to move; no longer than half of `grace`.
    pub(crate) async fn drain(&self, grace: Duration) {
        if self.0.is_empty() {
            return;
        }
        let began = Instant::now();
        for registrar in &self.0 {
            registrar.drain();
        }
        let told = async {
            for registrar in &self.0 {
                registrar.drained().await;
            }
        };
        // A registry that cannot be reached tells nobody: there is nothing to wait for.
        if timeout(TOLD_MAX.min(grace / 4), told).await.is_ok() {
            sleep(MOVE.min((grace / 2).saturating_sub(began.elapsed()))).await;
        }
    }

    /// Takes the server out of every registry, in bounded time.
    pub(crate) async fn withdraw(&mut self) {
        let leaving = self
            .0
            .drain(..)
            .map(|registrar| tokio::spawn(registrar.withdraw()));
        let leaving: Vec<_> = leaving.collect();
        for left in leaving {
            // A task that panicked has ended too.
            let _ = left.await;
        }
    }
}
