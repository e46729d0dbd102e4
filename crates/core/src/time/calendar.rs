//! Moments as people write them down, in UTC.

/// Seconds of a day; leap seconds do not exist in Unix time.
const DAY: u64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment of Unix time split into the fields of the Gregorian calendar, in UTC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Calendar {
    /// 1970 or later.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
}

impl Calendar {
    /// Splits `seconds` of Unix time.
    pub const fn of(seconds: u64) -> Self {
        // Days from 1 March of year 0; the calendar repeats every 400 years, or 146,097 days.
        let shifted = seconds / DAY + 719_468;
        let era = shifted / 146_097;
        let of_era = shifted % 146_097;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: year_of_era + era * 400 + (month <= 2) as u64,
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: seconds / 3_600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    /// Seconds of Unix time; `None` if there is no such moment.
    pub fn seconds(self) -> Option<u64> {
        if !(1970..=9999).contains(&self.year) || !(1..=12).contains(&self.month) {
            return None;
        }
        let year = self.year - u64::from(self.month <= 2);
        let from_march = (self.month + 9) % 12;
        let of_year = (153 * from_march + 2) / 5 + self.day.checked_sub(1)?;
        let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
        let days = year / 400 * 146_097 + of_era - 719_468;
        let seconds = days * DAY + self.hour * 3_600 + self.minute * 60 + self.second;
        // Whatever is too large for its field comes back as something else.
        (Self::of(seconds) == self).then_some(seconds)
    }

    /// Days since Sunday at this second of Unix time.
    pub const fn weekday(seconds: u64) -> u64 {
        (seconds / DAY + 4) % 7
    }

    /// Short English name of the month.
    pub fn month_name(self) -> &'static str {
        MONTHS[(self.month as usize - 1) % 12]
    }

    /// The month with this short English name, 1 to 12.
    pub fn month_named(name: &[u8]) -> Option<u64> {
        let at = MONTHS.iter().position(|month| month.as_bytes() == name)?;
        Some(at as u64 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn every_second_comes_back_from_its_fields() {
        let mut rng = Rng::seeded(7);
        let end = 253_402_300_799;
        let seconds = (0..20_000).map(|_| rng.next_u64() % end);
        for seconds in seconds.chain([0, 59, 86_399, 86_400, 951_782_400, 4_107_542_400, end]) {
            assert_eq!(Calendar::of(seconds).seconds(), Some(seconds));
        }
    }

    #[test]
    fn moments_that_do_not_exist_are_none() {
        let good = Calendar { year: 2024, month: 2, day: 29, hour: 23, minute: 59, second: 59 };
        assert!(good.seconds().is_some());
        for bad in [
            Calendar { year: 2023, ..good },
            Calendar { year: 1969, ..good },
            Calendar { year: 10_000, ..good },
            Calendar { month: 0, ..good },
            Calendar { month: 13, ..good },
            Calendar { day: 0, ..good },
            Calendar { day: 30, ..good },
            Calendar { hour: 24, ..good },
            Calendar { minute: 60, ..good },
            Calendar { second: 60, ..good },
        ] {
            assert_eq!(bad.seconds(), None, "{bad:?}");
        }
    }
}
