//! Service records as the list of servers, asked for at a name server that these tests play.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use farcall::discover::conformance::{Stage, discovers};
use farcall::discover::{Discover, Endpoint, Snapshot};
use farcall::registry::Srv;
use farcall::{Cluster, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{PATIENCE, place};
use crate::traffic::Calls;

const OFTEN: Duration = Duration::from_millis(20);
const NAME: &str = "srv:_echo._tcp.farcall.test";

/// How the name server answers.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Right,
    /// With this code.
    Refusing(u8),
    Silent,
    /// With what is no answer, and the right one behind it.
    Babbling,
    /// With what fits, which is nothing, over UDP.
    Short,
}

struct Zone {
    mood: Mood,
    ttl_s: u32,
    /// Priority, weight, port, target.
    records: Vec<(u16, u16, u16, String)>,
    /// How many were asked for over TCP.
    by_tcp: u32,
}

/// A name server for one name.
struct NameServer {
    place: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    questions: watch::Receiver<u32>,
}

impl NameServer {
    async fn start() -> NameServer {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The same port of the other kind is nearly always free.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let zone = Arc::new(Mutex::new(Zone {
            mood: Mood::Right,
            ttl_s: 1,
            records: Vec::new(),
            by_tcp: 0,
        }));
        let place = udp.local_addr().unwrap();
        let (count, questions) = watch::channel(0);
        let by_udp = Arc::clone(&zone);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (len, from) = udp.recv_from(&mut buffer).await.unwrap();
                let answers = by_udp.lock().unwrap().answers(&buffer[..len]);
                count.send_modify(|count| *count += 1);
                for answer in answers {
                    udp.send_to(&answer, from).await.unwrap();
                }
            }
        });
        let by_tcp = Arc::clone(&zone);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut question).await.unwrap();
                let answer = {
                    let mut zone = by_tcp.lock().unwrap();
                    zone.by_tcp += 1;
                    zone.answer(&question, 0x8180)
                };
                let len = u16::try_from(answer.len()).unwrap();
                stream.write_u16(len).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        NameServer {
            place,
            zone,
            questions,
        }
    }

    fn tell(&self, records: &[(u16, u16, &str)]) {
        let records = records.iter().map(|(priority, weight, place)| {
            let (host, port) = place.rsplit_once(':').unwrap();
            (*priority, *weight, port.parse().unwrap(), host.to_owned())
        });
        self.zone.lock().unwrap().records = records.collect();
    }

    fn be(&self, mood: Mood) {
        self.zone.lock().unwrap().mood = mood;
    }

    /// A client that asks it, eagerly.
    fn srv(&self) -> Srv {
        let srv = Srv::new(NAME).unwrap().name_servers([self.place]);
        srv.refresh(OFTEN).timeout(Duration::from_millis(500))
    }
}

impl Zone {
    fn answers(&self, question: &[u8]) -> Vec<Vec<u8>> {
        let right = || self.answer(question, 0x8180);
        match self.mood {
            Mood::Right => vec![right()],
            Mood::Refusing(code) => vec![self.head(question, 0x8180 | u16::from(code), 0)],
            Mood::Silent => vec![],
            Mood::Short => vec![self.head(question, 0x8380, 0)],
            Mood::Babbling => {
                let mut stranger = right();
                stranger[0] ^= 0xFF;
                let half = right()[..20].to_vec();
                vec![b"babble".to_vec(), stranger, half, right()]
            }
        }
    }

    fn head(&self, question: &[u8], flags: u16, answers: u16) -> Vec<u8> {
        let asked = question[12..].iter().position(|byte| *byte == 0).unwrap();
        let mut answer = question[..2].to_vec();
        for word in [flags, 1, answers, 0, 0] {
            answer.extend(word.to_be_bytes());
        }
        answer.extend_from_slice(&question[12..12 + asked + 5]);
        answer
    }

