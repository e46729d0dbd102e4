//! Evergate: parse the command line, do what it says, pick the exit code.

mod run;
mod worker;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps a web service up: supervisor, balancer and gateway in one binary.
#[derive(Parser)]
#[command(name = "evergate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    #[command(hide = true)]
    Worker(worker::Worker),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(run) => run.run(),
        Command::Worker(worker) => worker.run(),
    };
    outcome.unwrap_or_else(|error| {
        // Nobody is left to tell if even this fails.
        drop(writeln!(io::stderr(), "evergate: {error:#}"));
        ExitCode::FAILURE
    })
}
