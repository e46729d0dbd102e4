//! Adverts of others (RFC 9568 section 7.1, RFC 3768 section 7.1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use super::checksum::Sum;
use super::seal::{self, Unseal};
use super::{
    ADVERTISEMENT, AUTH_AH, AUTH_BYTES, AUTH_NONE, AUTH_PASSWORD, Addresses, Advert, CENTIS_MAX,
    Checksum, Difference, Ends, Envelope, Form, HEADER_BYTES, HOPS, Heard, Password, Refusal,
    Version, are_equal, message_bytes,
};

impl Form {
    /// What an advert says, if it is in order.
    ///
    /// With `unseal`, it must have a trailer, and a true one that was not seen before; without, it
    /// must have none. Our own adverts are in order too: whoever hears them (a looping network)
    /// tells by their source.
    pub fn decode(
        &self,
        packet: &[u8],
        envelope: &Envelope,
        unseal: Option<Unseal<'_>>,
    ) -> Result<Heard, Refusal> {
        self.check_envelope(envelope, unseal.is_some())?;
        let Some((header, _)) = packet.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Refusal::Short { theirs: packet.len(), needed: HEADER_BYTES });
        };
        self.check_header(header)?;
        let count = header[3];
        let message = self.cut(packet, count, unseal.is_some())?;
        if let Some(unseal) = unseal {
            let subject = seal::Subject::new(self.version, self.router_id, envelope.ends.source);
            unseal.check(&subject, packet, message.len(), envelope.ends.source)?;
        }
        let checksum = self.check_sum(packet, message, &envelope.ends)?;
        // Two owners cannot both be right: neither follows the other (RFC 9568 section 7.1; by its
        // erratum 8298 it would only be logged).
        if self.is_owner {
            return Err(Refusal::Owner);
        }
        let interval = match self.version {
            Version::V2 => self.check_version_2(message, [header[4], header[5]])?,
            Version::V3 => interval_3([header[4], header[5]])?,
        };
        // RFC 9568 section 5.2.5; RFC 3768 does not say so.
        if count == 0 && self.version == Version::V3 {
            return Err(Refusal::NoAddress);
        }
        let addresses = &message[HEADER_BYTES..];
        let difference = self.difference(count, addresses, interval);
        let advert = Advert { priority: header[2], interval };
        Ok(Heard { advert, checksum, difference })
    }

    fn check_envelope(&self, envelope: &Envelope, is_sealed: bool) -> Result<(), Refusal> {
        let Ends { source, destination } = envelope.ends;
        for end in [source, destination] {
            if end.is_ipv6() != self.is_ipv6() {
                return Err(Refusal::Family(end));
            }
        }
        let is_unicast = !self.peers.is_empty();
        let is_to_us =
            if is_unicast { !destination.is_multicast() } else { destination == self.group() };
        if !is_to_us {
            return Err(Refusal::Destination(destination));
        }
        if is_unicast && !self.peers.contains(&source) {
            return Err(Refusal::Stranger(source));
        }
        if envelope.hops != HOPS && !(is_unicast && is_sealed) {
            return Err(Refusal::Hops(envelope.hops));
        }
        Ok(())
    }

    fn check_header(&self, header: &[u8; HEADER_BYTES]) -> Result<(), Refusal> {
        let ours = match self.version {
            Version::V2 => 2,
            Version::V3 => 3,
        };
        let (theirs, kind) = (header[0] >> 4, header[0] & 0x0f);
        if theirs != ours {
            return Err(Refusal::Version { theirs, ours });
        }
        if kind != ADVERTISEMENT {
            return Err(Refusal::Kind(kind));
        }
        if header[1] != self.router_id {
            return Err(Refusal::RouterId { theirs: header[1], ours: self.router_id });
        }
        Ok(())
    }

    /// The message without its trailer.
    fn cut<'a>(&self, packet: &'a [u8], count: u8, is_sealed: bool) -> Result<&'a [u8], Refusal> {
        let needed = message_bytes(self.version, self.is_ipv6(), count);
        let Some((message, rest)) = packet.split_at_checked(needed) else {
            return Err(Refusal::Short { theirs: packet.len(), needed });
        };
        match (rest.len(), is_sealed) {
            (0, false) | (seal::TRAILER_BYTES, true) => Ok(message),
            (0, true) => Err(Refusal::Seal(seal::Broken::Missing)),
            (seal::TRAILER_BYTES, false) => Err(Refusal::SealNotExpected),
            (_, true | false) => Err(Refusal::Long { theirs: packet.len(), needed }),
        }
    }

    fn check_sum(&self, packet: &[u8], message: &[u8], ends: &Ends) -> Result<Checksum, Refusal> {
        let is_intact = |summed: &[u8], checksum: Checksum| {
            let sum = match checksum {
                Checksum::Message => Sum::default(),
                Checksum::PseudoHeader => Sum::of_pseudo_header(ends, summed.len()),
            };
            sum.with(summed).is_intact().then_some(checksum)
        };
        let found = match (self.version, self.is_ipv6()) {
            (Version::V2, _) => is_intact(message, Checksum::Message),
            (Version::V3, false) => is_intact(message, Checksum::Message)
                .or_else(|| is_intact(message, Checksum::PseudoHeader)),
            (Version::V3, true) => is_intact(packet, Checksum::PseudoHeader),
        };
        found.ok_or(Refusal::Checksum)
    }

    /// Authentication, then the interval, which must be ours (RFC 3768 section 7.1).
    fn check_version_2(
        &self,
        message: &[u8],
        [kind, seconds]: [u8; 2],
    ) -> Result<Duration, Refusal> {
        let ours = if self.password.is_some() { AUTH_PASSWORD } else { AUTH_NONE };
        if kind == AUTH_AH {
            return Err(Refusal::AuthenticationHeader);
        }
        if kind != ours {
            return Err(Refusal::AuthKind { theirs: kind, ours });
        }
        let data = &message[message.len() - AUTH_BYTES..];
        if let Some(Password(password)) = &self.password
            && !are_equal(data, password)
        {
            return Err(Refusal::Password);
        }
        let theirs = Duration::from_secs(u64::from(seconds));
        if theirs != self.interval {
            return Err(Refusal::Interval { theirs, ours: self.interval });
        }
        Ok(theirs)
    }

    /// How the addresses and the interval differ from ours.
    fn difference(&self, count: u8, addresses: &[u8], interval: Duration) -> Option<Difference> {
        let ours = self.addresses.count();
        if count != ours {
            return Some(Difference::Count { theirs: count, ours });
        }
        let absent = match &self.addresses {
            Addresses::V4(ours) => {
                let (theirs, _) = addresses.as_chunks::<4>();
                let theirs = theirs.get(..usize::from(count)).unwrap_or(theirs);
                let is_absent = |address: &&Ipv4Addr| !theirs.contains(&address.octets());
                ours.iter().find(is_absent).copied().map(IpAddr::V4)
            }
            Addresses::V6(ours) => {
                let (theirs, _) = addresses.as_chunks::<16>();
                let is_absent = |address: &&Ipv6Addr| !theirs.contains(&address.octets());
                ours.iter().find(is_absent).copied().map(IpAddr::V6)
            }
        };
        if let Some(absent) = absent {
            return Some(Difference::Absent(absent));
        }
        if let (true, Some(first)) = (self.is_ipv6(), addresses.first_chunk::<16>()) {
            let first = Ipv6Addr::from(*first);
            if !first.is_unicast_link_local() {
                return Some(Difference::NotLinkLocal(first));
            }
        }
        (interval != self.interval)
            .then_some(Difference::Interval { theirs: interval, ours: self.interval })
    }
}

/// The interval of version 3. The four bits before it are reserved, and ignored (RFC 9568 section
/// 5.2.6).
fn interval_3(field: [u8; 2]) -> Result<Duration, Refusal> {
    let centis = u16::from_be_bytes(field) & CENTIS_MAX;
    if centis == 0 {
        return Err(Refusal::NoInterval);
    }
    Ok(Duration::from_millis(10 * u64::from(centis)))
}
