//! Host names of servers, turned into addresses before a plan is compiled.
//!
//! The plan holds addresses only, so no request ever waits for a resolver. The control plane looks
//! names up again from time to time and compiles a new plan when an answer changed; when the
//! resolver fails, the last answer stands.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};

use evergate_config::{Config, Target};

/// What each `host:port` resolved to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Addresses {
    names: BTreeMap<String, Option<SocketAddr>>,
}

impl Addresses {
    /// Where `authority` is; none if its name is unknown.
    pub fn of(&self, authority: &str) -> Option<SocketAddr> {
        authority.parse().ok().or_else(|| self.names.get(authority).copied().flatten())
    }

    /// Whether `config` names any server by a name.
    pub fn has_names(config: &Config) -> bool {
        let servers = config.pools.values().flat_map(|pool| pool.servers.values());
        servers.into_iter().any(|server| match &server.target {
            Target::Url { host, .. } => host.parse::<std::net::IpAddr>().is_err(),
            Target::App(_) => false,
        })
    }

    /// Looks up every name in `config`. Blocks; a name that fails keeps its answer in `self`.
    pub fn resolve(&self, config: &Config) -> Self {
        let targets = config.pools.values().flat_map(|pool| pool.servers.values());
        let names = targets.filter_map(|server| match &server.target {
            Target::Url { host, port, .. } if host.parse::<std::net::IpAddr>().is_err() => {
                Some(format!("{host}:{port}"))
            }
            Target::Url { .. } | Target::App(_) => None,
        });
        let found = names.map(|name| {
            let fresh = name.to_socket_addrs().ok().and_then(prefer_ipv4);
            let address = fresh.or_else(|| self.of(&name));
            (name, address)
        });
        Self { names: found.collect() }
    }

    /// Whether there is any name to look up again.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// The same choice every time, whatever order the resolver answers in.
fn prefer_ipv4(found: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    found.min_by_key(|address| (address.is_ipv6(), address.ip()))
}
