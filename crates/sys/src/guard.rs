//! The way back of a process that has become another program in place ([`crate::exec`]): until that is
//! known to go on as the first one did, whatever ends it makes it the first one again.
//!
//! A crash is caught by handlers on a stack of their own, a hang by an interval timer, a panic by
//! way of SIGABRT. The handler makes two system calls with what was laid out before.

use std::ffi::{CString, OsString, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;
use std::{fmt, io, ptr};

use crate::exec;
use crate::strings::Strings;

/// Signals that mean that a program has failed; the last one is the guard's own, of time.
const FATAL: [c_int; 8] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGALRM,
];
/// Number of the signal by which a guard tells that its time is over.
pub const TIME_OVER: i32 = libc::SIGALRM;
/// Room for the handler, which needs next to nothing: the kernel's frame is the most of it.
const STACK_BYTES: usize = 64 * 1024;
/// Where the handler writes the number of the signal.
const NUMBER_AT: usize = "signal ".len();
/// Status of a process that can neither go on nor back.
const LOST_STATUS: c_int = 70;

/// What the handler needs; never freed once it was shown to a handler.
struct Way {
    image: RawFd,
    argv: Strings,
    envp: Strings,
    /// The last argument, `signal 00`, with the digits to be filled in.
    why: *mut u8,
    /// The signals that the process had blocked.
    mask: libc::sigset_t,
}

/// What the handler goes by.
static WAY: AtomicPtr<Way> = AtomicPtr::new(ptr::null_mut());

/// Makes this process the program that it was before, if it fails, until [`Guard::disarm`].
///
/// What is still to be open then must neither be closed nor marked to be closed on exec until the
/// guard is disarmed. One at a time.
#[must_use = "a guard that is dropped guards no more"]
#[derive(Debug)]
pub struct Guard {
    // The first to go: nothing that it leads to may be gone before it.
    _trap: Trap,
    image: OwnedFd,
    argv: Vec<OsString>,
}

/// Handlers, their stack, and what was there before.
struct Trap {
    handlers: Vec<(c_int, libc::sigaction)>,
    stack_before: Option<libc::stack_t>,
    stack: Box<[MaybeUninit<u8>]>,
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trap").finish_non_exhaustive()
    }
}

impl Guard {
    /// Has the process become the binary open as `image` again if it crashes, panics, or has not
    /// disarmed the guard `within` this time. It is given `argv` and one argument more: `signal` and
    /// the number that it failed with.
    ///
    /// Call it first thing in `main`. `image` must not be closed on exec. A panic anywhere ends in
    /// SIGABRT from here on, without unwinding.
    pub fn arm(image: OwnedFd, argv: Vec<OsString>, within: Duration) -> io::Result<Self> {
        // Whoever got here out of a handler finds that handler's signals blocked.
        unblock()?;
        let (mut prepared, envp) = exec::prepare(&argv)?;
        let why = CString::new("signal 00").expect("no NUL byte").into_raw();
        prepared.push(why);
        let mask = mask()?;
        let way = Way { image: image.as_raw_fd(), argv: prepared, envp, why: why.cast(), mask };
        WAY.store(Box::into_raw(Box::new(way)), Ordering::Release);
        let guard = Self { _trap: Trap::set()?, image, argv };
        set_timer(within)?;
        Ok(guard)
    }

    /// Lets go: from here on the process is what it is. Returns the binary that it was before.
    pub fn disarm(self) -> OwnedFd {
        self.image
    }

    /// Becomes the binary from before by the process's own wish; `why` is the last argument in place
    /// of a signal's. Returns only if that cannot be.
    pub fn go_back(&self, why: &str) -> io::Error {
        if let Err(error) = set_timer(Duration::ZERO) {
            return error;
        }
        let mut argv = self.argv.clone();
        argv.push(why.into());
        exec::replace(self.image.as_fd(), &argv, &[])
    }
}

impl Trap {
    fn set() -> io::Result<Self> {
        let stack = vec![MaybeUninit::uninit(); STACK_BYTES].into_boxed_slice();
        let mut trap = Self { handlers: Vec::new(), stack_before: None, stack };
        trap.stack_before = Some(use_stack(&stack_in(&mut trap.stack))?);
        for signal in FATAL {
            trap.handlers.push((signal, install(signal)?));
        }
        std::panic::set_hook(Box::new(abort_with_words));
        Ok(trap)
    }
}

impl Drop for Trap {
    /// Puts back what was there.
    fn drop(&mut self) {
        let _ = set_timer(Duration::ZERO);
        drop(std::panic::take_hook());
        for (signal, before) in self.handlers.drain(..) {
            let _ = set_action(signal, &before);
        }
        let is_free = self.stack_before.is_none_or(|before| use_stack(&before).is_ok());
        if !is_free {
            std::mem::forget(std::mem::take(&mut self.stack));
        }
        WAY.store(ptr::null_mut(), Ordering::Release);
    }
}

