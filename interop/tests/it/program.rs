//! The `farcall` program and Go servers: it describes and calls them, as they are. What it prints about farcall servers
//! is tested with the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use farcall_interop::{Error, Peer};
use serde_json::Value;

use crate::support::{WITHIN, serve_tcp};

/// The program, which cargo builds if that was not done yet.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = [
            "build",
            "--package",
            "farcall-cli",
            "--bin",
            "farcall",
            "--message-format",
            "json",
        ];
        let built = Command::new(cargo)
            .args(build)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(
            built.status.success(),
            "the program does not build:\n{said}"
        );
        let lines = String::from_utf8_lossy(&built.stdout).into_owned();
        let mut messages = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        messages
            .find_map(|message| Some(message["executable"].as_str()?.into()))
            .expect("cargo tells where the program is")
    })
}

/// How the program ended: its exit code, what it printed, what it said on stderr.
fn farcall(args: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program())
        .args(args)
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    (status.code(), text(stdout), text(stderr))
}

fn replies(address: &str, call: &[&str], reply: &str) {
    let ended = farcall(&[&["call", address], call].concat());
    let expected = (Some(0), format!("{reply}\n"), String::new());
    assert_eq!(ended, expected, "{address} {call:?}");
}

fn fails(args: &[&str], exit: i32, says: &str) {
    let (code, stdout, stderr) = farcall(args);
    assert_eq!((code, &*stdout), (Some(exit), ""), "{args:?}: {stderr}");
    assert!(stderr.contains(says), "{args:?}: {stderr}");
}

/// Calls whose JSON tells enough, in any dialect.
fn plain_calls(address: &str) {
    replies(address, &["Arith.Multiply", r#"{"A":7,"B":8}"#], "56");
    replies(
        address,
        &["Arith.Divide", r#"{"A":7,"B":7}"#],
        r#"{"Quo":1,"Rem":0}"#,
    );
    replies(address, &["Echo.String", r#""héllo""#], r#""héllo""#);
    replies(address, &["Kinds.Ints", "[1,2,3]"], "[3,2,1]");
    fails(
        &["call", address, "Arith.Divide", r#"{"A":7}"#],
        1,
        "divide by zero",
    );
}

/// Calls of gob whose types JSON does not tell.
fn typed_calls(address: &str) {
    for (call, reply) in [
        (
            &["Echo.Echo", r#""aGVsbG8=""#, "--type", "[]byte"][..],
            r#""aGVsbG8=""#,
        ),
        (&["Kinds.Uint8", "1", "--type", "uint8"], "254"),
        (&["Kinds.Float64", "3", "--type", "float64"], "1.5"),
        (
            &[
                "Kinds.ByteSlices",
                r#"["aGk=","aGE="]"#,
                "--type",
                "[][]byte",
            ],
            r#"["aGE=","aGk="]"#,
        ),
        (
            &[
                "Kinds.MapOfStructs",
                r#"{"a":{"X":1}}"#,
                "--type",
                "map[string]struct{X, Y int}",
            ],
            r#"{"a":{"X":0,"Y":1}}"#,
        ),
        (
            &["Kinds.Array", "[1,2,3,4]", "--type", "[4]int"],
            "[4,3,2,1]",
        ),
    ] {
        replies(address, call, reply);
    }
    fails(
        &["call", address, "Echo.Echo", r#""aGk=""#],
        1,
        "--type '[]byte'",
    );
}

#[test]
fn go_servers_of_netrpc_are_called_with_json_in_and_gob_out() -> Result<(), Error> {
    let server = Peer::serve(&["netrpc-server"])?;
    let address = format!("netrpc+tcp@{}", server.address());
    plain_calls(&address);
    typed_calls(&address);
    fails(&["describe", &address], 1, "does not describe its services");
    // Neither did that harm it.
    replies(&address, &["Foo.Sum", r#"{"Num1":1,"Num2":2}"#], "3");
    Ok(())
}

#[test]
fn go_servers_of_netrpc_on_a_unix_socket_are_called() -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("a directory for a socket");
    let socket = directory.path().join("go.sock");
    let socket = socket.to_str().expect("a path of UTF-8");
    let _server = Peer::serve(&["netrpc-server", "-net", "unix", "-addr", socket])?;
    plain_calls(&format!("netrpc+unix@{socket}"));
    Ok(())
}

#[test]
fn go_servers_over_http_are_described_by_their_debug_page() -> Result<(), Error> {
    let server = Peer::serve(&["netrpc-server", "-http"])?;
    let address = format!("netrpc+http@{}", server.address());
    plain_calls(&address);
    let (code, stdout, _) = farcall(&["describe", &address]);
    assert_eq!(code, Some(0));
    for line in [
        "  Arith.Divide(main.Operands) main.Quotient\n",
        "  Echo.Echo([]uint8) []uint8\n",
        "  Kinds.MapOfMaps(map[string]map[string]bool) map[string]map[string]bool\n",
    ] {
        assert!(stdout.contains(line), "{line} is not in {stdout}");
    }
    let (code, stdout, _) = farcall(&["describe", &address, "Echo", "--json"]);
    let services: Value = serde_json::from_str(&stdout).expect("it prints JSON");
    assert_eq!(
        (code, services[0]["methods"][1]["name"].as_str()),
        (Some(0), Some("Echo.String"))
    );
    // What it tells of types without a name is enough to call.
    replies(&address, &["Echo.Echo", r#""aGVsbG8=""#], r#""aGVsbG8=""#);
    replies(&address, &["Kinds.Uint64", "0"], "18446744073709551615");
    replies(&address, &["Kinds.Map", r#"{"a":1}"#], r#"{"a":-2}"#);
    Ok(())
}

#[test]
fn go_servers_of_jsonrpc_are_called() -> Result<(), Error> {
    let server = Peer::serve(&["netrpc-server", "-json"])?;
    let address = format!("jsonrpc+tcp@{}", server.address());
    plain_calls(&address);
    replies(&address, &["Echo.Echo", r#""aGVsbG8=""#], r#""aGVsbG8=""#);
    fails(&["describe", &address], 1, "does not describe its services");
    Ok(())
}

#[test]
fn tinyrpc_servers_are_called_in_gob_and_json() -> Result<(), Error> {
    for (flags, scheme) in [
        (&["tiny-server"][..], "tcp"),
        (&["tiny-server", "-http"], "http"),
    ] {
        let server = Peer::serve(flags)?;
        let address = format!("{scheme}@{}", server.address());
        plain_calls(&address);
        typed_calls(&address);
        replies(
            &address,
            &["Echo.Echo", r#""aGk=""#, "--codec", "json"],
            r#""aGk=""#,
        );
        fails(&["describe", &address], 1, "does not describe its services");
        replies(&address, &["Foo.Sum", r#"{"Num1":1,"Num2":2}"#], "3");
    }
    Ok(())
}

#[tokio::test]
async fn every_type_that_a_farcall_server_describes_is_read_again() {
    let server = serve_tcp().await;
    let services = farcall::describe_types(server.address(), WITHIN)
        .await
        .unwrap();
    let mut methods = 0;
    for method in services.iter().flat_map(|service| &service.methods) {
        let read = [method.args_schema(), method.reply_schema()];
        for (schema, go) in read.iter().zip([&method.args_go, &method.reply_go]) {
            let schema = schema.as_ref().unwrap_or_else(|| panic!("{method:?}"));
            assert_eq!(Some(schema.to_go()), *go, "{}", method.name);
        }
        methods += 1;
    }
    assert!(methods > 40, "{methods}");
}
