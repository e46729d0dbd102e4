//! What to do with which request.

use std::time::Duration;

use super::Static;

/// `[route.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `match`, as written.
    pub pattern: String,
    /// Host part of the match.
    pub host: Host,
    /// Path part of the match in the router's syntax: starts with `/`, holds `{param}` and at the
    /// end perhaps `{*rest}` (a trailing `*` is lowered to `{*rest}`).
    pub path: String,
    /// Methods it takes; empty is all.
    pub methods: Vec<String>,
    /// Conditions on header fields, all of which must hold.
    pub headers: Vec<HeaderMatch>,
    /// Listeners it serves; empty is all.
    pub listeners: Vec<String>,
    /// Middleware, in this order.
    pub middleware: Vec<String>,
    /// One deadline, retries included. Default: 60 s.
    pub timeout: Duration,
    /// How long a request or tunnel may go on once another process has taken over. Default: 10 min.
    pub drain_timeout: Duration,
    /// What it does.
    pub action: Action,
    /// What the server gets to see as the path.
    pub rewrite: Rewrite,
    /// `file:line` where it stands, for messages.
    pub origin: String,
}

/// The host part of a route's match.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Host {
    /// Exactly this name, lower case, without port.
    Exact(String),
    /// Any name one or more labels below this one: `*.example.org` is held as `example.org`.
    Below(String),
    /// Any.
    Any,
}

/// A condition on one header field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    /// What the value must be.
    pub value: ValueMatch,
}

/// A condition on a field's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ValueMatch {
    /// Exactly this.
    Exact(String),
    /// This regular expression (syntax of `regex-lite`) matches the whole value; it compiles.
    Regex(String),
}

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Forward to a server of this pool.
    Pool(String),
    /// Answer with a redirect.
    Redirect {
        /// `Location`.
        to: Template,
        /// 301, 302, 303, 307 or 308. Default: 308.
        status: u16,
    },
    /// Answer with a fixed response.
    Respond {
        /// Default: 200.
        status: u16,
        /// Default: empty.
        body: String,
        /// Default: `text/plain; charset=utf-8`.
        content_type: String,
    },
    /// Answer with the state of the node.
    Health(HealthDetail),
    /// Answer with a file.
    Static(Static),
}

/// How much the `health` action tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HealthDetail {
    /// `ok`, `degraded` or `down`.
    Status,
    /// Pools and servers with their states and reasons.
    Full,
}

/// How the path is changed on its way to the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Rewrite {
    /// Not at all.
    None,
    /// Without this prefix (starts with `/`, does not end with it).
    StripPrefix(String),
    /// A new path.
    To(Template),
}

/// Text with `{variables}`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Template {
    /// In order.
    pub parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// As it stands.
    Literal(String),
    /// `{client_ip}`
    ClientIp,
    /// `{host}`: without port.
    Host,
    /// `{path}`
    Path,
    /// `{query}`: with its `?`, or empty.
    Query,
    /// `{route}`: the route's name.
    Route,
    /// `{header:NAME}`: the field's first value, or empty.
    Header(String),
    /// `{cookie:NAME}`: the cookie's value, or empty.
    Cookie(String),
    /// `{NAME}`: what a parameter of the route's match stood for.
    Param(String),
}
