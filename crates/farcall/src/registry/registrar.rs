//! How a server stays in a registry: beating for ever, through any loss. What a beat is on the wire is the
//! back-end's business (`remote`).

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::address::{Address, AddressError, Transport};
use crate::backoff::{Backoff, jittered};
use crate::discover::{Endpoint, State};

/// A registry that servers can enter themselves in. The other side is [`Discover`](crate::discover::Discover).
pub trait Advertise: Send + Sync + 'static {
    /// Enters the server now, and keeps it entered until the [`Registrar`] is withdrawn or dropped.
    ///
    /// It is called within a tokio runtime, and does not wait: a registry that is down is no error.
    ///
    /// # Errors
    ///
    /// The address is one that no client can dial, such as `tcp@0.0.0.0:9999`.
    fn advertise(&self, endpoint: Endpoint) -> Result<Registrar, AddressError>;
}

impl Advertise for Box<dyn Advertise> {
    fn advertise(&self, endpoint: Endpoint) -> Result<Registrar, AddressError> {
        (**self).advertise(endpoint)
    }
}

/// Keeps one server in a registry. It never gives up.
#[derive(Debug)]
pub struct Registrar {
    wish: watch::Sender<Wish>,
    registration: watch::Receiver<Registration>,
    /// The state that the registry took last.
    told: watch::Receiver<Option<State>>,
    withdraw_time_max: Duration,
    task: Option<JoinHandle<()>>,
}

/// How a registration stands.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Nothing came back yet.
    Pending,
    /// The registry accepted the last heartbeat.
    Registered,
    /// Heartbeats fail.
    Failing {
        /// The first one that failed.
        since: Instant,
        /// What was wrong with the latest.
        reason: String,
    },
}

/// What the server wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Be(State),
    Gone,
}

/// The first wait after a failed heartbeat.
const RETRY_FIRST: Duration = Duration::from_millis(250);

/// One server's entry in one registry, as a [`Registrar`] needs it: all that a new back-end has to write.
///
/// The registrar asks for one beat at a time, again and again whatever came of the last one. Failures need no handling
/// here: their reason is enough.
pub trait Beat: Send + Sync + 'static {
    /// Says that the server is alive and what it is like, and gives the time until the next beat is due. A registry
    /// that forgot the server, for whatever reason, has it again after this.
    ///
    /// # Errors
    ///
    /// Why the registry did not take it, in words for the log.
    fn beat(&self, endpoint: &Endpoint) -> impl Future<Output = Result<Duration, String>> + Send;

    /// Says that the server is gone.
    ///
    /// # Errors
    ///
    /// Why the registry may still list it.
    fn remove(&self, endpoint: &Endpoint) -> impl Future<Output = Result<(), String>> + Send;

    /// Ends when a beat is due before its time, because the entry was lost. By default it never does: the next beat
    /// finds out.
    fn lost(&self, endpoint: &Endpoint) -> impl Future<Output = ()> + Send {
        let _ = endpoint;
        std::future::pending()
    }
}

impl Registrar {
    /// Begins to beat, on a task of its own. No wait between beats is longer than `period_max`, and withdrawing takes
    /// no longer than `withdraw_time_max`.
    ///
    /// # Errors
    ///
    /// The address is one that no client can dial.
    ///
    /// # Panics
    ///
    /// When there is no tokio runtime.
    pub fn spawn(
        registry: impl Beat,
        endpoint: Endpoint,
        period_max: Duration,
        withdraw_time_max: Duration,
    ) -> Result<Registrar, AddressError> {
        check_dialable(&endpoint.address)?;
        let (wish, wishes) = watch::channel(Wish::Be(endpoint.state));
        let (report, registration) = watch::channel(Registration::Pending);
        let (tell, told) = watch::channel(None);
        let reports = Reports { report, tell };
        let task = tokio::spawn(keep(registry, endpoint, period_max, wishes, reports));
        Ok(Registrar {
            wish,
            registration,
            told,
            withdraw_time_max,
            task: Some(task),
        })
    }

    /// How the registration stands, now and whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Registration> {
        self.registration.clone()
    }

    /// Says from now on that the server is draining: it stays in the list, and clients send new calls elsewhere.
    pub fn drain(&self) {
        self.wish.send_replace(Wish::Be(State::Draining));
    }

    /// Ends when the registry has taken in that the server is draining; never before [`Registrar::drain`], and not
    /// while the registry cannot be reached.
    pub async fn drained(&self) {
        let is_draining = |told: &Option<State>| *told == Some(State::Draining);
        // An error means that the task is gone: there is nothing more to wait for.
        let _ = self.told.clone().wait_for(is_draining).await;
    }

    /// Takes the server out of the registry. It waits for the registry's answer, but only for a bounded time; an old
    /// registry, which cannot delete, forgets the server after its TTL.
    pub async fn withdraw(mut self) {
        self.wish.send_replace(Wish::Gone);
        if let Some(task) = self.task.take() {
            // Late or panicked: there is no more to do about it.
            let _ = timeout(self.withdraw_time_max, task).await;
        }
    }
}

