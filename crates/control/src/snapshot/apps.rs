//! Apps: their instances, their deploys, and what they print.

use serde::{Deserialize, Serialize};

/// An instance of an app.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct InstanceStatus {
    /// App.
    pub app: String,
    /// Number.
    pub number: u16,
    /// `waiting`, `starting`, `ready`, `unhealthy`, `draining`, `stopping`, `stuck`, `backoff`,
    /// `fatal` or `stopped`.
    pub state: String,
    /// Why, in words, if there is more to say.
    pub reason: String,
    /// Seconds since the state last changed.
    pub since_seconds: f64,
    /// Seconds until the next thing happens by itself: another start, or the end of draining.
    pub next_seconds: Option<f64>,
    /// Process id, if there is a process.
    pub pid: Option<u32>,
    /// Port it was given.
    pub port: Option<u16>,
    /// Where it listens: `127.0.0.1:PORT` or `unix:PATH`.
    pub address: Option<String>,
    /// How often it was started.
    pub generation: u32,
    /// Of what it is a run; grows with each deploy.
    pub revision: u32,
    /// Unplanned exits.
    pub exits: u32,
    /// Failures that count at the moment.
    pub failures: u16,
    /// Failures that are too many.
    pub failures_max: u16,
    /// How the last exit came about.
    pub last_exit: Option<String>,
    /// Resident bytes of its process; nothing if that is not known.
    pub resident_bytes: Option<u64>,
    /// Most memory that it may use, by configuration.
    pub memory_limit_bytes: Option<u64>,
    /// CPU seconds used by its process; nothing if that is not known.
    pub cpu_seconds: Option<f64>,
    /// Requests in flight and tunnels, over all pools.
    pub in_flight: u32,
    /// Bytes of output kept, and bytes dropped because nobody took them in time.
    pub output: OutputCounts,
}

/// What became of the output of an instance.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct OutputCounts {
    /// Lines read, over all runs that this worker has seen.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes dropped: the disk was full or too slow.
    pub dropped_bytes: u64,
}

/// The runs of an app being replaced in turn.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct DeployStatus {
    /// App.
    pub app: String,
    /// Counts the deploys of the app, from 1.
    pub number: u32,
    /// The revision that is rolled out.
    pub revision: u32,
    /// `rolling`, `soaking`, `paused`, `reverting`, `done` or `failed`.
    pub phase: String,
    /// What it is about: `deploy`, `restart`, `the configuration changed`.
    pub cause: String,
    /// Instances done.
    pub done: u16,
    /// Instances in all.
    pub of: u16,
    /// What it does or did, or why it failed.
    pub message: String,
    /// Seconds since the phase began.
    pub since_seconds: f64,
}

/// How the limits of an app are kept.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct AppLimitsStatus {
    /// App.
    pub app: String,
    /// A line for each limit, such as `memory 256 MiB by cgroup v1`, or `cpu unsupported: why`.
    pub kept: Vec<String>,
}

/// A line that an app printed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct LogLine {
    /// Milliseconds of Unix time at which it was read.
    pub at_ms: u64,
    /// App.
    pub app: String,
    /// Number of the instance.
    pub instance: u16,
    /// Generation of the run.
    pub generation: u32,
    /// What was printed, without the line feed; bytes that are no UTF-8 are replaced.
    pub text: String,
}
