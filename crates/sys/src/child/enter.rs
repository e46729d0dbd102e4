//! From the fork to the exec: what the copy of this process does to itself.
//!
//! The copy has one thread, and whatever lock another thread held is held for ever. So it makes
//! system calls and nothing else: it allocates nothing, takes no lock, and cannot panic. It is a
//! plain fork, because a copy that shares our memory (vfork(2)) would save a tenth of a
//! millisecond and could corrupt us.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::process::{self, Gid, Resource, Rlimit, Uid};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::fault::{Stage, encode};
use super::image::Image;
use super::{FD_NUMBER_MAX, Spec};
use crate::privilege::GROUPS_MAX;
use crate::real_time;

/// Descriptors that are looked at where the kernel cannot mark them all at once (before 5.11).
const FDS_MARKED_MAX: RawFd = 65_536;
/// Where a process says how likely it is to be killed when memory runs out.
const OOM_SCORE: &std::ffi::CStr = c"/proc/self/oom_score_adj";
/// Status of a copy that did not become its program; its parent knows more.
const FAILED_STATUS: libc::c_int = 127;

/// What the copy is to do to itself; everything in it was allocated before.
pub(super) struct Setup<'a> {
    image: Image,
    reporter: BorrowedFd<'a>,
    binary: Option<BorrowedFd<'a>>,
    /// The group to be born in, or to join if that could not be.
    home: Option<BorrowedFd<'a>>,
    cgroups: Vec<BorrowedFd<'a>>,
    places: Vec<Place>,
    limits: [(Stage, Resource, Option<u64>); 3],
    user: Option<Identity>,
    no_new_privileges: bool,
    umask: Option<u32>,
    is_protected: bool,
}

/// Descriptors that the way to the program needs; the last two out of the way of all numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fds<'a> {
    pub(super) null: BorrowedFd<'a>,
    pub(super) reporter: BorrowedFd<'a>,
    /// The program, where it is known by no name.
    pub(super) binary: Option<BorrowedFd<'a>>,
}

/// A descriptor on its way to its number.
#[derive(Debug)]
struct Place {
    from: RawFd,
    /// Its copy, out of the way of all numbers.
    moved: RawFd,
    to: RawFd,
}

#[derive(Debug)]
struct Identity {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl<'a> Setup<'a> {
    pub(super) fn new(spec: &'a Spec<'a>, image: Image, fds: Fds<'a>) -> Self {
        let stdout = spec.stdout.map(|fd| (fd, 1));
        let stderr = spec.stderr.or(spec.stdout).map(|fd| (fd, 2));
        let output = stdout.into_iter().chain(stderr);
        let stdin = (spec.stdin.unwrap_or(fds.null), 0);
        let all = [stdin].into_iter().chain(output).chain(spec.fds.iter().copied());
        let user = spec.user.as_ref().map(|user| Identity {
            uid: Uid::from_raw(user.uid),
            gid: Gid::from_raw(user.gid),
            groups: user.groups.iter().take(GROUPS_MAX).map(|&id| Gid::from_raw(id)).collect(),
        });
        Self {
            image,
            reporter: fds.reporter,
            binary: fds.binary,
            home: spec.cgroup,
            cgroups: spec.cgroups.clone(),
            places: all.map(|(fd, to)| Place { from: fd.as_raw_fd(), moved: -1, to }).collect(),
            limits: [
                (Stage::Files, Resource::Nofile, spec.files_max),
                (Stage::Data, Resource::Data, spec.data_bytes_max),
                (Stage::Tasks, Resource::Nproc, spec.tasks_max),
            ],
            user,
            no_new_privileges: spec.no_new_privileges,
            umask: spec.umask,
            is_protected: is_protected(),
        }
    }

