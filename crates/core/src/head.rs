//! The head of a message, whatever protocol carried it.
//!
//! A head is one buffer and a list of slices into it: no header map, no allocation once the
//! buffers are warm. HTTP/1 copies its header block in as it came; HTTP/2 writes the same
//! `name: value` lines. So filters, routing and forwarding are written once.
//!
//! Every field line in the buffer is `name ":" OWS value OWS CRLF`, and the lines are adjacent:
//! neighbouring lines that are kept can be forwarded with one copy.

use alloc::vec::Vec;
use core::ops::Range;

/// Field names that Evergate itself acts on, found once while the head is parsed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the field of the same name")]
pub enum Name {
    Accept,
    AcceptEncoding,
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    IdempotencyKey,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    IfUnmodifiedSince,
    KeepAlive,
    Origin,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Range,
    RetryAfter,
    Server,
    SetCookie,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedPrefix,
    XForwardedProto,
    XRealIp,
    XRequestId,
    /// Any other name; compare [`FieldRef::name`].
    Other,
}

impl Name {
    /// A bit of its own.
    const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// The field that `text` names, whatever its case.
    #[inline]
    pub fn parse(text: &[u8]) -> Self {
        // Length and one letter leave a single candidate, so every name is compared at most once.
        let [first, ..] = text else { return Self::Other };
        let (name, lower): (Self, &[u8]) = match (text.len(), first.to_ascii_lowercase()) {
            (2, b't') => (Self::Te, b"te"),
            (3, b'v') => (Self::Via, b"via"),
            (4, b'd') => (Self::Date, b"date"),
            (4, b'h') => (Self::Host, b"host"),
            (5, b'r') => (Self::Range, b"range"),
            (6, b'a') => (Self::Accept, b"accept"),
            (6, b'c') => (Self::Cookie, b"cookie"),
            (6, b'e') => (Self::Expect, b"expect"),
            (6, b'o') => (Self::Origin, b"origin"),
            (6, b's') => (Self::Server, b"server"),
            (7, b't') => (Self::Trailer, b"trailer"),
            (7, b'u') => (Self::Upgrade, b"upgrade"),
            (8, b'i') if text[3] | 0x20 == b'm' => (Self::IfMatch, b"if-match"),
            (8, b'i') => (Self::IfRange, b"if-range"),
            (9, b'f') => (Self::Forwarded, b"forwarded"),
            (9, b'x') => (Self::XRealIp, b"x-real-ip"),
            (10, b'c') => (Self::Connection, b"connection"),
            (10, b'k') => (Self::KeepAlive, b"keep-alive"),
            (10, b's') => (Self::SetCookie, b"set-cookie"),
            (10, b'u') => (Self::UserAgent, b"user-agent"),
            (11, b'r') => (Self::RetryAfter, b"retry-after"),
            (12, b'c') => (Self::ContentType, b"content-type"),
            (12, b'x') => (Self::XRequestId, b"x-request-id"),
            (13, b'a') => (Self::Authorization, b"authorization"),
            (13, b'i') => (Self::IfNoneMatch, b"if-none-match"),
            (14, b'c') => (Self::ContentLength, b"content-length"),
            (14, b'h') => (Self::Http2Settings, b"http2-settings"),
            (15, b'a') => (Self::AcceptEncoding, b"accept-encoding"),
            (15, b'i') => (Self::IdempotencyKey, b"idempotency-key"),
            (15, b'x') => (Self::XForwardedFor, b"x-forwarded-for"),
            (16, b'p') => (Self::ProxyConnection, b"proxy-connection"),
            (16, b'x') if text[12] | 0x20 == b'h' => (Self::XForwardedHost, b"x-forwarded-host"),
            (16, b'x') => (Self::XForwardedPort, b"x-forwarded-port"),
            (17, b'i') => (Self::IfModifiedSince, b"if-modified-since"),
            (17, b't') => (Self::TransferEncoding, b"transfer-encoding"),
            (17, b'x') => (Self::XForwardedProto, b"x-forwarded-proto"),
            (18, b'p') => (Self::ProxyAuthenticate, b"proxy-authenticate"),
            (18, b'x') => (Self::XForwardedPrefix, b"x-forwarded-prefix"),
            (19, b'i') => (Self::IfUnmodifiedSince, b"if-unmodified-since"),
            (19, b'p') => (Self::ProxyAuthorization, b"proxy-authorization"),
            _ => return Self::Other,
        };
        if text.eq_ignore_ascii_case(lower) { name } else { Self::Other }
    }
}

