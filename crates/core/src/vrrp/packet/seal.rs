//! Trailers that tell true adverts from forged and repeated ones, as keepalived's `auth_hmac`
//! (draft-cassen-vrrp-auth-hmac) has them.
//!
//! A trailer follows the message: scheme, number of the key, two bytes of zeros, a [`Stamp`] that
//! grows with time, and 16 bytes of an HMAC-SHA-256 over what is in front of them, the family, the
//! version, the VRID and the sender's address. There is no cryptography here: whoever calls hands
//! in a function that has the key. What must not be forgotten between two adverts is in [`Stamps`].

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::Version;
use super::are_equal;
use super::encode::CHECKSUM_AT;

/// Bytes behind the message.
pub const TRAILER_BYTES: usize = PREFIX_BYTES + MAC_BYTES;
/// Bytes of the HMAC-SHA-256 that are sent.
pub const MAC_BYTES: usize = 16;
/// The number of the key that is used: the only one there is.
pub const KEY_ID: u8 = 1;
/// Senders of one virtual router whose stamps are remembered; of more, those heard least recently
/// are forgotten.
pub const SENDERS_MAX: usize = 16;
/// Shortest time that a stamp may be off.
pub const WINDOW_MIN: Duration = Duration::from_secs(5);
/// Longest time that a stamp may be off.
pub const WINDOW_MAX: Duration = Duration::from_secs(300);

const PREFIX_BYTES: usize = 12;
/// HMAC-SHA-256, cut to 128 bits.
const SCHEME: u8 = 1;
/// In front of what is sealed: family, version, VRID, a zero, and the sender's address.
const SUBJECT_BYTES: usize = 20;

/// The first [`MAC_BYTES`] of an HMAC-SHA-256 over all parts, one after the other, by a key that
/// the function knows.
pub type Mac<'a> = &'a dyn Fn(&[&[u8]]) -> [u8; MAC_BYTES];

/// A point in time that no other advert of a sender has: seconds since 1970 in 32 bits, a fraction
/// in 16, a counter in 16. Compared as serial numbers (RFC 1982).
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
#[cbor(transparent)]
pub struct Stamp(#[n(0)] pub u64);

/// What a node remembers of stamps, its own and those of others, for one virtual router.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Stamps {
    #[n(0)]
    window: Duration,
    #[n(1)]
    sent: Option<Stamp>,
    /// Most recently heard last.
    #[n(2)]
    heard: Vec<(IpAddr, Stamp)>,
}

/// What an advert of ours is sealed with. All copies of one advert have the same stamp.
#[derive(Clone, Copy)]
pub struct Seal<'a> {
    /// From [`Stamps::next_stamp`].
    pub stamp: Stamp,
    /// Has the key.
    pub mac: Mac<'a>,
}

/// What a seal is checked with.
pub struct Unseal<'a> {
    /// Of the virtual router.
    pub stamps: &'a mut Stamps,
    /// Time since 1970.
    pub unix: Duration,
    /// Has the key.
    pub mac: Mac<'a>,
}

/// Why a trailer is not to be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Broken {
    /// There is none.
    Missing,
    /// Another scheme, or bits that must be zero.
    Malformed,
    /// Sealed with a key that has another number.
    Key(u8),
    /// Another key, or it was changed on its way.
    Mac,
    /// Its stamp is further off our clock than the window: by so many seconds, positive if it is
    /// old.
    Stale(i32),
    /// It, or a later one, was heard before.
    Repeated,
}

/// What is sealed beside the packet.
pub(super) struct Subject([u8; SUBJECT_BYTES]);

impl Subject {
    pub(super) fn new(version: Version, router_id: u8, source: IpAddr) -> Self {
        let version = match version {
            Version::V2 => 2,
            Version::V3 => 3,
        };
        let mut bytes = [0; SUBJECT_BYTES];
        bytes[1] = version;
        bytes[2] = router_id;
        match source {
            IpAddr::V4(address) => {
                bytes[0] = 4;
                bytes[4..8].copy_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                bytes[0] = 6;
                bytes[4..].copy_from_slice(&address.octets());
            }
        }
        Self(bytes)
    }

    /// Over `sealed`, which ends in front of the MAC. The checksum is read as zero, since it is
    /// the kernel's to fill in.
    fn mac(&self, mac: Mac<'_>, sealed: &[u8]) -> [u8; MAC_BYTES] {
        let (before, rest) = sealed.split_at(CHECKSUM_AT);
        mac(&[&self.0, before, &[0; 2], &rest[2..], &[0; MAC_BYTES]])
    }
}

impl Seal<'_> {
    /// Appends a trailer to the message that begins at `start` of `packet`.
    pub(super) fn append(&self, subject: &Subject, start: usize, packet: &mut Vec<u8>) {
        packet.extend([SCHEME, KEY_ID, 0, 0]);
        packet.extend(self.stamp.0.to_be_bytes());
        let mac = subject.mac(self.mac, &packet[start..]);
        packet.extend(mac);
    }
}

