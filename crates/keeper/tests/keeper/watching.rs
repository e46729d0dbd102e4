//! A keeper with a virtual address that is killed, stopped, or becomes another binary.

use std::fs;
use std::time::Duration;

use evergate_control::link::{Desired, ToKeeper, ToWorker};
use evergate_core::track::{Effect, Rule, Subject};
use evergate_core::vrrp::Role;
use evergate_sys::signal::{self, Signal};
use evergate_sys::{clock, process};

use crate::ear::{self, Ear};
use crate::execs;
use crate::handover::{self, Step};
use crate::lan::Lan;
use crate::stage::{Stage, Worker, lives};
use crate::standby::{ADDRESS, Node, wish};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_keeper_that_is_killed_is_spoken_for", a_killed_keeper),
    ("a_keeper_that_is_stopped_loses_its_address_and_yields", a_stopped_keeper),
    ("a_keeper_that_was_stopped_and_has_no_rival_has_its_address_back", a_stopped_keeper_alone),
    ("a_watcher_that_dies_is_replaced", a_watcher_that_dies),
    ("what_everybody_left_behind_is_removed_by_the_next_keeper", left_behind),
    ("an_exec_of_the_keeper_moves_nothing", execs_move_nothing),
    ("workers_that_are_killed_and_replaced_move_nothing", workers_move_nothing),
    ("hooks_are_called_for_every_turn_and_for_the_last_one_too", hooks_are_called),
    ("hooks_are_told_anew_after_a_keeper_was_killed", hooks_are_told_anew),
    ("a_node_whose_worker_does_not_come_back_gives_its_address_up", no_worker),
];

/// So slow that whoever takes over for having heard nothing is told from who was told to.
const SLOW: Duration = Duration::from_millis(1500);

/// One virtual address, its adverts this far apart.
fn every(interval: Duration) -> Desired {
    let mut wish = wish(&[]);
    wish.standby.plan.routers[0].policy.interval = interval;
    wish
}

/// A master and a backup.
fn pair(lan: &Lan, desired: &Desired) -> (Node, Node) {
    let first = Node::start(lan, "a", desired);
    first.await_role(Role::Master);
    let second = Node::start(lan, "b", desired);
    second.await_vip(|vip| vip.counts.heard > 0);
    second.await_role(Role::Backup);
    (first, second)
}

/// The watchers of a keeper.
fn watchers(stage: &Stage) -> Vec<u32> {
    let all = process::all(usize::MAX).unwrap();
    let is_one = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "evergate-watch" && lives(*pid)
    };
    let own = all.iter().filter(|kin| kin.parent == stage.keeper_pid());
    own.map(|kin| kin.known.pid).filter(is_one).collect()
}

pub(crate) fn await_watcher(stage: &mut Stage) -> u32 {
    stage.await_true(|stage| watchers(stage).first().copied())
}

fn a_killed_keeper() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let (mut first, second) = pair(&lan, &every(SLOW));
    let watcher = await_watcher(&mut first.stage);
    let ear = Ear::new(&lan, "b");
    let killed = clock::now();
    first.stage.signal(Signal::Kill);
    second.await_role(Role::Master);
    let taken = clock::now() - killed;
    assert!(!lan.has("a", ADDRESS) && lan.has("b", ADDRESS));
    first.stage.await_true(|_| (!lives(watcher)).then_some(()));
    let heard = ear.end();
    let said = heard.iter().find(|(_, priority)| *priority == 0).unwrap().0 - killed;
    let stderr = first.stage.stderr();
    println!("priority 0 after {said:.1?}, the next master told after {taken:.1?}");
    assert!(stderr.contains("the watcher said so in its place (1 packets"), "{stderr}");
}

fn a_stopped_keeper() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let (mut first, second) = pair(&lan, &every(Duration::from_millis(100)));
    await_watcher(&mut first.stage);
    let ear = Ear::new(&lan, "b");
    first.stage.signal(Signal::Stop);
    second.await_role(Role::Master);
    first.stage.await_true(|_| (!lan.has("a", ADDRESS)).then_some(()));
    first.stage.signal(Signal::Continue);
    first.await_role(Role::Backup);
    assert!(!lan.has("a", ADDRESS) && lan.has("b", ADDRESS));
    let heard = ear.end();
    let stderr = first.stage.stderr();
    assert!(stderr.contains("the keeper has made no progress for"), "{stderr}");
    assert!(!stderr.contains("the watcher said so"), "{stderr}");
    assert!(!heard.is_empty());
    drop(second);
}

