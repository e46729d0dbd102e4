//! Two nodes of which each wants a planned move of its own at the same moment.

use std::vec::Vec;

use super::world::{World, name};
use super::*;

const MAIL: RouterKey = RouterKey(9);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Two that move each by itself, on nodes that talk, with the priorities that each has there.
fn plans<const N: usize>(web: [u8; N], mail: [u8; N], preempt: bool) -> [Plan; N] {
    core::array::from_fn(|own| {
        let mut plan = plan_with(|policy| {
            policy.priority = web[own];
            policy.preempt = preempt;
            policy.preempt_delay = ms(500);
        });
        let mut second = plan.routers[0].clone();
        (second.key, second.name, second.policy.priority) = (MAIL, "mail".to_string(), mail[own]);
        plan.routers.push(second);
        plan.node = name(own);
        plan.heartbeat = Some(peer::Policy { interval: ms(100), missing: 3, port: 7947 });
        let peer = |other: usize| peer::Setup {
            name: name(other),
            addresses: [1, 2].map(|net| IpAddr::from([10, net, 0, other as u8 + 1])).into(),
        };
        plan.peers = (0..N).filter(|other| *other != own).map(peer).collect();
        plan
    })
}

/// Settled, and each knows of the others.
fn settled<const N: usize>(seed: u64, plans: [Plan; N], at: [usize; 2]) -> World {
    let mut world = World::new(seed, Vec::from(plans));
    // A tick that is late may let the worse one be the first.
    let jitter_us = core::mem::take(&mut world.net.jitter_us);
    world.run(ms(2_000));
    world.net.jitter_us = jitter_us;
    assert_at(&world, at);
    watch(&mut world);
    world
}

/// One on each of two nodes.
fn world(seed: u64, preempt: bool) -> World {
    settled(seed, plans([254, 253], [253, 254], preempt), [0, 1])
}

fn watch(world: &mut World) {
    world.watch();
    for node in &mut world.nodes {
        node.notes.clear();
    }
}

fn assert_at(world: &World, [web, mail]: [usize; 2]) {
    let seed = world.seed;
    assert_eq!(
        (world.holders(KEY), world.holders(MAIL)),
        ([web].into(), [mail].into()),
        "{seed:#x}"
    );
}

/// Every move was a planned one, and all of them are over.
fn assert_nothing_was_lost(world: &World) {
    let seed = world.seed;
    // Connections are told of, and there is a claim.
    let most = ms(10) + 2 * Duration::from_micros(world.net.delay_us.into());
    assert!(world.gap() <= most, "seed {seed:#x}: {:?}", world.gap());
    for node in &world.nodes {
        let kinds = node.kinds();
        let lossy = kinds.iter().find(|kind| ["vip_move_failed", "vip_split"].contains(&&***kind));
        assert_eq!(lossy, None, "seed {seed:#x}: {:#?}", node.notes);
        assert!(kinds.iter().any(|kind| kind == "vip_move_over"), "seed {seed:#x}");
        let is_passing = !node.passes_on.is_empty() || !node.passes_back.is_empty();
        assert!(node.frozen.is_empty() && !is_passing, "seed {seed:#x}");
    }
}

fn failover(vip: &str) -> Order {
    Order::Failover { vip: Some(vip.to_string()) }
}

#[test]
fn failovers_that_cross_are_made_one_after_the_other_and_lose_nothing() {
    for seed in seeds(40) {
        let mut world = world(seed, false);
        // Up to twice as late as a message may be.
        let later = Duration::from_micros(seed % 7 * 100);
        world.net.delay_us = if seed % 2 == 0 { 300 } else { 8_000 };
        world.order(0, failover("web")).unwrap();
        world.run(later);
        world.order(1, failover("mail")).unwrap();
        world.run(ms(2_000));
        assert_at(&world, [1, 0]);
        assert_nothing_was_lost(&world);
    }
}

#[test]
fn a_move_that_waits_for_one_that_it_crosses_gives_its_connections_the_usual_time() {
    let mut world = world(1, false);
    world.net.drains_ms = 3_600_000;
    world.order(0, failover("web")).unwrap();
    world.order(1, failover("mail")).unwrap();
    world.run(ms(200));
    let moved = usize::from(world.holders(MAIL) == [0]);
    assert_ne!(moved == 0, world.holders(KEY) == [0], "one of them has moved");
    world.run(handover::NEXT_WITHIN);
    assert_at(&world, [1, 0]);
    world.order(0, Order::Failover { vip: None }).unwrap();
    world.run(handover::NEXT_WITHIN * 2);
    assert_at(&world, [1, 1]);
}

/// Until this node asks for something.
fn run_until_it_asks(world: &mut World, node: usize) {
    let asks = |world: &World| world.nodes[node].standby.moves.mover.deadline().is_some();
    for _ in 0..60_000 {
        if asks(world) {
            return;
        }
        world.run(Duration::from_micros(50));
    }
    panic!("seed {:#x}: it asks for nothing", world.seed);
}

