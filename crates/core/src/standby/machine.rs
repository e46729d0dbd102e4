//! The join of a node's virtual routers.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::member::{Member, Source};
use super::moves::Moves;
use super::{Input, Note, Order, Output, Plan, RouterKey, Setup, Severity, Turn, View};
use crate::handover::{Event, NEXT_WITHIN};
use crate::peer::{self, Peers};
use crate::rng::Rng;
use crate::time::Instant;
use crate::track::{self, Standing, Subject};
use crate::vrrp::Role;
use crate::vrrp::router::{self, Fitness, Leave};

/// All virtual routers of a node.
///
/// Drain [`Self::next_output`] to `None` after every call, and hand in [`Input::Tick`] no later than
/// [`Self::deadline`], after whatever was received until then. Carried over the keeper's exec as it
/// is: outputs must have been drained.
#[derive(Clone, Debug, Decode, Encode)]
pub struct Standby {
    #[n(0)]
    pub(super) plan: Plan,
    #[n(1)]
    pub(super) members: BTreeMap<RouterKey, Member>,
    #[n(2)]
    pub(super) verdicts: BTreeMap<Subject, Option<String>>,
    #[n(3)]
    birth: Birth,
    #[n(4)]
    pub(super) rng: Rng,
    /// Of the last [`Turn`].
    #[n(5)]
    sequence: u64,
    #[n(6)]
    pub(super) is_in_maintenance: bool,
    /// Why the worker cannot be brought back.
    #[n(7)]
    helpless: Option<String>,
    #[n(8)]
    ending: Ending,
    /// When a role changed last.
    #[n(9)]
    pub(super) turned_at: Instant,
    /// The latest time it was told.
    #[n(10)]
    pub(super) seen_at: Instant,
    #[n(11)]
    pub(super) peers: Peers,
    #[n(12)]
    pub(super) moves: Moves,
    #[cbor(skip)]
    pub(super) outputs: VecDeque<Output>,
}

/// What a node starts from.
#[derive(Clone, Copy, Debug, Decode, Encode)]
pub struct Birth {
    /// Now, on the monotonic clock.
    #[n(0)]
    pub now: Instant,
    /// Now, in milliseconds of Unix time. Later jumps of that clock are not followed.
    #[n(1)]
    pub unix_ms: u64,
    /// Where chance starts.
    #[n(2)]
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
enum Ending {
    #[n(0)]
    No,
    #[n(1)]
    Asked,
    #[n(2)]
    Over,
}

impl Standby {
    /// A node that holds nothing and takes part once its interfaces are known.
    pub fn new(plan: Plan, birth: Birth) -> Self {
        let mut rng = Rng::seeded(birth.seed);
        let mut standby = Self {
            peers: Peers::new(birth.now, birth.unix_ms, rng.next_u64()),
            moves: Moves::new(rng.next_u64()),
            plan: Plan::default(),
            members: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            birth,
            rng,
            sequence: birth.unix_ms,
            is_in_maintenance: false,
            helpless: None,
            ending: Ending::No,
            turned_at: birth.now,
            seen_at: birth.now,
            outputs: VecDeque::new(),
        };
        standby.apply(birth.now, plan);
        standby
    }

