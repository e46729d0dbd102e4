//! Packets whose bytes are known from elsewhere: captured on the wire (design paper, keepalived
//! 2.2.7), or computed by `vectors.py` beside this file.

use super::*;

/// Captured: keepalived, 10.77.0.11 to the group, VRID 51, 10.77.0.100.
#[test]
fn captured_adverts_are_written_and_read_to_the_byte() {
    let ends = ends("10.77.0.11", "224.0.0.18");
    let v2 = form(Version::V2, Duration::from_secs(1), "10.77.0.100", Some(b"s3cret12"));
    let v3 = form(Version::V3, Duration::from_millis(100), "10.77.0.100", None);
    let table = [
        (&v2, 150, Checksum::Message, "21339601 0101cfcc 0a4d0064 73336372 65743132"),
        (&v2, 0, Checksum::Message, "21330001 010165cd 0a4d0064 73336372 65743132"),
        (&v3, 150, Checksum::PseudoHeader, "31339601 000a4329 0a4d0064"),
        (&v3, 150, Checksum::Message, "31339601 000a2e10 0a4d0064"),
    ];
    for (form, priority, checksum, hex) in table {
        let packet = bytes(hex);
        assert_eq!(write(form, priority, &ends, checksum), packet);
        let heard = read(form, &packet, ends).unwrap();
        assert_eq!(heard.advert.priority, priority);
        assert_eq!(heard.advert.interval, form.interval);
        assert_eq!(heard.checksum, checksum);
        assert_eq!(heard.difference, None);
    }
}

/// Captured: keepalived 2.2.7 with two virtual addresses, IPv4 and IPv6.
#[test]
fn adverts_of_keepalived_are_written_and_read_to_the_byte() {
    let v4 = ends("10.77.0.11", "224.0.0.18");
    let v6 = ends("fe80::ff:fe00:a", "ff02::12");
    let form_4 = Form::new(
        &Policy { router_id: 52, ..policy(Version::V3, Duration::from_millis(30)) },
        &[ip("10.77.0.100"), ip("10.77.0.101")],
        None,
        &[],
    );
    let form_6 = Form::new(
        &policy(Version::V3, Duration::from_millis(100)),
        // Ours puts the link-local one first.
        &[ip("2001:db8::100"), ip("fe80::100")],
        None,
        &[],
    );
    let (form_4, form_6) = (form_4.unwrap(), form_6.unwrap());
    let table = [
        (&form_4, 254, v4, "3134fe02 0003d077 0a4d0064 0a4d0065"),
        (&form_4, 0, v4, "31340002 0003ce78 0a4d0064 0a4d0065"),
        (
            &form_6,
            150,
            v6,
            "31339602 000a0d4e fe80000000000000 0000000000000100 20010db800000000 0000000000000100",
        ),
        (
            &form_6,
            0,
            v6,
            "31330002 000aa34e fe80000000000000 0000000000000100 20010db800000000 0000000000000100",
        ),
    ];
    for (form, priority, ends, hex) in table {
        let packet = bytes(hex);
        assert_eq!(write(form, priority, &ends, Checksum::PseudoHeader), packet, "{hex}");
        let heard = read(form, &packet, ends).unwrap();
        assert_eq!(heard.advert.priority, priority);
        assert_eq!(heard.checksum, Checksum::PseudoHeader);
        assert_eq!(heard.difference, None);
    }
}

/// Computed by a program of its own, in another language, that also yields the captured ones.
#[test]
fn adverts_that_were_computed_elsewhere_are_written_to_the_byte() {
    let group_6 = ends("fe80::ff:fe00:a", "ff02::12");
    let with = |router_id, version, interval, address| {
        let policy = Policy { router_id, ..policy(version, interval) };
        Form::new(&policy, &[ip(address)], None, &[]).unwrap()
    };
    // The longest interval and the greatest VRID there are.
    let longest = with(255, Version::V3, Duration::from_millis(40_950), "fe80::1");
    let unicast = with(1, Version::V3, Duration::from_millis(30), "2001:db8::100");
    let open = with(54, Version::V2, Duration::from_secs(2), "10.77.0.103");
    let table = [
        (&longest, 0, group_6, "31ff00010fffc256 fe800000000000000000000000000001"),
        (
            &unicast,
            254,
            ends("2001:db8::11", "2001:db8::12"),
            "3101fe0100034623 20010db8000000000000000000000100",
        ),
        (
            &open,
            100,
            ends("10.77.0.11", "224.0.0.18"),
            "2136640100027012 0a4d0067 0000000000000000",
        ),
    ];
    for (form, priority, ends, hex) in table {
        assert_eq!(write(form, priority, &ends, Checksum::Message), bytes(hex), "{hex}");
    }
}
