//! One certificate from an authority: when it is ordered, when it is renewed, and how long to wait
//! after a failure.
//!
//! Two clocks are needed. When a certificate ends is told in Unix time, so a renewal is due by that
//! clock, which may be set at any moment: nobody sleeps longer than [`LOOK_EVERY`] on it. How long
//! to wait and how often to order is counted on the monotonic clock, so that a clock that is set
//! neither keeps us waiting nor makes us hammer the authority.
//!
//! A failure never takes a certificate away: what is held stays held until another is issued.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::rng::Rng;
use crate::time::Instant;

mod reason;

#[cfg(test)]
mod tests;

pub use reason::{Cause, Failure};

/// Most orders that begin within [`ORDERS_WINDOW`], whatever the reasons for them. Let's Encrypt
/// takes five failures an hour.
pub const ORDERS_MAX: usize = 5;
/// Over which [`ORDERS_MAX`] counts.
pub const ORDERS_WINDOW: Duration = Duration::from_secs(3600);
/// Wait after the first failure; each further one doubles it.
pub const BACKOFF_MIN: Duration = Duration::from_secs(60);
/// Longest wait after a failure, unless the authority asks for more.
pub const BACKOFF_MAX: Duration = Duration::from_secs(12 * 3600);
/// Wait if the authority says "too often" and not for how long.
pub const RATE_LIMITED_WAIT: Duration = Duration::from_secs(3600);
/// Longest wait that an authority can ask for; Let's Encrypt counts some things by the week.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often the authority is asked when to renew, at most (RFC 9773, 4.3.2).
pub const ASK_EVERY_MIN: Duration = Duration::from_secs(60);
/// How often the authority is asked when to renew, at least (RFC 9773, 4.3.2).
pub const ASK_EVERY_MAX: Duration = Duration::from_secs(24 * 3600);
/// When it is asked again after it did not answer (RFC 9773, 4.3.3).
pub const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// How often the Unix clock is looked at, for it may have been set.
pub const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// A difference between the clocks that means that one was set, or that the machine slept.
pub const CLOCK_SET_MIN: Duration = Duration::from_secs(600);

/// Share of its life before a certificate's end at which it is renewed by default: a third.
const LEAD_SHARE: u64 = 3;
/// A certificate is held for this share of its life at least, whatever `renew_before` says: a half.
const LEAD_SHARE_MAX: u64 = 2;
/// Share of the lead over which renewals are spread, so that many nodes do not come at once.
const SPREAD_SHARE: u64 = 10;
/// Share of its life before a certificate's end beyond which no advice is followed.
const ADVICE_SHARE: u64 = 20;
/// Share by which a wait may be shorter than computed.
const JITTER_SHARE: u32 = 5;

/// What the operator wants.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    /// How long before its end a certificate is renewed, where the authority does not say when; at
    /// most half its life. Default: a third of its life.
    pub renew_before: Option<Duration>,
}

/// The time by both clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// By the monotonic clock.
    pub at: Instant,
    /// By the Unix clock, in seconds.
    pub unix: u64,
}

/// From when to when a certificate is good, in seconds of Unix time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Term {
    /// First moment.
    pub not_before: u64,
    /// Last moment.
    pub not_after: u64,
}

