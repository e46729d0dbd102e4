//! An app as the worker wants it: what to run, and what that goes by.

use std::fmt;

use minicbor::{Decode, Encode};

/// One app to run. Times are in milliseconds.
#[derive(Clone, Decode, Default, Encode, Eq, PartialEq)]
pub struct App {
    /// Name in the configuration.
    #[n(0)]
    pub name: String,
    /// Program and arguments.
    #[n(1)]
    pub run: Vec<String>,
    /// How many.
    #[n(2)]
    pub instances: u16,
    /// Added to the keeper's environment, sorted.
    #[n(3)]
    pub env: Vec<(String, String)>,
    /// Working directory; a symbolic link in it is followed once for each deploy.
    #[n(4)]
    pub cwd: Option<String>,
    /// First and last port to hand out.
    #[n(5)]
    pub ports: (u16, u16),
    /// Whom it runs as; default whoever the worker is. Must have been [`super::ToKeeper::Named`].
    #[n(6)]
    pub user: Option<String>,
    /// Permissions that files it makes do not get; default the keeper's.
    #[n(7)]
    pub umask: Option<u32>,
    /// How it is told where to listen.
    #[n(8)]
    pub socket: Socket,
    /// Apps that must be ready before it starts, and that stop after it.
    #[n(9)]
    pub after: Vec<String>,
    /// When a run is ready.
    #[n(10)]
    pub ready: Ready,
    /// When a ready run counts as hanging.
    #[n(11)]
    pub alive: Option<Alive>,
    /// Which ends are followed by another start.
    #[n(12)]
    pub restart: Restart,
    /// When.
    #[n(13)]
    pub backoff: Backoff,
    /// How a run is ended.
    #[n(14)]
    pub stop: StopRule,
    /// Bounds on what a run may use.
    #[n(15)]
    pub limits: Limits,
    /// When a run that uses much memory is replaced.
    #[n(16)]
    pub memory_watch: Option<MemoryWatch>,
    /// Whether what it prints goes to the worker; else to nobody.
    #[n(17)]
    pub keeps_output: bool,
    /// How runs are replaced one after another.
    #[n(18)]
    pub deploy: DeployRule,
}

/// Without arguments and values of variables, which may be secrets.
impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables: Vec<&String> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("App")
            .field("name", &self.name)
            .field("instances", &self.instances)
            .field("program", &self.run.first())
            .field("variables", &variables)
            .finish_non_exhaustive()
    }
}

impl App {
    /// The keys because of which runs of this app do not do for `next`, as the configuration calls
    /// them; none if they do. How many there are, which ports they may have next, and when they are
    /// started, ended and replaced is no reason to start anew.
    pub fn restarts_for(&self, next: &Self) -> Vec<&'static str> {
        let keys = [
            ("run", self.run != next.run),
            ("env", self.env != next.env),
            ("cwd", self.cwd != next.cwd),
            ("user", self.user != next.user),
            ("umask", self.umask != next.umask),
            ("socket", self.socket != next.socket),
            ("limits", self.limits != next.limits),
            ("output", self.keeps_output != next.keeps_output),
        ];
        keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

/// How an app is told where to listen.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum Socket {
    /// By the variable `PORT`.
    #[default]
    #[n(0)]
    Port,
    /// It inherits a listening TCP socket as descriptor 3, with `LISTEN_FDS`, `LISTEN_PID` and
    /// `PORT` (sd_listen_fds(3)).
    #[n(1)]
    Inherit,
    /// By the variable `SOCKET`: the path of a Unix socket that it makes.
    #[n(2)]
    Unix,
}

/// When a run is ready.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Ready {
    /// How that is found out.
    #[n(0)]
    pub by: ReadyBy,
    /// Longest time from its start.
    #[n(1)]
    pub within_ms: u32,
    /// Probes that must pass in a row.
    #[n(2)]
    pub rise: u16,
}

impl Default for Ready {
    /// By a probe that passes once, within 30 s.
    fn default() -> Self {
        Self { by: ReadyBy::Probe, within_ms: 30_000, rise: 1 }
    }
}

/// How it is found out that a run is ready.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum ReadyBy {
    /// The worker probes and says [`super::ToKeeper::Probed`].
    #[default]
    #[n(0)]
    Probe,
    /// The run says `READY=1` to `NOTIFY_SOCKET` (sd_notify(3)).
    #[n(1)]
    Notify,
    /// It is still there after a second.
    #[n(2)]
    Nothing,
}

