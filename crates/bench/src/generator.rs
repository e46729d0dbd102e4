//! The loop that the load and the origin share.
//!
//! Events are hints: a handler reads or writes, and only what that returns decides. So an event
//! for a connection that was closed earlier in the same turn does no harm, even if another
//! connection has taken its place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::client::Clients;
use crate::load::{Load, Outcome};
use crate::origin::Origin;

/// Events taken in one turn.
const EVENTS_PER_TURN: usize = 1024;
/// Bytes read at once; a whole body of 100 KB fits.
const SCRATCH_BYTES: usize = 256 * 1024;
/// The longest the loop waits, so that it notices deadlines and the wish to stop.
const TURN_MAX: Duration = Duration::from_millis(20);

/// An origin, a load, or both, in the thread that calls [`Generator::run_for`].
pub struct Generator {
    epoll: OwnedFd,
    alarm: OwnedFd,
    events: Vec<Event>,
    scratch: Box<[u8]>,
    origin: Option<Origin>,
    clients: Option<Clients>,
}

impl Generator {
    /// A loop that serves `origin`, if there is one, and sends nothing yet.
    pub fn new(origin: Option<Origin>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Timeouts of epoll are whole milliseconds, which a schedule would show.
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let alarm = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let mut generator = Self {
            epoll,
            alarm,
            events: Vec::with_capacity(EVENTS_PER_TURN),
            scratch: vec![0; SCRATCH_BYTES].into(),
            origin,
            clients: None,
        };
        let io = Io { epoll: generator.epoll.as_fd(), scratch: &mut generator.scratch };
        io.add(&generator.alarm, Token::Alarm, Interest::Read)?;
        if let Some(origin) = &generator.origin {
            origin.register(&io)?;
        }
        Ok(generator)
    }

    /// The origin it serves.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Begins a load with the next run; an earlier one ends and its connections close.
    pub fn start(&mut self, load: Load) {
        self.clients = Some(Clients::new(load, Instant::now()));
    }

    /// Ends the load and closes its connections; what came of it is what was not taken yet.
    pub fn stop(&mut self) -> Outcome {
        self.clients.take().map(|mut clients| clients.take_outcome()).unwrap_or_default()
    }

    /// What came of the load since this was last called.
    pub fn take_outcome(&mut self) -> Outcome {
        self.clients.as_mut().map(Clients::take_outcome).unwrap_or_default()
    }

    /// Sends and serves for this long.
    pub fn run_for(&mut self, duration: Duration) -> io::Result<()> {
        let end = Instant::now() + duration;
        self.run_until(|now, _| now >= end)
    }

    /// Sends nothing new and serves until every request has ended one way or another; the load's
    /// timeout bounds that.
    pub fn drain(&mut self) -> io::Result<()> {
        let Some(clients) = &mut self.clients else { return Ok(()) };
        clients.end();
        loop {
            let now = Instant::now();
            if self.clients.as_ref().is_none_or(Clients::is_quiet) {
                return Ok(());
            }
            self.turn(now)?;
        }
    }

    /// Sends and serves until `is_over`, which sees the time and the outcome so far, at least
    /// every 20 ms.
    pub fn run_until(
        &mut self,
        mut is_over: impl FnMut(Instant, &Outcome) -> bool,
    ) -> io::Result<()> {
        let nothing = Outcome::default();
        loop {
            let now = Instant::now();
            let outcome = self.clients.as_ref().map_or(&nothing, Clients::outcome);
            if is_over(now, outcome) {
                return Ok(());
            }
            self.turn(now)?;
        }
    }

    fn turn(&mut self, now: Instant) -> io::Result<()> {
        let mut io = Io { epoll: self.epoll.as_fd(), scratch: &mut self.scratch };
        let mut wait = TURN_MAX;
        if let Some(clients) = &mut self.clients {
            clients.advance(now, &mut io)?;
            if let Some(due) = clients.due_at() {
                wait = wait.min(due.saturating_duration_since(now));
            }
        }
        if !wait.is_zero() && wait < TURN_MAX {
            set_alarm(&self.alarm, wait)?;
        }
        wait_for_events(io.epoll, &mut self.events, wait)?;
        for event in &self.events {
            let token = Token::from_data(event.data);
            match (token, &mut self.origin, &mut self.clients) {
                (Token::Alarm, _, _) => silence(&self.alarm)?,
                (Token::Listener, Some(origin), _) => origin.accept(&io)?,
                (Token::Peer(id), Some(origin), _) => origin.handle(id, &mut io)?,
                (Token::Client(id), _, Some(clients)) => clients.handle(id, &mut io)?,
                (Token::Listener | Token::Peer(_), None, _) | (Token::Client(_), _, None) => {}
            }
        }
        Ok(())
    }
}

/// Fills `events`; without any if none came within `wait`.
fn wait_for_events(
    epoll: BorrowedFd<'_>,
    events: &mut Vec<Event>,
    wait: Duration,
) -> io::Result<()> {
    events.clear();
    // A shorter wait is ended by the alarm.
    let wait = if wait.is_zero() { wait } else { TURN_MAX };
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    match epoll::wait(epoll, spare_capacity(events), Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn set_alarm(alarm: &OwnedFd, after: Duration) -> io::Result<()> {
    let it_value = Timespec { tv_sec: 0, tv_nsec: i64::from(after.subsec_nanos()) };
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(alarm, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
    Ok(())
}

fn silence(alarm: &OwnedFd) -> io::Result<()> {
    match rustix::io::read(alarm, &mut [0; 8]) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What handlers need of the loop.
#[derive(Debug)]
pub(crate) struct Io<'a> {
    epoll: BorrowedFd<'a>,
    /// Whatever is read goes here first; no connection owns a buffer.
    pub(crate) scratch: &'a mut [u8],
}

impl Io<'_> {
    pub(crate) fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(self.epoll, fd, token.to_data(), interest.flags())?)
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(self.epoll, fd, token.to_data(), interest.flags())?)
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Interest {
    Read,
    Write,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
        }
    }
}

/// Whom an event is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    Alarm,
    Client(u32),
    Listener,
    Peer(u32),
}

impl Token {
    fn to_data(self) -> EventData {
        let (kind, id) = match self {
            Self::Alarm => (0, 0),
            Self::Client(id) => (1, id),
            Self::Listener => (2, 0),
            Self::Peer(id) => (3, id),
        };
        EventData::new_u64(kind << 32 | u64::from(id))
    }

    fn from_data(data: EventData) -> Self {
        let data = data.u64();
        let id = data as u32;
        match data >> 32 {
            0 => Self::Alarm,
            1 => Self::Client(id),
            2 => Self::Listener,
            _ => Self::Peer(id),
        }
    }
}

#[cfg(test)]
mod tests;
