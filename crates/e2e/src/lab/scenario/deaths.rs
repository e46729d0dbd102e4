//! Processes that end or hang.

use std::time::Duration;

use super::super::process::{Process, kill_all};
use super::super::product::{Contender, Wish};
use super::super::{fault, pause};
use super::moves::{stays, turns};
use super::{Bound, Play, Scenario};

const TWO: Wish = Wish::PAIR;
pub(super) const KILLED: Scenario = Scenario {
    name: "killed",
    about: "SIGKILL of everything but the watcher",
    bound: Bound::Gap(30, 60),
    wish: TWO,
    is_for_all: true,
    runs: 10,
    play: killed,
};

pub(super) const ALL: &[Scenario] = &[
    KILLED,
    Scenario {
        name: "killed-all",
        about: "SIGKILL of everything",
        bound: Bound::Gap(120, 180),
        play: killed_all,
        ..KILLED
    },
    Scenario {
        name: "keeper-killed",
        about: "SIGKILL of whoever holds the election; what serves lives on",
        bound: Bound::Gap(30, 60),
        play: keeper_killed,
        ..KILLED
    },
    Scenario {
        name: "frozen",
        about: "the host hangs: SIGSTOP of everything",
        bound: Bound::Gap(120, 180),
        play: frozen,
        ..KILLED
    },
    Scenario {
        name: "backend-dead",
        about: "what answers dies and cannot be brought back",
        bound: Bound::Gap(100, 150),
        wish: Wish { has_app: true, ..TWO },
        play: backend_dead,
        ..KILLED
    },
    Scenario {
        name: "worker-killed",
        about: "SIGKILL of the worker alone: the address stays",
        bound: Bound::Silence(300),
        is_for_all: false,
        runs: 5,
        play: worker_killed,
        ..KILLED
    },
];

fn killed(play: &mut Play) {
    play.start_probe();
    let victims = play.stage.nodes[0].victims(false);
    play.mark();
    kill_all(&victims);
    play.wait_for_move();
    play.wait_until("the killed node's address is removed", |stage| {
        // Nothing of keepalived is left to do that.
        stage.nodes[0].product.evergate().is_none() || !stage.nodes[0].place.holds()
    });
    expect_told(play, 1);
}

/// Expects that a node of Evergate took over because it was told to: one that has missed adverts
/// would have done so as well, but later.
pub(super) fn expect_told(play: &mut Play, node: usize) {
    if play.contender == Contender::Evergate {
        let reason = play.stage.evergate(node).vip()["reason"].to_string();
        let is_told = reason.contains("has given the addresses up");
        play.expect_in_time(is_told, || format!("node {node} took over since {reason}"));
    }
}

fn killed_all(play: &mut Play) {
    play.start_probe();
    let victims = play.stage.nodes[0].victims(true);
    play.mark();
    kill_all(&victims);
    play.wait_for_move();
    if play.contender != Contender::Evergate {
        return;
    }
    let holders = play.stage.network.holders();
    play.expect(holders == [0, 1], || format!("nodes {holders:?} have the address, not both"));
    // What was left behind goes when the node starts again.
    play.stage.nodes[0].product.start();
    play.wait_for_owner(1);
}

fn keeper_killed(play: &mut Play) {
    play.start_probe();
    let victims = play.stage.nodes[0].victims(false);
    let victims: Vec<Process> = victims.into_iter().filter(is_election).collect();
    play.expect(!victims.is_empty(), || "there is no process with the election".to_owned());
    play.mark();
    kill_all(&victims);
    play.wait_for_move();
    expect_told(play, 1);
}

/// Whether a process is keepalived, or the keeper of Evergate.
fn is_election(process: &Process) -> bool {
    let mut words = process.command.split(' ');
    let program = words.next().unwrap_or_default();
    program.ends_with("keepalived") || words.next() == Some("run")
}

fn frozen(play: &mut Play) {
    play.start_probe();
    let victims = play.stage.nodes[0].victims(true);
    play.mark();
    fault::freeze(&victims);
    play.wait_for_move();
    fault::thaw(&victims);
    pause(Duration::from_millis(500));
    play.wait_until("one node has the address after the thaw", |stage| {
        stage.network.holders().len() == 1
    });
}

fn backend_dead(play: &mut Play) {
    play.begin();
    play.stage.nodes[0].product.lose_backend();
    play.wait_for_move();
    play.wait_for_owner(1);
    expect_told(play, 1);
}

fn worker_killed(play: &mut Play) {
    let before = turns(play);
    play.begin();
    kill_worker(play);
    pause(Duration::from_millis(500));
    stays(play, before);
}

/// Kills the first node's worker, and waits for another one that serves.
pub(super) fn kill_worker(play: &mut Play) {
    let processes = play.stage.nodes[0].place.processes();
    let workers: Vec<Process> =
        processes.into_iter().filter(|it| it.command.split(' ').nth(1) == Some("worker")).collect();
    play.expect(!workers.is_empty(), || "the node has no worker".to_owned());
    kill_all(&workers);
    let ended = workers.clone();
    play.wait_until("another worker is there", move |stage| {
        let processes = stage.nodes[0].place.processes();
        processes.iter().any(|process| {
            let is_worker = process.command.split(' ').nth(1) == Some("worker");
            is_worker && ended.iter().all(|worker| worker.pid != process.pid)
        })
    });
    play.wait_until("the node answers again", |stage| {
        stage.evergate(0).node().admin_api().call("GET", "/api/v1/status", "").is_ok()
    });
}
