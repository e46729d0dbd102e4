//! Virtual addresses where something is not as it should be: others who have them, interfaces that
//! come and go, rights that are missing.

use evergate_control::link::Desired;
use evergate_core::standby::RouterKey;
use evergate_core::vrrp::Role;

use crate::lan::Lan;
use crate::standby::{ADDRESS, Node, wish};

pub(crate) const TESTS: &[crate::Test] = &[
    ("an_address_that_was_left_over_is_removed_at_the_start", left_over),
    ("another_owner_is_noticed", another_owner),
    ("an_address_waits_for_its_interface", waits_for_its_interface),
    ("a_reload_changes_addresses_and_not_the_role", a_reload),
    ("an_address_that_is_not_wished_for_any_more_is_given_up", not_wished_for),
    ("ipv6_addresses_are_held_too", ipv6),
    ("whoever_fights_over_an_address_is_met_with_patience", a_fight),
    ("without_rights_everything_else_works", without_rights),
];

fn left_over() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let other = Node::start(&lan, "b", &wish(&[]));
    other.await_role(Role::Master);
    lan.ip("a", &["address", "add", &format!("{ADDRESS}/32"), "dev", "eth0"]);
    let node = Node::start(&lan, "a", &wish(&[]));
    let event = node.stage.await_event_of(&node.worker, "vip_left_over");
    assert!(event.reason.contains(ADDRESS), "{event:?}");
    node.await_role(Role::Backup);
    assert!(!lan.has("a", ADDRESS));
    // Who puts it there later is told of.
    lan.ip("a", &["address", "add", &format!("{ADDRESS}/32"), "dev", "eth0"]);
    let event = node.stage.await_event_of(&node.worker, "vip_foreign");
    assert!(event.reason.contains(ADDRESS), "{event:?}");
    other.await_role(Role::Master);
}

fn another_owner() {
    let Some(lan) = Lan::new(&["a", "c"]) else { return };
    let node = Node::start(&lan, "a", &wish(&[]));
    node.await_role(Role::Master);
    lan.ip("c", &["address", "add", &format!("{ADDRESS}/24"), "dev", "eth0"]);
    lan.announce("c", ADDRESS);
    let vip = node.await_vip(|vip| vip.view.rival.is_some());
    assert!(vip.view.rival.unwrap().contains(&lan.mac("c")));
    assert_eq!(vip.view.role, Role::Master, "it may be a mistake of somebody else");
    assert_eq!(node.stage.await_event_of(&node.worker, "vip_split").subject, "vip.web");
}

fn waits_for_its_interface() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    lan.ip("a", &["link", "set", "eth0", "down"]);
    lan.ip("a", &["link", "set", "eth0", "name", "lan0"]);
    lan.ip("a", &["link", "set", "lan0", "up"]);
    let node = Node::start(&lan, "a", &wish(&[]));
    let problems = |why: &str| vec![format!("vip.web: {why}")];
    let news = node.await_role(Role::Fault);
    assert_eq!(news.problems, problems("there is no interface eth0"));
    let event = node.stage.await_event_of(&node.worker, "vip_unable");
    assert_eq!(event.reason, "there is no interface eth0");
    lan.ip("a", &["link", "set", "lan0", "down"]);
    lan.ip("a", &["link", "set", "lan0", "name", "eth0"]);
    lan.ip("a", &["link", "set", "eth0", "up"]);
    node.await_role(Role::Master);
    assert!(lan.has("a", ADDRESS));
    // It loses its own address: nothing can be sent then.
    lan.ip("a", &["address", "flush", "dev", "eth0", "to", "10.9.0.11"]);
    let news = node.stage.await_standby(&node.worker, |news| !news.problems.is_empty());
    assert_eq!(news.problems, problems("interface eth0 has no IPv4 address of its own"));
    lan.ip("a", &["address", "add", "10.9.0.11/24", "dev", "eth0"]);
    node.await_role(Role::Master);
}

fn a_reload() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let node = Node::start(&lan, "a", &wish(&[]));
    let turns = node.await_role(Role::Master).vips[0].view.turns;
    let mut other = wish(&[]);
    other.standby.vips[0].addresses = vec![("10.9.0.101".parse().unwrap(), 24)];
    node.stage.desire(&node.worker, &other);
    let vip = node.await_vip(|vip| vip.addresses == [("10.9.0.101/24".to_owned(), true)]);
    assert_eq!((vip.view.role, vip.view.turns), (Role::Master, turns));
    assert!(lan.has("a", "10.9.0.101") && !lan.has("a", ADDRESS));
    // The same again changes nothing.
    node.stage.desire(&node.worker, &other);
    let vip = node.await_vip(|_| true);
    assert_eq!((vip.view.role, vip.view.turns), (Role::Master, turns));
}

fn not_wished_for() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let Node { mut stage, worker } = Node::start(&lan, "a", &wish(&[]));
    stage.await_standby(&worker, |news| {
        news.vips.first().is_some_and(|vip| vip.view.role == Role::Master)
    });
    stage.desire(&worker, &Desired::default());
    stage.await_true(|_| (!lan.has("a", ADDRESS)).then_some(()));
    // And again.
    stage.desire(&worker, &wish(&[]));
    stage.await_true(|_| lan.has("a", ADDRESS).then_some(()));
}

fn ipv6() {
    let Some(lan) = Lan::new(&["a", "b", "c"]) else { return };
    let mut desired = wish(&[]);
    let key = RouterKey(256 + 51);
    desired.standby.plan.routers[0].key = key;
    let vip = &mut desired.standby.vips[0];
    vip.key = key;
    vip.addresses =
        vec![("fe80::100".parse().unwrap(), 64), ("2001:db8::100".parse().unwrap(), 64)];
    let first = Node::start(&lan, "a", &desired);
    first.await_role(Role::Master);
    assert!(lan.has("a", "fe80::100") && lan.has("a", "2001:db8::100"));
    let second = Node::start(&lan, "b", &desired);
    second.await_vip(|vip| vip.view.role == Role::Backup && vip.view.master.is_some());
    lan.plug("a", false);
    second.await_role(Role::Master);
    assert!(lan.has("b", "2001:db8::100"));
    first.await_role(Role::Fault);
    assert!(!lan.has("a", "2001:db8::100") && !lan.has("a", "fe80::100"));
}

fn a_fight() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let Node { mut stage, worker } = Node::start(&lan, "a", &wish(&[]));
    stage.await_true(|_| lan.has("a", ADDRESS).then_some(()));
    for _ in 0..8 {
        stage.await_true(|_| lan.has("a", ADDRESS).then_some(()));
        lan.remove("a", ADDRESS);
    }
    stage.await_true(|_| lan.has("a", ADDRESS).then_some(()));
    let node = Node { stage, worker };
    let vip = node.await_vip(|vip| vip.counts.put_back >= 8);
    assert_eq!(vip.view.role, Role::Master);
}

fn without_rights() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let words = ["setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"];
    let words = lan.enter("a").into_iter().chain(words.map(str::to_owned));
    let node = Node::start_behind(&words.collect::<Vec<_>>(), &wish(&[]));
    let news = node.await_role(Role::Fault);
    let tells = |line: &String| line.starts_with("vip.web: ") && line.contains("CAP_NET_RAW");
    assert!(news.problems.iter().any(tells), "{news:?}");
    let event = node.stage.await_event_of(&node.worker, "vip_unable");
    assert!(event.reason.contains("CAP_NET_RAW"), "{event:?}");
}
