//! Apps that end while the keeper becomes another binary.

use std::time::Duration;

use evergate_e2e::Binaries;
use evergate_e2e::upgrade::Order;

use crate::apps::exits::expected;
use crate::apps::stage::{APP, Stage, count};

#[test]
fn the_reason_of_every_exit_is_exact_while_the_keeper_is_replaced() {
    let exits = count(10, 1000);
    let (stage, binaries) = (Stage::new(1), Binaries::new());
    let keys = "backoff = { base = \"1ms\", cap = \"1ms\", failures = 1000, within = \"1s\" }";
    let shop = stage.app("mortal", &[APP, "end-by-turns"], keys).start();
    let told = || shop.node.stderr.all().iter().filter(|l| l.contains("\"app_exited\"")).count();
    let binary = binaries.good();
    let other = binaries.good();
    let mut upgrades = 0;
    while told() < exits {
        upgrades += 1;
        let next = if upgrades % 2 == 0 { &binary } else { &other };
        shop.node.upgrade_well(&Order::to(next).keeper());
    }
    let told = shop.node.stderr.wait_for_within(Duration::ZERO, exits, "\"app_exited\"");
    for (index, line) in told.iter().take(exits).enumerate() {
        let expected = expected(index + 1);
        assert!(line.contains(&expected), "generation {}: {line}, not {expected}", index + 1);
    }
    eprintln!("{exits} of {exits} reasons are exact over {upgrades} keepers");
}
