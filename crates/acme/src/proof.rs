//! Proofs that a name is ours: the certificate of TLS-ALPN-01, and proofs that are shown.

use std::sync::Arc;

use evergate_pki::Identity;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Front;

/// A proof on show; it goes when this does, whatever became of the order.
pub(crate) struct Shown {
    front: Arc<dyn Front>,
    what: What,
}

enum What {
    /// By token.
    Http(String),
    /// By name.
    Handshake(String),
}

impl Shown {
    /// RFC 8555, 8.3.
    pub(crate) fn over_http(front: &Arc<dyn Front>, token: &str, answer: &str) -> Self {
        front.prove_over_http(token, answer.to_owned());
        Self { front: Arc::clone(front), what: What::Http(token.to_owned()) }
    }

    /// RFC 8737, 3.
    pub(crate) fn in_handshake(front: &Arc<dyn Front>, name: &str, proof: Identity) -> Self {
        front.prove_in_handshake(name, proof);
        Self { front: Arc::clone(front), what: What::Handshake(name.to_owned()) }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        match &self.what {
            What::Http(token) => self.front.end_http_proof(token),
            What::Handshake(name) => self.front.end_handshake_proof(name),
        }
    }
}

/// The certificate that proves `name` in a handshake: signed by itself, with the digest of the key
/// authorization in a critical extension (RFC 8737, 3).
///
/// # Errors
/// Says what is wrong with the name.
pub(crate) fn certificate(name: &str, digest: &[u8]) -> Result<Identity, String> {
    let words = |error: rcgen::Error| format!("no proof can be made for {name}: {error}");
    let key = KeyPair::generate().map_err(words)?;
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(words)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(words)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Identity::new(vec![certificate.der().clone()], key).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use x509_parser::oid_registry::asn1_rs::oid;
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    #[test]
    fn the_certificate_holds_the_digest_in_a_critical_extension_and_one_name() {
        let digest: Vec<u8> = (0..32).collect();
        let identity = certificate("api.example.org", &digest).unwrap();
        assert_eq!(identity.particulars().names, ["api.example.org"]);
        let (_, parsed) = X509Certificate::from_der(&identity.certified().cert[0]).unwrap();
        // id-pe-acmeIdentifier (RFC 8737, 6.1)
        let found = parsed.get_extension_unique(&oid!(1.3.6.1.5.5.7.1.31)).unwrap().unwrap();
        assert!(found.critical);
        // An OCTET STRING of 32 bytes.
        assert_eq!(found.value[..2], [0x04, 32]);
        assert_eq!(found.value[2..], digest);
        assert_eq!(parsed.subject(), parsed.issuer(), "signed by itself");
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
    }
}
