//! Trailers, as `test/auth_hmac_test.c` of keepalived 2.4 checks them. The vectors with true MACs
//! are in the keeper, which has a key and HMAC-SHA-256; here, what is put under the MAC.

use std::cell::RefCell;

use super::*;
use crate::vrrp::packet::seal::{
    Broken, KEY_ID, MAC_BYTES, SENDERS_MAX, Seal, Stamp, Stamps, TRAILER_BYTES, Unseal,
};

const INTERVAL: Duration = Duration::from_secs(1);
/// What the stamps below are near to.
const NOW: Duration = Duration::from_secs(1_790_000_000);
const MAC: [u8; MAC_BYTES] = [0xaa; MAC_BYTES];

fn v6() -> (Form, Ends) {
    let policy = Policy { priority: 200, ..policy(Version::V3, INTERVAL) };
    let form = Form::new(&policy, &[ip("fe80::100")], None, &[]).unwrap();
    (form, ends("fe80::10", "ff02::12"))
}

fn sealed(form: &Form, ends: &Ends, stamp: Stamp) -> Vec<u8> {
    let mut packet = Vec::new();
    let seal = Seal { stamp, mac: &|_| MAC };
    form.encode(200, ends, Checksum::Message, Some(&seal), &mut packet).unwrap();
    packet
}

fn unseal(
    (form, ends): &(Form, Ends),
    packet: &[u8],
    stamps: &mut Stamps,
    unix: Duration,
) -> Result<Heard, Refusal> {
    let unseal = Unseal { stamps, unix, mac: &|_| MAC };
    form.decode(packet, &Envelope { ends: *ends, hops: HOPS }, Some(unseal))
}

fn stamp_at(unix: Duration) -> Stamp {
    Stamps::new(INTERVAL).next_stamp(unix)
}

/// The draft's appendix: its two packets, and what its authors put under the MAC.
#[test]
fn what_is_put_under_the_mac_is_what_the_draft_says() {
    let stamp = Stamp(0x6800_0000_8000_0000);
    let prefix = "01010000 68000000 80000000";
    let table = [
        (
            form(Version::V3, INTERVAL, "192.0.2.100", None),
            ends("198.51.100.10", "224.0.0.18"),
            "04033300 c633640a 000000000000000000000000",
            "3133c80100640000c0000264",
            "3133c80100644402c0000264",
        ),
        (
            v6().0,
            ends("fe80::10", "fe80::20"),
            "06033300 fe800000000000000000000000000010",
            "3133c80100640000 fe800000000000000000000000000100",
            "3133c8010064a2e9 fe800000000000000000000000000100",
        ),
    ];
    let ipv6_mac = bytes("c8c56146ebfd66ee10ec4d8186461b78");
    for (form, ends, subject, zeroed, message) in table {
        let seen = RefCell::new(Vec::new());
        let mac = |parts: &[&[u8]]| {
            *seen.borrow_mut() = parts.concat();
            ipv6_mac.clone().try_into().unwrap()
        };
        let mut packet = Vec::new();
        let seal = Seal { stamp, mac: &mac };
        form.encode(200, &ends, Checksum::Message, Some(&seal), &mut packet).unwrap();
        let zeros = "00".repeat(MAC_BYTES);
        assert_eq!(*seen.borrow(), bytes(&std::format!("{subject}{zeroed}{prefix}{zeros}")));
        // The checksum of IPv6 covers the trailer, that of IPv4 does not.
        assert_eq!(packet, [bytes(message), bytes(prefix), ipv6_mac.clone()].concat());
    }
}

#[test]
fn a_true_trailer_is_believed_once() {
    let router = v6();
    let stamps = &mut Stamps::new(INTERVAL);
    let packet = sealed(&router.0, &router.1, stamp_at(NOW));
    assert_eq!(packet.len(), 24 + TRAILER_BYTES);
    assert_eq!(unseal(&router, &packet, stamps, NOW).unwrap().advert.priority, 200);
    let again = unseal(&router, &packet, stamps, NOW);
    assert_eq!(again, Err(Refusal::Seal(Broken::Repeated)));
    let elsewhere = &mut Stamps::new(INTERVAL);
    assert!(unseal(&router, &packet, elsewhere, NOW).is_ok(), "each receiver counts by itself");
}

#[test]
fn trailers_that_break_a_rule_are_refused() {
    let router = v6();
    let packet = sealed(&router.0, &router.1, stamp_at(NOW));
    let at = packet.len() - TRAILER_BYTES;
    let table = [
        (at, Broken::Malformed),
        (at + 1, Broken::Key(KEY_ID ^ 1)),
        (at + 2, Broken::Malformed),
        (at + 3, Broken::Malformed),
        (at + 12, Broken::Mac),
        (at + 27, Broken::Mac),
    ];
    for (at, broken) in table {
        let mut packet = packet.clone();
        packet[at] ^= 1;
        let refused = unseal(&router, &packet, &mut Stamps::new(INTERVAL), NOW);
        assert_eq!(refused, Err(Refusal::Seal(broken)), "{at}");
        assert!(refused.unwrap_err().is_auth());
    }
}

#[test]
fn a_trailer_must_be_there_and_only_if_it_is_expected() {
    let router = v6();
    let open = write(&router.0, 200, &router.1, Checksum::Message);
    let refused = unseal(&router, &open, &mut Stamps::new(INTERVAL), NOW);
    assert_eq!(refused, Err(Refusal::Seal(Broken::Missing)));
    let closed = sealed(&router.0, &router.1, stamp_at(NOW));
    assert_eq!(read(&router.0, &closed, router.1), Err(Refusal::SealNotExpected));
    for bytes in open.len() + 1..closed.len() {
        let refused = unseal(&router, &closed[..bytes], &mut Stamps::new(INTERVAL), NOW);
        let needed = open.len();
        assert_eq!(refused, Err(Refusal::Long { theirs: bytes, needed }));
    }
}

