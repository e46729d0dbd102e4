//! `[acme.NAME]`: where certificates are had from.

use std::net::IpAddr;

use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, Noun, key, words};
use crate::model::{Acme, Challenge, Config, Listener};
use crate::reader::{Fault, Reader, Section};
use crate::{certificate, duration};

/// Names of one certificate: Let's Encrypt takes no more.
const DOMAINS_MAX: usize = 100;

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Ports that an authority comes to (RFC 8555, 8.3; RFC 8737, 3).
const HTTP_PORT: u16 = 80;
const TLS_PORT: u16 = 443;

/// `challenge`
pub(crate) const CHALLENGES: [(&str, Challenge); 2] =
    [("tls-alpn-01", Challenge::TlsAlpn01), ("http-01", Challenge::Http01)];

/// `[acme.NAME]`
pub(crate) static KEYS: &[Key] = &[
    key(
        "directory",
        Kind::Text,
        Absent::Means("that of Let's Encrypt"),
        "URL of the authority's directory; HTTPS.",
    )
    .example("\"https://acme-v02.api.letsencrypt.org/directory\""),
    key(
        "staging",
        Kind::Flag,
        Absent::Is("false"),
        "Let's Encrypt's authority for trials, whose certificates nobody believes.",
    ),
    key("email", Kind::Text, Absent::Means("none"), "Whom the authority may write to.")
        .example("\"ops@example.org\""),
    key(
        "domains",
        Kind::List(&Kind::Text),
        Absent::Error,
        "Names to have a certificate for, one for all of them.",
    )
    .example("[\"api.example.org\"]"),
    key(
        "challenge",
        Kind::Choice(&words(&CHALLENGES)),
        Absent::Is("tls-alpn-01"),
        "How the authority sees that the names are ours: in a TLS handshake on port 443, or by a \
         plain request on port 80.",
    ),
    key(
        "ca",
        Kind::Path,
        Absent::Means("whom browsers believe"),
        "Certificates, as PEM, of those who vouch for the authority's own HTTPS.",
    )
    .example("\"authority.pem\""),
    key(
        "renew_before",
        Kind::Duration,
        Absent::Means("a third of its life"),
        "How long before its end a certificate is renewed, where the authority does not say when.",
    )
    .example("\"20d\""),
];

/// Decodes one authority; `None` if nothing can be had from it.
pub(crate) fn decode(section: &Section<'_>) -> Option<Acme> {
    let staging = section.flag("staging");
    let directory = section.parsed("directory", directory);
    if staging && let Some(value) = section.get("directory") {
        value.report(
            Diagnostic::error(
                "two-directories",
                format!("`{}` has both `directory` and `staging`", section.path),
            )
            .help("`staging` is Let's Encrypt's authority for trials: keep one of them"),
        );
    }
    let default = if staging { LETS_ENCRYPT_STAGING } else { LETS_ENCRYPT };
    Some(Acme {
        directory: directory.unwrap_or_else(|| default.to_owned()),
        email: section.parsed("email", email),
        domains: decode_domains(section),
        challenge: section.choice("challenge", &CHALLENGES),
        ca: section.get("ca").and_then(|value| certificate::authorities(&value)),
        renew_before: section.parsed("renew_before", duration::positive),
    })
}

fn decode_domains(section: &Section<'_>) -> Vec<String> {
    let Some(value) = section.get("domains") else { return Vec::new() };
    if value.is_empty_list() {
        value.report(
            Diagnostic::error("empty-list", format!("`{}` names no domain", value.path)).help(
                "write the names to have a certificate for: `domains = [\"api.example.org\"]`",
            ),
        );
    }
    let mut domains: Vec<String> = Vec::new();
    for item in value.items() {
        let Some(name) = item.parsed(domain) else { continue };
        if domains.contains(&name) {
            item.refuse_twice();
        } else {
            domains.push(name);
        }
    }
    if domains.len() > DOMAINS_MAX {
        let message = format!("`{}` has more than {DOMAINS_MAX} names", value.path);
        value.report(
            Diagnostic::error("too-many", message)
                .help("make several `[acme.NAME]`, and a listener for each"),
        );
    }
    domains
}

