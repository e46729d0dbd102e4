//! The Internet checksum (RFC 1071), with and without a pseudo-header.

use core::net::IpAddr;

use super::{Ends, PROTOCOL};

/// A sum in one's complement that is not folded yet. Packets are too short for it to overflow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u32);

impl Sum {
    /// With the bytes of `part`, which begins at an even place.
    pub(super) fn with(self, part: &[u8]) -> Self {
        let (pairs, rest) = part.as_chunks::<2>();
        let mut sum = self.0;
        for pair in pairs {
            sum += u32::from(u16::from_be_bytes(*pair));
        }
        if let [last] = rest {
            sum += u32::from(u16::from_be_bytes([*last, 0]));
        }
        Self(sum)
    }

    /// Of a pseudo-header in front of `bytes` bytes: that of IPv4 (RFC 793 section 3.1) or of IPv6
    /// (RFC 8200 section 8.1). The two differ only in zeros.
    pub(super) fn of_pseudo_header(ends: &Ends, bytes: usize) -> Self {
        let with = |sum: Self, address: IpAddr| match address {
            IpAddr::V4(address) => sum.with(&address.octets()),
            IpAddr::V6(address) => sum.with(&address.octets()),
        };
        let length = u16::try_from(bytes).unwrap_or(u16::MAX);
        with(with(Self::default(), ends.source), ends.destination)
            .with(&length.to_be_bytes())
            .with(&[0, PROTOCOL])
    }

    /// What to put into a packet that was summed with zeros there.
    pub(super) fn checksum(self) -> u16 {
        !self.folded()
    }

    /// Whether a packet that was summed with its checksum is intact.
    pub(super) fn is_intact(self) -> bool {
        self.folded() == u16::MAX
    }

    fn folded(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        let twice = (once & 0xffff) + (once >> 16);
        u16::try_from(twice).unwrap_or(u16::MAX)
    }
}
