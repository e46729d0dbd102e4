//! Adverts of products that a build machine does not have, to the byte as they were on the wire.

use std::path::Path;

use evergate_e2e::lab::Stage;
use evergate_e2e::lab::evergate::Evergate;
use evergate_e2e::lab::product::Wish;
use evergate_e2e::lab::replay::Replay;
use evergate_e2e::wait_until;

use super::{PROGRAM, is_possible};

/// What keepalived 2.4.3, built from its source, sends with `v3_checksum_as_v2`: a checksum over the
/// message alone, as RFC 9568 has it. VRID 51, 10.77.0.100, every 100 ms; priority 150, 50 and 0.
const BETTER: &str = "31339601000a2e100a4d0064";
const WORSE: &str = "31333201000a92100a4d0064";
const STOPPING: &str = "31330001000ac4100a4d0064";
/// What it takes from a node of priority 100 or 200: the same bytes but for priority and checksum.
const OURS_100: &str = "31336401000a60100a4d0064";
const OURS_200: &str = "3133c801000afc0f0a4d0064";

/// An Evergate with this priority, not started, and a recording beside it.
fn stage(priority: u8) -> (Stage, Replay) {
    let program = Path::new(PROGRAM);
    let mut stage = Stage::empty(2, program);
    let place = stage.network.nodes[0].clone();
    let lines = format!("priority = {priority}\ninterval = \"100ms\"\n");
    let evergate = Evergate::new(&place, 0, Wish::default(), program).beside_others(&lines);
    stage.add(Box::new(evergate));
    let replay = Replay::start(program, &stage.network.nodes[1], "10.77.0.12");
    (stage, replay)
}

fn wait_for_role(stage: &mut Stage, role: &str) {
    let node = stage.evergate(0);
    wait_until(&format!("it is {role}"), || node.role() == role);
}

#[test]
fn a_keepalived_that_sums_up_the_message_alone_is_followed_and_replaced() {
    if !is_possible() {
        return;
    }
    let (mut stage, mut replay) = stage(100);
    replay.say(BETTER);
    stage.nodes[0].product.start();
    wait_for_role(&mut stage, "backup");
    let node = stage.evergate(0);
    let heard = node.count("heard");
    wait_until("many more are heard", || node.count("heard") >= heard + 10);
    assert_eq!(node.count("refused"), 0, "{:#}", node.vip());
    wait_until("it knows the master", || node.vip()["master"]["priority"] == 150);
    replay.say_last(STOPPING);
    wait_for_role(&mut stage, "master");
    assert_eq!(stage.network.holders(), [0]);
    let said = replay.heard().wait_for(2, "3133");
    assert!(said.iter().all(|advert| advert == OURS_100), "{said:?}");
}

#[test]
fn a_worse_keepalived_that_sums_up_the_message_alone_is_led() {
    if !is_possible() {
        return;
    }
    let (mut stage, mut replay) = stage(200);
    stage.nodes[0].product.start();
    wait_for_role(&mut stage, "master");
    // It has claimed the address as well, and hears at once that there is somebody better.
    replay.say(WORSE);
    replay.heard().wait_for(10, OURS_200);
    let node = stage.evergate(0);
    assert_eq!((node.count("refused"), node.role().as_str()), (0, "master"), "{:#}", node.vip());
    assert_eq!(stage.network.holders(), [0]);
}

#[test]
fn a_better_keepalived_that_sums_up_the_message_alone_is_yielded_to() {
    if !is_possible() {
        return;
    }
    let (mut stage, mut replay) = stage(100);
    stage.nodes[0].product.start();
    wait_for_role(&mut stage, "master");
    replay.say(BETTER);
    wait_for_role(&mut stage, "backup");
    wait_until("the address is let go", || stage.network.holders().is_empty());
}
