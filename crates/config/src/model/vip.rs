//! Addresses that move between machines, and the machines they move between.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use evergate_core::peer;
use evergate_core::track::Rule;
use evergate_core::vrrp::Policy;
use ipnet::IpNet;

use super::Secret;

/// `[vip.NAME]`: one virtual router.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vip {
    /// Its addresses, all of one family, each with the length of its network's prefix.
    pub addresses: Vec<IpNet>,
    /// Where they are put, and adverts sent.
    pub interface: String,
    /// How it behaves: `version`, `router_id`, `priority`, `interval`, `preempt`, `preempt_delay`,
    /// `startup_delay` and `announce`.
    pub policy: Policy,
    /// Whom adverts are sent to. Default: everybody, by multicast.
    pub peers: Vec<IpAddr>,
    /// How adverts are told from forged ones. Default: not at all.
    pub auth: VipAuth,
    /// Which checksum adverts of version 3 over IPv4 have. Default: like what was heard.
    pub checksum: VipChecksum,
    /// What it must have, in the order of subjects.
    pub track: Vec<Rule>,
    /// Programs that are called when its role changes.
    pub on_change: Vec<PathBuf>,
    /// How long one of them may take. Default: 10 s.
    pub on_change_timeout: Duration,
    /// Those with the same word move together.
    pub sync: Option<String>,
    /// How long connections that are open here may go on once it has moved as planned. Default:
    /// 10 min.
    pub drain: Duration,
}

impl Vip {
    /// Whether its addresses are IPv6.
    pub fn is_v6(&self) -> bool {
        self.addresses.first().is_some_and(|net| net.addr().is_ipv6())
    }
}

/// `vip.NAME.auth`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum VipAuth {
    /// Adverts are believed as they are.
    #[default]
    None,
    /// A password in clear text, up to 8 bytes: version 2 only.
    Pass(Secret),
    /// An HMAC-SHA-256 trailer: version 3 only.
    Hmac(Secret),
}

/// `vip.NAME.checksum`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum VipChecksum {
    /// Like the last advert that was heard; until then [`Self::Message`].
    #[default]
    Auto,
    /// Over the message alone (RFC 9568 section 5.2.8).
    Message,
    /// Over a pseudo-header too, as keepalived has it.
    PseudoHeader,
}

/// `[heartbeat]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heartbeat {
    /// `port`, `interval` and `missing`.
    pub policy: peer::Policy,
    /// What heartbeats are sealed with.
    pub secret: Option<Secret>,
}

/// `[peer.NAME]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its addresses, one for each path.
    pub addresses: Vec<IpAddr>,
    /// Where it should accept connections.
    pub tcp: Vec<SocketAddr>,
    /// What it should answer with status 200 to 399.
    pub http: Vec<HttpQuestion>,
}

/// A GET over plain HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpQuestion {
    /// Whom to ask.
    pub address: SocketAddr,
    /// What to ask for: path and query.
    pub path: String,
}

impl std::fmt::Display for HttpQuestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address.port() {
            80 => match self.address.ip() {
                IpAddr::V4(ip) => write!(f, "http://{ip}{}", self.path),
                IpAddr::V6(ip) => write!(f, "http://[{ip}]{}", self.path),
            },
            _ => write!(f, "http://{}{}", self.address, self.path),
        }
    }
}
