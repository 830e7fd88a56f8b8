//! One HTTP request, whole and bounded: what talking to a registry needs. No redirects, no pools, no TLS.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::{AddressError, Target};

/// Ten thousand instances in one header are 250 KB, and old registries answer that way.
const HEAD_LEN_MAX: usize = 1024 * 1024;
const BODY_LEN_MAX: usize = 4 * 1024 * 1024;

/// An `http://host:port/path` that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    authority: String,
    path: String,
}

/// Why there is no reply, in words.
#[derive(Debug)]
pub(crate) struct FetchError(String);

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
        })
    }

    /// A path on whatever server a stream leads to.
    pub(crate) fn of_path(path: &str) -> Url {
        Url {
            // Whoever needs no name of the server is sent none that could be wrong.
            authority: "farcall".to_owned(),
            path: path.to_owned(),
        }
    }

    /// Sends one request with these headers and no body, and gives the reply with its whole body.
    ///
    /// # Errors
    ///
    /// No connection, a reply that is not HTTP or too long, or nothing whole within `limit`.
    pub(crate) async fn fetch(
        &self,
        method: Method,
        headers: &[(&'static str, &str)],
        limit: Duration,
    ) -> Result<Response<Bytes>, FetchError> {
        let dialled = async {
            let stream = TcpStream::connect(self.host_port()).await;
            let stream = stream.map_err(|e| FetchError(format!("{self}: {}", in_full(&e))))?;
            self.exchange(stream, method, headers).await
        };
        match timeout(limit, dialled).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchError(format!("{self}: no reply within {limit:?}"))),
        }
    }

    /// Does the same on a stream that is open already, and without a limit in time.
    pub(crate) async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        method: Method,
        headers: &[(&'static str, &str)],
    ) -> Result<Response<Bytes>, FetchError> {
        let outcome = self.send(stream, method, headers).await;
        outcome.map_err(|e| FetchError(format!("{self}: {}", in_full(&*e))))
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        method: Method,
        headers: &[(&'static str, &str)],
    ) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header(CONNECTION, "close");
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)?;
            request = request.header(HeaderName::from_static(name), value);
        }
        let request = request.body(Empty::<Bytes>::new())?;

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
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
