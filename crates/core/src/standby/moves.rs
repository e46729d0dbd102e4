//! Planned moves of this node's virtual routers, to peers that talk with it and from them.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::joining::Apart;
use super::{RouterKey, Severity, Standby};
use crate::handover::{Event, Mover, NEXT_WITHIN, Offer, PASS_DEFAULT, PASS_MAX, Stage};
use crate::time::Instant;
use crate::vrrp::router::{self, Fitness};
use crate::vrrp::{Advert, Role};

/// How long a node that stops waits for connections: what is to stop after it has a time of its own.
const STOP_PASS_MAX: Duration = Duration::from_secs(5);
/// How long a node that stops waits for a move before that is still passing packets on.
const STOP_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a node that stops goes on passing packets on before what is behind its sockets may go:
/// until the network has turned, and whoever has just begun to connect is through.
const STOP_LINGER: Duration = Duration::from_millis(300);
/// How long something that a peer is too busy for is kept for it: until connections of what it is
/// busy with are cut, and a moment for everything else.
const BUSY_MAX: Duration = Duration::from_secs(12);
/// Before a peer that was busy is offered something again.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(200);
/// How long a better backup leaves a master alone that it has asked.
const WANT_MAX: Duration = Duration::from_secs(3);
/// Before it asks again.
pub(super) const WANT_PAUSE: Duration = Duration::from_secs(1);
/// How often it asks before it preempts as VRRP does.
const WANTS_MAX: u8 = 3;

/// Planned moves that this node takes part in.
#[derive(Clone, Debug, Decode, Encode)]
pub(super) struct Moves {
    #[n(0)]
    pub(super) mover: Mover,
    /// What is to be given away next; what is being given away is the first.
    #[n(1)]
    pub(super) queue: VecDeque<Gift>,
    /// Who has claimed what is being given away, and what it said.
    #[n(2)]
    pub(super) claimants: BTreeMap<RouterKey, (IpAddr, Advert)>,
    /// Since when a successor is said to have claimed.
    #[n(3)]
    pub(super) claimed_at: Option<Instant>,
    /// How often what was asked for.
    #[n(4)]
    wants: BTreeMap<RouterKey, u8>,
    /// When something was given away last.
    #[n(5)]
    pub(super) ceded_at: Option<Instant>,
    /// Groups that are held in parts, by their words.
    #[n(6)]
    #[cbor(default)]
    pub(super) apart: BTreeMap<String, Apart>,
    /// Whether routers are turning that move together as agreed.
    #[cbor(skip)]
    pub(super) is_moving_all: bool,
    /// Whether only that is waited for.
    #[cbor(skip)]
    lingers: bool,
}

/// Virtual routers that are to be given to a peer together.
#[derive(Clone, Debug, Decode, Encode)]
pub(super) struct Gift {
    #[n(0)]
    peer: usize,
    #[n(1)]
    routers: BTreeSet<RouterKey>,
    #[n(2)]
    purpose: Purpose,
    #[n(3)]
    why: String,
    /// Whether the peer was offered it already.
    #[n(4)]
    pub(super) is_begun: bool,
    /// When it is given up without the peer's help, unless it has begun.
    #[n(5)]
    until: Option<Instant>,
    /// When the peer, which was busy, is offered it again.
    #[n(6)]
    again_at: Option<Instant>,
}

/// What virtual routers are given away for.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) enum Purpose {
    /// Only that a peer has them.
    #[n(0)]
    Failover,
    /// This node is to take part no more.
    #[n(1)]
    Maintenance,
    /// It ends.
    #[n(2)]
    Stop,
    /// A peer has what they move with.
    #[n(3)]
    Join,
}

