//! One HTTP request, whole and bounded, or a reply line by line: what talking to a registry needs. No redirects, no
//! pools.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::address::{AddressError, Target};
#[cfg(feature = "tls")]
use crate::tls::{self, ClientTls};

/// Ten thousand instances in one header are 250 KB, and old registries answer that way.
const HEAD_LEN_MAX: usize = 1024 * 1024;
/// The whole list of ten thousand instances with all that is said about them, and room to spare.
const BODY_LEN_MAX: usize = 32 * 1024 * 1024;

/// An `http://host:port/path` that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    authority: String,
    path: String,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
}

/// A stream to a server, with TLS or without.
type Socket = Box<dyn Io>;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A reply that comes line by line. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The reply's status.
    pub(crate) status: StatusCode,
    /// And its headers.
    pub(crate) headers: HeaderMap,
    body: Incoming,
    buffer: BytesMut,
    _connection: Driven,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lines {
    /// The next line without its end; `None` when the reply is over. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// The connection broke, or the line is longer than a whole reply may be.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let mut searched = 0;
        loop {
            let unseen = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(searched + at + 1);
                line.truncate(searched + at);
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            if searched > BODY_LEN_MAX {
                let why = format!("a line is longer than {BODY_LEN_MAX} bytes");
                return Err(FetchError::new(why));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(FetchError::new(in_full(&error))),
            }
        }
    }

    /// The reply as a whole, for those that have an end after all.
    ///
    /// # Errors
    ///
    /// The connection broke, or the rest is longer than a whole reply may be.
    pub(crate) async fn whole(self) -> Result<Response<Bytes>, FetchError> {
        let mut buffer = self.buffer;
        let rest = Limited::new(self.body, BODY_LEN_MAX).collect().await;
        let rest = rest.map_err(|error| FetchError::new(in_full(&*error)))?;
        buffer.extend_from_slice(&rest.to_bytes());
        let mut reply = Response::new(buffer.freeze());
        *reply.status_mut() = self.status;
        *reply.headers_mut() = self.headers;
        Ok(reply)
    }
}

/// Why there is no reply, in words.
#[derive(Debug)]
pub(crate) struct FetchError {
    words: String,
    /// The server took the connection, and closed it without a reply.
    pub(crate) is_hang_up: bool,
}

impl FetchError {
    fn new(words: String) -> FetchError {
        FetchError {
            words,
            is_hang_up: false,
        }
    }
}

