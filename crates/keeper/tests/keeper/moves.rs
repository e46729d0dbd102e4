//! Virtual addresses that move: as an operator wants it, and because something that is tracked fails.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evergate_control::link::{Desired, Key, StandbyNews, ToKeeper, ToWorker, WorkerState};
use evergate_core::peer::{self, Health};
use evergate_core::standby::Order;
use evergate_core::supervise::worker::{FAILURES_HELPLESS, STARTS_HELPLESS};
use evergate_core::track::{Effect, Rule, Subject};
use evergate_core::vrrp::Role;
use evergate_sys::clock;
use evergate_sys::signal::{self, Signal};

use crate::handover::states;
use crate::lan::Lan;
use crate::stage::{PATIENCE, all_ready, app, listener};
use crate::standby::{ADDRESS, Node, wish};
use crate::watching;

pub(crate) const TESTS: &[crate::Test] = &[
    ("an_operator_moves_an_address", an_operator_moves_an_address),
    ("a_box_in_maintenance_claims_nothing", maintenance),
    ("a_dead_app_moves_the_address_at_once", a_dead_app),
    ("an_app_that_is_back_soon_moves_nothing", an_app_that_is_back_soon),
    ("a_pool_without_a_server_moves_the_address", a_pool_without_a_server),
    ("a_worker_that_crashes_moves_nothing", a_worker_that_crashes),
    ("a_worker_that_fails_to_start_twice_moves_the_address", a_worker_that_fails_to_start),
    ("peers_are_heard_beside_adverts", peers_are_heard),
    ("a_move_that_its_keeper_does_not_survive_leaves_nothing_behind", a_move_is_cut_short),
    ("what_a_move_has_left_is_undone_by_the_next_keeper", a_move_is_cut_short_for_all),
    ("adverts_do_not_wait_for_apps_to_start", many_apps_start),
];

fn fault(subject: Subject) -> Rule {
    let (fall, rise) = (Duration::ZERO, Duration::from_millis(100));
    Rule { subject, effect: Effect::Fault, fall, rise }
}

/// A master and a backup that hears it.
fn pair(lan: &Lan, desired: &Desired) -> (Node, Node) {
    let first = Node::start(lan, "a", desired);
    first.await_role(Role::Master);
    let second = Node::start(lan, "b", desired);
    second.await_vip(|vip| vip.view.role == Role::Backup && vip.view.master.is_some());
    (first, second)
}

fn order(node: &Node, order: Order) -> Result<Vec<String>, String> {
    node.worker.say(&ToKeeper::Standby { request: 9, order });
    loop {
        if let (ToWorker::Heard { request: 9, error, plan }, _) = node.stage.next(&node.worker) {
            return error.map_or(Ok(plan), Err);
        }
    }
}

fn an_operator_moves_an_address() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let (first, second) = pair(&lan, &wish(&[]));
    let refused = order(&second, Order::Failover { vip: None });
    assert_eq!(
        refused,
        Err("no virtual address is on this node: ask the one that has it".to_owned())
    );
    let steps = order(&first, Order::Failover { vip: Some("web".into()) }).unwrap();
    assert!(steps[0].starts_with("vip.web: "), "{steps:?}");
    second.await_role(Role::Master);
    first.await_role(Role::Backup);
    assert!(lan.has("b", ADDRESS) && !lan.has("a", ADDRESS));
    // And back again.
    order(&second, Order::Failover { vip: None }).unwrap();
    first.await_role(Role::Master);
    second.await_role(Role::Backup);
    assert!(lan.has("a", ADDRESS) && !lan.has("b", ADDRESS));
}

fn maintenance() {
    let Some(lan) = Lan::new(&["a"]) else { return };
    let run_dir = tempfile::tempdir().unwrap();
    let run_dir = Some(run_dir.path().to_str().unwrap().to_owned());
    let desired = Desired { run_dir, ..wish(&[]) };
    let node = Node::start(&lan, "a", &desired);
    node.await_role(Role::Master);
    order(&node, Order::Maintenance { is_on: true }).unwrap();
    node.stage.await_standby(&node.worker, |news| news.is_in_maintenance);
    let mut node = node;
    node.stage.await_true(|_| (!lan.has("a", ADDRESS)).then_some(()));
    node.await_role(Role::Init);
    // Another keeper knows it too.
    drop(node);
    let node = Node::start(&lan, "a", &desired);
    let news = node.stage.await_standby(&node.worker, |news| !news.vips.is_empty());
    assert!(news.is_in_maintenance, "{news:?}");
    order(&node, Order::Maintenance { is_on: false }).unwrap();
    node.await_role(Role::Master);
    drop(node);
    let node = Node::start(&lan, "a", &desired);
    assert!(!node.await_role(Role::Master).is_in_maintenance);
}

