//! One value of the file: of the right type, or reported.

use std::borrow::Cow;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use crate::diagnostic::Diagnostic;
use crate::keys::{Key, Kind, Noun};
use crate::nearest::{foreign, nearest};
use crate::reader::{Fault, Place, Reader, Reference, Section, join, type_of};
use crate::substitute::stands_for;
use crate::{duration, size};

/// Bytes of a name that an operator chooses.
const NAME_BYTES_MAX: usize = 64;

/// A value and what is described to stand there.
pub(crate) struct Value<'r> {
    pub(crate) reader: &'r Reader<'r>,
    pub(crate) value: &'r Spanned<DeValue<'r>>,
    /// Where its key stands (of an item in a list: the item).
    pub(crate) anchor: Place,
    /// As the operator wrote it: `pool.api.balance`.
    pub(crate) path: String,
    /// As it is described: `pool.NAME.balance`.
    pub(crate) described: String,
    pub(crate) kind: &'static Kind,
}

/// Text of the file, or what `${…}` stood for.
pub(crate) struct Words<'r> {
    pub(crate) text: Cow<'r, str>,
    /// `${…}` as written, if the text comes from elsewhere: then it is never shown.
    pub(crate) from: Option<&'r str>,
}

impl<'r> Value<'r> {
    /// Where it stands. Tables stand where their name does: theirs may be in several pieces.
    pub(crate) fn place(&self) -> Place {
        match self.value.get_ref() {
            DeValue::Table(_) => self.anchor,
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                let span = self.value.span();
                Place { file: self.anchor.file, start: span.start, end: span.end }
            }
        }
    }

    /// Reports a diagnostic here.
    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        let location = self.reader.locate(self.place());
        self.reader.report(diagnostic.at(location).about(&self.path));
    }

    /// Reports that it is not of the described type.
    pub(crate) fn wrong_type(&self) {
        let found = self.value.get_ref();
        let message =
            format!("`{}` must be {}, not {}", self.path, self.kind.noun(), type_of(found));
        let diagnostic = Diagnostic::error("wrong-type", message);
        self.report(match self.mend(found) {
            Some(mend) => diagnostic.help(format!("write {mend}")),
            None => diagnostic,
        });
    }

    /// How a value of the wrong type was probably meant.
    fn mend(&self, found: &DeValue<'_>) -> Option<String> {
        let number = match found {
            DeValue::Integer(number) => Some(number.as_str()),
            DeValue::Float(number) => Some(number.as_str()),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        match (self.kind, number, found) {
            (Kind::Duration | Kind::Delay, Some(number), _) => Some(format!("\"{number}s\"")),
            (Kind::Size, Some(number), _) => Some(match number.parse() {
                Ok(bytes) if bytes >= 1024 => format!("\"{}\"", size::show(bytes)),
                _ => format!("\"{number}B\" for bytes, or \"{number}KiB\", \"{number}MiB\""),
            }),
            (Kind::Rate, Some(number), _) => Some(format!("\"{number}B/s\" for bytes a second")),
            (Kind::Octal, Some(number), DeValue::Integer(integer)) if integer.radix() == 8 => {
                Some(format!("\"{number}\""))
            }
            (Kind::Octal, Some(_), _) => Some("\"027\", octal digits in quotes".to_owned()),
            (Kind::CoreShare, Some(number), _) => Some(mend_share(number)),
            (Kind::Percent, Some(number), _) => Some(format!("\"{number}%\"")),
            (Kind::Statuses | Kind::Ports, Some(number), _) => Some(format!("\"{number}\"")),
            (Kind::Text | Kind::Path, Some(number), _) => Some(format!("\"{number}\"")),
            (Kind::Choice(words), Some(number), _) => choice(words, number),
            (Kind::Choice(words), None, DeValue::Boolean(flag)) => choice(words, &flag.to_string()),
            (
                Kind::Number(..) | Kind::NumberOf(_) | Kind::Status(..),
                None,
                DeValue::String(text),
            ) => {
                let plain = text.parse::<u64>().is_ok();
                plain.then(|| format!("{text} without quotes"))
            }
            (Kind::Flag, None, DeValue::String(text)) => {
                matches!(&**text, "true" | "false").then(|| format!("{text} without quotes"))
            }
            (Kind::List(Kind::Secret), _, _) => Some("brackets around it".to_owned()),
            (Kind::List(_), None, DeValue::String(text)) => listed(text),
            (Kind::List(Kind::Address), Some(port), _) => Some(format!("[\"0.0.0.0:{port}\"]")),
            (Kind::List(_), Some(number), _) => Some(format!("[\"{number}\"]")),
            (Kind::Table(keys), None, DeValue::String(text)) => mend_table(keys, text),
            (Kind::Table(keys), _, _) => keys
                .iter()
                .find(|key| key.is_ready())
                .map(|key| format!("{{ {} = {} }}", key.name, key.sample())),
            _ => None,
        }
    }

    /// Text, `${…}` replaced.
    pub(crate) fn words(&self) -> Option<Words<'r>> {
        let DeValue::String(written) = self.value.get_ref() else {
            self.wrong_type();
            return None;
        };
        match stands_for(written) {
            Ok(None) => {
                if matches!(self.kind, Kind::Secret) {
                    self.warn_if_public(Path::new(&self.reader.texts[self.anchor.file].name));
                }
                Some(Words { text: Cow::Borrowed(written), from: None })
            }
            Ok(Some(source)) => {
                let text = self.fetch(&source)?;
                Some(Words { text: Cow::Owned(text), from: Some(written) })
            }
            Err(message) => {
                self.report(Diagnostic::error("bad-reference", message).help(
                    "`${env:NAME}` and `${file:PATH}` stand for a whole value: \"${env:NAME}\"",
                ));
                None
            }
        }
    }

    /// Whether the text is `${…}`, so that what it stands for is never shown.
    pub(crate) fn is_from_elsewhere(&self) -> bool {
        let written = self.value.get_ref().as_str();
        written.is_some_and(|written| matches!(stands_for(written), Ok(Some(_))))
    }

    /// Text as `parse` understands it.
    pub(crate) fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<T> {
        let words = self.words()?;
        match parse(&words.text) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.refuse(&words, fault);
                None
            }
        }
    }

    /// One of the described words, as `words` understands them.
    pub(crate) fn choice<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        self.parsed(|written| {
            if let Some((_, meant)) = words.iter().find(|(word, _)| *word == written) {
                return Ok(*meant);
            }
            let fault = Fault::new("bad-choice", "is not a known value");
            let known = || words.iter().map(|(word, _)| *word);
            Err(match foreign(written, known()).or_else(|| nearest(written, known())) {
                Some(meant) => fault.help(format!("did you mean \"{meant}\"?")),
                None => fault.help(format!("write {}", self.kind.noun())),
            })
        })
    }

    /// Reports what is wrong with the text. Text from elsewhere is not shown, nor is advice that
    /// would repeat it.
    pub(crate) fn refuse(&self, words: &Words<'_>, fault: Fault) {
        let hidden = words.from.is_some() || matches!(self.kind, Kind::Secret);
        let shown = match words.from {
            Some(from) => format!("the value of `{from}`"),
            None if hidden => "this secret".to_owned(),
            None if words.text.is_empty() => "`\"\"`".to_owned(),
            None => format!("`{}`", words.text.escape_debug()),
        };
        let diagnostic = Diagnostic::error(fault.code, format!("{shown} {}", fault.complaint));
        self.report(match fault.help.filter(|_| !hidden) {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        });
    }

    /// Reports that the same text stands in the list before it.
    pub(crate) fn refuse_twice(&self) {
        let fault = Fault::new("duplicate-item", "stands here twice").help("keep one of them");
        if let Some(words) = self.words() {
            self.refuse(&words, fault);
        }
    }

    /// A number within the described bounds.
    pub(crate) fn number(&self) -> Option<u64> {
        let fits = |number: &u64| match self.kind {
            Kind::Number(least, most) | Kind::NumberOr(_, least, most) => {
                (least..=most).contains(&number)
            }
            Kind::NumberOf(numbers) => numbers.contains(number),
            Kind::Status(least, most) => (u64::from(*least)..=u64::from(*most)).contains(number),
            other => panic!("`{}` is described as {}", self.described, other.word()),
        };
        let DeValue::Integer(written) = self.value.get_ref() else {
            self.wrong_type();
            return None;
        };
        let number = u64::from_str_radix(written.as_str(), written.radix()).ok().filter(fits);
        if number.is_none() {
            let message = format!("`{}` must be {}, not {written}", self.path, self.kind.noun());
            self.report(Diagnostic::error("out-of-range", message));
        }
        number
    }

    /// Whether it is exactly this text.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.value.get_ref().as_str() == Some(word)
    }

    /// Whether it is `[]`.
    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Array(items) if items.is_empty())
    }

    /// Whether it is `{}`.
    pub(crate) fn is_empty_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(table) if table.is_empty())
    }

    /// True or false.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wrong_type();
                None
            }
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Vec<Self> {
        let Kind::List(item_kind) = self.kind else {
            panic!("`{}` is described as {}", self.described, self.kind.word())
        };
        let DeValue::Array(items) = self.value.get_ref() else {
            self.wrong_type();
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, value)| Self {
                reader: self.reader,
                value,
                anchor: Place {
                    file: self.anchor.file,
                    start: value.span().start,
                    end: value.span().end,
                },
                path: format!("{}[{index}]", self.path),
                described: format!("{}[]", self.described),
                kind: item_kind,
            })
            .collect()
    }

    /// The table with described keys.
    pub(crate) fn section(&self) -> Option<Section<'r>> {
        let keys = match self.kind {
            Kind::Table(keys) | Kind::Named(_, keys) => *keys,
            other => panic!("`{}` is described as {}", self.described, other.word()),
        };
        match self.value.get_ref() {
            DeValue::Table(table) => Some(Section::new(self, table, keys, "")),
            _ => {
                self.wrong_type();
                None
            }
        }
    }

    /// Names and values of a table whose names the operator chose.
    pub(crate) fn entries(&self) -> Vec<(String, Self)> {
        let Kind::Map(_, kind) = self.kind else {
            panic!("`{}` is described as {}", self.described, self.kind.word())
        };
        let DeValue::Table(table) = self.value.get_ref() else {
            self.wrong_type();
            return Vec::new();
        };
        self.children(table, kind).collect()
    }

    /// The sections of a table whose names the operator chose.
    pub(crate) fn named(&self) -> Vec<Section<'r>> {
        let Kind::Named(noun, keys) = self.kind else {
            panic!("`{}` is described as {}", self.described, self.kind.word())
        };
        let DeValue::Table(table) = self.value.get_ref() else {
            self.refuse_unnamed(*noun);
            return Vec::new();
        };
        self.children(table, self.kind)
            .filter_map(|(name, child)| {
                child.check_name(*noun, &name);
                let DeValue::Table(table) = child.value.get_ref() else {
                    child.refuse_nameless(*noun, &name);
                    return None;
                };
                Some(Section::new(&child, table, keys, &name))
            })
            .collect()
    }

    pub(crate) fn children(
        &self,
        table: &'r toml::de::DeTable<'r>,
        kind: &'static Kind,
    ) -> impl Iterator<Item = (String, Self)> {
        table.iter().map(move |(key, value)| {
            let child = Self {
                reader: self.reader,
                value,
                anchor: Place {
                    file: self.anchor.file,
                    start: key.span().start,
                    end: key.span().end,
                },
                path: join(&self.path, key.get_ref()),
                described: join(&self.described, "NAME"),
                kind,
            };
            (key.get_ref().to_string(), child)
        })
    }

    /// `[[pool]]`, or `pool = 5`.
    fn refuse_unnamed(&self, noun: Noun) {
        let word = noun.word();
        self.reader.unnamed.borrow_mut().insert(noun);
        let message = format!("each {word} needs a name of its own");
        let help = match (noun, self.value.get_ref()) {
            (Noun::Server, _) => {
                "write `servers = { a = { url = \"http://10.0.0.7:8080\" } }`".to_owned()
            }
            (_, DeValue::Array(_)) => format!("write `[{word}.NAME]` instead of `[[{word}]]`"),
            _ => format!("write `[{word}.NAME]` and the keys below it"),
        };
        let location = self.reader.locate(self.anchor);
        self.reader.report(
            Diagnostic::error("missing-name", message).at(location).about(&self.path).help(help),
        );
    }

    /// `[pool]` with keys right below it, or `servers = { a = "http://…" }`.
    fn refuse_nameless(&self, noun: Noun, name: &str) {
        let word = noun.word();
        self.reader.unnamed.borrow_mut().insert(noun);
        let found = type_of(self.value.get_ref());
        let message =
            format!("`{}` must be a table with the keys of a {word}, not {found}", self.path);
        let diagnostic = Diagnostic::error("wrong-type", message);
        self.report(match (noun, self.value.get_ref()) {
            (Noun::Server, DeValue::String(url)) => {
                diagnostic.help(format!("write `{name} = {{ url = {:?} }}`", &**url))
            }
            _ => diagnostic.help(format!("a {word} has a name: write `[{word}.NAME]`")),
        });
    }

    fn check_name(&self, noun: Noun, name: &str) {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(legal) {
            return;
        }
        let message = format!("`{}` cannot be the name of a {}", name.escape_debug(), noun.word());
        let location = self.reader.locate(self.anchor);
        self.reader.report(
            Diagnostic::error("bad-name", message).at(location).about(&self.path).help(
                "use up to 64 letters, digits, `-` and `_`: they go into metrics and commands",
            ),
        );
    }

    /// The name that the operator wrote before it, as `parse` understands it.
    pub(crate) fn check_key<T>(
        &self,
        written: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        match parse(written) {
            Ok(name) => Some(name),
            Err(fault) => {
                let message = format!("`{}` {}", written.escape_debug(), fault.complaint);
                let location = self.reader.locate(self.anchor);
                let diagnostic =
                    Diagnostic::error(fault.code, message).at(location).about(&self.path);
                self.reader.report(match fault.help {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic,
                });
                None
            }
        }
    }

    /// The name of another section, to be resolved later.
    pub(crate) fn refer(&self) -> Option<String> {
        let noun = match self.kind {
            Kind::Name(noun) => *noun,
            other => panic!("`{}` is described as {}", self.described, other.word()),
        };
        let Words { text, from } = self.words()?;
        let name = text.into_owned();
        self.reader.references.borrow_mut().push(Reference {
            from: from.map(str::to_owned),
            noun,
            name: name.clone(),
            place: self.place(),
            path: self.path.clone(),
        });
        Some(name)
    }

    /// The name before it is that of another section, to be resolved later.
    pub(crate) fn refer_by_key(&self, noun: Noun, name: &str) {
        self.reader.references.borrow_mut().push(Reference {
            from: None,
            noun,
            name: name.to_owned(),
            place: self.anchor,
            path: self.path.clone(),
        });
    }
}