/// Has signals that mean a failure have their effect again, and stops a guard's timer: what a process
/// does first that a guard brought back.
pub fn clear() -> io::Result<()> {
    set_timer(Duration::ZERO)?;
    unblock()
}

/// Says what panicked and where, like the standard library; then goes the way of every crash.
fn abort_with_words(panic: &std::panic::PanicHookInfo<'_>) {
    crate::stderr::print(format!("{panic}\n").as_bytes());
    std::process::abort()
}

/// What runs when the process has failed: async-signal-safe calls only (signal-safety(7)).
#[expect(unsafe_code, reason = "a signal handler")]
extern "C" fn fail(signal: c_int) {
    let way = WAY.load(Ordering::Acquire);
    // SAFETY: null, or what `arm` leaked.
    if let Some(way) = unsafe { way.as_ref() } {
        let (tens, ones) = (signal / 10 % 10, signal % 10);
        // SAFETY: the string has room for both digits, and nobody else writes to it or reads it: the
        // handler blocks every signal.
        unsafe {
            way.why.add(NUMBER_AT).write(b'0' + tens as u8);
            way.why.add(NUMBER_AT + 1).write(b'0' + ones as u8);
        }
        let _ = set_timer(Duration::ZERO);
        // An exec keeps the mask, and that of a handler has every signal in it.
        // SAFETY: the set was filled in by `arm`; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const way.mask, ptr::null_mut()) };
        exec::become_image(way.image, &way.argv, &way.envp);
    }
    const LOST: &[u8] = b"evergate: the new binary failed, and the old one cannot be run again\n";
    // SAFETY: the text is static; there is no more to do than to end.
    unsafe {
        libc::write(2, LOST.as_ptr().cast(), LOST.len());
        libc::_exit(LOST_STATUS)
    }
}

#[expect(unsafe_code, reason = "rustix leaves signal dispositions to the C library")]
fn install(signal: c_int) -> io::Result<libc::sigaction> {
    // SAFETY: sigaction is plain data, of which zero is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = fail as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK;
    // SAFETY: a live local.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    set_action(signal, &action)
}

/// Sets what `signal` does, and returns what it did.
#[expect(unsafe_code, reason = "rustix leaves signal dispositions to the C library")]
fn set_action(signal: c_int, action: &libc::sigaction) -> io::Result<libc::sigaction> {
    // SAFETY: sigaction is plain data, of which zero is a valid value.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both are live. The handler is either `fail`, which keeps to async-signal-safe calls, or
    // what the process had before.
    match unsafe { libc::sigaction(signal, action, &raw mut before) } {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}

fn stack_in(room: &mut [MaybeUninit<u8>]) -> libc::stack_t {
    libc::stack_t { ss_sp: room.as_mut_ptr().cast(), ss_flags: 0, ss_size: room.len() }
}

fn no_stack() -> libc::stack_t {
    libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 }
}

/// Has handlers run on `stack`, and returns the one before.
#[expect(unsafe_code, reason = "rustix leaves signal stacks to the C library")]
fn use_stack(stack: &libc::stack_t) -> io::Result<libc::stack_t> {
    let mut before = no_stack();
    // SAFETY: both are live locals; the memory of the stack outlives its use, for the guard that
    // holds it puts the one before back first, or is never dropped.
    match unsafe { libc::sigaltstack(stack, &raw mut before) } {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The signals that this thread has blocked.
#[expect(unsafe_code, reason = "rustix leaves signal masks to the C library")]
fn mask() -> io::Result<libc::sigset_t> {
    // SAFETY: sigset_t is plain data, of which zero is a valid value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: without a set there is nothing to change; the other one is a live local.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut set) };
    if error == 0 { Ok(set) } else { Err(io::Error::from_raw_os_error(error)) }
}

#[expect(unsafe_code, reason = "rustix leaves signal masks to the C library")]
fn unblock() -> io::Result<()> {
    // SAFETY: sigset_t is plain data; the set is a live local that the calls fill in and read.
    let error = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in FATAL {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Has SIGALRM come `within` this time, once; never if that is zero.
#[expect(unsafe_code, reason = "rustix has no interval timers")]
fn set_timer(within: Duration) -> io::Result<()> {
    let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let once =
        libc::timeval { tv_sec: within.as_secs() as _, tv_usec: within.subsec_micros() as _ };
    let timer = libc::itimerval { it_interval: never, it_value: once };
    // SAFETY: the timer is a live local that is only read.
    match unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
