//! Running before everybody else, and from memory that stays: for loops that must not be late.

use std::ffi::c_int;
use std::io;

use rustix::process::{Resource, getrlimit};

use crate::privilege::{Right, has};

/// Runs the calling thread before all that is not real-time, first come first served, until it waits.
/// Its children do not: they begin with the normal policy. 1 to 99, of which the highest runs first.
///
/// Kept across an exec. Needs `CAP_SYS_NICE`, or a limit (`RLIMIT_RTPRIO`) that allows it.
pub fn set_priority(priority: u8) -> io::Result<()> {
    set_policy(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, priority)
}

/// Has the calling thread be one of many again. Allocates nothing.
pub fn unset_priority() -> io::Result<()> {
    set_policy(libc::SCHED_OTHER, 0)
}

#[expect(unsafe_code, reason = "rustix has no scheduling policies, and musl refuses to set one")]
fn set_policy(policy: c_int, priority: u8) -> io::Result<()> {
    // All that the kernel knows of a `sched_param`; that of musl has more in it.
    let priority = c_int::from(priority);
    // SAFETY: the parameter is a live local that the call only reads.
    let set =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the calling thread runs before all that is not real-time. Allocates nothing.
#[expect(unsafe_code, reason = "rustix has no scheduling policies")]
pub fn has_priority() -> bool {
    // SAFETY: takes and returns plain numbers.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) } as c_int;
    matches!(policy & !libc::SCHED_RESET_ON_FORK, libc::SCHED_FIFO | libc::SCHED_RR)
}

/// Keeps every page that this process uses, or will use, in memory once it was used. Lost with an
/// exec, and not the children's. Needs `CAP_IPC_LOCK`, for as long as the memory is locked, or no limit
/// (`RLIMIT_MEMLOCK`, `LimitMEMLOCK=infinity`).
///
/// # Errors
/// With a limit it is refused even where all fits now: whatever asks for memory later, once it does
/// not fit any more, would be refused that memory, and that ends the process.
#[expect(unsafe_code, reason = "rustix leaves all of memory to the C library")]
pub fn lock_memory() -> io::Result<()> {
    if let (Some(bytes), false) = (getrlimit(Resource::Memlock).current, has(Right::IpcLock)) {
        let why = format!("no more than {bytes} bytes may be");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    // What was never used costs nothing this way: a program uses little of its own file.
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: changes where pages are kept, and nothing that a program sees.
    if unsafe { libc::mlockall(flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets pages go again.
#[expect(unsafe_code, reason = "rustix leaves all of memory to the C library")]
pub fn unlock_memory() -> io::Result<()> {
    // SAFETY: changes where pages are kept, and nothing that a program sees.
    if unsafe { libc::munlockall() } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_real_time_where_that_is_allowed_and_what_it_starts_is_not() {
        // In a thread of its own: the policy is a thread's.
        let tested = std::thread::spawn(|| {
            assert!(!has_priority());
            if let Err(error) = set_priority(1) {
                eprintln!("skipped: no real-time priority here: {error}");
                return;
            }
            assert!(has_priority());
            assert!(!std::thread::spawn(has_priority).join().unwrap(), "reset on fork");
            unset_priority().unwrap();
            assert!(!has_priority());
        });
        tested.join().unwrap();
    }

    #[test]
    fn what_is_not_allowed_is_refused_before_it_does_harm() {
        // In a thread of its own, because there is no way back.
        let tested = std::thread::spawn(|| {
            crate::privilege::keep_only(&[]).unwrap();
            if getrlimit(Resource::Memlock).current.is_some() {
                let error = lock_memory().unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                assert!(error.to_string().starts_with("no more than "), "{error}");
            }
            if getrlimit(Resource::Rtprio).current == Some(0) {
                assert_eq!(set_priority(1).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            }
        });
        tested.join().unwrap();
    }
}
