//! The probe's own process: an open loop, which asks when it is time to, however the last request
//! went.
//!
//! Prints `turn A` whenever another node than before answers, and every request once its standard
//! input is closed and the last one has ended.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::exchange::{Exchange, Step};
use crate::lab::Moment;
use crate::lab::trace::{Failure, Outcome, Request, Stream};

/// A new connection and a request, this often.
pub const EVERY: Duration = Duration::from_millis(2);
/// After this, nobody waits for an answer any more.
pub const TIMEOUT: Duration = Duration::from_millis(100);
/// The same on a machine with other work, which may stand still for longer. Below the second after
/// which a client asks again for a connection, so that one that got no answer still shows.
pub const TIMEOUT_BUSY: Duration = Duration::from_millis(900);
/// The same of the kept connection, which is to find out whether it goes on at all.
const KEPT_TIMEOUT: Duration = Duration::from_secs(1);
/// One request on the kept connection in so many rounds.
const KEPT_EVERY: u64 = 5;

const FRESH: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
const KEPT: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";

const TIMER: u64 = 0;
const STDIN: u64 = 1;
const KEPT_KEY: u64 = 2;
/// Keys of fresh connections follow.
const FIRST_KEY: u64 = 3;

/// Asks `target` until standard input is closed; after `patience` a request has failed.
pub fn run(target: SocketAddr, patience: Duration) -> io::Result<()> {
    let mut probe = Loop::new(target, patience)?;
    let mut events: Vec<Event> = Vec::with_capacity(64);
    let wake = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !probe.is_over() {
        events.clear();
        match epoll::wait(&probe.epoll, spare_capacity(&mut events), Some(&wake)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            probe.handle(event.data.u64(), event.flags)?;
        }
        probe.give_up_late(Moment::now())?;
    }
    probe.print()
}

#[derive(Debug)]
struct Loop {
    target: SocketAddr,
    patience: Duration,
    epoll: OwnedFd,
    timer: OwnedFd,
    is_ending: bool,
    /// Fresh requests from the oldest that is under way; ended ones between leave a hole.
    under_way: VecDeque<Option<Exchange>>,
    /// Key of the first of these.
    first_key: u64,
    kept: Option<Exchange>,
    rounds: u64,
    done: Vec<Request>,
    last: Option<char>,
}

