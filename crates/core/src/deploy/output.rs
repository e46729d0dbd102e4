//! What a deploy wants done, and how it ended.

use alloc::string::String;

use minicbor::{Decode, Encode};

use super::Side;

/// What to do, in this order.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Output {
    /// Start a run; the one of the other side may still be there and then goes on serving. From
    /// here on until [`super::Output::Settle`] no run of this instance is started for any other reason,
    /// but a run of the side that serves that ends unasked is started again as ever.
    /// [`super::Input::Ready`] or [`super::Input::Failed`] answers it.
    #[n(0)]
    Start {
        /// Of this instance.
        #[n(0)]
        number: u16,
        /// Of this side.
        #[n(1)]
        side: Side,
    },
    /// Drain and end the run of this side and start it no more, nor again after a failure.
    /// [`super::Input::Gone`] answers it, at once if there is no run.
    #[n(1)]
    End {
        /// Of this instance.
        #[n(0)]
        number: u16,
        /// Of this side.
        #[n(1)]
        side: Side,
    },
    /// The instance has this side now: it is looked after as ever, and that is what is started
    /// again after a failure.
    #[n(2)]
    Settle {
        /// This instance.
        #[n(0)]
        number: u16,
        /// This side.
        #[n(1)]
        side: Side,
    },
    /// The watch over the canary came to this; for people.
    #[n(3)]
    Judged(#[n(0)] String),
    /// It is over; nothing follows.
    #[n(4)]
    Over(#[n(0)] Outcome),
}

/// How a deploy ended.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Outcome {
    /// Every instance was replaced.
    #[n(0)]
    Done,
    /// Some were not; why, and what runs now.
    #[n(1)]
    Failed(#[n(0)] String),
}
