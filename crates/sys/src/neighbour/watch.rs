//! Noticing who else claims an address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::frame::{ADVERTISEMENT, ETHERNET_BYTES, ICMPV6, IPV6_BYTES, checksum};
use super::{link_address, packet_socket};
use crate::datagram::{self, SKIPPED_MAX, first};
use crate::family::Family;
use crate::mac::Mac;
use crate::packet_filter::{INSTRUCTIONS_MAX, Program};
use crate::sockopt::{self, at};

/// Most addresses that one watch looks for.
pub const ADDRESSES_MAX: usize = 1024;

/// Longest frame that is looked at.
const FRAME_BYTES_MAX: usize = 2048;
/// Room for claims that come while the keeper is away.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// Where a packet of ARP names its sender, by both addresses.
const ARP_SENDER_AT: u32 = 22;
/// Where an advertisement names its target.
const TARGET_AT: u32 = (ETHERNET_BYTES + IPV6_BYTES) as u32 + 8;

// Each address is two instructions.
const _: () = assert!(2 * ADDRESSES_MAX + 32 < INSTRUCTIONS_MAX);

/// Somebody says that an address is at its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claim {
    /// Which address.
    pub address: IpAddr,
    /// Where it is said to be.
    pub mac: Mac,
    /// How that is said.
    pub manner: Manner,
}

/// How somebody claims an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// As whoever asks for another address, or for this one: an announcement.
    ArpRequest,
    /// By an answer, that was for us or for everybody.
    ArpReply,
    /// IPv6.
    NeighbourAdvertisement,
}

/// A socket that hears who claims certain addresses on one interface. The kernel drops everything
/// else, what the interface itself sends too.
///
/// To close one takes the kernel 4 to 24 ms, for which it waits until no processor can still be using
/// it. So who is in haste keeps it, and has it look for nothing.
#[derive(Debug)]
pub struct ClaimWatch {
    fd: OwnedFd,
    family: Family,
}

impl ClaimWatch {
    /// Hears nothing until [`Self::look_for`] says what. The interface may be down. Needs `CAP_NET_RAW`.
    pub fn open(interface: u32, family: Family) -> io::Result<Self> {
        let fd = packet_socket()?;
        Program::new().attach(&fd).map_err(at("cannot set a filter"))?;
        sockopt::set_receive_buffer(&fd, RECEIVE_BUFFER_BYTES)
            .map_err(at("cannot size the receive buffer"))?;
        let protocol = match family {
            Family::V4 => libc::ETH_P_ARP,
            Family::V6 => libc::ETH_P_IPV6,
        };
        datagram::bind(&fd, &link_address(interface, protocol as u16))
            .map_err(at("cannot bind to the interface"))?;
        Ok(Self { fd, family })
    }

    /// Hears claims of these addresses by others than `own` from now on, in place of what it looked
    /// for before. Those of the other family are left out.
    ///
    /// # Errors
    /// If there are more than [`ADDRESSES_MAX`].
    pub fn look_for(&self, own: Mac, addresses: &[IpAddr]) -> io::Result<()> {
        if addresses.len() > ADDRESSES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many addresses"));
        }
        let mut program = Program::new();
        match self.family {
            Family::V4 => {
                program.refuse_mac(ARP_SENDER_AT, own.0).load_word(ARP_SENDER_AT + 6);
            }
            Family::V6 => {
                program
                    .load_byte(ETHERNET_BYTES as u32 + 6)
                    .require(ICMPV6.into())
                    .load_byte((ETHERNET_BYTES + IPV6_BYTES) as u32)
                    .require(ADVERTISEMENT.into())
                    .refuse_mac(6, own.0)
                    // The end of an address tells it from others well enough for a filter.
                    .load_word(TARGET_AT + 12);
            }
        }
        for address in addresses {
            match (address, self.family) {
                (IpAddr::V4(address), Family::V4) => {
                    program.accept(address.to_bits());
                }
                (IpAddr::V6(address), Family::V6) => {
                    let [.., a, b, c, d] = address.octets();
                    program.accept(u32::from_be_bytes([a, b, c, d]));
                }
                (IpAddr::V4(_), Family::V6) | (IpAddr::V6(_), Family::V4) => {}
            }
        }
        program.attach(&self.fd).map_err(at("cannot set a filter"))
    }

    /// The next claim that waits; nothing if there is none, or only a lot that is none, and then the
    /// watch stays readable. It may be of an address with the same
    /// last four bytes as one that is looked for, or be one of before the last [`Self::look_for`].
    ///
    /// While the interface is down there are none; when it is up again, so is the watch.
    pub fn receive(&self) -> io::Result<Option<Claim>> {
        let mut buffer = [0; FRAME_BYTES_MAX];
        for _ in 0..SKIPPED_MAX {
            let received = match datagram::receive(&self.fd, &mut buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(None),
                // Said once when it goes down, or was when this was opened.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => continue,
                Err(error) => return Err(error),
            };
            let frame = &buffer[..received.length];
            let claim = match self.family {
                Family::V4 => read_arp(frame),
                Family::V6 => read_advertisement(frame),
            };
            if claim.is_some() {
                return Ok(claim);
            }
        }
        Ok(None)
    }
}

