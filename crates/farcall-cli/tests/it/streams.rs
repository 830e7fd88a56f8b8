//! Calls with streams of items: lines in, lines out.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Farcall, demo_server, farcall};

/// What the program prints when it is given these lines.
fn given(lines: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut program = Farcall::start_with(args, Stdio::piped());
    program.stdin().write_all(lines.as_bytes()).unwrap();
    let ended = program.end();
    (ended.code, ended.stdout, ended.stderr)
}

#[test]
fn items_are_printed_as_they_come_and_the_reply_behind_them() {
    let (_server, at) = demo_server();
    for codec in ["gob", "json", "msgpack"] {
        let ended = farcall(&["call", &at, "Numbers.Count", "3", "--codec", codec]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let items: Vec<&str> = ended.stdout.lines().take(3).collect();
        assert_eq!(items, ["1", "2", "3"], "{codec}");
        assert_eq!(ended.stdout.lines().count(), 4, "{ended:?}");
    }
    let ended = farcall(&["call", &at, "Numbers.Count", "2", "--json"]);
    let lines: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[..2], [json!({"item": 1}), json!({"item": 2})]);
    assert_eq!(lines[2], json!({"reply": {}}));
}

#[test]
fn lines_are_sent_as_items() {
    let (_server, at) = demo_server();
    for codec in ["gob", "json", "msgpack"] {
        let args = ["call", &at, "Numbers.Sum", "--codec", codec];
        let (code, stdout, stderr) = given("20\n\n22\n", &args);
        assert_eq!((code, &*stdout), (Some(0), "42\n"), "{codec}: {stderr}");
        let args = ["call", &at, "Numbers.Double", "--codec", codec];
        let (code, stdout, stderr) = given("1\n2\n", &args);
        assert_eq!(
            (code, &*stdout),
            (Some(0), "2\n4\n2\n"),
            "{codec}: {stderr}"
        );
    }
}

#[test]
fn a_line_that_is_no_item_ends_the_call_with_its_reason() {
    let (_server, at) = demo_server();
    let (code, stdout, stderr) = given("1\nnonsense\n3\n", &["call", &at, "Numbers.Sum"]);
    assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("a line of stdin"), "{stderr}");
    let (code, _, stderr) = given("\"text\"\n", &["call", &at, "Numbers.Sum"]);
    assert_eq!(code, Some(1), "{stderr}");
    let ended = farcall(&["call", &at, "Numbers.Sum", "--all"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
