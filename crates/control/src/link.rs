//! The messages between keeper and worker.
//!
//! They travel over a `SOCK_SEQPACKET` pair, one message a packet, file descriptors beside them as
//! the variant says. The encoding is CBOR with numbered fields, so that a newer side may add fields
//! and an older side skips them; [`PROTOCOL`] changes only when that is not enough.
//!
//! The link is declarative: the worker says what should be ([`Desired`]), the keeper makes it so
//! and says what is ([`ToWorker::Listening`], [`Observed`]). Saying the same again changes nothing.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

/// Version of these messages.
pub const PROTOCOL: u16 = 3;
/// Largest encoded message, in bytes; a larger one is refused.
pub const MESSAGE_BYTES_MAX: usize = 160 * 1024;
/// The configuration that was applied last.
pub const KEPT_CONFIG: &str = "config";
/// The keys of TLS session tickets.
pub const KEPT_TICKETS: &str = "tickets";
/// Most files that a keeper keeps, of different names.
pub const KEPT_MAX: usize = 16;
/// Most file descriptors beside one message; Linux allows 253.
pub const FDS_MAX: usize = 128;

/// What a worker says to its keeper.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum ToKeeper {
    /// First message of a worker.
    #[n(0)]
    Hello {
        /// [`PROTOCOL`].
        #[n(0)]
        protocol: u16,
        /// Version of Evergate.
        #[n(1)]
        version: String,
    },
    /// What should be. Answered by one [`ToWorker::Listening`] for each address in it and one
    /// [`ToWorker::Settled`] after them.
    #[n(1)]
    Desired(#[n(0)] Desired),
    /// The worker serves; the keeper may forget its failures.
    #[n(2)]
    Ready,
    /// One descriptor beside it: a sealed memory file that the keeper hands to the next worker,
    /// in place of an earlier one of the same name. The keeper does not look into it.
    #[n(3)]
    Keep {
        /// What it is: [`KEPT_CONFIG`] or [`KEPT_TICKETS`].
        #[n(0)]
        name: String,
    },
    /// Opens a file for reading; the worker may lack the right. The keeper allows it only for
    /// regular files and directories below that of the configuration file, and for those that were
    /// [`Self::Named`].
    #[n(4)]
    Open {
        /// Chosen by the worker, repeated in the answer.
        #[n(0)]
        request: u32,
        /// Absolute path.
        #[n(1)]
        path: String,
    },
    /// The worker cannot start, and a restart would not help: the message says why and how to mend
    /// it. The keeper ends if no worker has been ready yet.
    #[n(5)]
    Hopeless {
        /// For the operator, may have several lines.
        #[n(0)]
        message: String,
    },
    /// The worker has drained and will exit.
    #[n(6)]
    Drained,
    /// Files outside the directory of the configuration file that the configuration names. A worker
    /// says so while it still has its keeper's rights; from one that gave them away it counts for
    /// nothing. Adds to what it named before. Answered by [`ToWorker::Noted`].
    #[n(8)]
    Named {
        /// Absolute paths.
        #[n(0)]
        paths: Vec<String>,
        /// Whom apps run as: from then on the keeper starts processes as these users too.
        #[n(1)]
        users: Vec<String>,
    },
    /// A probe of a run ended.
    #[n(9)]
    Probed {
        /// Whose.
        #[n(0)]
        run: Run,
        /// What it was about.
        #[n(1)]
        probe: Probe,
        /// Why it failed; nothing if it passed.
        #[n(2)]
        failure: Option<String>,
    },
    /// A draining run has no request in flight any more, nor a tunnel.
    #[n(10)]
    Idle {
        /// Which.
        #[n(0)]
        run: Run,
    },
    /// How the new runs of an app that is being deployed fare beside the old ones, counted since
    /// the canary began to serve. Sent every second while a canary soaks.
    #[n(11)]
    Sampled {
        /// Name of the app.
        #[n(0)]
        app: String,
        /// Runs of the revision that is rolled out.
        #[n(1)]
        canary: Sample,
        /// The other runs.
        #[n(2)]
        others: Sample,
    },
    /// What the operator wants of an app. Answered by [`ToWorker::Heard`].
    #[n(12)]
    Wish {
        /// Chosen by the worker, repeated in the answer.
        #[n(0)]
        request: u32,
        /// Name of the app.
        #[n(1)]
        app: String,
        /// One instance of it; all of them if none.
        #[n(2)]
        instance: Option<u16>,
        /// What.
        #[n(3)]
        verb: Verb,
    },
    /// Ends an instance at once with SIGKILL; it is then started again like after a crash.
    #[n(7)]
    Kill {
        /// Name of the app.
        #[n(0)]
        app: String,
        /// Number of the instance.
        #[n(1)]
        instance: u16,
    },
}