#[test]
fn a_seal_is_as_good_as_255_hops_by_unicast_only() {
    let policy = policy(Version::V3, INTERVAL);
    let far = Form::new(&policy, &[ip("10.77.0.100")], None, &[ip("10.78.0.12")]).unwrap();
    let near = form(Version::V3, INTERVAL, "10.77.0.100", None);
    for (form, ends, expected) in [
        (far, ends("10.78.0.12", "10.77.0.11"), None),
        (near, ends("10.77.0.12", "224.0.0.18"), Some(Refusal::Hops(63))),
    ] {
        let packet = sealed(&form, &ends, stamp_at(NOW));
        let stamps = &mut Stamps::new(INTERVAL);
        let unseal = Unseal { stamps, unix: NOW, mac: &|_| MAC };
        let heard = form.decode(&packet, &Envelope { ends, hops: 63 }, Some(unseal));
        assert_eq!(heard.err(), expected);
    }
}

#[test]
fn a_stamp_may_be_off_by_the_window_and_no_more() {
    let router = v6();
    let second = Duration::from_secs(1);
    for (interval, window) in [(1, 5), (2, 6), (40, 120), (200, 300)] {
        for (sent, expected) in [
            (NOW - window * second, None),
            (NOW + window * second, None),
            (NOW - (window + 1) * second, Some(Broken::Stale(window as i32 + 1))),
            (NOW + (window + 1) * second, Some(Broken::Stale(-(window as i32 + 1)))),
        ] {
            let packet = sealed(&router.0, &router.1, stamp_at(sent));
            let stamps = &mut Stamps::new(interval * second);
            let refused = unseal(&router, &packet, stamps, NOW).err();
            assert_eq!(refused, expected.map(Refusal::Seal), "{interval} s");
        }
    }
}

#[test]
fn stamps_grow_even_when_the_clock_does_not() {
    let stamps = &mut Stamps::new(INTERVAL);
    let first = stamps.next_stamp(NOW);
    assert_eq!(stamps.next_stamp(NOW), Stamp(first.0 + 1));
    assert_eq!(stamps.next_stamp(NOW - Duration::from_secs(3)), Stamp(first.0 + 2));
    let later = stamps.next_stamp(NOW + Duration::from_millis(500));
    assert_eq!(later.0 - first.0, 0x8000_0000, "half a second, the counter at 0");
    // The clock was wrong and is right now: receivers go by it.
    let hour = Duration::from_secs(3600);
    assert_eq!(stamps.next_stamp(NOW - hour), stamp_at(NOW - hour));
}

#[test]
fn stamps_count_on_when_their_seconds_wrap_around() {
    let router = v6();
    let stamps = &mut Stamps::new(INTERVAL);
    let wrap = Duration::from_secs(1 << 32);
    for unix in [wrap - Duration::from_secs(1), wrap, wrap + Duration::from_secs(1)] {
        let packet = sealed(&router.0, &router.1, stamp_at(unix));
        assert!(unseal(&router, &packet, stamps, unix).is_ok());
        let again = unseal(&router, &packet, stamps, unix);
        assert_eq!(again, Err(Refusal::Seal(Broken::Repeated)));
    }
}

#[test]
fn a_sender_whose_clock_was_set_back_is_believed_once_the_window_has_passed() {
    let router = v6();
    let stamps = &mut Stamps::new(INTERVAL);
    let ahead = NOW + Duration::from_secs(4);
    let packet = sealed(&router.0, &router.1, stamp_at(ahead));
    assert!(unseal(&router, &packet, stamps, NOW).is_ok());
    let packet = sealed(&router.0, &router.1, stamp_at(NOW));
    assert_eq!(unseal(&router, &packet, stamps, NOW), Err(Refusal::Seal(Broken::Repeated)));
    let later = NOW + Duration::from_secs(10);
    let packet = sealed(&router.0, &router.1, stamp_at(later));
    assert!(unseal(&router, &packet, stamps, later).is_ok());
}

#[test]
fn the_sender_heard_least_recently_is_forgotten_first() {
    let form = form(Version::V3, INTERVAL, "10.77.0.100", None);
    let stamps = &mut Stamps::new(INTERVAL);
    let from = |number: usize| ends(&std::format!("10.77.1.{number}"), "224.0.0.18");
    let mut hear = |number: usize, stamp: Stamp| {
        let ends = from(number);
        unseal(&(form.clone(), ends), &sealed(&form, &ends, stamp), stamps, NOW).is_ok()
    };
    let stamp = stamp_at(NOW);
    assert!((0..SENDERS_MAX).all(|number| hear(number, stamp)));
    assert!(hear(0, Stamp(stamp.0 + 1)), "0 is now heard most recently");
    assert!(hear(SENDERS_MAX, stamp), "and 1 is forgotten");
    assert!(!hear(0, stamp) && !hear(2, stamp) && !hear(SENDERS_MAX, stamp));
    assert!(hear(1, stamp), "so it could be repeated once, had the window let it");
}

#[test]
fn stamps_outlive_their_process() {
    let stamps = &mut Stamps::new(INTERVAL);
    let router = v6();
    let packet = sealed(&router.0, &router.1, stamps.next_stamp(NOW));
    unseal(&router, &packet, stamps, NOW).unwrap();
    let bytes = minicbor::to_vec(&*stamps).unwrap();
    let mut carried: Stamps = minicbor::decode(&bytes).unwrap();
    assert_eq!(carried, *stamps);
    let again = unseal(&router, &packet, &mut carried, NOW);
    assert_eq!(again, Err(Refusal::Seal(Broken::Repeated)));
}
