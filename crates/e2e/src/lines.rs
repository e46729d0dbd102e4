//! What a process prints, line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// Lines as they come out of a process.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    shared: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Lines {
    pub(crate) fn of(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let shared = Arc::clone(&lines.shared);
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                shared.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                shared.1.notify_all();
            }
        });
        lines
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Waits until `count` lines hold `text`, and returns them.
    pub fn wait_for(&self, count: usize, text: &str) -> Vec<String> {
        self.wait_for_within(PATIENCE, count, text)
    }

    /// The same with another patience.
    pub fn wait_for_within(&self, patience: Duration, count: usize, text: &str) -> Vec<String> {
        let until = Instant::now() + patience;
        let mut lines = self.lock();
        loop {
            let found: Vec<_> = lines.iter().filter(|line| line.contains(text)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited for {count} lines with {text:?} in {lines:#?}");
            let waited = self.shared.1.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn text(&self) -> String {
        self.last(usize::MAX)
    }

    pub(crate) fn last(&self, count: usize) -> String {
        let lines = self.lock();
        let start = lines.len().saturating_sub(count);
        lines[start..].iter().map(|line| format!("{line}\n")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
