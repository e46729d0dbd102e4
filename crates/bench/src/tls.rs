//! TLS as the generator speaks it: one suite, one group, nothing resumed.
//!
//! TLS 1.3 with AES-128-GCM and X25519 is what browsers put first. Offering nothing else makes
//! every contender do the same arithmetic, whatever it would have preferred.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
};

/// What the generator offers, in OpenSSL's words; for programs that are told on a command line.
pub const SUITE: &str = "TLS_AES_128_GCM_SHA256";
/// See [`SUITE`].
pub const GROUP: &str = "X25519";

/// How connections of a load are secured.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Asks for `name` and takes only `certificate`. The server's signature is not verified: it
    /// has no bearing on what the server does, and takes the generator longer than all the rest.
    pub fn pinned(name: &str, certificate: CertificateDer<'static>) -> anyhow::Result<Self> {
        Self::new(name, Some(certificate))
    }

    /// Asks for `name` and takes whatever certificate comes.
    pub fn unverified(name: &str) -> anyhow::Result<Self> {
        Self::new(name, None)
    }

    fn new(name: &str, certificate: Option<CertificateDer<'static>>) -> anyhow::Result<Self> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![ring::kx_group::X25519],
            ..ring::default_provider()
        });
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pin { certificate, schemes }))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name: ServerName::try_from(name.to_owned())? })
    }

    pub(crate) fn connection(&self) -> Result<ClientConnection, Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }
}

/// Compares certificates instead of judging them.
#[derive(Debug)]
struct Pin {
    /// `None` takes any.
    certificate: Option<CertificateDer<'static>>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.certificate {
            Some(certificate) if certificate != end_entity => {
                Err(CertificateError::UnknownIssuer.into())
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

#[cfg(test)]
mod tests;
