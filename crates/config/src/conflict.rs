//! Things that are right by themselves but cannot be together.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use evergate_core::id::RouteId;
use evergate_core::route::{Conflict, HostPattern, Spec, Table};

use crate::diagnostic::Diagnostic;
use crate::keys::Noun;
use crate::model::{Config, Host, Route};
use crate::reader::{Place, Reader};

/// Methods that are refused before routing (RFC 9110, 9.3.6 and 9.3.8).
const REFUSED_METHODS: [&str; 2] = ["CONNECT", "TRACE"];

/// Checks addresses and routes against each other.
pub(crate) fn check(reader: &Reader<'_>, config: &Config) {
    check_addresses(reader, config);
    check_routes(reader, config);
}

/// Warns of what cannot have been meant.
pub(crate) fn warn(reader: &Reader<'_>, config: &Config) {
    // Only routes of one host and path can stand in each other's way.
    let mut together: BTreeMap<(&Host, &str), Vec<(&str, &Route)>> = BTreeMap::new();
    for (name, route) in &config.routes {
        together.entry((&route.host, &route.path)).or_default().push((name, route));
    }
    for routes in together.values() {
        for (name, route) in routes {
            warn_if_unreachable(reader, config, name, route, routes);
        }
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
            let (Some(here), Some(other)) =
                (place(reader, Noun::Listener, name), place(reader, Noun::Listener, earlier))
            else {
                continue;
            };
            report_address(reader, *address, (name, here), (earlier, other));
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
            .help("choose another port for one of them"),
        );
    }
}

fn report_address(
    reader: &Reader<'_>,
    address: SocketAddr,
    one: (&str, Place),
    other: (&str, Place),
) {
    let (later, earlier) = if one.1 > other.1 { (one, other) } else { (other, one) };
    let message = format!("`listener.{}` cannot listen on {address} too", later.0);
    let diagnostic = Diagnostic::error("address-conflict", message)
        .at(reader.locate(later.1))
        .about(format!("listener.{}.bind", later.0));
    reader.report(if later.0 == earlier.0 {
        diagnostic.help("it stands in its `bind` twice: remove one")
    } else {
        diagnostic
            .see(reader.locate(earlier.1), "this one listens there already")
            .help("choose another port, or make one listener of the two")
    });
}

fn check_routes(reader: &Reader<'_>, config: &Config) {
    let names: Vec<&String> = config.routes.keys().collect();
    let placed = |id: RouteId| {
        Some((names[id.index()].as_str(), place(reader, Noun::Route, names[id.index()])?))
    };
    for conflict in Table::build(&config.route_specs()).err().unwrap_or_default() {
        match conflict {
            Conflict::Ambiguous { first, second } => {
                if let (Some(one), Some(other)) = (placed(first), placed(second)) {
                    report_conflict(reader, one, other);
                }
            }
            Conflict::Invalid { route, why } => {
                let Some((name, place)) = placed(route) else { continue };
                reader.report(
                    Diagnostic::error("bad-match", format!("the match of `route.{name}`: {why}"))
                        .at(reader.locate(place))
                        .about(format!("route.{name}.match")),
                );
            }
        }
    }
}

fn report_conflict(reader: &Reader<'_>, one: (&str, Place), other: (&str, Place)) {
    let (later, earlier) = if one.1 > other.1 { (one, other) } else { (other, one) };
    let message = format!(
        "`route.{}` and `route.{}` take the same requests, and neither is more specific",
        earlier.0, later.0
    );
    reader.report(
        Diagnostic::error("route-conflict", message)
            .at(reader.locate(later.1))
            .about(format!("route.{}", later.0))
            .see(reader.locate(earlier.1), "the other one")
            .help("make one more specific, by host, path, `methods` or `headers`, or remove it"),
    );
}

/// A route whose every request is refused before it, or taken by a route that goes first.
fn warn_if_unreachable(
    reader: &Reader<'_>,
    config: &Config,
    name: &str,
    route: &Route,
    together: &[(&str, &Route)],
) {
    let Some(here) = place(reader, Noun::Route, name) else { return };
    let warning = |why: String| {
        Diagnostic::warning("unreachable-route", format!("`route.{name}` can never win: {why}"))
            .at(reader.locate(here))
            .about(format!("route.{name}"))
    };
    let refused = |method: &String| REFUSED_METHODS.contains(&method.as_str());
    if !route.methods.is_empty() && route.methods.iter().all(refused) {
        let why = "CONNECT and TRACE are refused before routing".to_owned();
        reader.report(warning(why).help("mend its `methods`, or remove it"));
        return;
    }
    let first = together.iter().find(|(other, first)| {
        *other != name && is_covered(route, first, config) && rank(first) > rank(route)
    });
    let Some((first, _)) = first else { return };
    let why = format!("`route.{first}` has more conditions and takes all its requests");
    let diagnostic = warning(why).help("remove it, or give it another match");
    reader.report(match place(reader, Noun::Route, first) {
        Some(other) => diagnostic.see(reader.locate(other), "this one goes first"),
        None => diagnostic,
    });
}

/// Whether `first`, of the same host and path, takes every request that `route` would.
fn is_covered(route: &Route, first: &Route, config: &Config) -> bool {
    let all = config.listeners.keys().collect::<Vec<_>>();
    let serves = |r: &Route, name: &String| r.listeners.is_empty() || r.listeners.contains(name);
    let takes = |method: &String| {
        first.methods.contains(method)
            || (method == "HEAD" && first.methods.iter().any(|method| method == "GET"))
    };
    debug_assert!((&first.host, &first.path) == (&route.host, &route.path), "kept together");
    first.headers.iter().all(|header| route.headers.contains(header))
        && all.into_iter().all(|name| !serves(route, name) || serves(first, name))
        && (first.methods.is_empty()
            || (!route.methods.is_empty() && route.methods.iter().all(takes)))
}

/// As [`Table`] ranks routes of one path: by the number of conditions.
fn rank(route: &Route) -> usize {
    route.headers.len()
        + usize::from(!route.listeners.is_empty())
        + usize::from(!route.methods.is_empty())
}

impl Config {
    /// The routes as [`Table::build`] wants them, in the order of [`Config::routes`]: the route at
    /// index `i` is `RouteId(i)`. They have no conflicts.
    pub fn route_specs(&self) -> Vec<Spec> {
        self.routes.values().map(spec).collect()
    }
}

fn spec(route: &Route) -> Spec {
    let host = match &route.host {
        Host::Exact(name) => HostPattern::Exact(name.clone()),
        Host::Below(name) => HostPattern::Below(name.clone()),
        Host::Any => HostPattern::Any,
    };
    let mut keys: Vec<String> =
        route.headers.iter().map(|header| format!("{}: {:?}", header.name, header.value)).collect();
    keys.sort();
    if !route.listeners.is_empty() {
        let mut listeners = route.listeners.clone();
        listeners.sort();
        keys.push(format!("on {}", listeners.join(" ")));
    }
    Spec {
        host,
        path: route.path.clone(),
        methods: route.methods.clone(),
        conditions: u16::try_from(keys.len()).unwrap_or(u16::MAX),
        conditions_key: keys.join("\n"),
    }
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
