//! What happens to a deploy.

use alloc::string::String;

use minicbor::{Decode, Encode};

use super::{Sample, Side};

/// What happened. Whatever does not fit the state of an instance is ignored.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Input {
    /// The run that [`super::Output::Start`] asked for is ready.
    #[n(0)]
    Ready {
        /// Of this instance.
        #[n(0)]
        number: u16,
        /// Of this side.
        #[n(1)]
        side: Side,
    },
    /// A run failed by its own fault: the one that [`super::Output::Start`] asked for ended
    /// unasked, was not ready in time, hangs, or could not be started at all; or one of an instance
    /// that was [`super::Output::Settle`]d on the new side ended unasked. Not for what the run
    /// cannot be blamed for and is simply tried again.
    #[n(1)]
    Failed {
        /// Of this instance.
        #[n(0)]
        number: u16,
        /// Of this side.
        #[n(1)]
        side: Side,
        /// For people: "exited with status 1 before it was ready".
        #[n(2)]
        why: String,
    },
    /// Nothing is left of the run that [`super::Output::End`] asked to end, or what is left is
    /// stuck.
    #[n(2)]
    Gone {
        /// Of this instance.
        #[n(0)]
        number: u16,
        /// Of this side.
        #[n(1)]
        side: Side,
    },
    /// The instance is none of the deploy's business any more: the operator stopped it, or the app
    /// has fewer now. Both its sides are the caller's to end.
    #[n(3)]
    Dropped {
        /// This instance.
        #[n(0)]
        number: u16,
    },
    /// How the canary and the old runs fared since the canary became ready.
    #[n(4)]
    Sampled {
        /// The canary.
        #[n(0)]
        canary: Sample,
        /// The other runs.
        #[n(1)]
        others: Sample,
    },
    /// There is a gateway, or none. At first there is one. Without one nothing is begun, for nobody
    /// could say that a run is ready or drained; the watch over the canary begins anew.
    #[n(5)]
    Gateway(#[n(0)] bool),
    /// The operator gives it up: as if a run had failed, but [`super::OnFailure::Continue`] aborts too.
    #[n(6)]
    Abort {
        /// For people: "aborted by the operator".
        #[n(0)]
        why: String,
    },
    /// The deadline passed.
    #[n(7)]
    Tick,
}
