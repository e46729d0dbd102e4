//! `evergate fmt`: the one layout of a configuration file.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use evergate_config::{Diagnostic, FILE_BYTES_MAX};
use serde_json::{Value, json};

use super::ConfigFile;
use super::screen::{Palette, show, show_json};

/// Formats a configuration file in place; its meaning stays. `-` is standard input to output.
#[derive(clap::Args)]
pub(crate) struct Fmt {
    #[command(flatten)]
    file: ConfigFile,
    /// Change nothing; exit with 1 if something would change.
    #[arg(long)]
    check: bool,
    /// Tell as JSON whether the file changed.
    #[arg(long)]
    json: bool,
}

impl Fmt {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let file = self.file.path()?;
        let stdin = file == Path::new("-");
        let text = if stdin { Ok(read_stdin()?) } else { evergate_config::read_file(&file) };
        let text = match text {
            Ok(text) => text,
            Err(found) => return self.refuse(&file, &[*found]),
        };
        let formatted = match evergate_config::format(&text) {
            Ok(formatted) => formatted,
            Err(mut found) => {
                for one in &mut found {
                    one.file = file.display().to_string();
                }
                return self.refuse(&file, &found);
            }
        };
        let changed = formatted != text;
        if stdin && !self.check {
            show(&formatted)?;
            return Ok(ExitCode::SUCCESS);
        }
        if changed && !self.check {
            replace(&file, &formatted).with_context(|| {
                let file = file.display();
                format!("cannot replace {file}, for which its directory must be writable")
            })?;
        }
        if self.json {
            show_json(&json!({ "file": file, "changed": changed }))?;
        } else if changed {
            let words = if self.check { "would change" } else { "formatted" };
            show(&format!("{}: {words}\n", file.display()))?;
        }
        Ok(if changed && self.check { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn refuse(&self, file: &Path, found: &[Diagnostic]) -> anyhow::Result<ExitCode> {
        if self.json {
            let diagnostics: Vec<Value> = found.iter().map(Diagnostic::to_json).collect();
            show_json(&json!({ "file": file, "changed": false, "diagnostics": diagnostics }))?;
        } else {
            show(&evergate_config::render(found, Palette::of_stdout() == Palette::Colour))?;
        }
        Ok(ExitCode::FAILURE)
    }
}

fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    // A part of a file must not come out as if it were the whole.
    anyhow::ensure!(text.len() <= FILE_BYTES_MAX, "standard input is over {FILE_BYTES_MAX} bytes");
    Ok(text)
}

/// Puts `text` in the file's place at once, so that nobody ever reads half of it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    // What a link points at is replaced, not the link.
    let file = fs::canonicalize(file)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let old = fs::metadata(&file)?;
    let mut new = tempfile::Builder::new().prefix(".evergate-fmt-").tempfile_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(old.permissions())?;
    chown(new.path(), Some(old.uid()), Some(old.gid()))?;
    new.as_file().sync_all()?;
    new.persist(&file).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_keeps_its_mode_and_a_link_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
