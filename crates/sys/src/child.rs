//! Starting child processes in a clean state; [`crate::exit`] has their end.
//!
//! The standard library's `Command` is not used: what it fails at is one error number for a dozen
//! steps, and it knows neither control groups nor limits nor `LISTEN_PID`. Everything is prepared
//! before the fork (`image`); the copy then makes system calls only (`enter`), says over a pipe
//! which one failed, if any, and becomes the program (`fault`).

mod enter;
mod fault;
mod image;

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, fs, io};

use rustix::event::{PollFd, PollFlags};
use rustix::pipe::PipeFlags;

pub use self::fault::SpawnError;
use self::fault::{Blame, REPORT_BYTES, Stage};
use self::image::Image;
use crate::clock;
use crate::privilege::User;

/// Highest descriptor number that [`Spec::fds`] may ask for.
pub const FD_NUMBER_MAX: RawFd = 63;
/// Longest time from the fork until the program runs. A file system that hangs must not take us
/// with it; one that is only slow, on a machine that is short of everything, needs seconds.
pub const EXEC_WITHIN: Duration = Duration::from_secs(10);
/// How long a wait for the program lasts before something else has its turn ([`spawn_while`]).
pub const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What to run, and how.
///
/// The child leads a session and a process group of its own. It gets the default signal mask and
/// dispositions, no protection from the kernel's out-of-memory killer, the normal scheduling
/// policy, and no other descriptor than those listed.
#[derive(Default)]
pub struct Spec<'a> {
    /// A path, or a name to look up in the child's `PATH` with the child's rights.
    pub program: OsString,
    /// The program itself, open ([`crate::image`]): what is under [`Spec::program`] by now does not matter, and that
    /// is only what it is told that it was called as. A binary, for a script could not be read.
    pub image: Option<BorrowedFd<'a>>,
    /// What it is told that it was called as; default the program as given.
    pub argv0: Option<OsString>,
    /// Arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Variables to set, or with `None` to remove; the others are this process's. The last word on
    /// a variable counts.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Sets `LISTEN_PID` to the child's own number (sd_listen_fds(3)).
    pub listen_pid: bool,
    /// Where to run, entered with the child's rights; default here.
    pub cwd: Option<PathBuf>,
    /// Standard input; default `/dev/null`.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Standard output and standard error; default this process's.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Standard error, where that is not to be what standard output is.
    pub stderr: Option<BorrowedFd<'a>>,
    /// Descriptors to hand over, each under the number beside it: 3 to [`FD_NUMBER_MAX`].
    pub fds: Vec<(BorrowedFd<'a>, RawFd)>,
    /// Directory of a control group of version 2 to be born in. It costs nothing, where to join one
    /// later makes the kernel wait for every processor: ten milliseconds and more.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// `cgroup.procs` files open for writing: other groups to be in from the first instruction on.
    pub cgroups: Vec<BorrowedFd<'a>>,
    /// Who to be; needs root.
    pub user: Option<User>,
    /// Keeps it from gaining rights by set-user-id programs.
    pub no_new_privileges: bool,
    /// Permissions that files it makes do not get; default this process's.
    pub umask: Option<u32>,
    /// Soft limit on open files; default this process's. Beyond the hard one it needs root.
    pub files_max: Option<u64>,
    /// Most bytes of private memory (`RLIMIT_DATA`), for each process; default this process's.
    pub data_bytes_max: Option<u64>,
    /// Most processes and threads of its user, wherever they come from (`RLIMIT_NPROC`); default
    /// this process's.
    pub tasks_max: Option<u64>,
}

/// Without arguments and variables, which may be secrets.
impl fmt::Debug for Spec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec").field("program", &self.program).finish_non_exhaustive()
    }
}

/// Starts a process and returns its number once the program runs.
///
/// That the program itself cannot be executed is an error here, not an exit later. Waits for the
/// exec, which takes a millisecond or so, and [`EXEC_WITHIN`] at the longest; a child that needs
/// longer is killed and turns up in [`crate::exit::next`] like any other.
pub fn spawn(spec: &Spec<'_>) -> Result<u32, SpawnError> {
    spawn_while(spec, &mut || {})
}