/// Where one field line lies in its head's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Which field this is.
    pub name: Name,
    /// First byte of the name.
    pub start: u32,
    /// Bytes of the name.
    pub name_len: u16,
    /// First byte of the value, without the white space around it.
    pub value_start: u32,
    /// Bytes of the value.
    pub value_len: u32,
    /// First byte after the line's CRLF.
    pub end: u32,
}

/// One field, with its text.
#[derive(Clone, Copy, Debug)]
pub struct FieldRef<'a> {
    /// Which field this is.
    pub id: Name,
    /// The name as it was sent.
    pub name: &'a [u8],
    /// The value, without the white space around it.
    pub value: &'a [u8],
    /// The whole line, CRLF included.
    pub line: &'a [u8],
}

/// The fields of a head and the text they lie in.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: Vec<u8>,
    list: Vec<Field>,
    /// One bit for each [`Name`] that is there: most questions are about fields that are not.
    present: u64,
}

impl Fields {
    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.list.clear();
        self.present = 0;
    }

    /// Puts `text` in place of what was held; [`Fields::push`] the lines in order afterwards.
    pub fn reset(&mut self, text: &[u8]) {
        self.clear();
        self.text.extend_from_slice(text);
    }

    /// Adds the line that `field` describes; it must lie inside the text, after the last one.
    pub fn push(&mut self, field: Field) {
        debug_assert!(field.end as usize <= self.text.len(), "a field lies inside the text");
        debug_assert!(self.list.last().is_none_or(|last| last.end <= field.start), "in order");
        self.present |= field.name.bit();
        self.list.push(field);
    }

    /// Appends a field that did not come off the wire as an HTTP/1 line.
    pub fn append(&mut self, name: Name, name_text: &[u8], value: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(name_text);
        self.text.extend_from_slice(b": ");
        let value_start = self.text.len();
        self.text.extend_from_slice(value);
        self.text.extend_from_slice(b"\r\n");
        self.present |= name.bit();
        self.list.push(Field {
            name,
            start: start as u32,
            name_len: name_text.len() as u16,
            value_start: value_start as u32,
            value_len: value.len() as u32,
            end: self.text.len() as u32,
        });
    }

    /// Appends text that belongs to no field, such as a target that was not sent in one piece.
    pub fn append_text(&mut self, text: &[u8]) -> Range<u32> {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(text);
        start..self.text.len() as u32
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The fields in the order they were sent.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = FieldRef<'_>> + ExactSizeIterator {
        self.list.iter().map(|field| self.resolve(field))
    }

    /// The fields in the order they were sent, each with its place in the text.
    pub fn placed(&self) -> impl Iterator<Item = (Field, FieldRef<'_>)> {
        self.list.iter().map(|field| (*field, self.resolve(field)))
    }

    /// The value of the first `name` field.
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        let field = self.first(name)?;
        Some(self.resolve(field).value)
    }

    /// Whether there is a `name` field.
    pub fn has(&self, name: Name) -> bool {
        self.present & name.bit() != 0
    }

    /// Where the value of the first `name` field lies.
    pub fn range(&self, name: Name) -> Option<Range<u32>> {
        let field = self.first(name)?;
        Some(field.value_start..field.value_start + field.value_len)
    }

    /// The values of every `name` field, in order.
    pub fn all(&self, name: Name) -> impl DoubleEndedIterator<Item = &[u8]> {
        let list = if self.has(name) { self.list.as_slice() } else { &[] };
        let fields = list.iter().filter(move |field| field.name == name);
        fields.map(|field| self.resolve(field).value)
    }

    /// The value of the first field called `name`, whatever its case.
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The text at `range`, as [`Field`] offsets count.
    pub fn text(&self, range: Range<u32>) -> &[u8] {
        &self.text[range.start as usize..range.end as usize]
    }

    fn first(&self, name: Name) -> Option<&Field> {
        debug_assert!(name != Name::Other, "other names are found by their text");
        if !self.has(name) {
            return None;
        }
        self.list.iter().find(|field| field.name == name)
    }

    fn resolve(&self, field: &Field) -> FieldRef<'_> {
        FieldRef {
            id: field.name,
            name: self.text(field.start..field.start + u32::from(field.name_len)),
            value: self.text(field.value_start..field.value_start + field.value_len),
            line: self.text(field.start..field.end),
        }
    }
}

