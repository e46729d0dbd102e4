//! The stage for Evergate's end-to-end tests: whole nodes, scripted servers, raw clients.
//!
//! Everything here drives the built binary from outside, over sockets, as a client or a server
//! would. It blocks, with a deadline on every wait, so that a test that hangs fails and says where.

use std::time::Duration;

pub mod binary;
pub mod client;
pub mod message;
pub mod node;
pub mod origin;
pub mod place;

pub use client::Client;
pub use message::{Broken, Response};
pub use node::{Node, Setup};
pub use origin::{Origin, Served, Signal};

/// Longest wait for anything; a test fails past it.
pub const PATIENCE: Duration = Duration::from_secs(20);
