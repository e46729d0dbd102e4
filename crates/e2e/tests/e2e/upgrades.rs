//! Everything is replaced while requests go on: the configuration, the worker, the keeper.
//!
//! New binaries are copies of the one under test; bad ones misbehave as the end of their file says.
//! With `EVERGATE_FULL` set, everything is done as often as Evergate promises to stand it.

#[path = "upgrades/reloads.rs"]
mod reloads;
#[path = "upgrades/stage.rs"]
mod stage;
