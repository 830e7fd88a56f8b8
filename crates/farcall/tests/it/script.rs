//! An HTTP server that follows a script: for registries that misbehave.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
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
}

impl Script {
    pub(crate) async fn start(act: Act) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/_tinyrpc_/registry",
            listener.local_addr().unwrap()
        );
        let (act, acts) = watch::channel(act);
        let (count, served) = watch::channel(0);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let act = acts.borrow().clone();
                match act {
                    Act::Reply(reply) => {
                        read_head(&mut stream).await;
                        stream.write_all(reply.as_bytes()).await.unwrap();
                    }
                    Act::Hang => held.push(stream),
                    Act::Close => {}
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Script { url, act, served }
    }

    pub(crate) fn act(&self, act: Act) {
        self.act.send_replace(act);
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

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
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
