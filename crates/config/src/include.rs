//! The main file and those it includes, as texts that parse.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::diagnostic::Diagnostic;
use crate::files::{Disk, Files};
use crate::keys::{Kind, ROOT, find};
use crate::mask::blot;
use crate::reader::{Place, Reader, Text, locate};
use crate::substitute::{mend_io, os_reason};
use crate::value::Value;

/// Quotes that look like quotes and are letters to TOML.
const CURLY: [char; 6] = ['“', '”', '„', '‘', '’', '«'];
/// Files of one configuration.
pub const FILES_MAX: usize = 256;
/// Bytes of one file.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Reads the main file and all that it includes; the main file comes first.
pub(crate) fn read(main: &Path, files: &dyn Files) -> Result<Vec<Text>, Vec<Diagnostic>> {
    let text = read_main(main, files).map_err(|unreadable| vec![*unreadable])?;
    let mut texts = vec![text];
    let mut diagnostics = Vec::new();
    for (place, path) in wanted(&texts, files, &mut diagnostics) {
        if texts.iter().any(|text| Path::new(&text.name) == path) {
            continue;
        }
        let refuse = |message: String| {
            Diagnostic::error("unreadable-file", message)
                .at(locate(&texts[0], place.start..place.end))
                .about("include")
        };
        if texts.len() == FILES_MAX {
            diagnostics.push(refuse(format!("more than {FILES_MAX} files are included")));
            break;
        }
        match read_text(&path, files) {
            Ok(text) => texts.push(text),
            Err((why, help)) => {
                let message = format!("the file {} cannot be read: {why}", path.display());
                diagnostics.push(refuse(message).help(help));
            }
        }
    }
    diagnostics.extend(texts.iter().flat_map(syntax_errors));
    if diagnostics.is_empty() { Ok(texts) } else { Err(diagnostics) }
}

/// The text of a configuration's main file alone, or why it cannot be read.
pub fn read_file(main: &Path) -> Result<String, Box<Diagnostic>> {
    read_main(main, &Disk).map(|text| text.text)
}

fn read_main(main: &Path, files: &dyn Files) -> Result<Text, Box<Diagnostic>> {
    read_text(main, files).map_err(|(why, help)| {
        let message = format!("the configuration {} cannot be read: {why}", main.display());
        let file = main.display().to_string();
        Box::new(Diagnostic::error("unreadable-file", message).in_file(file).help(help))
    })
}

fn read_text(path: &Path, files: &dyn Files) -> Result<Text, (String, &'static str)> {
    let bytes = files.read(path).map_err(|error| (os_reason(&error), mend_io(&error)))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(("it is longer than 1 MiB".to_owned(), "split it, and `include` the parts"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| ("it is not UTF-8 text".to_owned(), "save it as UTF-8"))?;
    let directory = path.parent().map(Path::to_owned).unwrap_or_default();
    let (name, shown) = (path.display().to_string(), blot(&text));
    Ok(Text { name, directory, shown, text, line_starts: Default::default() })
}

/// The files that `include` of the main file names, and where it does.
fn wanted(
    texts: &[Text],
    files: &dyn Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<(Place, PathBuf)> {
    let (tree, _) = DeTable::parse_recoverable(&texts[0].text);
    let Some((key, value)) = tree.get_ref().get_key_value("include") else { return Vec::new() };
    let reader = Reader::new(texts, files);
    let value = Value {
        reader: &reader,
        value,
        anchor: Place { file: 0, start: key.span().start, end: key.span().end },
        path: "include".to_owned(),
        described: "include".to_owned(),
        kind: &find(ROOT, "include").expect("`include` is described").kind,
    };
    debug_assert!(matches!(value.kind, Kind::List(_)), "`include` is a list");
    let mut wanted = Vec::new();
    for item in value.items() {
        let Some(words) = item.words() else { continue };
        match expand(&texts[0].directory.join(&*words.text), files) {
            Ok(paths) => wanted.extend(paths.into_iter().map(|path| (item.place(), path))),
            Err((message, help)) => {
                item.report(Diagnostic::error("unreadable-file", message).help(help));
            }
        }
    }
    diagnostics.append(&mut reader.diagnostics.take());
    wanted
}

/// The files that a pattern stands for, in order of name; none is no error if it has wildcards.
pub(crate) fn expand(
    pattern: &Path,
    files: &dyn Files,
) -> Result<Vec<PathBuf>, (String, &'static str)> {
    let is_wild = |text: &OsStr| text.to_string_lossy().contains(['*', '?']);
    let directory = pattern.parent().unwrap_or_else(|| Path::new(""));
    if is_wild(directory.as_os_str()) {
        let message = format!("`{}` has a wildcard in a directory", pattern.display());
        return Err((message, "wildcards stand in the last part only: \"conf.d/*.toml\""));
    }
    let Some(name) = pattern.file_name().filter(|name| is_wild(name)) else {
        return Ok(vec![pattern.to_owned()]);
    };
    let name: Vec<char> = name.to_string_lossy().chars().collect();
    let paths = match files.list(directory) {
        Ok(paths) => paths,
        // `conf.d` need not exist before there is something to put in it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let message = format!(
                "the directory {} cannot be read: {}",
                directory.display(),
                os_reason(&error)
            );
            return Err((message, mend_io(&error)));
        }
    };
    Ok(paths
        .into_iter()
        .filter(|path| {
            let found = path.file_name().unwrap_or_default().to_string_lossy();
            let found: Vec<char> = found.chars().collect();
            matches(&name, &found) && (found[0] != '.' || name[0] == '.')
        })
        .collect())
}

