//! What a node hears of its peers beside VRRP, and tells them.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Output, Plan, RouterKey, Severity, Standby};
use crate::handover::{Event, Message, PASS_DEFAULT, Stage};
use crate::peer::{self, Claim};
use crate::time::Instant;
use crate::vrrp::Role;
use crate::vrrp::router::Fitness;

impl Standby {
    pub(super) fn apply_peers(&mut self, now: Instant, plan: &Plan) {
        if self.plan.peers != plan.peers {
            // Peers are known by their positions.
            let why = "the configuration of peers has changed";
            self.upset_all(now, why);
        }
        self.peers.apply(now, &plan.node, plan.heartbeat, &plan.peers);
    }

    pub(super) fn hear_peer(
        &mut self,
        now: Instant,
        peer: usize,
        path: usize,
        message: peer::Message,
    ) {
        self.peers.handle(now, peer::Input::Said { peer, path, message: message.clone() });
        if let peer::Message::Handover(message) = message
            && !self.waits_for_adverts(now, &message)
        {
            let would = self.would(peer, &message);
            let pass_within = self.wanted_within(&message);
            self.move_on(now, Event::Said { peer, message, would, pass_within });
        }
    }

    /// Whether this node would do what a peer asks for, with the epochs of the virtual routers in
    /// question; or why not.
    fn would(&self, peer: usize, message: &Message) -> Result<Vec<u64>, String> {
        match message {
            Message::Offer { routers, .. } => {
                let stays = |mate| self.stays_when_offered(mate, peer);
                self.would_all(routers, stays, |key| self.would_take(key))
            }
            Message::Want { routers, .. } => {
                self.would_all(routers, |_| false, |key| self.would_give(key, peer))
            }
            Message::Accept { .. }
            | Message::Decline { .. }
            | Message::Flows { .. }
            | Message::Claimed { .. }
            | Message::Finished { .. }
            | Message::Hasten { .. } => Ok(Vec::new()),
        }
    }

    /// How long connections would be waited for, were a wish granted.
    fn wanted_within(&self, message: &Message) -> Duration {
        match message {
            Message::Want { routers, .. } => {
                self.pass_within(routers.iter().map(|router| RouterKey(*router)))
            }
            Message::Offer { .. }
            | Message::Accept { .. }
            | Message::Decline { .. }
            | Message::Flows { .. }
            | Message::Claimed { .. }
            | Message::Finished { .. }
            | Message::Hasten { .. } => PASS_DEFAULT,
        }
    }

    /// Whether it `would` each of these, and what moves with them is among them or `stays`.
    fn would_all(
        &self,
        routers: &[u16],
        stays: impl Fn(RouterKey) -> bool,
        would: impl Fn(RouterKey) -> Result<(), String>,
    ) -> Result<Vec<u64>, String> {
        let mut epochs = Vec::new();
        for key in routers.iter().copied().map(RouterKey) {
            let Some(member) = self.members.get(&key) else {
                let RouterKey(number) = key;
                return Err(format!("virtual router {number} is not configured here"));
            };
            let is_left = |mate: RouterKey| !routers.contains(&mate.0) && !stays(mate);
            if let Some((_, mate)) = self.mates(key).find(|(mate, _)| is_left(*mate)) {
                let mate = mate.subject();
                return Err(format!("{} moves with {mate} here", member.subject()));
            }
            would(key)?;
            epochs.push(member.epoch.max(self.peers.epoch(key.0)));
        }
        if epochs.is_empty() { Err("it is about nothing".to_string()) } else { Ok(epochs) }
    }

    fn would_take(&self, key: RouterKey) -> Result<(), String> {
        let member = &self.members[&key];
        if self.is_ready_but_for_moves(key) {
            return Ok(());
        }
        let (subject, role) = (member.subject(), member.router.role().word());
        match self.fitness_in_group(key) {
            Fitness::Able { .. } => Err(format!("{subject} is {role} there already")),
            Fitness::Faulty { why, .. } | Fitness::Out { why, .. } => {
                Err(format!("{subject} cannot be had there: {why}"))
            }
        }
    }

    fn would_give(&self, key: RouterKey, peer: usize) -> Result<(), String> {
        let member = &self.members[&key];
        let subject = member.subject();
        if !member.is_master() {
            return Err(format!("{subject} is not on that node"));
        }
        let theirs = self.peers.claim(peer, key.0).map_or(0, |claim| claim.priority);
        let ours = member.router.priority();
        if theirs <= ours {
            return Err(format!("{subject} has priority {ours} there, which is no worse"));
        }
        Ok(())
    }

    /// Whether a virtual router could be taken over, as far as it alone is concerned: not while its
    /// addresses are still here from when it was master.
    pub(super) fn is_ready_but_for_moves(&self, key: RouterKey) -> bool {
        let router = &self.members[&key].router;
        router.role() == Role::Backup
            && !router.holds()
            && matches!(self.fitness_in_group(key), Fitness::Able { .. })
    }

    /// Tells the peers how this node stands, and says what is to be said.
    pub(super) fn talk(&mut self, now: Instant) {
        let claims = self.keys().into_iter().map(|key| self.claim(key)).collect();
        self.peers.handle(now, peer::Input::Claims(claims));
        while let Some(output) = self.peers.next_output() {
            match output {
                peer::Output::Say { peer, path, message } => {
                    self.outputs.push_back(Output::Say { peer, path: Some(path), message });
                }
                peer::Output::Restarted { peer } => self.move_on(now, Event::Restarted { peer }),
                peer::Output::Note(note) => {
                    let severity = if note.is_bad { Severity::Warn } else { Severity::Info };
                    let subject = format!("peer.{}", note.name);
                    self.note(severity, note.kind, subject, note.reason);
                }
            }
        }
    }

    fn claim(&self, key: RouterKey) -> Claim {
        let member = &self.members[&key];
        Claim {
            router: key.0,
            role: member.router.role(),
            priority: member.router.priority(),
            epoch: member.epoch,
            is_ready: self.is_ready_but_for_moves(key) && self.moves.mover.is_free(),
        }
    }

    pub(super) fn peer_name(&self, peer: usize) -> String {
        self.plan.peers.get(peer).map_or_else(String::new, |setup| setup.name.clone())
    }

    /// What a virtual router waits for, if it is moving.
    pub(super) fn move_under_way(&self, key: RouterKey) -> Option<String> {
        let Some((stage, peer)) = self.moves.mover.stage(key.0) else {
            let peer = self.moves.waiting_for(key)?;
            return Some(format!("a move to {} is about to begin", self.peer_name(peer)));
        };
        let name = self.peer_name(peer);
        Some(match stage {
            Stage::Offered | Stage::Frozen => format!("a move to {name} is under way"),
            Stage::Given => format!("connections from before the move to {name} end here"),
            Stage::Awaited => format!("a move from {name} is under way"),
            Stage::Taken => format!("connections from before the move from {name} end there"),
        })
    }
}