impl AsFd for ClaimWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads a packet of ARP.
fn read_arp(frame: &[u8]) -> Option<Claim> {
    let packet = frame.get(ETHERNET_BYTES..)?;
    // Ethernet and IPv4.
    let operation = packet.strip_prefix(&[0, 1, 8, 0, 6, 4, 0])?.first()?;
    Some(Claim {
        manner: match operation {
            1 => Manner::ArpRequest,
            2 => Manner::ArpReply,
            _ => return None,
        },
        mac: Mac(first(packet.get(8..)?)?),
        address: Ipv4Addr::from_octets(first(packet.get(14..)?)?).into(),
    })
}

/// Reads a neighbour advertisement that is in order (RFC 4861 section 7.1.2).
fn read_advertisement(frame: &[u8]) -> Option<Claim> {
    let sender = Mac(first(frame.get(6..)?)?);
    let packet = frame.get(ETHERNET_BYTES..)?;
    let length = usize::from(u16::from_be_bytes(first(packet.get(4..)?)?));
    let message = packet.get(IPV6_BYTES..)?.get(..length)?;
    let source = Ipv6Addr::from_octets(first(&packet[8..])?);
    let destination = Ipv6Addr::from_octets(first(&packet[24..])?);
    let is_in_order = packet[6..8] == [ICMPV6, 255]
        && message.first_chunk() == Some(&[ADVERTISEMENT, 0])
        && checksum(source, destination, message) == 0;
    let target = Ipv6Addr::from_octets(first(message.get(8..)?)?);
    is_in_order.then_some(Claim {
        address: target.into(),
        // An answer to one alone need not say where its sender is.
        mac: target_mac(&message[24..]).unwrap_or(sender),
        manner: Manner::NeighbourAdvertisement,
    })
}

/// The link-layer address among the options of an advertisement.
fn target_mac(mut options: &[u8]) -> Option<Mac> {
    while let [kind, units, ..] = *options
        && units > 0
    {
        let option = options.get(..usize::from(units) * 8)?;
        if kind == 2 {
            return Some(Mac(first(&option[2..])?));
        }
        options = &options[option.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Forwarding, Frame};
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn frame(text: &str) -> Vec<u8> {
        Frame::announcement(text.parse().unwrap(), MAC, Forwarding::No).bytes().to_vec()
    }

    #[test]
    fn requests_and_answers_of_arp_are_claims() {
        let mut frame = frame("10.77.0.100");
        let address = "10.77.0.100".parse().unwrap();
        let claim = |manner| Some(Claim { address, mac: MAC, manner });
        assert_eq!(read_arp(&frame), claim(Manner::ArpRequest));
        frame[21] = 2;
        assert_eq!(read_arp(&frame), claim(Manner::ArpReply));
        frame[21] = 3;
        assert_eq!(read_arp(&frame), None);
    }

    #[test]
    fn an_advertisement_is_a_claim_with_its_option_and_without() {
        let whole = frame("2001:db8::100");
        let other = Mac([2, 0, 0, 0, 0, 9]);
        let mut relayed = whole.clone();
        relayed[6..12].copy_from_slice(&other.0);
        assert_eq!(read_advertisement(&relayed).unwrap().mac, MAC, "its option says so");
        assert_eq!(
            target_mac(&[14, 1, 0, 0, 0, 0, 0, 0, 2, 1, 1, 2, 3, 4, 5, 6]),
            Some(Mac([1, 2, 3, 4, 5, 6]))
        );
        assert_eq!(target_mac(&[14, 0, 0, 0, 0, 0, 0, 0]), None, "an option of no length");
        assert_eq!(target_mac(&[2, 2, 0, 0, 0, 0, 0, 0]), None, "an option that is cut");
        let mut damaged = whole;
        damaged[70] ^= 1;
        assert_eq!(read_advertisement(&damaged), None);
    }

    #[test]
    fn what_is_cut_is_no_claim() {
        let (arp, advertisement) = (frame("10.77.0.100"), frame("2001:db8::100"));
        for length in 0..32 {
            assert_eq!(read_arp(&arp[..length]), None);
        }
        for length in 0..advertisement.len() {
            assert_eq!(read_advertisement(&advertisement[..length]), None);
        }
    }
}
