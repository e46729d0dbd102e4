//! Nodes that fail in every way at once, for a while; then all is well, and has to heal.

use std::string::ToString;
use std::vec::Vec;

use super::world::{Life, World, name};
use super::*;
use crate::rng::Rng;
use crate::track::Effect;

/// The seeds of one run, unless `EVERGATE_SEEDS` says how many times as many; a failure names its
/// seed.
const SEEDS: u64 = 120;
/// Things that happen before all is well again.
const FAULTS: u32 = 60;

const KEYS: [RouterKey; 3] = [RouterKey(51), RouterKey(51 + 256), RouterKey(7)];
/// One that reloads may add, and one that they may add to those that move together.
const MORE: [RouterKey; 2] = [RouterKey(8), RouterKey(8 + 256)];

/// What a seed decides once.
struct Scenario {
    plans: Vec<Plan>,
    interval: Duration,
    preempt: bool,
    startup_delay: Duration,
}

impl Scenario {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed ^ 0x5ca1ab1e);
        let nodes = 2 + rng.below(4);
        let version = if rng.below(8) == 0 { Version::V2 } else { Version::V3 };
        let interval = match version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => Duration::from_millis([10, 30, 100][rng.below(3) as usize]),
        };
        let preempt = rng.below(2) == 0;
        let is_equal = rng.below(3) == 0;
        let startup_delay = interval * (rng.below(2) * 10);
        let has_peers = rng.below(2) == 0;
        let is_synced = rng.below(2) == 0;
        let routers = 1 + rng.below(KEYS.len() as u32) as usize;
        let plans = (0..nodes).map(|node| {
            let routers = KEYS.iter().take(routers).map(|&key| {
                let mut setup = setup(key, &std::format!("v{}", key.0));
                setup.policy.version = version;
                setup.policy.interval = interval;
                setup.policy.preempt = preempt;
                setup.policy.preempt_delay = interval * 10;
                setup.policy.startup_delay = startup_delay;
                // Announcements are lost too; a client that missed all of a claim hears the next.
                setup.policy.announce_refresh = Some(interval * 25);
                setup.policy.priority = if is_equal { 254 } else { 254 - node as u8 };
                setup.sync = is_synced.then(|| "pair".to_string());
                setup.track = [("fault", Effect::Fault), ("less", Effect::Weight(-50))]
                    .map(|(name, effect)| Rule {
                        subject: Subject::Pool(name.to_string()),
                        effect,
                        fall: Duration::ZERO,
                        rise: Duration::ZERO,
                    })
                    .to_vec();
                setup
            });
            let plan = Plan { routers: routers.collect(), ..Plan::default() };
            if has_peers { with_peers(plan, node, nodes) } else { plan }
        });
        Self { plans: plans.collect(), interval, preempt, startup_delay }
    }

    /// After that all is well: one holds each address.
    fn heals_within(&self) -> Duration {
        // Its own start, three intervals and the longest skew, a wait by chance of those that move
        // together, twice; and one more of a second's skew, for version 2.
        self.startup_delay + self.interval * 30
    }
}

/// What it becomes if nodes talk beside VRRP too.
fn with_peers(mut plan: Plan, own: u32, nodes: u32) -> Plan {
    plan.node = name(own as usize);
    let interval = Duration::from_millis(100);
    plan.heartbeat = Some(peer::Policy { interval, missing: 3, port: 7947 });
    let others = (0..nodes).filter(|other| *other != own);
    let setup = |other| peer::Setup {
        name: name(other as usize),
        addresses: [1, 2].map(|net| IpAddr::from([10, net, 0, other as u8 + 1])).into(),
    };
    plan.peers = others.map(setup).collect();
    plan
}

fn verdicts(world: &mut World, node: usize) {
    for name in ["fault", "less"] {
        let subject = Subject::Pool(name.to_string());
        world.feed(node, Input::Verdict { subject, failure: None });
    }
}

fn start(scenario: &Scenario, seed: u64) -> World {
    let mut world = World::new(seed, scenario.plans.clone());
    for node in 0..world.nodes.len() {
        verdicts(&mut world, node);
    }
    world
}

