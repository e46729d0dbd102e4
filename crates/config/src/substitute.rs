//! `${env:NAME}` and `${file:PATH}`, which stand for a whole value.

use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::keys::Kind;
use crate::size;
use crate::value::{Value, Words};

/// Bytes that `${file:…}` may bring.
const FILE_VALUE_BYTES_MAX: usize = 64 * 1024;

/// What `${…}` names.
#[derive(Debug)]
pub(crate) enum StandsFor<'a> {
    Env(&'a str),
    File(&'a str),
}

/// Where a file or directory is.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// As Evergate asks for it.
    pub(crate) path: PathBuf,
    /// For messages: what `${…}` stands for is never shown.
    pub(crate) shown: String,
}

/// A file that was read.
pub(crate) struct FileRead {
    pub(crate) found: Found,
    pub(crate) bytes: Vec<u8>,
}

impl Found {
    fn at(path: PathBuf) -> Self {
        let shown = path.display().to_string();
        Self { path, shown }
    }
}

/// What a text stands for, if it is `${env:…}` or `${file:…}`; an error if it only contains one.
pub(crate) fn stands_for(text: &str) -> Result<Option<StandsFor<'_>>, String> {
    let Some(at) = ["${env:", "${file:"].iter().filter_map(|open| text.find(open)).min() else {
        return Ok(None);
    };
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let Some(inner) = inner.filter(|inner| !inner.contains(['{', '}'])) else {
        let opener = &text[at..at + text[at..].find(':').unwrap_or(0)];
        return Err(format!("`{opener}:…}}` must be the whole value, nothing before or behind it"));
    };
    match inner.split_once(':') {
        Some((_, "")) => Err(format!("`{text}` names nothing")),
        Some(("env", name)) => Ok(Some(StandsFor::Env(name))),
        Some((_, name)) => Ok(Some(StandsFor::File(name))),
        None => Ok(None),
    }
}

impl Value<'_> {
    /// The text that it stands for.
    pub(crate) fn fetch(&self, source: &StandsFor<'_>) -> Option<String> {
        match source {
            StandsFor::Env(name) => {
                let value = self.reader.files.env(name);
                if value.is_none() {
                    let message = format!("the environment has no variable `{name}`");
                    self.report(Diagnostic::error("unset-variable", message).help(format!(
                        "set it where Evergate is started (systemd: `Environment={name}=…`)"
                    )));
                }
                value
            }
            StandsFor::File(name) => self.fetch_file(name),
        }
    }

    fn fetch_file(&self, name: &str) -> Option<String> {
        let file = self.read_beside(Found::at(self.beside(name)), FILE_VALUE_BYTES_MAX)?;
        let Ok(mut text) = String::from_utf8(file.bytes) else {
            self.refuse_file(&file.found, "it is not UTF-8 text", "is it the file you meant?");
            return None;
        };
        // Editors end files with a line feed that is not part of the secret.
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        if matches!(self.kind, Kind::Secret) {
            self.warn_if_public(&file.found.path);
        }
        Some(text)
    }

    /// The file whose path is written here.
    pub(crate) fn file(&self, bytes_max: usize) -> Option<FileRead> {
        self.read_beside(self.found()?, bytes_max)
    }

    /// The path that is written here; it starts from the file that it is written in.
    pub(crate) fn found(&self) -> Option<Found> {
        let Words { text, from } = self.words()?;
        if text.is_empty() || text.contains(char::is_control) {
            // It is not shown: somebody may have pasted a key.
            let message = format!("`{}` is no path", self.path);
            let help = "write where it is, such as \"/etc/evergate/web.pem\", not what is in it";
            self.report(Diagnostic::error("bad-path", message).help(help));
            return None;
        }
        let found = Found::at(self.beside(&text));
        Some(match from {
            Some(from) => Found { shown: format!("`{from}`"), ..found },
            None => found,
        })
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.reader.texts[self.anchor.file].directory.join(name)
    }

    fn read_beside(&self, found: Found, bytes_max: usize) -> Option<FileRead> {
        match self.reader.files.read(&found.path) {
            Ok(bytes) if bytes.len() <= bytes_max => Some(FileRead { found, bytes }),
            Ok(_) => {
                let why = format!("it is longer than {}", size::show(bytes_max as u64));
                self.refuse_file(&found, &why, "is it the file you meant?");
                None
            }
            Err(error) => {
                self.refuse_file(&found, &os_reason(&error), mend_io(&error));
                None
            }
        }
    }

    fn refuse_file(&self, found: &Found, why: &str, help: &str) {
        let message = format!("the file {} cannot be used: {why}", found.shown);
        self.report(Diagnostic::error("unreadable-file", message).help(help));
    }

    pub(crate) fn warn_if_public(&self, path: &Path) {
        const READ_BY_OTHERS: u32 = 0o004;
        if self.reader.files.mode(path).is_some_and(|mode| mode & READ_BY_OTHERS != 0) {
            let shown = path.display();
            let message = format!("everybody on this machine can read the secret in {shown}");
            self.report(
                Diagnostic::warning("public-secret", message)
                    .help(format!("run `chmod o-r {shown}`")),
            );
        }
    }
}

/// The system's reason, without Rust's number behind it.
pub(crate) fn os_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// What to do about a file that cannot be read.
pub(crate) fn mend_io(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "create the file, or mend the path",
        std::io::ErrorKind::PermissionDenied => {
            "let the user that runs Evergate read it (see `ls -l` and `id`)"
        }
        std::io::ErrorKind::IsADirectory => "name a file, not a directory",
        std::io::ErrorKind::InvalidInput => "put a regular file there, or mend the path",
        _ => "try to read it with `cat` as the user that runs Evergate",
    }
}
