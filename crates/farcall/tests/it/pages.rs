//! What a server's port answers to browsers and probes.

use farcall::{Client, Error, Registry, Server};
use tokio::time::timeout;

use crate::script::{PATIENCE, exchange};

async fn server() -> (Server, Registry) {
    let registry = Registry::new();
    let server = Server::builder()
        .method("Zeta.Last", |_: ()| async move { Ok(()) })
        .method("Arith.Half", |number: i64| async move {
            match number % 2 {
                0 => Ok(number / 2),
                _ => Err(Error::from("it is odd")),
            }
        })
        .registry(registry.clone())
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    (server, registry)
}

fn port_of(server: &Server) -> String {
    server.address().to_string().replace("tcp@", "")
}

async fn get(server: &Server, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    exchange(port_of(server), &request).await
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn the_debug_page_counts_calls_and_errors_as_they_ended() {
    let (server, _) = server().await;
    let client = Client::connect(&server.address().to_string())
        .await
        .unwrap();
    for number in 1..=5_i64 {
        let half = client.call::<i64>("Arith.Half", &number).await;
        assert_eq!(half.is_ok(), number % 2 == 0);
    }
    let counted = async {
        loop {
            let page = get(&server, "/debug/farcall.json").await;
            let page: serde_json::Value = serde_json::from_str(body(&page)).unwrap();
            let half = &page["services"][0]["methods"][0];
            // A call is counted when it has ended, which its caller may see a moment earlier.
            if half["calls"] == 5 && half["in_flight"] == 0 {
                return page;
            }
        }
    };
    let page = timeout(PATIENCE, counted)
        .await
        .expect("all calls are counted");
    let half = &page["services"][0]["methods"][0];
    assert_eq!(
        (&half["name"], &half["errors"]),
        (&"Half".into(), &3.into())
    );
    assert_eq!(
        (&half["args"], &half["reply"]),
        (&"int".into(), &"int".into())
    );
    let names: Vec<_> = page["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, ["Arith", "Zeta"]);
}

#[tokio::test]
async fn the_debug_page_stands_under_the_originals_names_too() {
    let (server, _) = server().await;
    for path in [
        "/debug/farcall",
        "/debug/tinyrpc",
        "/debug/rpc",
        "/debug/geerpc",
    ] {
        let reply = get(&server, path).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        let html = body(&reply);
        let at = |text: &str| {
            html.find(text)
                .unwrap_or_else(|| panic!("{text} is not in {html}"))
        };
        assert!(at("<h2>Arith</h2>") < at("<h2>Zeta</h2>"));
        for header in [
            "Content-Type: text/html; charset=utf-8",
            "Content-Security-Policy: default-src 'none'; style-src",
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
        ] {
            assert!(
                reply.contains(&format!("\r\n{header}")),
                "{header} is not in {reply}"
            );
        }
    }
}

#[tokio::test]
async fn one_port_serves_calls_probes_and_a_registry() {
    let (server, registry) = server().await;
    assert_eq!(body(&get(&server, "/healthz").await), "ok\n");
    assert_eq!(body(&get(&server, "/readyz").await), "ready\n");
    let request = "POST /_tinyrpc_/registry HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                   X-Tinyrpc-Server: tcp@a:1\r\n\r\n";
    exchange(port_of(&server), request).await;
    assert_eq!(registry.endpoints().len(), 1);
    let reply = get(&server, "/_tinyrpc_/registry").await;
    assert!(
        reply.contains("\r\nX-Tinyrpc-Servers: tcp@a:1\r\n"),
        "{reply}"
    );
    assert_eq!(
        body(&get(&server, "/_tinyrpc_").await),
        "405 must CONNECT\n"
    );
    assert!(get(&server, "/").await.starts_with("HTTP/1.1 404 "));
}