/// What earlier processes left behind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Past {
    /// The certificate that is served.
    pub held: Option<Term>,
    /// Why it will not do, or why there is none; nothing if it is what is wanted.
    pub lack: Option<Cause>,
    /// When orders began, in seconds of Unix time.
    pub orders: Vec<u64>,
    /// Before when the authority wants to hear nothing, in seconds of Unix time.
    pub silent_until: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    /// The deadline passed. Also the first input, which sets things going.
    Tick,
    /// The authority says when to renew: between two moments of Unix time.
    Advice {
        /// First moment.
        start: u64,
        /// Last moment.
        end: u64,
        /// After which to ask again.
        ask_after: Duration,
    },
    /// The authority does not say when to renew.
    NoAdvice,
    /// The authority could not be asked.
    AskFailed,
    /// The order led to a certificate, which is served.
    Issued(Term),
    /// The order failed.
    Failed {
        /// How.
        kind: Failure,
        /// How long the authority wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Order a certificate; say [`Input::Issued`] or [`Input::Failed`] when it is over.
    Order(Cause),
    /// Ask the authority when to renew; say what it answered.
    Ask,
    /// The certificate will be renewed at this moment of Unix time.
    Planned(u64),
    /// An order is due and has to wait until this moment of Unix time, because the authority or the
    /// bound on orders forbids it.
    Postponed(u64),
}

/// How things stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// A good certificate is held.
    Good,
    /// A good certificate is held; it should have been renewed long ago.
    Late,
    /// There is none, or it has ended.
    Nothing,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The certificate is what is wanted, until it is to be renewed.
    Resting,
    /// An order is under way.
    Ordering { cause: Cause },
    /// An order is wanted and does not begin yet.
    Waiting { until: Instant, cause: Cause },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asking {
    /// There is nothing to ask about.
    Idle,
    /// To be done then.
    At(Instant),
    /// The answer is awaited.
    Asked,
}

/// A certificate that is held, and what is planned for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Held {
    term: Term,
    /// When to renew without advice.
    due: u64,
    /// The authority's advice, and the moment chosen from it.
    advice: Option<(u64, u64, u64)>,
}

impl Held {
    fn renewal(&self) -> (u64, Cause) {
        self.advice.map_or((self.due, Cause::Due), |(_, _, chosen)| (chosen, Cause::Advised))
    }
}

/// The life of one certificate through all its renewals.
///
/// Begin with [`Input::Tick`]. Drain [`Renewal::next_output`] after every [`Renewal::handle`], and
/// tick it when [`Renewal::deadline`] passes.
#[derive(Clone, Debug)]
pub struct Renewal {
    policy: Policy,
    rng: Rng,
    state: State,
    asking: Asking,
    held: Option<Held>,
    failures: u32,
    /// Before when the authority wants to hear nothing.
    silent_until: Instant,
    /// When each order of the last [`ORDERS_WINDOW`] stops to count.
    counted_until: VecDeque<Instant>,
    seen: Now,
    told: Option<u64>,
    outputs: VecDeque<Output>,
}