impl Drop for Registrar {
    /// Takes the server out of the registry without waiting for it.
    fn drop(&mut self) {
        self.wish.send_replace(Wish::Gone);
    }
}

/// Where a registrar's task says how it stands.
struct Reports {
    report: watch::Sender<Registration>,
    tell: watch::Sender<Option<State>>,
}

async fn keep(
    registry: impl Beat,
    mut endpoint: Endpoint,
    period_max: Duration,
    mut wishes: watch::Receiver<Wish>,
    Reports { report, tell }: Reports,
) {
    let mut backoff = Backoff::new(RETRY_FIRST, period_max);
    loop {
        let wish = *wishes.borrow_and_update();
        match wish {
            Wish::Be(state) => endpoint.state = state,
            Wish::Gone => break,
        }
        let pause = match registry.beat(&endpoint).await {
            Ok(due) => {
                backoff.reset();
                registered(&report, &endpoint.address);
                tell.send_replace(Some(endpoint.state));
                jittered(due.min(period_max))
            }
            Err(reason) => {
                failing(&report, &endpoint.address, reason);
                backoff.next()
            }
        };
        let is_in = *report.borrow() == Registration::Registered;
        // A new wish, or the end of the one who wishes, cuts the pause short.
        tokio::select! {
            () = sleep(pause) => {}
            _ = wishes.changed() => {}
            () = registry.lost(&endpoint), if is_in => {
                tracing::warn!(address = %endpoint.address, "the entry is lost; registering again");
            }
        }
    }
    if let Err(reason) = registry.remove(&endpoint).await {
        let address = endpoint.address;
        tracing::debug!(%address, reason, "the registry did not take the server out");
    }
}

fn registered(report: &watch::Sender<Registration>, address: &Address) {
    report.send_if_modified(|registration| {
        if let Registration::Failing { since, .. } = registration {
            let now = tokio::time::Instant::now().into_std();
            let seconds = now.saturating_duration_since(*since).as_secs();
            tracing::info!(%address, seconds, "registered again");
        }
        let is_news = *registration != Registration::Registered;
        *registration = Registration::Registered;
        is_news
    });
}

fn failing(report: &watch::Sender<Registration>, address: &Address, reason: String) {
    report.send_modify(|registration| {
        let since = match registration {
            Registration::Failing { since, .. } => *since,
            _ => {
                tracing::warn!(%address, reason, "cannot register; trying on");
                tokio::time::Instant::now().into_std()
            }
        };
        *registration = Registration::Failing { since, reason };
    });
}

