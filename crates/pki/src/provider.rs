//! The cryptography in use: ring, or AWS-LC where the feature `aws-lc` is on.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(not(feature = "aws-lc"))]
use rustls::crypto::ring as chosen;

/// Name of the cryptography that this binary was built with.
pub const PROVIDER_NAME: &str = if cfg!(feature = "aws-lc") { "aws-lc" } else { "ring" };

/// The cryptography that every TLS connection uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(chosen::default_provider())
}
