//! Two connections joined after a protocol upgrade: bytes go through as they come.
//!
//! A tunnel has no deadline, only a longest silence. Either side may end its half; the other half
//! goes on.
//!
//! When its server is a run that drains, another process takes over from this one, or another machine
//! the address, a tunnel goes on for most of the time that the run, its route or the address has, and ends at a moment of its own within the
//! rest, so that clients do not all come back at once.
//! Where the bytes are WebSocket frames, both ends are told so between two frames, and get a moment
//! to say goodbye. When the run has died, the client is told.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use evergate_core::head::{Name, ResponseHead};
use evergate_core::rng::Rng;
use evergate_core::time::Instant;
use evergate_core::websocket::{self, Code, Frames};
use evergate_sys::clock;

use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::shard::Shard;
use crate::timers::Timer;
use crate::upstream::Upstream;
use crate::wire::{Unsent, Wire};

mod half;
#[cfg(test)]
mod tests;

use half::{Half, Side as HalfSide};

/// How long the ends of a WebSocket may take to answer a Close before the connections end.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

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

/// What goes through a tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speech {
    /// Frames of a WebSocket.
    WebSocket,
    /// Something else.
    Unknown,
}

/// What a tunnel goes by.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) speaks: Speech,
    /// The longest silence.
    pub(crate) idle_max: Duration,
    /// How long it may go on once its connection is to end.
    pub(crate) drain_timeout: Duration,
    /// The address here that the client is connected to.
    pub(crate) local: Option<IpAddr>,
}

/// A tunnel under way.
#[derive(Debug)]
struct Tunnel<'a> {
    shard: &'a Shard,
    terms: &'a Terms<'a>,
    /// From the client to the server.
    up: Half,
    /// From the server to the client.
    down: Half,
    moved_at: Instant,
    timer: Timer,
    stage: Stage,
    rng: Rng,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nobody speaks of an end.
    Open,
    /// The server drains, or we do.
    Draining {
        /// When the ends are told.
        tell_at: Instant,
        /// When it is over, whatever they say.
        cut_at: Instant,
    },
    /// The ends are told, or one of them is.
    Ending {
        /// When it is over.
        cut_at: Instant,
    },
}

impl Speech {
    /// What a server that sent this head with 101 speaks from there on.
    pub(crate) fn of(head: &ResponseHead) -> Self {
        let protocol = head.fields.get(Name::Upgrade).unwrap_or_default();
        if protocol.eq_ignore_ascii_case(b"websocket") { Self::WebSocket } else { Self::Unknown }
    }
}

/// Joins `client` and `upstream` until both have ended, one has failed, neither has said anything
/// for too long, or the server leaves.
pub(crate) async fn run<C: Client>(
    shard: &Shard,
    client: &mut C,
    upstream: Upstream,
    terms: &Terms<'_>,
) -> Moved {
    let _counted = terms.endpoint.enter_tunnel();
    let frames = match terms.speaks {
        Speech::WebSocket => Some(Frames::default()),
        Speech::Unknown => None,
    };
    let (mut up, mut down) = (Half::new(frames.clone()), Half::new(frames));
    {
        let Some((_, early, unsent)) = client.tunnel() else { return Moved::default() };
        // The head of the response stands before the first frame.
        std::mem::swap(&mut down.unsent, unsent);
        up.take(&early);
    }
    let Some((mut server, early)) = upstream.into_tunnel() else { return Moved::default() };
    down.take(&early);

    let timer = shard.timers.timer();
    if terms.endpoint.run.is_some() {
        timer.concern(terms.endpoint.uid);
    }
    let seed = shard.rng.borrow_mut().next_u64();
    let mut tunnel = Tunnel {
        shard,
        terms,
        up,
        down,
        moved_at: clock::now(),
        timer,
        stage: Stage::Open,
        rng: Rng::seeded(seed),
    };
    // It may have begun to drain while it answered.
    if tunnel.look(clock::now()) == Next::Wait {
        poll_fn(|cx| match client.tunnel() {
            Some((wire, ..)) => tunnel.poll(cx, wire, &mut server),
            None => Poll::Ready(()),
        })
        .await;
    }
    Moved { from_client: tunnel.up.moved, to_client: tunnel.down.moved }
}

