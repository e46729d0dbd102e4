//! Configurations that change while virtual routers are in use, on one node after the other.

use std::vec::Vec;

use super::world::World;
use super::*;
use crate::track::Effect;

const SIX: RouterKey = RouterKey(256 + 51);
const NEW: RouterKey = RouterKey(9);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Two that move together.
fn old(priority: u8) -> Plan {
    let mut plan = plan();
    plan.routers.push(setup(SIX, "web6"));
    for setup in &mut plan.routers {
        setup.policy.priority = priority;
        setup.sync = Some("pair".to_string());
    }
    plan
}

/// And a third one.
fn new(priority: u8) -> Plan {
    let mut plan = old(priority);
    let mut setup = setup(NEW, "mail");
    setup.policy.priority = priority;
    setup.sync = Some("pair".to_string());
    plan.routers.push(setup);
    plan
}

fn all(plan: fn(u8) -> Plan, preempt: bool) -> [Plan; 2] {
    [254, 253].map(|priority| {
        let mut plan = plan(priority);
        for setup in &mut plan.routers {
            setup.policy.preempt = preempt;
            setup.policy.preempt_delay = ms(500);
        }
        plan
    })
}

fn settled(seed: u64, plans: [Plan; 2]) -> World {
    let mut world = World::new(seed, Vec::from(plans));
    world.run(ms(2_000));
    assert_eq!((world.masters(KEY), world.masters(SIX)), (std::vec![0], std::vec![0]));
    world.watch();
    for node in &mut world.nodes {
        node.turns.clear();
    }
    world
}

/// Nothing has happened to those two, wherever they are.
fn assert_undisturbed(world: &World, seed: u64, what: &str) {
    for node in &world.nodes {
        let disturbed = node.turns.iter().find(|turn| turn.vip != "mail");
        assert_eq!(disturbed, None, "seed {seed:#x}: {what}");
    }
    for key in [KEY, SIX] {
        assert_eq!(world.gap_of(key), Duration::ZERO, "seed {seed:#x}: {what}");
    }
}

/// How a new one fares before it can be had.
type Start = fn(&mut World, usize);

fn well(world: &mut World, node: usize) {
    world.connect(node);
}

fn starting(world: &mut World, node: usize) {
    world.run(ms(400));
    world.connect(node);
}

fn broken(world: &mut World, node: usize) {
    let source = Err("eth2 has no carrier".to_string());
    world.feed(node, Input::Interface { router: NEW, source });
    world.run(ms(400));
    world.connect(node);
}

