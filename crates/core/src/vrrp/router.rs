//! The election of one virtual router (RFC 9568 section 6.4, RFC 3768 section 6.4).
//!
//! ```text
//!              +------+  able   +--------+  silence  +--------+
//!      out --> | Init |-------->| Backup |---------->| Master |
//!              +------+         +--------+<----------+--------+
//!              +-------+  able    ^   ^  a better one     |
//!   faulty --> | Fault |----------+   |                   | resigns, is faulty or out
//!              +-------+              |     +---------+   |
//!                      a successor is +-----| Leaving |<--+
//!                      heard, or nobody     +---------+
//! ```
//!
//! Beyond the papers:
//!
//! - Whoever gives up of its own will keeps the addresses until it hears a successor (Leaving),
//!   so that nobody's packets fall between two nodes.
//! - A master that hears a better one says so by an advert of priority 0: the winner, of whatever
//!   make, answers with an advert at once (6.4.3), which corrects bridges; ours also announces.
//! - A backup takes such a 0 as the end of its master only if it comes from the master it follows:
//!   otherwise the loser of a contest between two would make a third one claim.
//! - Whoever finds that it was paused for longer than its peers wait, and hears another master,
//!   yields, whatever the priorities.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::announce::{Due, Farewell, Schedule};
use super::{INTERVALS_DOWN, PRIORITY_STOP, Policy, Role};
use crate::time::{Instant, Spoken};

mod event;
mod hearing;
mod leaving;
mod timing;

#[cfg(test)]
mod tests;

pub use event::{Fitness, Input, Leave, Output};

/// What version 2 multiplies the skew with, whatever the interval (RFC 3768 section 6.1).
const SKEW_OF_VERSION_2: Duration = Duration::from_secs(1);
/// Shorter intervals cannot be said on the wire.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// One virtual router of this node.
///
/// Drain [`Self::next_output`] to `None` after every call, and hand in [`Input::Tick`] no later than
/// [`Self::deadline`]. Adverts that have arrived are handed in before the tick.
#[derive(Clone, Debug, Decode, Encode)]
pub struct Router {
    #[n(0)]
    policy: Policy,
    #[n(1)]
    source: Option<IpAddr>,
    #[n(2)]
    fitness: Fitness,
    #[n(3)]
    state: State,
    /// The master that is followed, or that a worse one would be measured against.
    #[n(4)]
    heard: Option<Heard>,
    /// Nothing is claimed earlier, unless told to.
    #[n(5)]
    claims_from: Instant,
    /// Since when it could have served: it preempts nobody until that is long enough ago.
    #[n(6)]
    able_since: Instant,
    /// An operator gave the addresses to another node: no preemption until that one is gone.
    #[n(7)]
    is_moved: bool,
    // 8 was something else once.
    #[n(9)]
    schedule: Schedule,
    /// Who was master before, as it knows, and until when what it says means nothing.
    #[n(10)]
    replaced: Option<(IpAddr, Instant)>,
    /// Nobody is preempted earlier.
    #[n(11)]
    defers_until: Instant,
    /// What it says for a moment after it was master.
    #[n(12)]
    farewell: Option<Farewell>,
    #[cbor(skip)]
    outputs: VecDeque<Output>,
}

/// Another master.
#[derive(Clone, Copy, Debug, Decode, Encode)]
struct Heard {
    #[n(0)]
    from: IpAddr,
    #[n(1)]
    priority: u8,
    /// Learned from it (RFC 9568 section 6.1, Active_Adver_Interval).
    #[n(2)]
    interval: Duration,
    #[n(3)]
    at: Instant,
}

#[derive(Clone, Debug, Decode, Encode)]
enum State {
    #[n(0)]
    Init,
    #[n(1)]
    Fault,
    #[n(2)]
    Backup {
        /// When the master counts as gone.
        #[n(0)]
        down_at: Instant,
    },
    #[n(3)]
    Master {
        #[n(0)]
        advert_at: Instant,
        #[n(1)]
        sent_at: Instant,
        #[n(2)]
        since: Instant,
    },
    /// It has said 0 and still has the addresses.
    #[n(4)]
    Leaving {
        #[n(0)]
        until: Instant,
        /// What it is for everybody else already.
        #[n(1)]
        role: Role,
        #[n(2)]
        hold_off: Duration,
    },
}

impl Router {
    /// A virtual router of a node that has `started` then: it takes no part until it has a source and
    /// is able, and claims nothing before its startup delay has passed.
    pub fn new(started: Instant, policy: Policy) -> Self {
        let why = String::from("starting");
        Self {
            policy,
            source: None,
            fitness: Fitness::Out { leave: Leave::AtOnce, why },
            state: State::Init,
            heard: None,
            claims_from: started + policy.startup_delay,
            able_since: started,
            is_moved: false,
            schedule: Schedule::default(),
            replaced: None,
            defers_until: started,
            farewell: None,
            outputs: VecDeque::new(),
        }
    }

