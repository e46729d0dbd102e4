//! `[listener.NAME]`: where clients connect, and the bounds on what they may do.

use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, key, later};
use crate::model::{Limits, Listener};
use crate::reader::Section;
use crate::{address, duration, size};

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
    later("tls", "HTTPS"),
    key("http2", Kind::Off, Absent::Is("false"), "HTTP/2; not in this version."),
    key(
        "proxy_protocol",
        Kind::Off,
        Absent::Is("false"),
        "The PROXY protocol in front of each connection; not in this version.",
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
    for (name, what) in [("http2", "HTTP/2"), ("proxy_protocol", "the PROXY protocol")] {
        if section.flag(name) {
            let message = format!("this version of Evergate does not have {what} yet");
            let value = section.get(name).expect("a flag that is true is written");
            value.report(
                Diagnostic::error("not-supported-yet", message)
                    .help(format!("write `{name} = false`, or remove it")),
            );
        }
    }
    if let Some(bind) = section.get("bind")
        && bind.is_empty_list()
    {
        bind.report(
            Diagnostic::error("empty-list", format!("`{}` listens nowhere", section.path))
                .help("write an address, such as `bind = [\"0.0.0.0:8080\"]`"),
        );
    }
    Listener {
        bind: section.list("bind", address::socket),
        tls: None,
        http2: true,
        proxy_protocol: false,
        trusted_proxies: section.list("trusted_proxies", address::network),
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
