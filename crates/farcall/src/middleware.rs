//! Middleware: code around every call of a server, of a client or of a cluster. What it is, how it is stacked, and what
//! stands between it and a call; those that come with farcall are in the modules below. How a call itself is made or
//! served is not known here: the innermost step is whoever gives it.
//!
//! A middleware is an async function. It is given the call and what comes next, and does before, after and instead of
//! that what it likes:
//!
//! ```
//! use farcall::middleware::{Call, Next, Reply};
//! use farcall::{Client, Result, Server};
//!
//! async fn log_failures(call: Call, next: Next) -> Result<Reply> {
//!     let method = call.method().to_owned();
//!     let outcome = next.run(call).await;
//!     if let Err(error) = &outcome {
//!         eprintln!("{method}: {error}");
//!     }
//!     outcome
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder()
//!     .method("Echo.Say", |text: String| async move { Ok(text) })
//!     .layer(log_failures)
//!     .bind("tcp@127.0.0.1:0")
//!     .start()
//!     .await?;
//! let client = Client::builder(server.address().clone())
//!     .layer(|mut call: Call, next: Next| {
//!         call.insert_metadata("tenant", "seven");
//!         next.run(call)
//!     })
//!     .connect()
//!     .await?;
//! let reply: String = client.call("Echo.Say", &"hello".to_string()).await?;
//! assert_eq!(reply, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//!
//! The layer that was added first is the outermost: it sees the call first and the outcome last.
//!
//! # On a server
//!
//! Layers stand around every call of every dialect, `POST /rpc/…` too, whose metadata are the request's headers. A call
//! of a method that is not there ends before them. The argument is decoded when the last layer runs what comes next: a
//! call that was rejected before costs no decoding, and its caller is told that it surely did not run
//! ([`crate::Reached::Refused`]), so that a cluster tries another server where the code says that another one may be
//! better off ([`crate::Code::ResourceExhausted`], [`crate::Code::Unavailable`]).
//!
//! # On a client or a cluster
//!
//! Layers stand around the whole call: connecting, and on a cluster all servers that are tried. The caller's timeout
//! counts for them too.
//!
//! # What it costs
//!
//! A server, client or cluster without layers pays nothing. With them a call takes an allocation or two for each layer
//! and a few more, and the quick path of clients is not taken. Measuring calls does not need one: see [`Recorder`].

mod auth;
mod limit;
mod metrics;
mod reply;
#[cfg(feature = "tower")]
mod tower;
mod trace;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farcall_wire::Metadata;

pub use auth::{Auth, auth};
pub use limit::{ConcurrencyLimit, RateLimit, concurrency_limit, rate_limit};
pub use metrics::{Meter, Recorder};
pub(crate) use metrics::{Metered, Meters, guarded, outcome_of};
pub use reply::Reply;
#[doc(hidden)]
pub use reply::{Received, Source};
#[cfg(feature = "tower")]
pub use tower::{Innermost, Tower, tower};
pub use trace::{Trace, trace};

use crate::context::Peer;
use crate::link::now;
use crate::{Context, Result};

/// A call under way, as a [`Middleware`] gives it.
pub type Running = Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

/// What stands around calls. Any `async fn(Call, Next) -> Result<Reply>` is one; closures say the types of what they
/// take, `|call: Call, next: Next| …`.
///
/// It may change the call before it runs what comes next, change the outcome after, run it twice, or not at all. A
/// panic is the call's error. When the call is given up, the future is dropped, and with it all that it awaits.
pub trait Middleware: Send + Sync + 'static {
    /// Runs a call.
    fn call(&self, call: Call, next: Next) -> Running;
}

impl<F, Fut> Middleware for F
where
    F: Fn(Call, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply>> + Send + 'static,
{
    fn call(&self, call: Call, next: Next) -> Running {
        Box::pin(self(call, next))
    }
}

/// One middleware in many places: a limit that several servers share.
impl Middleware for Arc<dyn Middleware> {
    fn call(&self, call: Call, next: Next) -> Running {
        (**self).call(call, next)
    }
}

impl Middleware for Box<dyn Middleware> {
    fn call(&self, call: Call, next: Next) -> Running {
        (**self).call(call, next)
    }
}

/// Which end of a call this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The caller's.
    Client,
    /// The handler's.
    Server,
}

