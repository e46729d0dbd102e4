//! Becoming another program in place: the process keeps its number, its children (those too that have
//! exited and wait to be reaped), and the descriptors that it lists.
//!
//! What else survives is up to the kernel (execve(2)): the mask of signals and those that wait
//! behind it do, so none is lost on the way; what is ignored stays ignored, while handlers go back
//! to the default. Interval timers survive, memory locks do not.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use rustix::io::FdFlags;

use crate::strings::Strings;

/// Becomes the binary that is open as `image`, as whatever `argv` says (the first is the name that it
/// is told that it was called by), in this process's environment. The descriptors in `kept` stay
/// open, under their numbers, as do all that are not to be closed on exec anyway.
///
/// Returns only if nothing came of it, and then everything is as it was. Refuses unless the calling
/// thread is the main one and alone: others would end without notice, and what they hold with them;
/// and children that another thread started may want to die with it.
pub fn replace(image: BorrowedFd<'_>, argv: &[OsString], kept: &[BorrowedFd<'_>]) -> io::Error {
    match prepare(argv) {
        Ok((argv, envp)) => replace_prepared(image, (&argv, &envp), kept),
        Err(error) => error,
    }
}

/// What an exec is given beside the program, checked and laid out: arguments and variables.
pub(crate) fn prepare(argv: &[OsString]) -> io::Result<(Strings, Strings)> {
    let string = |text: OsString| {
        let invalid = "a NUL byte in an argument or a variable";
        CString::new(text.into_vec())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, invalid))
    };
    let argv = argv.iter().cloned().map(string).collect::<io::Result<_>>()?;
    let pairs = std::env::vars_os().map(|(mut pair, value)| {
        pair.push("=");
        pair.push(value);
        string(pair)
    });
    Ok((Strings::new(argv), Strings::new(pairs.collect::<io::Result<_>>()?)))
}

fn replace_prepared(
    image: BorrowedFd<'_>,
    (argv, envp): (&Strings, &Strings),
    kept: &[BorrowedFd<'_>],
) -> io::Error {
    if let Err(error) = alone() {
        return error;
    }
    let flags = |&fd: &BorrowedFd<'_>| rustix::io::fcntl_getfd(fd);
    let before: Vec<FdFlags> = match kept.iter().map(flags).collect() {
        Ok(before) => before,
        Err(error) => return error.into(),
    };
    // From here on nothing is allocated: either all of it is done or none.
    for (index, &fd) in kept.iter().enumerate() {
        if let Err(error) = rustix::io::fcntl_setfd(fd, FdFlags::empty()) {
            set_back(&kept[..index], &before);
            return error.into();
        }
    }
    let error = become_image(image.as_raw_fd(), argv, envp);
    set_back(kept, &before);
    error
}

/// The exec itself; comes back only with why not. Allocates nothing and takes no lock.
#[expect(unsafe_code, reason = "rustix's execveat wants to know the strings, not the pointers")]
pub(crate) fn become_image(image: RawFd, argv: &Strings, envp: &Strings) -> io::Error {
    // By number, because not every C library has a name for it.
    // SAFETY: the path is an empty string, every string ends with NUL, and both arrays end with a
    // null pointer. A number that is not open is refused, no more.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            image,
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Whether this is the main thread and there is no other.
fn alone() -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("the process has {threads} threads")));
    }
    match rustix::thread::gettid() == rustix::process::getpid() {
        true => Ok(()),
        false => Err(io::Error::other("the main thread has ended")),
    }
}

fn set_back(fds: &[BorrowedFd<'_>], before: &[FdFlags]) {
    // The last first, so that one that is listed twice becomes what it was.
    for (&fd, &flags) in fds.iter().zip(before).rev() {
        // It is open, so there is nothing to refuse.
        let _ = rustix::io::fcntl_setfd(fd, flags);
    }
}
