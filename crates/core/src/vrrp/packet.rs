//! Adverts as bytes: VRRP version 2 (RFC 3768, IPv4) and version 3 (RFC 9568, IPv4 and IPv6).
//!
//! A [`Form`] is what all adverts of one virtual router have in common. It writes ours, and judges
//! those of others: an advert that breaks a rule of the protocol is a [`Refusal`], one variant for
//! each rule, and what is merely odd is noted as a [`Difference`]. Where implementations differ:
//!
//! * IPv4 adverts of version 3 are summed over the message alone (RFC 9568 section 5.2.8) or over a
//!   pseudo-header too (keepalived's default). Both are understood, and which it was is reported.
//! * The first address of IPv6 must be link-local (RFC 9568 section 5.2.9). Ours is if there is one;
//!   others that have none are heard nevertheless, as keepalived does.
//! * A list of addresses that differs from ours is noted, never a reason to drop an advert: two
//!   masters would follow while a configuration is rolled out.
//! * Hops must be 255 (RFC 9568 sections 5.1.1.3 and 5.1.2.3), for unicast as well, unless an HMAC says more about
//!   where an advert is from than the number of hops does.
//! * AH (RFC 2338) is refused. IPv6 in version 2, which keepalived knows, is not spoken.

mod checksum;
mod decode;
mod encode;
mod refusal;
pub mod seal;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::{Advert, PRIORITY_OWNER, Policy, Version};

pub use refusal::Refusal;

/// Number of the protocol in the IP header (RFC 9568 section 5.1.1.4).
pub const PROTOCOL: u8 = 112;
/// Where IPv4 adverts go by multicast (RFC 9568 section 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where IPv6 adverts go by multicast (RFC 9568 section 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// Time to live and hop limit of every advert, so that none from another network is believed
/// (RFC 9568 sections 5.1.1.3 and 5.1.2.3).
pub const HOPS: u8 = 255;
/// Most addresses that we put into one advert, so that it fits any link.
pub const ADDRESSES_MAX: usize = 20;
/// Longest password (RFC 2338 section 5.3.6.1).
pub const PASSWORD_BYTES_MAX: usize = 8;
/// Longest advert there can be: 255 addresses of IPv6 and a trailer.
pub const PACKET_BYTES_MAX: usize = HEADER_BYTES + 255 * 16 + seal::TRAILER_BYTES;

const HEADER_BYTES: usize = 8;
/// Authentication data of version 2: always there (RFC 3768 section 5.3.10).
const AUTH_BYTES: usize = PASSWORD_BYTES_MAX;
/// The only type of packet (RFC 9568 section 5.2.2).
const ADVERTISEMENT: u8 = 1;
const AUTH_NONE: u8 = 0;
const AUTH_PASSWORD: u8 = 1;
const AUTH_AH: u8 = 2;
/// Longest interval of version 3: 12 bits of hundredths of a second (RFC 9568 section 5.2.7).
const CENTIS_MAX: u16 = 0x0fff;

/// Which checksum an IPv4 advert of version 3 has. IPv6 has always that with a pseudo-header,
/// version 2 always that of the message.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum Checksum {
    /// Over the message (RFC 9568 section 5.2.8).
    #[default]
    #[n(0)]
    Message,
    /// Over a pseudo-header too (keepalived, RFC 5798 as many read it).
    #[n(1)]
    PseudoHeader,
}

/// Where a packet is from and goes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// The sender's primary IPv4 or link-local IPv6 address.
    pub source: IpAddr,
    /// The group, or the receiver's address.
    pub destination: IpAddr,
}

/// What the IP header of a received packet says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// Its addresses; the destination tells multicast from unicast.
    pub ends: Ends,
    /// Time to live or hop limit as it arrived.
    pub hops: u8,
}

/// An advert that is in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heard {
    /// What it says.
    pub advert: Advert,
    /// How it was summed.
    pub checksum: Checksum,
    /// How it differs from ours, though it is no reason to refuse it: the first that was found.
    pub difference: Option<Difference>,
}

