//! Planned moves between nodes that talk.

use std::vec::Vec;

use super::world::{Life, World, name};
use super::*;
use crate::rng::Rng;

const SIX: RouterKey = RouterKey(256 + 51);

/// How long connections may go on after a move.
const DRAIN: Duration = Duration::from_secs(30);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Nodes of priorities 254, 253 … with two virtual routers each that move together, each with all
/// others as peers over two paths.
pub(super) fn plans(count: usize, preempt: bool) -> Vec<Plan> {
    let plan = |own: usize| {
        let mut plan = plan_with(|policy| {
            policy.priority = 254 - own as u8;
            policy.preempt = preempt;
            policy.preempt_delay = ms(500);
        });
        plan.routers[0].sync = Some("web".to_string());
        plan.routers[0].drain = Some(DRAIN);
        let mut six = plan.routers[0].clone();
        (six.key, six.name) = (SIX, "web6".to_string());
        plan.routers.push(six);
        plan.node = name(own);
        plan.heartbeat =
            Some(peer::Policy { interval: Duration::from_millis(100), missing: 3, port: 7947 });
        let others = (0..count).filter(|other| *other != own);
        let setup = |other: usize| peer::Setup {
            name: name(other),
            addresses: [1, 2].map(|net| IpAddr::from([10, net, 0, other as u8 + 1])).into(),
        };
        plan.peers = others.map(setup).collect();
        plan
    };
    (0..count).map(plan).collect()
}

/// Settled, with the first node as master, and knowing each other.
pub(super) fn world(seed: u64, count: usize, preempt: bool) -> World {
    let mut world = World::new(seed, plans(count, preempt));
    // A tick that is late may let the worse one be the first.
    let jitter_us = core::mem::take(&mut world.net.jitter_us);
    world.run(ms(2_000));
    world.net.jitter_us = jitter_us;
    assert_masters(&world, 0);
    world.watch();
    for node in &mut world.nodes {
        node.notes.clear();
    }
    world
}

pub(super) fn assert_masters(world: &World, master: usize) {
    for key in [KEY, SIX] {
        assert_eq!(world.masters(key), [master], "seed {:#x}", world.seed);
        assert_eq!(world.holders(key), [master], "seed {:#x}", world.seed);
    }
}

fn assert_settled(world: &World) {
    for node in &world.nodes {
        let seed = world.seed;
        assert!(node.frozen.is_empty(), "seed {seed:#x}: {:?}", node.frozen);
        assert!(node.passes_on.is_empty(), "seed {seed:#x}: {:?}", node.passes_on);
        assert!(node.passes_back.is_empty(), "seed {seed:#x}: {:?}", node.passes_back);
    }
}

pub(super) fn has(world: &World, node: usize, kind: &str) -> bool {
    world.nodes[node].kinds().iter().any(|known| known == kind)
}

pub(super) fn failover() -> Order {
    Order::Failover { vip: None }
}

#[test]
fn a_failover_moves_all_that_moves_together_and_nobody_notices() {
    for seed in 0..50 {
        let mut world = world(seed, 2, false);
        let turns = [0, 1].map(|node: usize| world.nodes[node].turns.len());
        for round in 0..6 {
            let (old, new) = (round % 2, 1 - round % 2);
            let steps = world.order(old, failover()).unwrap();
            let step =
                std::format!("vip.web: moved to {}, connections that are open stay", name(new));
            assert!(steps.contains(&step), "{steps:?}");
            let view = world.nodes[old].standby.views()[0].clone();
            assert_eq!(
                view.holding_back,
                Some(std::format!("a move to {} is under way", name(new)))
            );
            world.run(ms(50));
            assert_masters(&world, new);
            let old_node = &world.nodes[old];
            assert_eq!(
                old_node.passes_on.len(),
                2,
                "seed {seed:#x} round {round}: {:#?} {:#?}",
                old_node.notes,
                world.nodes[new].notes
            );
            assert_eq!(old_node.passes_on[&KEY], IpAddr::from([10, 0, 0, new as u8 + 1]));
            assert_eq!(world.nodes[new].passes_back[&KEY], IpAddr::from([10, 0, 0, old as u8 + 1]));
            let reason = world.nodes[new].turns.last().unwrap().reason.clone();
            assert!(reason.starts_with("moved from edge-"), "{reason}");
            world.run(ms(400));
            assert_masters(&world, new);
            assert_settled(&world);
        }
        assert!(world.gap() <= ms(10), "seed {seed:#x}: {:?}", world.gap());
        for (node, turns) in turns.into_iter().enumerate() {
            assert!(!has(&world, node, "vip_split"), "seed {seed:#x}");
            assert!(has(&world, node, "vip_move_over"), "seed {seed:#x}");
            assert_eq!(world.nodes[node].turns.len(), turns + 2 * 6);
        }
    }
}