/// With an app that must be ready, and is.
fn with_app(lan: &Lan) -> (Node, Node, u32) {
    let mut desired = wish(&[fault(Subject::App("shop".into()))]);
    desired.apps = vec![app("shop", &["sleep", "1000"], 1)];
    let (first, second) = pair(lan, &desired);
    let instances = first.stage.desire(&first.worker, &desired).instances;
    assert!(all_ready(&instances), "the address waits for it");
    let pid = instances[0].pid.unwrap();
    (first, second, pid)
}

fn a_dead_app() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let (first, second, pid) = with_app(&lan);
    let killed_at = clock::unix_millis();
    // It was not ready for long, so the next start waits.
    signal::send(pid, Signal::Kill).unwrap();
    let taken_at = second.await_role(Role::Master).vips[0].view.since_ms;
    println!("taken over after {} ms", taken_at - killed_at);
    let vip = first.await_vip(|vip| vip.view.role == Role::Fault);
    assert!(vip.view.reason.contains("app.shop"), "{}", vip.view.reason);
    assert!(!lan.has("a", ADDRESS) && lan.has("b", ADDRESS));
    // It comes back, and the address stays where it is.
    first.stage.observe(&first.worker, all_ready);
    first.await_role(Role::Backup);
    second.await_role(Role::Master);
}

fn an_app_that_is_back_soon() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let mut desired = wish(&[fault(Subject::App("shop".into()))]);
    let mut shop = app("shop", &["sleep", "1000"], 2);
    // The next start follows at once.
    shop.backoff.stable_after_ms = 0;
    desired.apps = vec![shop];
    let (first, _second) = pair(&lan, &desired);
    let instances = first.stage.desire(&first.worker, &desired).instances;
    assert!(all_ready(&instances));
    let before = first.await_vip(|_| true).view.turns;
    for instance in instances {
        // One at a time: the other serves.
        signal::send(instance.pid.unwrap(), Signal::Kill).unwrap();
        let is_back = |all: &[_]| all.len() == 2 && all_ready(all);
        first.stage.observe(&first.worker, |all| !all_ready(all));
        first.stage.observe(&first.worker, is_back);
    }
    assert_eq!(first.await_vip(|_| true).view.turns, before);
    assert!(lan.has("a", ADDRESS));
}

fn a_pool_without_a_server() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let subject = Subject::Pool("api".into());
    let mut desired = wish(&[fault(subject.clone()), fault(Subject::Listener("web".into()))]);
    desired.listeners = vec![listener("web", "0.0.0.0:8080", 1)];
    let judge = |node: &Node, failure: Option<&str>| {
        let (subject, failure) = (subject.clone(), failure.map(str::to_owned));
        node.worker.say(&ToKeeper::Verdict { subject, failure });
    };
    let first = Node::start(&lan, "a", &desired);
    first.await_vip(|vip| vip.view.reason.contains("waits to hear of pool.api"));
    judge(&first, None);
    first.await_role(Role::Master);
    let second = Node::start(&lan, "b", &desired);
    judge(&second, None);
    second.await_role(Role::Backup);
    judge(&first, Some("no server is up"));
    second.await_role(Role::Master);
    let vip = first.await_vip(|vip| vip.view.role == Role::Fault);
    assert!(vip.view.reason.contains("no server is up"), "{}", vip.view.reason);
    let tracked = |vip: &evergate_control::link::VipNews, failure: Option<&str>| {
        vip.tracked.contains(&(subject.clone(), failure.map(str::to_owned)))
    };
    assert!(tracked(&vip, Some("no server is up")), "{vip:?}");
    // What was said stays in force when there is no worker, and for the next one.
    first.worker.crash();
    let worker = first.stage.worker();
    first.stage.desire(&worker, &desired);
    let first = Node { stage: first.stage, worker };
    assert!(tracked(&first.await_vip(|_| true), Some("no server is up")));
}

