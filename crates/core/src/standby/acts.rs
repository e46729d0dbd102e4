//! What the machine of planned moves wants done, and what it is told.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::moves::WANT_PAUSE;
use super::{Output, RouterKey, Severity, Standby};
use crate::handover::{Act, Event, Message, Stage};
use crate::peer;
use crate::time::Instant;
use crate::vrrp::Advert;
use crate::vrrp::router;

/// How long the word that a successor has claimed is kept for its advert, which tells where it is.
const ADVERTS_WITHIN: Duration = Duration::from_millis(100);

impl Standby {
    /// An advert: while a virtual router is frozen, that of whoever has claimed it.
    pub(super) fn hear_advert(
        &mut self,
        now: Instant,
        key: RouterKey,
        from: IpAddr,
        advert: Advert,
    ) {
        let stage = self.moves.mover.stage(key.0);
        let Some((Stage::Frozen, peer)) = stage.filter(|_| advert.priority > 0) else {
            self.feed(now, key, router::Input::Heard { from, advert });
            return;
        };
        self.moves.claimants.insert(key, (from, advert));
        if self.has_heard_all() {
            self.move_on(now, Event::Claimed { peer, router: key.0 });
        }
    }

    /// Whether an advert was heard of every virtual router that is frozen.
    fn has_heard_all(&self) -> bool {
        let mut frozen = self.members.keys().filter(|key| self.is_frozen(**key));
        frozen.all(|key| self.moves.claimants.contains_key(key))
    }

    /// Whether a successor may claim a virtual router at any moment.
    pub(super) fn is_frozen(&self, key: RouterKey) -> bool {
        matches!(self.moves.mover.stage(key.0), Some((Stage::Frozen, _)))
    }

    /// Whether a peer has said that it has claimed, but its adverts, which tell where it is on each
    /// link, may yet come.
    pub(super) fn waits_for_adverts(&mut self, now: Instant, message: &Message) -> bool {
        let Message::Claimed { .. } = message else { return false };
        let since = *self.moves.claimed_at.get_or_insert(now);
        !self.has_heard_all() && now.since(since) < ADVERTS_WITHIN
    }

    /// Lets the machine of moves know, and does what it wants.
    pub(super) fn move_on(&mut self, now: Instant, event: Event) {
        self.moves.mover.handle(now, event);
        while let Some(act) = self.moves.mover.next_act() {
            self.perform_act(now, act);
        }
    }

    fn perform_act(&mut self, now: Instant, act: Act) {
        match act {
            Act::Say { peer, message } => {
                let message = peer::Message::Handover(message);
                self.outputs.push_back(Output::Say { peer, path: None, message });
            }
            Act::Freeze { routers } => {
                self.outputs.push_back(Output::Freeze { routers: keys(&routers) });
            }
            Act::PassOn { routers, peer, within } => {
                let routers = self.with_claimants(&routers, peer);
                self.outputs.push_back(Output::PassOn { routers, within });
            }
            Act::Hasten { routers, within } => {
                self.outputs.push_back(Output::Hasten { routers: keys(&routers), within });
            }
            Act::Yield { routers, peer, reason } => self.cede(now, &routers, peer, &reason),
            Act::PassBack { routers, peer, flows } => {
                let routers = self.with_masters(now, &routers, peer);
                self.outputs.push_back(Output::PassBack { routers, flows });
            }
            Act::Claim { routers, peer, reason } => self.take(now, &routers, peer, &reason),
            Act::PassNone { routers } => {
                self.outputs.push_back(Output::PassNone { routers: keys(&routers) });
            }
            Act::Kept { routers, peer, why } => {
                let name = self.peer_name(peer);
                self.note_all(&routers, Severity::Warn, "vip_move_failed", |subject| {
                    format!("{subject} was not moved to {name}: {why}")
                });
                if self.moves.queue.front().is_some_and(|gift| gift.is_begun)
                    && let Some(gift) = self.moves.queue.pop_front()
                {
                    self.give_up(now, gift, &why);
                }
            }
            Act::Postponed { routers, is_wish } => self.postpone(now, &keys(&routers), is_wish),
            Act::Missed { routers, peer, had_asked, why } => {
                let name = self.peer_name(peer);
                self.note_all(&routers, Severity::Warn, "vip_move_failed", |subject| {
                    format!("{subject} was not had from {name}: {why}")
                });
                if had_asked {
                    self.defer(now, &keys(&routers), WANT_PAUSE);
                }
            }
            Act::Over { routers, peer, flows } => {
                let name = self.peer_name(peer);
                self.note_all(&routers, Severity::Info, "vip_move_over", |_| {
                    format!("the move with {name} is over: {flows} connections were kept")
                });
            }
        }
    }

    fn note_all(
        &mut self,
        routers: &[u16],
        severity: Severity,
        kind: &'static str,
        reason: impl Fn(&str) -> String,
    ) {
        for key in keys(routers) {
            if let Some(member) = self.members.get(&key) {
                let subject = member.subject();
                let reason = reason(&subject);
                self.note(severity, kind, subject, reason);
            }
        }
    }

    /// The successor has all; nothing is said of it.
    fn cede(&mut self, now: Instant, routers: &[u16], peer: usize, reason: &str) {
        let why = format!("moved to {}: {reason}", self.peer_name(peer));
        let claimants = core::mem::take(&mut self.moves.claimants);
        self.moves.claimed_at = None;
        self.moves.ceded_at = Some(now);
        if self.moves.queue.front().is_some_and(|gift| gift.is_begun) {
            self.moves.queue.pop_front();
        }
        self.moves.is_moving_all = true;
        for key in keys(routers) {
            self.feed(now, key, router::Input::Cede { why: why.clone() });
            if let Some((from, advert)) = claimants.get(&key).copied() {
                self.feed(now, key, router::Input::Heard { from, advert });
            }
        }
        self.moves.is_moving_all = false;
    }

    fn take(&mut self, now: Instant, routers: &[(u16, u64)], peer: usize, reason: &str) {
        let why = format!("moved from {}: {reason}", self.peer_name(peer));
        self.moves.is_moving_all = true;
        for (router, epoch) in routers {
            let key = RouterKey(*router);
            if let Some(member) = self.members.get_mut(&key) {
                member.epoch = member.epoch.max(*epoch);
                let input = router::Input::TakeOver { why: why.clone(), is_agreed: true };
                self.feed(now, key, input);
            }
        }
        self.moves.is_moving_all = false;
    }

    /// Where the successor is on the link of each virtual router: it has just said so there. Else
    /// where it is known to be, which may be the same link.
    fn with_claimants(&self, routers: &[u16], peer: usize) -> Vec<(RouterKey, IpAddr)> {
        let known = self.peers.address(peer);
        let find = |key: RouterKey| {
            let claimant = self.moves.claimants.get(&key).map(|(from, _)| *from);
            Some((key, claimant.or(known)?))
        };
        keys(routers).into_iter().filter_map(find).collect()
    }

    /// Where the old node is on the link of each virtual router.
    fn with_masters(&self, now: Instant, routers: &[u16], peer: usize) -> Vec<(RouterKey, IpAddr)> {
        let known = self.peers.address(peer);
        let find = |key: RouterKey| {
            let master = self.members.get(&key)?.router.master(now);
            Some((key, master.map(|(from, _)| from).or(known)?))
        };
        keys(routers).into_iter().filter_map(find).collect()
    }
}

fn keys(routers: &[u16]) -> Vec<RouterKey> {
    routers.iter().copied().map(RouterKey).collect()
}
