//! Where a body ends: `Content-Length` and `Transfer-Encoding` (6.1 to 6.3).

use super::fields::Seen;
use super::grammar::{elements, is_token};
use super::{Body, HeadError};
use crate::head::{Fields, Name, Version};

/// The body that the fields announce, if they say anything.
pub(super) fn parse_framing(
    fields: &Fields,
    seen: Seen,
    version: Version,
) -> Result<Option<Body>, HeadError> {
    if seen.has(Name::TransferEncoding) {
        if seen.has(Name::ContentLength) {
            return Err(HeadError::LengthAndEncoding);
        }
        if version == Version::Http10 {
            return Err(HeadError::EncodingTooEarly);
        }
        expect_chunked(fields)?;
        return Ok(Some(Body::Chunked));
    }
    if seen.repeats(Name::ContentLength) {
        return Err(HeadError::LengthRepeated);
    }
    let Some(text) = fields.get(Name::ContentLength) else { return Ok(None) };
    match parse_length(text) {
        Some(0) => Ok(Some(Body::Empty)),
        Some(len) => Ok(Some(Body::Sized(len))),
        None => Err(HeadError::LengthMalformed),
    }
}

fn parse_length(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |len, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        len.checked_mul(10)?.checked_add(digit)
    })
}

/// The only list of transfer codings that is taken is `chunked`; the rest is sorted into what
/// nobody may send and what Evergate does not know.
fn expect_chunked(fields: &Fields) -> Result<(), HeadError> {
    let (mut chunked, mut identity, mut unknown) = (false, false, false);
    for coding in fields.all(Name::TransferEncoding).flat_map(elements) {
        // Nothing may follow `chunked`, not even itself.
        if chunked || !is_token(coding) {
            return Err(HeadError::EncodingMalformed);
        }
        chunked = coding.eq_ignore_ascii_case(b"chunked");
        identity |= coding.eq_ignore_ascii_case(b"identity");
        unknown |= !chunked;
    }
    match (chunked, identity, unknown) {
        // Some take the pair for `chunked`, some for no coding at all.
        (true, true, _) => Err(HeadError::EncodingMalformed),
        (_, _, true) => Err(HeadError::EncodingUnknown),
        (_, _, false) => Ok(()),
    }
}
