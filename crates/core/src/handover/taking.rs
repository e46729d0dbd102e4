//! A move at the successor.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::mover::{Act, Stage};
use super::{
    ANSWER_WITHIN, FLOWS_MAX, FLOWS_PART_MAX, FLOWS_WITHIN, Flow, HASTEN_EVERY, Message,
    PASS_BACK_SLACK, PASS_BACK_UNSAID, PASS_MAX, RESEND, RESTARTED,
};
use crate::time::Instant;

/// A move at the successor, from the wish or the offer to the last word.
#[derive(Clone, Debug, Decode, Encode)]
pub(super) struct Taking {
    #[n(0)]
    number: u64,
    #[n(1)]
    peer: usize,
    /// Each with the newest epoch that is known of it.
    #[n(2)]
    routers: Vec<(u16, u64)>,
    /// Why, for people.
    #[n(3)]
    reason: String,
    #[n(4)]
    had_asked: bool,
    #[n(5)]
    step: Step,
    /// How long the old node wants packets passed back, if it has said so.
    #[n(6)]
    pass_within: Option<Duration>,
    /// By when the old node is asked to be finished, and when it was asked last.
    #[n(7)]
    hastened: Option<(Instant, Instant)>,
    /// The offer or wish of this node that was dropped for it.
    #[n(8)]
    instead_of: Option<u64>,
}

/// What an offer says of a move, besides its number and from whom.
#[derive(Debug)]
pub(super) struct Terms {
    /// Each with the newest epoch that is known of it.
    pub(super) routers: Vec<(u16, u64)>,
    /// Why, for people.
    pub(super) reason: String,
    /// See [`Message::Offer`].
    pub(super) pass_within: Option<Duration>,
}

#[derive(Clone, Debug, Decode, Encode)]
enum Step {
    /// Asked for; not offered yet.
    #[n(0)]
    Wanted {
        #[n(0)]
        resend_at: Instant,
        #[n(1)]
        until: Instant,
    },
    /// Accepted; hearing of the old node's connections.
    #[n(1)]
    Accepted {
        #[n(0)]
        parts: BTreeMap<u16, Vec<Flow>>,
        #[n(1)]
        until: Instant,
    },
    /// It is master, and passes back what is not its own.
    #[n(2)]
    Passing {
        #[n(0)]
        flows: usize,
        #[n(1)]
        until: Instant,
    },
    /// To be forgotten.
    #[n(3)]
    Over,
}

impl Taking {
    pub(super) fn want(
        now: Instant,
        number: u64,
        peer: usize,
        routers: Vec<u16>,
        acts: &mut VecDeque<Act>,
    ) -> Self {
        let taking = Self {
            number,
            peer,
            routers: routers.into_iter().map(|router| (router, 0)).collect(),
            reason: String::new(),
            had_asked: true,
            step: Step::Wanted { resend_at: now + RESEND, until: now + ANSWER_WITHIN },
            pass_within: None,
            hastened: None,
            instead_of: None,
        };
        taking.say_want(acts);
        taking
    }

    pub(super) fn offered(
        now: Instant,
        (number, instead_of): (u64, Option<u64>),
        peer: usize,
        terms: Terms,
        acts: &mut VecDeque<Act>,
    ) -> Self {
        let taking = Self {
            number,
            peer,
            routers: terms.routers,
            reason: terms.reason,
            had_asked: false,
            step: Step::Accepted { parts: BTreeMap::new(), until: now + FLOWS_WITHIN },
            pass_within: terms.pass_within,
            hastened: None,
            instead_of,
        };
        taking.say_accept(acts);
        taking
    }

