//! What an exchange gets to see of a connection.

use std::io;
use std::task::{Context, Poll, ready};

use evergate_core::head::{ResponseHead, Version};
use tokio::net::TcpStream;

use super::Connection;
use crate::client::Client;
use crate::http1::forward::{self, Length, ResponsePlan};
use crate::http1::incoming::{Fault, Progress};
use crate::http1::outgoing::Framing;
use crate::reject::ClientFault;
use crate::timers::Timer;
use crate::wire::{Unsent, Wire};

impl Client for Connection {
    type Side = Wire;

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<Progress, ClientFault>> {
        let (received, received_max) = (&mut self.received, self.received_max);
        let mut too_large = false;
        let taken = self.incoming.poll_body(cx, &mut self.wire, &self.shard.buffers, |data| {
            *received += data.len() as u64;
            too_large |= *received > received_max;
            if !too_large {
                sink(data);
            }
        });
        let taken = ready!(taken);
        if too_large {
            return Poll::Ready(Err(ClientFault::BodyTooLarge));
        }
        Poll::Ready(taken.map_err(|fault| match fault {
            Fault::Wire => ClientFault::Gone,
            Fault::Framing(error) => ClientFault::Body(error),
        }))
    }

    fn trailers(&self) -> &[u8] {
        self.incoming.trailers()
    }

    fn body_is_done(&self) -> bool {
        self.incoming.is_done()
    }

    fn inform(&mut self, head: &ResponseHead) {
        // An HTTP/1.0 client knows no interim responses (RFC 9110, 15.2).
        if self.version != Version::Http10 {
            forward::write_interim(self.outgoing.begin(&self.shard.buffers, Framing::None), head);
        }
    }

    fn ask_for_body(&mut self) {
        let out = self.outgoing.begin(&self.shard.buffers, Framing::None);
        out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    fn begin(&mut self, plan: &ResponsePlan<'_>) {
        self.begun = true;
        let ends_by_closing = plan.length == Length::Unknown && self.version == Version::Http10;
        if plan.close || ends_by_closing || self.is_leaving() {
            self.keep_alive = false;
        }
        let framing = match plan.length {
            _ if plan.bodyless || self.bodyless => Framing::None,
            Length::Absent => Framing::None,
            Length::Unknown if self.version != Version::Http10 => Framing::Chunked,
            Length::Unknown | Length::Sized(_) => Framing::Identity,
        };
        self.ends_open = ends_by_closing && framing == Framing::Identity;
        let shard = &self.shard;
        let out = self.outgoing.begin(&shard.buffers, framing);
        forward::write_response(out, plan, self.version, self.keep_alive, || shard.date.now());
    }

    fn push(&mut self, data: &[u8]) {
        self.outgoing.push(data);
    }

    fn finish(&mut self, trailers: &[u8]) {
        self.outgoing.finish(trailers);
        self.ends_open = false;
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn unsent(&self) -> usize {
        self.outgoing.unsent.len()
    }

    fn undelivered(&self) -> u64 {
        self.wire.undelivered()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.wire.poll_flush(cx, &mut self.outgoing.unsent))?;
        self.outgoing.rest(&self.shard.buffers);
        Poll::Ready(Ok(()))
    }

    fn splice_target(&mut self) -> Option<&TcpStream> {
        self.wire.plaintext().filter(|_| self.outgoing.is_identity())
    }

    fn tunnel(&mut self) -> Option<(&mut Wire, Vec<u8>, &mut Unsent)> {
        // Whatever happens to the tunnel, nothing else can follow on this connection.
        self.keep_alive = false;
        let early = self.incoming.take_unused();
        Some((&mut self.wire, early, &mut self.outgoing.unsent))
    }

    fn timer(&self) -> &Timer {
        &self.timer
    }
}