    fn answer(&self, question: &[u8], flags: u16) -> Vec<u8> {
        let mut answer = self.head(question, flags, self.records.len() as u16);
        for (priority, weight, port, target) in &self.records {
            let mut data = Vec::new();
            for word in [priority, weight, port] {
                data.extend(word.to_be_bytes());
            }
            for label in target.split('.') {
                data.push(label.len() as u8);
                data.extend_from_slice(label.as_bytes());
            }
            data.push(0);
            answer.extend_from_slice(b"\xc0\x0c\x00\x21\x00\x01");
            answer.extend(self.ttl_s.to_be_bytes());
            answer.extend((data.len() as u16).to_be_bytes());
            answer.extend(data);
        }
        answer
    }
}

type Snapshots = watch::Receiver<Arc<Snapshot>>;

async fn wait_for(
    snapshots: &mut Snapshots,
    what: impl FnMut(&Arc<Snapshot>) -> bool,
) -> Arc<Snapshot> {
    let found = timeout(PATIENCE, snapshots.wait_for(what)).await;
    found.expect("the list changes").unwrap().clone()
}

async fn reason(snapshots: &mut Snapshots) -> String {
    let stale = wait_for(snapshots, |s| s.stale.is_some()).await;
    stale.stale.as_ref().unwrap().reason.clone()
}

impl Stage for NameServer {
    fn discover(&self) -> Box<dyn Discover> {
        Box::new(self.srv())
    }

    async fn list(&mut self, endpoints: &[Endpoint]) {
        let records = endpoints.iter().map(|endpoint| {
            let place = endpoint.address.to_string().replace("tcp@", "");
            (0, u16::try_from(endpoint.weight).unwrap(), place)
        });
        let records: Vec<(u16, u16, String)> = records.collect();
        let records: Vec<(u16, u16, &str)> = records
            .iter()
            .map(|(p, w, place)| (*p, *w, &**place))
            .collect();
        self.tell(&records);
        self.be(Mood::Right);
    }

    async fn cut(&mut self) {
        self.be(Mood::Refusing(2));
    }
}

#[tokio::test]
async fn service_records_keep_the_promises() {
    discovers(NameServer::start().await).await;
}

