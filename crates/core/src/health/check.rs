//! What the outcomes of one active check amount to.

use alloc::string::String;

use minicbor::{Decode, Encode};

use super::{CheckPolicy, Pace};

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) enum Check {
    /// It has not ended yet.
    #[n(0)]
    Unchecked,
    /// The server passes, and failed this often in a row since.
    #[n(1)]
    Passing {
        #[n(0)]
        failures: u32,
    },
    /// The server fails, and passed this often in a row since.
    #[n(2)]
    Failing {
        #[n(0)]
        successes: u32,
        #[n(1)]
        why: String,
    },
}

impl Check {
    pub(super) fn record(&mut self, policy: &CheckPolicy, outcome: Result<(), String>) {
        let (fall, rise) = (policy.fall, policy.rise);
        *self = match (&mut *self, outcome) {
            (Self::Unchecked, Ok(())) => Self::Passing { failures: 0 },
            // Nothing good is known of the server, so the first failure is enough.
            (Self::Unchecked, Err(why)) => Self::Failing { successes: 0, why },
            (Self::Passing { .. }, Ok(())) => Self::Passing { failures: 0 },
            (Self::Passing { failures }, Err(_)) if failures.saturating_add(1) < fall => {
                Self::Passing { failures: *failures + 1 }
            }
            (Self::Passing { .. }, Err(why)) => Self::Failing { successes: 0, why },
            (Self::Failing { successes, why }, Ok(())) if successes.saturating_add(1) < rise => {
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
