//! One node's part in planned moves.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::crossing::{BUSY, Precedence};
use super::giving::Giving;
use super::taking::{Taking, Terms};
use super::{ENDED_MAX, Flow, Message};
use crate::rng::Rng;
use crate::time::Instant;

/// One node's part in planned moves, one at a time.
///
/// Feed it with [`Self::handle`] and drain [`Self::next_act`] to `None` after every call.
#[derive(Clone, Debug, Decode, Encode)]
pub struct Mover {
    #[n(0)]
    pub(super) giving: Option<Giving>,
    #[n(1)]
    pub(super) taking: Option<Taking>,
    #[n(2)]
    rng: Rng,
    /// Numbers of moves that are over, the newest last.
    #[n(3)]
    pub(super) ended: VecDeque<u64>,
    #[cbor(skip)]
    pub(super) acts: VecDeque<Act>,
}

/// A move as its giver begins it.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Offer {
    /// To which peer.
    #[n(0)]
    pub peer: usize,
    /// Virtual routers by VRID, IPv6 ones plus 256, each with the newest epoch known.
    #[n(1)]
    pub routers: Vec<(u16, u64)>,
    /// Why, for people.
    #[n(2)]
    pub reason: String,
    /// How long connections are waited for once the successor has the addresses: up to
    /// [`super::PASS_MAX`].
    #[n(3)]
    pub pass_within: Duration,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// These are to be given to a peer.
    Give(Offer),
    /// These are to be had from a peer that is their master.
    Want {
        /// Which peer.
        peer: usize,
        /// Which virtual routers.
        routers: Vec<u16>,
    },
    /// A peer said something about a move.
    Said {
        /// Which peer.
        peer: usize,
        /// What.
        message: Message,
        /// To an offer or a wish: whether this node would, with what is known of the epochs of the
        /// virtual routers in the message, in their order; or why not. Else of no meaning.
        would: Result<Vec<u64>, String>,
        /// To a wish: how long connections would be waited for. Else of no meaning.
        pass_within: Duration,
    },
    /// [`Act::Freeze`] was done.
    Frozen(Result<Vec<Flow>, String>),
    /// No connection is left at the old node.
    Drained,
    /// An advert of a virtual router was heard from a peer that is its master.
    Claimed {
        /// Which peer.
        peer: usize,
        /// Which virtual router.
        router: u16,
    },
    /// The role of a virtual router has changed otherwise than by an act of this machine, or it is
    /// there no more: no move of it makes sense.
    Upset {
        /// Which virtual router.
        router: u16,
        /// What has happened to it, for people.
        why: String,
    },
    /// A peer started anew, and knows of no move. Its connections are gone.
    Restarted {
        /// Which peer.
        peer: usize,
    },
    /// Connections that are still waited for, here or at the peer, are not after this long: something
    /// else waits for that. To be said again while it does.
    Hasten(Duration),
    /// Time has passed.
    Tick,
}

/// How far the move of a virtual router is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// This node is master, and a peer is asked or preparing.
    Offered,
    /// This node is master and serves nobody new: the peer claims at any moment.
    Frozen,
    /// The peer is master; connections end here.
    Given,
    /// The peer is master and is asked or preparing.
    Awaited,
    /// This node is master; connections end at the peer.
    Taken,
}

