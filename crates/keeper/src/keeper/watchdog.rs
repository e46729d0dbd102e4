//! Signs of life for the service manager.
//!
//! That the keeper lives is not enough: only when the worker that serves has answered is the service
//! manager told so. During an upgrade that is whoever serves at the time.

use std::time::Duration;

use evergate_control::link::ToWorker;
use evergate_core::time::Instant;

use super::Keeper;
use crate::notify::Word;

/// As often as that a worker is asked at most.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// Asks again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watchdog {
    every: Duration,
    next_at: Instant,
    /// What was asked last.
    number: u32,
}

impl Watchdog {
    /// Twice within `within`.
    pub(super) fn new(within: Duration, now: Instant) -> Self {
        Self { every: (within / 2).max(EVERY_MIN), next_at: now, number: 0 }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next_at
    }
}

impl Keeper {
    /// Asks the worker for a sign of life, if one is due.
    pub(super) fn tick_watchdog(&mut self, now: Instant) {
        let due = self.watchdog.as_mut().filter(|watchdog| watchdog.next_at <= now);
        let Some(watchdog) = due else {
            return;
        };
        watchdog.next_at = now + watchdog.every;
        watchdog.number = watchdog.number.wrapping_add(1);
        let number = watchdog.number;
        self.send_to_primary(&ToWorker::Ping { number }, vec![]);
    }

    /// Asks in this turn: whoever was asked last may not be there to answer any more.
    pub(super) fn ask_anew(&mut self, now: Instant) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.next_at = now;
        }
    }

    /// The primary worker has answered.
    pub(super) fn hear_pong(&mut self, number: u32) {
        if self.watchdog.is_some_and(|watchdog| watchdog.number == number) {
            self.notify.send(Word::Alive);
        }
    }
}
