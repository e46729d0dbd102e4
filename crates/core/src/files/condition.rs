//! Whether a client has what it asks for already (RFC 9110, 13).

use super::date::parse_date;
use crate::head::{Fields, Method, Name};

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// The entity tag, quotes included, `W/` in front if it is weak.
    pub tag: &'a [u8],
    /// When the file was last changed, in seconds of Unix time; not in the future.
    pub modified: Option<u64>,
}

/// What becomes of a request for a file that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Send it; a `Range` counts.
    Send,
    /// Send all of it: the client's part is of another state (`If-Range`).
    SendWhole,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client takes it for.
    Failed,
}

/// The conditions of one request.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    fields: &'a Fields,
    now: u64,
}

impl<'a> Conditions<'a> {
    /// Those among `fields`, at `now` in seconds of Unix time.
    pub fn new(fields: &'a Fields, now: u64) -> Self {
        Self { fields, now }
    }

    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        let names = [
            Name::IfMatch,
            Name::IfModifiedSince,
            Name::IfNoneMatch,
            Name::IfRange,
            Name::IfUnmodifiedSince,
        ];
        names.iter().any(|&name| self.fields.has(name))
    }

    /// Judges them in the order of RFC 9110, 13.2.2, for a GET or HEAD.
    pub fn judge(&self, method: Method, current: &Validators<'_>) -> Verdict {
        let fields = self.fields;
        if fields.has(Name::IfMatch) {
            if !self.lists(Name::IfMatch, |tag| is_strongly(tag, current.tag)) {
                return Verdict::Failed;
            }
        } else if let Some(date) = self.date(Name::IfUnmodifiedSince)
            && current.modified.is_some_and(|modified| modified > date)
        {
            return Verdict::Failed;
        }
        if fields.has(Name::IfNoneMatch) {
            if self.lists(Name::IfNoneMatch, |tag| opaque(tag) == opaque(current.tag)) {
                return Verdict::NotModified;
            }
        } else if let Some(date) = self.date(Name::IfModifiedSince)
            && current.modified.is_some_and(|modified| modified <= date)
        {
            return Verdict::NotModified;
        }
        match fields.get(Name::IfRange) {
            Some(_) if method != Method::Get || !fields.has(Name::Range) => Verdict::Send,
            Some(value) if !self.is_same(value, current) => Verdict::SendWhole,
            Some(_) | None => Verdict::Send,
        }
    }

    /// RFC 9110, 13.1.5: a tag is compared strongly, a date exactly.
    fn is_same(&self, value: &[u8], current: &Validators<'_>) -> bool {
        if value.first() == Some(&b'"') || value.starts_with(b"W/") {
            return is_strongly(value, current.tag);
        }
        // A file with a weak tag was changed so lately that its date says no more than its tag.
        let date = parse_date(value, self.now);
        date.is_some() && date == current.modified && !is_weak(current.tag)
    }

    /// Whether `*` or a tag that `holds` stands in any `name` field.
    fn lists(&self, name: Name, holds: impl Fn(&[u8]) -> bool) -> bool {
        self.fields.all(name).any(|list| list.trim_ascii() == b"*" || tags(list).any(&holds))
    }

    /// A date that cannot be read is as if it were not there (RFC 9110, 13.1.3), and so is one of
    /// several.
    fn date(&self, name: Name) -> Option<u64> {
        let mut values = self.fields.all(name);
        let value = values.next()?;
        if values.next().is_some() { None } else { parse_date(value, self.now) }
    }
}

fn is_weak(tag: &[u8]) -> bool {
    tag.starts_with(b"W/")
}

/// RFC 9110, 8.8.3.2
fn is_strongly(one: &[u8], other: &[u8]) -> bool {
    !is_weak(one) && !is_weak(other) && one == other
}

