//! The configuration in force as text: every default written out, every secret replaced.

use std::fmt::Write;

use evergate_core::{balance, health, retry};

use crate::changes::{Changes, Subject};
use crate::mask::is_suspect;
use crate::model::{
    Action, Admin, AllDown, ApiKey, Check, Config, Cors, HeaderEdits, Listener, Log, Middleware,
    Node, Pool, Probe, Rewrite, Root, Route, Server, Static, Target, Template, ValueMatch,
};
use crate::node::{ACCESS_LOGS, FORMATS, LEVELS, RELOADS};
use crate::pool::{BALANCES, PROTOCOLS};
use crate::route::HEALTH_DETAILS;
use crate::static_files::{CODINGS, SYMLINKS};
use crate::{duration, size, template};

mod app;
mod standby;
mod tls;

/// What stands in place of a secret.
const HIDDEN: &str = "\"***\"";

/// The effective configuration as TOML, secrets as `"***"`.
///
/// Without secrets it loads as the same configuration.
pub fn to_toml(config: &Config) -> String {
    to_toml_with(config, &Changes::default())
}

/// The same, with a comment at everything that comes from a change beside the file.
pub fn to_toml_with(config: &Config, changes: &Changes) -> String {
    let mut out = String::new();
    hidden(&mut out, changes);
    node(&mut out, &config.node);
    admin(&mut out, &config.admin);
    log(&mut out, config.log);
    for (name, listener) in &config.listeners {
        section(&mut out, &format!("listener.{name}"), &listener_keys(listener));
    }
    for (name, acme) in &config.acme {
        section(&mut out, &format!("acme.{name}"), &tls::acme_keys(acme));
    }
    for (name, route) in &config.routes {
        let subject = Subject::Route(name.clone());
        let mark = changes.find(&subject).map(|_| subject);
        marked(&mut out, mark.iter(), &format!("route.{name}"), &route_keys(route));
    }
    for (name, middleware) in &config.middleware {
        section(&mut out, &format!("middleware.{name}"), &[middleware_key(middleware)]);
    }
    for (name, pool) in &config.pools {
        let is_here =
            |subject: &&Subject| matches!(subject, Subject::Server { pool, .. } if pool == name);
        let marks =
            changes.iter().filter(|(_, change)| !change.hides()).map(|(subject, _)| subject);
        marked(&mut out, marks.filter(is_here), &format!("pool.{name}"), &pool_keys(pool));
    }
    for (name, app) in &config.apps {
        section(&mut out, &format!("app.{name}"), &app::keys(app));
    }
    for (name, vip) in &config.vips {
        section(&mut out, &format!("vip.{name}"), &standby::vip_keys(vip));
    }
    // Without peers it would be warned of.
    if !config.peers.is_empty() {
        section(&mut out, "heartbeat", &standby::heartbeat_keys(&config.heartbeat));
    }
    for (name, peer) in &config.peers {
        section(&mut out, &format!("peer.{name}"), &standby::peer_keys(peer));
    }
    out
}

/// A key and its value as TOML.
type Line = (&'static str, String);

/// What the file has and changes hide, a comment each.
fn hidden(out: &mut String, changes: &Changes) {
    for (subject, _) in changes.iter().filter(|(_, change)| change.hides()) {
        writeln!(out, "# {subject} is hidden by a change").expect("a String takes everything");
    }
}

/// A section below a comment for each change that has a part in it.
fn marked<'a>(
    out: &mut String,
    marks: impl Iterator<Item = &'a Subject>,
    header: &str,
    lines: &[Line],
) {
    if !out.is_empty() {
        out.push('\n');
    }
    for subject in marks {
        writeln!(out, "# {subject} comes from a change").expect("a String takes everything");
    }
    writeln!(out, "[{header}]").expect("a String takes everything");
    for (key, value) in lines {
        writeln!(out, "{key} = {value}").expect("a String takes everything");
    }
}

fn section(out: &mut String, header: &str, lines: &[Line]) {
    marked(out, std::iter::empty(), header, lines);
}

