//! What the service attribute writes, run against a runtime of a few lines that keeps values as they are: no network,
//! no codec. That the real runtime fits is shown by farcall's own tests.

use farcall_macros::service;
use runtime::{Code, Context, Error, Result, block_on};

/// The items that the written code names, each the simplest thing of its shape.
mod runtime {
    use std::any::Any;
    use std::fmt;
    use std::future::{Future, IntoFuture};
    use std::marker::PhantomData;
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::task::{Poll, Waker};

    pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

    type Value = Box<dyn Any + Send>;
    type Pending<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(super) enum Code {
        Failed,
        NotFound,
    }

    #[derive(Debug, PartialEq)]
    pub(super) struct Error(pub(super) Code, pub(super) String);

    impl From<&str> for Error {
        fn from(text: &str) -> Error {
            Error(Code::Failed, text.to_owned())
        }
    }

    pub(super) struct Context {
        pub(super) caller: &'static str,
    }

    pub(super) struct Method {
        pub(super) name: &'static str,
        pub(super) doc: &'static str,
        pub(super) flags: Vec<&'static str>,
        handler: Box<dyn Fn(Context, Value) -> Pending<Value> + Send + Sync>,
    }

    impl Method {
        pub(super) fn new<A, R, F, Fut>(name: &'static str, handler: F) -> Method
        where
            A: Send + 'static,
            R: Send + 'static,
            F: Fn(Context, A) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<R>> + Send + 'static,
        {
            let handler = Box::new(move |cx, argument: Value| {
                let reply = handler(cx, *argument.downcast::<A>().expect("the argument's type"));
                Box::pin(async move { Ok(Box::new(reply.await?) as Value) }) as Pending<Value>
            });
            Method {
                name,
                doc: "",
                flags: Vec::new(),
                handler,
            }
        }

        pub(super) fn plain<A, R, F, Fut>(name: &'static str, handler: F) -> Method
        where
            A: Send + 'static,
            R: Send + 'static,
            F: Fn(A) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<R>> + Send + 'static,
        {
            Method::new(name, move |_, argument| handler(argument))
        }

        pub(super) fn doc(mut self, text: &'static str) -> Method {
            self.doc = text;
            self
        }

        pub(super) fn idempotent(mut self) -> Method {
            self.flags.push("idempotent");
            self
        }

        pub(super) fn spawned(mut self) -> Method {
            self.flags.push("spawned");
            self
        }

        pub(super) fn blocking(mut self) -> Method {
            self.flags.push("blocking");
            self
        }
    }

    pub(super) struct Service {
        pub(super) name: &'static str,
        pub(super) doc: &'static str,
        pub(super) methods: Vec<Method>,
    }

    impl Service {
        pub(super) fn new(name: &'static str) -> Service {
            Service {
                name,
                doc: "",
                methods: Vec::new(),
            }
        }

        pub(super) fn doc(mut self, text: &'static str) -> Service {
            self.doc = text;
            self
        }

        pub(super) fn with(mut self, method: Method) -> Service {
            self.methods.push(method);
            self
        }
    }

    #[derive(Clone)]
    pub(super) struct Channel(Arc<Service>);

    impl fmt::Debug for Channel {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "Channel({})", self.0.name)
        }
    }

    impl From<Service> for Channel {
        fn from(service: Service) -> Channel {
            Channel(Arc::new(service))
        }
    }

    impl Channel {
        pub(super) async fn connect(target: &str) -> Result<Channel> {
            Err(Error(Code::NotFound, format!("nobody at {target}")))
        }

        pub(super) fn call<'a, A, R>(&'a self, path: &'a str, argument: &'a A) -> Call<'a, R>
        where
            A: Clone + Send + 'static,
        {
            Call {
                service: &self.0,
                path,
                argument: Box::new(argument.clone()),
                reply: PhantomData,
                said: Vec::new(),
            }
        }
    }

    pub(super) struct Call<'a, R> {
        service: &'a Service,
        path: &'a str,
        argument: Value,
        reply: PhantomData<R>,
        said: Vec<&'static str>,
    }

    impl<R> Call<'_, R> {
        pub(super) fn idempotent(mut self) -> Self {
            self.said.push("idempotent");
            self
        }

        pub(super) fn one_way(mut self) -> Self {
            self.said.push("one_way");
            self
        }

        /// What the typed client said of the method.
        pub(super) fn said(&self) -> &[&'static str] {
            &self.said
        }
    }

    impl<'a, R: Send + 'static> IntoFuture for Call<'a, R> {
        type Output = Result<R>;
        type IntoFuture = Pin<Box<dyn Future<Output = Result<R>> + Send + 'a>>;

        fn into_future(self) -> Self::IntoFuture {
            let reply = self.path.rsplit_once('.').and_then(|(service, method)| {
                let methods = &self.service.methods;
                let method = methods.iter().find(|m| m.name == method)?;
                let cx = Context { caller: "a test" };
                (self.service.name == service).then(|| (method.handler)(cx, self.argument))
            });
            let path = self.path;
            Box::pin(async move {
                let reply = reply.ok_or_else(|| Error(Code::NotFound, path.to_owned()))?;
                Ok(*reply.await?.downcast::<R>().expect("the reply's type"))
            })
        }
    }

    /// Runs a future that never has to wait.
    pub(super) fn block_on<T>(future: impl IntoFuture<Output = T>) -> T {
        let mut future = pin!(future.into_future());
        match future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(Waker::noop()))
        {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("nothing here waits"),
        }
    }
}

#[derive(Clone)]
struct Args {
    a: i64,
    b: i64,
}

struct DivideByZero;

