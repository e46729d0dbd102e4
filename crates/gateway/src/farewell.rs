//! When what a thread serves is to end.
//!
//! A process that retires leaves its listeners to another and ends politely: whoever has asked is
//! answered, and whoever is about to ask is answered once more. A process that stops has only so
//! long, and nobody takes its place.

use std::time::Duration;

use evergate_core::time::Instant;

/// How long a process that retires waits for one more request on a connection without one, so that
/// the client learns with the answer that the connection ends.
const IDLE_WAIT: Duration = Duration::from_secs(5);
/// The same for a process that stops: in this time others cannot connect.
const IDLE_WAIT_STOPPING: Duration = Duration::from_millis(500);

/// That all ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Farewell {
    /// Since when that is so.
    since: Instant,
    /// When the process ends, whatever is open then; none if it takes the time it needs.
    until: Option<Instant>,
}

impl Farewell {
    /// Another process takes over at `now`.
    pub(crate) const fn retiring(now: Instant) -> Self {
        Self { since: now, until: None }
    }

    /// The process ends at `until`.
    pub(crate) const fn stopping(now: Instant, until: Instant) -> Self {
        Self { since: now, until: Some(until) }
    }

    /// How long to wait for a request on a connection where none has begun since `quiet_since`.
    pub(crate) fn idle_until(&self, quiet_since: Instant) -> Instant {
        let wait = if self.until.is_some() { IDLE_WAIT_STOPPING } else { IDLE_WAIT };
        quiet_since.max(self.since) + wait
    }
}
