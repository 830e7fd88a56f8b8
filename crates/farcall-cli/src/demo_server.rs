//! `farcall demo-server`: a server to try clients on, in any language and dialect.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use farcall::discover::Endpoint;
use farcall::registry::{Advertise, Registrar, open_to_enter};
use farcall::{Address, Server, StartError};

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

    /// Announce the server in etcd, at these of its members: host:port,host:port.
    #[arg(long, value_name = "ENDPOINTS", group = "announced")]
    etcd: Option<String>,

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
            (Some(url), _) => Some(url),
            (None, Some(members)) => Some(format!("etcd://{members}/")),
            (None, None) => None,
        };
        let registry = announced.as_deref().map(open_to_enter).transpose()?;
        let mut server = Server::builder().bind(&self.listen.to_string());
        for service in services::all(Began::default()) {
            server = server.register(service);
        }
        server = server.register(services::numbers());
        let server = server.start().await.map_err(cannot_start)?;
        let registrar = match registry {
            Some(registry) => Some(announce(&*registry, self.advertise, &server)?),
            None => None,
        };
        out::listening(&server.address().to_string(), json)?;
        end.await;
        // Nobody new should come while those who are here finish.
        if let Some(registrar) = registrar {
            registrar.withdraw().await;
        }
        if !server.shutdown(GRACE).await {
            eprintln!("farcall: some calls had not ended after {GRACE:?} and were given up");
        }
        Ok(())
    }
}

fn announce(
    registry: &dyn Advertise,
    advertise: Option<Address>,
    server: &Server,
) -> Result<Registrar, Failure> {
    let address = advertise.unwrap_or_else(|| server.address().clone());
    registry.advertise(Endpoint::new(address)).map_err(|error| {
        Failure::usage(error).advise("name the address that clients can reach with --advertise")
    })
}

fn cannot_start(error: StartError) -> Failure {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    let exit = match error {
        StartError::Bind { .. } => Exit::Failed,
        _ => Exit::Usage,
    };
    Failure::new(exit, format_args!("{error}{cause}"))
        .advise("give a free address of this machine with --listen, as in 127.0.0.1:9999")
}
