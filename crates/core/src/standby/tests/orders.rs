//! What operators want, and what a node that stops, is helpless or is configured anew does.

use std::vec::Vec;

use super::world::{World, name};
use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn run(standby: &mut Standby, until: Instant) -> Vec<Output> {
    let mut outputs = Vec::new();
    while let Some(at) = standby.deadline().filter(|at| *at <= until) {
        standby.handle(at, Input::Tick);
        outputs.extend(drain(standby));
    }
    outputs
}

fn master(plan: Plan) -> Standby {
    let mut standby = node(plan);
    ready(&mut standby, at(0));
    run(&mut standby, at(3_000));
    assert!(standby.views().iter().all(|view| view.role == Role::Master));
    standby
}

fn kinds(standby: &mut Standby) -> Vec<&'static str> {
    let outputs = core::iter::from_fn(|| standby.next_output());
    let kind = |output| if let Output::Note(note) = output { Some(note.kind) } else { None };
    outputs.filter_map(kind).collect()
}

fn roles(standby: &Standby) -> Vec<Role> {
    standby.views().iter().map(|view| view.role).collect()
}

fn failover(vip: &str) -> Order {
    Order::Failover { vip: Some(vip.to_string()) }
}

fn two() -> Plan {
    let mut plan = plan();
    plan.routers.push(setup(RouterKey(7), "mail"));
    plan
}

#[test]
fn an_order_about_what_does_not_exist_names_what_does() {
    let answer = master(two()).order(at(3_000), failover("wbe"));
    assert_eq!(answer.unwrap_err(), "vip.wbe does not exist; there are: web, mail");
    let answer = node(Plan::default()).order(at(0), failover("web"));
    assert_eq!(answer.unwrap_err(), "no virtual address is configured");
}

#[test]
fn a_failover_of_what_is_elsewhere_is_refused() {
    let mut standby = node(plan());
    ready(&mut standby, at(0));
    let answer = standby.order(at(0), failover("web"));
    assert_eq!(
        answer.unwrap_err(),
        "vip.web is not on this node, whose role is backup: ask the one that has it"
    );
    let answer = standby.order(at(0), Order::Failover { vip: None });
    assert_eq!(answer.unwrap_err(), "no virtual address is on this node: ask the one that has it");
    assert_eq!(drain(&mut standby), []);
}

#[test]
fn a_failover_is_refused_if_no_peer_could_take_over() {
    let mut plan = plan();
    plan.node = name(0);
    plan.heartbeat = Some(peer::Policy { interval: ms(100), missing: 3, port: 7947 });
    plan.peers =
        std::vec![peer::Setup { name: name(1), addresses: std::vec![IpAddr::from([10, 1, 0, 2])] }];
    let mut standby = master(plan);
    drain(&mut standby);
    let answer = standby.order(at(3_000), failover("web"));
    assert_eq!(
        answer.unwrap_err(),
        "vip.web: stays, no peer that is heard could take it: edge-1 has not been heard"
    );
    assert_eq!(roles(&standby), [Role::Master]);
}

#[test]
fn a_failover_of_one_leaves_the_others() {
    let mut standby = master(two());
    let steps = standby.order(at(3_000), failover("mail")).unwrap();
    assert_eq!(steps.len(), 1);
    assert!(steps[0].starts_with("vip.mail: given up to whoever follows; kept if nobody does"));
    assert_eq!(roles(&standby), [Role::Master, Role::Backup]);
}

#[test]
fn a_failover_of_all_leaves_none_and_all_come_back_if_nobody_follows() {
    let mut standby = master(two());
    let steps = standby.order(at(3_000), Order::Failover { vip: None }).unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(roles(&standby), [Role::Backup; 2]);
    drain(&mut standby);
    let outputs = run(&mut standby, at(3_200));
    assert_eq!(roles(&standby), [Role::Master; 2]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Release(_) | Output::Hold(_))));
    assert_eq!(standby.views()[0].reason, "nobody else took over");
}

#[test]
fn maintenance_is_idempotent_and_outlives_the_keepers_image() {
    let mut standby = master(two());
    drain(&mut standby);
    let steps = standby.order(at(3_000), Order::Maintenance { is_on: true }).unwrap();
    assert_eq!(steps.last().unwrap(), "this node takes no part until maintenance is off");
    assert_eq!(kinds(&mut standby), ["maintenance_on", "vip_init", "vip_init"]);
    let steps = standby.order(at(3_000), Order::Maintenance { is_on: true }).unwrap();
    assert_eq!(steps, ["maintenance is on already"]);
    assert_eq!(kinds(&mut standby), [""; 0]);
    run(&mut standby, at(4_000));
    let mut standby: Standby = minicbor::decode(&minicbor::to_vec(&standby).unwrap()).unwrap();
    assert!(standby.is_in_maintenance());
    standby.handle(
        at(4_000),
        Input::Heard {
            router: KEY,
            from: IpAddr::from([10, 0, 0, 9]),
            advert: Advert { priority: 0, interval: ms(30) },
        },
    );
    assert_eq!(run(&mut standby, at(9_000)), []);
    assert_eq!(roles(&standby), [Role::Init; 2]);
    assert_eq!(standby.views()[0].holding_back.as_deref(), Some("in maintenance"));
    standby.order(at(9_000), Order::Maintenance { is_on: false }).unwrap();
    let steps = standby.order(at(9_000), Order::Maintenance { is_on: false }).unwrap();
    assert_eq!(steps, ["maintenance is off already"]);
    run(&mut standby, at(10_000));
    assert_eq!(roles(&standby), [Role::Master; 2]);
}