impl Moves {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            mover: Mover::new(seed),
            queue: VecDeque::new(),
            claimants: BTreeMap::new(),
            claimed_at: None,
            wants: BTreeMap::new(),
            ceded_at: None,
            apart: BTreeMap::new(),
            is_moving_all: false,
            lingers: false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.queue.iter().filter(|gift| !gift.is_begun);
        let waiting = waiting.flat_map(|gift| gift.until.into_iter().chain(gift.again_at));
        let ceded_at = self.ceded_at.filter(|_| self.lingers);
        let lingering = ceded_at.map(|at| at + STOP_LINGER);
        waiting.chain(self.mover.deadline()).chain(lingering).min()
    }

    /// Whether a node that stops is to stay for a moment, for what is on its way to it.
    pub(super) fn lingers(&mut self, now: Instant) -> bool {
        let until = self.ceded_at.map(|at| at + STOP_LINGER);
        self.lingers = !self.mover.is_idle() && until.is_some_and(|until| now < until);
        self.lingers
    }

    pub(super) fn is_idle(&self) -> bool {
        self.mover.is_idle() && self.queue.is_empty()
    }

    /// Whether a virtual router is kept only until its move is made.
    pub(super) fn is_leaving(&self, key: RouterKey) -> bool {
        self.queue.iter().any(|gift| gift.routers.contains(&key))
    }

    /// The peer that a virtual router will be offered to.
    pub(super) fn waiting_for(&self, key: RouterKey) -> Option<usize> {
        let gift = self.queue.iter().find(|gift| gift.routers.contains(&key));
        gift.map(|gift| gift.peer)
    }
}

impl Standby {
    /// Has `keys` moved to peers, where there are such, else given up to whoever follows; a line for
    /// each.
    pub(super) fn give_away(
        &mut self,
        now: Instant,
        keys: &BTreeSet<RouterKey>,
        purpose: Purpose,
        why: &str,
    ) -> Vec<String> {
        let mut steps = Vec::new();
        let mut left: BTreeSet<RouterKey> =
            keys.iter().copied().filter(|key| !self.moves.is_leaving(*key)).collect();
        while let Some(key) = left.pop_first() {
            let group = self.group(key).into_iter();
            let group: BTreeSet<RouterKey> = group.filter(|key| keys.contains(key)).collect();
            left.retain(|key| !group.contains(key));
            let successor = self.successor(&group);
            for key in &group {
                steps.push(self.step(*key, successor, purpose));
            }
            match successor {
                Some(peer) => self.queue_gift(now, peer, group, purpose, why),
                None if purpose == Purpose::Failover => {
                    group.into_iter().for_each(|key| self.resign(now, key, why));
                }
                // Whoever takes no part gives up by itself.
                None => {}
            }
        }
        steps
    }

    fn step(&self, key: RouterKey, successor: Option<usize>, purpose: Purpose) -> String {
        let member = &self.members[&key];
        let (subject, within) = (member.subject(), member.router.down_time().as_millis());
        match (successor, purpose) {
            (Some(peer), _) if self.moves.is_idle() => {
                format!(
                    "{subject}: moved to {}, connections that are open stay",
                    self.peer_name(peer)
                )
            }
            (Some(peer), _) => {
                let name = self.peer_name(peer);
                format!("{subject}: moved to {name} once the move before it is over")
            }
            (None, Purpose::Failover) => format!(
                "{subject}: given up to whoever follows; kept if nobody does within {within} ms"
            ),
            (None, Purpose::Maintenance | Purpose::Stop | Purpose::Join) => {
                format!("{subject}: given up to whoever follows")
            }
        }
    }

    pub(super) fn queue_gift(
        &mut self,
        now: Instant,
        peer: usize,
        routers: BTreeSet<RouterKey>,
        purpose: Purpose,
        why: &str,
    ) {
        let is_same =
            |gift: &&mut Gift| !gift.is_begun && gift.peer == peer && gift.purpose == purpose;
        if let Some(gift) = self.moves.queue.iter_mut().find(is_same) {
            gift.routers.extend(routers);
            return;
        }
        let until = (purpose == Purpose::Stop).then(|| now + STOP_WAIT_MAX);
        let why = why.to_string();
        let gift = Gift { peer, routers, purpose, why, is_begun: false, until, again_at: None };
        self.moves.queue.push_back(gift);
    }

