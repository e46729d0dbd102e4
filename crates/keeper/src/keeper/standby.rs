//! Virtual addresses in the loop.

use evergate_control::link::{self, Severity, ToWorker};
use evergate_core::standby;
use evergate_sys::clock;
use rustix::event::epoll::{self, EventFlags};

use super::{Keeper, STANDBY};
use crate::report;

impl Keeper {
    /// Gives virtual addresses their turn: what has arrived, what is due, what follows. Called
    /// between everything that may take a while.
    pub(super) fn attend(&mut self) {
        let now = clock::now();
        self.standby.attend(now, &self.apps, &self.sockets);
        self.standby.call_hooks(now, self.apps.users().worker());
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

    /// Tells every worker how virtual addresses are, if it is time.
    pub(super) fn tell_standby(&mut self) {
        if let Some(news) = self.standby.take_news(clock::now()) {
            self.send_to_all(&ToWorker::Standby(news));
        }
    }
}