/// The same, for whoever has something to do that does not wait: `meanwhile` is called every
/// [`LOOK_EVERY`] until the program runs.
pub fn spawn_while(spec: &Spec<'_>, meanwhile: &mut dyn FnMut()) -> Result<u32, SpawnError> {
    let Starting { pid, reports, blame } = start(spec)?;
    let until = clock::now() + EXEC_WITHIN;
    loop {
        // Before the look: whoever was held up here for long looks once more.
        let is_last = clock::now() >= until;
        match read_report(&reports, Some(LOOK_EVERY)).map_err(SpawnError::Fork) {
            Ok(Report::Runs) => return Ok(pid),
            Ok(Report::Failed(stage, error)) => {
                // It said all it had to say and is on its way out.
                let _ = crate::exit::await_and_reap(pid);
                return Err(SpawnError::new(stage, error, blame));
            }
            Ok(Report::Silent) if !is_last => meanwhile(),
            Ok(Report::Silent) => {
                let _ = crate::signal::send(pid, crate::signal::Signal::Kill);
                return Err(SpawnError::Slow(spec.program.clone()));
            }
            Err(error) => {
                let _ = crate::signal::send(pid, crate::signal::Signal::Kill);
                return Err(error);
            }
        }
    }
}

/// A process that is on its way to its program, or runs it.
#[derive(Debug)]
pub struct Starting {
    pid: u32,
    reports: OwnedFd,
    blame: Blame,
}

/// Starts a process and does not wait for its exec, which may hang with a file system: for whoever
/// must not be held up. What cannot be prepared is an error here; that the program could not be
/// executed shows in its exit, and [`Starting::into_fault`] says why.
pub fn start(spec: &Spec<'_>) -> Result<Starting, SpawnError> {
    if spec.fds.iter().any(|(_, number)| !(3..=FD_NUMBER_MAX).contains(number)) {
        return Err(SpawnError::Malformed("a descriptor's number is out of range"));
    }
    let image = Image::new(spec)?;
    let (reports, reporter) = report_pipe().map_err(SpawnError::Fork)?;
    let null = fs::File::open("/dev/null").map_err(SpawnError::Fork)?;
    let binary = spec.image.map(out_of_the_way).transpose().map_err(SpawnError::Fork)?;
    let fds = enter::Fds {
        null: null.as_fd(),
        reporter: reporter.as_fd(),
        binary: binary.as_ref().map(AsFd::as_fd),
    };
    let mut setup = enter::Setup::new(spec, image, fds);
    let pid = enter::fork(&mut setup).map_err(SpawnError::Fork)?;
    Ok(Starting { pid, reports, blame: Blame::of(spec) })
}

impl Starting {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Why it did not become its program, once it has exited; nothing if it did.
    pub fn into_fault(self) -> Option<SpawnError> {
        match read_report(&self.reports, None) {
            Ok(Report::Failed(stage, error)) => Some(SpawnError::new(stage, error, self.blame)),
            Ok(Report::Runs | Report::Silent) | Err(_) => None,
        }
    }
}

/// What the child had to say.
enum Report {
    /// Nothing, and it let go of the pipe: the exec succeeded.
    Runs,
    /// What failed.
    Failed(Stage, io::Error),
    /// Nothing yet.
    Silent,
}

/// Both ends closed on exec; the one to write to out of the way of the numbers that a child may
/// ask for.
fn report_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reports, reporter) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((reports, out_of_the_way(&reporter)?))
}

/// A copy of `fd`, closed on exec, under a number that no child may ask for.
fn out_of_the_way(fd: impl AsFd) -> io::Result<OwnedFd> {
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, FD_NUMBER_MAX + 1)?;
    debug_assert!(copy.as_raw_fd() > FD_NUMBER_MAX);
    Ok(copy)
}

/// What the child has to say `within` this time, or has said already.
fn read_report(reports: &OwnedFd, within: Option<Duration>) -> io::Result<Report> {
    let within = within.unwrap_or_default().try_into().expect("a few seconds fit");
    let waited = rustix::io::retry_on_intr(|| {
        rustix::event::poll(&mut [PollFd::new(reports, PollFlags::IN)], Some(&within))
    })?;
    if waited == 0 {
        return Ok(Report::Silent);
    }
    let mut report = [0; REPORT_BYTES];
    // Whole or not at all: pipes do not split so few bytes.
    match rustix::io::retry_on_intr(|| rustix::io::read(reports, &mut report))? {
        0 => Ok(Report::Runs),
        _ => {
            let (stage, error) = fault::decode(report);
            Ok(Report::Failed(stage, error))
        }
    }
}