    /// The peer that could have all of `group` at once: the best one for the first of them.
    fn successor(&self, group: &BTreeSet<RouterKey>) -> Option<usize> {
        // One that says that it is not ready may be so in a moment, and if not it declines.
        let claim = |peer: usize, key: &RouterKey| {
            let claim = self.peers.claim(peer, key.0)?;
            let is_able = claim.role == Role::Backup && claim.priority > 0;
            is_able.then_some((claim.is_ready, claim.priority))
        };
        let priority = |peer: usize| {
            if !self.peers.is_reached(peer) {
                return None;
            }
            group.iter().map(|key| claim(peer, key)).min().flatten()
        };
        let able = (0..self.plan.peers.len()).filter_map(|peer| Some((priority(peer)?, peer)));
        able.max_by_key(|(priority, peer)| (*priority, core::cmp::Reverse(*peer)))
            .map(|(_, peer)| peer)
    }

    /// The node ends: what it has is moved first.
    pub(super) fn stop_in_order(&mut self, now: Instant) {
        self.move_on(now, Event::Hasten(STOP_PASS_MAX));
        let masters = self.masters();
        self.give_away(now, &masters, Purpose::Stop, "the other node stops");
        for gift in &mut self.moves.queue {
            gift.until.get_or_insert(now + STOP_WAIT_MAX);
        }
    }