#[test]
fn a_second_failover_waits_until_the_first_one_is_over() {
    let mut world = world(1, 2, false);
    world.order(0, failover()).unwrap();
    world.run(ms(50));
    assert_masters(&world, 1);
    let steps = world.order(1, failover()).unwrap();
    assert!(steps[0].ends_with("once the move before it is over"), "{steps:?}");
    world.run(ms(50));
    assert_masters(&world, 1);
    world.run(ms(400));
    assert_masters(&world, 0);
    world.run(ms(400));
    assert_settled(&world);
    assert!(world.gap() <= ms(10), "{:?}", world.gap());
}

#[test]
fn connections_that_do_not_end_go_on_until_their_time_is_over_or_something_else_waits() {
    let mut world = world(1, 2, false);
    world.net.drains_ms = 3_600_000;
    world.order(0, failover()).unwrap();
    world.run(ms(50));
    assert_masters(&world, 1);
    world.run(DRAIN - ms(200));
    assert!(!world.nodes[0].passes_on.is_empty() && !world.nodes[1].passes_back.is_empty());
    world.run(ms(400));
    assert_settled(&world);

    // What waits is a move back, at the successor; or at either of them the keeper's exec.
    for waits in [None, Some(0), Some(1)] {
        let (old, new) = (world.masters(KEY)[0], 1 - world.masters(KEY)[0]);
        world.nodes[old].hastened = None;
        world.order(old, failover()).unwrap();
        world.run(ms(1_000));
        assert_masters(&world, new);
        match waits {
            None => drop(world.order(new, failover()).unwrap()),
            Some(node) => world.feed(node, Input::Hasten),
        }
        world.run(ms(20));
        let hastened = world.nodes[old].hastened.expect("it knows of it");
        assert!((handover::NEXT_WITHIN - ms(20)..=handover::NEXT_WITHIN).contains(&hastened));
        world.run(handover::NEXT_WITHIN - ms(200));
        assert!(!world.nodes[old].passes_on.is_empty(), "{waits:?}");
        world.run(ms(400));
        match waits {
            None => assert_masters(&world, old),
            Some(_) => assert_settled(&world),
        }
        // The time that is left over.
        world.run(DRAIN);
    }
    assert!(world.gap() <= ms(10), "{:?}", world.gap());
}

#[test]
fn a_failover_right_after_another_one_is_a_planned_one_too() {
    for seed in 0..30 {
        let mut world = world(seed, 2, false);
        world.net.drains_ms = 1;
        for round in 0..10 {
            world.order(round % 2, failover()).unwrap();
            world.run(ms(40 + seed));
            assert_masters(&world, 1 - round % 2);
        }
        assert!(world.gap() <= ms(10), "seed {seed:#x}: {:?}", world.gap());
        for node in 0..2 {
            assert!(!has(&world, node, "vip_move_failed"), "seed {seed:#x}");
            let over =
                world.nodes[node].kinds().iter().filter(|kind| *kind == "vip_move_over").count();
            assert!(over >= 2 * 9, "seed {seed:#x}: {over}");
        }
    }
}

#[test]
fn a_better_backup_asks_instead_of_preempting() {
    for seed in 0..50 {
        let mut world = world(seed, 2, true);
        world.kill(0);
        world.run(ms(500));
        world.watch();
        world.restart(0, 1_700_000_000_000);
        world.run(ms(2_000));
        assert_masters(&world, 0);
        assert_settled(&world);
        assert!(world.gap() <= ms(10), "seed {seed:#x}: {:?}", world.gap());
        assert!(
            !has(&world, 1, "vip_split") && has(&world, 1, "vip_move_over"),
            "{seed} {:#?}",
            world.nodes[1].notes
        );
    }
}

#[test]
fn a_node_that_stops_or_is_maintained_moves_what_it_has_first() {
    for seed in 0..50 {
        for stops in [false, true] {
            let mut world = world(seed, 2, false);
            world.net.drains_ms = 600;
            if stops {
                world.feed(0, Input::Stop);
            } else {
                world.order(0, Order::Maintenance { is_on: true }).unwrap();
            }
            world.run(ms(50));
            assert_masters(&world, 1);
            assert!(!world.nodes[0].is_idle, "some may be on their way to it yet");
            assert_eq!(world.nodes[0].role(KEY), Role::Init);
            world.run(ms(400));
            assert_eq!(world.nodes[0].is_idle, stops, "it need not wait for connections");
            assert!(!world.nodes[0].passes_on.is_empty());
            world.run(ms(400));
            assert_settled(&world);
            assert!(world.gap() <= ms(10), "seed {seed:#x}: {:?}", world.gap());
        }
    }
}

