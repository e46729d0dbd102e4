//! Who takes part, and how one that was master goes.

use alloc::string::String;
use core::time::Duration;

use super::{Fitness, Leave, Output, Router, State};
use crate::time::Instant;
use crate::vrrp::announce::Farewell;
use crate::vrrp::{PRIORITY_OWNER, PRIORITY_STOP, Role};

impl Router {
    pub(super) fn judge(&mut self, now: Instant, fitness: Fitness) {
        let before = core::mem::replace(&mut self.fitness, fitness);
        if before == self.fitness {
            return;
        }
        match self.fitness.clone() {
            Fitness::Able { .. } => self.become_able(now),
            Fitness::Faulty { leave, why } => self.leave(now, Role::Fault, leave, why),
            Fitness::Out { leave, why } => self.leave(now, Role::Init, leave, why),
        }
    }

    /// RFC 9568 section 6.4.1, Startup.
    fn become_able(&mut self, now: Instant) {
        match self.state {
            State::Init | State::Fault => {
                self.able_since = now;
                self.is_moved = false;
                if self.priority() == PRIORITY_OWNER && now >= self.claims_from {
                    self.lead(now, String::from("the addresses are this node's own"));
                } else {
                    self.heard = None;
                    self.stand_by(now, String::from("ready to follow"));
                }
            }
            State::Leaving { until, hold_off, .. } => {
                let next = State::Leaving { until, role: Role::Backup, hold_off };
                self.able_since = now;
                self.enter(next, String::from("able again"));
            }
            // Another priority counts from the next advert on.
            State::Backup { .. } | State::Master { .. } => {}
        }
    }

    /// RFC 9568 sections 6.4.2 and 6.4.3, Shutdown.
    fn leave(&mut self, now: Instant, role: Role, leave: Leave, why: String) {
        let idle = if role == Role::Fault { State::Fault } else { State::Init };
        match (&self.state, leave) {
            (State::Init | State::Fault | State::Backup { .. }, _) => self.enter(idle, why),
            (State::Master { .. }, Leave::InOrder) => {
                self.say_stop(now);
                let until = now + self.down_time();
                self.enter(State::Leaving { until, role, hold_off: Duration::ZERO }, why);
            }
            (State::Master { .. }, Leave::AtOnce) => {
                self.say_stop(now);
                self.enter(idle, why);
            }
            (&State::Leaving { until, hold_off, .. }, Leave::InOrder) => {
                self.enter(State::Leaving { until, role, hold_off }, why);
            }
            (State::Leaving { .. }, Leave::AtOnce) => self.enter(idle, why),
        }
    }

    pub(super) fn resign(
        &mut self,
        now: Instant,
        why: String,
        hold_off: Duration,
        is_lasting: bool,
    ) {
        let State::Master { .. } = self.state else { return };
        self.say_stop(now);
        self.heard = None;
        self.is_moved = is_lasting;
        self.able_since = now;
        let until = now + self.down_time();
        self.enter(State::Leaving { until, role: Role::Backup, hold_off }, why);
    }

    pub(super) fn take_over(&mut self, now: Instant, why: String, is_agreed: bool) {
        let is_able = matches!(self.fitness, Fitness::Able { .. });
        let is_free = match self.state {
            State::Backup { .. } | State::Leaving { .. } => is_able,
            State::Init | State::Fault | State::Master { .. } => false,
        };
        if is_free {
            let until = now + self.down_time();
            self.replaced = self.heard.filter(|_| is_agreed).map(|heard| (heard.from, until));
            self.lead(now, why);
        }
    }

    pub(super) fn cede(&mut self, now: Instant, why: String) {
        match self.state {
            State::Init | State::Fault | State::Backup { .. } => {}
            State::Master { .. } => {
                self.is_moved = true;
                self.able_since = now;
                self.stand_by(now, why);
            }
            State::Leaving { role, hold_off, .. } => self.end_leaving(now, role, hold_off, why),
        }
    }

    /// Releases what was kept for a successor.
    pub(super) fn end_leaving(
        &mut self,
        now: Instant,
        role: Role,
        hold_off: Duration,
        reason: String,
    ) {
        match role {
            Role::Fault => self.enter(State::Fault, reason),
            Role::Init => self.enter(State::Init, reason),
            Role::Backup | Role::Master => {
                self.claims_from = self.claims_from.max(now + hold_off);
                self.stand_by(now, reason);
            }
        }
    }

    /// Says that it is master no more: now, and for a moment again, because one may be lost.
    pub(super) fn say_stop(&mut self, now: Instant) {
        self.outputs.push_back(Output::Advertise { priority: PRIORITY_STOP });
        self.farewell = Some(Farewell::said(now));
    }

    pub(super) fn say_farewell(&mut self, now: Instant) {
        let Some(farewell) = self.farewell.filter(|farewell| farewell.deadline() <= now) else {
            return;
        };
        self.farewell = farewell.after(now);
        // Late by a pause, it would be said of another time.
        if now.since(farewell.deadline()) < self.policy.interval {
            self.outputs.push_back(Output::Advertise { priority: PRIORITY_STOP });
        }
    }
}
