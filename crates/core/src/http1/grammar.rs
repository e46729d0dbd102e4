//! Which bytes may stand where, and how lists are cut.

/// Bytes of a token (RFC 9110, 5.6.2).
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
                | b'`' | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
        );
        byte += 1;
    }
    table
};

/// How many bytes at the front of `text` belong to a token.
#[inline]
pub(super) fn token_len(text: &[u8]) -> usize {
    text.iter().position(|byte| !TOKEN[usize::from(*byte)]).unwrap_or(text.len())
}

/// Whether all of `text` is one token.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && token_len(text) == text.len()
}

/// Whether `text` may be a field value or a reason phrase (RFC 9110, 5.5).
pub(super) fn is_value(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

/// Whether every byte of `text` may stand in a request target, and there is one.
pub fn is_target(text: &[u8]) -> bool {
    !text.is_empty() && target_len(text) == text.len()
}

/// How many bytes at the front of `text` may stand in a request target: printable ASCII apart
/// from space and `#`. Stricter about fragments and non-ASCII than many peers, looser than
/// RFC 3986 about `"<>[]^{|}`, `\` and the backtick, which browsers send.
#[inline]
pub(super) fn target_len(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let bad = target_faults(u64::from_le_bytes(*word));
        if bad != 0 {
            return index * 8 + bad.trailing_zeros() as usize / 8;
        }
    }
    let tail = rest.iter().position(|byte| !matches!(byte, b'!'..=b'"' | b'$'..=b'~'));
    text.len() - rest.len() + tail.unwrap_or(rest.len())
}

/// The high bit of the first byte that may not stand in a target; bits above it mean nothing.
#[inline]
const fn target_faults(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x80 * ONES;
    // A borrow can only raise false bits above a true one, and only the lowest bit is used.
    let below_bang = word.wrapping_sub(ONES * b'!' as u64) & !word;
    let hash = word ^ (ONES * b'#' as u64);
    let is_hash = hash.wrapping_sub(ONES) & !hash;
    let delete = word ^ (ONES * 0x7f);
    let is_delete = delete.wrapping_sub(ONES) & !delete;
    (below_bang | is_hash | is_delete | word) & HIGHS
}

/// The elements of a comma separated list without the white space around them; empty ones too.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn a_target_ends_at_the_first_bad_byte_wherever_it_lies() {
        for bad in 0..=255u8 {
            let is_good = bad.is_ascii_graphic() && bad != b'#';
            for len in 0..20 {
                for at in 0..len {
                    let mut text = vec![b'a'; len];
                    text[at] = bad;
                    assert_eq!(target_len(&text), if is_good { len } else { at }, "{bad} at {at}");
                    // What follows the bad byte does not matter.
                    text[at + 1..].fill(b' ');
                    let end = if is_good { at + 1 } else { at };
                    assert_eq!(target_len(&text), end, "{bad} at {at}, spaces after");
                }
            }
        }
    }
}