/// A table in which this text stands under the key that it was meant for.
fn mend_table(keys: &[Key], text: &str) -> Option<String> {
    let is_it = |key: &&Key| matches!(key.kind, Kind::Choice(words) if words.contains(&text));
    let chosen = keys.iter().find(is_it).map(|key| format!("{{ {} = {text:?} }}", key.name));
    let first = keys.iter().find(|key| key.is_ready()).map(|key| {
        let fits = match key.kind {
            Kind::Text | Kind::Path => true,
            Kind::Duration => duration::positive(text).is_ok(),
            Kind::Size => size::parse(text).is_ok(),
            _ => false,
        };
        let value = if fits { format!("{text:?}") } else { key.sample() };
        format!("{{ {} = {value} }}", key.name)
    });
    chosen.or(first)
}

/// One of the words, which a number or flag probably stands for.
fn choice(words: &[&'static str], written: &str) -> Option<String> {
    let known = || words.iter().copied();
    let word = known().find(|word| *word == written).or_else(|| foreign(written, known()))?;
    Some(format!("{word:?}"))
}

/// A number of cores as a share of one.
fn mend_share(number: &str) -> String {
    match number.parse::<f64>() {
        Ok(cores) if (0.01..=100.0).contains(&cores) => {
            let plural = if cores == 1.0 { "" } else { "s" };
            format!("\"{:.0}%\" for {number} core{plural}", cores * 100.0)
        }
        Ok(_) | Err(_) => format!("\"{number}%\""),
    }
}

/// Words in one text as the list that was meant; `None` if quotes say that spaces mean nothing.
fn listed(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_end_matches(',')).collect();
    (!text.contains(['"', '\''])).then(|| format!("{words:?}"))
}
