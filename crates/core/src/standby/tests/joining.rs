//! Groups that a reload makes of what is on different nodes.

use std::vec::Vec;

use super::world::{World, name};
use super::*;

const MAIL: RouterKey = RouterKey(9);
const CHAT: RouterKey = RouterKey(10);
const ALL: [RouterKey; 3] = [KEY, MAIL, CHAT];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// As many virtual routers as nodes, with the priorities that each node has there; nodes talk.
fn plans<const N: usize>(priorities: [[u8; N]; N], sync: Option<&str>) -> [Plan; N] {
    core::array::from_fn(|own| {
        let mut plan = Plan { node: name(own), ..plan() };
        plan.routers.clear();
        for (at, key) in ALL.into_iter().take(N).enumerate() {
            let mut setup = setup(key, ["web", "mail", "chat"][at]);
            setup.policy.priority = priorities[at][own];
            setup.sync = sync.map(String::from);
            plan.routers.push(setup);
        }
        plan.heartbeat = Some(peer::Policy { interval: ms(100), missing: 3, port: 7947 });
        let peer = |other: usize| peer::Setup {
            name: name(other),
            addresses: [1, 2].map(|net| IpAddr::from([10, net, 0, other as u8 + 1])).into(),
        };
        plan.peers = (0..N).filter(|other| *other != own).map(peer).collect();
        plan
    })
}

/// Each node has one, by itself.
fn apart<const N: usize>(seed: u64, priorities: [[u8; N]; N]) -> World {
    let own: [[u8; N]; N] =
        core::array::from_fn(|at| core::array::from_fn(|node| 250 + u8::from(node == at)));
    let mut world = World::new(seed, Vec::from(plans(own, None)));
    // A tick that is late may let the worse one be the first.
    let jitter_us = core::mem::take(&mut world.net.jitter_us);
    world.run(ms(2_000));
    world.net.jitter_us = jitter_us;
    for (node, plan) in plans(priorities, None).into_iter().enumerate() {
        world.apply(node, plan);
    }
    world.run(ms(500));
    for (node, key) in ALL.into_iter().take(N).enumerate() {
        assert_eq!(world.holders(key), [node], "seed {seed:#x}");
    }
    world.watch();
    world.nodes.iter_mut().for_each(|node| node.notes.clear());
    world
}

fn join<const N: usize>(world: &mut World, priorities: [[u8; N]; N], order: [usize; N]) {
    let plans = plans(priorities, Some("all"));
    for node in order {
        world.apply(node, plans[node].clone());
        world.run(ms(300));
    }
}

fn assert_all_at<const N: usize>(world: &World, node: usize) {
    for key in ALL.into_iter().take(N) {
        assert_eq!(world.holders(key), [node], "seed {:#x}: {key:?}", world.seed);
    }
    assert!(world.gap() <= ms(10), "seed {:#x}: {:?}", world.seed, world.gap());
    for node in &world.nodes {
        let kinds = node.kinds();
        let lossy = kinds.iter().find(|kind| ["vip_move_failed", "vip_split"].contains(&&***kind));
        assert_eq!(lossy, None, "seed {:#x}: {:#?}", world.seed, node.notes);
        assert!(node.standby.views().iter().all(|view| view.holding_back.is_none()));
    }
}

#[test]
fn a_group_that_a_reload_makes_comes_together_on_the_best_of_two_nodes() {
    for seed in seeds(10) {
        for order in [[0, 1], [1, 0]] {
            for (priorities, best) in [
                ([[254, 253], [254, 253]], 0),
                ([[253, 254], [253, 254]], 1),
                // The least of them counts.
                ([[254, 252], [251, 253]], 1),
                // Of two that are as good, the first by name.
                ([[254, 253], [253, 254]], 0),
            ] {
                let mut world = apart(seed, priorities);
                join(&mut world, priorities, order);
                world.run(ms(2_000));
                assert_all_at::<2>(&world, best);
                let turn = world.nodes[best].turns.last().unwrap();
                let from = name(1 - best);
                assert_eq!(
                    turn.reason,
                    std::format!("moved from {from}: what it moves with is there")
                );
                // From now on all go together.
                world.order(best, Order::Failover { vip: Some("mail".to_string()) }).unwrap();
                world.run(ms(2_000));
                assert_all_at::<2>(&world, 1 - best);
            }
        }
    }
}

