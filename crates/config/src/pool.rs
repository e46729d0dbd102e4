//! `[pool.NAME]`: servers that answer alike, how one is chosen, and how they are judged.

use std::collections::BTreeMap;

use evergate_core::{balance, health, retry};

use crate::changes::{Subject, way_out};
use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, Noun, key, later, words};
use crate::model::{AllDown, Check, Pool, Probe, Protocol, Server, Target};
use crate::reader::{Fault, Section};
use crate::route::read_template;
use crate::{address, duration, field, probe, size, template, upstream_tls, url};

/// `protocol`
pub(crate) const PROTOCOLS: [(&str, Protocol); 2] =
    [("http1", Protocol::Http1), ("http2", Protocol::Http2)];

/// `balance`
pub(crate) const BALANCES: [(&str, balance::Policy); 6] = [
    ("round-robin", balance::Policy::RoundRobin),
    ("least-conn", balance::Policy::LeastConn),
    ("random", balance::Policy::Random),
    ("p2c", balance::Policy::P2c),
    ("ip-hash", balance::Policy::IpHash),
    ("hash", balance::Policy::Hash),
];

/// `[pool.NAME]`
pub(crate) static KEYS: &[Key] = &[
    key(
        "balance",
        Kind::Choice(&words(&BALANCES)),
        Absent::Is("round-robin"),
        "How a server is chosen: in turn, the least busy for its weight, any, the better of two, by \
         client address, or by `hash_key`.",
    ),
    key(
        "hash_key",
        Kind::Template,
        Absent::Means("none; `balance = \"hash\"` needs it"),
        "Requests with the same key go to the same server.",
    )
    .example("\"{header:x-user}\""),
    key(
        "protocol",
        Kind::Choice(&words(&PROTOCOLS)),
        Absent::Is("http1"),
        "What is spoken with the servers; gRPC needs HTTP/2.",
    ),
    key(
        "tls",
        Kind::Table(upstream_tls::KEYS),
        Absent::Means("the defaults below"),
        "How servers with an `https` URL are met.",
    )
    .example("{ ca = \"plant-ca.pem\" }"),
    key(
        "proxy_protocol",
        Kind::Flag,
        Absent::Is("false"),
        "Whether connections to servers begin with a PROXY header of version 2; each then serves \
         one request.",
    ),
    later("sticky", "keeping a client on its server by a cookie"),
    key(
        "servers",
        Kind::Named(Noun::Server, SERVER),
        Absent::Error,
        "The servers, by names that logs and commands use.",
    )
    .example("{ a = { url = \"http://10.0.0.7:8080\" } }"),
    later("discover", "servers found by DNS or in a registry"),
    key(
        "connect_timeout",
        Kind::Duration,
        Absent::Is("1s"),
        "For one attempt to connect to a server.",
    ),
    key(
        "keepalive",
        Kind::Number(0, 100_000),
        Absent::Is("64"),
        "Idle connections kept for each thread and server; 0 keeps none.",
    ),
    key(
        "retry",
        Kind::Table(RETRY),
        Absent::Means("the defaults below"),
        "Second tries elsewhere.",
    ),
    later("breaker", "failing fast while a pool fails"),
    key(
        "outlier",
        Kind::Table(OUTLIER),
        Absent::Means("the defaults below"),
        "Leaves out a server whose requests fail.",
    ),
    later("fallback", "old or fixed responses while a pool fails"),
    key(
        "all_down",
        Kind::Choice(&["503", "try-all"]),
        Absent::Is("503"),
        "When no server is up: answer 503, or act as if all were up.",
    ),
    key(
        "slow_start",
        Kind::Delay,
        Absent::Is("0s"),
        "Time in which a server that comes back is given its whole weight, bit by bit.",
    ),
    key(
        "check",
        Kind::Table(CHECK),
        Absent::Means("none: servers count as up until requests fail"),
        "Active checks; all must pass.",
    )
    .example("{ tcp = {} }"),
];