impl From<DivideByZero> for Error {
    fn from(_: DivideByZero) -> Error {
        Error::from("divide by zero")
    }
}

/// Integer arithmetic.
///
/// On 64 bits.
#[service(crate = "crate::runtime")]
trait Arith {
    /// Multiplies.
    async fn multiply(&self, args: Args) -> Result<i64>;

    #[rpc(name = "Div", idempotent)]
    async fn divide(&self, cx: &Context, args: Args) -> Result<(i64, i64), DivideByZero>;

    #[rpc(one_way)]
    async fn ping(&self) -> Result<()>;

    #[rpc(spawn)]
    async fn who_calls(&self, cx: &Context) -> Result<String>;

    /// Negates, unless the implementation knows better.
    #[rpc(blocking)]
    async fn negate(&self, mut number: i64) -> Result<i64> {
        number = self.multiply(Args { a: number, b: -1 }).await?;
        Ok(number)
    }

    #[cfg(any())]
    async fn never_compiled(&self, args: NoSuchType) -> Result<()>;

    #[deprecated]
    async fn r#type(&self, _: ()) -> Result<String>;
}

struct Calculator;

impl Arith for Calculator {
    async fn multiply(&self, Args { a, b }: Args) -> Result<i64> {
        Ok(a * b)
    }

    async fn divide(&self, _: &Context, args: Args) -> Result<(i64, i64), DivideByZero> {
        match args.b {
            0 => Err(DivideByZero),
            b => Ok((args.a / b, args.a % b)),
        }
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn who_calls(&self, cx: &Context) -> Result<String> {
        Ok(cx.caller.to_owned())
    }

    async fn r#type(&self, (): ()) -> Result<String> {
        Ok("calculator".to_owned())
    }
}

fn client() -> ArithClient {
    ArithClient::new(Calculator.into_service())
}

#[test]
fn a_call_reaches_the_method_and_brings_its_reply() {
    let client = client();
    assert_eq!(block_on(client.multiply(&Args { a: 6, b: 7 })), Ok(42));
    assert_eq!(block_on(client.divide(&Args { a: 7, b: 2 })), Ok((3, 1)));
    assert_eq!(block_on(client.clone().ping()), Ok(()));
}

#[test]
fn an_error_of_the_services_own_reaches_the_caller() {
    let error = block_on(client().divide(&Args { a: 7, b: 0 })).unwrap_err();
    assert_eq!(error, Error::from("divide by zero"));
}

#[test]
fn a_method_that_asks_for_its_context_gets_it() {
    assert_eq!(block_on(client().who_calls()), Ok("a test".to_owned()));
}

#[test]
fn a_method_with_a_body_is_a_default_that_may_call_the_others() {
    assert_eq!(block_on(client().negate(&42)), Ok(-42));
}

#[test]
fn the_service_has_each_method_under_its_name_with_its_flags_and_description() {
    let service = Calculator.into_service();
    assert_eq!(service.name, "Arith");
    assert_eq!(service.doc, "Integer arithmetic.\n\nOn 64 bits.");
    let methods: Vec<_> = service
        .methods
        .iter()
        .map(|m| (m.name, m.doc, m.flags.join(" ")))
        .collect();
    let expected = [
        ("Multiply", "Multiplies.", ""),
        ("Div", "", "idempotent"),
        ("Ping", "", ""),
        ("WhoCalls", "", "spawned"),
        (
            "Negate",
            "Negates, unless the implementation knows better.",
            "blocking",
        ),
        ("Type", "", ""),
    ];
    assert_eq!(methods, expected.map(|(n, d, f)| (n, d, f.to_owned())));
}

#[test]
fn the_client_says_of_a_call_what_the_trait_says_of_the_method() {
    let client = client();
    let args = Args { a: 1, b: 1 };
    assert_eq!(client.divide(&args).said(), ["idempotent"]);
    assert_eq!(client.ping().said(), ["one_way"]);
    assert!(client.multiply(&args).said().is_empty());
}

#[test]
fn connecting_goes_to_the_channel_and_gives_its_error() {
    let error = block_on(ArithClient::connect("tcp@here:1")).unwrap_err();
    assert_eq!(
        error,
        Error(Code::NotFound, "nobody at tcp@here:1".to_owned())
    );
}

/// Everything about this trait is odd and allowed.
mod odd {
    use super::runtime::{self, Channel, block_on};

    type Outcome = runtime::Error;

    #[super::service(name = "shop.cart", crate = "runtime")]
    trait Cart: std::fmt::Debug {
        async fn clone(&self) -> Result<u8, Outcome>;
        async fn item2_by_id(&self, service: u8) -> std::result::Result<u8, super::DivideByZero>;
    }

    #[derive(Debug)]
    struct Full;

    impl Cart for Full {
        async fn clone(&self) -> Result<u8, Outcome> {
            Ok(1)
        }

        async fn item2_by_id(&self, service: u8) -> Result<u8, super::DivideByZero> {
            Ok(service)
        }
    }

    #[test]
    fn a_method_may_have_the_name_of_anything_that_smart_pointers_have() {
        let channel = Channel::from(Full.into_service());
        let client = CartClient::new(channel);
        assert_eq!(block_on(client.clone()), Ok(1));
        assert_eq!(block_on(client.item2_by_id(&2)), Ok(2));
    }

    #[test]
    fn the_last_dot_splits_service_and_method() {
        let service = Full.into_service();
        let names: Vec<_> = service.methods.iter().map(|m| m.name).collect();
        assert_eq!(
            (service.name, names),
            ("shop.cart", vec!["Clone", "Item2ByID"])
        );
    }
}
