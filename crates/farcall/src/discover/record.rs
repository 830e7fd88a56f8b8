//! A server's description as JSON, the same in the registry, in etcd and in files. Whoever reads one has bytes from
//! outside: every part is bounded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Endpoint, State};
use crate::address::Address;

/// Longer than any host name or socket path.
pub(crate) const ADDRESS_LEN_MAX: usize = 512;
pub(crate) const ZONE_LEN_MAX: usize = 128;
const SERVICES_MAX: usize = 256;
const SERVICE_LEN_MAX: usize = 256;
const METADATA_MAX: usize = 64;
const METADATA_LEN_MAX: usize = 4096;

/// `{"address":"tcp@h:1","state":"up","weight":1,"priority":1,"zone":"","services":["Arith"],"metadata":{"rack":"7"}}`. All but the
/// address may be left out, and unknown members are passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(default)]
    pub(crate) address: String,
    #[serde(default)]
    state: String,
    #[serde(default = "usual_weight")]
    pub(crate) weight: u32,
    #[serde(default, skip_serializing_if = "is_usual_priority")]
    priority: u32,
    #[serde(default)]
    pub(crate) zone: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

fn usual_weight() -> u32 {
    1
}

fn is_usual_priority(priority: &u32) -> bool {
    *priority == 0
}

impl Record {
    pub(crate) fn state(&self) -> State {
        State::from_name(&self.state)
    }

    /// The server that is described.
    ///
    /// # Errors
    ///
    /// What is wrong, in words that name the member.
    pub(crate) fn into_endpoint(self) -> Result<Endpoint, String> {
        let address = read_address(&self.address)?;
        self.describe(address)
    }

    /// The server at this address, as described; the record's own address is not looked at.
    ///
    /// # Errors
    ///
    /// As [`Record::into_endpoint`].
    pub(crate) fn describe(mut self, address: Address) -> Result<Endpoint, String> {
        check_zone("zone", &self.zone)?;
        let is_bad =
            |text: &str, len_max| text.len() > len_max || text.chars().any(char::is_control);
        if self.services.len() > SERVICES_MAX {
            return Err(format!("services has more than {SERVICES_MAX} names"));
        }
        if self
            .services
            .iter()
            .any(|name| name.is_empty() || is_bad(name, SERVICE_LEN_MAX))
        {
            return Err(format!(
                "a name in services is empty, longer than {SERVICE_LEN_MAX} bytes or has a control character"
            ));
        }
        let lengths = self
            .metadata
            .iter()
            .map(|(key, value)| key.len() + value.len());
        if self.metadata.len() > METADATA_MAX || lengths.sum::<usize>() > METADATA_LEN_MAX {
            return Err(format!(
                "metadata has more than {METADATA_MAX} members or {METADATA_LEN_MAX} bytes"
            ));
        }
        self.services.sort_unstable();
        self.services.dedup();
        Ok(Endpoint {
            address,
            weight: self.weight,
            priority: self.priority,
            zone: self.zone,
            services: self.services,
            metadata: self.metadata,
            state: State::from_name(&self.state), // An unknown word hides no server.
        })
    }
}

impl From<&Endpoint> for Record {
    fn from(endpoint: &Endpoint) -> Record {
        Record {
            address: endpoint.address.to_string(),
            state: endpoint.state.as_str().to_owned(),
            weight: endpoint.weight,
            priority: endpoint.priority,
            zone: endpoint.zone.clone(),
            services: endpoint.services.clone(),
            metadata: endpoint.metadata.clone(),
        }
    }
}

/// An address from outside.
pub(crate) fn read_address(given: &str) -> Result<Address, String> {
    if given.len() > ADDRESS_LEN_MAX {
        return Err(format!(
            "the address is longer than {ADDRESS_LEN_MAX} bytes"
        ));
    }
    given.parse().map_err(|error| format!("{error}"))
}

/// A zone from outside, in the part of the message that has this name.
pub(crate) fn check_zone(name: &str, zone: &str) -> Result<(), String> {
    if zone.len() > ZONE_LEN_MAX || zone.chars().any(char::is_control) {
        return Err(format!(
            "{name} is longer than {ZONE_LEN_MAX} bytes or has a control character"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Endpoint, String> {
        let record: Record = serde_json::from_str(json).map_err(|e| e.to_string())?;
        record.into_endpoint()
    }

    #[test]
    fn a_description_comes_back_as_it_was_written() {
        let mut endpoint = Endpoint::new(Address::tcp("h:1"));
        for step in 0..2 {
            let json = serde_json::to_string(&Record::from(&endpoint)).unwrap();
            assert_eq!(read(&json), Ok(endpoint.clone()), "{step}");
            endpoint.weight = 0;
            endpoint.zone = "eu-1".into();
            endpoint.state = State::Draining;
            endpoint.services = vec!["A".into(), "B".into()];
            endpoint.metadata.insert("rack".into(), "7".into());
        }
    }

    #[test]
    fn what_is_left_out_is_usual_and_what_is_unknown_is_passed_over() {
        let endpoint = read(r#"{"address":"h:1","colour":"red","state":"resting"}"#).unwrap();
        assert_eq!(endpoint, Endpoint::new(Address::tcp("h:1")));
    }

    #[test]
    fn every_part_is_bounded() {
        let text = |len| "x".repeat(len);
        let many = |n: usize, item: &dyn Fn(usize) -> String| {
            (0..n).map(item).collect::<Vec<_>>().join(",")
        };
        for (json, says) in [
            (r#"{"weight":1}"#.to_owned(), "it is empty"),
            (
                format!(r#"{{"address":"unix@/{}"}}"#, text(600)),
                "the address is longer",
            ),
            (
                format!(r#"{{"address":"h:1","zone":"{}"}}"#, text(129)),
                "zone is longer",
            ),
            (r#"{"address":"h:1","zone":"a\nb"}"#.to_owned(), "control"),
            (
                r#"{"address":"h:1","services":[""]}"#.to_owned(),
                "services is empty",
            ),
            (
                format!(
                    r#"{{"address":"h:1","services":[{}]}}"#,
                    many(257, &|i| format!("\"S{i}\""))
                ),
                "more than 256",
            ),
            (
                format!(
                    r#"{{"address":"h:1","metadata":{{{}}}}}"#,
                    many(65, &|i| format!("\"{i}\":\"\""))
                ),
                "more than 64",
            ),
            (
                format!(r#"{{"address":"h:1","metadata":{{"a":"{}"}}}}"#, text(4096)),
                "4096 bytes",
            ),
            (r#"{"address":"h:1","weight":-1}"#.to_owned(), "u32"),
        ] {
            let error = read(&json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
