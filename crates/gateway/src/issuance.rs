//! Certificates that come and go while we serve, and the proofs that get them issued.
//!
//! Whoever deals with an ACME authority puts in what it got; the data-plane threads look it up in
//! handshakes and requests. No lock here is held for longer than a look into a map.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use evergate_pki::Identity;

/// What certificate authorities have given us and what they ask for right now.
#[derive(Debug, Default)]
pub struct Issuance {
    /// By the name of the `[acme.NAME]` section.
    identities: RwLock<BTreeMap<String, Identity>>,
    /// By token (RFC 8555, 8.3).
    http: RwLock<BTreeMap<String, String>>,
    /// By lower-case name (RFC 8737).
    alpn: RwLock<BTreeMap<String, Identity>>,
    /// Whether any proof is asked for over HTTP, so that requests need not look.
    has_http: AtomicBool,
}

impl Issuance {
    /// Serves `identity` as the certificate of `[acme.NAME]` from the next handshake on.
    pub fn serve(&self, name: &str, identity: Identity) {
        write(&self.identities).insert(name.to_owned(), identity);
    }

    /// Serves no certificate of `[acme.NAME]` any more.
    pub fn withdraw(&self, name: &str) {
        write(&self.identities).remove(name);
    }

    /// The certificate of `[acme.NAME]`, once there is one.
    pub fn identity(&self, name: &str) -> Option<Identity> {
        read(&self.identities).get(name).cloned()
    }

    /// Answers `GET /.well-known/acme-challenge/TOKEN` with `answer` on every listener without TLS.
    pub fn prove_over_http(&self, token: &str, answer: String) {
        write(&self.http).insert(token.to_owned(), answer);
        self.has_http.store(true, Ordering::Release);
    }

    /// Shows `proof` to whoever asks for `domain` and speaks `acme-tls/1`, on every TLS listener.
    pub fn prove_in_handshake(&self, domain: &str, proof: Identity) {
        write(&self.alpn).insert(domain.to_owned(), proof);
    }

    /// Forgets the proof with this token.
    pub fn end_http_proof(&self, token: &str) {
        let mut proofs = write(&self.http);
        proofs.remove(token);
        self.has_http.store(!proofs.is_empty(), Ordering::Release);
    }

    /// Forgets the proof for `domain`.
    pub fn end_handshake_proof(&self, domain: &str) {
        write(&self.alpn).remove(domain);
    }

    /// What to answer a request for the proof with this token.
    pub(crate) fn http_proof(&self, token: &str) -> Option<String> {
        if !self.has_http.load(Ordering::Acquire) {
            return None;
        }
        read(&self.http).get(token).cloned()
    }

    /// What to show to whoever wants a proof for `domain`.
    pub(crate) fn handshake_proof(&self, domain: &str) -> Option<Identity> {
        read(&self.alpn).get(domain).cloned()
    }
}

/// A map is whole even if its last writer panicked: each change is one call.
fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Shared between the control plane and the data-plane threads.
pub type SharedIssuance = Arc<Issuance>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_given_until_it_is_forgotten() {
        let issuance = Issuance::default();
        assert_eq!(issuance.http_proof("t"), None);
        issuance.prove_over_http("t", "answer".to_owned());
        issuance.prove_over_http("u", "other".to_owned());
        issuance.end_http_proof("u");
        assert_eq!(issuance.http_proof("t").as_deref(), Some("answer"));
        issuance.end_http_proof("t");
        assert_eq!(issuance.http_proof("t"), None);
    }
}
