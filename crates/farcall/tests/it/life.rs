//! How long connections live, and what calls do while there is none: dials that are shared and wait, connections that
//! are replaced by others, several of them to one server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use farcall::balance::RoundRobin;
use farcall::discover::{Discover, Endpoint, Publisher, Snapshot, Static};
use farcall::{
    Address, Client, ClientState, Cluster, Code, Codec, Context, Error, Limits, Reached, Server,
    ServerBuilder,
};
use farcall_wire::{Features, Framing, Kind, Side};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Raw, counts, running, soon, to_end, until};

/// What is done with those who connect.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// The connection is closed at once.
    Closes,
    /// It is closed after the handshake.
    Leaves,
    /// The server says after the handshake that it is going away.
    GoesAway,
    /// It is accepted, and nothing is said.
    Hangs,
    /// The server shakes hands, and neither reads nor writes after that.
    Stalls,
    /// It is served.
    Serves,
}

/// A place that counts its connections, and meets each in the manner of the moment. Those that it serves have their
/// number for a peer's name, and end when they are told to.
///
/// It is a Unix socket: what is written there can be read at once, and a paused clock does not run ahead of it.
struct Door {
    address: Address,
    directory: TempDir,
    dials: watch::Receiver<usize>,
    manner: watch::Sender<Manner>,
    /// How long a connection waits before it is served.
    delay_ms: Arc<AtomicUsize>,
    /// Ends the served connections.
    end: Arc<Notify>,
    server: Arc<Server>,
    /// Lets one call of `Life.Waits` end.
    release: Arc<Notify>,
    listening: JoinHandle<()>,
}

const DIALS_MAX: usize = 2000;

impl Door {
    async fn open(manner: Manner) -> Door {
        Door::open_in(TempDir::new().unwrap(), manner).await
    }

    async fn open_in(directory: TempDir, manner: Manner) -> Door {
        Door::open_with(directory, manner, Server::builder()).await
    }

