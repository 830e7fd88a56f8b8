//! How a handler runs: with its layers around it and its panics caught, in its time, on the right thread. Who asked for
//! it is not known here.

mod layered;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use farcall_wire::{BodyRef, go_duration};
use tokio::time::sleep_until;

use crate::context::within;
use crate::middleware::Layers;
use crate::router::{Method, Replier, RunOn, Running};
use crate::{Code, Context, Error, Result};

/// The end of a handler's time, and how long it was in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit {
    pub(crate) deadline: Instant,
    pub(crate) limit: Duration,
}

/// Makes the future of a call: the handler's, or that of the layers around it. Without layers the argument is decoded
/// now.
pub(crate) fn start(
    layers: Option<&Layers>,
    name: &Arc<str>,
    method: &Arc<Method>,
    context: Context,
    body: BodyRef<'_>,
    mut replier: Replier,
) -> Result<Running> {
    replier.open_streams(method)?;
    match layers {
        None => handler(method, context, body, replier),
        Some(layers) => Ok(layered::start(layers, name, method, context, body, replier)),
    }
}

/// Decodes the argument and makes the handler's future. Both are code that may be the user's.
fn handler(
    method: &Method,
    context: Context,
    body: BodyRef<'_>,
    replier: Replier,
) -> Result<Running> {
    let started = catch_unwind(AssertUnwindSafe(|| method.start(context, body, replier)));
    started.unwrap_or_else(|_| Err(panicked("the handler")))
}

/// Polls a handler that may be ready at once: then it costs no task. One that is to run elsewhere is not polled.
pub(crate) fn poll_once(
    running: &mut Running,
    method: &Method,
    limit: Option<TimeLimit>,
) -> Poll<Result<()>> {
    match method.run_on() {
        RunOn::Reader => poll(running, limit, &mut TaskContext::from_waker(Waker::noop())),
        RunOn::Task | RunOn::BlockingThread => Poll::Pending,
    }
}

/// Runs a handler to its end, or to the end of its time. `held` is dropped when it no longer runs: on a blocking thread
/// that can be later.
pub(crate) async fn to_end(
    running: Running,
    method: &Method,
    limit: Option<TimeLimit>,
    held: impl Send + 'static,
) -> Result<()> {
    let mut held = Some(held);
    let running = match method.run_on() {
        RunOn::BlockingThread => on_blocking_thread(running, limit, held.take()),
        RunOn::Reader | RunOn::Task => running,
    };
    let caught = Guarded { running, limit };
    match limit {
        None => caught.await,
        Some(TimeLimit { deadline, limit }) => tokio::select! {
            // On a busy machine both may be due when they are looked at. It must not hang on that whether a handler
            // took too long.
            biased;
            () = sleep_until(deadline.into()) => Err(timed_out(limit)),
            ended = caught => ended,
        },
    }
}

/// Runs a handler where it may block. One that has begun stays there when nobody waits any more.
fn on_blocking_thread(
    running: Running,
    limit: Option<TimeLimit>,
    held: impl Send + 'static,
) -> Running {
    let runtime = tokio::runtime::Handle::current();
    let mut thread = AbortOnDrop(tokio::task::spawn_blocking(move || {
        let _held = held;
        runtime.block_on(Guarded { running, limit })
    }));
    Box::pin(async move {
        let ended = (&mut thread.0).await;
        ended.unwrap_or_else(|_| Err(panicked("the handler")))
    })
}

/// Keeps work that has not begun from beginning when nobody waits for it any more.
struct AbortOnDrop(tokio::task::JoinHandle<Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A handler whose panic is its call's error, and whose own calls end with it.
struct Guarded {
    running: Running,
    limit: Option<TimeLimit>,
}

impl Future for Guarded {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Result<()>> {
        let limit = self.limit;
        poll(&mut self.running, limit, context)
    }
}

fn poll(
    running: &mut Running,
    limit: Option<TimeLimit>,
    context: &mut TaskContext<'_>,
) -> Poll<Result<()>> {
    let deadline = limit.map(|limit| limit.deadline);
    let polled = catch_unwind(AssertUnwindSafe(|| {
        within(deadline, || running.as_mut().poll(context))
    }));
    polled.unwrap_or_else(|_| Poll::Ready(Err(panicked("the handler"))))
}

/// Makes a panic of user code an error.
pub(crate) async fn unless_it_panics<T>(
    who: &str,
    running: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut running = pin!(running);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(panicked(who))))
    })
    .await
}

fn panicked(who: &str) -> Error {
    Error::new(Code::Internal, format!("rpc server: {who} panicked"))
}

fn timed_out(limit: Duration) -> Error {
    // A caller's limit has shrunk on its way: it is told in whole milliseconds.
    let whole = Duration::from_millis(limit.as_nanos().div_ceil(1_000_000) as u64);
    let limit = go_duration(whole);
    let text = format!("rpc server: request handle timeout: expect within {limit}");
    Error::new(Code::DeadlineExceeded, text)
}
