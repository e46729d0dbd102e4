//! What the outcomes of one active check amount to.

use alloc::string::String;

use super::{CheckPolicy, Pace};

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Check {
    /// It has not ended yet.
    Unchecked,
    /// The server passes, and failed this often in a row since.
    Passing { failures: u32 },
    /// The server fails, and passed this often in a row since.
    Failing { successes: u32, why: String },
}

impl Check {
    pub(super) fn record(&mut self, policy: &CheckPolicy, outcome: Result<(), String>) {
        let (fall, rise) = (policy.fall, policy.rise);
        *self = match (&mut *self, outcome) {
            (Self::Unchecked, Ok(())) => Self::Passing { failures: 0 },
            // Nothing good is known of the server, so the first failure is enough.
            (Self::Unchecked, Err(why)) => Self::Failing { successes: 0, why },
            (Self::Passing { .. }, Ok(())) => Self::Passing { failures: 0 },
            (Self::Passing { failures }, Err(_)) if *failures + 1 < fall => {
                Self::Passing { failures: *failures + 1 }
            }
            (Self::Passing { .. }, Err(why)) => Self::Failing { successes: 0, why },
            (Self::Failing { successes, why }, Ok(())) if *successes + 1 < rise => {
                Self::Failing { successes: *successes + 1, why: core::mem::take(why) }
            }
            (Self::Failing { .. }, Ok(())) => Self::Passing { failures: 0 },
            (Self::Failing { .. }, Err(why)) => Self::Failing { successes: 0, why },
        };
    }

    /// Why the server fails, if it does.
    pub(super) fn failing(&self) -> Option<&str> {
        match self {
            Self::Unchecked | Self::Passing { .. } => None,
            Self::Failing { why, .. } => Some(why),
        }
    }

    pub(super) fn pace(&self) -> Pace {
        match self {
            Self::Unchecked
            | Self::Passing { failures: 0 }
            | Self::Failing { successes: 0, .. } => Pace::Steady,
            Self::Passing { .. } | Self::Failing { .. } => Pace::InTransition,
        }
    }
}