fn node(out: &mut String, node: &Node) {
    let threads = node.threads.map_or_else(|| text("auto"), |threads| threads.to_string());
    let lines = [
        ("name", text(&node.name)),
        ("state_dir", path(&node.state_dir)),
        ("run_dir", path(&node.run_dir)),
        ("log_dir", path(&node.log_dir)),
        ("threads", threads),
        ("user", text(&node.user)),
        ("reload", word(&RELOADS, node.reload)),
    ];
    section(out, "node", &lines);
}

fn admin(out: &mut String, admin: &Admin) {
    let token = |name, token: &Option<_>| token.as_ref().map(|_| (name, HIDDEN.to_owned()));
    let tokens: Vec<_> = [token("viewer", &admin.viewer), token("operator", &admin.operator)]
        .into_iter()
        .flatten()
        .collect();
    let mut lines = vec![
        ("bind", list(admin.bind.iter().map(text_of))),
        ("allow", list(admin.allow.iter().map(text_of))),
    ];
    if !tokens.is_empty() {
        lines.push(("tokens", table(&tokens)));
    }
    section(out, "admin", &lines);
}

fn log(out: &mut String, log: Log) {
    let lines = [
        ("level", word(&LEVELS, log.level)),
        ("format", word(&FORMATS, log.format)),
        ("access", word(&ACCESS_LOGS, log.access)),
    ];
    section(out, "log", &lines);
}

fn listener_keys(listener: &Listener) -> Vec<Line> {
    let limits = &listener.limits;
    let size = |bytes: u64| text(&size::show(bytes));
    let mut lines = vec![("bind", list(listener.bind.iter().map(text_of)))];
    lines.extend(listener.tls.iter().map(|tls| ("tls", tls::listener_table(tls))));
    lines.extend([
        ("http2", listener.http2.to_string()),
        ("proxy_protocol", listener.proxy_protocol.to_string()),
        ("trusted_proxies", list(listener.trusted_proxies.iter().map(text_of))),
        ("limits.connections", limits.connections.to_string()),
        ("limits.connections_per_ip", limits.connections_per_ip.to_string()),
        ("limits.header", size(limits.header.into())),
        ("limits.headers", limits.headers.to_string()),
        ("limits.uri", size(limits.uri.into())),
        ("limits.body", size(limits.body)),
        ("limits.header_timeout", time(limits.header_timeout)),
        ("limits.idle_timeout", time(limits.idle_timeout)),
        ("limits.requests", limits.requests.to_string()),
        ("limits.body_rate_min", text(&format!("{}/s", size::show(limits.body_rate_min.into())))),
        ("limits.body_grace", time(limits.body_grace)),
    ]);
    lines
}

fn route_keys(route: &Route) -> Vec<Line> {
    let strings = |texts: &[String]| list(texts.iter().map(|name| text(name)));
    let mut lines = vec![("match", text(&route.pattern))];
    if !route.methods.is_empty() {
        lines.push(("methods", strings(&route.methods)));
    }
    if !route.headers.is_empty() {
        let headers = route.headers.iter().map(|header| {
            let value = match &header.value {
                _ if is_suspect(&header.name) => HIDDEN.to_owned(),
                ValueMatch::Exact(value) => text(value),
                ValueMatch::Regex(regex) => text(&format!("/{regex}/")),
            };
            (header.name.clone(), value)
        });
        lines.push(("headers", named(headers)));
    }
    if !route.listeners.is_empty() {
        lines.push(("listeners", strings(&route.listeners)));
    }
    if !route.middleware.is_empty() {
        lines.push(("use", strings(&route.middleware)));
    }
    lines.push(("timeout", time(route.timeout)));
    lines.push(("drain_timeout", time(route.drain_timeout)));
    lines.push(action(&route.action));
    match &route.rewrite {
        Rewrite::None => {}
        Rewrite::StripPrefix(prefix) => lines.push(("strip_prefix", text(prefix))),
        Rewrite::To(template) => lines.push(("rewrite", template_text(template))),
    }
    lines
}

