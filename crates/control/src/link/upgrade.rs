//! What is said of the replacement of worker and keeper.

use minicbor::{Decode, Encode};

/// What a new worker is there for.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum Role {
    /// It is alone: it accepts as soon as it can, and everything exclusive is its own.
    #[default]
    #[n(0)]
    Primary,
    /// Another worker serves: it loads what that one has in force, says
    /// [`super::ToKeeper::Ready`], and waits.
    #[n(1)]
    Candidate,
}

/// An upgrade as the operator wants it.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct UpgradeOrder {
    /// The new binary, an absolute path; default where the keeper's own was started from.
    #[n(0)]
    pub binary: Option<String>,
    /// What is to be replaced.
    #[n(1)]
    pub parts: UpgradeParts,
    /// How long the new worker is watched, in milliseconds; default 30 s.
    #[n(2)]
    pub soak_ms: Option<u32>,
    /// Whether a worker that still drains may be cut so that there is room.
    #[n(3)]
    pub force: bool,
}

/// What is replaced.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum UpgradeParts {
    /// The worker, and the keeper if its binary is another file than the new one.
    #[default]
    #[n(0)]
    Changed,
    /// Only the worker.
    #[n(1)]
    Worker,
    /// Only the keeper.
    #[n(2)]
    Keeper,
}

/// What the keeper tells every worker about keeper and workers, after each change.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct NodeNews {
    /// Version of the keeper.
    #[n(0)]
    pub keeper_version: String,
    /// How often the keeper became another binary.
    #[n(1)]
    pub keeper_execs: u32,
    /// In order of generation.
    #[n(2)]
    pub workers: Vec<WorkerNews>,
    /// The upgrade that is under way, or else the last one.
    #[n(3)]
    pub upgrade: Option<UpgradeNews>,
    /// How the upgrades of this keeper ended, through all its binaries.
    #[n(4)]
    #[cbor(default)]
    pub ended: UpgradeCounts,
    /// How the trial of a configuration stands; nothing if the keeper does not know of trials.
    #[n(5)]
    pub trial: Option<super::TrialNews>,
}

/// How many upgrades ended how.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
#[allow(missing_docs, reason = "each field counts the outcome of the same name")]
pub struct UpgradeCounts {
    #[n(0)]
    pub done: u32,
    #[n(1)]
    pub refused: u32,
    #[n(2)]
    pub returned: u32,
    #[n(3)]
    pub partial: u32,
}

/// One worker.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct WorkerNews {
    /// Which.
    #[n(0)]
    pub generation: u32,
    /// Its process.
    #[n(1)]
    pub pid: u32,
    /// Its version, once it has said that.
    #[n(2)]
    pub version: Option<String>,
    /// What it does.
    #[n(3)]
    pub state: WorkerState,
    /// When it began that, in milliseconds of Unix time.
    #[n(4)]
    pub since_ms: u64,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum WorkerState {
    /// It loads.
    #[n(0)]
    Starting,
    /// It could serve, or serves beside the primary one.
    #[n(1)]
    Standby,
    /// It serves, and everything exclusive is its own.
    #[n(2)]
    Primary,
    /// It finishes what it began.
    #[n(3)]
    Draining,
}

/// An upgrade.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct UpgradeNews {
    /// Counts the upgrades of this keeper, through all its binaries.
    #[n(0)]
    pub number: u32,
    /// Path of the new binary.
    #[n(1)]
    pub binary: String,
    /// Version of the new binary, once it has said that.
    #[n(2)]
    pub version: Option<String>,
    /// The phases that have begun, in order.
    #[n(3)]
    pub steps: Vec<UpgradeStep>,
    /// How it ended, once it has.
    #[n(4)]
    pub outcome: Option<UpgradeOutcome>,
}

/// A phase of an upgrade that has begun.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct UpgradeStep {
    /// Which.
    #[n(0)]
    pub phase: UpgradePhase,
    /// When it began, in milliseconds of Unix time.
    #[n(1)]
    pub at_ms: u64,
    /// How long it took, in milliseconds, once it is over.
    #[n(2)]
    pub took_ms: Option<u32>,
}

/// A phase of an upgrade: `evergate_core::upgrade::Phase`.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each variant is the phase of the same name")]
pub enum UpgradePhase {
    #[n(0)]
    Checking,
    #[n(1)]
    Loading,
    #[n(2)]
    Activating,
    #[n(3)]
    Probing,
    #[n(4)]
    Releasing,
    #[n(5)]
    Acquiring,
    #[n(6)]
    Soaking,
    #[n(7)]
    Rehearsing,
    #[n(8)]
    Executing,
}

/// How an upgrade ended: `evergate_core::upgrade::Outcome`.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum UpgradeOutcome {
    /// All of it is new.
    #[n(0)]
    Done,
    /// Nothing was changed; why.
    #[n(1)]
    Refused(#[n(0)] String),
    /// The old worker serves again; why.
    #[n(2)]
    Returned(#[n(0)] String),
    /// The worker is new, the keeper is not; why.
    #[n(3)]
    Partial(#[n(0)] String),
}

/// What a binary says of itself when it is run as `evergate preflight FILE`, encoded on standard
/// output: whether it could go on from the configuration in force (a sealed memory file on
/// descriptor [`PREFLIGHT_CONFIG_FD`]) and from the state of the keeper
/// ([`PREFLIGHT_STATE_FD`]). A descriptor that is not open is not asked about.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Verdict {
    /// Version of Evergate.
    #[n(0)]
    pub version: String,
    /// Oldest version of the link's messages that it speaks.
    #[n(1)]
    pub protocol_min: u16,
    /// Newest version of the link's messages that it speaks.
    #[n(2)]
    pub protocol_max: u16,
    /// Why it could not go on, a line for each reason; empty if it could.
    #[n(3)]
    pub refusals: Vec<String>,
}

/// Where a binary that is asked for its [`Verdict`] finds the configuration.
pub const PREFLIGHT_CONFIG_FD: i32 = 3;
/// Where it finds the state of the keeper.
pub const PREFLIGHT_STATE_FD: i32 = 4;
/// Longest encoded [`Verdict`], in bytes.
pub const VERDICT_BYTES_MAX: usize = 64 * 1024;