/// What is odd about an advert that is in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Difference {
    /// It has another number of addresses (RFC 9568 section 7.1, may be verified).
    Count {
        /// How many it has.
        theirs: u8,
        /// How many there should be.
        ours: u8,
    },
    /// It lacks an address of ours (RFC 9568 section 7.1, may be verified).
    Absent(IpAddr),
    /// Its first address is not link-local (RFC 9568 section 5.2.9).
    NotLinkLocal(Ipv6Addr),
    /// Its interval, in version 3, is not ours (RFC 9568 section 7.1, should be verified).
    Interval {
        /// What it says.
        theirs: Duration,
        /// What we would say.
        ours: Duration,
    },
}

/// What all adverts of one virtual router have in common: ours, and those that are expected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Form {
    version: Version,
    router_id: u8,
    is_owner: bool,
    interval: Duration,
    addresses: Addresses,
    password: Option<Password>,
    peers: Vec<IpAddr>,
}

/// Why there can be no adverts like this.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfit {
    /// A VRID is 1 to 255.
    RouterId,
    /// There is nothing to answer for.
    NoAddress,
    /// More than [`ADDRESSES_MAX`].
    TooManyAddresses(usize),
    /// Addresses, peers or ends are of both families.
    MixedFamilies(IpAddr),
    /// Version 2 has IPv4 only.
    Ipv6InVersion2,
    /// Version 2 counts whole seconds, 1 to 255; version 3 hundredths, 1 to 4095.
    Interval(Duration),
    /// Only version 2 has passwords.
    PasswordInVersion3,
    /// Longer than [`PASSWORD_BYTES_MAX`]; its length.
    PasswordTooLong(usize),
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Addresses {
    V4(Vec<Ipv4Addr>),
    V6(Vec<Ipv6Addr>),
}

/// Clear text on the wire, but in no message to people.
#[derive(Clone, Copy)]
struct Password([u8; PASSWORD_BYTES_MAX]);

impl Form {
    /// What adverts of a virtual router look like: `addresses` of one family; a `password` in
    /// version 2, if they have one; `peers`, the only ones that are spoken with if there are any.
    ///
    /// IPv6 addresses that are link-local are put in front (RFC 9568 section 5.2.9).
    pub fn new(
        policy: &Policy,
        addresses: &[IpAddr],
        password: Option<&[u8]>,
        peers: &[IpAddr],
    ) -> Result<Self, Unfit> {
        if policy.router_id == 0 {
            return Err(Unfit::RouterId);
        }
        let addresses = Addresses::new(addresses)?;
        if policy.version == Version::V2 && addresses.is_ipv6() {
            return Err(Unfit::Ipv6InVersion2);
        }
        if units(policy.version, policy.interval).is_none() {
            return Err(Unfit::Interval(policy.interval));
        }
        let password = match (policy.version, password) {
            (Version::V2 | Version::V3, None) => None,
            (Version::V2, Some(bytes)) => Some(Password::new(bytes)?),
            (Version::V3, Some(_)) => return Err(Unfit::PasswordInVersion3),
        };
        if let Some(peer) = peers.iter().find(|peer| peer.is_ipv6() != addresses.is_ipv6()) {
            return Err(Unfit::MixedFamilies(*peer));
        }
        Ok(Self {
            version: policy.version,
            router_id: policy.router_id,
            is_owner: policy.priority == PRIORITY_OWNER,
            interval: policy.interval,
            addresses,
            password,
            peers: peers.to_vec(),
        })
    }

    /// Whether its addresses are IPv6.
    pub const fn is_ipv6(&self) -> bool {
        self.addresses.is_ipv6()
    }

    /// Where adverts go: every peer, or the group.
    pub fn destinations(&self) -> Vec<IpAddr> {
        if self.peers.is_empty() { alloc::vec![self.group()] } else { self.peers.clone() }
    }

    /// The group of its family.
    pub const fn group(&self) -> IpAddr {
        if self.is_ipv6() { IpAddr::V6(GROUP_V6) } else { IpAddr::V4(GROUP_V4) }
    }

    /// Whether its adverts begin with an address that is not link-local, though they must
    /// (RFC 9568 section 5.2.9): routers of other makes may refuse them.
    pub fn lacks_link_local(&self) -> bool {
        match &self.addresses {
            Addresses::V4(_) => false,
            Addresses::V6(addresses) => !addresses.iter().any(Ipv6Addr::is_unicast_link_local),
        }
    }

    /// How long its adverts are, without a trailer.
    fn bytes(&self) -> usize {
        message_bytes(self.version, self.is_ipv6(), self.addresses.count())
    }
}

