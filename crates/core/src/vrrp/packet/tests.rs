use std::net::IpAddr;
use std::time::Duration;
use std::vec::Vec;

use super::checksum::Sum;
use super::{Checksum, Ends, Envelope, Form, GROUP_V4, GROUP_V6, HOPS, Heard, Refusal, Unfit};
use crate::vrrp::{Policy, Version};

mod random;
mod rfc3768;
mod rfc9568;
mod sealed;
mod vectors;

/// A policy that only matters as far as adverts show it.
fn policy(version: Version, interval: Duration) -> Policy {
    Policy {
        version,
        router_id: 51,
        priority: 150,
        interval,
        preempt: false,
        preempt_delay: Duration::ZERO,
        startup_delay: Duration::ZERO,
        announce_repeat: 5,
        announce_refresh: None,
    }
}

fn form(version: Version, interval: Duration, address: &str, password: Option<&[u8]>) -> Form {
    Form::new(&policy(version, interval), &[ip(address)], password, &[]).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ends(source: &str, destination: &str) -> Ends {
    Ends { source: ip(source), destination: ip(destination) }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn write(form: &Form, priority: u8, ends: &Ends, checksum: Checksum) -> Vec<u8> {
    let mut packet = Vec::new();
    form.encode(priority, ends, checksum, None, &mut packet).unwrap();
    packet
}

fn read(form: &Form, packet: &[u8], ends: Ends) -> Result<Heard, Refusal> {
    form.decode(packet, &Envelope { ends, hops: HOPS }, None)
}

/// `packet` with one byte set, summed anew over the message alone.
fn altered(packet: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at] = byte;
    summed(packet, Sum::default())
}

/// With the checksum that follows from `sum`, that of a pseudo-header or of nothing.
fn summed(mut packet: Vec<u8>, sum: Sum) -> Vec<u8> {
    packet[6..8].fill(0);
    let checksum = sum.with(&packet).checksum();
    packet[6..8].copy_from_slice(&checksum.to_be_bytes());
    packet
}
