//! Two to five nodes on a link that loses, doubles, delays and cuts, in virtual time; and a client
//! that believes whoever announced the address last.
//!
//! The world performs what nodes want done, and keeps what must never happen under watch.

use std::collections::{BTreeMap, BTreeSet};
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::rng::Rng;

/// Steps by which a world that goes on like this must be called a storm.
const STEPS_MAX: u64 = 4_000_000;

/// How long one that is master no more says so: 30 ms, a tick that is late, and a pause that is too
/// short to be noticed.
const FAREWELL_MAX: Duration = Duration::from_millis(1_200);

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    flights: BTreeMap<(Instant, u64), Flight>,
    numbered: u64,
    pub(super) net: Net,
    /// One for each virtual router.
    pub(super) clients: BTreeMap<RouterKey, Client>,
    steps: u64,
}

pub(super) struct Node {
    pub(super) standby: Standby,
    pub(super) address: u8,
    pub(super) life: Life,
    /// What arrived while it was paused.
    inbox: Vec<Packet>,
    pub(super) held: BTreeSet<RouterKey>,
    roles: BTreeMap<String, Role>,
    epochs: BTreeMap<String, u64>,
    /// When each was master last.
    ended: BTreeMap<RouterKey, Instant>,
    sequence: u64,
    /// How late its next tick comes.
    jitter: Duration,
    pub(super) notes: Vec<Note>,
    pub(super) turns: Vec<Turn>,
    pub(super) sent: u64,
    pub(super) announced: u64,
    pub(super) is_idle: bool,
    /// What serves nobody new, for a planned move.
    pub(super) frozen: BTreeSet<RouterKey>,
    /// What packets are passed on of, and to whom.
    pub(super) passes_on: BTreeMap<RouterKey, IpAddr>,
    /// What packets are passed back of, and to whom.
    pub(super) passes_back: BTreeMap<RouterKey, IpAddr>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Life {
    Up,
    Paused,
    Dead,
}

/// How the link is.
#[derive(Clone, Debug)]
pub(super) struct Net {
    /// Percent of adverts that are lost.
    pub(super) loss: u32,
    /// Percent of announcements that are lost.
    pub(super) loss_of_announcements: u32,
    /// Percent of packets that arrive twice.
    pub(super) doubled: u32,
    /// Longest time that a packet takes, in microseconds.
    pub(super) delay_us: u32,
    /// Longest time that a tick is late, in microseconds.
    pub(super) jitter_us: u32,
    /// From whom to whom nothing passes.
    pub(super) cuts: BTreeSet<(usize, usize)>,
    /// How many of the next adverts from one node to another are lost.
    pub(super) drops: BTreeMap<(usize, usize), u32>,
    /// Whether nodes see each other's announcements.
    pub(super) sees_rivals: bool,
    /// Percent of messages between peers that are lost.
    pub(super) loss_of_words: u32,
    /// Whether nodes can list their connections.
    pub(super) freezes: bool,
    /// How long it takes until connections have ended, in milliseconds.
    pub(super) drains_ms: u64,
}

#[derive(Clone, Debug)]
enum Packet {
    Advert {
        router: RouterKey,
        from: IpAddr,
        advert: Advert,
    },
    Announcement {
        router: RouterKey,
        from: usize,
    },
    Word {
        from: usize,
        path: usize,
        message: peer::Message,
    },
    /// To the node itself.
    Drained,
}

struct Flight {
    /// Nothing: to the clients.
    to: Option<usize>,
    packet: Packet,
}

/// Somebody who talks to the addresses of a virtual router all the time.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    believes: Option<usize>,
    unserved_since: Option<Instant>,
    pub(super) gap_max: Duration,
    pub(super) gaps: Vec<(Instant, Duration)>,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            loss: 0,
            loss_of_announcements: 0,
            doubled: 0,
            delay_us: 300,
            jitter_us: 200,
            cuts: BTreeSet::new(),
            drops: BTreeMap::new(),
            sees_rivals: true,
            loss_of_words: 0,
            freezes: true,
            drains_ms: 150,
        }
    }
}

