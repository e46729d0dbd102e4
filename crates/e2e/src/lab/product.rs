//! What is compared: something that keeps an address on one of two nodes, and serves there.

use std::fmt::{self, Debug};
use std::str::FromStr;

use super::evergate::Evergate;
use super::keepalived::Profile;
use super::network::{SUBNET, SUBNET_V6};
use super::{VIP, VIP_V6};

/// Who is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contender {
    /// The binary under test.
    Evergate,
    /// keepalived beside nginx, configured so.
    Keepalived(Profile),
}

/// How the nodes of a lab tell each other of the address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Variant {
    /// IPv4, by multicast, believed as it comes.
    #[default]
    Plain,
    /// IPv6: the first address is link-local, the client asks at the other one.
    Ipv6,
    /// Adverts are sealed.
    Hmac,
    /// Adverts go to each other node alone.
    Unicast,
}

/// What all nodes of a lab have in common, beside the contender.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wish {
    /// How many; none means two.
    pub nodes: usize,
    /// Whether the better node takes the address back. keepalived always does.
    pub preempts: bool,
    /// Whether what answers is an app behind the node, so that it can die.
    pub has_app: bool,
    /// What adverts are like. Only Evergate has others than plain ones here.
    pub variant: Variant,
    /// Whether there is a second virtual address, of IPv6, that moves with the first and needs the
    /// interface [`SIDE`].
    pub has_companion: bool,
}

/// The interface that the second virtual address needs.
pub const SIDE: &str = "side";

/// A node's programs. What is killed and frozen is found by its namespace.
pub trait Product: Debug {
    /// Starts everything, and waits until it serves.
    fn start(&mut self);

    /// Whether it is ready to take the address over, and knows who has it.
    fn stands_by(&mut self) -> bool;

    /// Ends everything in order, and waits until it has ended.
    fn stop(&mut self);

    /// Begins a stop in order: the address is given up, and whatever serves may go on.
    fn begin_stop(&mut self);

    /// Gives the address up, as planned, and stays.
    fn give_up(&mut self);

    /// Has what answers die, so that it cannot be brought back.
    fn lose_backend(&mut self);

    /// What it said lately, for whoever looks into a failure.
    fn log(&self) -> String;

    /// What only Evergate can be asked.
    fn evergate(&mut self) -> Option<&mut Evergate> {
        None
    }
}

impl Wish {
    /// Two nodes, with what is usual.
    pub const PAIR: Self = Self {
        nodes: 2,
        preempts: false,
        has_app: false,
        variant: Variant::Plain,
        has_companion: false,
    };
}

impl Variant {
    /// The virtual address that the client asks at.
    pub fn vip(self) -> &'static str {
        match self {
            Self::Plain | Self::Hmac | Self::Unicast => VIP,
            Self::Ipv6 => VIP_V6,
        }
    }

    /// The address of the node with this index.
    pub fn address(self, node: usize) -> String {
        let host = 11 + node;
        match self {
            Self::Plain | Self::Hmac | Self::Unicast => format!("{SUBNET}.{host}"),
            Self::Ipv6 => format!("{SUBNET_V6}:{host}"),
        }
    }
}

impl Contender {
    /// Everybody, Evergate first.
    pub const ALL: [Self; 4] = [
        Self::Evergate,
        Self::Keepalived(Profile::V2_1S),
        Self::Keepalived(Profile::V3_100MS),
        Self::Keepalived(Profile::V3_30MS),
    ];
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evergate => f.write_str("Evergate"),
            Self::Keepalived(profile) => write!(f, "keepalived {}", profile.name),
        }
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| match one {
            Self::Evergate => text == "evergate",
            Self::Keepalived(profile) => text == profile.name,
        });
        found.ok_or_else(|| format!("no contender is called {text}"))
    }
}
