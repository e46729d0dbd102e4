//! RFC 3768 (version 2): a positive and a negative case for each rule of sections 5 and 7 that
//! differs from version 3.

use super::*;
use crate::vrrp::PRIORITY_OWNER;

const INTERVAL: Duration = Duration::from_secs(1);
const ENDS: Ends = Ends {
    source: IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 12)),
    destination: IpAddr::V4(GROUP_V4),
};

fn open() -> Form {
    form(Version::V2, INTERVAL, "10.77.0.100", None)
}

fn closed() -> Form {
    form(Version::V2, INTERVAL, "10.77.0.100", Some(b"s3cret12"))
}

fn advert(form: &Form) -> Vec<u8> {
    write(form, 200, &ENDS, Checksum::Message)
}

// 5.3.1, 7.1
#[test]
fn the_version_must_be_2() {
    let packet = advert(&open());
    assert_eq!(packet[0], 0x21);
    let heard = read(&open(), &packet, ENDS).unwrap();
    assert_eq!(heard.advert, crate::vrrp::Advert { priority: 200, interval: INTERVAL });
    let refused = read(&open(), &altered(&packet, 0, 0x31), ENDS);
    assert_eq!(refused, Err(Refusal::Version { theirs: 3, ours: 2 }));
}

// 5.2.3, 7.1
#[test]
fn the_time_to_live_must_be_255() {
    let packet = advert(&open());
    let envelope = Envelope { ends: ENDS, hops: 254 };
    assert_eq!(open().decode(&packet, &envelope, None), Err(Refusal::Hops(254)));
}

// 5.3.2
#[test]
fn the_type_must_be_1() {
    let packet = altered(&advert(&open()), 0, 0x22);
    assert_eq!(read(&open(), &packet, ENDS), Err(Refusal::Kind(2)));
}

// 5.3.3, 7.1
#[test]
fn the_router_id_must_be_ours() {
    let packet = altered(&advert(&open()), 1, 1);
    let refused = read(&open(), &packet, ENDS);
    assert_eq!(refused, Err(Refusal::RouterId { theirs: 1, ours: 51 }));
}

// 5.3.6, 7.1
#[test]
fn the_kind_of_authentication_must_be_ours() {
    assert_eq!(advert(&open())[4], 0);
    assert_eq!(advert(&closed())[4], 1);
    assert!(read(&closed(), &advert(&closed()), ENDS).is_ok());
    let refused = read(&open(), &advert(&closed()), ENDS);
    assert_eq!(refused, Err(Refusal::AuthKind { theirs: 1, ours: 0 }));
    let refused = read(&closed(), &advert(&open()), ENDS);
    assert_eq!(refused, Err(Refusal::AuthKind { theirs: 0, ours: 1 }));
    let unknown = altered(&advert(&open()), 4, 7);
    let refused = read(&open(), &unknown, ENDS);
    assert_eq!(refused, Err(Refusal::AuthKind { theirs: 7, ours: 0 }));
    assert!(refused.unwrap_err().is_auth());
}

// RFC 2338, 5.3.6.3: not supported
#[test]
fn authentication_by_ah_is_refused_in_words() {
    let packet = altered(&advert(&open()), 4, 2);
    for form in [open(), closed()] {
        assert_eq!(read(&form, &packet, ENDS), Err(Refusal::AuthenticationHeader));
    }
}

// 7.1: perform that authentication method
#[test]
fn the_password_must_be_ours() {
    for other in [&b"s3cret13"[..], b"s3cret1", b""] {
        let other = form(Version::V2, INTERVAL, "10.77.0.100", Some(other));
        assert_eq!(read(&closed(), &advert(&other), ENDS), Err(Refusal::Password));
    }
    assert!(!std::format!("{:?}", closed()).contains("115"), "nobody may read it");
    // Without authentication the data is ignored (5.3.10).
    let packet = advert(&open());
    assert!(read(&open(), &altered(&packet, packet.len() - 1, 9), ENDS).is_ok());
    let long = Form::new(&policy(Version::V2, INTERVAL), &[ip("10.77.0.100")], Some(&[1; 9]), &[]);
    assert_eq!(long, Err(Unfit::PasswordTooLong(9)));
    let v3 = Form::new(&policy(Version::V3, INTERVAL), &[ip("10.77.0.100")], Some(b"a"), &[]);
    assert_eq!(v3, Err(Unfit::PasswordInVersion3));
}

// 5.3.7, 7.1
#[test]
fn the_interval_must_be_ours() {
    let slow = form(Version::V2, Duration::from_secs(2), "10.77.0.100", None);
    let packet = advert(&slow);
    assert_eq!(packet[5], 2);
    assert!(read(&slow, &packet, ENDS).is_ok());
    let refused = read(&open(), &packet, ENDS);
    let theirs = Duration::from_secs(2);
    assert_eq!(refused, Err(Refusal::Interval { theirs, ours: INTERVAL }));
    for millis in [0, 500, 1500, 256_000] {
        let interval = Duration::from_millis(millis);
        let form = Form::new(&policy(Version::V2, interval), &[ip("10.77.0.100")], None, &[]);
        assert_eq!(form, Err(Unfit::Interval(interval)));
    }
}

// 5.3.8, 7.1
#[test]
fn the_checksum_is_that_of_the_message_with_its_authentication_data() {
    let packet = write(&closed(), 200, &ENDS, Checksum::PseudoHeader);
    assert_eq!(packet, advert(&closed()), "there is no other in version 2");
    for bit in 0..8 * packet.len() {
        let mut packet = packet.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&closed(), &packet, ENDS).is_err(), "bit {bit}");
    }
}

// 5.3.10, 7.1
#[test]
fn a_packet_must_have_its_authentication_data() {
    let packet = advert(&open());
    assert_eq!(packet.len(), 8 + 4 + 8);
    for bytes in 0..packet.len() {
        let needed = if bytes < 8 { 8 } else { packet.len() };
        let refused = read(&open(), &packet[..bytes], ENDS);
        assert_eq!(refused, Err(Refusal::Short { theirs: bytes, needed }));
    }
}

// 7.1
#[test]
fn who_owns_the_address_hears_nobody_else() {
    let policy = Policy { priority: PRIORITY_OWNER, ..policy(Version::V2, INTERVAL) };
    let owner = Form::new(&policy, &[ip("10.77.0.100")], None, &[]).unwrap();
    assert_eq!(read(&owner, &advert(&open()), ENDS), Err(Refusal::Owner));
}

// 1.1: IPv4 only
#[test]
fn version_2_has_no_ipv6() {
    let form = Form::new(&policy(Version::V2, INTERVAL), &[ip("fe80::1")], None, &[]);
    assert_eq!(form, Err(Unfit::Ipv6InVersion2));
}
