//! A configuration on trial: it is in force, and the one before it comes back unless somebody who can
//! still reach the node confirms it.
//!
//! ```text
//!  Untold --Told--> Settled --Begin--> Open --time over, or crashes--> Returning --Returned--> Settled
//!                      ^                |                                  |
//!                      +--Confirm, Abandon, Returned                       +--Failed: asked again later
//! ```
//!
//! The keeper has this machine, because it outlives what a bad configuration does to a worker. The
//! worker begins a trial *before* it puts the configuration in force, and goes back when it is asked
//! to; in between it may crash at any point. [`Journaled`] is what survives the keeper: a node that
//! starts decides with [`Journaled::resume`] how much time is left, and tells its keeper.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::time::{Instant, Spoken};

/// Shortest time to confirm.
pub const WITHIN_MIN: Duration = Duration::from_secs(1);
/// Longest time to confirm.
pub const WITHIN_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Crashes of the worker during one trial with which it is over.
pub const CRASHES_MAX: u32 = 3;
/// Starts of the node during one trial with which it is over.
pub const STARTS_MAX: u32 = 3;
/// How long the worker may take to go back before it is asked again.
pub const RETURN_WITHIN: Duration = Duration::from_secs(30);
/// After a failure to go back, how long until the next attempt.
pub const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Decides when a configuration that is not confirmed has to go.
///
/// Call [`Trial::handle`] with [`Input::Tick`] when [`Trial::deadline`] passes, and
/// [`Trial::ask`] whenever a worker can be asked to go back.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Trial {
    #[n(0)]
    state: State,
    /// The last trial that began, by its number; 0 before the first.
    #[n(1)]
    number: u64,
}

/// How it stands.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum State {
    /// No worker has said yet what was on trial when the node ended.
    #[default]
    #[n(0)]
    Untold,
    /// What is in force stays.
    #[n(1)]
    Settled,
    /// What is in force goes, unless it is confirmed.
    #[n(2)]
    Open {
        /// By then.
        #[n(0)]
        until: Instant,
        /// Crashes of the worker since it began.
        #[n(1)]
        crashes: u32,
    },
    /// The one before is to come back.
    #[n(3)]
    Returning {
        /// Why.
        #[n(0)]
        why: Why,
        /// Not before then; if a worker was asked already, it has that long to answer.
        #[n(1)]
        again_at: Option<Instant>,
        /// Whether a worker was asked and has not answered.
        #[n(2)]
        is_asked: bool,
        /// Why the last attempt failed.
        #[n(3)]
        failure: Option<String>,
    },
}

/// Why a configuration goes.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Why {
    /// Nobody confirmed it in time.
    #[n(0)]
    TimeOver,
    /// The worker crashed with it again and again.
    #[n(1)]
    Crashes,
    /// The node was started again and again with it.
    #[n(2)]
    Starts,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeOver => f.write_str("it was not confirmed in time"),
            Self::Crashes => write!(f, "the worker crashed {CRASHES_MAX} times with it"),
            Self::Starts => {
                write!(f, "the node was started {STARTS_MAX} times before it was confirmed")
            }
        }
    }
}

/// What happens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// Some time has passed.
    Tick,
    /// A worker says what the journal has: how long the trial of this number still lasts, if there is
    /// one. Counts for a keeper that knows nothing yet, and for a trial that it never heard of.
    Told {
        /// Which trial; 0 if there is none.
        number: u64,
        /// How long it lasts.
        left: Option<Duration>,
    },
    /// The worker is about to put a configuration in force, or to put another one under the same
    /// trial.
    Begin {
        /// Counts trials; the same while one goes on.
        number: u64,
        /// How long until it must be confirmed.
        within: Duration,
    },
    /// The operator wants to keep it.
    Confirm,
    /// It was not put in force after all.
    Abandon,
    /// The one before, or another that needs no confirmation, is in force.
    Returned,
    /// It could not be put in force.
    Failed(String),
    /// The worker crashed.
    Crashed,
}

/// Why an input changed nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// There is no trial.
    Nothing,
    /// The one before is coming back already.
    TooLate,
    /// The time is not between [`WITHIN_MIN`] and [`WITHIN_MAX`].
    BadTime,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("there is nothing to confirm"),
            Self::TooLate => f.write_str("it is too late: the configuration before is coming back"),
            Self::BadTime => {
                let (least, most) = (Spoken(WITHIN_MIN), Spoken(WITHIN_MAX));
                write!(f, "the time to confirm must be between {least} and {most}")
            }
        }
    }
}

impl core::error::Error for Refusal {}

