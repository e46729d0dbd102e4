//! Signals: waiting for them like for any descriptor, and sending them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{Pid, Signal as Raw};

/// The signals that Evergate receives or sends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each variant is the signal of the same name")]
pub enum Signal {
    Hangup,
    Interrupt,
    Quit,
    Kill,
    User1,
    User2,
    Terminate,
    Child,
    Continue,
    Stop,
    Window,
}

impl Signal {
    const ALL: [Self; 11] = [
        Self::Hangup,
        Self::Interrupt,
        Self::Quit,
        Self::Kill,
        Self::User1,
        Self::User2,
        Self::Terminate,
        Self::Child,
        Self::Continue,
        Self::Stop,
        Self::Window,
    ];

    /// The signal with this number, if it is one of these.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.raw().as_raw() == number)
    }

    fn raw(self) -> Raw {
        match self {
            Self::Hangup => Raw::HUP,
            Self::Interrupt => Raw::INT,
            Self::Quit => Raw::QUIT,
            Self::Kill => Raw::KILL,
            Self::User1 => Raw::USR1,
            Self::User2 => Raw::USR2,
            Self::Terminate => Raw::TERM,
            Self::Child => Raw::CHILD,
            Self::Continue => Raw::CONT,
            Self::Stop => Raw::STOP,
            Self::Window => Raw::WINCH,
        }
    }
}

/// Signals that wait to be read instead of interrupting.
///
/// They stay blocked for the life of the process, so make it before there are other threads.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks `signals` for the calling thread and those it starts, and collects them.
    #[expect(unsafe_code, reason = "rustix has no signalfd")]
    pub fn block(signals: &[Signal]) -> io::Result<Self> {
        // SAFETY: a zeroed sigset_t is a valid place for sigemptyset to fill in.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a live local of the right type, and the numbers are valid signals.
        unsafe {
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                libc::sigaddset(&raw mut set, signal.raw().as_raw());
            }
        }
        // SAFETY: the set is initialised; the old mask is not asked for.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is initialised and only read; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call just returned it, and nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next signal, or `None` if none waits. The same one sent twice may come up once.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        // One signalfd_siginfo, which begins with the number of the signal.
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut info)) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        Ok(Some(Signal::from_number(number).expect("only signals of the enum were blocked")))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends `signal` to the process `pid`; `NotFound`-like (`ESRCH`) if there is none.
///
/// Only for children that were not reaped yet: any other pid may be a stranger's by now.
pub fn send(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::kill_process(parse(pid)?, signal.raw())?)
}

/// Sends `signal` to every process of the group that `pid` leads; see [`send`].
pub fn send_group(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::kill_process_group(parse(pid)?, signal.raw())?)
}

/// Sends `signal` to the process `pid` if `is_it` says that it is still the one that is meant;
/// whether it did.
///
/// For processes that others may reap, so that their number may be a stranger's by now: `is_it` is
/// asked once the process is pinned, and what it says stays true of whoever gets the signal. On
/// kernels without pidfds (before 5.3) it is asked right before.
pub fn send_if(pid: u32, signal: Signal, is_it: impl Fn() -> bool) -> io::Result<bool> {
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

    match pidfd_open(parse(pid)?, PidfdFlags::empty()) {
        Ok(pinned) if is_it() => match pidfd_send_signal(&pinned, signal.raw()) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        },
        Ok(_) | Err(Errno::SRCH) => Ok(false),
        // To pin needs no right, so a refusal means a filter that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) if is_it() => match send(pid, signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            sent => sent.map(|()| true),
        },
        Err(Errno::NOSYS | Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The name of a signal without `SIG`, if it has one.
pub fn name(number: i32) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    NAMES.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

fn parse(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // 0 and negative numbers would reach whole groups, our own among them.
    pid.filter(|pid| pid.as_raw_nonzero().get() > 1).ok_or(io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_are_read_in_turn() {
        // Only this thread blocks it, so it must be sent to this thread; user signals would
        // otherwise end the test run.
        let signals = Signals::block(&[Signal::User1, Signal::User2]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        for signal in [Signal::User2, Signal::User1] {
            raise(signal);
            assert_eq!(signals.next().unwrap(), Some(signal));
            assert_eq!(signals.next().unwrap(), None);
        }
    }

    #[expect(unsafe_code, reason = "to signal one thread in a process full of test threads")]
    fn raise(signal: Signal) {
        // SAFETY: signals the calling thread, which exists.
        assert_eq!(unsafe { libc::raise(signal.raw().as_raw()) }, 0);
    }

    #[test]
    fn numbers_that_would_reach_a_crowd_are_refused() {
        for pid in [0, 1, u32::MAX] {
            for result in [send(pid, Signal::Kill), send_group(pid, Signal::Kill)] {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{pid}");
            }
        }
    }

    #[test]
    fn a_signal_reaches_a_process_only_if_it_is_the_one_that_is_meant() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(!send_if(child.id(), Signal::Kill, || false).unwrap());
        assert!(child.try_wait().unwrap().is_none(), "spared");
        assert!(send_if(child.id(), Signal::Kill, || true).unwrap());
        child.wait().unwrap();
        assert!(!send_if(child.id(), Signal::Kill, || true).unwrap(), "nobody is there");
        assert!(send_if(1, Signal::Kill, || true).is_err());
    }

    #[test]
    fn signals_have_their_usual_names() {
        let expected = [(1, "HUP"), (9, "KILL"), (11, "SEGV"), (15, "TERM"), (31, "SYS")];
        for (number, text) in expected {
            assert_eq!(name(number), Some(text));
        }
        assert_eq!((name(0), name(-1), name(32)), (None, None, None));
    }
}
