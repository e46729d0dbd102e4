//! `[route.NAME]`: what to do with which request.

use crate::keys::{Absent, Key, Kind, Noun, key, later, words};
use crate::model::{Action, HeaderMatch, HealthDetail, Host, Rewrite, Route, Template, ValueMatch};
use crate::reader::{Fault, ParamUse, Section};
use crate::value::Value;
use crate::{duration, field, pattern, static_files, template};

/// Bytes of the body of a `respond`.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// `health.detail`
pub(crate) const HEALTH_DETAILS: [(&str, HealthDetail); 2] =
    [("status", HealthDetail::Status), ("full", HealthDetail::Full)];

/// `[route.NAME]`
pub(crate) static KEYS: &[Key] = &[
    key(
        "match",
        Kind::Pattern,
        Absent::Error,
        "Host and path: `api.example.org/v1/{tenant}/*`, `*.example.org/`, `/path` on any host, or \
         a host alone for all its paths.",
    ),
    key("methods", Kind::List(&Kind::Method), Absent::Means("all"), "Methods it takes.")
        .example("[\"GET\", \"POST\"]"),
    key(
        "headers",
        Kind::Map("field", &Kind::Text),
        Absent::Means("no conditions"),
        "Values that fields must have, exact or as a regular expression between slashes; all must \
         hold.",
    )
    .example("{ x-beta = \"1\", user-agent = \"/.*Mobile.*/\" }"),
    key(
        "listeners",
        Kind::List(&Kind::Name(Noun::Listener)),
        Absent::Means("all"),
        "Listeners it serves.",
    ),
    key(
        "use",
        Kind::List(&Kind::Name(Noun::Middleware)),
        Absent::Means("none"),
        "Middleware, in this order.",
    ),
    key(
        "timeout",
        Kind::Duration,
        Absent::Is("60s"),
        "One deadline for a request, retries included; past that, 504.",
    ),
    key(
        "drain_timeout",
        Kind::Duration,
        Absent::Is("10m"),
        "How long a request or WebSocket may go on in a process that another one has replaced.",
    ),
    key(
        "pool",
        Kind::Name(Noun::Pool),
        Absent::Means("another action"),
        "Action: forward to a server of this pool.",
    ),
    key(
        "redirect",
        Kind::Table(REDIRECT),
        Absent::Means("another action"),
        "Action: answer with a redirect.",
    )
    .example("{ to = \"https://{host}{path}{query}\" }"),
    key(
        "respond",
        Kind::Table(RESPOND),
        Absent::Means("another action"),
        "Action: answer with a fixed response.",
    )
    .example("{ status = 200, body = \"ok\" }"),
    key(
        "health",
        Kind::Table(HEALTH),
        Absent::Means("another action"),
        "Action: answer with the state of this node.",
    )
    .example("{ detail = \"status\" }"),
    key(
        "static",
        Kind::Table(static_files::KEYS),
        Absent::Means("another action"),
        "Action: answer with a file; the path is as `strip_prefix` or `rewrite` leave it.",
    )
    .example("{ root = \"/srv/hmi\" }"),
    key(
        "strip_prefix",
        Kind::Text,
        Absent::Means("the path stays"),
        "Taken off the front of the path on its way to the server.",
    )
    .example("\"/v1\""),
    key(
        "rewrite",
        Kind::Template,
        Absent::Means("the path stays"),
        "The path on its way to the server; `{rest}` is what a `*` at the end stood for.",
    )
    .example("\"/{rest}\""),
    later("canary", "a share of requests for another pool"),
    later("mirror", "copies of requests for another pool"),
];

static REDIRECT: &[Key] = &[
    key("to", Kind::Template, Absent::Error, "Where to: a URL or a path.")
        .example("\"https://{host}{path}{query}\""),
    key(
        "status",
        Kind::NumberOf(&[301, 302, 303, 307, 308]),
        Absent::Is("308"),
        "How: 308 and 301 for good, 307 and 302 for now, 303 to be fetched with GET.",
    ),
];

static RESPOND: &[Key] = &[
    key("status", Kind::Status(200, 599), Absent::Is("200"), "Status."),
    key("body", Kind::Text, Absent::Is(""), "Body, up to 64 KiB.").example("\"ok\""),
    key("content_type", Kind::Text, Absent::Is("text/plain; charset=utf-8"), "What the body is.")
        .example("\"application/json\""),
];

