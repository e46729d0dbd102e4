//! An upgrade, as its machine decides.
//!
//! Nothing here waits: what is begun aside (a check, a worker, a request) is taken in by the loop when
//! it has come to something.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use evergate_control::link::{KEPT_CONFIG, KEPT_STATE, Role, ToWorker};
use evergate_core::time::Instant;
use evergate_core::upgrade::{Input, Outcome, Output, Side};
use evergate_sys::exit::Exit;
use evergate_sys::{clock, code};
use rustix::event::epoll::{self, EventFlags};

use super::messages::user_of_apps;
use super::{ASIDE, Keeper, Stopping};
use crate::report;
use crate::upgrades::{Preflight, Probe, Question};
use crate::workers::Standing;

impl Keeper {
    /// Tells the machine what happened, if an upgrade is under way, and does what follows.
    pub(super) fn drive(&mut self, now: Instant, input: Input) {
        if let Some(upgrade) = &mut self.upgrades.under_way {
            upgrade.machine.handle(now, input);
            self.follow_upgrade(now);
        }
    }

    /// Does what the machine says.
    pub(super) fn follow_upgrade(&mut self, now: Instant) {
        while let Some(upgrade) = &mut self.upgrades.under_way {
            let output = upgrade.machine.next_output();
            self.upgrades.mark(clock::unix_millis());
            let Some(output) = output else {
                return;
            };
            let came_of_it = self.perform(now, output);
            if let (Some(input), Some(upgrade)) = (came_of_it, &mut self.upgrades.under_way) {
                upgrade.machine.handle(now, input);
            }
        }
    }

    /// Does one thing; returns what came of it, if that is known at once.
    fn perform(&mut self, now: Instant, output: Output) -> Option<Input> {
        let (old, new) = (self.upgrades.worker(Side::Old), self.upgrades.worker(Side::New));
        match output {
            Output::Check => {
                self.due = Some(Due::Check);
                None
            }
            Output::Rehearse => {
                self.due = Some(Due::Rehearse);
                None
            }
            Output::Spawn => self.spawn_candidate(),
            Output::Activate => self.order(new, &ToWorker::Activate),
            Output::Probe => self.probe().err().map(|why| Input::Probed(Err(why))),
            Output::Release => {
                self.apps.change_hands();
                self.order(old, &ToWorker::Release)
            }
            Output::Recall => {
                self.apps.change_hands();
                self.order(new, &ToWorker::Release)
            }
            Output::Acquire(side) => {
                self.hand_over(now, self.upgrades.worker(side)?);
                None
            }
            Output::Retire => {
                self.set_standing(old, Standing::Retired);
                self.order(old, &ToWorker::Retire)
            }
            Output::Finish => {
                self.workers.binary = Rc::clone(&self.upgrades.under_way.as_ref()?.binary);
                self.set_standing(old, Standing::Leaving);
                self.order(old, &ToWorker::Finish)
            }
            Output::Kill => {
                self.workers.kill(new?);
                None
            }
            Output::Dismiss => {
                self.set_standing(new, Standing::Leaving);
                self.order(new, &ToWorker::Finish)
            }
            Output::Execute => {
                self.due = Some(Due::Execute);
                None
            }
            Output::End(outcome) => {
                self.end_upgrade(now, outcome);
                None
            }
        }
    }

    fn order(&mut self, to: Option<u32>, message: &ToWorker) -> Option<Input> {
        self.send(to?, message, vec![]);
        None
    }

    fn set_standing(&mut self, of: Option<u32>, standing: Standing) {
        if let Some(of) = of {
            self.workers.set_standing(of, standing, clock::unix_millis());
        }
    }

    /// Asks the new binary whether it could go on from the configuration in force, and from the
    /// state of this keeper if it is to be that too.
    fn check(&mut self) -> Result<(), String> {
        let config = self.kept.get(KEPT_CONFIG).map(Rc::clone);
        let upgrade = self.upgrades.under_way.as_ref();
        let is_for_keeper = upgrade.is_some_and(|upgrade| upgrade.machine.parts().keeper);
        let state = is_for_keeper.then(|| self.state()).transpose()?;
        self.ask_aside(Question {
            config: config.as_ref().map(|file| file.as_fd()),
            state: state.as_ref().map(AsFd::as_fd),
        })
    }

    /// Asks it whether it could go on from the state of this keeper.
    fn rehearse(&mut self) -> Result<(), String> {
        let state = self.state()?;
        self.ask_aside(Question { config: None, state: Some(state.as_fd()) })
    }

    fn state(&self) -> Result<OwnedFd, String> {
        let blob = self.blob().map(|(file, _)| file);
        blob.map_err(|error| format!("cannot write down what is known: {error}"))
    }

    fn ask_aside(&mut self, question: Question<'_>) -> Result<(), String> {
        let Some(upgrade) = &mut self.upgrades.under_way else {
            return Ok(());
        };
        let pid = self.workers.get_primary().map(|worker| worker.pid);
        let user = pid.map(user_of_apps).transpose().map_err(|error| error.to_string())?.flatten();
        let preflight = Preflight::start(&upgrade.binary, question, &self.options, user)?;
        epoll::add(&self.events, &preflight, ASIDE, EventFlags::IN)
            .map_err(|error| error.to_string())?;
        upgrade.preflight = Some(preflight);
        Ok(())
    }

