//! Why an advert is not believed: one variant for each rule.

use core::error::Error;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use super::{HOPS, seal};

/// The rule that an advert broke: the first one, in the order in which they are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It came over the other family of addresses.
    Family(IpAddr),
    /// It was sent to another group, or by unicast where multicast is spoken, or the other way
    /// round (RFC 9568 sections 5.1.1.2 and 5.1.2.2).
    Destination(IpAddr),
    /// Where unicast is spoken: its sender is none of the peers.
    Stranger(IpAddr),
    /// Its time to live or hop limit is not 255 (RFC 9568 sections 5.1.1.3 and 5.1.2.3).
    Hops(u8),
    /// It is not whole (RFC 9568 section 7.1).
    Short {
        /// Bytes it has.
        theirs: usize,
        /// Bytes it must have at least.
        needed: usize,
    },
    /// Something follows that is not a trailer.
    Long {
        /// Bytes it has.
        theirs: usize,
        /// Bytes it should have.
        needed: usize,
    },
    /// It is of the other version (RFC 9568 section 7.1).
    Version {
        /// What it says.
        theirs: u8,
        /// What is spoken here.
        ours: u8,
    },
    /// It is no advert (RFC 9568 section 5.2.2).
    Kind(u8),
    /// It is of another virtual router (RFC 9568 section 7.1).
    RouterId {
        /// What it says.
        theirs: u8,
        /// What it should say.
        ours: u8,
    },
    /// Its checksum is right by no convention (RFC 9568 section 5.2.8).
    Checksum,
    /// The address is our own, which nobody else may answer for (RFC 9568 section 7.1).
    Owner,
    /// It has no addresses (RFC 9568 section 5.2.5, by erratum 8299).
    NoAddress,
    /// In version 3: its interval is 0 (RFC 9568 section 7.1, by erratum 8301).
    NoInterval,
    /// In version 2: its interval is not ours (RFC 3768 section 7.1).
    Interval {
        /// What it says.
        theirs: Duration,
        /// What it must say.
        ours: Duration,
    },
    /// In version 2: authentication by AH, which is not spoken (RFC 3768 section 5.3.6).
    AuthenticationHeader,
    /// In version 2: another kind of authentication (RFC 3768 section 7.1).
    AuthKind {
        /// What it says.
        theirs: u8,
        /// What it must say.
        ours: u8,
    },
    /// In version 2: another password.
    Password,
    /// It has a trailer, though none is configured here.
    SealNotExpected,
    /// Its trailer is missing, or not to be believed.
    Seal(seal::Broken),
}

impl Refusal {
    /// Whether it was refused because of its password or seal.
    pub const fn is_auth(&self) -> bool {
        match self {
            Self::AuthenticationHeader
            | Self::AuthKind { .. }
            | Self::Password
            | Self::SealNotExpected
            | Self::Seal(_) => true,
            Self::Family(_)
            | Self::Destination(_)
            | Self::Stranger(_)
            | Self::Hops(_)
            | Self::Short { .. }
            | Self::Long { .. }
            | Self::Version { .. }
            | Self::Kind(_)
            | Self::RouterId { .. }
            | Self::Checksum
            | Self::Owner
            | Self::NoAddress
            | Self::NoInterval
            | Self::Interval { .. } => false,
        }
    }
}

impl From<seal::Broken> for Refusal {
    fn from(broken: seal::Broken) -> Self {
        Self::Seal(broken)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Family(address) => write!(f, "it is of the wrong family: {address}"),
            Self::Destination(to) => write!(f, "it was sent to the wrong address: {to}"),
            Self::Stranger(from) => write!(f, "its sender is none of the peers: {from}"),
            Self::Hops(hops) => {
                write!(f, "it came from another network: hops left {hops}, not {HOPS}")
            }
            Self::Short { theirs, needed } => {
                write!(f, "it is cut short: {theirs} of {needed} bytes")
            }
            Self::Long { theirs, needed } => {
                write!(f, "it is too long: {theirs} instead of {needed} bytes")
            }
            Self::Version { theirs, ours } => {
                write!(f, "it is of the wrong version: {theirs} instead of {ours}")
            }
            Self::Kind(kind) => write!(f, "it is no advert: type {kind}"),
            Self::RouterId { theirs, ours } => {
                write!(f, "it is of another virtual router: {theirs} instead of {ours}")
            }
            Self::Checksum => f.write_str("its checksum is wrong"),
            Self::Owner => f.write_str("somebody else answers for an address that this node owns"),
            Self::NoAddress => f.write_str("it has no address"),
            Self::NoInterval => f.write_str("its interval is 0"),
            Self::Interval { theirs, ours } => {
                write!(f, "its interval is {theirs:?} instead of {ours:?}")
            }
            Self::AuthenticationHeader => {
                f.write_str("authentication by AH (RFC 2338) is not supported")
            }
            Self::AuthKind { theirs, ours } => {
                write!(f, "its authentication is of the wrong type: {theirs} instead of {ours}")
            }
            Self::Password => f.write_str("its password is wrong"),
            Self::SealNotExpected => f.write_str("it has an HMAC, but none is configured here"),
            Self::Seal(broken) => fmt::Display::fmt(broken, f),
        }
    }
}

impl Error for Refusal {}
