//! `farcall registry`: a registry on a port of its own.

use std::time::Duration;

use clap::Args;

use crate::out::{self, Exit, Failure};
use crate::signals::asked_to_end;

/// Run a registry: servers announce themselves to it, clients ask it who is there
#[derive(Args)]
pub(crate) struct Registry {
    /// Where to listen, as host:port; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9998")]
    listen: String,

    /// How long a server is listed after its last heartbeat: 30s, 500ms, 5m; 0 lists it for ever.
    #[arg(long, default_value = "30s", value_parser = out::duration)]
    ttl: Duration,
}

impl Registry {
    pub(crate) async fn run(self, json: bool) -> Result<(), Failure> {
        let listen = self.listen.strip_prefix("tcp@").unwrap_or(&self.listen);
        // Signals are caught from before the first line: whoever reads it may answer with one at once.
        let end = asked_to_end()?;
        let registry = farcall::Registry::builder().ttl(self.ttl).build();
        let server = registry.serve(listen).await.map_err(|error| {
            Failure::new(
                Exit::Failed,
                format_args!("cannot listen on {listen}: {error}"),
            )
            .advise("give a free address of this machine with --listen, as in 127.0.0.1:9998")
        })?;
        out::listening(&server.url(), json)?;
        end.await;
        server.shutdown().await;
        Ok(())
    }
}
