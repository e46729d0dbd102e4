//! What became of the requests.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use evergate_core::time::Instant;

/// Releases of the app that are told apart: 1 and 2.
pub(super) const RELEASES: usize = 2;
/// Buckets for each doubling of the latency, so that a bucket is at most an eighth wide.
const PER_OCTAVE: u64 = 8;
/// Buckets; the last holds everything from half an hour on.
const BUCKETS: usize = 240;

/// Why a request failed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Failure {
    /// The connection was refused or could not be made.
    Connect,
    /// The connection broke before the whole answer was there.
    Broken,
    /// No whole answer within the deadline.
    Late,
    /// Another status than 200.
    Status(u16),
    /// What came was no HTTP.
    Garbled,
    /// The load generator itself could not keep up; this says nothing about the gateway, but a
    /// demo that hides it would not be honest.
    NotSent,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("not connected"),
            Self::Broken => f.write_str("broken off"),
            Self::Late => f.write_str("too late"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Garbled => f.write_str("garbled"),
            Self::NotSent => f.write_str("not sent"),
        }
    }
}

/// Counts of requests by outcome.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) ok: u64,
    /// Of these, by the release that answered, from 1.
    pub(super) releases: [u64; RELEASES],
    pub(super) failed: BTreeMap<Failure, u64>,
    /// Longest time in which no request succeeded.
    pub(super) gap_max: Duration,
    last_ok: Option<Instant>,
    latencies: [u64; BUCKETS],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            ok: 0,
            releases: [0; RELEASES],
            failed: BTreeMap::new(),
            gap_max: Duration::ZERO,
            last_ok: None,
            latencies: [0; BUCKETS],
        }
    }
}

impl Tally {
    /// Records a request that was due at `due` and over at `now`, and the release that answered it.
    pub(super) fn record(&mut self, due: Instant, now: Instant, outcome: Result<u16, Failure>) {
        let release = match outcome {
            Ok(release) => usize::from(release),
            Err(failure) => {
                *self.failed.entry(failure).or_default() += 1;
                return;
            }
        };
        self.ok += 1;
        if let Some(count) = release.checked_sub(1).and_then(|index| self.releases.get_mut(index)) {
            *count += 1;
        }
        self.latencies[bucket(now - due)] += 1;
        if let Some(last) = self.last_ok {
            self.gap_max = self.gap_max.max(now - last);
        }
        self.last_ok = self.last_ok.max(Some(now));
    }

    pub(super) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    pub(super) fn sent(&self) -> u64 {
        self.ok + self.failures()
    }

    /// The latency that `share` of the good requests stayed below, at most an eighth too high; zero
    /// without any.
    pub(super) fn latency(&self, share: f64) -> Duration {
        let rank = (self.ok as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.latencies.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return upper(index);
            }
        }
        Duration::ZERO
    }
}

fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let index = if micros < PER_OCTAVE {
        micros
    } else {
        // The octave, and the three bits after the leading one.
        let octave = u64::from(micros.ilog2());
        (octave - 2) * PER_OCTAVE + (micros >> (octave - 3)) - PER_OCTAVE
    };
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// Where the bucket ends.
fn upper(index: usize) -> Duration {
    let next = index as u64 + 1;
    let micros = if next < PER_OCTAVE {
        next
    } else {
        let octave = next / PER_OCTAVE + 2;
        (PER_OCTAVE + next % PER_OCTAVE) << (octave - 3)
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_lies_just_below_the_end_of_its_bucket() {
        let mut last = 0;
        for micros in (0..5000).chain((5000..100_000_000).step_by(9973)) {
            let latency = Duration::from_micros(micros);
            let index = bucket(latency);
            assert!(index == last || index == last + 1 || micros >= 5000, "{micros}");
            last = index;
            assert!(upper(index) > latency, "{micros} is not below {:?}", upper(index));
            let bound = Duration::from_micros(micros + micros / 8 + 1);
            assert!(upper(index) <= bound, "{micros} is far below {:?}", upper(index));
        }
    }

    #[test]
    fn percentiles_count_from_below() {
        let mut tally = Tally::default();
        assert_eq!(tally.latency(0.99), Duration::ZERO);
        let due = Instant::from_nanos(1_000_000_000);
        for millis in 1..=100 {
            tally.record(due, due + Duration::from_millis(millis), Ok(1));
        }
        let (half, most) = (tally.latency(0.5).as_millis(), tally.latency(0.99).as_millis());
        assert!((50..57).contains(&half) && (99..112).contains(&most), "{half} {most}");
    }

    #[test]
    fn a_gap_is_the_time_between_two_good_requests() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let mut tally = Tally::default();
        tally.record(at(0), at(10), Ok(1));
        tally.record(at(0), at(300), Err(Failure::Broken));
        tally.record(at(0), at(510), Ok(2));
        tally.record(at(0), at(505), Ok(0));
        tally.record(at(0), at(520), Ok(2));
        assert_eq!(tally.gap_max, Duration::from_millis(500));
        assert_eq!((tally.sent(), tally.ok, tally.failures()), (5, 4, 1));
        assert_eq!(tally.releases, [1, 2]);
    }
}
