//! Lines of `keepalived.conf`: comments, continuations, definitions, conditions, included files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Notes;
use crate::files::Files;
use crate::include::{FILE_BYTES_MAX, FILES_MAX, expand};
use crate::substitute::os_reason;

/// How deep files may include each other.
const DEPTH_MAX: usize = 16;
/// How often what a definition stands for is looked through for others.
const EXPANSIONS_MAX: usize = 16;
/// Bytes of a line once definitions stand for themselves.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Where something stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    /// The file's name.
    pub(crate) file: Arc<str>,
    /// The number of the file, in the order in which they are read.
    pub(crate) number: usize,
    /// From 1.
    pub(crate) line: usize,
}

/// A line without comments, with everything in it that definitions stand for.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Origin,
    pub(crate) text: String,
}

struct Reading<'a> {
    files: &'a dyn Files,
    id: Option<&'a str>,
    defined: BTreeMap<String, String>,
    /// How many files were read.
    read: usize,
    lines: Vec<Line>,
}

/// Every line of the file and of those that it includes.
pub(super) fn read(
    path: &Path,
    files: &dyn Files,
    id: Option<&str>,
    notes: &mut Notes,
) -> Result<Vec<Line>, String> {
    let mut reading = Reading { files, id, defined: BTreeMap::new(), read: 0, lines: Vec::new() };
    reading.file(path, 0, notes)?;
    Ok(reading.lines)
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, depth: usize, notes: &mut Notes) -> Result<(), String> {
        let bytes = self
            .files
            .read(path)
            .map_err(|error| format!("{} cannot be read: {}", path.display(), os_reason(&error)))?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(format!("{} is longer than {FILE_BYTES_MAX} bytes", path.display()));
        }
        let text = String::from_utf8_lossy(&bytes);
        let (file, number): (Arc<str>, _) = (path.display().to_string().into(), self.read);
        self.read += 1;
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let at = Origin { file: Arc::clone(&file), number, line: index + 1 };
            let (mut text, mut goes_on) = bare(line, &at, notes);
            while goes_on && text.len() <= LINE_BYTES_MAX {
                let Some((_, next)) = lines.next() else { break };
                let (more, again) = bare(next, &at, notes);
                // A definition keeps its lines apart; to all else they are one.
                text.push(if text.starts_with('$') { '\n' } else { ' ' });
                text.push_str(&more);
                goes_on = again;
            }
            self.line(path, at, &text, depth, notes);
        }
        Ok(())
    }

    fn line(&mut self, path: &Path, at: Origin, text: &str, depth: usize, notes: &mut Notes) {
        let Some(text) = self.meant_for_us(text, &at, notes) else { return };
        if let Some((name, value)) = definition(text) {
            self.defined.insert(name.to_owned(), value.trim().to_owned());
            return;
        }
        let text = self.expand(text, &at, notes);
        for text in text.lines().map(str::trim).filter(|text| !text.is_empty()) {
            if text.starts_with('~') {
                notes
                    .add(at.clone(), "a sequence (`~SEQ`, `~LST`) is not understood: write it out");
            } else if let Some(pattern) = included(text) {
                self.include(path, &at, pattern, depth, notes);
            } else {
                self.lines.push(Line { at: at.clone(), text: text.to_owned() });
            }
        }
    }

    /// The line without its condition, if that is met.
    fn meant_for_us<'t>(&self, text: &'t str, at: &Origin, notes: &mut Notes) -> Option<&'t str> {
        let Some(condition) = text.strip_prefix('@') else { return Some(text) };
        let (name, rest) = condition.split_once(char::is_whitespace).unwrap_or((condition, ""));
        let Some(id) = self.id else {
            let name = name.trim_start_matches('^');
            let message =
                format!("is for the machine `{name}` (or all others): name this with --id");
            notes.add(at.clone(), message);
            return None;
        };
        let is_met = match name.strip_prefix('^') {
            Some(other) => other != id,
            None => name == id,
        };
        is_met.then(|| rest.trim())
    }

    /// Puts what definitions stand for in their places.
    fn expand(&self, text: &str, at: &Origin, notes: &mut Notes) -> String {
        let mut text = text.to_owned();
        for _ in 0..EXPANSIONS_MAX {
            let Some(next) = self.expand_once(&text) else { break };
            if next.len() > LINE_BYTES_MAX {
                notes.add(at.clone(), "its definitions make it too long");
                break;
            }
            text = next;
        }
        if let Some(name) = variables(&text).into_iter().map(|(_, _, name)| name).next() {
            notes.add(at.clone(), format!("`${name}` is not defined here"));
        }
        text
    }

    /// The text with the first definition in it replaced; nothing if there is none.
    fn expand_once(&self, text: &str) -> Option<String> {
        let (start, end, name) =
            variables(text).into_iter().find(|(_, _, name)| self.defined.contains_key(*name))?;
        Some(format!("{}{}{}", &text[..start], self.defined[name], &text[end..]))
    }

    fn include(
        &mut self,
        path: &Path,
        at: &Origin,
        pattern: &str,
        depth: usize,
        notes: &mut Notes,
    ) {
        let folder = path.parent().unwrap_or(Path::new(""));
        let found = match expand(&folder.join(pattern), self.files) {
            Ok(found) => found,
            Err((why, _)) => return notes.add(at.clone(), why),
        };
        if found.is_empty() {
            notes.add(at.clone(), format!("there is no file `{pattern}` to include"));
        }
        for path in found {
            if depth == DEPTH_MAX || self.read == FILES_MAX {
                return notes.add(at.clone(), "too many files include each other");
            }
            if let Err(why) = self.file(&path, depth + 1, notes) {
                notes.add(at.clone(), why);
            }
        }
    }
}

/// A line without its comment, and whether the next one belongs to it.
fn bare(line: &str, at: &Origin, notes: &mut Notes) -> (String, bool) {
    let mut out = String::new();
    let mut in_quotes = false;
    let mut chars = line.trim_start().chars().peekable();
    let mut goes_on = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                in_quotes = !in_quotes;
                out.push(c);
            }
            '\\' => match chars.peek() {
                None => goes_on = true,
                Some('#' | '!') if !in_quotes => out.extend(chars.next()),
                Some(_) => {
                    out.push(c);
                    out.extend(chars.next());
                }
            },
            '#' | '!' if !in_quotes => break,
            _ => out.push(c),
        }
    }
    if in_quotes {
        notes.add(at.clone(), "a quote is not closed");
    }
    (out.trim_end().to_owned(), goes_on)
}

/// `$NAME=VALUE`
fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.strip_prefix('$')?.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_name.then_some((name, value))
}

/// Each `$NAME` and `${NAME}`: where it begins and ends, and the name.
fn variables(text: &str) -> Vec<(usize, usize, &str)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices('$') {
        let rest = &text[start + 1..];
        let (name, length) = match rest.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                Some((name, _)) => (name, name.len() + 3),
                None => continue,
            },
            None => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let name = &rest[..end.unwrap_or(rest.len())];
                (name, name.len() + 1)
            }
        };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        // `$1` is for whoever runs the line.
        if is_name && !name.starts_with(|c: char| c.is_ascii_digit()) {
            found.push((start, start + length, name));
        }
    }
    found
}

/// The pattern of an `include`; its other forms differ only in what they say is an error.
fn included(text: &str) -> Option<&str> {
    let (keyword, pattern) = text.split_once(char::is_whitespace)?;
    let is_include = matches!(
        keyword,
        "include" | "includer" | "includem" | "includew" | "includeb" | "includea"
    );
    is_include.then(|| pattern.trim().trim_matches('"'))
}
