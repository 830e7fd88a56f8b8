//! Go against Go, to prove the crate that starts Go programs. That every scenario passes over every transport
//! is `interop/go`'s own test.

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
    time::Duration,
};

use farcall_interop::{Error, Peer, run};

const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_client_of_each_protocol_is_content_with_its_server() -> Result<(), Error> {
    for [server, client] in [
        ["tiny-server", "tiny-client"],
        ["netrpc-server", "netrpc-client"],
    ] {
        let server = Peer::serve(&[server])?;
        let checks = run(&[client, server.address(), "basic"], WITHIN)?;
        assert!(checks.len() > 10, "{client}: {checks:?}");
        assert!(
            checks.iter().all(|check| check["ok"] == true),
            "{client}: {checks:?}"
        );
        assert!(server.stop(WITHIN)?.is_empty(), "a server prints one line");
    }
    Ok(())
}

#[test]
fn a_failed_check_is_an_error_that_names_it() -> Result<(), Error> {
    let server = Peer::serve(&["netrpc-server"])?;
    // It serves gob alone, and no HTTP.
    let failure =
        run(&["netrpc-client", server.address(), "http"], WITHIN).expect_err("no HTTP is served");
    assert!(matches!(failure, Error::Failed { .. }), "{failure}");
    assert!(failure.to_string().contains("GET /_goRPC_"), "{failure}");
    Ok(())
}

#[test]
fn a_program_that_gives_up_says_why() {
    let failure =
        Peer::serve(&["netrpc-server", "-net", "unix"]).expect_err("a socket needs a path");
    assert!(matches!(failure, Error::Ended { .. }), "{failure}");
    assert!(
        failure.to_string().contains("-net unix needs -addr"),
        "{failure}"
    );
}

#[test]
fn lines_arrive_as_they_are_printed() -> Result<(), Error> {
    let mut registry = Peer::serve(&["registry"])?;
    let url = registry.first_line()["url"]
        .as_str()
        .expect("a registry tells its url")
        .to_owned();
    let advertised = "tcp@192.0.2.1:7";
    let mut beater = Peer::start(&["heartbeat", "-registry", &url, "-advertise", advertised])?;
    assert_eq!(beater.next_line(WITHIN)?["ok"], true);
    assert_eq!(registry.next_line(WITHIN)?["heartbeat"], advertised);
    let [list] = run(&["discover", &url], WITHIN)?
        .try_into()
        .expect("one line");
    assert_eq!(list["servers"], serde_json::json!([advertised]));
    Ok(())
}

#[test]
fn a_program_that_hangs_is_killed() -> Result<(), Error> {
    let server = Peer::serve(&["netrpc-server"])?;
    let held = TcpStream::connect(server.address()).expect("it listens");
    let failure = server
        .finish(Duration::from_millis(50))
        .expect_err("a server runs until it is told to end");
    assert!(matches!(failure, Error::Late { .. }), "{failure}");
    assert_ended(held);
    Ok(())
}

#[test]
fn a_server_ends_with_its_handle() -> Result<(), Error> {
    let server = Peer::serve(&["netrpc-server"])?;
    let held = TcpStream::connect(server.address()).expect("it listens");
    drop(server);
    assert_ended(held);
    Ok(())
}

/// The process at the other end is gone: an idle server of net/rpc hangs up for no other reason.
fn assert_ended(mut connection: TcpStream) {
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("ten seconds are a timeout");
    match connection.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the connection still stands: {other:?}"),
    }
}
