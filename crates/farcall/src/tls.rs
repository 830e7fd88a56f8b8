//! TLS for whoever dials: whom to trust, who to be, and what to do about a handshake that failed. Which servers want
//! it is their dialler's to know. Listening with TLS is not here.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, rustls::Error as RustlsError};

/// How a client speaks TLS, 1.2 or 1.3: which authorities it trusts, and the certificate that it shows, if any.
///
/// The system's own authorities are not asked: servers of a cluster have certificates of their own, and whoever may
/// sign for the whole web should not be able to sign for them. Files are read again when they change, so that
/// certificates can be renewed while a program runs; while the new ones cannot be used, the old ones stay.
///
/// ```no_run
/// use farcall::ClientTls;
/// let tls = ClientTls::trusting("/etc/farcall/ca.pem")?.identity("/etc/farcall/me.pem", "/etc/farcall/me.key")?;
/// # Ok::<(), farcall::TlsError>(())
/// ```
#[derive(Clone)]
pub struct ClientTls(Arc<Inner>);

struct Inner {
    sources: Sources,
    /// Checked instead of the host that is dialled.
    name: Option<ServerName<'static>>,
    current: Mutex<Current>,
}

/// Where the certificates are.
#[derive(Clone)]
struct Sources {
    authorities: Pem,
    identity: Option<(Pem, Pem)>,
}

/// What was read last, and when it was written.
#[derive(Clone)]
struct Current {
    config: Arc<ClientConfig>,
    written: Vec<Option<SystemTime>>,
}

/// Certificates or a key in PEM, the text form with `-----BEGIN`: a path, or the text itself.
///
/// It is made of whatever is a path, or by [`Pem::text`].
#[derive(Clone)]
pub struct Pem(Kind);

#[derive(Clone)]
enum Kind {
    File(PathBuf),
    Text(Arc<[u8]>),
}

impl Pem {
    /// The text itself, which no log shows.
    pub fn text(text: impl Into<Vec<u8>>) -> Pem {
        Pem(Kind::Text(text.into().into()))
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        match &self.0 {
            Kind::Text(text) => Ok(text.to_vec()),
            Kind::File(path) => std::fs::read(path)
                .map_err(|error| TlsError::new(self, format!("it cannot be read: {error}"))),
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read()?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match found {
            Ok(found) if found.is_empty() => Err(TlsError::new(
                self,
                "there is no certificate in it; one begins with -----BEGIN CERTIFICATE-----",
            )),
            Ok(found) => Ok(found),
            Err(error) => Err(TlsError::new(self, format!("it is not PEM: {error}"))),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.read()?).map_err(|error| {
            let wrong = format!(
                "there is no usable private key in it: {error}; one begins with -----BEGIN PRIVATE KEY-----, \
                 and is not encrypted"
            );
            TlsError::new(self, wrong)
        })
    }

    /// When the file was written last.
    fn written(&self) -> Option<SystemTime> {
        match &self.0 {
            Kind::File(path) => std::fs::metadata(path).and_then(|m| m.modified()).ok(),
            Kind::Text(_) => None,
        }
    }
}

impl<P: AsRef<Path>> From<P> for Pem {
    fn from(path: P) -> Pem {
        Pem(Kind::File(path.as_ref().to_owned()))
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(path) => write!(f, "{}", path.display()),
            Kind::Text(_) => f.write_str("the PEM text"),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({self})")
    }
}

impl Sources {
    fn config(&self) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.authorities.certificates()? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::new(&self.authorities, error.to_string()))?;
        }
        // Named, so that another one that a program installed for itself changes nothing here.
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new(&self.authorities, error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((certificates, key)) => config
                .with_client_auth_cert(certificates.certificates()?, key.key()?)
                .map_err(|error| {
                    let wrong = format!("the certificate and the key {key} do not serve: {error}");
                    TlsError::new(certificates, wrong)
                })?,
        };
        // Enough for the members of a cluster; what each keeps for later is some kilobytes.
        config.resumption = Resumption::in_memory_sessions(8);
        Ok(config)
    }

    fn written(&self) -> Vec<Option<SystemTime>> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        let all = std::iter::once(&self.authorities).chain(identity);
        all.map(Pem::written).collect()
    }
}

