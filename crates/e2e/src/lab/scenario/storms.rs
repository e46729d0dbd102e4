//! What comes again and again, and must not add up to more than it is.

use std::time::Duration;

use evergate_sys::process;
use serde_json::{Value, json};

use super::super::capture::Advert;
use super::super::product::Wish;
use super::super::{Moment, pause};
use super::deaths::kill_worker;
use super::splits::expect_peace;
use super::{Bound, Play, Scenario};
use crate::Binaries;
use crate::upgrade::Order;

const WORKERS: Scenario = Scenario {
    name: "worker-storm",
    about: "the master's worker is replaced and killed by turns, 20 times each, 4 in a row: the longest time between two adverts",
    bound: Bound::Own(45),
    wish: Wish::PAIR,
    is_for_all: false,
    runs: 1,
    play: worker_storm,
};

pub(super) const ALL: &[Scenario] = &[
    WORKERS,
    Scenario {
        name: "keeper-storm",
        about: "the keeper is replaced 20 times, on the master and then on the backup, every fifth time by a bad one: the longest time between two adverts",
        bound: Bound::Own(60),
        play: keeper_storm,
        ..WORKERS
    },
    Scenario {
        name: "flaps",
        about: "the master's cable is pulled and put back, 100 times",
        bound: Bound::Checks,
        play: flaps,
        ..WORKERS
    },
];

/// How long another worker is watched before the one before it goes.
const SOAK: Duration = Duration::from_millis(200);
/// One more without a pause, and the node would give the address up: its worker cannot be brought
/// back, as far as it can know.
const KILLS_IN_A_ROW: usize = 4;
/// After a pause of 10 s, kills do not follow each other any more.
const STABLE_AFTER: Duration = Duration::from_millis(10_500);
/// What is wrong with every fifth keeper.
const FAULTS: [&str; 3] = ["resume-crashes", "resume-hangs", "resume-panics"];
/// One keeper in so many is bad.
const BAD_EVERY: usize = 5;
/// Shortest time for which a cable is in or out, and what is added to it at most.
const FLAP: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(120));
/// Descriptors that the keeper may have more after a hundred flaps.
const FDS_MORE_MAX: u32 = 2;

fn worker_storm(play: &mut Play) {
    let binaries = Binaries::new();
    let before = elections(play);
    play.begin();
    for round in 0..play.count(2, 20) {
        if round > 0 && round % KILLS_IN_A_ROW == 0 {
            pause(STABLE_AFTER);
        }
        kill_worker(play);
        let binary = binaries.good();
        let upgrade =
            play.stage.evergate(0).node().upgrade_in_time(&Order::to(&binary).worker().soak(SOAK));
        play.expect(upgrade["outcome"] == "done", || format!("the upgrade ended so: {upgrade}"));
        binaries.remove(&binary);
    }
    expect_untouched(play, &before);
}

fn keeper_storm(play: &mut Play) {
    let binaries = Binaries::new();
    let before = elections(play);
    play.begin();
    let rounds = play.count(BAD_EVERY, 20);
    let mut faults = FAULTS.iter().cycle();
    for node in [0, 1] {
        for round in 1..=rounds {
            let is_bad = round % BAD_EVERY == 0;
            let fault = is_bad.then(|| faults.next()).flatten();
            let binary = fault.map_or_else(|| binaries.good(), |fault| binaries.faulty(fault));
            let outcome = if is_bad { "refused" } else { "done" };
            let order = Order::to(&binary).keeper();
            let replaced = play.stage.evergate(node).node();
            let upgrade =
                if is_bad { replaced.upgrade(&order) } else { replaced.upgrade_in_time(&order) };
            play.expect(upgrade["outcome"] == outcome, || {
                format!("upgrade {round} of node {node} is not {outcome}: {upgrade}")
            });
            binaries.remove(&binary);
        }
        let execs = play.stage.evergate(node).node().upgrades()["keeper_execs"].clone();
        let good = rounds - rounds / BAD_EVERY;
        play.expect(execs == good, || {
            format!("node {node} counts {execs} new keepers, not {good}")
        });
    }
    expect_untouched(play, &before);
}

/// How both nodes stand: what changes with every election, and with nothing else.
fn elections(play: &mut Play) -> Vec<Value> {
    let of = |vip: Value| {
        let [role, since, reason, epoch] =
            ["role", "since_ms", "reason", "epoch"].map(|key| &vip[key]);
        json!([role, since, reason, epoch, vip["counts"]["turns"]])
    };
    [0, 1].map(|node| of(play.stage.evergate(node).vip())).to_vec()
}

/// Expects that no election was held since `before`, and that the first node alone went on to say
/// what it said; notes the longest time that it was silent.
fn expect_untouched(play: &mut Play, before: &[Value]) {
    pause(Duration::from_millis(300));
    let now = elections(play);
    play.expect_in_time(now == before, || format!("elections were {before:?}, and are {now:?}"));
    let owners = play.stage.network.holders();
    play.expect_in_time(owners == [0], || format!("nodes {owners:?} have the address"));
    let adverts = play.adverts();
    let Some(first) = adverts.first() else {
        play.problems.push("no advert was seen".to_owned());
        return;
    };
    let is_same = |advert: &&Advert| (advert.from, advert.priority) == (first.from, first.priority);
    if let Some(other) = adverts.iter().find(|advert| !is_same(advert)) {
        play.late.push(format!("after {first:?} there was {other:?}"));
    }
    play.own = adverts.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at)).max();
}

fn flaps(play: &mut Play) {
    let fds = |play: &mut Play| {
        let keeper = play.stage.evergate(0).node().pid();
        process::usage(keeper).ok().and_then(|usage| usage.fds).unwrap_or_default()
    };
    let before = fds(play);
    play.begin();
    for _ in 0..play.count(10, 100) {
        for is_in in [false, true] {
            play.stage.network.cable(0, is_in);
            let more = Moment::now().0 % FLAP.1.as_nanos() as u64;
            pause(FLAP.0 + Duration::from_nanos(more));
        }
    }
    // Whoever flaps is not trusted for a while, and then again.
    play.wait_until("the other node has the address, and the first could take it", |stage| {
        stage.network.holders() == [1] && stage.evergate(0).role() == "backup"
    });
    expect_peace(play);
    let after = fds(play);
    play.expect(after <= before + FDS_MORE_MAX, || {
        format!("the keeper had {before} descriptors, and has {after}")
    });
    play.stage.nodes[1].product.give_up();
    play.wait_for_owner(0);
}