/// The VRID of a packet, so that the form that judges it can be found; none if it is too short to
/// have one.
pub fn router_id(packet: &[u8]) -> Option<u8> {
    packet.get(1).copied()
}

impl Addresses {
    fn new(addresses: &[IpAddr]) -> Result<Self, Unfit> {
        let Some(first) = addresses.first() else { return Err(Unfit::NoAddress) };
        if addresses.len() > ADDRESSES_MAX {
            return Err(Unfit::TooManyAddresses(addresses.len()));
        }
        if let Some(other) = addresses.iter().find(|other| other.is_ipv6() != first.is_ipv6()) {
            return Err(Unfit::MixedFamilies(*other));
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(*address),
                IpAddr::V6(address) => v6.push(*address),
            }
        }
        v6.sort_by_key(|address| !address.is_unicast_link_local());
        Ok(if first.is_ipv6() { Self::V6(v6) } else { Self::V4(v4) })
    }

    const fn is_ipv6(&self) -> bool {
        matches!(self, Self::V6(_))
    }

    /// At most [`ADDRESSES_MAX`].
    fn count(&self) -> u8 {
        let count = match self {
            Self::V4(addresses) => addresses.len(),
            Self::V6(addresses) => addresses.len(),
        };
        u8::try_from(count).unwrap_or(u8::MAX)
    }
}

impl Password {
    fn new(bytes: &[u8]) -> Result<Self, Unfit> {
        let mut padded = [0; PASSWORD_BYTES_MAX];
        let room = padded.get_mut(..bytes.len()).ok_or(Unfit::PasswordTooLong(bytes.len()))?;
        room.copy_from_slice(bytes);
        Ok(Self(padded))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        are_equal(&self.0, &other.0)
    }
}

impl Eq for Password {}

/// How long a message is, its trailer aside.
fn message_bytes(version: Version, is_ipv6: bool, count: u8) -> usize {
    let address = if is_ipv6 { 16 } else { 4 };
    let auth = match version {
        Version::V2 => AUTH_BYTES,
        Version::V3 => 0,
    };
    HEADER_BYTES + address * usize::from(count) + auth
}

/// An interval as it is written; none if it cannot be.
fn units(version: Version, interval: Duration) -> Option<u16> {
    let (unit, max) = match version {
        Version::V2 => (Duration::from_secs(1), u16::from(u8::MAX)),
        Version::V3 => (Duration::from_millis(10), CENTIS_MAX),
    };
    let count = u16::try_from(interval.as_nanos() / unit.as_nanos()).ok()?;
    let is_whole = unit * u32::from(count) == interval;
    (is_whole && (1..=max).contains(&count)).then_some(count)
}

/// Compares in a time that does not depend on where two secrets differ.
pub(crate) fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && core::hint::black_box(differences) == 0
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RouterId => f.write_str("a router id is 1 to 255: 0"),
            Self::NoAddress => f.write_str("a virtual router needs an address"),
            Self::TooManyAddresses(have) => {
                write!(f, "an advert has at most {ADDRESSES_MAX} addresses: {have}")
            }
            Self::MixedFamilies(address) => {
                write!(f, "all addresses of a virtual router are of one family: {address}")
            }
            Self::Ipv6InVersion2 => f.write_str("version 2 has no IPv6"),
            Self::Interval(interval) => {
                write!(
                    f,
                    "an interval is 1 to 255 whole seconds in version 2, 10 ms to 40.95 s in \
                     steps of 10 ms in version 3: {interval:?}"
                )
            }
            Self::PasswordInVersion3 => f.write_str("version 3 has no passwords"),
            Self::PasswordTooLong(bytes) => {
                write!(f, "a password has at most {PASSWORD_BYTES_MAX} bytes: {bytes}")
            }
        }
    }
}

impl Error for Unfit {}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { theirs, ours } => {
                write!(f, "its advert has {theirs} addresses, ours has {ours}")
            }
            Self::Absent(address) => write!(f, "its advert lacks the address {address}"),
            Self::NotLinkLocal(address) => {
                write!(f, "its first address is not link-local: {address}")
            }
            Self::Interval { theirs, ours } => {
                write!(f, "its interval is {theirs:?}, ours is {ours:?}")
            }
        }
    }
}
