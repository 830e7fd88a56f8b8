//! Which handler serves `Service.Method`, and what it did so far. No connection is known here: a handler gets its
//! argument as bytes and hands its reply to whoever called it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use farcall_gob::Schema;
use farcall_wire::{Body, BodyRef, JsonCall, Message};
use rustc_hash::FxHashMap;

use crate::context::ReplyMetadata;
use crate::{Code, Context, Error, Result};

/// A handler at work. Its last step hands its reply over, so it ends with nothing, or with the error to send.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Takes good replies.
pub(crate) trait ReplyTo: Send + Sync {
    /// Queues the reply to a request. It is an error of the call when the value cannot be encoded.
    fn reply(&self, request: &Request, body: Body<'_>) -> Result<()>;
}

/// What a reply takes from its request.
#[derive(Clone, Default)]
pub(crate) struct Request {
    pub(crate) seq: u64,
    /// The name, for peers that may be Go's: they get it back.
    pub(crate) echo: Option<Arc<str>>,
    pub(crate) json: Option<Box<JsonCall>>,
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
pub(crate) struct Replier {
    pub(crate) to: Arc<dyn ReplyTo>,
    pub(crate) request: Request,
}

type Handler = dyn Fn(Context, BodyRef<'_>, Replier) -> Result<Running> + Send + Sync;

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
    /// Why it cannot be registered: its argument or its reply cannot travel.
    unfit: Option<Unfit>,
    handler: Box<Handler>,
    counters: Counters,
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
    begun: AtomicU64,
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
        Method {
            name: name.into(),
            doc: String::new(),
            run: RunOn::default(),
            idempotent: false,
            args: Schema::of::<A>(),
            reply: Schema::of::<R>(),
            unfit: unfit::<A>("argument").or_else(|| unfit::<R>("reply")),
            handler: Box::new(move |context, body, replier| {
                let args = body.decode::<A>().map_err(|error| {
                    let text = error.to_string();
                    Error::new(Code::InvalidArgument, text)
                })?;
                let running = handler(context, args);
                Ok(Box::pin(async move {
                    let reply = running.await?;
                    replier.to.reply(&replier.request, Body::from(&reply))
                }))
            }),
            counters: Counters::default(),
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

    pub(crate) fn run_on(&self) -> RunOn {
        self.run
    }

    /// Decodes the argument and makes the future that is to be polled.
    pub(crate) fn start(
        &self,
        context: Context,
        body: BodyRef<'_>,
        replier: Replier,
    ) -> Result<Running> {
        (self.handler)(context, body, replier)
    }

    pub(crate) fn began(&self) {
        self.counters.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, failed: bool) {
        self.counters.ended.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.counters.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn snapshot(&self) -> MethodSnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // In this order, no call seems to have ended that has not begun.
        let ended = count(&self.counters.ended);
        let begun = count(&self.counters.begun);
        MethodSnapshot {
            name: self.name.clone(),
            doc: self.doc.clone(),
            args: self.args.to_string(),
            reply: self.reply.to_string(),
            idempotent: self.idempotent,
            calls: ended,
            errors: count(&self.counters.errors),
            in_flight: begun.saturating_sub(ended),
        }
    }
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
        write!(f, "{}({}) {}", self.name, self.args, self.reply)
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
        self.by_name.insert(name, method);
        Ok(())
    }

    /// The method called `Service.Method`, and its name to keep.
    pub(crate) fn find(&self, name: &str) -> Result<(&Arc<Method>, &Arc<str>), Missing> {
        match self.by_name.get_key_value(name) {
            Some((name, method)) => Ok((method, name)),
            None => Err(self.missing(name)),
        }
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
    /// Calling it again does no harm.
    pub idempotent: bool,
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Those of them that ended with an error.
    pub errors: u64,
    /// Calls that run now.
    pub in_flight: u64,
}
