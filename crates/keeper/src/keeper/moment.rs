//! The moment at which the keeper becomes another binary: when nobody misses it for a while.

use std::time::Duration;

use evergate_control::link::Severity;
use evergate_core::time::Instant;
use evergate_sys::clock;

use super::Keeper;
use super::upgrade::Due;

/// How long roles may take to settle.
const SETTLE_WITHIN: Duration = Duration::from_secs(20);
/// How often to look whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waiting for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    until: Instant,
    look_at: Instant,
}

impl Waiting {
    /// When to look again.
    pub(super) fn deadline(self) -> Instant {
        self.look_at
    }
}

impl Keeper {
    /// Whether this is the moment; if not, [`Keeper::look_for_moment`] finds it. An error if there
    /// was none in time.
    pub(super) fn is_moment(&mut self) -> Result<bool, String> {
        let now = clock::now();
        let next = self.standby.may_pause_at(now);
        if next.is_some_and(|at| at <= now) {
            self.waiting = None;
            return Ok(true);
        }
        if next.is_none() {
            // Connections of a planned move may go on for long: not that long, now.
            self.standby.hasten(now);
        }
        let until = match self.waiting {
            Some(waiting) => waiting.until,
            None => now + SETTLE_WITHIN,
        };
        if next.is_none() && self.waiting.is_none() {
            let why = "it waits until the virtual addresses have settled";
            self.apps.note(Severity::Info, "upgrade_waits", "keeper".to_owned(), why);
        }
        if until <= now {
            self.waiting = None;
            return Err(format!("the virtual addresses did not settle within {SETTLE_WITHIN:?}"));
        }
        let look_at = next.unwrap_or(now + LOOK_EVERY).min(until);
        self.waiting = Some(Waiting { until, look_at });
        Ok(false)
    }

    /// Looks again in each turn: each may have said or heard the advert that was waited for.
    pub(super) fn look_for_moment(&mut self) {
        if self.waiting.is_some() {
            match self.upgrades.under_way {
                Some(_) => self.due = self.due.or(Some(Due::Execute)),
                None => self.waiting = None,
            }
        }
    }
}
