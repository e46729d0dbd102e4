//! Two virtual addresses, of IPv4 and IPv6, that are always on the same node.

use serde_json::json;

use super::super::evergate::{COMPANION_NAME, SYNCED, VIP_NAME};
use super::super::product::{SIDE, Wish};
use super::super::{Stage, VIP_V6};
use super::{Bound, Play, Scenario};

const GROUP: Scenario = Scenario {
    name: "sync-group",
    about: "of two addresses one loses what it needs, then the other is moved: both go, both times",
    bound: Bound::Own(150),
    wish: Wish { has_companion: true, ..Wish::PAIR },
    is_for_all: false,
    runs: 10,
    play: sync_group,
};
pub(super) const ALL: &[Scenario] = &[
    GROUP,
    Scenario {
        name: "sync-joined",
        about: "a reload joins addresses that are on different nodes: they come together",
        bound: Bound::Lossless,
        runs: 3,
        play: sync_joined,
        ..GROUP
    },
];

/// Whether both addresses are on this node and on no other.
fn at(stage: &Stage, node: usize) -> bool {
    let companions = (0..2).filter(|&index| stage.nodes[index].place.has_address(VIP_V6));
    companions.eq([node]) && stage.network.holders() == [node]
}

fn sync_joined(play: &mut Play) {
    reload(play, |config| config.replace(SYNCED, ""));
    play.wait_until("both addresses are on the first node", |stage| at(stage, 0));
    play.wait_until("the second node may have either", |stage| {
        let node = stage.evergate(1);
        node.role() == "backup" && node.role_of(COMPANION_NAME) == "backup"
    });
    let moved = play.stage.evergate(0).order("/api/v1/failover", json!({ "vip": VIP_NAME }));
    play.problems.extend(moved.err());
    play.wait_for_owner(1);
    let companion = play.stage.evergate(0).role_of(COMPANION_NAME);
    play.expect(companion == "master", || format!("{COMPANION_NAME} is {companion} here, too"));
    play.wait_until("the move is over", |stage| stage.evergate(1).role() == "master");
    play.begin();
    reload(play, str::to_owned);
    play.wait_for_move();
    play.wait_until("both addresses are on the better node", |stage| at(stage, 0));
    for (node, role) in [(0, "master"), (1, "backup")] {
        play.wait_until(&format!("node {node} is {role} of both"), |stage| {
            let node = stage.evergate(node);
            node.role() == role && node.role_of(COMPANION_NAME) == role
        });
    }
}

/// Reloads both nodes with their configuration, changed.
fn reload(play: &mut Play, change: impl Fn(&str) -> String) {
    for node in [0, 1] {
        let node = play.stage.evergate(node);
        let (status, answer) = node.node().reload(&change(&node.config()));
        play.expect(status == 200, || format!("a reload answered {status}: {answer}"));
    }
}

fn sync_group(play: &mut Play) {
    play.wait_until("both addresses are on the first node", |stage| at(stage, 0));
    play.begin();
    // Only the second address needs it.
    play.stage.nodes[0].place.ip(&format!("link set {SIDE} down"));
    play.wait_until("both addresses are on the second node", |stage| at(stage, 1));
    play.own = play.event.map(|event| event.elapsed());
    let reason = play.stage.evergate(0).vip()["reason"].to_string();
    play.expect(reason.contains("moves with"), || format!("the first node says {reason}"));
    play.stage.nodes[0].place.ip(&format!("link set {SIDE} up"));
    play.wait_until("the first node could have them again", |stage| {
        let node = stage.evergate(0);
        node.role() == "backup" && node.role_of(COMPANION_NAME) == "backup"
    });
    let taken = play.stage.evergate(1).order("/api/v1/failover", json!({ "vip": VIP_NAME }));
    if let Err(why) = taken {
        play.problems.push(why);
    }
    play.wait_until("both addresses are on the first node again", |stage| at(stage, 0));
    for (node, role) in [(0, "master"), (1, "backup")] {
        play.wait_until(&format!("node {node} is {role} of both"), |stage| {
            let node = stage.evergate(node);
            node.role() == role && node.role_of(COMPANION_NAME) == role
        });
    }
}
