//! The small HTTP/1.1 server that answers what is not RPC on a port, and the table of its routes.
//! What stands behind a path (pages, the registry) lives with its owner. `CONNECT` never comes here: it starts RPC.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::backoff::jittered;

pub(crate) mod client;

/// A request with its whole body, whose length its route bounds.
pub(crate) type Request = hyper::Request<Bytes>;
/// Who sent a request: one of its extensions.
#[derive(Clone)]
pub(crate) struct Peer(pub(crate) Arc<str>);

/// Ends when the connection of a request has to end: one of its extensions, for replies that have no end of their own.
#[derive(Clone)]
pub(crate) struct Ending(pub(crate) watch::Receiver<()>);

/// What a route answers.
pub(crate) type Reply = hyper::Response<Body>;

/// The body of a reply.
pub(crate) enum Body {
    /// It is there.
    Whole(Full<Bytes>),
    /// It comes piece by piece.
    Fed(Next),
}

impl Default for Body {
    fn default() -> Body {
        Body::Whole(Full::default())
    }
}

/// The next piece of a body, and where the one after it comes from; `None` at the end.
pub(crate) type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Box<dyn Feed>)>> + Send>>;

/// Whatever brings a body piece by piece.
pub(crate) trait Feed: Send + 'static {
    /// Waits for the next piece.
    fn next(self: Box<Self>) -> Next;
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        match body {
            Body::Whole(whole) => Pin::new(whole).poll_frame(context),
            Body::Fed(next) => {
                let piece = task::ready!(next.as_mut().poll(context));
                Poll::Ready(piece.map(|(bytes, feed)| {
                    *body = Body::Fed(feed.next());
                    Ok(Frame::data(bytes))
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(whole) if whole.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(whole) => whole.size_hint(),
            Body::Fed(_) => SizeHint::default(),
        }
    }
}

type Handler = Box<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

const HEAD_LEN_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;
const BODY_LEN_MAX: usize = 64 * 1024;
/// For a whole head from its first byte, and for the silence before it.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// No connection lives much longer, so that one that does not read its replies ends too. Honest clients dial again.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// What a request that is being answered still gets when its connection must end.
const GRACE: Duration = Duration::from_secs(5);

/// Paths where only `CONNECT` makes sense, and what is said to anything else there, as Go's servers say it.
const CONNECT_PATHS: [&str; 3] = ["/_tinyrpc_", "/_geeprc_", "/_goRPC_"];
const MUST_CONNECT: &str = "405 must CONNECT\n";

/// Everything a port answers over HTTP: a table of paths.
///
/// A new path is one more [`Surface::at`]; its handler looks at method, headers and body itself.
pub(crate) struct Surface {
    routes: Vec<Route>,
}

struct Route {
    paths: &'static [&'static str],
    body_len_max: usize,
    handler: Handler,
}

impl Surface {
    /// The answers that every port gives: `/healthz`, `/readyz` (200 while `is_ready`), and 405 where RPC begins.
    pub(crate) fn new(is_ready: impl Fn() -> bool + Send + Sync + 'static) -> Surface {
        let surface = Surface { routes: Vec::new() };
        surface
            .at(&["/healthz"], |_| async { text(StatusCode::OK, "ok\n") })
            .at(&["/readyz"], move |_| {
                let ready = is_ready();
                async move {
                    match ready {
                        true => text(StatusCode::OK, "ready\n"),
                        false => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
                    }
                }
            })
    }

    /// Adds a handler at these paths. The first is its name, the others are aliases. A path that ends in `/` stands
    /// for everything beneath it.
    pub(crate) fn at<F, R>(self, paths: &'static [&'static str], handler: F) -> Surface
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        self.at_with_body(BODY_LEN_MAX, paths, handler)
    }

    /// Adds a handler that takes bodies of up to this length.
    pub(crate) fn at_with_body<F, R>(
        mut self,
        body_len_max: usize,
        paths: &'static [&'static str],
        handler: F,
    ) -> Surface
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        self.routes.push(Route {
            paths,
            body_len_max,
            handler: Box::new(move |request| Box::pin(handler(request))),
        });
        self
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> Reply {
        let path = request.uri().path();
        if CONNECT_PATHS.contains(&path) {
            return text(StatusCode::METHOD_NOT_ALLOWED, MUST_CONNECT);
        }
        let Some(route) = self.routes.iter().find(|route| route.covers(path)) else {
            return self.not_found();
        };
        match whole(request, route.body_len_max).await {
            Ok(request) => (route.handler)(request).await,
            Err(refusal) => refusal,
        }
    }

    fn not_found(&self) -> Reply {
        let names = self.routes.iter().filter_map(|route| route.paths.first());
        let mut names: Vec<&str> = names.copied().collect();
        names.sort_unstable();
        let says = format!("404 not found; here are {}\n", names.join(" "));
        text(StatusCode::NOT_FOUND, says)
    }
}

