//! What `Connection` says (RFC 9110, 7.6.1).

use super::HeadError;
use super::fields::Seen;
use super::grammar::elements;
use crate::head::{Fields, Name, Version};

/// The options of all `Connection` fields.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    close: bool,
    keep_alive: bool,
    pub(super) upgrade: bool,
    pub(super) names: bool,
}

impl Options {
    /// Whether the connection may carry another message (9.3).
    pub(super) fn keeps_alive(self, version: Version) -> bool {
        match version {
            Version::Http10 => self.keep_alive && !self.close,
            Version::Http11 | Version::Http2 => !self.close,
        }
    }
}

/// Reads the options, and refuses those that would take a field away which the other end or
/// the next hop must be able to rely on.
pub(super) fn parse_options(fields: &Fields, seen: Seen) -> Result<Options, HeadError> {
    let mut options = Options::default();
    if !seen.has(Name::Connection) {
        return Ok(options);
    }
    for option in fields.all(Name::Connection).flat_map(elements) {
        if option.eq_ignore_ascii_case(b"keep-alive") {
            options.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"close") {
            options.close = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            options.upgrade = true;
        } else if is_protected(option) {
            return Err(HeadError::ConnectionProtected);
        } else if !option.is_empty() && !option.eq_ignore_ascii_case(b"te") {
            options.names = true;
        }
    }
    Ok(options)
}

/// Whether `Connection` names the field `name`, so that it ends at the next hop.
pub fn is_named_by_connection(fields: &Fields, name: &[u8]) -> bool {
    fields.all(Name::Connection).flat_map(elements).any(|option| option.eq_ignore_ascii_case(name))
}

/// Fields that say who asks, for what, from where, and how long it is.
fn is_protected(name: &[u8]) -> bool {
    const FORWARDED: &[u8] = b"x-forwarded-";
    match Name::parse(name) {
        Name::Authorization
        | Name::ContentLength
        | Name::Cookie
        | Name::Forwarded
        | Name::Host
        | Name::TransferEncoding
        | Name::XForwardedFor
        | Name::XForwardedHost
        | Name::XForwardedPort
        | Name::XForwardedPrefix
        | Name::XForwardedProto
        | Name::XRealIp => true,
        Name::Accept
        | Name::AcceptEncoding
        | Name::Connection
        | Name::ContentType
        | Name::Date
        | Name::Expect
        | Name::Http2Settings
        | Name::IdempotencyKey
        | Name::IfMatch
        | Name::IfModifiedSince
        | Name::IfNoneMatch
        | Name::IfRange
        | Name::IfUnmodifiedSince
        | Name::KeepAlive
        | Name::Origin
        | Name::ProxyAuthenticate
        | Name::ProxyAuthorization
        | Name::ProxyConnection
        | Name::Range
        | Name::RetryAfter
        | Name::Server
        | Name::SetCookie
        | Name::Te
        | Name::Trailer
        | Name::Upgrade
        | Name::UserAgent
        | Name::Via
        | Name::XRequestId => false,
        Name::Other => name
            .first_chunk::<{ FORWARDED.len() }>()
            .is_some_and(|start| start.eq_ignore_ascii_case(FORWARDED)),
    }
}
