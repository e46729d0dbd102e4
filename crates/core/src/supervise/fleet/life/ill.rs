//! Runs that are ready and yet no good.

use core::time::Duration;

/// Why a ready run should be replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::supervise::fleet) enum Ill {
    /// It hangs for too long.
    Hangs { after: Duration },
    /// It uses too much memory for too long.
    Swells { rss: u64 },
}

impl Ill {
    /// Whether it may be replaced while so many runs of the app are ready.
    pub(in crate::supervise::fleet) fn may_be_mended(self, ready: usize) -> bool {
        match self {
            Self::Hangs { .. } => ready > 0,
            Self::Swells { .. } => true,
        }
    }
}
