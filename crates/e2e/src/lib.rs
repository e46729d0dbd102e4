//! The stage for Evergate's end-to-end tests: whole nodes, scripted servers, raw clients.
//!
//! Everything here drives the built binary from outside, over sockets, as a client or a server
//! would. It blocks, with a deadline on every wait, so that a test that hangs fails and says where.

use std::time::{Duration, Instant};

pub mod admin;
pub mod binaries;
pub mod binary;
pub mod certificates;
pub mod client;
pub mod lab;
pub mod lines;
pub mod message;
pub mod node;
pub mod origin;
pub mod pebble;
pub mod place;
pub mod port;
pub mod program;
pub mod scraper;
pub mod upgrade;

pub use admin::Admin;
pub use binaries::Binaries;
pub use certificates::Ca;
pub use client::Client;
pub use lines::Lines;
pub use message::{Broken, Response};
pub use node::{Node, Outputs, Setup};
pub use origin::{Origin, Served, Signal};
pub use pebble::Pebble;
pub use port::free_address;
pub use program::Program;
pub use scraper::Scraper;

/// How often something is looked at that no event tells.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Says that a test cannot run here. With `EVERGATE_CI` set, where everything must run, it fails.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
    assert!(std::env::var_os("EVERGATE_CI").is_none(), "nothing may be skipped here: {why}");
}

/// Waits until `ready` holds.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < until, "waited for {PATIENCE:?} until {what}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// Longest wait for anything; a test fails past it. It is far longer than anything takes, since a
/// slow machine is no fault, and shorter than the minute after which a node ends by itself what
/// nobody uses.
pub const PATIENCE: Duration = Duration::from_secs(45);
