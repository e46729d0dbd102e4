//! One instance of an app: started, started again when it exits, ended when asked.
//!
//! An exit is *planned* when the instance was being ended; every other exit is a failure, and so is
//! a start that does not come off.

use core::time::Duration;

use super::doubled;
use crate::rng::Rng;
use crate::time::Instant;

/// When to start again, and how long to wait for an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Wait after a failure.
    pub base: Duration,
    /// Longest wait.
    pub cap: Duration,
    /// Failures in a row that wait for `base` only; each one after them doubles the wait.
    pub failures_lenient: u32,
    /// A run this long wipes out the failures before it, and its end waits for nothing.
    pub stable_after: Duration,
    /// From the request to end until it is killed.
    pub stop_timeout: Duration,
}

impl Default for Policy {
    /// 250 ms, doubled after the third failure up to 30 s; stable after 60 s; killed after 10 s.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            cap: Duration::from_secs(30),
            failures_lenient: 3,
            stable_after: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

/// What happened to the instance, or is wanted of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    /// It should run.
    Start,
    /// It should run, but as a new process: its settings changed.
    Restart,
    /// It should end.
    Stop,
    /// If it is to end, then now.
    Hurry,
    /// Its process exited, or could not be started.
    Exited,
    /// The deadline passed.
    Tick,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Start a process. If that fails, say [`Input::Exited`].
    Spawn,
    /// Ask it to end.
    Terminate,
    /// End it.
    Kill,
}

/// What an instance does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It has no process and wants none.
    Stopped,
    /// It has a process.
    Running {
        /// When that started.
        since: Instant,
    },
    /// It failed and waits to start again.
    Backoff {
        /// Until then.
        until: Instant,
    },
    /// Its process was asked to end.
    Stopping {
        /// When it is killed; `None` once it was.
        kill_at: Option<Instant>,
        /// What follows.
        then: Then,
    },
}

/// What follows the end of a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Then {
    /// Nothing.
    Stay,
    /// Another start.
    Start,
}

/// The life of one instance.
///
/// Do what [`Instance::handle`] returns at once, and call it with [`Input::Tick`] when
/// [`Instance::deadline`] passes.
#[derive(Clone, Debug)]
pub struct Instance {
    policy: Policy,
    rng: Rng,
    state: State,
    generation: u32,
    failures: u32,
    exits: u32,
}

impl Instance {
    /// A stopped instance that never ran.
    pub fn new(policy: Policy, rng: Rng) -> Self {
        Self { policy, rng, state: State::Stopped, generation: 0, failures: 0, exits: 0 }
    }

    /// Takes in what happened; returns what to do about it.
    pub fn handle(&mut self, now: Instant, input: Input) -> Option<Output> {
        match (self.state, input) {
            (State::Stopped, Input::Start | Input::Restart) => self.spawn(now),
            (State::Stopped, Input::Stop | Input::Hurry | Input::Exited | Input::Tick) => None,

            (State::Running { .. }, Input::Restart) => self.terminate(now, Then::Start),
            (State::Running { .. }, Input::Stop) => self.terminate(now, Then::Stay),
            (State::Running { since }, Input::Exited) => self.fail(now, now - since),
            (State::Running { .. }, Input::Start | Input::Hurry | Input::Tick) => None,

            (State::Backoff { until }, Input::Tick) if until <= now => self.spawn(now),
            // The new settings may be the cure.
            (State::Backoff { .. }, Input::Restart) => {
                self.failures = 0;
                self.spawn(now)
            }
            (State::Backoff { .. }, Input::Stop) => self.enter(State::Stopped, None),
            (State::Backoff { .. }, Input::Start | Input::Hurry | Input::Exited | Input::Tick) => {
                None
            }

            (State::Stopping { kill_at: Some(at), then }, Input::Tick) if at <= now => {
                self.enter(State::Stopping { kill_at: None, then }, Some(Output::Kill))
            }
            (State::Stopping { then, .. }, Input::Hurry) => {
                self.enter(State::Stopping { kill_at: None, then }, Some(Output::Kill))
            }
            (State::Stopping { then: Then::Stay, .. }, Input::Exited) => {
                self.enter(State::Stopped, None)
            }
            (State::Stopping { then: Then::Start, .. }, Input::Exited) => {
                self.failures = 0;
                self.spawn(now)
            }
            (State::Stopping { kill_at, .. }, Input::Stop) => {
                self.enter(State::Stopping { kill_at, then: Then::Stay }, None)
            }
            (State::Stopping { kill_at, .. }, Input::Start | Input::Restart) => {
                self.enter(State::Stopping { kill_at, then: Then::Start }, None)
            }
            (State::Stopping { .. }, Input::Tick) => None,
        }
    }

    /// When to tick it next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Stopped | State::Running { .. } => None,
            State::Backoff { until } => Some(until),
            State::Stopping { kill_at, .. } => kill_at,
        }
    }

    /// What it does.
    pub fn state(&self) -> State {
        self.state
    }

    /// How often it was started.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Unplanned exits so far, failed starts included.
    pub fn exits(&self) -> u32 {
        self.exits
    }

    fn spawn(&mut self, now: Instant) -> Option<Output> {
        self.generation = self.generation.saturating_add(1);
        self.enter(State::Running { since: now }, Some(Output::Spawn))
    }

    fn terminate(&mut self, now: Instant, then: Then) -> Option<Output> {
        let kill_at = Some(now + self.policy.stop_timeout);
        self.enter(State::Stopping { kill_at, then }, Some(Output::Terminate))
    }

    fn fail(&mut self, now: Instant, ran: Duration) -> Option<Output> {
        self.exits = self.exits.saturating_add(1);
        if ran >= self.policy.stable_after {
            self.failures = 0;
            return self.spawn(now);
        }
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(self.policy.failures_lenient);
        let whole = doubled(self.policy.base, doublings, self.policy.cap);
        let until = now + jittered(whole, &mut self.rng);
        self.enter(State::Backoff { until }, None)
    }

    fn enter(&mut self, next: State, output: Option<Output>) -> Option<Output> {
        self.state = next;
        output
    }
}

/// Between half of `whole` and all of it, so that instances that died together come back apart.
fn jittered(whole: Duration, rng: &mut Rng) -> Duration {
    whole.mul_f64(0.5 + rng.unit() / 2.0)
}

#[cfg(test)]
mod tests;
