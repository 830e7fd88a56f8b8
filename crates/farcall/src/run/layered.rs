//! A handler with layers around it. The argument is kept as bytes until the last layer wants the handler to run.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Instant;

use farcall_wire::{BodyKind, BodyRef, GobStream};
use tokio::time::timeout_at;

use super::{Guarded, Held, TimeLimit, panicked, timed_out, unless_it_panics};
use crate::Context;
use crate::buffers::Kept;
use crate::link::now;
use crate::middleware::{self, Call, Endpoint, Layers, Side, before};
use crate::router::{Method, Recipient, Running, Work};
use crate::stream::CloseOnDrop;

/// Makes what runs a call through all layers. Its last step hands the reply over, as a handler's own does.
pub(super) fn start(
    layers: &Layers,
    name: &Arc<str>,
    method: &Arc<Method>,
    context: Context,
    body: BodyRef<'_>,
    streams: Option<CloseOnDrop>,
) -> Running {
    let handling = Arc::new(Handling {
        method: Arc::clone(method),
        argument: Argument::keep(body),
        deadline: context.deadline,
        began: AtomicBool::new(false),
        streams: Mutex::new(streams),
    });
    let call = Call::new(Side::Server, Arc::clone(name), context);
    let next = before(layers, Arc::clone(&handling) as Arc<dyn Endpoint>);
    let running = async move {
        // The handler's own panics are caught further in.
        let ended = unless_it_panics("a layer", async move { next.run(call).await }).await;
        ended.map_err(|error| match handling.began.load(Ordering::Relaxed) {
            true => error,
            false => error.refuse(),
        })
    };
    Box::pin(Layered(Box::pin(running)))
}

/// All layers at work, and the handler in them.
struct Layered(middleware::Running);

impl Work for Layered {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        to: Recipient<'_>,
    ) -> Poll<crate::Result<()>> {
        let reply = ready!(self.0.as_mut().poll(context))?;
        Poll::Ready(to.pass(reply))
    }
}

/// The innermost step: the handler.
struct Handling {
    method: Arc<Method>,
    argument: Argument,
    /// When the call ends by itself.
    deadline: Option<Instant>,
    /// True from when the argument was about to be decoded.
    began: AtomicBool,
    /// The call's items, until the handler has them.
    streams: Mutex<Option<CloseOnDrop>>,
}

impl Handling {
    fn take_streams(&self) -> Option<CloseOnDrop> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.take()
    }
}

impl Endpoint for Handling {
    fn run(self: Arc<Self>, call: Call) -> middleware::Running {
        Box::pin(async move {
            self.began.store(true, Ordering::Relaxed);
            let context = call.into_context();
            let deadline = context.deadline;
            let place = Arc::new(Mutex::new(None));
            let streams = self.take_streams();
            // A panic of the handler is an outcome that layers see.
            let running = super::handler(
                &self.method,
                &|| context.clone(),
                self.argument.body(),
                streams,
            )?;
            let limit = deadline.map(|deadline| TimeLimit {
                deadline,
                limit: deadline.saturating_duration_since(now()),
            });
            // Its calls end with it, and its panics are outcomes that layers see.
            let to = Held::Layers(Arc::clone(&place));
            let running = Guarded { running, limit, to };
            match limit.filter(|_| deadline != self.deadline) {
                None => running.await?,
                // A layer made the time shorter, which nobody else knows of.
                Some(limit) => timeout_at(limit.deadline.into(), running)
                    .await
                    .unwrap_or_else(|_| Err(timed_out(limit.limit)))?,
            }
            let reply = place.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A handler that ended well has left its reply.
            reply.ok_or_else(|| panicked("the handler"))
        })
    }
}

/// An argument that is decoded later, or never. Skipping it is safe in gob, too: definitions are filed when they arrive.
enum Argument {
    Bytes(BodyKind, Kept),
    Zero,
    Bad(&'static str),
}

impl Argument {
    fn keep(body: BodyRef<'_>) -> Argument {
        let (kind, raw) = match body {
            BodyRef::Gob(GobStream::Reader(decoder), raw) => (BodyKind::Gob(decoder.types()), raw),
            BodyRef::Gob(GobStream::Shared(types), raw) => (BodyKind::Gob(types.clone()), raw),
            BodyRef::Json(raw) => (BodyKind::Json, raw),
            BodyRef::Binary(codec, raw) => (BodyKind::Binary(codec), raw),
            BodyRef::Zero => return Argument::Zero,
            BodyRef::Bad(why) => return Argument::Bad(why),
        };
        Argument::Bytes(kind, Kept::copy(raw))
    }

    fn body(&self) -> BodyRef<'_> {
        match self {
            Argument::Bytes(kind, kept) => kind.body(kept.bytes()),
            Argument::Zero => BodyRef::Zero,
            Argument::Bad(why) => BodyRef::Bad(why),
        }
    }
}
