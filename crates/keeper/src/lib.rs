//! The keeper: sockets, children, and the loop that outlives the worker.
//!
//! It owns what must survive a crash of everything else: the listening sockets (it never accepts),
//! the worker and the app instances. It is one thread around one `epoll`, it parses no text of a
//! user, and it does what the worker says should be ([`evergate_control::link::Desired`]) rather
//! than what to do, so a new worker that says the same disturbs nothing.
//!
//! What it decides lives in `evergate_core::{supervise, reconcile}`; here is what it performs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::{fmt, io};

use evergate_core::supervise::worker;
use evergate_core::upgrade;
use evergate_sys::privilege::User;
use evergate_sys::stderr;

pub use self::resume::Resuming;
pub use self::watcher::{WatchError, watch};

mod apps;
mod binary;
mod carried;
mod files;
mod holder;
mod keeper;
mod link;
mod notify;
mod ports;
mod resume;
mod sockets;
mod standby;
mod upgrades;
mod watcher;
mod will;
mod workers;

/// Environment variable that tells a worker the number of its end of the link.
pub const LINK_VARIABLE: &str = "EVERGATE_LINK";
/// The descriptor that the link is on.
pub const LINK_FD: i32 = 3;
/// Exit status of a worker that cannot start and would not the next time (`EX_CONFIG`), as
/// [`evergate_control::link::ToKeeper::Hopeless`] says with words.
pub const HOPELESS_STATUS: i32 = 78;

/// The keeper's priority among real-time threads (SCHED_FIFO): before all that is not, and behind what
/// keeps the machine itself going.
const REAL_TIME_PRIORITY: u8 = 50;
/// How little the keeper wants to be what the kernel kills when memory runs out.
const OOM_SCORE: i16 = -900;

/// What to keep.
#[derive(Clone, Debug)]
pub struct Options {
    /// The worker: the binary itself.
    pub program: PathBuf,
    /// Its arguments: a subcommand, and the path of the configuration file for example. What follows
    /// the subcommand follows `preflight` too, when a new binary is asked whether it could go on.
    pub args: Vec<OsString>,
    /// Only files below this directory, and those named early, are opened for a worker.
    pub config_dir: PathBuf,
    /// Who the worker is to be; default whoever the keeper is.
    pub worker_user: Option<User>,
    /// When to replace it; the default outside tests.
    pub worker_policy: worker::Policy,
    /// How it is replaced by another one while it serves; the default outside tests.
    pub upgrade_policy: upgrade::Policy,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// SIGTERM or SIGINT, and everything ended: exit status 0.
    Stopped,
    /// The worker could not start, for a reason that was printed: exit status 1.
    Hopeless,
}

/// Why there is no keeper.
#[derive(Debug)]
pub enum Error {
    /// There is no worker to start at this path.
    Program(PathBuf, io::Error),
    /// Signals could not be collected.
    Signals(io::Error),
    /// Events could not be waited for.
    Events(io::Error),
    /// Children could not be waited for.
    Children(io::Error),
    /// It could not go on from what the image before wrote down, and nobody else can.
    Resume(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(path, error) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "cannot run {}: no such file", path.display())
            }
            Self::Program(path, error) => write!(f, "cannot run {}: {error}", path.display()),
            Self::Signals(error) => write!(f, "cannot collect signals: {error}"),
            Self::Events(error) => write!(f, "cannot wait for events: {error}"),
            Self::Children(error) => write!(f, "cannot wait for children: {error}"),
            Self::Resume(why) => write!(f, "cannot go on: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// Runs the keeper until SIGTERM or SIGINT, or until the worker proves hopeless.
///
/// Call it from the main thread before there are others. It blocks the signals it handles, adopts
/// orphans, raises the limit on open files, and writes to standard error what an operator must
/// know.
pub fn run(options: Options) -> Result<Outcome, Error> {
    keeper::Keeper::new(options)?.run()
}

/// Goes on as the keeper that this process was before it became this binary, or came back to it.
///
/// Whatever goes wrong until then takes the way back, if there is one. `options` are those of
/// [`Resuming::options`], with the policies that the caller wants.
pub fn resume(options: Options, resuming: Resuming) -> Result<Outcome, Error> {
    keeper::Keeper::resume(options, resuming)?.go()
}

/// Whether a keeper of this version could go on from `blob`, as far as that can be told without its
/// descriptors and children; why not.
pub fn rehearse(blob: &[u8]) -> Result<(), String> {
    carried::Carried::decode(blob).map(drop)
}

/// Tells the operator one line.
fn report(line: fmt::Arguments<'_>) {
    print(format_args!("evergate: {line}"));
}

/// Writes to standard error; one that is closed or full must not stop the keeper.
fn print(text: fmt::Arguments<'_>) {
    stderr::print(format!("{text}\n").as_bytes());
}
