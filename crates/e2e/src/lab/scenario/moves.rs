//! Planned moves, and changes of a node that must not become one.

use std::time::Duration;

use serde_json::json;

use super::super::evergate::PREEMPT_DELAY;
use super::super::lasting::Lasting;
use super::super::pause;
use super::super::product::{Contender, Wish};
use super::{Bound, Play, Scenario};
use crate::Binaries;
use crate::upgrade::Order;

const TWO: Wish = Wish::PAIR;
pub(super) const MOVED: Scenario = Scenario {
    name: "failover",
    about: "the operator moves the address",
    bound: Bound::Lossless,
    wish: TWO,
    is_for_all: true,
    runs: 10,
    play: failover,
};

pub(super) const ALL: &[Scenario] = &[
    MOVED,
    Scenario {
        name: "failback",
        about: "the better node starts again and takes the address back",
        wish: Wish { preempts: true, ..TWO },
        play: failback,
        ..MOVED
    },
    Scenario {
        name: "link-back",
        about: "the better node's cable is put back, and it takes the address back",
        wish: Wish { preempts: true, ..TWO },
        play: link_back,
        ..MOVED
    },
    Scenario { name: "stop", about: "the master is stopped in order", play: stop, ..MOVED },
    Scenario {
        name: "maintenance",
        about: "the master is put into maintenance, and out of it",
        is_for_all: false,
        play: maintenance,
        ..MOVED
    },
    Scenario {
        name: "long-lived",
        about: "the address moves under a download, an upload and a WebSocket of 3 s",
        wish: Wish { has_app: true, ..TWO },
        is_for_all: false,
        runs: 3,
        play: long_lived,
        ..MOVED
    },
    Scenario {
        name: "back-and-forth",
        about: "the operator moves the address ten times, each time when the move before is over",
        is_for_all: false,
        runs: 1,
        play: back_and_forth,
        ..MOVED
    },
    Scenario {
        name: "reload",
        about: "the configuration of both is changed and loaded 50 times, that of the address too",
        is_for_all: false,
        play: reload,
        ..MOVED
    },
    Scenario {
        name: "upgrade-worker",
        about: "the worker is replaced, on the master and then on the backup",
        is_for_all: false,
        runs: 5,
        play: upgrade_workers,
        ..MOVED
    },
    Scenario {
        name: "upgrade-keeper",
        about: "the keeper is replaced, on the master and then on the backup",
        is_for_all: false,
        runs: 5,
        play: upgrade_keepers,
        ..MOVED
    },
];

/// How long another worker is watched before the one before it goes.
const SOAK: Duration = Duration::from_millis(500);

fn failover(play: &mut Play) {
    play.begin();
    play.stage.nodes[0].product.give_up();
    play.wait_for_move();
    play.wait_for_owner(1);
}

fn failback(play: &mut Play) {
    play.stage.nodes[0].product.begin_stop();
    play.wait_for_owner(1);
    play.stage.nodes[0].product.stop();
    play.begin();
    play.stage.nodes[0].product.start();
    play.wait_for_move();
    play.wait_for_owner(0);
    expect_delay(play);
}

fn link_back(play: &mut Play) {
    play.stage.network.cable(0, false);
    play.wait_for_owner(1);
    play.begin();
    play.stage.network.cable(0, true);
    play.wait_for_move();
    play.wait_for_owner(0);
    expect_delay(play);
}

/// Expects that Evergate was well for as long as it is to be before it took the address back.
fn expect_delay(play: &mut Play) {
    let taken = play.event.map(|event| event.elapsed()).unwrap_or_default();
    if play.contender == Contender::Evergate {
        play.expect(taken >= PREEMPT_DELAY, || format!("it took the address after {taken:?}"));
    }
}

fn stop(play: &mut Play) {
    play.begin();
    play.stage.nodes[0].product.begin_stop();
    play.wait_for_move();
    play.wait_for_owner(1);
    // Whatever it still had to pass on.
    play.stage.nodes[0].product.stop();
    pause(Duration::from_millis(200));
}

