//! Files as they are read and as they are shown, and places in them.

use std::cell::OnceCell;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::diagnostic::{Excerpt, Location};

/// A part of a file.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// Number of the file.
    pub(crate) file: usize,
    /// First byte.
    pub(crate) start: usize,
    /// First byte after it.
    pub(crate) end: usize,
}

/// A file as it is read and shown.
pub(crate) struct Text {
    /// Its name for the operator.
    pub(crate) name: String,
    /// Where `${file:…}` in it starts from.
    pub(crate) directory: PathBuf,
    /// As it is.
    pub(crate) text: String,
    /// With secrets blotted out, byte for byte as long as `text`.
    pub(crate) shown: Arc<str>,
    /// Found when the first place is told.
    pub(crate) line_starts: OnceCell<Vec<usize>>,
}

/// A part of `text`, ready to be shown.
pub(crate) fn locate(text: &Text, span: Range<usize>) -> Location {
    let start = floor(&text.text, span.start);
    let starts = text.line_starts.get_or_init(|| line_starts(&text.text));
    let line = starts.partition_point(|&line_start| line_start <= start);
    let line_start = starts[line - 1];
    let column = text.text[line_start..start].chars().count() + 1;
    let end = floor(&text.text, span.end.max(start));
    Location {
        file: text.name.clone(),
        line_column: (line, column),
        excerpt: Excerpt { text: Arc::clone(&text.shown), span: start..end },
    }
}

/// Where each line begins; the first at 0.
fn line_starts(text: &str) -> Vec<usize> {
    let after = text.match_indices('\n').map(|(newline, _)| newline + 1);
    std::iter::once(0).chain(after).collect()
}

/// The character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
