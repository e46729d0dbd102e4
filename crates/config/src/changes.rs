//! What was changed through the admin API: routes and servers beside those of the file.
//!
//! A change holds what its section would hold in the file, as TOML, so that it is read, checked and
//! explained like the file. It goes before the section of the same name in the file; dropping it
//! brings that back. Bodies keep `${…}` as it was written and may hold secrets all the same.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::diagnostic::Diagnostic;
use crate::mask::blot;
use crate::reader::Text;

mod body;
mod journal;
mod overlay;

pub use journal::{CHANGES_BYTES_MAX, JournalError};
pub(crate) use overlay::{Overlay, check_pools};

/// Most changes that there can be at once.
pub const CHANGES_MAX: usize = 1024;

/// What a change is about.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Subject {
    /// `route.NAME`
    Route(String),
    /// `pool.POOL/SERVER`
    Server {
        /// Name of the pool, which the file has.
        pool: String,
        /// Name of the server.
        server: String,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(name) => write!(f, "route.{name}"),
            Self::Server { pool, server } => write!(f, "pool.{pool}/{server}"),
        }
    }
}

/// Text that names nothing that can be changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoSubject;

impl fmt::Display for NoSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change is named like `route.api` or `pool.api/a`")
    }
}

impl std::error::Error for NoSubject {}

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let subject = match text.split_once('.') {
            Some(("route", name)) if !name.is_empty() => Self::Route(name.to_owned()),
            Some(("pool", names)) => match names.split_once('/') {
                Some((pool, server)) if !pool.is_empty() && !server.is_empty() => {
                    Self::Server { pool: pool.to_owned(), server: server.to_owned() }
                }
                Some(_) | None => return Err(NoSubject),
            },
            Some(_) | None => return Err(NoSubject),
        };
        Ok(subject)
    }
}

/// One change.
#[derive(Clone, Eq, PartialEq)]
pub struct Change {
    /// When it was made, in seconds of Unix time.
    pub since: u64,
    /// The section as TOML with its header; none hides what the file has. It may hold secrets.
    pub(crate) section: Option<String>,
}

impl Change {
    /// Whether it hides what the file has and puts nothing there.
    pub fn hides(&self) -> bool {
        self.section.is_none()
    }

    /// The section as TOML, secrets blotted out; none if it only hides.
    pub fn shown(&self) -> Option<String> {
        self.section.as_deref().map(|section| blot(section).to_string())
    }
}

/// Says how long the section is, never what is in it.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.section.as_ref().map(String::len);
        write!(f, "Change(since {}, {bytes:?} bytes)", self.since)
    }
}

/// All changes, at most one for each subject.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    entries: BTreeMap<Subject, Change>,
}

impl Changes {
    /// Whether all is as in the file.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Each with its subject, routes first, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&Subject, &Change)> {
        self.entries.iter()
    }

    /// What was changed about `subject`.
    pub fn find(&self, subject: &Subject) -> Option<&Change> {
        self.entries.get(subject)
    }

    /// Puts a section there, in place of what the file or an earlier change has: the keys of the
    /// section as a JSON object.
    ///
    /// # Errors
    /// If `json` is no such object, or there would be more than [`CHANGES_MAX`]. Whether it fits the
    /// file is for [`load_with_changes`](crate::load_with_changes) to say.
    pub fn put(&mut self, subject: &Subject, json: &str, now: u64) -> Result<(), Box<Diagnostic>> {
        let section = body::section(subject, json)?;
        self.insert(subject, Change { since: now, section: Some(section) })
    }

    /// Hides what the file has of this name.
    ///
    /// # Errors
    /// If there would be more than [`CHANGES_MAX`].
    pub fn hide(&mut self, subject: &Subject, now: u64) -> Result<(), Box<Diagnostic>> {
        self.insert(subject, Change { since: now, section: None })
    }

    /// Forgets a change, so that what the file has counts again. Says whether there was one.
    pub fn forget(&mut self, subject: &Subject) -> bool {
        self.entries.remove(subject).is_some()
    }

    fn insert(&mut self, subject: &Subject, change: Change) -> Result<(), Box<Diagnostic>> {
        if self.entries.len() >= CHANGES_MAX && !self.entries.contains_key(subject) {
            let message = format!("there are {CHANGES_MAX} changes already");
            let refusal = Diagnostic::error("too-many-changes", message);
            return Err(Box::new(refusal.in_file(name(subject)).about(subject.to_string()).help(
                "write what is to stay into the file, and run `evergate changes drop NAME`",
            )));
        }
        self.entries.insert(subject.clone(), change);
        Ok(())
    }

    /// What each puts, to be read like a file that lies in `directory`.
    pub(crate) fn texts(&self, directory: &Path) -> impl Iterator<Item = Text> {
        self.entries.iter().filter_map(move |(subject, change)| {
            let text = change.section.clone()?;
            let text = Text {
                name: name(subject),
                directory: directory.to_owned(),
                shown: blot(&text),
                text,
                line_starts: Default::default(),
            };
            Some(text)
        })
    }
}

/// What stands where a diagnostic tells the file.
pub(crate) fn name(subject: &Subject) -> String {
    format!("change {subject}")
}

/// How to be rid of changes.
pub(crate) fn way_out<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> String {
    let names: Vec<_> = subjects.into_iter().map(Subject::to_string).collect();
    format!("run `evergate changes drop {}`", names.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_written_as_they_are_read() {
        for text in ["route.api", "route.a.b", "pool.api/a", "pool.shop/shop/0"] {
            assert_eq!(text.parse::<Subject>().map(|subject| subject.to_string()), Ok(text.into()));
        }
        for text in ["", "api", "route.", "pool.api", "pool./a", "pool.api/", "app.shop"] {
            assert_eq!(text.parse::<Subject>(), Err(NoSubject), "{text}");
        }
    }

    #[test]
    fn there_is_room_for_so_many_and_always_for_another_of_the_same_name() {
        let mut changes = Changes::default();
        for number in 0..CHANGES_MAX {
            changes.hide(&Subject::Route(format!("r{number}")), 1).expect("there is room");
        }
        let refused = changes.hide(&Subject::Route("more".into()), 1).expect_err("it is full");
        assert_eq!(refused.code, "too-many-changes");
        changes.hide(&Subject::Route("r7".into()), 2).expect("it takes no more room");
        assert!(changes.forget(&Subject::Route("r7".into())));
        assert!(!changes.forget(&Subject::Route("r7".into())));
        assert_eq!(changes.len(), CHANGES_MAX - 1);
    }

    #[test]
    fn debug_output_holds_no_body() {
        let mut changes = Changes::default();
        let json = r#"{"match": "/*", "headers": {"authorization": "hush"}}"#;
        changes.put(&Subject::Route("api".into()), json, 1).expect("an object");
        assert!(!format!("{changes:?}").contains("hush"));
        let shown = changes.find(&Subject::Route("api".into())).and_then(Change::shown);
        let shown = shown.expect("it puts something");
        assert!(shown.contains("authorization") && !shown.contains("hush"), "{shown}");
    }
}
