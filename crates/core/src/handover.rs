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
//!    which keeps the addresses for that, unseen by ARP, until its connections have ended, or their
//!    time is over. Whoever wants another move meanwhile leaves them [`NEXT_WITHIN`].
//!
//! Whatever fails in 1 or 2 leaves the old node as it was, or makes it a plain move by priority 0.
//! If what was claimed is not heard of, both are masters for a moment, and VRRP decides.
//!
//! Who owns a connection is told by [`Flow::mark`] at both nodes and in their kernels alike: were one
//! of them exact and the other not, a packet could belong to both or to none.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use minicbor::{Decode, Encode};

mod crossing;
mod flow;
mod giving;
mod mover;
mod taking;
#[cfg(test)]
mod tests;

pub use self::flow::{FLOW_MARK_FACTORS, Flow};
pub use self::mover::{Act, Event, Mover, Offer, Stage};

/// Most connections that are passed on in one move; what is beyond them is cut.
pub const FLOWS_MAX: usize = 3500;

/// Most connections in one message, so that it fits a datagram that is not cut on any link.
pub const FLOWS_PART_MAX: usize = 24;
/// Most messages of connections that are sent at once, so that no buffer overflows.
pub const PARTS_BURST: usize = 32;
/// Between two such bursts.
pub const PARTS_PACE: Duration = Duration::from_millis(2);
/// Between two sendings of what was not answered.
pub const RESEND: Duration = Duration::from_millis(20);
/// How long an offer or a wish waits for its answer.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// How long freezing may take.
pub const FREEZE_WITHIN: Duration = Duration::from_millis(250);
/// How long the old node waits, frozen, for the successor to claim: below the second after which
/// clients ask again.
pub const CLAIM_WITHIN: Duration = Duration::from_millis(600);
/// How long a successor that has accepted waits to hear of connections.
pub const FLOWS_WITHIN: Duration = Duration::from_millis(1_500);
/// How long connections to the old node are waited for, where nobody says otherwise.
pub const PASS_DEFAULT: Duration = Duration::from_secs(600);
/// Longest time that they may be waited for.
pub const PASS_MAX: Duration = Duration::from_secs(3600);
/// How long they are still waited for once either node wants another move, or a moment without any.
pub const NEXT_WITHIN: Duration = Duration::from_secs(10);
/// How much longer than the old node wants it a successor passes packets back, in case it does not
/// hear that the old node is finished.
pub const PASS_BACK_SLACK: Duration = Duration::from_secs(10);
/// How long it does for an old node that does not say how long it wants it.
pub const PASS_BACK_UNSAID: Duration = Duration::from_secs(60);
/// How often a successor asks the old node to be finished soon.
pub const HASTEN_EVERY: Duration = Duration::from_millis(200);
/// How long a successor that has claimed takes adverts of the old node for late ones.
pub const DEAF_FOR: Duration = Duration::from_millis(300);
/// How often the old node says that it is finished: nobody answers that.
pub const FINISHED_REPEATS: u8 = 3;
/// Most moves that are remembered after their end, so that late messages do not begin them anew.
pub const ENDED_MAX: usize = 8;
/// Why a move with a peer that is another run of its program is none any more.
const RESTARTED: &str = "it started anew";

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
        /// How long its connections are waited for once the receiver has taken over; a node of an
        /// earlier release does not say it.
        #[n(4)]
        pass_within_ms: Option<u32>,
        /// The wish of its own that the sender has dropped to grant the receiver's.
        #[n(5)]
        instead_of: Option<u64>,
    },
    /// It will.
    #[n(2)]
    Accept {
        /// The move.
        #[n(0)]
        number: u64,
        /// The offer or wish of its own that the sender has dropped for it.
        #[n(1)]
        instead_of: Option<u64>,
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
        /// Whether it may yet: another move is in its way.
        #[n(2)]
        #[cbor(default)]
        is_busy: bool,
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
    /// The successor wants the old node to be finished after this long.
    #[n(7)]
    Hasten {
        /// The move.
        #[n(0)]
        number: u64,
        /// How long.
        #[n(1)]
        within_ms: u32,
    },
}
