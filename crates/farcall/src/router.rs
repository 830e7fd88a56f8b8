//! Which handler serves `Service.Method`, and what it did so far. No connection is known here: a handler gets its
//! argument as bytes and hands its reply to whoever called it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Instant;

use farcall_gob::Schema;
use farcall_wire::{Body, BodyRef, JsonCall, Message};
use pin_project_lite::pin_project;
use rustc_hash::FxHashMap;

use crate::context::ReplyMetadata;
use crate::link::now;
use crate::middleware::{Meter, Recorder, Reply, Side, guarded};
use crate::stream::carrier::Carrier;
use crate::stream::{CloseOnDrop, Incoming, Items, Outgoing};
use crate::{Code, Context, Error, Result};

/// A handler at work, or the layers around one.
///
/// Its last step hands its reply over, so it ends with nothing, or with the error to send. It is told with each poll
/// where the reply goes: a handler that is ready at once never has to hold its connection.
pub(crate) trait Work: Send {
    fn poll(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        to: Recipient<'_>,
    ) -> Poll<Result<()>>;
}

pub(crate) type Running = Pin<Box<dyn Work>>;

/// Takes good replies.
pub(crate) trait ReplyTo: Send + Sync {
    /// Queues the reply to a request. It is an error of the call when the value cannot be encoded.
    fn reply(&self, request: &Request, body: Body<'_>) -> Result<()>;

    /// Opens the streams of items of a request. It is an error of the call where there can be none.
    fn streams(self: Arc<Self>, request: &Request, expects_items: bool)
    -> Result<Arc<dyn Carrier>>;
}

/// What a reply takes from its request.
#[derive(Clone, Default)]
pub(crate) struct Request {
    pub(crate) seq: u64,
    /// The name, for peers that may be Go's: they get it back.
    pub(crate) echo: Option<Arc<str>>,
    pub(crate) json: Option<Box<JsonCall>>,
    /// Items follow it.
    pub(crate) sends_items: bool,
    /// True once the call has its end. It is kept where a handler can outlive its call: on a blocking thread.
    pub(crate) is_over: Option<Arc<AtomicBool>>,
    /// The caller waits for nothing.
    pub(crate) is_one_way: bool,
    /// What the handler sends back beside the reply, if the caller takes it.
    pub(crate) metadata: Option<ReplyMetadata>,
}

impl Request {
    /// Ends the call. False when it had ended before: there is no second reply.
    pub(crate) fn end(&self) -> bool {
        match &self.is_over {
            Some(is_over) => !is_over.swap(true, Ordering::Relaxed),
            None => true,
        }
    }

    /// Takes the end back: there was no reply after all.
    pub(crate) fn resume(&self) {
        if let Some(is_over) = &self.is_over {
            is_over.store(false, Ordering::Relaxed);
        }
    }
}

/// Where one call's reply goes.
#[derive(Clone, Copy)]
pub(crate) enum Recipient<'a> {
    Caller {
        to: &'a dyn ReplyTo,
        request: &'a Request,
    },
    /// The layers around the handler.
    Layers(&'a Mutex<Option<Reply>>),
}

impl Recipient<'_> {
    fn reply<R: Message>(self, reply: R) -> Result<()> {
        match self {
            Recipient::Caller { to, request } => to.reply(request, Body::from(&reply)),
            Recipient::Layers(_) => self.pass(Reply::new(reply)),
        }
    }

    /// Passes on what layers gave.
    pub(crate) fn pass(self, reply: Reply) -> Result<()> {
        match self {
            Recipient::Caller { to, request } => to.reply(request, reply.body()?),
            Recipient::Layers(place) => {
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
                Ok(())
            }
        }
    }
}

pin_project! {
    /// A handler's own future.
    struct Handling<Fut> {
        #[pin]
        running: Fut,
        open: Option<CloseOnDrop>,
    }
}

impl<Fut, R> Work for Handling<Fut>
where
    Fut: Future<Output = Result<R>> + Send,
    R: Message,
{
    fn poll(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        to: Recipient<'_>,
    ) -> Poll<Result<()>> {
        let this = self.project();
        let reply = ready!(this.running.poll(context))?;
        // No item follows the reply, whoever still holds what sends them.
        this.open.take();
        Poll::Ready(to.reply(reply))
    }
}

/// Makes the context of a call, for a handler that wants to see it: one that does not is spared its making.
pub(crate) type MakeContext<'a> = &'a dyn Fn() -> Context;

