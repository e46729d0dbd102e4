//! `[app.NAME]`: processes that the keeper runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::mask::is_suspect;

/// `[app.NAME]`
#[derive(Clone, Eq, PartialEq)]
pub struct App {
    /// Program and arguments; the program is an absolute path or found in `PATH`.
    pub run: Vec<String>,
    /// How many. Default: 1.
    pub instances: u16,
    /// Added to the keeper's environment.
    pub env: BTreeMap<String, String>,
    /// Default: the keeper's.
    pub cwd: Option<PathBuf>,
    /// Ports to hand out, one per instance. Default: 20000-20999.
    pub ports: RangeInclusive<u16>,
    /// Name of the user it runs as. Default: `node.user` when started by root.
    pub user: Option<String>,
    /// Permissions that files it makes do not get, written in octal. Default: the keeper's.
    pub umask: Option<u32>,
    /// How it is told where to listen. Default: by `PORT`.
    pub socket: Socket,
    /// Apps that must be ready before it starts; they stop after it. Free of cycles.
    pub after: Vec<String>,
    /// When a run is ready.
    pub ready: Ready,
    /// When a ready run counts as hanging. Default: never.
    pub alive: Option<Alive>,
    /// Which ends are followed by another start. Default: always.
    pub restart: Restart,
    /// When.
    pub backoff: Backoff,
    /// How a run is ended.
    pub stop: Stop,
    /// Bounds on what a run may use. Default: none.
    pub limits: AppLimits,
    /// When a run that uses much memory is replaced. Default: never.
    pub memory_watch: Option<MemoryWatch>,
    /// Where what it prints goes.
    pub output: Output,
    /// How runs are replaced in turn.
    pub deploy: Deploy,
    /// What of it is never shown.
    pub hidden: Hidden,
}

/// What of an app came from the environment or from another file, and so may be a secret.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hidden {
    /// Places in [`App::run`].
    pub run: BTreeSet<usize>,
    /// Names in [`App::env`].
    pub env: BTreeSet<String>,
}

impl App {
    /// Program and arguments as they may be shown; `None` in place of one that may not.
    pub fn shown_run(&self) -> impl Iterator<Item = Option<&str>> {
        let words = self.run.iter().enumerate();
        words.map(|(at, word)| (!self.hidden.run.contains(&at)).then_some(word.as_str()))
    }

    /// The environment as it may be shown; `None` in place of a value that may not.
    pub fn shown_env(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.env.iter().map(|(name, value)| {
            let is_hidden = self.hidden.env.contains(name) || is_suspect(name);
            (name.as_str(), (!is_hidden).then_some(value.as_str()))
        })
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("run", &self.shown_run().collect::<Vec<_>>())
            .field("instances", &self.instances)
            .field("env", &self.shown_env().collect::<BTreeMap<_, _>>())
            .field("cwd", &self.cwd)
            .field("ports", &self.ports)
            .field("user", &self.user)
            .field("umask", &self.umask)
            .field("socket", &self.socket)
            .field("after", &self.after)
            .field("ready", &self.ready)
            .field("alive", &self.alive)
            .field("restart", &self.restart)
            .field("backoff", &self.backoff)
            .field("stop", &self.stop)
            .field("limits", &self.limits)
            .field("memory_watch", &self.memory_watch)
            .field("output", &self.output)
            .field("deploy", &self.deploy)
            .finish()
    }
}

/// `socket`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Socket {
    /// `"port"`: it listens on `127.0.0.1:PORT`.
    #[default]
    Port,
    /// `"inherit"`: it inherits a listening socket (`LISTEN_FDS`).
    Inherit,
    /// `"unix"`: it listens on the Unix socket `SOCKET`.
    Unix,
}

/// `ready`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ready {
    /// How it is found out. Default: `tcp`.
    pub by: ReadyBy,
    /// Longest time from the start. Default: 30 s.
    pub within: Duration,
    /// Between two probes. Default: 100 ms.
    pub every: Duration,
    /// Probes that must pass in a row. Default: 1.
    pub rise: u16,
}

impl Default for Ready {
    fn default() -> Self {
        Self {
            by: ReadyBy::Tcp,
            within: Duration::from_secs(30),
            every: Duration::from_millis(100),
            rise: 1,
        }
    }
}

