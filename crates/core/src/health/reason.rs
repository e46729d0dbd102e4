//! Why a server is up or not, in words.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// Why a server has its state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// Up: nobody checks it.
    NoChecks,
    /// Up: not every check has ended once.
    NotYetChecked,
    /// Up: every check passes.
    ChecksPassed,
    /// Down: some checks fail.
    ChecksFailed {
        /// How many of them.
        failed: usize,
        /// How many there are.
        total: usize,
        /// What the first of them says.
        why: String,
    },
    /// Down: requests failed.
    Ejected {
        /// For how long, from when they did.
        length: Duration,
        /// How many in a row.
        failures: u32,
    },
    /// Draining, by the operator.
    Drained,
    /// Draining, since the weight is 0.
    WeightZero,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChecks => f.write_str("no checks"),
            Self::NotYetChecked => f.write_str("not yet checked"),
            Self::ChecksPassed => f.write_str("checks pass"),
            Self::ChecksFailed { total: 1, why, .. } => write!(f, "check failed: {why}"),
            Self::ChecksFailed { failed, total, why } => {
                write!(f, "{failed} of {total} checks failed: {why}")
            }
            Self::Ejected { length, failures } => {
                f.write_str("ejected for ")?;
                match length.subsec_millis() {
                    0 => write!(f, "{} s", length.as_secs())?,
                    _ => write!(f, "{} ms", length.as_millis())?,
                }
                let s = if *failures == 1 { "" } else { "s" };
                write!(f, " after {failures} failure{s} in a row")
            }
            Self::Drained => f.write_str("drained by the operator"),
            Self::WeightZero => f.write_str("its weight is 0"),
        }
    }
}
