//! `keepalived.conf` as `[vip.NAME]`.
//!
//! Three steps: lines (comments, quotes, includes, definitions, conditions), statements in their
//! blocks, and what they mean. What has no counterpart is told with its line; nothing is dropped
//! without a word but what Evergate does by itself.

use std::path::Path;

use super::{ImportNote, Imported};
use crate::files::Files;

mod block;
mod globals;
mod instance;
mod print;
mod text;
mod tracking;
mod words;

use block::Statement;
use globals::Globals;
use text::Origin;

/// Reads the `keepalived.conf` at `path`, with what it includes. Lines that begin with `@NAME` are
/// for the machine with that `id` alone.
///
/// # Errors
/// If the file cannot be read: why, for people.
pub fn import_keepalived(
    path: &Path,
    files: &dyn Files,
    id: Option<&str>,
) -> Result<Imported, String> {
    let mut notes = Notes::default();
    let lines = text::read(path, files, id, &mut notes)?;
    let statements = block::parse(&lines, &mut notes);
    let globals = Globals::read(&statements, &mut notes);
    let mut vips = Vec::new();
    for statement in statements.iter().filter(|one| one.keyword() == "vrrp_instance") {
        vips.extend(instance::read(statement, &globals, &mut notes));
    }
    instance::name_apart(&mut vips, &mut notes);
    instance::tell_doubles(&vips, &mut notes);
    refuse_others(&statements, &mut notes);
    let toml = print::toml(path, &globals, &vips);
    let toml = crate::format(&toml).unwrap_or(toml);
    Ok(Imported { toml, notes: notes.finish() })
}

/// Sections that are not read.
fn refuse_others(statements: &[Statement], notes: &mut Notes) {
    for statement in statements {
        let keyword = statement.keyword();
        if globals::SECTIONS.contains(&keyword) || keyword == "vrrp_instance" {
            continue;
        }
        let why = words::section(keyword);
        notes.add(statement.at.clone(), format!("`{keyword}` is not carried: {why}"));
    }
}

/// What could not be carried so far.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<(Origin, String)>);

impl Notes {
    /// Notes something about a line.
    pub(crate) fn add(&mut self, at: Origin, message: impl Into<String>) {
        self.0.push((at, message.into()));
    }

    fn finish(mut self) -> Vec<ImportNote> {
        self.0.sort_by_key(|(at, _)| (at.number, at.line));
        self.0.dedup();
        let note = |(at, message): (Origin, String)| ImportNote {
            file: at.file.to_string(),
            line: at.line,
            message,
        };
        self.0.into_iter().map(note).collect()
    }
}
