//! Dates in fields (RFC 9110, 5.6.7).

use crate::time::Calendar;

/// Bytes of an IMF-fixdate.
pub const DATE_BYTES: usize = 29;

const DAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
/// A year of two digits that seems to lie further ahead is one of the past (RFC 9110, 5.6.7).
const YEARS_AHEAD_MAX: u64 = 50;

/// `seconds` of Unix time as `Sun, 06 Nov 1994 08:49:37 GMT`; the year keeps four digits.
pub fn imf_fixdate(seconds: u64) -> [u8; DATE_BYTES] {
    let at = Calendar::of(seconds);
    let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[Calendar::weekday(seconds) as usize]);
    put(&mut text[5..7], at.day);
    text[8..11].copy_from_slice(at.month_name().as_bytes());
    put(&mut text[12..16], at.year);
    put(&mut text[17..19], at.hour);
    put(&mut text[20..22], at.minute);
    put(&mut text[23..25], at.second);
    text
}

/// Seconds of Unix time that `text` names in any of the three forms of HTTP; `None` if it is no
/// date, or one before 1970. `now` says which century two digits are of.
pub fn parse_date(text: &[u8], now: u64) -> Option<u64> {
    // The day's name says nothing that the rest does not; nobody is refused over it.
    let comma = text.iter().position(|&byte| byte == b',');
    let at = match comma {
        Some(3) => imf(text.get(5..)?, text.get(3..5)?)?,
        Some(after @ 6..=9) => rfc850(text.get(after + 2..)?, text.get(after..after + 2)?, now)?,
        Some(_) => return None,
        None => asctime(text)?,
    };
    at.seconds()
}

/// `06 Nov 1994 08:49:37 GMT`
fn imf(text: &[u8], lead: &[u8]) -> Option<Calendar> {
    let [d1, d2, b' ', m1, m2, m3, b' ', y1, y2, y3, y4, b' ', time @ .., b' ', b'G', b'M', b'T'] =
        text
    else {
        return None;
    };
    let (hour, minute, second) = clock(time)?;
    let month = Calendar::month_named(&[*m1, *m2, *m3])?;
    let (day, year) = (number(&[*d1, *d2])?, number(&[*y1, *y2, *y3, *y4])?);
    (lead == b", ").then_some(Calendar { year, month, day, hour, minute, second })
}

/// `06-Nov-94 08:49:37 GMT`
fn rfc850(text: &[u8], lead: &[u8], now: u64) -> Option<Calendar> {
    let [d1, d2, b'-', m1, m2, m3, b'-', y1, y2, b' ', time @ .., b' ', b'G', b'M', b'T'] = text
    else {
        return None;
    };
    let (hour, minute, second) = clock(time)?;
    let month = Calendar::month_named(&[*m1, *m2, *m3])?;
    let this_year = Calendar::of(now).year;
    let mut year = this_year / 100 * 100 + number(&[*y1, *y2])?;
    if year > this_year + YEARS_AHEAD_MAX {
        year -= 100;
    }
    let day = number(&[*d1, *d2])?;
    (lead == b", ").then_some(Calendar { year, month, day, hour, minute, second })
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Calendar> {
    let [_, _, _, b' ', m1, m2, m3, b' ', d1, d2, b' ', time @ .., b' ', y1, y2, y3, y4] = text
    else {
        return None;
    };
    let (hour, minute, second) = clock(time)?;
    let month = Calendar::month_named(&[*m1, *m2, *m3])?;
    let day = number(if *d1 == b' ' { core::slice::from_ref(d2) } else { &text[8..10] })?;
    let year = number(&[*y1, *y2, *y3, *y4])?;
    Some(Calendar { year, month, day, hour, minute, second })
}

/// `08:49:37`
fn clock(text: &[u8]) -> Option<(u64, u64, u64)> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else { return None };
    Some((number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, &digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

fn put(place: &mut [u8], number: u64) {
    let mut rest = number;
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const NOW: u64 = 1_790_000_000; // in 2026

    #[test]
    fn dates_match_the_standard_and_leap_days() {
        let table = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_164_799, "Wed, 28 Feb 2024 23:59:59 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        for (seconds, text) in table {
            assert_eq!(imf_fixdate(seconds), text.as_bytes(), "{text}");
        }
    }

    #[test]
    fn whatever_is_printed_reads_back() {
        let mut rng = Rng::seeded(11);
        for _ in 0..10_000 {
            let seconds = rng.next_u64() % 253_402_300_800;
            assert_eq!(parse_date(&imf_fixdate(seconds), NOW), Some(seconds));
        }
    }

    #[test]
    fn all_three_forms_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(text.as_bytes(), NOW), Some(784_111_777), "{text}");
        }
        let (soon, past) = ("Monday, 06-Nov-76 08:49:37 GMT", "Monday, 06-Nov-77 08:49:37 GMT");
        assert_eq!(parse_date(soon.as_bytes(), NOW).map(|at| Calendar::of(at).year), Some(2076));
        assert_eq!(parse_date(past.as_bytes(), NOW).map(|at| Calendar::of(at).year), Some(1977));
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "0",
            "Sun",
            "Sun,",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sun Nov 06 08:49:37 94",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(parse_date(text.as_bytes(), NOW), None, "{text}");
        }
    }
}
