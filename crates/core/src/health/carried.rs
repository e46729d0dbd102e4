//! What is known of a server, on its way from one process to the next.
//!
//! Only what happened is carried. What the server is measured by comes from the configuration that
//! the next process has, and what follows from the two is concluded anew: so nothing that can be
//! carried contradicts itself.

use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use super::check::Check;
use super::outlier::Outlier;
use super::{Health, Policy, Reason, SlowStart, State, Verdict, Wish};
use crate::time::Instant;

/// Most bytes of what a check said that are carried.
const WHY_BYTES_MAX: usize = 1024;

/// What is known of a server, for [`Health::resume`]. Every value of it is harmless.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Carried {
    #[n(0)]
    drain: bool,
    /// If the operator set another than the configuration's.
    #[n(1)]
    weight: Option<u16>,
    #[n(2)]
    checks: Vec<Check>,
    #[n(3)]
    outlier: Outlier,
    #[n(4)]
    slow_start: SlowStart,
}

#[cfg(test)]
impl Carried {
    /// Of a server of which only that is odd.
    pub(super) fn of(checks: Vec<Check>) -> Self {
        let (outlier, slow_start) = (Outlier::default(), SlowStart::Done);
        Self { drain: false, weight: None, checks, outlier, slow_start }
    }
}

impl Health {
    /// What is known of the server, to be carried to another process of this machine.
    pub fn carried(&self) -> Carried {
        let weight = (self.wish.weight != self.policy.weight).then_some(self.wish.weight);
        Carried {
            drain: self.wish.drain,
            weight: weight.map(|weight| u16::try_from(weight).unwrap_or(u16::MAX)),
            checks: self.checks.clone(),
            outlier: self.outlier,
            slow_start: self.slow_start,
        }
    }

    /// A server of which another process knew this: one that was down is down. Its checks count as
    /// not yet ended if there are not as many as that process had.
    pub fn resume(policy: Policy, carried: Carried, now: Instant) -> Self {
        let Carried { drain, weight, mut checks, outlier, slow_start } = carried;
        if checks.len() != policy.checks.len() {
            // Which is which can no longer be told.
            checks = policy.checks.iter().map(|_| Check::Unchecked).collect();
        }
        for check in &mut checks {
            if let Check::Failing { why, .. } = check {
                shorten(why);
            }
        }
        let slow_start = match slow_start {
            SlowStart::Steps { since, .. } => {
                SlowStart::Steps { since: since.min(now), next_at: now }
            }
            SlowStart::New | SlowStart::Done | SlowStart::Away => slow_start,
        };
        let mut health = Self {
            wish: Wish { drain, weight: weight.map_or(policy.weight, u32::from) },
            checks,
            outlier: outlier.resume(now, &policy.outlier),
            slow_start,
            verdict: Verdict {
                state: State::Up,
                reason: Reason::NotYetChecked,
                weight: policy.weight,
                weight_percent: 0,
            },
            policy,
        };
        health.settle(now);
        health
    }
}

fn shorten(why: &mut String) {
    why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
}
