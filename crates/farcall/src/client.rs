//! Clients: one server, as its callers see it. When its connections are made and made again is told in `lanes`.

mod around;
mod call;
pub(crate) mod connection;
mod lane;
mod lanes;
mod streaming;

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use farcall_gob::Schema;
use farcall_wire::{Body, Code, Codec, Compression, Dynamic, Limits, Message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

pub(crate) use around::around;
use call::once_more;
pub use call::{Call, CallFuture, FromReply, Pending, Reply};
pub(crate) use call::{CallOptions, InFlight, RawReply, is_unknown};
use connection::{CallTurn, Connection, NotBegun, connect_timed_out};
pub use lanes::ClientState;
use lanes::Lanes;
pub(crate) use lanes::Patience;
pub use streaming::{StreamCall, StreamReply, Streaming};

use crate::channel::Via;
use crate::context::Peer;
use crate::link::now;
use crate::middleware::{self, Metered, Meters, Middleware, Recorder, Stack};
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
    pub(crate) wait_for_ready: bool,
    /// The first wait between dials, and the longest.
    pub(crate) backoff: (Duration, Duration),
    pub(crate) age_max: Option<Duration>,
    pub(crate) connections: usize,
    pub(crate) compression: Option<Compression>,
    pub(crate) keep_alive: Option<Duration>,
    /// What stands around every call.
    pub(crate) layers: Stack,
    pub(crate) meters: Option<Arc<Meters>>,
}

/// The first wait between dials and the longest, so that no time is beyond what the clock can tell.
pub(crate) fn backoff_bounds(first: Duration, max: Duration) -> (Duration, Duration) {
    (first, max.min(Duration::from_secs(24 * 3600)))
}

impl Default for Config {
    fn default() -> Config {
        Config {
            codec: Codec::Gob,
            connect_timeout: Duration::from_secs(10),
            handle_timeout: None,
            call_timeout: None,
            limits: connection::default_limits(),
            wait_for_ready: false,
            backoff: (Duration::from_millis(100), Duration::from_secs(30)),
            age_max: None,
            connections: 1,
            compression: None,
            keep_alive: Some(KEEP_ALIVE),
            layers: Stack::default(),
            meters: None,
        }
    }
}

