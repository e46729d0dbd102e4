//! Decisions, without I/O.
//!
//! Nothing here opens a socket, reads a clock, spawns a task or draws from the system's
//! randomness: the crate is `no_std`, so the compiler refuses it. Callers pass the time in and
//! carry the answers out. That is what lets a simulator run a year of failures in a second.
//!
//! Each room is one file (or a folder, split by noun) and imports only [`time`], [`rng`], [`id`]
//! and [`head`]; [`standby`] joins those of a hot standby.

#![no_std]

#[cfg(test)]
extern crate std;

extern crate alloc;

pub mod balance;
pub mod deploy;
pub mod echo;
pub mod files;
pub mod handover;
pub mod head;
pub mod health;
pub mod http1;
pub mod http2;
pub mod id;
pub mod peer;
pub mod proxy_header;
pub mod reconcile;
pub mod renewal;
pub mod retry;
pub mod rng;
pub mod route;
pub mod sd_notify;
pub mod standby;
pub mod state;
pub mod supervise;
pub mod time;
pub mod track;
pub mod trial;
pub mod upgrade;
pub mod vrrp;
pub mod websocket;
