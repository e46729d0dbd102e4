//! One instance on its way from one revision to the other, or back.

use minicbor::{Decode, Encode};

use super::{Mode, OnFailure, Side};

/// What is known of the run of one side.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) enum RunState {
    /// There is none.
    #[n(0)]
    Absent,
    /// It was asked for and is not ready yet.
    #[n(1)]
    Starting,
    /// It became ready, or was there before; whoever starts runs again sees to it that it stays.
    #[n(2)]
    Serving,
    /// It failed and is still to be cleared away.
    #[n(3)]
    Failed,
    /// It was asked to end.
    #[n(4)]
    Ending,
}

/// How far an instance is.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) enum Progress {
    /// Nothing was done with it yet.
    #[n(0)]
    Waiting,
    /// It takes one of the places in the width.
    #[n(1)]
    Moving,
    /// It has what it is to have.
    #[n(2)]
    Settled,
}

/// What comes next for an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Move {
    Wait,
    Start(Side),
    End(Side),
    Settle(Side),
}

/// One instance of the app that is deployed.
#[derive(Clone, Debug, Decode, Encode)]
pub(super) struct Place {
    #[n(0)]
    pub(super) number: u16,
    /// What it is to have in the end.
    #[n(1)]
    pub(super) goal: Side,
    #[n(2)]
    pub(super) progress: Progress,
    #[n(3)]
    old: RunState,
    #[n(4)]
    new: RunState,
}

impl Place {
    pub(super) fn new(number: u16) -> Self {
        let (old, new) = (RunState::Serving, RunState::Absent);
        Self { number, goal: Side::New, progress: Progress::Waiting, old, new }
    }

    /// One in the midst of things.
    #[cfg(test)]
    pub(super) fn with(goal: Side, old: RunState, new: RunState) -> Self {
        Self { number: 0, goal, progress: Progress::Moving, old, new }
    }

    /// What comes next, by what is known of both runs.
    pub(super) fn next(&self, mode: Mode) -> Move {
        let (goal, other) = (self.goal, self.goal.other());
        match (mode, self.run(goal), self.run(other)) {
            (_, _, RunState::Failed) => Move::End(other),
            (_, RunState::Failed, _) => Move::End(goal),
            (_, RunState::Serving, RunState::Absent) => Move::Settle(goal),
            (_, RunState::Starting | RunState::Ending, RunState::Absent) => Move::Wait,
            (_, RunState::Absent, RunState::Absent) => Move::Start(goal),

            (Mode::Beside { .. }, RunState::Absent, _) => Move::Start(goal),
            (Mode::Beside { .. }, RunState::Starting | RunState::Ending, _) => Move::Wait,
            (Mode::Beside { .. }, RunState::Serving, RunState::Starting | RunState::Serving)
            | (Mode::InPlace { .. }, _, RunState::Starting | RunState::Serving) => Move::End(other),
            (Mode::Beside { .. }, RunState::Serving, RunState::Ending)
            | (Mode::InPlace { .. }, _, RunState::Ending) => Move::Wait,
        }
    }

    /// Notes that `next` was done.
    pub(super) fn took(&mut self, next: Move) {
        self.progress = match next {
            Move::Wait => return,
            Move::Settle(_) => Progress::Settled,
            Move::Start(side) => {
                *self.run_mut(side) = RunState::Starting;
                Progress::Moving
            }
            Move::End(side) => {
                *self.run_mut(side) = RunState::Ending;
                Progress::Moving
            }
        };
    }

    /// Whether `next` would leave the old run behind for a new one that serves.
    pub(super) fn is_proving(&self, next: Move) -> bool {
        let leaves = matches!(next, Move::End(Side::Old) | Move::Settle(Side::New));
        leaves && self.goal == Side::New && self.new == RunState::Serving
    }

    /// Whether something is to be done with it, if one that waits `may_begin`.
    pub(super) fn is_under_way(&self, may_begin: bool) -> bool {
        match self.progress {
            Progress::Waiting => may_begin && !self.is_at_rest(),
            Progress::Moving => true,
            Progress::Settled => false,
        }
    }

    /// Whether it has what it is to have.
    pub(super) fn is_at_rest(&self) -> bool {
        match self.progress {
            Progress::Waiting => self.run(self.goal) == RunState::Serving,
            Progress::Moving => false,
            Progress::Settled => true,
        }
    }

    pub(super) fn has_settled_on(&self, side: Side) -> bool {
        self.progress == Progress::Settled && self.goal == side
    }

    pub(super) fn run(&self, side: Side) -> RunState {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }

    fn run_mut(&mut self, side: Side) -> &mut RunState {
        match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        }
    }

    pub(super) fn ready(&mut self, side: Side) {
        if self.run(side) == RunState::Starting {
            *self.run_mut(side) = RunState::Serving;
        }
    }

    pub(super) fn gone(&mut self, side: Side) {
        if self.run(side) == RunState::Ending {
            *self.run_mut(side) = RunState::Absent;
        }
    }

    /// Its new run failed; says whether that counts against the deploy.
    pub(super) fn fail_new(&mut self, on_failure: OnFailure) -> bool {
        match (self.progress, self.goal, self.new) {
            (Progress::Moving, Side::New, RunState::Starting | RunState::Serving) => {
                self.new = RunState::Failed;
                self.goal = Side::Old;
                true
            }
            // Its run is started again as ever, until the old side takes over.
            (Progress::Settled, Side::New, _) if on_failure != OnFailure::Continue => {
                self.go_back();
                true
            }
            (Progress::Waiting | Progress::Moving | Progress::Settled, _, _) => false,
        }
    }

    /// Its old run was to come back and failed; says whether that counts. An old run that was there
    /// all along is looked after elsewhere.
    pub(super) fn fail_old(&mut self, mode: Mode) -> bool {
        if self.progress != Progress::Moving || self.old != RunState::Starting {
            return false;
        }
        match (mode, self.new) {
            // The new one is better than none.
            (Mode::Beside { .. }, RunState::Serving) => {
                self.old = RunState::Failed;
                self.goal = Side::New;
            }
            // It is started again as ever.
            (Mode::Beside { .. } | Mode::InPlace { .. }, _) => self.old = RunState::Serving,
        }
        true
    }

    /// Turns back, unless it has as good as arrived: its new run has proved itself, and the old one
    /// was already asked to end for it.
    pub(super) fn abort(&mut self, mode: Mode) {
        let has_arrived = match mode {
            Mode::Beside { .. } => self.old != RunState::Serving && self.new == RunState::Serving,
            Mode::InPlace { .. } => false,
        };
        match self.progress {
            Progress::Waiting => self.goal = Side::Old,
            Progress::Moving if !has_arrived => self.goal = Side::Old,
            Progress::Moving | Progress::Settled => {}
        }
    }

    /// Turns back, whatever was done.
    pub(super) fn roll_back(&mut self) {
        match self.progress {
            Progress::Waiting | Progress::Moving => self.goal = Side::Old,
            Progress::Settled if self.goal == Side::New => self.go_back(),
            Progress::Settled => {}
        }
    }

    fn go_back(&mut self) {
        self.goal = Side::Old;
        self.progress = Progress::Waiting;
    }
}