#[test]
fn a_group_that_is_in_three_parts_comes_together() {
    for seed in seeds(10) {
        let priorities = [[252, 254, 253]; 3];
        let mut world = apart(seed, priorities);
        join(&mut world, priorities, [2, 0, 1]);
        world.run(ms(4_000));
        assert_all_at::<3>(&world, 1);
    }
}

#[test]
fn a_group_in_parts_of_which_no_node_can_have_all_stays_and_says_so() {
    let priorities = [[254, 253]; 2];
    let mut world = apart(1, priorities);
    let broken = || Err("no carrier".to_string());
    world.feed(0, Input::Interface { router: MAIL, source: broken() });
    world.feed(1, Input::Interface { router: KEY, source: broken() });
    join(&mut world, priorities, [0, 1]);
    world.run(ms(20_000));
    assert_eq!((world.holders(KEY), world.holders(MAIL)), ([0].into(), [1].into()));
    assert_eq!(world.gap(), Duration::ZERO);
    let why = world.nodes[0].standby.views()[0].holding_back.clone().unwrap();
    assert_eq!(
        why,
        "vip.mail, which it moves with, is on edge-1, and no node can have all of them"
    );
    // Only the second node is well now.
    world.connect(1);
    world.run(ms(3_000));
    assert_eq!((world.holders(KEY), world.holders(MAIL)), ([1].into(), [1].into()));
}

#[test]
fn a_part_is_offered_three_times_and_stays_if_it_is_not_taken() {
    let priorities = [[254, 253]; 2];
    let mut world = apart(1, priorities);
    world.net.freezes = false;
    join(&mut world, priorities, [0, 1]);
    let why = |world: &World| world.nodes[1].standby.views()[1].holding_back.clone().unwrap();
    let what = "vip.web, which it moves with, is on edge-0";
    assert_eq!(why(&world), std::format!("{what}: edge-0 is to have all of them"));
    let there = world.nodes[0].standby.views()[0].holding_back.clone().unwrap();
    let mail = "vip.mail, which it moves with, is on edge-1";
    assert_eq!(there, std::format!("{mail}, which is to give it to this node"));
    world.run(ms(60_000));
    assert_eq!((world.holders(KEY), world.holders(MAIL)), ([0].into(), [1].into()));
    assert_eq!(world.gap(), Duration::ZERO, "it is served where it is");
    let kinds = world.nodes[1].kinds();
    assert_eq!(kinds.iter().filter(|kind| *kind == "vip_move_failed").count(), 3);
    let given_up = "did not take all of them: `evergate failover` moves them";
    assert_eq!(why(&world), std::format!("{what}, and edge-0 {given_up}"));
    world.net.freezes = true;
    world.order(1, Order::Failover { vip: Some("mail".to_string()) }).unwrap();
    world.run(ms(1_000));
    assert_eq!((world.holders(KEY), world.holders(MAIL)), ([0].into(), [0].into()));
    assert!(world.gap() <= ms(10), "{:?}", world.gap());
}

#[test]
fn a_part_is_declined_by_a_node_that_would_leave_its_mates_behind() {
    // Only the second node lets them move together.
    let priorities = [[254, 253]; 2];
    let mut world = World::new(1, Vec::from(plans(priorities, None)));
    world.net.jitter_us = 0;
    world.run(ms(2_000));
    world.apply(1, plans(priorities, Some("all"))[1].clone());
    world.run(ms(500));
    assert_eq!((world.holders(KEY), world.holders(MAIL)), ([0].into(), [0].into()));
    world.order(0, Order::Failover { vip: Some("mail".to_string()) }).unwrap();
    world.run(ms(20));
    let failed = world.nodes[0].notes.iter().find(|note| note.kind == "vip_move_failed").unwrap();
    let why = "vip.mail was not moved to edge-1: vip.mail moves with vip.web here";
    assert_eq!(failed.reason, why);
}
