//! The registry's contract as bytes on a socket, and a server that stays registered through everything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use farcall::discover::{Discover, Endpoint, Snapshot};
use farcall::registry::{Advertise, HttpRegistry, Registrar, Registration};
use farcall::{Address, Cluster, Registry};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::script::{Act, PATIENCE, Script, exchange, list};
use crate::traffic::{Calls, echo};

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

/// A request with a body of JSON.
fn json_request(method: &str, headers: &str, body: &str) -> String {
    let len = body.len();
    let kind = "Content-Type: application/json";
    go_request(
        method,
        "/_tinyrpc_/registry",
        &format!("{kind}\r\nContent-Length: {len}\r\n{headers}"),
    ) + body
}

fn has_status(reply: &str, status: u16, says: &str) {
    let head = format!("HTTP/1.1 {status} ");
    assert!(
        reply.starts_with(&head) && reply.contains(says),
        "{status} {says:?}: {reply}"
    );
}

#[tokio::test]
async fn json_says_all_of_a_server_and_is_told_the_ttl() {
    let registry = Registry::new();
    let server = registry.serve("127.0.0.1:0").await.unwrap();
    let body = r#"{"address":"tcp@a:1","services":["Echo","Arith"],"weight":3,"zone":"eu-1",
                   "metadata":{"rack":"7"},"state":"draining","ttl_ms":2000,"owner":"me"}"#;
    let reply = exchange(server.local_addr(), &json_request("POST", "", body)).await;
    has_status(&reply, 200, "{\"ttl_ms\":2000}");
    has_status(&reply, 200, "X-Farcall-Ttl-Ms: 2000");
    let list = go_request("GET", "/_tinyrpc_/registry", "Accept: application/json\r\n");
    let reply = exchange(server.local_addr(), &list).await;
    let expected = r#"[{"address":"tcp@a:1","state":"draining","weight":3,"zone":"eu-1","services":["Arith","Echo"],"metadata":{"rack":"7"},"age_s":0}]"#;
    has_status(&reply, 200, expected);
    assert!(!reply.contains("me\""), "the secret stays one: {reply}");
    let page = go_request("GET", "/debug/registry", "Accept: application/json\r\n");
    has_status(
        &exchange(server.local_addr(), &page).await,
        200,
        "\"beats\":1,\"entered\":1",
    );
    let page = go_request("GET", "/debug/registry", "");
    has_status(
        &exchange(server.local_addr(), &page).await,
        200,
        "<td>tcp@a:1</td>",
    );
}