fn maintenance(play: &mut Play) {
    play.begin();
    for (is_on, owner) in [(true, 1), (false, 1)] {
        let taken = play.stage.evergate(0).order("/api/v1/maintenance", json!({ "on": is_on }));
        if let Err(why) = taken {
            play.problems.push(why);
        }
        play.wait_for_owner(owner);
    }
    // The other one leaves as well: somebody who is back from maintenance takes over.
    pause(Duration::from_millis(500));
    play.stage.nodes[1].product.give_up();
    play.wait_for_owner(0);
    pause(Duration::from_millis(500));
}

fn long_lived(play: &mut Play) {
    play.start_probe();
    let lasting = Lasting::begin(&play.stage.network.client);
    play.mark();
    play.stage.nodes[0].product.give_up();
    play.wait_for_move();
    let old = play.stage.nodes[0].letter;
    let broken = lasting.end(old);
    play.late.extend(broken);
    // Nothing of it is left once they have ended.
    play.wait_for_owner(1);
    play.wait_until("the move is over on both nodes", |stage| {
        (0..2).all(|node| stage.evergate(node).events("vip_move_over") >= 1)
    });
}

fn back_and_forth(play: &mut Play) {
    play.begin();
    for round in 0..10 {
        let (old, new) = (round % 2, 1 - round % 2);
        play.stage.nodes[old].product.give_up();
        play.wait_for_owner(new);
        let moves = round + 1;
        // Until then, packets of connections from before are passed on.
        play.wait_until("a move is over on both nodes", |stage| {
            (0..2).all(|node| stage.evergate(node).events("vip_move_over") >= moves)
        });
    }
    let failed = [0, 1].map(|node| play.stage.evergate(node).events("vip_move_failed"));
    play.expect_in_time(failed == [0, 0], || {
        format!("{failed:?} moves were made without the other node")
    });
}

fn reload(play: &mut Play) {
    let before = turns(play);
    play.begin();
    for round in 0..play.count(5, 50) {
        for node in [0, 1] {
            let node = play.stage.evergate(node);
            // A route comes and goes, and so does something of the virtual address itself.
            let more = match round % 2 {
                0 => {
                    "announce = { repeat = 4 }\non_change_timeout = \"5s\"\n\n\
                      [route.more]\nmatch = \"/more\"\nrespond = {}\n"
                }
                _ => "",
            };
            let (status, answer) = node.node().reload(&node.config_with(more));
            play.expect(status == 200, || format!("reload {round} answered {status}: {answer}"));
        }
    }
    pause(Duration::from_millis(300));
    stays(play, before);
}

fn upgrade_workers(play: &mut Play) {
    upgrade(play, Order::worker);
}

fn upgrade_keepers(play: &mut Play) {
    upgrade(play, Order::keeper);
}

fn upgrade(play: &mut Play, part: fn(Order) -> Order) {
    let binaries = Binaries::new();
    let before = turns(play);
    play.begin();
    for node in [0, 1] {
        let order = part(Order::to(&binaries.good())).soak(SOAK);
        let upgrade = play.stage.evergate(node).node().upgrade_in_time(&order);
        play.expect(upgrade["outcome"] == "done", || format!("the upgrade ended so: {upgrade}"));
    }
    pause(Duration::from_millis(500));
    stays(play, before);
}

/// Changes of role of both nodes.
pub(super) fn turns(play: &mut Play) -> Vec<u64> {
    let nodes = 0..play.stage.nodes.len();
    nodes.map(|node| play.stage.evergate(node).turns()).collect()
}

/// Expects that no role has changed since, and the first node has the address.
pub(super) fn stays(play: &mut Play, before: Vec<u64>) {
    let now = turns(play);
    play.expect_in_time(now == before, || format!("roles have changed: {before:?}, then {now:?}"));
    let owners = play.stage.network.holders();
    play.expect_in_time(owners == [0], || format!("nodes {owners:?} have the address"));
    debug_assert_eq!(play.contender, Contender::Evergate);
}
