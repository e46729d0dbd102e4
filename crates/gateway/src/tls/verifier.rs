//! Whether a server is believed to be who it should be.

use std::sync::Arc;

use evergate_config::UpstreamTls;
use evergate_pki::{Authorities, Particulars, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// What a pool wants of its servers' certificates. That a server has the key of the certificate it
/// shows is wanted in any case.
#[derive(Debug)]
pub(crate) struct Verifier {
    provider: Arc<CryptoProvider>,
    belief: Belief,
}

/// Who is believed.
#[derive(Debug)]
enum Belief {
    /// Whoever answers (`verify = false`).
    Everybody,
    /// Whom an authority vouches for, and who stands in the bundle: a certificate that signed
    /// itself, as small sites make them, is no authority for others.
    Vouched { verifier: Arc<WebPkiServerVerifier>, authorities: Authorities },
}

impl Verifier {
    /// Compiles `settings`.
    ///
    /// # Errors
    /// If rustls refuses the authorities.
    pub(crate) fn compile(settings: &UpstreamTls) -> Result<Arc<Self>, String> {
        let provider = provider();
        if !settings.verify {
            return Ok(Arc::new(Self { provider, belief: Belief::Everybody }));
        }
        let named = settings.ca.as_ref().map(|file| file.content.clone());
        let authorities = named.unwrap_or_else(Authorities::public);
        let roots = Arc::clone(authorities.roots());
        let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let verifier = builder.build().map_err(|error| error.to_string())?;
        Ok(Arc::new(Self { provider, belief: Belief::Vouched { verifier, authorities } }))
    }
}

/// Whether a certificate that is known by itself is good for `name` at `now`.
fn is_good_for(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let refuse = |why| Err(Error::InvalidCertificate(why));
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    match Particulars::read(certificate) {
        None => refuse(CertificateError::BadEncoding),
        Some(life) if now.as_secs() < life.not_before => refuse(CertificateError::NotValidYet),
        Some(life) if now.as_secs() > life.not_after => refuse(CertificateError::Expired),
        Some(_) => Ok(()),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.belief {
            Belief::Everybody => Ok(ServerCertVerified::assertion()),
            Belief::Vouched { authorities, .. } if authorities.holds(certificate) => {
                is_good_for(certificate, name, now).map(|()| ServerCertVerified::assertion())
            }
            Belief::Vouched { verifier, .. } => {
                verifier.verify_server_cert(certificate, between, name, ocsp, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evergate_config::FileOf;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    /// A certificate that signed itself, as `openssl req -x509` makes it.
    fn own(name: &str) -> (String, CertificateDer<'static>) {
        let mut wanted = CertificateParams::new(vec![name.to_owned()]).unwrap();
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = wanted.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (certificate.pem(), certificate.der().clone())
    }

    fn ask(
        ca: &str,
        shown: &CertificateDer<'static>,
        name: &str,
        at: Duration,
    ) -> Result<(), Error> {
        let content = Authorities::parse(ca.as_bytes()).unwrap();
        let ca = Some(FileOf { path: "ca.pem".into(), content });
        let verifier = Verifier::compile(&UpstreamTls { ca, ..UpstreamTls::default() }).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let at = UnixTime::since_unix_epoch(at);
        verifier.verify_server_cert(shown, &[], &name, &[], at).map(|_| ())
    }

    #[test]
    fn a_certificate_that_stands_in_the_bundle_is_believed_for_its_name_and_time() {
        let now = Duration::from_secs(1_800_000_000);
        let (pem, der) = own("plc.plant.example");
        assert_eq!(ask(&pem, &der, "plc.plant.example", now), Ok(()));
        assert!(ask(&pem, &der, "other.example", now).is_err(), "another name");
        let long_after = Duration::from_secs(100_000_000_000);
        let late = ask(&pem, &der, "plc.plant.example", long_after);
        assert_eq!(late, Err(Error::InvalidCertificate(CertificateError::Expired)));
        let (_, stranger) = own("plc.plant.example");
        assert!(ask(&pem, &stranger, "plc.plant.example", now).is_err(), "another key");
    }
}