/// What a keeper says to its worker.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum ToWorker {
    /// First message, before the worker speaks. Beside it what is kept.
    #[n(0)]
    Welcome {
        /// [`PROTOCOL`].
        #[n(0)]
        protocol: u16,
        /// How many workers there have been, this one included.
        #[n(1)]
        generation: u32,
        /// What earlier workers had kept: a name for each descriptor, in their order.
        #[n(2)]
        kept: Vec<String>,
        /// The keeper's process id.
        #[n(3)]
        keeper_pid: u32,
        /// When the keeper started, in seconds of Unix time.
        #[n(4)]
        started_at: u64,
    },
    /// The sockets of one address, as many descriptors beside it. At least as many as desired;
    /// all must be accepted from.
    #[n(1)]
    Listening {
        /// As desired.
        #[n(0)]
        listener: String,
        /// As desired.
        #[n(1)]
        address: Address,
        /// Where it really listens (a port of 0 replaced), or why it does not.
        #[n(2)]
        outcome: Outcome,
    },
    /// Everything in the last [`ToKeeper::Desired`] was done or failed.
    #[n(2)]
    Settled,
    /// What the apps do; sent after each change.
    #[n(3)]
    Observed(#[n(0)] Observed),
    /// The answer to [`ToKeeper::Open`]; without an error, one descriptor beside it.
    #[n(4)]
    Opened {
        /// As asked.
        #[n(0)]
        request: u32,
        /// Why not.
        #[n(1)]
        error: Option<String>,
    },
    /// The answer to [`ToKeeper::Named`].
    #[n(7)]
    Noted,
    /// The answer to [`ToKeeper::Wish`].
    #[n(8)]
    Heard {
        /// As asked.
        #[n(0)]
        request: u32,
        /// Why nothing will be done.
        #[n(1)]
        error: Option<String>,
        /// What will be done, or with [`Verb::PlanDeploy`] would be: a line for each step.
        #[n(2)]
        plan: Vec<String>,
    },
    /// What a run prints; beside it the end of the pipe to read from. Sent when the run starts, and
    /// to each new worker for every run that is still there. The pipe ends when nothing of the run
    /// is left.
    #[n(9)]
    Output {
        /// Whose.
        #[n(0)]
        run: Run,
    },
    /// Something happened to an app, worth an event.
    #[n(10)]
    Happened(#[n(0)] Happening),
    /// Read the configuration again (SIGHUP).
    #[n(5)]
    Reload,
    /// Stop accepting, finish what is in flight, say [`ToKeeper::Drained`] and exit (SIGTERM).
    #[n(6)]
    Stop {
        /// Requests in flight after this many milliseconds are cut.
        #[n(0)]
        grace_ms: u32,
    },
}

/// What a worker wants of its keeper.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Desired {
    /// Every address to listen on; others are closed.
    #[n(0)]
    pub listeners: Vec<Listener>,
    /// Every app to run; others are ended.
    #[n(1)]
    pub apps: Vec<App>,
    /// Where apps may have their Unix sockets: an absolute path that nobody but the keeper's user
    /// and root can make lead elsewhere.
    #[n(2)]
    pub run_dir: Option<String>,
}

/// One address to listen on.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Listener {
    /// Name in the configuration, or `admin`.
    #[n(0)]
    pub name: String,
    /// Where.
    #[n(1)]
    pub address: Address,
    /// How many sockets share it (`SO_REUSEPORT`); 1 for Unix sockets.
    #[n(2)]
    pub sockets: u16,
}

/// An address to listen on. A TCP address is `ip:port` with brackets around IPv6.
#[derive(Clone, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// TCP.
    #[n(0)]
    Tcp(#[cbor(n(0), with = "socket_address")] SocketAddr),
    /// A Unix stream socket, replaced if a stale one is in the way.
    #[n(1)]
    Unix {
        /// Absolute path; the directory is made if need be.
        #[n(0)]
        path: String,
        /// Permissions, as for chmod.
        #[n(1)]
        mode: u32,
    },
}

