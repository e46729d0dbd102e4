//! What the parts of Evergate say to each other: plain data, no behaviour.
//!
//! [`link`] is spoken between keeper and worker, [`command`] between the admin API and the rest of
//! the worker, and the answers are [`snapshot`]s. What a worker knows crosses to the next one as a
//! [`state`].

pub mod command;
pub mod link;
pub mod snapshot;
pub mod state;
