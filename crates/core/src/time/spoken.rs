//! Lengths of time in words.

use core::fmt;
use core::time::Duration;

/// A length of time as people say it: "250 ms", "1.5 s", "40 s", "10 min", "2 h". What does not
/// matter at its size is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spoken(pub Duration);

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (millis, seconds) = (self.0.as_millis(), self.0.as_secs());
        match seconds {
            0 => write!(f, "{millis} ms"),
            1..10 => match millis / 100 % 10 {
                0 => write!(f, "{seconds} s"),
                tenth => write!(f, "{seconds}.{tenth} s"),
            },
            10..120 if seconds != 60 => write!(f, "{seconds} s"),
            10..7_200 if seconds != 3_600 => write!(f, "{} min", seconds / 60),
            10..172_800 => write!(f, "{} h", seconds / 3_600),
            _ => write!(f, "{} days", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn lengths_read_as_people_say_them() {
        let table = [
            (0, "0 ms"),
            (250, "250 ms"),
            (1_000, "1 s"),
            (1_540, "1.5 s"),
            (30_000, "30 s"),
            (60_000, "1 min"),
            (90_000, "90 s"),
            (600_000, "10 min"),
            (3_600_000, "1 h"),
            (5_400_000, "90 min"),
            (10_800_000, "3 h"),
            (864_000_000, "10 days"),
        ];
        for (millis, words) in table {
            assert_eq!(Spoken(Duration::from_millis(millis)).to_string(), words, "{millis} ms");
        }
    }
}
