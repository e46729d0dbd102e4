//! Names that stand for other sections, parameters of matches, and what nobody uses.

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;
use crate::keys::Noun;
use crate::model::{Action, Config};
use crate::nearest::nearest;
use crate::pattern;
use crate::reader::{ParamUse, Reader, Reference};

/// Checks every name, whatever it stands for.
pub(crate) fn check(reader: &Reader<'_>, config: &Config) {
    for reference in reader.references.borrow().iter() {
        resolve(reader, reference);
    }
    for wanted in reader.params.borrow().iter() {
        find_param(reader, config, wanted);
    }
}

/// Warns of what is there for nothing.
pub(crate) fn warn_unused(reader: &Reader<'_>, config: &Config) {
    warn_unnamed(reader, Noun::Pool, "no route sends requests to it");
    warn_unnamed(reader, Noun::Middleware, "no route names it in `use`");
    warn_unnamed(reader, Noun::Acme, "no listener names it in `tls.acme`");
    warn_unserved(reader, config);
}

fn is_there(reader: &Reader<'_>, noun: Noun, name: &str) -> bool {
    reader.places.borrow().contains_key(&(noun, name.to_owned()))
}

fn resolve(reader: &Reader<'_>, reference: &Reference) {
    let Reference { noun, name, .. } = reference;
    if is_there(reader, *noun, name) || reader.unnamed.borrow().contains(noun) {
        return;
    }
    let word = noun.word();
    let spoken = if *noun == Noun::Acme { "section" } else { word };
    let shown = if *noun == Noun::Acme { format!("[acme.{name}]") } else { name.clone() };
    let places = reader.places.borrow();
    let known: Vec<&str> =
        places.keys().filter(|(other, _)| other == noun).map(|(_, name)| name.as_str()).collect();
    if let Some(from) = &reference.from {
        let message = format!("there is no {spoken} of the name that `{from}` stands for");
        let help = format!("let it stand for one of: {}", known.join(", "));
        let diagnostic = Diagnostic::error("unknown-reference", message);
        let place = reader.locate(reference.place);
        return reader.report(diagnostic.at(place).about(&reference.path).help(help));
    }
    let help = match nearest(name, known.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None if known.is_empty() => format!("write a section `[{word}.{name}]`"),
        None => format!("write a section `[{word}.{name}]`, or name one of: {}", known.join(", ")),
    };
    reader.report(
        Diagnostic::error("unknown-reference", format!("there is no {spoken} `{shown}`"))
            .at(reader.locate(reference.place))
            .about(&reference.path)
            .help(help),
    );
}

/// A parameter must be in the match of every route that uses the template.
fn find_param(reader: &Reader<'_>, config: &Config, wanted: &ParamUse) {
    let (noun, owner) = &wanted.owner;
    let users = config.routes.iter().filter(|(name, route)| match noun {
        Noun::Route => *name == owner,
        Noun::Middleware => route.middleware.contains(owner),
        Noun::Pool => matches!(&route.action, Action::Pool(pool) if pool == owner),
        Noun::Listener | Noun::App | Noun::Acme | Noun::Vip | Noun::Peer | Noun::Server => false,
    });
    for (name, route) in users {
        let Ok(parsed) = pattern::parse(&route.pattern) else { continue };
        if parsed.params.contains(&wanted.param) {
            continue;
        }
        let param = &wanted.param;
        let message =
            format!("`{{{param}}}` is not in the match of `route.{name}`, `{}`", route.pattern);
        let known = parsed.params.iter().map(String::as_str).chain(crate::template::VARIABLES);
        let help = match nearest(param, known) {
            Some(meant) => format!("did you mean {{{meant}}}?"),
            None => format!("put {{{param}}} into the match, or write `{{{{` for a brace"),
        };
        let diagnostic = Diagnostic::error("unknown-parameter", message)
            .at(reader.locate(wanted.place))
            .about(&wanted.path)
            .help(help);
        let place = reader.places.borrow().get(&(Noun::Route, name.clone())).copied();
        reader.report(match place {
            Some(place) if *noun != Noun::Route => {
                diagnostic.see(reader.locate(place), "used by this route")
            }
            Some(_) | None => diagnostic,
        });
    }
}

fn warn_unnamed(reader: &Reader<'_>, noun: Noun, why: &str) {
    let used: BTreeSet<String> = reader
        .references
        .borrow()
        .iter()
        .filter(|reference| reference.noun == noun)
        .map(|reference| reference.name.clone())
        .collect();
    let places = reader.places.borrow();
    for ((_, name), place) in places.iter().filter(|((other, _), _)| *other == noun) {
        if used.contains(name) {
            continue;
        }
        let path = format!("{}.{name}", noun.word());
        reader.report(
            Diagnostic::warning("unused", format!("`{path}` is not used: {why}"))
                .at(reader.locate(*place))
                .about(&path)
                .help("use it, or remove it"),
        );
    }
}

/// A listener whose every request would get 404.
fn warn_unserved(reader: &Reader<'_>, config: &Config) {
    let serves = |name: &String| {
        config.routes.values().any(|r| r.listeners.is_empty() || r.listeners.contains(name))
    };
    for name in config.listeners.keys().filter(|name| !serves(name)) {
        let place = reader.places.borrow().get(&(Noun::Listener, name.clone())).copied();
        let (Some(place), false) = (place, config.routes.is_empty()) else { continue };
        let path = format!("listener.{name}");
        reader.report(
            Diagnostic::warning("unused", format!("no route serves `{path}`: it answers 404"))
                .at(reader.locate(place))
                .about(&path)
                .help("name it in `listeners` of a route, or remove it"),
        );
    }
}
