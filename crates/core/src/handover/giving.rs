//! A move at the old node.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::mover::{Act, Offer, Stage};
use super::{
    ANSWER_WITHIN, CLAIM_WITHIN, FINISHED_REPEATS, FLOWS_MAX, FLOWS_PART_MAX, FREEZE_WITHIN, Flow,
    Message, PARTS_BURST, PARTS_PACE, RESEND, RESTARTED,
};
use crate::time::Instant;

/// A move at the old node, from the offer to the last word.
#[derive(Clone, Debug, Decode, Encode)]
pub(super) struct Giving {
    #[n(0)]
    number: u64,
    #[n(1)]
    offer: Offer,
    #[n(2)]
    step: Step,
    /// The wish of this node that was dropped for it.
    #[n(3)]
    instead_of: Option<u64>,
}

#[derive(Clone, Debug, Decode, Encode)]
enum Step {
    /// Offered; not answered yet.
    #[n(0)]
    Offered {
        #[n(0)]
        resend_at: Instant,
        #[n(1)]
        until: Instant,
    },
    /// The shell freezes.
    #[n(1)]
    Freezing {
        #[n(0)]
        until: Instant,
    },
    /// Frozen; the successor hears of the connections until it says that it has claimed.
    #[n(2)]
    Frozen {
        #[n(0)]
        flows: Vec<Flow>,
        /// Next part to be sent.
        #[n(1)]
        next: usize,
        #[n(2)]
        resend_at: Instant,
        #[n(3)]
        until: Instant,
    },
    /// The successor has the addresses; connections end here.
    #[n(3)]
    Passing {
        #[n(0)]
        flows: usize,
        #[n(1)]
        until: Instant,
    },
    /// All is done; the successor is told so again, in case it was not heard.
    #[n(4)]
    Telling {
        #[n(0)]
        left: u8,
        #[n(1)]
        resend_at: Instant,
    },
    /// To be forgotten.
    #[n(5)]
    Over,
}

impl Giving {
    pub(super) fn begin(
        now: Instant,
        (number, instead_of): (u64, Option<u64>),
        offer: Offer,
        acts: &mut VecDeque<Act>,
    ) -> Self {
        let step = Step::Offered { resend_at: now + RESEND, until: now + ANSWER_WITHIN };
        let giving = Self { number, offer, step, instead_of };
        giving.say_offer(acts);
        giving
    }

