//! What continuous integration runs, step for step.
//!
//! The steps stop at the first that fails. The last line is the sum of all test binaries, because
//! cargo prints one summary for each and none for the whole.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Where the crate that speaks to the system must compile as well: another C library, and one of 32 bits.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "armv7-unknown-linux-gnueabihf"];

/// Runs every step and prints how long each took.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let mut log = Log::default();
    let mut tests = Tally::default();
    let ended = steps(root, &mut log, &mut tests);
    log.print();
    if let Err(error) = &ended {
        println!("xtask check: {error:#}");
    }
    if tests != Tally::default() {
        println!("{tests}");
    }
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn steps(root: &Path, log: &mut Log, tests: &mut Tally) -> anyhow::Result<()> {
    log.step("cargo fmt --all --check", || cargo_step(root, &["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    log.step("cargo clippy --workspace --all-targets -- -D warnings", || {
        cargo_step(root, &clippy)
    })?;
    for target in TARGETS {
        let name = format!("cargo check -p evergate-sys --target {target}");
        if has_target(target) {
            let check = ["check", "-p", "evergate-sys", "--all-targets", "--target", target];
            log.step(&name, || cargo_step(root, &check))?;
        } else {
            log.skip(&name, "rustup has no standard library for it");
        }
    }
    log.step("cargo xtask tidy", || match crate::tidy::errors(root)? {
        0 => Ok(()),
        count => bail!("{count} findings"),
    })?;
    log.step("cargo test --workspace", || test(root, tests))?;
    log.step("cargo doc --workspace --no-deps", || document(root))?;
    if is_installed("cargo-deny") {
        // Advisories need a database that a build machine may not reach.
        let deny = ["deny", "check", "licenses", "bans", "sources"];
        log.step("cargo deny check licenses bans sources", || cargo_step(root, &deny))?;
    } else {
        log.skip("cargo deny check", "cargo-deny is not installed");
    }
    Ok(())
}

/// The cargo that runs this chore.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir(root: &Path) -> anyhow::Result<PathBuf> {
    let metadata = crate::tidy::metadata(root)?;
    let dir =
        metadata["target_directory"].as_str().context("cargo metadata has no target folder")?;
    Ok(PathBuf::from(dir))
}

fn cargo_step(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    succeed(Command::new(cargo()).current_dir(root).args(arguments))
}

fn document(root: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(cargo());
    command.current_dir(root).args(["doc", "--workspace", "--no-deps"]);
    succeed(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}

/// Runs all tests, shows what they print, and sums up.
fn test(root: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    let mut command = Command::new(cargo());
    command.current_dir(root).args(["test", "--workspace", "--no-fail-fast"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().expect("stdout was asked for");
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.count(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}

/// Whether there is a standard library for `target`.
fn has_target(target: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let found = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    found.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Test results over all test binaries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// Adds what `line` says if it is the summary of one test binary:
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`.
    fn count(&mut self, line: &str) {
        let Some(summary) = line.trim_start().strip_prefix("test result: ") else { return };
        let Some((_verdict, counts)) = summary.split_once(". ") else { return };
        for part in counts.split(';') {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.ignored)
    }
}

/// How each step ended.
#[derive(Debug, Default)]
struct Log {
    lines: Vec<String>,
}

impl Log {
    fn step(
        &mut self,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        println!("==> {name}");
        let started = Instant::now();
        let result = work();
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        self.lines.push(format!("{verdict:>7} {:>6}  {name}", seconds(started.elapsed())));
        result.with_context(|| name.to_owned())
    }

    fn skip(&mut self, name: &str, why: &str) {
        self.lines.push(format!("skipped         {name}: {why}"));
        println!("skipped: {why}");
    }

    fn print(&self) {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_target_with_a_library_is_there() {
        if !Command::new("rustc").arg("-V").output().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no rustc that this user may run");
            return;
        }
        let ours = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        assert_eq!(has_target(&ours), cfg!(target_env = "gnu"));
        assert!(!has_target("m68k-unknown-linux-gnu") && !has_target("no-such-target"));
    }

    #[test]
    fn summaries_of_all_test_binaries_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.0s",
            "test a ... ok",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.0s",
        ] {
            tally.count(line);
        }
        assert_eq!(tally, Tally { passed: 13, failed: 2, ignored: 1 });
        assert_eq!(tally.to_string(), "13 passed, 2 failed, 1 skipped");
    }
}