type Handler =
    dyn Fn(MakeContext<'_>, BodyRef<'_>, Option<CloseOnDrop>) -> Result<Running> + Send + Sync;

/// One method of a service: a name and what runs under it.
///
/// `#[farcall::service]` makes them; by hand one is made of a closure:
///
/// ```
/// use farcall::{Method, Service};
/// let echo = Service::new("Echo").with(Method::new("Say", |_, text: String| async move { Ok(text) }));
/// ```
pub struct Method {
    name: String,
    doc: String,
    run: RunOn,
    idempotent: bool,
    args: Schema,
    reply: Schema,
    /// The types of the items that come with the argument, and of those that go before the reply.
    incoming: Option<Schema>,
    outgoing: Option<Schema>,
    /// Why it cannot be registered: its argument or its reply cannot travel.
    unfit: Option<Unfit>,
    handler: Box<Handler>,
    counters: Counters,
    /// Set before the server starts, if calls are measured.
    meter: OnceLock<Arc<dyn Meter>>,
}

/// Where a method runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RunOn {
    /// Polled once by the task that reads the connection, and on a task of its own if it is not ready then.
    #[default]
    Reader,
    /// Always on a task of its own.
    Task,
    /// On a thread for blocking work.
    BlockingThread,
}

#[derive(Default)]
struct Counters {
    /// Handlers that were not ready at once and have not ended. One that is ready never waits to be seen, and an atomic
    /// less is a good part of what its call costs.
    running: AtomicU64,
    ended: AtomicU64,
    errors: AtomicU64,
}