impl Loop {
    fn new(target: SocketAddr, patience: Duration) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let every = Timespec { tv_sec: 0, tv_nsec: i64::from(EVERY.subsec_nanos()) };
        let spec = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        epoll::add(&epoll, io::stdin(), EventData::new_u64(STDIN), EventFlags::IN)?;
        Ok(Self {
            target,
            patience,
            epoll,
            timer,
            is_ending: false,
            under_way: VecDeque::new(),
            first_key: FIRST_KEY,
            kept: None,
            rounds: 0,
            done: Vec::new(),
            last: None,
        })
    }

    fn is_over(&self) -> bool {
        self.is_ending && self.under_way.is_empty()
    }

    fn handle(&mut self, key: u64, flags: EventFlags) -> io::Result<()> {
        let is_writable = flags.contains(EventFlags::OUT);
        match key {
            TIMER => {
                let mut expirations = [0; 8];
                // Rounds that were missed are missed: they show as a stall, not as a burst.
                if rustix::io::read(&self.timer, &mut expirations).is_ok() && !self.is_ending {
                    self.ask()?;
                }
                Ok(())
            }
            STDIN => {
                self.is_ending = true;
                Ok(epoll::delete(&self.epoll, io::stdin())?)
            }
            KEPT_KEY => self.advance_kept(is_writable),
            fresh => self.advance_fresh(fresh, is_writable),
        }
    }

    fn ask(&mut self) -> io::Result<()> {
        let start = Moment::now();
        match Exchange::open(self.target, start) {
            Ok(exchange) => {
                let key = self.first_key + self.under_way.len() as u64;
                watch(&self.epoll, &exchange, key)?;
                self.under_way.push_back(Some(exchange));
            }
            Err(failure) => self.note(start, Outcome::Failed(failure), Stream::Fresh)?,
        }
        if self.rounds.is_multiple_of(KEPT_EVERY) {
            self.ask_kept(start)?;
        }
        self.rounds += 1;
        Ok(())
    }

    fn ask_kept(&mut self, start: Moment) -> io::Result<()> {
        match &mut self.kept {
            // One at a time: a kept connection is a conversation.
            Some(exchange) if exchange.start.is_some() => Ok(()),
            Some(exchange) => {
                let step = exchange.ask_again(KEPT, start);
                self.follow_kept(step)
            }
            None => match Exchange::open(self.target, start) {
                Ok(exchange) => {
                    watch(&self.epoll, &exchange, KEPT_KEY)?;
                    self.kept = Some(exchange);
                    Ok(())
                }
                Err(failure) => self.note(start, Outcome::Failed(failure), Stream::Kept),
            },
        }
    }

    fn advance_fresh(&mut self, key: u64, is_writable: bool) -> io::Result<()> {
        let Some(index) = key.checked_sub(self.first_key) else { return Ok(()) };
        let slot = self.under_way.get_mut(index as usize);
        let Some(exchange) = slot.and_then(Option::as_mut) else { return Ok(()) };
        match exchange.advance(FRESH, is_writable) {
            Step::Open => Ok(()),
            Step::Sent => hear(&self.epoll, exchange, key),
            Step::Ended(outcome, _) => self.end_fresh(index as usize, outcome),
            Step::Closed => self.end_fresh(index as usize, Outcome::Failed(Failure::Broken)),
        }
    }

    fn end_fresh(&mut self, index: usize, outcome: Outcome) -> io::Result<()> {
        let ended = self.under_way.get_mut(index).and_then(Option::take);
        let start = ended.and_then(|exchange| exchange.start);
        while let Some(None) = self.under_way.front() {
            self.under_way.pop_front();
            self.first_key += 1;
        }
        start.map_or(Ok(()), |start| self.note(start, outcome, Stream::Fresh))
    }

    fn advance_kept(&mut self, is_writable: bool) -> io::Result<()> {
        let Some(exchange) = &mut self.kept else { return Ok(()) };
        let step = exchange.advance(KEPT, is_writable);
        if step == Step::Sent {
            hear(&self.epoll, exchange, KEPT_KEY)?;
        }
        self.follow_kept(step)
    }

    fn follow_kept(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Open | Step::Sent => Ok(()),
            // Whoever closes an idle connection breaks nothing.
            Step::Closed => {
                self.kept = None;
                Ok(())
            }
            Step::Ended(outcome, goes_on) => {
                let start = self.kept.as_mut().and_then(|exchange| exchange.start.take());
                if !goes_on {
                    self.kept = None;
                }
                start.map_or(Ok(()), |start| self.note(start, outcome, Stream::Kept))
            }
        }
    }

    fn give_up_late(&mut self, now: Moment) -> io::Result<()> {
        let is_late = |exchange: &Exchange, after: Duration| {
            exchange.start.is_some_and(|start| now.since(start) >= after)
        };
        let silent = Outcome::Failed(Failure::Silent);
        while let Some(Some(oldest)) = self.under_way.front()
            && is_late(oldest, self.patience)
        {
            self.end_fresh(0, silent)?;
        }
        if self.kept.as_ref().is_some_and(|kept| is_late(kept, KEPT_TIMEOUT)) {
            self.follow_kept(Step::Ended(silent, false))?;
        }
        Ok(())
    }

    fn note(&mut self, start: Moment, outcome: Outcome, stream: Stream) -> io::Result<()> {
        let end = Moment::now();
        self.done.push(Request { start, end, outcome, stream });
        if let (Outcome::Good(node), Stream::Fresh) = (outcome, stream)
            && self.last != Some(node)
        {
            self.last = Some(node);
            writeln!(io::stdout(), "turn {node}")?;
        }
        Ok(())
    }

    fn print(&self) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout());
        for request in &self.done {
            writeln!(out, "{}", request.to_line())?;
        }
        out.flush()
    }
}

fn watch(epoll: &OwnedFd, exchange: &Exchange, key: u64) -> io::Result<()> {
    let flags = EventFlags::IN | EventFlags::OUT;
    Ok(epoll::add(epoll.as_fd(), exchange.socket(), EventData::new_u64(key), flags)?)
}

/// From now on, only what comes in matters.
fn hear(epoll: &OwnedFd, exchange: &Exchange, key: u64) -> io::Result<()> {
    Ok(epoll::modify(epoll.as_fd(), exchange.socket(), EventData::new_u64(key), EventFlags::IN)?)
}
