//! Durations: a number and a unit, `"250ms"`.

use std::time::Duration;

use crate::reader::Fault;

/// Longest duration; longer ones are slips.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A duration longer than zero.
pub(crate) fn positive(text: &str) -> Result<Duration, Fault> {
    let duration = parse(text)?;
    if duration.is_zero() {
        return Err(Fault::new("bad-duration", "is no time at all")
            .help("write a time longer than zero, or leave the key out for the default"));
    }
    Ok(duration)
}

/// A duration within these bounds.
pub(crate) fn between(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, Fault> {
    move |text| {
        let duration = if least.is_zero() { parse(text)? } else { positive(text)? };
        let out = |complaint| Err(Fault::new("bad-duration", complaint));
        match duration {
            _ if duration < least => out(format!("is too short; the least is {}", show(least))),
            _ if duration > most => out(format!("is too long; the most is {}", show(most))),
            _ => Ok(duration),
        }
    }
}

/// A duration, zero included.
pub(crate) fn parse(text: &str) -> Result<Duration, Fault> {
    let (number, unit) = split_unit(text);
    let fault = || Fault::new("bad-duration", "is not a duration");
    let Ok(amount) = number.parse::<f64>() else {
        return Err(fault().help("write a number and a unit: \"250ms\", \"5s\", \"10m\", \"1h\""));
    };
    if unit.is_empty() {
        return Err(fault().help(format!("a duration has a unit: write \"{number}s\"")));
    }
    let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let help = match unit.to_lowercase().as_str() {
            "sec" | "secs" | "second" | "seconds" => format!("write \"{number}s\""),
            "min" | "mins" | "minute" | "minutes" => format!("write \"{number}m\""),
            "hour" | "hours" | "hr" => format!("write \"{number}h\""),
            "msec" | "millis" | "milliseconds" => format!("write \"{number}ms\""),
            "day" | "days" => format!("write \"{number}d\""),
            _ => "units are ms, s, m, h and d".to_owned(),
        };
        return Err(fault().help(help));
    };
    let exact = amount * *millis as f64;
    if exact > DURATION_MAX.as_millis() as f64 {
        return Err(Fault::new("bad-duration", "is longer than 365 days"));
    }
    if exact.fract() != 0.0 {
        return Err(Fault::new("bad-duration", "is finer than a millisecond"));
    }
    // At most 365 days of milliseconds and whole, as checked above.
    Ok(Duration::from_millis(exact as u64))
}

/// As [`parse`] reads it, with the largest unit that leaves no fraction.
pub(crate) fn show(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    // No days: few would expect "1d".
    let (unit, size) = UNITS[..4]
        .iter()
        .rev()
        .find(|(_, size)| millis >= *size && millis.is_multiple_of(*size))
        .unwrap_or(&("s", 1000));
    format!("{}{unit}", millis / size)
}

/// The number before and the unit behind it, without space between.
pub(crate) fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        let good = [("250ms", 250), ("5s", 5000), ("1.5s", 1500), ("10m", 600_000), ("0s", 0)];
        for (text, millis) in good {
            assert_eq!(parse(text).expect(text), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "5", "s", "5 parsecs", "-5s", "5s5", "1.2.3s", "0.5ms", "400d", "5S"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(positive("0s").is_err());
    }

    #[test]
    fn a_wrong_unit_gets_the_right_one_as_help() {
        let help = |text| parse(text).expect_err(text).help.expect("there is help");
        assert_eq!(help("5"), "a duration has a unit: write \"5s\"");
        assert_eq!(help("5 sec"), "write \"5s\"");
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for text in ["250ms", "1500ms", "5s", "90s", "10m", "1h", "0s", "26h"] {
            let duration = parse(text).expect(text);
            assert_eq!(show(duration), text);
        }
    }
}
