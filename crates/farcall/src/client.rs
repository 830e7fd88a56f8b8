//! Clients: one server, one connection that is made when it is needed, and made again when it was lost.

mod call;
pub(crate) mod connection;
mod streaming;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use farcall_gob::Schema;
use farcall_wire::{Body, Code, Codec, Compression, Dynamic, Limits, Message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

pub use call::RawReply;
pub use call::{Call, CallFuture, FromReply, Pending, Reply};
pub(crate) use call::{CallOptions, InFlight};
use connection::{CallTurn, Connection, NotBegun, connect_timed_out};
pub use streaming::{StreamCall, StreamReply, Streaming};

use crate::channel::Via;
use crate::link::now;
use crate::transport::Stream;
use crate::{Address, Error, Items, Reached, Result, context};

/// Longer than any pause of a machine that only has much to do.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Sets a [`Client`] up.
#[must_use = "a client is made by connect or build"]
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    address: Address,
    config: Config,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) codec: Codec,
    pub(crate) connect_timeout: Duration,
    pub(crate) handle_timeout: Option<Duration>,
    pub(crate) call_timeout: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) compression: Option<Compression>,
    pub(crate) keep_alive: Option<Duration>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            codec: Codec::Gob,
            connect_timeout: Duration::from_secs(10),
            handle_timeout: None,
            call_timeout: None,
            limits: connection::default_limits(),
            compression: None,
            keep_alive: Some(KEEP_ALIVE),
        }
    }
}

/// Calls one server.
///
/// A client is a handle: cloning is cheap, all clones share one connection, and any number of calls run on it at a
/// time. When the connection is lost, every call on it ends with an error, and the next call makes a new one.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    address: Address,
    config: Config,
    /// The connection made last, which may have ended since. Every call looks here, without a lock.
    current: ArcSwapOption<Connection>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Present while somebody dials: everyone who needs the connection waits for the same one.
    dialling: Option<watch::Receiver<Option<Result<Arc<Connection>>>>>,
    is_closed: bool,
}

impl ClientBuilder {
    /// The codec to ask for, in farcall's own protocol. Default: gob.
    pub fn codec(mut self, codec: Codec) -> ClientBuilder {
        self.config.codec = codec;
        self
    }

    /// How long dialling and the handshake may take together. Default 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.config.connect_timeout = limit;
        self
    }

    /// The timeout of calls that have none of their own. Default: none.
    pub fn call_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.config.call_timeout = Some(limit);
        self
    }

    /// Asks the server to stop any handler of this client after this time. Default: no such wish.
    pub fn handle_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.config.handle_timeout = Some(limit);
        self
    }

    /// Bounds what the server can make this client hold.
    pub fn limits(mut self, limits: Limits) -> ClientBuilder {
        self.config.limits = limits;
        self
    }

    /// Compresses arguments and replies of 1 KiB and more, where that makes them smaller, if the server can. Default:
    /// none, which is best where the network is faster than the processor.
    pub fn compression(mut self, compression: Compression) -> ClientBuilder {
        self.config.compression = Some(compression);
        self
    }

    /// How long a server that has calls to answer may be silent before it is asked whether it is there. It is given up
    /// when it stays silent for as long again. `None` leaves that to TCP, which may take many minutes. Default 30 s.
    pub fn keep_alive(mut self, interval: Option<Duration>) -> ClientBuilder {
        self.config.keep_alive = interval;
        self
    }

    /// A client that connects when it is first called.
    pub fn build(self) -> Client {
        Client(Arc::new(Inner {
            address: self.address,
            config: self.config,
            current: ArcSwapOption::empty(),
            state: Mutex::default(),
        }))
    }

    /// A client that is connected.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or does not speak the protocol.
    pub async fn connect(self) -> Result<Client> {
        let client = self.build();
        client.connection().await?;
        Ok(client)
    }

    /// A client on a stream that is open already: a pipe in memory, for instance. It cannot connect again.
    ///
    /// # Errors
    ///
    /// When the other end does not speak the protocol.
    pub async fn connect_on(
        self,
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Client> {
        let client = self.build();
        let Inner {
            address,
            config,
            current,
            ..
        } = &*client.0;
        let limit = config.connect_timeout;
        let stream = Stream::other(io, &address.to_string());
        let opening = timeout(limit, Connection::on_stream(stream, address, config));
        let connection = opening
            .await
            .unwrap_or_else(|_| Err(connect_timed_out(address, limit)))?;
        current.store(Some(connection));
        Ok(client)
    }
}