/// How it is found out that a run is ready.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReadyBy {
    /// A GET of this path is answered with a status from 200 to 299.
    Http(String),
    /// It accepts connections.
    Tcp,
    /// It says `READY=1` (sd_notify(3)).
    Notify,
    /// It is still there after a second.
    Nothing,
}

/// `alive`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alive {
    /// What is probed.
    pub by: AliveBy,
    /// Between two probes. Default: 10 s.
    pub every: Duration,
    /// Longest time for one. Default: 1 s.
    pub timeout: Duration,
    /// Probes that fail in a row until it counts as hanging. Default: 3.
    pub fall: u16,
    /// Replaced when it has hung for so long and another run is ready. Default: never.
    pub restart_after: Option<Duration>,
}

/// How it is found out that a run does not hang.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AliveBy {
    /// A GET of this path is answered with a status from 200 to 299.
    Http(String),
    /// It accepts connections.
    Tcp,
}

/// `restart`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Restart {
    /// All that nobody asked for.
    #[default]
    Always,
    /// Those that are not status 0.
    OnFailure,
    /// None.
    Never,
}

/// `backoff`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    /// Wait after the first failure, doubled after each further one. Default: 250 ms.
    pub base: Duration,
    /// Longest wait. Default: 30 s.
    pub cap: Duration,
    /// So many failures within [`Self::within`] are too many. Default: 10.
    pub failures: u16,
    /// Default: 10 min.
    pub within: Duration,
    /// From too many failures to the next try; zero for never. Default: 5 min.
    pub cooldown: Duration,
    /// A run that was ready for so long is followed by another at once. Default: 60 s.
    pub stable_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            cap: Duration::from_secs(30),
            failures: 10,
            within: Duration::from_secs(600),
            cooldown: Duration::from_secs(300),
            stable_after: Duration::from_secs(60),
        }
    }
}

/// `stop`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stop {
    /// What asks its process to end. Default: TERM.
    pub signal: StopSignal,
    /// What it gets to end by itself. Default: 10 s.
    pub timeout: Duration,
    /// What else is ended. Default: the tree.
    pub kill: Kill,
    /// What requests in flight get to finish before. Default: 30 s.
    pub drain: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            signal: StopSignal::Term,
            timeout: Duration::from_secs(10),
            kill: Kill::Tree,
            drain: Duration::from_secs(30),
        }
    }
}

/// `stop.signal`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "each variant is the signal of the same name")]
pub enum StopSignal {
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
    Winch,
    Kill,
}

/// `stop.kill`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kill {
    /// Every process that descends from it.
    Tree,
    /// Its process group.
    Group,
    /// Its own process.
    Main,
}

/// `limits` of an app
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AppLimits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Percent of one core; may be more than 100.
    pub cpu_percent: Option<u32>,
    /// Open files.
    pub files: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u32>,
}

/// `memory_watch`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemoryWatch {
    /// Resident bytes.
    pub rss: u64,
    /// How long it may use more (`for`). Default: 5 min.
    pub over: Duration,
}

/// `output`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Output {
    /// Where it goes. Default: to files.
    pub to: OutputTo,
    /// Most bytes of all files of the app together. Default: 16 MiB.
    pub max: u64,
    /// Files kept beside the one that is written. Default: 3.
    pub keep: u16,
}

impl Default for Output {
    fn default() -> Self {
        Self { to: OutputTo::Files, max: 16 * 1024 * 1024, keep: 3 }
    }
}

/// `output.to`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutputTo {
    /// `"files"`: `APP.log` in `node.log_dir`, rotated.
    Files,
    /// `"stdout"`: the standard output of Evergate.
    Stdout,
    /// `"nowhere"`
    Nowhere,
}

/// `deploy`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deploy {
    /// Runs beyond the number of instances at a time. Default: 1.
    pub surge: u16,
    /// Instances that may be missing at a time. Default: 0.
    pub unavailable: u16,
    /// How long the first new run is watched. Default: 10 s.
    pub canary_for: Duration,
    /// What happens when a new run fails. Default: abort.
    pub on_failure: OnFailure,
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            surge: 1,
            unavailable: 0,
            canary_for: Duration::from_secs(10),
            on_failure: OnFailure::Abort,
        }
    }
}

/// `deploy.on_failure`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFailure {
    /// The instance gets its old revision back; the others are left as they are.
    Abort,
    /// Every instance gets its old revision back.
    Rollback,
    /// The next instance is replaced.
    Continue,
}
