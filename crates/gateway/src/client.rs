//! What an exchange needs of whoever asked, whatever protocol they speak.
//!
//! Bodies go in both directions at once: everything that may wait is a poll function, so that one
//! task can watch client and server together without holding buffers for either.

use std::io;
use std::task::{Context, Poll};

use evergate_core::head::ResponseHead;
use tokio::net::TcpStream;

use crate::http1::forward::ResponsePlan;
use crate::http1::incoming::Progress;
use crate::reject::ClientFault;
use crate::timers::Timer;
use crate::tunnel::Side;
use crate::wire::Unsent;

/// The client's side of one exchange.
///
/// Calling order: any number of [`Client::inform`], one [`Client::begin`], any number of
/// [`Client::push`], one [`Client::finish`]; nothing goes out before [`Client::poll_flush`].
pub(crate) trait Client {
    /// What a tunnel reads from and writes to.
    type Side: Side;

    /// Hands the next bytes of the request body to `sink`.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<Progress, ClientFault>>;

    /// Trailer lines of the request, once its body is complete.
    fn trailers(&self) -> &[u8];

    /// Whether the request body is complete.
    fn body_is_done(&self) -> bool;

    /// Passes an interim response on.
    fn inform(&mut self, head: &ResponseHead);

    /// Asks the client for the body it holds back (`100 Continue`).
    fn ask_for_body(&mut self);

    /// Writes the head of the response.
    fn begin(&mut self, plan: &ResponsePlan<'_>);

    /// Adds bytes to the response's body.
    fn push(&mut self, data: &[u8]);

    /// Ends the response's body.
    fn finish(&mut self, trailers: &[u8]);

    /// Whether a response has begun, so that no other can be sent.
    fn has_begun(&self) -> bool;

    /// Bytes waiting to go out.
    fn unsent(&self) -> usize;

    /// Bytes that went out and have not arrived: the kernel takes megabytes for a client that reads
    /// slowly, and takes no more until much of them is gone.
    fn undelivered(&self) -> u64;

    /// Sends what is waiting; ready when nothing is left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready once nobody waits for the response any more, where the protocol tells.
    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// The plaintext socket and what is still to go out on it, if response bytes may be moved by
    /// the kernel.
    fn splice_target(&mut self) -> Option<&TcpStream>;

    /// What to tunnel over after a protocol upgrade, what was read past the request (once),
    /// and what is still to go out.
    fn tunnel(&mut self) -> Option<(&mut Self::Side, Vec<u8>, &mut Unsent)>;

    /// The timer of this exchange.
    fn timer(&self) -> &Timer;
}
