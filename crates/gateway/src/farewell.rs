//! When what a thread serves is to end.
//!
//! A process that retires leaves its listeners to another and ends politely: whoever has asked is
//! answered, and whoever is about to ask is answered once more. A process that stops has only so
//! long, and nobody takes its place.

use std::time::Duration;

use evergate_core::time::Instant;

/// The last part of a time to drain, in which what never ends by itself is ended: one in so many.
/// Each at a moment of its own, so that clients do not all come back at once.
const ENDING_PART: u32 = 5;

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

    /// When a response of known length is cut, on a route with this `drain_timeout`.
    pub(crate) fn cut_at(&self, drain_timeout: Duration) -> Instant {
        self.since + drain_timeout
    }

    /// From when to when whatever never ends by itself is ended, on a route with this
    /// `drain_timeout`.
    pub(crate) fn window(&self, drain_timeout: Duration) -> (Instant, Instant) {
        let cut_at = self.cut_at(drain_timeout);
        let cut_at = self.until.map_or(cut_at, |until| until.min(cut_at));
        window(self.since, cut_at - self.since)
    }

    /// When the request with this id is cut, if nobody knows how long its response is.
    pub(crate) fn moment_of(&self, request_id: &[u8; 32], drain_timeout: Duration) -> Instant {
        let (ends_from, cut_at) = self.window(drain_timeout);
        // Hexadecimal digits, as good as random.
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or_default();
        let place = request_id[28..].iter().fold(0, |place, &byte| place << 4 | digit(byte));
        ends_from + (cut_at - ends_from) * place / (1 << 16)
    }
}

/// From when to when what never ends by itself is ended, if all of it has to be over in `left`.
pub(crate) fn window(now: Instant, left: Duration) -> (Instant, Instant) {
    (now + (left - left / ENDING_PART), now + left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::from_nanos(1 << 40);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn one_more_request_is_waited_for_from_the_beginning_of_the_end() {
        let retiring = Farewell::retiring(T0);
        assert_eq!(retiring.idle_until(T0), T0 + IDLE_WAIT);
        let late = T0 + Duration::from_secs(3);
        assert_eq!(retiring.idle_until(late), late + IDLE_WAIT, "it came from a handshake");
        let stopping = Farewell::stopping(T0, T0 + MINUTE);
        assert_eq!(stopping.idle_until(T0), T0 + IDLE_WAIT_STOPPING);
    }

    #[test]
    fn the_time_of_a_route_counts_from_the_beginning_and_ends_with_the_process() {
        let retiring = Farewell::retiring(T0);
        assert_eq!(retiring.window(10 * MINUTE), (T0 + 8 * MINUTE, T0 + 10 * MINUTE));
        let stopping = Farewell::stopping(T0, T0 + 5 * MINUTE);
        assert_eq!(stopping.window(10 * MINUTE), (T0 + 4 * MINUTE, T0 + 5 * MINUTE));
        assert_eq!(stopping.window(MINUTE).1, T0 + MINUTE);
        assert_eq!(stopping.cut_at(10 * MINUTE), T0 + 10 * MINUTE, "the process ends first");
    }

    #[test]
    fn moments_fill_the_window() {
        let retiring = Farewell::retiring(T0);
        let moment = |digits: &[u8; 4]| {
            let mut id = [b'0'; 32];
            id[28..].copy_from_slice(digits);
            retiring.moment_of(&id, 10 * MINUTE)
        };
        assert_eq!(moment(b"0000"), T0 + 8 * MINUTE);
        assert_eq!(moment(b"8000"), T0 + 9 * MINUTE);
        let last = moment(b"ffff");
        assert!(last > T0 + 9 * MINUTE + MINUTE / 60 * 59 && last < T0 + 10 * MINUTE, "{last:?}");
    }
}
