//! What a running server says about itself, asked over its own port. What the pages say is `dashboard`'s and
//! `debug_page`'s; what `/rpc` says is here, in the types that the server writes and others read.

mod debug_page;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use farcall_gob::Schema;
use hyper::{Method, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::dashboard::{JSON_PATH, Page};
use crate::http::client::Url;
use crate::router::signature;
use crate::transport::Stream;
use crate::{Address, Code, Error, Reached, Result, ServiceSnapshot};

/// Asks the farcall server at this address for its services, their methods and what these did so far.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// let server = farcall::Server::builder()
///     .method("Echo.Say", |text: String| async move { Ok(text) })
///     .bind("tcp@127.0.0.1:0")
///     .start()
///     .await?;
/// let services = farcall::describe(server.address(), Duration::from_secs(3)).await?;
/// assert_eq!(services[0].methods[0].name, "Say");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Code::Unavailable`] when nobody can be reached there, [`Code::DeadlineExceeded`] when there is no whole reply
/// within `limit`, and [`Code::Unimplemented`] when who answers does not describe itself: a Go server, for instance.
pub async fn describe(address: &Address, limit: Duration) -> Result<Vec<ServiceSnapshot>> {
    within(limit, address, async {
        let reply = get(address, JSON_PATH).await?;
        let page: Page = read(address, &reply)?;
        Ok(page.services)
    })
    .await
}

/// A service, and what its methods take and give.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct ServiceTypes {
    /// Its name.
    pub name: String,
    /// What it is for; empty when nobody said.
    pub doc: String,
    /// Its methods, by name.
    pub methods: Vec<MethodTypes>,
}

/// What a method takes and gives. A Go server tells no more than names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct MethodTypes {
    /// Its whole name, as calls have it: `Arith.Multiply`.
    pub name: String,
    /// What it does; empty when nobody said.
    pub doc: String,
    /// Whether running it twice does no harm.
    pub idempotent: bool,
    /// The argument's type in short, as Go would have it: `Args{A int; B int}`; from a Go server, `main.Args`.
    pub args_type: String,
    /// The reply's type in short.
    pub reply_type: String,
    /// The type of the items that the caller sends, in short, if it sends some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming_type: Option<String>,
    /// The type of the items that the caller gets before the reply, in short, if it gets some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outgoing_type: Option<String>,
    /// The argument's type as Go definitions, which tell all that gob needs to know: [`Schema`] reads them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_go: Option<String>,
    /// The reply's type as Go definitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_go: Option<String>,
    /// The type of the items that the caller sends as Go definitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming_go: Option<String>,
    /// The type of the items that the caller gets as Go definitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outgoing_go: Option<String>,
    /// The argument's JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<serde_json::Value>,
    /// The reply's JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<serde_json::Value>,
    /// The JSON Schema of the items that the caller sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming: Option<serde_json::Value>,
    /// The JSON Schema of the items that the caller gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<serde_json::Value>,
    /// An argument that shows the form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<serde_json::Value>,
}

impl MethodTypes {
    /// The argument's type, if enough is told about it: a Go server's `[]uint8` is enough, `main.Args` is not.
    pub fn args_schema(&self) -> Option<Schema> {
        schema(self.args_go.as_ref(), &self.args_type)
    }

    /// The reply's type, if enough is told about it.
    pub fn reply_schema(&self) -> Option<Schema> {
        schema(self.reply_go.as_ref(), &self.reply_type)
    }

    /// The type of the items that the caller sends, if it sends some and enough is told about them.
    pub fn incoming_schema(&self) -> Option<Schema> {
        schema(self.incoming_go.as_ref(), self.incoming_type.as_ref()?)
    }

    /// The types in the order of the trait: `(int, incoming Event, outgoing Event) int`.
    pub fn signature(&self) -> String {
        let (incoming, outgoing) = (self.incoming_type.as_ref(), self.outgoing_type.as_ref());
        signature(&self.args_type, incoming, outgoing, &self.reply_type)
    }
}

fn schema(whole: Option<&String>, short: &str) -> Option<Schema> {
    whole.map_or(short, String::as_str).parse().ok()
}

/// What `GET /rpc` says.
#[derive(Serialize, Deserialize)]
pub(crate) struct Types {
    pub(crate) services: Vec<ServiceTypes>,
}

/// Where it is said.
pub(crate) const TYPES_PATH: &str = "/rpc";

/// Asks the server at this address for its services, their methods, and the types of arguments and replies. A farcall
/// server tells all of it, at any of its addresses. Of a Go server it is what its debug page tells, if it has one on
/// the same port.
///
/// It is asked in HTTP, whatever the address's dialect: a server that does not speak it hangs up.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// let server = farcall::Server::builder()
///     .method("Echo.Say", |text: String| async move { Ok(text) })
///     .bind("tcp@127.0.0.1:0")
///     .start()
///     .await?;
/// let services = farcall::describe_types(server.address(), Duration::from_secs(3)).await?;
/// let say = &services[0].methods[0];
/// assert_eq!((&*say.name, &*say.args_type), ("Echo.Say", "string"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`describe`].
pub async fn describe_types(address: &Address, limit: Duration) -> Result<Vec<ServiceTypes>> {
    within(limit, address, async {
        let reply = get(address, TYPES_PATH).await?;
        let unknown = match read::<Types>(address, &reply) {
            Ok(types) => return Ok(types.services),
            Err(unknown) => unknown,
        };
        for path in debug_page::PATHS {
            let page = get(address, path).await?;
            let services = (page.status() == 200)
                .then(|| debug_page::read(&String::from_utf8_lossy(page.body())))
                .flatten();
            if let Some(services) = services {
                return Ok(services);
            }
        }
        Err(unknown)
    })
    .await
}

async fn within<T>(
    limit: Duration,
    address: &Address,
    asking: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(limit, asking).await.unwrap_or_else(|_| {
        let text = format!("{address}: no description within {limit:?}");
        Err(Error::new(Code::DeadlineExceeded, text).with_reached(Reached::Unknown))
    })
}

/// Gets a page, whatever its status.
async fn get(address: &Address, path: &str) -> Result<Response<Bytes>> {
    let stream = Stream::dial(address).await.map_err(|source| {
        let text = format!("cannot connect to {address}: {source}");
        Error::new(Code::Unavailable, text)
            .with_reached(Reached::NotSent)
            .with_source(source)
    })?;
    let io = tokio::io::join(stream.reader, stream.writer);
    // The header also makes the request longer than the message that a Go server, which takes it for gob, waits for: it
    // hangs up at once then.
    let headers = [("accept", "application/json, text/html")];
    let reply = Url::of_path(path).exchange(io, Method::GET, &headers).await;
    reply.map_err(|error| undescribed(address, error))
}

fn read<T: DeserializeOwned>(address: &Address, reply: &Response<Bytes>) -> Result<T> {
    if reply.status() != 200 {
        return Err(undescribed(address, format!("status {}", reply.status())));
    }
    serde_json::from_slice(reply.body())
        .map_err(|error| undescribed(address, format!("its page cannot be read: {error}")))
}

fn undescribed(address: &Address, why: impl std::fmt::Display) -> Error {
    let text = format!("{address} does not describe its services: {why}");
    Error::new(Code::Unimplemented, text)
}
