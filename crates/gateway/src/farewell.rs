//! When what a thread serves is to end.
//!
//! A process that retires leaves its listeners to another and ends politely: whoever has asked is
//! answered, and whoever is about to ask is answered once more. A process that stops has only so
//! long, and nobody takes its place. When an address has moved to another machine, packets of what is
//! connected to it are passed on to this one for a while, and by then it has to be over.

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

/// Of the time after which an address is out of reach, what is kept for last packets: one part in so
/// many, and at most so long.
const LAST_PACKETS_PART: u32 = 5;
const LAST_PACKETS_MAX: Duration = Duration::from_secs(1);

/// That all ends, or whatever is connected to some address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Farewell {
    /// Since when that is so.
    since: Instant,
    cause: Cause,
}

/// Why it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cause {
    /// Another process takes over; this one takes the time it needs.
    Retiring,
    /// The process ends at `until`, whatever is open then.
    Stopping { until: Instant },
    /// The address is another machine's, and out of reach from `until` on.
    Moving { until: Instant },
}

impl Farewell {
    /// Another process takes over at `now`.
    pub(crate) const fn retiring(now: Instant) -> Self {
        Self { since: now, cause: Cause::Retiring }
    }

    /// The process ends at `until`.
    pub(crate) const fn stopping(now: Instant, until: Instant) -> Self {
        Self { since: now, cause: Cause::Stopping { until } }
    }

    /// An address is another machine's at `now`, and packets to it come here for `within` yet.
    pub(crate) fn moving(now: Instant, within: Duration) -> Self {
        let last = (within / LAST_PACKETS_PART).min(LAST_PACKETS_MAX);
        Self { since: now, cause: Cause::Moving { until: now + (within - last) } }
    }

    /// How long to wait for a request on a connection where none has begun since `quiet_since`.
    pub(crate) fn idle_until(&self, quiet_since: Instant) -> Instant {
        let from = quiet_since.max(self.since);
        match self.cause {
            Cause::Retiring => from + IDLE_WAIT,
            Cause::Stopping { .. } => from + IDLE_WAIT_STOPPING,
            Cause::Moving { until } => (from + IDLE_WAIT).min(until),
        }
    }

    /// When a response of known length is cut, on a route with this `drain_timeout`.
    pub(crate) fn cut_at(&self, drain_timeout: Duration) -> Instant {
        let cut_at = self.since + drain_timeout;
        match self.cause {
            // Of a process that stops, its end is early enough.
            Cause::Retiring | Cause::Stopping { .. } => cut_at,
            Cause::Moving { until } => cut_at.min(until),
        }
    }

    /// From when to when whatever never ends by itself is ended, on a route with this
    /// `drain_timeout`.
    pub(crate) fn window(&self, drain_timeout: Duration) -> (Instant, Instant) {
        let cut_at = self.cut_at(drain_timeout);
        let cut_at = match self.cause {
            Cause::Retiring | Cause::Moving { .. } => cut_at,
            Cause::Stopping { until } => cut_at.min(until),
        };
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
    fn what_is_connected_to_an_address_that_has_moved_ends_before_that_is_out_of_reach() {
        let moving = Farewell::moving(T0, MINUTE);
        let reached_until = T0 + (MINUTE - LAST_PACKETS_MAX);
        let ends_from = T0 + Duration::from_secs(59) * 4 / 5;
        assert_eq!(moving.window(10 * MINUTE), (ends_from, reached_until));
        assert_eq!(moving.cut_at(10 * MINUTE), reached_until, "of known length too");
        let half = Duration::from_secs(30);
        assert_eq!(moving.cut_at(half), T0 + half, "its route gives it less");
        assert_eq!(moving.idle_until(T0), T0 + IDLE_WAIT);
        assert_eq!(moving.idle_until(reached_until), reached_until);
        let soon = Farewell::moving(T0, Duration::from_secs(1));
        assert_eq!(soon.cut_at(MINUTE), T0 + Duration::from_millis(800));
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
