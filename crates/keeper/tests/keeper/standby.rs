//! Virtual addresses: keepers on boxes of a network of their own.

use std::time::Duration;

use evergate_control::link::{
    Desired, Standby, StandbyNews, ToKeeper, ToWorker, Vip, VipAuth, VipChecksum, VipNews,
};
use evergate_core::standby::{Plan, RouterKey, Setup};
use evergate_core::track::Rule;
use evergate_core::vrrp::{Policy, Role, Version};
use evergate_sys::clock;
use evergate_sys::signal::Signal;

use crate::lan::Lan;
use crate::stage::{Pace, Stage, Worker};

pub(crate) const TESTS: &[crate::Test] = &[
    ("an_address_is_claimed_and_given_up_at_the_end", claimed_and_given_up),
    ("the_other_box_follows_a_keeper_that_was_killed", the_other_follows),
    ("an_address_that_somebody_removes_is_put_back", put_back),
    ("a_box_whose_cable_is_pulled_gives_its_address_up", cable_pulled),
];

/// The address of these tests, and its network's.
pub(crate) const ADDRESS: &str = "10.9.0.100";

/// Has one virtual address.
pub(crate) fn wish(rules: &[Rule]) -> Desired {
    let key = RouterKey(51);
    let setup = Setup {
        key,
        name: "web".into(),
        policy: Policy {
            version: Version::V3,
            router_id: 51,
            priority: 254,
            interval: Duration::from_millis(30),
            preempt: false,
            preempt_delay: Duration::from_secs(5),
            startup_delay: Duration::ZERO,
            announce_repeat: 5,
            announce_refresh: Some(Duration::from_secs(60)),
        },
        sync: None,
        track: rules.to_vec(),
        drain: None,
    };
    let vip = Vip {
        key,
        addresses: vec![(ADDRESS.parse().unwrap(), 24)],
        interface: "eth0".into(),
        peers: vec![],
        auth: VipAuth::None,
        checksum: VipChecksum::Auto,
        hooks: vec![],
        hook_within: Duration::from_secs(5),
    };
    let plan = Plan { routers: vec![setup], ..Plan::default() };
    let standby = Standby { node: "a".into(), plan, vips: vec![vip], secret: None };
    Desired { standby, ..Desired::default() }
}

/// A keeper on a box, and its worker that serves.
pub(crate) struct Node {
    pub(crate) stage: Stage,
    pub(crate) worker: Worker,
}

impl Node {
    pub(crate) fn start(lan: &Lan, name: &str, desired: &Desired) -> Self {
        Self::start_behind(&lan.enter(name), desired)
    }

    /// With words before the command line of the keeper.
    pub(crate) fn start_behind(words: &[String], desired: &Desired) -> Self {
        let stage = Stage::behind(words, Pace::Quick);
        let worker = stage.worker();
        stage.desire(&worker, desired);
        worker.say(&ToKeeper::Ready);
        Self { stage, worker }
    }

    pub(crate) fn await_role(&self, role: Role) -> StandbyNews {
        self.stage.await_standby(&self.worker, |news| {
            news.vips.first().is_some_and(|vip| vip.view.role == role)
        })
    }

    pub(crate) fn await_vip(&self, is_right: impl Fn(&VipNews) -> bool) -> VipNews {
        let is_right = |news: &StandbyNews| news.vips.first().is_some_and(&is_right);
        self.stage.await_standby(&self.worker, is_right).vips.remove(0)
    }
}

fn claimed_and_given_up() {
    let Some(lan) = Lan::new(&["a", "c"]) else { return };
    let node = Node::start(&lan, "a", &wish(&[]));
    let news = node.await_role(Role::Master);
    assert_eq!(news.vips[0].addresses, [(format!("{ADDRESS}/24"), true)]);
    assert_eq!(news.problems, Vec::<String>::new());
    assert!(lan.has("a", ADDRESS));
    assert!(lan.ping("c", ADDRESS), "it answers");
    assert_eq!(lan.neighbour("c", ADDRESS), Some(lan.mac("a")));
    node.stage.signal(Signal::Terminate);
    while !matches!(node.stage.next(&node.worker).0, ToWorker::Stop { .. }) {}
    assert!(!lan.has("a", ADDRESS), "while everything still serves");
    node.worker.say(&ToKeeper::Drained);
    node.worker.exit(0);
    let (status, stderr) = node.stage.end();
    assert!(status.success(), "{stderr}");
}

fn the_other_follows() {
    let Some(lan) = Lan::new(&["a", "b", "c"]) else { return };
    let first = Node::start(&lan, "a", &wish(&[]));
    first.await_role(Role::Master);
    let second = Node::start(&lan, "b", &wish(&[]));
    second.await_vip(|vip| vip.counts.heard > 3);
    second.await_role(Role::Backup);
    assert!(lan.has("a", ADDRESS) && !lan.has("b", ADDRESS));
    // Another box has been told whom to ask.
    assert!(lan.ping("c", ADDRESS));
    assert_eq!(lan.neighbour("c", ADDRESS), Some(lan.mac("a")));
    let killed_at = clock::unix_millis();
    first.stage.signal(Signal::Kill);
    let taken_at = second.await_role(Role::Master).vips[0].view.since_ms;
    println!("taken over after {} ms", taken_at.saturating_sub(killed_at));
    assert!(lan.has("b", ADDRESS));
    let mut stage = second.stage;
    stage.await_true(|_| (lan.neighbour("c", ADDRESS) == Some(lan.mac("b"))).then_some(()));
}

fn put_back() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let node = Node::start(&lan, "a", &wish(&[]));
    node.await_role(Role::Master);
    // Not flushed: that looks again, and a keeper that is in haste is quicker than its next look.
    lan.ip("a", &["address", "delete", &format!("{ADDRESS}/32"), "dev", "eth0"]);
    let vip = node.await_vip(|vip| vip.counts.put_back > 0);
    assert!(lan.has("a", ADDRESS));
    assert_eq!(vip.view.role, Role::Master);
    let event = node.stage.await_event_of(&node.worker, "vip_put_back");
    assert_eq!(event.subject, "vip.web");
}

fn cable_pulled() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let first = Node::start(&lan, "a", &wish(&[]));
    first.await_role(Role::Master);
    let second = Node::start(&lan, "b", &wish(&[]));
    second.await_vip(|vip| vip.counts.heard > 3);
    lan.plug("a", false);
    let news = first.await_role(Role::Fault);
    assert_eq!(news.problems, ["vip.web: interface eth0 has no carrier"]);
    assert!(!lan.has("a", ADDRESS));
    second.await_role(Role::Master);
    lan.plug("a", true);
    let news = first.await_role(Role::Backup);
    assert_eq!(news.problems, Vec::<String>::new());
    second.await_role(Role::Master);
}
