//! Certificates that were taken back before their end (RFC 5280, 5).

use std::fmt;

use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::pem::{self, PemError};

/// Certificate revocation lists.
#[derive(Clone, Eq, PartialEq)]
pub struct Revocations {
    lists: Vec<CertificateRevocationListDer<'static>>,
}

impl Revocations {
    /// Reads one or more lists as PEM.
    ///
    /// # Errors
    /// If there is none, or one is not what it should be.
    pub fn parse(text: &[u8]) -> Result<Self, PemError> {
        let lists: Vec<CertificateRevocationListDer<'static>> =
            pem::all(text, "certificate revocation list")?;
        for list in &lists {
            if CertificateRevocationList::from_der(list).is_err() {
                return Err(PemError::Broken("a list is not X.509".to_owned()));
            }
        }
        Ok(Self { lists })
    }

    /// What TLS uses.
    pub fn lists(&self) -> &[CertificateRevocationListDer<'static>] {
        &self.lists
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({})", self.lists.len())
    }
}
