//! The clocks. Nothing else in the workspace reads one, so that whoever wants the time must say so.

use evergate_core::time::Instant;
use rustix::time::{ClockId, clock_gettime};

/// The time on `CLOCK_MONOTONIC`: never steps, the same for every process of this boot, and stands
/// still while the machine is suspended, so that a suspended laptop trips no timeout.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    Instant::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Seconds of Unix time. For people and certificates; it may step, so never for timeouts.
pub fn unix_seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0)
}

/// Milliseconds of Unix time; see [`unix_seconds`].
pub fn unix_millis() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    u64::try_from(time.tv_sec).map_or(0, |seconds| seconds * 1000 + time.tv_nsec as u64 / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_runs_backwards() {
        let mut last = now();
        for _ in 0..1_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
        assert!(last > Instant::EPOCH);
    }

    #[test]
    fn seconds_and_milliseconds_agree() {
        let before = unix_seconds();
        let millis = unix_millis();
        assert!((before..=unix_seconds()).contains(&(millis / 1000)));
        assert!(before > 1_700_000_000, "the machine's clock is set");
    }
}