    pub(super) const fn is(&self, peer: usize, number: u64) -> bool {
        self.offer.peer == peer && self.number == number
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.step, Step::Over)
    }

    /// Whether it was offered to this peer, which has not answered.
    pub(super) const fn is_open_to(&self, peer: usize) -> bool {
        matches!(self.step, Step::Offered { .. }) && self.offer.peer == peer
    }

    /// Drops an offer that was not answered: another move goes first.
    pub(super) fn postpone(&mut self, acts: &mut VecDeque<Act>) {
        let Step::Offered { .. } = self.step else { return };
        acts.push_back(Act::Postponed { routers: self.routers(), is_wish: false });
        self.step = Step::Over;
    }

    /// Whether it is done but for connections that end here, and another move than `number` is what
    /// the peer speaks of: it would not while it passed packets back.
    pub(super) fn is_forgotten(&self, peer: usize, number: u64) -> bool {
        matches!(self.step, Step::Passing { .. })
            && self.offer.peer == peer
            && self.number != number
    }

    /// Whether all is done but for telling of it again.
    pub(super) const fn is_telling(&self) -> bool {
        matches!(self.step, Step::Telling { .. })
    }

    pub(super) fn stage(&self, router: u16) -> Option<(Stage, usize)> {
        let stage = match self.step {
            Step::Offered { .. } | Step::Freezing { .. } => Stage::Offered,
            Step::Frozen { .. } => Stage::Frozen,
            Step::Passing { .. } => Stage::Given,
            Step::Telling { .. } | Step::Over => return None,
        };
        self.has(router).then_some((stage, self.offer.peer))
    }

    pub(super) fn deadline(&self) -> Instant {
        match &self.step {
            Step::Offered { resend_at, until } | Step::Frozen { resend_at, until, .. } => {
                *resend_at.min(until)
            }
            Step::Freezing { until } | Step::Passing { until, .. } => *until,
            Step::Telling { resend_at, .. } => *resend_at,
            Step::Over => Instant::EPOCH,
        }
    }

    pub(super) fn tick(&mut self, now: Instant, acts: &mut VecDeque<Act>) {
        match &mut self.step {
            Step::Offered { until, .. } if *until <= now => {
                self.keep("it did not answer the offer", acts);
            }
            Step::Offered { resend_at, .. } => {
                if *resend_at <= now {
                    *resend_at = now + RESEND;
                    self.say_offer(acts);
                }
            }
            Step::Freezing { until } => {
                if *until <= now {
                    self.keep("connections could not be listed in time", acts);
                }
            }
            Step::Frozen { until, .. } if *until <= now => {
                self.keep("it did not claim in time", acts);
            }
            Step::Frozen { resend_at, .. } => {
                if *resend_at <= now {
                    self.say_flows(now, acts);
                }
            }
            Step::Passing { until, .. } => {
                if *until <= now {
                    self.drained(now, acts);
                }
            }
            Step::Telling { left, resend_at } => {
                if *resend_at <= now {
                    *left -= 1;
                    *resend_at = now + RESEND;
                    let is_last = *left == 0;
                    self.say(Message::Finished { number: self.number }, acts);
                    if is_last {
                        self.step = Step::Over;
                    }
                }
            }
            Step::Over => {}
        }
    }

    /// The successor will.
    pub(super) fn accepted(&mut self, now: Instant, acts: &mut VecDeque<Act>) {
        match self.step {
            Step::Offered { .. } => {
                self.step = Step::Freezing { until: now + FREEZE_WITHIN };
                acts.push_back(Act::Freeze { routers: self.routers() });
            }
            // Said again.
            Step::Freezing { .. } | Step::Frozen { .. } => {}
            Step::Passing { .. } | Step::Telling { .. } | Step::Over => {}
        }
    }

    /// The successor will not, now or any more.
    pub(super) fn declined(&mut self, why: &str, is_busy: bool, acts: &mut VecDeque<Act>) {
        match self.step {
            Step::Offered { .. } if is_busy => self.postpone(acts),
            Step::Offered { .. } | Step::Freezing { .. } | Step::Frozen { .. } => {
                self.keep(why, acts);
            }
            // It has claimed since, or an advert of it said so: what it said before is late.
            Step::Passing { .. } | Step::Telling { .. } | Step::Over => {}
        }
    }

    pub(super) fn frozen(
        &mut self,
        now: Instant,
        flows: Result<Vec<Flow>, String>,
        acts: &mut VecDeque<Act>,
    ) {
        match (&self.step, flows) {
            (Step::Freezing { .. }, Ok(mut flows)) => {
                flows.sort_unstable();
                flows.dedup();
                flows.truncate(FLOWS_MAX);
                let until = now + CLAIM_WITHIN;
                self.step = Step::Frozen { flows, next: 0, resend_at: now, until };
                self.say_flows(now, acts);
            }
            (Step::Freezing { .. }, Err(why)) => {
                self.keep(&format!("connections cannot be listed: {why}"), acts);
            }
            // Too late: it was undone already.
            (
                Step::Offered { .. }
                | Step::Frozen { .. }
                | Step::Passing { .. }
                | Step::Telling { .. }
                | Step::Over,
                _,
            ) => {}
        }
    }

    /// The successor says that it has claimed.
    pub(super) fn claimed(&mut self, now: Instant, acts: &mut VecDeque<Act>) {
        match &self.step {
            Step::Frozen { flows, .. } => {
                let flows = flows.len();
                self.step = Step::Passing { flows, until: now + self.offer.pass_within };
                let peer = self.offer.peer;
                let within = self.offer.pass_within;
                acts.push_back(Act::PassOn { routers: self.routers(), peer, within });
                let reason = self.offer.reason.clone();
                acts.push_back(Act::Yield { routers: self.routers(), peer, reason });
            }
            Step::Offered { .. } | Step::Freezing { .. } => {}
            Step::Passing { .. } | Step::Telling { .. } | Step::Over => {}
        }
    }

    /// The successor speaks as master: it has claimed, though the word of it was lost.
    pub(super) fn heard(
        &mut self,
        now: Instant,
        peer: usize,
        router: u16,
        acts: &mut VecDeque<Act>,
    ) {
        if self.offer.peer == peer && self.has(router) {
            self.claimed(now, acts);
        }
    }

    pub(super) fn drained(&mut self, now: Instant, acts: &mut VecDeque<Act>) {
        let Step::Passing { flows, .. } = self.step else { return };
        acts.push_back(Act::PassNone { routers: self.routers() });
        acts.push_back(Act::Over { routers: self.routers(), peer: self.offer.peer, flows });
        self.say(Message::Finished { number: self.number }, acts);
        self.step = Step::Telling { left: FINISHED_REPEATS - 1, resend_at: now + RESEND };
    }

    /// A peer started anew: if it is the successor, it passes nothing back any more.
    pub(super) fn restarted(&mut self, now: Instant, peer: usize, acts: &mut VecDeque<Act>) {
        if self.offer.peer == peer {
            self.declined(RESTARTED, false, acts);
            self.drained(now, acts);
        }
    }

    /// Connections are waited for no longer than this from now on.
    pub(super) fn hasten(&mut self, now: Instant, within: Duration, acts: &mut VecDeque<Act>) {
        self.offer.pass_within = self.offer.pass_within.min(within);
        if let Step::Passing { until, .. } = &mut self.step
            && now + within < *until
        {
            *until = now + within;
            acts.push_back(Act::Hasten { routers: self.routers(), within });
        }
    }

    pub(super) fn upset(&mut self, router: u16, why: &str, acts: &mut VecDeque<Act>) {
        if !self.has(router) {
            return;
        }
        match self.step {
            Step::Offered { .. } | Step::Freezing { .. } | Step::Frozen { .. } => {
                self.keep(why, acts);
            }
            Step::Passing { flows, .. } => {
                acts.push_back(Act::PassNone { routers: self.routers() });
                acts.push_back(Act::Over { routers: self.routers(), peer: self.offer.peer, flows });
                self.say(Message::Finished { number: self.number }, acts);
                self.step = Step::Over;
            }
            Step::Telling { .. } | Step::Over => {}
        }
    }

    /// Back to how it was before the offer.
    fn keep(&mut self, why: &str, acts: &mut VecDeque<Act>) {
        match self.step {
            Step::Freezing { .. } | Step::Frozen { .. } => {
                acts.push_back(Act::PassNone { routers: self.routers() });
            }
            Step::Offered { .. } | Step::Passing { .. } | Step::Telling { .. } | Step::Over => {}
        }
        let why = why.to_string();
        let word = Message::Decline { number: self.number, why: why.clone(), is_busy: false };
        self.say(word, acts);
        acts.push_back(Act::Kept { routers: self.routers(), peer: self.offer.peer, why });
        self.step = Step::Over;
    }

    fn say_offer(&self, acts: &mut VecDeque<Act>) {
        let message = Message::Offer {
            number: self.number,
            routers: self.routers(),
            epochs: self.offer.routers.iter().map(|(_, epoch)| *epoch).collect(),
            reason: self.offer.reason.clone(),
            pass_within_ms: u32::try_from(self.offer.pass_within.as_millis()).ok(),
            instead_of: self.instead_of,
        };
        self.say(message, acts);
    }

    /// The next burst of parts, from the first one again after the last one.
    fn say_flows(&mut self, now: Instant, acts: &mut VecDeque<Act>) {
        let Step::Frozen { flows, next, resend_at, .. } = &mut self.step else { return };
        let parts = flows.len().div_ceil(FLOWS_PART_MAX).max(1);
        let mut messages = vec![];
        for part in (*next..parts).take(PARTS_BURST) {
            let from = part * FLOWS_PART_MAX;
            let to = flows.len().min(from + FLOWS_PART_MAX);
            messages.push(Message::Flows {
                number: self.number,
                part: part as u16,
                parts: parts as u16,
                flows: flows[from..to].to_vec(),
            });
        }
        *next += messages.len();
        if *next < parts {
            *resend_at = now + PARTS_PACE;
        } else {
            *next = 0;
            *resend_at = now + RESEND;
        }
        messages.into_iter().for_each(|message| self.say(message, acts));
    }

    fn say(&self, message: Message, acts: &mut VecDeque<Act>) {
        acts.push_back(Act::Say { peer: self.offer.peer, message });
    }

    fn has(&self, router: u16) -> bool {
        self.offer.routers.iter().any(|(ours, _)| *ours == router)
    }

    fn routers(&self) -> Vec<u16> {
        self.offer.routers.iter().map(|(router, _)| *router).collect()
    }
}
