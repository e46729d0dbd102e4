//! The name in a `Host` field, as routes compare it.

/// The longest name that can equal a route's: a DNS name has at most 253 bytes.
const HOST_BYTES_MAX: usize = 253;

/// A host in lower case, without port, brackets and final dot.
///
/// One that is too long for DNS is held as the empty name, which only [`super::HostPattern::Any`]
/// takes.
pub(super) struct HostName {
    bytes: [u8; HOST_BYTES_MAX],
    len: usize,
}

impl HostName {
    pub(super) fn parse(authority: &[u8]) -> Self {
        let mut name = Self { bytes: [0; HOST_BYTES_MAX], len: 0 };
        let host = strip(authority);
        if let Some(room) = name.bytes.get_mut(..host.len()) {
            room.copy_from_slice(host);
            room.make_ascii_lowercase();
            name.len = host.len();
        }
        name
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The names above this one, nearest first: `b.c`, then `c`, for `a.b.c`.
    pub(super) fn parents(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.text();
        memchr::memchr_iter(b'.', text).map(|dot| &text[dot + 1..])
    }
}

fn strip(authority: &[u8]) -> &[u8] {
    if let [b'[', inside @ ..] = authority {
        return &inside[..memchr::memchr(b']', inside).unwrap_or(inside.len())];
    }
    let host = match memchr::memchr(b':', authority) {
        // A second colon: an IPv6 address as the configuration may write it, without brackets.
        Some(colon) if !authority[colon + 1..].contains(&b':') => &authority[..colon],
        Some(_) | None => authority,
    };
    host.strip_suffix(b".").unwrap_or(host)
}
