//! From the text that names servers to whatever knows them.

use super::{Advertise, Dns, Etcd, File, HttpRegistry, Srv};
use crate::address::{AddressError, Target};
use crate::discover::{Discover, Static};

/// Whoever knows the servers that this target names: `http://127.0.0.1:9998/_tinyrpc_/registry`,
/// `etcd://10.0.0.1:2379,10.0.0.2:2379/`, `dns:arith.example.org:9999`, `srv:_arith._tcp.example.org`,
/// `file:/etc/farcall/servers`, `static:tcp@10.0.0.1:9999,tcp@10.0.0.2:9999`, or the address of one server.
///
/// ```
/// use farcall::Cluster;
/// # #[tokio::main]
/// # async fn main() -> Result<(), farcall::AddressError> {
/// let servers = farcall::registry::open("static:10.0.0.1:9999,10.0.0.2:9999")?;
/// let cluster = Cluster::builder(servers).build();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When the text is no target.
pub fn open(target: &str) -> Result<Box<dyn Discover>, AddressError> {
    Ok(match target.parse()? {
        Target::Server(address) => Box::new(Static::new([address])),
        Target::Static(addresses) => Box::new(Static::new(addresses)),
        Target::Registry(url) => Box::new(HttpRegistry::new(&url)?),
        Target::Etcd(..) | Target::Etcds(..) => Box::new(Etcd::new(target)?),
        Target::Dns(_) => Box::new(Dns::new(target)?),
        Target::Srv(_) => Box::new(Srv::new(target)?),
        Target::File(path) => Box::new(File::new(path)),
    })
}

/// The registry that this target names, for servers to enter themselves in: `http://127.0.0.1:9998/_tinyrpc_/registry`
/// or `etcd://10.0.0.1:2379,10.0.0.2:2379/`.
///
/// # Errors
///
/// When the text is no target, or one that others write.
pub fn open_to_enter(target: &str) -> Result<Box<dyn Advertise>, AddressError> {
    Ok(match target.parse()? {
        Target::Registry(url) => Box::new(HttpRegistry::new(&url)?),
        Target::Etcd(..) | Target::Etcds(..) => Box::new(Etcd::new(target)?),
        _ => {
            let wrong = "no server enters itself there: it is not a registry";
            return Err(AddressError::new(
                target,
                wrong,
                "http://127.0.0.1:9998/_tinyrpc_/registry",
            ));
        }
    })
}
