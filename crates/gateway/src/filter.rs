//! The ordered chain of middleware in front of a route's action, the same for every protocol.
//!
//! A filter sees the request before it goes on and may let it pass, refuse it, or answer it. What
//! it wants changed in either head it notes in [`Edits`]; the heads themselves are written once.

use evergate_config::Middleware;

use crate::facts::Facts;
use crate::reject::Reject;

mod api_key;
mod cors;
mod headers;
mod ip;

/// A compiled middleware.
#[derive(Debug)]
pub(crate) enum Filter {
    /// Changes header fields.
    Headers(headers::Headers),
    /// Lets addresses in.
    Ip(ip::Ip),
    /// Asks for a key.
    ApiKey(api_key::ApiKey),
    /// Cross-origin rules.
    Cors(cors::Cors),
}

/// What a filter decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Go on.
    Pass,
    /// Answer with an error.
    Refuse(Reject),
    /// Answer with this status and no body; the fields are among the response's edits.
    Answer(u16),
}

/// Changes to the heads of one exchange.
#[derive(Debug, Default)]
pub(crate) struct Edits<'p> {
    /// On the way to the server.
    pub(crate) request: Changes<'p>,
    /// On the way to the client.
    pub(crate) response: Changes<'p>,
}

/// Changes to one head: removals first, then additions.
#[derive(Debug, Default)]
pub(crate) struct Changes<'p> {
    /// Names of fields to leave out.
    pub(crate) remove: Vec<&'p str>,
    /// Fields to add.
    pub(crate) add: Vec<(&'p str, Vec<u8>)>,
}

impl<'p> Changes<'p> {
    /// Puts one field in place of every field of that name.
    pub(crate) fn set(&mut self, name: &'p str, value: Vec<u8>) {
        self.add.retain(|(added, _)| !added.eq_ignore_ascii_case(name));
        self.remove.push(name);
        self.add.push((name, value));
    }

    /// Whether a field of the original head stays.
    pub(crate) fn keeps(&self, name: &[u8]) -> bool {
        !self.remove.iter().any(|removed| removed.as_bytes().eq_ignore_ascii_case(name))
    }
}

impl Filter {
    /// Prepares `middleware` for the request path.
    pub(crate) fn compile(middleware: &Middleware) -> Self {
        match middleware {
            Middleware::Headers(rules) => Self::Headers(headers::Headers::new(rules)),
            Middleware::Ip(rules) => Self::Ip(ip::Ip::new(rules)),
            Middleware::ApiKey(rules) => Self::ApiKey(api_key::ApiKey::new(rules)),
            Middleware::Cors(rules) => Self::Cors(cors::Cors::new(rules)),
        }
    }

    /// Decides on a request.
    pub(crate) fn judge<'p>(&'p self, facts: &Facts<'_>, edits: &mut Edits<'p>) -> Verdict {
        match self {
            Self::Headers(filter) => filter.judge(facts, edits),
            Self::Ip(filter) => filter.judge(facts),
            Self::ApiKey(filter) => filter.judge(facts),
            Self::Cors(filter) => filter.judge(facts, edits),
        }
    }
}
