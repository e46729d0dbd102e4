//! A configuration on trial: the keeper has the clock, for it outlives what a bad one does to workers.
//!
//! The worker is asked to go back when the time is over, as soon as one can: not while an upgrade is
//! under way, for each of its workers would know half of it.

use std::time::Duration;

use evergate_control::link::{ToWorker, TrialNews, TrialOrder};
use evergate_core::time::Instant;
use evergate_core::trial::Input;

use super::messages::NOT_PRIMARY;
use super::{Keeper, Stopping};
use crate::workers::Standing;

impl Keeper {
    /// A worker says something of the configuration on trial.
    pub(super) fn hear_of_trial(
        &mut self,
        now: Instant,
        from: u32,
        request: u32,
        order: TrialOrder,
    ) {
        let Some(worker) = self.workers.get_mut(from) else {
            return;
        };
        worker.knows_trials = true;
        let is_primary = worker.standing() == Standing::Primary;
        let outcome = match input(order) {
            None => Ok(()),
            Some(_) if !is_primary => Err(NOT_PRIMARY.to_owned()),
            Some(input) => self.trial.handle(now, input).map_err(|refusal| refusal.to_string()),
        };
        self.send(from, &ToWorker::Tried { request, error: outcome.err() }, vec![]);
    }

    /// Follows the clock, and has the worker go back if it is to.
    pub(super) fn tick_trial(&mut self, now: Instant) {
        self.feed_trial(now, Input::Tick);
        if self.stopping != Stopping::No || self.upgrades.under_way.is_some() {
            return;
        }
        let serving = self.workers.serving();
        let serving = serving
            .filter(|&primary| self.workers.get(primary).is_some_and(|worker| worker.knows_trials));
        if let Some(primary) = serving
            && let Some(why) = self.trial.ask(now)
        {
            self.send(primary, &ToWorker::GoBack { why }, vec![]);
        }
    }

    /// The primary worker ended without having been told to.
    pub(super) fn note_crash(&mut self, now: Instant) {
        if self.stopping == Stopping::No {
            self.feed_trial(now, Input::Crashed);
        }
    }

    pub(super) fn trial_news(&self) -> TrialNews {
        TrialNews { state: self.trial.state().clone(), number: self.trial.number() }
    }

    fn feed_trial(&mut self, now: Instant, input: Input) {
        self.trial.handle(now, input).expect("only what an operator wants is refused");
    }
}

/// What an order comes to; nothing if it only says that the worker knows of trials.
fn input(order: TrialOrder) -> Option<Input> {
    match order {
        TrialOrder::Told { number, left_ms } => {
            Some(Input::Told { number, left: left_ms.map(Duration::from_millis) })
        }
        TrialOrder::Known => None,
        TrialOrder::Begin { number, within_ms } => {
            Some(Input::Begin { number, within: Duration::from_millis(within_ms) })
        }
        TrialOrder::Confirm => Some(Input::Confirm),
        TrialOrder::Abandon => Some(Input::Abandon),
        TrialOrder::Returned => Some(Input::Returned),
        TrialOrder::Failed { why } => Some(Input::Failed(why)),
    }
}