    async fn open_with(directory: TempDir, manner: Manner, server: ServerBuilder) -> Door {
        let path = directory.path().join("door");
        let listener = UnixListener::bind(&path).unwrap();
        let address = format!("unix@{}", path.display()).parse().unwrap();
        let (manner, met) = watch::channel(manner);
        let (count, dials) = watch::channel(0);
        let (delay_ms, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let release = Arc::new(Notify::new());
        let released = Arc::clone(&release);
        let server = server
            .method("Life.Peer", |context: Context, _: ()| async move {
                Ok(context.peer().to_owned())
            })
            .method(
                "Life.Takes",
                |bytes: Vec<u8>| async move { Ok(bytes.len()) },
            )
            .limits(Limits {
                message_len_max: 64 << 20,
                ..Limits::default()
            })
            .method("Life.Waits", move |_: ()| {
                let released = Arc::clone(&released);
                async move {
                    released.notified().await;
                    Ok(())
                }
            });
        let server = Arc::new(server.start().await.unwrap());
        let served = (Arc::clone(&server), Arc::clone(&delay_ms), Arc::clone(&end));
        let listening = tokio::spawn(async move {
            // A client that dials in a loop finds nobody in the end: the paused clock would never go on.
            while *count.borrow() < DIALS_MAX {
                let (stream, _) = listener.accept().await.unwrap();
                count.send_modify(|count| *count += 1);
                let (number, manner) = (*count.borrow(), *met.borrow());
                let (server, delay_ms, end) = served.clone();
                tokio::spawn(async move {
                    match manner {
                        Manner::Closes => drop(stream),
                        Manner::Leaves => drop(shake_hands(stream).await),
                        Manner::GoesAway => {
                            let mut raw = shake_hands(stream).await;
                            let bytes = raw.message(&(), |header| header.kind = Kind::GoAway);
                            raw.write(&bytes).await;
                            to_end(&mut raw.stream).await;
                        }
                        Manner::Hangs => {
                            end.notified().await;
                            drop(stream);
                        }
                        Manner::Stalls => {
                            let raw = shake_hands(stream).await;
                            end.notified().await;
                            drop(raw);
                        }
                        Manner::Serves => {
                            let delay_ms = delay_ms.load(Ordering::Relaxed) as u64;
                            sleep(Duration::from_millis(delay_ms)).await;
                            serve(stream, &server, number, &end).await;
                        }
                    }
                });
            }
        });
        Door {
            address,
            directory,
            dials,
            manner,
            delay_ms,
            end,
            server,
            release,
            listening,
        }
    }

    fn dials(&self) -> usize {
        *self.dials.borrow()
    }

    async fn dialled(&self, times: usize) {
        let mut dials = self.dials.clone();
        soon(dials.wait_for(|count| *count >= times)).await.unwrap();
    }

    fn meets(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    fn client(&self) -> farcall::ClientBuilder {
        Client::builder(self.address.clone())
    }

    /// Nobody is there any more, until another door is opened in the directory.
    async fn close(self) -> TempDir {
        self.listening.abort();
        // It ends by being aborted, which is an error.
        let _ = self.listening.await;
        std::fs::remove_file(self.directory.path().join("door")).unwrap();
        self.directory
    }
}

/// The server's side of the handshake.
async fn shake_hands(mut stream: UnixStream) -> Raw<UnixStream> {
    let mut hello = Vec::new();
    while hello.last() != Some(&b'\n') && stream.read_buf(&mut hello).await.unwrap() > 0 {}
    // Whatever the client asked for is agreed to.
    stream.write_all(&hello).await.unwrap();
    Raw::opened(stream, Framing::Farcall(Codec::Gob), Side::Server)
}

async fn serve(mut near: UnixStream, server: &Server, number: usize, end: &Notify) {
    let (mut far, served) = tokio::io::duplex(1 << 16);
    server.serve_stream(served, &number.to_string());
    tokio::select! {
        // However it ends, it has.
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        () = end.notified() => {}
    }
}

async fn peer(client: &Client) -> farcall::Result<usize> {
    let reply: String = client.call("Life.Peer", &()).await?;
    Ok(reply.parse().unwrap())
}

fn assert_out_of_reach(error: &Error) {
    assert_eq!(
        (error.code(), error.reached()),
        (Code::Unavailable, Reached::NotSent),
        "{error}"
    );
}

/// The fewest and the most dials that so many milliseconds allow: the first at once, and between two of them a tenth of
/// the backoff's ceiling at least, and all of it at most. One more is for the first connection that came to nothing.
fn dials_within(ms: f64) -> std::ops::RangeInclusive<usize> {
    let waits = |part: f64| {
        let (mut ceiling, mut at, mut dials) = (100.0_f64, 0.0, 0);
        while at <= ms {
            dials += 1;
            at += ceiling.min(30_000.0) * part;
            ceiling *= 1.6;
        }
        dials
    };
    waits(1.0) - 1..=waits(0.1) + 1
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_that_wait_dial_no_more_often_than_one_would() {
    let door = Door::open(Manner::Closes).await;
    let client = door.client().wait_for_ready(true).build();
    let calls: Vec<_> = (0..1000)
        .map(|_| client.go::<String>("Life.Peer", ()))
        .collect();
    sleep(Duration::from_secs(10)).await;
    let allowed = dials_within(10_000.0);
    assert!(
        allowed.contains(&door.dials()),
        "{} of {allowed:?}",
        door.dials()
    );

    door.meets(Manner::Serves);
    let mut peers = BTreeMap::<String, usize>::new();
    for call in calls {
        let peer = timeout(Duration::from_secs(31), call).await.unwrap();
        *peers.entry(peer.unwrap()).or_default() += 1;
    }
    assert_eq!(peers, BTreeMap::from([(door.dials().to_string(), 1000)]));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lets_every_connection_go_is_not_dialled_in_a_loop() {
    for manner in [Manner::Closes, Manner::Leaves, Manner::GoesAway] {
        let door = Door::open(manner).await;
        let client = door.client().build();
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    loop {
                        let call = client.call::<String>("Life.Peer", &());
                        call.timeout(Duration::from_secs(1)).await.unwrap_err();
                        sleep(Duration::from_millis(5)).await;
                    }
                })
            })
            .collect();
        sleep(Duration::from_secs(10)).await;
        let most = *dials_within(10_000.0).end();
        assert!(
            (3..=most).contains(&door.dials()),
            "{manner:?}: {} dials",
            door.dials()
        );
        for caller in callers {
            caller.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_connection_that_came_to_nothing_is_made_again_at_once() {
    let door = Door::open(Manner::GoesAway).await;
    let client = door.client().connect().await.unwrap();
    until(|| !client.is_connected()).await;
    door.meets(Manner::Serves);
    assert_eq!(peer(&client).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn calls_share_a_dial_and_its_failure_and_fail_at_once_while_it_is_no_time_for_another() {
    let door = Door::open(Manner::Hangs).await;
    let client = door.client().build();
    assert!(matches!(client.state(), ClientState::Idle));
    let calls: Vec<_> = (0..100)
        .map(|_| client.go::<String>("Life.Peer", ()))
        .collect();
    door.dialled(1).await;
    assert!(matches!(client.state(), ClientState::Connecting));
    door.end.notify_waiters();
    for call in calls {
        let error = soon(call).await.unwrap_err();
        assert_out_of_reach(&error);
        assert!(
            error.to_string().contains("cannot open a conversation"),
            "{error}"
        );
    }
    let ClientState::BackingOff { until, error } = client.state() else {
        panic!("{:?}", client.state());
    };
    let now = Instant::now();
    assert!(until > now.into_std() && until <= (now + Duration::from_millis(100)).into_std());
    assert!(error.to_string().contains("cannot open a conversation"));

    let refused = peer(&client).await.unwrap_err();
    assert_out_of_reach(&refused);
    assert_eq!(now, Instant::now(), "it does not wait");
    let text = refused.to_string();
    assert!(
        text.contains("cannot open a conversation") && text.contains("; the next try is in "),
        "{text}"
    );
    assert_eq!(door.dials(), 1);

    // After its time the next call dials.
    door.meets(Manner::Serves);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(peer(&client).await.unwrap(), 2);
    assert!(matches!(
        client.state(),
        ClientState::Ready { connections: 1 }
    ));
    client.close();
    assert!(matches!(client.state(), ClientState::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_on_many_threads_share_every_dial() {
    let door = Door::open(Manner::Serves).await;
    let client = door.client().build();
    for round in 1..=50 {
        let calls: Vec<_> = (0..100)
            .map(|_| client.go::<String>("Life.Peer", ()))
            .collect();
        for call in calls {
            assert_eq!(soon(call).await.unwrap(), round.to_string());
        }
        assert_eq!(door.dials(), round);
        door.end.notify_one();
        until(|| !client.is_connected()).await;
    }
}

#[tokio::test]
async fn a_call_that_waits_for_ready_outwaits_a_server_that_is_away() {
    let away = Door::open(Manner::Closes).await;
    let client = away.client().build();
    let directory = away.close().await;
    let error = peer(&client).await.unwrap_err();
    assert_out_of_reach(&error);

    let late = client.call::<String>("Life.Peer", &()).wait_for_ready();
    let error = late.timeout(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::DeadlineExceeded, Reached::NotSent)
    );

    let waiting = tokio::spawn({
        let client = client.clone();
        async move {
            let call = client.call::<String>("Life.Peer", &()).wait_for_ready();
            call.await
        }
    });
    until(|| matches!(client.state(), ClientState::BackingOff { .. })).await;
    let back = Door::open_in(directory, Manner::Serves).await;
    assert_eq!(soon(waiting).await.unwrap().unwrap(), "1");
    assert_eq!(back.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_insists_does_not_wait_out_a_long_backoff() {
    let door = Door::open(Manner::Closes).await;
    let hour = Duration::from_secs(3600);
    let client = door.client().backoff(hour, hour).build();
    peer(&client).await.unwrap_err();
    door.meets(Manner::Serves);
    peer(&client).await.unwrap_err();
    let begun = Instant::now();
    client.ready().await.unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(1));
    assert_eq!(peer(&client).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_of_use_is_made_again_at_once_and_failures_are_forgotten() {
    let door = Door::open(Manner::Closes).await;
    let client = door.client().wait_for_ready(true).build();
    let waiting = client.go::<String>("Life.Peer", ());
    door.dialled(12).await;
    door.meets(Manner::Serves);
    timeout(Duration::from_secs(31), waiting)
        .await
        .unwrap()
        .unwrap();
    for _ in 0..20 {
        door.end.notify_waiters();
        until(|| !client.is_connected()).await;
        let begun = Instant::now();
        assert_eq!(peer(&client).await.unwrap(), door.dials());
        assert!(begun.elapsed() < Duration::from_millis(5));
    }
    door.meets(Manner::Closes);
    door.end.notify_waiters();
    until(|| !client.is_connected()).await;
    client.ready().await.unwrap_err();
    let ClientState::BackingOff { until: end, .. } = client.state() else {
        panic!("{:?}", client.state());
    };
    let first = Instant::now() + Duration::from_millis(100);
    assert!(end <= first.into_std(), "the waits begin anew");
    door.meets(Manner::Serves);
    client.ready().await.unwrap();
    // Without a call, being open for a while does.
    door.end.notify_waiters();
    until(|| !client.is_connected()).await;
    client.ready().await.unwrap();
    sleep(Duration::from_secs(11)).await;
    door.end.notify_waiters();
    until(|| !client.is_connected()).await;
    assert!(matches!(client.state(), ClientState::Idle));
}

#[tokio::test(start_paused = true)]
async fn close_ends_calls_that_wait_for_ready() {
    let door = Door::open(Manner::Closes).await;
    let hour = Duration::from_secs(3600);
    let client = door
        .client()
        .backoff(hour, hour)
        .wait_for_ready(true)
        .build();
    let waiting = client.go::<String>("Life.Peer", ());
    while !matches!(client.state(), ClientState::BackingOff { .. }) {
        tokio::task::yield_now().await;
    }
    client.close();
    let error = soon(waiting).await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
}

/// Calls a thousand times a second, for so long, and gives the connections that answered. No call may fail, or take as
/// long as a dial.
async fn call_steadily(client: &Client, seconds: usize, dial: Duration) -> BTreeMap<usize, usize> {
    let mut peers = BTreeMap::new();
    for _ in 0..seconds * 1000 {
        let begun = Instant::now();
        *peers.entry(peer(client).await.unwrap()).or_default() += 1;
        assert!(begun.elapsed() < dial, "a call waited for a connection");
        sleep(Duration::from_millis(1)).await;
    }
    peers
}

#[tokio::test(start_paused = true)]
async fn connections_are_replaced_by_age_and_no_call_fails_or_waits() {
    let door = Door::open(Manner::Serves).await;
    let age = Duration::from_secs(1);
    let client = door.client().age_max(age).connect().await.unwrap();
    let long = client.go::<()>("Life.Waits", ());
    let dial_ms = 100;
    door.delay_ms.store(dial_ms, Ordering::Relaxed);
    let dial = Duration::from_millis(dial_ms as u64);
    let peers = call_steadily(&client, 10, dial).await;
    // Each lives for its age, a fifth more or less, and for as long as the next one takes to open.
    assert!((8..=13).contains(&peers.len()), "{peers:?}");
    for (peer, calls) in peers.iter().take(peers.len() - 1) {
        assert!((700..=1400).contains(calls), "{peer}: {calls}");
    }
    assert_eq!(client.in_flight(), 1, "what ran on the first still runs");
    door.release.notify_one();
    soon(long).await.unwrap();
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_kept_while_there_is_no_other() {
    let door = Door::open(Manner::Serves).await;
    let age = Duration::from_secs(1);
    let client = door.client().age_max(age).connect().await.unwrap();
    for manner in [Manner::Closes, Manner::Hangs] {
        door.meets(manner);
        let seconds = Duration::from_millis(100);
        let peers = call_steadily(&client, 5, seconds).await;
        assert_eq!(peers.keys().copied().collect::<Vec<_>>(), [1]);
    }
    assert!(door.dials() > 2);
    door.meets(Manner::Serves);
    door.end.notify_waiters();
    until(|| !client.is_connected()).await;
    assert_eq!(peer(&client).await.unwrap(), door.dials());
}

#[tokio::test(start_paused = true)]
async fn a_server_sends_connections_away_by_age_and_no_call_fails() {
    let builder = Server::builder().connection_age_max(Duration::from_secs(1));
    let door = Door::open_with(TempDir::new().unwrap(), Manner::Serves, builder).await;
    let stream = UnixStream::connect(door.directory.path().join("door")).await;
    let mut tiny = Raw::open(stream.unwrap(), Codec::Gob, Features::default()).await;
    let client = door.client().build();
    let dial = Duration::from_millis(100);
    for round in 0..10 {
        let peers = call_steadily(&client, 1, dial).await;
        assert!((1..=3).contains(&peers.len()), "{peers:?}");
        tiny.send(round, "Life.Peer", &()).await;
        let reply: (u64, String) = tiny.reply().await;
        let stays = (round, "1".to_owned());
        assert_eq!(reply, stays, "a peer that knows no going away");
    }
    assert!((9..=14).contains(&door.dials()), "{} dials", door.dials());
}

/// Calls until there are so many connections.
async fn fill(client: &Client, count: usize) {
    soon(async {
        while !matches!(client.state(), ClientState::Ready { connections } if connections == count)
        {
            peer(client).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn calls_are_spread_evenly_over_as_many_connections_as_were_asked_for() {
    let door = Door::open(Manner::Serves).await;
    let client = door.client().connections(4).build();
    fill(&client, 4).await;
    let mut peers = BTreeMap::<usize, usize>::new();
    for _ in 0..400 {
        *peers.entry(peer(&client).await.unwrap()).or_default() += 1;
    }
    let even = (1..=4).map(|peer| (peer, 100));
    assert_eq!(peers, even.collect());
    assert_eq!(door.dials(), 4);

    let calls: Vec<_> = (0..8).map(|_| client.go::<()>("Life.Waits", ())).collect();
    assert_eq!(client.in_flight(), 8);
    until(|| running(&door.server) == 8).await;
    (0..8).for_each(|_| door.release.notify_one());
    for call in calls {
        soon(call).await.unwrap();
    }
}

#[tokio::test]
async fn while_a_lane_is_empty_the_others_carry_its_calls() {
    let door = Door::open(Manner::Serves).await;
    let client = door.client().connections(3).build();
    fill(&client, 3).await;
    // One of them ends, and no other can be made.
    door.meets(Manner::Closes);
    door.end.notify_one();
    until(|| matches!(client.state(), ClientState::Ready { connections: 2 })).await;
    for _ in 0..100 {
        peer(&client).await.unwrap();
    }
    assert!(door.dials() > 3);
    door.meets(Manner::Serves);
    fill(&client, 3).await;

    // All of them end: one dial is made for whoever calls.
    door.end.notify_waiters();
    until(|| !client.is_connected()).await;
    let before = door.dials();
    let calls: Vec<_> = (0..100)
        .map(|_| client.go::<String>("Life.Peer", ()))
        .collect();
    for call in calls {
        soon(call).await.unwrap();
    }
    assert!((1..=3).contains(&(door.dials() - before)));
}

#[tokio::test]
async fn all_connections_of_a_client_end_with_it() {
    for closes in [true, false] {
        let door = Door::open(Manner::Serves).await;
        let builder = door.client().connections(3);
        let client = builder.age_max(Duration::from_secs(3600)).build();
        fill(&client, 3).await;
        let open = Arc::strong_count(&door.end);
        let running = client.go::<()>("Life.Waits", ());
        match closes {
            true => client.close(),
            false => drop(client),
        }
        // Each connection holds the notice of its end.
        until(|| Arc::strong_count(&door.end) == open - 2).await;
        door.release.notify_one();
        soon(running).await.unwrap();
        until(|| Arc::strong_count(&door.end) == open - 3).await;
    }
}

async fn answers(cluster: &Cluster) -> farcall::Result<String> {
    cluster.call("Life.Peer", &()).await
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_is_left_alone_by_a_cluster_and_found_when_it_is_back() {
    let (good, bad) = (
        Door::open(Manner::Serves).await,
        Door::open(Manner::Closes).await,
    );
    let list = Static::new([good.address.clone(), bad.address.clone()]);
    let cluster = Cluster::builder(list)
        .balance(RoundRobin::default())
        .connections(2)
        .build();
    for _ in 0..10_000 {
        answers(&cluster).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    let most = *dials_within(10_000.0).end();
    assert!((3..=most).contains(&bad.dials()), "{} dials", bad.dials());
    assert_eq!(good.dials(), 2);
    for (address, state) in cluster.states() {
        match address == good.address {
            true => assert!(matches!(state, ClientState::Ready { connections: 2 })),
            false => assert!(matches!(state, ClientState::BackingOff { .. })),
        }
    }
    // It is the last hope, and found at once although it was to be left alone for long.
    good.meets(Manner::Closes);
    good.end.notify_waiters();
    bad.meets(Manner::Serves);
    let begun = Instant::now();
    // The good one may still have got a call.
    while answers(&cluster).await.is_err() {}
    assert!(begun.elapsed() <= Duration::from_secs(1));
}

/// A list that the test changes.
struct Told(watch::Receiver<Arc<Snapshot>>);

impl Discover for Told {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_waits_for_ready_outwaits_an_empty_list_and_servers_that_are_down() {
    let door = Door::open(Manner::Closes).await;
    let (mut publisher, snapshots) = Publisher::new("test");
    publisher.update([]);
    let cluster = Cluster::builder(Told(snapshots))
        .wait_for_ready(true)
        .build();
    let late = cluster.call::<String>("Life.Peer", &());
    let error = late.timeout(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::DeadlineExceeded, Reached::NotSent)
    );
    assert!(error.to_string().contains("the list is empty"), "{error}");

    let calls: Vec<_> = (0..1000)
        .map(|_| cluster.go::<String>("Life.Peer", ()))
        .collect();
    publisher.update([Endpoint::new(door.address.clone())]);
    sleep(Duration::from_secs(10)).await;
    // The only server is dialled once a second, at least.
    assert!((8..=22).contains(&door.dials()), "{} dials", door.dials());
    door.meets(Manner::Serves);
    for call in calls {
        soon(call).await.unwrap();
    }

    door.meets(Manner::Closes);
    door.end.notify_waiters();
    let waiting = cluster.go::<String>("Life.Peer", ());
    let before = door.dials();
    door.dialled(before + 1).await;
    cluster.close();
    let error = soon(waiting).await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
}

#[tokio::test]
async fn a_call_that_was_begun_and_not_sent_goes_to_another_server() {
    let (stalled, good) = (
        Door::open(Manner::Stalls).await,
        Door::open(Manner::Serves).await,
    );
    let list = Static::new([stalled.address.clone(), good.address.clone()]);
    let cluster = Cluster::builder(list)
        .balance(RoundRobin::default())
        .build();
    // Both are connected, and one has not answered.
    let mut answered = 0;
    for _ in 0..2 {
        let call = cluster.call::<String>("Life.Peer", &());
        answered += usize::from(call.timeout(Duration::from_millis(300)).await.is_ok());
    }
    assert_eq!((answered, stalled.dials(), good.dials()), (1, 1, 1));

    // More than the kernel takes: the call to the stalled server has not left when its connection ends.
    let bytes = vec![7_u8; 8 << 20];
    let calls = async {
        tokio::join!(
            cluster.call::<usize>("Life.Takes", &bytes).into_future(),
            cluster.call::<usize>("Life.Takes", &bytes).into_future(),
        )
    };
    let ends = async {
        // The one that the good server has got is answered by then.
        let sent = || counts(&good.server, "Life.Takes").1 == 1;
        until(sent).await;
        stalled.end.notify_waiters();
    };
    let ((one, other), ()) = soon(async { tokio::join!(calls, ends) }).await;
    assert_eq!((one.unwrap(), other.unwrap()), (bytes.len(), bytes.len()));
    assert_eq!(counts(&good.server, "Life.Takes").1, 2);
}
