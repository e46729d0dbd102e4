//! The end of all, on the operator's wish.
//!
//! Nobody is let in any more, every worker finishes what it began, then apps end in the reverse of
//! the order in which they were started, and at last the keeper.

use evergate_control::link::ToWorker;
use evergate_core::supervise::worker::Input;
use evergate_core::time::Instant;

use super::{Keeper, Stopping};
use crate::notify::Word;

impl Keeper {
    /// The first time asks, the second time hurries.
    pub(super) fn stop(&mut self, now: Instant) {
        self.notify.send(Word::Stopping);
        let (next, input) = match self.stopping {
            Stopping::No => (Stopping::Asked, Input::Stop),
            Stopping::Asked | Stopping::InAHurry => (Stopping::InAHurry, Input::Hurry),
        };
        self.stopping = next;
        self.apps.refuse_wishes();
        match next {
            Stopping::Asked => self.stop_others(now),
            Stopping::InAHurry => self.workers.limit_others(now),
            Stopping::No => unreachable!("somebody asked"),
        }
        self.feed(now, input);
        if next == Stopping::InAHurry && self.end.is_some() {
            self.apps.hurry(now);
        }
    }

    /// Has every worker but the primary one finish.
    fn stop_others(&mut self, now: Instant) {
        let policy = self.options.worker_policy;
        let stop = ToWorker::Stop { grace_ms: policy.grace.as_millis() as u32 };
        self.workers.limit_others(now + policy.grace + policy.margin);
        for generation in self.workers.generations() {
            if self.workers.primary() != Some(generation) {
                self.send(now, generation, &stop, vec![]);
            }
        }
    }

    /// Ends the apps once no request needs them any more.
    pub(super) fn end_apps(&mut self, now: Instant) {
        if self.stopping == Stopping::No && self.end.is_none() || !self.workers.have_drained() {
            return;
        }
        match self.end {
            Some(_) => self.apps.end(now),
            // The workers stay for what apps print at the end.
            None => self.apps.end_drained(now),
        }
        if self.stopping == Stopping::InAHurry && self.end.is_some() {
            self.apps.hurry(now);
        }
    }
}