fn a_worker_that_crashes() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let (mut first, second) = pair(&lan, &wish(&[]));
    let turns = second.await_vip(|_| true).view.turns;
    // No more in a row than a node is believed to recover from.
    for _ in 0..FAILURES_HELPLESS - 1 {
        first.worker.crash();
        let worker = first.stage.worker();
        first.stage.desire(&worker, &wish(&[]));
        worker.say(&ToKeeper::Ready);
        // Or it may be killed before it has said so.
        first.stage.await_node(&worker, |node| states(node) == [WorkerState::Primary]);
        first = Node { stage: first.stage, worker };
        first.await_role(Role::Master);
    }
    let before = second.await_vip(|_| true).counts.heard;
    let after = second.await_vip(|vip| vip.counts.heard > before).view;
    assert_eq!((after.turns, after.role), (turns, Role::Backup));
    let news = first.await_role(Role::Master);
    println!("timers were {} us late at most", news.lateness_us);
    // One that keeps crashing does not serve: the other box had better.
    first.worker.crash();
    second.await_role(Role::Master);
    assert!(!lan.has("a", ADDRESS) && lan.has("b", ADDRESS));
}

fn a_worker_that_fails_to_start() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let (first, second) = pair(&lan, &wish(&[]));
    let lost_at = first.worker.crash();
    for _ in 0..STARTS_HELPLESS {
        first.stage.worker().crash();
    }
    second.await_role(Role::Master);
    println!("taken over after {:.1?}", clock::now() - lost_at);
    let worker = first.stage.worker();
    let news = first.stage.await_standby(&worker, |news| {
        news.vips.first().is_some_and(|vip| vip.view.role == Role::Fault)
    });
    let reason = &news.vips[0].view.reason;
    // On a busy machine it may be that the time was over first.
    assert!(reason.contains("failed to start 2 times") || reason.contains("ready for"), "{reason}");
    // One that starts after all makes it well again.
    first.stage.desire(&worker, &wish(&[]));
    worker.say(&ToKeeper::Ready);
    let first = Node { stage: first.stage, worker };
    first.await_role(Role::Backup);
    assert!(!lan.has("a", ADDRESS) && lan.has("b", ADDRESS));
}

/// As one of the two boxes of a pair wants it: each is the other's peer.
fn with_peer(own: &str, other: &str, address: &str) -> Desired {
    let mut desired = wish(&[]);
    let standby = &mut desired.standby;
    standby.node = own.to_owned();
    standby.plan.node = own.to_owned();
    standby.plan.peers =
        vec![peer::Setup { name: other.to_owned(), addresses: vec![address.parse().unwrap()] }];
    standby.plan.heartbeat =
        Some(peer::Policy { interval: Duration::from_millis(100), missing: 3, port: 7947 });
    standby.secret = Some(Key::new(b"told to nobody".to_vec()));
    desired
}

fn peers_are_heard() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let first = Node::start(&lan, "a", &with_peer("a", "b", "10.9.0.12"));
    first.await_role(Role::Master);
    let second = Node::start(&lan, "b", &with_peer("b", "a", "10.9.0.11"));
    let is_well = |node: &Node| {
        node.stage.await_standby(&node.worker, |news| {
            let health = news.peers.first().map(|peer| peer.health);
            let answers = |peer: &peer::View| peer.paths[0].answers_echo == Some(true);
            health == Some(Health::Alive) && news.peers.iter().all(answers)
        })
    };
    is_well(&first);
    let news = is_well(&second);
    assert_eq!(news.peers[0].claims[0].role, Role::Master, "{:?}", news.peers);
    // It moves as the two agree.
    order(&first, Order::Failover { vip: None }).unwrap();
    second.await_role(Role::Master);
    first.await_role(Role::Backup);
    let mut stage = first.stage;
    stage.await_true(|_| (lan.has("b", ADDRESS) && !lan.has("a", ADDRESS)).then_some(()));
    stage.signal(Signal::Kill);
    let dead = |news: &StandbyNews| news.peers[0].health == Health::HostDead;
    second.stage.await_standby(&second.worker, dead);
    second.await_role(Role::Master);
}

/// A planned move from `a` to `b` that goes on, because a connection stays open.
struct Moving {
    lan: Lan,
    first: Node,
    _second: Node,
    client: Child,
}

