//! A client's call with layers around it. The argument is borrowed from the caller and the layers are not, so they meet
//! here: what stands behind the last layer only asks for the call, and the caller's own future makes it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use tokio::time::sleep_until;

use super::CallOptions;
use crate::link::wake_all;
use crate::middleware::{Call, Endpoint, Layers, Reply, Running, before};
use crate::run::unless_it_panics;
use crate::slab::Slab;
use crate::{Code, Error, Reached, Result};

/// A call that is made behind the layers.
type Made<'a> = Pin<Box<dyn Future<Output = Result<Reply>> + Send + 'a>>;

/// Runs the layers, and behind them `make`, as often as they ask for it: usually once. `given` is what the caller wants
/// beside what `call` says.
pub(crate) async fn around<'a>(
    layers: &Layers,
    call: Call,
    given: &CallOptions,
    make: impl Fn(CallOptions) -> Made<'a>,
) -> Result<Reply> {
    let method = call.method().to_owned();
    let deadline = call.deadline();
    let meeting = Arc::new(Meeting::default());
    let next = before(layers, Arc::clone(&meeting) as Arc<dyn Endpoint>);
    let _over = OverOnDrop(&meeting);
    let mut layered = pin!(unless_it_panics(
        "a layer",
        async move { next.run(call).await }
    ));
    let mut in_time = pin!(async move {
        match deadline {
            Some(deadline) => sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    });
    let mut is_late = false;
    let mut made: Vec<(u64, Made<'a>)> = Vec::new();
    let mut was_made = false;
    let outcome = poll_fn(|context| {
        is_late = is_late || in_time.as_mut().poll(context).is_ready();
        loop {
            if let Poll::Ready(outcome) = layered.as_mut().poll(context) {
                return Poll::Ready(outcome);
            }
            // What was made ends by itself at the deadline, and layers see how. Without it, they only wait.
            if is_late && made.is_empty() {
                let text = format!("{method}: the deadline passed while layers ran");
                return Poll::Ready(Err(Error::new(Code::DeadlineExceeded, text)));
            }
            let News {
                mut wanted,
                given_up,
            } = meeting.news(context.waker());
            wanted.retain(|(id, _)| !given_up.contains(id));
            made.retain(|(id, _)| !given_up.contains(id));
            was_made |= !wanted.is_empty();
            made.extend(
                wanted
                    .iter()
                    .map(|(id, call)| (*id, make(options(call, given)))),
            );
            if !meeting.end(&mut made, context) {
                return Poll::Pending;
            }
        }
    })
    .await;
    match was_made {
        true => outcome,
        // Whatever the layer's error says of calls that it made itself.
        false => outcome.map_err(|error| error.with_reached(Reached::NotSent)),
    }
}

/// What the layers made of the caller's options.
fn options(call: &Call, given: &CallOptions) -> CallOptions {
    CallOptions {
        timeout: call.time_left(),
        metadata: call.context().pairs().collect(),
        ..*given
    }
}

/// Where the layers' innermost step asks, and the caller's future answers.
#[derive(Default)]
struct Meeting(Mutex<State>);

#[derive(Default)]
struct State {
    asks: Slab<Ask>,
    news: News,
    /// The caller's, while there is no news: layers are free to ask from other tasks.
    caller: Option<Waker>,
    /// The caller has gone, or has its outcome.
    is_over: bool,
}

struct Ask {
    outcome: Option<Result<Reply>>,
    waker: Waker,
}

/// What the caller does not know yet: calls to make, and calls to give up.
#[derive(Default)]
struct News {
    wanted: Vec<(u64, Call)>,
    given_up: Vec<u64>,
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the news, and has the caller woken by the next.
    fn news(&self, caller: &Waker) -> News {
        let mut state = self.lock();
        state.caller = Some(caller.clone());
        std::mem::take(&mut state.news)
    }

    /// Polls what was made, and hands over what has ended. True when something has.
    fn end(&self, made: &mut Vec<(u64, Made<'_>)>, context: &mut TaskContext<'_>) -> bool {
        let before = made.len();
        made.retain_mut(|(id, call)| match call.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(outcome) => {
                if let Some(ask) = self.lock().asks.get_mut(*id) {
                    ask.outcome = Some(outcome);
                    // Layers may poll only what was woken.
                    ask.waker.wake_by_ref();
                }
                false
            }
        });
        made.len() < before
    }
}

impl Endpoint for Meeting {
    fn run(self: Arc<Self>, call: Call) -> Running {
        Box::pin(Asking {
            meeting: self,
            call: Some(call),
            id: None,
        })
    }
}

/// The innermost step: a call that somebody else makes.
struct Asking {
    meeting: Arc<Meeting>,
    /// Until it was asked for.
    call: Option<Call>,
    /// While it is asked for.
    id: Option<u64>,
}

impl Future for Asking {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Result<Reply>> {
        let Asking { meeting, call, id } = &mut *self;
        let mut state = meeting.lock();
        if let (Some(call), false) = (call.take(), state.is_over) {
            let asked = state.asks.insert(Ask {
                outcome: None,
                waker: context.waker().clone(),
            });
            *id = Some(asked);
            state.news.wanted.push((asked, call));
            let caller = state.caller.take();
            drop(state);
            wake_all(caller);
            return Poll::Pending;
        }
        let Some(ask) = id.and_then(|id| state.asks.get_mut(id)) else {
            let error = Error::new(
                Code::Cancelled,
                "the call was given up: its caller has gone",
            );
            return Poll::Ready(Err(error));
        };
        match ask.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                ask.waker.clone_from(context.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(id) = self.id else {
            return;
        };
        let mut state = self.meeting.lock();
        let ask = state.asks.remove(id);
        state.news.given_up.push(id);
        let caller = state.caller.take();
        drop(state);
        drop(ask);
        wake_all(caller);
    }
}

/// Ends what layers still wait for elsewhere, when nobody will make it any more.
struct OverOnDrop<'a>(&'a Meeting);

impl Drop for OverOnDrop<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_over = true;
        let asks = state.asks.drain();
        drop(state);
        wake_all(asks.into_iter().map(|ask| ask.waker));
    }
}
