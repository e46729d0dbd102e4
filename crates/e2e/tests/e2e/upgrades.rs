//! Everything is replaced while requests go on: the configuration, the worker, the keeper.
//!
//! New binaries are copies of the one under test; bad ones misbehave as the end of their file says.
//! With `EVERGATE_FULL` set, everything is done as often as Evergate promises to stand it.

#[path = "upgrades/bad.rs"]
mod bad;
#[path = "upgrades/carried.rs"]
mod carried;
#[path = "upgrades/connections.rs"]
mod connections;
#[path = "upgrades/exits.rs"]
mod exits;
#[path = "upgrades/good.rs"]
mod good;
#[path = "upgrades/kills.rs"]
mod kills;
#[path = "upgrades/reloads.rs"]
mod reloads;
#[path = "upgrades/returns.rs"]
mod returns;
#[path = "upgrades/signals.rs"]
mod signals;
#[path = "upgrades/stage.rs"]
mod stage;
