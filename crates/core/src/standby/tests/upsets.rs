//! What ends a planned move before its time, and what comes of wishes that are not granted.

use super::moves::{assert_masters, failover, has, ms, plans, world};
use super::world::World;
use super::*;
use crate::handover::{Message, Stage};

const SIX: RouterKey = RouterKey(256 + 51);

fn stage(world: &World, node: usize) -> Option<Stage> {
    world.nodes[node].standby.moves.mover.stage(KEY.0).map(|(stage, _)| stage)
}

fn run_until(world: &mut World, node: usize, wanted: Stage) {
    for _ in 0..40_000 {
        if stage(world, node) == Some(wanted) {
            return;
        }
        world.run(Duration::from_micros(50));
    }
    panic!("seed {:#x}: it is never {wanted:?}", world.seed);
}

fn break_it(world: &mut World, node: usize) {
    for router in [KEY, SIX] {
        let source = Err("no carrier".to_string());
        world.feed(node, Input::Interface { router, source });
    }
}

#[test]
fn a_master_that_fails_while_its_offer_is_open_has_no_move_any_more() {
    for wanted in [Stage::Offered, Stage::Frozen] {
        let mut world = world(1, 2, false);
        world.order(0, failover()).unwrap();
        run_until(&mut world, 0, wanted);
        break_it(&mut world, 0);
        assert_eq!(stage(&world, 0), None, "{wanted:?}");
        assert!(world.nodes[0].frozen.is_empty());
        world.run(ms(300));
        assert_masters(&world, 1);
    }
}

#[test]
fn a_successor_that_fails_before_it_has_anything_declines() {
    let mut world = world(1, 2, false);
    world.order(0, failover()).unwrap();
    run_until(&mut world, 1, Stage::Awaited);
    break_it(&mut world, 1);
    assert_eq!(stage(&world, 1), None);
    world.run(ms(20));
    let failed = world.nodes[0].notes.iter().find(|note| note.kind == "vip_move_failed").unwrap();
    assert!(failed.reason.ends_with("no carrier"), "{}", failed.reason);
    world.run(ms(500));
    assert_masters(&world, 0);
    assert!(world.gap() <= ms(1), "frozen until it has declined: {:?}", world.gap());
}

#[test]
fn connections_end_when_the_old_node_has_to_be_master_again() {
    let mut world = world(1, 2, false);
    world.net.drains_ms = 3_600_000;
    world.order(0, failover()).unwrap();
    world.run(ms(50));
    assert_eq!((stage(&world, 0), stage(&world, 1)), (Some(Stage::Given), Some(Stage::Taken)));
    world.kill(1);
    world.run(ms(300));
    assert_masters(&world, 0);
    assert_eq!((stage(&world, 0), world.nodes[0].passes_on.len()), (None, 0));
}

#[test]
fn packets_are_passed_back_no_more_when_the_successor_fails() {
    let mut world = world(1, 2, false);
    world.net.drains_ms = 3_600_000;
    world.order(0, failover()).unwrap();
    world.run(ms(50));
    break_it(&mut world, 1);
    assert_eq!((stage(&world, 1), world.nodes[1].passes_back.len()), (None, 0));
    world.run(ms(300));
    assert_masters(&world, 0);
}

#[test]
fn who_was_granted_its_wishes_is_granted_more_of_them() {
    let mut world = world(1, 2, true);
    for round in 0..5 {
        break_it(&mut world, 0);
        world.run(ms(1_000));
        assert_masters(&world, 1);
        world.watch();
        world.connect(0);
        // It asks again three seconds after it has asked at the soonest.
        world.run(ms(3_500));
        assert_masters(&world, 0);
        let reason = &world.nodes[0].turns.last().unwrap().reason;
        assert_eq!(reason, "moved from edge-1: a better backup asked for it", "round {round}");
        assert!(world.gap() <= ms(10), "round {round}: {:?}", world.gap());
    }
}

#[test]
fn whose_wish_is_not_granted_three_times_preempts() {
    let mut world = world(1, 2, true);
    world.net.freezes = false;
    break_it(&mut world, 0);
    world.run(ms(1_000));
    world.nodes[0].notes.clear();
    world.connect(0);
    let failures = |world: &World| {
        let is_it = |note: &&Note| note.kind == "vip_move_failed" && note.subject == "vip.web";
        world.nodes[0].notes.iter().filter(is_it).count()
    };
    for asked in 1..=3 {
        world.run(ms(600));
        assert_masters(&world, 1);
        assert_eq!(failures(&world), asked);
        world.run(ms(400));
    }
    world.run(ms(1_000));
    assert_masters(&world, 0);
    assert_eq!(failures(&world), 3);
    let reason = &world.nodes[0].turns.last().unwrap().reason;
    assert!(reason.ends_with("has only priority 253") || reason.contains("moves with"), "{reason}");
}

#[test]
fn of_several_peers_one_that_could_have_only_half_of_a_group_is_no_successor() {
    for broken in [KEY, SIX] {
        let mut plans = plans(3, false);
        plans[1].routers.iter_mut().for_each(|setup| setup.sync = None);
        let mut world = World::new(1, plans);
        world.net.jitter_us = 0;
        world.run(ms(2_000));
        assert_masters(&world, 0);
        let source = Err("no carrier".to_string());
        world.feed(1, Input::Interface { router: broken, source });
        world.run(ms(300));
        world.order(0, failover()).unwrap();
        world.run(ms(1_000));
        assert_masters(&world, 2);
        assert!(!has(&world, 0, "vip_move_failed"), "{:#?}", world.nodes[0].notes);
    }
}

#[test]
fn a_wish_is_granted_to_a_better_node_only() {
    for (node, peer, is_granted) in [(0, 1, false), (1, 0, true)] {
        let mut world = world(1, 2, false);
        if node == 1 {
            world.order(0, failover()).unwrap();
            world.run(ms(1_000));
        }
        assert_masters(&world, node);
        let wish = Message::Want { number: 7, routers: [KEY.0, SIX.0].into() };
        let message = peer::Message::Handover(wish);
        world.feed(node, Input::Said { peer: 0, path: 0, message });
        world.run(ms(1_000));
        assert_masters(&world, if is_granted { peer } else { node });
    }
}

#[test]
fn nothing_is_passed_back_to_a_node_that_started_anew() {
    for seed in seeds(5) {
        let mut world = world(seed, 2, false);
        world.net.drains_ms = 3_600_000;
        world.order(0, failover()).unwrap();
        world.run(ms(50));
        assert_eq!(stage(&world, 1), Some(Stage::Taken));
        world.kill(0);
        world.run(ms(2_000));
        world.restart(0, 1_700_000_900_000);
        world.run(ms(2_000));
        assert_masters(&world, 1);
        assert_eq!((stage(&world, 1), world.nodes[1].passes_back.len()), (None, 0));
        // So nothing is in the way of the move back.
        world.watch();
        world.order(1, failover()).unwrap();
        world.run(ms(50));
        assert_masters(&world, 0);
        assert!(world.gap() <= ms(10), "seed {seed:#x}: {:?}", world.gap());
    }
}