fn action(action: &Action) -> Line {
    match action {
        Action::Pool(pool) => ("pool", text(pool)),
        Action::Redirect { to, status } => {
            ("redirect", table(&[("to", template_text(to)), ("status", status.to_string())]))
        }
        Action::Respond { status, body, content_type } => {
            let lines = [
                ("status", status.to_string()),
                ("body", text(body)),
                ("content_type", text(content_type)),
            ];
            ("respond", table(&lines))
        }
        Action::Static(files) => ("static", static_table(files)),
        Action::Health(detail) => ("health", table(&[("detail", word(&HEALTH_DETAILS, *detail))])),
    }
}

fn static_table(files: &Static) -> String {
    let root = match &files.root {
        Root::Folder(folder) => ("root", path(folder)),
        Root::Embedded => ("embedded", "true".to_owned()),
    };
    let compress = files.compress.iter().map(|coding| word(&CODINGS, *coding));
    let rules = files.cache_control.iter().map(|(pattern, value)| (pattern.clone(), text(value)));
    let mut lines = vec![
        root,
        ("compress", list(compress)),
        ("precompressed", files.precompressed.to_string()),
        ("index", text(&files.index)),
    ];
    lines.extend(files.spa.iter().map(|spa| ("spa", text(spa))));
    lines.extend([
        ("dotfiles", files.dotfiles.to_string()),
        ("symlinks", word(&SYMLINKS, files.symlinks)),
        ("cache_control", named(rules)),
    ]);
    table(&lines)
}

fn middleware_key(middleware: &Middleware) -> Line {
    match middleware {
        Middleware::Headers(headers) => {
            let lines =
                [("request", edits(&headers.request)), ("response", edits(&headers.response))];
            ("headers", table(&lines))
        }
        Middleware::Ip(ip) => {
            let mut lines = Vec::new();
            for (name, nets) in [("allow", &ip.allow), ("deny", &ip.deny)] {
                if !nets.is_empty() {
                    lines.push((name, list(nets.iter().map(text_of))));
                }
            }
            if lines.is_empty() {
                lines.push(("deny", "[]".to_owned()));
            }
            ("ip", table(&lines))
        }
        Middleware::ApiKey(ApiKey { header, keys }) => {
            let keys = list(keys.iter().map(|_| HIDDEN.to_owned()));
            ("api_key", table(&[("header", text(header)), ("keys", keys)]))
        }
        Middleware::Cors(cors) => ("cors", table(&cors_lines(cors))),
    }
}

fn edits(edits: &HeaderEdits) -> String {
    let fields = |fields: &[(String, Template)]| {
        named(fields.iter().map(|(name, value)| {
            let constant = template::show(value);
            let hidden = is_suspect(name) && !constant.contains('{');
            (name.clone(), if hidden { HIDDEN.to_owned() } else { text(&constant) })
        }))
    };
    table(&[
        ("set", fields(&edits.set)),
        ("add", fields(&edits.add)),
        ("remove", list(edits.remove.iter().map(|name| text(name)))),
    ])
}

fn cors_lines(cors: &Cors) -> [Line; 6] {
    let strings = |texts: &[String]| list(texts.iter().map(|name| text(name)));
    [
        ("origins", strings(&cors.origins)),
        ("methods", strings(&cors.methods)),
        ("headers", strings(&cors.headers)),
        ("expose", strings(&cors.expose)),
        ("credentials", cors.credentials.to_string()),
        ("max_age", time(cors.max_age)),
    ]
}

fn pool_keys(pool: &Pool) -> Vec<Line> {
    let mut lines = vec![("balance", word(&BALANCES, pool.balance))];
    if pool.balance == balance::Policy::Hash {
        lines.push(("hash_key", template_text(&pool.hash_key)));
    }
    let servers = pool.servers.iter().map(|(name, server)| (name.clone(), server_table(server)));
    lines.extend([
        ("servers", named(servers)),
        ("connect_timeout", time(pool.connect_timeout)),
        ("keepalive", pool.keepalive.to_string()),
        ("retry", retry_table(pool.retry)),
        ("outlier", outlier_table(pool.outlier)),
        (
            "all_down",
            match pool.all_down {
                AllDown::Unavailable => text("503"),
                AllDown::TryAll => text("try-all"),
            },
        ),
        ("slow_start", time(pool.slow_start)),
        ("protocol", word(&PROTOCOLS, pool.protocol)),
        ("proxy_protocol", pool.proxy_protocol.to_string()),
    ]);
    if pool.servers.values().any(|server| matches!(server.target, Target::Url { tls: true, .. })) {
        lines.push(("tls", tls::upstream_table(&pool.tls)));
    }
    lines.extend(pool.checks.iter().map(check_line));
    lines
}

