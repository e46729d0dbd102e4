//! Virtual addresses in the loop.

use evergate_control::link::{self, Severity, ToWorker};
use evergate_core::standby;
use evergate_sys::clock;
use rustix::event::epoll::{self, EventFlags};

use super::{Keeper, STANDBY};
use crate::link::Link;
use crate::report;
use crate::standby::Retreat;
use crate::workers::Worker;

impl Keeper {
    /// Gives virtual addresses their turn: what has arrived, what is due, what follows. Called
    /// between everything that may take a while.
    pub(super) fn attend(&mut self) {
        let now = clock::now();
        self.standby.attend(now, &self.apps, &self.sockets);
        self.standby.call_hooks(now, self.apps.users().worker());
        if let Some(Retreat { addresses, within }) = self.standby.take_retreat() {
            let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
            self.send_to_all(&ToWorker::Retreat { addresses, within_ms });
        }
        for note in self.standby.take_notes() {
            let severity = match note.severity {
                standby::Severity::Info => Severity::Info,
                standby::Severity::Warn => Severity::Warn,
                standby::Severity::Error => Severity::Error,
            };
            self.apps.note(severity, note.kind, note.subject, &note.reason);
        }
    }

    /// Has virtual addresses be as they should, from now on.
    pub(super) fn apply_standby(&mut self, wish: link::Standby, run_dir: Option<&str>) {
        let was_there = self.standby.events().is_some();
        self.standby.apply(clock::now(), wish, run_dir);
        if let (Some(events), false) = (self.standby.events(), was_there)
            && let Err(error) = epoll::add(&self.events, events, STANDBY, EventFlags::IN)
        {
            report(format_args!("adverts are not heard in time: {error}"));
        }
    }

    /// Tells every worker how virtual addresses are, if it is time. One that does not keep up hears
    /// it next time: this is said so often that it would look like one that hangs.
    pub(super) fn tell_standby(&mut self) {
        let Some(news) = self.standby.take_news(clock::now()) else {
            return;
        };
        let message = ToWorker::Standby(news);
        for generation in self.workers.generations() {
            let worker = self.workers.get(generation);
            let keeps_up = |worker: &Worker| {
                let is_waiting = worker.link.as_ref().is_none_or(Link::is_waiting);
                worker.version.is_some() && !is_waiting
            };
            if worker.is_some_and(keeps_up) {
                self.send(generation, &message, vec![]);
            }
        }
    }
}
