//! What a pool shows its servers, and what it wants of them.

use std::future::poll_fn;
use std::sync::Arc;

use evergate_config::{Protocol, UpstreamTls};
use evergate_pki::provider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error};

use crate::tls::termination::{ALPN_HTTP1, ALPN_HTTP2};
use crate::tls::verifier::Verifier;
use crate::wire::{HandshakeError, Wire};

/// The TLS of a pool's servers, compiled.
#[derive(Debug)]
pub(crate) struct Origination {
    settings: UpstreamTls,
    protocol: Protocol,
    client: Arc<ClientConfig>,
    /// For checks, which speak HTTP/1.
    check: Arc<ClientConfig>,
}

/// How a server of a pool is met.
#[derive(Clone, Debug)]
pub(crate) struct Meeting {
    origination: Arc<Origination>,
    name: ServerName<'static>,
}

/// Who connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// A request.
    Traffic,
    /// A check.
    Check,
}

impl Origination {
    /// Compiles `settings`, or goes on with `before` where they are the same: its sessions can be
    /// resumed.
    ///
    /// # Errors
    /// If rustls refuses them; what was checked in the configuration it takes.
    pub(crate) fn compile(
        settings: &UpstreamTls,
        protocol: Protocol,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, String> {
        if let Some(before) = before
            && before.settings == *settings
            && before.protocol == protocol
        {
            return Ok(Arc::clone(before));
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Verifier::compile(settings)?);
        let mut client = match &settings.identity {
            Some(certificate) => {
                let key = Arc::clone(certificate.identity.certified());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
            None => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        let check = Arc::new(client.clone());
        client.alpn_protocols = match protocol {
            Protocol::Http1 => vec![ALPN_HTTP1.to_vec()],
            Protocol::Http2 => vec![ALPN_HTTP2.to_vec()],
        };
        let settings = settings.clone();
        Ok(Arc::new(Self { settings, protocol, client: Arc::new(client), check }))
    }
}

impl Meeting {
    /// Meets the server at `host`, or whom the configuration says it is.
    ///
    /// # Errors
    /// If that is no name and no address.
    pub(crate) fn new(origination: &Arc<Origination>, host: &str) -> Result<Self, String> {
        let name = origination.settings.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("`{name}` is no name that a certificate can be for"))?;
        Ok(Self { origination: Arc::clone(origination), name })
    }

    /// Speaks TLS on `wire`; says in words what was wrong if that fails.
    pub(crate) async fn shake_hands(
        &self,
        wire: &mut Wire,
        purpose: Purpose,
    ) -> Result<(), String> {
        let config = match purpose {
            Purpose::Traffic => &self.origination.client,
            Purpose::Check => &self.origination.check,
        };
        wire.ask_for_tls(Arc::clone(config), self.name.clone())
            .map_err(|error| describe(&error))?;
        let shaken = poll_fn(|cx| wire.poll_handshake(cx)).await;
        shaken.map_err(|error| match error {
            HandshakeError::Gone => "the server closed the connection".to_owned(),
            HandshakeError::NotTls => "the server speaks no TLS".to_owned(),
            HandshakeError::Refused(error) => describe(&error),
        })?;
        let agreed = wire.tls().and_then(|session| session.state().alpn_protocol());
        let wants_http2 =
            purpose == Purpose::Traffic && self.origination.protocol == Protocol::Http2;
        if wants_http2 && agreed != Some(ALPN_HTTP2) {
            return Err("the server does not speak HTTP/2".to_owned());
        }
        Ok(())
    }
}

impl PartialEq for Meeting {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.origination, &other.origination) && self.name == other.name
    }
}

/// What went wrong, as an operator would say it.
fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "certificate not valid yet".to_owned()
            }
            CertificateError::UnknownIssuer => "unknown issuer".to_owned(),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "certificate is for another name".to_owned()
            }
            CertificateError::Revoked => "certificate revoked".to_owned(),
            CertificateError::BadSignature => {
                "certificate not signed by the issuer that it names".to_owned()
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "certificate is not for servers".to_owned()
            }
            other => format!("certificate refused: {other}"),
        },
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants a client certificate".to_owned()
        }
        Error::AlertReceived(alert) => format!("the server refused: {alert:?}"),
        other => other.to_string(),
    }
}