fn harm(world: &mut World, scenario: &Scenario) {
    let nodes = world.nodes.len() as u32;
    let node = world.rng.below(nodes) as usize;
    let other = world.rng.below(nodes) as usize;
    let chance = world.rng.below(100);
    let is_up = world.nodes[node].life == Life::Up;
    match world.rng.below(18) {
        0 => drop(world.net.cuts.insert((node, other))),
        1 => world.net.cuts.extend([(node, other), (other, node)]),
        2 | 3 => world.net.cuts.clear(),
        4 => world.net.loss = chance / 2,
        5 => world.net.doubled = chance / 2,
        6 => {
            let most = u32::try_from(scenario.interval.as_micros()).unwrap();
            world.net.delay_us = 300 + most / 50 * world.rng.below(50);
        }
        7 => {
            world.net.loss_of_announcements = chance / 2;
            world.net.loss_of_words = chance / 3;
            world.net.freezes = !chance.is_multiple_of(5);
        }
        8 if is_up => world.pause(node),
        9 if world.nodes[node].life == Life::Paused => world.thaw(node, chance < 50),
        10 if is_up => world.kill(node),
        11 if world.nodes[node].life == Life::Dead || world.nodes[node].is_idle => {
            world.restart(node, 1_600_000_000_000 + u64::from(chance) * 3_000_000_000);
            verdicts(world, node);
        }
        12 if is_up => world.exec(node),
        _ if !is_up || world.nodes[node].is_idle => {}
        13 => {
            let router = KEYS[world.rng.below(3) as usize];
            world.feed(node, Input::Interface { router, source: Err("no carrier".to_string()) });
        }
        14 => {
            let name = if chance < 50 { "fault" } else { "less" };
            let failure = chance.is_multiple_of(2).then(|| "it is down".to_string());
            world.feed(node, Input::Verdict { subject: Subject::Pool(name.to_string()), failure });
        }
        15 => {
            let vip = (chance < 50).then(|| "v51".to_string());
            let _answer = world.order(node, Order::Failover { vip });
        }
        16 => match chance % 4 {
            0 => drop(world.order(node, Order::Maintenance { is_on: true })),
            1 => drop(world.order(node, Order::Maintenance { is_on: false })),
            2 => world.feed(node, Input::Helpless { why: "the worker is gone".to_string() }),
            _ if chance < 20 => world.feed(node, Input::Stop),
            _ => world.feed(node, Input::Helped),
        },
        17 => reload(world, scenario, node),
        _ => {}
    }
}

/// Another configuration, of which interfaces are known at once or later.
fn reload(world: &mut World, scenario: &Scenario, node: usize) {
    let mut plan = scenario.plans[node].clone();
    let first = plan.routers[0].clone();
    for (key, sync) in MORE.into_iter().zip([None, first.sync.clone()]) {
        if world.rng.below(3) == 0 {
            let name = std::format!("v{}", key.0);
            plan.routers.push(Setup { key, name, sync, ..first.clone() });
        }
    }
    match world.rng.below(6) {
        0 => plan.routers[0].policy.priority = 200 + world.rng.below(50) as u8,
        1 => plan.routers.iter_mut().for_each(|setup| setup.policy.priority -= 50),
        2 => drop(plan.routers.pop()),
        3 => drop(plan.routers.remove(0)),
        4 => plan.routers[0].track.clear(),
        _ => {}
    }
    world.apply(node, plan);
    if world.rng.below(2) == 0 {
        world.connect(node);
    }
}

/// Ends every fault.
fn mend(world: &mut World, scenario: &Scenario) {
    world.net = super::world::Net::default();
    world.clients.retain(|key, _| KEYS.contains(key));
    for node in 0..world.nodes.len() {
        match world.nodes[node].life {
            Life::Paused => world.thaw(node, true),
            Life::Dead => world.restart(node, 1_700_000_000_000),
            Life::Up => {}
        }
        if world.nodes[node].is_idle {
            world.restart(node, 1_700_000_000_000);
        }
        world.apply(node, scenario.plans[node].clone());
        world.connect(node);
        verdicts(world, node);
        world.feed(node, Input::Helped);
        drop(world.order(node, Order::Maintenance { is_on: false }));
    }
}

