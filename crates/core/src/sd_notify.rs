//! What an app says about itself: the datagrams of sd_notify(3).
//!
//! Each is lines of `NAME=VALUE`. What the protocol knows and we have no use for (stored
//! descriptors, barriers) is passed over like a name that nobody knows: the protocol grows.

/// Longest datagram that is looked at, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Longest status that is taken in, in bytes; the rest is cut off.
pub const STATUS_BYTES_MAX: usize = 256;

/// One line of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said<'a> {
    /// `READY=1`: it serves, or is done with reloading.
    Ready,
    /// `RELOADING=1`: it reads its configuration again, and says [`Self::Ready`] after that.
    Reloading,
    /// `STOPPING=1`: it ends by itself.
    Stopping,
    /// `STATUS=`: what it does, for people. From outside: escape it where it is shown.
    Status(&'a str),
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `WATCHDOG=trigger`: it wants to count as hanging.
    Hangs,
    /// `MAINPID=`: the process that counts is another one. Whether to believe it is not decided
    /// here.
    MainPid(u32),
    /// `EXTEND_TIMEOUT_USEC=`: it needs so much longer for what it is at, in microseconds.
    Extend(u64),
}

/// What a datagram says, line by line. Never fails: what is not understood is not said.
pub fn parse(datagram: &[u8]) -> impl Iterator<Item = Said<'_>> {
    let bounded = &datagram[..datagram.len().min(MESSAGE_BYTES_MAX)];
    bounded.split(|&byte| byte == b'\n').filter_map(line)
}

fn line(line: &[u8]) -> Option<Said<'_>> {
    let end = line.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (&line[..end], &line[end + 1..]);
    match (name, value) {
        (b"READY", b"1") => Some(Said::Ready),
        (b"RELOADING", b"1") => Some(Said::Reloading),
        (b"STOPPING", b"1") => Some(Said::Stopping),
        (b"WATCHDOG", b"1") => Some(Said::Alive),
        (b"WATCHDOG", b"trigger") => Some(Said::Hangs),
        (b"STATUS", text) => status(text).map(Said::Status),
        (b"MAINPID", number) => decimal(number).filter(|&pid| pid > 1).map(Said::MainPid),
        (b"EXTEND_TIMEOUT_USEC", number) => decimal(number).map(Said::Extend),
        _ => None,
    }
}

/// The text before what is too long or is not UTF-8.
fn status(text: &[u8]) -> Option<&str> {
    let bounded = &text[..text.len().min(STATUS_BYTES_MAX)];
    let valid = match core::str::from_utf8(bounded) {
        Ok(_) => bounded.len(),
        Err(error) => error.valid_up_to(),
    };
    core::str::from_utf8(&bounded[..valid]).ok()
}

fn decimal<N: core::str::FromStr>(digits: &[u8]) -> Option<N> {
    // A sign would be taken, too.
    let is_plain = digits.first().is_some_and(u8::is_ascii_digit);
    is_plain.then(|| core::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::rng::Rng;

    fn said(datagram: &[u8]) -> Vec<Said<'_>> {
        parse(datagram).collect()
    }

    #[test]
    fn lines_are_taken_one_by_one() {
        assert_eq!(
            said(b"READY=1\nSTATUS=up = fine\nMAINPID=77\n"),
            [Said::Ready, Said::Status("up = fine"), Said::MainPid(77)]
        );
        assert_eq!(
            said(b"WATCHDOG=1\nWATCHDOG=trigger\nEXTEND_TIMEOUT_USEC=5000000\nSTOPPING=1"),
            [Said::Alive, Said::Hangs, Said::Extend(5_000_000), Said::Stopping]
        );
        assert_eq!(said(b"RELOADING=1\nMONOTONIC_USEC=1"), [Said::Reloading]);
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        for nothing in [
            &b""[..],
            b"=",
            b"READY",
            b"READY=",
            b"READY=0",
            b"READY=1 ",
            b" READY=1",
            b"ready=1",
            b"MAINPID=",
            b"MAINPID=0",
            b"MAINPID=1",
            b"MAINPID=+5",
            b"MAINPID=-5",
            b"MAINPID=99999999999",
            b"EXTEND_TIMEOUT_USEC=1s",
            b"FDSTORE=1\nBARRIER=1",
            b"\n\n\xff\xfe=\n",
        ] {
            assert_eq!(said(nothing), [], "{nothing:?}");
        }
    }

    #[test]
    fn a_status_is_cut_where_it_is_too_long_or_no_text() {
        assert_eq!(said(b"STATUS="), [Said::Status("")]);
        assert_eq!(said(b"STATUS=ab\xffcd"), [Said::Status("ab")]);
        let mut long = b"STATUS=".to_vec();
        long.extend("\u{e4}".as_bytes().repeat(STATUS_BYTES_MAX));
        let [Said::Status(text)] = said(&long)[..] else { panic!("one status") };
        assert_eq!(text.len(), STATUS_BYTES_MAX);
        long.insert(7, b'x');
        let [Said::Status(text)] = said(&long)[..] else { panic!("one status") };
        assert_eq!(text.len(), STATUS_BYTES_MAX - 1, "no half letter at the end");
        let mut far = [b'\n'; MESSAGE_BYTES_MAX].to_vec();
        far.extend(b"READY=1");
        assert_eq!(said(&far), [], "beyond the bound");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        const PARTS: [&[u8]; 9] =
            [b"READY=1", b"\n", b"=", b"STATUS=", b"MAINPID=", b"9", b"\0", b"\xc3", b"\xa4"];
        for seed in 0..2000 {
            let mut rng = Rng::seeded(seed);
            let mut bytes = Vec::new();
            for _ in 0..rng.below(40) {
                bytes.extend(PARTS[rng.below(PARTS.len() as u32) as usize]);
            }
            for one in parse(&bytes) {
                if let Said::Status(text) = one {
                    assert!(text.len() <= STATUS_BYTES_MAX, "seed {seed:#x}");
                }
            }
        }
    }
}