impl Url {
    /// Reads an `http://` address; the port may be missing, and so may the path.
    pub(crate) fn parse(given: &str) -> Result<Url, AddressError> {
        const RIGHT: &str = "http://127.0.0.1:9998/_tinyrpc_/registry";
        let wrong = |wrong: &str| AddressError::new(given, wrong, RIGHT);
        let Target::Registry(_) = given.parse()? else {
            return Err(wrong("it does not begin with http://"));
        };
        let rest = given.strip_prefix("http://").unwrap_or(given);
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.starts_with(':') || authority.is_empty() {
            return Err(wrong("the host is missing"));
        }
        if path.parse::<hyper::Uri>().is_err() {
            return Err(wrong("its path is no path of a URL"));
        }
        Ok(Url {
            authority: authority.to_owned(),
            path: path.to_owned(),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// The same, over TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn secured(mut self, tls: ClientTls) -> Url {
        self.tls = Some(tls);
        self
    }

    /// Whether it is asked over TLS.
    pub(crate) fn is_secured(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// The same server, another path.
    pub(crate) fn with_path(&self, path: &str) -> Url {
        Url {
            path: path.to_owned(),
            ..self.clone()
        }
    }

    /// The same resource with these words in its query, too.
    pub(crate) fn with_query(&self, query: &str) -> Url {
        let join = if self.path.contains('?') { '&' } else { '?' };
        self.with_path(&format!("{}{join}{query}", self.path))
    }

    /// The `host:port` as it was given.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// A path on whatever server a stream leads to.
    pub(crate) fn of_path(path: &str) -> Url {
        Url {
            // Whoever needs no name of the server is sent none that could be wrong.
            authority: "farcall".to_owned(),
            path: path.to_owned(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sends one request with these headers and this body, and gives the reply with its whole body.
    ///
    /// # Errors
    ///
    /// No connection, a reply that is not HTTP or too long, or nothing whole within `limit`.
    pub(crate) async fn fetch(
        &self,
        method: Method,
        headers: &[(&'static str, &str)],
        body: Bytes,
        limit: Duration,
    ) -> Result<Response<Bytes>, FetchError> {
        let dialled = async {
            let stream = self.dial().await?;
            let outcome = self.send(stream, method, headers, body).await;
            outcome.map_err(|e| self.failed(&*e))
        };
        match timeout(limit, dialled).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchError::new(format!(
                "{self}: no reply within {limit:?}"
            ))),
        }
    }

    /// Does the same on a stream that is open already, and without a limit in time.
    pub(crate) async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        method: Method,
        headers: &[(&'static str, &str)],
    ) -> Result<Response<Bytes>, FetchError> {
        let outcome = self.send(stream, method, headers, Bytes::new()).await;
        outcome.map_err(|e| self.failed(&*e))
    }

    /// Sends one request, and gives the reply while it comes: for replies that have no end.
    ///
    /// # Errors
    ///
    /// As [`Url::fetch`], when the head of the reply does not come within `limit`.
    pub(crate) async fn open(
        &self,
        method: Method,
        headers: &[(&'static str, &str)],
        body: Bytes,
        limit: Duration,
    ) -> Result<Lines, FetchError> {
        let opened = async {
            let stream = self.dial().await?;
            let opened = self.begin(stream, method, headers, body).await;
            opened.map_err(|e| self.failed(&*e))
        };
        match timeout(limit, opened).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchError::new(format!(
                "{self}: no reply within {limit:?}"
            ))),
        }
    }

    async fn dial(&self) -> Result<Socket, FetchError> {
        let stream = TcpStream::connect(self.host_port()).await;
        let stream = stream.map_err(|e| self.failed(&e))?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let host_port = self.host_port();
            let host = host_port.rsplit_once(':').map_or("", |(host, _)| host);
            let stream = tls.connect(host, stream).await;
            return Ok(Box::new(stream.map_err(|e| self.failed(&e))?));
        }
        Ok(Box::new(stream))
    }

    fn failed(&self, error: &(dyn Error + 'static)) -> FetchError {
        let words = in_full(error);
        #[cfg(feature = "tls")]
        if let Some(advice) = tls::advice(error) {
            return FetchError::new(format!("{self}: {words}; {advice}"));
        }
        let hyper = error.downcast_ref::<hyper::Error>();
        FetchError {
            words: format!("{self}: {words}"),
            is_hang_up: hyper.is_some_and(hyper::Error::is_incomplete_message),
        }
    }

    fn request(
        &self,
        method: Method,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header(CONNECTION, "close");
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)?;
            request = request.header(HeaderName::from_static(name), value);
        }
        Ok(request.body(Full::new(body))?)
    }

    async fn begin(
        &self,
        stream: Socket,
        method: Method,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Lines, Box<dyn Error + Send + Sync>> {
        let request = self.request(method, headers, body)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LEN_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let connection = Driven(tokio::spawn(async move {
            // What went wrong is told where the body is read.
            let _ = connection.await;
        }));
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Lines {
            status: head.status,
            headers: head.headers,
            body,
            buffer: BytesMut::new(),
            _connection: connection,
        })
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        method: Method,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
        let request = self.request(method, headers, body)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LEN_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let reply = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, BODY_LEN_MAX).collect().await?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        // The connection is driven here and not in a task, so that giving up ends it.
        let mut reply = std::pin::pin!(reply);
        tokio::select! {
            biased;
            reply = reply.as_mut() => reply,
            // It is over once all was read; what is left to do is to look at it.
            _ = connection => reply.await,
        }
    }

    fn host_port(&self) -> String {
        match self.authority.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => self.authority.clone(),
            _ => format!("{}:80", self.authority),
        }
    }
}

/// An error and its causes: hyper's own words say little.
fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secured() { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Error for FetchError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_parts() {
        for (given, host_port, path) in [
            ("http://h:1/a?b=c", "h:1", "/a?b=c"),
            ("http://h/a", "h:80", "/a"),
            ("http://[::1]:9/", "[::1]:9", "/"),
            ("http://[::1]/", "[::1]:80", "/"),
            ("http://h:1", "h:1", "/"),
        ] {
            let url = Url::parse(given).unwrap();
            assert_eq!((url.host_port().as_str(), &*url.path), (host_port, path));
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_right_one() {
        for given in [
            "tcp@h:1",
            "http://",
            "http://:1/",
            "http://h:1/a b",
            "http://h:1/\\<>",
        ] {
            let error = Url::parse(given).unwrap_err().to_string();
            assert!(error.contains("a right one is http://"), "{error}");
        }
    }
}
