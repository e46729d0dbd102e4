//! Points and spans of time in words, for people.

/// `2026-11-21 03:38:52` in UTC, from milliseconds of Unix time.
pub fn utc(at_ms: u64) -> String {
    let seconds = at_ms / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// `45s`, `3m12s`, `5h07m` or `12d4h`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        86_400.. => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Time that is left: `0.3s` below ten seconds, then like [`span`].
pub fn left(seconds: f64) -> String {
    if seconds < 9.95 { format!("{:.1}s", seconds.max(0.0)) } else { span(seconds.round() as u64) }
}

/// `0.8ms`, `12ms` or `1.2s`; `-` for what would be `0.0ms`: not known yet, or long forgotten.
pub fn latency(seconds: f64) -> String {
    if seconds < 0.000_05 {
        "-".into()
    } else if seconds < 0.01 {
        format!("{:.1}ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0}ms", seconds * 1e3)
    } else {
        format!("{seconds:.1}s")
    }
}

/// The Gregorian date that many days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day is the last day of its year, and in
    // eras of 400 years, all of which have 146097 days.
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31, 30, 31, 30, 31 days, over and over: 153 days in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days_are_right() {
        let table = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_767_225_599, "2025-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ];
        for (seconds, expected) in table {
            assert_eq!(utc(seconds * 1000 + 999), expected);
        }
    }

    #[test]
    fn spans_keep_two_units() {
        let table =
            [(0, "0s"), (59, "59s"), (192, "3m12s"), (18_420, "5h07m"), (1_051_200, "12d4h")];
        for (seconds, expected) in table {
            assert_eq!(span(seconds), expected);
        }
        assert_eq!(
            (left(0.25), left(9.96), left(250.4)),
            ("0.2s".into(), "10s".into(), "4m10s".into())
        );
        assert_eq!(latency(0.0), "-");
        assert_eq!(latency(0.000_049), "-");
        assert_eq!(latency(0.0008), "0.8ms");
        assert_eq!(latency(0.0123), "12ms");
        assert_eq!(latency(1.25), "1.2s");
    }
}