impl Method {
    /// A method called `name` that runs `handler` with each call's context and argument.
    pub fn new<A, R, F, Fut>(name: impl Into<String>, handler: F) -> Method
    where
        A: Message,
        R: Message,
        F: Fn(Context, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        Method::of(name, move |context: MakeContext<'_>, args| {
            handler(context(), args)
        })
    }

    /// A method whose handler does not look at the context: a little cheaper than [`Method::new`].
    pub fn plain<A, R, F, Fut>(name: impl Into<String>, handler: F) -> Method
    where
        A: Message,
        R: Message,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        Method::of(name, move |_: MakeContext<'_>, args| handler(args))
    }

    pub(crate) fn of<A, R, F, Fut>(name: impl Into<String>, handler: F) -> Method
    where
        A: Message,
        R: Message,
        F: Fn(MakeContext<'_>, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        Method {
            name: name.into(),
            doc: String::new(),
            run: RunOn::default(),
            idempotent: false,
            args: Schema::of::<A>(),
            reply: Schema::of::<R>(),
            incoming: None,
            outgoing: None,
            unfit: unfit::<A>("argument").or_else(|| unfit::<R>("reply")),
            handler: Box::new(move |context, body, _| {
                let args = decode_argument::<A>(body)?;
                let running = handler(context, args);
                Ok(Box::pin(Handling {
                    running,
                    open: None,
                }))
            }),
            counters: Counters::default(),
            meter: OnceLock::new(),
        }
    }

    /// A method called `name` with streams of items: `Up` come from the caller, `Down` go to it, and
    /// [`crate::NoItems`] stands where there are none. The items end with the reply.
    ///
    /// ```
    /// use farcall::{Context, Incoming, Method, NoItems, Outgoing, Service};
    /// let sum = Method::streaming(
    ///     "Sum",
    ///     |_: Context, _: (), mut numbers: Incoming<i64>, _: Outgoing<NoItems>| async move {
    ///         let mut sum = 0;
    ///         while let Some(number) = numbers.next().await {
    ///             sum += number?;
    ///         }
    ///         Ok(sum)
    ///     },
    /// );
    /// let numbers = Service::new("Numbers").with(sum);
    /// ```
    pub fn streaming<A, Up, Down, R, F, Fut>(name: impl Into<String>, handler: F) -> Method
    where
        A: Message,
        Up: Items,
        Down: Items,
        R: Message,
        F: Fn(Context, A, Incoming<Up>, Outgoing<Down>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        let items = || {
            let (role, (path, why)) = match (Up::unfit(), Down::unfit()) {
                (Some(unfit), _) => ("incoming", unfit),
                (None, unfit) => ("outgoing", unfit?),
            };
            let reason = format!("its {role} items cannot travel: {why}");
            Some(Unfit { path, reason })
        };
        Method {
            name: name.into(),
            doc: String::new(),
            run: RunOn::default(),
            idempotent: false,
            args: Schema::of::<A>(),
            reply: Schema::of::<R>(),
            incoming: Up::schema(),
            outgoing: Down::schema(),
            unfit: unfit::<A>("argument")
                .or_else(|| unfit::<R>("reply"))
                .or_else(items),
            handler: Box::new(move |context, body, streams| {
                let open = streams.ok_or_else(|| {
                    let text = "a layer ran a handler with streams of items twice";
                    Error::new(Code::Internal, text)
                })?;
                let carrier = Arc::clone(&open.0);
                let args = decode_argument::<A>(body)?;
                let incoming = Incoming::new(Arc::clone(&carrier));
                let outgoing = Outgoing::new(carrier, false);
                let running = handler(context(), args, incoming, outgoing);
                Ok(Box::pin(Handling {
                    running,
                    open: Some(open),
                }))
            }),
            counters: Counters::default(),
            meter: OnceLock::new(),
        }
    }

    /// Describes the method to people.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<String>) -> Method {
        self.doc = doc.into();
        self
    }

    /// Says that running the method twice does no harm, so that a client may call again when it cannot know whether
    /// the first call ran.
    #[must_use]
    pub fn idempotent(mut self) -> Method {
        self.idempotent = true;
        self
    }

    /// Runs every call on a task of its own: for handlers that compute for long before they wait the first time, which
    /// would otherwise keep their connection's other calls from being read.
    #[must_use]
    pub fn spawned(mut self) -> Method {
        self.run = RunOn::Task;
        self
    }

    /// Runs every call on a thread for blocking work.
    #[must_use]
    pub fn blocking(mut self) -> Method {
        self.run = RunOn::BlockingThread;
        self
    }

    /// The types of the argument and of the reply.
    pub(crate) fn types(&self) -> (&Schema, &Schema) {
        (&self.args, &self.reply)
    }

    /// The types of the items that come and of those that go.
    pub(crate) fn items(&self) -> (Option<&Schema>, Option<&Schema>) {
        (self.incoming.as_ref(), self.outgoing.as_ref())
    }

    /// Refuses a request with items for a method without: nobody would ever take them.
    pub(crate) fn takes_what_comes(&self, sends_items: bool) -> Result<()> {
        if !sends_items || self.incoming.is_some() {
            return Ok(());
        }
        let text = format!("{} takes no stream of items", self.name);
        Err(Error::new(Code::Unimplemented, text))
    }

    pub(crate) fn run_on(&self) -> RunOn {
        self.run
    }

    /// Opens the streams of items that the method has, before anything of them can arrive.
    pub(crate) fn open_streams<T: ReplyTo>(
        &self,
        to: &Arc<T>,
        request: &Request,
    ) -> Result<Option<CloseOnDrop>> {
        if self.incoming.is_none() && self.outgoing.is_none() {
            return Ok(None);
        }
        let opened = Arc::clone(to).streams(request, self.incoming.is_some())?;
        Ok(Some(CloseOnDrop(opened)))
    }

    /// Decodes the argument and makes what is to be polled.
    pub(crate) fn start(
        &self,
        context: MakeContext<'_>,
        body: BodyRef<'_>,
        streams: Option<CloseOnDrop>,
    ) -> Result<Running> {
        (self.handler)(context, body, streams)
    }

    /// Tells when a call began, where calls are measured. `ended` wants to know it.
    pub(crate) fn began(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        let meter = self.meter.get()?;
        guarded(|| meter.begun());
        Some(now())
    }

    /// Counts a call that is not over at once, until [`Method::stops`].
    pub(crate) fn runs(&self) {
        self.counters.running.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stops(&self) {
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, began: Option<Instant>, outcome: Result<(), Code>) {
        self.counters.ended.fetch_add(1, Ordering::Relaxed);
        if outcome.is_err() {
            self.counters.errors.fetch_add(1, Ordering::Relaxed);
        }
        if let (Some(meter), Some(began)) = (self.meter.get(), began) {
            let elapsed = now().saturating_duration_since(began);
            guarded(|| meter.ended(outcome, elapsed));
        }
    }

    fn snapshot(&self) -> MethodSnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MethodSnapshot {
            name: self.name.clone(),
            doc: self.doc.clone(),
            args: self.args.to_string(),
            reply: self.reply.to_string(),
            incoming: self.incoming.as_ref().map(Schema::to_string),
            outgoing: self.outgoing.as_ref().map(Schema::to_string),
            idempotent: self.idempotent,
            calls: count(&self.counters.ended),
            errors: count(&self.counters.errors),
            in_flight: count(&self.counters.running),
        }
    }
}