    /// Brings moves in line with what virtual routers do, and begins what can be begun.
    pub(super) fn settle_moves(&mut self, now: Instant) {
        self.forget_wants();
        if !self.moves.mover.is_idle() {
            for key in self.keys() {
                self.upset_if_turned(now, key);
            }
        }
        let is_overdue =
            |gift: &Gift| !gift.is_begun && gift.until.is_some_and(|until| until <= now);
        let queue = core::mem::take(&mut self.moves.queue);
        let (overdue, queue) = queue.into_iter().partition::<VecDeque<Gift>, _>(is_overdue);
        self.moves.queue = queue;
        for gift in overdue {
            self.give_up(now, gift, "the move before it takes too long");
        }
        self.join_groups(now);
        self.begin_gift(now);
        let wanting = self.members.iter().filter(|(_, one)| one.router.wants_to_preempt(now));
        for key in wanting.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.ask_for(now, key);
        }
    }

    /// What it has got needs not be asked for any more, nor what is there no more.
    fn forget_wants(&mut self) {
        let members = &self.members;
        let is_open = |key: &RouterKey| members.get(key).is_some_and(|one| !one.is_master());
        self.moves.wants.retain(|key, _| is_open(key));
    }

    /// A role that has changed otherwise than by a move ends that move.
    fn upset_if_turned(&mut self, now: Instant, key: RouterKey) {
        let member = &self.members[&key];
        let role = member.router.role();
        let Some((stage, _)) = self.moves.mover.stage(key.0) else { return };
        let is_right = match stage {
            Stage::Offered | Stage::Frozen => role == Role::Master,
            Stage::Given => role != Role::Master,
            Stage::Awaited => self.is_ready_but_for_moves(key),
            Stage::Taken => role == Role::Master,
        };
        if !is_right {
            let why = match (stage, self.fitness_in_group(key)) {
                (Stage::Awaited, Fitness::Faulty { why, .. } | Fitness::Out { why, .. }) => why,
                _ => format!("{} is {} now", self.members[&key].subject(), role.word()),
            };
            self.move_on(now, Event::Upset { router: key.0, why });
        }
    }

    pub(super) fn upset_all(&mut self, now: Instant, why: &str) {
        for key in self.keys() {
            self.move_on(now, Event::Upset { router: key.0, why: why.to_string() });
        }
        for gift in core::mem::take(&mut self.moves.queue) {
            self.give_up(now, gift, why);
        }
    }

    fn begin_gift(&mut self, now: Instant) {
        let is_due = |gift: &&mut Gift| !gift.is_begun && gift.again_at.is_none_or(|at| at <= now);
        let Some(gift) = self.moves.queue.front_mut().filter(is_due) else { return };
        gift.again_at = None;
        if !self.moves.mover.is_free() {
            self.move_on(now, Event::Hasten(NEXT_WITHIN));
            return;
        }
        gift.is_begun = true;
        gift.routers.retain(|key| self.members.get(key).is_some_and(|member| member.is_master()));
        let gift = gift.clone();
        if gift.routers.is_empty() {
            self.moves.queue.pop_front();
            return;
        }
        self.moves.claimants.clear();
        self.moves.claimed_at = None;
        let epochs = gift.routers.iter().map(|key| (key.0, self.members[key].epoch));
        let offer = Offer {
            peer: gift.peer,
            routers: epochs.collect(),
            reason: gift.why,
            pass_within: match gift.purpose {
                Purpose::Failover | Purpose::Maintenance | Purpose::Join => {
                    self.pass_within(gift.routers.iter().copied())
                }
                Purpose::Stop => self.pass_within(gift.routers.iter().copied()).min(STOP_PASS_MAX),
            },
        };
        self.move_on(now, Event::Give(offer));
    }

    /// How long connections to these are waited for once they have moved: as long as is wanted for
    /// any of them, as they move together.
    pub(super) fn pass_within(&self, keys: impl Iterator<Item = RouterKey>) -> Duration {
        let members = keys.filter_map(|key| self.members.get(&key));
        let drains = members.map(|member| member.setup.drain.unwrap_or(PASS_DEFAULT));
        drains.max().unwrap_or(PASS_DEFAULT).min(PASS_MAX)
    }

    /// A move came to nothing: what was wanted is done without the peer.
    pub(super) fn give_up(&mut self, now: Instant, gift: Gift, why: &str) {
        if gift.purpose == Purpose::Join {
            // All is served as well where it is.
            return;
        }
        let name = self.peer_name(gift.peer);
        for key in gift.routers {
            let Some(member) = self.members.get(&key).filter(|member| member.is_master()) else {
                continue;
            };
            let subject = member.subject();
            let reason = format!("it is given up without the help of {name}: {why}");
            self.note(Severity::Warn, "vip_move_failed", subject, reason);
            if gift.purpose == Purpose::Failover {
                self.resign(now, key, &gift.why);
            }
        }
        self.judge(now);
    }

    /// A better backup asks a peer that is master before it preempts.
    fn ask_for(&mut self, now: Instant, key: RouterKey) {
        if !self.members[&key].router.wants_to_preempt(now) {
            return;
        }
        let asked = self.moves.wants.get(&key).copied().unwrap_or(0);
        let group = self.group(key);
        let is_master = |peer: usize, key: &RouterKey| {
            let claim = self.peers.claim(peer, key.0);
            claim.is_some_and(|claim| claim.role == Role::Master)
        };
        let mut peers = (0..self.plan.peers.len()).filter(|peer| self.peers.is_reached(*peer));
        let Some(peer) = peers.find(|peer| group.iter().all(|key| is_master(*peer, key))) else {
            return;
        };
        if asked >= WANTS_MAX {
            return;
        }
        if !self.moves.mover.is_free() {
            self.move_on(now, Event::Hasten(NEXT_WITHIN));
            self.defer(now, &group, WANT_PAUSE);
            return;
        }
        self.defer(now, &group, WANT_MAX);
        for key in &group {
            *self.moves.wants.entry(*key).or_default() += 1;
        }
        let routers = group.iter().map(|key| key.0).collect();
        self.move_on(now, Event::Want { peer, routers });
    }

    /// What was asked for or offered is to be so again: another move of the peer goes first.
    pub(super) fn postpone(&mut self, now: Instant, keys: &[RouterKey], is_wish: bool) {
        if is_wish {
            for key in keys {
                self.moves.wants.entry(*key).and_modify(|asked| *asked = asked.saturating_sub(1));
            }
            self.defer(now, keys, WANT_PAUSE);
            return;
        }
        let is_join = |gift: &mut Gift| gift.is_begun && gift.purpose == Purpose::Join;
        if let Some(gift) = self.moves.queue.pop_front_if(is_join) {
            // It may make no sense any more.
            self.join_later(now, &gift.routers);
        } else if let Some(gift) = self.moves.queue.front_mut() {
            gift.is_begun = false;
            gift.until.get_or_insert(now + BUSY_MAX);
            gift.again_at = Some(now + BUSY_PAUSE);
        }
    }

    pub(super) fn defer(&mut self, now: Instant, keys: &[RouterKey], time: Duration) {
        for key in keys {
            self.feed(now, *key, router::Input::Defer { until: now + time });
        }
    }
}
