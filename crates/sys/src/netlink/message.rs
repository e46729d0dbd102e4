//! The form of what is said over netlink (RFC 3549 section 2): messages of a head and attributes.

/// Length, kind, flags, sequence number, port.
pub(super) const HEAD_BYTES: usize = 16;
const ATTRIBUTE_HEAD_BYTES: usize = 4;
/// Messages and attributes begin at multiples of it.
const ALIGNMENT: usize = 4;
/// Two bits of an attribute's kind say how its data is to be read; none here needs that.
const KIND_MASK: u16 = 0x3fff;

/// A message to be sent: head, fixed part, attributes.
#[derive(Debug)]
pub(super) struct Draft(Vec<u8>);

impl Draft {
    /// Begins a message of this kind with its fixed part.
    pub(super) fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        // All that are used are of 16 bits (linux/netlink.h).
        bytes[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
        bytes.extend(fixed);
        Self(bytes)
    }

    /// Appends an attribute.
    pub(super) fn attribute(mut self, kind: u16, data: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        let length = (ATTRIBUTE_HEAD_BYTES + data.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(data);
        self
    }

    /// The message, without a sequence number.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// Numbers a message.
pub(super) fn set_sequence(message: &mut [u8], sequence: u32) {
    if let Some(place) = message.get_mut(8..12) {
        place.copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// Whom it answers, or on whose behalf it is said.
    pub(super) port: u32,
    /// All that follows the head.
    pub(super) body: &'a [u8],
}

/// The messages in a datagram, up to the first that is not in order.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            port: u32_at(bytes, 12)?,
            body: bytes.get(HEAD_BYTES..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a message behind its fixed part, up to the first that is not in order.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & KIND_MASK;
        let data = bytes.get(ATTRIBUTE_HEAD_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// A number of the machine's byte order.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number of the machine's byte order.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A string that ends with NUL.
pub(super) fn text(data: &[u8]) -> String {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drafted_is_read_back() {
        let draft = Draft::new(20, 5, &[1, 2, 3, 4]).attribute(3, b"eth0\0").attribute(4, &[7]);
        let mut bytes = draft.finish();
        set_sequence(&mut bytes, 99);
        assert_eq!(bytes.len(), 16 + 4 + 12 + 8);
        let twice = bytes.repeat(2);
        let read: Vec<_> = messages(&twice).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].kind, read[1].flags, read[1].sequence), (20, 5, 99));
        let read: Vec<_> = attributes(&read[0].body[4..]).collect();
        assert_eq!(read, [(3, &b"eth0\0"[..]), (4, &[7][..])]);
        assert_eq!(text(read[0].1), "eth0");
    }

    #[test]
    fn nothing_that_is_received_is_too_strange_to_be_read() {
        let bytes = Draft::new(20, 5, &[]).attribute(3, b"eth0\0").finish();
        for length in 0..bytes.len() {
            assert_eq!(messages(&bytes[..length]).count(), 0);
            assert_eq!(attributes(&bytes[16..][..length.min(8)]).count(), 0);
        }
        for length in [0u32, 1, 15, u32::MAX] {
            let mut bytes = bytes.clone();
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&bytes).count(), 0);
        }
        assert_eq!(attributes(&[0, 0, 0, 0, 1, 0]).count(), 0);
        set_sequence(&mut [0; 3], 1);
    }
}
