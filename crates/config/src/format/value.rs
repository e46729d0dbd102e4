//! Values as the formatter prints them.

use toml_edit::{Array, InlineTable, RawString, Value};

use super::{WIDTH, dotted};
use crate::effective::text as quote;

/// One step of indentation, in lists of several lines.
const INDENT: &str = "    ";

/// The lines of `start`, a value and a comment behind it. Lists that are too long, or that hold
/// comments, take a line for each item.
pub(super) fn print(start: &str, value: &Value, behind: &str) -> Vec<String> {
    let flat = format!("{start}{}{behind}", flat(value));
    let Value::Array(array) = value else { return vec![flat] };
    if flat.chars().count() <= WIDTH && !has_comments(array) {
        return vec![flat];
    }
    if array.is_empty() && !has_comments(array) {
        return vec![flat];
    }
    let mut lines = vec![format!("{start}[")];
    let mut gap = String::new();
    for item in array.iter() {
        gap.push_str(&text(item.decor().prefix()));
        add_gap(&gap, &mut lines);
        lines.extend(comments_inside(item).into_iter().map(|comment| indented(&comment)));
        lines.push(format!("{INDENT}{},", self::flat(item)));
        gap = text(item.decor().suffix());
    }
    gap.push_str(&text(Some(array.trailing())));
    add_gap(&gap, &mut lines);
    lines.push(format!("]{behind}"));
    lines
}

/// Comments between two items: that of the first line belongs to the item before it.
fn add_gap(gap: &str, lines: &mut Vec<String>) {
    let mut comments = gap.lines().map(str::trim);
    if let Some(behind) = comments.next().filter(|behind| !behind.is_empty()) {
        let last = lines.last_mut().expect("the list was opened");
        *last = format!("{last} {behind}");
    }
    lines.extend(comments.filter(|comment| !comment.is_empty()).map(indented));
}

fn indented(text: &str) -> String {
    format!("{INDENT}{text}")
}

/// A value on one line, without the comments inside it.
fn flat(value: &Value) -> String {
    match value {
        Value::Array(array) => {
            let items: Vec<_> = array.iter().map(flat).collect();
            format!("[{}]", items.join(", "))
        }
        Value::InlineTable(table) => flat_table(table),
        Value::String(string) => match string.as_repr().and_then(|repr| repr.as_raw().as_str()) {
            Some(repr) if !is_toml_1_1(repr) => repr.to_owned(),
            _ => quote(string.value()),
        },
        Value::Integer(number) => number.display_repr().into_owned(),
        Value::Float(number) => number.display_repr().into_owned(),
        Value::Boolean(flag) => flag.display_repr().into_owned(),
        Value::Datetime(date) => date.display_repr().into_owned(),
    }
}

fn flat_table(table: &InlineTable) -> String {
    let fields: Vec<_> = table
        .get_values()
        .iter()
        .map(|(keys, value)| format!("{} = {}", dotted(keys), flat(value)))
        .collect();
    if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
}

/// Whether text is written with an escape that TOML 1.0 does not have: `\e` and `\xHH`.
fn is_toml_1_1(repr: &str) -> bool {
    if !repr.starts_with('"') {
        return false;
    }
    let mut escaped = false;
    repr.chars().any(|c| {
        let is_new = escaped && matches!(c, 'e' | 'x');
        escaped = c == '\\' && !escaped;
        is_new
    })
}

fn has_comments(array: &Array) -> bool {
    let in_gap = |gap: Option<&RawString>| text(gap).contains('#');
    in_gap(Some(array.trailing()))
        || array.iter().any(|item| {
            in_gap(item.decor().prefix())
                || in_gap(item.decor().suffix())
                || !comments_inside(item).is_empty()
        })
}

/// Comments inside of what is printed on one line; they go above it.
pub(super) fn comments_inside(value: &Value) -> Vec<String> {
    let mut gaps = Vec::new();
    match value {
        // A list of its own line keeps its comments where they are.
        Value::InlineTable(table) => table_gaps(table, &mut gaps),
        Value::Array(_)
        | Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {}
    }
    comments(&gaps)
}

fn comments(gaps: &[String]) -> Vec<String> {
    gaps.iter()
        .flat_map(|gap| gap.lines())
        .map(str::trim)
        .filter(|line| line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn table_gaps(table: &InlineTable, gaps: &mut Vec<String>) {
    for (keys, value) in table.get_values() {
        for key in keys {
            for decor in [key.leaf_decor(), key.dotted_decor()] {
                gaps.push(text(decor.prefix()));
                gaps.push(text(decor.suffix()));
            }
        }
        value_gaps(value, gaps);
    }
    gaps.push(text(Some(table.trailing())));
}

fn value_gaps(value: &Value, gaps: &mut Vec<String>) {
    gaps.push(text(value.decor().prefix()));
    match value {
        Value::InlineTable(table) => table_gaps(table, gaps),
        Value::Array(array) => {
            array.iter().for_each(|item| value_gaps(item, gaps));
            gaps.push(text(Some(array.trailing())));
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {}
    }
    gaps.push(text(value.decor().suffix()));
}

fn text(raw: Option<&RawString>) -> String {
    raw.and_then(RawString::as_str).unwrap_or_default().to_owned()
}