impl Client {
    /// A client of the server at this address, set up further before it connects.
    pub fn builder(address: Address) -> ClientBuilder {
        ClientBuilder {
            address,
            config: Config::default(),
        }
    }

    /// Connects to a server: `tcp@127.0.0.1:9999`, `unix@/run/arith.sock`, `http@host:9999`.
    ///
    /// # Errors
    ///
    /// When the address is none ([`Code::InvalidArgument`]), or the server cannot be reached.
    pub async fn connect(address: &str) -> Result<Client> {
        let address: Address = address.parse()?;
        Client::builder(address).connect().await
    }

    /// Calls `Service.Method` with an argument. The reply's type is the caller's to say.
    ///
    /// The call begins when it is awaited; until then it can be given a timeout and metadata.
    ///
    /// # Errors
    ///
    /// The server's own words when its handler said no ([`Code::Failed`]) or has no such method
    /// ([`Code::Unimplemented`]); [`Code::Unavailable`] when there is no connection or it was lost;
    /// [`Code::DeadlineExceeded`]; [`Code::InvalidArgument`] when the argument cannot be encoded.
    /// [`Error::is_retryable`] tells whether the handler surely did not run.
    pub fn call<'a, R: Message>(&'a self, method: &'a str, args: &'a impl Message) -> Call<'a, R> {
        Call::new(Via::Client(self), method, Body::from(args))
    }

    /// Begins a call now, and gives a handle to its outcome.
    ///
    /// ```
    /// # async fn example(client: farcall::Client) -> farcall::Result<()> {
    /// let first = client.go::<i64>("Arith.Double", 1_i64);
    /// let second = client.go::<i64>("Arith.Double", 2_i64);
    /// assert_eq!(first.await? + second.await?, 6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn go<R: Message>(&self, method: &str, args: impl Message) -> Pending<R> {
        Via::Client(self).go(method, args)
    }

    /// Calls `Service.Method` without Rust types: JSON in, JSON out, in whichever codec the connection speaks.
    ///
    /// gob needs to know types that JSON does not tell apart. `types` tells the argument's; without it, integers are
    /// sent as `int`, other numbers as `float64`, and objects as structs, which Go matches by member names.
    ///
    /// # Errors
    ///
    /// As [`Client::call`], and when the JSON does not fit `types`.
    pub async fn call_json(
        &self,
        method: &str,
        args: serde_json::Value,
        types: Option<Schema>,
        limit: Option<Duration>,
    ) -> Result<serde_json::Value> {
        let args = Dynamic::new(args, types);
        let options = CallOptions {
            timeout: limit,
            ..CallOptions::default()
        };
        self.invoke(method, Body::Dynamic(&args), &options)
            .await?
            .to_plain_json()
    }

    /// Calls `Service.Method` with an argument that has no Rust type, and may be sent again. The reply's type is the
    /// caller's to say; `()` takes any.
    ///
    /// # Errors
    ///
    /// As [`Client::call`], and when the JSON does not fit its type.
    pub fn call_dynamic<'a, R: Message>(
        &'a self,
        method: &'a str,
        args: &'a Dynamic,
    ) -> Call<'a, R> {
        Call::new(Via::Client(self), method, Body::Dynamic(args))
    }

    /// Calls `Service.Method` with streams of items beside its argument and its reply: items of `Up` go to the handler,
    /// items of `Down` come from it, and [`crate::NoItems`] stands where there are none.
    ///
    /// Awaiting it opens the streams; until then it can be given a timeout, which is for all of the call, and metadata.
    ///
    /// ```
    /// # async fn example(client: farcall::Client) -> farcall::Result<()> {
    /// use farcall::NoItems;
    /// let mut numbers = client.stream::<NoItems, u64, ()>("Clock.CountDown", &3_u64).await?;
    /// while let Some(number) = numbers.next().await {
    ///     println!("{}", number?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Code::Unimplemented`] when the server has no streams: they are a part of farcall's own protocol. Otherwise as
    /// [`Client::call`]; what the handler says comes with the items and with the reply.
    pub fn stream<'a, Up: Items, Down: Items, R: Message>(
        &'a self,
        method: &'a str,
        args: &'a impl Message,
    ) -> StreamCall<'a, Up, Down, R> {
        StreamCall::new(Via::Client(self), method, Body::from(args))
    }

    /// Calls `Service.Method` with streams of items and an argument that has no Rust type. Items that have none either are
    /// [`crate::Json`].
    ///
    /// # Errors
    ///
    /// As [`Client::stream`], and when the JSON does not fit its type.
    pub fn stream_dynamic<'a, Up: Items, Down: Items, R: FromReply>(
        &'a self,
        method: &'a str,
        args: &'a Dynamic,
    ) -> StreamCall<'a, Up, Down, R> {
        StreamCall::new(Via::Client(self), method, Body::Dynamic(args))
    }

    /// Asks the server whether it is there, connecting first if need be, and tells how long the answer took. No service
    /// has to be registered for it.
    ///
    /// # Errors
    ///
    /// [`Code::DeadlineExceeded`] when there is no answer within `limit`, [`Code::Unimplemented`] when the server is not
    /// farcall's, and as [`Client::call`].
    pub async fn ping(&self, limit: Duration) -> Result<Duration> {
        let asking = async {
            loop {
                let connection = self.connection().await?;
                let asked = now();
                match InFlight::ping(connection) {
                    Ok(in_flight) => {
                        return in_flight
                            .await
                            .map(|_| now().saturating_duration_since(asked));
                    }
                    Err(NotBegun::Failed(error)) => return Err(error),
                    Err(NotBegun::Gone | NotBegun::Full) => {}
                }
            }
        };
        let answer = timeout(limit, asking).await;
        answer.unwrap_or_else(|_| {
            let (address, limit) = (&self.0.address, farcall_wire::go_duration(limit));
            let text = format!("{address} did not answer a ping within {limit}");
            Err(Error::new(Code::DeadlineExceeded, text).with_reached(Reached::Unknown))
        })
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// True while a connection is open.
    pub fn is_connected(&self) -> bool {
        let current = self.0.current.load();
        current
            .as_ref()
            .is_some_and(|connection| connection.is_open())
    }

    /// Calls that wait for their reply now.
    pub fn in_flight(&self) -> usize {
        let current = self.0.current.load();
        current
            .as_ref()
            .map_or(0, |connection| connection.in_flight())
    }

    /// Makes no further calls: they end with [`Code::Cancelled`]. Calls that run finish, and the connection ends
    /// with the last of them.
    pub fn close(&self) {
        lock(&self.0.state).is_closed = true;
        self.0.retire();
    }

    /// Ends when a connection is open, or cannot be made. The dial goes on when nobody waits for it any more.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.connection().await.map(drop)
    }

    /// Begins a call if that takes no waiting: when a connection is open and has room.
    pub(crate) fn begin_now(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
        waker: Option<&Waker>,
    ) -> Option<Result<InFlight>> {
        let connection = Arc::clone(self.0.current.load().as_ref()?);
        let deadline = self.deadline(options);
        match InFlight::begin(connection, method, body, options, deadline, waker, None) {
            Ok(in_flight) => Some(Ok(in_flight)),
            Err(NotBegun::Failed(error)) => Some(Err(error)),
            Err(NotBegun::Gone | NotBegun::Full) => None,
        }
    }

    /// Makes a call, connecting first if need be.
    pub(crate) async fn invoke(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<RawReply> {
        self.open(method, body, options).await?.await
    }

    /// Begins a call, connecting first if need be.
    pub(crate) async fn open(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<InFlight> {
        let deadline = self.deadline(options);
        let begin = async {
            loop {
                let connection = self.connection().await?;
                let begin = |turn: Option<&CallTurn<'_>>| {
                    let connection = Arc::clone(&connection);
                    InFlight::begin(connection, method, body, options, deadline, None, turn)
                };
                let begun = match begin(None) {
                    Err(NotBegun::Full) => begin(Some(&connection.turn().await)),
                    begun => begun,
                };
                match begun {
                    Ok(in_flight) => return Ok(in_flight),
                    Err(NotBegun::Failed(error)) => return Err(error),
                    Err(NotBegun::Full | NotBegun::Gone) => {}
                }
            }
        };
        match deadline {
            None => begin.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), begin)
                .await
                .unwrap_or_else(|_| {
                    let text = format!(
                        "{method} on {}: the deadline passed before the call was sent",
                        self.0.address
                    );
                    Err(Error::new(Code::DeadlineExceeded, text).with_reached(Reached::NotSent))
                }),
        }
    }

    fn deadline(&self, options: &CallOptions) -> Option<Instant> {
        let limit = options.timeout.or(self.0.config.call_timeout);
        context::deadline(limit, options.is_detached)
    }

    /// The open connection, or a new one. Everyone who asks meanwhile waits for the same dial, and nobody for longer
    /// than the connect timeout.
    async fn connection(&self) -> Result<Arc<Connection>> {
        let mut dialled = {
            let mut state = lock(&self.0.state);
            if state.is_closed {
                let text = format!("the client of {} was closed", self.0.address);
                return Err(Error::new(Code::Cancelled, text).with_reached(Reached::NotSent));
            }
            if let Some(connection) = self.0.current.load_full() {
                if connection.is_open() {
                    return Ok(connection);
                }
            }
            // A dial ends without an outcome when the runtime goes on which it was begun.
            let is_orphan = |dialled: &watch::Receiver<_>| dialled.has_changed().is_err();
            if state.dialling.as_ref().is_some_and(is_orphan) {
                state.dialling = None;
            }
            let dialling = state.dialling.get_or_insert_with(|| {
                let (done, dialled) = watch::channel(None);
                // A task of its own: those who wait may leave.
                tokio::spawn(dial(Arc::clone(&self.0), done));
                dialled
            });
            dialling.clone()
        };
        let outcome = dialled.wait_for(Option::is_some).await;
        match outcome.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            _ => {
                // The runtime on which it ran has ended. The next call dials on its own.
                lock(&self.0.state).dialling = None;
                let text = format!("dialling {} was broken off", self.0.address);
                Err(Error::new(Code::Unavailable, text).with_reached(Reached::NotSent))
            }
        }
    }
}

async fn dial(client: Arc<Inner>, done: watch::Sender<Option<Result<Arc<Connection>>>>) {
    let Inner {
        address,
        config,
        current,
        state,
    } = &*client;
    let limit = config.connect_timeout;
    let opened = timeout(limit, Connection::open(address, config)).await;
    let opened = opened.unwrap_or_else(|_| Err(connect_timed_out(address, limit)));
    {
        let mut state = lock(state);
        state.dialling = None;
        match &opened {
            Ok(connection) if state.is_closed => connection.retire(),
            Ok(connection) => current.store(Some(Arc::clone(connection))),
            Err(_) => {}
        }
    }
    done.send_replace(Some(opened));
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Ends the connection when the calls on it have ended.
    fn retire(&self) {
        if let Some(connection) = self.current.swap(None) {
            connection.retire();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.retire();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}
