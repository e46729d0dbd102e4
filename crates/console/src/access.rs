//! Who may read and who may change things.
//!
//! The Unix socket is guarded by its file mode: whoever can open it is operator. Over TCP the
//! address must be allowed, and tokens decide the rest. A token comes as `Authorization: Bearer`,
//! or, for reading only, as the password of `Authorization: Basic`, which browsers ask for by
//! themselves. Since nothing can be changed with what a browser sends unasked, a foreign page cannot
//! make one change anything.

use std::fmt;
use std::hint::black_box;
use std::net::IpAddr;

use axum::http::{HeaderMap, Method, StatusCode, header};
use ipnet::IpNet;

use crate::problem::Problem;

/// Longest `Authorization` value that is looked at, in bytes.
const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// Who may connect over TCP, and with what.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Addresses that may connect.
    pub allow: Vec<IpNet>,
    /// Lets read. Without any token, everybody in `allow` may read and nobody may change anything.
    pub viewer: Option<Token>,
    /// Lets read and change.
    pub operator: Option<Token>,
}

/// A secret that opens the admin API. `Debug` does not show it; an empty one opens nothing.
#[derive(Clone)]
pub struct Token(String);

/// Where a request comes from. [`serve`](crate::serve) puts it into each request's extensions; a
/// request without one is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// The Unix socket.
    Unix,
    /// A TCP connection from this address.
    Tcp(IpAddr),
}

impl Access {
    /// Whether `peer` may make a request of this method and these header fields.
    pub(crate) fn admit(
        &self,
        peer: Option<Peer>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let address = match peer {
            Some(Peer::Unix) => return Ok(()),
            Some(Peer::Tcp(address)) => address.to_canonical(),
            None => return Err(Problem::forbidden("it is not known where the request comes from")),
        };
        if !self.allow.iter().any(|net| net.contains(&address)) {
            let message = format!("{address} may not use the admin API");
            return Err(Problem::forbidden(message).help("add its network to `admin.allow`"));
        }
        let given = Given::read(headers);
        if method.is_safe() { self.admit_reader(given) } else { self.admit_operator(given) }
    }

    fn admit_reader(&self, given: Given) -> Result<(), Problem> {
        if self.viewer.is_none() && self.operator.is_none() {
            return Ok(());
        }
        let (Given::Bearer(token) | Given::Password(token)) = given else {
            return Err(unauthorized("reading needs a token"));
        };
        // Both are compared, so that the time does not tell which one came close.
        let viewer = self.viewer.as_ref().is_some_and(|known| known.matches(&token));
        let operator = self.operator.as_ref().is_some_and(|known| known.matches(&token));
        if viewer | operator { Ok(()) } else { Err(unauthorized("the token is not known")) }
    }

    fn admit_operator(&self, given: Given) -> Result<(), Problem> {
        let Some(operator) = &self.operator else {
            return Err(Problem::forbidden(
                "nothing can be changed over TCP: no operator token is set",
            )
            .help(
                "set `admin.tokens = { operator = \"${file:/etc/evergate/operator}\" }`, or use \
                     the Unix socket",
            ));
        };
        match given {
            Given::Bearer(token) if operator.matches(&token) => Ok(()),
            Given::Bearer(_) => Err(Problem::forbidden("the token is not the operator's")),
            Given::Password(_) => Err(Problem::forbidden("a password only lets read")
                .help("send the operator token as `Authorization: Bearer TOKEN`")),
            Given::Nothing => Err(unauthorized("changing something needs the operator token")),
        }
    }
}

impl Token {
    /// The token with this text; space around it does not count.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Compares in a time that depends on the length of `given` alone.
    fn matches(&self, given: &str) -> bool {
        let known = self.0.as_bytes();
        let given = given.as_bytes();
        let mut different = usize::from(known.is_empty() || known.len() != given.len());
        for (index, byte) in given.iter().enumerate() {
            // Wraps around, so that a token of another length costs the same.
            let other = known.get(index % known.len().max(1)).copied().unwrap_or(0);
            different = black_box(different | usize::from(byte ^ other));
        }
        different == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a request shows to be let in.
enum Given {
    Bearer(String),
    Password(String),
    Nothing,
}

impl Given {
    fn read(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Self::Nothing };
        let Ok(value) = value.to_str() else { return Self::Nothing };
        if value.len() > AUTHORIZATION_BYTES_MAX {
            return Self::Nothing;
        }
        let Some((scheme, rest)) = value.split_once(' ') else { return Self::Nothing };
        if scheme.eq_ignore_ascii_case("bearer") {
            return Self::Bearer(rest.trim().to_owned());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Self::Nothing;
        }
        let decoded = base64(rest.trim()).and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((_, password)) => Self::Password(password.to_owned()),
            None => Self::Nothing,
        }
    }
}

