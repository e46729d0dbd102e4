//! Virtual routers that move together.

use std::vec::Vec;

use super::world::World;
use super::*;

const SIX: RouterKey = RouterKey(256 + 51);
const ALONE: RouterKey = RouterKey(7);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Two that move together and one by itself.
fn plan_of(priority: u8) -> Plan {
    let mut plan = plan();
    plan.routers.push(setup(SIX, "web6"));
    plan.routers.push(setup(ALONE, "mail"));
    for setup in &mut plan.routers {
        setup.policy.priority = priority;
        setup.sync = (setup.key != ALONE).then(|| "pair".to_string());
    }
    plan
}

fn pair(seed: u64, priorities: [u8; 2]) -> World {
    let mut world = World::new(seed, Vec::from(priorities.map(plan_of)));
    world.run(ms(2_000));
    world.watch();
    world
}

fn holders(world: &World) -> [Vec<usize>; 3] {
    [KEY, SIX, ALONE].map(|key| world.holders(key))
}

#[test]
fn all_of_a_group_go_when_one_is_faulty_and_others_stay() {
    for seed in seeds(40) {
        let mut world = pair(seed, [254, 253]);
        assert_eq!(holders(&world), [[0], [0], [0]], "seed {seed:#x}");
        let source = Err("eth1 has no carrier".to_string());
        world.feed(0, Input::Interface { router: SIX, source });
        world.run(ms(20));
        assert_eq!(holders(&world), [std::vec![1], std::vec![1], std::vec![0]], "seed {seed:#x}");
        let views = world.nodes[0].standby.views();
        assert_eq!(
            [views[0].role, views[1].role, views[2].role],
            [Role::Fault, Role::Fault, Role::Master]
        );
        assert_eq!(views[0].reason, "vip.web6, which it moves with: eth1 has no carrier");
        world.run(ms(3_000));
        assert_eq!(holders(&world), [std::vec![1], std::vec![1], std::vec![0]], "seed {seed:#x}");
    }
}

#[test]
fn all_of_a_group_go_when_one_is_ordered_to() {
    for seed in seeds(40) {
        let mut world = pair(seed, [254, 253]);
        let steps = world.order(0, Order::Failover { vip: Some("web6".to_string()) }).unwrap();
        assert_eq!(steps.len(), 2, "{steps:?}");
        world.run(ms(1_000));
        assert_eq!(holders(&world), [std::vec![1], std::vec![1], std::vec![0]], "seed {seed:#x}");
        assert!(world.gap() <= ms(2), "seed {seed:#x}: {:?}", world.gap());
    }
}

#[test]
fn a_false_takeover_of_one_does_not_part_a_group() {
    for seed in seeds(40) {
        let mut world = pair(seed, [254, 253]);
        // Whatever is lost: of three routers' adverts, three in a row of some.
        world.net.drops.insert((0, 1), 9);
        world.run(ms(3_000));
        assert_eq!(holders(&world), [[0], [0], [0]], "seed {seed:#x}");
        assert!(world.gap() <= ms(50), "seed {seed:#x}: {:?}", world.gap());
    }
}

#[test]
fn a_tie_that_each_half_of_a_group_would_win_ends_with_one_owner_of_both() {
    for seed in seeds(60) {
        // IPv6 addresses are in the opposite order: each node wins one of the two.
        let mut world = pair(seed, [200, 200]);
        for round in 0..5 {
            world.net.cuts.extend([(0, 1), (1, 0)]);
            world.run(ms(500));
            assert_eq!(world.holders(KEY), [0, 1], "seed {seed:#x}: round {round}");
            world.net.cuts.clear();
            world.run(ms(500));
            let [web, six, alone] = holders(&world);
            assert_eq!((web.len(), alone.len()), (1, 1), "seed {seed:#x}: round {round}");
            assert_eq!(web, six, "seed {seed:#x}: round {round}");
        }
    }
}

#[test]
fn a_node_of_which_half_a_group_is_not_ready_claims_nothing_of_it() {
    let mut world = World::new(1, std::vec![plan_of(254)]);
    let source = Err("eth1 has no carrier".to_string());
    world.feed(0, Input::Interface { router: SIX, source });
    world.run(ms(2_000));
    assert_eq!(holders(&world), [std::vec![], std::vec![], std::vec![0]]);
}

#[test]
fn a_better_node_preempts_all_of_a_group() {
    for seed in seeds(20) {
        let plans = [254, 253].map(|priority| {
            let mut plan = plan_of(priority);
            for setup in &mut plan.routers {
                (setup.policy.preempt, setup.policy.preempt_delay) = (true, ms(500));
            }
            plan
        });
        let mut world = World::new(seed, Vec::from(plans));
        world.run(ms(1_500));
        world.kill(0);
        world.run(ms(500));
        world.restart(0, 1_700_000_000_000);
        world.watch();
        world.run(ms(1_500));
        assert_eq!(holders(&world), [[0], [0], [0]], "seed {seed:#x}");
        assert!(world.gap() <= ms(50), "seed {seed:#x}: {:?}", world.gap());
    }
}

#[test]
fn a_node_that_starts_claims_nothing_of_a_group_before_all_of_it_is_known() {
    let mut standby = node(plan_of(254));
    for router in [KEY, ALONE] {
        let source = Ok(IpAddr::from([10, 0, 0, 1]));
        standby.handle(at(0), Input::Interface { router, source });
    }
    while let Some(now) = standby.deadline().filter(|now| *now <= at(2_000)) {
        standby.handle(now, Input::Tick);
        drain(&mut standby);
    }
    let masters = standby.views().into_iter().filter(|view| view.role == Role::Master);
    assert_eq!(masters.map(|view| view.key).collect::<Vec<_>>(), [ALONE]);
}