/// Why a call over a protocol without streams cannot have any.
pub(crate) fn no_streams(dialect: &str) -> Error {
    let text = format!(
        "the method has a stream of items, which only farcall's own protocol carries, and this call came over {dialect}"
    );
    Error::new(Code::Unimplemented, text)
}

fn decode_argument<A: Message>(body: BodyRef<'_>) -> Result<A> {
    let failed = |error: farcall_wire::DecodeError| {
        let text = error.to_string();
        Error::new(Code::InvalidArgument, text)
    };
    body.decode().map_err(failed)
}

/// Why values of a type cannot travel, if they cannot.
fn unfit<T: Message>(role: &str) -> Option<Unfit> {
    let error = Schema::try_of::<T>().err()?;
    Some(Unfit {
        path: error.path().to_owned(),
        reason: format!("its {role} cannot travel: {error}"),
    })
}

/// Where in an argument or a reply the type is that cannot travel, and why.
struct Unfit {
    path: String,
    reason: String,
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.snapshot().signature())
    }
}

/// Methods under one name, ready to be registered with a server.
#[derive(Debug)]
pub struct Service {
    name: String,
    doc: String,
    methods: Vec<Method>,
}

impl Service {
    /// A service without methods.
    pub fn new(name: impl Into<String>) -> Service {
        Service {
            name: name.into(),
            doc: String::new(),
            methods: Vec::new(),
        }
    }

    /// Describes the service to people.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<String>) -> Service {
        self.doc = doc.into();
        self
    }

    /// Adds a method. Two of one name are refused when the service is registered.
    #[must_use]
    pub fn with(mut self, method: Method) -> Service {
        self.methods.push(method);
        self
    }
}

/// A service that cannot be registered, and why.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// A service of this name is there already.
    DuplicateService(String),
    /// The service has two methods of one name.
    DuplicateMethod(String),
    /// The name cannot stand in `Service.Method`.
    BadName(String),
    /// The argument or the reply of a method has a type that cannot travel.
    BadType {
        /// The method's whole name.
        method: String,
        /// The way to the field, in the wire's names: `Order.Lines[].Price`. Empty if it is the type itself.
        path: String,
        /// Which of the two, the path of the field, and the reason, for people.
        reason: String,
    },
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::DuplicateService(name) => {
                write!(f, "a service called {name} is registered already")
            }
            RegisterError::DuplicateMethod(name) => {
                write!(f, "{name} is there twice: rename one of the methods")
            }
            RegisterError::BadType { method, reason, .. } => write!(f, "{method}: {reason}"),
            RegisterError::BadName(name) => write!(
                f,
                "{name:?} cannot stand in Service.Method: a name is not empty, has no white space, and a method has no dot"
            ),
        }
    }
}

impl std::error::Error for RegisterError {}

/// All services of a server.
#[derive(Default)]
pub(crate) struct Router {
    services: BTreeMap<String, Entry>,
    /// Every method by its whole name, which the peer gives. The hash needs no secret: peers only look.
    by_name: FxHashMap<Arc<str>, Arc<Method>>,
    /// True when a method takes items: then connections must be able to decode them.
    takes_items: bool,
}

struct Entry {
    doc: String,
    methods: BTreeMap<String, Arc<Method>>,
}

/// Why a request meets no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Service,
    Method,
    /// No dot.
    IllFormed,
}

impl Missing {
    /// What Go's net/rpc says.
    pub(crate) fn go_text(self, name: &str) -> String {
        match self {
            Missing::Service => format!("rpc: can't find service {name}"),
            Missing::Method => format!("rpc: can't find method {name}"),
            Missing::IllFormed => format!("rpc: service/method request ill-formed: {name}"),
        }
    }
}

impl Router {
    /// Adds a service, or its methods to a service made of single methods.
    pub(crate) fn register(&mut self, service: Service) -> Result<(), RegisterError> {
        let Service { name, doc, methods } = service;
        if !is_name(&name) {
            return Err(RegisterError::BadName(name));
        }
        if self.services.contains_key(&name) {
            return Err(RegisterError::DuplicateService(name));
        }
        let mut entry = Entry {
            doc,
            methods: BTreeMap::new(),
        };
        for method in methods {
            let (name, method) = entry.add(&name, method)?;
            self.takes_items |= method.incoming.is_some();
            self.by_name.insert(name, method);
        }
        self.services.insert(name, entry);
        Ok(())
    }

