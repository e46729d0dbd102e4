//! PEM (RFC 7468): the text form in which certificates, keys and revocation lists are handed over.

use std::fmt;

use rustls::pki_types::pem::{Error, PemObject};

/// Why a PEM text cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PemError {
    /// It holds nothing of the kind wanted; what that is.
    Nothing(&'static str),
    /// It holds something else than was wanted; what was wanted, and what is there.
    Other(&'static str, &'static str),
    /// It is the binary form.
    Der,
    /// The private key in it opens with a passphrase only.
    Encrypted,
    /// A section is broken.
    Broken(String),
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(wanted) => write!(f, "it holds no {wanted} in PEM form"),
            Self::Other(wanted, found) => write!(f, "it holds a {found}, not a {wanted}"),
            Self::Der => f.write_str("it is in the binary form DER, not in PEM"),
            Self::Encrypted => f.write_str("its private key is encrypted with a passphrase"),
            Self::Broken(why) => write!(f, "its PEM is broken: {why}"),
        }
    }
}

/// What the labels of sections stand for (RFC 7468).
const LABELS: [(&[u8], &str); 8] = [
    (b"CERTIFICATE", "certificate"),
    (b"TRUSTED CERTIFICATE", "certificate in OpenSSL's own form"),
    (b"CERTIFICATE REQUEST", "certificate request"),
    (b"NEW CERTIFICATE REQUEST", "certificate request"),
    (b"X509 CRL", "certificate revocation list"),
    (b"PUBLIC KEY", "public key"),
    (b"OPENSSH PRIVATE KEY", "key of OpenSSH"),
    (b"PKCS7", "PKCS #7 bundle"),
];

/// Every section of the kind `T`; at least one.
pub(crate) fn all<T: PemObject>(text: &[u8], wanted: &'static str) -> Result<Vec<T>, PemError> {
    let sections: Result<Vec<T>, Error> = T::pem_slice_iter(text).collect();
    match sections {
        Ok(sections) if sections.is_empty() => Err(instead(text, wanted)),
        Ok(sections) => Ok(sections),
        Err(error) => Err(broken(text, wanted, &error)),
    }
}

/// The first section of the kind `T`.
pub(crate) fn first<T: PemObject>(text: &[u8], wanted: &'static str) -> Result<T, PemError> {
    T::from_pem_slice(text).map_err(|error| broken(text, wanted, &error))
}

/// What the text holds in place of what was wanted.
fn instead(text: &[u8], wanted: &'static str) -> PemError {
    /// What DER begins with: a sequence.
    const SEQUENCE: u8 = 0x30;
    let Some(label) = labels(text).next() else {
        let is_der = text.first() == Some(&SEQUENCE) && !text.is_ascii();
        return if is_der { PemError::Der } else { PemError::Nothing(wanted) };
    };
    if label.ends_with(b"PRIVATE KEY") && label != b"OPENSSH PRIVATE KEY" {
        return PemError::Other(wanted, "private key");
    }
    match LABELS.iter().find(|(known, _)| *known == label) {
        Some((_, found)) => PemError::Other(wanted, found),
        None => PemError::Nothing(wanted),
    }
}

/// Whether the text holds a private key that only a passphrase opens (RFC 5958, RFC 1421).
pub(crate) fn is_encrypted(text: &[u8]) -> bool {
    labels(text).any(|label| label == b"ENCRYPTED PRIVATE KEY")
        || lines(text).any(|line| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED"))
}

/// The labels of its sections.
fn labels(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(text).filter_map(|line| line.strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----"))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii)
}

fn broken(text: &[u8], wanted: &'static str, error: &Error) -> PemError {
    match error {
        Error::NoItemsFound => instead(text, wanted),
        Error::MissingSectionEnd { end_marker } => PemError::Broken(format!(
            "the line `-----END {}-----` is missing",
            String::from_utf8_lossy(end_marker).trim_end()
        )),
        Error::IllegalSectionStart { line } => PemError::Broken(format!(
            "the line `{}` begins no section",
            String::from_utf8_lossy(line).trim_end()
        )),
        // The text itself is never repeated: it may be a key's.
        _ => PemError::Broken("a section is not Base64".to_owned()),
    }
}
