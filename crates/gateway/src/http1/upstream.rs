//! A connection to a server that speaks HTTP/1.

use std::io;
use std::task::{Context, Poll, ready};

use evergate_core::head::{Method, ResponseHead};
use evergate_core::http1::{self, Response};
use evergate_core::time::Instant;

use crate::buffers::Buffers;
use crate::http1::incoming::{Fault, Incoming, Progress};
use crate::http1::outgoing::Outgoing;
use crate::upstream::HeadFault;
use crate::wire::Wire;

/// Bounds on what a server may send as a head.
const LIMITS: http1::Limits =
    http1::Limits { head_bytes_max: 64 * 1024, fields_max: 200, uri_bytes_max: 0 };
/// Read at most this much in search of a head: what follows it is copied once more.
const HEAD_READ_BYTES: usize = 16 * 1024;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) wire: Wire,
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    /// Whether a request was answered on it before.
    pub(crate) reused: bool,
    /// When it was last put aside.
    pub(crate) idle_since: Instant,
}

impl Upstream {
    /// A connection that no request was sent on yet.
    pub(crate) fn new(wire: Wire) -> Self {
        Self {
            wire,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            reused: false,
            idle_since: Instant::EPOCH,
        }
    }

    /// Whether request and response are over and nothing is left of either, so that another
    /// request may follow.
    pub(crate) fn is_clean(&self) -> bool {
        self.incoming.unused().is_empty()
            && self.incoming.is_done()
            && self.outgoing.unsent.is_empty()
    }

    /// Waits for the next response head, interim ones included, and expects its body.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        method: Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<Response, HeadFault>> {
        if !self.incoming.unused().is_empty()
            && let Some(response) = parse(self.incoming.unused(), method, head)?
        {
            self.incoming.consume(buffers, response.consumed);
            self.incoming.expect(response.body);
            return Poll::Ready(Ok(response));
        }
        loop {
            let step =
                buffers.with_scratch(|scratch| self.read_head(cx, buffers, scratch, method, head));
            if let Some(response) = ready!(step)? {
                self.incoming.expect(response.body);
                return Poll::Ready(Ok(response));
            }
        }
    }

    /// Reads once; the head is parsed where it was read unless it comes in pieces.
    fn read_head(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        scratch: &mut [u8],
        method: Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<Option<Response>, HeadFault>> {
        let started = !self.incoming.unused().is_empty();
        let read = ready!(self.wire.poll_read(cx, &mut scratch[..HEAD_READ_BYTES]));
        let bytes = match read {
            Ok(0) | Err(_) => return Poll::Ready(Err(HeadFault::Closed { started })),
            Ok(count) => &scratch[..count],
        };
        if !started {
            let parsed = parse(bytes, method, head)?;
            let consumed = parsed.as_ref().map_or(0, |response| response.consumed);
            self.incoming.keep(buffers, &bytes[consumed..]);
            return Poll::Ready(Ok(parsed));
        }
        self.incoming.keep(buffers, bytes);
        let parsed = parse(self.incoming.unused(), method, head)?;
        if let Some(response) = &parsed {
            self.incoming.consume(buffers, response.consumed);
        }
        Poll::Ready(Ok(parsed))
    }

    /// Hands the next bytes of the response's body to `sink`.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Progress, Fault>> {
        self.incoming.poll_body(cx, &mut self.wire, buffers, sink)
    }

    /// Sends what is waiting.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        ready!(self.wire.poll_flush(cx, &mut self.outgoing.unsent))?;
        self.outgoing.rest(buffers);
        Poll::Ready(Ok(()))
    }
}

fn parse(
    bytes: &[u8],
    method: Method,
    head: &mut ResponseHead,
) -> Result<Option<Response>, HeadFault> {
    http1::parse_response(bytes, &LIMITS, method, head).map_err(|_| HeadFault::Malformed)
}
