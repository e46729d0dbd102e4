//! Two virtual addresses, of IPv4 and IPv6, that are always on the same node.

use serde_json::json;

use super::super::evergate::{COMPANION_NAME, VIP_NAME};
use super::super::product::{SIDE, Wish};
use super::super::{Stage, VIP_V6};
use super::{Bound, Play, Scenario};

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "sync-group",
    about: "of two addresses one loses what it needs, then the other is moved: both go, both times",
    bound: Bound::Own(150),
    wish: Wish { has_companion: true, ..Wish::PAIR },
    is_for_all: false,
    runs: 10,
    play: sync_group,
}];

fn sync_group(play: &mut Play) {
    let at = |stage: &Stage, node: usize| {
        let companions = (0..2).filter(|&index| stage.nodes[index].place.has_address(VIP_V6));
        companions.eq([node]) && stage.network.holders() == [node]
    };
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
