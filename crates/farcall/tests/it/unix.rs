//! The ways to a server that are not plain TCP: Unix sockets, and HTTP's `CONNECT`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use farcall::{Address, Client, Code, Codec, Context, Reached, Server, StartError};

use crate::support::{PATIENCE, over_http, place, soon};

/// A directory of one test's own, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("farcall-unix-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn start(address: &str) -> Result<Server, StartError> {
    Server::builder()
        .method("Echo.Int", |number: i64| async move { Ok(number) })
        .method("Who.Calls", |context: Context, _: ()| async move {
            Ok(format!("{} {}", context.dialect(), context.peer()))
        })
        .bind(address)
        .start()
        .await
}

fn at(path: &Path) -> String {
    format!("unix@{}", path.display())
}

async fn calls_go_through(address: &str) {
    for codec in Codec::ALL {
        let builder = Client::builder(address.parse().unwrap()).codec(codec);
        let client = builder.connect().await.unwrap();
        assert_eq!(client.call::<i64>("Echo.Int", &-7_i64).await.unwrap(), -7);
    }
}

#[tokio::test]
async fn calls_go_over_unix_sockets_and_their_file_goes_with_the_server() {
    let directory = Directory::new();
    let path = directory.join("arith.sock");
    let server = start(&at(&path)).await.unwrap();
    assert_eq!(server.address().to_string(), at(&path));
    calls_go_through(&at(&path)).await;
    let client = Client::connect(&at(&path)).await.unwrap();
    let who: String = client.call("Who.Calls", &()).await.unwrap();
    assert_eq!(who, format!("farcall {}", path.display()));
    assert!(soon(server.shutdown(PATIENCE)).await);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_file_of_a_dead_server_is_replaced_and_that_of_a_living_one_is_not() {
    let directory = Directory::new();
    let path = directory.join("arith.sock");
    // A listener of the standard library leaves its file behind, as a process does that is killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = start(&at(&path)).await.unwrap();
    calls_go_through(&at(&path)).await;

    let error = start(&at(&path)).await.unwrap_err();
    assert!(
        matches!(&error, StartError::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse),
        "{error:?}"
    );
    calls_go_through(&at(&path)).await;
    drop(server);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = Directory::new();
    let path = directory.join("notes.txt");
    std::fs::write(&path, "precious").unwrap();
    let error = start(&at(&path)).await.unwrap_err();
    assert!(error.to_string().contains("notes.txt"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn an_address_with_two_at_signs_is_a_unix_path() {
    let directory = Directory::new();
    let path = directory.join("user@host.sock");
    let server = start(&at(&path)).await.unwrap();
    calls_go_through(&at(&path)).await;
    assert!(path.exists());
    drop(server);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_begins_with_an_at_sign_is_an_abstract_socket_as_in_go() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("farcall-test-{}", std::process::id());
    let address = format!("unix@@{name}");
    let server = start(&address).await.unwrap();
    assert_eq!(server.address().to_string(), address);
    calls_go_through(&address).await;
    let known = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    std::os::unix::net::UnixStream::connect_addr(&known).unwrap();
    assert!(!Path::new(&format!("@{name}")).exists());
    assert!(soon(server.shutdown(PATIENCE)).await);
    let again = start(&address).await.unwrap();
    calls_go_through(&address).await;
    drop(again);
}

#[tokio::test]
async fn nobody_at_a_path_is_a_call_that_was_not_sent() {
    let directory = Directory::new();
    let path = directory.join("nobody.sock");
    let error = Client::connect(&at(&path)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::Unavailable, Reached::NotSent)
    );
    assert!(error.to_string().contains("nobody.sock"), "{error}");
}

#[tokio::test]
async fn one_port_serves_tcp_and_connect_in_every_dialect() {
    let server = start("tcp@127.0.0.1:0").await.unwrap();
    calls_go_through(&server.address().to_string()).await;
    calls_go_through(&over_http(&server).to_string()).await;
    for (form, dialect) in [
        ("tcp", "farcall"),
        ("http", "farcall"),
        ("netrpc+tcp", "net/rpc"),
        ("netrpc+http", "net/rpc"),
    ] {
        let address: Address = format!("{form}@{}", place(&server)).parse().unwrap();
        let client = Client::builder(address).connect().await.unwrap();
        let who: String = client.call("Who.Calls", &()).await.unwrap();
        assert!(who.starts_with(dialect), "{form}: {who}");
        let error = client.call::<i64>("Echo.Nope", &1_i64).await.unwrap_err();
        let says = error.to_string();
        let expected = match dialect {
            "farcall" => "rpc server: can't find method Nope",
            _ => "rpc: can't find method Echo.Nope",
        };
        assert_eq!(says, expected);
    }
    let server = start("http@127.0.0.1:0").await.unwrap();
    calls_go_through(&format!("http@{}", place(&server))).await;
}