/// Warns of authorities that cannot reach us as they must.
pub(crate) fn warn(reader: &Reader<'_>, config: &Config) {
    let listens = |port: u16, is_fit: fn(&Listener) -> bool| {
        let mut fit = config.listeners.values().filter(|listener| is_fit(listener));
        fit.any(|listener| listener.bind.iter().any(|address| address.port() == port))
    };
    let is_used = |name: &String| {
        let mut tls = config.listeners.values().filter_map(|listener| listener.tls.as_ref());
        tls.any(|tls| tls.acme.as_ref() == Some(name))
    };
    for (name, acme) in config.acme.iter().filter(|(name, _)| is_used(name)) {
        let (port, what, is_there) = match acme.challenge {
            Challenge::TlsAlpn01 => {
                (TLS_PORT, "with `tls`", listens(TLS_PORT, |listener| listener.tls.is_some()))
            }
            Challenge::Http01 => {
                (HTTP_PORT, "without `tls`", listens(HTTP_PORT, |listener| listener.tls.is_none()))
            }
        };
        let place = reader.places.borrow().get(&(Noun::Acme, name.clone())).copied();
        let (Some(place), false) = (place, is_there) else { continue };
        let path = format!("acme.{name}");
        let message = format!("`{path}` is asked on port {port}, where no listener {what} is");
        reader.report(
            Diagnostic::warning("unreachable-challenge", message)
                .at(reader.locate(place))
                .about(&path)
                .help(format!("let a listener {what} bind \"0.0.0.0:{port}\" and \"[::]:{port}\"; if the port is forwarded from elsewhere, all is well")),
        );
    }
}

fn directory(text: &str) -> Result<String, Fault> {
    let fault = |complaint: &str| {
        Fault::new("bad-url", complaint)
            .help(format!("write the authority's directory, such as \"{LETS_ENCRYPT}\""))
    };
    let Some(rest) = text.strip_prefix("https://") else {
        return Err(fault("is not the URL of a directory, which begins with https://"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return Err(fault("has no host"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains('#') {
        return Err(fault("holds a letter that cannot stand in a URL"));
    }
    Ok(text.to_owned())
}

fn email(text: &str) -> Result<String, Fault> {
    let fault = || Fault::new("bad-email", "is not an email address");
    if let Some(address) = text.strip_prefix("mailto:") {
        return Err(fault().help(format!("write \"{address}\"")));
    }
    let parts = text.split_once('@');
    let is_address = parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if !is_address || !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['?', ',']) {
        return Err(fault().help("write one address, such as \"ops@example.org\""));
    }
    Ok(text.to_owned())
}

/// A name that an authority can give a certificate for, in lower case.
fn domain(text: &str) -> Result<String, Fault> {
    const NAME_BYTES_MAX: usize = 253;
    const LABEL_BYTES_MAX: usize = 63;
    let fault = |complaint: &str| Fault::new("bad-domain", complaint);
    if text.starts_with("*.") {
        return Err(Fault::new(
            "not-supported-yet",
            "is a wildcard, which this version of Evergate cannot have from an authority",
        )
        .help("name each host; wildcards need a challenge by DNS"));
    }
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(fault("is an address; authorities vouch for names")
            .help("write the name that clients ask for"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        return Err(fault("is a URL").help(format!(
            "write its host alone: \"{}\"",
            rest.split(['/', ':']).next().unwrap_or_default()
        )));
    }
    if !text.is_ascii() {
        return Err(fault("holds letters beyond ASCII")
            .help("write it as DNS does, with `xn--` (see `idn2 NAME`)"));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > NAME_BYTES_MAX || !text.split('.').all(label) {
        return Err(fault("is not a name of a host").help(
            "write a name such as \"api.example.org\", without port and without a dot at its end",
        ));
    }
    Ok(text.to_ascii_lowercase())
}
