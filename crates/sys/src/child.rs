//! Starting child processes in a clean state; [`crate::exit`] has their end.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fmt, fs, io};

use rustix::process;
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::privilege::User;

/// Highest descriptor number that [`Spec::fds`] may ask for.
pub const FD_NUMBER_MAX: RawFd = 63;
/// Descriptors that are looked at where the kernel cannot mark them all at once (before 5.11).
const FDS_MARKED_MAX: RawFd = 65_536;

/// What to run, and how.
///
/// The child leads a session and a process group of its own. It gets the default signal mask and
/// dispositions, `/dev/null` as standard input, this process's standard output and error, and no
/// other descriptor than those listed.
#[derive(Debug, Default)]
pub struct Spec<'a> {
    /// A path, or a name to look up in `PATH`.
    pub program: OsString,
    /// Arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Variables to set, or with `None` to remove; the others are this process's.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Where to run; default here.
    pub cwd: Option<PathBuf>,
    /// Descriptors to hand over, each under the number beside it: 3 to [`FD_NUMBER_MAX`].
    pub fds: Vec<(BorrowedFd<'a>, RawFd)>,
    /// Who to be; needs root.
    pub user: Option<User>,
    /// Keeps it from gaining rights by set-user-id programs.
    pub no_new_privileges: bool,
    /// Soft limit on open files; default this process's.
    pub files_max: Option<u64>,
}

/// Why there is no child.
#[derive(Debug)]
pub enum SpawnError {
    /// The directory to run in cannot be entered.
    Cwd(PathBuf, io::Error),
    /// The program cannot be run.
    Program(OsString, io::Error),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cwd(path, error) => {
                write!(f, "cannot run in {}: {}", path.display(), reason(error))
            }
            Self::Program(program, error) => {
                write!(f, "cannot run {}: {}", Path::new(program).display(), reason(error))
            }
        }
    }
}

impl std::error::Error for SpawnError {}

/// What went wrong, in words without the number behind them.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = error.to_string();
            let end = text.find(" (os error").unwrap_or(text.len());
            text[..end].to_lowercase()
        }
    }
}

/// Starts a process and returns its number once the program runs.
///
/// That the program itself cannot be executed is an error here, not an exit later.
pub fn spawn(spec: &Spec<'_>) -> Result<u32, SpawnError> {
    if let Some(cwd) = &spec.cwd {
        let entered = fs::metadata(cwd).and_then(|found| match found.is_dir() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        });
        entered.map_err(|error| SpawnError::Cwd(cwd.clone(), error))?;
    }
    launch(spec).map_err(|error| SpawnError::Program(spec.program.clone(), error))
}

fn launch(spec: &Spec<'_>) -> io::Result<u32> {
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).stdin(Stdio::null());
    for (name, value) in &spec.env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    let numbers: Vec<RawFd> = spec.fds.iter().map(|&(_, number)| number).collect();
    if numbers.iter().any(|number| !(3..=FD_NUMBER_MAX).contains(number)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The standard library reports a failed exec over a descriptor that it opens meanwhile; taken
    // numbers keep it from choosing one that the child is about to replace.
    let _taken = take_numbers(&numbers)?;
    let setup = Setup {
        fds: spec.fds.iter().map(|&(fd, number)| (fd.as_raw_fd(), number)).collect(),
        user: spec.user.clone(),
        no_new_privileges: spec.no_new_privileges,
        files_max: spec.files_max,
        moved: Vec::with_capacity(spec.fds.len()),
    };
    prepare(&mut command, setup);
    Ok(command.spawn()?.id())
}

/// Occupies each of `numbers` that is free, until the result is dropped.
fn take_numbers(numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    let mut taken = vec![OwnedFd::from(fs::File::open("/dev/null")?)];
    for &number in numbers {
        // The lowest free number from there on; a higher one means that it was taken already.
        taken.push(rustix::io::fcntl_dupfd_cloexec(&taken[0], number)?);
    }
    Ok(taken)
}

/// What the child does to itself between fork and exec; everything in it was allocated before.
struct Setup {
    fds: Vec<(RawFd, RawFd)>,
    user: Option<User>,
    no_new_privileges: bool,
    files_max: Option<u64>,
    moved: Vec<(RawFd, RawFd)>,
}

#[expect(unsafe_code, reason = "code between fork and exec must keep to async-signal-safe calls")]
fn prepare(command: &mut Command, mut setup: Setup) {
    // SAFETY: `enter` makes system calls only. It allocates nothing (`moved` has its room) and
    // takes no lock, so it does no harm in a copy of a process that had other threads.
    unsafe { command.pre_exec(move || setup.enter()) };
}

impl Setup {
    fn enter(&mut self) -> io::Result<()> {
        process::setsid()?;
        reset_signals();
        mark_all_close_on_exec();
        self.place_fds()?;
        // Only now: a limit below a descriptor in use forbids to copy it.
        if let Some(files_max) = self.files_max {
            let maximum = process::getrlimit(process::Resource::Nofile).maximum;
            let limit = process::Rlimit { current: Some(files_max), maximum };
            process::setrlimit(process::Resource::Nofile, limit)?;
        }
        if let Some(user) = &self.user {
            become_user(user)?;
        }
        if self.no_new_privileges {
            set_no_new_privs(true)?;
        }
        Ok(())
    }

    /// Puts each descriptor under its number, out of the way first: a number may belong to one that
    /// is still to be placed.
    #[expect(unsafe_code, reason = "numbers are what this is about")]
    fn place_fds(&mut self) -> io::Result<()> {
        for &(fd, number) in &self.fds {
            // SAFETY: takes and returns plain numbers; `fd` was borrowed from an open descriptor
            // when the copy of the process was made, and nothing closed it in this copy.
            let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, FD_NUMBER_MAX + 1) };
            if copy < 0 {
                return Err(io::Error::last_os_error());
            }
            self.moved.push((copy, number));
        }
        for &(copy, number) in &self.moved {
            // SAFETY: takes and returns plain numbers. What was open under `number` belongs to the
            // parent's values, which this copy of the process never touches again.
            if unsafe { libc::dup2(copy, number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// Default dispositions and an empty mask; exec resets handlers but keeps what is ignored.
#[expect(unsafe_code, reason = "rustix leaves signal dispositions to the C library")]
fn reset_signals() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL installs no code. Numbers that cannot be changed are refused, no more.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // SAFETY: `set` is a live local that sigemptyset fills in; the old mask is not asked for.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Marks rather than closes, because the standard library still needs one for its error report.
#[expect(unsafe_code, reason = "rustix has no close_range")]
fn mark_all_close_on_exec() {
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_uint;
    // SAFETY: takes plain numbers, and changes only what an exec does.
    if unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, flags) } == 0 {
        return;
    }
    let limit = process::getrlimit(process::Resource::Nofile).current;
    let end = limit.map_or(FDS_MARKED_MAX, |limit| limit.min(FDS_MARKED_MAX as u64) as RawFd);
    for fd in 3..end {
        // SAFETY: takes plain numbers; one that is not open is refused, no more.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

fn become_user(user: &User) -> io::Result<()> {
    use process::{Gid, Uid};

    let mut groups = [Gid::ROOT; crate::privilege::GROUPS_MAX];
    let count = user.groups.len().min(groups.len());
    for (group, &id) in groups.iter_mut().zip(&user.groups) {
        *group = Gid::from_raw(id);
    }
    set_thread_groups(&groups[..count])?;
    let (gid, uid) = (Gid::from_raw(user.gid), Uid::from_raw(user.uid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}
