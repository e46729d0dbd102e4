//! Certificates from an ACME authority (RFC 8555): how they are had, and where they are kept.
//!
//! [`evergate_core::renewal`] decides when; an agent per `[acme.NAME]` performs, on the control
//! plane's runtime. What is proven and served goes through a [`Front`], so that nothing here knows
//! the gateway. Whoever owns the [`Agents`] awaits [`Agents::next`] and tells the operator.

use std::fmt;

use evergate_core::renewal::{Cause, Failure};
use evergate_pki::Identity;

mod agent;
mod agents;
mod client;
mod order;
mod proof;
mod record;
mod root;
mod store;
mod trouble;

pub use agents::{Agents, Outcomes};
pub use root::{RootError, prepare_root};

/// What faces clients and authorities: it serves certificates and shows proofs. Each call is in
/// force when it returns.
pub trait Front: fmt::Debug + Send + Sync {
    /// Serves `identity` as the certificate of `[acme.NAME]`.
    fn serve(&self, name: &str, identity: Identity);
    /// Serves no certificate of `[acme.NAME]` any more.
    fn withdraw(&self, name: &str);
    /// Answers requests for the proof with this token (RFC 8555, 8.3).
    fn prove_over_http(&self, token: &str, answer: String);
    /// Forgets the proof with this token.
    fn end_http_proof(&self, token: &str);
    /// Shows `proof` in handshakes for `domain` with `acme-tls/1` (RFC 8737).
    fn prove_in_handshake(&self, domain: &str, proof: Identity);
    /// Forgets the proof for `domain`.
    fn end_handshake_proof(&self, domain: &str);
}

/// Something that an agent tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct News {
    /// Name of the `[acme.NAME]`.
    pub section: String,
    /// What happened.
    pub what: What,
    /// How it stands now.
    pub state: State,
    /// Of the agent that tells it.
    number: u64,
}

/// What happened to a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// Something stored cannot be used and counts as missing.
    Damaged {
        /// Which files, why, and where they are now.
        what: String,
    },
    /// An order begins.
    Ordered {
        /// Why.
        cause: Cause,
    },
    /// A certificate was issued, stored, and is served.
    Issued {
        /// When it ends, in seconds of Unix time.
        not_after: u64,
    },
    /// An order failed; the certificate before, if any, goes on being served.
    Failed {
        /// In what way.
        kind: Failure,
        /// Why, in words.
        why: String,
        /// When the next one may begin, in seconds of Unix time.
        retry_at: u64,
        /// When the certificate that is served ends, in seconds of Unix time.
        not_after: Option<u64>,
    },
    /// It is known when the certificate will be renewed.
    Planned {
        /// In seconds of Unix time.
        at: u64,
    },
    /// An order is due and not allowed yet: there were too many, or the authority said so.
    Postponed {
        /// In seconds of Unix time.
        until: u64,
    },
    /// The agent itself ended: a bug. Its certificate goes on being served and is not renewed.
    Crashed {
        /// What is known of it.
        why: String,
    },
}

/// How an `[acme.NAME]` stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// Names of the certificate, or those that it is wanted for.
    pub names: Vec<String>,
    /// Who signed the certificate; empty if there is none.
    pub issuer: String,
    /// When it ends, in seconds of Unix time; 0 if there is none.
    pub not_after: u64,
    /// From when on its end is worth a word, in seconds of Unix time; 0 while there is none.
    pub warn_from: u64,
    /// When it will be renewed, or the next order begins, in seconds of Unix time.
    pub renew_at: Option<u64>,
    /// Why the last order failed; nothing if it did not.
    pub failure: Option<String>,
    /// Whether there is no good certificate, or its end is near and orders fail.
    pub is_late: bool,
}
