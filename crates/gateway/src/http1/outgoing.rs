//! The message that a connection sends: its head, then its body in the framing the head named.

use evergate_core::http1::chunk_header;

use crate::buffers::Buffers;
use crate::wire::Unsent;

/// How the end of an outgoing body is told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Framing {
    /// By its length, or by closing.
    #[default]
    Identity,
    /// By chunks.
    Chunked,
    /// There is none, whatever the head says (a response to HEAD, 204, 304).
    None,
}

/// The sending half of a connection.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Encoded and not sent yet.
    pub(crate) unsent: Unsent,
    framing: Framing,
}

impl Outgoing {
    /// Where to write a head whose body will have this framing.
    pub(crate) fn begin(&mut self, buffers: &Buffers, framing: Framing) -> &mut Vec<u8> {
        self.framing = framing;
        if self.unsent.bytes.capacity() == 0 {
            self.unsent.bytes = buffers.take();
        }
        &mut self.unsent.bytes
    }

    /// Appends body bytes.
    pub(crate) fn push(&mut self, data: &[u8]) {
        match self.framing {
            Framing::Identity => self.unsent.bytes.extend_from_slice(data),
            Framing::Chunked => {
                let mut header = [0; 18];
                let len = chunk_header(data.len(), &mut header);
                self.unsent.bytes.extend_from_slice(&header[..len]);
                self.unsent.bytes.extend_from_slice(data);
                self.unsent.bytes.extend_from_slice(b"\r\n");
            }
            Framing::None => {}
        }
    }

    /// Ends the body; `trailers` are whole lines.
    pub(crate) fn finish(&mut self, trailers: &[u8]) {
        match self.framing {
            Framing::Chunked => {
                self.unsent.bytes.extend_from_slice(b"0\r\n");
                self.unsent.bytes.extend_from_slice(trailers);
                self.unsent.bytes.extend_from_slice(b"\r\n");
            }
            Framing::Identity | Framing::None => {}
        }
    }

    /// Whether body bytes go out as they are, so that the kernel may move them.
    pub(crate) fn is_identity(&self) -> bool {
        self.framing == Framing::Identity
    }

    /// Gives the buffer back if everything went out.
    pub(crate) fn rest(&mut self, buffers: &Buffers) {
        if self.unsent.is_empty() {
            self.unsent.clear();
            buffers.give(std::mem::take(&mut self.unsent.bytes));
        }
    }
}
