//! A farcall server and Go's own, called by Go's own client: every call with its reply must print the same line.

use serde_json::Value;

use crate::support::{go_run, go_serve, place, serve_tcp};

async fn transcript(server: &str, flags: &[&str]) -> Vec<Value> {
    let words = ["netrpc-client", server].into_iter();
    let words = words.chain(flags.iter().copied()).chain(["transcript"]);
    go_run(words.map(str::to_owned).collect()).await.unwrap()
}

async fn assert_the_same(go_flags: &[&str], client_flags: &[&str]) {
    let go = go_serve(&[&["netrpc-server"], go_flags].concat()).await;
    let rust = serve_tcp().await;
    let from_go = transcript(go.address(), client_flags).await;
    let from_rust = transcript(&place(&rust), client_flags).await;
    for (line, (go, rust)) in from_go.iter().zip(&from_rust).enumerate() {
        assert_eq!(rust, go, "line {line}; farcall's on the left");
    }
    assert_eq!(from_rust.len(), from_go.len());
    // Those that succeed, those that fail, and a good call after each of these.
    assert!(from_go.len() > 100, "{} lines", from_go.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transcripts_are_the_same_in_gob() {
    assert_the_same(&[], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transcripts_are_the_same_over_http() {
    assert_the_same(&["-http"], &["-http"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transcripts_are_the_same_in_json() {
    assert_the_same(&["-json"], &["-json"]).await;
}
