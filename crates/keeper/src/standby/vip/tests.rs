//! Adverts with an HMAC, to the byte: with the key and the function that `core` does not have.

use super::*;
use evergate_core::vrrp::Version;
use evergate_core::vrrp::packet::HOPS;
use evergate_core::vrrp::packet::seal::{Broken, Stamp};

/// An advert whose bytes are known from elsewhere.
struct Sample {
    version: Version,
    millis: u64,
    router_id: u8,
    priority: u8,
    addresses: &'static [&'static str],
    from: &'static str,
    to: &'static str,
    checksum: Checksum,
    key: &'static [u8],
    stamp: u64,
    hex: &'static str,
}

const COUNTED: &[u8] = b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\
    \x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f";

/// As in the appendix of draft-cassen-vrrp-auth-hmac, which keepalived tests itself with
/// (`test/auth_hmac_test.c`).
const OF_THE_DRAFT: [Sample; 2] = [
    Sample {
        version: Version::V3,
        millis: 1_000,
        router_id: 51,
        priority: 200,
        addresses: &["192.0.2.100"],
        from: "198.51.100.10",
        to: "224.0.0.18",
        checksum: Checksum::Message,
        key: COUNTED,
        stamp: 0x6800_0000_8000_0000,
        hex: "3133c80100644402c0000264 0101000068000000800000001b84bc4e8e43892dc6d98448f8ee2265",
    },
    Sample {
        version: Version::V3,
        millis: 1_000,
        router_id: 51,
        priority: 200,
        addresses: &["fe80::100"],
        from: "fe80::10",
        to: "fe80::20",
        checksum: Checksum::PseudoHeader,
        key: COUNTED,
        stamp: 0x6800_0000_8000_0000,
        hex: "3133c8010064a2e9 fe800000000000000000000000000100 \
              010100006800000080000000c8c56146ebfd66ee10ec4d8186461b78",
    },
];

/// Captured on a link: what keepalived 2.4.3, built from its source, sends with `auth_hmac`.
const OF_KEEPALIVED: [Sample; 3] = [
    Sample {
        version: Version::V3,
        millis: 100,
        router_id: 52,
        priority: 254,
        addresses: &["10.77.0.100", "10.77.0.101"],
        from: "10.77.0.11",
        to: "224.0.0.18",
        checksum: Checksum::PseudoHeader,
        key: COUNTED,
        stamp: 0x6b01_cf73_111f_0000,
        hex: "3134fe02000ad070 0a4d0064 0a4d0065 \
              010100006b01cf73111f0000adb1b1a58a16666e63ae31c00b626106",
    },
    Sample {
        version: Version::V3,
        millis: 100,
        router_id: 51,
        priority: 150,
        addresses: &["fe80::100", "2001:db8::100"],
        from: "fe80::ff:fe00:a",
        to: "ff02::12",
        checksum: Checksum::PseudoHeader,
        key: COUNTED,
        stamp: 0x6b01_cf73_1b87_0000,
        hex: "31339602000ae593 fe800000000000000000000000000100 20010db8000000000000000000000100 \
              010100006b01cf731b8700006fd21302b9a21367e3ac27bcfd4e780a",
    },
    Sample {
        version: Version::V2,
        millis: 1_000,
        router_id: 54,
        priority: 100,
        addresses: &["10.77.0.103"],
        from: "10.77.0.11",
        to: "224.0.0.18",
        checksum: Checksum::Message,
        key: COUNTED,
        stamp: 0x6b01_cf76_608a_0000,
        hex: "2136640100017013 0a4d0067 0000000000000000 \
              010100006b01cf76608a0000a0dba7da72552694fad7f28f66df28fe",
    },
];

/// Computed by a program of its own, in another language, that also yields those above.
const COMPUTED: [Sample; 2] = [
    Sample {
        version: Version::V2,
        millis: 2_000,
        router_id: 54,
        priority: 100,
        addresses: &["10.77.0.103"],
        from: "10.77.0.11",
        to: "224.0.0.18",
        checksum: Checksum::Message,
        key: b"a key of at least 32 bytes in all!",
        stamp: 0x6800_0000_8000_0000,
        hex: "2136640100027012 0a4d0067 0000000000000000 \
              0101000068000000800000001b6f77f68651b1ab2121fe92caeafeb9",
    },
    Sample {
        version: Version::V3,
        millis: 30,
        router_id: 52,
        priority: 254,
        addresses: &["10.77.0.100", "10.77.0.101"],
        from: "10.77.0.11",
        to: "10.77.0.12",
        checksum: Checksum::PseudoHeader,
        key: COUNTED,
        stamp: 0x6800_0000_8000_0001,
        hex: "3134fe020003a631 0a4d0064 0a4d0065 \
              010100006800000080000001c830205fc4f9428f92bc3c0c4eb176cc",
    },
];

impl Sample {
    fn form(&self) -> Form {
        let policy = Policy {
            version: self.version,
            router_id: self.router_id,
            priority: self.priority,
            interval: Duration::from_millis(self.millis),
            preempt: false,
            preempt_delay: Duration::ZERO,
            startup_delay: Duration::ZERO,
            announce_repeat: 5,
            announce_refresh: None,
        };
        let addresses: Vec<IpAddr> = self.addresses.iter().map(|text| ip(text)).collect();
        let Ends { source, destination } = self.ends();
        let peers: &[IpAddr] = if destination.is_multicast() { &[] } else { &[source] };
        Form::new(&policy, &addresses, None, peers).unwrap()
    }

    fn ends(&self) -> Ends {
        Ends { source: ip(self.from), destination: ip(self.to) }
    }

    fn bytes(&self) -> Vec<u8> {
        let digits: Vec<u8> =
            self.hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn samples() -> impl Iterator<Item = Sample> {
    OF_THE_DRAFT.into_iter().chain(OF_KEEPALIVED).chain(COMPUTED)
}

fn read(sample: &Sample, packet: &[u8], key: &[u8]) -> Result<Heard, Refusal> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mac = |parts: &[&[u8]]| mac(&key, parts);
    let mut stamps = Stamps::new(Duration::from_millis(sample.millis));
    let unix = Duration::from_secs(sample.stamp >> 32);
    let unseal = Unseal { stamps: &mut stamps, unix, mac: &mac };
    sample.form().decode(packet, &Envelope { ends: sample.ends(), hops: HOPS }, Some(unseal))
}

#[test]
fn adverts_with_an_hmac_are_written_as_keepalived_writes_them() {
    for sample in samples() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, sample.key);
        let mac = |parts: &[&[u8]]| mac(&key, parts);
        let seal = Seal { stamp: Stamp(sample.stamp), mac: &mac };
        let mut packet = Vec::new();
        let (ends, checksum) = (sample.ends(), sample.checksum);
        sample.form().encode(sample.priority, &ends, checksum, Some(&seal), &mut packet).unwrap();
        assert_eq!(packet, sample.bytes(), "{}", sample.hex);
    }
}

#[test]
fn adverts_of_keepalived_with_an_hmac_are_believed() {
    for sample in samples() {
        let heard = read(&sample, &sample.bytes(), sample.key).unwrap();
        assert_eq!(heard.advert.priority, sample.priority, "{}", sample.hex);
        assert_eq!((heard.checksum, heard.difference), (sample.checksum, None), "{}", sample.hex);
    }
}

#[test]
fn another_key_is_noticed() {
    for sample in samples() {
        let refused = read(&sample, &sample.bytes(), b"another key, of 32 bytes or more");
        assert_eq!(refused, Err(Refusal::Seal(Broken::Mac)), "{}", sample.hex);
    }
}