/// `servers.NAME`
static SERVER: &[Key] = &[
    key(
        "url",
        Kind::Url,
        Absent::Means("`app`"),
        "Where it is: `http://host[:port]` or `https://host[:port]`.",
    ),
    key(
        "app",
        Kind::Name(Noun::App),
        Absent::Means("`url`"),
        "The instances of `[app.NAME]`, each a server of its own.",
    ),
    key(
        "weight",
        Kind::Number(0, 65_535),
        Absent::Is("1"),
        "Share of requests beside the others; 0 gets none.",
    ),
];

static RETRY: &[Key] = &[
    key("attempts", Kind::Number(1, 10), Absent::Is("2"), "Tries in all; 1 never retries."),
    key(
        "on",
        Kind::List(&Kind::Choice(&words(&RETRY_ON))),
        Absent::Is("connect 502 503 504"),
        "What is worth another try; `\"non-idempotent\"` lets POST and PATCH be sent twice.",
    ),
    key(
        "budget",
        Kind::Percent,
        Absent::Is("20%"),
        "Retries as a share of requests over ten seconds.",
    ),
];

/// Adds a condition.
type Add = fn(&mut retry::Conditions);

/// `retry.on`, and the condition that each word adds.
const RETRY_ON: [(&str, Add); 7] = [
    ("connect", |on| on.connect = true),
    ("timeout", |on| on.timeout = true),
    ("500", |on| on.status_500 = true),
    ("502", |on| on.status_502 = true),
    ("503", |on| on.status_503 = true),
    ("504", |on| on.status_504 = true),
    ("non-idempotent", |on| on.non_idempotent = true),
];

static OUTLIER: &[Key] = &[
    key(
        "consecutive",
        Kind::Number(0, 1_000_000),
        Absent::Is("5"),
        "Failures in a row that leave a server out; 0 never does.",
    ),
    key(
        "eject",
        Kind::Duration,
        Absent::Is("30s"),
        "How long the first time; the n-th time in a row n times as long.",
    ),
    key(
        "max_ejected",
        Kind::Percent,
        Absent::Is("50%"),
        "Share of the pool that may be left out; one server always may.",
    ),
];

static CHECK: &[Key] = &[
    key(
        "http",
        Kind::Table(CHECK_HTTP),
        Absent::Means("not done"),
        "A GET whose status must be expected.",
    )
    .example("{ path = \"/health\" }"),
    key("tcp", Kind::Table(CHECK_TCP), Absent::Means("not done"), "A connection must be accepted.")
        .example("{ every = \"2s\" }"),
    key(
        "grpc",
        Kind::Table(CHECK_GRPC),
        Absent::Means("not done"),
        "The service must be `SERVING` (`grpc.health.v1.Health`); needs `protocol = \"http2\"`.",
    )
    .example("{ service = \"shop.Cart\" }"),
    later("icmp", "pings"),
    later("exec", "checks by a program"),
    later("heartbeat", "servers that report themselves"),
    later("metrics", "weights from metrics"),
];

static CHECK_HTTP: &[Key] = &[
    key("path", Kind::Text, Absent::Is("/"), "Path and query.").example("\"/health\""),
    key("host", Kind::Text, Absent::Means("the server's address"), "`Host` that is sent.")
        .example("\"api.example.org\""),
    key("expect", Kind::List(&Kind::Statuses), Absent::Is("200-299"), "Statuses that pass."),
    EVERY,
    TIMEOUT,
    FALL,
    RISE,
];

static CHECK_GRPC: &[Key] = &[
    key(
        "service",
        Kind::Text,
        Absent::Means("the server as a whole"),
        "The service that is asked about.",
    )
    .example("\"shop.Cart\""),
    EVERY,
    TIMEOUT,
    FALL,
    RISE,
];

static CHECK_TCP: &[Key] = &[EVERY, TIMEOUT, FALL, RISE];

const EVERY: Key = key("every", Kind::Duration, Absent::Is("2s"), "Time between two checks.");
const TIMEOUT: Key = key(
    "timeout",
    Kind::Duration,
    Absent::Means("1s, or `every` if that is shorter"),
    "After this a check counts as failed.",
)
.example("\"1s\"");
const FALL: Key =
    key("fall", Kind::Number(1, 1000), Absent::Is("3"), "Failures in a row that take it down.");
