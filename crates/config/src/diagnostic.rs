//! What is wrong with a configuration, where, and how to mend it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

/// Diagnostics shown by [`render`]; the rest are only counted.
pub const SHOWN_MAX: usize = 100;

/// One thing wrong with a configuration.
#[derive(Clone, Eq, PartialEq)]
pub struct Diagnostic {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// A stable word for programs, in kebab case: `unknown-key`.
    pub code: &'static str,
    /// The key it is about: `pool.api.check.http.every`; empty if it is about the whole file.
    pub path: String,
    /// The file, as it was named or included.
    pub file: String,
    /// Line, from 1; 0 if it is about the whole file.
    pub line: usize,
    /// Column in characters, from 1; 0 if it is about the whole file.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do instead, if we know.
    pub help: Option<String>,
    /// Other places that belong to it.
    pub related: Vec<Related>,
    excerpt: Option<Excerpt>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration works, but perhaps not as meant.
    Warning,
}

/// Another place that belongs to a diagnostic.
#[derive(Clone, Eq, PartialEq)]
pub struct Related {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is there.
    pub message: String,
    excerpt: Option<Excerpt>,
}

/// The text around a place, without secrets.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Excerpt {
    /// The whole file.
    pub(crate) text: Arc<str>,
    /// The bytes it is about.
    pub(crate) span: Range<usize>,
}

/// A place in a file, ready to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    /// The file.
    pub(crate) file: String,
    /// Line and column, from 1.
    pub(crate) line_column: (usize, usize),
    /// The text there.
    pub(crate) excerpt: Excerpt,
}

impl Diagnostic {
    /// An error that is not yet anywhere.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            path: String::new(),
            file: String::new(),
            line: 0,
            column: 0,
            message: message.into(),
            help: None,
            related: Vec::new(),
            excerpt: None,
        }
    }

    /// A warning that is not yet anywhere.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// The same, about a whole file.
    pub fn in_file(self, file: impl Into<String>) -> Self {
        Self { file: file.into(), ..self }
    }

    /// The same, about a key.
    pub(crate) fn about(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// The same, at a place.
    pub(crate) fn at(self, location: Location) -> Self {
        let (line, column) = location.line_column;
        Self { file: location.file, line, column, excerpt: Some(location.excerpt), ..self }
    }

    /// The same, with advice.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same, with another place that belongs to it.
    pub(crate) fn see(mut self, location: Location, message: impl Into<String>) -> Self {
        let (line, column) = location.line_column;
        self.related.push(Related {
            file: location.file,
            line,
            column,
            message: message.into(),
            excerpt: Some(location.excerpt),
        });
        self
    }

    /// The same facts as JSON, for the admin API and `--json`.
    pub fn to_json(&self) -> Value {
        let related: Vec<_> = self
            .related
            .iter()
            .map(|other| {
                json!({
                    "file": other.file,
                    "line": other.line,
                    "column": other.column,
                    "message": other.message,
                })
            })
            .collect();
        json!({
            "severity": self.severity.word(),
            "code": self.code,
            "path": self.path,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "help": self.help,
            "related": related,
        })
    }
}

impl Severity {
    /// `error` or `warning`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One line: `evergate.toml:3:1: unknown key …`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl fmt::Debug for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] {self}", self.severity.word(), self.code)
    }
}

impl fmt::Debug for Related {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.span)
    }
}

/// Shows diagnostics as a compiler would: place, line, caret, help; then how many there are.
///
/// Ends with a line feed. Empty if there is nothing to show.
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics.iter().take(SHOWN_MAX) {
        out.push_str(&renderer.render(&[report(diagnostic)]));
        out.push_str("\n\n");
    }
    if let Some(hidden) = diagnostics.len().checked_sub(SHOWN_MAX).filter(|&hidden| hidden > 0) {
        out.push_str(&format!("… and {hidden} more\n\n"));
    }
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    out.push_str(&format!("{}, {}\n", count(errors, "error"), count(warnings, "warning")));
    out
}

fn report(diagnostic: &Diagnostic) -> Group<'_> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group =
        Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code));
    match &diagnostic.excerpt {
        Some(excerpt) => {
            let mut snippet = Snippet::source(&*excerpt.text)
                .path(&diagnostic.file)
                .annotation(AnnotationKind::Primary.span(excerpt.span.clone()));
            for (other, span) in neighbours(diagnostic) {
                snippet = snippet
                    .annotation(AnnotationKind::Context.span(span).label(other.message.as_str()));
            }
            group = group.element(snippet);
        }
        None if !diagnostic.file.is_empty() => {
            group = group.element(Origin::path(diagnostic.file.as_str()));
        }
        // What is wrong with the machine stands in no file.
        None if !diagnostic.path.is_empty() => {
            group = group.element(Origin::path(diagnostic.path.as_str()));
        }
        None => {}
    }
    for other in diagnostic.related.iter().filter(|other| other.file != diagnostic.file) {
        if let Some(excerpt) = &other.excerpt {
            let context = AnnotationKind::Context.span(excerpt.span.clone());
            group = group.element(
                Snippet::source(&*excerpt.text)
                    .path(&other.file)
                    .annotation(context.label(other.message.as_str())),
            );
        }
    }
    match &diagnostic.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

/// Related places in the same file: they are shown in one excerpt.
fn neighbours(diagnostic: &Diagnostic) -> impl Iterator<Item = (&Related, Range<usize>)> {
    diagnostic
        .related
        .iter()
        .filter(|other| other.file == diagnostic.file)
        .filter_map(|other| Some((other, other.excerpt.as_ref()?.span.clone())))
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
