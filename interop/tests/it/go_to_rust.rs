//! Go clients and a farcall server: every scenario of theirs, over every way there is. What they check is told in
//! `interop/go`.

use farcall::Server;

use crate::support::{all_content, go_serve, place, serve, serve_tcp};

/// Scenarios that any dialect passes. `interfaces` is for gob: JSON does not tell an integer from a float.
const COMMON: [&str; 5] = ["basic", "kinds", "large", "errors", "concurrent"];
const TINY: [&str; 4] = ["handshake", "timeout", "halfclose", "pipelined"];
const NETRPC: [&str; 2] = ["mismatch", "close"];

/// One command line a scenario.
fn clients<'a>(
    client: &str,
    server: &str,
    flags: &[&str],
    scenarios: impl IntoIterator<Item = &'a str>,
) -> Vec<Vec<String>> {
    let line = |scenario| {
        let words = [client, server].into_iter().chain(flags.iter().copied());
        words.chain([scenario]).map(str::to_owned).collect()
    };
    scenarios.into_iter().map(line).collect()
}

fn tiny_scenarios(is_json: bool) -> impl Iterator<Item = &'static str> {
    let interfaces = (!is_json).then_some("interfaces");
    COMMON.into_iter().chain(TINY).chain(interfaces)
}

fn netrpc_scenarios(is_json: bool) -> impl Iterator<Item = &'static str> {
    let interfaces = (!is_json).then_some("interfaces");
    COMMON.into_iter().chain(NETRPC).chain(interfaces)
}

async fn serve_unix() -> (Server, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rust.sock");
    (
        serve(&format!("unix@{}", socket.display())).await,
        directory,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tinyrpc_clients_are_content_over_tcp() {
    let server = serve_tcp().await;
    let server = place(&server);
    let gob = clients("tiny-client", &server, &[], tiny_scenarios(false));
    let json = clients("tiny-client", &server, &["-json"], tiny_scenarios(true));
    all_content([gob, json].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tinyrpc_clients_are_content_over_http() {
    let server = serve_tcp().await;
    let server = place(&server);
    let scenarios = |is_json| tiny_scenarios(is_json).chain(["http"]);
    let gob = clients("tiny-client", &server, &["-http"], scenarios(false));
    let json = clients("tiny-client", &server, &["-http", "-json"], scenarios(true));
    all_content([gob, json].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tinyrpc_clients_are_content_over_a_unix_socket() {
    let (server, _directory) = serve_unix().await;
    let server = place(&server);
    let gob = clients("tiny-client", &server, &["-unix"], tiny_scenarios(false));
    let json = clients(
        "tiny-client",
        &server,
        &["-unix", "-json"],
        tiny_scenarios(true),
    );
    all_content([gob, json].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tinyrpc_clients_are_content_when_every_byte_is_written_alone() {
    let server = serve_tcp().await;
    // Its answers are torn apart on their way, too.
    let proxy = go_serve(&["echo-proxy", "-to", &place(&server)]).await;
    let scenarios = || {
        let slow = ["large", "concurrent"];
        tiny_scenarios(true).filter(move |scenario| !slow.contains(scenario))
    };
    let mut all = Vec::new();
    for flags in [
        &["-byte-by-byte"][..],
        &["-byte-by-byte", "-json"],
        &["-byte-by-byte", "-http"],
    ] {
        all.extend(clients("tiny-client", proxy.address(), flags, scenarios()));
    }
    all.extend(clients("tiny-client", proxy.address(), &[], ["interfaces"]));
    all_content(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn geerpc_clients_are_content_at_their_listener_and_at_their_path() {
    let for_geerpc = serve("geerpc+tcp@127.0.0.1:0").await;
    let for_all = serve_tcp().await;
    let scenarios = |is_json| tiny_scenarios(is_json).filter(|scenario| *scenario != "handshake");
    let mut all = Vec::new();
    for (server, flags) in [
        (&for_geerpc, &["-gee"][..]),
        (&for_geerpc, &["-gee", "-http"]),
        (&for_all, &["-gee", "-http"]),
    ] {
        let json = [flags, &["-json"]].concat();
        let server = place(server);
        all.extend(clients("tiny-client", &server, flags, scenarios(false)));
        all.extend(clients("tiny-client", &server, &json, scenarios(true)));
    }
    all_content(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn netrpc_clients_are_content_in_every_form() {
    let server = serve_tcp().await;
    let server = place(&server);
    let raw = clients("netrpc-client", &server, &[], netrpc_scenarios(false));
    let http = netrpc_scenarios(false).chain(["http"]);
    let http = clients("netrpc-client", &server, &["-http"], http);
    let json = clients("netrpc-client", &server, &["-json"], netrpc_scenarios(true));
    all_content([raw, http, json].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn netrpc_clients_are_content_over_a_unix_socket() {
    let (server, _directory) = serve_unix().await;
    let server = place(&server);
    let raw = clients(
        "netrpc-client",
        &server,
        &["-unix"],
        netrpc_scenarios(false),
    );
    let json = clients(
        "netrpc-client",
        &server,
        &["-unix", "-json"],
        netrpc_scenarios(true),
    );
    all_content([raw, json].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn netrpc_clients_are_content_when_every_byte_is_written_alone() {
    let server = serve_tcp().await;
    let proxy = go_serve(&["echo-proxy", "-to", &place(&server)]).await;
    let mut all = Vec::new();
    for flags in [&[][..], &["-http"], &["-json"]] {
        let scenarios = ["basic", "kinds", "errors", "mismatch"];
        all.extend(clients("netrpc-client", proxy.address(), flags, scenarios));
    }
    all_content(all).await;
}
