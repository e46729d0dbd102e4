//! What has happened and is still to be told.

use std::collections::VecDeque;

use evergate_control::link::{Happening, Severity};

/// Most events that wait for a worker; the oldest is dropped first, and counted.
const WAITING_MAX: usize = 256;
/// Longest reason of an event, in bytes.
const REASON_BYTES_MAX: usize = 2000;

/// Events on their way to a worker.
#[derive(Debug, Default)]
pub(super) struct News {
    waiting: VecDeque<Happening>,
    lost: u64,
}

impl News {
    /// Adds an event.
    pub(super) fn push(&mut self, severity: Severity, kind: &str, subject: String, reason: &str) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
            self.lost += 1;
        }
        let reason = super::cut(reason.to_owned(), REASON_BYTES_MAX);
        self.waiting.push_back(Happening { severity, kind: kind.to_owned(), subject, reason });
    }

    /// What waits, and how much of it is missing.
    pub(super) fn carry(&self) -> (Vec<Happening>, u64) {
        (self.waiting.iter().cloned().collect(), self.lost)
    }

    /// News that were carried.
    pub(super) fn resume(waiting: Vec<Happening>, lost: u64) -> Self {
        Self { waiting: waiting.into(), lost }
    }

    /// Everything since the last call; first of all how much of it is missing.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Happening> {
        let lost = std::mem::take(&mut self.lost);
        let gap = (lost > 0).then(|| Happening {
            severity: Severity::Warn,
            kind: "events_lost".to_owned(),
            subject: "keeper".to_owned(),
            reason: format!("{lost} earlier events were dropped while there was no worker"),
        });
        gap.into_iter().chain(std::mem::take(&mut self.waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_are_dropped_and_counted() {
        let mut news = News::default();
        for number in 0..WAITING_MAX + 3 {
            news.push(Severity::Info, "test", format!("app.shop/{number}"), "why");
        }
        let told: Vec<_> = news.take().collect();
        assert_eq!(told.len(), WAITING_MAX + 1);
        assert!(told[0].reason.starts_with("3 earlier events"), "{:?}", told[0]);
        assert_eq!(told[1].subject, "app.shop/3");
        assert_eq!(news.take().count(), 0);
    }
}
