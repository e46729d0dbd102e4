//! Version 2: binary, with a length in front (2.2).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, Header, HeaderError, Tlvs, V2_REST_BYTES_MAX, agree};

/// What no other protocol begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, length.
pub(super) const FIXED_BYTES: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

const UNIX_BYTES: usize = 2 * 108;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header<'_>>, HeaderError> {
    if !agree(bytes, SIGNATURE) {
        return Err(HeaderError::Malformed);
    }
    if bytes.get(12).is_some_and(|&command| !matches!(command, LOCAL | PROXY)) {
        return Err(HeaderError::Malformed);
    }
    if bytes.get(13).is_some_and(|&family| address_bytes(family).is_none()) {
        return Err(HeaderError::Malformed);
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let rest_bytes = usize::from(u16::from_be_bytes([high, low]));
    if rest_bytes > V2_REST_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let addresses = address_bytes(family).unwrap_or(0);
    if command == PROXY && rest_bytes < addresses {
        return Err(HeaderError::Malformed);
    }
    let Some(rest) = rest.get(..rest_bytes) else { return Ok(None) };
    let consumed = FIXED_BYTES + rest_bytes;
    if command == LOCAL {
        // Whatever follows says nothing about this connection (2.2).
        return Ok(Some(Header { ends: None, tlvs: Tlvs::default(), consumed }));
    }
    let (addresses, tlvs) = rest.split_at(addresses);
    let tlvs = Tlvs::checked(tlvs, &bytes[..consumed])?;
    Ok(Some(Header { ends: ends(family, addresses), tlvs, consumed }))
}

/// How long the addresses of a family are; none if there is no such family.
fn address_bytes(family: u8) -> Option<usize> {
    match family {
        UNSPECIFIED => Some(0),
        TCP4 | UDP4 => Some(2 * (4 + 2)),
        TCP6 | UDP6 => Some(2 * (16 + 2)),
        UNIX_STREAM | UNIX_DATAGRAM => Some(UNIX_BYTES),
        _ => None,
    }
}

/// Source address, destination address, source port, destination port.
fn ends(family: u8, bytes: &[u8]) -> Option<Ends> {
    let (addresses, ports) = bytes.split_last_chunk::<4>()?;
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let address = |bytes: &[u8]| match family {
        TCP4 | UDP4 => <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from).map(IpAddr::from),
        TCP6 | UDP6 => <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from).map(IpAddr::from),
        _ => None,
    };
    let [source_high, source_low, high, low] = *ports;
    Some(Ends {
        source: SocketAddr::new(address(source)?, u16::from_be_bytes([source_high, source_low])),
        destination: SocketAddr::new(address(destination)?, u16::from_be_bytes([high, low])),
    })
}

/// Appends a header of version 2 that names a connection over TCP; without `ends`, one that says
/// that we speak for ourselves. Ends of two families are both written as IPv6.
pub fn write(ends: Option<Ends>, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    let Some(Ends { source, destination }) = ends else {
        return out.extend_from_slice(&[LOCAL, UNSPECIFIED, 0, 0]);
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&[PROXY, TCP4, 0, 2 * (4 + 2)]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            out.extend_from_slice(&[PROXY, TCP6, 0, 2 * (16 + 2)]);
            out.extend_from_slice(&as_ipv6(source).octets());
            out.extend_from_slice(&as_ipv6(destination).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}
