//! Calls to many servers: who gets them, and what happens when servers come, go, die, or never answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use farcall::balance::{LeastRequests, Random, RoundRobin};
use farcall::discover::{Discover, Endpoint, Publisher, Snapshot, Static};
use farcall::registry::{Advertise, HttpRegistry};
use farcall::{Address, Cluster, Code, Context, Error, Reached, Registry, Server};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use crate::script::{Act, PATIENCE, Script};

/// A server that says its name, and remembers the connections it saw.
struct Named {
    server: Server,
    address: Address,
    peers: Arc<Mutex<BTreeSet<String>>>,
    /// Lets one call of `Who.Waits` end.
    release: Arc<Notify>,
    /// One call of `Who.Waits` began.
    began: Arc<Notify>,
}

impl Named {
    async fn start(name: &'static str) -> Named {
        Named::start_at(name, "tcp@127.0.0.1:0").await
    }

    async fn start_at(name: &'static str, address: &str) -> Named {
        let peers = Arc::new(Mutex::new(BTreeSet::new()));
        let (release, began) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (seen, released, begins) =
            (Arc::clone(&peers), Arc::clone(&release), Arc::clone(&began));
        let server = Server::builder()
            .method("Who.Is", move |context: Context, _: ()| {
                seen.lock().unwrap().insert(context.peer().to_owned());
                async move { Ok(name.to_owned()) }
            })
            .method("Who.Waits", move |_: ()| {
                let released = Arc::clone(&released);
                begins.notify_one();
                async move {
                    released.notified().await;
                    Ok(name.to_owned())
                }
            })
            .method("Who.Fails", move |name_of_one: String| async move {
                match name_of_one == name {
                    true => Err(Error::from(format!("{name} will not"))),
                    false => Ok(name.to_owned()),
                }
            })
            .bind(address)
            .start()
            .await
            .unwrap();
        let address = server.address().clone();
        Named {
            server,
            address,
            peers,
            release,
            began,
        }
    }
}

async fn three() -> [Named; 3] {
    [
        Named::start("a").await,
        Named::start("b").await,
        Named::start("c").await,
    ]
}

fn fixed<'a>(servers: impl IntoIterator<Item = &'a Address>) -> Static {
    Static::new(servers.into_iter().cloned())
}

/// A list that the test changes.
#[derive(Clone)]
struct Told(watch::Receiver<Arc<Snapshot>>);

impl Discover for Told {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.clone()
    }
}

fn told<'a>(servers: impl IntoIterator<Item = &'a Address>) -> (Publisher, Told) {
    let (mut publisher, snapshots) = Publisher::new("test");
    publisher.update(servers.into_iter().cloned().map(Endpoint::new));
    (publisher, Told(snapshots))
}

/// A way to a server that tells when the connection through it has ended.
async fn relay(to: &Address) -> (Address, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::tcp(listener.local_addr().unwrap());
    let to = to.to_string().replace("tcp@", "");
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        let (mut from, _) = listener.accept().await.unwrap();
        let mut to = TcpStream::connect(to).await.unwrap();
        // However it ended, it has.
        let _ = copy_bidirectional(&mut from, &mut to).await;
        end.send(())
    });
    (address, ended)
}

async fn who(cluster: &Cluster) -> farcall::Result<String> {
    let call = cluster.call("Who.Is", &()).timeout(PATIENCE);
    call.await
}

/// Who answers how many of so many calls, none of which fails.
async fn answers(cluster: &Cluster, calls: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..calls {
        *answers.entry(who(cluster).await.unwrap()).or_default() += 1;
    }
    answers
}

/// Calls until nothing has failed and only these have answered for a while.
async fn settles_on(cluster: &Cluster, names: &[&str]) {
    let settled = async {
        let mut in_a_row = 0;
        while in_a_row < 30 {
            let answer = who(cluster).await;
            let is_right = answer.is_ok_and(|name| names.contains(&&*name));
            in_a_row = if is_right { in_a_row + 1 } else { 0 };
        }
    };
    timeout(PATIENCE, settled)
        .await
        .expect("the others take over");
}