impl Unseal<'_> {
    /// Whether the trailer, behind `message_bytes` bytes of `packet`, is there and true.
    pub(super) fn check(
        self,
        subject: &Subject,
        packet: &[u8],
        message_bytes: usize,
        source: IpAddr,
    ) -> Result<(), Broken> {
        let Some(trailer) = packet[message_bytes..].first_chunk::<TRAILER_BYTES>() else {
            return Err(Broken::Missing);
        };
        let (&[scheme, key, zero, zero_too, ref stamp @ ..], their_mac) =
            trailer.split_first_chunk::<PREFIX_BYTES>().ok_or(Broken::Missing)?;
        if (scheme, zero, zero_too) != (SCHEME, 0, 0) {
            return Err(Broken::Malformed);
        }
        let stamp = Stamp(u64::from_be_bytes(*stamp));
        // Before the MAC, so that a flood of old adverts costs little; nothing is learned from it.
        self.stamps.check_window(stamp, self.unix)?;
        if key != KEY_ID {
            return Err(Broken::Key(key));
        }
        let our_mac = subject.mac(self.mac, &packet[..message_bytes + PREFIX_BYTES]);
        if !are_equal(&our_mac, their_mac) {
            return Err(Broken::Mac);
        }
        self.stamps.admit(source, stamp, self.unix)
    }
}

impl Stamps {
    /// Nothing sent or heard yet. Stamps may be off by three `interval`s, at least
    /// [`WINDOW_MIN`], at most [`WINDOW_MAX`].
    pub fn new(interval: Duration) -> Self {
        let window = interval.saturating_mul(3).clamp(WINDOW_MIN, WINDOW_MAX);
        Self { window, sent: None, heard: Vec::new() }
    }

    /// With another interval, but what was sent and heard before.
    pub fn set_interval(&mut self, interval: Duration) {
        self.window = Self::new(interval).window;
    }

    /// A stamp for the next advert of ours, `unix` after 1970.
    pub fn next_stamp(&mut self, unix: Duration) -> Stamp {
        let clock = Stamp::at(unix);
        let next = match self.sent {
            // A clock that was set back for good: receivers believe the clock, not old stamps.
            Some(sent) if sent.seconds_after(clock) > self.window_seconds() => clock,
            Some(sent) if !clock.is_after(sent) => Stamp(sent.0.wrapping_add(1)),
            Some(_) | None => clock,
        };
        self.sent = Some(next);
        next
    }

    fn check_window(&self, stamp: Stamp, unix: Duration) -> Result<(), Broken> {
        let age = Stamp::at(unix).seconds_after(stamp);
        let window = self.window_seconds();
        if (-window..=window).contains(&age) { Ok(()) } else { Err(Broken::Stale(age)) }
    }

    /// Remembers a stamp whose seal is true, unless it is no newer than what was heard before.
    fn admit(&mut self, source: IpAddr, stamp: Stamp, unix: Duration) -> Result<(), Broken> {
        if let Some(at) = self.heard.iter().position(|(known, _)| *known == source) {
            let (_, last) = self.heard[at];
            // What is outside the window orders only what the window refuses anyway: a sender
            // whose clock was set back is believed again.
            let is_current = self.check_window(last, unix).is_ok();
            if is_current && !stamp.is_after(last) {
                return Err(Broken::Repeated);
            }
            self.heard.remove(at);
        } else if self.heard.len() >= SENDERS_MAX {
            self.heard.remove(0);
        }
        self.heard.push((source, stamp));
        Ok(())
    }

    fn window_seconds(&self) -> i32 {
        i32::try_from(self.window.as_secs()).unwrap_or(i32::MAX)
    }
}

impl Stamp {
    /// That of a clock.
    fn at(unix: Duration) -> Self {
        let fraction = (u64::from(unix.subsec_nanos()) << 16) / 1_000_000_000;
        Self(unix.as_secs() << 32 | fraction << 16)
    }

    /// RFC 1982 section 3.2.
    const fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    /// By how many whole seconds it is later than another.
    const fn seconds_after(self, other: Self) -> i32 {
        let (ours, theirs) = ((self.0 >> 32) as u32, (other.0 >> 32) as u32);
        ours.wrapping_sub(theirs).cast_signed()
    }
}

impl fmt::Debug for Seal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

impl fmt::Debug for Unseal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unseal").field("unix", &self.unix).finish_non_exhaustive()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it has no HMAC"),
            Self::Malformed => f.write_str("its trailer is none that is known"),
            Self::Key(number) => write!(f, "its HMAC is by an unknown key: {number}"),
            Self::Mac => f.write_str("its HMAC is wrong"),
            Self::Stale(seconds) => write!(f, "its clock is too far from ours: {seconds} s"),
            Self::Repeated => f.write_str("it, or a later one, was heard before"),
        }
    }
}

impl Error for Broken {}
