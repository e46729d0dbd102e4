//! The worker: the process that serves, replaced when it dies.
//!
//! While it is gone clients wait in the accept queues that the keeper holds, so the first
//! replacement comes at once; only a worker that keeps dying is waited for. A worker that says it
//! cannot start at all (a broken configuration) is believed once: if none was ever ready, the
//! operator is still there to read why, so everything ends.

use core::time::Duration;

use minicbor::{Decode, Encode};

use super::doubled;
use crate::time::Instant;

/// After so many failures in a row nobody believes any more that a worker can be brought back, even if
/// it was ready in between.
pub const FAILURES_HELPLESS: u32 = 5;
/// Nor after so many starts in a row that came to nothing. Each is of the binary that served, and falls
/// back by itself on the configuration that served; the second one is for bad luck.
pub const STARTS_HELPLESS: u32 = 2;
/// Nor after a start that takes so many times as long as the longest one so far: it hangs.
pub const HELPLESS_FACTOR: u32 = 10;
/// At least and at most so long without a ready one, then: a machine may be busy for a moment, and
/// clients do not wait for ever.
pub const HELPLESS_AFTER_MIN: Duration = Duration::from_secs(1);
/// See [`HELPLESS_AFTER_MIN`].
pub const HELPLESS_AFTER_MAX: Duration = Duration::from_secs(5);

/// When to replace a worker, and how long to wait for one.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Policy {
    /// From its start until it must be ready.
    #[n(0)]
    pub ready_within: Duration,
    /// Wait after the second failure in a row; the first waits for nothing, later ones double it.
    #[n(1)]
    pub base: Duration,
    /// Longest wait.
    #[n(2)]
    pub cap: Duration,
    /// Ready for this long wipes out the failures before it.
    #[n(3)]
    pub stable_after: Duration,
    /// What it gets to finish its requests when all ends.
    #[n(4)]
    pub grace: Duration,
    /// What it gets beyond that, or to exit after it let go of the link, before it is killed.
    #[n(5)]
    pub margin: Duration,
}

impl Default for Policy {
    /// Ready within 30 s; at once, then 100 ms doubled up to 5 s; stable after 10 s; 30 s of grace
    /// and a second more.
    fn default() -> Self {
        Self {
            ready_within: Duration::from_secs(30),
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            stable_after: Duration::from_secs(10),
            grace: Duration::from_secs(30),
            margin: Duration::from_secs(1),
        }
    }
}

/// What happened to the worker, or is wanted of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    /// There should be one. The first input, and only that.
    Start,
    /// It serves.
    Ready,
    /// It says that it cannot start.
    Hopeless,
    /// It let go of the link; most likely it is about to exit.
    Deaf,
    /// It no longer follows the link: it reads nothing, or speaks nonsense.
    Hung,
    /// It exited, or could not be started.
    Exited(Fate),
    /// All should end.
    Stop,
    /// All should end now.
    Hurry,
    /// The deadline passed.
    Tick,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Fate {
    /// Any way but the other one.
    #[n(0)]
    Crashed,
    /// With the exit status that says that another start would end alike.
    #[n(1)]
    Hopeless,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Start a process. If that fails, say [`Input::Exited`].
    Spawn,
    /// Ask it to finish and exit.
    AskToStop,
    /// End it; say why if it is not the operator's wish.
    Kill(Reason),
    /// There is no worker and there will be none.
    End(End),
}

/// Why a worker is killed.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Reason {
    /// It was not ready in time.
    #[n(0)]
    NotReady,
    /// It let go of the link and did not exit.
    #[n(1)]
    Deaf,
    /// It no longer followed the link.
    #[n(2)]
    Hung,
    /// It said that it cannot start and did not exit.
    #[n(3)]
    Hopeless,
    /// It took longer to finish than it was given.
    #[n(4)]
    Slow,
    /// The operator is in a hurry.
    #[n(5)]
    Hurry,
}

/// How it all ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// As asked.
    Stopped,
    /// The first worker could not start, and no later one could.
    Hopeless,
}

#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
enum State {
    #[n(0)]
    Down,
    #[n(1)]
    Starting {
        #[n(0)]
        until: Instant,
    },
    #[n(2)]
    Ready {
        #[n(0)]
        since: Instant,
    },
    // Something is wrong and its exit is awaited; killed already without a time.
    #[n(3)]
    Failing {
        #[n(0)]
        kill: Option<(Instant, Reason)>,
        #[n(1)]
        fate: Fate,
    },
    #[n(4)]
    Backoff {
        #[n(0)]
        until: Instant,
    },
    #[n(5)]
    Stopping {
        #[n(0)]
        kill_at: Option<Instant>,
    },
    #[n(6)]
    Ended,
}

