//! Chores of whoever works on Evergate: check, tidy, bench, lab.
//!
//! `check` is what continuous integration runs, step for step, so that a green `check` here is a
//! green build there. `tidy` holds the rules that no compiler knows. `bench` builds what it
//! measures and hands over to `evergate-bench`; `lab` does the same with the failover lab.

#![expect(clippy::print_stdout, reason = "what a chore prints is its result")]

mod bench;
mod check;
mod lab;
mod tidy;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

const USAGE: &str = "\
usage: cargo xtask CHORE

  check               what continuous integration runs: fmt, clippy, tidy, test, doc, deny
  tidy                the rules that no compiler knows
  bench proxy [...]   Evergate against nginx and HAProxy; `bench proxy --help` says more
  lab SCENARIO [...]  two nodes and what may befall them; `lab --help` says more";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let root = workspace_root()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => check::run(&root),
        ["tidy"] => tidy::run(&root),
        ["bench", rest @ ..] => bench::run(&root, rest),
        ["lab", rest @ ..] => lab::run(&root, rest),
        ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

/// The folder that holds the workspace's `Cargo.toml`.
fn workspace_root() -> anyhow::Result<PathBuf> {
    let crate_dir = env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let root = PathBuf::from(crate_dir).join("../..");
    root.canonicalize().context("the workspace has gone")
}
