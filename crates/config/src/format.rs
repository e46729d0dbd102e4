//! `evergate fmt`: one style for every file, comments kept, meaning kept, TOML 1.0 out.
//!
//! The text is parsed by `toml_edit`, which keeps comments, and printed anew: sections in the
//! order of the reference, tables of one name together, one blank line between sections, at most
//! one between keys, lists that are too long one item a line. A comment stays with what stands
//! below it; comments before a blank line stay with the section above.

mod value;

use toml_edit::{DocumentMut, Item, Key, RawString, Table};

use crate::diagnostic::Diagnostic;
use crate::effective::text as quote;
use crate::include::syntax_errors;
use crate::mask::blot;
use crate::reader::Text;

/// Columns of a line; lists that are longer are split.
const WIDTH: usize = 100;

/// Sections in the order in which they are printed; others come after them.
const ORDER: [&str; 12] = [
    "node",
    "admin",
    "log",
    "listener",
    "acme",
    "route",
    "middleware",
    "pool",
    "app",
    "vip",
    "cluster",
    "watchdog",
];

/// Formats a file. What comes out means the same, and formatting it again changes nothing.
///
/// Refuses what is not TOML; keys are not checked. The diagnostics name no file.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let source = Text {
        line_starts: Default::default(),
        name: String::new(),
        directory: std::path::PathBuf::new(),
        text: text.to_owned(),
        shown: blot(text),
    };
    let errors = syntax_errors(&source);
    if !errors.is_empty() {
        return Err(errors);
    }
    let refuse = |message: String| vec![Diagnostic::error("syntax", message)];
    let document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| refuse(error.message().to_owned()))?;
    let formatted = print(document);
    // A formatter that loses a key takes a site down: never hand out what means something else.
    let (before, after) = (text.parse::<toml::Table>(), formatted.parse::<toml::Table>());
    match (before, after) {
        (Ok(before), Ok(after)) if before == after => Ok(formatted),
        _ => Err(refuse("this file cannot be formatted without changing it".to_owned())),
    }
}

/// A header with everything up to the next.
#[derive(Default)]
struct Block {
    /// Sorts blocks: section, first block of that name, place in the file.
    rank: (usize, usize, usize),
    /// Comments right above the header.
    above: Vec<Line>,
    /// `[pool.api]`; none for the keys above all sections.
    header: Option<String>,
    /// Keys, and comments above them.
    body: Vec<Line>,
    /// Comments below the last key.
    below: Vec<Line>,
}

/// A line as it is printed.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Line {
    Blank,
    Comment(String),
    Code(String),
}

fn print(document: DocumentMut) -> String {
    let mut tables = Vec::new();
    collect(document.as_table(), &mut Vec::new(), &mut tables);
    tables.sort_by_key(|(_, table, _)| table.position());
    let mut blocks = vec![Block { body: body(document.as_table()), ..Block::default() }];
    let mut names: Vec<&[String]> = Vec::new();
    for (index, (path, table, is_item)) in tables.iter().enumerate() {
        let (prefix, suffix) = (table.decor().prefix(), table.decor().suffix());
        let (below, above) = split_last_blank(lines(prefix));
        let last = blocks.last_mut().expect("the keys above all sections are a block");
        last.below = below;
        let name = &path[..path.len().min(2)];
        let group = names.iter().position(|known| *known == name).unwrap_or(names.len());
        if group == names.len() {
            names.push(name);
        }
        let section = ORDER.iter().position(|word| *word == path[0]).unwrap_or(ORDER.len());
        blocks.push(Block {
            rank: (section + 1, group, index),
            above,
            header: Some(header(path, *is_item) + &comment_behind(suffix)),
            body: body(table),
            below: Vec::new(),
        });
    }
    let last = blocks.last_mut().expect("the keys above all sections are a block");
    last.below = lines(Some(document.trailing()));
    blocks.sort_by_key(|block| block.rank);
    join(&blocks)
}

