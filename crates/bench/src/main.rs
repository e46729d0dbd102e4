//! `evergate-bench`: a load, an origin, and the comparison of proxies.

#![expect(clippy::print_stdout, reason = "what a measurement prints is its result")]

mod command;

use std::process::ExitCode;

use clap::Parser;

use command::Command;
use evergate_bench::restarts::births;

/// Measures HTTP proxies.
#[derive(Debug, Parser)]
#[command(name = "evergate-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // First of all: how soon a process gets here is itself measured.
    births::note_own();
    match Arguments::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("evergate-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
