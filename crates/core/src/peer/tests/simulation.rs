//! Two nodes and two paths in virtual time: loss, delay, one-way cuts, restarts.

use std::collections::BTreeMap;

use super::*;
use crate::rng::Rng;

const SEEDS: u64 = 80;
/// Longest way of a beat.
const DELAY: Duration = Duration::from_millis(20);
/// By when every cut and heal must be known: beats of a patience, one of the other side that says
/// what it hears, a deafness of a patience.
const KNOWN_WITHIN: Duration = Duration::from_millis(1_000);

struct World {
    seed: u64,
    rng: Rng,
    now: Instant,
    nodes: [Peers; 2],
    /// In order of arrival, then of sending: receiver, path, what.
    flying: BTreeMap<(Instant, u64), (usize, usize, Message)>,
    count: u64,
    /// Whether nothing gets through from this node over this path.
    cut: [[bool; 2]; 2],
    /// Of 100 beats, how many are lost.
    loss: u32,
    notes: Vec<(usize, &'static str)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let nodes = [0, 1].map(|node| start(node, at(0), rng.next_u64()));
        Self {
            seed,
            rng,
            now: at(0),
            nodes,
            flying: BTreeMap::new(),
            count: 0,
            cut: [[false; 2]; 2],
            loss: 0,
            notes: Vec::new(),
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.perform();
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let due = self.nodes.iter().filter_map(Peers::deadline).chain(arrival).min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            assert!(due >= self.now, "seed {:#x}: time stands still", self.seed);
            self.now = due;
            // What has arrived is read before time is told.
            while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= due) {
                let (to, path, message) = entry.remove();
                self.nodes[to].handle(due, Input::Said { peer: 0, path, message });
            }
            for node in &mut self.nodes {
                node.handle(due, Input::Tick);
                assert!(node.deadline().is_none_or(|next| next > due), "seed {:#x}", self.seed);
            }
        }
        self.now = until;
    }

    fn perform(&mut self) {
        for node in 0..2 {
            while let Some(output) = self.nodes[node].next_output() {
                match output {
                    Output::Say { peer: _, path, message } => {
                        let is_lost = self.rng.below(100) < self.loss;
                        if is_lost || self.cut[node][path] {
                            continue;
                        }
                        let delay = DELAY * self.rng.below(1_000) / 1_000;
                        self.count += 1;
                        let key = (self.now + delay, self.count);
                        self.flying.insert(key, (1 - node, path, message));
                    }
                    Output::Restarted { .. } => {}
                    Output::Note(note) => self.notes.push((node, note.kind)),
                }
            }
        }
    }

    fn restart(&mut self, node: usize) {
        let boot = self.rng.next_u64();
        self.nodes[node] = start(node, self.now, boot);
    }

    fn health(&self) -> [Health; 2] {
        [self.nodes[0].health(0), self.nodes[1].health(0)]
    }

    /// What each node must know once it had time to, from what is cut.
    fn truth(&self, node: usize, was_heard: bool) -> Health {
        let comes_in = self.cut[1 - node].map(|is_cut| !is_cut);
        let goes_out = self.cut[node].map(|is_cut| !is_cut);
        let both_ways = comes_in[0] && goes_out[0] && comes_in[1] && goes_out[1];
        match (comes_in[0] || comes_in[1], both_ways) {
            (true, true) => Health::Alive,
            (true, false) => Health::LinkDead,
            (false, _) if was_heard => Health::HostDead,
            (false, _) => Health::Unknown,
        }
    }
}

fn start(node: usize, now: Instant, boot: u64) -> Peers {
    let mut peers = Peers::new(now, UNIX_MS, boot);
    let (own, setup) = match node {
        0 => ("a", setup("b", &["10.0.0.2", "10.1.0.2"])),
        _ => ("b", setup("a", &["10.0.0.1", "10.1.0.1"])),
    };
    peers.apply(now, own, Some(POLICY), &[setup]);
    peers
}

