//! Virtual addresses: what the keeper performs of [`evergate_core::standby`].

#![allow(dead_code, unused_imports, reason = "the loop does not call all of it yet")]

pub(crate) mod hooks;
pub(crate) mod watcher;
