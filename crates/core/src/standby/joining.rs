//! Groups that are held in parts: a reload may let virtual routers move together that are on different
//! nodes.
//!
//! The nodes that talk and hold a part each know who of them could have all, and who is best: that of the
//! highest priority, where the least one of the group counts, and among equals that whose name comes
//! first. The others give their parts to it by planned moves, once that has been so for a moment.
//! What it declines again and again stays where it is; status says so.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use core::cmp::Reverse;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::member::Member;
use super::moves::{BUSY_PAUSE, Purpose};
use super::{RouterKey, Standby};
use crate::time::Instant;
use crate::vrrp::Role;

/// How long a group must have been in parts at least: one that has just been claimed is for a moment.
const APART_MIN: Duration = Duration::from_secs(1);
/// Before another node is offered a part again.
const JOIN_PAUSE: Duration = Duration::from_secs(5);
/// How often it is.
const JOINS_MAX: u8 = 3;

/// A group of which this node holds a part that is another one's to have.
#[derive(Clone, Copy, Debug, Decode, Encode)]
pub(super) struct Apart {
    /// When it is offered that.
    #[n(0)]
    pub(super) due_at: Instant,
    /// How often it was.
    #[n(1)]
    offered: u8,
}

/// Who is to have all of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Best {
    Nobody,
    Here,
    Peer(usize),
}

impl Standby {
    /// Lets others have what is here of groups that are theirs to have.
    pub(super) fn join_groups(&mut self, now: Instant) {
        let mut parts: BTreeMap<String, (usize, BTreeSet<RouterKey>)> = BTreeMap::new();
        for (key, member) in self.members.iter().filter(|(_, member)| member.is_master()) {
            if let (Some(sync), Some(Best::Peer(peer))) = (&member.setup.sync, self.apart(*key)) {
                let part = parts.entry(sync.clone()).or_insert((peer, BTreeSet::new()));
                part.1.insert(*key);
            }
        }
        self.moves.apart.retain(|sync, _| parts.contains_key(sync));
        for (sync, (peer, part)) in parts {
            let waits = part.iter().filter_map(|key| self.members.get(key));
            let waits = waits.map(|member| member.router.down_time() * 2).max();
            let due_at = now + waits.unwrap_or_default().max(APART_MIN);
            let apart = self.moves.apart.entry(sync).or_insert(Apart { due_at, offered: 0 });
            if now < apart.due_at || apart.offered == JOINS_MAX {
                continue;
            }
            if !self.moves.mover.is_free() || !self.moves.queue.is_empty() {
                apart.due_at = now + BUSY_PAUSE;
                continue;
            }
            apart.offered += 1;
            apart.due_at = now + JOIN_PAUSE;
            let why = "what it moves with is there";
            self.queue_gift(now, peer, part, Purpose::Join, why);
        }
    }

    /// When the next part is offered.
    pub(super) fn joins_at(&self) -> Option<Instant> {
        let open = self.moves.apart.values().filter(|apart| apart.offered < JOINS_MAX);
        open.map(|apart| apart.due_at).min()
    }

    /// An offer of a part that came at the wrong moment does not count.
    pub(super) fn join_later(&mut self, now: Instant, part: &BTreeSet<RouterKey>) {
        for sync in part.iter().filter_map(|key| self.members.get(key)?.setup.sync.as_ref()) {
            if let Some(apart) = self.moves.apart.get_mut(sync) {
                *apart =
                    Apart { due_at: now + BUSY_PAUSE, offered: apart.offered.saturating_sub(1) };
            }
        }
    }

    /// Who is to have all of the group of a master, if that is held in parts and it is known who
    /// holds each.
    fn apart(&self, key: RouterKey) -> Option<Best> {
        let group = self.group(key);
        let mut holders = BTreeSet::new();
        for key in group.iter().filter(|key| !self.members[key].is_master()) {
            holders.insert(self.holder(*key)?);
        }
        if holders.is_empty() {
            return None;
        }
        let ours = group.iter().map(|key| self.members[key].router.priority()).min().unwrap_or(0);
        let theirs = |peer: usize| {
            let claims = group.iter().map(|key| self.peers.claim(peer, key.0));
            let priority = claims.map(|claim| claim.map_or(0, |claim| claim.priority)).min();
            (priority.unwrap_or(0), Reverse(self.peer_name(peer)), Best::Peer(peer))
        };
        let here = (ours, Reverse(self.plan.node.clone()), Best::Here);
        let all = holders.into_iter().map(theirs).chain([here]);
        let able = all.filter(|(priority, _, _)| *priority > 0);
        let best = able.max_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        Some(best.map_or(Best::Nobody, |(_, _, best)| best))
    }

    /// The peer that says that it has a virtual router.
    fn holder(&self, key: RouterKey) -> Option<usize> {
        let is_master = |peer: &usize| {
            let claim = self.peers.claim(*peer, key.0);
            claim.is_some_and(|claim| claim.role == Role::Master) && self.peers.is_reached(*peer)
        };
        (0..self.plan.peers.len()).find(is_master)
    }

    /// Whether a virtual router stays where it is though `peer` offers others that it moves with:
    /// here, or at a third node.
    pub(super) fn stays_when_offered(&self, key: RouterKey, peer: usize) -> bool {
        self.members[&key].is_master() || self.holder(key).is_some_and(|holder| holder != peer)
    }

    /// Where the rest of the group of a master is and what follows from that, for people.
    pub(super) fn apart_in_words(&self, member: &Member) -> Option<String> {
        let key = member.setup.key;
        let best = self.apart(key).filter(|_| member.is_master())?;
        let (mate, other) = self.mates(key).find(|(_, mate)| !mate.is_master())?;
        let holder = self.peer_name(self.holder(mate)?);
        let what = format!("{}, which it moves with, is on {holder}", other.subject());
        let sync = member.setup.sync.as_ref()?;
        let is_given_up = self.moves.apart.get(sync).is_some_and(|one| one.offered == JOINS_MAX);
        Some(match best {
            Best::Nobody => format!("{what}, and no node can have all of them"),
            Best::Here => format!("{what}, which is to give it to this node"),
            Best::Peer(peer) if is_given_up => {
                let name = self.peer_name(peer);
                format!(
                    "{what}, and {name} did not take all of them: `evergate failover` moves them"
                )
            }
            Best::Peer(peer) => format!("{what}: {} is to have all of them", self.peer_name(peer)),
        })
    }
}
