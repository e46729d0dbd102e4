//! The end of child processes: how each came about, exactly.
//!
//! Children go by number, not by handle: their parent is one thread that reaps every one, orphans
//! too, and a number stays theirs until that thread lets go of it.

use std::{fmt, io};

use crate::signal;

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By a signal.
    Signal {
        /// Its number.
        number: i32,
        /// Whether it left a core file.
        core: bool,
    },
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal { number, core } => {
                write!(f, "signal {number}")?;
                if let Some(name) = signal::name(number) {
                    write!(f, " ({name})")?;
                }
                if core {
                    write!(f, ", core dumped")?;
                }
                Ok(())
            }
        }
    }
}

/// A child that exited, if there is one, without letting go of its number.
///
/// Until [`reap`] its number, and that of the group it led, are nobody else's, so what is left of
/// the group can be signalled safely. Returns the same child again until then.
pub fn next() -> io::Result<Option<(u32, Exit)>> {
    wait(libc::P_ALL, 0, libc::WNOWAIT)
}

/// Lets go of a child that [`next`] returned.
pub fn reap(pid: u32) -> io::Result<()> {
    wait(libc::P_PID, pid, 0).map(drop)
}

/// Waits for the end of a child that is about to exit, and lets go of it.
pub(crate) fn await_and_reap(pid: u32) -> io::Result<()> {
    wait_for(libc::P_PID, pid, libc::WEXITED).map(drop)
}

/// Makes this process the parent of descendants whose own parents exit, so that it can reap them.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

fn wait(kind: libc::idtype_t, pid: u32, flags: libc::c_int) -> io::Result<Option<(u32, Exit)>> {
    wait_for(kind, pid, flags | libc::WEXITED | libc::WNOHANG)
}

#[expect(unsafe_code, reason = "rustix's waitid does not say which process it was")]
fn wait_for(kind: libc::idtype_t, pid: u32, flags: libc::c_int) -> io::Result<Option<(u32, Exit)>> {
    // SAFETY: siginfo_t is plain data; all zero is how it says that no child exited.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a live local that the call fills in.
    while unsafe { libc::waitid(kind, pid, &raw mut info, flags) } != 0 {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(error),
        }
    }
    // SAFETY: zeroed above, or filled in for a child; both fields are valid then.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let Some(pid) = u32::try_from(pid).ok().filter(|&pid| pid != 0) else {
        return Ok(None);
    };
    let exit = match info.si_code {
        libc::CLD_EXITED => Exit::Status(status),
        code => Exit::Signal { number: status, core: code == libc::CLD_DUMPED },
    };
    Ok(Some((pid, exit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_read_like_an_operator_says_them() {
        let table = [
            (Exit::Status(1), "exit status 1"),
            (Exit::Signal { number: 9, core: false }, "signal 9 (KILL)"),
            (Exit::Signal { number: 11, core: true }, "signal 11 (SEGV), core dumped"),
            (Exit::Signal { number: 40, core: false }, "signal 40"),
        ];
        for (exit, text) in table {
            assert_eq!(exit.to_string(), text);
        }
    }
}
