//! The configurations that were applied lately, and the one on trial.

use serde::{Deserialize, Serialize};

/// The way back.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct History {
    /// The newest first.
    pub configurations: Vec<AppliedStatus>,
    /// Why an earlier one is in force in place of the file; none if it is not.
    pub held: Option<String>,
    /// What is to be confirmed; none if nothing is.
    pub trial: Option<TrialStatus>,
    /// Where they are kept.
    pub path: String,
    /// Why they are not kept there but only in memory; none if they are.
    pub unkept: Option<String>,
}

/// A configuration that was applied.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct AppliedStatus {
    /// Counts them, from 1.
    pub id: u64,
    /// When it was applied first, in seconds of Unix time.
    pub at: u64,
    /// What led to it.
    pub why: String,
    /// What it changed then.
    pub what: String,
    /// Whether it is in force.
    pub in_force: bool,
}

/// A configuration that goes unless it is confirmed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct TrialStatus {
    /// Which one comes back.
    pub back_to: u64,
    /// How long there is to confirm, in seconds; 0 once it is coming back.
    pub seconds_left: u64,
    /// Why the one before cannot come back; none if it can.
    pub failure: Option<String>,
}