/// When a ready run counts as hanging. The worker probes.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Alive {
    /// Probes that fail in a row.
    #[n(0)]
    pub fall: u16,
    /// Restarted, drained first, when it has hung for so long and another run is ready; never if
    /// none.
    #[n(1)]
    pub restart_after_ms: Option<u32>,
}

/// Which ends are followed by another start.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum Restart {
    /// All that nobody asked for.
    #[default]
    #[n(0)]
    Always,
    /// Those that are not status 0.
    #[n(1)]
    OnFailure,
    /// None.
    #[n(2)]
    Never,
}

/// When a run that ended is followed by another.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Backoff {
    /// After the first failure, doubled after each further one.
    #[n(0)]
    pub base_ms: u32,
    /// The longest wait.
    #[n(1)]
    pub cap_ms: u32,
    /// So many failures...
    #[n(2)]
    pub failures: u16,
    /// ... within so long are too many: the instance is fatal.
    #[n(3)]
    pub within_ms: u32,
    /// How long a fatal instance waits for another try; for ever if 0.
    #[n(4)]
    pub cooldown_ms: u32,
    /// A run that was ready for so long is followed by another at once, and resets the doubling.
    #[n(5)]
    pub stable_after_ms: u32,
}

impl Default for Backoff {
    /// 250 ms up to 30 s; 10 failures within 10 minutes; 5 minutes of cool-down; stable after 60 s.
    fn default() -> Self {
        Self {
            base_ms: 250,
            cap_ms: 30_000,
            failures: 10,
            within_ms: 600_000,
            cooldown_ms: 300_000,
            stable_after_ms: 60_000,
        }
    }
}

/// How a run is ended.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct StopRule {
    /// Number of the signal that asks its process to end.
    #[n(0)]
    pub signal: i32,
    /// What it gets to end by itself.
    #[n(1)]
    pub timeout_ms: u32,
    /// What else is ended.
    #[n(2)]
    pub kill: KillScope,
    /// What requests in flight get to finish before.
    #[n(3)]
    pub drain_ms: u32,
}

impl Default for StopRule {
    /// SIGTERM, 10 s, the whole tree, 30 s.
    fn default() -> Self {
        Self { signal: 15, timeout_ms: 10_000, kill: KillScope::Tree, drain_ms: 30_000 }
    }
}

/// What is ended with a run.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum KillScope {
    /// Every process that descends from it.
    #[default]
    #[n(0)]
    Tree,
    /// Its process group.
    #[n(1)]
    Group,
    /// Its own process.
    #[n(2)]
    Main,
}

/// Bounds on what a run may use.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of memory.
    #[n(0)]
    pub memory: Option<u64>,
    /// Percent of one core.
    #[n(1)]
    pub cpu_percent: Option<u32>,
    /// Open files.
    #[n(2)]
    pub files: Option<u64>,
    /// Processes and threads.
    #[n(3)]
    pub tasks: Option<u32>,
}

/// When a run that uses much memory is replaced.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct MemoryWatch {
    /// Resident bytes of all its processes.
    #[n(0)]
    pub rss: u64,
    /// How long it may use more.
    #[n(1)]
    pub for_ms: u32,
}

/// How runs are replaced one after another.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct DeployRule {
    /// Runs beyond the number of instances at a time.
    #[n(0)]
    pub surge: u16,
    /// Instances that may be missing at a time.
    #[n(1)]
    pub unavailable: u16,
    /// How long the first one is watched.
    #[n(2)]
    pub canary_for_ms: u32,
    /// What happens when a new run fails.
    #[n(3)]
    pub on_failure: OnFailure,
}

impl Default for DeployRule {
    /// One beside the others, watched for 10 s; a failure aborts.
    fn default() -> Self {
        Self { surge: 1, unavailable: 0, canary_for_ms: 10_000, on_failure: OnFailure::Abort }
    }
}

/// What happens when a new run of a deploy fails.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum OnFailure {
    /// The instance gets its old revision back, and the others are left as they are.
    #[default]
    #[n(0)]
    Abort,
    /// Every instance gets its old revision back.
    #[n(1)]
    Rollback,
    /// The next instance is replaced.
    #[n(2)]
    Continue,
}
