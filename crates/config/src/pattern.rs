//! A route's match: `[host]/path`.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use evergate_core::route::normalise;

use crate::model::Host;
use crate::reader::Fault;
use crate::template::{VARIABLES, is_param};
use crate::url::check_host;

/// What a trailing `*` is called in templates.
pub(crate) const REST: &str = "rest";
/// Bytes of a match.
const PATTERN_BYTES_MAX: usize = 1024;

/// A match, taken apart.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Pattern {
    pub(crate) host: Host,
    /// As [`crate::Route::path`].
    pub(crate) path: String,
    /// Names of its parameters.
    pub(crate) params: Vec<String>,
}

/// Reads `[host]/path`; a host alone stands for every path.
pub(crate) fn parse(text: &str) -> Result<Pattern, Fault> {
    let fault = |complaint: &str| Fault::new("bad-match", complaint);
    if let Some((scheme, rest)) = text.split_once("://") {
        let complaint = format!("begins with `{scheme}://`; a match is host and path only");
        return Err(fault(&complaint).help(format!("write \"{rest}\"")));
    }
    if text.is_empty() {
        return Err(fault("matches nothing").help("write \"/*\" for every request"));
    }
    if text.len() > PATTERN_BYTES_MAX {
        return Err(fault("is longer than 1024 bytes"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(fault("holds a space or a letter beyond ASCII")
            .help("write other letters as browsers send them: %C3%BC in a path, xn--… in a host"));
    }
    if text.contains(['?', '#']) {
        return Err(fault("holds `?` or `#`; a match is host and path only")
            .help("end it before the `?`: queries play no part in routing"));
    }
    let (host, path) = match text.find('/') {
        Some(slash) => text.split_at(slash),
        None => (text, "/*"),
    };
    let host = parse_host(host)?;
    let (path, params) = parse_path(path)?;
    Ok(Pattern { host, path, params })
}

fn parse_host(text: &str) -> Result<Host, Fault> {
    let fault = |complaint: &str| Fault::new("bad-match", complaint);
    if text.is_empty() {
        return Ok(Host::Any);
    }
    if text == "*" {
        return Err(fault("has `*` as host").help("leave the host out to match any: \"/path\""));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (v6, port) = inner.split_once(']').unwrap_or((inner, ""));
        return match (v6.parse::<Ipv6Addr>(), port) {
            (Ok(v6), "") => Ok(Host::Exact(format!("[{v6}]"))),
            (Ok(_), _) => Err(with_port(text)),
            (Err(_), _) => Err(fault("has an IPv6 address that cannot be read")),
        };
    }
    if text.contains(':') {
        return Err(with_port(text));
    }
    if text.contains('{') {
        return Err(fault("has a parameter in its host")
            .help("use `*.example.org/…`, and {host} in templates for what it was"));
    }
    let lower = text.to_ascii_lowercase();
    let (below, name) = match lower.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, lower.as_str()),
    };
    if name.contains('*') {
        return Err(fault("has a `*` inside its host")
            .help("a `*` stands for the first labels only: \"*.example.org/\""));
    }
    if check_host(name).is_err() {
        return Err(fault("has a host that is neither a name nor an address")
            .help("write host and path: \"api.example.org/v1/*\"; or only a path: \"/v1/*\""));
    }
    let name = name.to_owned();
    Ok(if below { Host::Below(name) } else { Host::Exact(name) })
}

fn with_port(host: &str) -> Fault {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    Fault::new("bad-match", "has a port in its host")
        .help(format!("write \"{name}/…\"; ports belong to listeners: `listeners = [\"web\"]`"))
}

/// The path in the router's syntax, and the names of its parameters.
fn parse_path(text: &str) -> Result<(String, Vec<String>), Fault> {
    let fault = |complaint: &str| Fault::new("bad-match", complaint);
    let mut params: Vec<String> = Vec::new();
    let mut path = String::new();
    let segments: Vec<&str> = text[1..].split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        path.push('/');
        let is_last = index + 1 == segments.len();
        let Some(param) = param_of(segment)? else {
            path.push_str(segment);
            continue;
        };
        if param.is_rest && !is_last {
            return Err(fault("goes on behind its `*`")
                .help("`*` and {*rest} stand at the end; {name} stands for one part of a path"));
        }
        check_param(param.name, &params)?;
        params.push(param.name.to_owned());
        path.push_str(&if *segment == "*" {
            format!("{{*{REST}}}")
        } else {
            (*segment).to_owned()
        });
    }
    match normalise(path.as_bytes()) {
        Ok(Cow::Borrowed(_)) => Ok((path, params)),
        Ok(Cow::Owned(spelled)) => {
            Err(fault("has a path that no request has: paths are normalised first")
                .help(format!("write the path as \"{spelled}\"")))
        }
        Err(error) => {
            let help = "write it as a browser sends it, without `..`, `\\` and %2f";
            Err(fault(&format!("has a path that no request has: {error}")).help(help))
        }
    }
}

