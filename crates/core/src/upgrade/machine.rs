//! The machine of one upgrade.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::judge::{Tally, worse};
use super::{Input, Outcome, Output, Parts, Phase, Policy, Side};
use crate::time::{Instant, Spoken};

/// For whoever follows [`Output::Execute`] to say what came of it. The keeper's own guard is far
/// quicker: this is only there so that an upgrade always ends.
pub const EXECUTE_WITHIN: Duration = Duration::from_secs(60);
/// Most bytes of a reason.
pub const REASON_BYTES_MAX: usize = 4096;

/// Decides how one upgrade goes on.
///
/// After [`Upgrade::new`] and every [`Upgrade::handle`], drain [`Upgrade::next_output`] to `None`
/// and do what it says in that order; call [`Upgrade::handle`] with [`Input::Tick`] when
/// [`Upgrade::deadline`] passes.
#[derive(Clone, Debug, Decode, Encode)]
pub struct Upgrade {
    #[n(0)]
    policy: Policy,
    #[n(1)]
    parts: Parts,
    #[n(2)]
    state: State,
    /// Why there is no old worker any more.
    #[n(3)]
    old_lost: Option<String>,
    /// Why it does not go on, while that has to wait for a worker.
    #[n(4)]
    given_up: Option<String>,
    #[n(5)]
    old: Tally,
    #[n(6)]
    new: Tally,
    #[n(7)]
    outputs: VecDeque<Output>,
}

#[derive(Clone, Debug, Decode, Encode)]
enum State {
    #[n(0)]
    UnderWay {
        #[n(0)]
        phase: Phase,
        #[n(1)]
        until: Instant,
    },
    #[n(1)]
    Over {
        #[n(0)]
        last: Phase,
        #[n(1)]
        outcome: Outcome,
    },
}

/// How a new worker goes that is not wanted.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// It is killed, with whatever it may have begun.
    AtOnce,
    /// It finishes what it began.
    InOrder,
}

impl From<Leave> for Output {
    fn from(leave: Leave) -> Self {
        match leave {
            Leave::AtOnce => Self::Kill,
            Leave::InOrder => Self::Dismiss,
        }
    }
}

impl Upgrade {
    /// Begins an upgrade. One that is to replace nothing is refused.
    pub fn new(policy: Policy, parts: Parts, now: Instant) -> Self {
        let mut upgrade = Self {
            state: State::UnderWay { phase: Phase::Checking, until: now },
            policy,
            parts,
            old_lost: None,
            given_up: None,
            old: Tally::default(),
            new: Tally::of_new(),
            outputs: VecDeque::new(),
        };
        if parts.worker || parts.keeper {
            upgrade.enter(now, Phase::Checking);
        } else {
            let why = "neither the worker nor the keeper is to be replaced".to_owned();
            upgrade.end(Phase::Checking, Outcome::Refused(why));
        }
        upgrade
    }

