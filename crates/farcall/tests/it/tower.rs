//! Layers of `tower` as middleware: its own, and ones written by hand.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use ::tower::limit::ConcurrencyLimitLayer;
use ::tower::retry::{Policy, RetryLayer};
use ::tower::timeout::TimeoutLayer;
use ::tower::{Layer, Service, ServiceBuilder};
use farcall::middleware::{Call, Next, Reply, tower};
use farcall::{Client, ClientBuilder, Code, Codec, Error, Result, Server, ServerBuilder};
use tokio::sync::Semaphore;

use crate::support::{running, soon, until};

fn services() -> ServerBuilder {
    Server::builder()
        .method("Echo.Int", |number: i64| async move { Ok(number) })
        .method("Echo.Never", |(): ()| pending::<Result<()>>())
        .bind("tcp@127.0.0.1:0")
}

fn client(server: &Server) -> ClientBuilder {
    Client::builder(server.address().clone()).codec(Codec::Postcard)
}

#[tokio::test]
async fn towers_concurrency_limit_makes_calls_wait_on_either_side() {
    for on_server in [true, false] {
        let gate = Arc::new(Semaphore::new(0));
        let opened = Arc::clone(&gate);
        let most = Arc::new(AtomicUsize::new(0));
        let (inside, seen) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&most));
        let mut builder = services().method("Gate.Pass", move |number: i64| {
            let (opened, inside, seen) =
                (Arc::clone(&opened), Arc::clone(&inside), Arc::clone(&seen));
            async move {
                seen.fetch_max(
                    inside.fetch_add(1, Ordering::Relaxed) + 1,
                    Ordering::Relaxed,
                );
                opened.acquire().await.unwrap().forget();
                inside.fetch_sub(1, Ordering::Relaxed);
                Ok(number)
            }
        });
        let limit = || tower(ConcurrencyLimitLayer::new(2));
        if on_server {
            builder = builder.layer(limit());
        }
        let server = builder.start().await.unwrap();
        let mut client = client(&server);
        if !on_server {
            client = client.layer(limit());
        }
        let client = client.connect().await.unwrap();
        let calls: Vec<_> = (0..10_i64)
            .map(|number| client.go::<i64>("Gate.Pass", number))
            .collect();
        until(|| running(&server) >= 2).await;
        gate.add_permits(10);
        for (number, call) in (0..).zip(calls) {
            assert_eq!(soon(call).await.unwrap(), number);
        }
        assert_eq!(
            most.load(Ordering::Relaxed),
            2,
            "on the server: {on_server}"
        );
    }
}

#[tokio::test]
async fn towers_timeout_ends_a_call_and_its_error_becomes_what_the_user_says() {
    let short = || tower(TimeoutLayer::new(Duration::from_millis(20)));
    let server = services().layer(short()).start().await.unwrap();
    let plain = client(&server).connect().await.unwrap();
    let error = soon(plain.call::<()>("Echo.Never", &()).into_future()).await;
    assert_eq!(error.unwrap_err().code(), Code::Internal);
    until(|| running(&server) == 0).await;
    let server = services().start().await.unwrap();
    let late = |error: Box<dyn std::error::Error + Send + Sync>| {
        assert!(error.is::<::tower::timeout::error::Elapsed>());
        Error::new(Code::DeadlineExceeded, "too late")
    };
    let client = client(&server).layer(short().map_error(late));
    let client = client.connect().await.unwrap();
    let error = soon(client.call::<()>("Echo.Never", &()).into_future()).await;
    assert_eq!(error.unwrap_err().code(), Code::DeadlineExceeded);
    until(|| running(&server) == 0 && client.in_flight() == 0).await;
    assert_eq!(client.call::<i64>("Echo.Int", &7_i64).await.unwrap(), 7);
}

#[derive(Clone)]
struct Again(usize);

impl Policy<Call, Reply, Error> for Again {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Call, outcome: &mut Result<Reply>) -> Option<Self::Future> {
        let is_over = outcome.is_ok() || self.0 == 0;
        self.0 = self.0.saturating_sub(1);
        (!is_over).then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, call: &Call) -> Option<Call> {
        Some(call.clone())
    }
}

#[tokio::test]
async fn towers_retry_makes_a_call_again_with_its_argument() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let server = services().method("Flaky.Int", move |number: i64| {
        let tries = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match tries {
                0 | 1 => Err(Error::from("not yet")),
                _ => Ok(number),
            }
        }
    });
    let server = server.start().await.unwrap();
    let client = client(&server)
        .layer(tower(RetryLayer::new(Again(5))))
        .build();
    assert_eq!(client.call::<i64>("Flaky.Int", &7_i64).await.unwrap(), 7);
    assert_eq!(tries.load(Ordering::Relaxed), 3);
}

/// A layer by hand: its services are ready when a permit is there, and fail when the method is not to be called.
#[derive(Clone)]
struct Gate(Arc<Semaphore>);

#[derive(Clone)]
struct Gated<S> {
    permits: Arc<Semaphore>,
    has_permit: bool,
    inner: S,
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            permits: Arc::clone(&self.0),
            has_permit: false,
            inner,
        }
    }
}

impl<S> Service<Call> for Gated<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<()>> {
        match self.permits.try_acquire() {
            Ok(permit) => {
                permit.forget();
                self.has_permit = true;
                self.inner.poll_ready(context)
            }
            Err(_) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        assert!(self.has_permit, "called before it was ready");
        self.has_permit = false;
        if call.method() == "Echo.Never" {
            let error = Error::new(Code::PermissionDenied, "never");
            return Box::pin(std::future::ready(Err(error)));
        }
        call.insert_metadata("gate", "passed");
        Box::pin(self.inner.call(call))
    }
}

#[tokio::test]
async fn a_service_is_called_when_it_is_ready_and_its_errors_are_the_calls() {
    let permits = Arc::new(Semaphore::new(0));
    let seen = Arc::new(AtomicUsize::new(0));
    let passed = Arc::clone(&seen);
    let server = services()
        .layer(tower(
            ServiceBuilder::new().layer(Gate(Arc::clone(&permits))),
        ))
        // Tower's services and other layers may stand in each other in any order.
        .layer(move |call: Call, next: Next| {
            passed.fetch_add(
                usize::from(call.metadata("gate").is_some()),
                Ordering::Relaxed,
            );
            next.run(call)
        })
        .layer(tower(ConcurrencyLimitLayer::new(5)));
    let server = server.start().await.unwrap();
    let client = client(&server).connect().await.unwrap();
    let call = client.go::<i64>("Echo.Int", 5_i64);
    until(|| running(&server) == 1).await;
    assert_eq!(seen.load(Ordering::Relaxed), 0, "no permit is there yet");
    permits.add_permits(2);
    assert_eq!(soon(call).await.unwrap(), 5);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    let error = client.call::<()>("Echo.Never", &()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::PermissionDenied, "never")
    );
}