impl ClientTls {
    /// Trusts servers whose certificate leads to one of these authorities, given as a path or as [`Pem::text`].
    ///
    /// # Errors
    ///
    /// There are no certificates to be read there.
    pub fn trusting(authorities: impl Into<Pem>) -> Result<ClientTls, TlsError> {
        let sources = Sources {
            authorities: authorities.into(),
            identity: None,
        };
        ClientTls::of(sources, None)
    }

    /// Shows this certificate, and those that lead from it to its authority, to servers that ask for one.
    ///
    /// # Errors
    ///
    /// One of them cannot be read, or the key is not the certificate's.
    pub fn identity(
        self,
        certificates: impl Into<Pem>,
        key: impl Into<Pem>,
    ) -> Result<ClientTls, TlsError> {
        let sources = Sources {
            identity: Some((certificates.into(), key.into())),
            ..self.0.sources.clone()
        };
        ClientTls::of(sources, self.0.name.clone())
    }

    /// Wants certificates for this name, whatever the host is called that is dialled: a DNS name or an IP address.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub fn server_name(self, name: &str) -> Result<ClientTls, TlsError> {
        let wanted = named(name)?;
        ClientTls::of(self.0.sources.clone(), Some(wanted))
    }

    fn of(sources: Sources, name: Option<ServerName<'static>>) -> Result<ClientTls, TlsError> {
        // Asked before it is read: what is written in between is read again.
        let written = sources.written();
        let config = Arc::new(sources.config()?);
        Ok(ClientTls(Arc::new(Inner {
            sources,
            name,
            current: Mutex::new(Current { config, written }),
        })))
    }

    /// Says the handshake on a stream that leads to this host.
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match &self.0.name {
            Some(name) => name.clone(),
            None => named(host.trim_start_matches('[').trim_end_matches(']'))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        let connected = TlsConnector::from(self.config()).connect(name, stream);
        connected.await.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(
                error.kind(),
                "the server closed the connection during the handshake: perhaps this port is a plain one",
            ),
            _ => error,
        })
    }

    /// What is to be used now.
    fn config(&self) -> Arc<ClientConfig> {
        let written = self.0.sources.written();
        let lock = || {
            self.0
                .current
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let current = lock().clone();
        if current.written == written {
            return current.config;
        }
        let config = match self.0.sources.config() {
            Ok(config) => {
                tracing::info!("the certificates have changed and were read again");
                Arc::new(config)
            }
            Err(error) => {
                // A half-written pair is usual while files are being replaced; the next change is looked at again.
                tracing::warn!(%error, "changed certificates cannot be used; the old ones stay");
                current.config
            }
        };
        *lock() = Current {
            config: Arc::clone(&config),
            written,
        };
        config
    }
}

fn named(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError {
        what: format!("{name:?}"),
        wrong: "it is neither a DNS name nor an IP address, which is all that certificates name"
            .into(),
    })
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("authorities", &self.0.sources.authorities)
            .field("identity", &self.0.sources.identity)
            .field("server_name", &self.0.name)
            .finish()
    }
}

/// Certificates or a key that cannot be used: which, and why.
#[derive(Clone, Debug)]
pub struct TlsError {
    what: String,
    wrong: String,
}

impl TlsError {
    fn new(what: &Pem, wrong: impl Into<String>) -> TlsError {
        TlsError {
            what: what.to_string(),
            wrong: wrong.into(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.wrong)
    }
}

impl Error for TlsError {}

/// What to do about an error that has TLS among its causes.
pub(crate) fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    Some(match cause(error)? {
        RustlsError::InvalidCertificate(wrong) => match wrong {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the server's certificate was not signed by an authority that is trusted here: trust the one that \
                 signed it"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "dial the server by a name that its certificate has, or say which name to want instead"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired, or the clock here is wrong"
            }
            _ => return None,
        },
        RustlsError::InvalidMessage(_) => {
            "the server does not answer in TLS: perhaps this port is a plain one"
        }
        RustlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure,
        ) => {
            "the server wants a certificate of this client, or another one: give one, with its key, that an \
              authority signed which the server trusts"
        }
        _ => return None,
    })
}

/// The error of TLS among the causes of this one.
fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e RustlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // What an I/O error wraps is not among its sources, only what that one wraps.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
