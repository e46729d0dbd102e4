//! Builds what is measured and what measures, then becomes the latter.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

/// The target of this machine, with the C library that can be linked statically.
const STATIC_TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// Runs `evergate-bench` with `arguments`; returns only if that is impossible.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<ExitCode> {
    let mut build = Command::new(crate::check::cargo());
    build.current_dir(root).args(["build", "--release", "-p", "evergate-bench"]);
    run_to_success(&mut build)?;
    let target = crate::check::target_dir(root)?;
    let mut bench = Command::new(target.join("release/evergate-bench"));
    bench.current_dir(root).args(arguments);
    if needs_evergate(arguments) {
        // What is shipped is what is measured: one static binary.
        let mut build = Command::new(crate::check::cargo());
        build.current_dir(root).env("RUSTFLAGS", "-C target-feature=+crt-static");
        // Without a target named, the flag would reach proc macros, which cannot be static.
        build.args(["build", "--release", "-p", "evergate", "--target", STATIC_TARGET]);
        run_to_success(&mut build)?;
        let shipped = target.join(STATIC_TARGET).join("release/evergate");
        bench.arg("--evergate").arg(shipped);
    }
    // Becoming it leaves no parent in between that a signal could end alone.
    let error = bench.exec();
    Err(error).context("cannot start evergate-bench")
}

fn run_to_success(build: &mut Command) -> anyhow::Result<()> {
    if !build.status().context("cannot start cargo")?.success() {
        bail!("the release build failed");
    }
    Ok(())
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
    matches!(arguments.first(), Some(&("proxy" | "apps" | "reloads")))
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
