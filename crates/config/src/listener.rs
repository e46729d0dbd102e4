//! `[listener.NAME]`: where clients connect, and the bounds on what they may do.

use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, key};
use crate::model::{Limits, Listener};
use crate::reader::Section;
use crate::{address, duration, size, tls};

/// Bytes of a request head that every client may count on.
const HEADER_BYTES_LEAST: u32 = 1024;
/// Bytes of a request target that every client may count on.
const URI_BYTES_LEAST: u32 = 256;

/// `[listener.NAME]`
pub(crate) static KEYS: &[Key] = &[
    key(
        "bind",
        Kind::List(&Kind::Address),
        Absent::Error,
        "Addresses to listen on; port 0 lets the system choose.",
    ),
    key("tls", Kind::Table(tls::KEYS), Absent::Means("plain HTTP"), "HTTPS instead of HTTP.")
        .example("{ certs = [{ cert = \"web.pem\", key = \"web.key\" }] }"),
    key(
        "http2",
        Kind::Flag,
        Absent::Is("true"),
        "Whether HTTP/2 is spoken too: with TLS if the client offers it (ALPN), without if it begins \
         so.",
    ),
    key(
        "proxy_protocol",
        Kind::Flag,
        Absent::Is("false"),
        "Whether each connection begins with a PROXY header, version 1 or 2; only \
         `trusted_proxies` may then connect.",
    ),
    key(
        "trusted_proxies",
        Kind::List(&Kind::Network),
        Absent::Means("nobody"),
        "Whose X-Forwarded-For, X-Forwarded-Proto and Forwarded are believed.",
    ),
    key("limits", Kind::Table(LIMITS), Absent::Means("the defaults below"), "Bounds on clients."),
];

/// `limits`
static LIMITS: &[Key] = &[
    key("connections", Kind::Number(1, 10_000_000), Absent::Is("20000"), "Connections at once."),
    key(
        "connections_per_ip",
        Kind::Number(1, 10_000_000),
        Absent::Is("128"),
        "Connections at once from one address.",
    ),
    key("header", Kind::Size, Absent::Is("32KiB"), "Bytes of a request head; past that, 431."),
    key(
        "headers",
        Kind::Number(1, 10_000),
        Absent::Is("100"),
        "Fields of a request head; past that, 431.",
    ),
    key("uri", Kind::Size, Absent::Is("8KiB"), "Bytes of a request target; past that, 414."),
    key("body", Kind::Size, Absent::Is("10MiB"), "Bytes of a request body; past that, 413."),
    key(
        "header_timeout",
        Kind::Duration,
        Absent::Is("10s"),
        "From a request's first byte to the end of its head; past that, 408.",
    ),
    key(
        "idle_timeout",
        Kind::Duration,
        Absent::Is("60s"),
        "Silence on a kept connection or a tunnel before it is closed.",
    ),
    key(
        "requests",
        Kind::Number(1, 1_000_000_000),
        Absent::Is("1000"),
        "Requests on a connection.",
    ),
    key(
        "body_rate_min",
        Kind::Rate,
        Absent::Is("1KiB/s"),
        "Slowest pace of a body, either way, after `body_grace`; `\"0B/s\"` is any.",
    ),
    key("body_grace", Kind::Delay, Absent::Is("5s"), "Time before `body_rate_min` counts."),
];

/// Decodes one listener.
pub(crate) fn decode(section: &Section<'_>) -> Listener {
    if let Some(bind) = section.get("bind")
        && bind.is_empty_list()
    {
        bind.report(
            Diagnostic::error("empty-list", format!("`{}` listens nowhere", section.path))
                .help("write an address, such as `bind = [\"0.0.0.0:8080\"]`"),
        );
    }
    let proxy_protocol = section.flag("proxy_protocol");
    let trusted_proxies = section.list("trusted_proxies", address::network);
    let trusts_nobody = section.get("trusted_proxies").is_none_or(|list| list.is_empty_list());
    if proxy_protocol
        && trusts_nobody
        && let Some(value) = section.get("proxy_protocol")
    {
        let message = format!("`{}` lets nobody connect", value.path);
        value.report(
            Diagnostic::error("no-trusted-proxies", message)
                .help("name who sends the header: `trusted_proxies = [\"10.0.0.0/8\"]`"),
        );
    }
    Listener {
        bind: section.list("bind", address::socket),
        tls: section.section("tls").map(|section| tls::decode(&section)),
        http2: section.flag("http2"),
        proxy_protocol,
        trusted_proxies,
        limits: decode_limits(&section.section_or_empty("limits")),
    }
}

fn decode_limits(section: &Section<'_>) -> Limits {
    Limits {
        connections: section.number("connections"),
        connections_per_ip: section.number("connections_per_ip"),
        header: section.parsed_or_default("header", size::small(HEADER_BYTES_LEAST)),
        headers: section.number("headers"),
        uri: section.parsed_or_default("uri", size::small(URI_BYTES_LEAST)),
        body: section.parsed_or_default("body", size::parse),
        header_timeout: section.parsed_or_default("header_timeout", duration::positive),
        idle_timeout: section.parsed_or_default("idle_timeout", duration::positive),
        requests: section.number("requests"),
        body_rate_min: section.parsed_or_default("body_rate_min", size::rate),
        body_grace: section.parsed_or_default("body_grace", duration::parse),
    }
}
