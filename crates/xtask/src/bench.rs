//! Builds what is measured and what measures, then becomes the latter.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

/// Runs `evergate-bench` with `arguments`; returns only if that is impossible.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<ExitCode> {
    let mut build = Command::new(crate::check::cargo());
    build.current_dir(root).args(["build", "--release", "-p", "evergate-bench"]);
    if needs_evergate(arguments) {
        build.args(["-p", "evergate"]);
    }
    if !build.status().context("cannot start cargo")?.success() {
        bail!("the release build failed");
    }
    let binary = crate::check::target_dir(root)?.join("release/evergate-bench");
    // Becoming it leaves no parent in between that a signal could end alone.
    let error = Command::new(binary).current_dir(root).args(arguments).exec();
    Err(error).context("cannot start evergate-bench")
}

/// Whether Evergate takes part: it does unless a list of contenders leaves it out.
fn needs_evergate(arguments: &[&str]) -> bool {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let list = match word.strip_prefix("--contenders") {
            Some("") => words.next().copied(),
            Some(rest) => rest.strip_prefix('='),
            None => continue,
        };
        return list.is_none_or(|list| list.split(',').any(|name| name == "evergate"));
    }
    arguments.first() == Some(&"proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evergate_is_built_when_it_takes_part() {
        assert!(needs_evergate(&["proxy"]));
        assert!(needs_evergate(&["proxy", "--contenders", "nginx,evergate"]));
        assert!(!needs_evergate(&["proxy", "--contenders", "nginx,haproxy"]));
        assert!(!needs_evergate(&["proxy", "--contenders=nginx"]));
        assert!(!needs_evergate(&["load", "--for", "1s"]));
    }
}
