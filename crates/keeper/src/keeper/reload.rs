//! A reload that the service manager or an operator asked for with SIGHUP.
//!
//! The service manager waits for the end of it, so there always is one: the worker's answer, its
//! death, or that it took too long.

use std::time::Duration;

use evergate_control::link::ToWorker;
use evergate_core::time::{Instant, Spoken};
use minicbor::{Decode, Encode};

use super::Keeper;
use crate::notify::Word;

/// How long the worker may take to say what came of a reload.
const RELOAD_WITHIN: Duration = Duration::from_secs(60);

/// A reload that is not over.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) struct Reload {
    #[n(0)]
    until: Instant,
    /// Answers that are due.
    #[n(1)]
    due: u32,
    /// The worker is still to be asked, once it is clear which one.
    #[n(2)]
    is_owed: bool,
}

#[cfg(test)]
impl Reload {
    /// One of which the worker was asked.
    pub(crate) fn sample() -> Self {
        Self { until: Instant::from_nanos(60_000_000_000), due: 1, is_owed: false }
    }
}

impl Keeper {
    /// Has the configuration read again.
    pub(super) fn reload(&mut self, now: Instant) {
        self.notify.send(Word::Reloading { since: now });
        let until = now + RELOAD_WITHIN;
        let due = self.reload.map_or(0, |reload| reload.due);
        self.reload = Some(Reload { until, due, is_owed: true });
        self.send_owed_reload(now);
    }

    /// Asks the worker, unless another is about to take over: that has loaded what was in force.
    pub(super) fn send_owed_reload(&mut self, now: Instant) {
        if self.upgrades.is_changing_hands() || !self.reload.is_some_and(|reload| reload.is_owed) {
            return;
        }
        if let Some(reload) = &mut self.reload {
            let due = reload.due.saturating_add(1);
            *reload = Reload { until: now + RELOAD_WITHIN, due, is_owed: false };
        }
        // One that loads will read it again after that.
        if self.workers.get_primary().is_some_and(|worker| worker.link.is_some()) {
            self.send_to_primary(&ToWorker::Reload, vec![]);
        } else {
            self.forget_reload("no worker is there at the moment");
        }
    }

    /// The primary worker is done with one.
    pub(super) fn reloaded(&mut self, is_applied: bool) {
        let Some(reload) = &mut self.reload else {
            return;
        };
        reload.due = reload.due.saturating_sub(1);
        if reload.due == 0 && !reload.is_owed {
            self.end_reload(match is_applied {
                true => "the configuration is in force",
                false => "the configuration was refused; the one before stays in force",
            });
        }
    }

    /// Who was asked does not answer any more.
    pub(super) fn forget_reload(&mut self, why: &str) {
        let Some(reload) = &mut self.reload else {
            return;
        };
        reload.due = 0;
        if !reload.is_owed {
            self.end_reload(&format!("it is not known what became of the configuration: {why}"));
        }
    }

    pub(super) fn tick_reload(&mut self, now: Instant) {
        if self.reload.is_some_and(|reload| reload.until <= now) {
            let within = Spoken(RELOAD_WITHIN);
            self.end_reload(&format!("the configuration was not read within {within}"));
        }
    }

    pub(super) fn reload_deadline(&self) -> Option<Instant> {
        self.reload.map(|reload| reload.until)
    }

    fn end_reload(&mut self, status: &str) {
        self.reload = None;
        self.notify.send(Word::Ready { status: Some(status) });
    }
}
