//! The address forms, one parser for all of them: where one server is, or who knows where the servers are.
//! Nothing here dials or resolves.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The language spoken after the bytes begin to flow.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// farcall's own protocol, which is TinyRPC's with additions that old peers ignore.
    #[default]
    Farcall,
    /// geerpc's, the ancestor of TinyRPC's: its server acknowledges no handshake.
    GeeRpc,
    /// Go's `net/rpc` with gob.
    NetRpc,
    /// Go's `net/rpc/jsonrpc`.
    JsonRpc,
}

impl Dialect {
    /// Its name, as contexts and logs tell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dialect::Farcall => "farcall",
            Dialect::GeeRpc => "geerpc",
            Dialect::NetRpc => "net/rpc",
            Dialect::JsonRpc => "json-rpc",
        }
    }
}

/// How bytes reach the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP to `host:port`.
    Tcp(String),
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// TCP to `host:port`, then HTTP `CONNECT`.
    Http(String),
    /// TLS over TCP to `host:port`.
    Tls(String),
}

/// Where one server is and how to speak to it: `tcp@127.0.0.1:9999`, `unix@/run/arith.sock`,
/// `http@host:9999` (HTTP `CONNECT`), `netrpc+tcp@host:1234` (a Go `net/rpc` server).
///
/// A bare `host:port` is `tcp@host:port`.
///
/// ```
/// use farcall::Address;
/// let address: Address = "127.0.0.1:9999".parse()?;
/// assert_eq!(address.to_string(), "tcp@127.0.0.1:9999");
/// let error = "127.0.0.1".parse::<Address>().unwrap_err();
/// assert_eq!(error.to_string(), "address \"127.0.0.1\": the port is missing; a right one is tcp@127.0.0.1:9999");
/// # Ok::<(), farcall::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The language to speak.
    pub dialect: Dialect,
    /// The way there.
    pub transport: Transport,
}

/// One server, or a set of servers that somebody knows.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One server.
    Server(Address),
    /// `static:a,b`: these servers.
    Static(Vec<Address>),
    /// `http://host:port/path`: the servers in this registry.
    Registry(String),
    /// `etcd://a,b,c/prefix`: the servers under a prefix in etcd (endpoints, prefix; an empty prefix is the default one).
    Etcd(Vec<String>, String),
    /// `etcds://a,b,c/prefix?ca=/ca.pem&cert=/me.pem&key=/me.key`: the same, over TLS.
    Etcds(Vec<String>, String, TlsFiles),
    /// `dns:name:port`: every address of the name.
    Dns(String),
    /// `srv:_name._tcp.example.org`: the servers that this name's service records tell.
    Srv(String),
    /// `file:path`: the servers listed in a file.
    File(PathBuf),
}

/// What a target says about TLS: `ca=…`, and perhaps `cert=…&key=…` and `name=…`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsFiles {
    /// The certificates of the authorities that servers are trusted by.
    pub ca: PathBuf,
    /// The client's own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to want in the server's certificate instead of its host's.
    pub name: Option<String>,
}

/// An address that cannot be used, why, and what a right one looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    given: String,
    wrong: String,
    right: &'static str,
}

