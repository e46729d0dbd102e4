//! Two nodes of which each wants a move of its own at the same moment.
//!
//! A node takes part in one move at a time, so one of the two goes first. Each decides that by
//! itself when it hears of the other's, and both decide alike: offers go before wishes, and of two
//! of a kind the one with the smaller number. Whoever goes first does not answer. The other one
//! drops its own, to begin it anew later, and names it with its answer: copies of it that are still
//! on their way would else be taken for a move after this one, which ends this one's connections.
//!
//! Whoever takes part in a move with a third node, or is through with one but for its connections,
//! declines for now, and leaves these connections no more than [`NEXT_WITHIN`].
//!
//! A node of an earlier release declines for good; then both moves are plain ones.

use alloc::string::ToString as _;

use super::giving::Giving;
use super::mover::Act;
use super::taking::Taking;
use super::{Message, Mover, NEXT_WITHIN};
use crate::time::Instant;

pub(super) const BUSY: &str = "another move is under way";

/// Which of two moves that cross goes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Precedence {
    /// This node takes part in none.
    Free,
    /// The peer's, if this node would.
    Theirs,
    /// That of this node.
    Ours,
    /// A third one is under way.
    Neither,
}

impl Mover {
    /// What goes first if a peer speaks of a move with this number, which is new.
    pub(super) fn precedence(&self, peer: usize, number: u64, is_wish: bool) -> Precedence {
        if self.is_free() {
            return Precedence::Free;
        }
        match self.open_to(peer) {
            Some(ours) if (is_wish, number) < ours => Precedence::Theirs,
            Some(_) => Precedence::Ours,
            None => Precedence::Neither,
        }
    }

    /// Drops what a peer was offered or asked for and has not answered: its number.
    pub(super) fn postpone(&mut self, peer: usize) -> Option<u64> {
        let (_, number) = self.open_to(peer)?;
        self.with_giving(Giving::postpone);
        self.with_taking(Taking::postpone);
        Some(number)
    }

    /// What a peer was offered or asked for and has not answered: whether it is a wish, its number.
    fn open_to(&self, peer: usize) -> Option<(bool, u64)> {
        let giving = self.giving.as_ref().filter(|giving| giving.is_open_to(peer));
        let taking = self.taking.as_ref().filter(|taking| taking.is_open_to(peer));
        let offer = giving.map(|giving| (false, giving.number()));
        offer.or_else(|| taking.map(|taking| (true, taking.number())))
    }

    /// Another move is in the way of what a peer wants: that is to be over soon.
    pub(super) fn decline_for_now(&mut self, now: Instant, peer: usize, number: u64) {
        let why = BUSY.to_string();
        let message = Message::Decline { number, why, is_busy: true };
        self.acts.push_back(Act::Say { peer, message });
        self.hasten(now, NEXT_WITHIN);
    }

    /// A peer has dropped something of its own: late copies of it begin nothing.
    pub(super) fn forget_dropped(&mut self, peer: usize, number: Option<u64>) {
        let Some(number) = number.filter(|number| !self.ended.contains(number)) else { return };
        let why = "it has dropped it for another move";
        match (self.gives(peer, number), self.takes(peer, number)) {
            (true, _) => self.with_giving(|giving, acts| giving.declined(why, false, acts)),
            (false, true) => self.with_taking(|taking, acts| taking.declined(why, false, acts)),
            (false, false) => self.end(number),
        }
    }
}
