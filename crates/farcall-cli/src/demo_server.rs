//! `farcall demo-server`: a server to try clients on, in any language and dialect.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use farcall::discover::Endpoint;
use farcall::registry::{Advertise, Etcd, HttpRegistry, open_to_enter};
use farcall::{Address, AddressError, Server, StartError, Target};

use crate::out::{self, Exit, Failure};
use crate::services::{self, Began};
use crate::signals::asked_to_end;

/// Run a server with Arith, Foo, Echo and Numbers, for clients of every dialect on one port
#[derive(Args)]
pub(crate) struct DemoServer {
    /// Where to listen: host:port, unix@/path; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9999")]
    listen: Address,

    /// Announce the server to this registry.
    #[arg(long, value_name = "URL", group = "announced")]
    registry: Option<String>,

    /// Announce the server in etcd, at these of its members: host:port,host:port; or all of an etcd:// or etcds://.
    #[arg(long, value_name = "ENDPOINTS", group = "announced")]
    etcd: Option<String>,

    /// How many seconds the server stays announced after its last sign of life; at least 2 in etcd.
    #[arg(long, value_name = "SECONDS", requires = "announced", value_parser = clap::value_parser!(u64).range(1..=3600))]
    ttl: Option<u64>,

    /// The address to announce, when clients reach the server by another one than it listens on.
    #[arg(long, value_name = "ADDR", requires = "announced")]
    advertise: Option<Address>,
}

/// How long calls in flight may take to finish when the server is asked to end.
const GRACE: Duration = Duration::from_secs(10);

impl DemoServer {
    pub(crate) async fn run(self, json: bool) -> Result<(), Failure> {
        let end = asked_to_end()?;
        let announced = match (self.registry, self.etcd) {
            (Some(target), _) => Some(target),
            (None, Some(target)) if target.contains("://") => Some(target),
            (None, Some(members)) => Some(format!("etcd://{members}/")),
            (None, None) => None,
        };
        let mut server = Server::builder().bind(&self.listen.to_string());
        if let Some(target) = announced {
            let registry = registry(&target, self.ttl.map(Duration::from_secs))?;
            server = match self.advertise {
                Some(address) => server.advertise_as(registry, Endpoint::new(address)),
                None => server.advertise(registry),
            };
        }
        for service in services::all(Began::default()) {
            server = server.register(service);
        }
        server = server.register(services::numbers());
        let server = server.start().await.map_err(cannot_start)?;
        out::listening(&server.address().to_string(), json)?;
        end.await;
        if !server.shutdown(GRACE).await {
            eprintln!("farcall: some calls had not ended after {GRACE:?} and were given up");
        }
        Ok(())
    }
}

fn registry(target: &str, ttl: Option<Duration>) -> Result<Box<dyn Advertise>, AddressError> {
    Ok(match (target.parse()?, ttl) {
        (Target::Registry(url), Some(ttl)) => Box::new(HttpRegistry::new(&url)?.ttl(ttl)),
        (Target::Etcd(..) | Target::Etcds(..), Some(ttl)) => Box::new(Etcd::new(target)?.ttl(ttl)),
        _ => open_to_enter(target)?,
    })
}

fn cannot_start(error: StartError) -> Failure {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    let (exit, advice) = match error {
        StartError::Bind { .. } => (
            Exit::Failed,
            "give a free address of this machine with --listen, as in 127.0.0.1:9999",
        ),
        _ => (
            Exit::Usage,
            "name the address that clients can reach with --advertise",
        ),
    };
    Failure::new(exit, format_args!("{error}{cause}")).advise(advice)
}
