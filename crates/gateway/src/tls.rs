//! TLS (RFC 8446, RFC 5246), as server to clients and as client to servers.
//!
//! rustls keeps the protocol; the bytes are ours: [`session`] has no socket and holds only what is
//! incomplete, so a connection that waits holds no buffer. [`termination`] is what a listener shows
//! its clients and [`origination`] what a pool shows its servers, both compiled with the plan.

pub(crate) mod accept;
pub(crate) mod expiry;
pub(crate) mod fault;
pub(crate) mod origination;
pub(crate) mod session;
pub(crate) mod termination;
pub(crate) mod verifier;
