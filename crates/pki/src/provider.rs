//! The cryptography in use: ring, or AWS-LC where the feature `aws-lc` is on.

use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(not(feature = "aws-lc"))]
use rustls::crypto::ring as chosen;

/// Name of the cryptography that this binary was built with.
pub const PROVIDER_NAME: &str = if cfg!(feature = "aws-lc") { "aws-lc" } else { "ring" };

/// The cryptography that every TLS connection uses, with the cipher suites in the order in which
/// we prefer them.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = chosen::default_provider();
    let has_aes = has_aes();
    provider.cipher_suites.sort_by_key(|suite| rank(suite.suite(), has_aes));
    Arc::new(provider)
}

/// All of them are strong, so the cheapest goes first: AES-128 where the processor has instructions
/// for AES, ChaCha20 where it has not.
fn rank(suite: CipherSuite, has_aes: bool) -> u8 {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 1,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => u8::from(has_aes) * 3,
        _ => 2,
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_cipher_goes_first() {
        let table =
            [(true, ["AES_128", "AES_256", "CHACHA"]), (false, ["CHACHA", "AES_128", "AES_256"])];
        for (has_aes, order) in table {
            let mut suites = provider().cipher_suites.clone();
            suites.sort_by_key(|suite| rank(suite.suite(), has_aes));
            let names: Vec<_> = suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
            let of_kind = |name: &String| order.iter().position(|kind| name.contains(kind));
            let kinds: Vec<_> =
                names.iter().map(|name| of_kind(name).expect("a known kind")).collect();
            assert!(kinds.is_sorted(), "{names:?}");
        }
    }
}