    /// Changes what should be. Virtual routers are known by their keys; whatever did not change is
    /// not disturbed. One that is gone says 0 and releases its addresses at once: perform that with
    /// what it was.
    pub fn apply(&mut self, now: Instant, plan: Plan) {
        let wanted: BTreeSet<RouterKey> = plan.routers.iter().map(|setup| setup.key).collect();
        self.apply_peers(now, &plan);
        let gone: Vec<RouterKey> =
            self.members.keys().copied().filter(|key| !wanted.contains(key)).collect();
        for key in gone {
            let why = String::from("not configured any more");
            self.move_on(now, Event::Upset { router: key.0, why: why.clone() });
            self.feed(now, key, router::Input::Fitness(Fitness::Out { leave: Leave::AtOnce, why }));
            self.members.remove(&key);
        }
        let joining = self.joining(&plan);
        for setup in &plan.routers {
            match self.members.get_mut(&setup.key) {
                Some(member) if member.setup == *setup => {}
                Some(member) => {
                    member.router.set_policy(now, setup.policy);
                    member.tracker.apply(now, setup.policy.priority, setup.track.clone());
                    member.setup = setup.clone();
                    self.carry_out(now, setup.key);
                }
                None => {
                    let member = Member::new(now, self.birth.now, setup.clone());
                    self.members.insert(setup.key, member);
                    self.tell_begin(setup);
                }
            }
        }
        for key in joining {
            self.members.entry(key).and_modify(|member| member.joins_since = Some(now));
        }
        let tracked: BTreeSet<&Subject> =
            plan.routers.iter().flat_map(|setup| &setup.track).map(|rule| &rule.subject).collect();
        self.verdicts.retain(|subject, _| tracked.contains(subject));
        // What begins to be tracked may be known from others that track it already.
        for (subject, failure) in &self.verdicts {
            for member in self.members.values_mut() {
                member.hear(now, subject, failure.as_deref());
            }
        }
        self.plan = plan;
        self.settle(now);
    }

