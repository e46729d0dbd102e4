//! Times on the command line.

use std::time::Duration;

/// Longest time that a command takes.
const TIME_MAX: Duration = Duration::from_secs(3600);

/// A time such as `500ms`, `20s` or `2m`; at most an hour.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "a time is a number and ms, s or m".to_owned())?;
    let time = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err("a time ends in ms, s or m".to_owned()),
    };
    match time {
        Duration::ZERO => Err("a time must not be zero".to_owned()),
        time if time > TIME_MAX => Err(format!("at most {} s", TIME_MAX.as_secs())),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "20", "s", "0s", "2h", "61m", "-1s", "99999999999999999999s"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