/// The life of the worker, through all its processes.
///
/// Do what [`Worker::handle`] returns at once, and call it with [`Input::Tick`] when
/// [`Worker::deadline`] passes.
#[derive(Clone, Debug, Decode, Encode)]
pub struct Worker {
    #[n(0)]
    policy: Policy,
    #[n(1)]
    state: State,
    #[n(2)]
    failures: u32,
    #[n(3)]
    was_ready: bool,
    /// When the last ready one was lost, while none is ready.
    #[n(4)]
    lost_at: Option<Instant>,
    /// Whether the last one said that it cannot start.
    #[n(5)]
    #[cbor(default)]
    is_hopeless: bool,
    /// How many were started since one was ready.
    #[n(6)]
    #[cbor(default)]
    starts: u32,
    /// How long the slowest one took to be ready.
    #[n(7)]
    #[cbor(default)]
    start_took_max: Duration,
}

/// Why no worker can be brought back, as far as anybody can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Helpless {
    /// It says that it cannot start.
    Hopeless,
    /// It has failed as often as [`FAILURES_HELPLESS`] in a row, and none is ready.
    Failing,
    /// As many starts in a row as [`STARTS_HELPLESS`] came to nothing.
    Unstarted,
    /// None was ready for this long, which is [`HELPLESS_FACTOR`] times what the slowest start took.
    Gone(Duration),
}

