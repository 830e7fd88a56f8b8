//! Servers, lists, calls and the demo: what they print, and how they exit.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Etcd, Farcall, demo_server, farcall, json_of, nobody};

#[test]
fn a_wrong_command_line_exits_2_and_says_what_is_right() {
    for (args, says) in [
        (&["nope"][..], "--help"),
        (&["call", "127.0.0.1:1"], "SERVICE.METHOD"),
        (
            &["call", "127.0.0.1", "A.B"],
            "a right one is tcp@127.0.0.1:9999",
        ),
        (&["call", "127.0.0.1:1", "A.B", "{"], "write JSON such as"),
        (
            &["call", "127.0.0.1:1", "A.B", "--timeout", "5"],
            "2s, 500ms or 5m",
        ),
        (&["call", "127.0.0.1:1", "A.B", "--codec", "xml"], "gob"),
        (&["ls", "static:"], "a right one is"),
        (&["demo", "--servers", "1"], "2..=64"),
        (
            &["demo-server", "--listen", "127.0.0.1"],
            "the port is missing",
        ),
        (&["demo-server", "--registry", "nonsense"], "a right one is"),
        (
            &["demo-server", "--etcd", "nonsense"],
            "the port is missing",
        ),
        (&["demo-server", "--advertise", "127.0.0.1:1"], "--registry"),
    ] {
        let ended = farcall(args);
        assert_eq!(ended.code, Some(2), "{args:?} gave {ended:?}");
        assert!(ended.stderr.contains(says), "{args:?} gave {ended:?}");
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}

#[test]
fn nobody_there_exits_3() {
    let nobody = nobody();
    let registry = format!("http://{nobody}/_tinyrpc_/registry");
    for args in [
        &["call", &nobody, "Arith.Multiply"][..],
        &["call", &registry, "Arith.Multiply"],
        &["call", &nobody, "Arith.Multiply", "--all"],
        &["ls", &nobody],
        &["ls", &registry],
    ] {
        let ended = farcall(args);
        assert_eq!(ended.code, Some(3), "{args:?} gave {ended:?}");
        assert!(ended.stderr.contains("does the server run?"), "{ended:?}");
    }
}

#[test]
fn a_taken_port_is_said_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for command in ["registry", "demo-server"] {
        let ended = farcall(&[command, "--listen", &taken]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("--listen"), "{ended:?}");
    }
}

