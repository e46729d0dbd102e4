//! What becomes of a request's target, and what the balancer hashes.

use std::borrow::Cow;
use std::net::IpAddr;

use evergate_config::Rewrite;
use evergate_core::balance::{self, Policy};

use crate::facts::Facts;
use crate::plan::Pool;
use crate::template;

/// Path and query to ask the server for. The path is the normalised one: what was routed and let
/// pass is what is asked for.
pub(crate) fn target<'a>(rewrite: &Rewrite, facts: &'a Facts<'_>) -> Cow<'a, [u8]> {
    let path: Cow<'_, [u8]> = match rewrite {
        Rewrite::None if facts.path.as_bytes() == facts.head.path() => {
            return Cow::Borrowed(facts.head.target());
        }
        Rewrite::None => Cow::Borrowed(facts.path.as_bytes()),
        Rewrite::StripPrefix(prefix) => Cow::Borrowed(stripped(facts.path, prefix).as_bytes()),
        Rewrite::To(to) => {
            let mut out = Vec::new();
            template::render(to, facts, &mut out);
            out.retain(u8::is_ascii_graphic);
            if out.first() != Some(&b'/') {
                out.insert(0, b'/');
            }
            Cow::Owned(out)
        }
    };
    let asks_already = matches!(rewrite, Rewrite::To(_)) && path.contains(&b'?');
    match facts.head.query() {
        Some(query) if !asks_already => {
            let mut whole = path.into_owned();
            whole.push(b'?');
            whole.extend_from_slice(query);
            Cow::Owned(whole)
        }
        Some(_) | None => Cow::Owned(path.into_owned()),
    }
}

/// The path that `rewrite` makes of the request's, without a query.
pub(crate) fn path<'a>(rewrite: &Rewrite, facts: &'a Facts<'_>) -> Cow<'a, str> {
    match rewrite {
        Rewrite::None => Cow::Borrowed(facts.path),
        Rewrite::StripPrefix(prefix) => Cow::Borrowed(stripped(facts.path, prefix)),
        Rewrite::To(_) => {
            let target = target(rewrite, facts);
            let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
            Cow::Owned(String::from_utf8_lossy(path).into_owned())
        }
    }
}

/// `path` without `prefix`, if it ends at a segment; never empty.
fn stripped<'a>(path: &'a str, prefix: &str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) | None => path,
    }
}

/// What places a request on the servers of a hashing pool; 0 for others.
pub(crate) fn balance_key(pool: &Pool, facts: &Facts<'_>) -> u64 {
    match pool.balance {
        Policy::IpHash => match facts.client {
            IpAddr::V4(address) => balance::hash_bytes(&address.octets()),
            IpAddr::V6(address) => balance::hash_bytes(&address.octets()),
        },
        Policy::Hash => {
            let mut key = Vec::new();
            template::render(&pool.hash_key, facts, &mut key);
            balance::hash_bytes(&key)
        }
        Policy::RoundRobin | Policy::LeastConn | Policy::Random | Policy::P2c => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_stripped_at_a_segment_only() {
        let table = [
            ("/v1/users", "/users"),
            ("/v1", "/"),
            ("/v1/", "/"),
            ("/v10/users", "/v10/users"),
            ("/other", "/other"),
        ];
        for (path, rest) in table {
            assert_eq!(stripped(path, "/v1"), rest, "{path}");
        }
    }
}