#[test]
fn a_node_that_is_helpless_gives_everything_up_at_once_and_comes_back_when_helped() {
    let mut standby = master(two());
    drain(&mut standby);
    standby.handle(at(3_000), Input::Helpless { why: "the worker is gone".to_string() });
    let given_up = |router| [Output::Advertise { router, priority: 0 }, Output::Release(router)];
    let outputs: Vec<Output> = [RouterKey(7), KEY].into_iter().flat_map(given_up).collect();
    assert_eq!(drain(&mut standby), outputs);
    assert_eq!(roles(&standby), [Role::Fault; 2]);
    assert_eq!(standby.views()[0].reason, "the worker is gone");
    standby.handle(at(4_000), Input::Helped);
    run(&mut standby, at(5_000));
    assert_eq!(roles(&standby), [Role::Master; 2]);
}

#[test]
fn a_link_that_fails_gives_its_addresses_up_at_once_and_no_others() {
    let mut standby = master(two());
    drain(&mut standby);
    let source = Err("eth0 has no carrier".to_string());
    standby.handle(at(3_000), Input::Interface { router: KEY, source });
    assert_eq!(
        drain(&mut standby),
        [Output::Advertise { router: KEY, priority: 0 }, Output::Release(KEY)]
    );
    assert_eq!(roles(&standby), [Role::Fault, Role::Master]);
}

#[test]
fn a_node_that_stops_is_idle_once_all_is_released_and_starts_nothing_more() {
    let mut standby = master(two());
    drain(&mut standby);
    standby.handle(at(3_000), Input::Stop);
    standby.handle(at(3_000), Input::Stop);
    assert!(!drain(&mut standby).contains(&Output::Idle));
    let heard = |router| Input::Heard {
        router,
        from: IpAddr::from([10, 0, 0, 9]),
        advert: Advert { priority: 1, interval: ms(30) },
    };
    standby.handle(at(3_005), heard(KEY));
    assert_eq!(drain(&mut standby), [Output::Release(KEY)]);
    standby.handle(at(3_006), heard(RouterKey(7)));
    assert_eq!(drain(&mut standby), [Output::Release(RouterKey(7)), Output::Idle]);
    assert_eq!(run(&mut standby, at(60_000)), []);
}

#[test]
fn a_node_without_addresses_is_idle_at_once() {
    let mut standby = node(plan());
    ready(&mut standby, at(0));
    standby.handle(at(0), Input::Stop);
    assert_eq!(drain(&mut standby), [Output::Idle]);
}

#[test]
fn a_reload_disturbs_nothing_that_did_not_change() {
    let mut standby = master(two());
    drain(&mut standby);
    let before = (standby.views(), standby.deadline());
    standby.apply(at(3_000), two());
    assert_eq!((standby.views(), standby.deadline()), before);
    let mut changed = two();
    changed.routers[1].policy.priority = 200;
    standby.apply(at(3_000), changed.clone());
    assert_eq!(drain(&mut standby), [], "roles stay");
    assert_eq!(standby.views()[0], before.0[0]);
    let adverts = run(&mut standby, at(3_031));
    assert!(adverts.contains(&Output::Advertise { router: RouterKey(7), priority: 200 }));
    changed.routers.remove(0);
    standby.apply(at(3_031), changed);
    assert_eq!(
        drain(&mut standby),
        [Output::Advertise { router: KEY, priority: 0 }, Output::Release(KEY)]
    );
    assert_eq!(standby.views().len(), 1);
}

#[test]
fn an_interval_that_changes_is_told_at_once_and_holds_from_then_on() {
    for (interval, adverts) in [(10, 12), (60, 2)] {
        let mut standby = master(plan());
        drain(&mut standby);
        standby.apply(at(3_000), plan_with(|policy| policy.interval = ms(interval)));
        let advert = Output::Advertise { router: KEY, priority: 254 };
        assert_eq!(drain(&mut standby), std::vec![advert.clone()]);
        assert_eq!(run(&mut standby, at(3_120)), std::vec![advert; adverts]);
    }
}

#[test]
fn epochs_grow_with_each_claim_and_are_never_below_the_clock() {
    let mut standby = node(plan());
    ready(&mut standby, at(0));
    run(&mut standby, at(3_000));
    let first = standby.views()[0].epoch;
    assert_eq!(first, 1_700_000_000);
    standby.order(at(3_000), failover("web")).unwrap();
    run(&mut standby, at(3_500));
    assert_eq!(standby.views()[0].epoch, first + 3);
    standby.order(at(3_500), failover("web")).unwrap();
    run(&mut standby, at(3_900));
    assert_eq!(standby.views()[0].epoch, first + 4, "within a second");
}

#[test]
fn the_keeper_may_be_away_right_after_an_advert_and_never_while_roles_change() {
    let mut world = World::new(1, std::vec![plan(), plan_with(|policy| policy.priority = 253)]);
    world.net.jitter_us = 0;
    for _ in 0..150 {
        world.run(ms(1));
        let waited = world.now.since(at(0));
        for node in &world.nodes {
            assert_eq!(node.standby.may_pause_at(world.now), None, "{waited:?}");
        }
    }
    world.run(ms(1_000));
    for index in [0, 1] {
        let node = &world.nodes[index].standby;
        let moment = node.may_pause_at(world.now).unwrap();
        world.run(moment.since(world.now) + ms(1));
        let node = &world.nodes[index].standby;
        assert_eq!(node.may_pause_at(world.now), Some(world.now), "node {index}");
        let member = &node.members[&KEY];
        assert!(world.now.since(member.router.last_advert().unwrap()) <= ms(4), "node {index}");
    }
    world.run(ms(8));
    let node = &world.nodes[0].standby;
    assert!(node.may_pause_at(world.now).unwrap() > world.now, "a quarter of it is gone");
    world.order(0, failover("web")).unwrap();
    assert_eq!(world.nodes[0].standby.may_pause_at(world.now), None);
}
