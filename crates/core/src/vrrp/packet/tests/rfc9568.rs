//! RFC 9568: a positive and a negative case for each rule of sections 5 and 7.1, 7.2 that a packet
//! can keep or break. What the socket does (source and destination, hops on sending: 5.1, 7.2) is
//! tested where the sockets are.

use super::*;
use crate::vrrp::PRIORITY_OWNER;
use crate::vrrp::packet::{ADDRESSES_MAX, Difference, PROTOCOL};

const INTERVAL: Duration = Duration::from_millis(100);

fn v4() -> (Form, Ends, Vec<u8>) {
    let form = form(Version::V3, INTERVAL, "10.77.0.100", None);
    let ends = ends("10.77.0.12", "224.0.0.18");
    let packet = write(&form, 200, &ends, Checksum::Message);
    (form, ends, packet)
}

fn v6() -> (Form, Ends, Vec<u8>) {
    let form = form(Version::V3, INTERVAL, "fe80::100", None);
    let ends = ends("fe80::12", "ff02::12");
    let packet = write(&form, 200, &ends, Checksum::Message);
    (form, ends, packet)
}

/// Whatever rule is tested: without a fault, the advert is heard.
#[test]
fn an_advert_in_order_is_heard_over_both_families() {
    for (form, ends, packet) in [v4(), v6()] {
        let heard = read(&form, &packet, ends).unwrap();
        assert_eq!(heard.advert, crate::vrrp::Advert { priority: 200, interval: INTERVAL });
        assert_eq!(heard.difference, None);
    }
}

// 5.1.1.2, 5.1.2.2
#[test]
fn only_the_group_is_spoken_to_unless_there_are_peers() {
    assert_eq!(
        (IpAddr::from(GROUP_V4), IpAddr::from(GROUP_V6)),
        (ip("224.0.0.18"), ip("ff02::12"))
    );
    for ((form, ends, packet), elsewhere, group) in
        [(v4(), "224.0.0.19", "224.0.0.18"), (v6(), "ff02::1", "ff02::12")]
    {
        assert_eq!(form.destinations(), [ip(group)]);
        let elsewhere = Ends { destination: ip(elsewhere), ..ends };
        let refused = read(&form, &packet, elsewhere);
        assert_eq!(refused, Err(Refusal::Destination(elsewhere.destination)));
    }
}

#[test]
fn with_peers_only_they_are_heard_and_only_by_unicast() {
    let peers = [ip("10.77.0.12"), ip("10.77.0.13")];
    let policy = policy(Version::V3, INTERVAL);
    let form = Form::new(&policy, &[ip("10.77.0.100")], None, &peers).unwrap();
    assert_eq!(form.destinations(), peers);
    let unicast = ends("10.77.0.12", "10.77.0.11");
    let packet = write(&form, 200, &unicast, Checksum::Message);
    assert!(read(&form, &packet, unicast).is_ok());
    let stranger = ends("10.77.0.14", "10.77.0.11");
    assert_eq!(read(&form, &packet, stranger), Err(Refusal::Stranger(ip("10.77.0.14"))));
    let multicast = ends("10.77.0.12", "224.0.0.18");
    assert_eq!(read(&form, &packet, multicast), Err(Refusal::Destination(ip("224.0.0.18"))));
}

// 5.1.1.3, 5.1.2.3, 7.1
#[test]
fn hops_must_be_255() {
    assert_eq!(HOPS, 255);
    for (form, ends, packet) in [v4(), v6()] {
        for hops in [0, 1, 254] {
            let refused = form.decode(&packet, &Envelope { ends, hops }, None);
            assert_eq!(refused, Err(Refusal::Hops(hops)));
        }
    }
    let policy = policy(Version::V3, INTERVAL);
    let form = Form::new(&policy, &[ip("10.77.0.100")], None, &[ip("10.77.0.12")]).unwrap();
    let ends = ends("10.77.0.12", "10.77.0.11");
    let packet = write(&form, 200, &ends, Checksum::Message);
    let refused = form.decode(&packet, &Envelope { ends, hops: 254 }, None);
    assert_eq!(refused, Err(Refusal::Hops(254)), "by unicast as well");
}

