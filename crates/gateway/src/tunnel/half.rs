//! One direction of a tunnel.

use std::task::{Context, Poll};

use evergate_core::websocket::Frames;

use crate::buffers::{Buffers, SCRATCH_BYTES};
use crate::tunnel;
use crate::wire::Unsent;

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) unsent: Unsent,
    /// Bytes of whoever reads from it.
    pub(super) moved: u64,
    /// Nothing more comes.
    ended: bool,
    shut: bool,
    /// What goes through, if it is a WebSocket.
    frames: Option<Frames>,
    goodbye: Goodbye,
    /// What comes goes nowhere.
    is_mute: bool,
}

/// A last word of ours.
#[derive(Debug, Eq, PartialEq)]
enum Goodbye {
    /// None.
    Unsaid,
    /// As soon as the frame under way has ended.
    Next(Vec<u8>),
    /// It was said: what still comes is only read for the answer.
    Said,
}

/// Where a half failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// Reading.
    From,
    /// Writing.
    To,
}

impl Half {
    /// Nothing went through yet.
    pub(super) fn new(frames: Option<Frames>) -> Self {
        Self {
            unsent: Unsent::default(),
            moved: 0,
            ended: false,
            shut: false,
            frames,
            goodbye: Goodbye::Unsaid,
            is_mute: false,
        }
    }

    /// Takes bytes that were read.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.moved += bytes.len() as u64;
        let Some(frames) = &mut self.frames else {
            self.unsent.bytes.extend_from_slice(bytes);
            return;
        };
        let passed = match self.goodbye {
            Goodbye::Unsaid => {
                frames.follow(bytes);
                bytes.len()
            }
            Goodbye::Next(_) => frames.finish(bytes),
            Goodbye::Said => 0,
        };
        if !self.is_mute {
            self.unsent.bytes.extend_from_slice(&bytes[..passed]);
        }
        self.say();
        if let Some(frames) = &mut self.frames {
            frames.follow(&bytes[passed..]);
        }
    }

    /// Says `goodbye`, a whole frame, as soon as it may be said.
    pub(super) fn tell(&mut self, goodbye: Vec<u8>) {
        self.goodbye = Goodbye::Next(goodbye);
        self.say();
    }

    fn say(&mut self) {
        let Some(frames) = &self.frames else { return };
        match &mut self.goodbye {
            // Whoever has said goodbye itself needs no other word.
            Goodbye::Next(_) if frames.has_closed() => self.goodbye = Goodbye::Said,
            Goodbye::Next(goodbye) if frames.is_at_boundary() => {
                self.unsent.bytes.append(goodbye);
                self.goodbye = Goodbye::Said;
            }
            Goodbye::Next(_) | Goodbye::Unsaid | Goodbye::Said => {}
        }
    }

    /// Whether a goodbye is to be said, or was.
    pub(super) fn is_telling(&self) -> bool {
        self.goodbye != Goodbye::Unsaid
    }

    /// Whether a goodbye was said.
    pub(super) fn is_told(&self) -> bool {
        self.goodbye == Goodbye::Said
    }

    /// Whether a goodbye could be said now.
    pub(super) fn may_tell(&self) -> bool {
        let frames = self.frames.as_ref();
        self.goodbye == Goodbye::Unsaid
            && frames.is_some_and(|frames| frames.is_at_boundary() && !frames.has_closed())
    }

    /// Whether it ended without the Close that ends a WebSocket.
    pub(super) fn broke_off(&self) -> bool {
        self.ended && self.frames.as_ref().is_some_and(|frames| !frames.has_closed())
    }

    /// Nothing more is read; what is left still goes out.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Nothing more goes out; what comes is only read for the answer.
    pub(super) fn mute(&mut self) {
        self.is_mute = true;
        self.unsent.clear();
        self.goodbye = Goodbye::Said;
    }

    /// Moves bytes until one side has to be waited for; ready when this half has ended.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        from: &mut impl tunnel::Side,
        to: &mut impl tunnel::Side,
    ) -> Poll<Result<(), Side>> {
        loop {
            if !self.is_mute {
                match to.poll_flush(cx, &mut self.unsent) {
                    Poll::Ready(Ok(())) => buffers.give(std::mem::take(&mut self.unsent.bytes)),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::To)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.is_over() {
                if !self.shut && !self.is_mute {
                    match to.poll_shutdown(cx) {
                        Poll::Ready(Ok(())) => self.shut = true,
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::To)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                return Poll::Ready(Ok(()));
            }
            let read = buffers.with_scratch(|scratch| {
                debug_assert_eq!(scratch.len(), SCRATCH_BYTES);
                from.poll_read(cx, scratch).map_ok(|count| {
                    if count > 0 {
                        self.unsent.bytes = buffers.take();
                        self.take(&scratch[..count]);
                    }
                    count
                })
            });
            match read {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::From)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether nothing more is to be read: the end has come, or the answer to our last word.
    fn is_over(&self) -> bool {
        let has_closed = self.frames.as_ref().is_some_and(Frames::has_closed);
        self.ended || (self.goodbye == Goodbye::Said && has_closed)
    }
}
