//! What a loop that must not be late asks of the kernel: to run before others, from memory that stays,
//! and not to be what is killed when memory runs out.
//!
//! Nothing depends on it that could not be done without; what is refused is told.

use std::io;

use evergate_sys::{oom, real_time};

use super::Running;
use crate::{OOM_SCORE, REAL_TIME_PRIORITY};

impl Running {
    /// Asks for it, and tells what was refused. After an exec it is asked for again: memory locks are
    /// lost then.
    pub(super) fn make_haste(&mut self) {
        for (subject, why) in make() {
            self.problems.insert(subject.to_owned(), why);
        }
    }
}

/// Returns what was refused, for people, by what it is about.
fn make() -> Vec<(&'static str, String)> {
    let priority = real_time::set_priority(REAL_TIME_PRIORITY);
    let memory = real_time::lock_memory();
    // As most processes, if it may not.
    let _ = oom::spare(OOM_SCORE);
    let refused = |subject, what: &str, outcome: io::Result<()>| {
        Some((subject, format!("{what}: {}", outcome.err()?)))
    };
    let all = [
        refused(
            "timers",
            "they may be late: no real-time priority (CAP_SYS_NICE, LimitRTPRIO)",
            priority,
        ),
        refused(
            "memory",
            "timers may be late: it cannot be locked (CAP_IPC_LOCK, LimitMEMLOCK)",
            memory,
        ),
    ];
    all.into_iter().flatten().collect()
}

/// There is no hurry any more. Whoever is spared when memory runs out may stay so.
pub(super) fn unmake() {
    // What was not had need not be given back.
    let _ = real_time::unset_priority();
    let _ = real_time::unlock_memory();
}
