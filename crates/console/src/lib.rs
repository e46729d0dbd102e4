//! The admin API: the only part that knows JSON views and metric names.
//!
//! [`router`] answers requests by asking the control plane through
//! [`Control`](evergate_control::command::Control); it holds no state of the node itself, so what it
//! shows is never older than the answer. [`serve`] carries it over one listening socket; call it
//! once a socket. Who may do what is [`Access`], which a reload may replace while connections stay.

mod access;
mod api;
mod apps;
mod change;
mod changes;
mod desk;
mod events;
mod health;
mod logs;
mod metrics;
mod page;
mod problem;
mod router;
mod serve;
mod standby;
mod stream;
mod upgrade;
mod way_back;
pub mod when;
pub mod words;

pub use access::{Access, Peer, Token};
pub use router::router;
pub use serve::{CONNECTIONS_MAX, Listening, serve};
