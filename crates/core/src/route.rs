//! Which route a request takes: host, path, method and conditions, by specificity.
//!
//! Order in the file never matters. The better route is the one with, in this order: an exact
//! host, then the longest wildcard host, then any; segment by segment from the left a literal, then
//! a parameter with text around it (longest first), then a parameter, then a wildcard; more
//! conditions on method and header fields. What still ties is a [`Conflict`].
//!
//! A route that refuses a request by its method or its conditions leaves it to the next best one:
//! `GET /api/users` reaches `/api/*` if `/api/users` takes `POST` only.
//!
//! A [`Table`] is one tree of segments, so a look-up costs the length of the path, however many
//! routes there are.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;

use crate::id::RouteId;

mod host;
mod path;
mod pattern;
mod tree;

#[cfg(test)]
mod tests;

pub use path::{PathError, normalise};
pub use pattern::{PARAMS_MAX, SEGMENTS_MAX};

use host::HostName;
use tree::{Captures, Entry, Tree};

/// The host part of a route.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum HostPattern {
    /// Exactly this name, in lower case and without port. IPv6 with or without brackets.
    Exact(String),
    /// Any name one or more labels below this one: `*.example.org` is held as `example.org`.
    Below(String),
    /// Any host, or none.
    Any,
}

/// What a route takes.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The host.
    pub host: HostPattern,
    /// The path: starts with `/`; a segment may hold one `{name}`, with text around it or not;
    /// the last may be `{*name}`. `{{` and `}}` stand for the braces themselves.
    ///
    /// A parameter stands for one or more bytes of one segment. `{*name}` stands for the rest of
    /// the path, which may be empty: `/files/{*rest}` takes `/files/a/b`, `/files/` and `/files`.
    pub path: String,
    /// The methods; empty is all. `GET` takes `HEAD` too.
    pub methods: Vec<String>,
    /// How many conditions `accept` tests for this route: one for each header field, and one more
    /// if it serves some listeners only.
    pub conditions: u16,
    /// Canonical text of those conditions. Routes that agree in all else conflict only if this is
    /// the same.
    pub conditions_key: String,
}

/// Why a set of routes cannot be a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Conflict {
    /// Both take the same requests, and nothing says which is the better one.
    Ambiguous {
        /// The one that came first in the list.
        first: RouteId,
        /// The other.
        second: RouteId,
    },
    /// The route can never match, or cannot be understood.
    Invalid {
        /// The route.
        route: RouteId,
        /// What is wrong, and what to write instead where that is known.
        why: String,
    },
}

/// Routes, arranged for finding the best one.
#[derive(Debug)]
pub struct Table {
    tree: Tree,
}

/// What [`Table::find`] found.
#[derive(Debug)]
pub enum Found<'t, 'p> {
    /// The best route that takes the request.
    Route {
        /// Its index in the list the table was built from.
        id: RouteId,
        /// What its parameters stand for.
        params: Params<'t, 'p>,
    },
    /// Some route would take the request but for its method: 405 (RFC 9110, 15.5.6).
    MethodNotAllowed {
        /// Methods that would be taken, sorted; for the `Allow` field.
        allowed: Vec<String>,
    },
    /// No route takes it, whatever its method.
    NotFound,
}

/// What the parameters of a route stand for in one path.
#[derive(Clone)]
pub struct Params<'t, 'p> {
    names: &'t [Box<str>],
    path: &'p str,
    captures: Captures,
}

impl Table {
    /// Arranges `specs`; the route at index `i` is `RouteId(i)` from here on.
    ///
    /// Reports every conflict, not the first only.
    pub fn build(specs: &[Spec]) -> Result<Self, Vec<Conflict>> {
        let mut tree = Tree::new();
        let mut conflicts = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let id = RouteId(u32::try_from(index).expect("fewer than 2^32 routes"));
            if let Err(why) = tree.insert(id, spec) {
                conflicts.push(Conflict::Invalid { route: id, why });
            }
        }
        tree.finish(|first, second| conflicts.push(Conflict::Ambiguous { first, second }));
        if conflicts.is_empty() { Ok(Self { tree }) } else { Err(conflicts) }
    }

    /// The best route for a request. `accept` tests a route's conditions (header fields,
    /// listener); it is asked about routes whose host and path match, best first.
    ///
    /// `host` is taken as it was sent: any case, with or without port and IPv6 brackets. `path`
    /// must have been through [`normalise`]; one that does not start with `/` matches nothing.
    /// Allocates only for [`Found::MethodNotAllowed`].
    pub fn find<'t, 'p>(
        &'t self,
        host: &[u8],
        path: &'p str,
        method: &[u8],
        mut accept: impl FnMut(RouteId) -> bool,
    ) -> Found<'t, 'p> {
        let host = HostName::parse(host);
        let taken = self.tree.walk(&host, path, |entry, captures| {
            if entry.takes(method) && accept(entry.id) {
                let captures = captures.clone();
                let params = Params { names: &entry.names, path, captures };
                return ControlFlow::Break(Found::Route { id: entry.id, params });
            }
            ControlFlow::Continue(())
        });
        match taken {
            ControlFlow::Break(found) => found,
            ControlFlow::Continue(()) => self.refuse(&host, path, method, accept),
        }
    }

    /// Every route whose host and path match, best first, whatever their methods and conditions.
    pub fn candidates(&self, host: &[u8], path: &str) -> Vec<RouteId> {
        let mut routes = Vec::new();
        let _: ControlFlow<()> = self.tree.walk(&HostName::parse(host), path, |entry, _| {
            routes.push(entry.id);
            ControlFlow::Continue(())
        });
        routes
    }

    #[cold]
    fn refuse<'t, 'p>(
        &'t self,
        host: &HostName,
        path: &'p str,
        method: &[u8],
        mut accept: impl FnMut(RouteId) -> bool,
    ) -> Found<'t, 'p> {
        let mut allowed = BTreeSet::new();
        let _: ControlFlow<()> = self.tree.walk(host, path, |entry: &'t Entry, _| {
            // The others were asked already, and refused.
            if !entry.takes(method) && accept(entry.id) {
                allowed.extend(entry.methods.iter().map(|method| &**method));
            }
            ControlFlow::Continue(())
        });
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        if allowed.is_empty() {
            return Found::NotFound;
        }
        Found::MethodNotAllowed { allowed: allowed.into_iter().map(ToOwned::to_owned).collect() }
    }
}

impl Params<'_, '_> {
    /// What the parameter called `name` stands for, still percent-encoded.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Names and values, from left to right.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.captures.spans().map(|span| &self.path[span]);
        self.names.iter().map(|name| &**name).zip(values)
    }
}

impl fmt::Debug for Params<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
