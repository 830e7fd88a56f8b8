//! What a running server says about itself, asked over its own port. What the page says is `dashboard`'s.

use std::time::Duration;

use hyper::Method;
use tokio::time::timeout;

use crate::dashboard::{JSON_PATH, Page};
use crate::http::client::Url;
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
    timeout(limit, ask(address)).await.unwrap_or_else(|_| {
        let text = format!("{address}: no description within {limit:?}");
        Err(Error::new(Code::DeadlineExceeded, text).with_reached(Reached::Unknown))
    })
}

async fn ask(address: &Address) -> Result<Vec<ServiceSnapshot>> {
    let stream = Stream::dial(address).await.map_err(|source| {
        let text = format!("cannot connect to {address}: {source}");
        Error::new(Code::Unavailable, text)
            .with_reached(Reached::NotSent)
            .with_source(source)
    })?;
    let undescribed = |why: String| {
        let text = format!("{address} does not describe its services: {why}");
        Error::new(Code::Unimplemented, text)
    };
    let io = tokio::io::join(stream.reader, stream.writer);
    let reply = Url::of_path(JSON_PATH).exchange(io, Method::GET, &[]).await;
    let reply = reply.map_err(|error| undescribed(error.to_string()))?;
    if reply.status() != 200 {
        return Err(undescribed(format!("status {}", reply.status())));
    }
    let page: Page = serde_json::from_slice(reply.body())
        .map_err(|error| undescribed(format!("its page cannot be read: {error}")))?;
    Ok(page.services)
}
