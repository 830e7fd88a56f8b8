//! Servers: listeners, their connections, and how they end. What a connection says is in `connection`.

mod connection;
mod http_calls;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use farcall_wire::{Limits, Message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::discover::Endpoint;
use crate::http::{self, Surface};
use crate::middleware::{Middleware, Recorder, Stack};
use crate::registry::{Advertise, Advertised, Adverts};
use crate::router::{MakeContext, RegisterError, Router, ServiceSnapshot};
use crate::transport::{Listener, Stream};
use crate::{
    Address, AddressError, Context, Dialect, Incoming, Items, Method, Outgoing, Registry, Result,
    Service, dashboard,
};

pub(crate) struct Config {
    pub(crate) limits: Limits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) handle_timeout: Option<Duration>,
    pub(crate) in_flight_max: usize,
    connections_max: usize,
    pub(crate) connection_age_max: Option<Duration>,
    /// Dialects that are refused.
    pub(crate) without: Vec<Dialect>,
    pub(crate) without_http: bool,
}

/// What all connections of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) router: Router,
    /// What stands around every call.
    pub(crate) layers: Stack,
    /// True from the beginning of the shutdown on.
    pub(crate) draining: watch::Sender<bool>,
    surface: Arc<Surface>,
}

/// Sets a [`Server`] up.
///
/// Mistakes (a service registered twice, an address that is none) are kept, and reported by
/// [`ServerBuilder::start`].
#[must_use = "a server runs once it is started"]
pub struct ServerBuilder {
    router: Router,
    layers: Stack,
    recorder: Option<Arc<dyn Recorder>>,
    config: Config,
    addresses: Vec<Address>,
    registry: Option<Registry>,
    adverts: Adverts,
    mistake: Option<StartError>,
}

/// Why a server could not start.
#[non_exhaustive]
#[derive(Debug)]
pub enum StartError {
    /// A service could not be registered.
    Register(RegisterError),
    /// An address cannot be used.
    Address(AddressError),
    /// A socket could not be bound.
    Bind {
        /// Where.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Register(error) => error.fmt(f),
            StartError::Address(error) => error.fmt(f),
            StartError::Bind { address, .. } => write!(f, "cannot listen on {address}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Bind { source, .. } => Some(source),
            StartError::Register(_) | StartError::Address(_) => None,
        }
    }
}

/// Services on listening sockets.
///
/// ```
/// use farcall::{Client, Method, Server, Service};
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder()
///     .method("Echo.Say", |text: String| async move { Ok(text) })
///     .bind("tcp@127.0.0.1:0")
///     .start()
///     .await?;
/// let client = Client::connect(&server.address().to_string()).await?;
/// let reply: String = client.call("Echo.Say", &"hello".to_string()).await?;
/// assert_eq!(reply, "hello");
/// server.shutdown(std::time::Duration::from_secs(1)).await;
/// # Ok(())
/// # }
/// ```
///
/// Dropping a server ends it at once; [`Server::shutdown`] lets running calls finish.
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<Address>,
    accepting: Vec<JoinHandle<()>>,
    advertised: Advertised,
    /// Closed when the last connection has ended: each holds a sender.
    connections: mpsc::Receiver<()>,
    connection: mpsc::Sender<()>,
    /// Ends the connections that are left, by being dropped.
    _end: watch::Sender<()>,
    ended: watch::Receiver<()>,
}