#[tokio::test]
async fn bad_json_is_refused_with_the_reason_stores_nothing_and_harms_no_honest_entry() {
    let registry = Registry::new();
    let server = registry.serve("127.0.0.1:0").await.unwrap();
    let address = server.local_addr();
    let honest = json_request("POST", "", r#"{"address":"tcp@honest:1","owner":"honest"}"#);
    has_status(&exchange(address, &honest).await, 200, "");
    let before = registry.endpoints();
    let long = |len| "x".repeat(len);
    for (body, status, says) in [
        ("{".to_owned(), 400, "the body is not what it should be"),
        ("[]".to_owned(), 400, "the body is not"),
        ("{}".to_owned(), 400, "it is empty"),
        (r#"{"address":"tcp@a:1,tcp@b:1"}"#.to_owned(), 400, "comma"),
        (
            r#"{"address":"tcp@a:1\r\nX: y"}"#.to_owned(),
            400,
            "control",
        ),
        (r#"{"address":"tcp@a\u0000:1"}"#.to_owned(), 400, "control"),
        (
            r#"{"address":"nonsense"}"#.to_owned(),
            400,
            "port is missing",
        ),
        (
            format!(r#"{{"address":"unix@/{}"}}"#, long(600)),
            400,
            "longer than 512",
        ),
        (
            r#"{"address":"tcp@a:1","ttl_ms":1}"#.to_owned(),
            400,
            "from 1000 to 3600000",
        ),
        (
            r#"{"address":"tcp@a:1","owner":""}"#.to_owned(),
            400,
            "owner is empty",
        ),
        (
            format!(r#"{{"address":"tcp@a:1","owner":"{}"}}"#, long(129)),
            400,
            "owner is empty or longer",
        ),
        (
            r#"{"address":"tcp@a:1","zone":"a\nb"}"#.to_owned(),
            400,
            "zone",
        ),
        (
            format!(
                r#"{{"address":"tcp@a:1","metadata":{{"a":"{}"}}}}"#,
                long(5000)
            ),
            400,
            "metadata",
        ),
        (
            format!(
                r#"{{"address":"tcp@a:1","metadata":{{"a":"{}"}}}}"#,
                long(70_000)
            ),
            413,
            "longer than 65536",
        ),
        (
            r#"{"address":"tcp@honest:1"}"#.to_owned(),
            409,
            "another owner's",
        ),
        (
            r#"{"address":"tcp@honest:1","owner":"thief"}"#.to_owned(),
            409,
            "another owner's",
        ),
    ] {
        let reply = exchange(address, &json_request("POST", "", &body)).await;
        has_status(&reply, status, says);
        assert_eq!(registry.endpoints(), before, "{body}");
    }
    let two = json_request(
        "POST",
        "X-Tinyrpc-Server: tcp@b:1\r\n",
        r#"{"address":"tcp@a:1"}"#,
    );
    has_status(&exchange(address, &two).await, 400, "different addresses");
    // The originals' requests carry no secret.
    for method in ["POST", "DELETE"] {
        let request = go_request(
            method,
            "/_tinyrpc_/registry",
            "X-Tinyrpc-Server: tcp@honest:1\r\n",
        );
        has_status(&exchange(address, &request).await, 409, "another owner's");
    }
    assert_eq!(registry.endpoints(), before);
    let farewell = json_request(
        "DELETE",
        "",
        r#"{"address":"tcp@honest:1","owner":"honest"}"#,
    );
    has_status(&exchange(address, &farewell).await, 200, "");
    assert_eq!(registry.endpoints(), []);
}

#[tokio::test]
async fn only_those_who_know_a_token_write_where_there_is_one() {
    let registry = Registry::builder()
        .write_token("old")
        .write_token("secret")
        .build();
    let listening = registry.serve("127.0.0.1:0").await.unwrap();
    let body = r#"{"address":"tcp@a:1"}"#;
    for header in [
        "",
        "Authorization: Bearer wrong!\r\n",
        "Authorization: secret\r\n",
        "Authorization: Bearer \r\n",
    ] {
        for method in ["POST", "DELETE"] {
            let reply = exchange(listening.local_addr(), &json_request(method, header, body)).await;
            has_status(&reply, 401, "Authorization: Bearer <token>");
        }
    }
    let tiny = go_request(
        "POST",
        "/_tinyrpc_/registry",
        "X-Tinyrpc-Server: tcp@a:1\r\n",
    );
    has_status(&exchange(listening.local_addr(), &tiny).await, 401, "");
    assert_eq!(registry.endpoints(), []);
    let stranger = eager(&listening.url()).advertise(server()).unwrap();
    let Registration::Failing { reason, .. } = wait_for(&stranger, is_failing).await else {
        unreachable!("it was waited for");
    };
    assert!(reason.contains("401"), "{reason}");
    let known = eager(&listening.url())
        .token("secret")
        .advertise(server())
        .unwrap();
    wait_for(&known, |r| *r == Registration::Registered).await;
    assert_eq!(registry.endpoints(), [server()]);
}

async fn sees(
    snapshots: &mut watch::Receiver<Arc<Snapshot>>,
    what: impl FnMut(&Arc<Snapshot>) -> bool,
) -> Arc<Snapshot> {
    let found = timeout(PATIENCE, snapshots.wait_for(what)).await;
    found.expect("the list changes").unwrap().clone()
}

/// A client that would not ask for an hour.
fn patient(url: &str) -> HttpRegistry {
    let registry = HttpRegistry::new(url).unwrap();
    registry
        .refresh(Duration::from_secs(3600))
        .beat(Duration::from_millis(50))
}

#[tokio::test]
async fn who_watches_is_told_at_once_of_those_who_come_change_and_go() {
    let registry = Registry::new();
    let listening = registry.serve("127.0.0.1:0").await.unwrap();
    let remote = patient(&listening.url());
    let mut snapshots = remote.watch();
    sees(&mut snapshots, |s| s.known && s.endpoints.is_empty()).await;
    let registrar = remote.advertise(server()).unwrap();
    sees(&mut snapshots, |s| s.endpoints == [server()]).await;
    // One that dies without a word, by the registry's clock alone.
    let other = Endpoint::new(Address::tcp("127.0.0.1:9998"));
    let dying = remote
        .clone()
        .ttl(Duration::from_secs(1))
        .beat(Duration::from_secs(3600));
    let body = r#"{"address":"tcp@127.0.0.1:9998","ttl_ms":1000}"#;
    has_status(
        &exchange(listening.local_addr(), &json_request("POST", "", body)).await,
        200,
        "",
    );
    drop(dying);
    let both = sees(&mut snapshots, |s| s.endpoints.len() == 2).await;
    assert_eq!(both.endpoints, [other, server()]);
    sees(&mut snapshots, |s| s.endpoints == [server()]).await;
    registrar.withdraw().await;
    sees(&mut snapshots, |s| {
        s.endpoints.is_empty() && s.stale.is_none()
    })
    .await;
}

#[tokio::test]
async fn watchers_beyond_the_bound_are_told_to_come_later_and_places_are_given_back() {
    let registry = Registry::builder().watchers_max(1).build();
    let listening = registry.serve("127.0.0.1:0").await.unwrap();
    let mut first = patient(&listening.url()).watch();
    sees(&mut first, |s| s.known).await;
    let impatient = patient(&listening.url()).refresh(Duration::from_millis(20));
    let mut second = impatient.watch();
    let refused = sees(&mut second, |s| s.stale.is_some()).await;
    let reason = &refused.stale.as_ref().unwrap().reason;
    assert!(
        reason.contains("503") && reason.contains("1 clients watch already"),
        "{reason}"
    );
    drop(first);
    // The place is free when the registry sees the connection close.
    sees(&mut second, |s| s.known && s.stale.is_none()).await;
}

#[tokio::test]
async fn a_registry_that_ends_does_not_wait_for_those_who_watch() {
    let listening = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let mut snapshots = patient(&listening.url()).watch();
    sees(&mut snapshots, |s| s.known).await;
    let began = Instant::now();
    timeout(PATIENCE, listening.shutdown())
        .await
        .expect("it ends");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

/// How long the registry is away, in seconds: `FARCALL_REGISTRY_AWAY`, three unless set.
fn away() -> Duration {
    let seconds =
        std::env::var("FARCALL_REGISTRY_AWAY").map(|s| s.parse().expect("it is a number"));
    Duration::from_secs(seconds.unwrap_or(3))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_whatever_becomes_of_the_registry_and_everyone_is_back_within_a_ttl() {
    const TTL: Duration = Duration::from_secs(3);
    let build = || Registry::builder().ttl(TTL).build();
    let mut listening = build().serve("127.0.0.1:0").await.unwrap();
    let (place, url) = (listening.local_addr(), listening.url());
    let remote = HttpRegistry::new(&url)
        .unwrap()
        .timeout(Duration::from_millis(500));
    let remote = remote
        .refresh(Duration::from_secs(1))
        .beat(Duration::from_secs(1));
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(echo().advertise(remote.clone()).start().await.unwrap());
    }
    let mut snapshots = remote.watch();
    sees(&mut snapshots, |s| s.endpoints.len() == 3).await;
    let mut fewest = remote.watch();
    sees(&mut fewest, |s| s.endpoints.len() == 3).await;
    let fewest = tokio::spawn(async move {
        let mut least = usize::MAX;
        while fewest.changed().await.is_ok() {
            least = least.min(fewest.borrow_and_update().endpoints.len());
            assert_eq!(least, 3, "{:?}", fewest.borrow());
        }
    });
    let cluster = Cluster::builder(remote.clone()).build();
    crate::support::until(|| cluster.snapshot().endpoints.len() == 3).await;
    let calls = Calls::start(cluster.clone());

    let status = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    let line =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n{\"epoch\":\"x\",\"rev";
    for act in [
        None,
        Some(Act::Reply(status.into())),
        Some(Act::Reply("\x16\x03nonsense\r\n\r\n".into())),
        Some(Act::Reply(line.into())),
        Some(list("")),
        Some(Act::Hang),
    ] {
        listening.shutdown().await;
        match act.clone() {
            None => tokio::time::sleep(away()).await,
            Some(act) => {
                let script = Script::start_at(place, act).await;
                script.served(6).await;
                script.end().await;
            }
        }
        let empty = build();
        listening = empty.serve(place).await.unwrap();
        let began = Instant::now();
        while empty.endpoints().len() < 3 {
            assert!(
                began.elapsed() < TTL,
                "{act:?}: not all are back after {:?}",
                began.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let fresh = sees(&mut snapshots, |s| s.stale.is_none()).await;
        assert_eq!(fresh.endpoints.len(), 3);
    }
    println!(
        "registry away: {} calls, 0 failed",
        calls.none_failed().await
    );
    assert!(!fewest.is_finished(), "the list was never shorter");
    fewest.abort();
}
