//! One request and its response, on a stream of a session.
//!
//! Whoever drops this before both are over resets the stream: `h2` says CANCEL for it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use evergate_core::head::{Method, ResponseHead};
use evergate_core::http1::{Body, Response};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};

use crate::http1::forward::RequestPlan;
use crate::http1::incoming::{Fault, Progress};
use crate::http2::forward;
use crate::http2::session::Lease;
use crate::reject::{ClientFault, UpstreamFault};
use crate::upstream::HeadFault;

/// Body bytes handed on at once; the client has to take them before there are more.
const BODY_BYTES_AT_ONCE: usize = 32 * 1024;

/// A stream that was lent for one request.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Until the first flush: only then it is known whether a body follows.
    request: Option<Request<()>>,
    unsent: BytesMut,
    /// Trailers of the request, once its body is complete.
    end: Option<HeaderMap>,
    sending: Option<SendStream<Bytes>>,
    receiving: Receiving,
    trailers: Vec<u8>,
    fault: Option<HeadFault>,
    // After the streams: what it counts is over once they are.
    lease: Lease,
}

#[derive(Debug)]
enum Receiving {
    /// Nothing was sent yet.
    Idle,
    Head(ResponseFuture),
    Body(RecvStream),
    /// All the data was handed on; trailers may follow.
    Data(RecvStream),
    Done,
}

impl Stream {
    /// A stream for one request.
    pub(crate) fn new(lease: Lease) -> Self {
        Self {
            request: None,
            unsent: BytesMut::new(),
            end: None,
            sending: None,
            receiving: Receiving::Idle,
            trailers: Vec::new(),
            fault: None,
            lease,
        }
    }

    /// Whether the session had streams before.
    pub(crate) fn is_reused(&self) -> bool {
        self.lease.reused
    }

    /// Prepares the head of the request.
    pub(crate) fn write_request(&mut self, plan: &RequestPlan<'_>) -> Result<(), ClientFault> {
        let scheme = if self.lease.is_secure() { "https" } else { "http" };
        self.request = Some(forward::request(plan, scheme)?);
        Ok(())
    }

