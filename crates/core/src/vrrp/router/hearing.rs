//! What follows from adverts, and from others who answer for the addresses.

use alloc::format;
use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use super::{Heard, INTERVAL_MIN, Output, Router, State};
use crate::time::Instant;
use crate::vrrp::{Advert, PRIORITY_OWNER, PRIORITY_STOP};

impl Router {
    pub(super) fn see_rival(&mut self, now: Instant, who: String) {
        match self.state {
            // After a pause the adverts that were received meanwhile decide, then the tick.
            State::Master { sent_at, .. } if self.is_late(now, sent_at) => {}
            State::Master { .. } => {
                self.outputs.push_back(Output::Rival { who });
                self.schedule.contested(now);
                self.announce_due(now);
            }
            // The master, or its successor.
            State::Init | State::Fault | State::Backup { .. } | State::Leaving { .. } => {}
        }
    }

    pub(super) fn hear(&mut self, now: Instant, from: IpAddr, advert: Advert) {
        match self.state {
            State::Init | State::Fault => self.remember(now, from, advert),
            State::Backup { .. } => self.hear_as_backup(now, from, advert),
            State::Master { sent_at, since, .. } => {
                self.hear_as_master(now, from, advert, sent_at, since);
            }
            State::Leaving { role, hold_off, .. } if advert.priority != PRIORITY_STOP => {
                self.remember(now, from, advert);
                self.end_leaving(now, role, hold_off, format!("{from} has taken over"));
            }
            State::Leaving { .. } => {}
        }
    }

    /// RFC 9568 section 6.4.2.
    fn hear_as_backup(&mut self, now: Instant, from: IpAddr, advert: Advert) {
        if advert.priority == PRIORITY_STOP {
            // Said again, it must not restart the timer.
            let is_known = self
                .heard
                .is_some_and(|heard| heard.from == from && heard.priority == PRIORITY_STOP);
            if is_known || self.follows_another(now, from) {
                return;
            }
            self.remember(now, from, advert);
            self.farewell = None;
            let after = self.skew(self.master_interval());
            self.arm(now, after);
        } else if advert.priority >= self.priority() || !self.preempts(now) {
            self.remember(now, from, advert);
            self.arm(now, self.master_down());
        } else {
            // Discarded, so the timer goes on and fires: that is how it preempts.
            let interval = self.master_interval();
            self.remember(now, from, Advert { interval, ..advert });
        }
    }

    /// RFC 9568 section 6.4.3.
    fn hear_as_master(
        &mut self,
        now: Instant,
        from: IpAddr,
        advert: Advert,
        sent_at: Instant,
        since: Instant,
    ) {
        let is_late = self.is_late(now, sent_at);
        if advert.priority == PRIORITY_STOP {
            // After a pause what else was received meanwhile decides, then the tick.
            if !is_late {
                self.hear_stop(now, from, now.since(since));
            }
            return;
        }
        if self.replaced.is_some_and(|(who, until)| who == from && now <= until) {
            return;
        }
        let is_better = (advert.priority, Some(from)) > (self.priority(), self.source);
        if is_late {
            self.outputs.push_back(Output::Late { silence: now.since(sent_at) });
        }
        // Right after its own claim a master may still hear the one it replaced; and that a better
        // one replaces it is what preemption means.
        let is_new = now.since(since) < self.policy.interval;
        let is_usual = if is_better { self.policy.preempt } else { is_new };
        if !is_late && !is_usual {
            let who = format!("{from}, with priority {}", advert.priority);
            self.outputs.push_back(Output::Rival { who });
        }
        if self.priority() != PRIORITY_OWNER && (is_late || is_better) {
            let reason = if is_late {
                format!("{from} took over while this node was paused")
            } else {
                format!("{from} has priority {}", advert.priority)
            };
            self.yield_to(now, from, advert, is_late, reason);
            return;
        }
        // Two owners would answer each other without end; they get the schedule only.
        if advert.priority != PRIORITY_OWNER {
            self.advertise(now);
        }
        self.schedule.contested(now);
        self.announce_due(now);
    }

    /// Another master has given up.
    fn hear_stop(&mut self, now: Instant, from: IpAddr, age: Duration) {
        // Right after its own claim it is the one it replaced.
        if age > self.down_time() {
            let who = format!("{from}, which has given up");
            self.outputs.push_back(Output::Rival { who });
        }
        self.advertise(now);
        self.schedule.conceded(now);
        self.announce_due(now);
    }

    fn yield_to(
        &mut self,
        now: Instant,
        from: IpAddr,
        advert: Advert,
        is_late: bool,
        reason: String,
    ) {
        self.remember(now, from, advert);
        if is_late {
            self.able_since = now;
        }
        self.stand_by(now, reason);
        // Once the addresses are gone here, so that what the winner says is the last word.
        self.say_stop(now);
    }

    /// Keeps in mind who is master. While a better one is alive a worse one does not take its place.
    pub(super) fn remember(&mut self, now: Instant, from: IpAddr, advert: Advert) {
        if advert.priority != PRIORITY_STOP && self.follows_another(now, from) {
            let known = self.heard.map(|heard| (heard.priority, heard.from));
            if known > Some((advert.priority, from)) {
                return;
            }
        }
        let interval = advert.interval.max(INTERVAL_MIN);
        self.heard = Some(Heard { from, priority: advert.priority, interval, at: now });
    }

    /// Whether the master is one that it would replace if it preempts.
    pub(super) fn hears_worse(&self) -> bool {
        self.heard.is_some_and(|heard| {
            heard.priority != PRIORITY_STOP && heard.priority < self.priority()
        })
    }

    fn follows_another(&self, now: Instant, from: IpAddr) -> bool {
        self.heard.is_some_and(|heard| {
            heard.from != from
                && heard.priority != PRIORITY_STOP
                && now.since(heard.at) < self.silence_max(heard.interval)
        })
    }
}
