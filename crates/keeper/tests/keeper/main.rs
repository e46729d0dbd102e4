//! The keeper, run as a process of its own, with real children, sockets and signals.
//!
//! The worker of these tests is a puppet: it passes on what the link carries, so a test is the
//! worker, and says and hears the messages themselves. Nothing here sleeps; every wait is for an
//! event and has a deadline.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "this is the test harness")]

use std::process::ExitCode;

use evergate_keeper::Resuming;
use evergate_sys::clock;

mod addresses;
mod apps;
mod aside;
mod deploys;
mod ear;
mod ending;
mod execs;
mod handover;
mod lan;
mod moves;
mod notices;
mod outputs;
mod places;
mod puppet;
mod puppeteer;
mod returns;
mod stage;
mod stand_in;
mod standby;
mod trees;
mod trials;
mod upgrades;
mod watching;
mod wishes;
mod workers;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let resuming = Resuming::detect(execs::WITHIN).unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("run-keeper") => stage::run_keeper(&arguments[1..], resuming),
        Some("run-puppet") => puppet::run(&arguments[1]),
        Some("watcher") => match evergate_keeper::watch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Some("preflight") => aside::run(&arguments[1]),
        Some("run-app") => stand_in::run(&arguments[1..]),
        _ => run_tests(&arguments),
    }
}

/// Runs the tests whose names contain the first argument that is no option, one after the other.
fn run_tests(arguments: &[String]) -> ExitCode {
    let tests: Vec<Test> = [
        workers::TESTS,
        apps::TESTS,
        places::TESTS,
        outputs::TESTS,
        trees::TESTS,
        trials::TESTS,
        deploys::TESTS,
        ending::TESTS,
        execs::TESTS,
        upgrades::TESTS,
        watching::TESTS,
        handover::TESTS,
        returns::TESTS,
        notices::TESTS,
        standby::TESTS,
        moves::TESTS,
        addresses::TESTS,
    ]
    .concat();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = 0;
    for (name, test) in tests {
        if filter.is_some_and(|part| !name.contains(part.as_str())) {
            continue;
        }
        let begun = clock::now();
        let passed = std::panic::catch_unwind(test).is_ok();
        let verdict = if passed { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({:.1?})", clock::now() - begun);
        failed += usize::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
