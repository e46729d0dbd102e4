//! A certificate chain with its private key.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pem::{self, PemError};
use crate::provider::provider;

/// A certificate chain and the private key that belongs to it.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    particulars: Arc<Particulars>,
    /// To tell whether two are the same key.
    key_der: Arc<PrivateKeyDer<'static>>,
}

/// What a certificate says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Particulars {
    /// Names that it is good for (RFC 6125): DNS names, lower case, perhaps with `*.` in front, and
    /// addresses.
    pub names: Vec<String>,
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// First moment it is good, in seconds of Unix time.
    pub not_before: u64,
    /// Last moment it is good, in seconds of Unix time.
    pub not_after: u64,
    /// Serial number, in hexadecimal digits.
    pub serial: String,
}

/// Why a chain and a key make no identity.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IdentityError {
    /// The chain's text.
    Chain(PemError),
    /// The first certificate is not X.509.
    Certificate,
    /// The key's text.
    Key(PemError),
    /// The key is of a kind that cannot be used: which kinds can.
    KeyKind,
    /// The key is not that of the first certificate.
    Mismatch,
}

impl Identity {
    /// Reads a chain, the certificate of the server first, and a private key, each as PEM.
    ///
    /// # Errors
    /// If either cannot be read, or they do not belong together.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<CertificateDer<'static>> =
            pem::all(chain, "certificate").map_err(IdentityError::Chain)?;
        if pem::is_encrypted(key) {
            return Err(IdentityError::Key(PemError::Encrypted));
        }
        let key: PrivateKeyDer<'static> =
            pem::first(key, "private key").map_err(IdentityError::Key)?;
        Self::new(chain, key)
    }

    /// Joins a chain and a private key.
    ///
    /// # Errors
    /// If they do not belong together.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, IdentityError> {
        let particulars = Particulars::read(chain.first().ok_or(IdentityError::Certificate)?)
            .ok_or(IdentityError::Certificate)?;
        let signing = provider()
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| IdentityError::KeyKind)?;
        // Not `CertifiedKey::keys_match`: it refuses the certificates of RFC 8737 for an extension
        // that is critical and unknown to it.
        let public = signing.public_key().ok_or(IdentityError::KeyKind)?;
        if !has_public_key(&chain[0], &public) {
            return Err(IdentityError::Mismatch);
        }
        let certified = CertifiedKey::new(chain, signing);
        Ok(Self {
            key: Arc::new(certified),
            particulars: Arc::new(particulars),
            key_der: Arc::new(key),
        })
    }

    /// The same with an OCSP response (RFC 6960, DER) to be handed out with it.
    pub fn with_ocsp(&self, response: Vec<u8>) -> Self {
        let mut certified = (*self.key).clone();
        certified.ocsp = Some(response);
        Self { key: Arc::new(certified), ..self.clone() }
    }

    /// What TLS uses.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The private key as it was read.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        self.key_der.clone_key()
    }

    /// What the first certificate says about itself.
    pub fn particulars(&self) -> &Arc<Particulars> {
        &self.particulars
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
            && self.key.ocsp == other.key.ocsp
            && self.key_der == other.key_der
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.particulars.names).finish()
    }
}

impl Particulars {
    /// Reads a certificate; `None` if it is not X.509.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names = Vec::new();
        if let Ok(Some(extension)) = certificate.subject_alternative_name() {
            for name in &extension.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                    GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        let seconds = |at: i64| u64::try_from(at).unwrap_or(0);
        Some(Self {
            names,
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
            serial: certificate.serial.to_str_radix(16),
        })
    }

    /// From when on its end is worth a word, in seconds of Unix time: the last two weeks, or the last
    /// third of a shorter life. Whoever renews does it earlier.
    pub fn warn_from(&self) -> u64 {
        const TWO_WEEKS: u64 = 14 * 24 * 60 * 60;
        let life = self.not_after.saturating_sub(self.not_before);
        self.not_after - TWO_WEEKS.min(life / 3)
    }

    /// Whether it is good for `host`, a lower-case name or an address without brackets; `*` stands
    /// for one whole label (RFC 6125, 6.4.3).
    pub fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(first, rest)| {
                !first.is_empty() && rest == parent && host.parse::<IpAddr>().is_err()
            }),
            None => name == host,
        })
    }
}

fn has_public_key(certificate: &CertificateDer<'_>, key: &SubjectPublicKeyInfoDer<'_>) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.public_key().raw == key.as_ref())
}

fn address(bytes: &[u8]) -> Option<String> {
    let address: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        16 => <[u8; 16]>::try_from(bytes).ok()?.into(),
        _ => return None,
    };
    Some(address.to_string())
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(error) => write!(f, "the certificate cannot be used: {error}"),
            Self::Certificate => f.write_str("the certificate is not X.509"),
            Self::Key(error) => write!(f, "the private key cannot be used: {error}"),
            Self::KeyKind => f.write_str(
                "the private key is none of ECDSA P-256, P-384, Ed25519 and RSA of 2048 bits",
            ),
            Self::Mismatch => f.write_str("the private key belongs to another certificate"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_pair_is_read_with_its_names() {
        let (chain, key) = pair(&["Api.Example.org", "*.example.org", "10.0.0.7"]);
        let identity = Identity::parse(chain.as_bytes(), key.as_bytes()).unwrap();
        let particulars = identity.particulars();
        assert_eq!(particulars.names, ["api.example.org", "*.example.org", "10.0.0.7"]);
        for host in ["api.example.org", "x.example.org", "10.0.0.7"] {
            assert!(particulars.covers(host), "{host}");
        }
        for host in ["example.org", "a.b.example.org", ".example.org", "10.0.0.8"] {
            assert!(!particulars.covers(host), "{host}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (chain, _) = pair(&["a.example.org"]);
        let (_, key) = pair(&["a.example.org"]);
        let refused = Identity::parse(chain.as_bytes(), key.as_bytes());
        assert_eq!(refused.unwrap_err(), IdentityError::Mismatch);
    }

    #[test]
    fn what_is_no_pem_is_told_apart() {
        let (chain, key) = pair(&["a.example.org"]);
        let of = |chain: &str, key: &str| {
            Identity::parse(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string()
        };
        assert!(of("hello", &key).contains("holds no certificate"));
        assert!(of(&chain, &chain).contains("it holds a certificate, not a private key"));
        assert!(of(&key, &key).contains("it holds a private key, not a certificate"));
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert!(of(&chain, &encrypted).contains("passphrase"));
        let old = key.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
        assert!(of(&chain, &old).contains("passphrase"));
        assert!(of(&chain[..chain.len() - 30], &key).contains("is missing"));
    }

    #[test]
    fn keys_are_not_printed() {
        let (chain, key) = pair(&["a.example.org"]);
        let identity = Identity::parse(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(format!("{identity:?}"), r#"Identity(["a.example.org"])"#);
    }
}