/// How listening went.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Outcome {
    /// It listens here.
    #[n(0)]
    Bound(#[n(0)] Address),
    /// It does not; what, why, and how to mend it.
    #[n(1)]
    Failed(#[n(0)] String),
}

/// One app to run. Times are in milliseconds.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
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
    /// Whom it runs as; default whoever the worker is. Must have been [`ToKeeper::Named`].
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
    /// The worker probes and says [`ToKeeper::Probed`].
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

/// What the operator wants of an app.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Verb {
    /// Run it, whatever stopped it: an operator, too many failures, its own end.
    #[n(0)]
    Start,
    /// Drain it, end it, and leave it so until it is started.
    #[n(1)]
    Stop,
    /// Replace its runs in turn, of the same revision.
    #[n(2)]
    Restart,
    /// Replace its runs in turn by those of what its paths lead to now.
    #[n(3)]
    Deploy,
    /// Say what [`Verb::Deploy`] would do.
    #[n(4)]
    PlanDeploy,
    /// Say what [`Verb::Restart`] would do.
    #[n(5)]
    PlanRestart,
    /// Give up the deploy that is under way, as if a run of it had failed.
    #[n(6)]
    Abort,
}

/// What a probe is about.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Probe {
    /// Whether a starting run is ready.
    #[n(0)]
    Ready,
    /// Whether a ready run hangs.
    #[n(1)]
    Alive,
}

/// How requests to some runs went.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Sample {
    /// Responses and failed attempts.
    #[n(0)]
    pub requests: u64,
    /// Of these, failed attempts and statuses from 500.
    #[n(1)]
    pub errors: u64,
    /// 99th percentile of the time to the response head, in microseconds; 0 without a request.
    #[n(2)]
    pub p99_us: u64,
}

/// Something that happened to an app, in words.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Happening {
    /// How bad it is.
    #[n(0)]
    pub severity: Severity,
    /// Such as `app_exited` or `deploy_aborted`.
    #[n(1)]
    pub kind: String,
    /// Such as `app.shop/0`.
    #[n(2)]
    pub subject: String,
    /// Why, for people.
    #[n(3)]
    pub reason: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[allow(missing_docs, reason = "each variant is the level of the same name")]
pub enum Severity {
    #[n(0)]
    Info,
    #[n(1)]
    Warn,
    #[n(2)]
    Error,
}

/// What the apps do.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Observed {
    /// Every instance, sorted by app, number and generation. One that is being replaced may be
    /// there twice.
    #[n(0)]
    pub instances: Vec<Instance>,
    /// For each app the deploy that is under way, or else the last one.
    #[n(1)]
    pub deploys: Vec<Deploy>,
    /// How the limits of each app that has some are kept.
    #[n(2)]
    pub limits: Vec<AppLimits>,
}

/// One process of an instance: what an instance is from one start to the end of all that came of
/// it.
#[derive(Clone, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub struct Run {
    /// Name of the app.
    #[n(0)]
    pub app: String,
    /// Number of the instance, from 0.
    #[n(1)]
    pub number: u16,
    /// Counts the starts of this instance; where it listens belongs to one generation.
    #[n(2)]
    pub generation: u32,
}

/// One instance of an app, or one of its two while it is being replaced.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Instance {
    /// Which; the generation of its last run if there is none now.
    #[n(0)]
    pub run: Run,
    /// What it does.
    #[n(1)]
    pub state: InstanceState,
    /// How long it has done that, in milliseconds.
    #[n(2)]
    pub since_ms: u64,
    /// Its process, while there is one.
    #[n(3)]
    pub pid: Option<u32>,
    /// Where it listens, while there is a process.
    #[n(4)]
    pub place: Option<Place>,
    /// Of what it is a run; grows with each deploy.
    #[n(5)]
    pub revision: u32,
    /// Unplanned exits of the instance so far, failed starts included.
    #[n(6)]
    pub exits: u32,
    /// Failures that count at the moment, and how many are too many.
    #[n(7)]
    pub budget: (u16, u16),
    /// How the last exit came about ("signal 9 (KILL)", "exit status 1"), or why it could not
    /// start.
    #[n(8)]
    pub last_exit: Option<String>,
    /// Why it is in this state, if there is more to say than the state does.
    #[n(9)]
    pub reason: Option<String>,
}

/// Where a run listens.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Place {
    /// `127.0.0.1:PORT`.
    #[n(0)]
    Port(#[n(0)] u16),
    /// A Unix socket at this path.
    #[n(1)]
    Unix(#[n(0)] String),
}

/// What an instance does.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum InstanceState {
    /// It should run and waits for its turn: for an app of `after`, or the limit on starts.
    #[n(0)]
    Waiting,
    /// Its process runs and is not ready yet.
    #[n(1)]
    Starting,
    /// It may have requests.
    #[n(2)]
    Ready,
    /// It was ready and hangs; it gets no requests.
    #[n(3)]
    Unhealthy,
    /// It finishes its requests and gets no new ones.
    #[n(4)]
    Draining {
        /// The rest is cut in this many milliseconds from now.
        #[n(0)]
        for_ms: u32,
    },
    /// It is being ended on purpose.
    #[n(5)]
    Stopping,
    /// It was killed and is still there: the kernel does not let go of it.
    #[n(6)]
    Stuck,
    /// It ended and will be started again.
    #[n(7)]
    Backoff {
        /// In this many milliseconds from now.
        #[n(0)]
        for_ms: u32,
    },
    /// It failed too often, or in a way that another start does not mend.
    #[n(8)]
    Fatal {
        /// Tried again in this many milliseconds from now; if none, when the operator starts it.
        #[n(0)]
        for_ms: Option<u32>,
    },
    /// It ended, and nothing is to follow.
    #[n(9)]
    Stopped,
}

