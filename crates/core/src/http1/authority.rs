//! Host and port, as in a `Host` field or an absolute target (RFC 3986, 3.2.2).

use core::net::Ipv6Addr;

/// Digits of the largest port.
const PORT_DIGITS_MAX: usize = 5;

/// Whether `text` is `host` or `host:port`: a registered name, an IPv4 address, or an IPv6 address
/// in brackets. An empty host is none (RFC 9110, 4.2.1), and neither user info, zone identifiers
/// nor addresses of a future kind are taken.
pub fn is_authority(text: &[u8]) -> bool {
    let (host_is_good, rest) = match text {
        [b'[', inner @ ..] => {
            let Some(close) = memchr::memchr(b']', inner) else { return false };
            (is_ipv6(&inner[..close]), &inner[close + 1..])
        }
        _ => {
            let end = memchr::memchr(b':', text).unwrap_or(text.len());
            (is_name(&text[..end]), &text[end..])
        }
    };
    host_is_good
        && match rest {
            [] => true,
            [b':', port @ ..] => is_port(port),
            _ => false,
        }
}

fn is_ipv6(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// A registered name; every IPv4 address is one too.
fn is_name(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return !text.is_empty(),
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [b'-' | b'.' | b'_' | b'~', rest @ ..]
            | [b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+', rest @ ..]
            | [b',' | b';' | b'=', rest @ ..] => rest,
            [byte, rest @ ..] if byte.is_ascii_alphanumeric() => rest,
            _ => return false,
        };
    }
}

/// A port, which may be left empty after its colon.
fn is_port(text: &[u8]) -> bool {
    if text.len() > PORT_DIGITS_MAX || !text.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let port = text.iter().fold(0, |port: u32, digit| port * 10 + u32::from(digit - b'0'));
    port <= u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_a_port_are_told_from_other_text() {
        let good = [
            "a",
            "a.example",
            "A_b-c~d",
            "127.0.0.1",
            "a:80",
            "a:",
            "a:00080",
            "a:65535",
            "[::1]",
            "[::1]:443",
            "[::ffff:1.2.3.4]",
            "caf%C3%A9",
            "a,b",
            "0x7f.1",
        ];
        for text in good {
            assert!(is_authority(text.as_bytes()), "{text}");
        }
        let bad = [
            "",
            ":80",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:000080",
            "a:-1",
            "a:+1",
            "u@a",
            "a b",
            "a/",
            "a?",
            "a#",
            "a%",
            "a%2",
            "a%zz",
            "[::1",
            "::1",
            "[::1]80",
            "[::1%25eth0]",
            "[v1.a]",
            "[]",
            "[1.2.3.4]",
            "a\\b",
            "caf\u{e9}",
            "a\t",
            "<a>",
            "\"a\"",
            "a[::1]",
        ];
        for text in bad {
            assert!(!is_authority(text.as_bytes()), "{text}");
        }
    }
}