/// The parameter of one segment.
struct Param<'a> {
    name: &'a str,
    is_rest: bool,
}

/// The parameter in a segment, which may have plain text around it; a `*` stands alone.
fn param_of(segment: &str) -> Result<Option<Param<'_>>, Fault> {
    if segment == "*" {
        return Ok(Some(Param { name: REST, is_rest: true }));
    }
    if !segment.contains(['{', '}', '*']) {
        return Ok(None);
    }
    let whole = segment.strip_prefix("{*").and_then(|inner| inner.strip_suffix('}'));
    let (name, is_rest) = match whole {
        Some(name) => (Some(name), true),
        None => {
            let inner = segment.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            let alone = inner.filter(|(_, behind)| !behind.contains(['{', '}', '*']));
            let before = segment.split('{').next().unwrap_or_default();
            (alone.map(|(name, _)| name).filter(|_| !before.contains(['}', '*'])), false)
        }
    };
    let Some(name) = name.filter(|name| !name.contains(['{', '}', '*'])) else {
        return Err(Fault::new("bad-match", "has a `*` or a brace where none can stand")
            .help("between two slashes stands plain text, one {name}, or at the end a `*` alone"));
    };
    Ok(Some(Param { name, is_rest }))
}

fn check_param(param: &str, earlier: &[String]) -> Result<(), Fault> {
    let fault = |complaint: String| Fault::new("bad-match", complaint);
    if !is_param(param) {
        return Err(fault("has a parameter with a bad name".to_owned())
            .help("name it with letters, digits and `_`: {tenant}"));
    }
    if VARIABLES.contains(&param) {
        return Err(fault(format!("calls a parameter {{{param}}}, which means something else"))
            .help(format!("call it {{{param}_part}}: {{{param}}} is known to every template")));
    }
    if earlier.iter().any(|name| name == param) {
        return Err(fault(format!("has {{{param}}} twice")).help("give each its own name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Host, String, Vec<String>) {
        let pattern = parse(text).expect(text);
        (pattern.host, pattern.path, pattern.params)
    }

    #[test]
    fn a_match_is_a_host_and_a_path() {
        let exact = |name: &str| Host::Exact(name.to_owned());
        let below = |name: &str| Host::Below(name.to_owned());
        let cases = [
            ("Api.example.org/v1/{tenant}/*", exact("api.example.org"), "/v1/{tenant}/{*rest}"),
            ("/x", Host::Any, "/x"),
            ("*.example.org/", below("example.org"), "/"),
            ("api.example.org", exact("api.example.org"), "/{*rest}"),
            ("/files/{*name}", Host::Any, "/files/{*name}"),
            ("[::1]/", exact("[::1]"), "/"),
            ("10.0.0.7/a/", exact("10.0.0.7"), "/a/"),
            ("/img/{name}.png", Host::Any, "/img/{name}.png"),
        ];
        for (text, host, path) in cases {
            let found = parts(text);
            assert_eq!((found.0, found.1.as_str()), (host, path), "{text}");
        }
        assert_eq!(parts("/{a}/{b}/*").2, ["a", "b", "rest"]);
    }

    #[test]
    fn everything_else_is_refused_with_help() {
        let wrong = [
            "",
            "http://a/",
            "a:80/",
            "*/x",
            "a.*.b/",
            "{sub}.example.org/",
            "/a?b",
            "/ü",
            "/a b",
            "/*/b",
            "/a*",
            "/{x}{y}",
            "/a}b{c",
            "/{*x}y",
            "/a//b",
            "/a/../b",
            "/%2fa",
            "/%41",
            "/{}",
            "/{host}",
            "/{a}/{a}",
            "/{*rest}/*",
            "-..-/",
            "[::1]:80/",
        ];
        for text in wrong {
            assert!(parse(text).expect_err(text).help.is_some(), "{text}");
        }
    }
}