/// What is to be done. In this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// Tell a peer.
    Say {
        /// Which.
        peer: usize,
        /// What.
        message: Message,
    },
    /// Catch what arrives for these, list what is open, answer with [`Event::Frozen`].
    Freeze {
        /// Which virtual routers.
        routers: Vec<u16>,
    },
    /// Pass on to the peer what was caught and is caught; hide the addresses; say
    /// [`Event::Drained`].
    PassOn {
        /// Which virtual routers.
        routers: Vec<u16>,
        /// To which peer.
        peer: usize,
        /// For so long at most.
        within: Duration,
    },
    /// What is passed on since [`Act::PassOn`] is so for this long at most from now on.
    Hasten {
        /// Which virtual routers.
        routers: Vec<u16>,
        /// How long.
        within: Duration,
    },
    /// The peer has claimed: be a backup, and release the addresses without a word.
    Yield {
        /// Which virtual routers.
        routers: Vec<u16>,
        /// To which peer.
        peer: usize,
        /// Why, for people.
        reason: String,
    },
    /// Pass packets of these connections back to the peer.
    PassBack {
        /// Which virtual routers.
        routers: Vec<u16>,
        /// To which peer.
        peer: usize,
        /// What is its.
        flows: Vec<Flow>,
    },
    /// Be master at once. The peer may speak as one for a moment yet, and is not to be yielded to.
    Claim {
        /// Which virtual routers, each with the newest epoch that the old node knew.
        routers: Vec<(u16, u64)>,
        /// From which peer.
        peer: usize,
        /// Why, for people.
        reason: String,
    },
    /// Nothing is caught or passed on any more for these.
    PassNone {
        /// Which virtual routers.
        routers: Vec<u16>,
    },
    /// At the old node: nothing was given away, and nothing is frozen.
    Kept {
        /// Which virtual routers.
        routers: Vec<u16>,
        /// Which peer would not or could not.
        peer: usize,
        /// Why, for people.
        why: String,
    },
    /// What was offered or asked for is not any more: another move of the peer goes first. To be
    /// begun anew.
    Postponed {
        /// Which virtual routers.
        routers: Vec<u16>,
        /// Whether it was a wish.
        is_wish: bool,
    },
    /// At the one that wanted or had accepted: nothing was taken.
    Missed {
        /// Which virtual routers.
        routers: Vec<u16>,
        /// Which peer has them.
        peer: usize,
        /// Whether this node had asked for it.
        had_asked: bool,
        /// Why, for people.
        why: String,
    },
    /// Whatever either had to pass on has ended.
    Over {
        /// Which virtual routers.
        routers: Vec<u16>,
        /// With which peer.
        peer: usize,
        /// Connections that were open at the old node when it froze.
        flows: usize,
    },
}