#[test]
fn without_an_able_peer_a_failover_is_refused() {
    let mut world = world(1, 2, false);
    world.order(1, Order::Maintenance { is_on: true }).unwrap();
    world.run(ms(300));
    let why = world.order(0, failover()).unwrap_err();
    assert!(why.contains("edge-1 takes no part"), "{why}");
    world.run(ms(1_000));
    assert_masters(&world, 0);
    assert_eq!(world.gap(), ms(0));
}

#[test]
fn what_cannot_be_frozen_is_given_up_as_before() {
    let mut world = world(1, 2, false);
    world.net.freezes = false;
    world.order(0, failover()).unwrap();
    world.run(ms(1_000));
    assert_masters(&world, 1);
    assert_settled(&world);
    assert!(has(&world, 0, "vip_move_failed"));
    assert!(world.gap() <= ms(50), "{:?}", world.gap());
}

#[test]
fn a_reload_that_removes_what_is_moving_ends_its_move() {
    let without = |node: usize| Plan { routers: Vec::new(), ..plans(2, false)[node].clone() };
    let mut world = world(1, 2, false);
    world.order(0, failover()).unwrap();
    while world.nodes[0].frozen.is_empty() {
        world.run(Duration::from_micros(10));
    }
    world.apply(0, without(0));
    assert!(world.nodes[0].frozen.is_empty(), "the old node");
    world.run(ms(500));
    assert_masters(&world, 1);
    assert_settled(&world);

    let mut world = self::world(1, 2, false);
    world.order(0, failover()).unwrap();
    while world.nodes[1].passes_back.is_empty() {
        world.run(Duration::from_micros(10));
    }
    world.apply(1, without(1));
    assert!(world.nodes[1].passes_back.is_empty(), "the successor");
    world.run(ms(1_500));
    assert_masters(&world, 0);
    assert_settled(&world);
}

#[test]
fn of_three_nodes_the_best_one_follows_and_the_third_one_is_not_asked() {
    for seed in 0..20 {
        let mut world = world(seed, 3, false);
        let turns = world.nodes[2].turns.len();
        world.order(0, failover()).unwrap();
        world.run(ms(500));
        assert_masters(&world, 1);
        assert_eq!(world.nodes[2].turns.len(), turns, "seed {seed:#x}");
        assert!(world.gap() <= ms(10), "seed {seed:#x}: {:?}", world.gap());
    }
}

#[test]
fn whatever_is_lost_and_whoever_dies_one_owner_is_left_and_nothing_is_passed_on() {
    let mut moved = 0;
    for seed in seeds(120) {
        let mut rng = Rng::seeded(seed ^ 0x6d6f_7665);
        let mut world = world(seed, 2 + rng.below(2) as usize, rng.below(2) == 0);
        world.net.loss = rng.below(30);
        world.net.loss_of_words = rng.below(70);
        world.net.doubled = rng.below(30);
        world.net.delay_us = 300 + rng.below(20_000);
        world.net.drains_ms = u64::from(rng.below(3_000));
        world.net.freezes = rng.below(10) > 0;
        let dies = (rng.below(3) == 0).then(|| (rng.below(2) as usize, rng.below(60)));
        let moves_by_order = rng.below(2) == 0;
        let _ = match moves_by_order {
            true => world.order(0, failover()),
            false => world.order(0, Order::Maintenance { is_on: true }),
        };
        if let Some((node, after)) = dies {
            world.run(ms(after.into()));
            world.kill(node);
        }
        world.run(ms(5_000));
        let net = &mut world.net;
        (net.loss, net.loss_of_words, net.doubled, net.delay_us) = (0, 0, 0, 300);
        world.run(ms(5_000));
        if world.nodes.iter().any(|node| !node.passes_back.is_empty()) {
            // The last word was lost, or will not be said.
            world.run(DRAIN + handover::PASS_BACK_SLACK);
        }
        moved += usize::from(
            (1..3).any(|node| node < world.nodes.len() && has(&world, node, "vip_move_over")),
        );
        let is_able =
            |node: &super::world::Node| node.life == Life::Up && !node.standby.is_in_maintenance();
        if !world.nodes.iter().any(is_able) {
            continue;
        }
        let masters = world.masters(KEY);
        assert_eq!(masters.len(), 1, "seed {seed:#x}");
        assert_masters(&world, masters[0]);
        assert_settled(&world);
        world.watch();
        world.run(ms(1_000));
        assert_eq!(world.gap(), Duration::ZERO, "seed {seed:#x}");
    }
    assert!(moved > 30, "only {moved} of 120 moves were made");
}
