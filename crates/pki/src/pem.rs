//! PEM (RFC 7468): the text form in which certificates, keys and revocation lists are handed over.

use std::fmt;

use rustls::pki_types::pem::{Error, PemObject};

/// Why a PEM text cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PemError {
    /// It holds nothing of the kind wanted; what that is.
    Nothing(&'static str),
    /// A section is broken.
    Broken(String),
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(wanted) => write!(f, "it holds no {wanted} in PEM form"),
            Self::Broken(why) => write!(f, "its PEM is broken: {why}"),
        }
    }
}

/// Every section of the kind `T`; at least one.
pub(crate) fn all<T: PemObject>(text: &[u8], wanted: &'static str) -> Result<Vec<T>, PemError> {
    let sections: Result<Vec<T>, Error> = T::pem_slice_iter(text).collect();
    match sections {
        Ok(sections) if sections.is_empty() => Err(PemError::Nothing(wanted)),
        Ok(sections) => Ok(sections),
        Err(error) => Err(broken(wanted, &error)),
    }
}

/// The first section of the kind `T`.
pub(crate) fn first<T: PemObject>(text: &[u8], wanted: &'static str) -> Result<T, PemError> {
    T::from_pem_slice(text).map_err(|error| broken(wanted, &error))
}

fn broken(wanted: &'static str, error: &Error) -> PemError {
    match error {
        Error::NoItemsFound => PemError::Nothing(wanted),
        Error::MissingSectionEnd { end_marker } => PemError::Broken(format!(
            "the line `{}` is missing",
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