impl Renewal {
    /// What follows from `past`; nothing happens before the first [`Input::Tick`].
    pub fn new(policy: Policy, past: Past, now: Now, rng: Rng) -> Self {
        let mut renewal = Self {
            policy,
            rng,
            state: State::Resting,
            asking: Asking::Idle,
            held: None,
            failures: 0,
            silent_until: now.at,
            counted_until: VecDeque::new(),
            seen: now,
            told: None,
            outputs: VecDeque::new(),
        };
        let mut orders = past.orders;
        orders.sort_unstable();
        let latest = orders.len().saturating_sub(ORDERS_MAX);
        for began in &orders[latest..] {
            // A moment in the future means that the clock was set back: it counts as just now.
            let age = Duration::from_secs(now.unix.saturating_sub(*began));
            if let Some(left) = ORDERS_WINDOW.checked_sub(age) {
                renewal.counted_until.push_back(now.at + left);
            }
        }
        if let Some(term) = past.held {
            renewal.hold(now, term);
        }
        let silent = Duration::from_secs(past.silent_until.saturating_sub(now.unix));
        renewal.silent_until = now.at + silent.min(RETRY_AFTER_MAX);
        let lack = past.lack.or(past.held.is_none().then_some(Cause::Missing));
        if let Some(cause) = lack {
            renewal.state = State::Waiting { until: now.at, cause };
        }
        renewal
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.follow_clocks(now);
        match (self.state, input) {
            (State::Ordering { .. }, Input::Issued(term)) => {
                self.failures = 0;
                self.hold(now, term);
                self.state = State::Resting;
            }
            (State::Ordering { cause }, Input::Failed { kind, retry_after }) => {
                self.fail(now, cause, kind, retry_after);
            }
            (_, Input::Advice { start, end, ask_after }) => {
                let wait = ask_after.clamp(ASK_EVERY_MIN, ASK_EVERY_MAX);
                self.take_advice(start, end);
                self.answered(now.at + wait);
            }
            (_, Input::NoAdvice) => {
                if let Some(held) = &mut self.held {
                    held.advice = None;
                }
                self.answered(now.at + ASK_EVERY_MAX);
            }
            (_, Input::AskFailed) => self.answered(now.at + ASK_AGAIN),
            (
                State::Resting | State::Waiting { .. },
                Input::Issued(_) | Input::Failed { .. } | Input::Tick,
            )
            | (State::Ordering { .. }, Input::Tick) => {}
        }
        self.turn(now);
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to tick it next.
    pub fn deadline(&self) -> Option<Instant> {
        let look = self.seen.at + LOOK_EVERY;
        let next = match self.state {
            State::Resting => {
                let left = self.renew_at().map(|at| at.saturating_sub(self.seen.unix));
                left.map(|left| look.min(self.seen.at + Duration::from_secs(left)))
            }
            State::Waiting { until, .. } => Some(until.min(look)),
            State::Ordering { .. } => None,
        };
        match (next, self.asking) {
            (Some(next), Asking::At(ask)) => Some(next.min(ask)),
            (None, Asking::At(ask)) => Some(ask),
            (next, Asking::Idle | Asking::Asked) => next,
        }
    }

    /// When the certificate that is held will be renewed, or, after a failure, the next order may
    /// begin, in seconds of Unix time.
    pub fn next_order(&self, now: Now) -> Option<u64> {
        match self.state {
            State::Resting => self.renew_at(),
            State::Ordering { .. } => Some(now.unix),
            State::Waiting { until, .. } => Some(now.unix + until.since(now.at).as_secs()),
        }
    }

    /// Orders that failed since the last one that did not.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Before when the authority wants to hear nothing, in seconds of Unix time; nothing if that is
    /// over. To be kept for the process that comes next.
    pub fn silent_until(&self, now: Now) -> Option<u64> {
        let left = self.silent_until.since(now.at);
        (!left.is_zero()).then(|| now.unix + left.as_secs())
    }

    /// How things stand.
    pub fn standing(&self, unix: u64) -> Standing {
        let Some(Held { term, .. }) = self.held else { return Standing::Nothing };
        if unix > term.not_after {
            return Standing::Nothing;
        }
        let left = term.not_after - unix;
        if self.failures > 0 && left < self.lead(term) / 2 {
            Standing::Late
        } else {
            Standing::Good
        }
    }

    /// A clock that was set, or a sleep of the machine, ends our own waits: whatever failed before
    /// may have failed for it.
    fn follow_clocks(&mut self, now: Now) {
        let expected = self.seen.unix + now.at.since(self.seen.at).as_secs();
        if now.unix.abs_diff(expected) >= CLOCK_SET_MIN.as_secs() {
            if let State::Waiting { until, cause } = self.state {
                self.state = State::Waiting { until: until.min(now.at + BACKOFF_MIN), cause };
            }
            if let Asking::At(ask) = self.asking {
                self.asking = Asking::At(ask.min(now.at));
            }
        }
        self.seen = now;
    }

    /// Does what the time has come for.
    fn turn(&mut self, now: Now) {
        if let Asking::At(at) = self.asking
            && at <= now.at
        {
            self.asking = Asking::Asked;
            self.outputs.push_back(Output::Ask);
        }
        match self.state {
            State::Resting if self.is_due(now.unix) => {
                let cause = self.held.map_or(Cause::Missing, |held| held.renewal().1);
                self.order(now, cause);
            }
            State::Waiting { until, cause } if until <= now.at => self.order(now, cause),
            State::Resting if self.asking != Asking::Asked && self.told != self.renew_at() => {
                self.told = self.renew_at();
                self.outputs.extend(self.told.map(Output::Planned));
            }
            State::Resting | State::Waiting { .. } | State::Ordering { .. } => {}
        }
        debug_assert!(self.deadline().is_none_or(|at| at > now.at), "{self:?}");
    }

    /// Begins an order, or waits until the authority and the bound on orders allow it.
    fn order(&mut self, now: Now, cause: Cause) {
        while self.counted_until.front().is_some_and(|&until| until <= now.at) {
            self.counted_until.pop_front();
        }
        let is_full = self.counted_until.len() >= ORDERS_MAX;
        let free_at = self.counted_until.front().copied().filter(|_| is_full);
        let until = free_at.unwrap_or(now.at).max(self.silent_until);
        if until > now.at {
            self.state = State::Waiting { until, cause };
            let unix = now.unix + until.since(now.at).as_secs();
            self.outputs.push_back(Output::Postponed(unix));
            return;
        }
        self.counted_until.push_back(now.at + ORDERS_WINDOW);
        self.state = State::Ordering { cause };
        self.outputs.push_back(Output::Order(cause));
    }

    fn fail(&mut self, now: Now, cause: Cause, kind: Failure, retry_after: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let factor = 1u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        let backoff = BACKOFF_MIN.saturating_mul(factor).min(BACKOFF_MAX);
        let jitter = (backoff / JITTER_SHARE).mul_f64(self.rng.unit());
        let told = (kind == Failure::RateLimited).then_some(RATE_LIMITED_WAIT);
        if let Some(wait) = retry_after.or(told) {
            self.silent_until = now.at + wait.min(RETRY_AFTER_MAX);
        }
        // Not a moment too early for the authority: the spread comes on top.
        let until = (now.at + (backoff - jitter)).max(self.silent_until + jitter.min(BACKOFF_MIN));
        self.state = State::Waiting { until, cause };
    }

    fn hold(&mut self, now: Now, term: Term) {
        let lead = self.lead(term);
        let spread = (self.rng.unit() * (lead / SPREAD_SHARE) as f64) as u64;
        let due = term.not_after.saturating_sub(lead + spread);
        self.held = Some(Held { term, due, advice: None });
        self.asking = Asking::At(now.at);
    }

    /// How long before its end a certificate is renewed without advice, in seconds.
    fn lead(&self, term: Term) -> u64 {
        let life = term.not_after.saturating_sub(term.not_before);
        let wanted = self.policy.renew_before.map_or(life / LEAD_SHARE, |wanted| wanted.as_secs());
        wanted.min(life / LEAD_SHARE_MAX)
    }

    /// Chooses any moment between the two, each as likely as any other (RFC 9773, 4.2); advice that
    /// did not change keeps its moment.
    fn take_advice(&mut self, start: u64, end: u64) {
        let Some(held) = &mut self.held else { return };
        let Term { not_before, not_after } = held.term;
        let latest = not_after - not_after.saturating_sub(not_before) / ADVICE_SHARE;
        if start > end || start > latest {
            // It would have the certificate end first.
            held.advice = None;
        } else if held.advice.is_none_or(|(from, to, _)| (from, to) != (start, end)) {
            let chosen = start + (self.rng.unit() * (end - start) as f64) as u64;
            held.advice = Some((start, end, chosen.min(latest)));
        }
    }

    fn answered(&mut self, ask_at: Instant) {
        self.asking = if self.held.is_some() { Asking::At(ask_at) } else { Asking::Idle };
    }

    fn renew_at(&self) -> Option<u64> {
        self.held.map(|held| held.renewal().0)
    }

    fn is_due(&self, unix: u64) -> bool {
        self.renew_at().is_none_or(|at| at <= unix)
    }
}
