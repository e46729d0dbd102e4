//! Nodes that do not hear each other, or wake up in another world.

use std::time::Duration;

use super::super::product::Wish;
use super::super::{Moment, fault, pause, wait_within};
use super::deaths::expect_told;
use super::{Bound, Play, Scenario};

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
/// How long two owners may go on for after a thaw before the run counts as lost.
const ONE_WITHIN: Duration = Duration::from_secs(8);

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
    let events = play.stage.evergate(0).events("vip_split");
    play.expect(events > 0, || "the master has no event about the split".to_owned());
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
        let events = play.stage.evergate(node).events("vip_split");
        play.expect(events > 0, || format!("node {node} has no event about the split"));
        let metrics = play.stage.evergate(node).node().metrics();
        let counted = metrics
            .iter()
            .any(|(name, value)| name.starts_with("evergate_vrrp_splits_total") && *value > 0.0);
        play.expect(counted, || format!("node {node} has no metric of the split"));
    }
}

/// One owner, whom both agree on, who answers, and no rival any more.
pub(super) fn expect_peace(play: &mut Play) {
    let owners = play.stage.network.holders();
    play.expect(owners.len() == 1, || format!("nodes {owners:?} have the address"));
    for node in [0, 1] {
        let role = play.stage.evergate(node).role();
        let expected = if owners.contains(&node) { "master" } else { "backup" };
        play.expect(role == expected, || format!("node {node} is {role}, not {expected}"));
        let rival = play.stage.evergate(node).vip()["rival"].clone();
        play.expect(rival.is_null(), || format!("node {node} still has a rival: {rival}"));
    }
    let answers = play.probe().node();
    let owner = owners.first().map(|&node| play.stage.nodes[node].letter);
    play.expect(answers == owner, || format!("{owner:?} has the address, {answers:?} answers"));
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
    let came = wait_within(ONE_WITHIN, || play.stage.network.holders().len() == 1);
    play.own = Some(woken.elapsed());
    play.expect(came, || format!("two nodes have the address {ONE_WITHIN:?} after the thaw"));
    pause(Duration::from_millis(1500));
    let owners = play.stage.network.holders();
    play.expect(owners.len() == 1, || format!("later, nodes {owners:?} have the address"));
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
