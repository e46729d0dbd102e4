//! Which parts of a file are wanted (RFC 9110, 14).

use alloc::vec::Vec;
use core::ops::Range;

/// More ranges in one request are not served: the file is sent whole, which costs less.
const RANGES_MAX: usize = 16;
/// More ranges that overlap another are a waste at best (RFC 9110, 14.2 and 17.15).
const OVERLAPS_MAX: usize = 2;

/// First byte of a part and the byte after its last.
pub type Span = Range<u64>;

/// What a `Range` field comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ranges {
    /// It is not understood or asks for too much at once: send all.
    Whole,
    /// 206 with this part.
    One(Span),
    /// 206 with these parts, at least two, in the order they were asked for.
    Several(Vec<Span>),
    /// 416: none of them lies within the file.
    Unsatisfiable,
}

/// Reads `value` for a file of `length` bytes.
///
/// All is sent where the field is malformed, of another unit, has more than 16 ranges, more than
/// two that overlap others, or asks for more bytes than there are. An empty file is always sent
/// whole: some clients add a range to each request, and no part of it could be named.
pub fn ranges(value: &[u8], length: u64) -> Ranges {
    let Some(list) = of_bytes(value) else { return Ranges::Whole };
    if length == 0 {
        return Ranges::Whole;
    }
    let mut spans = Vec::new();
    let mut specs = 0;
    for spec in list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            continue;
        }
        specs += 1;
        match span(spec, length) {
            Ok(_) if specs > RANGES_MAX => return Ranges::Whole,
            Ok(Some(span)) => spans.push(span),
            Ok(None) => {}
            Err(Malformed) => return Ranges::Whole,
        }
    }
    match (specs, spans.as_slice()) {
        (0, _) => Ranges::Whole,
        (_, []) => Ranges::Unsatisfiable,
        (_, [only]) => Ranges::One(only.clone()),
        (_, several) if is_waste(several, length) => Ranges::Whole,
        _ => Ranges::Several(spans),
    }
}

/// The list behind `bytes=`.
fn of_bytes(value: &[u8]) -> Option<&[u8]> {
    let mark = value.iter().position(|&byte| byte == b'=')?;
    value[..mark].trim_ascii().eq_ignore_ascii_case(b"bytes").then(|| &value[mark + 1..])
}

#[derive(Debug)]
struct Malformed;

/// Reads `first-last`, `first-` or `-count`; `None` if it lies behind the end.
fn span(spec: &[u8], length: u64) -> Result<Option<Span>, Malformed> {
    let dash = spec.iter().position(|&byte| byte == b'-').ok_or(Malformed)?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    let span = match (first, last) {
        ([], []) => return Err(Malformed),
        ([], count) => {
            let count = number(count)?;
            length.saturating_sub(count)..length
        }
        (first, []) => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return Err(Malformed);
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Ok((span.start < span.end).then_some(span))
}

/// A number too large to count with is larger than any file.
fn number(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    Ok(digits.iter().fold(0, |number: u64, &digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    }))
}

fn is_waste(spans: &[Span], length: u64) -> bool {
    let overlaps = |(at, one): &(usize, &Span)| {
        let others = spans.iter().take(*at);
        others.into_iter().any(|other| one.start < other.end && other.start < one.end)
    };
    let overlapping = spans.iter().enumerate().filter(overlaps).count();
    let sum = spans.iter().map(|span| span.end - span.start).fold(0, u64::saturating_add);
    overlapping > OVERLAPS_MAX || sum > length
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn ranges_come_to_parts() {
        use Ranges::{One, Several, Unsatisfiable, Whole};
        let table = [
            ("bytes=0-0", One(0..1)),
            ("bytes=0-99", One(0..100)),
            ("bytes=0-100", One(0..100)),
            ("bytes=10-", One(10..100)),
            ("bytes=-10", One(90..100)),
            ("bytes=-1000", One(0..100)),
            ("bytes=99-99999999999999999999999", One(99..100)),
            ("Bytes=5-6", One(5..7)),
            ("bytes= 5-6 ", One(5..7)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=99999999999999999999-", Unsatisfiable),
            ("bytes=0-1,200-300", One(0..2)),
            ("bytes=0-1, 4-5", Several(vec![0..2, 4..6])),
            ("bytes=4-5,,0-1,", Several(vec![4..6, 0..2])),
            ("bytes=0-10,5-15", Several(vec![0..11, 5..16])),
            ("bytes=0-99,-1", Whole),
            ("bytes=0-4,1-5,2-6,3-7", Whole),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes=5-4", Whole),
            ("bytes=0-1,5-4", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1", Whole),
            ("bytes=--1", Whole),
            ("bytes=0x1-2", Whole),
            ("bytes=1 -2", Whole),
            ("lines=0-1", Whole),
            ("bytes", Whole),
            ("", Whole),
        ];
        for (value, ranges_) in table {
            assert_eq!(ranges(value.as_bytes(), 100), ranges_, "{value}");
        }
    }

    #[test]
    fn an_empty_file_has_no_parts() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(ranges(value.as_bytes(), 0), Ranges::Whole, "{value}");
        }
    }

    #[test]
    fn too_many_ranges_are_sent_as_the_whole_file() {
        let list = |count: usize| {
            let specs: Vec<String> = (0..count).map(|at| format!("{0}-{0}", at * 2)).collect();
            format!("bytes={}", specs.join(","))
        };
        assert!(matches!(ranges(list(RANGES_MAX).as_bytes(), 100), Ranges::Several(_)));
        assert_eq!(ranges(list(RANGES_MAX + 1).as_bytes(), 100), Ranges::Whole);
    }

    #[test]
    fn parts_lie_within_the_file_and_are_never_more_than_it() {
        let mut rng = Rng::seeded(5);
        let pieces = ["bytes=", "0", "9", "-", ",", "5", " ", "18446744073709551615", "-1", "2-3"];
        for _ in 0..50_000 {
            let mut value = String::from("bytes=");
            for _ in 0..rng.below(10) {
                value.push_str(pieces[rng.below(pieces.len() as u32) as usize]);
            }
            let length = u64::from(rng.below(12));
            let spans = match ranges(value.as_bytes(), length) {
                Ranges::One(span) => vec![span],
                Ranges::Several(spans) => spans,
                Ranges::Whole | Ranges::Unsatisfiable => continue,
            };
            assert!(
                spans.iter().all(|span| span.start < span.end && span.end <= length),
                "{value}"
            );
            assert!(
                spans.iter().map(|span| span.end - span.start).sum::<u64>() <= length,
                "{value}"
            );
        }
    }
}