    /// Changes how it behaves; role and timers stay.
    pub fn set_policy(&mut self, now: Instant, policy: Policy) {
        let before = core::mem::replace(&mut self.policy, policy);
        if self.role() == Role::Master {
            self.schedule.set_refresh(now, policy.announce_refresh);
            if before.interval != policy.interval {
                // Backups learn it now, and no advert comes later than by the new one.
                self.advertise(now);
            }
        }
    }

    /// Advances the election by one event.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Fitness(fitness) => self.judge(now, fitness),
            Input::Source(source) => self.source = source,
            // Our own advert, come back; or another node with our address, about which an election
            // cannot do anything.
            Input::Heard { from, .. } if Some(from) == self.source => {}
            Input::Heard { from, advert } => self.hear(now, from, advert),
            Input::RivalOwner { who } => self.see_rival(now, who),
            Input::Resign { why, hold_off, is_lasting } => {
                self.resign(now, why, hold_off, is_lasting);
            }
            Input::TakeOver { why, is_agreed } => self.take_over(now, why, is_agreed),
            Input::Cede { why } => self.cede(now, why),
            Input::Defer { until } => self.defers_until = until,
            Input::Wait { until } => self.wait(until),
            Input::Tick => self.tick(now),
        }
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Tick`], if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::Init | State::Fault => None,
            State::Backup { down_at } => Some(down_at),
            State::Master { advert_at, .. } => Some(advert_at),
            State::Leaving { until, .. } => Some(until),
        };
        let farewell = self.farewell.map(Farewell::deadline);
        state.into_iter().chain(self.schedule.deadline()).chain(farewell).min()
    }

    /// What it does, as everybody else sees it.
    pub fn role(&self) -> Role {
        match self.state {
            State::Init => Role::Init,
            State::Fault => Role::Fault,
            State::Backup { .. } => Role::Backup,
            State::Master { .. } => Role::Master,
            State::Leaving { role, .. } => role,
        }
    }

    /// Whether the addresses are on this node: those of a master, and of one that waits for its
    /// successor.
    pub fn holds(&self) -> bool {
        match self.state {
            State::Init | State::Fault | State::Backup { .. } => false,
            State::Master { .. } | State::Leaving { .. } => true,
        }
    }

    /// What it was told last of its fitness.
    pub fn fitness(&self) -> &Fitness {
        &self.fitness
    }

    /// Effective priority; 0 while it takes no part.
    pub fn priority(&self) -> u8 {
        match self.fitness {
            Fitness::Able { priority } => priority,
            Fitness::Faulty { .. } | Fitness::Out { .. } => 0,
        }
    }

    /// Who is master, as far as this node knows, and its priority.
    pub fn master(&self, now: Instant) -> Option<(IpAddr, u8)> {
        if self.role() == Role::Master {
            return self.source.map(|source| (source, self.priority()));
        }
        let heard = self.heard.filter(|heard| heard.priority != PRIORITY_STOP)?;
        let is_recent = now.since(heard.at) <= self.silence_max(heard.interval);
        is_recent.then_some((heard.from, heard.priority))
    }

    /// Why nothing would be claimed now though it takes part.
    pub fn holding_back(&self, now: Instant) -> Option<String> {
        let State::Backup { down_at } = self.state else { return None };
        if now < self.claims_from {
            let left = self.claims_from.since(now);
            return Some(format!("claims nothing for another {}", Spoken(left)));
        }
        if !self.policy.preempt || !self.hears_worse() || self.preempts(now) {
            // A master that is silent is replaced when the timer fires.
            return (now > down_at).then(|| String::from("looks whether a master is left"));
        }
        if self.is_moved {
            return Some(String::from("an operator gave the addresses to the master"));
        }
        let at = self.able_since + self.policy.preempt_delay;
        Some(format!("preempts in {}", Spoken(at.since(now))))
    }

    /// Whether it would replace the master that it hears, as a move between two that talk if there
    /// is a way.
    pub fn wants_to_preempt(&self, now: Instant) -> bool {
        let State::Backup { .. } = self.state else { return false };
        self.preempts(now) && self.hears_worse()
    }

    /// Whether the timer of a backup has run out: with the next tick it claims.
    pub fn is_due_to_claim(&self, now: Instant) -> bool {
        matches!(self.state, State::Backup { down_at } if down_at <= now)
    }

    /// Until when a backup counts on the master that it hears, if it does and would not replace it.
    pub fn follows_until(&self, now: Instant) -> Option<Instant> {
        let State::Backup { .. } = self.state else { return None };
        let heard = self.heard.filter(|heard| heard.priority != PRIORITY_STOP)?;
        let until = heard.at + self.master_down();
        (now < until && !self.wants_to_preempt(now)).then_some(until)
    }

    /// Why it takes no part, for people.
    pub fn why_out(&self) -> Option<&str> {
        match &self.fitness {
            Fitness::Able { .. } => None,
            Fitness::Faulty { why, .. } | Fitness::Out { why, .. } => Some(why),
        }
    }

    /// How long a peer waits for an advert of ours, or this node for a master's: three intervals and
    /// the longest skew.
    pub fn down_time(&self) -> Duration {
        self.silence_max(self.interval())
    }

    /// When an advert was last sent by this master, or heard by this backup.
    pub fn last_advert(&self) -> Option<Instant> {
        match self.state {
            State::Init | State::Fault | State::Leaving { .. } => None,
            State::Backup { .. } => self.heard.map(|heard| heard.at),
            State::Master { sent_at, .. } => Some(sent_at),
        }
    }

    /// Between two adverts of whoever is master.
    pub fn interval(&self) -> Duration {
        match self.state {
            State::Master { .. } | State::Leaving { .. } => self.policy.interval,
            State::Init | State::Fault | State::Backup { .. } => self.master_interval(),
        }
    }

    /// Whether a claim, a contest or a resignation is under way.
    pub fn is_busy(&self) -> bool {
        let is_leaving = matches!(self.state, State::Leaving { .. }) || self.farewell.is_some();
        is_leaving || self.schedule.is_running()
    }

    fn tick(&mut self, now: Instant) {
        match self.state {
            State::Init | State::Fault => {}
            State::Backup { down_at } if now >= down_at => {
                let lateness = now.since(down_at);
                if lateness >= self.master_interval() * INTERVALS_DOWN {
                    // It was paused. A master that lives is heard within an interval.
                    self.outputs.push_back(Output::Late { silence: lateness });
                    let interval = self.master_interval();
                    self.arm(now, interval + self.skew(interval));
                } else {
                    let reason = self.reason_to_lead();
                    self.lead(now, reason);
                }
            }
            State::Master { advert_at, sent_at, .. } => {
                if self.is_late(now, sent_at) {
                    self.outputs.push_back(Output::Late { silence: now.since(sent_at) });
                    self.schedule.conceded(now);
                }
                if now >= advert_at {
                    self.advertise(now);
                }
                self.announce_due(now);
            }
            State::Leaving { until, role: Role::Backup, hold_off } if now >= until => {
                if hold_off.is_zero() {
                    self.lead(now, String::from("nobody else took over"));
                } else {
                    let reason = String::from("nobody has taken over");
                    self.end_leaving(now, Role::Backup, hold_off, reason);
                }
            }
            State::Leaving { until, role, hold_off } if now >= until => {
                self.end_leaving(now, role, hold_off, String::from("nobody has taken over"));
            }
            State::Backup { .. } | State::Leaving { .. } => {}
        }
        self.say_farewell(now);
    }

    fn reason_to_lead(&self) -> String {
        match self.heard {
            None => String::from("no other master is there"),
            Some(heard) if heard.priority == PRIORITY_STOP => {
                format!("{} has given the addresses up", heard.from)
            }
            Some(heard) if heard.priority < self.priority() => {
                format!("{} has only priority {}", heard.from, heard.priority)
            }
            Some(heard) => format!("{} has fallen silent", heard.from),
        }
    }

    /// Becomes master: the advert first, then the announcements (RFC 9568 section 6.4.2).
    fn lead(&mut self, now: Instant, reason: String) {
        let interval = self.policy.interval;
        self.is_moved = false;
        self.outputs.push_back(Output::Advertise { priority: self.priority() });
        let next = State::Master { advert_at: now + interval, sent_at: now, since: now };
        self.enter(next, reason);
        self.schedule.claimed(now, self.policy.announce_repeat, self.policy.announce_refresh);
        self.announce_due(now);
    }

    fn stand_by(&mut self, now: Instant, reason: String) {
        let down_at = (now + self.master_down()).max(self.claims_from);
        self.enter(State::Backup { down_at }, reason);
    }

    fn wait(&mut self, until: Instant) {
        if let State::Backup { down_at } = &mut self.state {
            *down_at = until.max(*down_at);
        }
    }

    /// Restarts the timer of a backup.
    fn arm(&mut self, now: Instant, after: Duration) {
        let down_at = (now + after).max(self.claims_from);
        self.state = State::Backup { down_at };
    }

    /// The only place that changes roles, so holding and releasing always pair up.
    fn enter(&mut self, next: State, reason: String) {
        let (before, held) = (self.role(), self.holds());
        self.state = next;
        if held != self.holds() {
            self.outputs.push_back(if held { Output::Release } else { Output::Hold });
        }
        if self.role() != Role::Master {
            self.schedule.stop();
        }
        if matches!(self.state, State::Master { .. } | State::Init) {
            self.farewell = None;
        }
        if self.role() != before {
            self.outputs.push_back(Output::Turned { role: self.role(), before, reason });
        }
    }

    /// Says what a master says, unless that was just done.
    fn advertise(&mut self, now: Instant) {
        let State::Master { since, .. } = self.state else { return };
        self.outputs.push_back(Output::Advertise { priority: self.priority() });
        let advert_at = now + self.policy.interval;
        self.state = State::Master { advert_at, sent_at: now, since };
    }

    /// Only a master gets here.
    fn announce_due(&mut self, now: Instant) {
        let State::Master { sent_at, .. } = self.state else { return };
        let Some(due) = self.schedule.take_due(now) else { return };
        if due == Due::Both && sent_at < now {
            self.advertise(now);
        }
        self.outputs.push_back(Output::Announce);
    }
}
