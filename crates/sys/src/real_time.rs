//! Running before everybody else, and from memory that stays: for loops that must not be late.

use std::io;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Runs the calling thread before all that is not real-time, first come first served, until it waits.
/// Its children do not: they begin with the normal policy. 1 to 99, of which the highest runs first.
///
/// Kept across an exec. Needs `CAP_SYS_NICE`, or a limit (`RLIMIT_RTPRIO`) that allows it.
#[expect(unsafe_code, reason = "rustix has no scheduling policies, and musl refuses to set one")]
pub fn set_priority(priority: u8) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: priority.into() };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameter is a live local that the call only reads.
    let set = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const param) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the calling thread be one of many again.
#[expect(unsafe_code, reason = "rustix has no scheduling policies, and musl refuses to set one")]
pub fn unset_priority() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter is a live local that the call only reads.
    let set = unsafe {
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, &raw const param)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the calling thread runs before all that is not real-time.
#[expect(unsafe_code, reason = "rustix has no scheduling policies")]
pub fn has_priority() -> bool {
    // SAFETY: takes and returns plain numbers.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) } as libc::c_int;
    matches!(policy & !libc::SCHED_RESET_ON_FORK, libc::SCHED_FIFO | libc::SCHED_RR)
}

/// Keeps every page that this process uses, or will use, in memory once it was used. Lost with an
/// exec, and not the children's. Needs `CAP_IPC_LOCK`, or no limit (`RLIMIT_MEMLOCK`): under one, what
/// is allocated later might fail, so then it is refused (`PermissionDenied`).
pub fn lock_memory() -> io::Result<()> {
    let is_allowed = capabilities(None)?.effective.contains(CapabilitySet::IPC_LOCK);
    if !is_allowed && getrlimit(Resource::Memlock).current.is_some() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    lock(libc::MCL_CURRENT | libc::MCL_FUTURE)
}

/// The same of what the process has now, and not of what it will have: for those that are about to
/// give up the right to it.
pub fn lock_present_memory() -> io::Result<()> {
    lock(libc::MCL_CURRENT)
}

#[expect(unsafe_code, reason = "rustix leaves all of memory to the C library")]
fn lock(what: libc::c_int) -> io::Result<()> {
    // What was never used costs nothing this way: a program uses little of its own file.
    let flags = what | libc::MCL_ONFAULT;
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
    fn memory_is_locked_where_that_is_allowed() {
        let locked = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        assert_eq!(locked(), 0);
        if let Err(error) = lock_memory() {
            eprintln!("skipped: no locked memory here: {error}");
            return;
        }
        assert!(locked() > 0);
        unlock_memory().unwrap();
        assert_eq!(locked(), 0);
        lock_present_memory().unwrap();
        assert!(locked() > 0);
        unlock_memory().unwrap();
    }
}
