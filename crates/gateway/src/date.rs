//! The `Date` field, formatted once a second.

use std::cell::RefCell;

use evergate_sys::clock;

/// Bytes of an IMF-fixdate (RFC 9110, 5.6.7).
pub(crate) const DATE_BYTES: usize = 29;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The date of the last second that anybody asked in.
#[derive(Debug, Default)]
pub(crate) struct DateCache {
    latest: RefCell<(u64, [u8; DATE_BYTES])>,
}

impl DateCache {
    /// Now, as an IMF-fixdate.
    pub(crate) fn now(&self) -> [u8; DATE_BYTES] {
        let seconds = clock::unix_seconds();
        let mut latest = self.latest.borrow_mut();
        if latest.0 != seconds {
            *latest = (seconds, imf_fixdate(seconds));
        }
        latest.1
    }
}

/// A moment of Unix time split into the fields of the Gregorian calendar, in UTC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Calendar {
    pub(crate) year: u64,
    /// 1 to 12.
    pub(crate) month: u64,
    /// 1 to 31.
    pub(crate) day: u64,
    pub(crate) hour: u64,
    pub(crate) minute: u64,
    pub(crate) second: u64,
    /// Days since Thursday, 1 January 1970.
    pub(crate) days: u64,
}

impl Calendar {
    /// Splits `seconds` of Unix time.
    pub(crate) fn of(seconds: u64) -> Self {
        let days = seconds / 86_400;
        // Days from 1 March of year 0; the calendar repeats every 400 years, or 146,097 days.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let of_era = shifted % 146_097;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: seconds / 3_600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            days,
        }
    }

    /// Short English name of the month.
    pub(crate) fn month_name(self) -> &'static str {
        MONTHS[(self.month as usize - 1) % 12]
    }
}

fn imf_fixdate(seconds: u64) -> [u8; DATE_BYTES] {
    let at = Calendar::of(seconds);
    let text = format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS[(at.days % 7) as usize],
        at.day,
        at.month_name(),
        at.year % 10_000,
        at.hour,
        at.minute,
        at.second
    );
    text.as_bytes().try_into().expect("every part has a fixed width")
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