#[tokio::test]
async fn whatever_a_name_server_does_the_last_good_list_is_kept_and_the_reason_told() {
    let dns = NameServer::start().await;
    dns.tell(&[(0, 1, "a.test:1"), (0, 1, "b.test:2")]);
    let mut snapshots = dns.srv().watch();
    wait_for(&mut snapshots, |s| s.endpoints.len() == 2).await;
    for (mood, says) in [
        (Mood::Refusing(2), "SERVFAIL"),
        (Mood::Refusing(5), "REFUSED"),
        (Mood::Refusing(3), "there is no such name"),
        (Mood::Silent, "no answer within"),
    ] {
        dns.be(mood);
        let reason = reason(&mut snapshots).await;
        assert!(reason.contains(says), "{reason}");
        assert_eq!(snapshots.borrow().endpoints.len(), 2);
        dns.be(Mood::Right);
        wait_for(&mut snapshots, |s| s.stale.is_none()).await;
    }
    // Answers to other questions do no harm, nor does a record that names no server.
    dns.be(Mood::Babbling);
    dns.tell(&[
        (0, 1, "a.test:1"),
        (0, 1, "b.test:2"),
        (0, 1, "c.test:3"),
        (0, 1, "no host:4"),
    ]);
    wait_for(&mut snapshots, |s| s.endpoints.len() == 3).await;
}

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_is_asked_for_over_tcp() {
    let dns = NameServer::start().await;
    let places: Vec<String> = (1..=200)
        .map(|n| format!("host-{n}.farcall.test:9999"))
        .collect();
    let records: Vec<(u16, u16, &str)> = places.iter().map(|place| (0, 1, &**place)).collect();
    dns.tell(&records);
    dns.be(Mood::Short);
    let mut snapshots = dns.srv().watch();
    wait_for(&mut snapshots, |s| s.endpoints.len() == 200).await;
    assert!(dns.zone.lock().unwrap().by_tcp > 0);
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_not_the_last_one() {
    let (silent, dns) = (NameServer::start().await, NameServer::start().await);
    silent.be(Mood::Silent);
    dns.tell(&[(0, 1, "a.test:1")]);
    let mut snapshots = dns.srv().name_servers([silent.place, dns.place]).watch();
    let first = wait_for(&mut snapshots, |s| s.known || s.stale.is_some()).await;
    assert_eq!(first.endpoints.len(), 1, "{first:?}");
    assert!(*silent.questions.borrow() > 0);
}

#[tokio::test]
async fn an_answer_is_asked_for_again_when_its_time_to_live_ends() {
    let mut dns = NameServer::start().await;
    dns.tell(&[(0, 1, "a.test:1")]);
    // No sooner and hardly later than a second, though it could be trusted for a minute.
    let patient = dns.srv().refresh(Duration::from_secs(60));
    let snapshots = patient.watch();
    let asked = dns.questions.clone();
    let mut questions = dns.questions;
    timeout(PATIENCE, questions.wait_for(|count| *count == 1))
        .await
        .unwrap()
        .unwrap();
    let since = Instant::now();
    timeout(PATIENCE, questions.wait_for(|count| *count == 2))
        .await
        .unwrap()
        .unwrap();
    let lived = since.elapsed();
    assert!(lived >= Duration::from_millis(900), "{lived:?}");
    assert!(lived < Duration::from_secs(10), "{lived:?}");
    drop(snapshots);

    // A long life is cut short by the client's own bound.
    dns = NameServer::start().await;
    dns.tell(&[(0, 1, "a.test:1")]);
    dns.zone.lock().unwrap().ttl_s = 3600;
    let _snapshots = dns.srv().watch();
    timeout(PATIENCE, dns.questions.wait_for(|count| *count == 5))
        .await
        .unwrap()
        .unwrap();
    assert!(
        *asked.borrow() <= 3,
        "a client that nobody looks at asks no more"
    );
}

async fn echo(name: &'static str) -> Server {
    let server = Server::builder()
        .method("Echo.Say", |text: String| async move { Ok(text) })
        .method("Echo.Who", move |(): ()| async move { Ok(name.to_owned()) });
    server.bind("tcp@127.0.0.1:0").start().await.unwrap()
}

async fn who(cluster: &Cluster) -> String {
    let call = cluster.call::<String>("Echo.Who", &());
    call.timeout(PATIENCE).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_priority_takes_the_calls_while_no_earlier_one_can_and_none_fails() {
    let dns = NameServer::start().await;
    let (first, second, backup) = (
        echo("first").await,
        echo("second").await,
        echo("backup").await,
    );
    let at = |server: &Server| place(server).replace("127.0.0.1", "localhost");
    let (places, backup_place) = ([at(&first), at(&second)], at(&backup));
    dns.tell(&[
        (10, 1, &places[0]),
        (10, 1, &places[1]),
        (20, 1, &backup_place),
    ]);
    let cluster = Cluster::builder(dns.srv()).build();
    let mut seen = HashSet::new();
    for _ in 0..100 {
        seen.insert(who(&cluster).await);
    }
    assert_eq!(
        seen,
        HashSet::from(["first".to_owned(), "second".to_owned()])
    );

    let calls = Calls::start(cluster.clone());
    assert!(first.shutdown(PATIENCE).await && second.shutdown(PATIENCE).await);
    for _ in 0..100 {
        assert_eq!(who(&cluster).await, "backup");
    }
    // A name server that answers nothing any more changes nothing for the calls.
    dns.be(Mood::Silent);
    let third = echo("third").await;
    for _ in 0..20 {
        assert_eq!(who(&cluster).await, "backup");
        // At the pace of the other calls, which are to be many meanwhile.
        tokio::time::sleep(OFTEN).await;
    }
    dns.tell(&[(10, 1, &at(&third)), (20, 1, &backup_place)]);
    dns.be(Mood::Right);
    let is_back = async {
        while who(&cluster).await != "third" {
            tokio::time::sleep(OFTEN).await;
        }
    };
    timeout(PATIENCE, is_back)
        .await
        .expect("the first priority is back");
    calls.none_failed().await;
}
