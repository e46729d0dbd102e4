//! The HTTP/1 codec: heads and bodies, read from bytes that the caller holds.
//!
//! It is strict wherever two parsers could disagree about where a message ends, because a gateway
//! that guesses can be made to smuggle a request past itself: a bare LF, a folded line, two lengths
//! or a length beside a transfer coding are errors, in both directions, never repaired.
//!
//! Heads are read strictly from left to right. So whether an input is an error never depends on
//! how it was cut into reads: a prefix of a bad head is either bad for the same reason or too
//! short to tell. The syntax of field lines is `httparse`'s, apart from the line ends, which it
//! takes more loosely than RFC 9112, 2.2 lets a server do.
//!
//! Section numbers are RFC 9112's unless they name another RFC.

mod authority;
mod body;
mod connection;
mod fields;
mod framing;
mod grammar;
mod request;
mod response;
mod trailers;

pub use authority::is_authority;
pub use body::{BodyError, BodyReader, Piece, chunk_header};
pub use connection::is_named_by_connection;
pub use fields::{FIELDS_CAP, HeadError};
pub use grammar::is_target;
pub use request::{Request, RequestError, parse_request};
pub use response::{Response, ResponseError, parse_response};
pub use trailers::is_forbidden_trailer;

#[cfg(test)]
mod tests;

/// How large a head may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Most bytes of a whole head, start line and last CRLF included. Default 32 KiB.
    pub head_bytes_max: usize,
    /// Most field lines. Default 100; more than [`FIELDS_CAP`] counts as that.
    pub fields_max: usize,
    /// Most bytes of a request target. Default 8 KiB.
    pub uri_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes_max: 32 * 1024, fields_max: 100, uri_bytes_max: 8 * 1024 }
    }
}

/// How the end of a body is found (6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// There is none.
    Empty,
    /// So many bytes, more than 0.
    Sized(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection; only responses.
    UntilClose,
}