impl Route {
    fn covers(&self, path: &str) -> bool {
        let mut paths = self.paths.iter();
        paths.any(|own| *own == path || (own.ends_with('/') && path.starts_with(own)))
    }
}

/// Reads the body, which is bounded in length and time.
async fn whole(request: hyper::Request<Incoming>, len_max: usize) -> Result<Request, Reply> {
    let (head, body) = request.into_parts();
    let refuse = |status, says: String| {
        let mut reply = text(status, says);
        // What remains of the body is not a request.
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(CONNECTION, close);
        reply
    };
    let too_long = || {
        let says = format!("413 the body is longer than {len_max} bytes\n");
        refuse(StatusCode::PAYLOAD_TOO_LARGE, says)
    };
    if body.size_hint().lower() > len_max as u64 {
        return Err(too_long());
    }
    match timeout(BODY_TIME_MAX, Limited::new(body, len_max).collect()).await {
        Ok(Ok(body)) => Ok(Request::from_parts(head, body.to_bytes())),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(refuse(
            StatusCode::BAD_REQUEST,
            "400 the body is broken off\n".into(),
        )),
        Err(_) => Err(refuse(
            StatusCode::REQUEST_TIMEOUT,
            "408 the body took longer than 10 seconds\n".into(),
        )),
    }
}