impl Trial {
    /// How it stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The last trial that began; 0 before the first.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Untold | State::Settled => None,
            State::Open { until, .. } => Some(until),
            State::Returning { again_at, .. } => again_at,
        }
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// If the operator wants what cannot be; nothing is changed then.
    pub fn handle(&mut self, now: Instant, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Tick => self.tick(now),
            Input::Told { number, left } => self.told(now, number, left),
            Input::Begin { number, within } => return self.begin(now, number, within),
            Input::Confirm => return self.confirm(),
            Input::Abandon => {
                if let State::Open { .. } = self.state {
                    self.state = State::Settled;
                }
            }
            Input::Returned => match self.state {
                State::Open { .. } | State::Returning { .. } => self.state = State::Settled,
                State::Untold | State::Settled => {}
            },
            Input::Failed(text) => {
                if let State::Returning { again_at, is_asked, failure, .. } = &mut self.state {
                    *again_at = Some(now + RETRY_AFTER);
                    *is_asked = false;
                    *failure = Some(text);
                }
            }
            Input::Crashed => self.crashed(),
        }
        Ok(())
    }

    /// A worker can be asked to go back: whether it is to be, and why.
    pub fn ask(&mut self, now: Instant) -> Option<Why> {
        let State::Returning { why, again_at, is_asked, .. } = &mut self.state else { return None };
        if *is_asked || again_at.is_some_and(|at| at > now) {
            return None;
        }
        *is_asked = true;
        *again_at = Some(now + RETURN_WITHIN);
        Some(*why)
    }

    fn tick(&mut self, now: Instant) {
        match &mut self.state {
            State::Open { until, .. } if *until <= now => self.leave(Why::TimeOver),
            State::Returning { again_at, is_asked, .. } if again_at.is_some_and(|at| at <= now) => {
                *again_at = None;
                *is_asked = false;
            }
            State::Open { .. } | State::Returning { .. } | State::Untold | State::Settled => {}
        }
    }

    fn told(&mut self, now: Instant, number: u64, left: Option<Duration>) {
        let is_news = match self.state {
            State::Untold => true,
            // A worker that wrote it down and crashed before it could say so.
            State::Settled => number > self.number,
            State::Open { .. } | State::Returning { .. } => false,
        };
        if !is_news {
            return;
        }
        self.number = self.number.max(number);
        self.state = match left {
            Some(left) => State::Open { until: now + left.min(WITHIN_MAX), crashes: 0 },
            None => State::Settled,
        };
    }

    fn begin(&mut self, now: Instant, number: u64, within: Duration) -> Result<(), Refusal> {
        if !(WITHIN_MIN..=WITHIN_MAX).contains(&within) {
            return Err(Refusal::BadTime);
        }
        let crashes = match self.state {
            State::Untold | State::Settled => 0,
            State::Open { crashes, .. } => crashes,
            State::Returning { .. } => return Err(Refusal::TooLate),
        };
        self.number = self.number.max(number);
        self.state = State::Open { until: now + within, crashes };
        Ok(())
    }

    fn confirm(&mut self) -> Result<(), Refusal> {
        match self.state {
            State::Untold | State::Settled => Err(Refusal::Nothing),
            // Who could not go back may as well stay.
            State::Open { .. } | State::Returning { is_asked: false, failure: Some(_), .. } => {
                self.state = State::Settled;
                Ok(())
            }
            State::Returning { .. } => Err(Refusal::TooLate),
        }
    }

    fn crashed(&mut self) {
        match &mut self.state {
            State::Open { crashes, .. } => {
                *crashes += 1;
                if *crashes >= CRASHES_MAX {
                    self.leave(Why::Crashes);
                }
            }
            // The next one is told when it starts, and asked if it does not say that it is done.
            State::Returning { again_at, is_asked, .. } => {
                *again_at = None;
                *is_asked = false;
            }
            State::Untold | State::Settled => {}
        }
    }

    fn leave(&mut self, why: Why) {
        self.state = State::Returning { why, again_at: None, is_asked: false, failure: None };
    }
}

/// A trial as it is written down for a node that starts anew.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Journaled {
    /// Counts trials.
    #[n(0)]
    pub number: u64,
    /// How long there is to confirm.
    #[n(1)]
    pub within: Duration,
    /// By then, on the clock of the boot.
    #[n(2)]
    pub until: Instant,
    /// Which boot that is; empty if it cannot be told.
    #[n(3)]
    pub boot: String,
    /// By then, in seconds of Unix time.
    #[n(4)]
    pub until_unix: u64,
    /// Starts of the node since it began.
    #[n(5)]
    pub starts: u32,
}

/// What the clocks of a machine say.
#[derive(Clone, Copy, Debug)]
pub struct Clocks<'a> {
    /// Since the boot.
    pub now: Instant,
    /// Which boot; empty if it cannot be told.
    pub boot: &'a str,
    /// Seconds of Unix time, which may be wrong.
    pub unix: u64,
}

impl Journaled {
    /// A trial that begins.
    pub fn new(number: u64, within: Duration, clocks: Clocks<'_>) -> Self {
        Self {
            number,
            within,
            until: clocks.now + within,
            boot: clocks.boot.into(),
            until_unix: clocks.unix.saturating_add(within.as_secs()),
            starts: 0,
        }
    }

    /// How long it still lasts for a node that starts now, or why it is over.
    ///
    /// In the same boot the clock of the boot decides. After another boot nobody knows how long the
    /// machine was off: the time counts from that boot, unless the clock on the wall says that it is
    /// over. That one may be wrong, so it only ever shortens the time.
    ///
    /// # Errors
    /// Why it is over.
    pub fn resume(&self, clocks: Clocks<'_>) -> Result<Duration, Why> {
        if self.starts >= STARTS_MAX {
            return Err(Why::Starts);
        }
        let is_same_boot = !self.boot.is_empty() && self.boot == clocks.boot;
        let left = if is_same_boot {
            // Never more than there was, whatever the journal says.
            self.until.since(clocks.now).min(self.within)
        } else {
            let by_boot = self.within.saturating_sub(clocks.now.since_epoch());
            by_boot.min(Duration::from_secs(self.until_unix.saturating_sub(clocks.unix)))
        };
        if left.is_zero() { Err(Why::TimeOver) } else { Ok(left) }
    }
}

#[cfg(test)]
mod tests;
