//! Everything at once, many times: calls with deadlines, some given up, some one-way, some compressed, with metadata and
//! with errors that have details, on connections that are cut in the middle of a message. Every call ends once, with
//! its own outcome; what is said not to have run has not; and nothing is left behind.
//!
//! `FARCALL_LOAD_CALLS` says how many calls are made over sockets. The same storm in memory, on a clock that only moves
//! when everyone waits, goes the same way whenever it starts from the same seed.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use farcall::{Client, Code, Codec, Compression, Context, Error, Method, Reached, Server, Service};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// No wait takes longer, but for the calls as a whole.
const PATIENCE: Duration = Duration::from_secs(30);
const LINES: usize = 4;
const CALLERS: usize = 32;
const IN_FLIGHT_MAX: usize = 24;

#[farcall::message]
#[derive(Clone, Debug, Default, PartialEq)]
struct Nonce {
    call: u64,
    random: u64,
}

#[farcall::message]
#[derive(Clone, Debug, Default)]
struct Question {
    nonce: Nonce,
    /// How often the handler lets others go first.
    yields: u64,
    sleep_us: u64,
    fails: bool,
    has_metadata: bool,
    ballast: Vec<u8>,
}

#[farcall::message]
#[derive(Clone, Debug, Default)]
struct Answer {
    nonce: Nonce,
    ballast: Vec<u8>,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Outcome {
    Replied = 1,
    Failed,
    Expired,
    ExpiredUnsent,
    Lost,
    LostUnsent,
    GivenUp,
    Told,
    Pinged,
}

/// What is known of each call: what it came to, and how often its handler began.
struct Ledger {
    seed: u64,
    outcomes: Vec<AtomicU8>,
    runs: Vec<AtomicU8>,
    next: AtomicUsize,
    cuts: AtomicU64,
}

impl Ledger {
    fn new(seed: u64, calls: usize) -> Ledger {
        let zeros = || (0..calls).map(|_| AtomicU8::new(0)).collect();
        Ledger {
            seed,
            outcomes: zeros(),
            runs: zeros(),
            next: AtomicUsize::new(0),
            cuts: AtomicU64::new(0),
        }
    }

    fn random(&self, call: u64) -> fastrand::Rng {
        // Neighbours are to have nothing in common.
        fastrand::Rng::with_seed(
            self.seed
                .wrapping_add(call)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15),
        )
    }

    fn nonce(&self, call: u64) -> Nonce {
        let random = self.random(call).u64(..);
        Nonce { call, random }
    }

    fn end(&self, call: u64, outcome: Outcome) {
        let before = self.outcomes[call as usize].swap(outcome as u8, Ordering::Relaxed);
        assert_eq!(before, 0, "call {call} ended twice");
    }

    /// Looks at every call when all is over, and gives the number of each outcome.
    fn check(&self) -> Counts {
        let mut counts = Counts {
            outcomes: [0; 10],
            cuts: self.cuts.load(Ordering::Relaxed),
        };
        for (call, (outcome, runs)) in self.outcomes.iter().zip(&self.runs).enumerate() {
            let (outcome, runs) = (
                outcome.load(Ordering::Relaxed),
                runs.load(Ordering::Relaxed),
            );
            counts.outcomes[usize::from(outcome)] += 1;
            assert!(runs <= 1, "call {call} ran {runs} times");
            let outcome = OUTCOMES.into_iter().find(|known| *known as u8 == outcome);
            match outcome.unwrap_or_else(|| panic!("call {call} has not ended")) {
                Outcome::Replied | Outcome::Failed => assert_eq!(runs, 1, "call {call}"),
                Outcome::ExpiredUnsent | Outcome::LostUnsent | Outcome::Pinged => {
                    assert_eq!(runs, 0, "call {call} ran, and its error says it did not");
                }
                Outcome::Expired | Outcome::Lost | Outcome::GivenUp | Outcome::Told => {}
            }
        }
        counts
    }
}

const OUTCOMES: [Outcome; 9] = [
    Outcome::Replied,
    Outcome::Failed,
    Outcome::Expired,
    Outcome::ExpiredUnsent,
    Outcome::Lost,
    Outcome::LostUnsent,
    Outcome::GivenUp,
    Outcome::Told,
    Outcome::Pinged,
];

