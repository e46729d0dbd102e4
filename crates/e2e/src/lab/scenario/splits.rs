//! Nodes that do not hear each other, or wake up in another world.

use std::time::Duration;

use super::super::product::Wish;
use super::super::{Moment, fault, pause, wait_within};
use super::deaths::expect_told;
use super::{Bound, MOVED_WITHIN, Play, Scenario, Stage};

const TWO: Wish = Wish::PAIR;
const APART: Scenario = Scenario {
    name: "partition-and-heal",
    about: "the nodes cannot hear each other for a while, the client hears both",
    bound: Bound::Checks,
    wish: TWO,
    is_for_all: false,
    runs: 10,
    play: partition,
};
/// How long nodes stay apart, in all and if little is to be enough.
const APART_FOR: [Duration; 2] = [Duration::from_secs(2), Duration::from_millis(500)];
/// How long a paused machine is paused.
const PAUSED_FOR: Duration = Duration::from_millis(200);

pub(super) const ALL: &[Scenario] = &[
    APART,
    Scenario {
        name: "cut-one-way",
        about: "the backup does not hear the master, the master hears the backup",
        play: one_way,
        ..APART
    },
    Scenario {
        name: "thaw",
        about: "the master is paused for 200 ms: one owner after it wakes",
        bound: Bound::Own(100),
        is_for_all: true,
        play: thaw,
        ..APART
    },
    Scenario {
        name: "three-nodes",
        about: "of three nodes the master is killed, then the next one: one owner each time",
        bound: Bound::Gap(30, 60),
        wish: Wish { nodes: 3, ..TWO },
        play: three_nodes,
        ..APART
    },
];

fn partition(play: &mut Play) {
    play.begin();
    play.stage.network.isolate(true);
    play.wait_until("both have claimed the address", |stage| stage.network.holders() == [0, 1]);
    apart(play);
    play.stage.network.isolate(false);
    play.wait_until("one node has the address", |stage| stage.network.holders().len() == 1);
    expect_alarms(play);
    pause(Duration::from_millis(1500));
    expect_peace(play);
}

fn one_way(play: &mut Play) {
    play.begin();
    play.stage.network.cut_one_way(0, 1);
    play.wait_until("both have claimed the address", |stage| stage.network.holders() == [0, 1]);
    apart(play);
    play.wait_until("the master shows a cut in one direction", |stage| {
        let path = stage.evergate(0).node().status()["peers"][0]["paths"][0].clone();
        path["is_heard"] == true && path["hears_us"] == false
    });
    play.wait_until("the master has an event about the split", |stage| {
        stage.evergate(0).events("vip_split") > 0
    });
    play.stage.network.let_through();
    play.wait_until("one node has the address", |stage| stage.network.holders().len() == 1);
    pause(Duration::from_millis(1500));
    expect_peace(play);
}

/// Lets time pass while nodes are apart.
fn apart(play: &Play) {
    let [full, few] = APART_FOR;
    pause(if play.extent.is_full { full } else { few });
}

/// Both nodes say that there were two masters: in status, events and metrics.
fn expect_alarms(play: &mut Play) {
    for node in [0, 1] {
        play.wait_until(&format!("node {node} counts the split"), |stage| {
            stage.evergate(node).count("splits") > 0
        });
        play.wait_until(&format!("node {node} has an event about the split"), |stage| {
            stage.evergate(node).events("vip_split") > 0
        });
        play.wait_until(&format!("node {node} has a metric of the split"), |stage| {
            let metrics = stage.evergate(node).node().metrics();
            metrics
                .iter()
                .any(|(name, value)| name.starts_with("evergate_vrrp_splits_total") && *value > 0.0)
        });
    }
}

/// One owner, whom both agree on, who answers, and no rival any more.
pub(super) fn expect_peace(play: &mut Play) {
    let seen = play.probe().seen();
    let mut trouble = None;
    let stage = &mut play.stage;
    wait_within(MOVED_WITHIN, || {
        trouble = disturbance(stage, seen.last());
        trouble.is_none()
    });
    play.problems.extend(trouble);
}

/// Why there is no peace, if so; `answers` is who answered last.
fn disturbance(stage: &mut Stage, answers: Option<char>) -> Option<String> {
    let owners = stage.network.holders();
    if owners.len() != 1 {
        return Some(format!("nodes {owners:?} have the address"));
    }
    for node in [0, 1] {
        let role = stage.evergate(node).role();
        let expected = if owners.contains(&node) { "master" } else { "backup" };
        if role != expected {
            return Some(format!("node {node} is {role}, not {expected}"));
        }
        let rival = stage.evergate(node).vip()["rival"].clone();
        if !rival.is_null() {
            return Some(format!("node {node} still has a rival: {rival}"));
        }
    }
    let owner = owners.first().map(|&node| stage.nodes[node].letter);
    (answers != owner).then(|| format!("{owner:?} has the address, {answers:?} answers"))
}

fn thaw(play: &mut Play) {
    play.start_probe();
    let victims = play.stage.nodes[0].victims(true);
    play.mark();
    fault::freeze(&victims);
    pause(PAUSED_FOR);
    play.wait_until("the other node has claimed the address", |stage| {
        stage.network.holders() == [0, 1]
    });
    let woken = Moment::now();
    fault::thaw(&victims);
    play.wait_until("one node has the address", |stage| stage.network.holders().len() == 1);
    play.own = Some(woken.elapsed());
    pause(Duration::from_millis(1500));
    let owners = play.stage.network.holders();
    play.expect_in_time(owners.len() == 1, || format!("later, nodes {owners:?} have the address"));
    play.wait_until("one node has it for good", |stage| stage.network.holders().len() == 1);
}

fn three_nodes(play: &mut Play) {
    use super::super::process::kill_all;

    play.start_probe();
    let victims = play.stage.nodes[0].victims(false);
    play.mark();
    kill_all(&victims);
    play.wait_for_move();
    play.wait_until("one node has the address", |stage| stage.network.holders().len() == 1);
    // Which of the two is left to chance: their priorities are a tenth of a millisecond apart.
    let next = play.stage.network.holders().first().copied().unwrap_or(1);
    expect_told(play, next);
    kill_all(&play.stage.nodes[next].victims(false));
    let last = 3 - next;
    play.wait_for_owner(last);
    expect_told(play, last);
    play.stage.nodes[0].product.start();
    pause(Duration::from_millis(800));
    play.wait_for_owner(last);
}