#[tokio::test]
async fn round_robin_gives_every_server_its_turn() {
    let servers = three().await;
    let list = fixed(servers.iter().map(|server| &server.address));
    let cluster = Cluster::builder(list)
        .balance(RoundRobin::default())
        .build();
    let expected = ["a", "b", "c"].map(|name| (name.to_owned(), 10));
    assert_eq!(answers(&cluster, 30).await, BTreeMap::from(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_first_calls_at_once_make_one_connection_to_each_server() {
    let servers = three().await;
    let cluster = Cluster::builder(fixed(servers.iter().map(|server| &server.address))).build();
    let calls: Vec<_> = (0..200)
        .map(|_| cluster.go::<String>("Who.Is", ()))
        .collect();
    for call in calls {
        timeout(PATIENCE, call).await.unwrap().unwrap();
    }
    for server in &servers {
        assert_eq!(server.peers.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_never_answers_the_dial_stalls_no_call_for_long() {
    // It accepts by its backlog, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let black_hole = Address::tcp(silent.local_addr().unwrap());
    let good = Named::start("good").await;
    let cluster = Cluster::builder(fixed([&black_hole, &good.address]))
        .balance(RoundRobin::default())
        .connect_timeout(Duration::from_secs(3600))
        .build();
    let begun = Instant::now();
    for _ in 0..20 {
        let answer = cluster
            .call::<String>("Who.Is", &())
            .timeout(Duration::from_secs(5))
            .await;
        assert_eq!(answer.unwrap(), "good");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_dead_server_fails_no_call_while_another_lives() {
    let [a, b, c] = three().await;
    let list = fixed([&a.address, &b.address, &c.address]);
    let cluster = Cluster::builder(list).balance(Random).build();
    answers(&cluster, 30).await;
    drop(b.server);
    settles_on(&cluster, &["a", "c"]).await;
    // From here on it is known to be dead: dials fail, and calls go elsewhere.
    assert!(!answers(&cluster, 100).await.contains_key("b"));

    let again = Named::start_at("b again", &b.address.to_string()).await;
    let returned = async { while who(&cluster).await.unwrap() != "b again" {} };
    timeout(PATIENCE, returned)
        .await
        .expect("it is called again");
    assert_eq!(again.peers.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn calls_count_for_the_balance_until_they_end_or_are_given_up() {
    let (a, b) = (Named::start("a").await, Named::start("b").await);
    let cluster = Cluster::builder(fixed([&a.address, &b.address]))
        .balance(LeastRequests)
        .build();
    let both = async { while answers(&cluster, 20).await.len() < 2 {} };
    timeout(PATIENCE, both).await.expect("both are called");

    let mut waiting = Box::pin(cluster.call::<String>("Who.Waits", &()).into_future());
    let began = async {
        tokio::select! {
            () = a.began.notified() => "b",
            () = b.began.notified() => "a",
            outcome = &mut waiting => panic!("{outcome:?}"),
        }
    };
    let idle = timeout(PATIENCE, began).await.expect("it arrives");
    let expected = BTreeMap::from([(idle.to_owned(), 40)]);
    assert_eq!(answers(&cluster, 40).await, expected);
    drop(waiting);
    assert_eq!(answers(&cluster, 40).await.len(), 2);
}

#[tokio::test]
async fn when_nobody_can_be_reached_the_error_says_so_and_calling_again_is_safe() {
    let unused = || async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Address::tcp(listener.local_addr().unwrap())
    };
    let (one, two) = (unused().await, unused().await);
    let cluster = Cluster::builder(fixed([&one, &two])).build();
    let error = who(&cluster).await.unwrap_err();
    assert_eq!(
        (error.code(), error.is_retryable()),
        (Code::Unavailable, true)
    );
    assert!(error.to_string().contains("none of 2 servers"), "{error}");
    // Both rest now, and are asked all the same: a server that came back is found.
    let back = Named::start_at("back", &one.to_string()).await;
    assert_eq!(who(&cluster).await.unwrap(), "back");
    drop(back);
}

#[tokio::test]
async fn a_handlers_no_is_the_callers_and_is_not_tried_elsewhere() {
    let servers = three().await;
    let list = fixed(servers.iter().map(|server| &server.address));
    let cluster = Cluster::builder(list)
        .balance(RoundRobin::default())
        .build();
    let mut failures = 0;
    for _ in 0..30 {
        let answer = cluster
            .call::<String>("Who.Fails", &"b".to_owned())
            .timeout(PATIENCE)
            .await;
        if let Err(error) = answer {
            assert_eq!(
                (error.code(), &*error.to_string()),
                (Code::Failed, "b will not")
            );
            failures += 1;
        }
    }
    assert_eq!(failures, 10);
}

#[tokio::test]
async fn a_deadline_holds_over_all_servers_together() {
    let mut holes = Vec::new();
    for _ in 0..3 {
        holes.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses: Vec<Address> = holes
        .iter()
        .map(|h| Address::tcp(h.local_addr().unwrap()))
        .collect();
    let cluster = Cluster::builder(fixed(&addresses))
        .call_timeout(Duration::from_millis(200))
        .build();
    let begun = Instant::now();
    let error = cluster.call::<String>("Who.Is", &()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::DeadlineExceeded, Reached::NotSent)
    );
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn without_servers_a_call_fails_and_says_what_is_known() {
    let cluster = Cluster::builder(fixed([])).build();
    let error = who(&cluster).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "rpc discovery: no available servers (the list is empty)"
    );
    assert!(error.is_retryable());

    let registry = Script::start(Act::Reply(
        "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".into(),
    ))
    .await;
    let cluster = Cluster::builder(HttpRegistry::new(&registry.url).unwrap()).build();
    let error = who(&cluster).await.unwrap_err().to_string();
    let beginning = "rpc discovery: no available servers (unknown for ";
    assert!(
        error.starts_with(beginning) && error.contains("500"),
        "{error}"
    );
    let error = Cluster::connect(&registry.url)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(beginning), "{error}");
}

#[tokio::test]
async fn a_call_made_before_the_first_list_waits_for_it_but_not_beyond_its_deadline() {
    let (mut publisher, snapshots) = Publisher::new("test");
    let cluster = Cluster::builder(Told(snapshots)).build();
    let call = cluster
        .call::<String>("Who.Is", &())
        .timeout(Duration::from_millis(20));
    let error = call.await.unwrap_err().to_string();
    assert!(error.contains("did not come in time"), "{error}");

    let server = Named::start("late").await;
    let waiting = cluster.go::<String>("Who.Is", ());
    publisher.update([Endpoint::new(server.address.clone())]);
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), "late");
}

#[tokio::test]
async fn a_server_that_leaves_the_list_finishes_its_calls_and_gets_no_new_ones() {
    let [a, b, c] = three().await;
    let (way_to_b, ended) = relay(&b.address).await;
    let (mut publisher, list) = told([&a.address, &way_to_b, &c.address]);
    let cluster = Cluster::builder(list)
        .balance(RoundRobin::default())
        .build();
    let waiting: Vec<_> = (0..3)
        .map(|_| cluster.go::<String>("Who.Waits", ()))
        .collect();
    for server in [&a, &b, &c] {
        timeout(PATIENCE, server.began.notified())
            .await
            .expect("the call arrives");
    }

    publisher.update([&a.address, &c.address].map(|address| Endpoint::new(address.clone())));
    settles_on(&cluster, &["a", "c"]).await;
    assert!(!answers(&cluster, 10).await.contains_key("b"));

    let mut names = Vec::new();
    for server in [&a, &b, &c] {
        server.release.notify_one();
    }
    for call in waiting {
        names.push(timeout(PATIENCE, call).await.unwrap().unwrap());
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    let ended = timeout(PATIENCE, ended).await;
    ended
        .expect("its connection ends with the last call")
        .unwrap();
}

#[tokio::test]
async fn servers_of_all_dialects_stand_in_one_list() {
    let (ours, gos) = (Named::start("ours").await, Named::start("go's").await);
    let forms = |named: &Named, prefix: &str| {
        let address = named.address.to_string();
        let address = address.replace("tcp@", prefix);
        address.parse::<Address>().unwrap()
    };
    let list = [
        forms(&ours, "tcp@"),
        forms(&ours, "http@"),
        forms(&gos, "netrpc+tcp@"),
        forms(&gos, "jsonrpc+tcp@"),
    ];
    let cluster = Cluster::builder(fixed(&list))
        .balance(RoundRobin::default())
        .build();
    let expected = [("ours".to_owned(), 6), ("go's".to_owned(), 6)];
    assert_eq!(answers(&cluster, 12).await, BTreeMap::from(expected));
}

#[tokio::test]
async fn calls_without_types_reach_one_server_or_all() {
    let (a, b) = (Named::start("a").await, Named::start("b").await);
    let cluster = Cluster::builder(fixed([&a.address, &b.address])).build();
    let args = || serde_json::Value::from("b");
    let calls = async {
        let one = cluster
            .call_json("Who.Is", serde_json::json!({}), None, None)
            .await;
        assert!(["a", "b"].contains(&one.unwrap().as_str().unwrap()));
        let all = cluster
            .broadcast_json("Who.Fails", args(), None, None)
            .await;
        let all = all.unwrap().into_iter();
        let all: BTreeMap<_, _> = all.map(|(at, reply)| (at.to_string(), reply)).collect();
        assert_eq!(*all[&a.address.to_string()].as_ref().unwrap(), "a");
        let no = all[&b.address.to_string()].as_ref().unwrap_err();
        assert_eq!(no.to_string(), "b will not");
    };
    timeout(PATIENCE, calls).await.expect("all answer");
}

#[tokio::test]
async fn broadcast_gives_every_servers_own_outcome() {
    let [a, b, c] = three().await;
    let gone = c.address.clone();
    drop(c.server);
    let cluster = Cluster::builder(fixed([&a.address, &b.address, &gone])).build();
    let name = "b".to_owned();
    let call = cluster.broadcast::<String>("Who.Fails", &name);
    let outcomes = timeout(PATIENCE, call).await.unwrap().unwrap();
    let mut expected: Vec<String> = [&a.address, &b.address, &gone]
        .map(Address::to_string)
        .into();
    expected.sort();
    let addresses: Vec<String> = outcomes
        .iter()
        .map(|(address, _)| address.to_string())
        .collect();
    assert_eq!(addresses, expected);
    for (address, outcome) in outcomes {
        if address == a.address {
            assert_eq!(outcome.unwrap(), "a");
        } else if address == b.address {
            assert_eq!(outcome.unwrap_err().to_string(), "b will not");
        } else {
            assert_eq!(outcome.unwrap_err().code(), Code::Unavailable);
        }
    }
}

#[tokio::test]
async fn broadcast_to_nobody_is_no_success() {
    let cluster = Cluster::builder(fixed([])).build();
    let error = cluster
        .broadcast::<String>("Who.Is", &())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("rpc discovery: no available servers"),
        "{error}"
    );
}

#[tokio::test]
async fn after_close_calls_fail_and_those_that_run_finish() {
    let server = Named::start("a").await;
    let cluster = Cluster::builder(fixed([&server.address])).build();
    let clone = cluster.clone();
    let running = cluster.go::<String>("Who.Waits", ());
    timeout(PATIENCE, server.began.notified())
        .await
        .expect("the call arrives");
    cluster.close();
    let error = who(&clone).await.unwrap_err();
    assert_eq!(
        (error.code(), &*error.to_string()),
        (Code::Cancelled, "the cluster was closed")
    );
    let error = clone.broadcast::<String>("Who.Is", &()).await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    server.release.notify_one();
    assert_eq!(timeout(PATIENCE, running).await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn a_dropped_cluster_stops_looking() {
    let (publisher, snapshots) = Publisher::new("test");
    drop(Cluster::builder(Told(snapshots)).build());
    timeout(PATIENCE, publisher.closed())
        .await
        .expect("nobody looks any more");
}

#[tokio::test]
async fn servers_that_register_are_called_and_go_on_being_called_without_the_registry() {
    let registry = Registry::new();
    let listening = registry.serve("127.0.0.1:0").await.unwrap();
    let quick = || {
        let remote = HttpRegistry::new(&listening.url()).unwrap();
        remote
            .refresh(Duration::from_millis(20))
            .beat(Duration::from_millis(20))
    };
    let (a, b) = (Named::start("a").await, Named::start("b").await);
    let _a = quick().advertise(a.address.clone().into()).unwrap();
    let cluster = Cluster::builder(quick())
        .balance(RoundRobin::default())
        .build();
    let found = async { while who(&cluster).await.is_err() {} };
    timeout(PATIENCE, found)
        .await
        .expect("the first server is found");
    let _b = quick().advertise(b.address.clone().into()).unwrap();
    let joined = async { while who(&cluster).await.unwrap() != "b" {} };
    timeout(PATIENCE, joined)
        .await
        .expect("the second server is found");

    listening.shutdown().await;
    let noticed = async {
        while cluster.snapshot().stale.is_none() {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, noticed)
        .await
        .expect("the list is known to be stale");
    assert_eq!(answers(&cluster, 20).await.len(), 2);
}

#[tokio::test]
async fn a_target_that_names_no_cluster_is_refused_in_words() {
    for (target, says) in [
        ("nonsense", "the port is missing"),
        ("static:", "it is empty"),
        ("etcd://127.0.0.1/", "the port is missing"),
        ("dns:h", "the port is missing"),
        ("file:", "the path is missing"),
    ] {
        let error = Cluster::connect(target).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.to_string().contains(says), "{error}");
    }
    let server = Named::start("a").await;
    for target in [
        server.address.to_string(),
        format!("static:{}", server.address),
    ] {
        let cluster = Cluster::connect(&target).await.unwrap();
        assert_eq!(who(&cluster).await.unwrap(), "a");
    }
}

/// Publishes its one server from another thread, at any moment from the very beginning on.
struct Sudden;

impl Discover for Sudden {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let (mut publisher, snapshots) = Publisher::new("sudden");
        std::thread::spawn(move || publisher.update([Endpoint::new(Address::tcp("127.0.0.1:1"))]));
        snapshots
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_comes_while_the_cluster_is_built_is_not_lost() {
    for round in 0..2000 {
        let cluster = Cluster::builder(Sudden).build();
        let known = async {
            while !cluster.snapshot().known {
                tokio::task::yield_now().await;
            }
        };
        let known = timeout(PATIENCE, known).await;
        known.unwrap_or_else(|_| panic!("round {round}: the list was lost"));
    }
}