/// Whether `name` is what `pattern`, with `*` and `?`, stands for.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut star) = ((0, 0), None);
    while at.1 < name.len() {
        match pattern.get(at.0) {
            Some('*') => {
                star = Some(at);
                at.0 += 1;
            }
            Some(&c) if c == '?' || c == name[at.1] => at = (at.0 + 1, at.1 + 1),
            _ => match star {
                // Let the last star stand for one more letter.
                Some((p, n)) => {
                    star = Some((p, n + 1));
                    at = (p + 1, n + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at.0..].iter().all(|&c| c == '*')
}

/// What keeps a text from being TOML: the first error, and others that do not follow from it.
pub(crate) fn syntax_errors(text: &Text) -> Vec<Diagnostic> {
    let (_, mut errors) = DeTable::parse_recoverable(&text.text);
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    for error in errors {
        let location = locate(text, error.span().unwrap_or(0..0));
        let same_line = |earlier: &Diagnostic| earlier.line == location.line_column.0;
        if diagnostics.last().is_some_and(same_line) {
            continue;
        }
        let (message, help) = explain(error.message(), text, error.span());
        let goes_on =
            ["unclosed", "array", "inline table", "comma", "basic string", "literal string"];
        let is_cascade = goes_on.iter().any(|word| error.message().contains(word))
            && !error.message().contains("must be quoted");
        let code = if message.contains("twice") { "duplicate-key" } else { "syntax" };
        let diagnostic = Diagnostic::error(code, message).at(location);
        diagnostics.push(match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        });
        if is_cascade {
            break;
        }
    }
    diagnostics
}

/// The parser's words in the operator's, with advice for the usual slips.
fn explain(
    message: &str,
    text: &Text,
    span: Option<std::ops::Range<usize>>,
) -> (String, Option<String>) {
    let plain = |message: &str, help: &str| (message.to_owned(), Some(help.to_owned()));
    let found = span.clone().and_then(|span| text.shown.get(span)).unwrap_or_default();
    let word = span.map(|span| bare_word(&text.shown, span.start)).unwrap_or_default();
    let is_bare = ["string values must be quoted", "invalid float", "invalid integer"]
        .iter()
        .any(|known| message.starts_with(known));
    if is_bare && word.is_empty() {
        return plain("there is no value behind the `=`", "write the value, text in quotes");
    }
    if let (true, Some(flag)) = (is_bare, flag_meant(word)) {
        return (format!("`{word}` is no value"), Some(format!("write `{flag}`")));
    }
    if is_bare && word.starts_with(CURLY) {
        return plain(
            "these quotes are not the plain ones",
            "write \"…\" with the plain quote sign; word processors turn it into others",
        );
    }
    if is_bare {
        let word = if found.starts_with(word) { found.trim_end() } else { word };
        let message = format!("`{word}` must be in quotes: it is no number, `true` or `false`");
        return (message, Some(format!("write \"{word}\"")));
    }
    if message.starts_with("duplicate key") {
        let message = format!("`{found}` stands here twice");
        return (message, Some("keep one of them, with the keys of both".to_owned()));
    }
    if message.starts_with("unclosed table") {
        return plain(
            "the `[` is not closed",
            "write `]` at the end of the name; names have no spaces",
        );
    }
    if message.starts_with("unclosed array") || message.starts_with("missing comma between array") {
        return plain(
            "a list is not closed, or a comma is missing",
            "lists look like [\"a\", \"b\"]",
        );
    }
    if message.contains("inline table") || message.starts_with("missing comma between key-value") {
        let help = "tables in one line look like { a = 1, b = 2 }, with text in quotes";
        return plain("a table is not closed, or a comma is missing", help);
    }
    if message.starts_with("invalid basic string") || message.starts_with("invalid literal string")
    {
        return plain("the text is not closed", "write the same quote at its end");
    }
    if message.starts_with("key with no value") {
        return plain("there is no `=` behind the key", "write `key = value`");
    }
    if message.starts_with("invalid boolean") {
        return plain("this is not a value", "write `true`, `false`, or \"…\" around text");
    }
    if message.contains("escape") {
        return plain(
            "a backslash in \"…\" begins an escape that does not exist",
            "write `\\\\` for a backslash, or use '…', where backslashes are letters",
        );
    }
    (message.to_owned(), None)
}

/// `true` and `false` as other formats write them.
fn flag_meant(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some("true"),
        "false" | "no" | "off" => Some("false"),
        _ => None,
    }
}

/// The word around a byte, as far as a value without quotes would go.
fn bare_word(text: &str, at: usize) -> &str {
    let ends = |c: char| c.is_whitespace() || "=,[]{}#\"'".contains(c);
    let (Some(before), Some(behind)) = (text.get(..at), text.get(at..)) else { return "" };
    let start = before.rfind(ends).map_or(0, |end| end + 1);
    let end = at + behind.find(ends).unwrap_or(behind.len());
    &text[start..end]
}

/// Reports an `include` in a file that was itself included.
pub(crate) fn refuse_nested(reader: &Reader<'_>, file: usize, tree: &DeTable<'_>) {
    let Some((key, _)) = tree.get_key_value("include") else { return };
    let place = Place { file, start: key.span().start, end: key.span().end };
    reader.report(
        Diagnostic::error("nested-include", "an included file cannot include others")
            .at(reader.locate(place))
            .about("include")
            .help(format!("write this `include` in {}", reader.texts[0].name)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_any_letters() {
        let cases = [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml~", false),
            ("a?.toml", "ab.toml", true),
            ("a?.toml", "a.toml", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a", "a", true),
            ("", "", true),
        ];
        for (pattern, name, expected) in cases {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(matches(&chars(pattern), &chars(name)), expected, "{pattern} {name}");
        }
    }
}
