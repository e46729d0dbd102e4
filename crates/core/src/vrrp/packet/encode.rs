//! Adverts of ours (RFC 9568 section 7.2, RFC 3768 section 7.2).

use alloc::vec::Vec;

use super::checksum::Sum;
use super::seal::Seal;
use super::{
    ADVERTISEMENT, AUTH_NONE, AUTH_PASSWORD, Addresses, Checksum, Ends, Form, PASSWORD_BYTES_MAX,
    Unfit, Version, seal, units,
};

/// Where the checksum is.
pub(super) const CHECKSUM_AT: usize = 6;

impl Form {
    /// Appends an advert of `priority` to `packet`, without an IP header.
    ///
    /// `checksum` matters for IPv4 in version 3 only. With a `seal`, a trailer follows. Fails only
    /// if `ends` are not of the family of the addresses.
    pub fn encode(
        &self,
        priority: u8,
        ends: &Ends,
        checksum: Checksum,
        seal: Option<&Seal<'_>>,
        packet: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        for end in [ends.source, ends.destination] {
            if end.is_ipv6() != self.is_ipv6() {
                return Err(Unfit::MixedFamilies(end));
            }
        }
        let start = packet.len();
        packet.reserve(self.bytes() + seal::TRAILER_BYTES);
        self.write_message(priority, packet);
        let message_end = packet.len();
        if let Some(seal) = seal {
            let subject = seal::Subject::new(self.version, self.router_id, ends.source);
            seal.append(&subject, start, packet);
        }
        // What is summed: IPv6 sums the whole payload, as the kernel does (RFC 8200 section 8.1);
        // an IPv4 message does not know of its trailer.
        let summed = if self.is_ipv6() { &packet[start..] } else { &packet[start..message_end] };
        let sum = match (self.version, self.is_ipv6(), checksum) {
            (Version::V2, _, Checksum::Message | Checksum::PseudoHeader)
            | (Version::V3, false, Checksum::Message) => Sum::default(),
            (Version::V3, false, Checksum::PseudoHeader)
            | (Version::V3, true, Checksum::Message | Checksum::PseudoHeader) => {
                Sum::of_pseudo_header(ends, summed.len())
            }
        };
        let sum = sum.with(summed).checksum();
        packet[start + CHECKSUM_AT..start + CHECKSUM_AT + 2].copy_from_slice(&sum.to_be_bytes());
        Ok(())
    }

    fn write_message(&self, priority: u8, packet: &mut Vec<u8>) {
        let version = match self.version {
            Version::V2 => 2,
            Version::V3 => 3,
        };
        let interval = units(self.version, self.interval).unwrap_or(1).to_be_bytes();
        packet.push(version << 4 | ADVERTISEMENT);
        packet.extend([self.router_id, priority, self.addresses.count()]);
        match (self.version, &self.password) {
            (Version::V2, Some(_)) => packet.extend([AUTH_PASSWORD, interval[1]]),
            (Version::V2, None) => packet.extend([AUTH_NONE, interval[1]]),
            // The four bits in front of the interval are reserved, and zero (section 5.2.6).
            (Version::V3, _) => packet.extend(interval),
        }
        packet.extend([0, 0]);
        match &self.addresses {
            Addresses::V4(addresses) => {
                packet.extend(addresses.iter().flat_map(core::net::Ipv4Addr::octets));
            }
            Addresses::V6(addresses) => {
                packet.extend(addresses.iter().flat_map(core::net::Ipv6Addr::octets));
            }
        }
        match self.version {
            Version::V2 => {
                packet.extend(self.password.map_or([0; PASSWORD_BYTES_MAX], |password| password.0));
            }
            Version::V3 => {}
        }
    }
}
