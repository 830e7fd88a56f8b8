//! A registry on a port of its own: a server that has nothing else. What it answers is in `registry`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{ToSocketAddrs, lookup_host};

use super::{PATHS, Registry};
use crate::{Server, StartError};

/// For requests that are being answered when the registry ends.
const GRACE: Duration = Duration::from_secs(5);

/// Connections that live for one request, at a time.
const PASSING_MAX: usize = 1024;

/// A [`Registry`] that listens. Dropping it closes the port.
#[derive(Debug)]
pub struct RegistryServer {
    local_addr: SocketAddr,
    server: Server,
}

impl Registry {
    /// Serves this registry over HTTP at `address`, such as `127.0.0.1:9998`; port 0 takes any free one.
    ///
    /// # Errors
    ///
    /// The address cannot be resolved or bound.
    pub async fn serve(&self, address: impl ToSocketAddrs) -> io::Result<RegistryServer> {
        let nowhere = || io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
        let address = lookup_host(address).await?.next().ok_or_else(nowhere)?;
        // Room for all who may watch, and for those who only ask or beat.
        let connections_max = self.0.watchers_max.saturating_add(PASSING_MAX);
        let builder = Server::builder().connections_max(connections_max);
        let builder = builder.registry(self.clone());
        let server = builder.bind(&format!("tcp@{address}")).start().await;
        let server = server.map_err(|error| match error {
            StartError::Bind { source, .. } => source,
            other => io::Error::other(other),
        })?;
        let bound = server.address().to_string();
        let local_addr = bound
            .strip_prefix("tcp@")
            .and_then(|place| place.parse().ok());
        Ok(RegistryServer {
            local_addr: local_addr.unwrap_or(address),
            server,
        })
    }
}

impl RegistryServer {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What clients and servers name it by: `http://127.0.0.1:9998/_tinyrpc_/registry`.
    pub fn url(&self) -> String {
        let path = PATHS.first().copied().unwrap_or_default();
        format!("http://{}{path}", self.local_addr)
    }

    /// Closes the port, lets requests that are being answered finish for a few seconds, and returns when all ended.
    pub async fn shutdown(self) {
        self.server.shutdown(GRACE).await;
    }
}

impl fmt::Display for RegistryServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}