impl World {
    /// Nodes with these plans, all started now.
    pub(super) fn new(seed: u64, plans: Vec<Plan>) -> Self {
        let mut rng = Rng::seeded(seed);
        let keys = plans.iter().flat_map(|plan| plan.routers.iter().map(|setup| setup.key));
        let clients = keys.map(|key| (key, Client::default())).collect();
        let nodes = (1..).zip(plans).map(|(address, plan)| {
            let birth = Birth { now: at(0), unix_ms: 1_700_000_000_000, seed: rng.next_u64() };
            Node::new(Standby::new(plan, birth), address)
        });
        let nodes: Vec<Node> = nodes.collect();
        let mut world = Self {
            seed,
            nodes,
            rng,
            now: at(0),
            flights: BTreeMap::new(),
            numbered: 0,
            net: Net::default(),
            clients,
            steps: 0,
        };
        for node in 0..world.nodes.len() {
            world.connect(node);
        }
        world
    }

    /// Tells a node that its interfaces are up.
    pub(super) fn connect(&mut self, node: usize) {
        for key in self.nodes[node].standby.keys() {
            let source = Ok(self.nodes[node].address_of(key));
            self.feed(node, Input::Interface { router: key, source });
        }
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.next_event().filter(|&at| at <= end) {
            self.now = self.now.max(next);
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "seed {:#x}: a storm", self.seed);
            if let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= next) {
                let flight = entry.remove();
                self.arrive(flight);
            } else {
                for node in 0..self.nodes.len() {
                    if self.nodes[node].wakes_at().is_some_and(|at| at <= next) {
                        self.feed(node, Input::Tick);
                        let jitter = self.rng.below(self.net.jitter_us + 1);
                        self.nodes[node].jitter = Duration::from_micros(jitter.into());
                    }
                }
            }
            self.observe();
        }
        self.now = end;
        self.observe();
    }

    fn next_event(&self) -> Option<Instant> {
        let wakes = self.nodes.iter().filter_map(Node::wakes_at);
        wakes.chain(self.flights.keys().map(|&(at, _)| at)).min()
    }

    fn arrive(&mut self, flight: Flight) {
        match (flight.to, flight.packet) {
            (None, Packet::Announcement { router, from }) => {
                self.clients.get_mut(&router).expect("every router has a client").believes =
                    Some(from);
            }
            (None, Packet::Advert { .. } | Packet::Word { .. } | Packet::Drained) => {}
            (Some(to), packet) => match self.nodes[to].life {
                Life::Up => self.deliver(to, packet),
                Life::Paused => self.nodes[to].inbox.push(packet),
                Life::Dead => {}
            },
        }
    }

    fn deliver(&mut self, to: usize, packet: Packet) {
        match packet {
            Packet::Advert { router, from, advert } => {
                self.feed(to, Input::Heard { router, from, advert });
            }
            Packet::Announcement { router, from } => {
                if self.net.sees_rivals && self.nodes[to].held.contains(&router) {
                    let who = std::format!("02:00:00:00:00:{:02x}", self.nodes[from].address);
                    self.feed(to, Input::RivalOwner { router, who });
                }
            }
            Packet::Word { from, path, message } => {
                let peers = &self.nodes[to].standby.plan.peers;
                let name = name(from);
                let Some(peer) = peers.iter().position(|peer| peer.name == name) else { return };
                self.feed(to, Input::Said { peer, path, message });
            }
            Packet::Drained => {
                if !self.nodes[to].passes_on.is_empty() {
                    self.feed(to, Input::Drained);
                }
            }
        }
    }

    pub(super) fn feed(&mut self, node: usize, input: Input) {
        let is_tick = input == Input::Tick;
        self.nodes[node].standby.handle(self.now, input);
        self.perform(node);
        if is_tick {
            let deadline = self.nodes[node].standby.deadline();
            assert!(
                deadline.is_none_or(|at| at > self.now),
                "seed {:#x}: a tick left something due",
                self.seed
            );
        }
    }

    pub(super) fn order(&mut self, node: usize, order: Order) -> Result<Vec<String>, String> {
        let answer = self.nodes[node].standby.order(self.now, order);
        self.perform(node);
        answer
    }

    pub(super) fn apply(&mut self, node: usize, plan: Plan) {
        self.nodes[node].standby.apply(self.now, plan);
        self.perform(node);
    }

    /// Carries out what a node wants done.
    fn perform(&mut self, index: usize) {
        let seed = self.seed;
        let mut given_up = BTreeSet::new();
        while let Some(output) = self.nodes[index].standby.next_output() {
            let node = &mut self.nodes[index];
            let may_be_last = |output: &Output| {
                matches!(output, Output::Note(_) | Output::Say { .. } | Output::PassNone { .. })
            };
            assert!(
                !node.is_idle || may_be_last(&output),
                "seed {seed:#x}: {output:?} after the end"
            );
            match output {
                Output::Advertise { router, priority } => {
                    let role = node.role(router);
                    if priority > 0 {
                        assert_eq!(role, Role::Master, "seed {seed:#x}: an advert of no master");
                    } else {
                        given_up.insert(router);
                        node.check_farewell(seed, self.now, router);
                    }
                    node.sent += 1;
                    self.advertise(index, router, priority);
                }
                Output::Hold(key) => {
                    assert!(node.held.insert(key), "seed {seed:#x}: {key:?} was held");
                }
                Output::Release(key) => {
                    assert!(node.held.remove(&key), "seed {seed:#x}: {key:?} was not held");
                }
                Output::Announce(key) => {
                    assert!(node.held.contains(&key), "seed {seed:#x}: announced, not held");
                    assert_eq!(
                        node.role(key),
                        Role::Master,
                        "seed {seed:#x}: announced by no master"
                    );
                    node.announced += 1;
                    self.announce(index, key);
                }
                Output::Turned(turn) => {
                    if let (Role::Master, Some(key)) = (turn.role, node.key_of(&turn.vip)) {
                        given_up.remove(&key);
                    }
                    node.turned(seed, self.now, turn);
                }
                Output::Note(note) => node.notes.push(note),
                Output::Idle => {
                    assert!(node.held.is_empty(), "seed {seed:#x}: idle with addresses");
                    node.is_idle = true;
                }
                Output::Say { peer, path, message } => self.say(index, peer, path, &message),
                Output::Freeze { routers } => {
                    assert!(node.frozen.is_empty() && node.passes_on.is_empty());
                    assert!(routers.iter().all(|key| node.held.contains(key)), "seed {seed:#x}");
                    node.frozen.extend(routers);
                    let flow = handover::Flow {
                        client: IpAddr::from([10, 0, 0, 200]),
                        client_port: 40_000,
                        local: IpAddr::from([10, 0, 0, 100]),
                        local_port: 443,
                    };
                    let flows = if self.net.freezes {
                        Ok(std::vec![flow; 30])
                    } else {
                        Err("not here".to_string())
                    };
                    self.nodes[index].standby.handle(self.now, Input::Frozen { flows });
                }
                Output::PassOn { routers } => {
                    let keys: BTreeSet<RouterKey> = routers.iter().map(|(key, _)| *key).collect();
                    assert_eq!(node.frozen, keys, "seed {seed:#x}");
                    node.frozen.clear();
                    node.passes_on.extend(routers);
                    let at = self.now + Duration::from_millis(self.net.drains_ms);
                    self.numbered += 1;
                    let flight = Flight { to: Some(index), packet: Packet::Drained };
                    self.flights.insert((at, self.numbered), flight);
                }
                Output::PassBack { routers, flows } => {
                    assert_eq!(flows.len(), 1, "seed {seed:#x}: one connection, said often");
                    assert!(node.passes_back.is_empty(), "seed {seed:#x}");
                    assert!(
                        routers.iter().all(|(key, _)| !node.held.contains(key)),
                        "seed {seed:#x}"
                    );
                    node.passes_back.extend(routers);
                }
                Output::PassNone { routers } => {
                    for key in &routers {
                        let is_known = node.frozen.remove(key)
                            | node.passes_on.remove(key).is_some()
                            | node.passes_back.remove(key).is_some();
                        assert!(is_known, "seed {seed:#x}: {key:?} was not moving");
                    }
                }
            }
        }
        let node = &self.nodes[index];
        for key in given_up {
            assert_ne!(node.role(key), Role::Master, "seed {seed:#x}: it said 0 and is master");
        }
        for (key, member) in &node.standby.members {
            assert_eq!(node.held.contains(key), member.router.holds(), "seed {seed:#x}");
        }
    }

    fn say(&mut self, from: usize, peer: usize, path: Option<usize>, message: &peer::Message) {
        let setup = &self.nodes[from].standby.plan.peers[peer];
        let Some(to) = (0..self.nodes.len()).find(|to| name(*to) == setup.name) else { return };
        let paths =
            path.map_or_else(|| (0..setup.addresses.len()).collect(), |path| std::vec![path]);
        for path in paths {
            let is_lost = self.rng.below(100) < self.net.loss_of_words;
            if !is_lost && !self.net.cuts.contains(&(from, to)) {
                let message = message.clone();
                self.send(Some(to), Packet::Word { from, path, message });
            }
        }
    }

    fn advertise(&mut self, from: usize, router: RouterKey, priority: u8) {
        let Some(interval) = self.nodes[from].interval(router) else { return };
        let advert = Advert { priority, interval };
        let packet = Packet::Advert { router, from: self.nodes[from].address_of(router), advert };
        for to in 0..self.nodes.len() {
            if to == from || self.net.cuts.contains(&(from, to)) {
                continue;
            }
            if let Some(left) = self.net.drops.get_mut(&(from, to)).filter(|left| **left > 0) {
                *left -= 1;
                continue;
            }
            if self.rng.below(100) < self.net.loss {
                continue;
            }
            self.send(Some(to), packet.clone());
        }
    }

    fn announce(&mut self, from: usize, router: RouterKey) {
        let packet = Packet::Announcement { router, from };
        for to in 0..self.nodes.len() {
            let is_lost = self.rng.below(100) < self.net.loss_of_announcements;
            if to != from && !is_lost && !self.net.cuts.contains(&(from, to)) {
                self.send(Some(to), packet.clone());
            }
        }
        if self.rng.below(100) >= self.net.loss_of_announcements {
            self.send(None, packet);
        }
    }

    fn send(&mut self, to: Option<usize>, packet: Packet) {
        let copies = 1 + u32::from(self.rng.below(100) < self.net.doubled);
        for _ in 0..copies {
            let delay = Duration::from_micros((20 + self.rng.below(self.net.delay_us)).into());
            self.numbered += 1;
            let flight = Flight { to, packet: packet.clone() };
            self.flights.insert((self.now + delay, self.numbered), flight);
        }
    }

    /// Whether each client is served now.
    fn observe(&mut self) {
        for (&key, client) in &mut self.clients {
            let holds = |node: &&Node| {
                node.life == Life::Up && node.held.contains(&key) && !node.frozen.contains(&key)
            };
            let serves = |node: usize| {
                let node = &self.nodes[node];
                // Whoever passes on does so to the others.
                let passes = node.life == Life::Up && node.passes_on.contains_key(&key);
                holds(&node) || passes && self.nodes.iter().any(|node| holds(&node))
            };
            if client.believes.is_none() {
                // It asks, and any holder answers.
                client.believes = (0..self.nodes.len()).find(|&node| serves(node));
            }
            let is_served = client.believes.is_some_and(serves);
            match (is_served, client.unserved_since) {
                (true, Some(since)) => {
                    let gap = self.now.since(since);
                    client.gap_max = client.gap_max.max(gap);
                    client.gaps.push((self.now, gap));
                    client.unserved_since = None;
                }
                (false, None) => client.unserved_since = Some(self.now),
                (true, None) | (false, Some(_)) => {}
            }
        }
    }

    /// Forgets gaps until now.
    pub(super) fn watch(&mut self) {
        self.observe();
        for client in self.clients.values_mut() {
            client.gap_max = Duration::ZERO;
            client.gaps.clear();
            client.unserved_since = client.unserved_since.map(|_| self.now);
        }
    }

    /// The longest time that a client was not served, also one that has not ended.
    pub(super) fn gap(&self) -> Duration {
        let gaps = self.clients.values().map(|client| {
            let open = client.unserved_since.map_or(Duration::ZERO, |since| self.now.since(since));
            client.gap_max.max(open)
        });
        gaps.max().unwrap_or_default()
    }

    pub(super) fn is_served(&self) -> bool {
        self.clients.values().all(|client| client.unserved_since.is_none())
    }

    pub(super) fn pause(&mut self, node: usize) {
        self.nodes[node].life = Life::Paused;
        self.observe();
    }

    /// Lets a paused node go on: what it received first, then the timers.
    pub(super) fn thaw(&mut self, node: usize, keeps_inbox: bool) {
        self.nodes[node].life = Life::Up;
        let inbox = core::mem::take(&mut self.nodes[node].inbox);
        for packet in inbox.into_iter().filter(|_| keeps_inbox) {
            self.deliver(node, packet);
        }
        self.feed(node, Input::Tick);
        self.observe();
    }

    /// The node dies with everything on it.
    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].life = Life::Dead;
        self.nodes[node].held.clear();
        self.nodes[node].frozen.clear();
        self.nodes[node].passes_on.clear();
        self.nodes[node].passes_back.clear();
        self.nodes[node].inbox.clear();
        self.observe();
    }

    /// A node that was dead starts anew, by a clock that may have jumped.
    pub(super) fn restart(&mut self, node: usize, unix_ms: u64) {
        let plan = self.nodes[node].standby.plan.clone();
        let birth = Birth { now: self.now, unix_ms, seed: self.rng.next_u64() };
        self.nodes[node] = Node::new(Standby::new(plan, birth), self.nodes[node].address);
        self.connect(node);
    }

    /// The keeper's exec: written down and read again.
    pub(super) fn exec(&mut self, node: usize) {
        let bytes = minicbor::to_vec(&self.nodes[node].standby).unwrap();
        self.nodes[node].standby = minicbor::decode(&bytes).unwrap();
    }

    /// Who is master of `key`.
    pub(super) fn masters(&self, key: RouterKey) -> Vec<usize> {
        let is_master = |&node: &usize| self.nodes[node].role(key) == Role::Master;
        (0..self.nodes.len()).filter(is_master).collect()
    }

    /// Who has the addresses of `key`.
    pub(super) fn holders(&self, key: RouterKey) -> Vec<usize> {
        let holds = |&node: &usize| self.nodes[node].held.contains(&key);
        (0..self.nodes.len()).filter(holds).collect()
    }
}

