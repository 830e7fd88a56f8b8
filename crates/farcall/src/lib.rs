//! Remote procedure calls from ordinary Rust traits, in the spirit of Go's `net/rpc`, and on its wire.

mod address;
pub mod balance;
mod dashboard;
pub mod discover;
mod error;
mod http;
pub mod registry;
mod router;

pub use address::{Address, AddressError, Dialect, Target, Transport};
pub use error::{Code, Error, Reached, Result};
pub use registry::Registry;
pub use router::{MethodSnapshot, ServiceSnapshot};