fn a_stopped_keeper_alone() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let mut node = Node::start(&lan, "a", &every(Duration::from_millis(100)));
    node.await_role(Role::Master);
    await_watcher(&mut node.stage);
    node.stage.signal(Signal::Stop);
    node.stage.await_true(|_| (!lan.has("a", ADDRESS)).then_some(()));
    node.stage.signal(Signal::Continue);
    node.stage.await_true(|_| lan.has("a", ADDRESS).then_some(()));
    let vip = node.await_vip(|vip| vip.counts.put_back > 0);
    assert_eq!(vip.view.role, Role::Master);
}

fn a_watcher_that_dies() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let (mut first, second) = pair(&lan, &every(SLOW));
    let before = await_watcher(&mut first.stage);
    signal::send(before, Signal::Kill).unwrap();
    let told = first.stage.await_event_of(&first.worker, "watcher_lost");
    assert!(told.reason.contains("signal 9 (KILL)"), "{told:?}");
    let is_new = |stage: &mut Stage| watchers(stage).first().copied().filter(|&pid| pid != before);
    first.stage.await_true(is_new);
    assert!(lan.has("a", ADDRESS));
    // It does what the one before would have done.
    first.stage.signal(Signal::Kill);
    second.await_role(Role::Master);
    assert!(!lan.has("a", ADDRESS));
}

fn left_behind() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let mut node = Node::start(&lan, "a", &every(Duration::from_millis(100)));
    node.await_role(Role::Master);
    let watcher = await_watcher(&mut node.stage);
    // A keeper that is stopped does not start another.
    node.stage.signal(Signal::Stop);
    signal::send(watcher, Signal::Kill).unwrap();
    node.stage.signal(Signal::Kill);
    node.stage.await_end();
    assert!(lan.has("a", ADDRESS), "nobody is left to remove it");
    let fails = Rule {
        subject: Subject::Link("no-such-link".into()),
        effect: Effect::Fault,
        fall: Duration::ZERO,
        rise: Duration::ZERO,
    };
    let next = Node::start(&lan, "a", &wish(&[fails]));
    let told = next.stage.await_event_of(&next.worker, "vip_left_over");
    assert!(told.reason.contains(ADDRESS), "{told:?}");
    assert!(!lan.has("a", ADDRESS));
}

fn execs_move_nothing() {
    const EXECS: usize = 10;
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let interval = Duration::from_millis(100);
    let (mut first, second) = pair(&lan, &every(interval));
    await_watcher(&mut first.stage);
    let images = ["one", "two"].map(|line| execs::binary(&first.stage, line));
    let broken = [("hang", "did not go on within"), ("crash", "crashed: signal 11")];
    let broken = broken.map(|(line, why)| (execs::binary(&first.stage, line), why));
    let turns = [&first, &second].map(|node| node.await_vip(|_| true).view.turns);
    let ear = Ear::new(&lan, "b");
    for (number, image) in images.iter().cycle().take(EXECS).enumerate() {
        execs::become_binary(&first.stage, &first.worker, image);
        // Every fifth is broken or hangs.
        if number % 5 == 4 {
            let (image, why) = &broken[number / 5 % broken.len()];
            execs::order(&first.stage, &first.worker, image);
            execs::await_said(&mut first.stage, why, 1);
        }
    }
    // The watcher is one of the last image's in the end, and there is one.
    let is_one = |stage: &mut Stage| watchers(stage).len() == 1;
    first.stage.await_true(|stage| is_one(stage).then_some(()));
    let heard = ear.end();
    let gap = ear::longest_gap(&heard);
    println!("{} adverts, {interval:?} apart, {gap:.1?} at the most", heard.len());
    assert!(heard.iter().all(|(_, priority)| *priority == 254), "nobody else, and no farewell");
    for (node, turns) in [&first, &second].into_iter().zip(turns) {
        assert_eq!(node.await_vip(|_| true).view.turns, turns, "no turn");
    }
    first.await_role(Role::Master);
    assert!(lan.has("a", ADDRESS) && !lan.has("b", ADDRESS));
    let stderr = first.stage.stderr();
    assert!(!stderr.contains("the watcher"), "{stderr}");
    // And the watcher still knows what to do.
    first.stage.signal(Signal::Kill);
    second.await_role(Role::Master);
    assert!(!lan.has("a", ADDRESS));
}