/// How the limits of an app are kept.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct AppLimits {
    /// Name of the app.
    #[n(0)]
    pub app: String,
    /// A line for each limit: "memory 256 MiB by cgroup v1", "cpu unsupported: ...".
    #[n(1)]
    pub kept: Vec<String>,
}

/// The runs of an app being replaced in turn.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Deploy {
    /// Name of the app.
    #[n(0)]
    pub app: String,
    /// Counts the deploys of the app, from 1.
    #[n(1)]
    pub number: u32,
    /// The revision that is rolled out.
    #[n(2)]
    pub revision: u32,
    /// How far it is.
    #[n(3)]
    pub phase: DeployPhase,
    /// Instances done.
    #[n(4)]
    pub done: u16,
    /// Instances in all.
    #[n(5)]
    pub of: u16,
    /// What it is about ("deploy", "restart", "the configuration changed").
    #[n(6)]
    pub cause: String,
    /// What it does or did, or why it failed, for people.
    #[n(7)]
    pub message: String,
    /// How long this phase has lasted, in milliseconds.
    #[n(8)]
    pub since_ms: u64,
}

/// How far a deploy is.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum DeployPhase {
    /// Instances are being replaced.
    #[n(0)]
    Rolling,
    /// The first new run serves and is compared with the old ones.
    #[n(1)]
    Soaking,
    /// There is no worker; it goes on when there is one.
    #[n(2)]
    Paused,
    /// Instances get their old revision back.
    #[n(3)]
    Reverting,
    /// Every instance was replaced.
    #[n(4)]
    Done,
    /// It failed; the message says why.
    #[n(5)]
    Failed,
}

/// A message could not be understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Malformed(String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed link message: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// The bytes of `message`.
pub fn encode<M: Encode<()>>(message: &M) -> Vec<u8> {
    minicbor::to_vec(message).expect("a vector takes every byte")
}

/// The message in `bytes`.
pub fn decode<'b, M: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<M, Malformed> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed(format!("{} bytes, over {MESSAGE_BYTES_MAX}", bytes.len())));
    }
    minicbor::decode(bytes).map_err(|error| Malformed(error.to_string()))
}

mod socket_address {
    use std::net::SocketAddr;

    use minicbor::decode::{self, Decoder};
    use minicbor::encode::{self, Encoder, Write};

    pub(super) fn encode<C, W: Write>(
        address: &SocketAddr,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.str(&address.to_string())?;
        Ok(())
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<SocketAddr, decode::Error> {
        let text = d.str()?;
        text.parse().map_err(|_| decode::Error::message("not an ip:port"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_link() {
        let desired = ToKeeper::Desired(Desired {
            listeners: vec![
                Listener {
                    name: "web".into(),
                    address: Address::Tcp("[::1]:8080".parse().unwrap()),
                    sockets: 4,
                },
                Listener {
                    name: "admin".into(),
                    address: Address::Unix { path: "/run/evergate/admin.sock".into(), mode: 0o600 },
                    sockets: 1,
                },
            ],
            apps: vec![App {
                name: "shop".into(),
                run: vec!["/bin/shop".into()],
                instances: 2,
                env: vec![("A".into(), "b".into())],
                cwd: None,
                ports: (20000, 20999),
                ..App::default()
            }],
            run_dir: Some("/run/evergate".into()),
        });
        assert_eq!(decode::<ToKeeper>(&encode(&desired)), Ok(desired));
        let stop = ToWorker::Stop { grace_ms: 500 };
        assert_eq!(decode::<ToWorker>(&encode(&stop)), Ok(stop));
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        for bytes in [&b""[..], b"\xff", b"\x82\x01", &[0u8; 40]] {
            assert!(decode::<ToKeeper>(bytes).is_err());
            assert!(decode::<ToWorker>(bytes).is_err());
        }
        let big = vec![0u8; MESSAGE_BYTES_MAX + 1];
        assert!(decode::<ToKeeper>(&big).is_err());
    }
}
