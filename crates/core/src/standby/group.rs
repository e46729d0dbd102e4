//! Virtual routers that move together (`sync`): all are masters or none is.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::member::Member;
use super::{RouterKey, Standby};
use crate::time::Instant;
use crate::vrrp::Role;
use crate::vrrp::router::{self, Fitness};

impl Standby {
    /// How fit a virtual router is: as little as the least of those that move with it.
    pub(super) fn fitness_in_group(&self, key: RouterKey) -> Fitness {
        let own = self.fitness(&self.members[&key]);
        if !matches!(own, Fitness::Able { .. }) {
            return own;
        }
        for mate in self.mates(key) {
            let member = &self.members[&mate];
            match self.fitness(member) {
                Fitness::Able { .. } => {}
                Fitness::Faulty { leave, why } => {
                    let why = format!("{}, which it moves with: {why}", member.subject());
                    return Fitness::Faulty { leave, why };
                }
                Fitness::Out { leave, why } => {
                    let why = format!("{}, which it moves with: {why}", member.subject());
                    return Fitness::Out { leave, why };
                }
            }
        }
        own
    }

    /// Lets those that move with `key` follow it.
    pub(super) fn move_group(&mut self, now: Instant, key: RouterKey, role: Role, before: Role) {
        let Some(member) = self.members.get(&key) else { return };
        let subject = member.subject();
        match (role, before) {
            (Role::Master, _) => {
                let why = format!("{subject}, which it moves with, is master");
                for mate in self.mates(key) {
                    self.feed(
                        now,
                        mate,
                        router::Input::TakeOver { why: why.clone(), is_agreed: false },
                    );
                }
            }
            (Role::Backup, Role::Master) => {
                let why = format!("{subject}, which it moves with, is master no more");
                for mate in self.mates(key) {
                    let hold_off = self.hold_off(mate);
                    let input =
                        router::Input::Resign { why: why.clone(), hold_off, is_lasting: false };
                    self.feed(now, mate, input);
                }
            }
            // Faults are shared by way of the fitness.
            (Role::Init | Role::Fault | Role::Backup, _) => {}
        }
    }

    /// Whether it, or one that it moves with, has its addresses.
    pub(super) fn holds_together(&self, member: &Member) -> bool {
        let mates = self.mates(member.setup.key);
        member.router.holds() || mates.iter().any(|mate| self.members[mate].router.holds())
    }

    pub(super) fn mates(&self, key: RouterKey) -> Vec<RouterKey> {
        let Some(sync) = self.members.get(&key).and_then(|member| member.setup.sync.as_ref())
        else {
            return Vec::new();
        };
        let is_mate = |other: &RouterKey| {
            *other != key && self.members[other].setup.sync.as_ref() == Some(sync)
        };
        self.members.keys().copied().filter(is_mate).collect()
    }

    /// A wait by chance, so that two nodes of which each lost one of two addresses to the other do
    /// not go on like that.
    fn hold_off(&mut self, key: RouterKey) -> Duration {
        let Some(member) = self.members.get(&key) else { return Duration::ZERO };
        let interval = member.router.interval();
        interval + interval * self.rng.below(256) / 128
    }
}
