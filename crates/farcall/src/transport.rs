//! Streams of bytes: dialled, accepted, or made in memory. Nobody else knows what a socket is.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::{Address, Transport};

pub(crate) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// One stream of bytes each way, and who is at the other end.
pub(crate) struct Stream {
    pub(crate) reader: ReadHalf,
    /// Dropping it ends this direction, and leaves the other open.
    pub(crate) writer: WriteHalf,
    /// `127.0.0.1:40112`, or the path of a Unix socket.
    pub(crate) peer: String,
}

impl Stream {
    /// Opens the socket that an address names. What is said on it is the caller's.
    pub(crate) async fn dial(address: &Address) -> io::Result<Stream> {
        match &address.transport {
            Transport::Tcp(place) | Transport::Http(place) => {
                // An empty host is this machine, as in Go.
                let place = match place.strip_prefix(':') {
                    Some(port) => format!("127.0.0.1:{port}"),
                    None => place.clone(),
                };
                Ok(Stream::tcp(TcpStream::connect(place).await?))
            }
            Transport::Unix(path) => {
                let socket = UnixStream::connect(socket_name(path)).await?;
                Ok(Stream::unix(socket, path))
            }
            Transport::Tls(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this version of farcall has no TLS",
            )),
        }
    }

    fn tcp(socket: TcpStream) -> Stream {
        // Whole batches are written at once: waiting for more to come would only delay them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        // Without it, a peer whose machine is gone is never missed by a connection that only waits.
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(20))
            .with_interval(Duration::from_secs(5))
            .with_retries(3);
        if let Err(error) = SockRef::from(&socket).set_tcp_keepalive(&keepalive) {
            tracing::debug!(%error, "TCP keep-alive could not be set");
        }
        let peer = match socket.peer_addr() {
            Ok(peer) => peer.to_string(),
            Err(_) => "unknown".into(),
        };
        let (reader, writer) = socket.into_split();
        Stream {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer,
        }
    }

    fn unix(socket: UnixStream, path: &Path) -> Stream {
        let (reader, writer) = socket.into_split();
        Stream {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer: path.display().to_string(),
        }
    }

    /// A stream that is no socket: a pipe in memory, or something wrapped.
    pub(crate) fn other(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: &str,
    ) -> Stream {
        let (reader, writer) = tokio::io::split(io);
        Stream {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer: peer.to_owned(),
        }
    }
}

/// A socket that accepts streams.
pub(crate) enum Listener {
    Tcp(TcpListener),
    // The file goes before the socket: once it answers no more, the path may be another server's.
    Unix(SocketFile, UnixListener),
}

/// A Unix socket's file, removed when its listener ends.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if is_abstract(&self.0) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "the socket's file could not be removed");
        }
    }
}

impl Listener {
    pub(crate) async fn bind(address: &Address) -> io::Result<Listener> {
        match &address.transport {
            Transport::Tcp(place) | Transport::Http(place) => {
                let place = match place.strip_prefix(':') {
                    Some(port) => format!("[::]:{port}"),
                    None => place.clone(),
                };
                Ok(Listener::Tcp(TcpListener::bind(place).await?))
            }
            Transport::Unix(path) => {
                remove_dead_socket(path).await?;
                let listener = UnixListener::bind(socket_name(path))?;
                Ok(Listener::Unix(SocketFile(path.clone()), listener))
            }
            Transport::Tls(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this version of farcall has no TLS",
            )),
        }
    }

    /// Where clients reach this listener, with the port that the system chose.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => Ok(Address::tcp(listener.local_addr()?)),
            Listener::Unix(file, _) => Ok(Address {
                dialect: crate::Dialect::Farcall,
                transport: Transport::Unix(file.0.clone()),
            }),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => Ok(Stream::tcp(listener.accept().await?.0)),
            Listener::Unix(file, listener) => Ok(Stream::unix(listener.accept().await?.0, &file.0)),
        }
    }
}

/// As in Go, a name that begins with `@` is one in Linux's abstract namespace: no file stands for it.
fn is_abstract(path: &Path) -> bool {
    cfg!(target_os = "linux") && path.as_os_str().as_bytes().starts_with(b"@")
}

/// The name of a socket as the system wants it: abstract ones begin with a zero byte.
fn socket_name(path: &Path) -> Cow<'_, Path> {
    match path.as_os_str().as_bytes() {
        [_, name @ ..] if is_abstract(path) => {
            PathBuf::from(OsString::from_vec([b"\0", name].concat())).into()
        }
        _ => path.into(),
    }
}

/// Removes the file that a server which died left behind. One that still answers stays: binding then fails.
async fn remove_dead_socket(path: &Path) -> io::Result<()> {
    if is_abstract(path) {
        return Ok(());
    }
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}