    /// Goes all the way; comes back only with what failed.
    fn enter(&mut self, born: Born) -> Result<std::convert::Infallible, (Stage, io::Error)> {
        let at = |stage| move |error: rustix::io::Errno| (stage, io::Error::from(error));
        process::setsid().map_err(at(Stage::Session))?;
        reset_dispositions();
        // While it still has the right, and before it could start anything that would stay outside.
        if let (Some(home), Born::Elsewhere) = (self.home, born) {
            join(home).map_err(at(Stage::Cgroup))?;
        }
        for group in &self.cgroups {
            let joined = rustix::io::retry_on_intr(|| rustix::io::write(group, b"0"));
            joined.map_err(at(Stage::Cgroup))?;
        }
        if self.is_protected {
            give_up_protection().map_err(at(Stage::Oom))?;
        }
        reset_scheduling().map_err(|error| (Stage::Schedule, error))?;
        mark_all_close_on_exec();
        place(&mut self.places).map_err(|error| (Stage::Descriptors, error))?;
        // Only now: a limit below a descriptor in use forbids to copy it.
        for &(stage, resource, limit) in &self.limits {
            if let Some(limit) = limit {
                bound(resource, limit).map_err(at(stage))?;
            }
        }
        if let Some(mask) = self.umask {
            process::umask(rustix::fs::Mode::from_raw_mode(mask & 0o777));
        }
        if let Some(user) = &self.user {
            become_user(user).map_err(at(Stage::User))?;
        }
        if self.no_new_privileges {
            set_no_new_privs(true).map_err(at(Stage::Privileges))?;
        }
        if let Some(cwd) = &self.image.cwd {
            process::chdir(cwd.as_c_str()).map_err(at(Stage::Cwd))?;
        }
        self.image.name_process(process::getpid().as_raw_nonzero().get() as u32);
        set_mask(Mask::Empty);
        Err(match self.binary {
            Some(binary) => run_open(binary, &self.image),
            None => run(&self.image),
        })
    }

    fn report(&self, stage: Stage, error: &io::Error) {
        let report = encode(stage, error);
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(self.reporter, &report));
    }
}

/// Makes a copy of this process that does as `setup` says, and returns its number.
#[expect(unsafe_code, reason = "this is where processes come from")]
pub(super) fn fork(setup: &mut Setup<'_>) -> io::Result<u32> {
    // No handler of ours may run in the copy.
    let before = set_mask(Mask::Full);
    let at_home = setup.home.and_then(fork_into);
    let born = if at_home.is_some() { Born::AtHome } else { Born::Elsewhere };
    // SAFETY: the copy keeps to async-signal-safe calls, see the head of this file, and leaves by
    // execve or _exit, never by returning or unwinding into code that believes to be the parent.
    let pid = at_home.unwrap_or_else(|| unsafe { libc::fork() });
    match pid {
        -1 => {
            let error = io::Error::last_os_error();
            set_mask(Mask::Of(before));
            Err(error)
        }
        0 => {
            let (stage, error) = match setup.enter(born) {
                Err(fault) => fault,
                Ok(never) => match never {},
            };
            setup.report(stage, &error);
            // SAFETY: ends the copy at once; nothing of the parent's is flushed or dropped.
            unsafe { libc::_exit(FAILED_STATUS) }
        }
        pid => {
            set_mask(Mask::Of(before));
            Ok(pid as u32)
        }
    }
}

/// Whether the copy is in its group of version 2 from birth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Born {
    AtHome,
    Elsewhere,
}

/// What clone3(2) takes, as far as it is needed here: every field is a `__u64`.
#[repr(C)]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A fork whose copy is born in `group`; `None` where that cannot be (before Linux 5.7, under a
/// seccomp filter that hides the call's arguments, in a group of a kind that takes nobody).
#[expect(unsafe_code, reason = "this is where processes come from")]
fn fork_into(group: BorrowedFd<'_>) -> Option<libc::pid_t> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let args = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: group.as_raw_fd() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: the kernel only reads `args`, a live local of the layout and size that it is told.
    // Without CLONE_VM and a stack this is a fork; what the C library's own would do beside it
    // serves code that allocates or starts threads, which the copy does not: see `fork`.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_ref(&args), size_of::<CloneArgs>())
    };
    libc::pid_t::try_from(pid).ok().filter(|&pid| pid >= 0)
}

/// Joins the group of version 2 in this directory.
fn join(group: BorrowedFd<'_>) -> rustix::io::Result<()> {
    use rustix::fs::{Mode, OFlags};

    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let procs = rustix::fs::openat(group, c"cgroup.procs", flags, Mode::empty())?;
    rustix::io::write(&procs, b"0").map(drop)
}

/// Becomes the program that is open as `binary`; comes back only with why not.
fn run_open(binary: BorrowedFd<'_>, image: &Image) -> (Stage, io::Error) {
    let error = crate::exec::become_image(binary.as_raw_fd(), image.args(), image.env());
    match error.raw_os_error() {
        // It is there, for it is open.
        Some(libc::ENOENT) => (Stage::Interpreter, error),
        _ => (Stage::Program, error),
    }
}

