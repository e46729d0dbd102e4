//! Two to five nodes on a link that loses, doubles, delays and cuts, in virtual time; and a client
//! that believes whoever announced the address last.
//!
//! The world performs what nodes want done, and keeps what must never happen under watch.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::*;
use crate::rng::Rng;

mod client;
mod moving;
mod net;
mod node;

use client::Client;
pub(super) use net::Net;
use net::{Flight, Packet};
pub(super) use node::{Life, Node};

/// Steps by which a world that goes on like this must be called a storm.
const STEPS_MAX: u64 = 4_000_000;

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    flights: BTreeMap<(Instant, u64), Flight>,
    numbered: u64,
    pub(super) net: Net,
    /// One for each virtual router that matters.
    pub(super) clients: BTreeMap<RouterKey, Client>,
    steps: u64,
    /// Whether something has changed that clients see.
    is_news: bool,
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
            is_news: true,
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
            if self.is_news {
                self.observe();
            }
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
                if let Some(client) = self.clients.get_mut(&router) {
                    client.believes = Some(from);
                    self.is_news = true;
                }
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
            assert!(
                self.nodes[node].deadline.is_none_or(|at| at > self.now),
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
        for setup in &plan.routers {
            self.clients.entry(setup.key).or_default();
        }
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
                    self.is_news = true;
                    assert!(node.held.insert(key), "seed {seed:#x}: {key:?} was held");
                }
                Output::Release(key) => {
                    self.is_news = true;
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
                Output::Freeze { routers } => self.freeze(index, routers),
                Output::PassOn { routers, .. } => self.pass_on(index, routers),
                Output::Hasten { within, .. } => self.nodes[index].hastened = Some(within),
                Output::PassBack { routers, flows } => self.pass_back(index, routers, &flows),
                Output::PassNone { routers } => self.pass_none(index, &routers),
            }
        }
        let node = &mut self.nodes[index];
        node.deadline = node.standby.deadline();
        for key in given_up {
            assert_ne!(node.role(key), Role::Master, "seed {seed:#x}: it said 0 and is master");
        }
        for (key, member) in &node.standby.members {
            assert_eq!(node.held.contains(key), member.router.holds(), "seed {seed:#x}");
        }
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
        self.is_news = true;
    }

    /// The keeper's exec: written down and read again.
    pub(super) fn exec(&mut self, node: usize) {
        let bytes = minicbor::to_vec(&self.nodes[node].standby).unwrap();
        self.nodes[node].standby = minicbor::decode(&bytes).unwrap();
        assert_eq!(self.nodes[node].standby.deadline(), self.nodes[node].deadline);
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

/// How a node is called.
pub(super) fn name(node: usize) -> String {
    std::format!("edge-{node}")
}
