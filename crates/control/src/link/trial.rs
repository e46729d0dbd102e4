//! What is said of a configuration that goes back by itself unless it is confirmed
//! ([`evergate_core::trial`]).

use evergate_core::trial::State;
use minicbor::{Decode, Encode};

/// How it stands with the keeper.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct TrialNews {
    /// How.
    #[n(0)]
    pub state: State,
    /// The last trial that began; 0 before the first.
    #[n(1)]
    pub number: u64,
}

/// What a worker has to say.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum TrialOrder {
    /// It knows of trials, and what the journal has of them. Said before [`super::ToKeeper::Ready`],
    /// and by a worker that takes over from one that did not know of them.
    #[n(0)]
    Told {
        /// The last trial that began.
        #[n(0)]
        number: u64,
        /// How much longer it lasts, in milliseconds, if it does.
        #[n(1)]
        left_ms: Option<u64>,
    },
    /// A candidate knows of trials.
    #[n(1)]
    Known,
    /// It is about to put a configuration in force on trial, or has put another one in force under
    /// the same.
    #[n(2)]
    Begin {
        /// Counts trials; the same while one goes on.
        #[n(0)]
        number: u64,
        /// How long until it must be confirmed, in milliseconds.
        #[n(1)]
        within_ms: u64,
    },
    /// The operator wants to keep the one on trial.
    #[n(3)]
    Confirm,
    /// The one on trial could not be put in force.
    #[n(4)]
    Abandon,
    /// The one before, or another that needs no confirmation, is in force.
    #[n(5)]
    Returned,
    /// It could not be put in force.
    #[n(6)]
    Failed {
        /// Why, for the operator.
        #[n(0)]
        why: String,
    },
}