/// Becomes the program; comes back only with why not.
#[expect(unsafe_code, reason = "rustix's execve wants to know the strings, not the pointers")]
fn run(image: &Image) -> (Stage, io::Error) {
    // As execvp(3): one that may not be run does not hide one that may, further on.
    let mut refused = None;
    for candidate in &image.candidates {
        // SAFETY: the path and every string end with NUL, and both arrays end with a null pointer.
        unsafe { libc::execve(candidate.as_ptr(), image.args().as_ptr(), image.env().as_ptr()) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT) if is_there(candidate) => return (Stage::Interpreter, error),
            Some(libc::ENOENT | libc::ENOTDIR) if image.is_searched => {}
            // In a directory that is closed to the child there is nothing for it.
            Some(libc::EACCES) if image.is_searched && !is_there(candidate) => {}
            Some(libc::EACCES) if image.is_searched => refused = refused.or(Some(error)),
            _ => return (Stage::Program, error),
        }
    }
    match refused {
        Some(error) => (Stage::Program, error),
        None => (Stage::NotInPath, io::Error::from_raw_os_error(libc::ENOENT)),
    }
}

fn is_there(path: &CString) -> bool {
    rustix::fs::access(path.as_c_str(), rustix::fs::Access::EXISTS).is_ok()
}

/// Whether the out-of-memory killer is told to spare this process.
fn is_protected() -> bool {
    let score = std::fs::read_to_string("/proc/self/oom_score_adj");
    score.is_ok_and(|score| score.trim_start().starts_with('-'))
}

fn give_up_protection() -> rustix::io::Result<()> {
    use rustix::fs::{Mode, OFlags};

    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(OOM_SCORE, flags, Mode::empty())?;
    rustix::io::write(&file, b"0").map(drop)
}

/// The normal policy in place of a real-time one, and no better a priority than usual. A lower
/// priority stays: the administrator chose it.
fn reset_scheduling() -> io::Result<()> {
    if real_time::has_priority() {
        real_time::unset_priority()?;
    }
    if process::getpriority_process(None)? < 0 {
        process::setpriority_process(None, 0)?;
    }
    Ok(())
}

/// Sets the soft limit, and the hard one where it is lower or the limit is to bind for good.
fn bound(resource: Resource, limit: u64) -> rustix::io::Result<()> {
    let hard = process::getrlimit(resource).maximum;
    let maximum = match resource {
        // The program may raise its own limit, up to what it could before.
        Resource::Nofile => hard.map(|hard| hard.max(limit)),
        _ => Some(limit),
    };
    process::setrlimit(resource, Rlimit { current: Some(limit), maximum })
}

fn become_user(user: &Identity) -> rustix::io::Result<()> {
    // Of this thread only, by the bare system calls: there is no other thread.
    set_thread_groups(&user.groups)?;
    set_thread_res_gid(user.gid, user.gid, user.gid)?;
    set_thread_res_uid(user.uid, user.uid, user.uid)
}

/// Puts each descriptor under its number, out of the way first: a number may belong to one that
/// is still to be placed.
#[expect(unsafe_code, reason = "numbers are what this is about")]
fn place(places: &mut [Place]) -> io::Result<()> {
    for place in &mut *places {
        // SAFETY: takes and returns plain numbers; `from` was borrowed from an open descriptor
        // when the copy of the process was made, and nothing closed it in this copy.
        place.moved = unsafe { libc::fcntl(place.from, libc::F_DUPFD_CLOEXEC, FD_NUMBER_MAX + 1) };
        if place.moved < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for place in places {
        // SAFETY: takes and returns plain numbers. What was open under the number belongs to the
        // parent's values, which this copy of the process never touches again.
        if unsafe { libc::dup2(place.moved, place.to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Default dispositions; exec resets handlers but keeps what is ignored.
#[expect(unsafe_code, reason = "rustix leaves signal dispositions to the C library")]
fn reset_dispositions() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL installs no code. Numbers that cannot be changed are refused, no more.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Which signals wait.
enum Mask {
    Empty,
    Full,
    Of(libc::sigset_t),
}

/// Sets the mask of this thread and returns the one before.
#[expect(unsafe_code, reason = "rustix leaves signal masks to the C library")]
fn set_mask(mask: Mask) -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; both are live locals that the calls fill in or read.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        match mask {
            Mask::Empty => libc::sigemptyset(&raw mut set),
            Mask::Full => libc::sigfillset(&raw mut set),
            Mask::Of(of) => {
                set = of;
                0
            }
        };
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, &raw mut before);
        before
    }
}

/// Marks rather than closes, because the report's descriptor is still needed.
#[expect(unsafe_code, reason = "rustix has no close_range")]
fn mark_all_close_on_exec() {
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_uint;
    // SAFETY: takes plain numbers, and changes only what an exec does.
    if unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, flags) } == 0 {
        return;
    }
    let limit = process::getrlimit(Resource::Nofile).current;
    let end = limit.map_or(FDS_MARKED_MAX, |limit| limit.min(FDS_MARKED_MAX as u64) as RawFd);
    for fd in 3..end {
        // SAFETY: takes plain numbers; one that is not open is refused, no more.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}
