//! Certificates in the effective configuration: the paths of their files, never what is in them.

use super::{Line, list, path, table, text, time};
use crate::model::{Acme, Certificate, Challenge, ClientAuth, Tls, TlsVersion, UpstreamTls};

/// `tls` of a listener.
pub(super) fn listener_table(tls: &Tls) -> String {
    let mut lines = Vec::new();
    if !tls.certs.is_empty() {
        lines.push(("certs", list(tls.certs.iter().map(|certificate| table(&pair(certificate))))));
    }
    lines.extend(tls.acme.iter().map(|acme| ("acme", text(acme))));
    let client_auth = match tls.client_auth {
        ClientAuth::Off => "off",
        ClientAuth::Optional => "optional",
        ClientAuth::Required => "required",
    };
    lines.push(("client_auth", text(client_auth)));
    lines.extend(tls.client_ca.iter().map(|file| ("client_ca", path(&file.path))));
    lines.extend(tls.client_crl.iter().map(|file| ("client_crl", path(&file.path))));
    let min_version = match tls.min_version {
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    };
    lines.push(("min_version", text(min_version)));
    lines.push(("handshake_timeout", time(tls.handshake_timeout)));
    table(&lines)
}

/// `tls` of a pool.
pub(super) fn upstream_table(tls: &UpstreamTls) -> String {
    let mut lines = vec![("verify", tls.verify.to_string())];
    lines.extend(tls.ca.iter().map(|file| ("ca", path(&file.path))));
    lines.extend(tls.identity.iter().flat_map(pair));
    lines.extend(tls.server_name.iter().map(|name| ("server_name", text(name))));
    table(&lines)
}

/// `[acme.NAME]`
pub(super) fn acme_keys(acme: &Acme) -> Vec<Line> {
    let challenge = match acme.challenge {
        Challenge::Http01 => "http-01",
        Challenge::TlsAlpn01 => "tls-alpn-01",
    };
    let mut lines = vec![("directory", text(&acme.directory))];
    lines.extend(acme.email.iter().map(|email| ("email", text(email))));
    lines.push(("domains", list(acme.domains.iter().map(|domain| text(domain)))));
    lines.push(("challenge", text(challenge)));
    lines.extend(acme.ca.iter().map(|file| ("ca", path(&file.path))));
    lines.extend(acme.renew_before.iter().map(|before| ("renew_before", time(*before))));
    lines
}

fn pair(certificate: &Certificate) -> Vec<Line> {
    let Certificate { identity: _, cert, key, ocsp } = certificate;
    let mut lines = vec![("cert", path(cert)), ("key", path(key))];
    lines.extend(ocsp.iter().map(|ocsp| ("ocsp", path(ocsp))));
    lines
}
