//! Which TCP packets to virtual addresses a socket sees.
//!
//! On a listening socket, a filter decides before the kernel answers: what it refuses is dropped
//! without a word, be it the begin of a connection, the end of its handshake, or a packet that
//! belongs to no connection here, which would be answered by a reset. Connections that are there
//! already are found before the listening socket and are not touched. A connection that is made
//! while a filter is there keeps it; so none here refuses a packet of a connection that it has let
//! come about.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::slice;

use evergate_core::handover::{FLOW_MARK_FACTORS, Flow};

use super::assembler::{Assembler, Label};
use crate::packet_filter::Program;
use crate::sockopt;

/// Offsets from here on count from the network header, wherever the socket's own view begins
/// (`SKF_NET_OFF`).
const NET: u32 = -0x10_0000_i32 as u32;
/// Whom a packet was for, on its link (`SKF_AD_OFF + SKF_AD_PKTTYPE`).
const PACKET_KIND: u32 = (-0x1000_i32 + 4) as u32;
/// The number of the interface that it came by (`SKF_AD_OFF + SKF_AD_IFINDEX`).
const CAME_BY: u32 = (-0x1000_i32 + 8) as u32;
/// For this host, and none else (`PACKET_HOST`).
const TO_US: u32 = 0;
/// Next to the ports and numbers of a TCP header.
const TCP_FLAGS_AT: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;
const IPV6_HEADER_BYTES: u32 = 40;
/// Most marks that are compared with one after the other.
const BUCKET_MAX: usize = 120;

/// Which TCP packets are meant, of those to any of the virtual addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Which {
    /// All.
    All,
    /// Those that would begin a connection.
    Beginning,
    /// Those of the connections with these marks ([`Flow::mark`]), sorted.
    Of(Vec<u32>),
    /// Those of all others.
    NotOf(Vec<u32>),
}

impl Which {
    /// Packets of these connections.
    pub fn of(flows: &[Flow]) -> Self {
        Self::Of(marks(flows))
    }

    /// Packets of all but these connections.
    pub fn not_of(flows: &[Flow]) -> Self {
        Self::NotOf(marks(flows))
    }
}

fn marks(flows: &[Flow]) -> Vec<u32> {
    let mut marks: Vec<u32> = flows.iter().map(Flow::mark).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// An interface, and the virtual addresses that move on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// Its number.
    pub interface: u32,
    /// Those there.
    pub addresses: Vec<IpAddr>,
}

/// From now on a listening socket sees nothing of `which` packets to these addresses that come by
/// their interface; all others, as if there were no filter. In place of an earlier one.
///
/// What comes by another interface, the loopback one too, is left to the host: it cannot be passed
/// on, so it is served here or told by a reset that it is not.
///
/// # Errors
/// If there is no room for a filter of that length ([`is_too_long`]), an earlier one stays.
pub fn refuse(listener: impl AsFd, places: &[Place], which: &Which) -> io::Result<()> {
    program(places, which, Use::Refuse).attach(listener)
}

/// Whether a filter was refused for its length: it has more instructions than any may have, or than
/// `net.core.optmem_max` has room for.
pub fn is_too_long(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EINVAL))
}