const RISE: Key =
    key("rise", Kind::Number(1, 1000), Absent::Is("2"), "Successes in a row that bring it back.");

/// Decodes one pool.
pub(crate) fn decode(section: &Section<'_>) -> Pool {
    let balance = decode_balance(section);
    let owner = (Noun::Pool, section.name.as_str());
    let hash_key = read_template(section, "hash_key", owner, template::parse);
    check_hash_key(section, balance);
    let servers = decode_servers(section);
    let tls = upstream_tls::decode(&section.section_or_empty("tls"));
    let protocol = section.choice("protocol", &PROTOCOLS);
    if let Some(section) = section.section("tls") {
        let is_https = |server: &Server| matches!(server.target, Target::Url { tls: true, .. });
        upstream_tls::warn(&section, servers.values().any(is_https));
    }
    Pool {
        balance,
        hash_key: hash_key.unwrap_or_default(),
        servers,
        connect_timeout: section.parsed_or_default("connect_timeout", duration::positive),
        keepalive: section.number("keepalive"),
        retry: decode_retry(&section.section_or_empty("retry")),
        outlier: decode_outlier(&section.section_or_empty("outlier")),
        all_down: section.parsed_or_default("all_down", all_down),
        slow_start: section.parsed_or_default("slow_start", duration::parse),
        checks: decode_checks(&section.section_or_empty("check"), protocol),
        protocol,
        tls,
        proxy_protocol: section.flag("proxy_protocol"),
    }
}

fn decode_balance(section: &Section<'_>) -> balance::Policy {
    section.choice("balance", &BALANCES)
}

fn check_hash_key(section: &Section<'_>, balance: balance::Policy) {
    let is_hash = balance == balance::Policy::Hash;
    if is_hash && !section.has("hash_key") {
        let balance = section.get("balance").expect("hash is not the default");
        balance.report(
            Diagnostic::error("missing-key", format!("`{}` needs `hash_key`", section.path))
                .help("write what to hash, such as `hash_key = \"{header:x-user}\"`"),
        );
    }
    if let Some(key) = section.get("hash_key")
        && !is_hash
    {
        key.report(
            Diagnostic::warning("unused-key", format!("`{}` has no effect", key.path))
                .help("write `balance = \"hash\"`, or remove it"),
        );
    }
}

fn decode_servers(section: &Section<'_>) -> BTreeMap<String, Server> {
    let Some(value) = section.get("servers") else { return BTreeMap::new() };
    let overlay = &section.reader.overlay;
    let is_changed = |server: &Section<'_>| {
        let (pool, name) = (section.name.clone(), server.name.clone());
        overlay.covers(&Subject::Server { pool, server: name }, server.place)
    };
    let is_empty = value.is_empty_table();
    let mut servers = value.named();
    let written = servers.len();
    servers.retain(|server| !is_changed(server));
    servers.extend(overlay.servers(section.reader, &section.name));
    if servers.is_empty() && (is_empty || written > 0) {
        let refusal = Diagnostic::error("no-servers", format!("`{}` has no servers", section.path));
        value.report(match overlay.hiding(Some(&section.name)) {
            hiding if hiding.is_empty() => {
                refusal.help("write `servers = { a = { url = \"http://10.0.0.7:8080\" } }`")
            }
            hiding => refusal.help(format!("changes hide them: {}", way_out(hiding))),
        });
    }
    let servers: BTreeMap<_, _> = servers
        .iter()
        .filter_map(|server| Some((server.name.clone(), decode_server(server)?)))
        .collect();
    if !servers.is_empty() && servers.values().all(|server| server.weight == 0) {
        value.report(
            Diagnostic::warning("no-weight", format!("no server of `{}` has weight", section.path))
                .help("give one a `weight` above 0, or none gets requests"),
        );
    }
    servers
}

