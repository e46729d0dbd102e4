//! Reads a parsed file against the described keys and collects every error on the way.
//!
//! A [`Section`] is a table whose keys are described; asking it for a key that is not described
//! is a bug and panics. Each question has an answer even when the file is wrong: the error goes
//! to the [`Reader`] and the default goes to the caller, so that decoding never stops early.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::changes::Overlay;
use crate::diagnostic::{Diagnostic, Location, Severity};
use crate::files::Files;
use crate::keys::{Absent, Key, Kind, Noun, ROOT, find};
use crate::nearest::{first_part, foreign, nearest};
use crate::value::Value;

mod place;

pub(crate) use place::{Place, Text, locate};

/// Why a value was refused: `complaint` continues "`VALUE` …" and never quotes the value.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) complaint: String,
    pub(crate) help: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: &'static str, complaint: impl Into<String>) -> Self {
        Self { code, complaint: complaint.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// A name that stands for another section.
#[derive(Debug)]
pub(crate) struct Reference {
    /// `${…}` as written, if the name comes from elsewhere: then it is never shown.
    pub(crate) from: Option<String>,
    /// What it must be.
    pub(crate) noun: Noun,
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) path: String,
}

/// A `{NAME}` in a template, which must be a parameter of a match.
#[derive(Debug)]
pub(crate) struct ParamUse {
    /// Whose template it is.
    pub(crate) owner: (Noun, String),
    pub(crate) param: String,
    pub(crate) place: Place,
    pub(crate) path: String,
}

/// What is shared by everything that decodes.
pub(crate) struct Reader<'r> {
    pub(crate) texts: &'r [Text],
    pub(crate) files: &'r dyn Files,
    /// What was changed beside the files.
    pub(crate) overlay: Overlay<'r>,
    /// What was found wrong so far.
    pub(crate) diagnostics: RefCell<Vec<Diagnostic>>,
    /// Names to be resolved when all sections are known.
    pub(crate) references: RefCell<Vec<Reference>>,
    /// Parameters to be found in matches when all routes are known.
    pub(crate) params: RefCell<Vec<ParamUse>>,
    /// Sections without names, such as `[[pool]]`: what they hold is not known.
    pub(crate) unnamed: RefCell<BTreeSet<Noun>>,
    /// Where each thing stands.
    pub(crate) places: RefCell<BTreeMap<(Noun, String), Place>>,
    /// Described paths (`pool.NAME.balance`) that were asked for while present.
    #[cfg(test)]
    pub(crate) asked: RefCell<BTreeSet<String>>,
}

impl<'r> Reader<'r> {
    pub(crate) fn new(texts: &'r [Text], files: &'r dyn Files) -> Self {
        Self {
            texts,
            files,
            overlay: Overlay::default(),
            diagnostics: RefCell::default(),
            references: RefCell::default(),
            params: RefCell::default(),
            unnamed: RefCell::default(),
            places: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// Notes what is wrong.
    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// Whether the configuration is refused already.
    pub(crate) fn has_errors(&self) -> bool {
        let is_error = |found: &Diagnostic| found.severity == Severity::Error;
        self.diagnostics.borrow().iter().any(is_error)
    }

    /// The place, ready to be shown.
    pub(crate) fn locate(&self, place: Place) -> Location {
        locate(&self.texts[place.file], place.start..place.end)
    }

    /// `file:line`.
    pub(crate) fn origin(&self, place: Place) -> String {
        let location = self.locate(place);
        format!("{}:{}", location.file, location.line_column.0)
    }
}

/// A table whose keys are described.
pub(crate) struct Section<'r> {
    pub(crate) reader: &'r Reader<'r>,
    keys: &'static [Key],
    table: &'r DeTable<'r>,
    /// The name that the operator gave it; empty in tables with a fixed name.
    pub(crate) name: String,
    /// As the operator wrote it: `pool.api`.
    pub(crate) path: String,
    /// As it is described: `pool.NAME`.
    described: String,
    /// Where its name stands.
    pub(crate) place: Place,
}

impl<'r> Section<'r> {
    /// The top level of a file.
    pub(crate) fn root(reader: &'r Reader<'r>, table: &'r DeTable<'r>, file: usize) -> Self {
        Self {
            reader,
            keys: ROOT,
            table,
            name: String::new(),
            path: String::new(),
            described: String::new(),
            place: Place { file, start: 0, end: 0 },
        }
        .checked()
    }

    /// Reports every key that is not described, or not in this version.
    pub(crate) fn new(
        value: &Value<'r>,
        table: &'r DeTable<'r>,
        keys: &'static [Key],
        name: &str,
    ) -> Self {
        Self {
            reader: value.reader,
            keys,
            table,
            name: name.to_owned(),
            path: value.path.clone(),
            described: value.described.clone(),
            place: value.anchor,
        }
        .checked()
    }

