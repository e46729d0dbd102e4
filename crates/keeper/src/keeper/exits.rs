//! Children that exited.

use evergate_control::link::ToWorker;
use evergate_core::supervise::worker::{Fate, Input};
use evergate_core::time::Instant;
use evergate_core::upgrade::Input::Lost;
use evergate_sys::exit::{self, Exit};
use evergate_sys::signal::{self, Signal};

use super::{Keeper, Stopping};
use crate::workers::Standing;
use crate::{Error, HOPELESS_STATUS, report};

/// Exits taken in before the rest of the loop has its turn: an app may fork faster than its orphans
/// are reaped, and is to be killed all the same.
const EXITS_PER_TURN: usize = 1024;

impl Keeper {
    /// Takes in exits. Each child keeps its number until all that depends on it is done.
    pub(super) fn handle_exits(&mut self, now: Instant) -> Result<(), Error> {
        let mut has_exited = false;
        for _ in 0..EXITS_PER_TURN {
            let Some((pid, exit)) = exit::next().map_err(Error::Children)? else {
                self.has_exits = false;
                break;
            };
            if let Some(generation) = self.workers.find(pid) {
                // What it said last explains its exit.
                self.read_link(now, generation, usize::MAX);
                let _ = signal::send_group(pid, Signal::Kill);
                exit::reap(pid).map_err(Error::Children)?;
                self.handle_worker_exit(now, generation, exit);
            } else if self.handle_preflight_exit(now, pid, exit)
                || self.standby.exited(now, pid, exit)
            {
                exit::reap(pid).map_err(Error::Children)?;
            } else {
                // One of the apps, or an orphan that was adopted only to be reaped.
                self.apps.exited(now, pid, exit);
                exit::reap(pid).map_err(Error::Children)?;
                has_exited = true;
            }
        }
        if has_exited {
            self.apps.sweep(now);
        }
        Ok(())
    }

    fn handle_worker_exit(&mut self, now: Instant, generation: u32, exit: Exit) {
        self.close_link(generation);
        let Some(worker) = self.workers.remove(generation) else {
            return;
        };
        // One that was killed was spoken of then, one without hope has said why, and in the end
        // nobody cares.
        let is_expected = worker.is_killed() || worker.standing() == Standing::Leaving;
        let is_sudden = (worker.is_lost || !is_expected) && exit != Exit::Status(HOPELESS_STATUS);
        if is_sudden && self.stopping == Stopping::No {
            report(format_args!("the worker (process {}) ended: {exit}", worker.pid));
        }
        if let Some(side) = self.upgrades.side(generation) {
            self.drive(now, Lost(side, format!("process {} ended: {exit}", worker.pid)));
        }
        if self.workers.primary() == Some(generation) {
            self.handle_primary_exit(now, exit);
        } else {
            self.send_to_primary(&ToWorker::Gone { generation }, vec![]);
        }
        self.tell_idle(now);
        self.end_apps(now);
    }

    fn handle_primary_exit(&mut self, now: Instant, exit: Exit) {
        self.apps.leave(now);
        self.forget_reload("the worker was lost");
        self.note_crash(now);
        let fate = match exit {
            Exit::Status(HOPELESS_STATUS) => Fate::Hopeless,
            Exit::Status(_) | Exit::Signal { .. } => Fate::Crashed,
        };
        self.feed(now, Input::Exited(fate));
    }
}
