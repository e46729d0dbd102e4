//! Latencies in buckets that grow with the value, so that every one is known to within 1 %.
//!
//! Values below 128 nanoseconds have a bucket each; above, every doubling is cut into 128 equal
//! parts. The whole range of `u64` takes 58 KiB and recording is one increment.

use std::time::Duration;

/// Parts of each doubling, and values with a bucket of their own.
const LINEAR: u64 = 128;
const LINEAR_BITS: u32 = LINEAR.trailing_zeros();
const BUCKETS: usize = ((64 - LINEAR_BITS + 1) as usize) * LINEAR as usize;

/// Counts of durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one duration; the clock ends after 584 years.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Counts all that another one has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many were recorded.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether none was recorded.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The longest one, exactly.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The duration that `per_mille` of all do not exceed, at most 1 % too long; zero if there
    /// are none.
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(index).min(self.max));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < LINEAR {
        return nanos as usize;
    }
    let doubling = nanos.ilog2() - LINEAR_BITS;
    let part = (nanos >> doubling) - LINEAR;
    ((u64::from(doubling) + 1) * LINEAR + part) as usize
}

/// The largest value of a bucket.
fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < LINEAR {
        return index;
    }
    let doubling = index / LINEAR - 1;
    let first = (LINEAR + index % LINEAR) << doubling;
    first + ((1 << doubling) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_within_one_percent() {
        let values = (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) + (1 << bit) / 3]);
        for value in values.chain([0, 127, 128, 129, 255, 256, u64::MAX]) {
            let top = upper_bound(bucket(value));
            assert!(top >= value, "{value} above its bucket, which ends at {top}");
            assert!(top - value <= value / 100, "{value} is shown as {top}");
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(upper_bound(index) + 1), index + 1);
        }
    }

    #[test]
    fn quantiles_count_from_below() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), Duration::ZERO);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let near = |per_mille, micros: u64| {
            let got = histogram.quantile(per_mille).as_micros() as u64;
            assert!(got.abs_diff(micros) <= micros / 100, "{per_mille}: {got} us");
        };
        near(500, 500);
        near(990, 990);
        assert_eq!(histogram.quantile(1000), Duration::from_micros(1000));
        assert_eq!(histogram.max(), Duration::from_micros(1000));
        assert_eq!(histogram.len(), 1000);
    }
}
