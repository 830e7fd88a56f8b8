//! Certificates that live as long as a test. No claim is proved here.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;

/// An authority, and the directory where it writes what it signs.
pub(crate) struct Authority {
    /// Its own certificate.
    pub(crate) ca: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of a test");
        let certificate = params.self_signed(&key).unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, certificate.pem()).unwrap();
        Authority {
            ca,
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    /// Signs a certificate for this name, or IP address. It has no CommonName, as names are looked for elsewhere now.
    pub(crate) fn sign(&self, name: &str) -> Identity {
        self.sign_as(name, DistinguishedName::new())
    }

    /// The same with a CommonName, as most had it once.
    pub(crate) fn sign_old(&self, name: &str) -> Identity {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, name);
        self.sign_as(name, subject)
    }

    fn sign_as(&self, name: &str, subject: DistinguishedName) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name = subject;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity {
            certificate: self.dir.path().join(format!("{name}.pem")),
            key: self.dir.path().join(format!("{name}.key")),
        };
        std::fs::write(&identity.certificate, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    /// A path beside what was signed.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Identity {
    /// Copies both files over those of another identity.
    pub(crate) fn replace(&self, other: &Identity) {
        replace(&self.certificate, &other.certificate);
        replace(&self.key, &other.key);
    }
}

/// Copies a file over another one, in one step.
pub(crate) fn replace(new: &Path, old: &Path) {
    let beside = old.with_extension("new");
    std::fs::copy(new, &beside).unwrap();
    std::fs::rename(&beside, old).unwrap();
}
