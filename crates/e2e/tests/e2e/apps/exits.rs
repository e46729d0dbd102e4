//! What is said of how a run ended, and of one that cannot even begin.

use std::time::Duration;

use evergate_e2e::PATIENCE;
use serde_json::Value;

use super::stage::{APP, Stage, count, runs};

/// As in the app's source: what it does by turns.
const SIGNALS: [(usize, &str); 11] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (6, "ABRT"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (14, "ALRM"),
    (15, "TERM"),
];

/// What is to be said of the end of a generation.
pub(crate) fn expected(generation: usize) -> String {
    match generation % 2 {
        0 => {
            let (number, name) = SIGNALS[generation / 2 % SIGNALS.len()];
            format!("signal {number} ({name})")
        }
        _ => format!("exit status {}", 1 + generation / 2 % 77),
    }
}

#[test]
fn the_reason_of_every_exit_is_exact() {
    // Starts are limited to five a second, so this takes its time.
    let exits = count(24, 1000);
    let stage = Stage::new(1);
    let keys = "backoff = { base = \"1ms\", cap = \"1ms\", failures = 1000, within = \"1s\" }";
    let shop = stage.app("mortal", &[APP, "end-by-turns"], keys).start();
    let patience = PATIENCE + exits as u32 * Duration::from_millis(250);
    let told = shop.node.stderr.wait_for_within(patience, exits, "\"app_exited\"");
    for (index, line) in told.iter().take(exits).enumerate() {
        let expected = expected(index + 1);
        assert!(line.contains(&expected), "generation {}: {line}, not {expected}", index + 1);
    }
    eprintln!("{exits} of {exits} reasons are exact");
}

#[test]
fn a_program_that_is_not_there_is_a_fault_of_the_configuration() {
    let shop = Stage::new(1).app("ghost", &["/no/such/program"], "").start();
    let ghost = |status: &Value| runs(status, "ghost")[0].clone();
    let status = shop.node.wait_for("it is given up", |status| ghost(status)["state"] == "fatal");
    let run = ghost(&status);
    let reason = run["reason"].as_str().unwrap();
    assert!(reason.contains("/no/such/program"), "{run:#}");
    assert_eq!(run["generation"], 1, "another try would end alike: {run:#}");
    assert_eq!(run["next_seconds"], Value::Null, "{run:#}");
    assert_eq!(shop.get("/").status, 200, "others are not concerned");
}

#[test]
fn statuses_that_say_that_it_is_hopeless_are_believed() {
    let shop = Stage::new(1)
        .app("config", &[APP, "exit=78"], "")
        .app("permanent", &[APP, "exit=125"], "")
        .app("content", &[APP, "exit=0"], "restart = \"on-failure\"")
        .app("once", &[APP, "exit=5"], "restart = \"never\"")
        .start();
    for (app, state) in
        [("config", "fatal"), ("permanent", "fatal"), ("content", "stopped"), ("once", "stopped")]
    {
        let status = shop.node.wait_for(&format!("{app} is {state}"), |status| {
            runs(status, app)[0]["state"] == state
        });
        assert_eq!(runs(&status, app)[0]["generation"], 1, "{app} is not tried again");
    }
}
