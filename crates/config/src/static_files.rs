//! `static`: files from a folder, or from the binary.

use std::path::{Component, Path};

use crate::diagnostic::Diagnostic;
use crate::field;
use crate::keys::{Absent, Key, Kind, key, words};
use crate::model::{Coding, Root, Static, Symlinks};
use crate::reader::{Fault, Section};

/// `compress`
pub(crate) const CODINGS: [(&str, Coding); 3] =
    [("zstd", Coding::Zstd), ("br", Coding::Brotli), ("gzip", Coding::Gzip)];

/// `symlinks`
pub(crate) const SYMLINKS: [(&str, Symlinks); 3] =
    [("never", Symlinks::Never), ("within", Symlinks::Within), ("anywhere", Symlinks::Anywhere)];

/// `static`
pub(crate) static KEYS: &[Key] = &[
    key("root", Kind::Path, Absent::Means("`embedded`"), "Folder that the files are in.")
        .example("\"/srv/hmi\""),
    key(
        "embedded",
        Kind::Flag,
        Absent::Is("false"),
        "Files that were built into the binary, in place of `root`.",
    ),
    key(
        "compress",
        Kind::List(&Kind::Choice(&words(&CODINGS))),
        Absent::Means("nothing"),
        "What files are compressed to on their way, best first.",
    )
    .example("[\"zstd\", \"br\", \"gzip\"]"),
    key(
        "precompressed",
        Kind::Flag,
        Absent::Is("true"),
        "Whether FILE.zst, FILE.br and FILE.gz beside a file are sent in its place to whoever takes \
         them.",
    ),
    key("index", Kind::Text, Absent::Is("index.html"), "What a folder answers with."),
    key(
        "spa",
        Kind::Text,
        Absent::Means("404"),
        "File below the root that is answered where there is none, if the last part of the path has \
         no dot: for single-page applications.",
    )
    .example("\"index.html\""),
    key(
        "dotfiles",
        Kind::Flag,
        Absent::Is("false"),
        "Whether names that begin with a dot are there; `.well-known` always is.",
    ),
    key(
        "symlinks",
        Kind::Choice(&words(&SYMLINKS)),
        Absent::Is("within"),
        "Whether symbolic links are followed: not at all, while they stay below the root, or \
         wherever they lead.",
    ),
    key(
        "cache_control",
        Kind::Map("pattern", &Kind::Text),
        Absent::Means("no field"),
        "`Cache-Control` by pattern of the path below the root, or of the name alone if there is no \
         slash in it; `*` is any text, and the longest that fits counts.",
    )
    .example("{ \"*.html\" = \"no-cache\", \"/assets/*\" = \"max-age=31536000, immutable\" }"),
];

/// Decodes `static`; `None` if there are no files to send.
pub(crate) fn decode(section: &Section<'_>) -> Option<Static> {
    let root = decode_root(section);
    let files = Static {
        root: Root::Embedded,
        compress: decode_compress(section),
        precompressed: section.flag("precompressed"),
        index: section.parsed_or_default("index", file_name),
        spa: section.parsed("spa", relative),
        dotfiles: section.flag("dotfiles"),
        symlinks: section.choice("symlinks", &SYMLINKS),
        cache_control: decode_cache_control(section),
    };
    Some(Static { root: root?, ..files })
}

fn decode_root(section: &Section<'_>) -> Option<Root> {
    let embedded = section.flag("embedded");
    let Some(value) = section.get("root") else {
        if !embedded {
            section.fail(
                "missing-key",
                format!("`{}` needs `root`", section.path),
                "write the folder that the files are in: `root = \"/srv/hmi\"`",
            );
        }
        return embedded.then_some(Root::Embedded);
    };
    if embedded {
        value.report(
            Diagnostic::error(
                "two-roots",
                format!("`{}` has both `root` and `embedded`", section.path),
            )
            .help("keep one of them, or make two routes"),
        );
    }
    let found = value.found()?;
    if value.reader.files.is_directory(&found.path) == Some(false) {
        let message = format!("there is no folder {}: every request gets 404", found.shown);
        value.report(
            Diagnostic::warning("missing-folder", message).help("create it, or mend the path"),
        );
    }
    // Of a path that is not empty, all that can fail is to find out where we stand.
    Some(Root::Folder(std::path::absolute(&found.path).unwrap_or(found.path)))
}

fn decode_compress(section: &Section<'_>) -> Vec<Coding> {
    let mut codings = Vec::new();
    for item in section.items("compress") {
        let Some(coding) = item.choice(&CODINGS) else { continue };
        if codings.contains(&coding) {
            item.refuse_twice();
        } else {
            codings.push(coding);
        }
    }
    codings
}

/// The longest pattern first, as they are asked.
fn decode_cache_control(section: &Section<'_>) -> Vec<(String, String)> {
    let mut rules: Vec<(String, String)> = Vec::new();
    for (written, value) in section.entries("cache_control") {
        let pattern = value.check_key(&written, pattern);
        let text = value.parsed(field::value);
        rules.extend(pattern.zip(text));
    }
    rules.sort_by(|a, b| (b.0.len(), &a.0).cmp(&(a.0.len(), &b.0)));
    rules
}

/// As the gateway takes it: `*` is any text; without a slash it is for the name alone.
fn pattern(text: &str) -> Result<String, Fault> {
    let fault = |complaint: &str| Fault::new("bad-pattern", complaint);
    if text.is_empty() || text.ends_with('/') {
        return Err(fault("fits no file").help(format!("write \"{text}*\" for all that begins so")));
    }
    if text.chars().any(char::is_control) {
        return Err(fault("holds a control character"));
    }
    Ok(text.to_owned())
}

fn file_name(text: &str) -> Result<String, Fault> {
    let relative = relative(text)?;
    if relative.contains('/') {
        return Err(Fault::new("bad-path", "is a path; a folder answers with a file in it")
            .help("write a name, such as \"index.html\""));
    }
    Ok(relative)
}

/// A path that stays below whatever it starts from.
fn relative(text: &str) -> Result<String, Fault> {
    let fault = |complaint: &str| Fault::new("bad-path", complaint);
    let trimmed = text.trim_start_matches('/');
    if trimmed.is_empty() || text.ends_with('/') {
        return Err(fault("names no file").help("write a name, such as \"index.html\""));
    }
    if trimmed.len() < text.len() {
        return Err(fault("does not start from the root").help(format!("write \"{trimmed}\"")));
    }
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !Path::new(text).components().all(is_plain) || text.contains('\0') {
        return Err(fault("may lead out of the root").help("write it without `.` and `..`"));
    }
    Ok(text.to_owned())
}