struct Counts {
    outcomes: [u64; 10],
    cuts: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in OUTCOMES {
            write!(f, "{outcome:?} {}, ", self.outcomes[outcome as usize])?;
        }
        write!(f, "connections cut {}", self.cuts)
    }
}

/// The handler of everything.
async fn answer(
    ledger: Arc<Ledger>,
    context: Context,
    question: Question,
) -> farcall::Result<Answer> {
    let Question {
        nonce,
        yields,
        sleep_us,
        fails,
        has_metadata,
        ballast,
    } = question;
    if nonce != ledger.nonce(nonce.call) {
        return Err(Error::new(Code::Internal, "nobody asked this"));
    }
    ledger.runs[nonce.call as usize].fetch_add(1, Ordering::Relaxed);
    let told = context.metadata("nonce").map(str::to_owned);
    if told != has_metadata.then(|| nonce.random.to_string()) {
        return Err(Error::new(
            Code::Internal,
            "this is another call's metadata",
        ));
    }
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
    if sleep_us > 0 {
        tokio::time::sleep(Duration::from_micros(sleep_us)).await;
    }
    context.reply_metadata("nonce", nonce.random.to_string());
    match fails {
        true => Err(Error::new(Code::Failed, "as asked").with_details(nonce)),
        false => Ok(Answer { nonce, ballast }),
    }
}

async fn server(ledger: &Arc<Ledger>) -> Server {
    let (asked, told) = (Arc::clone(ledger), Arc::clone(ledger));
    let storm = Service::new("Storm")
        .with(Method::new("Ask", move |context, question| {
            answer(Arc::clone(&asked), context, question)
        }))
        .with(Method::new("Tell", move |context, question| {
            let answering = answer(Arc::clone(&told), context, question);
            async move { answering.await.map(|_| ()) }
        }));
    // Fewer than call: some wait until they may begin.
    let builder = Server::builder().in_flight_max(IN_FLIGHT_MAX);
    builder.register(storm).start().await.unwrap()
}

/// One connection at a time, and a new one when that is cut.
struct Line {
    codec: Codec,
    compression: Option<Compression>,
    /// Between sockets; in memory without.
    listener: Option<TcpListener>,
    state: Mutex<(Option<Client>, fastrand::Rng)>,
}

impl Line {
    async fn client(&self, server: &Server, ledger: &Ledger) -> Client {
        let mut state = self.state.lock().await;
        let (current, random) = &mut *state;
        loop {
            if let Some(client) = current.as_ref().filter(|client| client.is_connected()) {
                return client.clone();
            }
            let left = random.usize(1_000..400_000);
            let cut = match &self.listener {
                None => {
                    let (near, far) = tokio::io::duplex(8 << 10);
                    server.serve_stream(far, "memory");
                    Cut::after(left, near)
                }
                Some(listener) => {
                    let place = listener.local_addr().unwrap();
                    let (near, far) = tokio::join!(TcpStream::connect(place), listener.accept());
                    server.serve_stream(far.unwrap().0, "loopback");
                    Cut::after(left, near.unwrap())
                }
            };
            // Where nobody is: a connection that was cut is not made again by its client.
            let mut builder = Client::builder("unix@/nonexistent/farcall".parse().unwrap());
            // The task that would ask a silent server sleeps for so long, also when the connection is gone.
            builder = builder.keep_alive(Some(Duration::from_secs(3)));
            builder = builder.codec(self.codec);
            if let Some(compression) = self.compression {
                builder = builder.compression(compression);
            }
            ledger.cuts.fetch_add(1, Ordering::Relaxed);
            *current = builder.connect_on(cut).await.ok();
        }
    }
}

/// A stream that breaks when so many bytes have passed, in the middle of whatever they are.
struct Cut {
    inner: Pin<Box<dyn Io>>,
    left: usize,
    reader: Option<Waker>,
}

trait Io: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

impl Cut {
    fn after(left: usize, inner: impl Io + 'static) -> Cut {
        Cut {
            inner: Box::pin(inner),
            left,
            reader: None,
        }
    }

