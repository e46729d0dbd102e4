//! Things that are right by themselves but cannot be together.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::diagnostic::Diagnostic;
use crate::keys::Noun;
use crate::model::{Config, Host, Route};
use crate::pattern;
use crate::reader::{Place, Reader};

/// Methods that are refused before routing (RFC 9110, 9.3.6 and 9.3.8).
const REFUSED_METHODS: [&str; 2] = ["CONNECT", "TRACE"];

/// Checks addresses and routes against each other.
pub(crate) fn check(reader: &Reader<'_>, config: &Config) {
    check_addresses(reader, config);
    check_routes(reader, config);
    for (name, route) in &config.routes {
        warn_if_impossible(reader, name, route);
    }
    warn_open_admin(reader, config);
}

fn place(reader: &Reader<'_>, noun: Noun, name: &str) -> Option<Place> {
    reader.places.borrow().get(&(noun, name.to_owned())).copied()
}

fn check_addresses(reader: &Reader<'_>, config: &Config) {
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    for (name, listener) in &config.listeners {
        for address in listener.bind.iter().filter(|address| address.port() != 0) {
            let Some(earlier) = taken.insert(*address, name) else { continue };
            let Some(here) = place(reader, Noun::Listener, name) else { continue };
            let message = format!("`listener.{name}` cannot listen on {address} too");
            let diagnostic = Diagnostic::error("address-conflict", message)
                .at(reader.locate(here))
                .about(format!("listener.{name}.bind"));
            reader.report(match place(reader, Noun::Listener, earlier) {
                Some(other) if earlier != name => diagnostic
                    .see(reader.locate(other), "this one listens there already")
                    .help("choose another port, or make one listener of the two"),
                Some(_) | None => diagnostic.help("it stands in its `bind` twice: remove one"),
            });
        }
    }
    for address in config.admin.bind.iter().filter(|address| address.port() != 0) {
        let Some(name) = taken.get(address) else { continue };
        let Some(here) = place(reader, Noun::Listener, name) else { continue };
        reader.report(
            Diagnostic::error(
                "address-conflict",
                format!("`listener.{name}` and `admin` cannot both listen on {address}"),
            )
            .at(reader.locate(here))
            .about("admin.bind")
            .help("choose another port for `admin.bind`"),
        );
    }
}

/// What makes two routes equal: only then nothing decides between them.
fn identity(route: &Route) -> (Host, String, Vec<String>, Vec<String>, Vec<String>) {
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let path: String = {
        let mut in_param = false;
        // The names of parameters decide nothing.
        route
            .path
            .chars()
            .filter(|&c| {
                let was_in_param = in_param;
                in_param = if c == '{' { true } else { c != '}' && in_param };
                !was_in_param || c == '*' || c == '}'
            })
            .collect()
    };
    let headers = route.headers.iter().map(|header| format!("{header:?}")).collect();
    let methods = sorted(route.methods.clone());
    (route.host.clone(), path, methods, sorted(headers), sorted(route.listeners.clone()))
}

fn check_routes(reader: &Reader<'_>, config: &Config) {
    let mut seen = BTreeMap::new();
    for (name, route) in &config.routes {
        let Some(earlier) = seen.insert(identity(route), name) else { continue };
        let (Some(here), Some(other)) =
            (place(reader, Noun::Route, name), place(reader, Noun::Route, earlier))
        else {
            continue;
        };
        report_conflict(reader, (name, here), (earlier, other));
    }
}

fn report_conflict(reader: &Reader<'_>, one: (&str, Place), other: (&str, Place)) {
    let (later, earlier) = if one.1 > other.1 { (one, other) } else { (other, one) };
    let message = format!("`route.{}` and `route.{}` match the same requests", earlier.0, later.0);
    reader.report(
        Diagnostic::error("route-conflict", message)
            .at(reader.locate(later.1))
            .about(format!("route.{}", later.0))
            .see(reader.locate(earlier.1), "nothing decides between it and this one")
            .help("make one more specific, by host, path, `methods` or `headers`, or remove it"),
    );
}

fn warn_if_impossible(reader: &Reader<'_>, name: &str, route: &Route) {
    let Some(here) = place(reader, Noun::Route, name) else { return };
    let by_path = pattern::parse(&route.pattern).ok().and_then(|pattern| pattern.impossible);
    let by_method = !route.methods.is_empty()
        && route.methods.iter().all(|method| REFUSED_METHODS.contains(&method.as_str()));
    let why = match (by_path, by_method) {
        (Some(why), _) => why,
        (None, true) => "CONNECT and TRACE are refused before routing",
        (None, false) => return,
    };
    reader.report(
        Diagnostic::warning("unreachable-route", format!("`route.{name}` can never win: {why}"))
            .at(reader.locate(here))
            .about(format!("route.{name}"))
            .help("mend its match, or remove it"),
    );
}

/// The admin API in the open, readable by everybody.
fn warn_open_admin(reader: &Reader<'_>, config: &Config) {
    let admin = &config.admin;
    let is_open = admin.bind.iter().any(|address| !address.ip().is_loopback())
        && admin.allow.iter().any(|net| !net.addr().is_loopback());
    if !is_open || admin.viewer.is_some() {
        return;
    }
    let message = "everybody in `admin.allow` can read the state of this node";
    reader.report(
        Diagnostic::warning("open-admin", message)
            .in_file(&reader.texts[0].name)
            .about("admin.tokens")
            .help("write `tokens = { viewer = \"${file:/etc/evergate/viewer}\" }` in `[admin]`"),
    );
}
