//! What no event tells of, looked at again and again while there is something to look at.

use std::time::Duration;

use evergate_core::supervise::fleet::{Input, Run};
use evergate_core::time::Instant;

use super::{Apps, Audience, Known};

/// How often it is looked whether what ends is gone. A signal tells of all but what never was our
/// child.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// How often pipes are looked at that nobody reads.
const RELIEVE_EVERY: Duration = Duration::from_millis(250);
/// How often memory is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// When to look next.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    sweep_at: Option<Instant>,
    relieve_at: Option<Instant>,
    measure_at: Option<Instant>,
}

impl Clocks {
    /// The next of all.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.sweep_at, self.relieve_at, self.measure_at].into_iter().flatten().min()
    }
}

impl Apps {
    /// Looks at what is due.
    pub(super) fn watch(&mut self, now: Instant) {
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if is_due(&mut self.clocks.sweep_at) {
            self.retire();
            self.kill_again();
            self.sweep(now);
        }
        if is_due(&mut self.clocks.relieve_at) {
            let pipes = self.processes.values_mut().filter_map(|one| one.talk.pipe.as_mut());
            pipes.for_each(|pipe| pipe.relieve(now));
        }
        if is_due(&mut self.clocks.measure_at) {
            self.measure(now);
        }
    }

    /// Winds the clocks of what there is to look at, and stops the others.
    pub(super) fn set_clocks(&mut self, now: Instant) {
        let processes = || self.processes.iter();
        let has_rest = self.has_retired
            || !self.retiring.is_empty()
            || processes().any(|(_, process)| process.pid().is_none());
        let is_unread = self.audience != Audience::Serving
            && processes().any(|(_, process)| process.talk.pipe.is_some());
        let is_watched =
            processes().any(|(run, _)| self.known.get(&run.app).is_some_and(Known::is_watched));
        let clocks = &mut self.clocks;
        for (clock, runs, every) in [
            (&mut clocks.sweep_at, has_rest, SWEEP_EVERY),
            (&mut clocks.relieve_at, is_unread, RELIEVE_EVERY),
            (&mut clocks.measure_at, is_watched, MEASURE_EVERY),
        ] {
            *clock = runs.then(|| clock.unwrap_or(now + every));
        }
    }

    fn measure(&mut self, now: Instant) {
        let known = &self.known;
        let is_watched = |run: &Run| known.get(&run.app).is_some_and(Known::is_watched);
        let watched = self.processes.iter_mut().filter(|(run, _)| is_watched(run));
        let measured = watched.map(|(run, process)| (run.clone(), process.rss()));
        for (run, rss) in measured.collect::<Vec<_>>() {
            self.feed(now, Input::Measured { run, rss });
        }
    }

    /// Removes control groups that nobody needs any more.
    pub(super) fn retire(&mut self) {
        for group in self.retiring.drain(..) {
            self.supplies.cgroups.retire(group);
        }
        self.has_retired = self.supplies.cgroups.sweep();
    }

    fn kill_again(&mut self) {
        for (run, process) in &mut self.processes {
            if let Some(known) = self.known.get(&run.app) {
                process.kill_again(known.app.stop);
            }
        }
    }
}
