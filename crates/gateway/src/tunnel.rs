//! Two connections joined after a protocol upgrade: bytes go through as they come.
//!
//! A tunnel has no deadline, only a longest silence. Either side may end its half; the other half
//! goes on. When the thread drains, the tunnel goes on until the drain deadline ends the process.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use evergate_core::time::Instant;
use evergate_sys::clock;

use crate::buffers::{Buffers, SCRATCH_BYTES};
use crate::client::Client;
use crate::shard::Shard;
use crate::timers::Timer;
use crate::upstream::Upstream;
use crate::wire::{Unsent, Wire};

/// One end of a tunnel.
pub(crate) trait Side {
    /// Reads into `buffer`; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Sends all of `unsent`; what is left stays for the next call.
    fn poll_flush(&mut self, cx: &mut Context<'_>, unsent: &mut Unsent) -> Poll<io::Result<()>>;

    /// Says that nothing more will be sent.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Side for Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read(cx, buffer)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, unsent: &mut Unsent) -> Poll<io::Result<()>> {
        self.poll_flush(cx, unsent)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_shutdown(cx)
    }
}

/// Bytes that went through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) from_client: u64,
    pub(crate) to_client: u64,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    unsent: Unsent,
    ended: bool,
    shut: bool,
    moved: u64,
}

/// Joins `client` and `upstream` until both have ended, one has failed, or neither has said
/// anything for `idle_max`.
pub(crate) async fn run<C: Client>(
    shard: &Shard,
    client: &mut C,
    upstream: Upstream,
    idle_max: Duration,
) -> Moved {
    let timer = shard.timers.timer();
    let mut up = Half::default();
    let mut down = Half::default();
    {
        let Some((_, early, unsent)) = client.tunnel() else { return Moved::default() };
        up.unsent.bytes = early;
        up.moved = up.unsent.len() as u64;
        std::mem::swap(&mut down.unsent, unsent);
    }
    let Some((mut server, early)) = upstream.into_tunnel() else { return Moved::default() };
    down.moved = early.len() as u64;
    down.unsent.bytes.extend_from_slice(&early);

    let mut moved_at = clock::now();
    timer.set(moved_at + idle_max);
    poll_fn(|cx| {
        let Some((wire, ..)) = client.tunnel() else { return Poll::Ready(()) };
        let before = up.moved + down.moved;
        let up_is_over = up.poll(cx, &shard.buffers, wire, &mut server);
        let down_is_over = down.poll(cx, &shard.buffers, &mut server, wire);
        if up.moved + down.moved != before {
            moved_at = clock::now();
        }
        match (up_is_over, down_is_over) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            (Poll::Ready(Err(())), _) | (_, Poll::Ready(Err(()))) => Poll::Ready(()),
            (Poll::Pending, _) | (_, Poll::Pending) => {
                poll_silence(cx, &timer, moved_at + idle_max)
            }
        }
    })
    .await;
    Moved { from_client: up.moved, to_client: down.moved }
}

/// Ready when the silence has lasted until `until`.
fn poll_silence(cx: &Context<'_>, timer: &Timer, until: Instant) -> Poll<()> {
    while timer.poll_elapsed(cx).is_ready() {
        if clock::now() >= until {
            return Poll::Ready(());
        }
        timer.set(until);
    }
    Poll::Pending
}

impl Half {
    /// Moves bytes until one side has to be waited for; ready when this half has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        from: &mut impl Side,
        to: &mut impl Side,
    ) -> Poll<Result<(), ()>> {
        loop {
            match to.poll_flush(cx, &mut self.unsent) {
                Poll::Ready(Ok(())) => buffers.give(std::mem::take(&mut self.unsent.bytes)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                Poll::Pending => return Poll::Pending,
            }
            if self.ended {
                if !self.shut {
                    match to.poll_shutdown(cx) {
                        Poll::Ready(Ok(())) => self.shut = true,
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                return Poll::Ready(Ok(()));
            }
            let unsent = &mut self.unsent;
            let read = buffers.with_scratch(|scratch| {
                debug_assert_eq!(scratch.len(), SCRATCH_BYTES);
                from.poll_read(cx, scratch).map_ok(|count| {
                    if count > 0 {
                        unsent.bytes = buffers.take();
                        unsent.bytes.extend_from_slice(&scratch[..count]);
                    }
                    count
                })
            });
            match read {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(count)) => self.moved += count as u64,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
