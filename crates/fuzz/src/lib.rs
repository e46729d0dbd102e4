//! Fuzz targets: functions that take any bytes and panic if a promise of the code is broken.
//!
//! That nothing panics is the least of the promises. The targets also read every input a second
//! way, cut into pieces or by a slow and plain reader of their own, and compare. They need neither
//! a nightly compiler nor a fuzzing engine: the tests replay the corpus and a fixed number of
//! mutants, `evergate-fuzz` goes on for as long as it is told to.

mod carried;
mod changes;
mod config;
pub mod corpus;
mod http1;
mod import;
mod link;
pub mod mutator;
mod peers;
mod proxy_header;
mod state;
mod vrrp;
mod websocket;

pub use carried::{fleet, health, state, upgrade};
pub use changes::changes;
pub use config::config;
pub use http1::{http1_body, http1_request, http1_response};
pub use import::import;
pub use link::{link_to_keeper, link_to_worker};
pub use peers::peers;
pub use proxy_header::proxy_header;
pub use state::{keeper_state, worker_state};
pub use vrrp::vrrp;
pub use websocket::websocket;

/// A function to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Names its folder in the corpus.
    pub name: &'static str,
    /// Panics if the input breaks a promise.
    pub run: fn(&[u8]),
    /// Pieces of input that mean something to it.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 18] = [
    Target { name: "changes", run: changes, words: self::changes::WORDS },
    Target { name: "config", run: config, words: self::config::WORDS },
    Target { name: "fleet", run: fleet, words: &[] },
    Target { name: "health", run: health, words: &[] },
    Target { name: "http1_body", run: http1_body, words: http1::BODY_WORDS },
    Target { name: "http1_request", run: http1_request, words: http1::HEAD_WORDS },
    Target { name: "http1_response", run: http1_response, words: http1::HEAD_WORDS },
    Target { name: "import", run: import, words: self::import::WORDS },
    Target { name: "keeper_state", run: keeper_state, words: &[] },
    Target { name: "link_to_keeper", run: link_to_keeper, words: &[] },
    Target { name: "link_to_worker", run: link_to_worker, words: &[] },
    Target { name: "peers", run: peers, words: self::peers::WORDS },
    Target { name: "proxy_header", run: proxy_header, words: self::proxy_header::WORDS },
    Target { name: "state", run: self::carried::state, words: &["EVGS"] },
    Target { name: "upgrade", run: upgrade, words: &[] },
    Target { name: "vrrp", run: vrrp, words: self::vrrp::WORDS },
    Target { name: "websocket", run: websocket, words: &[] },
    Target { name: "worker_state", run: worker_state, words: &[] },
];