/// Every table with a header of its own, with its path, and whether it is an item of `[[…]]`.
fn collect<'t>(
    table: &'t Table,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, &'t Table, bool)>,
) {
    for (key, item) in table.iter() {
        path.push(key.to_owned());
        match item {
            Item::Table(child) => {
                if !child.is_implicit() && !child.is_dotted() {
                    found.push((path.clone(), child, false));
                }
                collect(child, path, found);
            }
            Item::ArrayOfTables(children) => {
                for child in children.iter() {
                    found.push((path.clone(), child, true));
                    collect(child, path, found);
                }
            }
            Item::None | Item::Value(_) => {}
        }
        path.pop();
    }
}

fn header(path: &[String], is_item: bool) -> String {
    let path: Vec<_> = path.iter().map(|name| key(name)).collect();
    let path = path.join(".");
    if is_item { format!("[[{path}]]") } else { format!("[{path}]") }
}

/// The keys of a table, dotted keys included, with their comments.
fn body(table: &Table) -> Vec<Line> {
    let mut body = Vec::new();
    for (keys, value) in table.get_values() {
        for key in &keys {
            body.extend(lines(key.leaf_decor().prefix()));
        }
        body.extend(value::comments_inside(value).into_iter().map(Line::Comment));
        let start = format!("{} = ", dotted(&keys));
        let behind = comment_behind(value.decor().suffix());
        body.extend(value::print(&start, value, &behind).into_iter().map(Line::Code));
    }
    body
}

fn dotted(keys: &[&Key]) -> String {
    keys.iter().map(|part| key(part.get())).collect::<Vec<_>>().join(".")
}

/// A key, bare if it can be.
fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { name.to_owned() } else { quote(name) }
}

/// The blank lines and comments of the text between two things.
fn lines(text: Option<&RawString>) -> Vec<Line> {
    let text = text.and_then(RawString::as_str).unwrap_or_default();
    let mut lines: Vec<Line> = text
        .lines()
        .map(str::trim)
        .map(|line| match line {
            "" => Line::Blank,
            comment => Line::Comment(comment.to_owned()),
        })
        .collect();
    // What follows the last line feed is the indentation of the next thing, not a line.
    if !text.ends_with('\n') && lines.last() == Some(&Line::Blank) {
        lines.pop();
    }
    lines
}

/// What stands before the last blank line, and what behind it.
fn split_last_blank(mut lines: Vec<Line>) -> (Vec<Line>, Vec<Line>) {
    let split = lines.iter().rposition(|line| *line == Line::Blank).map_or(0, |blank| blank + 1);
    let above = lines.split_off(split);
    (lines, above)
}

/// ` # comment`, or nothing.
fn comment_behind(text: Option<&RawString>) -> String {
    let comment = text.and_then(RawString::as_str).unwrap_or_default().trim();
    if comment.is_empty() { String::new() } else { format!(" {comment}") }
}

/// All blocks as text: no blank line at either end, never two together.
fn join(blocks: &[Block]) -> String {
    let mut all: Vec<Line> = Vec::new();
    for block in blocks {
        if block.header.is_some() {
            all.push(Line::Blank);
        }
        all.extend(block.above.iter().cloned());
        all.extend(block.header.iter().cloned().map(Line::Code));
        let first = block.body.iter().position(|line| *line != Line::Blank);
        all.extend(block.body[first.unwrap_or(block.body.len())..].iter().cloned());
        all.extend(block.below.iter().cloned());
    }
    let mut out = String::new();
    let mut is_blank = true;
    for line in all {
        match line {
            Line::Blank if is_blank => continue,
            Line::Blank => {}
            Line::Comment(ref text) | Line::Code(ref text) => out.push_str(text),
        }
        is_blank = line == Line::Blank;
        out.push('\n');
    }
    out.truncate(out.trim_end_matches('\n').len());
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
