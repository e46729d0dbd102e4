//! Apps under one roof with the gateway: how they start, serve, fail, end and are replaced.
//!
//! With `EVERGATE_FULL` set, everything is done as often and as fast as Evergate promises to stand
//! it; otherwise less of it, so that a build waits for seconds.

#[path = "apps/crashes.rs"]
mod crashes;
#[path = "apps/deploys.rs"]
mod deploys;
#[path = "apps/ends.rs"]
mod ends;
#[path = "apps/exits.rs"]
pub(crate) mod exits;
#[path = "apps/memory.rs"]
mod memory;
#[path = "apps/output.rs"]
mod output;
#[path = "apps/readiness.rs"]
mod readiness;
#[path = "apps/stage.rs"]
pub(crate) mod stage;
#[path = "apps/web_socket.rs"]
pub(crate) mod web_socket;
