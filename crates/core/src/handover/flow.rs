//! A connection, and the number that tells whose it is.

use core::net::IpAddr;

use minicbor::{Decode, Encode};

/// What [`Flow::mark`] multiplies with, before each word that it takes in. Odd, so that no bit of a
/// word is lost.
pub const FLOW_MARK_FACTORS: [u32; 2] = [0x9E37_79B1, 0x85EB_CA77];

/// A TCP connection to a virtual address, as its node sees it.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Flow {
    /// Whose address.
    #[n(0)]
    pub client: IpAddr,
    /// And port.
    #[n(1)]
    pub client_port: u16,
    /// The virtual address.
    #[n(2)]
    pub local: IpAddr,
    /// And port.
    #[n(3)]
    pub local_port: u16,
}

impl Flow {
    /// A number of 32 bits for the connection, such that the kernel's packet filters can compute it
    /// too: they have no division, no 64 bits, and 4096 instructions in all, hardly more than one
    /// for each connection. That two connections have the same one, at a rate of one in four
    /// thousand million, moves a new connection to the old node, where it is served as well.
    pub fn mark(&self) -> u32 {
        let mut mark = u32::from(self.client_port) << 16 | u32::from(self.local_port);
        let mut take = |word: u32| {
            mark =
                (mark.wrapping_mul(FLOW_MARK_FACTORS[0]) ^ word).wrapping_mul(FLOW_MARK_FACTORS[1]);
            mark ^= mark >> 15;
        };
        for address in [self.client, self.local] {
            match address {
                IpAddr::V4(address) => take(address.to_bits()),
                IpAddr::V6(address) => {
                    let bits = address.to_bits();
                    (0..4).rev().for_each(|word| take((bits >> (32 * word)) as u32));
                }
            }
        }
        mark
    }
}
