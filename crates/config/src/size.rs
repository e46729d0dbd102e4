//! Sizes (`"64KiB"`), rates of bytes (`"1KiB/s"`) and percentages (`"20%"`).

use crate::duration::split_unit;
use crate::reader::Fault;

const UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Bytes.
pub(crate) fn parse(text: &str) -> Result<u64, Fault> {
    let (number, unit) = split_unit(text);
    let fault = || Fault::new("bad-size", "is not a size");
    let Ok(amount) = number.parse::<u64>() else {
        let help = "write a whole number and a unit: \"512B\", \"64KiB\", \"10MiB\", \"1GiB\"";
        return Err(fault().help(help));
    };
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let help = match unit.to_lowercase().as_str() {
            "" => format!("a size has a unit: write \"{number}B\" or \"{number}KiB\""),
            "k" | "kb" | "kib" => format!("write \"{number}KiB\" (1024 bytes each)"),
            "m" | "mb" | "mib" => format!("write \"{number}MiB\" (1024 KiB each)"),
            "g" | "gb" | "gib" => format!("write \"{number}GiB\" (1024 MiB each)"),
            "b" | "byte" | "bytes" => format!("write \"{number}B\""),
            _ => "units are B, KiB, MiB and GiB".to_owned(),
        };
        return Err(fault().help(help));
    };
    let too_large = || Fault::new("bad-size", "is larger than this machine can count");
    amount.checked_mul(*bytes).filter(|&size| size <= i64::MAX as u64).ok_or_else(too_large)
}

/// Bytes that fit 32 bits, and at least `least` of them.
pub(crate) fn small(least: u32) -> impl Fn(&str) -> Result<u32, Fault> {
    move |text| {
        let size = parse(text)?;
        match u32::try_from(size) {
            Ok(size) if size >= least => Ok(size),
            Ok(_) => {
                let complaint = format!("is too small; the least is {}", show(u64::from(least)));
                Err(Fault::new("bad-size", complaint))
            }
            Err(_) => Err(Fault::new("bad-size", "is too large; the most is 4GiB")),
        }
    }
}

/// Bytes a second.
pub(crate) fn rate(text: &str) -> Result<u32, Fault> {
    let Some(size) = text.trim().strip_suffix("/s") else {
        let fault = Fault::new("bad-rate", "is not a rate of bytes");
        return Err(match parse(text) {
            Ok(_) => fault.help(format!("write \"{}/s\"", text.trim())),
            Err(_) => fault.help("write a size a second: \"1KiB/s\""),
        });
    };
    small(0)(size).map_err(|fault| {
        let help = fault.help.unwrap_or_default().replace("iB\"", "iB/s\"");
        let refused = Fault::new("bad-rate", "is not a rate of bytes");
        if help.is_empty() { refused } else { refused.help(help) }
    })
}

/// A share of the whole, 0 to 100.
pub(crate) fn percent(text: &str) -> Result<u8, Fault> {
    let number = text.trim().strip_suffix('%').map(str::trim_end);
    let fault = Fault::new("bad-percentage", "is not a percentage");
    match number.and_then(|number| number.parse::<u8>().ok()) {
        Some(number) if number <= 100 => Ok(number),
        _ => Err(fault.help("write a whole number from 0 to 100 and %: \"20%\"")),
    }
}

/// A share of one core, which may be more than all of it.
pub(crate) fn core_percent(text: &str) -> Result<u32, Fault> {
    /// A thousand cores.
    const MOST: u32 = 100_000;
    let number = text.trim().strip_suffix('%').map(str::trim_end);
    let fault = Fault::new("bad-percentage", "is not a percentage of one core");
    match number.and_then(|number| number.parse::<u32>().ok()) {
        Some(number) if (1..=MOST).contains(&number) => Ok(number),
        _ => {
            Err(fault
                .help("write a whole number from 1 and %: \"50%\" is half a core, \"200%\" two"))
        }
    }
}

/// As [`parse`] reads it, with the largest unit that leaves no fraction.
pub(crate) fn show(bytes: u64) -> String {
    let (unit, size) = UNITS
        .iter()
        .rev()
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))
        .unwrap_or(&UNITS[0]);
    format!("{}{unit}", bytes / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_whole_number_and_a_binary_unit() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("10 MiB", 10 << 20), ("0B", 0)] {
            assert_eq!(parse(text).expect(text), bytes, "{text}");
        }
        for text in ["", "64", "64KB", "1.5MiB", "-1B", "KiB", "99999999999GiB", "1kib"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn decimal_units_get_the_binary_one_as_help() {
        let fault = parse("64KB").expect_err("KB could be meant either way");
        assert_eq!(fault.help.expect("there is help"), "write \"64KiB\" (1024 bytes each)");
    }

    #[test]
    fn rates_and_percentages_have_their_signs() {
        assert_eq!(rate("1KiB/s").expect("a rate"), 1024);
        assert!(rate("1KiB").is_err() && rate("1/s").is_err() && rate("5GiB/s").is_err());
        assert_eq!(percent("20%").expect("a percentage"), 20);
        assert!(percent("20").is_err() && percent("101%").is_err() && percent("-1%").is_err());
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for text in ["512B", "64KiB", "10MiB", "1GiB", "0B", "1025B"] {
            assert_eq!(show(parse(text).expect(text)), text);
        }
    }
}
