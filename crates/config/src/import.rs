//! Configurations of other programs as ours: what can be carried, and a line for what cannot.

use std::fmt;

mod keepalived;

pub use keepalived::import_keepalived;

/// What an import came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Imported {
    /// A configuration for Evergate. Where a person must decide, it has a comment.
    pub toml: String,
    /// What could not be carried, or not as it was; in the order of the lines.
    pub notes: Vec<ImportNote>,
}

/// Something that could not be carried, or not as it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportNote {
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// What, for people.
    pub message: String,
}

impl fmt::Display for ImportNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}
