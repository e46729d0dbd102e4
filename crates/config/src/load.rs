//! From files to a checked [`Config`], or everything that is wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::changes::{Changes, Overlay, Subject, check_pools, way_out};
use crate::diagnostic::{Diagnostic, Severity};
use crate::files::{Disk, Files, Known, Record, Recorder};
use crate::keys::Noun;
use crate::model::Config;
use crate::reader::{Reader, Section};
use crate::{
    acme, app, conflict, include, listener, middleware, node, peer, pool, references, route,
    standby, vip,
};

/// A configuration that can be used, and what it was made of.
#[derive(Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What may not be as meant.
    pub warnings: Vec<Diagnostic>,
    /// The texts as read, the main file first. They may hold secrets.
    pub sources: Vec<Source>,
    pub(crate) record: Record,
    /// Where the file has what a change replaces or hides.
    met: BTreeMap<Subject, String>,
}

/// What a configuration was made of, so that other changes can be tried with the same files.
#[derive(Clone)]
pub struct Basis {
    pub(crate) record: Record,
    met: BTreeMap<Subject, String>,
}

/// A file as it was read.
#[derive(Clone, Eq, PartialEq)]
pub struct Source {
    /// Its path, as named or included.
    pub path: PathBuf,
    /// Its text. It may hold secrets.
    pub text: String,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({}, {} bytes)", self.path.display(), self.text.len())
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("config", &self.config)
            .field("warnings", &self.warnings)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// Loads a configuration from the disk and the environment of this process.
///
/// Errors and warnings come together, in the order of the files and their lines.
pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    load_with(path, &Disk)
}

/// The `node.run_dir` of a configuration that may have errors, for those who ask its node about
/// them; `None` if it cannot be told for sure.
pub fn run_dir(text: &str) -> Option<PathBuf> {
    let (tree, _) = DeTable::parse_recoverable(text);
    let node = tree.get_ref().get("node").and_then(|node| node.get_ref().as_table());
    match node.and_then(|node| node.get("run_dir")).map(Spanned::get_ref) {
        Some(DeValue::String(path)) => path.starts_with('/').then(|| PathBuf::from(&**path)),
        // It may stand where the errors are, or in another file.
        _ if text.contains("run_dir") || text.contains("include") => None,
        _ => Some(PathBuf::from(node::RUN_DIR_DEFAULT)),
    }
}

/// Loads a configuration from `files`.
///
/// Errors and warnings come together, in the order of the files and their lines.
pub fn load_with(path: &Path, files: &dyn Files) -> Result<Loaded, Vec<Diagnostic>> {
    load_with_changes(path, files, &Changes::default(), None)
}

/// Loads a configuration from `files`, and `changes` beside it: checked together, whole or not at
/// all.
///
/// Diagnostics of a change tell `change route.NAME` where others tell the file. Errors in which
/// changes have a part say how to be rid of those, but for `fresh`, which is only being tried.
pub fn load_with_changes(
    path: &Path,
    files: &dyn Files,
    changes: &Changes,
    fresh: Option<&Subject>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let recorder = Recorder::new(path, files);
    let mut texts = include::read(path, &recorder)?;
    let files_read = texts.len();
    let directory = texts[0].directory.clone();
    texts.extend(changes.texts(&directory));
    let errors: Vec<_> = texts[files_read..].iter().flat_map(include::syntax_errors).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let trees: Vec<Spanned<DeTable<'_>>> =
        texts.iter().map(|text| DeTable::parse_recoverable(&text.text).0).collect();
    let (trees, put) = trees.split_at(files_read);
    let overlay = Overlay::new(changes, files_read, put);
    let reader = Reader { overlay, ..Reader::new(&texts, &recorder) };
    let config = decode(&reader, trees);
    check_pools(&reader);
    references::check(&reader, &config);
    conflict::check(&reader, &config);
    app::check_order(&reader, &config.apps);
    app::check_sockets(&reader, &config);
    standby::check(&reader, &config);
    if !reader.has_errors() {
        // What is unused or out of reach for now may be so because of an error.
        references::warn_unused(&reader, &config);
        conflict::warn(&reader, &config);
        acme::warn(&reader, &config);
        standby::warn(&reader, &config);
    }
    let mut diagnostics = in_order(&reader);
    reader.overlay.advise(&mut diagnostics, fresh);
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(diagnostics);
    }
    let met = reader.overlay.met(&reader);
    let sources: Vec<_> = texts[..files_read]
        .iter()
        .map(|text| Source { path: PathBuf::from(&text.name), text: text.text.clone() })
        .collect();
    let record = Record { changes: changes.clone(), ..recorder.into_record() };
    let files = config_files(&sources, &record);
    Ok(Loaded { config: Config { files, ..config }, warnings: diagnostics, sources, record, met })
}