impl AddressError {
    pub(crate) fn new(given: &str, wrong: impl Into<String>, right: &'static str) -> AddressError {
        // What is shown is bounded: an address may come from a registry.
        let mut given: String = given.chars().take(256).collect();
        given.retain(|c| !c.is_control());
        AddressError {
            given,
            wrong: wrong.into(),
            right,
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AddressError {
            given,
            wrong,
            right,
        } = self;
        write!(f, "address {given:?}: {wrong}; a right one is {right}")
    }
}

impl std::error::Error for AddressError {}

const TCP: &str = "tcp@127.0.0.1:9999";
const UNIX: &str = "unix@/run/arith.sock";

impl Address {
    /// A farcall server at `host:port` over TCP.
    pub fn tcp(host_port: impl fmt::Display) -> Address {
        Address {
            dialect: Dialect::Farcall,
            transport: Transport::Tcp(host_port.to_string()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(given: &str) -> Result<Address, AddressError> {
        let wrong = |wrong: String, right| Err(AddressError::new(given, wrong, right));
        if given.is_empty() {
            return wrong("it is empty".into(), TCP);
        }
        if given.chars().any(|c| c.is_control() || c == ',') {
            return wrong("it has a comma or a control character".into(), TCP);
        }
        // The first `@` ends the protocol: a socket's path may hold further ones.
        let Some((protocol, place)) = given.split_once('@') else {
            check_host_port(given, given, TCP)?;
            return Ok(Address::tcp(given));
        };
        let (dialect, transport) = match protocol.split_once('+') {
            Some(("geerpc", transport)) => (Dialect::GeeRpc, transport),
            Some(("netrpc", transport)) => (Dialect::NetRpc, transport),
            Some(("jsonrpc", transport)) => (Dialect::JsonRpc, transport),
            Some((dialect, _)) => {
                return wrong(
                    format!("the dialect {dialect:?} is not one of geerpc, netrpc, jsonrpc"),
                    "netrpc+tcp@127.0.0.1:1234",
                );
            }
            None => (Dialect::Farcall, protocol),
        };
        let transport = match transport {
            "http" if dialect == Dialect::JsonRpc => {
                return wrong(
                    "JSON-RPC has no way over http".into(),
                    "jsonrpc+tcp@127.0.0.1:1234",
                );
            }
            "tcp" => Transport::Tcp(check_host_port(given, place, TCP)?),
            "http" => Transport::Http(check_host_port(given, place, "http@127.0.0.1:9999")?),
            "tls" => Transport::Tls(check_host_port(given, place, "tls@example.org:9999")?),
            "unix" if place.is_empty() => return wrong("the path is missing".into(), UNIX),
            "unix" => Transport::Unix(place.into()),
            other => {
                return wrong(
                    format!("the protocol {other:?} is not one of tcp, unix, http, tls"),
                    TCP,
                );
            }
        };
        Ok(Address { dialect, transport })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.dialect {
            Dialect::Farcall => "",
            Dialect::GeeRpc => "geerpc+",
            Dialect::NetRpc => "netrpc+",
            Dialect::JsonRpc => "jsonrpc+",
        })?;
        match &self.transport {
            Transport::Tcp(place) => write!(f, "tcp@{place}"),
            Transport::Http(place) => write!(f, "http@{place}"),
            Transport::Tls(place) => write!(f, "tls@{place}"),
            Transport::Unix(path) => write!(f, "unix@{}", path.display()),
        }
    }
}

impl FromStr for Target {
    type Err = AddressError;

    fn from_str(given: &str) -> Result<Target, AddressError> {
        if let Some(list) = given.strip_prefix("static:") {
            let servers = list.split(',').map(str::trim).map(str::parse);
            return Ok(Target::Static(servers.collect::<Result<_, _>>()?));
        }
        if let Some(rest) = given.strip_prefix("http://") {
            const RIGHT: &str = "http://127.0.0.1:9998/_tinyrpc_/registry";
            let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
            let authority = match authority.rsplit_once(':') {
                Some((_, port)) if !port.ends_with(']') => authority.to_owned(),
                _ => format!("{authority}:80"),
            };
            check_host_port(given, &authority, RIGHT)?;
            if given.chars().any(|c| c.is_control() || c == ' ') {
                return Err(AddressError::new(
                    given,
                    "it has a space or a control character",
                    RIGHT,
                ));
            }
            return Ok(Target::Registry(given.to_owned()));
        }
        if let Some(rest) = given.strip_prefix("etcd://") {
            let (endpoints, prefix) = members_and_prefix(given, rest, ETCD)?;
            return Ok(Target::Etcd(endpoints, prefix));
        }
        if let Some(rest) = given.strip_prefix("etcds://") {
            let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
            let (endpoints, prefix) = members_and_prefix(given, rest, ETCDS)?;
            let tls = TlsFiles::read(given, query, ETCDS)?;
            return Ok(Target::Etcds(endpoints, prefix, tls));
        }
        if let Some(name) = given.strip_prefix("dns:") {
            return Ok(Target::Dns(check_host_port(
                given,
                name,
                "dns:arith.example.org:9999",
            )?));
        }
        if let Some(name) = given.strip_prefix("srv:") {
            return Ok(Target::Srv(check_dns_name(given, name)?));
        }
        if let Some(path) = given.strip_prefix("file:") {
            if path.is_empty() {
                return Err(AddressError::new(
                    given,
                    "the path is missing",
                    "file:/etc/farcall/servers",
                ));
            }
            return Ok(Target::File(path.into()));
        }
        Ok(Target::Server(given.parse()?))
    }
}

const ETCD: &str = "etcd://127.0.0.1:2379/";
const ETCDS: &str = "etcds://etcd.example.org:2379/?ca=/etc/farcall/ca.pem";

/// Reads `a:1,b:2/prefix`; a prefix of nothing but its slash is none.
fn members_and_prefix(
    given: &str,
    rest: &str,
    right: &'static str,
) -> Result<(Vec<String>, String), AddressError> {
    let (members, prefix) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let members = members.split(',').map(|e| check_host_port(given, e, right));
    let prefix = if prefix == "/" { "" } else { prefix };
    Ok((members.collect::<Result<_, _>>()?, prefix.to_owned()))
}

impl TlsFiles {
    /// Reads `ca=/ca.pem&cert=/me.pem&key=/me.key`. Nothing is escaped: paths with `&` are for the builders.
    fn read(given: &str, query: &str, right: &'static str) -> Result<TlsFiles, AddressError> {
        let wrong = |wrong: String| AddressError::new(given, wrong, right);
        let (mut ca, mut cert, mut key, mut name) = (None, None, None, None);
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (word, value) = part.split_once('=').unwrap_or((part, ""));
            let slot = match word {
                "ca" => &mut ca,
                "cert" => &mut cert,
                "key" => &mut key,
                "name" => &mut name,
                other => {
                    return Err(wrong(format!(
                        "{other:?} is not one of ca, cert, key, name"
                    )));
                }
            };
            if value.is_empty() || slot.replace(value).is_some() {
                return Err(wrong(format!("{word} is empty or there twice")));
            }
        }
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            (None, None) => None,
            _ => return Err(wrong("cert and key go together, and one is missing".into())),
        };
        let ca = ca.ok_or_else(|| {
            wrong("ca is missing, the file of the authority that signed etcd's certificates".into())
        })?;
        Ok(TlsFiles {
            ca: ca.into(),
            identity,
            name: name.map(str::to_owned),
        })
    }
}

impl From<Address> for Target {
    fn from(address: Address) -> Target {
        Target::Server(address)
    }
}

/// Checks `place` as `host:port`, where the host may be an IPv6 address in brackets, and gives it back.
fn check_host_port(given: &str, place: &str, right: &'static str) -> Result<String, AddressError> {
    let wrong = |wrong: String| Err(AddressError::new(given, wrong, right));
    let Some((host, port)) = place.rsplit_once(':') else {
        return wrong("the port is missing".into());
    };
    let bare = match host.strip_prefix('[') {
        Some(inner) => match inner.strip_suffix(']') {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => {
                return port_of(port, place, given, right);
            }
            _ => return wrong(format!("{host:?} is no IPv6 address in brackets")),
        },
        None => host,
    };
    if bare.contains(':') {
        return wrong("an IPv6 address stands in brackets, as in [::1]:9999".into());
    }
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !bare.chars().all(fits) {
        return wrong(format!("{bare:?} is no host name"));
    }
    port_of(port, place, given, right)
}

/// Checks `name` as one that a name server can be asked for, and gives it back without a dot at its end.
fn check_dns_name(given: &str, name: &str) -> Result<String, AddressError> {
    let wrong = |wrong: &str| AddressError::new(given, wrong, "srv:_arith._tcp.example.org");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 253 {
        return Err(wrong("the name is missing, or longer than 253 bytes"));
    }
    if name.contains(':') {
        return Err(wrong("it has a port, which service records tell"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(fits);
    match name.split('.').all(is_label) {
        true => Ok(name.to_owned()),
        false => Err(wrong(
            "between its dots, a name has 1 to 63 letters, digits, - or _",
        )),
    }
}

fn port_of(
    port: &str,
    place: &str,
    given: &str,
    right: &'static str,
) -> Result<String, AddressError> {
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err()
    {
        let wrong = format!("the port {port:?} is no number from 0 to 65535");
        return Err(AddressError::new(given, wrong, right));
    }
    Ok(place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_prints_as_it_was_read() {
        for form in [
            "tcp@127.0.0.1:9999",
            "tcp@[::1]:9999",
            "tcp@:9999",
            "unix@/run/a@b.sock",
            "unix@@abstract",
            "http@localhost:80",
            "tls@example.org:443",
            "netrpc+tcp@10.0.0.1:1234",
            "netrpc+http@10.0.0.1:1234",
            "netrpc+unix@/tmp/go.sock",
            "jsonrpc+tcp@10.0.0.1:1234",
            "geerpc+http@10.0.0.1:1234",
        ] {
            assert_eq!(form.parse::<Address>().unwrap().to_string(), form);
        }
    }

    #[test]
    fn a_wrong_address_says_what_is_wrong_and_shows_a_right_one() {
        for (form, says) in [
            ("", "it is empty"),
            ("tcp@host", "the port is missing"),
            ("tcp@host:x", "\"x\""),
            ("tcp@host:70000", "\"70000\""),
            ("tcp@::1:9", "brackets"),
            ("tcp@[zz]:9", "IPv6"),
            ("udp@host:1", "\"udp\""),
            ("soap+tcp@host:1", "\"soap\""),
            ("jsonrpc+http@host:1", "over http"),
            ("unix@", "path is missing"),
            ("tcp@a:1,tcp@b:2", "comma"),
            ("tcp@a\r\n:1", "control"),
            ("tcp@user@host:1", "host name"),
        ] {
            let error = form.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(says), "{form:?} gave {error}");
            let right = error.rsplit_once("a right one is ").unwrap().1;
            right.parse::<Address>().unwrap();
        }
    }

    #[test]
    fn targets_name_whole_clusters() {
        let target = |form: &str| form.parse::<Target>().unwrap();
        assert_eq!(target("h:1"), Target::Server(Address::tcp("h:1")));
        assert_eq!(
            target("static:h:1,tcp@h:2"),
            Target::Static(vec![Address::tcp("h:1"), Address::tcp("h:2")])
        );
        assert_eq!(
            target("etcd://a:1,b:2/x/y"),
            Target::Etcd(vec!["a:1".into(), "b:2".into()], "/x/y".into())
        );
        let files = TlsFiles {
            ca: "/ca.pem".into(),
            identity: Some(("/me.pem".into(), "/me=.key".into())),
            name: Some("etcd".into()),
        };
        assert_eq!(
            target("etcds://a:1/x?ca=/ca.pem&cert=/me.pem&key=/me=.key&name=etcd"),
            Target::Etcds(vec!["a:1".into()], "/x".into(), files)
        );
        assert_eq!(target("dns:n:1"), Target::Dns("n:1".into()));
        assert_eq!(target("srv:_a._tcp.h."), Target::Srv("_a._tcp.h".into()));
        for wrong in ["srv:", "srv:a..b", "srv:h:1", "srv:a b", "srv:."] {
            let error = wrong.parse::<Target>().unwrap_err().to_string();
            let right = error.rsplit_once("a right one is ").unwrap().1;
            right.parse::<Target>().unwrap();
        }
        assert_eq!(target("file:/a"), Target::File("/a".into()));
        let registry = "http://h:1/_tinyrpc_/registry";
        assert_eq!(target(registry), Target::Registry(registry.into()));
        assert!("http://h:x/".parse::<Target>().is_err());
        assert!("static:".parse::<Target>().is_err());
    }

    #[test]
    fn a_target_with_tls_says_what_is_missing_or_too_much() {
        for (query, says) in [
            ("", "ca is missing"),
            ("?cert=/a&key=/b", "ca is missing"),
            ("?ca=", "ca is empty"),
            ("?ca=/a&ca=/b", "there twice"),
            ("?ca=/a&cert=/b", "one is missing"),
            ("?ca=/a&insecure=1", "\"insecure\" is not one of"),
        ] {
            let target = format!("etcds://a:1/{query}");
            let error = target.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(says), "{target} gave {error}");
            let right = error.rsplit_once("a right one is ").unwrap().1;
            right.parse::<Target>().unwrap();
        }
    }
}