/// The first node was away and is back: it will ask for what is its own.
fn failing_back(seed: u64) -> World {
    let mut world = world(seed, true);
    world.kill(0);
    world.run(ms(500));
    world.restart(0, 1_700_000_000_000);
    world.run(ms(300));
    assert_at(&world, [1, 1]);
    watch(&mut world);
    world
}

#[test]
fn a_failback_that_crosses_an_order_to_move_the_same_is_that_move() {
    for seed in seeds(15) {
        for maintains in [false, true] {
            let mut world = failing_back(seed);
            world.net.delay_us = if seed % 2 == 0 { 300 } else { 8_000 };
            run_until_it_asks(&mut world, 0);
            match maintains {
                true => world.order(1, Order::Maintenance { is_on: true }).unwrap(),
                false => world.order(1, failover("web")).unwrap(),
            };
            world.run(ms(2_000));
            assert_at(&world, [0, usize::from(!maintains)]);
            assert_nothing_was_lost(&world);
        }
    }
}

#[test]
fn a_failback_waits_for_an_order_to_move_something_else() {
    for seed in seeds(15) {
        let mut world = failing_back(seed);
        run_until_it_asks(&mut world, 0);
        world.order(1, failover("mail")).unwrap();
        world.run(ms(3_000));
        assert_at(&world, [0, 0]);
        assert_nothing_was_lost(&world);
    }
}

#[test]
fn failbacks_that_cross_are_made_one_after_the_other_and_lose_nothing() {
    for seed in seeds(15) {
        let mut world = world(seed, true);
        let swapped = plans([200, 254], [254, 200], true);
        for (node, plan) in swapped.into_iter().enumerate() {
            world.apply(node, plan);
        }
        world.run(ms(6_000));
        assert_at(&world, [1, 0]);
        assert!(world.gap() <= ms(10), "seed {seed:#x}: {:?}", world.gap());
        assert_eq!(world.nodes[0].passes_on.len() + world.nodes[1].passes_on.len(), 0);
        for node in &world.nodes {
            let over = node.kinds().iter().filter(|kind| *kind == "vip_move_over").count();
            assert_eq!(over, 2, "seed {seed:#x}: {:#?}", node.notes);
        }
    }
}

/// Three nodes, of which two are busy: connections from before their move of one virtual router go
/// on for long.
fn busy(seed: u64, mail: [u8; 3], preempt: bool) -> World {
    let from = mail.iter().position(|priority| *priority == 254).unwrap();
    let mut world = settled(seed, plans([254, 253, 252], mail, preempt), [0, from]);
    world.net.drains_ms = 3_600_000;
    world.order(from, failover("mail")).unwrap();
    world.run(ms(100));
    assert_at(&world, [0, 3 - from]);
    watch(&mut world);
    world
}

#[test]
fn what_a_peer_is_too_busy_for_is_kept_until_it_is_free() {
    for seed in 0..5 {
        let mut world = busy(seed, [250, 251, 254], false);
        world.order(0, failover("web")).unwrap();
        world.run(handover::NEXT_WITHIN - ms(200));
        assert_at(&world, [0, 1]);
        assert_eq!(world.gap(), Duration::ZERO, "seed {seed:#x}: it is served as before");
        world.run(ms(800));
        assert_at(&world, [1, 1]);
        assert!(world.gap() <= ms(10), "seed {seed:#x}: {:?}", world.gap());
        assert!(!world.nodes[0].kinds().iter().any(|kind| kind == "vip_move_failed"));
    }
}

#[test]
fn a_better_backup_waits_for_a_master_that_is_busy_with_another_node() {
    for seed in 0..5 {
        let mut world = busy(seed, [252, 254, 253], true);
        world.kill(0);
        world.run(ms(500));
        world.restart(0, 1_700_000_000_000);
        watch(&mut world);
        world.run(ms(9_000));
        assert_at(&world, [1, 2]);
        world.run(ms(4_000));
        assert_at(&world, [0, 2]);
        assert!(world.gap() <= ms(10), "seed {seed:#x}: {:?}", world.gap());
        assert!(!world.nodes[0].kinds().iter().any(|kind| kind == "vip_move_failed"));
    }
}

#[test]
fn what_a_peer_is_too_busy_for_for_too_long_is_given_up_without_it() {
    let mut world = busy(1, [250, 251, 254], false);
    // Neither hears the other any more, so connections are not ended sooner.
    world.net.cuts.extend([(1, 2), (2, 1)]);
    world.order(0, failover("web")).unwrap();
    world.run(ms(11_500));
    assert_eq!(world.holders(KEY), [0]);
    world.run(ms(1_500));
    assert!(!world.holders(KEY).contains(&0), "whoever follows has it");
    let failed = world.nodes[0].notes.iter().find(|note| note.kind == "vip_move_failed").unwrap();
    assert!(failed.reason.ends_with("the move before it takes too long"), "{}", failed.reason);
}