    fn checked(self) -> Self {
        for (key, _) in self.table.iter() {
            match find(self.keys, key.get_ref()) {
                Some(known) if known.is_ready() => {}
                Some(known) => self.refuse_later(key, known),
                None => self.refuse_unknown(key),
            }
        }
        self
    }

    fn key_place(&self, key: &Spanned<std::borrow::Cow<'_, str>>) -> Place {
        Place { file: self.place.file, start: key.span().start, end: key.span().end }
    }

    fn refuse_later(&self, key: &Spanned<std::borrow::Cow<'_, str>>, known: &Key) {
        let message = format!("this version of Evergate does not have `{}` yet", known.name);
        self.reader.report(
            Diagnostic::error("not-supported-yet", message)
                .at(self.reader.locate(self.key_place(key)))
                .about(join(&self.path, known.name))
                .help(format!("remove it; `{}` will be for {}", known.name, known.doc)),
        );
    }

    fn refuse_unknown(&self, key: &Spanned<std::borrow::Cow<'_, str>>) {
        let word: &str = key.get_ref();
        let help = match self.meant(word) {
            Some((_, meant)) => format!("did you mean `{meant}`?"),
            None => format!("it can have {}", self.ready().collect::<Vec<_>>().join(", ")),
        };
        if let Some((Key { kind: Kind::Named(noun, _), .. }, _)) = self.meant(word) {
            // What is in there is not known either, so nothing that is missing is worth a word.
            self.reader.unnamed.borrow_mut().insert(*noun);
        }
        let message = if self.path.is_empty() {
            format!("unknown section `{word}`")
        } else {
            format!("unknown key `{word}` in `{}`", self.path)
        };
        self.reader.report(
            Diagnostic::error("unknown-key", message)
                .at(self.reader.locate(self.key_place(key)))
                .about(join(&self.path, word))
                .help(help),
        );
    }

    /// The keys that may stand here.
    fn ready(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().filter(|key| key.is_ready()).map(|key| key.name)
    }

    /// The key that was probably meant by one that is not described, and how to write it.
    fn meant(&self, word: &str) -> Option<(&'static Key, &'static str)> {
        // A word that others use is no slip.
        let meant = foreign(word, self.ready()).or_else(|| nearest(word, self.ready()))?;
        Some((find(self.keys, first_part(meant))?, meant))
    }

    /// The description of a key. Panics if there is none: then decoder and description differ.
    fn describe(&self, name: &str) -> &'static Key {
        find(self.keys, name).unwrap_or_else(|| panic!("`{}.{name}` is not described", self.path))
    }