impl Mover {
    /// Takes part in nothing yet.
    pub fn new(seed: u64) -> Self {
        Self {
            giving: None,
            taking: None,
            rng: Rng::seeded(seed),
            ended: VecDeque::new(),
            acts: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn next_act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let giving = self.giving.as_ref().map(Giving::deadline);
        giving.into_iter().chain(self.taking.as_ref().map(Taking::deadline)).min()
    }

    /// Whether nothing is under way, nothing passed on either.
    pub const fn is_idle(&self) -> bool {
        self.giving.is_none() && self.taking.is_none()
    }

    /// Whether a move can be begun or taken part in. While packets of one are still passed on, no
    /// other one is begun: whose a connection is must stay clear.
    pub fn is_free(&self) -> bool {
        self.taking.is_none() && self.giving.as_ref().is_none_or(Giving::is_telling)
    }

    /// How far the move of a virtual router is, if it is moving, and with which peer.
    pub fn stage(&self, router: u16) -> Option<(Stage, usize)> {
        let giving = self.giving.as_ref().and_then(|giving| giving.stage(router));
        giving.or_else(|| self.taking.as_ref().and_then(|taking| taking.stage(router)))
    }

    /// What has happened.
    pub fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Give(offer) => {
                let number = self.rng.next_u64();
                self.give(now, (number, None), offer);
            }
            Event::Want { peer, routers } => self.want(now, peer, routers),
            Event::Said { peer, message, would, pass_within } => {
                self.listen(now, peer, message, (would, pass_within));
            }
            Event::Tick => {
                self.with_giving(|giving, acts| giving.tick(now, acts));
                self.with_taking(|taking, acts| taking.tick(now, acts));
            }
            Event::Frozen(flows) => {
                self.with_giving(|giving, acts| giving.frozen(now, flows, acts))
            }
            Event::Drained => self.with_giving(|giving, acts| giving.drained(now, acts)),
            Event::Claimed { peer, router } => {
                self.with_giving(|giving, acts| giving.heard(now, peer, router, acts));
            }
            Event::Upset { router, why } => {
                self.with_giving(|giving, acts| giving.upset(router, &why, acts));
                self.with_taking(|taking, acts| taking.upset(router, &why, acts));
            }
            Event::Restarted { peer } => {
                self.with_giving(|giving, acts| giving.restarted(now, peer, acts));
                self.with_taking(|taking, acts| taking.restarted(peer, acts));
            }
            Event::Hasten(within) => self.hasten(now, within),
        }
    }

    pub(super) fn hasten(&mut self, now: Instant, within: Duration) {
        self.with_giving(|giving, acts| giving.hasten(now, within, acts));
        self.with_taking(|taking, acts| taking.hasten(now, within, acts));
    }

    /// Offers something, with a new number or that of the peer's wish.
    fn give(&mut self, now: Instant, number: (u64, Option<u64>), offer: Offer) {
        if !self.is_free() {
            let routers = offer.routers.iter().map(|(router, _)| *router).collect();
            let why = BUSY.to_string();
            self.acts.push_back(Act::Kept { routers, peer: offer.peer, why });
            return;
        }
        let giving = Giving::begin(now, number, offer, &mut self.acts);
        // One that was only being told of is over: whoever did not hear of it finds out.
        if let Some(before) = self.giving.replace(giving) {
            self.end(before.number());
        }
    }

    fn want(&mut self, now: Instant, peer: usize, routers: Vec<u16>) {
        if !self.is_free() {
            let why = BUSY.to_string();
            self.acts.push_back(Act::Missed { routers, peer, had_asked: true, why });
            return;
        }
        let number = self.rng.next_u64();
        self.taking = Some(Taking::want(now, number, peer, routers, &mut self.acts));
    }

    fn listen(
        &mut self,
        now: Instant,
        peer: usize,
        message: Message,
        (would, pass_within): (Result<Vec<u64>, String>, Duration),
    ) {
        match message {
            Message::Want { number, routers } => {
                let would = would.map(|epochs| Offer {
                    peer,
                    routers: routers.into_iter().zip(epochs).collect(),
                    reason: "a better backup asked for it".to_string(),
                    pass_within,
                });
                self.asked(now, peer, number, would);
            }
            Message::Offer { number, routers, epochs, reason, pass_within_ms, instead_of } => {
                self.forget_dropped(peer, instead_of);
                let routers: Vec<(u16, u64)> = routers.into_iter().zip(epochs).collect();
                let pass_within = pass_within_ms.map(|ms| Duration::from_millis(ms.into()));
                let terms = Terms { routers, reason, pass_within };
                self.offered(now, (peer, number), terms, would.map(drop));
            }
            Message::Accept { number, instead_of } => {
                self.forget_dropped(peer, instead_of);
                if self.gives(peer, number) {
                    self.with_giving(|giving, acts| giving.accepted(now, acts));
                }
            }
            Message::Decline { number, why, is_busy } => {
                if self.gives(peer, number) {
                    self.with_giving(|giving, acts| giving.declined(&why, is_busy, acts));
                }
                if self.takes(peer, number) {
                    self.with_taking(|taking, acts| taking.declined(&why, is_busy, acts));
                }
            }
            Message::Flows { number, part, parts, flows } => {
                if self.takes(peer, number) {
                    self.with_taking(|taking, acts| taking.learn(now, part, parts, flows, acts));
                }
            }
            Message::Claimed { number } => {
                if self.gives(peer, number) {
                    self.with_giving(|giving, acts| giving.claimed(now, acts));
                }
            }
            Message::Finished { number } => {
                if self.takes(peer, number) {
                    self.with_taking(|taking, acts| taking.finished(acts));
                }
            }
            Message::Hasten { number, within_ms } => {
                if self.gives(peer, number) {
                    let within = Duration::from_millis(within_ms.into());
                    self.with_giving(|giving, acts| giving.hasten(now, within, acts));
                }
            }
        }
    }

    /// A peer that speaks of a new move is through with the one before, though this node has not
    /// heard of that.
    fn forget_before(&mut self, now: Instant, peer: usize, number: u64) {
        if self.giving.as_ref().is_some_and(|giving| giving.is_forgotten(peer, number)) {
            self.with_giving(|giving, acts| giving.drained(now, acts));
        }
        if self.taking.as_ref().is_some_and(|taking| taking.is_forgotten(peer, number)) {
            self.with_taking(|taking, acts| taking.finished(acts));
        }
    }

    /// A peer would like to have something.
    fn asked(&mut self, now: Instant, peer: usize, number: u64, would: Result<Offer, String>) {
        if self.gives(peer, number) || self.ended.contains(&number) {
            return;
        }
        self.forget_before(now, peer, number);
        match self.precedence(peer, number, true) {
            Precedence::Ours => return,
            Precedence::Neither => return self.decline_for_now(now, peer, number),
            Precedence::Free | Precedence::Theirs => {}
        }
        match would {
            Ok(offer) => {
                let instead_of = self.postpone(peer);
                self.give(now, (number, instead_of), offer);
            }
            Err(why) => {
                let message = Message::Decline { number, why, is_busy: false };
                self.acts.push_back(Act::Say { peer, message });
            }
        }
    }

    /// A peer would like to be rid of something.
    fn offered(
        &mut self,
        now: Instant,
        (peer, number): (usize, u64),
        terms: Terms,
        would: Result<(), String>,
    ) {
        if self.ended.contains(&number) {
            return;
        }
        self.forget_before(now, peer, number);
        let is_known = self.takes(peer, number);
        match self.precedence(peer, number, false) {
            _ if is_known => {}
            Precedence::Ours => return,
            Precedence::Neither => return self.decline_for_now(now, peer, number),
            Precedence::Free | Precedence::Theirs => {}
        }
        match would {
            Ok(()) if is_known => {
                self.with_taking(|taking, acts| taking.accept(now, terms, acts));
            }
            Ok(()) => {
                let number = (number, self.postpone(peer));
                self.taking = Some(Taking::offered(now, number, peer, terms, &mut self.acts));
            }
            // Of an offer that was accepted, unless all is done: then it is an old copy.
            Err(why) if is_known => self.with_taking(|taking, acts| taking.refuse(&why, acts)),
            Err(why) => {
                let message = Message::Decline { number, why, is_busy: false };
                self.acts.push_back(Act::Say { peer, message });
            }
        }
    }

    pub(super) fn gives(&self, peer: usize, number: u64) -> bool {
        self.giving.as_ref().is_some_and(|giving| giving.is(peer, number))
    }

    pub(super) fn takes(&self, peer: usize, number: u64) -> bool {
        self.taking.as_ref().is_some_and(|taking| taking.is(peer, number))
    }

    /// Lets the giver act, and forgets it once it is over.
    pub(super) fn with_giving(&mut self, act: impl FnOnce(&mut Giving, &mut VecDeque<Act>)) {
        let Some(giving) = &mut self.giving else { return };
        act(giving, &mut self.acts);
        if giving.is_over() {
            let number = giving.number();
            self.giving = None;
            self.end(number);
        }
    }

    pub(super) fn with_taking(&mut self, act: impl FnOnce(&mut Taking, &mut VecDeque<Act>)) {
        let Some(taking) = &mut self.taking else { return };
        act(taking, &mut self.acts);
        if taking.is_over() {
            let number = taking.number();
            self.taking = None;
            self.end(number);
        }
    }

    pub(super) fn end(&mut self, number: u64) {
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(number);
    }
}