fn decode_server(server: &Section<'_>) -> Option<Server> {
    let url = server.parsed("url", url::server);
    let app = server.get("app").and_then(|value| value.refer()).map(Target::App);
    let weight = server.number("weight");
    match (server.has("url"), server.has("app")) {
        (true, true) => server.fail(
            "two-targets",
            format!("`{}` has both `url` and `app`", server.path),
            "keep one of them, or make two servers",
        ),
        (false, false) => server.fail(
            "missing-key",
            format!("`{}` needs `url` or `app`", server.path),
            "write `url = \"http://10.0.0.7:8080\"`, or `app = \"NAME\"` of an `[app.NAME]`",
        ),
        (true, false) | (false, true) => {}
    }
    Some(Server { target: url.or(app)?, weight })
}

fn decode_retry(section: &Section<'_>) -> retry::Policy {
    let mut on = retry::Conditions::default();
    for add in section.choices("on", &RETRY_ON) {
        add(&mut on);
    }
    retry::Policy {
        attempts_max: section.number("attempts"),
        on,
        budget_percent: u32::from(section.parsed_or_default("budget", size::percent)),
    }
}

fn decode_outlier(section: &Section<'_>) -> health::OutlierPolicy {
    let consecutive = match section.number("consecutive") {
        0 => u32::MAX,
        failures => failures,
    };
    health::OutlierPolicy {
        consecutive,
        eject: section.parsed_or_default("eject", duration::positive),
        ejected_percent_max: section.parsed_or_default("max_ejected", size::percent),
    }
}

fn all_down(word: &str) -> Result<AllDown, Fault> {
    match word {
        "503" => Ok(AllDown::Unavailable),
        "try-all" => Ok(AllDown::TryAll),
        "stale" => Err(Fault::new(
            "not-supported-yet",
            "needs stored responses, which this version of Evergate does not have",
        )
        .help("write \"503\" or \"try-all\"")),
        _ => {
            Err(Fault::new("bad-choice", "is not a known value")
                .help("write \"503\" or \"try-all\""))
        }
    }
}

fn decode_checks(section: &Section<'_>, protocol: Protocol) -> Vec<Check> {
    let http = section.section("http").map(|http| Check {
        policy: decode_check_policy(&http),
        probe: Probe::Http {
            path: http.parsed_or_default("path", probe::path),
            host: http.parsed("host", check_host),
            expect: http.list("expect", address::statuses),
        },
    });
    let tcp = section
        .section("tcp")
        .map(|tcp| Check { policy: decode_check_policy(&tcp), probe: Probe::Tcp });
    let grpc = section.section("grpc");
    if let Some(grpc) = &grpc
        && protocol != Protocol::Http2
    {
        grpc.fail(
            "wrong-protocol",
            format!("`{}` needs a pool that speaks HTTP/2", grpc.path),
            "write `protocol = \"http2\"` in the pool",
        );
    }
    let grpc = grpc.map(|grpc| Check {
        policy: decode_check_policy(&grpc),
        probe: Probe::Grpc { service: grpc.parsed("service", check_service).unwrap_or_default() },
    });
    http.into_iter().chain(tcp).chain(grpc).collect()
}

fn decode_check_policy(section: &Section<'_>) -> health::CheckPolicy {
    let every = section.parsed_or_default("every", duration::positive);
    health::CheckPolicy {
        every,
        timeout: probe::timeout(section, every),
        fall: section.number("fall"),
        rise: section.number("rise"),
    }
}

/// Bytes of a service's name; its length is one byte in the message that asks about it.
const SERVICE_BYTES_MAX: usize = 127;

fn check_service(text: &str) -> Result<String, Fault> {
    if text.len() > SERVICE_BYTES_MAX {
        return Err(Fault::new("bad-service", "is longer than 127 bytes")
            .help("write the full name of a service, such as \"shop.Cart\""));
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err(Fault::new("bad-service", "is not the name of a service")
            .help("write its full name, such as \"shop.Cart\", or nothing for the whole server"));
    }
    Ok(text.to_owned())
}

fn check_host(text: &str) -> Result<String, Fault> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains('/') {
        return Err(Fault::new("bad-host", "cannot be a `Host`")
            .help("write a name, such as \"api.example.org\""));
    }
    field::value(text)
}
