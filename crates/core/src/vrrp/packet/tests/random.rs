//! What holds for all adverts, by chance.

use super::*;
use crate::rng::Rng;
use crate::vrrp::packet::seal::{self, Seal, Stamps, Unseal};

const CASES: u64 = 4_000;

/// A form, ends and a priority that fit each other.
fn any(rng: &mut Rng) -> (Form, Ends, u8) {
    let version = if rng.below(2) == 0 { Version::V2 } else { Version::V3 };
    let is_ipv6 = version == Version::V3 && rng.below(2) == 0;
    let address = |rng: &mut Rng| match is_ipv6 {
        true => IpAddr::from(
            (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())).to_be_bytes(),
        ),
        false => IpAddr::from((rng.next_u64() as u32).to_be_bytes()),
    };
    let unicast = |rng: &mut Rng| loop {
        let address = address(rng);
        if !address.is_multicast() {
            return address;
        }
    };
    let addresses: Vec<IpAddr> = (0..=rng.below(20)).map(|_| address(rng)).collect();
    let interval = match version {
        Version::V2 => Duration::from_secs(u64::from(1 + rng.below(255))),
        Version::V3 => Duration::from_millis(u64::from(10 * (1 + rng.below(4095)))),
    };
    let password = rng.next_u64().to_be_bytes();
    let password = (version == Version::V2 && rng.below(2) == 0).then_some(&password[..]);
    let source = unicast(rng);
    let peers: Vec<IpAddr> = if rng.below(2) == 0 { Vec::new() } else { [source].into() };
    let policy = Policy { router_id: 1 + rng.below(255) as u8, ..policy(version, interval) };
    let form = Form::new(&policy, &addresses, password, &peers).unwrap();
    let destination = if peers.is_empty() { form.group() } else { unicast(rng) };
    (form, Ends { source, destination }, rng.below(256) as u8)
}

/// Not a MAC, but it depends on every byte and its place.
fn mix(parts: &[&[u8]]) -> [u8; seal::MAC_BYTES] {
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    for byte in parts.iter().copied().flatten() {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (u128::from(state) << 64 | u128::from(!state)).to_be_bytes()
}

#[test]
fn what_was_written_is_read_and_no_part_of_it_is_an_advert() {
    for seed in 0..CASES {
        let rng = &mut Rng::seeded(seed);
        let (form, ends, priority) = any(rng);
        let checksum = if rng.below(2) == 0 { Checksum::Message } else { Checksum::PseudoHeader };
        let is_sealed = rng.below(2) == 0;
        let unix = Duration::from_nanos(rng.next_u64() >> 4);
        let mut stamps = Stamps::new(form.interval);
        let seal = is_sealed.then(|| Seal { stamp: stamps.next_stamp(unix), mac: &mix });
        let mut packet = Vec::new();
        form.encode(priority, &ends, checksum, seal.as_ref(), &mut packet).unwrap();
        let mut stamps = Stamps::new(form.interval);
        let mut read = |packet: &[u8]| {
            let unseal = is_sealed.then_some(Unseal { stamps: &mut stamps, unix, mac: &mix });
            form.decode(packet, &Envelope { ends, hops: HOPS }, unseal)
        };
        let cut = rng.below(packet.len() as u32) as usize;
        assert!(read(&packet[..cut]).is_err(), "seed {seed}");
        let heard = read(&packet).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(heard.advert.priority, priority, "seed {seed}");
        assert_eq!(heard.advert.interval, form.interval, "seed {seed}");
        if form.version == Version::V3 && !form.is_ipv6() {
            assert_eq!(heard.checksum, checksum, "seed {seed}");
        }
    }
}

#[test]
fn no_bytes_make_it_panic_and_one_wrong_byte_is_never_heard_unless_it_is_ignored() {
    for seed in 0..CASES {
        let rng = &mut Rng::seeded(seed);
        let (form, ends, priority) = any(rng);
        let original = write(&form, priority, &ends, Checksum::Message);
        let mut packet = original.clone();
        let at = rng.below(packet.len() as u32) as usize;
        packet[at] ^= 1 + rng.below(255) as u8;
        // A change that the sum cannot see does not exist for a single byte.
        assert!(read(&form, &packet, ends).is_err(), "seed {seed}");
        for _ in 0..rng.below(40) {
            let at = rng.below(packet.len() as u32) as usize;
            packet[at] = rng.next_u64() as u8;
        }
        packet.truncate(rng.below(packet.len() as u32 + 1) as usize);
        packet.resize(packet.len() + rng.below(40) as usize, 0xa5);
        let hops = if rng.below(8) == 0 { rng.below(256) as u8 } else { HOPS };
        let mut stamps = Stamps::new(form.interval);
        let unseal = (rng.below(2) == 0).then_some(Unseal {
            stamps: &mut stamps,
            unix: Duration::from_secs(rng.next_u64() >> 20),
            mac: &mix,
        });
        let _ = form.decode(&packet, &Envelope { ends, hops }, unseal);
    }
}
