//! `tower`'s layers as middleware, for those that exist already. No service of tower's is made here, and none is needed
//! to write a middleware.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Call, Middleware, Next, Reply, Running};
use crate::{Code, Error, Result};

/// What errors of services are kept as.
type BoxError = Box<dyn StdError + Send + Sync>;

/// Makes a middleware of a layer of `tower`: of anything that turns a service of calls into another one, on a server, a
/// client or a cluster. It needs the feature `tower`.
///
/// The layer is used once. The service that comes of it is cloned for each call, and called when the clone is ready; so
/// what all calls are to share, as the permits of a limit, must be shared by clones, as it is in tower's own.
///
/// A service may fail with an error of its own. One that is no [`Error`] becomes [`Code::Internal`], with the original
/// as its source, unless [`Tower::map_error`] says otherwise.
///
/// ```
/// use std::time::Duration;
///
/// use farcall::middleware::tower;
/// use farcall::{Code, Error, Server};
/// use ::tower::limit::ConcurrencyLimitLayer;
/// use ::tower::timeout::TimeoutLayer;
///
/// let server = Server::builder()
///     .layer(tower(TimeoutLayer::new(Duration::from_secs(5))).map_error(|error| {
///         Error::new(Code::DeadlineExceeded, error.to_string())
///     }))
///     .layer(tower(ConcurrencyLimitLayer::new(64)));
/// ```
pub fn tower<L>(layer: L) -> Tower<L::Service>
where
    L: Layer<Innermost>,
    L::Service: Service<Call, Response = Reply> + Clone + Send + 'static,
    <L::Service as Service<Call>>::Error: Into<BoxError>,
    <L::Service as Service<Call>>::Future: Send + 'static,
{
    Tower {
        service: Mutex::new(layer.layer(Innermost(()))),
        map_error: Arc::new(|error| {
            Error::new(Code::Internal, error.to_string()).with_boxed_source(error)
        }),
    }
}

/// What [`tower`] makes: a middleware around the service `S`.
pub struct Tower<S> {
    /// Behind a lock for the sake of services that threads cannot share. It is only cloned there.
    service: Mutex<S>,
    map_error: Arc<dyn Fn(BoxError) -> Error + Send + Sync>,
}

impl<S> Tower<S> {
    /// Says what errors of the service become that are no [`Error`] of a call.
    #[must_use]
    pub fn map_error(
        mut self,
        map_error: impl Fn(Box<dyn StdError + Send + Sync>) -> Error + Send + Sync + 'static,
    ) -> Tower<S> {
        self.map_error = Arc::new(map_error);
        self
    }
}

impl<S> Middleware for Tower<S>
where
    S: Service<Call, Response = Reply> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    fn call(&self, mut call: Call, next: Next) -> Running {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        let mut service = service.clone();
        let map_error = Arc::clone(&self.map_error);
        Box::pin(async move {
            let error = |error: S::Error| match error.into().downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => map_error(error),
            };
            poll_fn(|context| service.poll_ready(context))
                .await
                .map_err(&error)?;
            call.next = Some(next);
            service.call(call).await.map_err(error)
        })
    }
}

impl<S> fmt::Debug for Tower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tower").finish_non_exhaustive()
    }
}

/// The service that layers of [`tower`] are given: it runs what comes next for the call. It is always ready.
#[derive(Clone, Debug)]
pub struct Innermost(());

impl Service<Call> for Innermost {
    type Response = Reply;
    type Error = Error;
    type Future = Running;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut call: Call) -> Running {
        match call.next.take() {
            Some(next) => next.run(call),
            None => {
                let text = "a service of tower was given a call that comes from elsewhere";
                Box::pin(std::future::ready(Err(Error::new(Code::Internal, text))))
            }
        }
    }
}