impl Worker {
    /// No worker yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::Down,
            failures: 0,
            was_ready: false,
            lost_at: None,
            is_hopeless: false,
            starts: 0,
            start_took_max: Duration::ZERO,
        }
    }

    /// Why no worker can be brought back, if one was ready before and none is now. It is tried on; one
    /// that is ready ends it.
    pub fn helpless(&self, now: Instant) -> Option<Helpless> {
        let lost_at = self.lost_at?;
        if self.is_hopeless {
            Some(Helpless::Hopeless)
        } else if self.failures >= FAILURES_HELPLESS {
            Some(Helpless::Failing)
        } else if self.starts_failed() >= STARTS_HELPLESS {
            Some(Helpless::Unstarted)
        } else {
            let patience = self.patience();
            (now - lost_at >= patience).then_some(Helpless::Gone(patience))
        }
    }

    /// When to ask [`Self::helpless`] again, if nothing happens before.
    pub fn helpless_at(&self, now: Instant) -> Option<Instant> {
        self.lost_at.map(|at| at + self.patience()).filter(|&at| at > now)
    }

    /// How long none may be ready, once one was.
    fn patience(&self) -> Duration {
        let hanging = self.start_took_max.saturating_mul(HELPLESS_FACTOR);
        hanging.clamp(HELPLESS_AFTER_MIN, HELPLESS_AFTER_MAX)
    }

    fn starts_failed(&self) -> u32 {
        let is_open = matches!(self.state, State::Starting { .. });
        self.starts.saturating_sub(u32::from(is_open))
    }

    /// Takes in what happened; returns what to do about it.
    pub fn handle(&mut self, now: Instant, input: Input) -> Option<Output> {
        let was_ready = matches!(self.state, State::Ready { .. });
        let output = self.advance(now, input);
        let is_ready = matches!(self.state, State::Ready { .. });
        // Whoever is told to stop is not lost.
        let is_over = matches!(self.state, State::Stopping { .. } | State::Ended);
        if is_ready || is_over {
            self.lost_at = None;
            self.is_hopeless = false;
        } else if was_ready {
            self.lost_at = Some(now);
        }
        output
    }

    fn advance(&mut self, now: Instant, input: Input) -> Option<Output> {
        match self.state {
            State::Down | State::Backoff { .. } => self.handle_without_process(now, input),
            State::Starting { .. } | State::Ready { .. } => self.handle_alive(now, input),
            State::Failing { kill, fate } => self.handle_failing(now, input, kill, fate),
            State::Stopping { kill_at } => self.handle_stopping(now, input, kill_at),
            State::Ended => None,
        }
    }

    /// When to tick it next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Down | State::Ready { .. } | State::Ended => None,
            State::Starting { until } | State::Backoff { until } => Some(until),
            State::Failing { kill, .. } => kill.map(|(at, _)| at),
            State::Stopping { kill_at } => kill_at,
        }
    }

    fn handle_without_process(&mut self, now: Instant, input: Input) -> Option<Output> {
        match (self.state, input) {
            (State::Down, Input::Start) => self.spawn(now),
            (State::Backoff { until }, Input::Tick) if until <= now => self.spawn(now),
            (_, Input::Stop | Input::Hurry) => {
                self.enter(State::Ended, Some(Output::End(End::Stopped)))
            }
            (
                _,
                Input::Start
                | Input::Ready
                | Input::Hopeless
                | Input::Deaf
                | Input::Hung
                | Input::Exited(_)
                | Input::Tick,
            ) => None,
        }
    }

    fn handle_alive(&mut self, now: Instant, input: Input) -> Option<Output> {
        let soon = now + self.policy.margin;
        match (self.state, input) {
            (State::Starting { until }, Input::Ready) => {
                self.was_ready = true;
                self.starts = 0;
                let took = (now + self.policy.ready_within).since(until);
                self.start_took_max = self.start_took_max.max(took);
                self.enter(State::Ready { since: now }, None)
            }
            (State::Starting { until }, Input::Tick) if until <= now => self.kill(Reason::NotReady),
            (_, Input::Hopeless) => {
                let kill = Some((soon, Reason::Hopeless));
                self.enter(State::Failing { kill, fate: Fate::Hopeless }, None)
            }
            (_, Input::Exited(fate)) => {
                self.forgive(now);
                self.replace(now, fate)
            }
            (_, Input::Deaf) => {
                self.forgive(now);
                let kill = Some((soon, Reason::Deaf));
                self.enter(State::Failing { kill, fate: Fate::Crashed }, None)
            }
            (_, Input::Hung) => {
                self.forgive(now);
                self.kill(Reason::Hung)
            }
            (_, Input::Stop) => {
                let kill_at = Some(now + self.policy.grace + self.policy.margin);
                self.enter(State::Stopping { kill_at }, Some(Output::AskToStop))
            }
            (_, Input::Hurry) => {
                self.enter(State::Stopping { kill_at: None }, Some(Output::Kill(Reason::Hurry)))
            }
            (_, Input::Start | Input::Ready | Input::Tick) => None,
        }
    }

    fn handle_failing(
        &mut self,
        now: Instant,
        input: Input,
        kill: Option<(Instant, Reason)>,
        fate: Fate,
    ) -> Option<Output> {
        match (input, kill) {
            (Input::Exited(Fate::Hopeless), _) => self.replace(now, Fate::Hopeless),
            (Input::Exited(Fate::Crashed), _) => self.replace(now, fate),
            (Input::Tick, Some((at, reason))) if at <= now => {
                self.enter(State::Failing { kill: None, fate }, Some(Output::Kill(reason)))
            }
            (Input::Stop | Input::Hurry, _) => {
                self.enter(State::Stopping { kill_at: None }, Some(Output::Kill(Reason::Hurry)))
            }
            (Input::Hopeless, _) => self.enter(State::Failing { kill, fate: Fate::Hopeless }, None),
            (Input::Start | Input::Ready | Input::Deaf | Input::Hung | Input::Tick, _) => None,
        }
    }

    fn handle_stopping(
        &mut self,
        now: Instant,
        input: Input,
        kill_at: Option<Instant>,
    ) -> Option<Output> {
        match (input, kill_at) {
            (Input::Exited(_), _) => self.enter(State::Ended, Some(Output::End(End::Stopped))),
            (Input::Tick, Some(at)) if at <= now => {
                self.enter(State::Stopping { kill_at: None }, Some(Output::Kill(Reason::Slow)))
            }
            (Input::Hurry, Some(_)) => {
                self.enter(State::Stopping { kill_at: None }, Some(Output::Kill(Reason::Hurry)))
            }
            // A worker that drains may let go of the link; that it reads nothing more is its right.
            (
                Input::Start
                | Input::Ready
                | Input::Hopeless
                | Input::Deaf
                | Input::Hung
                | Input::Stop
                | Input::Hurry
                | Input::Tick,
                _,
            ) => None,
        }
    }

    fn spawn(&mut self, now: Instant) -> Option<Output> {
        let until = now + self.policy.ready_within;
        self.starts = self.starts.saturating_add(1);
        self.enter(State::Starting { until }, Some(Output::Spawn))
    }

    /// Forgets the failures before a worker that was ready for long.
    fn forgive(&mut self, now: Instant) {
        if let State::Ready { since } = self.state
            && now - since >= self.policy.stable_after
        {
            self.failures = 0;
        }
    }

    fn kill(&mut self, reason: Reason) -> Option<Output> {
        let failing = State::Failing { kill: None, fate: Fate::Crashed };
        self.enter(failing, Some(Output::Kill(reason)))
    }

    fn replace(&mut self, now: Instant, fate: Fate) -> Option<Output> {
        let wait = match (fate, self.was_ready, self.failures) {
            (Fate::Hopeless, false, _) => {
                return self.enter(State::Ended, Some(Output::End(End::Hopeless)));
            }
            (Fate::Hopeless, true, _) => self.policy.cap,
            (Fate::Crashed, _, 0) => Duration::ZERO,
            (Fate::Crashed, _, n) => doubled(self.policy.base, n - 1, self.policy.cap),
        };
        self.failures = self.failures.saturating_add(1);
        self.is_hopeless = fate == Fate::Hopeless;
        if wait.is_zero() {
            return self.spawn(now);
        }
        self.enter(State::Backoff { until: now + wait }, None)
    }

    fn enter(&mut self, next: State, output: Option<Output>) -> Option<Output> {
        self.state = next;
        output
    }
}

#[cfg(test)]
mod tests;
