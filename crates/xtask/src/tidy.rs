//! The rules that no compiler knows: floors, rooms, and what may stand where.
//!
//! Rules read Rust through [`source::Source`], which blanks comments and literals out, so a rule
//! is a search for words. None parses Rust in full: a rule that can be fooled on purpose is good
//! enough here, one that cries wolf is not.

mod floors;
mod length;
mod links;
mod paths;
mod rooms;
mod source;
mod words;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use source::Source;

/// Prints every finding; fails if one is an error.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    Ok(match errors(root)? {
        0 => ExitCode::SUCCESS,
        count => {
            eprintln!("tidy: {count} findings");
            ExitCode::FAILURE
        }
    })
}

/// Prints every finding and counts those that are errors.
pub(crate) fn errors(root: &Path) -> anyhow::Result<usize> {
    let tree = Tree::read(root)?;
    let mut findings = floors::check(&metadata(root)?, root)?;
    for file in &tree.files {
        findings.extend(paths::check(file));
    }
    findings.extend(links::check(&tree));
    for source in tree.sources() {
        findings.extend(rooms::check(&source));
        findings.extend(words::check(&source));
        findings.extend(length::check(&source));
    }
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    for finding in &findings {
        println!("{finding}");
    }
    Ok(findings.iter().filter(|finding| finding.severity == Severity::Error).count())
}

/// What `cargo metadata` says of the workspace's own crates.
pub(crate) fn metadata(root: &Path) -> anyhow::Result<serde_json::Value> {
    let output = Command::new(crate::check::cargo())
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")
}

/// One thing against the rules.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Finding {
    /// Relative to the workspace.
    file: String,
    /// From 1.
    line: usize,
    severity: Severity,
    what: String,
    /// How to mend it.
    mend: String,
}

/// Whether a finding fails the chore.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Severity {
    Error,
    Warning,
}

impl Finding {
    fn error(file: &str, line: usize, what: impl Into<String>, mend: impl Into<String>) -> Self {
        let (what, mend) = (what.into(), mend.into());
        Self { file: file.to_owned(), line, severity: Severity::Error, what, mend }
    }

    fn warning(file: &str, line: usize, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, line, what, mend) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        let Self { file, line, what, mend, .. } = self;
        write!(f, "{file}:{line}: {mark}{what}; {mend}")
    }
}

/// A text file under version control, or about to be.
#[derive(Clone, Debug)]
struct File {
    /// Relative to the workspace, with `/`.
    path: String,
    text: String,
}

/// All of them.
#[derive(Clone, Debug, Default)]
struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// Reads what git tracks and what it would add; files that are no UTF-8 are left out.
    fn read(root: &Path) -> anyhow::Result<Self> {
        let output = Command::new("git")
            .current_dir(root)
            // The build may run as another user than the one who cloned.
            .args(["-c", "safe.directory=*", "ls-files", "-z"])
            .args(["--cached", "--others", "--exclude-standard"])
            .output()
            .context("cannot start git")?;
        if !output.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
        }
        let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let files = names
            .split_terminator('\0')
            .filter_map(|name| {
                let text = fs::read_to_string(root.join(name)).ok()?;
                Some(File { path: name.to_owned(), text })
            })
            .collect();
        Ok(Self { files })
    }

    /// The Rust files, read for rules.
    fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.files
            .iter()
            .filter(|file| file.path.ends_with(".rs"))
            .map(|file| Source::read(&file.path, &file.text))
    }
}