/// A listening socket sees everything again.
pub fn refuse_none(listener: impl AsFd) -> io::Result<()> {
    match sockopt::set_int(listener, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0) {
        // There was none.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

/// A packet socket of one interface sees only `which` packets to the addresses there that came for
/// this host.
pub(super) fn catch(socket: impl AsFd, place: &Place, which: &Which) -> io::Result<()> {
    program(slice::from_ref(place), which, Use::Catch).attach(socket)
}

/// What becomes of the packets that are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Use {
    Refuse,
    Catch,
}

fn program(places: &[Place], which: &Which, purpose: Use) -> Program {
    let mut code = Assembler::default();
    let (meant, other, marked) = (code.label(), code.label(), code.label());
    if purpose == Use::Catch {
        code.load(libc::BPF_W, PACKET_KIND);
        code.skip_if_equal(TO_US, 1);
        code.jump(other);
    }
    for place in places {
        let (next, ipv6) = (code.label(), code.label());
        code.load(libc::BPF_W, CAME_BY);
        code.skip_if_equal(place.interface, 1);
        code.jump(next);
        code.load(libc::BPF_B, NET);
        code.compute(libc::BPF_AND, 0xf0);
        code.jump_if(libc::BPF_JEQ, 0x60, ipv6);
        code.skip_if_equal(0x40, 1);
        code.jump(other);
        select_ipv4(&mut code, &place.addresses, which, (meant, other, marked));
        code.place(ipv6);
        select_ipv6(&mut code, &place.addresses, which, (meant, other, marked));
        code.place(next);
    }
    code.jump(other);
    code.place(marked);
    match which {
        Which::All | Which::Beginning => {}
        Which::Of(marks) => search(&mut code, marks, (meant, other)),
        Which::NotOf(marks) => search(&mut code, marks, (other, meant)),
    }
    code.place(other);
    code.end(purpose == Use::Refuse);
    code.place(meant);
    code.end(purpose == Use::Catch);
    code.finish()
}

/// Where to go on: with a packet that is meant, another one, and one whose mark was computed.
type Ways = (Label, Label, Label);

fn select_ipv4(code: &mut Assembler, addresses: &[IpAddr], which: &Which, ways: Ways) {
    let (_, other, _) = ways;
    let ours = code.label();
    code.load(libc::BPF_B, NET + 9);
    code.skip_if_equal(libc::IPPROTO_TCP as u32, 1);
    code.jump(other);
    // What follows the first fragment has no ports: TCP does not send such.
    code.load(libc::BPF_H, NET + 6);
    code.jump_if(libc::BPF_JSET, 0x1fff, other);
    code.load(libc::BPF_W, NET + 16);
    for address in addresses {
        if let IpAddr::V4(address) = address {
            code.jump_if(libc::BPF_JEQ, address.to_bits(), ours);
        }
    }
    code.jump(other);
    code.place(ours);
    code.push(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, NET);
    choose(code, which, &[NET + 12, NET + 16], ways);
}

fn select_ipv6(code: &mut Assembler, addresses: &[IpAddr], which: &Which, ways: Ways) {
    let (_, other, _) = ways;
    let ours = code.label();
    // Extension headers do not come with TCP.
    code.load(libc::BPF_B, NET + 6);
    code.skip_if_equal(libc::IPPROTO_TCP as u32, 1);
    code.jump(other);
    for address in addresses {
        if let IpAddr::V6(address) = address {
            for word in 0..4 {
                code.load(libc::BPF_W, NET + 24 + 4 * word);
                // Past the words that are left, of two instructions each, and the jump.
                let left = 2 * (3 - word) as u8 + 1;
                let bits = (address.to_bits() >> (96 - 32 * word)) as u32;
                code.skip_unless(libc::BPF_JEQ, bits, left);
            }
            code.jump(ours);
        }
    }
    code.jump(other);
    code.place(ours);
    code.push(libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM, IPV6_HEADER_BYTES);
    let words: Vec<u32> = (0..8).map(|word| NET + 8 + 4 * word).collect();
    choose(code, which, &words, ways);
}

/// The packet is to one of the addresses, and the index is the length of its network header.
fn choose(code: &mut Assembler, which: &Which, address_words: &[u32], ways: Ways) {
    let (meant, other, marked) = ways;
    match which {
        Which::All => code.jump(meant),
        Which::Beginning => {
            code.load_indexed(libc::BPF_B, NET + TCP_FLAGS_AT);
            code.compute(libc::BPF_AND, SYN | ACK);
            code.jump_if(libc::BPF_JEQ, SYN, meant);
            code.jump(other);
        }
        Which::Of(_) | Which::NotOf(_) => {
            mark(code, address_words);
            code.jump(marked);
        }
    }
}

/// [`Flow::mark`], of a packet.
fn mark(code: &mut Assembler, address_words: &[u32]) {
    let (tax, multiply) = (libc::BPF_MISC | libc::BPF_TAX, libc::BPF_MUL);
    // Both ports are the first word of a TCP header.
    code.load_indexed(libc::BPF_W, NET);
    for &word in address_words {
        code.compute(multiply, FLOW_MARK_FACTORS[0]);
        code.push(tax, 0);
        code.load(libc::BPF_W, word);
        code.compute_indexed(libc::BPF_XOR);
        code.compute(multiply, FLOW_MARK_FACTORS[1]);
        code.push(tax, 0);
        code.compute(libc::BPF_RSH, 15);
        code.compute_indexed(libc::BPF_XOR);
    }
}

/// Whether the accumulator is one of the marks: first which part of them it is in, then each in it.
fn search(code: &mut Assembler, marks: &[u32], (found, missing): (Label, Label)) {
    let buckets: Vec<(&[u32], Label)> =
        marks.chunks(BUCKET_MAX).map(|bucket| (bucket, code.label())).collect();
    for (bucket, label) in &buckets {
        let last = bucket.last().expect("no part is empty");
        // Not greater.
        code.skip_if_greater(*last, 1);
        code.jump(*label);
    }
    code.jump(missing);
    for (bucket, label) in buckets {
        code.place(label);
        for (at, mark) in bucket.iter().enumerate() {
            // Past what is left of the part, and the jump behind it.
            code.skip_if_equal(*mark, (bucket.len() - at) as u8);
        }
        code.jump(missing);
        code.jump(found);
    }
}
