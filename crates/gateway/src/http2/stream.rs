//! One stream of a client's connection: one request and its response.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use evergate_core::head::{Method, RequestHead, ResponseHead};
use evergate_core::http1::{Body, BodyError, RequestError};
use evergate_sys::clock;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use tokio::net::TcpStream;

use super::request::{self, Asked};
use super::response;
use super::server::Ending;
use crate::client::Client;
use crate::exchange::{self, Request};
use crate::http1::forward::ResponsePlan;
use crate::http1::incoming::Progress;
use crate::plan::Listener;
use crate::reject::{ClientFault, Reject};
use crate::shard::Shard;
use crate::timers::Timer;
use crate::tunnel::Side;
use crate::wire::Unsent;

/// How long a request that goes on after its response is read past.
const LINGER: Duration = Duration::from_secs(2);
/// How much of it.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// The client's side of one exchange over HTTP/2.
pub(super) struct Stream {
    shard: Rc<Shard>,
    channel: Channel,
    timer: Timer,
    /// The head of the response, until it is sent.
    head: Option<Response<()>>,
    begun: bool,
    finished: bool,
    bodyless: bool,
    /// Body bytes that `h2` has not taken yet.
    unsent: BytesMut,
    trailers_out: Option<HeaderMap>,
    received: u64,
    received_max: u64,
    trailers_in: Vec<u8>,
    /// What a tunnel has not sent.
    tunnel_unsent: Unsent,
}

/// The bytes of a stream, both ways.
pub(super) struct Channel {
    incoming: RecvStream,
    /// Data that came and did not fit.
    held: Bytes,
    /// Whether the client has said all it will.
    ended: bool,
    respond: SendResponse<Bytes>,
    /// Once the response has begun.
    outgoing: Option<SendStream<Bytes>>,
    /// Whether everything we say has been said.
    shut: bool,
}

/// A request that nobody serves yet.
pub(super) struct Opened {
    pub(super) ending: Ending,
    pub(super) request: http::Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
    pub(super) settings: Arc<Listener>,
}

/// Serves one request to its end. (Taken out here: handed over, it would take its room twice.)
pub(super) async fn serve(opened: &RefCell<Option<Opened>>) {
    let started = clock::now();
    let taken = opened.borrow_mut().take();
    let Some(Opened { ending, request, respond, settings }) = taken else { return };
    let connected = Rc::clone(ending.connected());
    let shard = Rc::clone(&connected.shard);
    let mut head = shard.buffers.take_request();
    let (mut stream, asked) = begin(&shard, request, respond, &settings, &mut head);
    let caller = &connected.caller;
    match asked {
        Ok(asked) => {
            stream.prepare(&head, asked.body, &settings);
            let request = Request {
                head: &head,
                body: asked.body,
                expect_continue: asked.expect_continue,
                upgrade: asked.upgrade,
                connection_names: false,
                started,
                caller,
                listener: &settings,
            };
            exchange::run(&shard, &mut stream, request).await;
        }
        Err(error) => {
            let reject = Reject::Client(ClientFault::Malformed(error));
            let head = Some(&head);
            exchange::refuse(&shard, &mut stream, head, caller, started, reject).await;
        }
    }
    stream.end().await;
    shard.buffers.give_request(head);
}

/// The client's side of a request, and what it asks.
fn begin(
    shard: &Rc<Shard>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    settings: &Listener,
    head: &mut RequestHead,
) -> (Stream, Result<Asked, RequestError>) {
    let (parts, incoming) = request.into_parts();
    let ended = incoming.is_end_stream();
    let key = || websocket_key(shard);
    let asked = request::read(&parts, ended, &settings.heads, head, key);
    (Stream::new(shard, incoming, ended, respond), asked)
}

/// A `Sec-WebSocket-Key`: 16 random bytes in base 64 (RFC 6455, 4.1).
fn websocket_key(shard: &Shard) -> [u8; 24] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut rng = shard.rng.borrow_mut();
    let bits = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    std::array::from_fn(|index| match index {
        // 128 bits are 21 digits and two bits more.
        0..21 => DIGITS[(bits >> (122 - 6 * index) & 63) as usize],
        21 => DIGITS[(bits << 4 & 63) as usize],
        _ => b'=',
    })
}