/// A request method. Methods that Evergate treats alike are [`Method::Other`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs, reason = "each variant is the method of the same name")]
pub enum Method {
    Connect,
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
    /// RFC 10008: safe and idempotent, with a body.
    Query,
    Trace,
    /// Any other token; see [`RequestHead::method_text`].
    Other,
}

impl Method {
    /// The method that `text` names; methods are case-sensitive (RFC 9110, 9.1).
    pub fn parse(text: &[u8]) -> Self {
        match text {
            b"CONNECT" => Self::Connect,
            b"DELETE" => Self::Delete,
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"QUERY" => Self::Query,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// Whether sending it twice has the effect of sending it once (RFC 9110, 9.2.2).
    pub const fn is_idempotent(self) -> bool {
        match self {
            Self::Delete
            | Self::Get
            | Self::Head
            | Self::Options
            | Self::Put
            | Self::Query
            | Self::Trace => true,
            Self::Connect | Self::Patch | Self::Post | Self::Other => false,
        }
    }
}

/// The protocol version a message arrived in.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, and any later minor version of HTTP/1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The fields, `Host` included as it was sent.
    pub fields: Fields,
    /// What to do.
    pub method: Method,
    /// The version it came in.
    pub version: Version,
    /// Where the method's text lies.
    pub method_at: Range<u32>,
    /// Where the path and query lie; `*` for `OPTIONS *`.
    pub target_at: Range<u32>,
    /// Where the authority lies: of an absolute target, or else the `Host` value.
    pub authority_at: Range<u32>,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            fields: Fields::default(),
            method: Method::Get,
            version: Version::Http11,
            method_at: 0..0,
            target_at: 0..0,
            authority_at: 0..0,
        }
    }
}

impl RequestHead {
    /// The method as it was sent.
    pub fn method_text(&self) -> &[u8] {
        self.fields.text(self.method_at.clone())
    }

    /// The path and query as they were sent; starts with `/`, or is `*`.
    pub fn target(&self) -> &[u8] {
        self.fields.text(self.target_at.clone())
    }

    /// Host and optional port as they were sent; empty in HTTP/1.0 without `Host`.
    pub fn authority(&self) -> &[u8] {
        self.fields.text(self.authority_at.clone())
    }

    /// The target up to `?`.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        &target[..memchr::memchr(b'?', target).unwrap_or(target.len())]
    }

    /// What follows `?`, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        let target = self.target();
        memchr::memchr(b'?', target).map(|mark| &target[mark + 1..])
    }
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The fields.
    pub fields: Fields,
    /// 100 to 999.
    pub status: u16,
    /// The version it came in.
    pub version: Version,
    /// Where the reason phrase lies; may be empty.
    pub reason_at: Range<u32>,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self { fields: Fields::default(), status: 200, version: Version::Http11, reason_at: 0..0 }
    }
}

