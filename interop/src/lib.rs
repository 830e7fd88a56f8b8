//! Go programs, and the tests that talk to them: building and running `gopeer`, whose source is in `interop/go`, and
//! the services that both sides offer.
//!
//! Lives here: finding Go, building once, starting a subcommand, reading the JSON lines it prints, ending it; the
//! services in Rust. Not here: what is tested (`tests/it`), and what the subcommands do (`interop/go/main.go` lists
//! them).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), farcall_interop::Error> {
//! let server = farcall_interop::Peer::serve(&["netrpc-server"])?;
//! farcall_interop::run(&["netrpc-client", server.address(), "basic"], Duration::from_secs(60))?;
//! # Ok(())
//! # }
//! ```

mod error;
mod peer;
pub mod services;
mod toolchain;

pub use error::Error;
pub use peer::{Peer, run};
pub use toolchain::gopeer;
