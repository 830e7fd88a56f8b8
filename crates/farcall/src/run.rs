//! How a handler runs: with its layers around it and its panics caught, in its time, on the right thread. Who asked for
//! it is not known here.

mod layered;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use farcall_wire::{BodyRef, go_duration};
use tokio::time::sleep_until;

use crate::context::within;
use crate::middleware::{Layers, Reply};
use crate::router::{MakeContext, Method, Recipient, ReplyTo, Request, RunOn, Running};
use crate::stream::CloseOnDrop;
use crate::{Code, Error, Result};

/// The end of a handler's time, and how long it was in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit {
    pub(crate) deadline: Instant,
    pub(crate) limit: Duration,
}

/// Who gets a call's reply, held by what may run for long.
pub(crate) enum Held {
    Caller {
        to: Arc<dyn ReplyTo>,
        request: Request,
    },
    Layers(Arc<Mutex<Option<Reply>>>),
}

impl Held {
    fn recipient(&self) -> Recipient<'_> {
        match self {
            Held::Caller { to, request } => Recipient::Caller { to: &**to, request },
            Held::Layers(place) => Recipient::Layers(place),
        }
    }
}

/// Makes what runs for a call: the handler, or the layers around it. Without layers the argument is decoded now.
pub(crate) fn start(
    layers: Option<&Layers>,
    name: &Arc<str>,
    method: &Arc<Method>,
    context: MakeContext<'_>,
    body: BodyRef<'_>,
    streams: Option<CloseOnDrop>,
) -> Result<Running> {
    match layers {
        None => handler(method, context, body, streams),
        Some(layers) => Ok(layered::start(
            layers,
            name,
            method,
            context(),
            body,
            streams,
        )),
    }
}

/// Decodes the argument and makes the handler's future. Both are code that may be the user's.
fn handler(
    method: &Method,
    context: MakeContext<'_>,
    body: BodyRef<'_>,
    streams: Option<CloseOnDrop>,
) -> Result<Running> {
    let started = catch_unwind(AssertUnwindSafe(|| method.start(context, body, streams)));
    started.unwrap_or_else(|_| Err(panicked("the handler")))
}

/// Polls a handler that may be ready at once: then it costs no task. One that is to run elsewhere is not polled.
pub(crate) fn poll_once(
    running: &mut Running,
    method: &Method,
    limit: Option<TimeLimit>,
    to: Recipient<'_>,
) -> Poll<Result<()>> {
    match method.run_on() {
        RunOn::Reader => {
            let mut context = TaskContext::from_waker(Waker::noop());
            poll(running, limit, to, &mut context)
        }
        RunOn::Task | RunOn::BlockingThread => Poll::Pending,
    }
}

/// Runs a handler to its end, or to the end of its time. `held` is dropped when it no longer runs: on a blocking thread
/// that can be later.
pub(crate) async fn to_end(
    running: Running,
    method: &Method,
    limit: Option<TimeLimit>,
    to: Held,
    held: impl Send + 'static,
) -> Result<()> {
    let guarded = Guarded { running, limit, to };
    match method.run_on() {
        RunOn::BlockingThread => in_time(limit, on_blocking_thread(guarded, held)).await,
        RunOn::Reader | RunOn::Task => {
            let _held = held;
            in_time(limit, guarded).await
        }
    }
}

async fn in_time(
    limit: Option<TimeLimit>,
    running: impl Future<Output = Result<()>>,
) -> Result<()> {
    match limit {
        None => running.await,
        Some(TimeLimit { deadline, limit }) => tokio::select! {
            // On a busy machine both may be due when they are looked at. It must not hang on that whether a handler
            // took too long.
            biased;
            () = sleep_until(deadline.into()) => Err(timed_out(limit)),
            ended = running => ended,
        },
    }
}

/// Runs a handler where it may block. One that has begun stays there when nobody waits any more.
async fn on_blocking_thread(guarded: Guarded, held: impl Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let mut thread = AbortOnDrop(tokio::task::spawn_blocking(move || {
        let _held = held;
        runtime.block_on(guarded)
    }));
    let ended = (&mut thread.0).await;
    ended.unwrap_or_else(|_| Err(panicked("the handler")))
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
    to: Held,
}

impl Future for Guarded {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Result<()>> {
        let Guarded { running, limit, to } = &mut *self;
        poll(running, *limit, to.recipient(), context)
    }
}

fn poll(
    running: &mut Running,
    limit: Option<TimeLimit>,
    to: Recipient<'_>,
    context: &mut TaskContext<'_>,
) -> Poll<Result<()>> {
    let deadline = limit.map(|limit| limit.deadline);
    let polled = catch_unwind(AssertUnwindSafe(|| {
        within(deadline, || running.as_mut().poll(context, to))
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
