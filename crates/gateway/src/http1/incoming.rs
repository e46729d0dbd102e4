//! The body that a connection receives, and whatever was read past it.

use std::task::{Context, Poll, ready};

use evergate_core::http1::{Body, BodyError, BodyReader};

use crate::buffers::Buffers;
use crate::wire::Wire;

/// What came of asking for more of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// Some bytes; there may be more.
    Data,
    /// The body is complete.
    Done,
}

/// Why a body cannot be received.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The socket failed, or ended within the body.
    Wire,
    /// The framing is broken.
    Framing(BodyError),
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Bytes read and not used yet: of the body, or of the next message.
    leftover: Vec<u8>,
    used: usize,
    reader: BodyReader,
}

impl Default for Incoming {
    fn default() -> Self {
        Self { leftover: Vec::new(), used: 0, reader: BodyReader::new(Body::Empty) }
    }
}

impl Incoming {
    /// Expects `body` next.
    pub(crate) fn expect(&mut self, body: Body) {
        self.reader = BodyReader::new(body);
    }

    /// Whether the expected body is complete.
    pub(crate) fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    /// Bytes of the body still to come, where its length is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.reader.remaining()
    }

    /// Trailer lines of a complete chunked body.
    pub(crate) fn trailers(&self) -> &[u8] {
        self.reader.trailers()
    }

    /// Bytes read and not used yet.
    pub(crate) fn unused(&self) -> &[u8] {
        &self.leftover[self.used..]
    }

    /// Keeps `bytes` for later, after what is kept already.
    pub(crate) fn keep(&mut self, buffers: &Buffers, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.leftover.capacity() == 0 {
            self.leftover = buffers.take();
        }
        // A client that always sends the start of one more request would make it grow for ever.
        self.leftover.drain(..std::mem::take(&mut self.used));
        self.leftover.extend_from_slice(bytes);
    }

    /// Takes the bytes read and not used yet.
    pub(crate) fn take_unused(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.leftover);
        bytes.drain(..std::mem::take(&mut self.used));
        bytes
    }

    /// Forgets the first `count` unused bytes; gives the buffer back once it is empty.
    pub(crate) fn consume(&mut self, buffers: &Buffers, count: usize) {
        self.used += count;
        if self.used == self.leftover.len() {
            self.used = 0;
            buffers.give(std::mem::take(&mut self.leftover));
        }
    }

    /// Counts `count` body bytes that were moved inside the kernel.
    pub(crate) fn skip(&mut self, count: u64) {
        self.reader.skip(count);
    }

    /// Hands the next bytes of the body to `sink`, from what is kept or else from `wire`.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
        buffers: &Buffers,
        sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Progress, Fault>> {
        if self.reader.is_done() {
            return Poll::Ready(Ok(Progress::Done));
        }
        if !self.leftover.is_empty() {
            let read = decode(&mut self.reader, &self.leftover[self.used..], sink);
            let (consumed, progress) = read.map_err(Fault::Framing)?;
            self.consume(buffers, consumed);
            return Poll::Ready(Ok(progress));
        }
        buffers.with_scratch(|scratch| {
            let count = ready!(wire.poll_read(cx, scratch)).map_err(|_| Fault::Wire)?;
            if count == 0 {
                return Poll::Ready(match self.reader.finish() {
                    Ok(()) => Ok(Progress::Done),
                    Err(_) => Err(Fault::Wire),
                });
            }
            let bytes = &scratch[..count];
            let (consumed, progress) =
                decode(&mut self.reader, bytes, sink).map_err(Fault::Framing)?;
            self.keep(buffers, &bytes[consumed..]);
            Poll::Ready(Ok(progress))
        })
    }

    /// Whether there is anything to decode without reading from the socket.
    pub(crate) fn has_kept(&self) -> bool {
        !self.leftover.is_empty() && !self.reader.is_done()
    }
}

/// Decodes all of `bytes` that belong to the body.
fn decode(
    reader: &mut BodyReader,
    bytes: &[u8],
    mut sink: impl FnMut(&[u8]),
) -> Result<(usize, Progress), BodyError> {
    let mut used = 0;
    while used < bytes.len() {
        let piece = reader.read(&bytes[used..])?;
        let data = &bytes[used + piece.data.start..used + piece.data.end];
        if !data.is_empty() {
            sink(data);
        }
        used += piece.consumed;
        if piece.done {
            return Ok((used, Progress::Done));
        }
    }
    Ok((used, Progress::Data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_not_kept() {
        let buffers = Buffers::new();
        let mut incoming = Incoming::default();
        incoming.keep(&buffers, b"0123456789");
        for _ in 0..1000 {
            incoming.consume(&buffers, 8);
            incoming.keep(&buffers, b"01234567");
        }
        assert_eq!(incoming.unused().len(), 10);
        assert_eq!(incoming.leftover.len(), 10);
    }
}