    /// Appends bytes to the request's body.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.unsent.extend_from_slice(data);
    }

    /// Ends the request's body; `trailers` are whole lines.
    pub(crate) fn finish(&mut self, trailers: &[u8]) {
        self.end = Some(forward::trailers(trailers));
    }

    /// Bytes of the request's body waiting to go out.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Whether [`Stream::poll_flush`] has anything to do.
    pub(crate) fn wants_flush(&self) -> bool {
        self.request.is_some() || !self.unsent.is_empty() || self.end.is_some()
    }

    /// Hands what is waiting to the session, as far as the server lets us.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(request) = self.request.take() {
            self.open(request)?;
        }
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        while !self.unsent.is_empty() {
            sending.reserve_capacity(self.unsent.len());
            let mut capacity = sending.capacity();
            if capacity == 0 {
                capacity = match ready!(sending.poll_capacity(cx)) {
                    Some(Ok(capacity)) => capacity,
                    // The server wants no more of it.
                    Some(Err(_)) | None => {
                        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                    }
                };
            }
            let data = self.unsent.split_to(capacity.min(self.unsent.len())).freeze();
            let is_last =
                self.unsent.is_empty() && self.end.as_ref().is_some_and(HeaderMap::is_empty);
            sending.send_data(data, is_last).map_err(io::Error::other)?;
            if is_last {
                self.end = None;
            }
        }
        if let Some(trailers) = self.end.take() {
            let ended = match trailers.is_empty() {
                true => sending.send_data(Bytes::new(), true),
                false => sending.send_trailers(trailers),
            };
            ended.map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the head, with the end of the stream if nothing follows.
    fn open(&mut self, request: Request<()>) -> io::Result<()> {
        let is_whole = self.unsent.is_empty() && self.end.as_ref().is_some_and(HeaderMap::is_empty);
        match self.lease.open(request, is_whole) {
            Ok((response, sending)) => {
                self.receiving = Receiving::Head(response);
                self.sending = Some(sending);
                if is_whole {
                    self.end = None;
                }
                Ok(())
            }
            Err(error) => {
                // Nothing of it went out.
                let is_leaving = error.is_none_or(|error| error.is_go_away() || error.is_io());
                self.fault = Some(HeadFault::Refused { is_leaving });
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
    }

    /// Waits for the next response head, interim ones included.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<Response, HeadFault>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Err(fault));
        }
        let Receiving::Head(response) = &mut self.receiving else { return Poll::Pending };
        match ready!(response.poll_informational(cx)) {
            Some(Ok(interim)) => {
                forward::read_head(&interim.into_parts().0, head)?;
                return Poll::Ready(Ok(answer(Body::Empty)));
            }
            Some(Err(error)) => return Poll::Ready(Err(self.classify(&error))),
            None => {}
        }
        let responded = ready!(std::pin::Pin::new(response).poll(cx));
        let (parts, body) = match responded {
            Ok(response) => response.into_parts(),
            Err(error) => return Poll::Ready(Err(self.classify(&error))),
        };
        forward::read_head(&parts, head)?;
        let framing = forward::body(head, method, body.is_end_stream());
        self.receiving = Receiving::Body(body);
        Poll::Ready(Ok(answer(framing)))
    }

    /// Hands the next bytes of the response's body to `sink`, and lets the server send as many
    /// more: so a client that does not read makes the server wait.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        mut sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Progress, Fault>> {
        let mut taken = 0;
        while let Receiving::Body(body) = &mut self.receiving {
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    sink(&data);
                    taken += data.len();
                    // It fails on a stream that is over, which needs no window.
                    let _ = body.flow_control().release_capacity(data.len());
                }
                Poll::Ready(Some(Err(_))) if taken == 0 => return Poll::Ready(Err(Fault::Wire)),
                // It is said once more when what was taken is on its way.
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Ok(Progress::Data)),
                Poll::Ready(None) => self.end_data(),
                Poll::Pending if taken == 0 => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(Progress::Data)),
            }
            if taken >= BODY_BYTES_AT_ONCE {
                return Poll::Ready(Ok(Progress::Data));
            }
        }
        if taken > 0 {
            return Poll::Ready(Ok(Progress::Data));
        }
        if let Receiving::Data(body) = &mut self.receiving {
            let trailers = ready!(body.poll_trailers(cx)).map_err(|_| Fault::Wire)?;
            if let Some(trailers) = trailers {
                forward::write_trailers(&mut self.trailers, &trailers);
            }
            self.receiving = Receiving::Done;
        }
        Poll::Ready(Ok(Progress::Done))
    }

    /// Trailer lines of the response, once its body is complete.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Whether the end of the body is here already, so that it can go out with what is before it.
    pub(crate) fn has_kept(&self) -> bool {
        match &self.receiving {
            Receiving::Data(_) => true,
            Receiving::Body(body) => body.is_end_stream(),
            Receiving::Idle | Receiving::Head(_) | Receiving::Done => false,
        }
    }

    fn end_data(&mut self) {
        let before = std::mem::replace(&mut self.receiving, Receiving::Done);
        if let Receiving::Body(body) = before {
            self.receiving = Receiving::Data(body);
        }
    }

    fn classify(&self, error: &h2::Error) -> HeadFault {
        if error.is_remote() && error.is_go_away() {
            // RFC 9113, 6.8: streams above the last one named were not looked at; the others go on.
            return HeadFault::Refused { is_leaving: true };
        }
        match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_remote() => {
                HeadFault::Refused { is_leaving: false }
            }
            _ if self.lease.fault() == Some(UpstreamFault::NotHttp2) => HeadFault::NotHttp2,
            Some(_) if error.is_library() => HeadFault::Malformed,
            Some(_) if error.is_reset() => HeadFault::Reset,
            Some(_) | None => HeadFault::Closed { started: false },
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // RFC 9113, 8.1: the response is whole, the rest of the request is of no use.
        if matches!(self.receiving, Receiving::Done)
            && let Some(sending) = &mut self.sending
        {
            sending.send_reset(Reason::NO_ERROR);
        }
    }
}

const fn answer(body: Body) -> Response {
    Response { consumed: 0, body, keep_alive: true, upgrade: false, connection_names: false }
}