static HEALTH: &[Key] = &[key(
    "detail",
    Kind::Choice(&words(&HEALTH_DETAILS)),
    Absent::Is("status"),
    "One word, or every pool and server with its reason.",
)];

/// The keys of which each route has exactly one.
const ACTIONS: [&str; 5] = ["pool", "redirect", "respond", "health", "static"];

/// Decodes one route; `None` if it has no match or no action.
pub(crate) fn decode(section: &Section<'_>) -> Option<Route> {
    let pattern = section
        .parsed("match", |text| pattern::parse(text).map(|pattern| (text.to_owned(), pattern)));
    let names = |key: &str| -> Vec<String> {
        section.items(key).iter().filter_map(|item| item.refer()).collect()
    };
    let action = decode_action(section);
    let (text, pattern) = match pattern {
        Some((text, pattern)) => (text, Some(pattern)),
        None => (String::new(), None),
    };
    let route = Route {
        pattern: text,
        host: pattern.as_ref().map_or(Host::Any, |pattern| pattern.host.clone()),
        path: pattern.as_ref().map_or_else(String::new, |pattern| pattern.path.clone()),
        methods: section.list("methods", field::method),
        headers: decode_headers(section),
        listeners: names("listeners"),
        middleware: names("use"),
        timeout: section.parsed_or_default("timeout", duration::positive),
        drain_timeout: section.parsed_or_default("drain_timeout", duration::positive),
        rewrite: decode_rewrite(section, pattern.as_ref()),
        action: action?,
        origin: section.reader.origin(section.place),
    };
    pattern.map(|_| route)
}

fn decode_action(section: &Section<'_>) -> Option<Action> {
    let written: Vec<_> = ACTIONS.into_iter().filter(|name| section.has(name)).collect();
    match written.as_slice() {
        [] => section.fail(
            "no-action",
            format!("`{}` does nothing: it has no action", section.path),
            "write one of `pool = \"NAME\"`, `redirect = { to = \"…\" }`, `respond = { … }`, \
             `static = { root = \"…\" }`, `health = {}`",
        ),
        [_] => {}
        [first, .., last] => section.fail(
            "two-actions",
            format!("`{}` has both `{first}` and `{last}`", section.path),
            "a route does one thing: keep one of them, or make two routes",
        ),
    }
    // All of them are read, so that their own errors come out too.
    let pool = section.get("pool").and_then(|value| value.refer()).map(Action::Pool);
    let redirect = section.section("redirect").and_then(|redirect| {
        let to = read_template(&redirect, "to", (Noun::Route, &section.name), location);
        let status = redirect.number("status");
        Some(Action::Redirect { to: to?, status })
    });
    let respond = section.section("respond").map(|respond| Action::Respond {
        status: respond.number("status"),
        body: respond.parsed_or_default("body", body),
        content_type: respond.parsed_or_default("content_type", field::value),
    });
    let health = section
        .section("health")
        .map(|health| Action::Health(health.choice("detail", &HEALTH_DETAILS)));
    let files = section
        .section("static")
        .and_then(|section| static_files::decode(&section))
        .map(Action::Static);
    pool.or(redirect).or(respond).or(health).or(files)
}

fn decode_headers(section: &Section<'_>) -> Vec<HeaderMatch> {
    let mut headers: Vec<HeaderMatch> = Vec::new();
    for (written, value) in section.entries("headers") {
        let Some(name) = value.check_key(&written, field::name) else { continue };
        if headers.iter().any(|earlier| earlier.name == name) {
            value.check_key(&written, |_| -> Result<(), Fault> {
                Err(Fault::new("bad-header", "stands here twice: case does not count in names"))
            });
            continue;
        }
        if let Some(value) = value.parsed(value_match) {
            headers.push(HeaderMatch { name, value });
        }
    }
    headers
}

fn value_match(text: &str) -> Result<ValueMatch, Fault> {
    let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    let Some(inner) = inner else {
        return field::value(text).map(ValueMatch::Exact);
    };
    // As it is used: the whole value must match.
    match regex_lite::Regex::new(&format!("^(?:{inner})$")) {
        Ok(_) => Ok(ValueMatch::Regex(inner.to_owned())),
        Err(error) => Err(Fault::new("bad-regex", format!("is not a regular expression: {error}"))
            .help("between the slashes stands an expression such as /v[0-9]+/")),
    }
}

