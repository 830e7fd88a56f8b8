//! etcd over TLS, a real one that wants certificates of its clients: who gets in, and what those are told who do not.

use std::path::Path;

use farcall::discover::Discover;
use farcall::registry::{Advertise, Etcd};
use farcall::{ClientTls, Pem};

use crate::certificates::{Authority, Identity, replace};
use crate::etcd::{eager, endpoint, registered, wait_for};
use crate::etcd_server::Etcd as Process;

/// The target with all that a client needs.
fn target(process: &Process, ca: &Path, client: &Identity) -> String {
    let (ca, cert, key) = (
        ca.display(),
        client.certificate.display(),
        client.key.display(),
    );
    format!(
        "etcds://{}/?ca={ca}&cert={cert}&key={key}&name=etcd.test",
        process.place
    )
}

/// Why the list does not come.
async fn reason(etcd: &Etcd) -> String {
    let mut snapshots = etcd.watch();
    let stale = wait_for(&mut snapshots, |s| s.stale.is_some()).await;
    assert!(!stale.known, "{stale:?}");
    stale.stale.as_ref().unwrap().reason.clone()
}

#[tokio::test]
async fn servers_and_clients_with_certificates_meet_in_etcd_and_passwords_go_over_tls_too() {
    let authority = Authority::new();
    let (server, client) = (authority.sign("etcd.test"), authority.sign("me.test"));
    let mut process = Process::start_secured(&server, &authority.ca, &client).await;
    let etcd = eager(&target(&process, &authority.ca, &client));
    let registrar = etcd.advertise(endpoint(9001)).unwrap();
    let mut snapshots = etcd.watch();
    registered(&registrar).await;
    wait_for(&mut snapshots, |s| s.endpoints.len() == 1).await;
    registrar.withdraw().await;
    wait_for(&mut snapshots, |s| s.endpoints.is_empty()).await;

    for command in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        process.ctl(command);
    }
    let named = etcd.clone().login("root", "secret");
    let second = named.advertise(endpoint(9002)).unwrap();
    let mut snapshots = named.watch();
    registered(&second).await;
    wait_for(&mut snapshots, |s| s.endpoints.len() == 1).await;

    let old = authority.sign_old("old.test");
    let old = eager(&target(&process, &authority.ca, &old)).login("root", "secret");
    let reason = reason(&old).await;
    assert!(reason.contains("without a CommonName"), "{reason}");

    // Connections break, tokens are forgotten.
    process.kill();
    wait_for(&mut snapshots, |s| s.stale.is_some()).await;
    process.run();
    process.ready().await;
    wait_for(&mut snapshots, |s| s.stale.is_none()).await;
    registered(&second).await;
    second.withdraw().await;
    wait_for(&mut snapshots, |s| s.endpoints.is_empty()).await;
}

#[tokio::test]
async fn every_mistake_with_tls_is_told_with_what_to_do_about_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (server, client) = (authority.sign("etcd.test"), authority.sign("me.test"));
    let process = Process::start_secured(&server, &authority.ca, &client).await;
    let plain = Process::start().await;
    let right = target(&process, &authority.ca, &client);
    let (ca, place) = (authority.ca.display(), &process.place);
    for (mistake, target, says) in [
        (
            "an authority that did not sign",
            target(&process, &stranger.ca, &client),
            "not signed by an authority that is trusted here",
        ),
        (
            "another name",
            right.replace("&name=etcd.test", ""),
            "say which name to want instead",
        ),
        (
            "no certificate of the client",
            format!("etcds://{place}/?ca={ca}&name=etcd.test"),
            "wants a certificate of this client",
        ),
        (
            "a client that a stranger vouches for",
            target(&process, &authority.ca, &stranger.sign("me.test")),
            "wants a certificate of this client",
        ),
        (
            "TLS with a plain port",
            target(&plain, &authority.ca, &client),
            "perhaps this port is a plain one",
        ),
        (
            "no TLS with a port of TLS",
            format!("etcd://{place}/"),
            "perhaps it wants TLS: etcds://",
        ),
    ] {
        let reason = reason(&eager(&target)).await;
        println!("{mistake}: {reason}");
        assert!(reason.contains(says), "{mistake}: {reason}");
    }
    // And the one that is right is let in.
    let mut snapshots = eager(&right).watch();
    wait_for(&mut snapshots, |s| s.known && s.stale.is_none()).await;
}

#[tokio::test]
async fn certificates_are_renewed_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let (server, client) = (old.sign("etcd.test"), old.sign("me.test"));
    let mut process = Process::start_secured(&server, &old.ca, &client).await;
    let etcd = eager(&target(&process, &old.ca, &client));
    let registrar = etcd.advertise(endpoint(9001)).unwrap();
    let mut snapshots = etcd.watch();
    registered(&registrar).await;
    wait_for(&mut snapshots, |s| s.endpoints.len() == 1).await;
    process.kill();
    // Files that are no pair for a while, and no certificates at all, spoil nothing.
    std::fs::write(&old.ca, "half a fil").unwrap();
    wait_for(&mut snapshots, |s| s.stale.is_some()).await;
    replace(&new.ca, &old.ca);
    new.sign("etcd.test").replace(&server);
    new.sign("me.test").replace(&client);
    process.run();
    process.ready().await;
    wait_for(&mut snapshots, |s| {
        s.endpoints.len() == 1 && s.stale.is_none()
    })
    .await;
    registrar.withdraw().await;
    wait_for(&mut snapshots, |s| s.endpoints.is_empty()).await;
}

#[test]
fn what_cannot_be_used_is_named() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("one.test"), authority.sign("other.test"));
    let nonsense = authority.beside("nonsense");
    std::fs::write(&nonsense, "nothing").unwrap();
    let trusting = || ClientTls::trusting(&authority.ca).unwrap();
    for (outcome, says) in [
        (
            ClientTls::trusting(authority.beside("nowhere.pem")),
            "nowhere.pem: it cannot be read",
        ),
        (
            ClientTls::trusting(&nonsense),
            "nonsense: there is no certificate in it",
        ),
        (
            trusting().identity(&one.certificate, &nonsense),
            "nonsense: there is no usable private key",
        ),
        (
            trusting().identity(&one.certificate, &other.key),
            "one.test.pem: the certificate and the key",
        ),
        (trusting().server_name("a b"), "neither a DNS name nor"),
    ] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let missing = format!("etcds://a:1/?ca={}", authority.beside("gone.pem").display());
    let error = Etcd::new(&missing).unwrap_err().to_string();
    assert!(error.contains("gone.pem: it cannot be read"), "{error}");
    let secret = Pem::text(std::fs::read(&one.key).unwrap());
    let tls = trusting().identity(&one.certificate, secret).unwrap();
    let etcd = Etcd::new("etcd://a:1/").unwrap().tls(tls);
    assert!(!format!("{etcd:?}").contains("PRIVATE"));
}