/// Answers for neighbours and asks for them like this before the move, on the interface that moves.
const MANNERS: [&str; 2] = ["0", "1"];

impl Moving {
    fn begin() -> Option<Self> {
        let lan = Lan::new(&["a", "b", "c"])?;
        lan.run("a", "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_announce");
        let listening = |own: &str, other: &str, address: &str| Desired {
            listeners: vec![listener("web", "0.0.0.0:8080", 1)],
            ..with_peer(own, other, address)
        };
        let first = Node::start(&lan, "a", &listening("a", "b", "10.9.0.12"));
        first.await_role(Role::Master);
        let second = Node::start(&lan, "b", &listening("b", "a", "10.9.0.11"));
        for (node, role) in [(&first, Role::Backup), (&second, Role::Master)] {
            let knows = |peer: &peer::View| {
                let claims = peer.claims.first().is_some_and(|claim| claim.role == role);
                peer.health == Health::Alive && peer.paths[0].hears_us && claims
            };
            node.stage.await_standby(&node.worker, |news| news.peers.iter().any(knows));
        }
        second.await_vip(|vip| vip.view.master.is_some());
        let words = lan.enter("c");
        let script = format!("exec 3<>/dev/tcp/{ADDRESS}/8080; echo connected; exec sleep 1000");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["bash", "-c", &script]).stdout(Stdio::piped());
        let mut client = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "connected\n");
        let steps = order(&first, Order::Failover { vip: None }).unwrap();
        assert!(!steps[0].contains("given up"), "{steps:?}");
        second.await_role(Role::Master);
        first.await_role(Role::Backup);
        let mut moving = Self { lan, first, _second: second, client };
        moving.await_manners(["3", "2"]);
        assert!(moving.lan.has("a", ADDRESS), "hidden, and had");
        Some(moving)
    }

    fn manners(&self) -> Vec<String> {
        let script = "cd /proc/sys/net/ipv4/conf/eth0 && cat arp_ignore arp_announce";
        self.lan.run("a", script).lines().map(str::to_owned).collect()
    }

    fn await_manners(&mut self, expected: [&str; 2]) {
        let until = clock::now() + PATIENCE;
        while self.manners() != expected {
            let news = &self.first.worker.news;
            assert!(clock::now() < until, "{:?} after {news:?}", self.manners());
        }
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

fn a_move_is_cut_short() {
    let Some(mut moving) = Moving::begin() else { return };
    moving.first.stage.signal(Signal::Kill);
    moving.await_manners(MANNERS);
    assert!(!moving.lan.has("a", ADDRESS));
}

/// As a service manager kills all that belongs to a service.
fn a_move_is_cut_short_for_all() {
    let Some(mut moving) = Moving::begin() else { return };
    let watcher = watching::await_watcher(&mut moving.first.stage);
    moving.first.stage.signal(Signal::Stop);
    signal::send(watcher, Signal::Kill).unwrap();
    moving.first.stage.signal(Signal::Kill);
    moving.first.stage.await_end();
    assert_eq!(moving.manners(), ["3", "2"], "nobody was there to undo it");
    assert!(moving.lan.has("a", ADDRESS));
    let next = Node::start(&moving.lan, "a", &with_peer("a", "b", "10.9.0.12"));
    next.await_role(Role::Backup);
    assert_eq!(moving.manners(), MANNERS);
    assert!(!moving.lan.has("a", ADDRESS));
}

fn many_apps_start() {
    let Some(lan) = Lan::new(&["a", "b"]) else { return };
    let (first, second) = pair(&lan, &wish(&[]));
    let turns = second.await_vip(|_| true).view.turns;
    let mut desired = wish(&[]);
    desired.apps = vec![app("shop", &["sleep", "1000"], 10)];
    first.stage.desire(&first.worker, &desired);
    first.stage.observe(&first.worker, |all| all.len() == 10 && all_ready(all));
    let heard = second.await_vip(|_| true).counts.heard;
    let vip = second.await_vip(|vip| vip.counts.heard > heard);
    assert_eq!((vip.view.role, vip.view.turns), (Role::Backup, turns));
    let before = first.worker.standby.borrow().lateness_us;
    let news = first.stage.await_standby(&first.worker, |news| news.lateness_us != before);
    println!("timers were {} us late at most", news.lateness_us.max(before));
}
