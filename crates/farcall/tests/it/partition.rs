//! A network between members of etcd that can be torn. No claim is proved here.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Ways to all members, each of which leads to one place.
pub(crate) struct Network {
    isolated: watch::Sender<Option<Isolated>>,
}

/// The member that hears nobody and that nobody hears.
struct Isolated {
    /// Its number, as members tell it to each other.
    id: String,
    /// Where it listens to them.
    place: String,
}

impl Network {
    pub(crate) fn new() -> Network {
        Network {
            isolated: watch::Sender::new(None),
        }
    }

    /// A way to this place, for the other members: `127.0.0.1:PORT`.
    pub(crate) async fn way_to(&self, place: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().to_string();
        let isolated = self.isolated.subscribe();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(carry(from, place.clone(), isolated.clone()));
            }
        });
        here
    }

    /// Isolates this member: what is sent to it or by it stays where it is, as on a cable that was pulled.
    pub(crate) fn isolate(&self, id: String, place: String) {
        self.isolated.send_replace(Some(Isolated { id, place }));
    }

    /// Lets everything through again, also what was sent meanwhile.
    pub(crate) fn heal(&self) {
        self.isolated.send_replace(None);
    }
}

/// Carries one connection. Members say who they are in the first request on each.
async fn carry(
    mut from: TcpStream,
    place: String,
    mut isolated: watch::Receiver<Option<Isolated>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        match from.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head_text = String::from_utf8_lossy(&head).to_lowercase();
    let mut lines = head_text.lines();
    let sender = lines.find_map(|line| line.strip_prefix("x-server-from:"));
    let sender = sender.map(|id| id.trim().to_owned());
    let to_place = place.clone();
    let is_torn = move |isolated: &Option<Isolated>| {
        isolated.as_ref().is_some_and(|isolated| {
            // Those who do not say who they are only ask whether anybody is there.
            let is_from = sender.as_ref().is_none_or(|sender| *sender == isolated.id);
            is_from || isolated.place == to_place
        })
    };
    if isolated.wait_for(|now| !is_torn(now)).await.is_err() {
        return;
    }
    let Ok(mut to) = TcpStream::connect(place).await else {
        return;
    };
    if to.write_all(&head).await.is_err() {
        return;
    }
    let ((from_read, from_write), (to_read, to_write)) = (from.split(), to.split());
    tokio::select! {
        () = pass(from_read, to_write, isolated.clone(), &is_torn) => {}
        () = pass(to_read, from_write, isolated.clone(), &is_torn) => {}
    }
}

async fn pass(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    mut isolated: watch::Receiver<Option<Isolated>>,
    is_torn: &impl Fn(&Option<Isolated>) -> bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(len @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if isolated.wait_for(|now| !is_torn(now)).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}
