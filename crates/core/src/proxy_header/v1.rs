//! Version 1: one line of text (2.1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::{FromStr, from_utf8};

use super::{Ends, Header, HeaderError, Tlvs, V1_BYTES_MAX, agree};

const START: &[u8] = b"PROXY ";

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header<'_>>, HeaderError> {
    if !agree(bytes, START) {
        return Err(HeaderError::Malformed);
    }
    let line = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = line.iter().position(|&byte| matches!(byte, b'\r' | b'\n')) else {
        return if line.len() < V1_BYTES_MAX { Ok(None) } else { Err(HeaderError::TooLong) };
    };
    match &line[end..] {
        [b'\r', b'\n', ..] => {
            let ends = ends(&line[START.len().min(end)..end])?;
            Ok(Some(Header { ends, tlvs: Tlvs::default(), consumed: end + 2 }))
        }
        [b'\r'] if line.len() < V1_BYTES_MAX => Ok(None),
        [b'\r'] => Err(HeaderError::TooLong),
        _ => Err(HeaderError::Malformed),
    }
}

/// `TCP4 192.0.2.1 192.0.2.2 4711 80`, or `UNKNOWN` and whatever follows it.
fn ends(words: &[u8]) -> Result<Option<Ends>, HeaderError> {
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let words = from_utf8(words).map_err(|_| HeaderError::Malformed)?;
    let mut words = words.split(' ');
    let mut next = || words.next().ok_or(HeaderError::Malformed);
    let address = match next()? {
        "TCP4" => address::<Ipv4Addr>,
        "TCP6" => address::<Ipv6Addr>,
        _ => return Err(HeaderError::Malformed),
    };
    let (source, destination) = (address(next()?)?, address(next()?)?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return Err(HeaderError::Malformed);
    }
    Ok(Some(Ends {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    }))
}

fn address<A: FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, HeaderError> {
    word.parse::<A>().map(Into::into).map_err(|_| HeaderError::Malformed)
}

/// Digits without a leading zero.
fn port(word: &str) -> Result<u16, HeaderError> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let short = word == "0" || !word.starts_with('0');
    word.parse().ok().filter(|_| plain && short).ok_or(HeaderError::Malformed)
}