/// Calls one server.
///
/// A client is a handle: cloning is cheap, all clones share its connections, and any number of calls run on them at a
/// time. There is one connection, made for the first call, unless [`ClientBuilder::connections`] asks for more.
///
/// # When a connection is lost
///
/// Every call on it ends with an error that says whether the server may have run it, and the next call makes a new
/// connection. All calls that need one wait for the same dial. When it fails, each of them ends with its error, and for
/// a while there is no other dial ([`ClientBuilder::backoff`]): calls that come meanwhile end at once with
/// [`Code::Unavailable`] and [`Reached::NotSent`], and a text that tells when the next try is. With
/// [`ClientBuilder::wait_for_ready`] or [`Call::wait_for_ready`] they wait for a connection instead, until their
/// deadline. A connection that ended before it had answered a call or been open for 10 s counts as a dial that failed,
/// if it was not the first one; any other is made again at once.
#[derive(Clone)]
pub struct Client(Arc<Lanes>);

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

    /// What calls do that need a connection and cannot have one now, because dials have failed: wait until there is one,
    /// for as long as their deadline allows (true), or end at once with [`Code::Unavailable`] (false). A call can ask
    /// to wait by itself, with [`Call::wait_for_ready`]. Default: false.
    ///
    /// A call that waits and has no deadline waits for as long as the server is away.
    pub fn wait_for_ready(mut self, waits: bool) -> ClientBuilder {
        self.config.wait_for_ready = waits;
        self
    }

    /// How long nobody dials after a dial that failed: a random part of `first`, and after each further failure of a
    /// time 1.6 times as long, up to `max`. It begins anew once a connection has answered a call or been open for 10 s.
    /// Default: 100 ms and 30 s. No wait is longer than a day.
    pub fn backoff(mut self, first: Duration, max: Duration) -> ClientBuilder {
        self.config.backoff = backoff_bounds(first, max);
        self
    }

    /// Replaces a connection when it is so old, a fifth more or less at random: a new one is opened, calls begin there
    /// from then on, and the old one ends with the last call that runs on it. So clients come to know servers that were
    /// added behind one address. While no other can be opened, the old one is kept. Default: no such age.
    pub fn age_max(mut self, age: Duration) -> ClientBuilder {
        self.config.age_max = Some(age);
        self
    }

    /// How many connections calls are spread over, by turns; at least 1. One connection uses one core on each side for
    /// reading: more of them help a client whose calls are more than that core can move. They are opened one after the
    /// other as calls come, and no call waits for one while another is open. Default 1.
    pub fn connections(mut self, count: usize) -> ClientBuilder {
        self.config.connections = count.max(1);
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

    /// Puts a [middleware](crate::middleware) around every call. The first that is added is the outermost.
    pub fn layer(mut self, layer: impl Middleware) -> ClientBuilder {
        self.config.layers.add(layer);
        self
    }

    /// Measures every call, its layers included. Default: nobody does.
    pub fn metrics(mut self, recorder: impl Recorder) -> ClientBuilder {
        self.config.meters = Some(Arc::new(Meters::new(Arc::new(recorder))));
        self
    }

    /// A client that connects when it is first called.
    pub fn build(self) -> Client {
        Client::new(self.address, self.config)
    }

    /// A client that is connected.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or does not speak the protocol.
    pub async fn connect(self) -> Result<Client> {
        let client = self.build();
        client.ready().await?;
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
        let Lanes {
            address, config, ..
        } = &*client.0;
        let limit = config.connect_timeout;
        let stream = Stream::other(io, &address.to_string());
        let opening = timeout(limit, Connection::on_stream(stream, address, config));
        let connection = opening
            .await
            .unwrap_or_else(|_| Err(connect_timed_out(address, limit)))?;
        client.0.take_in(&connection, None);
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

    pub(crate) fn new(address: Address, config: Config) -> Client {
        Client(Arc::new(Lanes::new(address, config)))
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
        let calling = self.invoke(method, Body::Dynamic(&args), &options);
        let reply = Metered::over(self.metered(method), calling).await?;
        reply.to_plain_json()
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
                let connection = self.0.connection(Patience::Insist).await?;
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

    /// Opens a connection unless one is open, so that the next call need not wait for it. It does not wait for as long
    /// as [`ClientBuilder::backoff`] says, but for a second at most.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or does not speak the protocol, or the client was closed.
    pub async fn ready(&self) -> Result<()> {
        self.connected(Patience::Insist).await
    }

    /// Where the client stands with its server at this moment.
    pub fn state(&self) -> ClientState {
        self.0.state()
    }

    /// True while a connection is open.
    pub fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// Calls that wait for their reply now.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    /// Makes no further calls: they end with [`Code::Cancelled`]. Calls that run finish, and each connection ends
    /// with the last of them.
    pub fn close(&self) {
        self.0.close();
    }

    /// Ends when a connection is open, or patience is over. A dial goes on when nobody waits for it any more.
    pub(crate) async fn connected(&self, patience: Patience) -> Result<()> {
        self.0.connection(patience).await.map(drop)
    }

    /// Begins to measure a call, if calls are measured.
    pub(crate) fn metered(&self, method: &str) -> Option<Metered<'_>> {
        self.0.config.meters.as_ref()?.begin(method)
    }

    /// True where calls are to go through layers, by [`Client::invoke`].
    pub(crate) fn has_layers(&self) -> bool {
        self.0.config.layers.layers().is_some()
    }

    /// Begins a call behind the layers if that takes no waiting: when a connection is open and has room.
    pub(crate) fn begin_now(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
        waker: Option<&Waker>,
    ) -> Option<Result<InFlight>> {
        self.begin_by(method, body, options, self.deadline(options), waker)
    }

    /// The same with a deadline that is known.
    pub(crate) fn begin_by(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
        deadline: Option<Instant>,
        waker: Option<&Waker>,
    ) -> Option<Result<InFlight>> {
        let connection = self.0.next()?;
        match InFlight::begin(connection, method, body, options, deadline, waker, None) {
            Ok(in_flight) => Some(Ok(in_flight)),
            Err(NotBegun::Failed(error)) => Some(Err(error)),
            Err(NotBegun::Gone | NotBegun::Full) => None,
        }
    }

    /// Makes a call, through the layers.
    pub(crate) async fn invoke(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<RawReply> {
        let Some(layers) = self.0.config.layers.layers() else {
            return self.invoke_directly(method, body, options).await;
        };
        let peer = Peer::server(Some(self.address()), self.0.config.codec);
        let deadline = self.deadline(options);
        let metadata = &options.metadata;
        let call =
            middleware::Call::outgoing(method, peer, deadline, metadata, options.is_idempotent);
        let make = |options: CallOptions| {
            let call = async move {
                match self.begin_now(method, body, &options, None) {
                    Some(begun) => begun?.await,
                    None => self.invoke_directly(method, body, &options).await,
                }
            };
            Box::pin(call) as _
        };
        around(layers, call, options, make).await
    }

    /// Makes a call, connecting first if need be.
    async fn invoke_directly(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<RawReply> {
        let patience = self.patience(options);
        let began = options.is_idempotent.then(now);
        let outcome = self.invoke_with(patience, method, body, options).await;
        match (outcome, began) {
            (Err(first), Some(began)) if is_unknown(&first) => {
                let passed = now().saturating_duration_since(began);
                let limit = options.timeout.or(self.call_timeout());
                let options = CallOptions {
                    timeout: limit.map(|limit| limit.saturating_sub(passed)),
                    now: None,
                    ..options.clone()
                };
                once_more(first, self.invoke_with(patience, method, body, &options)).await
            }
            (outcome, _) => outcome,
        }
    }

    pub(crate) fn call_timeout(&self) -> Option<Duration> {
        self.0.config.call_timeout
    }

    /// Makes a call once.
    pub(crate) async fn invoke_with(
        &self,
        patience: Patience,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<RawReply> {
        let opening = self.open_with(patience, method, body, options);
        opening.await?.await
    }

    /// Begins a call, connecting first if need be.
    pub(crate) async fn open(
        &self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<InFlight> {
        let patience = self.patience(options);
        self.open_with(patience, method, body, options).await
    }

    fn patience(&self, options: &CallOptions) -> Patience {
        match options.wait_for_ready || self.0.config.wait_for_ready {
            true => Patience::WaitForReady,
            false => Patience::FailFast,
        }
    }

    pub(crate) async fn open_with(
        &self,
        patience: Patience,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<InFlight> {
        let deadline = self.deadline(options);
        let begin = async {
            loop {
                let connection = self.0.connection(patience).await?;
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
        let now = || options.now.unwrap_or_else(now);
        context::deadline_at(now, limit, options.is_detached)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}
