//! Adverts of VRRP.

use std::net::IpAddr;
use std::time::Duration;

use evergate_core::vrrp::packet::seal::{MAC_BYTES, Stamps, Unseal};
use evergate_core::vrrp::packet::{Ends, Envelope, Form, HOPS, Heard, PACKET_BYTES_MAX};
use evergate_core::vrrp::{Policy, Version};

/// The beginnings of adverts, and a trailer's.
pub(crate) const WORDS: &[&str] = &[
    "\x21\x33\x01\x01\x01\x01",
    "\x21\x33\x01\x01\0\x01",
    "\x31\x33\x01\x01\0\x0a",
    "\x0a\x4d\0\x64",
    "s3cret12",
    "\x01\x01\0\0",
];

/// Whatever is heard by a router has one meaning, and is heard again when it is written by the
/// rules; nothing that is longer or shorter is heard.
pub fn vrrp(input: &[u8]) {
    for (form, ends) in routers() {
        let envelope = Envelope { ends, hops: HOPS };
        for is_sealed in [false, true] {
            let mut stamps = Stamps::new(Duration::from_secs(1));
            let mut read = |packet: &[u8]| {
                let unix = Duration::from_secs(0x6800_0000);
                let unseal = Unseal { stamps: &mut stamps, unix, mac: &|_| [0; MAC_BYTES] };
                form.decode(packet, &envelope, is_sealed.then_some(unseal))
            };
            let Ok(heard) = read(input) else { continue };
            assert!(input.len() <= PACKET_BYTES_MAX);
            assert_ne!(heard.advert.interval, Duration::ZERO);
            if is_sealed {
                assert!(read(input).is_err(), "once is enough");
            } else {
                for cut in 0..input.len() {
                    assert!(read(&input[..cut]).is_err(), "its end is exact");
                }
                write_again(&form, &envelope, heard);
            }
        }
    }
}

fn write_again(form: &Form, envelope: &Envelope, heard: Heard) {
    let mut packet = Vec::new();
    form.encode(heard.advert.priority, &envelope.ends, heard.checksum, None, &mut packet)
        .expect("the ends are of its family");
    let again = form.decode(&packet, envelope, None).expect("it was written by the rules");
    assert_eq!(again.advert.priority, heard.advert.priority);
    assert_eq!(again.checksum, heard.checksum);
}

/// One of each kind.
fn routers() -> [(Form, Ends); 4] {
    let router = |version, seconds, address: &str, password, source: &str| {
        let policy = Policy {
            version,
            router_id: 0x33,
            priority: 254,
            interval: Duration::from_secs(seconds),
            preempt: false,
            preempt_delay: Duration::ZERO,
            startup_delay: Duration::ZERO,
            announce_repeat: 5,
            announce_refresh: None,
        };
        let ip = |text: &str| text.parse::<IpAddr>().expect("it is an address");
        let form = Form::new(&policy, &[ip(address)], password, &[]).expect("it is in order");
        let ends = Ends { source: ip(source), destination: form.group() };
        (form, ends)
    };
    [
        router(Version::V2, 1, "10.77.0.100", None, "10.77.0.11"),
        router(Version::V2, 1, "10.77.0.100", Some(b"s3cret12"), "10.77.0.11"),
        router(Version::V3, 1, "10.77.0.100", None, "10.77.0.11"),
        router(Version::V3, 1, "fe80::100", None, "fe80::ff:fe00:a"),
    ]
}
