//! Days, for people who read of certificates.

use x509_parser::time::ASN1Time;

/// The day of a moment in seconds of Unix time, in UTC: `2026-12-01`.
pub fn day(seconds: u64) -> String {
    /// The end of the last year that a certificate can name (RFC 5280, 4.1.2.5).
    const LAST: i64 = 253_402_300_799;
    let seconds = i64::try_from(seconds).unwrap_or(LAST).min(LAST);
    let at = ASN1Time::from_timestamp(seconds).expect("it has a date: it is not after the last");
    at.to_datetime().date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        let table = [
            (0, "1970-01-01"),
            (951_868_799, "2000-02-29"),
            (1_795_262_400, "2026-11-21"),
            (u64::MAX, "9999-12-31"),
        ];
        for (seconds, expected) in table {
            assert_eq!(day(seconds), expected);
        }
    }
}