fn workers_move_nothing() {
    const ROUNDS: u32 = 4;
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let mut desired = every(Duration::from_millis(100));
    desired.listeners = handover::web().listeners;
    let (mut first, second) = pair(&lan, &desired);
    let turns = [&first, &second].map(|node| node.await_vip(|_| true).view.turns);
    let ear = Ear::new(&lan, "b");
    for _ in 0..ROUNDS {
        first.worker.crash();
        first.worker = first.stage.worker();
        first.stage.desire(&first.worker, &desired);
        first.worker.say(&ToKeeper::Ready);
        first.worker = replaced(&first.stage, &first.worker, &desired);
        let heard = second.await_vip(|_| true).counts.heard;
        second.await_vip(|vip| vip.counts.heard >= heard + 3);
    }
    first.await_role(Role::Master);
    let heard = ear.end();
    println!("{} adverts, {:.1?} apart at the most", heard.len(), ear::longest_gap(&heard));
    assert!(heard.iter().all(|(_, priority)| *priority == 254), "nobody else, and no farewell");
    for (node, turns) in [&first, &second].into_iter().zip(turns) {
        assert_eq!(node.await_vip(|_| true).view.turns, turns, "no turn");
    }
    assert!(lan.has("a", ADDRESS) && !lan.has("b", ADDRESS));
}

/// The worker that takes the place of `old`.
fn replaced(stage: &Stage, old: &Worker, desired: &Desired) -> Worker {
    let new = handover::begin(stage, old, &handover::order(0));
    handover::advance(stage, old, &new, desired, Step::Soaking);
    handover::hear_order(stage, old, &ToWorker::Finish);
    old.say(&ToKeeper::Drained);
    old.exit(0);
    handover::hear_order(stage, &new, &ToWorker::Gone { generation: old.generation });
    new
}

/// A file, and a hook that writes to it what it is told.
struct Told(tempfile::TempDir);

impl Told {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn wish(&self) -> Desired {
        let file = self.0.path().join("told");
        let script = "echo \"$EVERGATE_SEQUENCE $EVERGATE_VIP $EVERGATE_ROLE\" >> \"$1\"";
        let hook = ["/bin/sh", "-c", script, "hook", file.to_str().unwrap()].map(str::to_owned);
        let mut desired = every(Duration::from_millis(100));
        desired.standby.vips[0].hooks = vec![hook.to_vec()];
        desired
    }

    /// The number of each turn, and the role; whole lines only.
    fn read(&self) -> Vec<(u64, String)> {
        let text = fs::read_to_string(self.0.path().join("told")).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let turn = |line: &str| {
            let (number, role) = line.split_once(" web ").unwrap();
            (number.parse().unwrap(), role.to_owned())
        };
        lines.map(turn).collect()
    }

    /// Waits until these roles were told, in this order.
    fn await_roles(&self, stage: &mut Stage, expected: &[&str]) {
        let is_told = || self.read().iter().map(|(_, role)| role).eq(expected);
        stage.await_true(|_| is_told().then_some(()));
        assert!(self.read().is_sorted_by(|one, next| one.0 < next.0), "{:?}", self.read());
    }
}

fn hooks_are_called() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let told = Told::new();
    let mut node = Node::start(&lan, "a", &told.wish());
    node.await_role(Role::Master);
    told.await_roles(&mut node.stage, &["init", "backup", "master"]);
    let image = execs::binary(&node.stage, "next");
    execs::become_binary(&node.stage, &node.worker, &image);
    node.stage.signal(Signal::Terminate);
    while !matches!(node.stage.next(&node.worker).0, ToWorker::Stop { .. }) {}
    node.worker.say(&ToKeeper::Drained);
    node.worker.exit(0);
    assert!(node.stage.await_end().success());
    told.await_roles(&mut node.stage, &["init", "backup", "master", "init"]);
}

/// Whatever the one before was killed in the midst of telling.
fn hooks_are_told_anew() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let told = Told::new();
    let mut node = Node::start(&lan, "a", &told.wish());
    node.await_role(Role::Master);
    told.await_roles(&mut node.stage, &["init", "backup", "master"]);
    node.stage.signal(Signal::Kill);
    node.stage.await_end();
    let mut next = Node::start(&lan, "a", &told.wish());
    let all = ["init", "backup", "master", "init", "backup", "master"];
    told.await_roles(&mut next.stage, &all);
}

fn no_worker() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let desired = every(Duration::from_millis(100));
    let (first, second) = pair(&lan, &desired);
    first.worker.crash();
    // Nobody greets the keeper as the next one: it does not become ready.
    second.await_role(Role::Master);
    assert!(lan.has("b", ADDRESS));
    let next = first.stage.worker();
    let news = first.stage.await_standby(&next, |news| {
        news.vips.first().is_some_and(|vip| vip.view.role != Role::Master)
    });
    assert!(news.vips[0].view.reason.contains("worker"), "{news:?}");
}
