//! Who is believed when they vouch for a certificate.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::pem::{self, PemError};

/// Authorities whose signature makes a certificate believed.
#[derive(Clone)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    /// To tell whether two are the same.
    ders: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// Reads a bundle of certificates as PEM.
    ///
    /// # Errors
    /// If it holds none, or one that cannot be an authority.
    pub fn parse(text: &[u8]) -> Result<Self, PemError> {
        let ders: Vec<CertificateDer<'static>> = pem::all(text, "certificate")?;
        let mut roots = RootCertStore::empty();
        for der in &ders {
            roots
                .add(der.clone())
                .map_err(|error| PemError::Broken(format!("a certificate: {error}")))?;
        }
        Ok(Self { roots: Arc::new(roots), ders })
    }

    /// The authorities that browsers believe, as of the build of this binary.
    pub fn public() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self { roots: Arc::new(roots), ders: Vec::new() }
    }

    /// Whether this very certificate stands in the bundle.
    pub fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.ders.iter().any(|der| der == certificate)
    }

    /// What TLS uses.
    pub fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.ders == other.ders
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.roots.len())
    }
}
