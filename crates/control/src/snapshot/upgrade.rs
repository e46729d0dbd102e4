//! Workers and upgrades, as the operator sees them.

use serde::{Deserialize, Serialize};

/// A worker.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// Counts the workers since the keeper started.
    pub generation: u32,
    /// Its process id.
    pub pid: u32,
    /// Its version; empty until it has said that.
    pub version: String,
    /// `starting`, `standby`, `primary` or `draining`.
    pub state: String,
    /// Seconds since it began that.
    pub since_seconds: u64,
    /// Connections that are open to it, as it said last; nothing of one that did not say.
    pub connections: Option<u64>,
}

/// An upgrade.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct UpgradeStatus {
    /// Counts the upgrades since the keeper started.
    pub number: u32,
    /// Path of the new binary.
    pub binary: String,
    /// Version of the new binary; empty until it has said that.
    pub version: String,
    /// The phases that have begun, in order.
    pub steps: Vec<UpgradeStepStatus>,
    /// `under way`, `done`, `refused`, `returned` or `partial`.
    pub outcome: String,
    /// Why it was not wholly done.
    pub reason: Option<String>,
}

/// A phase of an upgrade that has begun.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct UpgradeStepStatus {
    /// `check`, `load`, `activate`, `probe`, `release`, `acquire`, `soak`, `rehearse` or `execute`.
    pub phase: String,
    /// When it began, in milliseconds of Unix time.
    pub at_ms: u64,
    /// How long it took, in milliseconds; nothing while it lasts.
    pub took_ms: Option<u64>,
}