impl Tunnel<'_> {
    /// Moves what can be moved; ready when it is over.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut impl Side,
        server: &mut impl Side,
    ) -> Poll<()> {
        let buffers = &self.shard.buffers;
        loop {
            let before = self.up.moved + self.down.moved;
            let up = self.up.poll(cx, buffers, client, server);
            let down = self.down.poll(cx, buffers, server, client);
            if self.up.moved + self.down.moved != before {
                self.moved_at = clock::now();
            }
            let server_broke = matches!(up, Poll::Ready(Err(HalfSide::To)))
                || matches!(down, Poll::Ready(Err(HalfSide::From)))
                || self.down.broke_off();
            if server_broke && self.may_tell_client() {
                self.lose_server(clock::now());
                continue;
            }
            match (up, down) {
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(()),
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(()),
                (Poll::Pending, _) | (_, Poll::Pending) => {}
            }
            if self.timer.poll_elapsed(cx).is_pending() {
                return Poll::Pending;
            }
            if self.look(clock::now()) == Next::Over {
                return Poll::Ready(());
            }
        }
    }

    /// Looks at the clock and at what became of the server, and sets the timer.
    fn look(&mut self, now: Instant) -> Next {
        if self.terms.endpoint.is_dead() && !self.down.is_telling() {
            if !self.may_tell_client() {
                return Next::Over;
            }
            self.lose_server(now);
        }
        self.look_ahead(now);
        if let Stage::Draining { tell_at, cut_at } = self.stage
            && now >= tell_at
        {
            if self.terms.speaks != Speech::WebSocket {
                return Next::Over;
            }
            self.tell_both();
            // Otherwise a frame is under way, which may take as long as there is.
            let is_told = self.up.is_told() && self.down.is_told();
            let cut_at = if is_told { now + GOODBYE_WAIT } else { cut_at };
            self.stage = Stage::Ending { cut_at };
        }
        let silent_until = self.moved_at + self.terms.idle_max;
        let at = match self.stage {
            Stage::Open => silent_until,
            Stage::Draining { tell_at, .. } => tell_at.min(silent_until),
            Stage::Ending { cut_at } => cut_at,
        };
        if now >= at {
            return Next::Over;
        }
        self.timer.set(at);
        Next::Wait
    }

    /// Sees whether an end has come in sight, another one, or none any more.
    fn look_ahead(&mut self, now: Instant) {
        let known = match self.stage {
            Stage::Open => None,
            Stage::Draining { cut_at, .. } => Some(cut_at),
            Stage::Ending { .. } => return,
        };
        let farewells = self.shard.farewells_to(self.terms.local);
        let ours = farewells.map(|farewell| farewell.window(self.terms.drain_timeout));
        let server = self.terms.endpoint.drains();
        let first = ours.chain(server).min_by_key(|(_, cut_at)| *cut_at);
        self.stage = match first {
            None => Stage::Open,
            Some((_, cut_at)) if known == Some(cut_at) => return,
            Some((ends_from, cut_at)) => {
                let tell_at = moment(ends_from.max(now), cut_at, &mut self.rng);
                Stage::Draining { tell_at, cut_at }
            }
        };
    }

    /// Says goodbye to both ends, each between two frames.
    fn tell_both(&mut self) {
        let mut to_server = Vec::new();
        let mask = self.rng.next_u64().to_ne_bytes();
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        websocket::push_masked_close(&mut to_server, Code::GoingAway, mask);
        self.up.tell(to_server);
        self.down.tell(goodbye());
    }

    /// Whether the server's end without a word can be put into one.
    fn may_tell_client(&self) -> bool {
        self.terms.endpoint.run.is_some()
            && self.terms.speaks == Speech::WebSocket
            && self.down.may_tell()
    }

    /// Nothing more comes from the server; the client is told.
    fn lose_server(&mut self, now: Instant) {
        self.down.tell(goodbye());
        self.down.end();
        self.up.mute();
        let cut_at = now + GOODBYE_WAIT;
        self.timer.set(cut_at);
        self.stage = Stage::Ending { cut_at };
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Wait,
    Over,
}

fn goodbye() -> Vec<u8> {
    let mut bytes = Vec::new();
    websocket::push_close(&mut bytes, Code::ServiceRestart);
    bytes
}

/// Any moment from `from` on that leaves time for goodbyes before `cut_at`.
fn moment(from: Instant, cut_at: Instant, rng: &mut Rng) -> Instant {
    let window = cut_at.since(from);
    let spread = window - GOODBYE_WAIT.min(window / 2);
    let millis = u32::try_from(spread.as_millis()).unwrap_or(u32::MAX);
    from + Duration::from_millis(u64::from(rng.below(millis.max(1))))
}
