//! The server's side of one attempt, whatever protocol the server speaks.
//!
//! An enum and not a trait: there are as many kinds as protocols, and a match costs nothing on the
//! path that every request takes. Whatever is larger than an HTTP/1 connection is boxed, so that
//! it takes no room in the futures of those who do not use it.

use std::io;
use std::task::{Context, Poll};

use evergate_core::head::{Method, ResponseHead};
use evergate_core::http1::Response;
use tokio::net::TcpStream;

use crate::buffers::Buffers;
use crate::http1;
use crate::http1::forward::{self, RequestPlan};
use crate::http1::incoming::{Fault, Progress};
use crate::http1::outgoing::Framing;
use crate::http2;
use crate::reject::ClientFault;
use crate::wire::Wire;

/// Who a request was sent to.
///
/// Calling order: one [`Upstream::write_request`], any number of [`Upstream::push`], one
/// [`Upstream::finish`], with nothing going out before [`Upstream::poll_flush`]; meanwhile
/// [`Upstream::poll_head`] until a head that is not interim, then [`Upstream::poll_body`].
#[derive(Debug)]
pub(crate) enum Upstream {
    /// A connection of its own.
    Http1(http1::upstream::Upstream),
    /// A stream of a connection that others use too.
    Http2(Box<http2::upstream::Stream>),
}

/// Why no response head came.
#[derive(Debug)]
pub(crate) enum HeadFault {
    /// The connection ended or failed. `started`: after some of the response.
    Closed {
        /// Whether any byte of it had come.
        started: bool,
    },
    /// It is not HTTP as we accept it.
    Malformed,
    /// The server did not look at the request. `is_leaving`: because it takes no more of them on
    /// this connection.
    Refused {
        /// Whether it would take the request on another connection.
        is_leaving: bool,
    },
    /// The server gave the request up.
    Reset,
    /// It does not speak HTTP/2.
    NotHttp2,
}

impl Upstream {
    /// Writes the head of the request, whose body will have this framing.
    pub(crate) fn write_request(
        &mut self,
        buffers: &Buffers,
        plan: &RequestPlan<'_>,
        framing: Framing,
    ) -> Result<(), ClientFault> {
        match self {
            Self::Http1(connection) => {
                forward::write_request(connection.outgoing.begin(buffers, framing), plan);
                Ok(())
            }
            Self::Http2(stream) => stream.write_request(plan),
        }
    }

    /// Appends bytes to the request's body.
    pub(crate) fn push(&mut self, data: &[u8]) {
        match self {
            Self::Http1(connection) => connection.outgoing.push(data),
            Self::Http2(stream) => stream.push(data),
        }
    }

    /// Ends the request's body; `trailers` are whole lines.
    pub(crate) fn finish(&mut self, trailers: &[u8]) {
        match self {
            Self::Http1(connection) => connection.outgoing.finish(trailers),
            Self::Http2(stream) => stream.finish(trailers),
        }
    }

    /// Bytes of the request waiting to go out.
    pub(crate) fn unsent(&self) -> usize {
        match self {
            Self::Http1(connection) => connection.outgoing.unsent.len(),
            Self::Http2(stream) => stream.unsent(),
        }
    }

    /// Whether [`Upstream::poll_flush`] has anything to do.
    pub(crate) fn wants_flush(&self) -> bool {
        match self {
            // An empty buffer is still to be given back.
            Self::Http1(connection) => connection.outgoing.unsent.bytes.capacity() > 0,
            Self::Http2(stream) => stream.wants_flush(),
        }
    }

    /// Sends what is waiting.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(connection) => connection.poll_flush(cx, buffers),
            Self::Http2(stream) => stream.poll_flush(cx),
        }
    }

    /// Waits for the next response head, interim ones included.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        method: Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<Response, HeadFault>> {
        match self {
            Self::Http1(connection) => connection.poll_head(cx, buffers, method, head),
            Self::Http2(stream) => stream.poll_head(cx, method, head),
        }
    }

    /// Hands the next bytes of the response's body to `sink`.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Progress, Fault>> {
        match self {
            Self::Http1(connection) => connection.poll_body(cx, buffers, sink),
            Self::Http2(stream) => stream.poll_body(cx, sink),
        }
    }

    /// Trailer lines of the response, once its body is complete.
    pub(crate) fn trailers(&self) -> &[u8] {
        match self {
            Self::Http1(connection) => connection.incoming.trailers(),
            Self::Http2(stream) => stream.trailers(),
        }
    }

    /// Whether [`Upstream::poll_body`] has bytes without waiting for the server.
    pub(crate) fn has_kept(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.incoming.has_kept(),
            Self::Http2(stream) => stream.has_kept(),
        }
    }

    /// Whether the server had a request on this connection before, so that it may have closed it
    /// before it saw this one.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.reused,
            Self::Http2(stream) => stream.is_reused(),
        }
    }

    /// The socket and how many bytes of the body are still to come, if the kernel may move them.
    pub(crate) fn splice_source(&self) -> Option<(&TcpStream, u64)> {
        match self {
            Self::Http1(connection) if !connection.incoming.has_kept() => {
                Some((connection.wire.plaintext()?, connection.incoming.remaining()?))
            }
            Self::Http1(_) | Self::Http2(_) => None,
        }
    }

    /// Counts body bytes that the kernel moved; says whether the body is complete.
    pub(crate) fn skip(&mut self, count: u64) -> bool {
        match self {
            Self::Http1(connection) => {
                connection.incoming.skip(count);
                connection.incoming.is_done()
            }
            // Nothing of it was for the kernel to move.
            Self::Http2(_) => false,
        }
    }

    /// The socket, what was read past the response, and no more: the server agreed to another
    /// protocol.
    pub(crate) fn into_tunnel(self) -> Option<(Wire, Vec<u8>)> {
        match self {
            Self::Http1(mut connection) => {
                let early = connection.incoming.take_unused();
                Some((connection.wire, early))
            }
            // No stream ever agrees to one.
            Self::Http2(_) => None,
        }
    }
}