impl Loaded {
    /// What was changed beside the files.
    pub fn changes(&self) -> &Changes {
        &self.record.changes
    }

    /// Where the files have what the change of `subject` replaces or hides (`FILE:LINE`); none if
    /// they have no such thing.
    pub fn stands_at(&self, subject: &Subject) -> Option<&str> {
        self.met.get(subject).map(String::as_str)
    }

    /// What it was made of.
    pub fn basis(&self) -> Basis {
        Basis { record: self.record.clone(), met: self.met.clone() }
    }
}

impl Basis {
    /// Loads the configuration anew with other changes, from the same files as before; asks `live`
    /// for files that only the changes name.
    ///
    /// # Errors
    /// As [`load_with_changes`].
    pub fn load(
        &self,
        live: &dyn Files,
        changes: &Changes,
        fresh: Option<&Subject>,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        let files = Known { record: &self.record, live };
        load_with_changes(&self.record.main, &files, changes, fresh)
    }

    /// As [`Loaded::changes`].
    pub fn changes(&self) -> &Changes {
        &self.record.changes
    }

    /// As [`Loaded::stands_at`].
    pub fn stands_at(&self, subject: &Subject) -> Option<&str> {
        self.met.get(subject).map(String::as_str)
    }
}

/// Says how many files, never what is in them.
impl std::fmt::Debug for Basis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Record { main, texts, .. } = &self.record;
        write!(f, "Basis({}, {} files)", main.display(), texts.len())
    }
}

/// Texts first, then what `${file:…}` named.
fn config_files(sources: &[Source], record: &Record) -> Vec<PathBuf> {
    let texts = sources.iter().map(|source| source.path.clone());
    let values = record.texts.keys().filter(|path| !sources.iter().any(|s| s.path == **path));
    texts.chain(values.cloned()).collect()
}

fn in_order(reader: &Reader<'_>) -> Vec<Diagnostic> {
    let mut diagnostics = reader.diagnostics.take();
    let file =
        |diagnostic: &Diagnostic| reader.texts.iter().position(|text| text.name == diagnostic.file);
    diagnostics.sort_by_key(|found| (file(found), found.line, found.column));
    // Keys that are asked for twice are reported twice.
    diagnostics.dedup();
    diagnostics
}

fn decode<'r>(reader: &'r Reader<'r>, trees: &'r [Spanned<DeTable<'r>>]) -> Config {
    let roots: Vec<_> = trees
        .iter()
        .enumerate()
        .map(|(file, tree)| {
            if file > 0 {
                include::refuse_nested(reader, file, tree.get_ref());
            }
            Section::root(reader, tree.get_ref(), file)
        })
        .collect();
    let host_name = reader.files.host_name();
    let config = Config {
        node: node::node(&single(reader, &roots, "node"), host_name),
        admin: node::admin(&single(reader, &roots, "admin")),
        log: node::log(&single(reader, &roots, "log")),
        listeners: named(reader, &roots, Noun::Listener, |section| Some(listener::decode(section))),
        acme: named(reader, &roots, Noun::Acme, acme::decode),
        routes: named(reader, &roots, Noun::Route, route::decode),
        middleware: named(reader, &roots, Noun::Middleware, middleware::decode),
        pools: named(reader, &roots, Noun::Pool, |section| Some(pool::decode(section))),
        apps: named(reader, &roots, Noun::App, |section| Some(app::decode(section))),
        vips: named(reader, &roots, Noun::Vip, vip::decode),
        heartbeat: peer::heartbeat(&single(reader, &roots, "heartbeat")),
        peers: named(reader, &roots, Noun::Peer, |section| Some(peer::decode(section))),
        files: Vec::new(),
    };
    refuse_idle(reader);
    let has_peers = !config.peers.is_empty() || reader.unnamed.borrow().contains(&Noun::Peer);
    let heartbeat = roots.iter().find(|root| root.has("heartbeat"));
    if let Some(value) = heartbeat.filter(|_| !has_peers).and_then(|root| root.get("heartbeat")) {
        peer::warn_if_alone(&value);
    }
    config
}

