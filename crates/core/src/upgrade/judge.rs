//! Whether the new worker answers with clearly more errors than the old one did.
//!
//! The old one is measured until it retires: what it still finishes after that is no fair sample.
//! A fault of the servers behind both, that begins while the new one is watched, looks like one of
//! its own; going back then does no harm, and the upgrade can be tried again.

use alloc::format;
use alloc::string::String;

use minicbor::{Decode, Encode};

use super::{Policy, Served};

/// How requests through a worker went since the upgrade began.
#[derive(Clone, Copy, Debug, Decode, Default, Encode)]
pub(super) struct Tally {
    /// What it had counted by then; nothing while it has not said.
    #[n(0)]
    first: Option<Served>,
    #[n(1)]
    last: Served,
}

impl Tally {
    /// Of a worker that starts now: its first errors count too.
    pub(super) fn of_new() -> Self {
        Self { first: Some(Served::default()), last: Served::default() }
    }

    /// Takes in what the worker counted since it started.
    pub(super) fn record(&mut self, served: Served) {
        self.first.get_or_insert(served);
        self.last = served;
    }

    fn so_far(&self) -> Served {
        let first = self.first.unwrap_or_default();
        let requests = self.last.requests.saturating_sub(first.requests);
        let errors = self.last.errors.saturating_sub(first.errors);
        Served { requests, errors: errors.min(requests) }
    }
}

/// Says how, if the new worker fares worse than `policy` allows.
pub(super) fn worse(policy: &Policy, old: &Tally, new: &Tally) -> Option<String> {
    let (old, new) = (old.so_far(), new.so_far());
    if new.requests == 0 || new.requests < policy.samples_min {
        return None;
    }
    let ((old_requests, old_errors), (new_requests, new_errors)) = (scaled(old), scaled(new));
    // Shares in permille, over the product of both numbers of requests.
    let share = 1000 * new_errors * old_requests;
    let usual = 1000 * old_errors * new_requests;
    let more = u128::from(policy.errors_more_permille) * new_requests * old_requests;
    let is_worse = share > usual + more;
    is_worse.then(|| {
        let Served { requests, errors } = new;
        let share = percent(new);
        let usual = match old.requests {
            0 => String::from("the old one had none to compare with"),
            _ => format!("of the old one's {}", percent(old)),
        };
        format!("{errors} of {requests} responses of the new worker are errors ({share}), {usual}")
    })
}

/// Requests, at least one, and errors, small enough to be multiplied with others.
fn scaled(served: Served) -> (u128, u128) {
    let excess = (u64::BITS - served.requests.leading_zeros()).saturating_sub(u32::BITS);
    (u128::from((served.requests >> excess).max(1)), u128::from(served.errors >> excess))
}

/// The share of errors as a percentage with one decimal.
fn percent(served: Served) -> String {
    let requests = u128::from(served.requests.max(1));
    let permille = u128::from(served.errors) * 1000 / requests;
    format!("{}.{} %", permille / 10, permille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(requests: u64, errors: u64) -> Tally {
        let mut tally = Tally::default();
        tally.record(Served { requests: 7, errors: 7 });
        tally.record(Served {
            requests: requests.saturating_add(7),
            errors: errors.saturating_add(7),
        });
        tally
    }

    #[test]
    fn more_errors_than_allowed_are_worse() {
        let policy = Policy::default();
        let table = [
            ((1_000, 0), (0, 0), false),
            ((1_000, 0), (19, 19), false), // too few
            ((1_000, 0), (20, 1), false),  // just what is allowed
            ((1_000, 0), (20, 2), true),
            ((0, 0), (20, 1), false),
            ((0, 0), (20, 2), true),
            ((1_000, 500), (1_000, 550), false),
            ((1_000, 500), (1_000, 551), true),
            ((1_000, 1_000), (20, 20), false),
            ((1_000, 990), (20, 0), false),
            ((5, 9), (20, 20), false), // more errors than responses
            ((u64::MAX, u64::MAX), (u64::MAX, u64::MAX), false),
            ((u64::MAX, 0), (u64::MAX, u64::MAX), true),
        ];
        for (old, new, expected) in table {
            let said = worse(&policy, &tally(old.0, old.1), &tally(new.0, new.1));
            assert_eq!(said.is_some(), expected, "{old:?} then {new:?}: {said:?}");
        }
    }

    #[test]
    fn only_what_happened_since_the_first_report_counts() {
        let mut new = Tally::default();
        new.record(Served { requests: 100, errors: 100 });
        assert_eq!(worse(&Policy::default(), &tally(100, 0), &new), None);
        new.record(Served { requests: 120, errors: 110 });
        let said = worse(&Policy::default(), &tally(100, 1), &new);
        let expected = "10 of 20 responses of the new worker are errors (50.0 %), of the old one's \
                        1.0 %";
        assert_eq!(said.as_deref(), Some(expected));
        new.record(Served { requests: 3, errors: 0 });
        assert_eq!(worse(&Policy::default(), &tally(100, 0), &new), None, "it never counts back");
    }

    #[test]
    fn what_a_new_worker_did_before_its_first_report_counts() {
        let mut new = Tally::of_new();
        assert_eq!(worse(&Policy::default(), &tally(100, 0), &new), None);
        new.record(Served { requests: 40, errors: 40 });
        new.record(Served { requests: 140, errors: 40 });
        let said = worse(&Policy::default(), &tally(100, 0), &new).unwrap();
        assert!(said.starts_with("40 of 140 responses of the new worker are errors"), "{said}");
    }
}