impl ResponseHead {
    /// The reason phrase as it was sent.
    pub fn reason(&self) -> &[u8] {
        self.fields.text(self.reason_at.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_fields_read_back() {
        let mut fields = Fields::default();
        fields.append(Name::Host, b"Host", b"a");
        fields.append(Name::Other, b"X-A", b"1");
        fields.append(Name::Other, b"x-a", b"2");
        assert_eq!(fields.get(Name::Host), Some(&b"a"[..]));
        assert_eq!(fields.find(b"X-a"), Some(&b"1"[..]));
        assert_eq!(fields.iter().next_back().map(|f| f.line), Some(&b"x-a: 2\r\n"[..]));
        assert_eq!(fields.len(), 3);
    }

    #[test]
    fn every_known_name_is_found_in_any_case_and_nothing_else_is() {
        let names = [
            ("Accept", Name::Accept),
            ("Accept-Encoding", Name::AcceptEncoding),
            ("Authorization", Name::Authorization),
            ("Connection", Name::Connection),
            ("Content-Length", Name::ContentLength),
            ("Content-Type", Name::ContentType),
            ("Cookie", Name::Cookie),
            ("Date", Name::Date),
            ("Expect", Name::Expect),
            ("Forwarded", Name::Forwarded),
            ("Host", Name::Host),
            ("HTTP2-Settings", Name::Http2Settings),
            ("Idempotency-Key", Name::IdempotencyKey),
            ("If-Match", Name::IfMatch),
            ("If-Modified-Since", Name::IfModifiedSince),
            ("If-None-Match", Name::IfNoneMatch),
            ("If-Range", Name::IfRange),
            ("If-Unmodified-Since", Name::IfUnmodifiedSince),
            ("Keep-Alive", Name::KeepAlive),
            ("Origin", Name::Origin),
            ("Proxy-Authenticate", Name::ProxyAuthenticate),
            ("Proxy-Authorization", Name::ProxyAuthorization),
            ("Proxy-Connection", Name::ProxyConnection),
            ("Range", Name::Range),
            ("Retry-After", Name::RetryAfter),
            ("Server", Name::Server),
            ("Set-Cookie", Name::SetCookie),
            ("TE", Name::Te),
            ("Trailer", Name::Trailer),
            ("Transfer-Encoding", Name::TransferEncoding),
            ("Upgrade", Name::Upgrade),
            ("User-Agent", Name::UserAgent),
            ("Via", Name::Via),
            ("X-Forwarded-For", Name::XForwardedFor),
            ("X-Forwarded-Host", Name::XForwardedHost),
            ("X-Forwarded-Port", Name::XForwardedPort),
            ("X-Forwarded-Prefix", Name::XForwardedPrefix),
            ("X-Forwarded-Proto", Name::XForwardedProto),
            ("X-Real-IP", Name::XRealIp),
            ("X-Request-ID", Name::XRequestId),
        ];
        assert_eq!(names.len(), Name::Other as usize, "the table has every name");
        for (text, name) in names {
            assert_eq!(Name::parse(text.as_bytes()), name, "{text}");
            assert_eq!(Name::parse(text.to_ascii_lowercase().as_bytes()), name, "{text}");
            assert_eq!(Name::parse(text.to_ascii_uppercase().as_bytes()), name, "{text}");
            for at in 0..text.len() {
                let mut near = text.as_bytes().to_vec();
                near[at] ^= 1;
                assert_eq!(Name::parse(&near), Name::Other, "{text} with byte {at} changed");
            }
            assert_eq!(Name::parse(text.replace('-', "_").as_bytes()) == name, !text.contains('-'));
        }
        assert_eq!(Name::parse(b""), Name::Other);
        assert_eq!(Name::parse(b"X-Forwarded-Hort"), Name::Other);
    }
}