// 5.1.1.4, 5.1.2.4
#[test]
fn the_protocol_is_112() {
    assert_eq!(PROTOCOL, 112);
}

// 5.2.1, 7.1
#[test]
fn the_version_must_be_3() {
    let (form, ends, packet) = v4();
    assert_eq!(packet[0] >> 4, 3);
    for version in (0..16).filter(|version| *version != 3) {
        let packet = altered(&packet, 0, version << 4 | 1);
        let refused = read(&form, &packet, ends);
        assert_eq!(refused, Err(Refusal::Version { theirs: version, ours: 3 }));
    }
}

// 5.2.2, 7.1
#[test]
fn the_type_must_be_1() {
    let (form, ends, packet) = v4();
    assert_eq!(packet[0] & 0x0f, 1);
    for kind in (0..16).filter(|kind| *kind != 1) {
        let packet = altered(&packet, 0, 3 << 4 | kind);
        assert_eq!(read(&form, &packet, ends), Err(Refusal::Kind(kind)));
    }
}

// 5.2.3, 7.1
#[test]
fn the_router_id_must_be_ours() {
    let (form, ends, packet) = v4();
    assert_eq!(packet[1], 51);
    assert_eq!(crate::vrrp::packet::router_id(&packet), Some(51));
    let refused = read(&form, &altered(&packet, 1, 52), ends);
    assert_eq!(refused, Err(Refusal::RouterId { theirs: 52, ours: 51 }));
    let zero = Policy { router_id: 0, ..policy(Version::V3, INTERVAL) };
    assert_eq!(Form::new(&zero, &[ip("10.77.0.100")], None, &[]), Err(Unfit::RouterId));
}

// 5.2.4
#[test]
fn every_priority_is_told_and_heard() {
    for (form, ends, _) in [v4(), v6()] {
        for priority in 0..=255 {
            let packet = write(&form, priority, &ends, Checksum::Message);
            assert_eq!(packet[2], priority);
            assert_eq!(read(&form, &packet, ends).unwrap().advert.priority, priority);
        }
    }
}

// 5.2.5
#[test]
fn an_advert_without_addresses_is_ignored() {
    let (form, ends, packet) = v4();
    assert_eq!(packet[3], 1);
    let empty = altered(&packet[..8], 3, 0);
    assert_eq!(read(&form, &empty, ends), Err(Refusal::NoAddress));
    let none = Form::new(&policy(Version::V3, INTERVAL), &[], None, &[]);
    assert_eq!(none, Err(Unfit::NoAddress));
}

// 5.2.6
#[test]
fn reserved_bits_are_zero_when_sent_and_ignored_when_received() {
    let (form, ends, packet) = v4();
    assert_eq!(packet[4] & 0xf0, 0);
    let heard = read(&form, &altered(&packet, 4, packet[4] | 0xf0), ends).unwrap();
    assert_eq!((heard.advert.interval, heard.difference), (INTERVAL, None));
}

// 5.2.7, and 7.1 as of erratum 8301
#[test]
fn the_interval_is_told_in_hundredths_and_never_zero() {
    let (ours, ends, _) = v4();
    for centis in [1, 3, 100, 255, 256, 4095] {
        let interval = Duration::from_millis(10 * centis);
        let theirs = form(Version::V3, interval, "10.77.0.100", None);
        let packet = write(&theirs, 1, &ends, Checksum::Message);
        assert_eq!(u64::from(u16::from_be_bytes([packet[4], packet[5]])), centis);
        let heard = read(&ours, &packet, ends).unwrap();
        assert_eq!(heard.advert.interval, interval);
        assert_eq!(
            heard.difference,
            Some(Difference::Interval { theirs: interval, ours: INTERVAL })
        );
    }
    let (_, _, packet) = v4();
    assert_eq!(read(&ours, &altered(&packet, 5, 0), ends), Err(Refusal::NoInterval));
    for millis in [0, 5, 15, 40_960, u64::MAX] {
        let interval = Duration::from_millis(millis);
        let form = Form::new(&policy(Version::V3, interval), &[ip("10.77.0.100")], None, &[]);
        assert_eq!(form, Err(Unfit::Interval(interval)));
    }
}

