//! `pool.NAME.tls`: how servers with an `https` URL are met.

use crate::certificate;
use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, key};
use crate::model::{Certificate, UpstreamTls};
use crate::reader::{Fault, Section};
use crate::url;

/// `tls`
pub(crate) static KEYS: &[Key] = &[
    key("verify", Kind::Flag, Absent::Is("true"), "Whether a server's certificate must be good."),
    key(
        "ca",
        Kind::Path,
        Absent::Means("whom browsers believe"),
        "Certificates, as PEM, of those who vouch for servers, or of the servers themselves.",
    )
    .example("\"plant-ca.pem\""),
    key(
        "cert",
        Kind::Path,
        Absent::Means("none"),
        "Certificate, as PEM, for servers that ask for one.",
    )
    .example("\"web.pem\""),
    key("key", Kind::Path, Absent::Means("none; `cert` needs it"), "Its private key as PEM.")
        .example("\"web.key\""),
    key(
        "server_name",
        Kind::Text,
        Absent::Means("the host of the server's URL"),
        "Name that servers are asked for and must have a certificate for.",
    )
    .example("\"api.internal\""),
];

/// Decodes `tls`.
pub(crate) fn decode(section: &Section<'_>) -> UpstreamTls {
    UpstreamTls {
        verify: section.flag("verify"),
        ca: section.get("ca").and_then(|value| certificate::authorities(&value)),
        identity: decode_identity(section),
        server_name: section.parsed("server_name", server_name),
    }
}

fn decode_identity(section: &Section<'_>) -> Option<Certificate> {
    for (name, other) in [("cert", "key"), ("key", "cert")] {
        if let Some(value) = section.get(name)
            && !section.has(other)
        {
            value.report(
                Diagnostic::error("missing-key", format!("`{}` needs `{other}`", section.path))
                    .help("write both: `cert = \"web.pem\"` and `key = \"web.key\"`"),
            );
        }
    }
    certificate::pair(section)
}

/// Warns of keys that do nothing, and of what they leave open.
pub(crate) fn warn(section: &Section<'_>, any_https: bool) {
    if !any_https {
        section.warn(
            "unused-key",
            format!("`{}` has no effect: no server of the pool has an https URL", section.path),
            "write `https://` in the URLs of servers, or remove it",
        );
        return;
    }
    if !section.flag("verify")
        && let Some(value) = section.get("verify")
    {
        value.report(
            Diagnostic::warning(
                "unverified-servers",
                format!("`{}` lets anybody on the way pose as the servers", value.path),
            )
            .help("name who vouches for them instead: `ca = \"plant-ca.pem\"`"),
        );
    }
}

fn server_name(text: &str) -> Result<String, Fault> {
    let fault = |complaint: &str| Fault::new("bad-host", complaint);
    url::check_host(text).map_err(|complaint| {
        fault(complaint).help("write a name such as \"api.internal\", without port")
    })?;
    Ok(text.trim_matches(['[', ']']).to_ascii_lowercase())
}
