//! The PROXY protocol's header.

use evergate_core::proxy_header::{Ends, HEADER_BYTES_MAX, V1_BYTES_MAX, parse, write};

/// What headers are made of.
pub(crate) const WORDS: &[&str] = &[
    "PROXY ",
    "TCP4 ",
    "TCP6 ",
    "UNKNOWN",
    "192.0.2.1 ",
    "2001:db8::1 ",
    "65535",
    "65536",
    "\r\n",
    "\r\n\r\n\0\r\nQUIT\n",
    "\x21\x11\0\x0c",
    "\x21\x21\0\x24",
    "\x20\0\0\0",
    "\x02\0\x01a",
    "\x03\0\x04",
    "\x05\0\x02id",
];

/// A header means the same however it is cut, nothing is held beyond its bounds, and the ends that
/// were read are read again from what we write.
pub fn proxy_header(input: &[u8]) {
    let whole = parse(input);
    for cut in 0..input.len().min(2 * V1_BYTES_MAX) {
        let part = parse(&input[..cut]);
        assert!(part == Ok(None) || part == whole, "{cut}: {part:?} and {whole:?}");
    }
    match whole {
        Ok(None) => assert!(input.len() < HEADER_BYTES_MAX, "it has to end"),
        Ok(Some(header)) => {
            assert!((15..=HEADER_BYTES_MAX).contains(&header.consumed));
            assert_eq!(parse(&input[..header.consumed - 1]), Ok(None), "the end is exact");
            assert_eq!(parse(&input[..header.consumed]), Ok(Some(header)));
            if let Some(ends) = header.ends {
                read_again(ends);
            }
        }
        Err(_) => {}
    }
}

fn read_again(ends: Ends) {
    let mut binary = Vec::new();
    write(Some(ends), &mut binary);
    let Ends { source, destination } = ends;
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let text = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
    for header in [binary, text.into_bytes()] {
        let again = parse(&header).expect("it was written by the rules").expect("it is whole");
        assert_eq!((again.ends, again.consumed), (Some(ends), header.len()));
    }
}
