//! Changes while a configuration is read: what they put, and what they meet in the file.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::DeTable;

use super::{Changes, Subject, name, way_out};
use crate::diagnostic::{Diagnostic, Severity};
use crate::keys::Noun;
use crate::reader::{Place, Reader, Section};

/// The changes beside the files that are being read.
#[derive(Default)]
pub(crate) struct Overlay<'r> {
    changes: Option<&'r Changes>,
    /// What they put: number of the text, and the tree in it.
    trees: BTreeMap<&'r Subject, (usize, &'r Spanned<DeTable<'r>>)>,
    /// Where the file has what a change replaces or hides.
    met: RefCell<BTreeMap<Subject, Place>>,
}

impl<'r> Overlay<'r> {
    /// `trees` are those of the texts from number `first` on, one for each change that puts
    /// something, in their order.
    pub(crate) fn new(
        changes: &'r Changes,
        first: usize,
        trees: &'r [Spanned<DeTable<'r>>],
    ) -> Self {
        let puts = changes.iter().filter(|(_, change)| !change.hides());
        let trees = puts.zip(trees).enumerate();
        let trees = trees.map(|(at, ((subject, _), tree))| (subject, (first + at, tree)));
        Self { changes: Some(changes), trees: trees.collect(), met: RefCell::default() }
    }

    /// Whether a change stands in place of what the file has at `place`.
    pub(crate) fn covers(&self, subject: &Subject, place: Place) -> bool {
        let covers = self.changes.is_some_and(|changes| changes.find(subject).is_some());
        if covers {
            self.met.borrow_mut().insert(subject.clone(), place);
        }
        covers
    }

    /// What changes hide or replace, and where the file has it (`FILE:LINE`).
    pub(crate) fn met(&self, reader: &Reader<'_>) -> BTreeMap<Subject, String> {
        let met = self.met.borrow();
        met.iter().map(|(subject, place)| (subject.clone(), reader.origin(*place))).collect()
    }

    /// Every route that changes put.
    pub(crate) fn routes(&self, reader: &'r Reader<'r>) -> Vec<Section<'r>> {
        let routes = self.trees.iter().filter(|(one, _)| matches!(one, Subject::Route(_)));
        let roots = routes.map(|(_, (file, tree))| Section::root(reader, tree.get_ref(), *file));
        roots.filter_map(|root| root.get(Noun::Route.word())).flat_map(|one| one.named()).collect()
    }

    /// Every server that changes put into a pool.
    pub(crate) fn servers(&self, reader: &'r Reader<'r>, wanted: &str) -> Vec<Section<'r>> {
        let is_wanted =
            |one: &Subject| matches!(one, Subject::Server { pool, .. } if pool == wanted);
        let trees = self.trees.iter().filter(|(one, _)| is_wanted(one));
        let roots = trees.map(|(_, (file, tree))| Section::root(reader, tree.get_ref(), *file));
        let pools = roots.filter_map(|root| root.get(Noun::Pool.word()));
        let pools = pools.flat_map(|pools| pools.named());
        let servers = pools.filter_map(|pool| pool.get("servers"));
        servers.flat_map(|servers| servers.named()).collect()
    }

    /// The changes that only hide something of this kind, to be told when nothing is left.
    pub(crate) fn hiding(&self, pool: Option<&str>) -> Vec<&'r Subject> {
        let is_it = |subject: &Subject| match (subject, pool) {
            (Subject::Route(_), None) => true,
            (Subject::Server { pool, .. }, Some(wanted)) => pool == wanted,
            (Subject::Route(_), Some(_)) | (Subject::Server { .. }, None) => false,
        };
        let all = self.changes.into_iter().flat_map(Changes::iter);
        let hiding = all.filter(|(subject, change)| change.hides() && is_it(subject));
        hiding.map(|(subject, _)| subject).collect()
    }

    /// Tells of every error that changes have a part in how to be rid of them; but for `fresh`,
    /// which is being made now and is not there without this configuration.
    pub(crate) fn advise(&self, diagnostics: &mut [Diagnostic], fresh: Option<&Subject>) {
        let Some(changes) = self.changes.filter(|changes| !changes.is_empty()) else { return };
        let names: BTreeMap<String, &Subject> = changes
            .iter()
            .filter(|(subject, _)| Some(*subject) != fresh)
            .map(|(subject, _)| (name(subject), subject))
            .collect();
        let errors = diagnostics.iter_mut().filter(|one| one.severity == Severity::Error);
        for diagnostic in errors {
            let files = diagnostic.related.iter().map(|one| &one.file).chain([&diagnostic.file]);
            let subjects: BTreeSet<&Subject> =
                files.filter_map(|file| names.get(file).copied()).collect();
            if subjects.is_empty() {
                continue;
            }
            let help = match diagnostic.help.take() {
                Some(help) => format!("{help}; or {}", way_out(subjects)),
                None => way_out(subjects),
            };
            diagnostic.help = Some(help);
        }
    }
}

/// Reports servers in pools that are not there.
pub(crate) fn check_pools(reader: &Reader<'_>) {
    for (subject, (file, _)) in &reader.overlay.trees {
        let Subject::Server { pool, .. } = subject else { continue };
        let known = reader.places.borrow();
        if known.contains_key(&(Noun::Pool, pool.clone())) {
            continue;
        }
        let names = known.keys().filter(|(noun, _)| *noun == Noun::Pool);
        let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
        let help = if names.is_empty() {
            format!("write a section `[pool.{pool}]` into the file")
        } else {
            format!("the file has: {}", names.join(", "))
        };
        let first_line = Place { file: *file, start: 0, end: 0 };
        let diagnostic =
            Diagnostic::error("unknown-reference", format!("the file has no pool `{pool}`"))
                .at(reader.locate(first_line))
                .about(subject.to_string())
                .help(help);
        drop(known);
        reader.report(diagnostic);
    }
}