/// The bytes that `text` stands for (RFC 4648, 4; padding may be missing).
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    if text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for &letter in group {
            let six = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn unauthorized(message: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        .help("send `Authorization: Bearer TOKEN` with a token of `admin.tokens`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(viewer: Option<&str>, operator: Option<&str>) -> Access {
        Access {
            allow: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            viewer: viewer.map(Token::new),
            operator: operator.map(Token::new),
        }
    }

    fn outcome(access: &Access, peer: &str, method: &Method, authorization: &str) -> u16 {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        let peer = match peer {
            "unix" => Some(Peer::Unix),
            "nowhere" => None,
            address => Some(Peer::Tcp(address.parse().unwrap())),
        };
        access.admit(peer, method, &headers).err().map_or(200, |problem| problem.status.as_u16())
    }

    #[test]
    fn each_caller_may_do_what_the_table_says() {
        let (get, post) = (&Method::GET, &Method::POST);
        let (none, viewer) = (access(None, None), access(Some("see"), None));
        let both = access(Some("see"), Some("do"));
        let here = "127.0.0.1";
        // "x:see", "x:do"
        let (see, all) = ("Basic eDpzZWU=", "Basic eDpkbw==");
        let table: &[(&Access, &str, &Method, &str, u16)] = &[
            (&none, "unix", post, "", 200),
            (&none, "nowhere", get, "", 403),
            (&none, here, get, "", 200),
            (&none, here, post, "", 403),
            (&none, here, post, "Bearer do", 403),
            (&none, "::ffff:127.0.0.1", get, "", 200),
            (&none, "10.0.0.1", get, "", 403),
            (&both, "10.0.0.1", get, "Bearer do", 403),
            (&viewer, here, get, "", 401),
            (&viewer, here, get, "Bearer see", 200),
            (&viewer, here, post, "Bearer see", 403),
            (&both, here, get, "Bearer see", 200),
            (&both, here, get, "bearer do", 200),
            (&both, here, get, "Bearer d", 401),
            (&both, here, get, "Bearer doo", 401),
            (&both, here, get, "Bearer ", 401),
            (&both, here, get, see, 200),
            (&both, here, get, all, 200),
            (&both, here, get, "Basic %", 401),
            (&both, here, post, "", 401),
            (&both, here, post, "Bearer see", 403),
            (&both, here, post, all, 403),
            (&both, here, post, "Bearer do", 200),
            (&both, "unix", post, "", 200),
        ];
        for (row, (access, peer, method, authorization, expected)) in table.iter().enumerate() {
            let got = outcome(access, peer, method, authorization);
            assert_eq!(got, *expected, "row {row}: {peer} {method} {authorization}");
        }
    }

    #[test]
    fn an_empty_token_opens_nothing_but_still_closes() {
        let empty = access(Some(" \n"), Some(""));
        assert_eq!(outcome(&empty, "127.0.0.1", &Method::GET, ""), 401);
        assert_eq!(outcome(&empty, "127.0.0.1", &Method::GET, "Bearer "), 401);
        assert_eq!(outcome(&empty, "127.0.0.1", &Method::POST, "Bearer "), 403);
    }

    #[test]
    fn no_token_is_printed() {
        let text = format!("{:?}", access(Some("see"), Some("do")));
        assert!(!text.contains("see") && !text.contains("do\""), "{text}");
    }

    #[test]
    fn base64_decodes_every_length_and_refuses_the_rest() {
        let table =
            [("", Some("")), ("Zg==", Some("f")), ("Zm8", Some("fo")), ("Zm9v", Some("foo"))];
        for (text, expected) in table {
            assert_eq!(base64(text), expected.map(|text| text.as_bytes().to_vec()), "{text}");
        }
        assert_eq!(base64("Zm9vY"), None);
        assert_eq!(base64("Zm9-"), None);
    }
}
