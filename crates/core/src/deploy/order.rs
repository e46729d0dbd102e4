//! What is to be deployed, and how.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use minicbor::{Decode, Encode};

/// How an app is deployed.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Policy {
    /// Runs beyond the number of instances at a time; a new run then starts beside the old one.
    #[n(0)]
    pub surge: u16,
    /// Instances that may be missing at a time; a new run then starts when the old one is gone.
    /// Used if the surge is 0; if both are, the surge is 1.
    #[n(1)]
    pub unavailable: u16,
    /// How long the canary is watched; zero for not at all.
    #[n(2)]
    pub canary_for: Duration,
    /// What happens when a new run fails.
    #[n(3)]
    pub on_failure: OnFailure,
}

/// What happens when a new run fails.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum OnFailure {
    /// The instance gets its old revision back, as does any other that is not yet replaced; those
    /// that are stay so.
    #[n(0)]
    Abort,
    /// Every instance gets its old revision back.
    #[n(1)]
    Rollback,
    /// The instance gets its old revision back, and the next one is replaced. What the watch over
    /// the canary finds is told and stops nothing.
    #[n(2)]
    Continue,
}

/// Why runs are replaced.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Purpose {
    /// By those of another revision.
    #[n(0)]
    Deploy,
    /// By fresh ones of the same revision: there is nothing to compare, so no watch.
    #[n(1)]
    Restart,
}

/// What is to be done.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Order {
    /// Name of the app.
    #[n(0)]
    pub app: String,
    /// The instances to replace, in this order; one that the operator stopped is not among them.
    #[n(1)]
    pub numbers: Vec<u16>,
    /// Why.
    #[n(2)]
    pub purpose: Purpose,
    /// How. A change of the app's policy does not change a deploy that is under way.
    #[n(3)]
    pub policy: Policy,
}

/// Whether a new run starts beside the old one or in its place, and how many at a time.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) enum Mode {
    #[n(0)]
    Beside {
        #[n(0)]
        width: u16,
    },
    #[n(1)]
    InPlace {
        #[n(0)]
        width: u16,
    },
}

impl Mode {
    pub(super) fn of(policy: &Policy) -> Self {
        match (policy.surge, policy.unavailable) {
            (0, 0) => Self::Beside { width: 1 },
            (0, width) => Self::InPlace { width },
            (width, _) => Self::Beside { width },
        }
    }

    pub(super) fn width(self) -> usize {
        match self {
            Self::Beside { width } | Self::InPlace { width } => usize::from(width),
        }
    }
}
