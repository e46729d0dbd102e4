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