#[test]
fn a_call_prints_its_reply_in_every_codec_that_needs_no_types() {
    let (_server, at) = demo_server();
    for codec in ["gob", "json", "msgpack"] {
        for (method, args, reply) in [
            ("Arith.Multiply", r#"{"A": 6, "B": 7}"#, "42\n"),
            (
                "Arith.Divide",
                r#"{"A": 7, "B": 2}"#,
                "{\"Quo\":3,\"Rem\":1}\n",
            ),
            ("Foo.Sum", r#"{"Num1": 1, "Num2": 2}"#, "3\n"),
            ("Foo.Sleep", r#"{"Num1": 0, "Num2": 2}"#, "2\n"),
            ("Echo.String", "\"héllo\"", "\"héllo\"\n"),
        ] {
            let ended = farcall(&["call", &at, method, args, "--codec", codec]);
            assert_eq!(
                (ended.code, &*ended.stdout),
                (Some(0), reply),
                "{codec} {ended:?}"
            );
        }
    }
    let ended = farcall(&["call", &at, "Echo.Echo", "\"aGk=\"", "--codec", "json"]);
    assert_eq!(ended.stdout, "\"aGk=\"\n");
}

#[test]
fn a_call_that_fails_exits_by_what_failed() {
    let (_server, at) = demo_server();
    for (call, exit, error, says) in [
        (
            &["Arith.Divide", r#"{"A":1,"B":0}"#][..],
            1,
            ("failed", "divide by zero"),
            "divide by zero",
        ),
        (
            &["Foo.Panic", "7"],
            1,
            ("internal", "rpc server: the handler panicked"),
            "panicked",
        ),
        (
            &["Arith.Nope"],
            1,
            ("unimplemented", "rpc server: can't find method Nope"),
            "`farcall ls ADDR` shows",
        ),
    ] {
        let mut args = vec!["call", &*at];
        args.extend(call);
        let ended = farcall(&args);
        assert_eq!((ended.code, &*ended.stdout), (Some(exit), ""), "{ended:?}");
        assert!(ended.stderr.contains(says), "{ended:?}");

        args.push("--json");
        let ended = farcall(&args);
        assert_eq!(ended.code, Some(exit));
        let (code, message) = error;
        assert_eq!(
            json_of(&ended),
            json!({"error": {"code": code, "message": message}})
        );
    }

    let slow = [
        "call",
        &at,
        "Foo.Sleep",
        r#"{"Num1": 30}"#,
        "--timeout",
        "100ms",
        "--json",
    ];
    let ended = farcall(&slow);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert_eq!(json_of(&ended)["error"]["code"], "deadline_exceeded");
    assert!(ended.stderr.contains("--timeout"), "{ended:?}");
}

#[test]
fn servers_join_a_registry_and_are_listed_and_called_through_it() {
    let (_registry, url) = Farcall::serve(&["registry", "--listen", "127.0.0.1:0"]);
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with("/_tinyrpc_/registry"),
        "{url}"
    );
    let watching = Farcall::start(&["ls", &url, "--watch", "--json"]);
    assert_eq!(watching.line(), "[]");

    let server = || Farcall::serve(&["demo-server", "--listen", "127.0.0.1:0", "--registry", &url]);
    let (first, second) = (server(), server());
    // Each change is one line, so the last one is of both.
    let both = loop {
        let list: Value = serde_json::from_str(&watching.line()).unwrap();
        if list.as_array().is_some_and(|list| list.len() == 2) {
            break list;
        }
    };
    let mut addresses = [&first.1, &second.1];
    addresses.sort();
    for (row, address) in both.as_array().unwrap().iter().zip(addresses) {
        assert_eq!(row["address"], **address);
        assert_eq!(row["state"], "up");
        assert_eq!(row["services"], json!(["Arith", "Echo", "Foo", "Numbers"]));
        assert!(row["age_s"].is_u64(), "{row}");
    }

    let ended = farcall(&["ls", &url]);
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stdout.lines().count(), 3, "{ended:?}");
    let ended = farcall(&["call", &url, "Arith.Multiply", r#"{"A":6,"B":7}"#, "--json"]);
    assert_eq!(
        (ended.code, json_of(&ended)),
        (Some(0), json!({"reply": 42}))
    );

    let all = [
        "call",
        &url,
        "Arith.Multiply",
        r#"{"A":6,"B":7}"#,
        "--all",
        "--json",
    ];
    let reply = |address: &String| json!({"address": address, "reply": 42});
    assert_eq!(json_of(&farcall(&all)), json!(addresses.map(reply)));
    let ended = farcall(&[
        "call",
        &url,
        "Arith.Divide",
        r#"{"A":1,"B":0}"#,
        "--all",
        "--json",
    ]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(json_of(&ended)[0]["error"]["message"], "divide by zero");
}

#[test]
fn one_server_is_listed_by_its_methods() {
    let (_server, at) = demo_server();
    farcall(&["call", &at, "Arith.Divide", r#"{"A":1,"B":0}"#]);
    let list = json_of(&farcall(&["ls", &at, "--json"]));
    let names: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|service| &service["name"])
        .collect();
    assert_eq!(names, ["Arith", "Echo", "Foo", "Numbers"]);
    let divide = &list[0]["methods"][0];
    assert_eq!(divide["name"], "Divide");
    assert_eq!(divide["args"], "Args{A int; B int}");
    assert_eq!(divide["reply"], "Quotient{Quo int; Rem int}");
    assert_eq!(
        (&divide["calls"], &divide["errors"]),
        (&json!(1), &json!(1))
    );

    let ended = farcall(&["ls", &at]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("Foo.Sleep"), "{ended:?}");
}

#[cfg(unix)]
#[test]
fn sigterm_lets_running_calls_end_and_exits_0() {
    let (server, at) = demo_server();
    let call = Farcall::start(&["call", &at, "Foo.Sleep", r#"{"Num1": 2, "Num2": 40}"#]);
    while json_of(&farcall(&["ls", &at, "--json"]))[2]["methods"][1]["in_flight"] != 1 {}
    server.signal("-TERM");
    let ended = call.end();
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "42\n"), "{ended:?}");
    let ended = server.end();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
}

#[cfg(unix)]
#[test]
fn a_server_that_is_asked_to_end_leaves_the_registry_first() {
    let (registry, url) = Farcall::serve(&["registry", "--listen", "127.0.0.1:0"]);
    let (server, _) =
        Farcall::serve(&["demo-server", "--listen", "127.0.0.1:0", "--registry", &url]);
    while json_of(&farcall(&["ls", &url, "--json"])) == json!([]) {}
    server.signal("-INT");
    assert_eq!(server.end().code, Some(0));
    assert_eq!(json_of(&farcall(&["ls", &url, "--json"])), json!([]));
    registry.signal("-TERM");
    assert_eq!(registry.end().code, Some(0));
}

#[cfg(unix)]
#[test]
fn a_server_is_found_through_etcd_until_it_ends() {
    let (etcd, members) = Etcd::start();
    let target = format!("etcd://{members}/");
    let (server, address) =
        Farcall::serve(&["demo-server", "--listen", "127.0.0.1:0", "--etcd", &members]);
    // etcd may still be coming up: the server enters itself as soon as it can.
    let begun = Instant::now();
    let listed = loop {
        let ended = farcall(&["ls", &target, "--json"]);
        if ended.code == Some(0) && json_of(&ended) != json!([]) {
            break json_of(&ended);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{ended:?}");
    };
    assert_eq!(listed[0]["address"], address);
    let ended = farcall(&["call", &target, "Arith.Multiply", r#"{"A":6,"B":7}"#]);
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "42\n"), "{ended:?}");
    server.signal("-TERM");
    // It says that it goes before it does.
    let begun = Instant::now();
    while json_of(&farcall(&["ls", &target, "--json"]))[0]["state"] != "draining" {
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    assert_eq!(server.end().code, Some(0));
    assert_eq!(json_of(&farcall(&["ls", &target, "--json"])), json!([]));
    drop(etcd);
}

/// What a target lists, once it lists so many.
#[cfg(unix)]
fn listed(target: &str, count: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let ended = farcall(&["ls", target, "--json"]);
        if ended.code == Some(0) {
            let listed = json_of(&ended);
            let listed = listed.as_array().unwrap().iter();
            let listed: Vec<String> = listed
                .map(|server| server["address"].as_str().unwrap().to_owned())
                .collect();
            if listed.len() == count {
                return listed;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{ended:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_server_stopped_for_longer_than_its_lease_is_gone_for_clients_and_back_by_itself() {
    let (_etcd, members) = Etcd::start();
    let target = format!("etcd://{members}/");
    let serve = || {
        let listen = ["demo-server", "--listen", "127.0.0.1:0"];
        Farcall::serve(&[&listen[..], &["--etcd", &target, "--ttl", "2"]].concat())
    };
    let ((one, one_at), (_other, other_at)) = (serve(), serve());
    let mut both = vec![one_at.clone(), other_at.clone()];
    both.sort();
    assert_eq!(listed(&target, 2), both);
    // All of it stands still: no heartbeat, no timer, no reply, but its port still takes connections.
    one.signal("-STOP");
    assert_eq!(listed(&target, 1), [other_at]);
    for _ in 0..10 {
        let ended = farcall(&["call", &target, "Arith.Multiply", r#"{"A":6,"B":7}"#]);
        assert_eq!((ended.code, &*ended.stdout), (Some(0), "42\n"), "{ended:?}");
    }
    one.signal("-CONT");
    assert_eq!(listed(&target, 2), both);
    let ended = farcall(&["call", &one_at, "Arith.Multiply", r#"{"A":6,"B":7}"#]);
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "42\n"), "{ended:?}");
}

#[test]
fn one_round_of_the_demo_is_as_expected_and_says_so_in_numbers() {
    let ended = farcall(&["demo", "--once", "--json", "--servers", "4"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = json_of(&ended);
    assert_eq!(report["ok"], true);
    let servers = report["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 4);
    assert!(
        report["dashboard"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );

    let phases = report["phases"].as_array().unwrap();
    let names: Vec<_> = phases
        .iter()
        .map(|phase| phase["phase"].as_str().unwrap())
        .collect();
    let expected = [
        "discovery",
        "gob",
        "json",
        "broadcast",
        "timeout",
        "errors",
        "failover",
        "recovery",
    ];
    assert_eq!(names, expected);
    for phase in phases {
        assert_eq!(phase["ok"], true, "{phase}");
        assert_eq!(phase["calls"], phase["right"], "{phase}");
    }
    let [
        discovery,
        gob,
        json,
        broadcast,
        timeout,
        errors,
        failover,
        recovery,
    ] = &phases[..]
    else {
        panic!("eight phases")
    };
    assert_eq!(discovery["discovered"], report["servers"]);
    assert_eq!(
        (&gob["calls"], &gob["codecs_seen"]),
        (&json!(400), &json!(["gob"]))
    );
    assert_eq!(
        (&json["calls"], &json["codecs_seen"]),
        (&json!(400), &json!(["json"]))
    );
    for phase in [gob, json, recovery] {
        for server in servers {
            let count = phase["per_server"][server.as_str().unwrap()].as_u64();
            assert!(count > Some(0), "{phase}");
        }
    }
    assert_eq!(broadcast["outcomes"].as_object().unwrap().len(), 4);
    assert!(
        timeout["elapsed_ms"].as_f64() >= timeout["asked_ms"].as_f64(),
        "{timeout}"
    );
    assert_eq!(errors["error"]["error"]["message"], "divide by zero");
    assert_eq!(errors["panic"]["error"]["code"], "internal");
    assert_eq!(failover["killed"], recovery["returned"]);
    assert!(
        failover["right_after_kill"].as_u64() > Some(0),
        "{failover}"
    );
}

#[test]
fn the_demo_tells_its_phases_in_plain_lines_when_nobody_looks() {
    let ended = farcall(&["demo", "--once", "--servers", "2"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains('\x1b'), "{ended:?}");
    let told = ended.stdout.lines().filter(|line| line.starts_with(" ok "));
    assert_eq!(told.count(), 8, "{ended:?}");
    assert!(ended.stdout.contains("/debug/farcall"), "{ended:?}");
    assert_eq!(
        ended.stderr, "",
        "the panic that was asked for stays out of sight"
    );
}

#[cfg(unix)]
#[test]
fn the_demo_goes_on_until_it_is_asked_to_end() {
    let demo = Farcall::start(&["demo", "--json"]);
    for _ in 0..2 {
        let round: Value = serde_json::from_str(&demo.line()).unwrap();
        assert_eq!(round["ok"], true, "{round}");
    }
    demo.signal("-INT");
    assert_eq!(demo.end().code, Some(0));
}
