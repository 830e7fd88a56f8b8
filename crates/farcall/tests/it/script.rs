//! An HTTP server that follows a script: for registries that misbehave.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the server does with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends these bytes once a request came, and closes.
    Reply(String),
    /// Reads, and never says anything.
    Hang,
    /// Closes at once.
    Close,
}

/// The server. It acts as told last; the requests that came are counted.
pub(crate) struct Script {
    pub(crate) url: String,
    act: watch::Sender<Act>,
    served: watch::Receiver<usize>,
    serving: JoinHandle<()>,
}

impl Script {
    pub(crate) async fn start(act: Act) -> Script {
        Script::start_at("127.0.0.1:0".parse().unwrap(), act).await
    }

    pub(crate) async fn start_at(address: SocketAddr, act: Act) -> Script {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!(
            "http://{}/_tinyrpc_/registry",
            listener.local_addr().unwrap()
        );
        let (act, acts) = watch::channel(act);
        let (count, served) = watch::channel(0);
        let serving = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let act = acts.borrow().clone();
                match act {
                    Act::Reply(reply) => {
                        read_request(&mut stream).await;
                        // Whoever asked may have given up.
                        let _ = stream.write_all(reply.as_bytes()).await;
                    }
                    Act::Hang => held.push(stream),
                    Act::Close => {}
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Script {
            url,
            act,
            served,
            serving,
        }
    }

    pub(crate) fn act(&self, act: Act) {
        self.act.send_replace(act);
    }

    /// Frees the port.
    pub(crate) async fn end(self) {
        self.serving.abort();
        // It ends by being aborted, which is an error.
        let _ = self.serving.await;
    }

    /// Waits until this many more requests were treated.
    pub(crate) async fn served(&self, more: usize) {
        let mut served = self.served.clone();
        let goal = *served.borrow() + more;
        let reached = served.wait_for(|count| *count >= goal);
        timeout(PATIENCE, reached)
            .await
            .expect("requests come")
            .unwrap();
    }
}

/// A reply that lists these servers as TinyRPC's registry does.
pub(crate) fn list(servers: &str) -> Act {
    Act::Reply(format!(
        "HTTP/1.1 200 OK\r\nX-Tinyrpc-Servers: {servers}\r\nContent-Length: 0\r\n\r\n"
    ))
}

/// Reads a request with its body: a socket that is closed on unread bytes loses what was written to it.
async fn read_request(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte.to_ascii_lowercase()),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let lines = head
        .lines()
        .filter_map(|line| line.strip_prefix("content-length: "));
    for len in lines {
        let mut body = vec![0; len.parse().unwrap()];
        // Whoever asked may have given up.
        let _ = stream.read_exact(&mut body).await;
    }
}

/// Sends these bytes, and gives what comes back until the server closes.
pub(crate) async fn exchange(address: impl tokio::net::ToSocketAddrs, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut back = String::new();
    let read = stream.read_to_string(&mut back);
    timeout(PATIENCE, read)
        .await
        .expect("the server closes")
        .unwrap();
    back
}
