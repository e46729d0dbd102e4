//! Processes that the kernel kills because memory ran out: sparing oneself, and counting those without
//! a control group of their own.
//!
//! The count does not say whom: a process that was killed while it grew is taken for one of them.
//! It is that of the group that we and they are in, if there is one, so that nobody counts who ran
//! into a limit of a group; else that of the whole machine.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// More than the whole list takes: the kernel makes it anew for each look, so it is read at once.
const COUNTS_BYTES: usize = 32 * 1024;

/// The count, as it was last looked at.
#[derive(Debug)]
pub struct Kills {
    file: PathBuf,
    seen: Option<u64>,
}

impl Kills {
    /// From now on, as `file` counts them: `/proc/vmstat`, or `memory.oom_control` of a group.
    pub(crate) fn counted_by(file: PathBuf) -> Self {
        let mut kills = Self { file, seen: None };
        kills.seen = kills.count();
        kills
    }

    /// The count when it was last looked at, for [`Kills::since`].
    pub fn seen(&self) -> Option<u64> {
        self.seen
    }

    /// The same count, from when it was `seen` on.
    pub fn since(mut self, seen: Option<u64>) -> Self {
        self.seen = seen.or(self.seen);
        self
    }

    /// Whether there were some since this was last asked. No, where nobody counts (before Linux
    /// 4.13).
    pub fn have_grown(&mut self) -> bool {
        let now = self.count();
        let before = std::mem::replace(&mut self.seen, now);
        before.zip(now).is_some_and(|(before, now)| now > before)
    }

    fn count(&self) -> Option<u64> {
        let mut text = Vec::with_capacity(COUNTS_BYTES);
        let file = File::open(&self.file).ok()?;
        file.take(COUNTS_BYTES as u64).read_to_end(&mut text).ok()?;
        let mut lines = std::str::from_utf8(&text).ok()?.lines();
        lines.find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }
}

/// Has the kernel look for others first when memory runs out: this process's score becomes `score`
/// (-1000: never this one, to 1000) unless it is lower already. Children inherit it, but for those of
/// [`crate::child`]. Needs `CAP_SYS_RESOURCE`.
pub fn spare(score: i16) -> std::io::Result<()> {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let now: Option<i16> = std::fs::read_to_string(SCORE)?.trim().parse().ok();
    if now.is_some_and(|now| now <= score) {
        return Ok(());
    }
    std::fs::write(SCORE, score.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_has_grown_tells_of_kills_once() {
        let file = std::env::temp_dir().join(format!("evergate-oom-{}", std::process::id()));
        let write = |count| {
            let text = format!("oom_kill_disable 3\nunder_oom 0\noom_kill {count}\n");
            std::fs::write(&file, text).unwrap();
        };
        write(5);
        let mut kills = Kills::counted_by(file.clone());
        assert!(!kills.have_grown());
        write(7);
        assert!(kills.have_grown());
        assert!(!kills.have_grown());
        // Whoever goes on from an earlier count misses none.
        let mut next = Kills::counted_by(file.clone()).since(Some(6));
        assert_eq!((next.have_grown(), next.seen()), (true, Some(7)));
        std::fs::remove_file(&file).unwrap();
        assert!(!kills.have_grown() && !Kills::counted_by(file).have_grown());
    }
}