/// A tag without its `W/`.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The tags of a list; it ends where the list is malformed. Commas may stand inside quotes.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    core::iter::from_fn(move || {
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        let quote = if is_weak(rest) { 2 } else { 0 };
        if rest.get(quote) != Some(&b'"') {
            return None;
        }
        let end = rest[quote + 1..].iter().position(|&byte| byte == b'"')?;
        let (tag, after) = rest.split_at(quote + end + 2);
        rest = after;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: u64 = 784_111_777;
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn judge(tag: &str, method: Method, list: &[(&str, &str)]) -> Verdict {
        let mut fields = Fields::default();
        for (name, value) in list {
            fields.append(Name::parse(name.as_bytes()), name.as_bytes(), value.as_bytes());
        }
        let current = Validators { tag: tag.as_bytes(), modified: Some(THEN) };
        Conditions::new(&fields, 1_790_000_000).judge(method, &current)
    }

    #[test]
    fn conditions_hold_as_the_standard_says() {
        use Verdict::{Failed, NotModified, Send, SendWhole};
        let (none, since) = ("If-None-Match", "If-Modified-Since");
        let (same, unmodified, range) = ("If-Match", "If-Unmodified-Since", "If-Range");
        let bytes = ("Range", "bytes=0-1");
        let table: [(&[(&str, &str)], Verdict); 32] = [
            (&[], Send),
            (&[(none, "\"a\"")], NotModified),
            (&[(none, "W/\"a\"")], NotModified),
            (&[(none, "\"b\", \"a\"")], NotModified),
            (&[(none, "\"b\""), (none, "\"a\"")], NotModified),
            (&[(none, "\"b,\"a\"")], Send),
            (&[(none, "*")], NotModified),
            (&[(none, "\"b\"")], Send),
            (&[(none, "a")], Send),
            (&[(none, "")], Send),
            (&[(since, AT)], NotModified),
            (&[(since, AFTER)], NotModified),
            (&[(since, BEFORE)], Send),
            (&[(since, "yesterday")], Send),
            (&[(since, AT), (since, AT)], Send),
            // 13.2.2: the tag outweighs the date
            (&[(none, "\"b\""), (since, AT)], Send),
            (&[(none, "\"a\""), (since, BEFORE)], NotModified),
            (&[(same, "\"a\"")], Send),
            (&[(same, "\"b\" , \"a\"")], Send),
            (&[(same, "W/\"a\"")], Failed),
            (&[(same, "\"b\"")], Failed),
            (&[(same, "*")], Send),
            (&[(same, "\"a\""), (unmodified, BEFORE)], Send),
            (&[(unmodified, AT)], Send),
            (&[(unmodified, BEFORE)], Failed),
            (&[(unmodified, "never")], Send),
            (&[(same, "\"b\""), (none, "\"a\"")], Failed),
            (&[bytes, (range, "\"a\"")], Send),
            (&[bytes, (range, "W/\"a\"")], SendWhole),
            (&[bytes, (range, "\"b\"")], SendWhole),
            (&[bytes, (range, AT)], Send),
            (&[bytes, (range, AFTER)], SendWhole),
        ];
        for (list, verdict) in table {
            assert_eq!(judge("\"a\"", Method::Get, list), verdict, "{list:?}");
        }
    }

    #[test]
    fn a_weak_tag_is_never_the_same_strongly() {
        let bytes = ("Range", "bytes=0-1");
        let table: [(&[(&str, &str)], Verdict); 4] = [
            (&[("If-None-Match", "\"a\"")], Verdict::NotModified),
            (&[("If-Match", "W/\"a\"")], Verdict::Failed),
            (&[bytes, ("If-Range", "W/\"a\"")], Verdict::SendWhole),
            (&[bytes, ("If-Range", AT)], Verdict::SendWhole),
        ];
        for (list, verdict) in table {
            assert_eq!(judge("W/\"a\"", Method::Get, list), verdict, "{list:?}");
        }
    }

    #[test]
    fn if_range_means_nothing_without_a_range_or_to_head() {
        assert_eq!(judge("\"a\"", Method::Get, &[("If-Range", "\"b\"")]), Verdict::Send);
        let both = [("Range", "bytes=0-1"), ("If-Range", "\"b\"")];
        assert_eq!(judge("\"a\"", Method::Head, &both), Verdict::Send);
    }
}