    /// Advances everything by one event.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Heard { router, from, advert } => self.hear_advert(now, router, from, advert),
            Input::Interface { router, source } => self.set_source(now, router, source),
            Input::Verdict { subject, failure } => {
                for member in self.members.values_mut() {
                    member.hear(now, &subject, failure.as_deref());
                }
                self.verdicts.insert(subject, failure);
            }
            // It is who was offered the addresses.
            Input::RivalOwner { router, .. } if self.is_frozen(router) => {}
            Input::RivalOwner { router, who } => {
                self.feed(now, router, router::Input::RivalOwner { who });
            }
            Input::Said { peer, path, message } => self.hear_peer(now, peer, path, message),
            Input::Refused { peer, path } => {
                self.peers.handle(now, peer::Input::Refused { peer, path });
            }
            Input::Echo { peer, path, answers } => {
                self.peers.handle(now, peer::Input::Echo { peer, path, answers });
            }
            Input::Frozen { flows } => self.move_on(now, Event::Frozen(flows)),
            Input::Drained => self.move_on(now, Event::Drained),
            Input::Hasten => self.move_on(now, Event::Hasten(NEXT_WITHIN)),
            Input::Helpless { why } => self.helpless = Some(why),
            Input::Helped => self.helpless = None,
            Input::Stop => {
                if self.ending == Ending::No {
                    self.ending = Ending::Asked;
                    self.stop_in_order(now);
                }
            }
            Input::Tick => {
                self.peers.handle(now, peer::Input::Tick);
                self.move_on(now, Event::Tick);
                for key in self.keys() {
                    self.wait_for_group(now, key);
                    self.feed(now, key, router::Input::Tick);
                }
            }
        }
        self.settle(now);
    }

    /// Does what an operator wants: a line for each step, or why not.
    pub fn order(&mut self, now: Instant, order: Order) -> Result<Vec<String>, String> {
        let answer = self.follow(now, order);
        self.settle(now);
        answer
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Tick`], if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let members = self.members.values().filter_map(Member::deadline);
        let others = [self.peers.deadline(), self.moves.deadline(), self.joins_at()];
        members.chain(others.into_iter().flatten()).min()
    }

    /// How every virtual router is, in the order of the plan.
    pub fn views(&self) -> Vec<View> {
        let members = self.plan.routers.iter().filter_map(|setup| self.members.get(&setup.key));
        let view = |member: &Member| {
            let mut view = member.view(self.seen_at, self.unix_ms(member.since));
            let why = self.holding_back().or_else(|| self.move_under_way(member.setup.key));
            let why = why.or_else(|| self.waits_for_group(member));
            let why = why.or_else(|| self.apart_in_words(member));
            if why.is_some() {
                view.holding_back = why;
            }
            view
        };
        members.map(view).collect()
    }

    /// How every peer is, in the order of the plan.
    pub fn peer_views(&self) -> Vec<peer::View> {
        self.peers.views()
    }

    /// What a virtual router tracks, and why it fails.
    pub fn tracked(&self, key: RouterKey) -> Vec<(Subject, Option<String>)> {
        self.members.get(&key).map(|member| member.tracker.tracked()).unwrap_or_default()
    }

    /// Whether an operator has taken the node out of service.
    pub fn is_in_maintenance(&self) -> bool {
        self.is_in_maintenance
    }

    fn holding_back(&self) -> Option<String> {
        match self.ending {
            Ending::No if self.is_in_maintenance => Some(String::from("in maintenance")),
            Ending::No => None,
            Ending::Asked | Ending::Over => Some(String::from("stopping")),
        }
    }

    fn set_source(
        &mut self,
        now: Instant,
        key: RouterKey,
        source: Result<core::net::IpAddr, String>,
    ) {
        let Some(member) = self.members.get_mut(&key) else { return };
        member.source = match source {
            Ok(address) => Source::Ready(address),
            Err(why) => Source::Broken(why),
        };
        let address = match member.source {
            Source::Ready(address) => Some(address),
            Source::Unknown | Source::Broken(_) => None,
        };
        self.feed(now, key, router::Input::Source(address));
    }

    /// Brings everything in line after something changed.
    pub(super) fn settle(&mut self, now: Instant) {
        self.seen_at = self.seen_at.max(now);
        for member in self.members.values_mut() {
            member.tracker.handle(now, track::Input::Tick);
        }
        self.settle_joining();
        self.judge(now);
        self.settle_moves(now);
        self.talk(now);
        self.end_splits(now);
        if self.ending == Ending::Asked
            && !self.members.values().any(|member| member.router.holds())
            && !self.moves.lingers(now)
        {
            self.ending = Ending::Over;
            self.outputs.push_back(Output::Idle);
        }
    }

    /// Tells every virtual router how fit it is.
    pub(super) fn judge(&mut self, now: Instant) {
        for key in self.keys() {
            let fitness = self.fitness_in_group(key);
            if *self.members[&key].router.fitness() != fitness {
                self.feed(now, key, router::Input::Fitness(fitness));
            }
        }
    }

    /// How fit a virtual router is, by itself.
    pub(super) fn fitness(&self, member: &Member) -> Fitness {
        let is_moving = self.moves.is_leaving(member.setup.key);
        if self.ending != Ending::No && !is_moving {
            return Fitness::Out { leave: Leave::InOrder, why: String::from("stopping") };
        }
        match &member.source {
            Source::Ready(_) => {}
            Source::Unknown => {
                let why = String::from("its interface is not known yet");
                return Fitness::Out { leave: Leave::AtOnce, why };
            }
            Source::Broken(why) => {
                return Fitness::Faulty { leave: Leave::AtOnce, why: why.clone() };
            }
        }
        if self.is_in_maintenance && !is_moving {
            return Fitness::Out { leave: Leave::InOrder, why: String::from("in maintenance") };
        }
        if let Some(why) = &self.helpless {
            return Fitness::Faulty { leave: Leave::AtOnce, why: why.clone() };
        }
        // Whoever holds an address keeps it while something new is not judged yet.
        if let Some(why) = member.tracker.waits_for().filter(|_| !self.keeps(member)) {
            return Fitness::Out { leave: Leave::InOrder, why };
        }
        match member.tracker.standing() {
            Standing::Able { priority, .. } => Fitness::Able { priority },
            Standing::Faulty(why) => Fitness::Faulty { leave: Leave::InOrder, why },
        }
    }

    /// Hands `input` to a virtual router, carries its answers out, and lets those that move with it
    /// follow.
    pub(super) fn feed(&mut self, now: Instant, key: RouterKey, input: router::Input) {
        let Some(member) = self.members.get_mut(&key) else { return };
        member.router.handle(now, input);
        self.carry_out(now, key);
    }

    fn carry_out(&mut self, now: Instant, key: RouterKey) {
        let mut turns = Vec::new();
        while let Some(output) = self.members.get_mut(&key).and_then(|m| m.router.next_output()) {
            if let Some(turn) = self.carry(now, key, output) {
                turns.push(turn);
            }
        }
        // What moves as agreed moves as a whole already.
        if self.moves.is_moving_all {
            return;
        }
        for (role, before) in turns {
            self.move_group(now, key, role, before);
        }
    }

    /// Passes on what a virtual router wants done; returns what it turned from and to.
    fn carry(
        &mut self,
        now: Instant,
        key: RouterKey,
        output: router::Output,
    ) -> Option<(Role, Role)> {
        match output {
            router::Output::Advertise { priority } => {
                self.outputs.push_back(Output::Advertise { router: key, priority });
            }
            router::Output::Hold => self.outputs.push_back(Output::Hold(key)),
            router::Output::Release => self.outputs.push_back(Output::Release(key)),
            router::Output::Announce => self.outputs.push_back(Output::Announce(key)),
            router::Output::Turned { role, before, reason } => {
                self.turn(now, key, role, before, reason);
                return Some((role, before));
            }
            router::Output::Rival { who } => {
                let member = self.members.get_mut(&key)?;
                if member.see_rival(now, who.clone()) {
                    let subject = member.subject();
                    let reason = format!("another node claims the addresses too: {who}");
                    self.note(Severity::Error, "vip_split", subject, reason);
                }
            }
            router::Output::Late { silence } => {
                let subject = self.members.get(&key)?.subject();
                let reason = format!("this node was paused for {} ms", silence.as_millis());
                self.note(Severity::Warn, "vip_late", subject, reason);
            }
        }
        None
    }

    fn turn(&mut self, now: Instant, key: RouterKey, role: Role, before: Role, reason: String) {
        let clock = self.unix_ms(now) / 1000;
        let Some(member) = self.members.get_mut(&key) else { return };
        if role == Role::Master {
            let known = member.epoch.max(self.peers.epoch(key.0));
            member.epoch = clock.max(known + 1);
        }
        member.since = now;
        member.turns += 1;
        member.reason.clone_from(&reason);
        self.turned_at = now;
        self.sequence += 1;
        let turn = Turn {
            sequence: self.sequence,
            vip: member.setup.name.clone(),
            role,
            before,
            epoch: member.epoch,
            reason: reason.clone(),
        };
        let subject = member.subject();
        let (severity, kind) = match role {
            Role::Init => (Severity::Info, "vip_init"),
            Role::Backup => (Severity::Info, "vip_backup"),
            Role::Master => (Severity::Info, "vip_master"),
            Role::Fault => (Severity::Warn, "vip_fault"),
        };
        self.outputs.push_back(Output::Turned(turn));
        self.note(severity, kind, subject, reason);
    }

    /// Says of a virtual router that is new here that it has no role yet: whoever was told of one by a
    /// node that was killed would believe it still.
    fn tell_begin(&mut self, setup: &Setup) {
        self.sequence += 1;
        self.outputs.push_back(Output::Turned(Turn {
            sequence: self.sequence,
            vip: setup.name.clone(),
            role: Role::Init,
            before: Role::Init,
            epoch: 0,
            reason: String::from("this node begins with it"),
        }));
    }

    fn end_splits(&mut self, now: Instant) {
        for key in self.keys() {
            let Some(member) = self.members.get_mut(&key) else { continue };
            let Some(split) = member.split.take_if(|split| split.over_at <= now) else { continue };
            let subject = member.subject();
            let reason = format!("nothing more was heard of {}", split.who);
            self.note(Severity::Info, "vip_split_over", subject, reason);
        }
    }

    pub(super) fn note(
        &mut self,
        severity: Severity,
        kind: &'static str,
        subject: String,
        reason: String,
    ) {
        self.outputs.push_back(Output::Note(Note { severity, kind, subject, reason }));
    }

    pub(super) fn keys(&self) -> Vec<RouterKey> {
        self.members.keys().copied().collect()
    }

    /// `at` in milliseconds of Unix time, by the clock at birth.
    fn unix_ms(&self, at: Instant) -> u64 {
        let elapsed: Duration = at.since(self.birth.now);
        self.birth.unix_ms.saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}