fn server_table(server: &Server) -> String {
    let target = match &server.target {
        Target::Url { tls, host, port } => {
            let scheme = if *tls { "https" } else { "http" };
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            ("url", text(&format!("{scheme}://{open}{host}{close}:{port}")))
        }
        Target::App(app) => ("app", text(app)),
    };
    table(&[target, ("weight", server.weight.to_string())])
}

fn retry_table(policy: retry::Policy) -> String {
    let retry::Conditions {
        connect,
        timeout,
        status_500,
        status_502,
        status_503,
        status_504,
        non_idempotent,
    } = policy.on;
    let words = [
        (connect, "connect"),
        (timeout, "timeout"),
        (status_500, "500"),
        (status_502, "502"),
        (status_503, "503"),
        (status_504, "504"),
        (non_idempotent, "non-idempotent"),
    ];
    let on = list(words.into_iter().filter(|(on, _)| *on).map(|(_, word)| text(word)));
    table(&[
        ("attempts", policy.attempts_max.to_string()),
        ("on", on),
        ("budget", text(&format!("{}%", policy.budget_percent))),
    ])
}

fn outlier_table(policy: health::OutlierPolicy) -> String {
    let consecutive = if policy.consecutive == u32::MAX { 0 } else { policy.consecutive };
    table(&[
        ("consecutive", consecutive.to_string()),
        ("eject", time(policy.eject)),
        ("max_ejected", text(&format!("{}%", policy.ejected_percent_max))),
    ])
}

fn check_line(check: &Check) -> Line {
    let health::CheckPolicy { every, timeout, fall, rise } = check.policy;
    let mut lines = Vec::new();
    let key = match &check.probe {
        Probe::Http { path, host, expect } => {
            lines.push(("path", text(path)));
            lines.extend(host.iter().map(|host| ("host", text(host))));
            let ranges = expect.iter().map(|r| text(&format!("{}-{}", r.start(), r.end())));
            lines.push(("expect", list(ranges)));
            "check.http"
        }
        Probe::Tcp => "check.tcp",
        Probe::Grpc { service } => {
            lines.push(("service", text(service)));
            "check.grpc"
        }
    };
    lines.extend([
        ("every", time(every)),
        ("timeout", time(timeout)),
        ("fall", fall.to_string()),
        ("rise", rise.to_string()),
    ]);
    (key, table(&lines))
}

/// The word that means `value`: as it came from the same table, there is one.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> String {
    let found = words.iter().find(|(_, meant)| *meant == value);
    text(found.expect("every value has a word").0)
}

fn template_text(template: &Template) -> String {
    text(&template::show(template))
}

fn time(time: std::time::Duration) -> String {
    text(&duration::show(time))
}

fn path(path: &std::path::Path) -> String {
    text(&path.to_string_lossy())
}

fn text_of(value: &impl ToString) -> String {
    text(&value.to_string())
}

/// Quotes text as TOML 1.0 does.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a String takes everything");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(crate) fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn table(lines: &[Line]) -> String {
    named(lines.iter().map(|(key, value)| ((*key).to_owned(), value.clone())))
}

/// A name where a key stands, in quotes where need be.
pub(crate) fn key(name: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_plain = !name.is_empty() && name.bytes().all(is_bare);
    if is_plain { name.to_owned() } else { text(name) }
}

/// An inline table; keys are quoted where need be.
pub(crate) fn named(lines: impl Iterator<Item = (String, String)>) -> String {
    let lines: Vec<_> = lines.map(|(name, value)| format!("{} = {value}", key(&name))).collect();
    if lines.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", lines.join(", ")) }
}
