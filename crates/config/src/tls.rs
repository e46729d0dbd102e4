//! `listener.NAME.tls`: HTTPS, and what clients must show.

use crate::certificate;
use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::keys::{Absent, Key, Kind, Noun, key, words};
use crate::model::{Certificate, ClientAuth, Tls, TlsVersion};
use crate::reader::Section;
use crate::value::Value;

/// `client_auth`
pub(crate) const CLIENT_AUTHS: [(&str, ClientAuth); 3] = [
    ("off", ClientAuth::Off),
    ("optional", ClientAuth::Optional),
    ("required", ClientAuth::Required),
];

/// `min_version`
pub(crate) const VERSIONS: [(&str, TlsVersion); 2] =
    [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];

/// `tls`
pub(crate) static KEYS: &[Key] = &[
    key(
        "certs",
        Kind::List(&Kind::Table(certificate::KEYS)),
        Absent::Means("those of `acme`"),
        "Certificates, chosen by the name that a client asks for; the first is for all other names.",
    )
    .example("[{ cert = \"web.pem\", key = \"web.key\" }]"),
    key(
        "acme",
        Kind::Name(Noun::Acme),
        Absent::Means("those of `certs` alone"),
        "The `[acme.NAME]` whose certificate is served too.",
    ),
    key(
        "client_auth",
        Kind::Choice(&words(&CLIENT_AUTHS)),
        Absent::Is("off"),
        "Whether clients show a certificate; one that is shown must be good.",
    ),
    key(
        "client_ca",
        Kind::Path,
        Absent::Means("none; `client_auth` needs it"),
        "Certificates, as PEM, of those who vouch for clients.",
    )
    .example("\"clients.pem\""),
    key(
        "client_crl",
        Kind::Path,
        Absent::Means("none"),
        "Revocation lists, as PEM: clients' certificates that are good no more.",
    )
    .example("\"clients.crl\""),
    key(
        "min_version",
        Kind::Choice(&words(&VERSIONS)),
        Absent::Is("1.2"),
        "Oldest version of TLS that is spoken.",
    ),
    key(
        "handshake_timeout",
        Kind::Duration,
        Absent::Is("10s"),
        "From the connection to the end of the handshake; past that, it is closed.",
    ),
];

/// Decodes `tls`.
pub(crate) fn decode(section: &Section<'_>) -> Tls {
    let certs: Vec<(Value<'_>, Certificate)> = section
        .items("certs")
        .into_iter()
        .filter_map(|item| {
            let section = item.section()?;
            let certificate = certificate::served(&section);
            Some((section.get("cert")?, certificate?))
        })
        .collect();
    certificate::warn_of_names(&certs);
    let no_certs =
        !section.has("certs") || section.get("certs").is_some_and(|certs| certs.is_empty_list());
    if no_certs && !section.has("acme") {
        section.fail(
            "no-certificate",
            format!("`{}` has no certificate", section.path),
            "write `certs = [{ cert = \"web.pem\", key = \"web.key\" }]`, or `acme = \"NAME\"` of an \
             `[acme.NAME]`",
        );
    }
    let client_auth = section.choice("client_auth", &CLIENT_AUTHS);
    check_clients(section, client_auth);
    Tls {
        certs: certs.into_iter().map(|(_, certificate)| certificate).collect(),
        acme: section.get("acme").and_then(|value| value.refer()),
        client_auth,
        client_ca: section.get("client_ca").and_then(|value| certificate::authorities(&value)),
        client_crl: section.get("client_crl").and_then(|value| certificate::revocations(&value)),
        min_version: section.choice("min_version", &VERSIONS),
        handshake_timeout: section.parsed_or_default("handshake_timeout", duration::positive),
    }
}

fn check_clients(section: &Section<'_>, client_auth: ClientAuth) {
    match client_auth {
        ClientAuth::Off => {
            for name in ["client_ca", "client_crl"] {
                let Some(value) = section.get(name) else { continue };
                value.report(
                    Diagnostic::warning("unused-key", format!("`{}` has no effect", value.path))
                        .help("write `client_auth = \"optional\"` or \"required\", or remove it"),
                );
            }
        }
        ClientAuth::Optional | ClientAuth::Required => {
            let Some(value) = section.get("client_auth") else { return };
            if section.has("client_ca") {
                return;
            }
            value.report(
                Diagnostic::error("missing-key", format!("`{}` needs `client_ca`", section.path))
                    .help("name who vouches for clients: `client_ca = \"clients.pem\"`"),
            );
        }
    }
}