    fn take(&mut self, count: usize) {
        self.left -= count;
        if self.left == 0 {
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }
}

fn broken<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return broken();
        }
        let mut some = room.take(self.left);
        let polled = self.inner.as_mut().poll_read(context, &mut some);
        let count = some.filled().len();
        if polled.is_pending() {
            self.reader = Some(context.waker().clone());
        }
        room.advance(count);
        self.take(count);
        polled
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return broken();
        }
        let some = bytes.get(..self.left).unwrap_or(bytes);
        let polled = self.inner.as_mut().poll_write(context, some);
        if let Poll::Ready(Ok(count)) = polled {
            self.take(count);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_shutdown(context)
    }
}

/// Makes one call, of a kind that its number decides, and says what it came to.
async fn one(client: &Client, ledger: &Ledger, number: u64) -> Outcome {
    let mut random = ledger.random(number);
    let nonce = Nonce {
        call: number,
        random: random.u64(..),
    };
    let mut question = Question {
        nonce: nonce.clone(),
        ..Question::default()
    };
    match random.u8(..10) {
        0..6 => {}
        6..9 => question.yields = random.u64(1..9),
        _ => question.sleep_us = random.u64(1..3_000),
    }
    if random.u8(..10) == 0 {
        question.ballast = vec![random.u8(..); random.usize(500..3_000)];
    }
    let limit = Duration::from_micros(random.u64(1..4_000));
    let kind = random.u8(..100);
    question.has_metadata = matches!(kind, 40..60);
    question.fails = matches!(kind, 60..66);
    let tag = nonce.random.to_string();
    let ask = client.call::<Answer>("Storm.Ask", &question);
    let outcome = match kind {
        0..40 | 60..66 => ask.await,
        40..50 => ask.metadata("nonce", &tag).await,
        50..60 => match ask.metadata("nonce", &tag).with_metadata().await {
            Ok(reply) => {
                assert_eq!(reply.metadata, [("nonce".to_owned(), tag)]);
                Ok(reply.value)
            }
            Err(error) => Err(error),
        },
        66..78 => ask.timeout(limit).await,
        78..84 => match tokio::time::timeout(limit, ask).await {
            Ok(outcome) => outcome,
            Err(_) => return Outcome::GivenUp,
        },
        84..92 => {
            let yields = random.u8(..6);
            tokio::select! {
                biased;
                outcome = ask => outcome,
                () = after_yields(yields) => return Outcome::GivenUp,
            }
        }
        92..97 => {
            let tell = client.call::<()>("Storm.Tell", &question);
            match tell.one_way().await {
                Ok(()) => return Outcome::Told,
                Err(error) => Err(error),
            }
        }
        _ => match client.ping(PATIENCE).await {
            Ok(_) => return Outcome::Pinged,
            Err(error) => Err(error),
        },
    };
    let error = match outcome {
        Ok(answer) => {
            assert_eq!(answer.nonce, nonce, "this is another call's reply");
            assert_eq!(answer.ballast, question.ballast);
            assert!(!question.fails);
            return Outcome::Replied;
        }
        Err(error) => error,
    };
    let did_not_run = matches!(error.reached(), Reached::NotSent | Reached::Refused);
    match error.code() {
        Code::Failed => {
            assert!(question.fails, "{error:?}");
            let details = error.details::<Nonce>().unwrap().unwrap();
            assert_eq!(details, nonce, "these are another call's details");
            Outcome::Failed
        }
        Code::DeadlineExceeded => {
            assert!(matches!(kind, 66..78), "it had no deadline: {error:?}");
            match did_not_run {
                true => Outcome::ExpiredUnsent,
                false => Outcome::Expired,
            }
        }
        Code::Unavailable if did_not_run => Outcome::LostUnsent,
        Code::Unavailable => Outcome::Lost,
        _ => panic!("call {number}: {error:?}"),
    }
}

