//! Who the client is, when a trusted proxy stands between.
//!
//! Forwarding fields of anybody else are worth nothing: they are removed and set anew. From a
//! trusted proxy the list is read from the right, and the first address that is not itself a
//! trusted proxy is the client. A malformed list counts as none. `X-Forwarded-For` decides if it is
//! there, `Forwarded` (RFC 7239) only otherwise: two sources of one truth are an attack.

use std::net::{IpAddr, SocketAddr};

use evergate_core::head::{Fields, Name};
use ipnet::IpNet;

/// Most addresses read from one list; a longer one counts as malformed.
const HOPS_MAX: usize = 32;

/// Whether `address` belongs to a trusted proxy.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The client's address as told by the proxy `peer`, which is trusted.
pub(crate) fn client(fields: &Fields, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let told = if fields.get(Name::XForwardedFor).is_some() {
        walk(fields.all(Name::XForwardedFor), trusted, parse_address)
    } else {
        walk(fields.all(Name::Forwarded), trusted, parse_forwarded)
    };
    told.unwrap_or(peer)
}

/// The first address from the right that is not trusted, or else the leftmost.
fn walk<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
    parse: fn(&[u8]) -> Option<IpAddr>,
) -> Option<IpAddr> {
    let mut leftmost = None;
    let hops = lines.rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    for (index, hop) in hops.enumerate() {
        if index >= HOPS_MAX {
            return None;
        }
        let address = parse(hop.trim_ascii())?;
        if !is_trusted(address, trusted) {
            return Some(address);
        }
        leftmost = Some(address);
    }
    leftmost
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:443`.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// The `for` of one `Forwarded` element (RFC 7239, 4 and 6); an obfuscated name is no address.
fn parse_forwarded(element: &[u8]) -> Option<IpAddr> {
    let pairs = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let value = pairs
        .filter_map(|pair| split_pair(pair))
        .find_map(|(name, value)| name.eq_ignore_ascii_case(b"for").then_some(value))?;
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    parse_address(quoted.unwrap_or(value))
}

fn split_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    Some((&pair[..equals], &pair[equals + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: Name, lines: &[&str]) -> String {
        let mut fields = Fields::default();
        for line in lines {
            fields.append(name, b"x", line.as_bytes());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        client(&fields, "10.0.0.1".parse().unwrap(), &trusted).to_string()
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        let table: [(&[&str], &str); 9] = [
            (&["192.0.2.7"], "192.0.2.7"),
            (&["9.9.9.9, 192.0.2.7, 10.0.0.5"], "192.0.2.7"),
            (&["9.9.9.9", "192.0.2.7", "10.0.0.5"], "192.0.2.7"),
            (&["10.0.0.9, 10.0.0.5"], "10.0.0.9"),
            (&["9.9.9.9, nonsense"], "10.0.0.1"),
            (&["nonsense, 192.0.2.7"], "192.0.2.7"),
            (&["[2001:db8::1]:443"], "2001:db8::1"),
            (&["192.0.2.7:1234"], "192.0.2.7"),
            (&[""], "10.0.0.1"),
        ];
        for (lines, client) in table {
            assert_eq!(told(Name::XForwardedFor, lines), client, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        let table: [(&[&str], &str); 5] = [
            (&["for=192.0.2.7;proto=https"], "192.0.2.7"),
            (&["for=9.9.9.9, For=\"[2001:db8::1]:443\";by=10.0.0.2, for=10.0.0.5"], "2001:db8::1"),
            (&["for=_hidden"], "10.0.0.1"),
            (&["proto=https"], "10.0.0.1"),
            (&["for=unknown, for=192.0.2.7"], "192.0.2.7"),
        ];
        for (lines, client) in table {
            assert_eq!(told(Name::Forwarded, lines), client, "{lines:?}");
        }
    }

    #[test]
    fn an_endless_list_counts_as_malformed() {
        let list = vec!["10.0.0.2"; HOPS_MAX + 1].join(",");
        assert_eq!(told(Name::XForwardedFor, &[&list]), "10.0.0.1");
    }
}
