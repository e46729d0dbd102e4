//! What a listener shows its clients: certificates by name, and what it wants of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use evergate_config::{self as config, ClientAuth, TlsVersion};
use evergate_pki::{Identity, Particulars, Tickets, provider};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme, SupportedProtocolVersion, version};

use crate::issuance::SharedIssuance;

#[cfg(test)]
mod tests;

/// ALPN names (RFC 7301, RFC 9113, RFC 8737).
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";
/// HTTP/2.
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";
/// Whoever speaks it wants to see a proof and nothing else.
pub(crate) const ALPN_ACME: &[u8] = b"acme-tls/1";

/// What all listeners have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// Certificates that come and go.
    pub(crate) issuance: SharedIssuance,
    /// Keys of session tickets.
    pub(crate) tickets: Arc<Tickets>,
}

/// The TLS of one listener, compiled.
#[derive(Debug)]
pub(crate) struct Termination {
    /// As configured.
    pub(crate) settings: config::Tls,
    /// What handshakes go by.
    pub(crate) server: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    http2: bool,
}

/// The certificates of one listener.
#[derive(Debug)]
struct Certificates {
    identities: Vec<Identity>,
    /// Positions in `identities`, by lower-case name, `*.` in front included.
    by_name: HashMap<String, Vec<usize>>,
    acme: Option<String>,
    issuance: SharedIssuance,
}

/// What was shown to a client, and what it had asked for.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The name asked for (SNI), lower case.
    pub(crate) server_name: Option<String>,
    /// What the certificate says.
    pub(crate) certificate: Arc<Particulars>,
}

thread_local! {
    /// rustls asks for a certificate within the call that hands it the client's first message, and
    /// tells nobody what the answer was.
    static CHOICE: RefCell<Option<Choice>> = const { RefCell::new(None) };
}

/// What was chosen on this thread since the last call.
pub(crate) fn take_choice() -> Option<Choice> {
    CHOICE.take()
}

#[cfg(test)]
impl Default for Common {
    fn default() -> Self {
        let tickets = Tickets::new(0).expect("there is randomness");
        Self { issuance: SharedIssuance::default(), tickets: Arc::new(tickets) }
    }
}

impl Termination {
    /// Compiles `settings`, or goes on with `before` where they are the same.
    ///
    /// # Errors
    /// If rustls refuses them; what was checked in the configuration it takes.
    pub(crate) fn compile(
        settings: &config::Tls,
        http2: bool,
        common: &Common,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, String> {
        if let Some(before) = before
            && before.settings == *settings
            && before.http2 == http2
        {
            return Ok(Arc::clone(before));
        }
        let certificates = Arc::new(Certificates::new(settings, &common.issuance));
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(settings.min_version))
            .map_err(|error| error.to_string())?;
        let builder = match verifier(settings)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let resolver = Arc::clone(&certificates);
        let mut server = builder.with_cert_resolver(resolver);
        server.alpn_protocols = alpn(http2, settings.acme.is_some());
        server.ticketer = common.tickets.under(&policy(settings));
        // What both can do and costs us least; clients list strong ciphers in any order.
        server.ignore_client_order = true;
        server.send_tls13_tickets = 1;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(Self {
            settings: settings.clone(),
            server: Arc::new(server),
            certificates,
            http2,
        }))
    }

    /// What clients need, in a few words.
    pub(crate) fn in_words(&self) -> String {
        let version = match self.settings.min_version {
            TlsVersion::Tls12 => "TLS 1.2+",
            TlsVersion::Tls13 => "TLS 1.3",
        };
        let auth = match self.settings.client_auth {
            ClientAuth::Off => "",
            ClientAuth::Optional => ", mTLS optional",
            ClientAuth::Required => ", mTLS required",
        };
        format!("https ({version}{auth})")
    }

    /// Whether a request for `host` on a connection that was shown `shown` should have come over
    /// another one (RFC 9110, 7.4): the host has a certificate of its own here, or that of nobody
    /// in particular, which `shown` is not.
    pub(crate) fn misdirects(&self, host: &str, shown: &Particulars) -> bool {
        if shown.covers(host) {
            return false;
        }
        let chosen = self.certificates.choose(Some(host), None);
        // A certificate that was renewed since has the same names.
        chosen.is_some_and(|chosen| chosen.particulars().names != shown.names)
    }
}

impl PartialEq for Termination {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.http2 == other.http2
    }
}

impl Eq for Termination {}

static FROM_TLS12: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
static FROM_TLS13: [&SupportedProtocolVersion; 1] = [&version::TLS13];

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        TlsVersion::Tls12 => &FROM_TLS12,
        TlsVersion::Tls13 => &FROM_TLS13,
    }
}

