//! How requests to one run went, counted while somebody watches: all threads count into it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use evergate_control::link::Sample;

use crate::histogram::{self, BUCKETS};

/// Counts since the endpoint was first watched.
#[derive(Debug)]
pub(crate) struct Samples {
    requests: AtomicU64,
    errors: AtomicU64,
    /// Times to the head of a response, by [`histogram::bucket`].
    took: [AtomicU32; BUCKETS],
}

/// What was counted at one moment, of one endpoint or of several.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    requests: u64,
    errors: u64,
    took: Box<[u64; BUCKETS]>,
}

impl Default for Samples {
    fn default() -> Self {
        let took = [const { AtomicU32::new(0) }; BUCKETS];
        Self { requests: AtomicU64::new(0), errors: AtomicU64::new(0), took }
    }
}

impl Samples {
    /// Counts an attempt: `took` to the head of a response, if one came.
    pub(crate) fn record(&self, took: Option<Duration>, is_error: bool) {
        self.requests.fetch_add(1, Relaxed);
        if is_error {
            self.errors.fetch_add(1, Relaxed);
        }
        if let Some(took) = took {
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            self.took[histogram::bucket(nanos)].fetch_add(1, Relaxed);
        }
    }

    /// What was counted so far.
    pub(crate) fn counted(&self) -> Counted {
        let (requests, errors) = (self.requests.load(Relaxed), self.errors.load(Relaxed));
        let mut counted = Counted { requests, errors, ..Counted::default() };
        for (into, count) in counted.took.iter_mut().zip(&self.took) {
            *into = u64::from(count.load(Relaxed));
        }
        counted
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self { requests: 0, errors: 0, took: Box::new([0; BUCKETS]) }
    }
}

impl Counted {
    /// Adds what `now` has more than `before`.
    pub(crate) fn add_since(&mut self, before: &Self, now: &Self) {
        self.requests += now.requests.saturating_sub(before.requests);
        self.errors += now.errors.saturating_sub(before.errors);
        for (into, (now, before)) in self.took.iter_mut().zip(now.took.iter().zip(&*before.took)) {
            *into += now.saturating_sub(*before);
        }
    }

    /// As the keeper is told.
    pub(crate) fn sample(&self) -> Sample {
        Sample { requests: self.requests, errors: self.errors, p99_us: self.p99_us() }
    }

    /// The upper bound of the bucket that holds the 99th percentile.
    fn p99_us(&self) -> u64 {
        let count: u64 = self.took.iter().sum();
        let above = count / 100;
        let mut seen = 0;
        for (index, in_bucket) in self.took.iter().enumerate().rev() {
            seen += in_bucket;
            if seen > above {
                return (histogram::upper_seconds(index) * 1e6).ceil() as u64;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_what_came_since() {
        let samples = Samples::default();
        samples.record(Some(Duration::from_secs(9)), true);
        let before = samples.counted();
        for _ in 0..990 {
            samples.record(Some(Duration::from_millis(2)), false);
        }
        for _ in 0..9 {
            samples.record(Some(Duration::from_millis(80)), false);
        }
        let mut counted = Counted::default();
        counted.add_since(&before, &samples.counted());
        let sample = counted.sample();
        assert_eq!((sample.requests, sample.errors), (999, 0));
        assert!((2_000..2_200).contains(&sample.p99_us), "{sample:?}");
        samples.record(Some(Duration::from_millis(80)), true);
        samples.record(None, true);
        let mut counted = Counted::default();
        counted.add_since(&before, &samples.counted());
        let sample = counted.sample();
        assert_eq!((sample.requests, sample.errors), (1001, 2));
        assert!((2_000..2_200).contains(&sample.p99_us), "ten of a thousand are above: {sample:?}");
        samples.record(Some(Duration::from_millis(80)), false);
        let mut counted = Counted::default();
        counted.add_since(&before, &samples.counted());
        assert!((80_000..88_000).contains(&counted.sample().p99_us), "now eleven are");
    }

    #[test]
    fn nothing_counted_is_nothing() {
        assert_eq!(Counted::default().sample(), Sample::default());
    }
}