    /// Does what had to wait until everybody was told everything.
    pub(super) fn do_due(&mut self, now: Instant, due: Due) {
        let came_of_it = match (due, &self.upgrades.under_way) {
            (Due::Check, Some(_)) => self.check().err().map(|why| Input::Checked(Err(why))),
            (Due::Rehearse, Some(_)) => self.rehearse().err().map(|why| Input::Checked(Err(why))),
            (Due::Execute, Some(upgrade)) => {
                let binary = Rc::clone(&upgrade.binary);
                match self.is_moment() {
                    Ok(true) => Some(Input::Stayed(self.execute(binary.image()))),
                    Ok(false) => None,
                    Err(why) => Some(Input::Stayed(why)),
                }
            }
            (Due::Check | Due::Rehearse | Due::Execute, None) => None,
        };
        if let Some(input) = came_of_it {
            self.drive(now, input);
            self.act(now);
        }
    }

    fn spawn_candidate(&mut self) -> Option<Input> {
        let binary = Rc::clone(&self.upgrades.under_way.as_ref()?.binary);
        match self.spawn(Role::Candidate, &binary) {
            Ok(generation) => {
                self.upgrades.under_way.as_mut()?.new = Some(generation);
                None
            }
            Err(unstarted) => Some(Input::Lost(Side::New, unstarted.why)),
        }
    }

    /// Sends a request through the new worker.
    fn probe(&mut self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("cannot prepare a request: {error}");
        let (probe, other) = Probe::start().map_err(failed)?;
        epoll::add(&self.events, &probe, ASIDE, EventFlags::IN)
            .map_err(|error| failed(error.into()))?;
        let token = probe.token().to_owned();
        if let Some(new) = self.upgrades.worker(Side::New) {
            self.send(new, &ToWorker::Probe { token }, vec![Rc::new(other)]);
        }
        if let Some(upgrade) = &mut self.upgrades.under_way {
            upgrade.probe = Some(probe);
        }
        Ok(())
    }

    /// Has a worker be the primary one: what is said of apps and what they print goes to it from here
    /// on, and what it wants counts.
    fn hand_over(&mut self, now: Instant, to: u32) {
        self.workers.promote(to, clock::unix_millis());
        let state = self.kept.get(KEPT_STATE).map(Rc::clone);
        self.send(to, &ToWorker::Acquire, state.into_iter().collect());
        self.apps.greet();
        self.share_all(to);
        if let Some(worker) = self.workers.get(to) {
            let users = worker.users.clone();
            self.apps.users().expect_names();
            self.apps.users().name(users);
        }
        // The other one's wish may have been done already.
        if self.upgrades.side(to) == Some(Side::Old) {
            let _ = self.make(now, to);
        }
        self.forget_reload("another worker took over");
        self.ask_anew(now);
    }

    /// The primary worker took what is its own alone.
    pub(super) fn acquired(&mut self, now: Instant, from: u32) {
        if self.workers.primary() != Some(from) {
            return;
        }
        self.apps.serve(now);
        if self.upgrades.side(from) == Some(Side::New) {
            // What was bound for it only now it asks for.
            let _ = self.make(now, from);
            let is_stale =
                self.upgrades.under_way.as_mut().map(|one| std::mem::take(&mut one.is_stale));
            self.drive(now, Input::Acquired);
            if is_stale == Some(true) {
                self.send(from, &ToWorker::Reload, vec![]);
            }
        }
        self.send_owed_reload(now);
    }

    /// Takes in what a check and a request through the new worker have come to.
    pub(super) fn look_aside(&mut self, now: Instant) {
        let Some(upgrade) = &mut self.upgrades.under_way else {
            return;
        };
        if let Some(preflight) = &mut upgrade.preflight
            && !preflight.read()
        {
            // Its exit says the rest; until then there is nothing to wait for.
            let _ = epoll::delete(&self.events, &*preflight);
        }
        if let Some(answer) = upgrade.probe.as_mut().and_then(Probe::read) {
            upgrade.probe = None;
            self.drive(now, Input::Probed(answer));
        }
    }

    /// Takes in the exit of a child that is not reaped yet; whether it was one that was asked.
    pub(super) fn handle_preflight_exit(&mut self, now: Instant, pid: u32, exit: Exit) -> bool {
        let upgrade = self.upgrades.under_way.as_mut();
        let asked = upgrade
            .and_then(|upgrade| upgrade.preflight.take_if(|preflight| preflight.pid() == pid));
        let Some(preflight) = asked else {
            return false;
        };
        let verdict = preflight.verdict(exit).map(|version| self.upgrades.set_version(version));
        self.drive(now, Input::Checked(verdict));
        true
    }

    fn end_upgrade(&mut self, now: Instant, outcome: Outcome) {
        match &outcome {
            Outcome::Done => {}
            // The operator wanted something else.
            _ if self.stopping != Stopping::No => {}
            Outcome::Refused(why) => report(format_args!("the upgrade was refused: {why}")),
            Outcome::Returned(why) => {
                report(format_args!("the upgrade was taken back, the old worker serves: {why}"));
            }
            Outcome::Partial(why) => {
                report(format_args!("the worker was upgraded, the keeper was not: {why}"));
            }
        }
        self.upgrades.end(outcome, clock::unix_millis());
        self.send_owed_reload(now);
        // What replaces a worker is not needed until the next time.
        let _ = code::release();
    }
}

/// What needs the whole state of the keeper, with nothing half done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Ask the new binary whether it could go on.
    Check,
    /// Ask it once more, now that all else is done.
    Rehearse,
    /// Become the new binary.
    Execute,
}
