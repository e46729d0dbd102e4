use alloc::vec::Vec;
use std::format;
use std::string::String;

use super::checksum::crc32c;
use super::*;
use crate::rng::Rng;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const BEHIND: &[u8] = b"GET / HTTP/1.1\r\n";

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], value].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb];

fn ipv4_with(tlvs: &[Vec<u8>]) -> Vec<u8> {
    v2(0x21, 0x11, &[&IPV4[..], &tlvs.concat()].concat())
}

/// Puts the right checksum into the last four bytes.
fn signed(mut header: Vec<u8>) -> Vec<u8> {
    let at = header.len() - 4;
    header[at..].fill(0);
    let sum = crc32c(header.iter().copied());
    header[at..].copy_from_slice(&sum.to_be_bytes());
    header
}

fn ends_of(bytes: &[u8]) -> Option<String> {
    let header = parse(bytes).unwrap().unwrap();
    assert_eq!(header.consumed, bytes.len());
    header.ends.map(|ends| format!("{} {}", ends.source, ends.destination))
}

/// Headers of all shapes.
fn valid() -> Vec<Vec<u8>> {
    let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_BYTES_MAX - 16));
    assert_eq!(long.len(), V1_BYTES_MAX);
    let mut headers: Vec<Vec<u8>> = [
        "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n",
        "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        "PROXY TCP6 2001:db8::1 ::ffff:198.51.100.2 0 80\r\n",
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN whatever it is\r\n",
        &*long,
    ]
    .iter()
    .map(|line| line.as_bytes().to_vec())
    .collect();
    let (ipv6, unix) = ([7; 36], [b'/'; 216]);
    let more = [tlv(0x01, b"h2"), tlv(0x02, b"example.org"), tlv(0x05, b"id"), tlv(0x04, &[0; 9])];
    headers.extend([
        v2(0x21, 0x11, &IPV4),
        v2(0x21, 0x12, &IPV4),
        v2(0x21, 0x21, &ipv6),
        v2(0x21, 0x22, &ipv6),
        v2(0x21, 0x31, &unix),
        v2(0x21, 0x32, &unix),
        v2(0x21, 0x00, &[]),
        v2(0x21, 0x00, &tlv(0x05, &[1; 128])),
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, b"of no meaning"),
        v2(0x20, 0x11, &[0; V2_REST_BYTES_MAX]),
        ipv4_with(&more),
        ipv4_with(&[tlv(0xe0, &[0; V2_REST_BYTES_MAX - 12 - 3])]),
        signed(ipv4_with(&[tlv(0x02, b"example.org"), tlv(0x03, &[0; 4])])),
    ]);
    headers
}

#[test]
fn a_line_of_version_1_names_both_ends() {
    let table = [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", Some("192.0.2.1:4711 198.51.100.2:443")),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 65535\r\n", Some("0.0.0.0:0 0.0.0.0:65535")),
        ("PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", Some("[2001:db8::1]:1 [::1]:2")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN \r\n", None),
        ("PROXY UNKNOWN TCP4 1.2.3.4 \u{ff}\r\n", None),
    ];
    for (line, ends) in table {
        assert_eq!(ends_of(line.as_bytes()).as_deref(), ends, "{line:?}");
    }
}

#[test]
fn a_line_that_is_not_strictly_of_version_1_is_refused() {
    let lines = [
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.2.3.4\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 +2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 00 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 0x2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
        "PROXY TCP6 [::1] [::1] 1 2\r\n",
        "PROXY TCP6 :::1 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
        "PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n",
        "PROXY UNKNOWN a\nb\r\n",
        "PROXY UNKNOWN a\rb\r\n",
    ];
    for line in lines {
        assert_eq!(parse(line.as_bytes()), Err(HeaderError::Malformed), "{line:?}");
    }
}

