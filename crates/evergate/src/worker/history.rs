//! The configurations that are kept, and the one on trial, for the operator.

use evergate_console::when;
use evergate_control::snapshot::{AppliedStatus, History, TrialStatus};
use evergate_core::trial::State;
use evergate_sys::clock;

use super::control_plane::ControlPlane;

impl ControlPlane {
    /// What there is to go back to.
    pub(super) fn history(&self) -> History {
        let configurations = &self.configurations;
        let in_force = configurations.history.in_force().map(|one| one.id);
        let applied = configurations.history.iter().rev().map(|one| AppliedStatus {
            id: one.id,
            at: one.at,
            why: one.why.clone(),
            what: one.what.clone(),
            in_force: Some(one.id) == in_force,
        });
        History {
            configurations: applied.collect(),
            held: self.held_in_words(),
            trial: self.trial(),
            path: configurations.path().display().to_string(),
            unkept: configurations.unkept.clone(),
        }
    }

    /// Why the file is not in force, if it is not.
    pub(super) fn held_in_words(&self) -> Option<String> {
        let history = &self.configurations.history;
        let (hold, held) = (history.hold()?, history.in_force()?);
        let (at, since) = (when::utc(held.at * 1000), when::utc(hold.since * 1000));
        Some(format!(
            "the configuration is #{} of {at} UTC, the file differs (since {since} UTC: {}); \
             `evergate reload` applies the file",
            held.id, hold.why
        ))
    }

    /// What is to be confirmed.
    pub(super) fn trial(&self) -> Option<TrialStatus> {
        let trial = self.configurations.history.trial()?;
        let seconds_left = match self.node.trial.as_ref().map(|trial| &trial.state) {
            // Rounded up: 0 means that it is over.
            Some(State::Open { until, .. }) => {
                until.since(clock::now()).as_millis().div_ceil(1000) as u64
            }
            Some(State::Returning { .. }) => 0,
            // The keeper's word is on its way, or will not come.
            Some(State::Untold | State::Settled) | None => {
                trial.clock.until.since(clock::now()).as_secs()
            }
        };
        Some(TrialStatus {
            back_to: trial.base,
            seconds_left,
            failure: self.configurations.return_failure.clone(),
        })
    }
}
