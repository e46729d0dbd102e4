//! HTTP/2 as far as it can be judged from frame headers alone (RFC 9113).
//!
//! The library that speaks the protocol bounds memory, not work: PINGs, SETTINGS, resets and empty
//! frames cost a client next to nothing and us a little each. [`Guard`] reads along on both
//! directions and says when a client asks for more work than it has use for.

mod flood;
mod frames;

pub use flood::{Flood, Guard, WINDOW};

/// What a client sends before its first frame (3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests;