#[test]
fn a_line_has_107_bytes_at_most() {
    let start = b"PROXY UNKNOWN ";
    let line = |bytes: usize| [start, &[b'x'; 200][..bytes - 16], b"\r\n"].concat();
    assert_eq!(parse(&line(107)).unwrap().unwrap().consumed, 107);
    for bytes in [108, 109, 200] {
        assert_eq!(parse(&line(bytes)), Err(HeaderError::TooLong), "{bytes}");
    }
    assert_eq!(parse(&line(108)[..106]), Ok(None));
    assert_eq!(parse(&line(108)[..107]), Err(HeaderError::TooLong));
}

#[test]
fn version_2_names_both_ends_of_every_family() {
    let mut ipv6 = [0; 36];
    ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    (ipv6[15], ipv6[31]) = (1, 2);
    ipv6[32..].copy_from_slice(&[0, 80, 1, 0xbb]);
    let four = Some("192.0.2.1:4711 198.51.100.2:443");
    let six = Some("[2001:db8::1]:80 [::2]:443");
    let table = [
        (0x21, 0x11, &IPV4[..], four),
        (0x21, 0x12, &IPV4, four),
        (0x21, 0x21, &ipv6, six),
        (0x21, 0x22, &ipv6, six),
        (0x21, 0x31, &[b'/'; 216], None),
        (0x21, 0x32, &[b'/'; 216], None),
        (0x21, 0x00, &[], None),
        (0x20, 0x00, &[], None),
        (0x20, 0x11, &IPV4, None),
        (0x20, 0x11, b"short", None),
    ];
    for (command, family, rest, ends) in table {
        assert_eq!(ends_of(&v2(command, family, rest)).as_deref(), ends, "{command} {family:x}");
    }
}

#[test]
fn version_2_is_refused_where_it_is_not_as_specified() {
    use HeaderError::{Checksum, Malformed, TooLong};
    let crc = tlv(0x03, &[0; 4]);
    let good = signed(ipv4_with(std::slice::from_ref(&crc)));
    let flipped = |at: usize| {
        let mut header = good.clone();
        header[at] ^= 1;
        header
    };
    let table = [
        (v2(0x11, 0x11, &IPV4), Malformed),
        (v2(0x31, 0x11, &IPV4), Malformed),
        (v2(0x22, 0x11, &IPV4), Malformed),
        (v2(0x21, 0x13, &IPV4), Malformed),
        (v2(0x21, 0x01, &IPV4), Malformed),
        (v2(0x21, 0x10, &IPV4), Malformed),
        (v2(0x21, 0x41, &IPV4), Malformed),
        (v2(0x21, 0x11, &IPV4[..11]), Malformed),
        (v2(0x21, 0x21, &IPV4), Malformed),
        (v2(0x21, 0x31, &[0; 215]), Malformed),
        (v2(0x21, 0x11, &[0; V2_REST_BYTES_MAX + 1]), TooLong),
        (v2(0x20, 0x00, &[0; V2_REST_BYTES_MAX + 1]), TooLong),
        (ipv4_with(&[alloc::vec![4]]), Malformed),
        (ipv4_with(&[alloc::vec![4, 0]]), Malformed),
        (ipv4_with(&[alloc::vec![4, 0, 1]]), Malformed),
        (ipv4_with(&[tlv(0x05, &[0; 129])]), Malformed),
        (ipv4_with(&[tlv(0x05, b"a"), tlv(0x05, b"b")]), Malformed),
        (ipv4_with(&[tlv(0x05, b"a"), tlv(0x05, b"a")]), Malformed),
        (ipv4_with(&[tlv(0x02, b"a"), tlv(0x02, b"b")]), Malformed),
        (signed(ipv4_with(&[tlv(0x03, b""), crc.clone()])), Malformed),
        (ipv4_with(&[tlv(0x03, &[0; 3])]), Malformed),
        (ipv4_with(&[tlv(0x03, &[0; 5])]), Malformed),
        (ipv4_with(&[crc]), Checksum),
        (flipped(16), Checksum),
        (flipped(27), Checksum),
        (flipped(good.len() - 1), Checksum),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), Malformed),
        (b"\x16\x03\x01".to_vec(), Malformed),
    ];
    for (bytes, error) in table {
        assert_eq!(parse(&bytes), Err(error), "{bytes:x?}");
    }
}

