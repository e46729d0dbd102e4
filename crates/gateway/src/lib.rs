//! The data plane: listeners, HTTP/1, HTTP/2, the life of a request.
//!
//! [`Gateway`] is what the rest of Evergate sees. Behind it run the data-plane threads, one per
//! core, each owning its connections; `exchange` is the life of a request and the best place to
//! start reading.

mod access_log;
mod answer;
mod attempt;
mod buffers;
mod caller;
mod client;
mod connection;
mod data_plane;
mod date;
mod dial;
mod difference;
mod endpoint;
mod events;
mod exchange;
mod explain;
mod facts;
mod farewell;
mod files;
mod filter;
mod gateway;
mod grpc;
mod histogram;
mod http1;
mod http2;
mod issuance;
mod listener;
mod pace;
mod plan;
mod pool_local;
mod probe;
mod proof;
mod proxy_header;
mod reject;
mod relay;
mod resolve;
mod rewrite;
mod runs;
mod samples;
mod shard;
mod splice;
mod template;
mod timers;
mod tls;
mod trust;
mod tunnel;
mod upstream;
mod vitals;
mod wards;
mod welcome;
mod wire;

pub use access_log::{LogCounts, LogWriter};
pub use events::Events;
pub use files::{EmbeddedFile, embed};
pub use gateway::{Gateway, Prepared};
pub use issuance::{Issuance, SharedIssuance};
pub use probe::{ProbeFailure, ask_machine, probe_run};
pub use resolve::Addresses;
pub use tls::expiry::ending_soon;
pub use wards::Checks;