impl Side {
    /// `client` or `server`.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call on its way through the layers: everything but its argument.
#[derive(Clone, Debug)]
pub struct Call {
    side: Side,
    method: Arc<str>,
    context: Context,
    /// What comes behind a tower service, which passes on the call alone.
    #[cfg(feature = "tower")]
    next: Option<Next>,
}

impl Call {
    pub(crate) fn new(side: Side, method: Arc<str>, context: Context) -> Call {
        Call {
            side,
            method,
            context,
            #[cfg(feature = "tower")]
            next: None,
        }
    }

    /// A client's call.
    pub(crate) fn outgoing(
        method: &str,
        peer: Arc<Peer>,
        deadline: Option<Instant>,
        metadata: &Metadata,
        is_idempotent: bool,
    ) -> Call {
        let context = Context {
            peer,
            deadline,
            metadata: (!metadata.is_empty()).then(|| metadata.as_bytes().into()),
            is_idempotent,
            reply_metadata: None,
            values: None,
        };
        Call::new(Side::Client, method.into(), context)
    }

    /// Which end of the call this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// `Service.Method`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The other end: on a server the caller's address, on a client the server's. Empty on a cluster, where the server
    /// is chosen later.
    pub fn peer(&self) -> &str {
        self.context.peer()
    }

    /// What the handler will see of the call, on a server. On a client, what is known of it beforehand.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// When the call ends at the latest. `None` is never.
    pub fn deadline(&self) -> Option<Instant> {
        self.context.deadline()
    }

    /// The time left until [`Call::deadline`]; zero when it has passed.
    pub fn time_left(&self) -> Option<Duration> {
        self.context.time_left()
    }

    /// Ends the call after this time from now, or when it would end anyway, whichever is first.
    pub fn limit(&mut self, limit: Duration) {
        let own = now().checked_add(limit);
        let both = [self.context.deadline, own];
        self.context.deadline = both.into_iter().flatten().min();
    }

    /// The value that goes along under this name, the last one if there are several.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.context.metadata(name)
    }

    /// Sends a name and a value along: from a client to the server, on a server to the handler. A value of the same
    /// name stays, and is hidden by this one.
    pub fn insert_metadata(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        let mut metadata: Metadata = self.context.pairs().collect();
        metadata.push(name.as_ref(), value.as_ref());
        self.context.metadata = Some(metadata.as_bytes().into());
    }

    /// The value of this type that a layer before this one left with the call.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.context.get()
    }

    /// Leaves a value with the call, for the layers that follow and, on a server, for the handler, which finds it with
    /// [`Context::get`]. There is one of each type: a second one takes the place of the first. It never travels.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        self.context.insert(value);
    }

    pub(crate) fn into_context(self) -> Context {
        self.context
    }
}

/// What comes after a layer: the next one, or the call itself.
///
/// A clone runs the same again. The argument is at hand each time: a client sends it again, a server decodes it again.
/// Whether a method may run twice is for the layer to know.
#[derive(Clone)]
pub struct Next {
    layers: Layers,
    at: usize,
    end: Arc<dyn Endpoint>,
}

impl Next {
    /// Runs it, to the call's outcome. Dropping the future gives the call up.
    pub fn run(mut self, call: Call) -> Running {
        let layers = Arc::clone(&self.layers);
        match layers.get(self.at) {
            Some(layer) => {
                self.at += 1;
                layer.call(call, self)
            }
            None => self.end.run(call),
        }
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers_left = self.layers.len().saturating_sub(self.at);
        f.debug_struct("Next")
            .field("layers_left", &layers_left)
            .finish_non_exhaustive()
    }
}

/// Layers, the outermost first.
pub(crate) type Layers = Arc<[Arc<dyn Middleware>]>;

/// Layers as they are added. `None` where there are none, so that calls need not look further.
#[derive(Clone, Default)]
pub(crate) struct Stack(Option<Layers>);

impl Stack {
    pub(crate) fn add(&mut self, layer: impl Middleware) {
        let layer: Arc<dyn Middleware> = Arc::new(layer);
        let known = self.0.iter().flat_map(|layers| layers.iter().cloned());
        self.0 = Some(known.chain([layer]).collect());
    }

    pub(crate) fn layers(&self) -> Option<&Layers> {
        self.0.as_ref()
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.as_ref().map_or(0, |layers| layers.len());
        write!(f, "{count} layers")
    }
}

/// What stands behind the last layer: the handler, or the way to the server. It may be run more than once.
pub(crate) trait Endpoint: Send + Sync {
    fn run(self: Arc<Self>, call: Call) -> Running;
}

/// All layers and what stands behind them.
pub(crate) fn before(layers: &Layers, end: Arc<dyn Endpoint>) -> Next {
    Next {
        layers: Arc::clone(layers),
        at: 0,
        end,
    }
}