    /// Takes in what happened. What no longer matters in this phase changes nothing, nor does
    /// anything once it is over.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let State::UnderWay { phase, until } = self.state else {
            return;
        };
        match input {
            Input::Checked(result) => match phase {
                Phase::Checking | Phase::Rehearsing => self.proved(now, phase, result),
                Phase::Loading
                | Phase::Activating
                | Phase::Probing
                | Phase::Releasing
                | Phase::Acquiring
                | Phase::Soaking
                | Phase::Returning
                | Phase::Executing => {}
            },
            Input::Probed(result) if phase == Phase::Probing => self.proved(now, phase, result),
            Input::Ready if phase == Phase::Loading => self.advance(now, phase),
            Input::Activated if phase == Phase::Activating => self.advance(now, phase),
            Input::Released(Side::Old) if phase == Phase::Releasing => self.advance(now, phase),
            Input::Released(Side::New) if phase == Phase::Returning => self.advance(now, phase),
            Input::Acquired if phase == Phase::Acquiring => self.advance(now, phase),
            Input::Executed if phase == Phase::Executing => self.advance(now, phase),
            Input::Stayed(why) if phase == Phase::Executing => {
                self.undo(phase, why, Leave::InOrder);
            }
            Input::Tick if until <= now => self.overdue(now, phase),
            Input::Served(side, served) => {
                match side {
                    Side::Old if phase < Phase::Soaking => self.old.record(served),
                    Side::Old => {}
                    Side::New => self.new.record(served),
                }
                self.judge(now, phase);
            }
            Input::Lost(Side::Old, why) => self.lose_old(now, phase, why),
            Input::Lost(Side::New, why) => self.lose_new(phase, why),
            Input::Stop(why) => self.stop(phase, why),
            // Too early, too late or twice.
            Input::Probed(_)
            | Input::Ready
            | Input::Activated
            | Input::Released(_)
            | Input::Acquired
            | Input::Executed
            | Input::Stayed(_)
            | Input::Tick => {}
        }
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to tick it next; never once it is over.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::UnderWay { until, .. } => Some(until),
            State::Over { .. } => None,
        }
    }

    /// How far it is, or was when it ended.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::UnderWay { phase, .. } | State::Over { last: phase, .. } => phase,
        }
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::UnderWay { .. } => None,
            State::Over { outcome, .. } => Some(outcome),
        }
    }

    /// What is replaced.
    pub fn parts(&self) -> Parts {
        self.parts
    }

    fn proved(&mut self, now: Instant, phase: Phase, result: Result<(), String>) {
        match result {
            Ok(()) => self.advance(now, phase),
            Err(why) => self.undo(phase, why, Leave::InOrder),
        }
    }

    /// The phase came off.
    fn advance(&mut self, now: Instant, phase: Phase) {
        match phase {
            Phase::Checking if self.parts.worker => self.enter(now, Phase::Loading),
            Phase::Checking => self.enter(now, Phase::Rehearsing),
            Phase::Loading => self.enter(now, Phase::Activating),
            Phase::Activating => self.enter(now, Phase::Probing),
            Phase::Probing => self.enter(now, Phase::Releasing),
            Phase::Releasing => self.enter(now, Phase::Acquiring),
            Phase::Acquiring => match self.given_up.take() {
                Some(why) => self.stop_at_new_worker(phase, why),
                None => self.enter(now, Phase::Soaking),
            },
            Phase::Soaking => self.commit(now),
            Phase::Returning => self.go_back(phase, Leave::InOrder),
            Phase::Rehearsing => self.enter(now, Phase::Executing),
            Phase::Executing => self.end(phase, Outcome::Done),
        }
    }

    /// The new worker was watched for long enough.
    fn commit(&mut self, now: Instant) {
        // Only without an old worker: with one it would have gone back.
        if let Some(how) = worse(&self.policy, &self.old, &self.new) {
            return self.stop_at_new_worker(Phase::Soaking, how);
        }
        self.outputs.push_back(Output::Finish);
        if self.parts.keeper {
            self.enter(now, Phase::Rehearsing);
        } else {
            self.end(Phase::Soaking, Outcome::Done);
        }
    }

    fn judge(&mut self, now: Instant, phase: Phase) {
        if phase == Phase::Soaking
            && self.old_lost.is_none()
            && let Some(how) = worse(&self.policy, &self.old, &self.new)
        {
            self.given_up = Some(how);
            self.enter(now, Phase::Returning);
        }
    }

    fn overdue(&mut self, now: Instant, phase: Phase) {
        let why = match phase {
            Phase::Soaking => return self.advance(now, phase),
            Phase::Returning => return self.go_back(phase, Leave::AtOnce),
            Phase::Checking => "the new binary did not say whether it could go on from here",
            Phase::Loading => "the new worker was not ready",
            Phase::Activating => "the new worker did not begin to accept",
            Phase::Probing => "the new worker did not answer a request",
            Phase::Releasing => "the old worker did not let go of what is its own alone",
            Phase::Acquiring => "the new worker did not take over",
            Phase::Rehearsing => "the new keeper did not say whether it could go on from here",
            Phase::Executing => "nobody said what became of the keeper",
        };
        let why = format!("{why} within {}", Spoken(self.within(phase)));
        let leave = match phase {
            Phase::Releasing => Leave::InOrder,
            // Silent for so long, it may be so for good.
            Phase::Checking
            | Phase::Loading
            | Phase::Activating
            | Phase::Probing
            | Phase::Acquiring
            | Phase::Soaking
            | Phase::Returning
            | Phase::Rehearsing
            | Phase::Executing => Leave::AtOnce,
        };
        self.undo(phase, why, leave);
    }

    fn lose_old(&mut self, now: Instant, phase: Phase, why: String) {
        match phase {
            Phase::Checking | Phase::Loading => {
                self.undo(phase, format!("the old worker: {why}"), Leave::AtOnce);
            }
            // Whatever the new one has proved so far: nobody else is there.
            Phase::Activating | Phase::Probing | Phase::Releasing | Phase::Returning => {
                self.old_lost = Some(why);
                self.enter(now, Phase::Acquiring);
            }
            Phase::Acquiring | Phase::Soaking => self.old_lost = Some(why),
            Phase::Rehearsing if !self.parts.worker => {
                self.undo(phase, format!("the worker: {why}"), Leave::AtOnce);
            }
            // It was told to finish.
            Phase::Rehearsing | Phase::Executing => {}
        }
    }

    fn lose_new(&mut self, phase: Phase, why: String) {
        match phase {
            Phase::Loading
            | Phase::Activating
            | Phase::Probing
            | Phase::Releasing
            | Phase::Acquiring
            | Phase::Soaking => {
                self.undo(phase, format!("the new worker: {why}"), Leave::AtOnce);
            }
            Phase::Returning => self.go_back(phase, Leave::AtOnce),
            Phase::Rehearsing if self.parts.worker => {
                self.undo(phase, format!("the new worker: {why}"), Leave::AtOnce);
            }
            Phase::Checking | Phase::Rehearsing | Phase::Executing => {}
        }
    }

    fn stop(&mut self, phase: Phase, why: String) {
        match phase {
            // It has let nobody in.
            Phase::Checking | Phase::Loading => self.undo(phase, why, Leave::AtOnce),
            Phase::Activating | Phase::Probing | Phase::Releasing | Phase::Rehearsing => {
                self.undo(phase, why, Leave::InOrder);
            }
            Phase::Acquiring => self.given_up = Some(why),
            Phase::Soaking => self.stop_at_new_worker(phase, why),
            Phase::Returning => {
                self.outputs.push_back(Output::Acquire(Side::New));
                self.stop_at_new_worker(phase, why);
            }
            Phase::Executing => {}
        }
    }

    /// The phase did not come off: goes back as far as there is a way. A new worker leaves so.
    fn undo(&mut self, phase: Phase, why: String, leave: Leave) {
        match phase {
            Phase::Checking => self.end(phase, Outcome::Refused(why)),
            Phase::Loading | Phase::Activating | Phase::Probing => {
                self.outputs.push_back(leave.into());
                self.end(phase, Outcome::Refused(why));
            }
            Phase::Releasing | Phase::Acquiring | Phase::Soaking | Phase::Returning => {
                self.given_up = Some(why);
                self.go_back(phase, leave);
            }
            Phase::Rehearsing | Phase::Executing if self.parts.worker => {
                self.end(phase, Outcome::Partial(why));
            }
            Phase::Rehearsing | Phase::Executing => self.end(phase, Outcome::Refused(why)),
        }
    }

    /// The old worker is the primary one again, if it is there; the new one leaves.
    fn go_back(&mut self, phase: Phase, leave: Leave) {
        let mut why = self.given_up.take().unwrap_or_default();
        match self.old_lost {
            None => self.outputs.push_back(Output::Acquire(Side::Old)),
            Some(_) => {
                why = format!("{why}; {}, so another of its binary starts", self.no_way_back());
            }
        }
        self.outputs.push_back(leave.into());
        self.end(phase, Outcome::Returned(why));
    }

    /// Ends with the new worker, which is the primary one.
    fn stop_at_new_worker(&mut self, phase: Phase, mut why: String) {
        if self.old_lost.is_some() {
            why = format!("{why}; {}", self.no_way_back());
        }
        self.outputs.push_back(Output::Finish);
        self.end(phase, Outcome::Partial(why));
    }

    fn no_way_back(&self) -> String {
        let why = self.old_lost.as_deref().unwrap_or_default();
        format!("the old worker was lost before ({why})")
    }

    /// Begins a phase.
    fn enter(&mut self, now: Instant, phase: Phase) {
        self.state = State::UnderWay { phase, until: now + self.within(phase) };
        let output = match phase {
            Phase::Checking => Output::Check,
            Phase::Loading => Output::Spawn,
            Phase::Activating => Output::Activate,
            Phase::Probing => Output::Probe,
            Phase::Releasing => Output::Release,
            Phase::Acquiring => Output::Acquire(Side::New),
            Phase::Soaking if self.old_lost.is_some() => return,
            Phase::Soaking => Output::Retire,
            Phase::Returning => Output::Recall,
            Phase::Rehearsing => Output::Rehearse,
            Phase::Executing => Output::Execute,
        };
        self.outputs.push_back(output);
    }

    fn within(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Checking => self.policy.check_within,
            Phase::Loading => self.policy.load_within,
            Phase::Activating => self.policy.activate_within,
            Phase::Probing => self.policy.probe_within,
            Phase::Releasing | Phase::Returning => self.policy.release_within,
            Phase::Acquiring => self.policy.acquire_within,
            Phase::Soaking => self.policy.soak,
            Phase::Rehearsing => self.policy.rehearse_within,
            Phase::Executing => EXECUTE_WITHIN,
        }
    }

    fn end(&mut self, last: Phase, mut outcome: Outcome) {
        match &mut outcome {
            Outcome::Done => {}
            Outcome::Refused(why) | Outcome::Returned(why) | Outcome::Partial(why) => {
                why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
            }
        }
        self.outputs.push_back(Output::End(outcome.clone()));
        self.state = State::Over { last, outcome };
    }
}