impl Stream {
    fn new(
        shard: &Rc<Shard>,
        incoming: RecvStream,
        ended: bool,
        respond: SendResponse<Bytes>,
    ) -> Self {
        Self {
            shard: Rc::clone(shard),
            channel: Channel {
                incoming,
                held: Bytes::new(),
                ended,
                respond,
                outgoing: None,
                shut: false,
            },
            timer: shard.timers.timer(),
            head: None,
            begun: false,
            finished: false,
            bodyless: false,
            unsent: BytesMut::new(),
            trailers_out: None,
            received: 0,
            received_max: 0,
            trailers_in: Vec::new(),
            tunnel_unsent: Unsent::default(),
        }
    }

    fn prepare(&mut self, head: &RequestHead, body: Body, settings: &Listener) {
        self.bodyless = head.method == Method::Head;
        self.received_max = if body == Body::Empty { 0 } else { settings.limits.body };
    }

    /// Ends the stream: tells the client if the response is not whole, and lets one that still sends
    /// read its response before it is told to stop (with NO_ERROR, by `h2`): some clients throw the
    /// response away when the reset comes first.
    async fn end(mut self) {
        if !self.channel.shut {
            match &mut self.channel.outgoing {
                Some(outgoing) => outgoing.send_reset(Reason::INTERNAL_ERROR),
                None => self.channel.respond.send_reset(Reason::CANCEL),
            }
            return;
        }
        if self.channel.ended || self.channel.incoming.is_end_stream() {
            return;
        }
        self.timer.set(clock::now() + LINGER);
        let mut rest = LINGER_BYTES_MAX;
        poll_fn(|cx| {
            loop {
                if self.timer.poll_elapsed(cx).is_ready() {
                    return Poll::Ready(());
                }
                match ready!(self.channel.incoming.poll_data(cx)) {
                    Some(Ok(data)) if data.len() < rest => {
                        rest -= data.len();
                        let _ = self.channel.incoming.flow_control().release_capacity(data.len());
                    }
                    // The windows stay shut, and the client stops by itself.
                    Some(Ok(_)) => rest = 0,
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    /// Sends the head, with the end of the stream if nothing follows it.
    fn send_head(&mut self, head: Response<()>) -> io::Result<()> {
        let is_all = self.finished && self.unsent.is_empty() && self.trailers_out.is_none();
        let outgoing = self.channel.respond.send_response(head, is_all).map_err(broken)?;
        self.channel.outgoing = Some(outgoing);
        self.channel.shut = is_all;
        Ok(())
    }
}

impl Client for Stream {
    type Side = Channel;

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<Progress, ClientFault>> {
        if self.channel.ended {
            return Poll::Ready(Ok(Progress::Done));
        }
        let incoming = &mut self.channel.incoming;
        match ready!(incoming.poll_data(cx)) {
            Some(Ok(data)) => {
                self.received += data.len() as u64;
                if self.received > self.received_max {
                    return Poll::Ready(Err(ClientFault::BodyTooLarge));
                }
                sink(&data);
                // Only what was taken is asked for again.
                let _ = incoming.flow_control().release_capacity(data.len());
                return Poll::Ready(Ok(Progress::Data));
            }
            Some(Err(error)) => return Poll::Ready(Err(fault(&error))),
            None => {}
        }
        if let Some(map) = ready!(incoming.poll_trailers(cx)).map_err(|error| fault(&error))? {
            request::write_trailers(&map, &mut self.trailers_in);
        }
        self.channel.ended = true;
        Poll::Ready(Ok(Progress::Done))
    }

    fn trailers(&self) -> &[u8] {
        &self.trailers_in
    }

    fn body_is_done(&self) -> bool {
        self.channel.ended
    }

    fn inform(&mut self, head: &ResponseHead) {
        // Whoever is gone need not be informed.
        let _ = self.channel.respond.send_informational(response::build_interim(head));
    }

    fn ask_for_body(&mut self) {
        let mut interim = Response::new(());
        *interim.status_mut() = http::StatusCode::CONTINUE;
        let _ = self.channel.respond.send_informational(interim);
    }

    fn begin(&mut self, plan: &ResponsePlan<'_>) {
        self.begun = true;
        self.bodyless |= plan.bodyless;
        self.head = Some(response::build(plan, || self.shard.date.value()));
    }

    fn push(&mut self, data: &[u8]) {
        if !self.bodyless {
            self.unsent.extend_from_slice(data);
        }
    }

    fn finish(&mut self, trailers: &[u8]) {
        self.finished = true;
        if !trailers.is_empty() && !self.bodyless {
            self.trailers_out = Some(response::trailers(trailers));
        }
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn unsent(&self) -> usize {
        self.unsent.len() + usize::from(self.head.is_some())
    }

    fn undelivered(&self) -> u64 {
        // What the socket holds is the connection's affair; a stream waits for its window.
        0
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(head) = self.head.take() {
            self.send_head(head)?;
        }
        let channel = &mut self.channel;
        let Some(outgoing) = &mut channel.outgoing else { return Poll::Ready(Ok(())) };
        while !self.unsent.is_empty() {
            let room = ready!(poll_room(outgoing, self.unsent.len(), cx))?;
            // Whole, it needs no counter of those who share it.
            let data = if room >= self.unsent.len() {
                std::mem::take(&mut self.unsent).freeze()
            } else {
                self.unsent.split_to(room).freeze()
            };
            let is_last = self.finished && self.unsent.is_empty() && self.trailers_out.is_none();
            outgoing.send_data(data, is_last).map_err(broken)?;
            channel.shut |= is_last;
        }
        if self.finished && !channel.shut {
            let sent = match self.trailers_out.take() {
                Some(trailers) => outgoing.send_trailers(trailers),
                None => outgoing.send_data(Bytes::new(), true),
            };
            sent.map_err(broken)?;
            channel.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let channel = &mut self.channel;
        let reset = match &mut channel.outgoing {
            Some(outgoing) => outgoing.poll_reset(cx),
            None => channel.respond.poll_reset(cx),
        };
        reset.map(|_| ())
    }

    fn splice_target(&mut self) -> Option<&TcpStream> {
        None
    }

    fn tunnel(&mut self) -> Option<(&mut Channel, Vec<u8>, &mut Unsent)> {
        if let Some(head) = self.head.take() {
            let outgoing = self.channel.respond.send_response(head, false).ok()?;
            self.channel.outgoing = Some(outgoing);
        }
        Some((&mut self.channel, Vec::new(), &mut self.tunnel_unsent))
    }

    fn timer(&self) -> &Timer {
        &self.timer
    }
}

impl Side for Channel {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.held.is_empty() && !self.ended {
            match ready!(self.incoming.poll_data(cx)) {
                Some(data) => self.held = data.map_err(broken)?,
                None => self.ended = true,
            }
        }
        let count = self.held.len().min(buffer.len());
        self.held.copy_to_slice(&mut buffer[..count]);
        let _ = self.incoming.flow_control().release_capacity(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, unsent: &mut Unsent) -> Poll<io::Result<()>> {
        let Some(outgoing) = &mut self.outgoing else { return Poll::Ready(Ok(())) };
        while !unsent.is_empty() {
            let room = ready!(poll_room(outgoing, unsent.len(), cx))?;
            let rest = unsent.rest();
            let data = Bytes::copy_from_slice(&rest[..room.min(rest.len())]);
            unsent.advance(data.len());
            outgoing.send_data(data, false).map_err(broken)?;
        }
        unsent.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(outgoing) = &mut self.outgoing
            && !std::mem::replace(&mut self.shut, true)
        {
            outgoing.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// Waits until the client's windows and `h2`'s buffer have room for some of `wanted` bytes.
fn poll_room(
    outgoing: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    outgoing.reserve_capacity(wanted);
    loop {
        let room = outgoing.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        match ready!(outgoing.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

/// Why a body does not come.
fn fault(error: &h2::Error) -> ClientFault {
    // A length that the DATA does not have, or data after the end.
    if error.is_library() { ClientFault::Body(BodyError::Truncated) } else { ClientFault::Gone }
}