#[test]
fn every_cut_and_every_heal_is_known_in_time() {
    for seed in 0..SEEDS {
        let world = &mut World::new(seed);
        world.run(KNOWN_WITHIN);
        assert_eq!(world.health(), [Health::Alive; 2], "seed {seed:#x}");
        for turn in 0..12 {
            let (node, path) = (world.rng.below(2) as usize, world.rng.below(2) as usize);
            world.cut[node][path] = !world.cut[node][path];
            world.run(KNOWN_WITHIN);
            for node in 0..2 {
                let expected = world.truth(node, true);
                let found = world.health()[node];
                assert_eq!(found, expected, "seed {seed:#x}, turn {turn}, node {node}");
            }
        }
    }
}

#[test]
fn a_dead_host_is_noticed_in_three_to_five_intervals() {
    for seed in 0..SEEDS {
        let world = &mut World::new(seed);
        let phase = INTERVAL * world.rng.below(1_000) / 1_000;
        world.run(KNOWN_WITHIN + phase);
        world.cut[1] = [true; 2];
        world.notes.clear();
        world.run(Duration::from_millis(230));
        assert_eq!(world.nodes[0].health(0), Health::Alive, "seed {seed:#x}");
        world.run(PATIENCE + DELAY - Duration::from_millis(230));
        assert_eq!(world.nodes[0].health(0), Health::HostDead, "seed {seed:#x}");
        let dead =
            world.notes.iter().filter(|(node, kind)| (*node, *kind) == (0, "peer_host_dead"));
        assert_eq!(dead.count(), 1, "seed {seed:#x}");
    }
}

#[test]
fn lost_beats_are_counted_and_a_little_loss_kills_no_host() {
    for seed in 0..SEEDS {
        let world = &mut World::new(seed);
        world.run(KNOWN_WITHIN);
        world.loss = 10;
        world.run(Duration::from_secs(60));
        // All four of a row on both paths: once in 10^8.
        assert!(world.notes.iter().all(|(_, kind)| *kind != "peer_host_dead"), "seed {seed:#x}");
        for node in &world.nodes {
            for path in &node.views()[0].paths {
                let share = path.lost * 100 / (path.lost + path.received);
                assert!((4..=17).contains(&share), "seed {seed:#x}: {share} %");
            }
        }
        world.loss = 0;
        world.run(KNOWN_WITHIN);
        assert_eq!(world.health(), [Health::Alive; 2], "seed {seed:#x}");
    }
}

#[test]
fn a_restart_is_no_death_and_a_long_one_is() {
    for seed in 0..SEEDS {
        let world = &mut World::new(seed);
        world.run(KNOWN_WITHIN);
        world.notes.clear();
        world.restart(1);
        world.run(KNOWN_WITHIN);
        let of_a: Vec<_> = world.notes.iter().filter(|(node, _)| *node == 0).collect();
        assert_eq!(of_a, [&(0, "peer_restarted")], "seed {seed:#x}");
        assert_eq!(world.health(), [Health::Alive; 2], "seed {seed:#x}");
        assert_eq!(world.nodes[0].views()[0].paths[0].lost, 0, "seed {seed:#x}");
        // Away for a second.
        world.cut[1] = [true; 2];
        world.run(KNOWN_WITHIN);
        assert_eq!(world.nodes[0].health(0), Health::HostDead, "seed {seed:#x}");
        world.restart(1);
        world.cut[1] = [false; 2];
        world.run(KNOWN_WITHIN);
        assert_eq!(world.health(), [Health::Alive; 2], "seed {seed:#x}");
    }
}

#[test]
fn whatever_happens_it_heals() {
    for seed in 0..SEEDS {
        let world = &mut World::new(seed);
        for _ in 0..30 {
            match world.rng.below(5) {
                0 => world.restart(world.count as usize % 2),
                1 => world.loss = world.rng.below(100),
                2 => world.loss = 0,
                _ => {
                    let (node, path) = (world.rng.below(2) as usize, world.rng.below(2) as usize);
                    world.cut[node][path] = !world.cut[node][path];
                }
            }
            let time = Duration::from_millis(u64::from(world.rng.below(1_500)));
            world.run(time);
        }
        (world.loss, world.cut) = (0, [[false; 2]; 2]);
        world.run(KNOWN_WITHIN);
        assert_eq!(world.health(), [Health::Alive; 2], "seed {seed:#x}");
    }
}
