//! Certificates in the effective configuration: the paths of their files, never what is in them.

use super::{Line, list, path, table, text, time, word};
use crate::acme::CHALLENGES;
use crate::model::{Acme, Certificate, Tls, UpstreamTls};
use crate::tls::{CLIENT_AUTHS, VERSIONS};

/// `tls` of a listener.
pub(super) fn listener_table(tls: &Tls) -> String {
    let mut lines = Vec::new();
    if !tls.certs.is_empty() {
        lines.push(("certs", list(tls.certs.iter().map(|certificate| table(&pair(certificate))))));
    }
    lines.extend(tls.acme.iter().map(|acme| ("acme", text(acme))));
    lines.push(("client_auth", word(&CLIENT_AUTHS, tls.client_auth)));
    lines.extend(tls.client_ca.iter().map(|file| ("client_ca", path(&file.path))));
    lines.extend(tls.client_crl.iter().map(|file| ("client_crl", path(&file.path))));
    lines.push(("min_version", word(&VERSIONS, tls.min_version)));
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
    let mut lines = vec![("directory", text(&acme.directory))];
    lines.extend(acme.email.iter().map(|email| ("email", text(email))));
    lines.push(("domains", list(acme.domains.iter().map(|domain| text(domain)))));
    lines.push(("challenge", word(&CHALLENGES, acme.challenge)));
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
