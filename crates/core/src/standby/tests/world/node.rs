//! A node, as the world keeps an eye on it.

use std::collections::{BTreeMap, BTreeSet};
use std::string::ToString;
use std::vec::Vec;

use super::super::*;
use super::net::Packet;

/// How long one that is master no more says so: 30 ms, a tick that is late, and a pause that is too
/// short to be noticed.
const FAREWELL_MAX: Duration = Duration::from_millis(1_200);

/// A node.
pub(in crate::standby::tests) struct Node {
    pub(in crate::standby::tests) standby: Standby,
    pub(in crate::standby::tests) address: u8,
    pub(in crate::standby::tests) life: Life,
    /// What arrived while it was paused.
    pub(super) inbox: Vec<Packet>,
    pub(in crate::standby::tests) held: BTreeSet<RouterKey>,
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) epochs: BTreeMap<String, u64>,
    /// When each was master last.
    pub(super) ended: BTreeMap<RouterKey, Instant>,
    pub(super) sequence: u64,
    /// When its next tick is due.
    pub(super) deadline: Option<Instant>,
    /// How late its next tick comes.
    pub(super) jitter: Duration,
    pub(in crate::standby::tests) notes: Vec<Note>,
    pub(in crate::standby::tests) turns: Vec<Turn>,
    pub(in crate::standby::tests) sent: u64,
    pub(in crate::standby::tests) announced: u64,
    pub(in crate::standby::tests) is_idle: bool,
    /// How long packets are passed on at most, if that was shortened.
    pub(in crate::standby::tests) hastened: Option<Duration>,
    /// What serves nobody new, for a planned move.
    pub(in crate::standby::tests) frozen: BTreeSet<RouterKey>,
    /// What packets are passed on of, and to whom.
    pub(in crate::standby::tests) passes_on: BTreeMap<RouterKey, IpAddr>,
    /// What packets are passed back of, and to whom.
    pub(in crate::standby::tests) passes_back: BTreeMap<RouterKey, IpAddr>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::standby::tests) enum Life {
    Up,
    Paused,
    Dead,
}

impl Node {
    pub(super) fn new(standby: Standby, address: u8) -> Self {
        Self {
            standby,
            address,
            life: Life::Up,
            inbox: Vec::new(),
            held: BTreeSet::new(),
            roles: BTreeMap::new(),
            epochs: BTreeMap::new(),
            ended: BTreeMap::new(),
            sequence: 0,
            deadline: None,
            jitter: Duration::ZERO,
            notes: Vec::new(),
            turns: Vec::new(),
            sent: 0,
            announced: 0,
            is_idle: false,
            hastened: None,
            frozen: BTreeSet::new(),
            passes_on: BTreeMap::new(),
            passes_back: BTreeMap::new(),
        }
    }

    /// IPv6 addresses are in the opposite order, so that ties between two routers that move together
    /// have two winners.
    pub(super) fn address_of(&self, key: RouterKey) -> IpAddr {
        if key.0 < 256 {
            IpAddr::from([10, 0, 0, self.address])
        } else {
            IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 0xff - u16::from(self.address)])
        }
    }

    pub(super) fn interval(&self, key: RouterKey) -> Option<Duration> {
        let setup = self.standby.plan.routers.iter().find(|setup| setup.key == key)?;
        Some(setup.policy.interval)
    }

    /// Only whoever was master until a moment ago may say 0.
    pub(super) fn check_farewell(&self, seed: u64, now: Instant, key: RouterKey) {
        let name = self.standby.members.get(&key).map(|member| &member.setup.name);
        if name.is_none_or(|name| self.roles.get(name) == Some(&Role::Master)) {
            // The word comes before the turn.
            return;
        }
        let ended = self.ended.get(&key).map(|&at| now.since(at));
        assert!(
            ended.is_some_and(|ended| ended <= FAREWELL_MAX),
            "seed {seed:#x}: 0 after {ended:?}"
        );
    }

    pub(super) fn key_of(&self, name: &str) -> Option<RouterKey> {
        let routers = &self.standby.plan.routers;
        routers.iter().find(|setup| setup.name == name).map(|setup| setup.key)
    }

    pub(super) fn wakes_at(&self) -> Option<Instant> {
        Some(self.deadline.filter(|_| self.life == Life::Up)? + self.jitter)
    }

    pub(in crate::standby::tests) fn role(&self, key: RouterKey) -> Role {
        match self.life {
            Life::Dead => Role::Init,
            Life::Up | Life::Paused => {
                self.standby.members.get(&key).map_or(Role::Init, |member| member.router.role())
            }
        }
    }

    pub(super) fn turned(&mut self, seed: u64, now: Instant, turn: Turn) {
        if let (Role::Master, Some(key)) = (turn.before, self.key_of(&turn.vip)) {
            self.ended.insert(key, now);
        }
        let expected = if self.sequence == 0 { turn.sequence } else { self.sequence + 1 };
        assert_eq!(turn.sequence, expected, "seed {seed:#x}");
        self.sequence = expected;
        let before = self.roles.insert(turn.vip.clone(), turn.role);
        let begins = before.is_none_or(|before| before == Role::Init) && turn.role == Role::Init;
        assert!(before.is_some() || begins, "seed {seed:#x}: it did not say that it begins");
        assert_eq!(turn.before, before.unwrap_or_default(), "seed {seed:#x}");
        if begins {
            return;
        }
        assert_ne!(turn.role, turn.before, "seed {seed:#x}");
        let epoch = self.epochs.entry(turn.vip.clone()).or_default();
        // Whatever is configured anew starts anew.
        if turn.before == Role::Init {
            *epoch = turn.epoch;
        }
        let grows =
            if turn.role == Role::Master { turn.epoch > *epoch } else { turn.epoch >= *epoch };
        let is_first = turn.before == Role::Init;
        assert!(is_first || grows, "seed {seed:#x}: epoch {} after {epoch}", turn.epoch);
        *epoch = turn.epoch;
        self.turns.push(turn);
    }

    pub(in crate::standby::tests) fn kinds(&self) -> Vec<String> {
        self.notes.iter().map(|note| note.kind.to_string()).collect()
    }
}