/// A section that only one of the files may have.
fn single<'r>(reader: &Reader<'r>, roots: &[Section<'r>], name: &str) -> Section<'r> {
    let mut holders = roots.iter().filter(|root| root.has(name));
    let Some(holder) = holders.next() else { return roots[0].section_or_empty(name) };
    for other in holders {
        let (Some(first), Some(second)) = (holder.get(name), other.get(name)) else { continue };
        reader.report(
            Diagnostic::error("duplicate-name", format!("`[{name}]` stands in two files"))
                .at(reader.locate(second.anchor))
                .about(name)
                .see(reader.locate(first.anchor), "it also stands here")
                .help("keep one of them"),
        );
    }
    holder.section_or_empty(name)
}

/// The sections of one kind, from all files.
fn named<'r, T>(
    reader: &'r Reader<'r>,
    roots: &[Section<'r>],
    noun: Noun,
    decode: impl Fn(&Section<'r>) -> Option<T>,
) -> BTreeMap<String, T> {
    let roots = roots.iter().filter(|root| root.has(noun.word()));
    let written = roots.filter_map(|root| root.get(noun.word())).flat_map(|value| value.named());
    let is_covered = |section: &Section<'r>| {
        let subject = || Subject::Route(section.name.clone());
        noun == Noun::Route && reader.overlay.covers(&subject(), section.place)
    };
    let written = written.filter(|section| !is_covered(section));
    let put = if noun == Noun::Route { reader.overlay.routes(reader) } else { Vec::new() };
    let mut decoded = BTreeMap::new();
    for section in written.chain(put) {
        let key = (noun, section.name.clone());
        let earlier = reader.places.borrow().get(&key).copied();
        if let Some(earlier) = earlier {
            reader.report(
                Diagnostic::error("duplicate-name", format!("there are two `{}`", section.path))
                    .at(reader.locate(section.place))
                    .about(&section.path)
                    .see(reader.locate(earlier), "the other one")
                    .help("give one of them another name"),
            );
            continue;
        }
        reader.places.borrow_mut().insert(key, section.place);
        decoded.extend(decode(&section).map(|thing| (section.name.clone(), thing)));
    }
    decoded
}

/// Without a listener or a route nothing would ever be served. Apps alone are enough, for who only
/// wants them to be kept running, and so are virtual addresses, for who has another server.
fn refuse_idle(reader: &Reader<'_>) {
    let main = &reader.texts[0].name;
    let has_any = |noun: Noun| {
        let is_named = reader.places.borrow().keys().any(|(other, _)| *other == noun);
        is_named || reader.unnamed.borrow().contains(&noun)
    };
    let has_work = has_any(Noun::App) || has_any(Noun::Vip);
    if has_work && !has_any(Noun::Listener) && !has_any(Noun::Route) {
        return;
    }
    let refuse = |noun: Noun, help: &str| {
        if has_any(noun) {
            return;
        }
        let message = format!("there is no {}: nothing would be served", noun.word());
        reader.report(
            Diagnostic::error("nothing-served", message)
                .in_file(main)
                .about(noun.word())
                .help(help),
        );
    };
    refuse(Noun::Listener, "write, for example:\n[listener.web]\nbind = [\"0.0.0.0:8080\"]");
    let hiding = reader.overlay.hiding(None);
    if !hiding.is_empty() {
        return refuse(Noun::Route, &format!("changes hide them: {}", way_out(hiding)));
    }
    refuse(
        Noun::Route,
        "write, for example:\n[route.all]\nmatch = \"/*\"\nrespond = { body = \"hello\" }",
    );
}

/// The described keys that decoding a text asks for.
#[cfg(test)]
pub(crate) fn decode_for_test(text: &str) -> std::collections::BTreeSet<String> {
    let texts = [crate::reader::Text {
        line_starts: Default::default(),
        name: "evergate.toml".to_owned(),
        directory: PathBuf::new(),
        text: text.to_owned(),
        shown: text.into(),
    }];
    let trees = [DeTable::parse_recoverable(text).0];
    let reader = Reader::new(&texts, &Disk);
    decode(&reader, &trees);
    reader.asked.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_broken_configuration_is_told_if_it_is_sure() {
        let cases = [
            ("[node]\nrun_dir = \"/x\"\n[pool.a]\nserver = 5\n", Some("/x")),
            ("[pool.a\n[node]\nrun_dir = \"/x\"\nname =\n", Some("/x")),
            ("[pool.a]\nserver = 5\n", Some("/run/evergate")),
            ("include = [\"conf.d/*\"]\n[pool.a]\nserver = 5\n", None),
            ("[node]\nrun_dir = \"${env:X}\"\n", None),
            ("[node]\nrun_dir =\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(run_dir(text), expected.map(PathBuf::from), "{text}");
        }
    }
}
