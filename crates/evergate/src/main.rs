//! Evergate: parse the command line, do what it says, pick the exit code.

mod ctl;
mod demo;
mod embedded;
mod fault;
mod machine;
mod preflight;
mod run;
mod watcher;
mod worker;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use evergate_keeper::Resuming;

/// Exit code of a command line that is not understood; 2 and 3 are answers of `status`.
const EXIT_USAGE: u8 = 64;

/// How long a keeper that has become this binary may take to go on.
const RESUME_WITHIN: Duration = Duration::from_secs(5);

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
    Check(ctl::check::Check),
    Demo(demo::Demo),
    Status(ctl::status::Status),
    Top(ctl::top::Top),
    Events(ctl::events::Events),
    Logs(ctl::logs::Logs),
    Apps(ctl::apps::Apps),
    Start(ctl::start::Start),
    Stop(ctl::start::Stop),
    Restart(ctl::restart::Restart),
    Deploy(ctl::deploy::Deploy),
    Explain(ctl::explain::Explain),
    Reload(ctl::reload::Reload),
    Confirm(ctl::confirm::Confirm),
    Rollback(ctl::rollback::Rollback),
    Changes(ctl::changes::Changes),
    Upgrade(ctl::upgrade::Upgrade),
    Failover(ctl::failover::Failover),
    Maintenance(ctl::maintenance::Maintenance),
    Drain(ctl::drain::Drain),
    Undrain(ctl::drain::Undrain),
    Weight(ctl::weight::Weight),
    Fmt(ctl::fmt::Fmt),
    Import(ctl::import::Import),
    Schema(ctl::schema::Schema),
    Reference(ctl::reference::Reference),
    #[command(hide = true)]
    Worker(worker::Worker),
    #[command(hide = true)]
    Watcher(watcher::Watcher),
    #[command(hide = true)]
    Preflight(preflight::Preflight),
    #[command(hide = true)]
    DemoApp(demo::app::DemoApp),
}

fn main() -> ExitCode {
    // First of all: whatever goes wrong from here on in a keeper that has just become this binary
    // makes it the old one again.
    let resuming = match Resuming::detect(RESUME_WITHIN) {
        Ok(resuming) => resuming,
        Err(error) => {
            drop(writeln!(io::stderr(), "evergate: {error}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(answer) => {
            // Help and version are answers too; whether anybody reads them does not matter.
            drop(answer.print());
            return if answer.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let outcome = match command {
        Command::Run(run) => run.run(resuming),
        Command::Check(check) => check.run(),
        Command::Demo(demo) => demo.run(),
        Command::Status(status) => status.run(),
        Command::Top(top) => top.run(),
        Command::Events(events) => events.run(),
        Command::Logs(logs) => logs.run(),
        Command::Apps(apps) => apps.run(),
        Command::Start(start) => start.run(),
        Command::Stop(stop) => stop.run(),
        Command::Restart(restart) => restart.run(),
        Command::Deploy(deploy) => deploy.run(),
        Command::Explain(explain) => explain.run(),
        Command::Reload(reload) => reload.run(),
        Command::Confirm(confirm) => confirm.run(),
        Command::Rollback(rollback) => rollback.run(),
        Command::Changes(changes) => changes.run(),
        Command::Upgrade(upgrade) => upgrade.run(),
        Command::Failover(failover) => failover.run(),
        Command::Maintenance(maintenance) => maintenance.run(),
        Command::Drain(drain) => drain.run(),
        Command::Undrain(undrain) => undrain.run(),
        Command::Weight(weight) => weight.run(),
        Command::Fmt(fmt) => fmt.run(),
        Command::Import(import) => import.run(),
        Command::Schema(schema) => schema.run(),
        Command::Reference(reference) => reference.run(),
        Command::Worker(worker) => worker.run(),
        Command::Watcher(watcher) => watcher.run(),
        Command::Preflight(preflight) => preflight.run(),
        Command::DemoApp(app) => app.run(),
    };
    outcome.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        // Nobody is left to tell if even this fails.
        drop(writeln!(io::stderr(), "evergate: {error:#}"));
        ctl::exit_code(&error)
    })
}

/// Whether the reader of the output left, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