#[test]
fn what_else_the_sender_knows_is_told() {
    let header = ipv4_with(&[
        tlv(0x01, b"h2"),
        tlv(0x02, b"example.org"),
        tlv(0x05, b"0123"),
        tlv(0xe4, b""),
        tlv(0xe4, b"again"),
    ]);
    let tlvs = parse(&header).unwrap().unwrap().tlvs;
    assert_eq!(tlvs.authority(), Some(&b"example.org"[..]));
    assert_eq!(tlvs.unique_id(), Some(&b"0123"[..]));
    assert_eq!(tlvs.iter().map(|tlv| tlv.kind).collect::<Vec<_>>(), [1, 2, 5, 0xe4, 0xe4]);
    let header = v2(0x20, 0x11, &header[16..]);
    let tlvs = parse(&header).unwrap().unwrap().tlvs;
    assert_eq!(tlvs.unique_id(), None, "the sender speaks for itself");
}

#[test]
fn the_checksum_may_stand_anywhere_and_covers_everything() {
    // Not made by our own code.
    let header = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x18"[..],
        &IPV4,
        b"\x03\x00\x04\x6e\x7b\x4d\x24",
        b"\x05\x00\x02id",
    ]
    .concat();
    assert_eq!(parse(&header).unwrap().unwrap().consumed, header.len());
}

#[test]
fn however_it_is_cut_a_header_means_the_same() {
    for header in valid() {
        let whole = [&header[..], BEHIND].concat();
        let meant = parse(&whole).unwrap().unwrap();
        assert_eq!(meant.consumed, header.len());
        for cut in 0..whole.len() {
            let part = parse(&whole[..cut]);
            if cut < header.len() {
                assert_eq!(part, Ok(None), "{cut} of {header:x?}");
            } else {
                assert_eq!(part, Ok(Some(meant)), "{cut} of {header:x?}");
            }
        }
    }
}

#[test]
fn whatever_is_changed_the_answer_is_the_same_for_every_cut() {
    let mut rng = Rng::seeded(0x9a);
    let mut errors = 0;
    for header in valid() {
        for _ in 0..200 {
            let mut mutant = [&header[..], BEHIND].concat();
            for _ in 0..=rng.below(2) {
                let at = rng.below(mutant.len().min(64) as u32) as usize;
                mutant[at] ^= 1 << rng.below(8);
            }
            let whole = parse(&mutant);
            errors += u32::from(whole.is_err());
            for cut in 0..mutant.len().min(300) {
                let part = parse(&mutant[..cut]);
                assert!(part == Ok(None) || part == whole, "{cut} of {mutant:x?}");
            }
        }
    }
    assert!(errors > 1000, "{errors}");
}

#[test]
fn what_we_write_is_read_as_what_was_meant() {
    let table = [
        ("192.0.2.1:4711", "198.51.100.2:443", "192.0.2.1:4711 198.51.100.2:443"),
        ("[2001:db8::1]:80", "[::1]:0", "[2001:db8::1]:80 [::1]:0"),
        ("192.0.2.1:1", "[2001:db8::2]:2", "[::ffff:192.0.2.1]:1 [2001:db8::2]:2"),
        ("[2001:db8::2]:2", "192.0.2.1:1", "[2001:db8::2]:2 [::ffff:192.0.2.1]:1"),
    ];
    for (source, destination, meant) in table {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let mut out = Vec::new();
        write(Some(Ends { source, destination }), &mut out);
        assert_eq!(ends_of(&out).as_deref(), Some(meant));
    }
    let mut out = Vec::new();
    write(None, &mut out);
    assert_eq!(out, v2(0x20, 0, &[]));
}
