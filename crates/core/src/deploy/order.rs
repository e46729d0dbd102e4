//! What is to be deployed, and how.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// How an app is deployed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Runs beyond the number of instances at a time; a new run then starts beside the old one.
    pub surge: u16,
    /// Instances that may be missing at a time; a new run then starts when the old one is gone.
    /// Used if the surge is 0; if both are, the surge is 1.
    pub unavailable: u16,
    /// How long the canary is watched; zero for not at all.
    pub canary_for: Duration,
    /// What happens when a new run fails.
    pub on_failure: OnFailure,
}

/// What happens when a new run fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFailure {
    /// The instance gets its old revision back, as does any other that is not yet replaced; those
    /// that are stay so.
    Abort,
    /// Every instance gets its old revision back.
    Rollback,
    /// The instance gets its old revision back, and the next one is replaced. What the watch over
    /// the canary finds is told and stops nothing.
    Continue,
}

/// Why runs are replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// By those of another revision.
    Deploy,
    /// By fresh ones of the same revision: there is nothing to compare, so no watch.
    Restart,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// Name of the app.
    pub app: String,
    /// The instances to replace, in this order; one that the operator stopped is not among them.
    pub numbers: Vec<u16>,
    /// Why.
    pub purpose: Purpose,
    /// How. A change of the app's policy does not change a deploy that is under way.
    pub policy: Policy,
}

/// Whether a new run starts beside the old one or in its place, and how many at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    Beside { width: u16 },
    InPlace { width: u16 },
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
