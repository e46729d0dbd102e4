//! Virtual routers that move together (`sync`): all are masters or none is.
//!
//! That holds for those that have been together: one that a reload puts among others joins them as
//! their follower. Until it was well there once it does not count, so that nothing is given up, nor
//! left without a standby, for it; and while they follow a master elsewhere it claims nothing, so
//! that the node that gets a new configuration first takes nothing from the one that has not got it
//! yet.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::member::Member;
use super::{Plan, RouterKey, Setup, Standby};
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
        for (_, member) in self.mates(key) {
            if member.joins_since.is_some() {
                continue;
            }
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
                for mate in self.mate_keys(key) {
                    self.feed(
                        now,
                        mate,
                        router::Input::TakeOver { why: why.clone(), is_agreed: false },
                    );
                }
            }
            (Role::Backup, Role::Master) => {
                let why = format!("{subject}, which it moves with, is master no more");
                for mate in self.mate_keys(key) {
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

    /// Whether it has its addresses, or belongs to one that it moves with and that has them.
    pub(super) fn keeps(&self, member: &Member) -> bool {
        let key = member.setup.key;
        member.router.holds()
            || member.joins_since.is_none() && self.mates(key).any(|(_, mate)| mate.router.holds())
    }

    /// Those that `plan` puts among others, unless the node has only just started.
    pub(super) fn joining(&self, plan: &Plan) -> Vec<RouterKey> {
        let is_first = self.members.is_empty();
        let is_new = |setup: &&Setup| {
            let before = self.members.get(&setup.key).and_then(|old| old.setup.sync.as_ref());
            setup.sync.is_some() && before != setup.sync.as_ref()
        };
        let joining = plan.routers.iter().filter(|_| !is_first).filter(is_new);
        joining.map(|setup| setup.key).collect()
    }

    /// Lets those that joined others count from now on, if they are well and where these are.
    pub(super) fn settle_joining(&mut self) {
        if self.members.values().all(|member| member.joins_since.is_none()) {
            return;
        }
        for key in self.keys() {
            let member = &self.members[&key];
            let is_led = || self.mates(key).any(|(_, mate)| mate.is_master());
            let has_joined = matches!(self.fitness(member), Fitness::Able { .. })
                && (member.is_master() || !is_led());
            if has_joined {
                self.members.entry(key).and_modify(|member| member.joins_since = None);
            }
        }
    }

    /// Keeps a backup that hears nobody from claiming while one that it moves with hears its master:
    /// the others would follow it, and take what is served well elsewhere.
    pub(super) fn wait_for_group(&mut self, now: Instant, key: RouterKey) {
        if self.members[&key].router.is_due_to_claim(now)
            && let Some((until, _)) = self.followed_by_mates(now, key)
        {
            self.feed(now, key, router::Input::Wait { until });
        }
    }

    /// Why a backup claims nothing though it hears nobody, for people.
    pub(super) fn waits_for_group(&self, member: &Member) -> Option<String> {
        let now = self.seen_at;
        let is_alone =
            member.router.role() == Role::Backup && member.router.follows_until(now).is_none();
        let (_, mate) = self.followed_by_mates(now, member.setup.key).filter(|_| is_alone)?;
        let subject = self.members[&mate].subject();
        Some(format!("{subject}, which it moves with, follows another node"))
    }

    /// Which of those that move with it follows a master for the longest time, and until when.
    fn followed_by_mates(&self, now: Instant, key: RouterKey) -> Option<(Instant, RouterKey)> {
        let until =
            |(key, mate): (RouterKey, &Member)| Some((mate.router.follows_until(now)?, key));
        self.mates(key).filter_map(until).max()
    }

    /// The others that move with it.
    pub(super) fn mates(&self, key: RouterKey) -> impl Iterator<Item = (RouterKey, &Member)> {
        let sync = self.members.get(&key).and_then(|member| member.setup.sync.as_ref());
        let others = self.members.iter().filter(move |(other, member)| {
            sync.is_some() && **other != key && member.setup.sync.as_ref() == sync
        });
        others.map(|(key, member)| (*key, member))
    }

    fn mate_keys(&self, key: RouterKey) -> Vec<RouterKey> {
        self.mates(key).map(|(key, _)| key).collect()
    }

    /// All that move with it, and itself.
    pub(super) fn group(&self, key: RouterKey) -> Vec<RouterKey> {
        self.mates(key).map(|(key, _)| key).chain([key]).collect()
    }

    /// A wait by chance, so that two nodes of which each lost one of two addresses to the other do
    /// not go on like that.
    fn hold_off(&mut self, key: RouterKey) -> Duration {
        let Some(member) = self.members.get(&key) else { return Duration::ZERO };
        let interval = member.router.interval();
        interval + interval * self.rng.below(256) / 128
    }
}
