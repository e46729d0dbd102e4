//! Addresses of servers: `http://host[:port]`, `https://host[:port]`.

use std::net::Ipv6Addr;

use crate::model::Target;
use crate::reader::Fault;

/// Ports of URLs without one (RFC 9110, 4.2).
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// A server's URL, which has neither path nor user.
pub(crate) fn server(text: &str) -> Result<Target, Fault> {
    let fault = |complaint: &str| Fault::new("bad-url", complaint);
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(fault("has no scheme").help(format!("write \"http://{text}\"")));
    };
    let mistaken = |scheme: &str, more: &str| {
        fault("has a scheme that servers do not have here")
            .help(format!("write \"{scheme}://{rest}\"{more}"))
    };
    const HTTP2: &str = ", and `protocol = \"http2\"` in the pool";
    let tls = match scheme {
        "http" => false,
        "https" => true,
        "h2" | "grpcs" => return Err(mistaken("https", HTTP2)),
        "h2c" | "grpc" => return Err(mistaken("http", HTTP2)),
        "ws" => return Err(mistaken("http", "; WebSockets need nothing else")),
        "wss" => return Err(mistaken("https", "; WebSockets need nothing else")),
        "unix" | "fcgi" => {
            let complaint = format!("needs {scheme}, which this version of Evergate does not have");
            let help = "let the server listen on a port too: \"http://127.0.0.1:8080\"";
            return Err(Fault::new("not-supported-yet", complaint).help(help));
        }
        _ => return Err(fault("has an unknown scheme").help(format!("write \"http://{rest}\""))),
    };
    if let Some(at) = rest.find(['/', '?', '#']).filter(|&at| rest.len() > at + 1) {
        let authority = &rest[..at];
        return Err(fault("has a path; a server is a host and a port").help(format!(
            "write \"{scheme}://{authority}\" here, and change paths with the route's `rewrite`"
        )));
    }
    let authority = rest.trim_end_matches(['/', '?', '#']);
    if authority.contains('@') {
        return Err(fault("holds a user; add the header with a `headers` middleware instead"));
    }
    let (host, port) = split_port(authority, if tls { HTTPS } else { HTTP }).ok_or_else(|| {
        fault("has a port that is not a number from 1 to 65535")
            .help("write \"http://10.0.0.7:8080\"")
    })?;
    check_host(host).map_err(fault)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Ok(Target::Url { tls, host, port })
}

/// Host (with the brackets of IPv6) and port, `default` if there is none.
fn split_port(authority: &str, default: u16) -> Option<(&str, u16)> {
    let after_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[after_host..].find(':') {
        None => Some((authority, default)),
        Some(colon) => {
            let (host, port) = authority.split_at(after_host + colon);
            let port = port[1..].parse().ok().filter(|&port| port != 0)?;
            Some((host, port))
        }
    }
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn check_host(host: &str) -> Result<(), &'static str> {
    const NAME_BYTES_MAX: usize = 253;
    if host.is_empty() {
        return Err("has no host");
    }
    if let Some(inner) = host.strip_prefix('[') {
        let v6 = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return v6.map(|_| ()).ok_or("has an IPv6 address that cannot be read");
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(legal);
    if host.len() <= NAME_BYTES_MAX && host.split('.').all(label) {
        return Ok(());
    }
    Err("has a host that is neither a name nor an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(tls: bool, host: &str, port: u16) -> Target {
        Target::Url { tls, host: host.to_owned(), port }
    }

    #[test]
    fn servers_are_hosts_and_ports() {
        let cases = [
            ("http://10.0.0.7:8080", target(false, "10.0.0.7", 8080)),
            ("http://App.Internal", target(false, "app.internal", 80)),
            ("https://App.Internal", target(true, "app.internal", 443)),
            ("https://[::1]:8443", target(true, "::1", 8443)),
            ("http://[::1]:81/", target(false, "::1", 81)),
            ("http://[fd00::1]", target(false, "fd00::1", 80)),
        ];
        for (text, expected) in cases {
            assert_eq!(server(text).expect(text), expected);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let wrong = [
            "10.0.0.7:8080",
            "grpc://a",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:65536",
            "http://a/path",
            "http://a?x",
            "http://u:p@a",
            "http://a b",
            "http://[::1",
            "http://[::g]:80",
            "http://a..b",
            "http://a:80:80",
        ];
        for text in wrong {
            assert!(server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_is_sent_to_rewrite() {
        let fault = server("http://a:80/v1").expect_err("servers have no path");
        assert!(fault.help.expect("there is help").contains("rewrite"));
    }
}