    pub(super) const fn is(&self, peer: usize, number: u64) -> bool {
        self.peer == peer && self.number == number
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.step, Step::Over)
    }

    /// Whether this peer was asked, and has not answered.
    pub(super) const fn is_open_to(&self, peer: usize) -> bool {
        matches!(self.step, Step::Wanted { .. }) && self.peer == peer
    }

    /// Drops a wish that was not answered: another move goes first.
    pub(super) fn postpone(&mut self, acts: &mut VecDeque<Act>) {
        let Step::Wanted { .. } = self.step else { return };
        acts.push_back(Act::Postponed { routers: self.names(), is_wish: true });
        self.step = Step::Over;
    }

    pub(super) fn stage(&self, router: u16) -> Option<(Stage, usize)> {
        let stage = match self.step {
            Step::Wanted { .. } | Step::Accepted { .. } => Stage::Awaited,
            Step::Passing { .. } => Stage::Taken,
            Step::Over => return None,
        };
        self.has(router).then_some((stage, self.peer))
    }

    pub(super) fn deadline(&self) -> Instant {
        match &self.step {
            Step::Wanted { resend_at, until } => *resend_at.min(until),
            Step::Accepted { until, .. } | Step::Passing { until, .. } => *until,
            Step::Over => Instant::EPOCH,
        }
    }

    pub(super) fn tick(&mut self, now: Instant, acts: &mut VecDeque<Act>) {
        match &mut self.step {
            Step::Wanted { until, .. } if *until <= now => {
                self.miss("it did not answer", acts);
            }
            Step::Wanted { resend_at, .. } => {
                if *resend_at <= now {
                    *resend_at = now + RESEND;
                    self.say_want(acts);
                }
            }
            Step::Accepted { until, .. } => {
                if *until <= now {
                    self.decline("nothing was heard of its connections in time", acts);
                }
            }
            Step::Passing { until, .. } => {
                if *until <= now {
                    self.finished(acts);
                }
            }
            Step::Over => {}
        }
    }

    /// What was asked for is offered, or an offer is heard again.
    pub(super) fn accept(&mut self, now: Instant, terms: Terms, acts: &mut VecDeque<Act>) {
        match self.step {
            Step::Wanted { .. } => {
                (self.routers, self.reason) = (terms.routers, terms.reason);
                self.pass_within = terms.pass_within;
                self.step = Step::Accepted { parts: BTreeMap::new(), until: now + FLOWS_WITHIN };
                self.say_accept(acts);
            }
            Step::Accepted { .. } => self.say_accept(acts),
            Step::Passing { .. } | Step::Over => {}
        }
    }

    /// What was asked for or accepted is not wanted any more.
    pub(super) fn refuse(&mut self, why: &str, acts: &mut VecDeque<Act>) {
        match self.step {
            Step::Wanted { .. } | Step::Accepted { .. } => self.decline(why, acts),
            Step::Passing { .. } | Step::Over => {}
        }
    }

    /// The old node keeps what it has.
    pub(super) fn declined(&mut self, why: &str, is_busy: bool, acts: &mut VecDeque<Act>) {
        match self.step {
            Step::Wanted { .. } if is_busy => self.postpone(acts),
            Step::Wanted { .. } | Step::Accepted { .. } => self.miss(why, acts),
            // It gave up waiting when this one had claimed already: VRRP decides.
            Step::Passing { .. } => self.finished(acts),
            Step::Over => {}
        }
    }

    /// A peer started anew: if it is the old node, its connections are gone.
    pub(super) fn restarted(&mut self, peer: usize, acts: &mut VecDeque<Act>) {
        if self.peer == peer {
            self.declined(RESTARTED, false, acts);
        }
    }

    /// The old node is frozen, and has these connections among others.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        part: u16,
        parts: u16,
        flows: Vec<Flow>,
        acts: &mut VecDeque<Act>,
    ) {
        match &mut self.step {
            Step::Accepted { parts: heard, .. } => {
                if usize::from(parts) > FLOWS_MAX.div_ceil(FLOWS_PART_MAX)
                    || part >= parts
                    || flows.len() > FLOWS_PART_MAX
                {
                    self.decline("its connections cannot be understood", acts);
                    return;
                }
                heard.insert(part, flows);
                if heard.len() == usize::from(parts) {
                    let flows = core::mem::take(heard).into_values().flatten().collect();
                    self.take(now, flows, acts);
                }
            }
            // The old node has not heard that this one has claimed. Once a round of parts is enough.
            Step::Passing { .. } => {
                if part == 0 {
                    self.say(Message::Claimed { number: self.number }, acts);
                }
            }
            Step::Wanted { .. } | Step::Over => {}
        }
    }

    pub(super) fn finished(&mut self, acts: &mut VecDeque<Act>) {
        match self.step {
            Step::Passing { flows, .. } => {
                acts.push_back(Act::PassNone { routers: self.names() });
                acts.push_back(Act::Over { routers: self.names(), peer: self.peer, flows });
                self.step = Step::Over;
            }
            Step::Wanted { .. } | Step::Accepted { .. } => self.miss("the move is over", acts),
            Step::Over => {}
        }
    }

    /// The old node is to be finished after this long. It is asked again, as long as this is said
    /// again and it is not.
    pub(super) fn hasten(&mut self, now: Instant, within: Duration, acts: &mut VecDeque<Act>) {
        let Step::Passing { .. } = self.step else { return };
        let (until, asked_at) = match self.hastened {
            None => (now + within, None),
            Some((until, asked_at)) => (until.min(now + within), Some(asked_at)),
        };
        if asked_at.is_none_or(|at| now.since(at) >= HASTEN_EVERY) {
            self.hastened = Some((until, now));
            let within_ms = u32::try_from(until.since(now).as_millis()).unwrap_or(u32::MAX);
            self.say(Message::Hasten { number: self.number, within_ms }, acts);
        }
    }

    /// Whether it is done but for packets that are passed back, and another move than `number` is
    /// what the peer speaks of: it would not while connections ended there.
    pub(super) fn is_forgotten(&self, peer: usize, number: u64) -> bool {
        matches!(self.step, Step::Passing { .. }) && self.peer == peer && self.number != number
    }

    pub(super) fn upset(&mut self, router: u16, why: &str, acts: &mut VecDeque<Act>) {
        if !self.has(router) {
            return;
        }
        match self.step {
            Step::Wanted { .. } | Step::Accepted { .. } => self.decline(why, acts),
            Step::Passing { .. } => self.finished(acts),
            Step::Over => {}
        }
    }

    /// First what is not its own is kept from its sockets, then it is master, then it says so.
    fn take(&mut self, now: Instant, flows: Vec<Flow>, acts: &mut VecDeque<Act>) {
        let said = self.pass_within.map(|within| within.min(PASS_MAX) + PASS_BACK_SLACK);
        let until = now + said.unwrap_or(PASS_BACK_UNSAID);
        self.step = Step::Passing { flows: flows.len(), until };
        let (routers, peer) = (self.names(), self.peer);
        acts.push_back(Act::PassBack { routers, peer, flows });
        let (routers, reason) = (self.routers.clone(), self.reason.clone());
        acts.push_back(Act::Claim { routers, peer, reason });
        self.say(Message::Claimed { number: self.number }, acts);
    }

    fn decline(&mut self, why: &str, acts: &mut VecDeque<Act>) {
        let (number, is_busy) = (self.number, false);
        self.say(Message::Decline { number, why: why.to_string(), is_busy }, acts);
        self.miss(why, acts);
    }

    fn miss(&mut self, why: &str, acts: &mut VecDeque<Act>) {
        let (routers, why) = (self.names(), why.to_string());
        acts.push_back(Act::Missed { routers, peer: self.peer, had_asked: self.had_asked, why });
        self.step = Step::Over;
    }

    fn say_accept(&self, acts: &mut VecDeque<Act>) {
        let (number, instead_of) = (self.number, self.instead_of);
        self.say(Message::Accept { number, instead_of }, acts);
    }

    fn say_want(&self, acts: &mut VecDeque<Act>) {
        self.say(Message::Want { number: self.number, routers: self.names() }, acts);
    }

    fn say(&self, message: Message, acts: &mut VecDeque<Act>) {
        acts.push_back(Act::Say { peer: self.peer, message });
    }

    fn has(&self, router: u16) -> bool {
        self.routers.iter().any(|(ours, _)| *ours == router)
    }

    fn names(&self) -> Vec<u16> {
        self.routers.iter().map(|(router, _)| *router).collect()
    }
}
