//! A tracing span around each call.

use tracing::Instrument;
use tracing::field::{Empty, display};

use super::{Call, Middleware, Next, Running};

/// Runs each call in a span of [`tracing`], called `call`, at level INFO, under the target `farcall::call`, with the
/// fields `side` (client or server), `method`, `peer`, and at its end `outcome` (`ok`, or the name of the error's code)
/// and for errors `error`. What the handler logs is inside it. A call that is given up leaves `outcome` empty.
///
/// Where no subscriber wants the span, the call is passed on as it is.
///
/// ```
/// # fn example() -> farcall::ServerBuilder {
/// farcall::Server::builder().layer(farcall::middleware::trace())
/// # }
/// ```
pub fn trace() -> Trace {
    Trace(())
}

/// What [`trace`] makes.
#[derive(Clone, Debug)]
pub struct Trace(());

impl Middleware for Trace {
    fn call(&self, call: Call, next: Next) -> Running {
        let span = tracing::info_span!(
            target: "farcall::call",
            "call",
            side = call.side().as_str(),
            method = call.method(),
            peer = call.peer(),
            outcome = Empty,
            error = Empty,
        );
        if span.is_disabled() {
            return next.run(call);
        }
        // What comes next may log before it is polled.
        let running = span.in_scope(|| next.run(call));
        let noting = span.clone();
        let noted = async move {
            let outcome = running.await;
            match &outcome {
                Ok(_) => {
                    noting.record("outcome", "ok");
                }
                Err(error) => {
                    noting.record("outcome", error.code().as_str());
                    noting.record("error", display(error));
                }
            }
            outcome
        };
        Box::pin(noted.instrument(span))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use farcall_wire::{Codec, Metadata};

    use super::*;
    use crate::context::Peer;
    use crate::middleware::{Endpoint, Layers, Reply, before};

    /// Gives one future, and remembers where it is.
    struct One(Mutex<usize>);

    fn place(running: &Running) -> usize {
        std::ptr::from_ref(&**running).addr()
    }

    impl Endpoint for One {
        fn run(self: Arc<Self>, call: Call) -> Running {
            let running: Running = Box::pin(async move {
                let name = call.method().to_owned();
                Ok(Reply::new(name))
            });
            *self.0.lock().unwrap() = place(&running);
            running
        }
    }

    #[test]
    fn nothing_stands_around_a_call_where_nobody_listens() {
        let one = Arc::new(One(Mutex::default()));
        let no_more: Layers = Arc::new([]);
        let next = before(&no_more, Arc::clone(&one) as Arc<dyn Endpoint>);
        let call = Call::outgoing(
            "A.B",
            Peer::server(None, Codec::Gob),
            None,
            &Metadata::default(),
            false,
        );
        let running = trace().call(call, next);
        assert_eq!(place(&running), *one.0.lock().unwrap());
    }
}