fn check_whole(world: &World, scenario: &Scenario) {
    let seed = world.seed;
    let keys = scenario.plans[0].routers.iter().map(|setup| setup.key);
    let masters: Vec<Vec<usize>> = keys.clone().map(|key| world.masters(key)).collect();
    for (key, masters) in keys.zip(&masters) {
        assert_eq!(masters.len(), 1, "seed {seed:#x}: masters of {key:?}: {masters:?}");
        assert_eq!(world.holders(key), *masters, "seed {seed:#x}");
        for node in 0..world.nodes.len() {
            let role = world.nodes[node].role(key);
            let wanted = if masters.contains(&node) { Role::Master } else { Role::Backup };
            assert_eq!(role, wanted, "seed {seed:#x}: node {node}");
        }
    }
    if scenario.plans[0].routers[0].sync.is_some() {
        assert!(masters.iter().all(|found| *found == masters[0]), "seed {seed:#x}: {masters:?}");
    }
    assert!(world.is_served(), "seed {seed:#x}: a client is not served");
}

/// Peers are asked for one virtual router after the other, and again after a second.
fn await_moves(world: &mut World, scenario: &Scenario) {
    let plan = &scenario.plans[0];
    let moves = if scenario.preempt { plan.peers.len() * plan.routers.len() } else { 0 };
    let turns = |world: &World| -> usize { world.nodes.iter().map(|node| node.turns.len()).sum() };
    for _ in 0..moves {
        let before = turns(world);
        world.run(Duration::from_secs(3));
        if turns(world) == before {
            return;
        }
    }
}

fn last_of<T>(all: &[T], count: usize) -> &[T] {
    &all[all.len().saturating_sub(count)..]
}

fn check_calm(world: &mut World, scenario: &Scenario) {
    let seed = world.seed;
    let count = |world: &World| {
        let turns: usize = world.nodes.iter().map(|node| node.turns.len()).sum();
        let sent: u64 = world.nodes.iter().map(|node| node.sent).sum();
        let announced: u64 = world.nodes.iter().map(|node| node.announced).sum();
        (turns, sent, announced)
    };
    let before = count(world);
    world.watch();
    world.run(scenario.interval * 100);
    let after = count(world);
    let turns: Vec<&[Turn]> = world.nodes.iter().map(|node| last_of(&node.turns, 6)).collect();
    assert_eq!(before.0, after.0, "seed {seed:#x}: a role changed, all is well: {turns:#?}");
    let most = 102 * scenario.plans[0].routers.len() as u64;
    assert!(after.1 - before.1 <= most, "seed {seed:#x}: {} adverts", after.1 - before.1);
    assert!(
        after.2 - before.2 <= most / 20,
        "seed {seed:#x}: {} announcements",
        after.2 - before.2
    );
    assert_eq!(world.gap(), Duration::ZERO, "seed {seed:#x}");
    for node in &world.nodes {
        assert!(node.standby.is_settled(world.now), "seed {seed:#x}");
        assert!(node.standby.may_pause_at(world.now).is_some(), "seed {seed:#x}");
        assert!(node.standby.views().iter().all(|view| view.rival.is_none()), "seed {seed:#x}");
    }
}

#[test]
fn whatever_fails_at_once_the_rules_hold_and_all_heals() {
    for seed in seeds(SEEDS) {
        let scenario = Scenario::new(seed);
        let mut world = start(&scenario, seed);
        for _ in 0..FAULTS {
            harm(&mut world, &scenario);
            let span = world.rng.below(1_000);
            world.run(scenario.interval * span / 100);
        }
        mend(&mut world, &scenario);
        world.run(scenario.heals_within());
        if !scenario.preempt {
            check_whole(&world, &scenario);
        }
        // Whoever may preempt waits for ten intervals; alarms end after a second at least.
        world.run(scenario.interval * 30 + Duration::from_secs(3));
        await_moves(&mut world, &scenario);
        check_whole(&world, &scenario);
        check_calm(&mut world, &scenario);
    }
}
