//! The registry's contract as bytes on a socket, and a server that stays registered through everything.

use std::time::Duration;

use farcall::Registry;
use farcall::discover::Endpoint;
use farcall::registry::{Advertise, HttpRegistry, Registrar, Registration};
use tokio::time::timeout;

use crate::script::{Act, PATIENCE, Script, exchange, list};

/// A request as Go's client writes it, but for `Connection: close`, so that the reply has an end.
fn go_request(method: &str, path: &str, header: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Go-http-client/1.1\r\n{header}\
         Accept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    )
}

/// The lines of a reply with an empty body, sorted: the order of headers says nothing. The date is left out.
fn lines(reply: &str) -> Vec<&str> {
    let head = reply.strip_suffix("\r\n\r\n").expect("the body is empty");
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines.retain(|line| !line.starts_with("Date: "));
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn the_contract_of_the_originals_is_kept_to_the_byte() {
    for (path, name) in [
        ("/_tinyrpc_/registry", "Tinyrpc"),
        ("/_geerpc_/registry", "Geerpc"),
    ] {
        let server = Registry::new().serve("127.0.0.1:0").await.unwrap();
        let address = server.local_addr();
        for server in ["tcp@127.0.0.1:9002", "tcp@[::]:9001", "unix@/tmp/a@b.sock"] {
            let header = format!("X-{name}-Server: {server}\r\n");
            let reply = exchange(address, &go_request("POST", path, &header)).await;
            let expected = [
                "Connection: close",
                "Content-Length: 0",
                "HTTP/1.1 200 OK",
                "X-Farcall-Ttl-Ms: 300000",
            ];
            assert_eq!(lines(&reply), expected);
        }
        let reply = exchange(address, &go_request("GET", path, "")).await;
        let list = "tcp@127.0.0.1:9002,tcp@[::]:9001,unix@/tmp/a@b.sock";
        let families = ["Geerpc", "Tinyrpc"].map(|name| format!("X-{name}-Servers: {list}"));
        let expected = [
            "Connection: close",
            "Content-Length: 0",
            "HTTP/1.1 200 OK",
            &families[0],
            &families[1],
        ];
        assert_eq!(lines(&reply), expected);
        assert!(reply.contains("\r\nDate: "), "{reply}");
    }
}

#[tokio::test]
async fn an_empty_registry_says_so_with_an_empty_header() {
    let server = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let request = go_request("GET", "/_tinyrpc_/registry", "");
    let reply = exchange(server.local_addr(), &request).await;
    assert!(reply.contains("\r\nX-Tinyrpc-Servers: \r\n"), "{reply}");
}

#[tokio::test]
async fn wrong_requests_are_refused_in_words_and_the_port_goes_on() {
    let registry = Registry::new();
    let server = registry.serve("127.0.0.1:0").await.unwrap();
    let path = "/_tinyrpc_/registry";
    let right = "X-Tinyrpc-Server: tcp@a:1\r\n";
    for (request, status, says) in [
        (
            go_request("POST", path, ""),
            "400",
            "X-Tinyrpc-Server is missing",
        ),
        (
            go_request("POST", path, "X-Tinyrpc-Server: tcp@a:1,tcp@b:1\r\n"),
            "400",
            "comma",
        ),
        (
            go_request("POST", path, "X-Tinyrpc-Server: tcp@a\u{1}:1\r\n"),
            "400",
            "",
        ),
        (go_request("PUT", path, right), "405", "POST"),
        (
            go_request("POST", "/registry", right),
            "404",
            "/_tinyrpc_/registry",
        ),
        (
            go_request("GET", "/_tinyrpc_", ""),
            "405",
            "405 must CONNECT\n",
        ),
        ("\0\0\0\0\0\0\0\0\r\n\r\n".to_owned(), "400", ""),
    ] {
        let reply = exchange(server.local_addr(), &request).await;
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {reply}"
        );
        assert!(reply.contains(says), "{request:?}: {reply}");
        assert_eq!(registry.endpoints(), []);
    }
    exchange(server.local_addr(), &go_request("POST", path, right)).await;
    assert_eq!(registry.endpoints().len(), 1);
}

#[tokio::test]
async fn two_registries_live_in_one_process() {
    let (a, b) = (Registry::new(), Registry::new());
    let server_a = a.serve("127.0.0.1:0").await.unwrap();
    let _server_b = b.serve("127.0.0.1:0").await.unwrap();
    let request = go_request(
        "POST",
        "/_tinyrpc_/registry",
        "X-Tinyrpc-Server: tcp@a:1\r\n",
    );
    exchange(server_a.local_addr(), &request).await;
    assert_eq!((a.endpoints().len(), b.endpoints().len()), (1, 0));
}

