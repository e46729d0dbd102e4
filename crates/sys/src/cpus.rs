//! Processors.

use std::num::NonZeroUsize;

/// How many processors this process may use at once: those of its affinity mask, or fewer if its
/// control group has a smaller quota.
pub fn available() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_counted_than_the_mask_allows() {
        let mask = rustix::thread::sched_getaffinity(None).unwrap();
        assert!((1..=mask.count() as usize).contains(&available().get()));
    }
}