// 5.2.8, 7.1
#[test]
fn an_ipv4_checksum_is_that_of_the_message_or_with_a_pseudo_header() {
    let (form, ends, packet) = v4();
    assert_eq!(read(&form, &packet, ends).unwrap().checksum, Checksum::Message);
    let pseudo = write(&form, 200, &ends, Checksum::PseudoHeader);
    assert_ne!(pseudo, packet);
    assert_eq!(read(&form, &pseudo, ends).unwrap().checksum, Checksum::PseudoHeader);
    let moved = Ends { source: ip("10.77.0.13"), ..ends };
    assert!(read(&form, &packet, moved).is_ok(), "the message does not tell the sender");
    assert_eq!(read(&form, &pseudo, moved), Err(Refusal::Checksum));
}

// 5.2.8, 7.1
#[test]
fn an_ipv6_checksum_has_always_a_pseudo_header() {
    let (form, ends, packet) = v6();
    assert_eq!(read(&form, &packet, ends).unwrap().checksum, Checksum::PseudoHeader);
    let message_only = summed(packet.clone(), Sum::default());
    assert_eq!(read(&form, &message_only, ends), Err(Refusal::Checksum));
    let moved = Ends { source: ip("fe80::13"), ..ends };
    assert_eq!(read(&form, &packet, moved), Err(Refusal::Checksum));
}

// 5.2.8, 7.1
#[test]
fn every_flipped_bit_is_noticed() {
    for (form, ends, packet) in [v4(), v6()] {
        for bit in 0..8 * packet.len() {
            let mut packet = packet.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&form, &packet, ends).is_err(), "bit {bit}");
        }
    }
}

// 5.2.9
#[test]
fn the_first_ipv6_address_is_link_local_if_there_is_one() {
    let mixed = [ip("2001:db8::1"), ip("fe80::1"), ip("2001:db8::2")];
    let ours = Form::new(&policy(Version::V3, INTERVAL), &mixed, None, &[]).unwrap();
    assert!(!ours.lacks_link_local());
    let ends = ends("fe80::12", "ff02::12");
    let packet = write(&ours, 200, &ends, Checksum::Message);
    assert_eq!(packet[8..10], [0xfe, 0x80]);
    assert_eq!(
        packet[24..],
        bytes("20010db8000000000000000000000001 20010db8000000000000000000000002")
    );
    assert_eq!(read(&ours, &packet, ends).unwrap().difference, None);
    // Others may have none: it is noted, no more.
    let theirs = form(Version::V3, INTERVAL, "2001:db8::1", None);
    assert!(theirs.lacks_link_local());
    let packet = write(&theirs, 200, &ends, Checksum::Message);
    let first = "2001:db8::1".parse().unwrap();
    let noted = read(&theirs, &packet, ends).unwrap().difference;
    assert_eq!(noted, Some(Difference::NotLinkLocal(first)));
}