#[tokio::test]
async fn shutdown_frees_the_port() {
    let server = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let address = server.local_addr();
    timeout(PATIENCE, server.shutdown()).await.expect("it ends");
    tokio::net::TcpStream::connect(address).await.unwrap_err();
}

fn eager(url: &str) -> HttpRegistry {
    let registry = HttpRegistry::new(url).unwrap();
    registry
        .beat(Duration::from_millis(20))
        .timeout(Duration::from_millis(200))
}

fn server() -> Endpoint {
    Endpoint::new("tcp@127.0.0.1:9999".parse().unwrap())
}

async fn wait_for(registrar: &Registrar, what: impl FnMut(&Registration) -> bool) -> Registration {
    let mut registration = registrar.watch();
    let found = timeout(PATIENCE, registration.wait_for(what)).await;
    found.expect("the registration changes").unwrap().clone()
}

fn is_failing(registration: &Registration) -> bool {
    matches!(registration, Registration::Failing { .. })
}

#[tokio::test]
async fn a_server_registers_again_by_itself_after_the_registry_lost_everything() {
    let mut listening = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let address = listening.local_addr();
    let registrar = eager(&listening.url()).advertise(server()).unwrap();
    for _ in 0..3 {
        wait_for(&registrar, |r| *r == Registration::Registered).await;
        listening.shutdown().await;
        wait_for(&registrar, is_failing).await;
        let empty = Registry::new();
        listening = empty.serve(address).await.unwrap();
        wait_for(&registrar, |r| *r == Registration::Registered).await;
        assert_eq!(empty.endpoints(), [server()]);
    }
}

#[tokio::test]
async fn no_failure_of_the_registry_ends_the_heartbeats() {
    let registry = Script::start(list("")).await;
    let registrar = eager(&registry.url).advertise(server()).unwrap();
    for failure in [
        Act::Reply("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".into()),
        Act::Reply("nonsense\r\n\r\n".into()),
        Act::Close,
        Act::Hang,
    ] {
        wait_for(&registrar, |r| *r == Registration::Registered).await;
        registry.act(failure);
        wait_for(&registrar, is_failing).await;
        registry.served(3).await;
        registry.act(list(""));
    }
    wait_for(&registrar, |r| *r == Registration::Registered).await;
}

#[tokio::test]
async fn a_refusal_is_told_in_the_registrys_words() {
    let registry = Registry::builder().entries_max(0).build();
    let listening = registry.serve("127.0.0.1:0").await.unwrap();
    let registrar = eager(&listening.url()).advertise(server()).unwrap();
    let Registration::Failing { reason, .. } = wait_for(&registrar, is_failing).await else {
        unreachable!("it was waited for");
    };
    assert!(
        reason.contains("503") && reason.contains("the registry is full"),
        "{reason}"
    );
}

#[tokio::test]
async fn withdrawing_ends_soon_at_a_registry_that_cannot_delete_or_hangs() {
    let old = Act::Reply("HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n".into());
    for act in [old, Act::Close, Act::Hang] {
        let registry = Script::start(list("")).await;
        let registrar = eager(&registry.url).advertise(server()).unwrap();
        wait_for(&registrar, |r| *r == Registration::Registered).await;
        registry.act(act);
        timeout(PATIENCE, registrar.withdraw())
            .await
            .expect("it ends");
    }
}

#[tokio::test]
async fn a_short_ttl_shortens_the_beat() {
    let registry = Registry::builder().ttl(Duration::from_secs(1)).build();
    let listening = registry.serve("127.0.0.1:0").await.unwrap();
    // By itself it would beat every hour.
    let remote = HttpRegistry::new(&listening.url())
        .unwrap()
        .beat(Duration::from_secs(3600));
    let registrar = remote.advertise(server()).unwrap();
    wait_for(&registrar, |r| *r == Registration::Registered).await;
    listening.shutdown().await;
    wait_for(&registrar, is_failing).await;
}

#[tokio::test]
async fn an_address_for_every_interface_is_not_advertised() {
    let registry = HttpRegistry::new("http://127.0.0.1:1/").unwrap();
    let everywhere = Endpoint::new("tcp@0.0.0.0:9999".parse().unwrap());
    let error = registry.advertise(everywhere).unwrap_err().to_string();
    assert!(
        error.contains("advertise an address that they can reach"),
        "{error}"
    );
}
