//! Asking name servers: over UDP, over TCP what does not fit, one server after the other. What is said is in `message`.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::{self, Meant, Record};

/// Where the system says which name servers to ask.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// As many as the system's own resolver looks at.
const SERVERS_MAX: usize = 3;
/// A datagram may be lost.
const ROUNDS: u32 = 2;

/// The service records of a name, from the first of these servers that has an answer.
///
/// # Errors
///
/// Why there is none, in words.
pub(super) async fn ask(
    servers: &[SocketAddr],
    name: &str,
    limit: Duration,
) -> Result<Vec<Record>, String> {
    let patience = limit / ROUNDS / u32::try_from(servers.len().max(1)).unwrap_or(u32::MAX);
    let mut reason = "there is no name server to ask".to_owned();
    for _ in 0..ROUNDS {
        for server in servers {
            reason = match timeout(patience, ask_one(*server, name)).await {
                Ok(Ok(Meant::Records(records))) => return Ok(records),
                Ok(Ok(Meant::NoSuchName)) => {
                    return Err(format!("{server}: there is no such name"));
                }
                Ok(Ok(Meant::Refused(why))) => format!("{server}: {why}"),
                Ok(Ok(Meant::Truncated | Meant::Stray)) => {
                    format!("{server}: what it answers is no answer")
                }
                Ok(Err(error)) => format!("{server}: {error}"),
                Err(_) => format!("{server}: no answer within {patience:?}"),
            };
        }
    }
    Err(reason)
}

async fn ask_one(server: SocketAddr, name: &str) -> io::Result<Meant> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A new port and a new number for each question, which nobody can guess who does not see it; and from a connected
    // socket only what comes from that server is received.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = RandomState::new().hash_one(()) as u16;
    let question = message::question(id, name);
    socket.send(&question).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let len = socket.recv(&mut buffer).await?;
        match message::read(buffer.get(..len).unwrap_or_default(), id, name) {
            Meant::Stray => {}
            Meant::Truncated => return ask_by_tcp(server, id, name, &question).await,
            meant => return Ok(meant),
        }
    }
}

async fn ask_by_tcp(server: SocketAddr, id: u16, name: &str, question: &[u8]) -> io::Result<Meant> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(question.len()).unwrap_or(u16::MAX);
    let framed = [&len.to_be_bytes(), question].concat();
    stream.write_all(&framed).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(message::read(&answer, id, name))
}

/// The name servers that the system asks; one on this machine when it names none.
pub(super) fn system_servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    servers_in(&text)
}

fn servers_in(resolv_conf: &str) -> Vec<SocketAddr> {
    let named = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_server = words.next() == Some("nameserver");
        // Link-local addresses with their interface are the system's alone to use.
        let address: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
        address.filter(|_| is_server)
    });
    let named: Vec<SocketAddr> = named
        .take(SERVERS_MAX)
        .map(|address| (address, PORT).into())
        .collect();
    match named.is_empty() {
        true => vec![(Ipv4Addr::LOCALHOST, PORT).into()],
        false => named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_name_servers_are_found() {
        let text = "# comment\nsearch example.org\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n\
                    nameserver ::1 # two\noptions ndots:5\n";
        let found: Vec<String> = servers_in(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1:53", "[::1]:53"]);
        assert_eq!(servers_in(""), ["127.0.0.1:53".parse().unwrap()]);
    }
}
