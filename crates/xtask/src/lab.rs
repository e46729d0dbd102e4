//! Builds the lab and what is examined in it, then becomes the former.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

/// Builds an Evergate without optimisation: to look at behaviour, not at figures.
const DEBUG: &str = "--debug";

/// Runs the lab with `arguments`; returns only if that is impossible.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<ExitCode> {
    build(root, &["build", "-p", "evergate-e2e", "--bin", "evergate-lab"])?;
    let target = crate::check::target_dir(root)?;
    let mut lab = Command::new(target.join("debug/evergate-lab"));
    let is_debug = arguments.contains(&DEBUG);
    lab.current_dir(root).args(arguments.iter().filter(|word| **word != DEBUG));
    if needs_evergate(arguments) {
        let (profile, folder) = if is_debug {
            (&["build"][..], "debug")
        } else {
            (&["build", "--release"][..], "release")
        };
        let faults: &[&str] = if needs_faults(arguments) { &["--features", "faults"] } else { &[] };
        build(root, &[profile, &["-p", "evergate"], faults].concat())?;
        lab.env("EVERGATE_BIN", target.join(folder).join("evergate"));
    }
    // Becoming it leaves no parent in between that a signal could end alone.
    let error = lab.exec();
    Err(error).context("cannot start the lab")
}

fn build(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(crate::check::cargo());
    command.current_dir(root).args(arguments);
    if !command.status().context("cannot start cargo")?.success() {
        bail!("the build failed");
    }
    Ok(())
}

/// Whether Evergate takes part: it does unless only others are named, or nothing is played.
fn needs_evergate(arguments: &[&str]) -> bool {
    let plays =
        arguments.first().is_some_and(|word| !matches!(*word, "--list" | "--help" | "-h" | "help"));
    let only = arguments.iter().position(|word| *word == "--only");
    let only = only.and_then(|index| arguments.get(index + 1));
    plays && only.is_none_or(|names| names.split(',').any(|name| name == "evergate"))
}

/// Whether some scenario needs binaries that misbehave to order: those of a release do not.
fn needs_faults(arguments: &[&str]) -> bool {
    arguments.iter().any(|word| matches!(*word, "keeper-storm" | "all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_built_in_for_whom_they_matter() {
        assert!(needs_faults(&["killed", "keeper-storm"]));
        assert!(needs_faults(&["all"]));
        assert!(!needs_faults(&["killed", "--keep", "target/lab"]));
    }

    #[test]
    fn evergate_is_built_when_it_takes_part() {
        assert!(needs_evergate(&["all"]));
        assert!(needs_evergate(&["killed", "--only", "v2-1,evergate"]));
        assert!(!needs_evergate(&["killed", "--only", "keepalived"]));
        assert!(!needs_evergate(&["--list"]));
        assert!(!needs_evergate(&[]));
    }
}
