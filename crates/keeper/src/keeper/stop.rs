//! The end of all, on the operator's wish.
//!
//! Virtual addresses are given up first, while everything still serves. Then nobody is let in any
//! more, every worker finishes what it began, apps end in the reverse of the order in which they
//! were started, and at last the keeper.

use std::time::Duration;

use evergate_control::link::ToWorker;
use evergate_core::supervise::worker::Input;
use evergate_core::time::Instant;
use evergate_core::upgrade::Input::Stop;
use evergate_sys::clock;

use super::{Keeper, Stopping};
use crate::notify::Word;

/// How much longer than it would otherwise wait the service manager is asked to, and how often.
const EXTEND_BY: Duration = Duration::from_secs(30);
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// How long virtual addresses may take to be given up.
const GIVE_UP_WITHIN: Duration = Duration::from_secs(20);

impl Keeper {
    /// The first time asks, the second time hurries.
    pub(super) fn stop(&mut self, now: Instant) {
        if std::mem::replace(&mut self.stopping, Stopping::Asked) == Stopping::No {
            self.notify.send(Word::Stopping);
            self.extend_at = Some(now);
            self.apps.refuse_wishes();
            self.drive(now, Stop("the node is stopping".to_owned()));
            self.giving_up_until = Some(now + GIVE_UP_WITHIN);
            self.standby.stop(clock::now());
            self.attend();
            return self.go_on_stopping(now);
        }
        if self.giving_up_until.is_some() {
            self.giving_up_until = Some(now);
            return self.go_on_stopping(now);
        }
        self.stopping = Stopping::InAHurry;
        self.workers.limit_others(now);
        self.feed(now, Input::Hurry);
        if self.end.is_some() {
            self.apps.hurry(now);
        }
    }

    /// Ends everything else, once no virtual address is held any more.
    fn go_on_stopping(&mut self, now: Instant) {
        let is_over = |until: &mut Instant| *until <= now || self.standby.is_idle();
        if self.giving_up_until.take_if(is_over).is_some() {
            self.standby.close();
            self.stop_others(now);
            self.feed(now, Input::Stop);
        }
    }

    /// Goes on with what waits for the time, and tells the service manager that the end takes longer.
    pub(super) fn tick_stop(&mut self, now: Instant) {
        self.go_on_stopping(now);
        if self.extend_at.take_if(|at| *at <= now).is_some() {
            self.notify.send(Word::Extend(EXTEND_BY));
            self.extend_at = Some(now + EXTEND_EVERY);
        }
    }

    /// Has every worker but the primary one finish.
    fn stop_others(&mut self, now: Instant) {
        let policy = self.options.worker_policy;
        let stop = ToWorker::Stop { grace_ms: policy.grace.as_millis() as u32 };
        self.workers.limit_others(now + policy.grace + policy.margin);
        for generation in self.workers.generations() {
            if self.workers.primary() != Some(generation) {
                self.send(generation, &stop, vec![]);
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
