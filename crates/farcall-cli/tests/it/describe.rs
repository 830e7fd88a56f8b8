//! What servers tell about their types, and calls that need it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{PATIENCE, demo_server, farcall, json_of, nobody};

#[test]
fn a_server_is_described_with_its_types() {
    let (_server, at) = demo_server();
    let services = json_of(&farcall(&["describe", &at, "--json"]));
    let names: Vec<_> = services
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, ["Arith", "Echo", "Foo", "Numbers"]);
    let divide = &services[0]["methods"][0];
    assert_eq!(divide["name"], "Arith.Divide");
    assert_eq!(divide["args_type"], "Args{A int; B int}");
    assert_eq!(
        divide["args_go"],
        "type Args struct {\n\tA int\n\tB int\n}\n"
    );
    assert_eq!(divide["reply_type"], "Quotient{Quo int; Rem int}");
    assert_eq!(divide["example"], json!({"A": 0, "B": 0}));

    let ended = farcall(&["describe", &at]);
    assert_eq!(ended.code, Some(0));
    for line in [
        "Arith.Divide(Args{A int; B int}) Quotient{Quo int; Rem int}",
        "Echo.Echo([]byte) []byte",
        "Numbers.Double(struct{}, incoming int, outgoing int) uint",
    ] {
        assert!(ended.stdout.contains(&format!("  {line}\n")), "{ended:?}");
    }
}

#[test]
fn a_name_picks_a_service_or_a_method() {
    let (_server, at) = demo_server();
    let names = |name: &str| -> Vec<String> {
        let services = json_of(&farcall(&["describe", &at, name, "--json"]));
        let services = services.as_array().unwrap().clone();
        let methods = services
            .iter()
            .flat_map(|s| s["methods"].as_array().unwrap());
        methods
            .map(|method| method["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("Echo"), ["Echo.Echo", "Echo.String"]);
    assert_eq!(names("Foo.Sum"), ["Foo.Sum"]);
    let ended = farcall(&["describe", &at, "Foo.Sum"]);
    assert!(
        ended.stdout.contains("farcall call") && !ended.stdout.contains("Foo.Sleep"),
        "{ended:?}"
    );
    let ended = farcall(&["describe", &at, "Nope"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("Arith, Echo, Foo, Numbers"),
        "{ended:?}"
    );
}

/// A server that answers every request on a connection of its own with these bytes, and hangs up.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    at
}

#[test]
fn who_does_not_describe_itself_is_told_from_who_is_not_there() {
    let ended = farcall(&["describe", &nobody()]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for answer in [
        "",
        "what?",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ] {
        let ended = farcall(&["describe", &answering(answer)]);
        assert_eq!(ended.code, Some(1), "{answer:?}: {ended:?}");
        assert!(
            ended.stderr.contains("does not describe its services"),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("debug page"), "{ended:?}");
    }
}

#[test]
fn gob_arguments_take_their_types_from_the_server() {
    let (_server, at) = demo_server();
    for (call, reply) in [
        (&["Echo.Echo", "\"aGVsbG8=\""][..], "\"aGVsbG8=\"\n"),
        (&["Echo.Echo", "[104, 105]"], "\"aGk=\"\n"),
        (&["Echo.Echo"], "\"\"\n"),
        (&["Echo.String", "\"aGVsbG8=\""], "\"aGVsbG8=\"\n"),
        (
            &["Arith.Divide", r#"{"a": 7, "b": 7}"#],
            "{\"Quo\":1,\"Rem\":0}\n",
        ),
        (
            &["Echo.Echo", "\"aGk=\"", "--type", "[]uint8"],
            "\"aGk=\"\n",
        ),
    ] {
        let args = [&["call", &*at], call].concat();
        let ended = farcall(&args);
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(0), reply),
            "{args:?} {ended:?}"
        );
    }
    // Through the dialect of Go, and through a cluster.
    let port = at.strip_prefix("tcp@").unwrap();
    let cluster = format!("static:{},{at}", nobody());
    for target in [
        format!("http@{port}"),
        format!("netrpc+http@{port}"),
        cluster,
    ] {
        let ended = farcall(&["call", &target, "Echo.Echo", "\"aGVsbG8=\""]);
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(0), "\"aGVsbG8=\"\n"),
            "{target} {ended:?}"
        );
    }
    for target in [format!("netrpc+tcp@{port}"), format!("jsonrpc+tcp@{port}")] {
        let args = ["call", &target, "Arith.Divide", r#"{"A": 7, "B": 7}"#];
        let ended = farcall(&args);
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(0), "{\"Quo\":1,\"Rem\":0}\n"),
            "{target} {ended:?}"
        );
    }
    let ended = farcall(&[
        "call",
        &format!("netrpc+tcp@{port}"),
        "Echo.Echo",
        "\"aGk=\"",
    ]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("--type '[]byte'"), "{ended:?}");
}

#[test]
fn a_wrong_type_is_a_wrong_command_line() {
    for (ty, says) in [
        ("[]byt", "at byte 2: there is no type byt"),
        ("map[string", "here should be ]"),
    ] {
        let ended = farcall(&["call", "127.0.0.1:1", "A.B", "1", "--type", ty]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(says), "{ended:?}");
    }
    let (_server, at) = demo_server();
    let ended = farcall(&["call", &at, "Echo.Echo", "{}"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("{} is given where a []byte as base64 is expected"),
        "{ended:?}"
    );
}

/// Runs curl with the README's flags.
fn curl(args: &[&str]) -> (bool, String) {
    let seconds = PATIENCE.as_secs().to_string();
    let ended = Command::new("curl")
        .args(["-sS", "--max-time", &seconds])
        .args(args)
        .output();
    let ended = ended.expect("curl is there; ./test installs it");
    (
        ended.status.success(),
        String::from_utf8(ended.stdout).unwrap(),
    )
}

#[test]
fn anyone_with_curl_can_call() {
    let (_server, at) = demo_server();
    let url = |path: &str| format!("http://{}{path}", at.strip_prefix("tcp@").unwrap());
    let multiply = ["-d", r#"{"A":7,"B":8}"#, &url("/rpc/Arith.Multiply")];
    assert_eq!(curl(&multiply), (true, "56\n".to_owned()));
    let (is_well, types) = curl(&[&url("/rpc")]);
    assert!(is_well);
    let types: Value = serde_json::from_str(&types).unwrap();
    let method = &types["services"][0]["methods"][1];
    assert_eq!(method["name"], "Arith.Multiply");
    assert_eq!(
        method["args"]["$defs"]["Args"]["properties"]["A"],
        json!({"type": "integer"})
    );
    let divide = ["-d", r#"{"A":7}"#, &url("/rpc/Arith.Divide")];
    let (_, error) = curl(&divide);
    let error: Value = serde_json::from_str(&error).unwrap();
    assert_eq!(
        error,
        json!({"error": {"code": "failed", "message": "divide by zero"}})
    );
}
