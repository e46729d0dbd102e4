//! Whether the apps that are tracked serve.
//!
//! An app that crashes and is ready again soon is not worth moving an address for: requests wait in
//! the gateway meanwhile. So an app fails when none of its instances is ready, and it is clear that
//! none will be within [`BACK_WITHIN`] of the last one: there is nothing to be started, or only
//! later than that, or the time has passed. From then on, and from its first start on, it must have
//! been ready to count as well again.

use std::time::Duration;

use evergate_core::time::Instant;
use minicbor::{Decode, Encode};

use crate::apps::Standing;

/// How soon after its last instance an app must be ready again to have been there all the time. A
/// rule may allow more (`fall`).
pub(super) const BACK_WITHIN: Duration = Duration::from_millis(50);

/// What is known of a tracked app.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(super) struct Backing {
    /// Whether an instance has been ready since it failed last.
    #[n(0)]
    is_trusted: bool,
    /// When the last ready instance was lost.
    #[n(1)]
    lost_at: Option<Instant>,
}

impl Backing {
    /// Takes in how the app stands; returns why it fails, if it does.
    pub(super) fn judge(&mut self, now: Instant, standing: &Standing) -> Option<String> {
        let why = match standing {
            Standing::Ready => {
                *self = Self { is_trusted: true, lost_at: None };
                return None;
            }
            Standing::Returning { .. } if !self.is_trusted => "no instance is ready".to_owned(),
            Standing::Returning { wait } => {
                let back_by = *self.lost_at.get_or_insert(now) + BACK_WITHIN;
                if now + *wait < back_by {
                    return None;
                }
                "no instance is ready".to_owned()
            }
            Standing::Down(why) => why.clone(),
        };
        *self = Self::default();
        Some(why)
    }

    /// When to look again, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lost_at.map(|at| at + BACK_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn returning(millis: u64) -> Standing {
        Standing::Returning { wait: Duration::from_millis(millis) }
    }

    #[test]
    fn an_app_that_is_back_soon_was_never_away() {
        let mut backing = Backing::default();
        assert_eq!(backing.judge(at(0), &Standing::Ready), None);
        assert_eq!(backing.judge(at(10), &returning(0)), None);
        assert_eq!(backing.deadline(), Some(at(60)));
        assert_eq!(backing.judge(at(59), &returning(0)), None);
        assert_eq!(backing.judge(at(59), &Standing::Ready), None);
        assert_eq!(backing.deadline(), None);
        assert_eq!(backing.judge(at(70), &returning(0)), None, "it has as much time again");
        assert_eq!(backing.judge(at(119), &returning(0)), None);
        assert!(backing.judge(at(120), &returning(0)).is_some());
        assert_eq!(backing.deadline(), None);
    }

    #[test]
    fn what_cannot_be_back_in_time_fails_at_once() {
        for standing in [returning(50), returning(5000), Standing::Down("why".to_owned())] {
            let mut backing = Backing::default();
            assert_eq!(backing.judge(at(0), &Standing::Ready), None);
            assert!(backing.judge(at(10), &standing).is_some(), "{standing:?}");
            assert!(backing.judge(at(11), &returning(0)).is_some(), "until it is ready");
            assert_eq!(backing.judge(at(12), &Standing::Ready), None);
        }
    }

    #[test]
    fn an_app_that_never_was_ready_fails() {
        let mut backing = Backing::default();
        assert!(backing.judge(at(0), &returning(0)).is_some());
        assert_eq!(backing.deadline(), None);
        assert_eq!(backing.judge(at(1), &Standing::Ready), None);
    }
}