impl Node {
    fn new(standby: Standby, address: u8) -> Self {
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
            jitter: Duration::ZERO,
            notes: Vec::new(),
            turns: Vec::new(),
            sent: 0,
            announced: 0,
            is_idle: false,
            frozen: BTreeSet::new(),
            passes_on: BTreeMap::new(),
            passes_back: BTreeMap::new(),
        }
    }

    /// IPv6 addresses are in the opposite order, so that ties between two routers that move together
    /// have two winners.
    fn address_of(&self, key: RouterKey) -> IpAddr {
        if key.0 < 256 {
            IpAddr::from([10, 0, 0, self.address])
        } else {
            IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 0xff - u16::from(self.address)])
        }
    }

    fn interval(&self, key: RouterKey) -> Option<Duration> {
        let setup = self.standby.plan.routers.iter().find(|setup| setup.key == key)?;
        Some(setup.policy.interval)
    }

    /// Only whoever was master until a moment ago may say 0.
    fn check_farewell(&self, seed: u64, now: Instant, key: RouterKey) {
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

    fn key_of(&self, name: &str) -> Option<RouterKey> {
        let routers = &self.standby.plan.routers;
        routers.iter().find(|setup| setup.name == name).map(|setup| setup.key)
    }

    fn wakes_at(&self) -> Option<Instant> {
        let deadline = self.standby.deadline().filter(|_| self.life == Life::Up)?;
        Some(deadline + self.jitter)
    }

    pub(super) fn role(&self, key: RouterKey) -> Role {
        match self.life {
            Life::Dead => Role::Init,
            Life::Up | Life::Paused => {
                self.standby.members.get(&key).map_or(Role::Init, |member| member.router.role())
            }
        }
    }

    fn turned(&mut self, seed: u64, now: Instant, turn: Turn) {
        if let (Role::Master, Some(key)) = (turn.before, self.key_of(&turn.vip)) {
            self.ended.insert(key, now);
        }
        self.sequence += 1;
        assert_eq!(turn.sequence, self.sequence, "seed {seed:#x}");
        assert_ne!(turn.role, turn.before, "seed {seed:#x}");
        let before = self.roles.insert(turn.vip.clone(), turn.role).unwrap_or_default();
        assert_eq!(turn.before, before, "seed {seed:#x}");
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

    pub(super) fn kinds(&self) -> Vec<String> {
        self.notes.iter().map(|note| note.kind.to_string()).collect()
    }
}

/// How a node is called.
pub(super) fn name(node: usize) -> String {
    std::format!("edge-{node}")
}