#[test]
fn one_that_is_added_to_a_group_joins_it_and_disturbs_nobody_on_whichever_node_it_comes_first() {
    for seed in 0..10 {
        for preempt in [false, true] {
            for order in [[0, 1], [1, 0]] {
                for start in [well as Start, starting, broken] {
                    let mut world = settled(seed, all(old, preempt));
                    for node in order {
                        world.apply(node, all(new, preempt)[node].clone());
                        start(&mut world, node);
                        world.run(ms(1_500));
                        assert_undisturbed(&world, seed, "one was added");
                    }
                    assert_eq!(world.holders(NEW), [0], "seed {seed:#x}");
                    world.kill(0);
                    world.run(ms(300));
                    for key in [KEY, SIX, NEW] {
                        assert_eq!(world.holders(key), [1], "seed {seed:#x}: {key:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn one_that_is_removed_from_a_group_disturbs_nobody_on_whichever_node_it_goes_first() {
    for seed in 0..10 {
        for preempt in [false, true] {
            for order in [[0, 1], [1, 0]] {
                let mut world = settled(seed, all(new, preempt));
                for node in order {
                    world.apply(node, all(old, preempt)[node].clone());
                    world.run(ms(1_500));
                    assert_undisturbed(&world, seed, "one was removed");
                }
            }
        }
    }
}

#[test]
fn one_that_joins_does_not_count_until_it_was_well_once() {
    let mut world = settled(1, all(old, false));
    let failover = || Order::Failover { vip: Some("web".to_string()) };
    let break_it = |world: &mut World| {
        let source = Err("eth2 has no carrier".to_string());
        world.feed(0, Input::Interface { router: NEW, source });
    };
    world.apply(0, all(new, false)[0].clone());
    break_it(&mut world);
    world.run(ms(1_000));
    assert_eq!((world.nodes[0].role(KEY), world.nodes[0].role(NEW)), (Role::Master, Role::Fault));
    // The others go and come without it.
    for holder in [1, 0] {
        world.order(1 - holder, failover()).unwrap();
        world.run(ms(1_000));
        assert_eq!(world.holders(KEY), [holder]);
    }
    world.connect(0);
    world.run(ms(200));
    assert_eq!((world.nodes[0].role(KEY), world.nodes[0].role(NEW)), (Role::Master, Role::Master));
    // From now on all are had or none.
    break_it(&mut world);
    assert_eq!((world.nodes[0].role(KEY), world.nodes[0].role(NEW)), (Role::Fault, Role::Fault));
    world.run(ms(1_000));
    assert_eq!(world.holders(KEY), [1]);
}

#[test]
fn one_that_joins_and_is_served_elsewhere_stays_there_and_does_not_count() {
    let mut apart = all(new, false);
    apart[1].routers[2].sync = None;
    let mut world = settled(1, [all(old, false)[0].clone(), apart[1].clone()]);
    assert_eq!(world.holders(NEW), [1]);
    world.apply(0, apart[0].clone());
    world.connect(0);
    world.run(ms(1_000));
    assert_eq!(world.holders(NEW), [1]);
    let source = Err("eth2 has no carrier".to_string());
    world.feed(0, Input::Interface { router: NEW, source });
    world.run(ms(1_000));
    assert_undisturbed(&world, 1, "one joined that is elsewhere");
    world.connect(0);
    world.kill(1);
    world.run(ms(300));
    for key in [KEY, SIX, NEW] {
        assert_eq!(world.holders(key), [0], "{key:?}");
    }
}

#[test]
fn those_that_a_reload_makes_move_together_are_not_given_up_for_one_that_is_not_well() {
    let apart = all(old, false).map(|mut plan| {
        plan.routers.iter_mut().for_each(|setup| setup.sync = None);
        plan
    });
    let mut world = World::new(1, Vec::from(apart));
    world.run(ms(1_000));
    let source = Err("eth1 has no carrier".to_string());
    world.feed(0, Input::Interface { router: SIX, source });
    world.run(ms(1_000));
    assert_eq!((world.holders(KEY), world.holders(SIX)), (std::vec![0], std::vec![1]));
    for node in [0, 1] {
        let turns = world.nodes[node].turns.len();
        world.apply(node, all(old, false)[node].clone());
        world.run(ms(1_000));
        assert_eq!(world.nodes[node].turns.len(), turns, "node {node}");
    }
    assert_eq!((world.holders(KEY), world.holders(SIX)), (std::vec![0], std::vec![1]));
    // The one that is well has both once the other one is gone.
    world.kill(0);
    world.run(ms(200));
    assert_eq!((world.holders(KEY), world.holders(SIX)), (std::vec![1], std::vec![1]));
}

#[test]
fn one_that_joins_a_master_is_not_claimed_before_what_it_tracks_was_judged() {
    let mut world = settled(1, all(old, false));
    let mut plan = all(new, false)[0].clone();
    let subject = Subject::Pool("mail".to_string());
    let (fall, rise) = (Duration::ZERO, Duration::ZERO);
    plan.routers[2].track =
        std::vec![Rule { subject: subject.clone(), effect: Effect::Fault, fall, rise }];
    world.apply(0, plan);
    world.connect(0);
    world.run(ms(1_000));
    assert_eq!((world.nodes[0].role(KEY), world.nodes[0].role(NEW)), (Role::Master, Role::Init));
    world.feed(0, Input::Verdict { subject, failure: None });
    world.run(ms(200));
    assert_eq!(world.holders(NEW), [0]);
    assert_undisturbed(&world, 1, "one was added");
}

#[test]
fn a_node_that_has_long_been_there_does_not_delay_what_is_added_to_it() {
    let mut plan = plan_with(|policy| policy.startup_delay = ms(1_000));
    let mut world = World::new(1, std::vec![plan.clone()]);
    world.run(ms(900));
    assert_eq!(world.masters(KEY).len(), 0);
    world.run(ms(200));
    assert_eq!(world.masters(KEY), [0]);
    let mut added = plan.routers[0].clone();
    (added.key, added.name) = (NEW, "mail".to_string());
    plan.routers.push(added);
    world.apply(0, plan);
    world.connect(0);
    world.run(ms(100));
    assert_eq!(world.masters(NEW), [0]);
}

#[test]
fn a_group_of_which_one_link_is_cut_stays_where_it_is() {
    for seed in 0..10 {
        let mut world = settled(seed, all(old, false));
        // Of the second one nothing passes between the nodes any more.
        world.net.deaf_to = Some(SIX);
        world.run(ms(2_000));
        assert_undisturbed(&world, seed, "adverts of one are lost");
        let view = world.nodes[1].standby.views()[1].clone();
        assert_eq!(
            view.holding_back.as_deref(),
            Some("vip.web, which it moves with, follows another node")
        );
        world.kill(0);
        world.run(ms(150));
        assert_eq!((world.holders(KEY), world.holders(SIX)), (std::vec![1], std::vec![1]));
    }
}