    /// Adds one method to a service, which is made when it is not there.
    pub(crate) fn register_method(
        &mut self,
        service: &str,
        method: Method,
    ) -> Result<(), RegisterError> {
        if !is_name(service) {
            return Err(RegisterError::BadName(service.to_owned()));
        }
        let entry = self
            .services
            .entry(service.to_owned())
            .or_insert_with(|| Entry {
                doc: String::new(),
                methods: BTreeMap::new(),
            });
        let (name, method) = entry.add(service, method)?;
        self.takes_items |= method.incoming.is_some();
        self.by_name.insert(name, method);
        Ok(())
    }

    /// Measures the calls of all methods that are there.
    pub(crate) fn measure(&self, recorder: &dyn Recorder) {
        for (name, method) in &self.by_name {
            method
                .meter
                .get_or_init(|| recorder.meter(Side::Server, name));
        }
    }

    /// The method called `Service.Method`, and its name to keep.
    pub(crate) fn find(&self, name: &str) -> Result<(&Arc<Method>, &Arc<str>), Missing> {
        match self.by_name.get_key_value(name) {
            Some((name, method)) => Ok((method, name)),
            None => Err(self.missing(name)),
        }
    }

    pub(crate) fn takes_items(&self) -> bool {
        self.takes_items
    }

    /// Names are split at the last dot: services may have dots of their own.
    fn missing(&self, name: &str) -> Missing {
        match name.rsplit_once('.') {
            None => Missing::IllFormed,
            Some((service, _)) if self.services.contains_key(service) => Missing::Method,
            Some(_) => Missing::Service,
        }
    }

    /// What is there and what it did, sorted by name.
    pub(crate) fn snapshot(&self) -> Vec<ServiceSnapshot> {
        let services = self.services.iter().map(|(name, entry)| ServiceSnapshot {
            name: name.clone(),
            doc: entry.doc.clone(),
            methods: entry
                .methods
                .values()
                .map(|method| method.snapshot())
                .collect(),
        });
        services.collect()
    }
}

impl Entry {
    fn add(
        &mut self,
        service: &str,
        method: Method,
    ) -> Result<(Arc<str>, Arc<Method>), RegisterError> {
        if !is_name(&method.name) || method.name.contains('.') {
            return Err(RegisterError::BadName(method.name));
        }
        let whole = format!("{service}.{}", method.name);
        if let Some(Unfit { path, reason }) = method.unfit {
            return Err(RegisterError::BadType {
                method: whole,
                path,
                reason,
            });
        }
        let method = Arc::new(method);
        let before = self
            .methods
            .insert(method.name.clone(), Arc::clone(&method));
        match before {
            Some(_) => Err(RegisterError::DuplicateMethod(whole)),
            None => Ok((whole.into(), method)),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
}

impl MethodSnapshot {
    /// The types in the order of the trait: `(int, incoming Event, outgoing Event) int`.
    pub fn signature(&self) -> String {
        let (incoming, outgoing) = (self.incoming.as_ref(), self.outgoing.as_ref());
        signature(&self.args, incoming, outgoing, &self.reply)
    }
}

/// A method's types in one line.
pub(crate) fn signature(
    args: &str,
    incoming: Option<&String>,
    outgoing: Option<&String>,
    reply: &str,
) -> String {
    let mut text = format!("({args}");
    for (role, items) in [("incoming", incoming), ("outgoing", outgoing)] {
        if let Some(items) = items {
            text += &format!(", {role} {items}");
        }
    }
    text + &format!(") {reply}")
}

/// A service as it stands, for people and dashboards.
#[non_exhaustive]
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ServiceSnapshot {
    /// The service's name.
    pub name: String,
    /// What its author says about it.
    pub doc: String,
    /// Its methods, sorted by name.
    pub methods: Vec<MethodSnapshot>,
}

/// A method as it stands. Counts are since the server began.
#[non_exhaustive]
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct MethodSnapshot {
    /// The method's name, without its service's.
    pub name: String,
    /// What its author says about it.
    pub doc: String,
    /// The argument's type as Go would write it: `Args{A int; B int}`.
    pub args: String,
    /// The reply's type.
    pub reply: String,
    /// The type of the items that the caller sends, if it sends some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming: Option<String>,
    /// The type of the items that the caller gets before the reply, if it gets some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<String>,
    /// Calling it again does no harm.
    pub idempotent: bool,
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Those of them that ended with an error.
    pub errors: u64,
    /// Calls that run now.
    pub in_flight: u64,
}
