//! Certificates, keys and what vouches for them.
//!
//! Bytes come in, checked values go out: nothing here opens a file, looks at a clock or speaks TLS.
//! The configuration uses it to refuse what cannot work, the gateway to serve what can.

mod authorities;
mod day;
mod identity;
mod ocsp;
mod pem;
mod provider;
mod revocations;
mod tickets;

pub use authorities::Authorities;
pub use day::day;
pub use identity::{Identity, IdentityError, Particulars};
pub use ocsp::{OcspError, OcspResponse};
pub use pem::PemError;
pub use provider::{PROVIDER_NAME, provider};
pub use revocations::Revocations;
pub use tickets::{NoRandomness, TICKET_KEY_LIFE, Tickets};
