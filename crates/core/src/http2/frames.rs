//! Where frames begin and end in a stream of bytes, however it is cut (4.1).

/// Bytes of a frame's header.
const HEADER_BYTES: usize = 9;
/// Bytes at the front of a payload that anybody looks at.
const LEAD_BYTES: usize = 4;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PUSH_PROMISE: u8 = 0x5;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The header of a frame, and the front of its payload where that matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    flags: u8,
    length: u32,
    pub(super) stream: u32,
    /// Of RST_STREAM the error code, of padded DATA the length of the padding.
    lead: [u8; LEAD_BYTES],
}

/// What the scanner came across.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// A frame has begun.
    Begun(Frame),
    /// The frame that began last is complete.
    Ended,
}

/// Follows the frames of one direction of a connection.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    /// The header, then the lead of the payload.
    front: [u8; HEADER_BYTES + LEAD_BYTES],
    held: usize,
    /// Bytes of the payload to come that nobody looks at.
    rest: usize,
    in_frame: bool,
}

impl Scanner {
    /// Starts after `preface` bytes that are no frame.
    pub(super) const fn new(preface: usize) -> Self {
        Self { front: [0; HEADER_BYTES + LEAD_BYTES], held: 0, rest: preface, in_frame: false }
    }

    /// Reads on; stops at the first error of `each`.
    pub(super) fn scan<E>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Part) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if self.rest > 0 {
                let passed = self.rest.min(bytes.len());
                self.rest -= passed;
                bytes = &bytes[passed..];
                if self.rest > 0 {
                    return Ok(());
                }
            }
            if core::mem::take(&mut self.in_frame) {
                each(Part::Ended)?;
            }
            let Some(frame) = self.take_front(&mut bytes) else { return Ok(()) };
            self.rest = frame.length as usize - frame.lead_len();
            self.held = 0;
            self.in_frame = true;
            each(Part::Begun(frame))?;
        }
    }

    /// Collects the header of a frame and what must be seen of its payload.
    fn take_front(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        if !self.fill(bytes, HEADER_BYTES) {
            return None;
        }
        let frame = Frame::parse(&self.front);
        if !self.fill(bytes, HEADER_BYTES + frame.lead_len()) {
            return None;
        }
        Some(Frame::parse(&self.front))
    }

    fn fill(&mut self, bytes: &mut &[u8], wanted: usize) -> bool {
        if self.held < wanted {
            let (now, later) = bytes.split_at(bytes.len().min(wanted - self.held));
            self.front[self.held..self.held + now.len()].copy_from_slice(now);
            self.held += now.len();
            *bytes = later;
        }
        self.held >= wanted
    }
}

impl Frame {
    fn parse(front: &[u8; HEADER_BYTES + LEAD_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3, lead @ ..] = *front;
        Self {
            kind,
            flags,
            length: u32::from_be_bytes([0, l0, l1, l2]),
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            lead,
        }
    }

    /// How much of the payload is looked at.
    fn lead_len(&self) -> usize {
        let wanted = match self.kind {
            RST_STREAM => LEAD_BYTES,
            DATA if self.flags & PADDED != 0 => 1,
            _ => 0,
        };
        wanted.min(self.length as usize)
    }

    /// Of DATA: whether it carries no byte and does not end the stream either.
    pub(super) fn is_idle_data(&self) -> bool {
        let padding = if self.flags & PADDED != 0 { 1 + u32::from(self.lead[0]) } else { 0 };
        self.kind == DATA && self.length <= padding && !self.ends_stream()
    }

    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Of RST_STREAM: why.
    pub(super) fn error_code(&self) -> u32 {
        u32::from_be_bytes(self.lead)
    }
}
