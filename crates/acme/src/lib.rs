//! Certificates from an ACME authority (RFC 8555).
mod record;
mod root;
mod store;
pub use root::{RootError, prepare_root};
