//! Whether an app serves, for who tracks it.

use std::time::Duration;

use evergate_core::supervise::fleet::State;
use evergate_core::time::Instant;

use super::Apps;

/// How an app stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// An instance is ready.
    Ready,
    /// None is. One starts, or will after this time.
    Returning {
        /// Until the next start.
        wait: Duration,
    },
    /// None is, and none is being brought back; why, for people.
    Down(String),
}

impl Apps {
    /// How an app stands now.
    pub(crate) fn standing(&self, now: Instant, app: &str) -> Standing {
        let mut next: Option<Duration> = None;
        let mut why = None;
        for view in self.fleet.views(now).into_iter().filter(|view| view.run.app == app) {
            let wait = match view.state {
                State::Ready => return Standing::Ready,
                State::Waiting | State::Starting => Some(Duration::ZERO),
                State::Backoff { left } => Some(left),
                State::Fatal { .. } => {
                    why =
                        Some(view.reason.or(view.last_exit).unwrap_or_else(|| "it failed".into()));
                    None
                }
                State::Unhealthy => {
                    why = Some(view.reason.unwrap_or_else(|| "it hangs".to_owned()));
                    None
                }
                State::Draining { .. } | State::Stopping | State::Stuck | State::Stopped => None,
            };
            next = [next, wait].into_iter().flatten().min();
        }
        match (next, why) {
            (Some(wait), _) => Standing::Returning { wait },
            (None, Some(why)) => Standing::Down(format!("no instance is ready: {why}")),
            (None, None) => Standing::Down("no instance is ready".to_owned()),
        }
    }

    /// Differs from what it was before if [`Apps::standing`] may.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }
}