// 5.2.9: one family only
#[test]
fn addresses_are_of_one_family_and_few_enough() {
    let policy = policy(Version::V3, INTERVAL);
    let both = [ip("10.77.0.100"), ip("fe80::100")];
    assert_eq!(Form::new(&policy, &both, None, &[]), Err(Unfit::MixedFamilies(both[1])));
    let peers = Form::new(&policy, &both[..1], None, &[ip("fe80::12")]);
    assert_eq!(peers, Err(Unfit::MixedFamilies(ip("fe80::12"))));
    let many: Vec<IpAddr> = (0..21).map(|n| IpAddr::from([10, 77, 0, n])).collect();
    assert!(Form::new(&policy, &many[..ADDRESSES_MAX], None, &[]).is_ok());
    assert_eq!(Form::new(&policy, &many, None, &[]), Err(Unfit::TooManyAddresses(21)));
    let (form, ends, packet) = v4();
    let over_6 = super::ends("fe80::12", "ff02::12");
    assert_eq!(read(&form, &packet, over_6), Err(Refusal::Family(over_6.source)));
    let refused = form.encode(1, &over_6, Checksum::Message, None, &mut Vec::new());
    assert_eq!(refused, Err(Unfit::MixedFamilies(over_6.source)));
    assert!(form.encode(1, &ends, Checksum::Message, None, &mut Vec::new()).is_ok());
}

// 7.1
#[test]
fn a_packet_must_be_whole() {
    for (form, ends, packet) in [v4(), v6()] {
        for bytes in 0..packet.len() {
            let needed = if bytes < 8 { 8 } else { packet.len() };
            let refused = read(&form, &packet[..bytes], ends);
            assert_eq!(refused, Err(Refusal::Short { theirs: bytes, needed }));
        }
        let counted = altered(&packet, 3, 255);
        assert!(matches!(read(&form, &counted, ends), Err(Refusal::Short { .. })));
        let mut longer = packet.clone();
        longer.push(0);
        let (theirs, needed) = (longer.len(), packet.len());
        assert_eq!(read(&form, &longer, ends), Err(Refusal::Long { theirs, needed }));
    }
}

// 7.1: an owner follows nobody
#[test]
fn who_owns_the_address_hears_nobody_else() {
    let (_, ends, packet) = v4();
    for (priority, expected) in [(PRIORITY_OWNER, Some(Refusal::Owner)), (254, None)] {
        let policy = Policy { priority, ..policy(Version::V3, INTERVAL) };
        let form = Form::new(&policy, &[ip("10.77.0.100")], None, &[]).unwrap();
        assert_eq!(read(&form, &packet, ends).err(), expected);
    }
}

// 7.1: the list of addresses may be verified
#[test]
fn other_addresses_are_noted_and_no_reason_to_refuse() {
    let (ours, ends, _) = v4();
    let other = form(Version::V3, INTERVAL, "10.77.0.101", None);
    let packet = write(&other, 200, &ends, Checksum::Message);
    let noted = read(&ours, &packet, ends).unwrap().difference;
    assert_eq!(noted, Some(Difference::Absent(ip("10.77.0.100"))));
    let more = [ip("10.77.0.100"), ip("10.77.0.101")];
    let more = Form::new(&policy(Version::V3, INTERVAL), &more, None, &[]).unwrap();
    let packet = write(&more, 200, &ends, Checksum::Message);
    let noted = read(&ours, &packet, ends).unwrap().difference;
    assert_eq!(noted, Some(Difference::Count { theirs: 2, ours: 1 }));
    let swapped = [ip("10.77.0.101"), ip("10.77.0.100")];
    let swapped = Form::new(&policy(Version::V3, INTERVAL), &swapped, None, &[]).unwrap();
    let packet = write(&swapped, 200, &ends, Checksum::Message);
    assert_eq!(read(&more, &packet, ends).unwrap().difference, None, "order does not matter");
}

#[test]
fn refusals_say_the_fact_then_the_value() {
    let table = [
        (Refusal::Hops(3), "it came from another network: hops left 3, not 255"),
        (Refusal::Version { theirs: 2, ours: 3 }, "it is of the wrong version: 2 instead of 3"),
        (Refusal::AuthenticationHeader, "authentication by AH (RFC 2338) is not supported"),
    ];
    for (refusal, words) in table {
        assert_eq!(std::format!("{refusal}"), words);
    }
}
