//! Moving addresses to a peer as planned, without losing a connection.
//!
//! VRRP alone cannot: whatever was open to the old node is broken when the network turns to the new
//! one. So the two talk ([`Message`], beside VRRP), and for a moment each passes on the packets that
//! are the other's:
//!
//! 1. The old node offers, a successor that is ready accepts.
//! 2. The old node freezes: its kernel drops new connections to the addresses unanswered, while
//!    their packets are caught. It lists the connections it has ([`Flow`]) and says so.
//! 3. The successor learns which connections are not its own, takes the addresses, tells the
//!    network, and says that it has claimed them. What was caught is passed on to it: it answers the
//!    clients directly.
//! 4. Packets of old connections that now arrive at the successor are passed back to the old node,
//!    which keeps the addresses for that, unseen by ARP, until its connections have ended.
//!
//! Whatever fails in 1 or 2 leaves the old node as it was, or makes it a plain move by priority 0.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use minicbor::{Decode, Encode};

/// Most connections that are passed on in one move; what is beyond them is cut.
pub const FLOWS_MAX: usize = 3500;

/// A TCP connection to a virtual address, as its node sees it.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Flow {
    /// Whose address.
    #[n(0)]
    pub client: IpAddr,
    /// And port.
    #[n(1)]
    pub client_port: u16,
    /// The virtual address.
    #[n(2)]
    pub local: IpAddr,
    /// And port.
    #[n(3)]
    pub local_port: u16,
}

/// What two nodes say to each other about a move. Every message may be lost, doubled or late.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Message {
    /// A backup that may preempt asks the master to begin a move.
    #[n(0)]
    Want {
        /// Names the move: chosen by whoever asks or offers, never used twice.
        #[n(0)]
        number: u64,
        /// Which virtual routers, by VRID, IPv6 ones plus 256.
        #[n(1)]
        routers: Vec<u16>,
    },
    /// The master would like the receiver to take over.
    #[n(1)]
    Offer {
        /// The move.
        #[n(0)]
        number: u64,
        /// Which virtual routers.
        #[n(1)]
        routers: Vec<u16>,
        /// Their epochs, in the same order.
        #[n(2)]
        epochs: Vec<u64>,
        /// Why, for people.
        #[n(3)]
        reason: String,
    },
    /// It will.
    #[n(2)]
    Accept {
        /// The move.
        #[n(0)]
        number: u64,
    },
    /// It will not; also of a move that was accepted.
    #[n(3)]
    Decline {
        /// The move.
        #[n(0)]
        number: u64,
        /// Why, for people.
        #[n(1)]
        why: String,
    },
    /// The old node has frozen, and has these connections: one of several messages.
    #[n(4)]
    Flows {
        /// The move.
        #[n(0)]
        number: u64,
        /// Which part, from 0.
        #[n(1)]
        part: u16,
        /// How many parts.
        #[n(2)]
        parts: u16,
        /// The connections.
        #[n(3)]
        flows: Vec<Flow>,
    },
    /// The successor has the addresses.
    #[n(5)]
    Claimed {
        /// The move.
        #[n(0)]
        number: u64,
    },
    /// The old node has let go of everything: nothing is to be passed on any more.
    #[n(6)]
    Finished {
        /// The move.
        #[n(0)]
        number: u64,
    },
}