/// Refuses addresses that mean "every interface" to the server and nothing to its clients.
fn check_dialable(address: &Address) -> Result<(), AddressError> {
    let (Transport::Tcp(place) | Transport::Http(place) | Transport::Tls(place)) =
        &address.transport
    else {
        return Ok(());
    };
    let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let wrong = match ip {
        _ if host.is_empty() => "it names no host",
        Ok(ip) if ip.is_unspecified() => "that is every interface here, and no place elsewhere",
        _ if port.parse() == Ok(0u16) => "port 0 means any; advertise the one that was bound",
        _ => return Ok(()),
    };
    let wrong =
        format!("clients cannot dial it ({wrong}); advertise an address that they can reach");
    Err(AddressError::new(
        &address.to_string(),
        wrong,
        "tcp@10.0.0.7:9999",
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    /// A registry that tells what it hears.
    struct Fake {
        heard: mpsc::UnboundedSender<(&'static str, State)>,
        is_down: &'static AtomicBool,
    }

    impl Beat for Fake {
        async fn beat(&self, endpoint: &Endpoint) -> Result<Duration, String> {
            self.heard.send(("beat", endpoint.state)).unwrap();
            match self.is_down.load(Ordering::Relaxed) {
                true => Err("down".into()),
                false => Ok(PERIOD),
            }
        }

        async fn remove(&self, endpoint: &Endpoint) -> Result<(), String> {
            self.heard.send(("remove", endpoint.state)).unwrap();
            Ok(())
        }
    }

    type Heard = mpsc::UnboundedReceiver<(&'static str, State)>;

    fn start(is_down: bool) -> (Registrar, Heard, &'static AtomicBool) {
        let is_down = Box::leak(Box::new(AtomicBool::new(is_down)));
        let (heard, hear) = mpsc::unbounded_channel();
        let endpoint = Endpoint::new(Address::tcp("h:1"));
        let registrar =
            Registrar::spawn(Fake { heard, is_down }, endpoint, PERIOD, PERIOD).unwrap();
        (registrar, hear, is_down)
    }

    const BEAT: Option<(&str, State)> = Some(("beat", State::Up));

    #[tokio::test(start_paused = true)]
    async fn beats_come_at_once_and_then_every_period_with_jitter() {
        let (_registrar, mut hear, _) = start(false);
        let mut last = Instant::now();
        assert_eq!(hear.recv().await, BEAT);
        assert_eq!(last.elapsed(), Duration::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..100 {
            assert_eq!(hear.recv().await, BEAT);
            pauses.push(last.elapsed());
            last = Instant::now();
        }
        assert!(
            pauses
                .iter()
                .all(|p| *p >= PERIOD * 4 / 5 && *p <= PERIOD * 6 / 5 + Duration::from_millis(1))
        );
        pauses.dedup();
        assert!(pauses.len() > 50, "they are all alike");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_never_end_the_beating_and_recovery_is_seen() {
        let (registrar, mut hear, is_down) = start(true);
        let mut registration = registrar.watch();
        let began = Instant::now();
        for _ in 0..500 {
            let last = Instant::now();
            assert_eq!(hear.recv().await, BEAT);
            assert!(last.elapsed() <= PERIOD + Duration::from_millis(1));
        }
        let failing = registration.wait_for(|r| matches!(r, Registration::Failing { .. }));
        let Registration::Failing { since, reason } = failing.await.unwrap().clone() else {
            unreachable!("it was waited for");
        };
        assert_eq!((since, &*reason), (began.into_std(), "down"));
        is_down.store(false, Ordering::Relaxed);
        let registered = registration.wait_for(|r| *r == Registration::Registered);
        timeout(2 * PERIOD, registered).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn draining_is_said_at_once_and_withdrawing_removes() {
        let (registrar, mut hear, _) = start(false);
        assert_eq!(hear.recv().await, BEAT);
        let asked = Instant::now();
        registrar.drain();
        assert_eq!(hear.recv().await, Some(("beat", State::Draining)));
        registrar.withdraw().await;
        assert_eq!(hear.recv().await, Some(("remove", State::Draining)));
        assert_eq!(hear.recv().await, None);
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_registrar_removes_too() {
        let (registrar, mut hear, _) = start(false);
        assert_eq!(hear.recv().await, BEAT);
        drop(registrar);
        assert_eq!(hear.recv().await, Some(("remove", State::Up)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_hangs_does_not_hold_up_withdrawing() {
        struct Hangs(Mutex<Option<tokio::sync::oneshot::Sender<()>>>);
        impl Beat for Hangs {
            async fn beat(&self, _: &Endpoint) -> Result<Duration, String> {
                if let Some(reached) = self.0.lock().unwrap().take() {
                    reached.send(()).unwrap();
                }
                std::future::pending().await
            }
            async fn remove(&self, _: &Endpoint) -> Result<(), String> {
                std::future::pending().await
            }
        }
        let (reached, was_reached) = tokio::sync::oneshot::channel();
        let hangs = Hangs(Mutex::new(Some(reached)));
        let endpoint = Endpoint::new(Address::tcp("h:1"));
        let registrar = Registrar::spawn(hangs, endpoint, PERIOD, PERIOD).unwrap();
        was_reached.await.unwrap();
        let asked = Instant::now();
        registrar.withdraw().await;
        assert!(asked.elapsed() <= PERIOD + Duration::from_millis(1));
    }

    #[test]
    fn what_no_client_can_dial_is_refused_with_advice() {
        for address in [
            "tcp@0.0.0.0:1",
            "tcp@[::]:1",
            "tcp@:1",
            "http@[::0]:1",
            "netrpc+tcp@:1",
            "tcp@h:0",
        ] {
            let error = check_dialable(&address.parse().unwrap())
                .unwrap_err()
                .to_string();
            assert!(error.contains("advertise"), "{error}");
        }
        for address in ["tcp@127.0.0.1:1", "tcp@[::1]:1", "tls@h:1", "unix@/a"] {
            assert_eq!(check_dialable(&address.parse().unwrap()), Ok(()));
        }
    }
}
