//! What the machine wants done, and what has arrived for it.

use std::time::Duration;

use evergate_control::link::{StandbyNews, VipCounts, VipNews};
use evergate_core::standby::{Input, Output, RouterKey, Severity, View};
use evergate_core::time::{Instant, Spoken};
use evergate_core::vrrp::packet;
use evergate_sys::family::Family;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData};

use super::addresses::Addresses;
use super::vip::Vip;
use super::{ADVERTS, CLAIMS, ECHOES, NETWORK, PEERS, Running};

/// Sources that are told apart.
const FIRED_MAX: usize = 64;
/// How often it is told that timers are late.
const LATE_TOLD_EVERY: Duration = Duration::from_secs(10);

impl Running {
    /// Takes in what has arrived.
    pub(super) fn hear(&mut self, now: Instant) {
        let mut fired: Vec<epoll::Event> = Vec::with_capacity(FIRED_MAX);
        let at_once = Timespec::default();
        // What is not known to have arrived is not looked for: each look is a system call.
        let looked =
            epoll::wait(&self.events, rustix::buffer::spare_capacity(&mut fired), Some(&at_once));
        let has = |source: EventData| {
            looked.is_err() || fired.iter().any(|event| ({ event.data }) == source)
        };
        let (has_adverts, has_changes, has_claims) = (has(ADVERTS), has(NETWORK), has(CLAIMS));
        let (has_words, has_echoes) = (has(PEERS), has(ECHOES));
        if has_adverts {
            self.hear_adverts(now);
        }
        if has_words {
            self.hear_peers(now);
        }
        let has_changed = has_changes && self.hear_changes();
        if has_changed || self.retry_at.is_some_and(|at| at <= now) {
            self.refresh(now);
        } else if Addresses::deadline(&self.vips).is_some_and(|at| at <= now) {
            self.settle(now);
        }
        if has_claims {
            self.hear_claims(now);
        }
        if has_echoes {
            self.hear_echoes(now);
        }
    }

    fn hear_changes(&mut self) -> bool {
        self.network.hear().unwrap_or_else(|error| {
            let why = format!("changes of interfaces are not heard: {error}");
            self.problems.insert("node".to_owned(), why);
            false
        })
    }

    fn hear_adverts(&mut self, now: Instant) {
        let Self { speakers, vips, machine, network, notes, .. } = self;
        speakers.hear(|(number, family), envelope, packet| {
            let Some(router) = packet::router_id(packet).map(|id| key(id, family)) else {
                return;
            };
            let Some(vip) = vips.get_mut(&router) else {
                return;
            };
            let link = network.interfaces().get(number);
            if link.is_none_or(|link| link.name != vip.wish().interface) {
                return;
            }
            let (advert, odd) = vip.hear(now, packet, envelope);
            if let Some(reason) = odd {
                notes.push(vip.note(Severity::Warn, "advert_odd", reason));
            }
            if let Some(advert) = advert {
                let from = envelope.ends.source;
                machine.handle(now, Input::Heard { router, from, advert });
            }
        });
    }

    /// Does what the machine wants.
    pub(super) fn perform(&mut self, now: Instant) {
        loop {
            while let Some(output) = self.machine.next_output() {
                self.perform_one(now, output);
            }
            for router in std::mem::take(&mut self.to_announce) {
                self.announce(router);
            }
            // What could not be done changes what can be.
            if !std::mem::take(&mut self.is_stale) {
                return;
            }
            self.refresh(now);
        }
    }

    fn perform_one(&mut self, now: Instant, output: Output) {
        match output {
            Output::Hold(_) | Output::Announce(_) if self.is_closed => {}
            Output::Advertise { router, priority } => self.advertise(router, priority),
            Output::Hold(router) => self.hold(now, router, true),
            Output::Release(router) => self.hold(now, router, false),
            Output::Announce(router) => self.announce(router),
            Output::Say { peer, path, message } => self.heartbeat.send(peer, path, &message),
            Output::Freeze { routers } => self.freeze(now, routers),
            Output::PassOn { routers, within } => self.pass_on(now, &routers, within),
            Output::Hasten { routers, within } => self.passing.hasten(&routers, within),
            Output::PassBack { routers, flows } => self.pass_back(now, &routers, &flows),
            Output::PassNone { routers } => self.pass_none(&routers),
            Output::Turned(turn) => {
                self.hooks.push(turn);
                self.telling.mark();
            }
            Output::Note(note) => {
                self.notes.push(note);
                self.telling.mark();
            }
            Output::Idle => self.is_idle = true,
        }
    }

    fn advertise(&mut self, router: RouterKey, priority: u8) {
        let Some(vip) = self.vips.get_mut(&router) else {
            return;
        };
        let Some(link) = self.network.interfaces().find(&vip.wish().interface) else {
            return;
        };
        let Some(Ok(source)) = vip.source else {
            return;
        };
        let place = (link.index, vip.family());
        for (to, packet) in vip.adverts(priority) {
            let outcome = self.speakers.send(place, (source, to), &packet);
            if let Some(reason) = vip.sent(outcome) {
                self.notes.push(vip.note(Severity::Warn, "advert_unsent", reason));
            }
        }
    }

    fn hold(&mut self, now: Instant, router: RouterKey, is_held: bool) {
        if let Some(vip) = self.vips.get_mut(&router) {
            vip.set_held(is_held);
            self.settle(now);
            self.vips.retain(|_, vip| vip.is_held() || !vip.is_leaving);
            self.telling.mark();
        }
    }

    /// Takes in that a timer that ran out at `due` is looked at only now.
    pub(super) fn note_lateness(&mut self, due: Instant, now: Instant) {
        let late = self.lateness.note(due, now);
        let Some(interval) = self.vips.values().map(Vip::interval).min() else {
            return;
        };
        let is_told = self.late_told_at.is_some_and(|at| now - at < LATE_TOLD_EVERY);
        if late > interval / 2 && !is_told {
            self.late_told_at = Some(now);
            let (late, interval) = (Spoken(late), Spoken(interval));
            let why = format!(
                "the keeper was {late} late, where adverts are sent every {interval}: is the \
                 machine overloaded, or was it paused?"
            );
            self.note(Severity::Warn, "vip_late", "node".to_owned(), why);
        }
    }

    /// How everything is.
    pub(super) fn news(&self, now: Instant) -> StandbyNews {
        let vip = |view: View| {
            let vip = self.vips.get(&view.key)?;
            let addresses = Addresses::shown(vip, self.network.interfaces());
            let hooks_failed = self.hooks.failed(&view.name);
            let counts = VipCounts { hooks_failed, ..vip.lasting().counts };
            Some(VipNews {
                addresses,
                counts,
                hooks_waiting: self.hooks.waiting(&view.name),
                tracked: self.machine.tracked(view.key),
                view,
            })
        };
        StandbyNews {
            vips: self.machine.views().into_iter().filter_map(vip).collect(),
            peers: self.machine.peer_views(),
            is_in_maintenance: self.machine.is_in_maintenance(),
            problems: self.problems.iter().map(|(of, why)| format!("{of}: {why}")).collect(),
            lateness_us: self.lateness.worst_us(now),
        }
    }
}

/// Which virtual router adverts with this VRID are of.
fn key(router_id: u8, family: Family) -> RouterKey {
    match family {
        Family::V4 => RouterKey(router_id.into()),
        Family::V6 => RouterKey(256 + u16::from(router_id)),
    }
}
