//! `[heartbeat]` and `[peer.NAME]`: the other machines, and how they are heard of.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use evergate_core::peer::{PATHS_MAX, Policy};

use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, key};
use crate::model::{Heartbeat, HttpQuestion, Peer};
use crate::probe;
use crate::reader::{Fault, Section};
use crate::value::Value;
use crate::{address, duration, node, track};

/// Bytes that a shared secret should have at least: as many as what it makes of a message.
pub(crate) const SECRET_BYTES_LEAST: usize = 16;
/// Shortest time between two heartbeats.
const INTERVAL_LEAST: Duration = Duration::from_millis(10);
/// Longest time between two heartbeats.
const INTERVAL_MAX: Duration = Duration::from_secs(10);
/// Most things that are asked about a machine, of each kind.
const QUESTIONS_MAX: usize = 4;

/// `[heartbeat]`
pub(crate) static HEARTBEAT: &[Key] = &[
    key("port", Kind::Number(1, 65_535), Absent::Is("7947"), "UDP port, the same on all machines."),
    key(
        "interval",
        Kind::Duration,
        Absent::Is("100ms"),
        "Time between two heartbeats on each path.",
    ),
    key(
        "missing",
        Kind::Number(1, 100),
        Absent::Is("3"),
        "How many in a row must be missing for a path to count as dead.",
    ),
    key(
        "secret",
        Kind::Secret,
        Absent::Means("heartbeats are believed as they are"),
        "What heartbeats are sealed with, the same on all machines.",
    ),
];

/// `[peer.NAME]`
pub(crate) static KEYS: &[Key] = &[
    key(
        "addresses",
        Kind::List(&Kind::Ip),
        Absent::Error,
        "Its addresses, one for each path to it, in different networks if there are any: so a dead \
         machine is told from a dead link.",
    )
    .example("[\"10.0.0.12\", \"192.168.7.12\"]"),
    key(
        "tcp",
        Kind::List(&Kind::Address),
        Absent::Means("not asked"),
        "Where it should accept connections; the answers are shown as evidence and decide nothing.",
    )
    .example("[\"10.0.0.12:443\"]"),
    key(
        "http",
        Kind::List(&Kind::Text),
        Absent::Means("not asked"),
        "What it should answer with a status from 200 to 399; shown as evidence, too.",
    )
    .example("[\"http://10.0.0.12/health\"]"),
];

/// Decodes `[heartbeat]`.
pub(crate) fn heartbeat(section: &Section<'_>) -> Heartbeat {
    let policy = Policy {
        interval: section
            .parsed_or_default("interval", duration::between(INTERVAL_LEAST, INTERVAL_MAX)),
        missing: section.number("missing"),
        port: section.number("port"),
    };
    let secret = section.parsed("secret", node::secret);
    warn_if_short(section, "secret", secret.as_ref());
    Heartbeat { policy, secret }
}

/// Warns of `[heartbeat]` if there is nobody to exchange any with.
pub(crate) fn warn_if_alone(written: &Value<'_>) {
    let message = "`[heartbeat]` has no effect: there is no `[peer.NAME]`";
    written.report(
        Diagnostic::warning("unused", message).help("name the other machine, or remove it"),
    );
}

/// Warns of a secret that could be found by trying.
pub(crate) fn warn_if_short(
    section: &Section<'_>,
    name: &str,
    secret: Option<&crate::model::Secret>,
) {
    let is_short = secret.is_some_and(|secret| secret.expose().len() < SECRET_BYTES_LEAST);
    if let Some(value) = section.get(name).filter(|_| is_short) {
        let message = format!(
            "`{}` is shorter than {SECRET_BYTES_LEAST} letters: it can be guessed",
            value.path
        );
        value.report(
            Diagnostic::warning("short-secret", message)
                .help("make a long one, for example with `openssl rand -hex 32`"),
        );
    }
}

/// Decodes one machine.
pub(crate) fn decode(section: &Section<'_>) -> Peer {
    Peer {
        addresses: distinct(section, "addresses", PATHS_MAX, path),
        tcp: distinct(section, "tcp", QUESTIONS_MAX, address::socket),
        http: distinct(section, "http", QUESTIONS_MAX, question),
    }
}

/// A list without doubles and with a bound; if the key must be there it must not be empty either.
pub(crate) fn distinct<T: PartialEq>(
    section: &Section<'_>,
    name: &str,
    most: usize,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> Vec<T> {
    let mut list = Vec::new();
    for item in section.items(name) {
        let Some(one) = item.parsed(&parse) else { continue };
        if list.contains(&one) {
            item.refuse_twice();
        } else {
            list.push(one);
        }
    }
    let Some(value) = section.get(name) else { return list };
    if value.is_empty_list() {
        let message = format!("`{}` is empty", value.path);
        value.report(
            Diagnostic::error("empty-list", message)
                .help("name at least one, or leave the key out if it may be left out"),
        );
    } else if list.len() > most {
        let message = format!("`{}` has {} items; the most is {most}", value.path, list.len());
        value.report(Diagnostic::error("too-many", message).help("name fewer"));
    }
    list
}

/// An address that can be one machine's.
pub(crate) fn machine(text: &str) -> Result<IpAddr, Fault> {
    let ip = track::address(text)?;
    let is_of_many = ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    match ip.is_unspecified() || is_of_many {
        true => Err(Fault::new("bad-address", "is no address of one machine")
            .help("write an address of the other machine: \"10.0.0.12\"")),
        false => Ok(ip),
    }
}

/// An address of another machine, on whichever link.
fn path(text: &str) -> Result<IpAddr, Fault> {
    let ip = machine(text)?;
    // Which link it is on cannot be said here.
    if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        return Err(Fault::new("bad-address", "is link-local: there is one on every link")
            .help("write an address that is the other machine's alone, such as \"fd00::12\""));
    }
    Ok(ip)
}

/// `http://IP[:PORT]/path`
fn question(text: &str) -> Result<HttpQuestion, Fault> {
    let fault = |complaint: &str| {
        Fault::new("bad-url", complaint)
            .help("write \"http://10.0.0.12/health\" or \"http://10.0.0.12:8080/health\"")
    };
    if text.starts_with("https://") {
        return Err(fault("is asked over plain HTTP only"));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(fault("does not begin with http://"));
    };
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = host
        .parse::<SocketAddr>()
        .or_else(|_| bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 80)))
        .map_err(|_| fault("names no IP address: a name could not be looked up in time"))?;
    Ok(HttpQuestion { address, path: probe::path(path)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_machine() {
        for address in ["10.0.0.12", "fd00::12", "2001:db8::12"] {
            assert!(path(address).is_ok(), "{address}");
        }
        for address in
            ["0.0.0.0", "224.0.0.18", "255.255.255.255", "ff02::12", "fe80::12", "edge-b"]
        {
            assert!(path(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_question_is_a_url_with_an_address_and_is_shown_as_one() {
        for url in ["http://10.0.0.12/health", "http://10.0.0.12:81/", "http://[fd00::2]/a?b=c"] {
            assert_eq!(question(url).expect(url).to_string(), url);
        }
        assert_eq!(question("http://10.0.0.12").expect("a URL").path, "/");
        for url in ["https://10.0.0.1/", "10.0.0.1", "http://edge-b/", "http://10.0.0.1/ü"] {
            assert!(question(url).is_err(), "{url}");
        }
    }
}
