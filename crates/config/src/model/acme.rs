//! Where certificates are had from.

use std::time::Duration;

use evergate_pki::Authorities;

use super::FileOf;

/// `[acme.NAME]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acme {
    /// URL of the authority's directory; HTTPS. Default: Let's Encrypt, and with `staging = true`
    /// its staging authority, whose certificates nobody believes.
    pub directory: String,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// Names to have a certificate for; one certificate for all of them. At least one, lower case.
    pub domains: Vec<String>,
    /// How it is shown that they are ours. Default: TLS-ALPN-01.
    pub challenge: Challenge,
    /// Who vouches for the authority's own HTTPS. Default: whom browsers believe.
    pub ca: Option<FileOf<Authorities>>,
    /// How long before its end a certificate is renewed, where the authority does not say when.
    /// Default: a third of its life.
    pub renew_before: Option<Duration>,
}

/// How it is shown that a name is ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Challenge {
    /// Over plain HTTP on port 80 (RFC 8555, 8.3).
    Http01,
    /// In the TLS handshake on port 443 (RFC 8737).
    TlsAlpn01,
}