fn decode_rewrite(section: &Section<'_>, pattern: Option<&pattern::Pattern>) -> Rewrite {
    let prefix = section.parsed("strip_prefix", strip_prefix);
    let to = read_template(section, "rewrite", (Noun::Route, &section.name), new_path);
    if section.has("strip_prefix") && section.has("rewrite") {
        section.fail(
            "two-rewrites",
            format!("`{}` has both `strip_prefix` and `rewrite`", section.path),
            "keep one of them: `rewrite = \"/{rest}\"` can do what `strip_prefix` does",
        );
    }
    if let (Some(prefix), Some(pattern)) = (&prefix, pattern) {
        check_prefix(section, prefix, &pattern.path);
    }
    match (prefix, to) {
        (Some(prefix), _) => Rewrite::StripPrefix(prefix),
        (None, Some(to)) => Rewrite::To(to),
        (None, None) => Rewrite::None,
    }
}

/// A prefix that the match does not begin with would never come off.
fn check_prefix(section: &Section<'_>, prefix: &str, path: &str) {
    let literal = &path[..path.find('{').unwrap_or(path.len())];
    let begins =
        literal.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // A parameter may stand for a part of the prefix.
    let may_begin = path.contains('{') && prefix.starts_with(literal);
    if begins || may_begin {
        return;
    }
    if let Some(value) = section.get("strip_prefix") {
        value.report(
            crate::Diagnostic::error(
                "bad-prefix",
                format!("no path that `{}` matches begins with `{prefix}`", section.path),
            )
            .help(format!("the match begins with `{literal}`")),
        );
    }
}

fn strip_prefix(text: &str) -> Result<String, Fault> {
    let fault = |complaint: &str| Fault::new("bad-prefix", complaint);
    if !text.starts_with('/') {
        return Err(fault("does not begin with `/`").help(format!("write \"/{text}\"")));
    }
    let trimmed = text.trim_end_matches('/');
    if trimmed.is_empty() {
        return Err(fault("takes nothing away").help("write a prefix such as \"/v1\""));
    }
    if trimmed.len() < text.len() {
        return Err(fault("ends with `/`").help(format!("write \"{trimmed}\"")));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['{', '}', '*', '?', '#']) {
        return Err(fault("is not plain text of a path")
            .help("for parameters use `rewrite`, such as `rewrite = \"/{rest}\"`"));
    }
    Ok(text.to_owned())
}

fn body(text: &str) -> Result<String, Fault> {
    if text.len() > BODY_BYTES_MAX {
        return Err(Fault::new("too-long", "is longer than 64 KiB"));
    }
    Ok(text.to_owned())
}

/// Where a redirect leads: something that can be a `Location`.
fn location(text: &str) -> Result<Template, Fault> {
    let template = template::parse(text)?;
    if text.is_empty() || !(text.starts_with(['/', '{']) || text.contains("://")) {
        return Err(Fault::new("bad-template", "is neither a URL nor a path")
            .help("write \"https://{host}{path}{query}\" or \"/elsewhere\""));
    }
    Ok(template)
}

fn new_path(text: &str) -> Result<Template, Fault> {
    let template = template::parse(text)?;
    if !text.starts_with('/') && !text.starts_with("{path}") {
        return Err(Fault::new("bad-template", "does not begin with `/`")
            .help(format!("write \"/{text}\"")));
    }
    Ok(template)
}

/// The template behind a key, whose parameters must be in a match.
pub(crate) fn read_template(
    section: &Section<'_>,
    key: &str,
    owner: (Noun, &str),
    parse: impl Fn(&str) -> Result<Template, Fault>,
) -> Option<Template> {
    template_of(&section.get(key)?, owner, parse)
}

/// The template that is a value, whose parameters must be in a match.
pub(crate) fn template_of(
    value: &Value<'_>,
    owner: (Noun, &str),
    parse: impl Fn(&str) -> Result<Template, Fault>,
) -> Option<Template> {
    let template = value.parsed(parse)?;
    for param in template::params(&template) {
        value.reader.params.borrow_mut().push(ParamUse {
            owner: (owner.0, owner.1.to_owned()),
            param: param.to_owned(),
            place: value.place(),
            path: value.path.clone(),
        });
    }
    Some(template)
}