async fn after_yields(count: u8) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// Makes all the calls, sees that nothing is left of them, and says what they came to, in the order in which they ended.
async fn storm(ledger: &Arc<Ledger>, over_sockets: bool) -> Vec<(u64, u8, Duration)> {
    let tasks = Handle::current().metrics().num_alive_tasks();
    let began = Instant::now();
    let server = Arc::new(server(ledger).await);
    let mut lines = Vec::new();
    for line in 0..LINES {
        lines.push(Arc::new(Line {
            codec: [Codec::Gob, Codec::Postcard][line % 2],
            compression: (line / 2 == 1).then_some(Compression::Lz4),
            listener: match over_sockets {
                true => Some(TcpListener::bind("127.0.0.1:0").await.unwrap()),
                false => None,
            },
            state: Mutex::new((None, fastrand::Rng::with_seed(ledger.seed ^ line as u64))),
        }));
    }
    let mut callers = JoinSet::new();
    for caller in 0..LINES * CALLERS {
        let (ledger, server) = (Arc::clone(ledger), Arc::clone(&server));
        let line = Arc::clone(&lines[caller % LINES]);
        callers.spawn(async move {
            let mut trace = Vec::new();
            loop {
                let number = ledger.next.fetch_add(1, Ordering::Relaxed) as u64;
                if number >= ledger.outcomes.len() as u64 {
                    return trace;
                }
                let client = line.client(&server, &ledger).await;
                let outcome = one(&client, &ledger, number).await;
                ledger.end(number, outcome);
                if !over_sockets {
                    trace.push((number, outcome as u8, began.elapsed()));
                }
            }
        });
    }
    let mut trace: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    trace.sort_unstable_by_key(|(number, _, ended)| (*ended, *number));

    let at_work = || {
        let services = server.services();
        let methods = services.iter().flat_map(|service| &service.methods);
        methods.map(|method| method.in_flight).sum::<u64>()
    };
    until("handlers end", || at_work() == 0).await;
    for line in &lines {
        let client = line.state.lock().await.0.take();
        assert_eq!(client.map_or(0, |client| client.in_flight()), 0);
    }
    let server = Arc::into_inner(server).expect("the callers have ended");
    assert!(server.shutdown(PATIENCE).await, "it drains");
    let alive = || Handle::current().metrics().num_alive_tasks();
    until("tasks end", || alive() <= tasks).await;
    trace
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            // Timers must be able to run out: a paused clock stands while anyone can go on.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, waiting).await;
    ended.unwrap_or_else(|_| panic!("{what} within {PATIENCE:?}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_once_and_as_it_should_whatever_happens_over_sockets() {
    let calls = std::env::var("FARCALL_LOAD_CALLS");
    let calls = calls.map_or(100_000, |calls| calls.parse().unwrap());
    let ledger = Arc::new(Ledger::new(fastrand::u64(..), calls));
    println!("seed {}", ledger.seed);
    let began = std::time::Instant::now();
    let limit = PATIENCE * 4 + Duration::from_millis(calls as u64);
    let storming = tokio::time::timeout(limit, storm(&ledger, true)).await;
    storming.unwrap_or_else(|_| panic!("it took longer than {limit:?}"));
    let counts = ledger.check();
    println!("{calls} calls in {:?}: {counts}", began.elapsed());
    assert!(counts.cuts > 10, "connections were cut");
}

/// A storm in memory, on a clock of its own.
fn simulate(seed: u64, calls: usize) -> (Vec<(u64, u8, Duration)>, Counts) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let ledger = Arc::new(Ledger::new(seed, calls));
    let trace = runtime.block_on(storm(&ledger, false));
    (trace, ledger.check())
}

#[test]
fn a_storm_goes_the_same_way_from_the_same_seed() {
    let mut sums = Counts {
        outcomes: [0; 10],
        cuts: 0,
    };
    for seed in 0..20 {
        let (first, counts) = simulate(seed, 2_000);
        let (second, _) = simulate(seed, 2_000);
        let parted = first
            .iter()
            .zip(&second)
            .find(|(first, second)| first != second);
        assert_eq!(parted, None, "from seed {seed}");
        assert_eq!(first.len(), second.len());
        sums.cuts += counts.cuts;
        for (sum, count) in sums.outcomes.iter_mut().zip(counts.outcomes) {
            *sum += count;
        }
    }
    println!("{sums}");
    for outcome in OUTCOMES {
        assert!(sums.outcomes[outcome as usize] > 0, "{outcome:?} happens");
    }
}
