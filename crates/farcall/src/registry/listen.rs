//! A registry on a port of its own. What it answers is in `registry`; how HTTP is served, in `http`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::{PATHS, Registry};
use crate::http::{self, Surface};

/// More than enough: a connection to a registry lives for one request.
const CONNECTIONS_MAX: usize = 1024;
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// A [`Registry`] that listens. Dropping it closes the port.
#[derive(Debug)]
pub struct RegistryServer {
    local_addr: SocketAddr,
    stop: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Registry {
    /// Serves this registry over HTTP at `address`, such as `127.0.0.1:9998`; port 0 takes any free one.
    ///
    /// # Errors
    ///
    /// The address cannot be resolved or bound.
    pub async fn serve(&self, address: impl ToSocketAddrs) -> io::Result<RegistryServer> {
        let listener = TcpListener::bind(address).await?;
        let local_addr = listener.local_addr()?;
        let surface = Arc::new(self.mount(Surface::new(|| true)));
        let (stop, stopped) = watch::channel(());
        Ok(RegistryServer {
            local_addr,
            stop,
            accepting: tokio::spawn(accept(listener, surface, stopped)),
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
        drop(self.stop);
        // A task that panicked has ended too.
        let _ = self.accepting.await;
    }
}

impl fmt::Display for RegistryServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

async fn accept(listener: TcpListener, surface: Arc<Surface>, mut stopped: watch::Receiver<()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            // It is an error, always: nothing is sent, the sender goes.
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (slot, Ok((stream, peer))) => {
                is_failing = false;
                let (surface, mut stopped) = (Arc::clone(&surface), stopped.clone());
                connections.spawn(async move {
                    let shutdown = async {
                        let _ = stopped.changed().await;
                    };
                    http::serve(stream, &peer.to_string(), surface, shutdown).await;
                    drop(slot);
                });
            }
            // Out of file descriptors, most likely: it passes, and the listener must not.
            (_, Err(error)) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "the registry cannot accept connections; trying on");
                }
                tokio::time::sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