fn alpn(http2: bool, acme: bool) -> Vec<Vec<u8>> {
    let names = [(http2, ALPN_HTTP2), (true, ALPN_HTTP1), (acme, ALPN_ACME)];
    names.iter().filter(|(spoken, _)| *spoken).map(|(_, name)| name.to_vec()).collect()
}

fn verifier(settings: &config::Tls) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let may_lack = match settings.client_auth {
        ClientAuth::Off => return Ok(None),
        ClientAuth::Optional => true,
        ClientAuth::Required => false,
    };
    let authorities = settings.client_ca.as_ref().ok_or("client_auth needs client_ca")?;
    let roots = Arc::clone(authorities.content.roots());
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if let Some(revocations) = &settings.client_crl {
        builder = builder
            .with_crls(revocations.content.lists().iter().cloned())
            .only_check_end_entity_revocation()
            // A list says nothing about the certificates of another issuer.
            .allow_unknown_revocation_status();
    }
    if may_lack {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map(Some).map_err(|error| format!("client_ca: {error}"))
}

/// What a session's ticket is bound to: rustls does not verify the client again when a session goes
/// on, so one that began under other rules must not.
fn policy(settings: &config::Tls) -> Vec<u8> {
    let mut policy = match settings.client_auth {
        ClientAuth::Off => return Vec::new(),
        ClientAuth::Optional => b"optional".to_vec(),
        ClientAuth::Required => b"required".to_vec(),
    };
    let mut push = |part: &[u8]| {
        policy.extend_from_slice(&(part.len() as u64).to_be_bytes());
        policy.extend_from_slice(part);
    };
    if let Some(authorities) = &settings.client_ca {
        for root in &authorities.content.roots().roots {
            push(root.subject.as_ref());
            push(root.subject_public_key_info.as_ref());
        }
    }
    push(b"revoked");
    for list in settings.client_crl.iter().flat_map(|file| file.content.lists()) {
        push(list.as_ref());
    }
    policy
}

impl Certificates {
    fn new(settings: &config::Tls, issuance: &SharedIssuance) -> Self {
        let identities: Vec<Identity> =
            settings.certs.iter().map(|certificate| certificate.identity.clone()).collect();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, identity) in identities.iter().enumerate() {
            for name in &identity.particulars().names {
                by_name.entry(name.clone()).or_default().push(index);
            }
        }
        let issuance = Arc::clone(issuance);
        Self { identities, by_name, acme: settings.acme.clone(), issuance }
    }

    /// The certificate for whoever asks for `name` and takes these signatures: that of the exact
    /// name, that of a wildcard, or else the first. Of several the first that can sign so.
    fn choose(&self, name: Option<&str>, schemes: Option<&[SignatureScheme]>) -> Option<Identity> {
        let issued = self.acme.as_ref().and_then(|acme| self.issuance.identity(acme));
        if let Some(name) = name {
            let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            for wanted in [Some(name), wildcard.as_deref()].into_iter().flatten() {
                let ours = self.by_name.get(wanted).into_iter().flatten();
                let ours = ours.map(|index| &self.identities[*index]);
                let names = |identity: &&Identity| {
                    identity.particulars().names.iter().any(|name| name == wanted)
                };
                let all = ours.chain(issued.as_ref().filter(names));
                if let Some(identity) = first_able(all, schemes) {
                    return Some(identity.clone());
                }
            }
        }
        first_able(self.identities.iter().chain(issued.as_ref()), schemes).cloned()
    }
}

/// The first that can sign as the client wants, or the first.
fn first_able<'a>(
    identities: impl Iterator<Item = &'a Identity> + Clone,
    schemes: Option<&[SignatureScheme]>,
) -> Option<&'a Identity> {
    let mut able = identities.clone().filter(|identity| {
        schemes.is_none_or(|schemes| identity.certified().key.choose_scheme(schemes).is_some())
    });
    let mut all = identities;
    able.next().or_else(|| all.next())
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked the name, but not made it lower case.
        let server_name = hello.server_name().map(str::to_ascii_lowercase);
        let only_acme = hello
            .alpn()
            .is_some_and(|mut names| names.next() == Some(ALPN_ACME) && names.next().is_none());
        let identity = if only_acme && self.acme.is_some() {
            self.issuance.handshake_proof(server_name.as_deref()?)
        } else {
            self.choose(server_name.as_deref(), Some(hello.signature_schemes()))
        }?;
        let certificate = Arc::clone(identity.particulars());
        CHOICE.set(Some(Choice { server_name, certificate }));
        Some(Arc::clone(identity.certified()))
    }
}
