//! The argument of a call: the JSON, what it is encoded in, and its type where the encoding needs one. What is then done
//! with it is in `call` and `bench`.

use std::time::Duration;

use clap::Args;
use farcall::{
    Address, AddressError, Codec, Dialect, MethodTypes, Schema, Target, Transport, registry,
};
use serde_json::Value;
use tokio::time::timeout;

/// An argument as the command line gives it.
#[derive(Args)]
pub(crate) struct Argument {
    /// The argument: '{"A": 6, "B": 7}'. Left out, the zero of its type is sent, or an argument without fields.
    #[arg(value_name = "JSON", value_parser = json)]
    args: Option<Value>,

    /// What calls are encoded in: gob, json or msgpack.
    #[arg(long, default_value_t = Codec::Gob)]
    pub(crate) codec: Codec,

    /// The argument's type as Go writes it: `[]byte`, `map[string]uint`, `struct{A int; B []string}`.
    ///
    /// Only gob needs it, and only where a server does not describe itself: a farcall server is asked. Without it,
    /// whole numbers are int, others float64, objects structs.
    #[arg(long = "type", value_name = "GO_TYPE")]
    ty: Option<Schema>,
}

/// How long a server may take to describe itself before it is called without.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(1);
/// How many servers of a cluster are asked before all are believed to be silent.
const ASKED_MAX: usize = 3;

impl Argument {
    /// The argument and, for gob, its type if somebody tells it.
    pub(crate) async fn typed(
        &self,
        target: &str,
        method: &str,
        limit: Option<Duration>,
    ) -> Result<(Value, Option<Schema>), AddressError> {
        let described = match (&self.ty, self.codec) {
            (None, Codec::Gob) => described(target, method, limit).await?,
            _ => None,
        };
        Ok(self.with_type(described.as_ref()))
    }

    /// The argument and, for gob, its type: as the command line has it, or else the method's description.
    pub(crate) fn with_type(&self, described: Option<&MethodTypes>) -> (Value, Option<Schema>) {
        let types = match (&self.ty, self.codec) {
            (Some(ty), _) => Some(ty.clone()),
            (None, Codec::Gob) => described.and_then(MethodTypes::args_schema),
            (None, _) => None,
        };
        let args = self
            .args
            .clone()
            .unwrap_or_else(|| match (&types, self.codec) {
                // What "no argument" is to gob: a struct without fields.
                (None, Codec::Gob) => Value::Object(serde_json::Map::new()),
                _ => Value::Null,
            });
        (args, types)
    }
}

/// What a server of the target says about a method, if one does so in time.
pub(crate) async fn described(
    target: &str,
    method: &str,
    limit: Option<Duration>,
) -> Result<Option<MethodTypes>, AddressError> {
    let limit = limit.map_or(DESCRIBED_WITHIN, |limit| DESCRIBED_WITHIN.min(limit / 2));
    let asking = ask(target, method, limit);
    timeout(limit, asking).await.unwrap_or(Ok(None))
}

async fn ask(
    target: &str,
    method: &str,
    limit: Duration,
) -> Result<Option<MethodTypes>, AddressError> {
    let addresses = match target.parse()? {
        Target::Server(address) => vec![address],
        _ => {
            let mut snapshots = registry::open(target)?.watch();
            let known = snapshots.wait_for(|list| list.known || list.stale.is_some());
            let endpoints = known.await.map(|list| list.endpoints.clone());
            let endpoints = endpoints.unwrap_or_default();
            endpoints
                .into_iter()
                .map(|endpoint| endpoint.address)
                .collect()
        }
    };
    for address in addresses
        .iter()
        .filter(|address| may_tell(address))
        .take(ASKED_MAX)
    {
        if let Ok(services) = farcall::describe_types(address, limit).await {
            let mut methods = services.into_iter().flat_map(|service| service.methods);
            return Ok(methods.find(|described| described.name == method));
        }
    }
    Ok(None)
}

/// Whether asking the server in HTTP is worth it. A Go server of net/rpc that speaks no HTTP would take the question for
/// a damaged call.
fn may_tell(address: &Address) -> bool {
    match (address.dialect, &address.transport) {
        (Dialect::Farcall, _) | (Dialect::NetRpc, Transport::Http(_)) => true,
        // Neither does JSON need types.
        _ => false,
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("{error}; write JSON such as '{{\"A\": 6, \"B\": 7}}', 5 or '\"text\"'")
    })
}
