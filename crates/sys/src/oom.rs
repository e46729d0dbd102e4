//! Processes that the kernel killed because memory ran out, counted for the whole machine.
//!
//! The count does not say whom. A process that was killed while it grew is taken for one of them:
//! right unless somebody kills a process just when the kernel kills another. Control groups that
//! count memory know better ([`crate::cgroup::Group::oom_kills`]).

use std::fs::File;
use std::io::Read;

/// More than the whole list takes: the kernel makes it anew for each look, so it is read at once.
const VMSTAT_BYTES: usize = 32 * 1024;

/// The count, as it was last looked at.
#[derive(Debug)]
pub struct Kills {
    seen: Option<u64>,
}

impl Kills {
    /// From now on.
    pub fn now() -> Self {
        Self { seen: count() }
    }

    /// Whether there were some since this was last asked. No, where nobody counts (before Linux
    /// 4.13).
    pub fn have_grown(&mut self) -> bool {
        let now = count();
        let before = std::mem::replace(&mut self.seen, now);
        before.zip(now).is_some_and(|(before, now)| now > before)
    }
}

/// Kills since the machine started.
fn count() -> Option<u64> {
    let mut text = Vec::with_capacity(VMSTAT_BYTES);
    File::open("/proc/vmstat").ok()?.take(VMSTAT_BYTES as u64).read_to_end(&mut text).ok()?;
    parse(std::str::from_utf8(&text).ok()?)
}

fn parse(vmstat: &str) -> Option<u64> {
    let mut lines = vmstat.lines();
    lines.find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_others() {
        let vmstat = "nr_free_pages 5\noom_kill 12\nnuma_hit 7\n";
        assert_eq!(parse(vmstat), Some(12));
        assert_eq!(parse("oom_kill_disable 3\n"), None);
    }

    #[test]
    fn only_a_count_that_has_grown_tells_of_kills() {
        let mut kills = Kills { seen: Some(0) };
        let before = count();
        kills.have_grown();
        // Tests beside this one may let the kernel kill, so only the memory of it is certain.
        assert!(kills.seen >= before);
        assert!(!Kills { seen: None }.have_grown());
        assert!(!Kills { seen: Some(u64::MAX) }.have_grown());
    }
}