/// Answers requests on one accepted stream until the peer closes it, breaks a bound, or `shutdown` ends; then the
/// request being answered gets a few seconds more.
pub(crate) async fn serve<S>(
    stream: S,
    peer: &str,
    surface: Arc<Surface>,
    shutdown: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Peer(peer.into());
    let (end, ending) = watch::channel(());
    let ending = Ending(ending);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let surface = Arc::clone(&surface);
        let extensions = request.extensions_mut();
        extensions.insert(peer.clone());
        extensions.insert(ending.clone());
        async move { Ok::<_, Infallible>(surface.answer(request).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            // Without a timer the head's timeout would not tick.
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .max_buf_size(HEAD_LEN_MAX)
            .max_headers(HEADERS_MAX)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown => None,
        // Those who came together should not come back together.
        () = sleep(jittered(CONNECTION_AGE_MAX)) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            drop(end);
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// A reply of plain text.
pub(crate) fn text(status: StatusCode, says: impl Into<Bytes>) -> Reply {
    typed(status, "text/plain; charset=utf-8", says.into())
}

/// A page that runs no scripts, loads nothing, and stands in no frame.
pub(crate) fn page(html: String) -> Reply {
    let mut reply = typed(StatusCode::OK, "text/html; charset=utf-8", html.into());
    let headers = reply.headers_mut();
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A reply of JSON and a newline.
pub(crate) fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            json_text(StatusCode::OK, body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("500 {error}\n")),
    }
}

/// A reply of lines of JSON that come when they come.
pub(crate) fn lines(feed: Box<dyn Feed>) -> Reply {
    let mut reply = json_text(StatusCode::OK, Vec::new());
    let kind = HeaderValue::from_static("application/x-ndjson");
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    *reply.body_mut() = Body::Fed(feed.next());
    reply
}

/// A reply of JSON that is text already.
pub(crate) fn json_text(status: StatusCode, body: Vec<u8>) -> Reply {
    let mut reply = typed(status, "application/json", body.into());
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// 405, naming the methods that a path knows.
pub(crate) fn method_not_allowed(allow: &'static str) -> Reply {
    let says = format!("405 this path knows {allow}\n");
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, says);
    let headers = reply.headers_mut();
    headers.insert("allow", HeaderValue::from_static(allow));
    reply
}

/// True for the methods that only look.
pub(crate) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Reply {
    let mut reply = Reply::new(Body::Whole(Full::new(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::oneshot;

    use super::*;

    fn surface() -> Surface {
        Surface::new(|| true)
            .at(&["/echo", "/alias"], |request| async move {
                text(StatusCode::OK, request.into_body())
            })
            .at(&["/tree/"], |request| async move {
                text(StatusCode::OK, request.uri().path().to_owned())
            })
    }

    /// A client's end of a served connection.
    fn dial(surface: Surface) -> DuplexStream {
        let (ours, theirs) = duplex(1 << 20);
        tokio::spawn(serve(
            theirs,
            "test",
            Arc::new(surface),
            std::future::pending(),
        ));
        ours
    }

    /// Everything that comes back for these bytes until the server closes.
    async fn exchange(mut stream: DuplexStream, bytes: &[u8]) -> String {
        stream.write_all(bytes).await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        String::from_utf8(back).unwrap()
    }

    async fn ask(bytes: &str) -> String {
        exchange(dial(surface()), bytes.as_bytes()).await
    }

    const CLOSE: &str = "HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn an_unknown_path_names_those_that_exist() {
        let reply = ask(&format!("GET /nope {CLOSE}")).await;
        assert!(reply.starts_with("HTTP/1.1 404 Not Found\r\n"), "{reply}");
        assert!(
            reply.ends_with("404 not found; here are /echo /healthz /readyz /tree/\n"),
            "{reply}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn where_rpc_begins_other_methods_are_told_to_connect() {
        for path in CONNECT_PATHS {
            let reply = ask(&format!("GET {path} {CLOSE}")).await;
            assert!(
                reply.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
                "{reply}"
            );
            let kind = "\r\nContent-Type: text/plain; charset=utf-8\r\n";
            assert!(reply.contains(kind), "{reply}");
            assert!(reply.ends_with("\r\n\r\n405 must CONNECT\n"), "{reply}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_has_aliases_and_a_slash_covers_what_is_beneath() {
        for (path, body) in [("/alias?x=1", "\r\n\r\n"), ("/tree/a/b", "/tree/a/b")] {
            let reply = ask(&format!("GET {path} {CLOSE}")).await;
            assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
            assert!(reply.ends_with(body), "{reply}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pipelined_requests_are_answered_in_order_on_one_connection() {
        let post = |body: &str| {
            let len = body.len();
            format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n{body}")
        };
        let reply = ask(&format!(
            "{}{}GET /healthz {CLOSE}",
            post("one"),
            post("two")
        ))
        .await;
        let at = |what: &str| {
            reply
                .find(what)
                .unwrap_or_else(|| panic!("{what}: {reply}"))
        };
        assert!(at("\r\n\r\none") < at("\r\n\r\ntwo"));
        assert!(at("\r\n\r\ntwo") < at("\r\n\r\nok\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_byte_at_a_time_is_understood() {
        let (ours, theirs) = duplex(1);
        tokio::spawn(serve(
            theirs,
            "test",
            Arc::new(surface()),
            std::future::pending(),
        ));
        let (mut read, mut write) = tokio::io::split(ours);
        let request = format!("GET /healthz {CLOSE}");
        tokio::spawn(async move { write.write_all(request.as_bytes()).await });
        let mut reply = String::new();
        read.read_to_string(&mut reply).await.unwrap();
        assert!(reply.ends_with("\r\n\r\nok\n"), "{reply}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_too_long_is_refused() {
        let filler = "x".repeat(2 * HEAD_LEN_MAX);
        let reply = ask(&format!("GET /healthz HTTP/1.1\r\nFiller: {filler}")).await;
        assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_too_long_is_refused_announced_or_not() {
        let announced =
            "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n";
        let reply = ask(announced).await;
        assert!(!reply.contains(" 200 "), "{reply}");
        let announced = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n";
        let reply = ask(announced).await;
        assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
        let chunk = format!("10001\r\n{}\r\n0\r\n\r\n", "x".repeat(0x10001));
        let chunked =
            format!("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
        let reply = ask(&chunked).await;
        assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_at_any_place_of_a_request_ends_the_connection() {
        for part in [
            "",
            "GET /hea",
            "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",
        ] {
            let started = tokio::time::Instant::now();
            let reply = ask(part).await;
            assert!(!reply.contains(" 200 "), "{reply}");
            assert!(started.elapsed() <= HEAD_TIME_MAX + BODY_TIME_MAX + GRACE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_never_reads_is_dropped_in_the_end() {
        let (mut ours, theirs) = duplex(64);
        let serving = tokio::spawn(serve(
            theirs,
            "test",
            Arc::new(surface()),
            std::future::pending(),
        ));
        let request = "GET /tree/ HTTP/1.1\r\nHost: h\r\n\r\n";
        ours.write_all(request.as_bytes()).await.unwrap();
        timeout(CONNECTION_AGE_MAX * 6 / 5 + 2 * GRACE, serving)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_is_answered_with_400() {
        for garbage in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
            let reply = ask(garbage).await;
            assert!(reply.starts_with("HTTP/1.1 400 "), "{garbage:?}: {reply}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_ends_when_draining_begins_and_health_does_not() {
        let ready = Arc::new(AtomicBool::new(true));
        let ask = |path: &str| {
            let ready = Arc::clone(&ready);
            let surface = Surface::new(move || ready.load(Ordering::Relaxed));
            let request = format!("GET {path} {CLOSE}");
            async move { exchange(dial(surface), request.as_bytes()).await }
        };
        assert!(ask("/readyz").await.starts_with("HTTP/1.1 200 "));
        ready.store(false, Ordering::Relaxed);
        let reply = ask("/readyz").await;
        assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
        assert!(reply.ends_with("\r\n\r\ndraining\n"), "{reply}");
        assert!(ask("/healthz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_lets_the_request_being_answered_finish() {
        let (release, released) = oneshot::channel::<()>();
        let released = std::sync::Mutex::new(Some(released));
        let (entered, was_entered) = oneshot::channel::<()>();
        let entered = std::sync::Mutex::new(Some(entered));
        let surface = Surface::new(|| true).at(&["/slow"], move |_| {
            let released = released.lock().unwrap().take();
            entered.lock().unwrap().take().unwrap().send(()).unwrap();
            async move {
                released.unwrap().await.unwrap();
                text(StatusCode::OK, "done\n")
            }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let (mut ours, theirs) = duplex(1 << 16);
        let serving = tokio::spawn(serve(theirs, "test", Arc::new(surface), async {
            stopped.await.unwrap();
        }));
        ours.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .unwrap();
        was_entered.await.unwrap();
        stop.send(()).unwrap();
        tokio::task::yield_now().await;
        release.send(()).unwrap();
        let mut reply = String::new();
        ours.read_to_string(&mut reply).await.unwrap();
        assert!(reply.ends_with("done\n"), "{reply}");
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_ends_an_idle_connection() {
        let (mut ours, theirs) = duplex(64);
        tokio::spawn(serve(
            theirs,
            "test",
            Arc::new(surface()),
            std::future::ready(()),
        ));
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
}
