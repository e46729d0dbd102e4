//! What operators want.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::moves::Purpose;
use super::{Order, RouterKey, Severity, Standby};
use crate::peer::{self, Health};
use crate::time::Instant;
use crate::vrrp::Role;
use crate::vrrp::router;

impl Standby {
    pub(super) fn follow(&mut self, now: Instant, order: Order) -> Result<Vec<String>, String> {
        match order {
            Order::Failover { vip: Some(name) } => {
                let key = self.named(&name)?;
                let role = self.members[&key].router.role();
                if role != Role::Master {
                    let word = role.word();
                    return Err(format!(
                        "vip.{name} is not on this node, whose role is {word}: ask the one that has it"
                    ));
                }
                let keys = self.group(key).into_iter().collect();
                self.fail_over(now, keys)
            }
            Order::Failover { vip: None } => {
                let keys = self.masters();
                if keys.is_empty() {
                    return Err(String::from(
                        "no virtual address is on this node: ask the one that has it",
                    ));
                }
                self.fail_over(now, keys)
            }
            Order::Maintenance { is_on } => Ok(self.set_maintenance(now, is_on)),
        }
    }

    /// Every virtual router that this node is master of.
    pub(super) fn masters(&self) -> BTreeSet<RouterKey> {
        let masters = self.members.iter().filter(|(_, member)| member.is_master());
        masters.map(|(key, _)| *key).collect()
    }

    fn named(&self, name: &str) -> Result<RouterKey, String> {
        let found = self.members.iter().find(|(_, member)| member.setup.name == name);
        found.map(|(key, _)| *key).ok_or_else(|| {
            let known: Vec<&str> =
                self.plan.routers.iter().map(|setup| setup.name.as_str()).collect();
            match known.as_slice() {
                [] => String::from("no virtual address is configured"),
                known => format!("vip.{name} does not exist; there are: {}", known.join(", ")),
            }
        })
    }

    fn fail_over(
        &mut self,
        now: Instant,
        keys: BTreeSet<RouterKey>,
    ) -> Result<Vec<String>, String> {
        let masters: BTreeSet<RouterKey> =
            keys.into_iter().filter(|key| self.members[key].is_master()).collect();
        let (able, alone): (BTreeSet<RouterKey>, BTreeSet<RouterKey>) =
            masters.into_iter().partition(|key| self.may_be_followed(*key));
        let stays = |key: &RouterKey| {
            let subject = self.members[key].subject();
            format!(
                "{subject}: stays, no peer that is heard could take it: {}",
                self.peers_in_words()
            )
        };
        let mut steps: Vec<String> = alone.iter().map(stays).collect();
        if able.is_empty() {
            return Err(steps.join("; "));
        }
        let why = "an operator moved it";
        steps.extend(self.give_away(now, &able, Purpose::Failover, why));
        Ok(steps)
    }

    /// Whether some node might take a virtual router and all here that move with it. Without peers
    /// nobody knows: backups are silent.
    fn may_be_followed(&self, key: RouterKey) -> bool {
        let mut group = self.group(key);
        // What others have already they need not follow in.
        group.retain(|key| self.members[key].is_master());
        let is_able = |peer: usize, key: &RouterKey| {
            let claim = self.peers.claim(peer, key.0);
            claim.is_some_and(|claim| claim.role == Role::Backup && claim.priority > 0)
        };
        let mut peers = 0..self.plan.peers.len();
        peers.is_empty() || peers.any(|peer| group.iter().all(|key| is_able(peer, key)))
    }

    fn peers_in_words(&self) -> String {
        let word = |(at, peer): (usize, &peer::Setup)| {
            let state = match self.peers.health(at) {
                Health::Unknown => "has not been heard",
                Health::Alive | Health::LinkDead => "takes no part",
                Health::HostDead => "is heard no more",
            };
            format!("{} {state}", peer.name)
        };
        self.plan.peers.iter().enumerate().map(word).collect::<Vec<_>>().join(", ")
    }

    /// Lets whoever follows have a virtual router.
    pub(super) fn resign(&mut self, now: Instant, key: RouterKey, why: &str) {
        let why = String::from(why);
        let input = router::Input::Resign { why, hold_off: Duration::ZERO, is_lasting: true };
        self.feed(now, key, input);
    }

    fn set_maintenance(&mut self, now: Instant, is_on: bool) -> Vec<String> {
        let mut steps = Vec::new();
        if self.is_in_maintenance == is_on {
            let word = if is_on { "on" } else { "off" };
            steps.push(format!("maintenance is {word} already"));
            return steps;
        }
        self.is_in_maintenance = is_on;
        let (kind, reason) = if is_on {
            let why = "an operator took this node out of service";
            steps = self.give_away(now, &self.masters(), Purpose::Maintenance, why);
            steps.push(String::from("this node takes no part until maintenance is off"));
            ("maintenance_on", "an operator took this node out of service")
        } else {
            steps.push(String::from("this node takes part again"));
            ("maintenance_off", "an operator put this node into service again")
        };
        self.note(Severity::Info, kind, String::from("node"), String::from(reason));
        steps
    }
}