impl Server {
    /// A server without services, sockets and timeouts, and with default limits.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            router: Router::default(),
            layers: Stack::default(),
            recorder: None,
            config: Config {
                limits: Limits::default(),
                handshake_timeout: Duration::from_secs(10),
                handle_timeout: None,
                in_flight_max: 256,
                connections_max: 10_000,
                connection_age_max: None,
                without: Vec::new(),
                without_http: false,
            },
            addresses: Vec::new(),
            registry: None,
            adverts: Adverts::default(),
            mistake: None,
        }
    }

    /// Where the first listener can be reached, with the port that the system chose.
    ///
    /// # Panics
    ///
    /// When the server was bound to no address, and serves only what is handed to [`Server::serve_stream`].
    pub fn address(&self) -> &Address {
        self.addresses
            .first()
            .expect("the server is bound to an address")
    }

    /// Where each listener can be reached, in the order they were bound.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The services with their methods and counts, sorted by name.
    pub fn services(&self) -> Vec<ServiceSnapshot> {
        self.shared.router.snapshot()
    }

    /// Serves one stream that was not accepted by a listener of this server: a pipe in memory, a socket that was
    /// handed down. `peer` names the other end in logs and contexts.
    pub fn serve_stream(
        &self,
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: &str,
    ) {
        let stream = Stream::other(io, peer);
        serve(
            &self.shared,
            stream,
            Dialect::Farcall,
            self.connection.clone(),
            self.ended.clone(),
        );
    }

    /// Stops accepting, tells clients to go elsewhere, lets running calls finish for at most `grace`, and ends the
    /// rest.
    ///
    /// A server that is advertised says first that it is draining, and serves on while clients move, for a second or
    /// two of `grace`; it is withdrawn last, when nothing runs any more, in a few seconds at most.
    ///
    /// True when every call had finished in time.
    pub async fn shutdown(mut self, grace: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + grace;
        self.advertised.drain(grace).await;
        self.shared.draining.send_replace(true);
        for task in self.accepting.drain(..) {
            task.abort();
            // The socket is closed when the task is gone.
            let _ = task.await;
        }
        drop(std::mem::replace(&mut self.connection, mpsc::channel(1).0));
        let in_time = tokio::time::timeout_at(deadline, self.connections.recv())
            .await
            .is_ok();
        self.advertised.withdraw().await;
        in_time
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.accepting {
            task.abort();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// A function that can serve a method: `|args| async { Ok(reply) }` or `|context, args| async { Ok(reply) }`.
///
/// It is implemented for such closures alone; `Takes` only tells the two apart.
pub trait Handle<Takes, A, R>: Send + Sync + 'static {
    /// What the function returns.
    type Running: Future<Output = Result<R>> + Send + 'static;

    /// Runs the function. `context` makes the context, if it is wanted.
    fn handle(&self, context: &dyn Fn() -> Context, args: A) -> Self::Running;
}

impl<A, R, F, Fut> Handle<(A,), A, R> for F
where
    F: Fn(A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send + 'static,
{
    type Running = Fut;

    fn handle(&self, _: &dyn Fn() -> Context, args: A) -> Fut {
        self(args)
    }
}

impl<A, R, F, Fut> Handle<(Context, A), A, R> for F
where
    F: Fn(Context, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send + 'static,
{
    type Running = Fut;

    fn handle(&self, context: &dyn Fn() -> Context, args: A) -> Fut {
        self(context(), args)
    }
}

impl ServerBuilder {
    /// Adds a service, as `into_service` of a service trait makes it.
    pub fn register(mut self, service: Service) -> ServerBuilder {
        if let Err(error) = self.router.register(service) {
            self.keep(StartError::Register(error));
        }
        self
    }

    /// Adds a closure under a full name, `Service.Method`. It takes the argument, or the context and the argument.
    pub fn method<Takes, A, R, F>(mut self, name: &str, handler: F) -> ServerBuilder
    where
        A: Message,
        R: Message,
        F: Handle<Takes, A, R>,
    {
        self.add(name, |name| {
            Method::of(name, move |context: MakeContext<'_>, args| {
                handler.handle(context, args)
            })
        });
        self
    }

    /// Adds a closure with streams of items under a full name, `Service.Method`. See [`Method::streaming`].
    pub fn streaming<A, Up, Down, R, F, Fut>(mut self, name: &str, handler: F) -> ServerBuilder
    where
        A: Message,
        Up: Items,
        Down: Items,
        R: Message,
        F: Fn(Context, A, Incoming<Up>, Outgoing<Down>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        self.add(name, |name| Method::streaming(name, handler));
        self
    }

    fn add(&mut self, name: &str, method: impl FnOnce(&str) -> Method) {
        let registered = match name.rsplit_once('.') {
            Some((service, name)) => self.router.register_method(service, method(name)),
            None => Err(RegisterError::BadName(name.to_owned())),
        };
        if let Err(error) = registered {
            self.keep(StartError::Register(error));
        }
    }

    /// Puts a [middleware](crate::middleware) around every call of every method. The first that is added is the
    /// outermost.
    pub fn layer(mut self, layer: impl Middleware) -> ServerBuilder {
        self.layers.add(layer);
        self
    }

    /// Measures every call, its layers included. Default: nobody does.
    pub fn metrics(mut self, recorder: impl Recorder) -> ServerBuilder {
        self.recorder = Some(Arc::new(recorder));
        self
    }

    /// Listens on an address, too: `tcp@127.0.0.1:0`, `unix@/run/arith.sock`. Every listener serves every protocol.
    ///
    /// With one exception: clients of geerpc open as those of TinyRPC do, but wait for no acknowledgement and break on
    /// one. They are understood over HTTP, where they ask for a path of their own, and at a listener that was bound
    /// for them, `geerpc+tcp@127.0.0.1:0`. There farcall's and TinyRPC's own clients need HTTP.
    pub fn bind(mut self, address: &str) -> ServerBuilder {
        match address.parse() {
            Ok(address) => self.addresses.push(address),
            Err(error) => self.keep(StartError::Address(error)),
        }
        self
    }

    /// Stops a handler after this time with an error reply. A client can only ask for less. Default: no limit.
    pub fn handle_timeout(mut self, limit: Duration) -> ServerBuilder {
        self.config.handle_timeout = Some(limit);
        self
    }

    /// Closes a connection whose opening is not whole after this time. Default 10 s.
    pub fn handshake_timeout(mut self, limit: Duration) -> ServerBuilder {
        self.config.handshake_timeout = limit;
        self
    }

    /// Bounds what one peer can make the server hold.
    pub fn limits(mut self, limits: Limits) -> ServerBuilder {
        self.config.limits = limits;
        self
    }

    /// Requests of one connection that run at a time, at least 1. Beyond them it is not read from. Default 256.
    pub fn in_flight_max(mut self, count: usize) -> ServerBuilder {
        self.config.in_flight_max = count.max(1);
        self
    }

    /// Refuses a dialect on every listener. Its peers are still recognised, and the log says why they were refused.
    pub fn without(mut self, dialect: Dialect) -> ServerBuilder {
        self.config.without.push(dialect);
        self
    }

    /// Refuses HTTP but for `CONNECT`: no pages, no calls as JSON, no registry on the same ports.
    pub fn without_http(mut self) -> ServerBuilder {
        self.config.without_http = true;
        self
    }

    /// Connections at a time. Beyond them a new one is closed at once. Default 10,000.
    pub fn connections_max(mut self, count: usize) -> ServerBuilder {
        self.config.connections_max = count;
        self
    }

    /// Sends a connection away when it is so old, a fifth more or less at random: a farcall client is told to make its
    /// next calls on another one, and ends it when those that run have ended. No call fails by it, and clients spread
    /// over servers that were added behind one address. Other clients cannot be told, and stay. Default: no such age.
    pub fn connection_age_max(mut self, age: Duration) -> ServerBuilder {
        self.config.connection_age_max = Some(age);
        self
    }

    /// Serves a registry on the same ports.
    pub fn registry(mut self, registry: Registry) -> ServerBuilder {
        self.registry = Some(registry);
        self
    }

    /// Enters the server in a registry once it listens, with the first address that it is bound to and the names of
    /// its services, and takes it out in [`Server::shutdown`].
    ///
    /// ```
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use farcall::Server;
    /// use farcall::registry::Etcd;
    /// let server = Server::builder()
    ///     .bind("tcp@10.0.0.7:9999")
    ///     .advertise(Etcd::new("etcd://10.0.0.1:2379/")?)
    ///     .start()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn advertise(mut self, registry: impl Advertise) -> ServerBuilder {
        self.adverts.add(Box::new(registry), None);
        self
    }

    /// Does the same with a description of one's own: another address, a weight, a zone.
    pub fn advertise_as(mut self, registry: impl Advertise, endpoint: Endpoint) -> ServerBuilder {
        self.adverts.add(Box::new(registry), Some(endpoint));
        self
    }

    /// Binds the sockets and begins to serve.
    ///
    /// # Errors
    ///
    /// The first mistake made above, a socket that cannot be bound, or an address to advertise that no client can dial;
    /// then nothing is served.
    pub async fn start(self) -> Result<Server, StartError> {
        let ServerBuilder {
            router,
            layers,
            recorder,
            config,
            addresses,
            registry,
            adverts,
            mistake,
        } = self;
        if let Some(mistake) = mistake {
            return Err(mistake);
        }
        let mut listeners = Vec::new();
        for address in addresses {
            let bound = Listener::bind(&address).await.and_then(|listener| {
                let mut reached = listener.address()?;
                if address.dialect == Dialect::GeeRpc {
                    reached.dialect = Dialect::GeeRpc;
                }
                Ok((listener, reached))
            });
            listeners.push(bound.map_err(|source| StartError::Bind { address, source })?);
        }
        let (listeners, addresses): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        if let Some(recorder) = recorder {
            router.measure(&*recorder);
        }
        let draining = watch::Sender::new(false);
        let shared = Arc::new_cyclic(|shared: &std::sync::Weak<Shared>| {
            let is_draining = draining.subscribe();
            let mut surface = Surface::new(move || !*is_draining.borrow());
            let services = shared.clone();
            surface = dashboard::mount(surface, move || {
                services
                    .upgrade()
                    .map(|shared| shared.router.snapshot())
                    .unwrap_or_default()
            });
            surface = http_calls::mount(surface, config.limits.message_len_max, shared.clone());
            if let Some(registry) = &registry {
                surface = registry.mount(surface);
            }
            Shared {
                config,
                router,
                layers,
                draining,
                surface: Arc::new(surface),
            }
        });
        let services = shared.router.snapshot().into_iter();
        let services: Vec<String> = services.map(|service| service.name).collect();
        let advertised = adverts.enter(addresses.first(), &services);
        let advertised = advertised.map_err(StartError::Address)?;
        let (connection, connections) = mpsc::channel(1);
        let (end, ended) = watch::channel(());
        // The server itself and each accept loop hold a sender, too.
        let others = 1 + addresses.len();
        let accepting = listeners.into_iter().zip(&addresses);
        let accepting = accepting.map(|(listener, address)| {
            tokio::spawn(accept_loop(
                Arc::clone(&shared),
                listener,
                address.dialect,
                connection.clone(),
                others,
                ended.clone(),
            ))
        });
        Ok(Server {
            accepting: accepting.collect(),
            advertised,
            addresses,
            shared,
            connections,
            connection,
            _end: end,
            ended,
        })
    }

    /// The first mistake is the one to report.
    fn keep(&mut self, mistake: StartError) {
        self.mistake.get_or_insert(mistake);
    }
}

/// Accepts until it is aborted. No error ends it: a listener that stopped would look healthy and be deaf.
async fn accept_loop(
    shared: Arc<Shared>,
    listener: Listener,
    dialect: Dialect,
    connection: mpsc::Sender<()>,
    others: usize,
    ended: watch::Receiver<()>,
) {
    const PAUSE_MIN: Duration = Duration::from_millis(5);
    const PAUSE_MAX: Duration = Duration::from_secs(1);
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok(stream) => {
                pause = PAUSE_MIN;
                let connections_max = shared.config.connections_max;
                if connection.strong_count() >= others.saturating_add(connections_max) {
                    tracing::warn!(peer = %stream.peer, "connection closed: there are {connections_max} already");
                    continue;
                }
                serve(&shared, stream, dialect, connection.clone(), ended.clone());
            }
            Err(error) => {
                // Descriptors used up, a peer gone before it was accepted: both pass.
                tracing::warn!(%error, "a connection could not be accepted; trying again in {pause:?}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Serves a stream on a task of its own, which ends with the server at the latest. `dialect` is what a handshake opens
/// whose bytes could open farcall's or geerpc's.
fn serve(
    shared: &Arc<Shared>,
    stream: Stream,
    dialect: Dialect,
    alive: mpsc::Sender<()>,
    mut ended: watch::Receiver<()>,
) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        tokio::select! {
            () = connection::serve(shared, stream, dialect) => {}
            _ = ended.changed() => {}
        }
        drop(alive);
    });
}

async fn serve_http(
    shared: &Shared,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: &str,
) {
    let mut draining = shared.draining.subscribe();
    let shutdown = async move {
        // An error means that the server is gone.
        let _ = draining.wait_for(|draining| *draining).await;
    };
    http::serve(stream, peer, Arc::clone(&shared.surface), shutdown).await;
}