    /// The key, if it is written.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'r>> {
        let key = self.describe(name);
        let described = join(&self.described, name);
        let Some((written, value)) = self.table.get_key_value(name) else {
            if matches!(key.absent, Absent::Error) {
                self.report_missing(key);
            }
            return None;
        };
        #[cfg(test)]
        self.reader.asked.borrow_mut().insert(described.clone());
        let path = join(&self.path, name);
        let anchor = self.key_place(written);
        Some(Value { reader: self.reader, value, anchor, path, described, kind: &key.kind })
    }

    fn report_missing(&self, key: &Key) {
        let is_slip = |word: &str| {
            find(self.keys, word).is_none()
                && self.meant(word).is_some_and(|(meant, _)| meant.name == key.name)
        };
        // It is there, but under a wrong name, which is reported.
        if self.table.iter().any(|(word, _)| is_slip(word.get_ref())) {
            return;
        }
        let message = format!("`{}` needs `{}`", self.path, key.name);
        self.reader.report(
            Diagnostic::error("missing-key", message)
                .at(self.reader.locate(self.place))
                .about(join(&self.path, key.name))
                .help(format!("write, for example, `{} = {}`", key.name, key.sample())),
        );
    }

    /// Whether the key is written, be it right or wrong.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.describe(name);
        self.table.contains_key(name)
    }

    /// The default as described. Panics if there is none.
    fn default(&self, name: &str) -> &'static str {
        match self.describe(name).absent {
            Absent::Is(text) => text,
            Absent::Error | Absent::Means(_) => {
                panic!("`{}.{name}` has no described default", self.path)
            }
        }
    }

    /// Text as `parse` understands it; `None` if it is missing or wrong.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        self.get(name)?.parsed(parse)
    }

    /// Text as `parse` understands it, or the described default.
    pub(crate) fn parsed_or_default<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> T {
        self.parsed(name, &parse).unwrap_or_else(|| {
            parse(self.default(name)).expect("described defaults are right; a test loads them all")
        })
    }

    /// One of the described words, as `words` understands them, or the described default.
    pub(crate) fn choice<T: Copy>(&self, name: &str, words: &[(&'static str, T)]) -> T {
        self.choice_if_written(name, words).unwrap_or_else(|| meaning(words, self.default(name)))
    }

    /// One of the described words, as `words` understands them; `None` if it is missing or wrong.
    pub(crate) fn choice_if_written<T: Copy>(
        &self,
        name: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        self.get(name)?.choice(words)
    }

    /// A list of described words, as `words` understands them, or the described default.
    pub(crate) fn choices<T: Copy>(&self, name: &str, words: &[(&'static str, T)]) -> Vec<T> {
        if self.has(name) {
            return self.items(name).iter().filter_map(|item| item.choice(words)).collect();
        }
        self.default(name).split_whitespace().map(|word| meaning(words, word)).collect()
    }

    /// A number within the described bounds, or the described default.
    pub(crate) fn number<T: TryFrom<u64>>(&self, name: &str) -> T {
        let number = self.get(name).and_then(|value| value.number()).unwrap_or_else(|| {
            self.default(name).parse().expect("the described default of a number is a number")
        });
        T::try_from(number).ok().expect("described bounds fit the type")
    }

    /// A number within the described bounds; `None` if it is missing or wrong.
    pub(crate) fn number_if_written<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        let number = self.get(name)?.number()?;
        Some(T::try_from(number).ok().expect("described bounds fit the type"))
    }

    /// True or false, or the described default.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let written = self.get(name).and_then(|value| value.flag());
        written.unwrap_or_else(|| self.default(name) == "true")
    }

    /// The items of a list; none if it is not written.
    pub(crate) fn items(&self, name: &str) -> Vec<Value<'r>> {
        self.get(name).map(|value| value.items()).unwrap_or_default()
    }

    /// A list, each item as `parse` understands it; or the described default; or nothing.
    pub(crate) fn list<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> Vec<T> {
        if self.has(name) {
            return self.items(name).iter().filter_map(|item| item.parsed(&parse)).collect();
        }
        match self.describe(name).absent {
            Absent::Error => {
                self.get(name);
                Vec::new()
            }
            Absent::Means(_) => Vec::new(),
            Absent::Is(items) => items
                .split_whitespace()
                .map(|item| parse(item).expect("described defaults are right"))
                .collect(),
        }
    }

    /// The table behind a key, if it is written.
    pub(crate) fn section(&self, name: &str) -> Option<Self> {
        self.get(name)?.section()
    }

    /// The table behind a key; empty, so that it gives its defaults, if it is missing or wrong.
    pub(crate) fn section_or_empty(&self, name: &str) -> Self {
        static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);
        self.section(name).unwrap_or_else(|| {
            let Kind::Table(keys) = self.describe(name).kind else {
                panic!("`{}.{name}` is described as a table", self.path)
            };
            Section {
                reader: self.reader,
                keys,
                table: &EMPTY,
                name: String::new(),
                path: join(&self.path, name),
                described: join(&self.described, name),
                place: self.place,
            }
        })
    }

    /// Names and values of the table behind a key.
    pub(crate) fn entries(&self, name: &str) -> Vec<(String, Value<'r>)> {
        self.get(name).map(|value| value.entries()).unwrap_or_default()
    }

    /// Reports that the whole section may not be as meant.
    pub(crate) fn warn(&self, code: &'static str, message: String, help: &str) {
        self.reader.report(
            Diagnostic::warning(code, message)
                .at(self.reader.locate(self.place))
                .about(&self.path)
                .help(help),
        );
    }

    /// Reports that something is wrong with the whole section.
    pub(crate) fn fail(&self, code: &'static str, message: String, help: &str) {
        self.reader.report(
            Diagnostic::error(code, message)
                .at(self.reader.locate(self.place))
                .about(&self.path)
                .help(help),
        );
    }
}

/// What a described default means.
fn meaning<T: Copy>(words: &[(&'static str, T)], default: &str) -> T {
    let found = words.iter().find(|(word, _)| *word == default);
    found.expect("described defaults are right; a test loads them all").1
}

/// `path.name`, with quotes around a name that needs them.
pub(crate) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    match (path.is_empty(), bare) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{name:?}"),
        (false, true) => format!("{path}.{name}"),
        (false, false) => format!("{path}.{name:?}"),
    }
}

/// What TOML calls a value.
pub(crate) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(true) => "`true`",
        DeValue::Boolean(false) => "`false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
