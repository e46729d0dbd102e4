//! The watcher: a process beside the keeper that does what has to be done when the keeper cannot.
//!
//! While a node answers for a virtual address and its keeper is killed, nobody would send adverts or
//! take the address away: the other nodes would wait, and two of them would answer then. The watcher
//! waits for that on the keeper's pidfd, which an exec does not touch. Then it says in the keeper's
//! name that it stops (priority 0), removes the addresses, undoes what a planned move has set for a
//! while, and exits. What to say and what to remove lies ready in a shared page ([`crate::will`]).
//!
//! It never says anything while the keeper lives. A keeper that lives and makes no progress for as
//! long as the others wait for an advert loses its addresses, no more: they have a new owner by then,
//! or will have one in a moment. It looks for itself what it still has when it goes on.
//!
//! It runs before the keeper does, from memory that stays, with no rights but those over the network
//! and over that memory, and hears no signal but SIGKILL.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::{fmt, io};

use evergate_core::time::Instant;
use evergate_sys::family::Family;
use evergate_sys::flow::filter;
use evergate_sys::flow::shade::Manners;
use evergate_sys::inherited::Inherited;
use evergate_sys::netlink::{Change, Netlink, Place};
use evergate_sys::privilege::Right;
use evergate_sys::seqpacket::{self, Received};
use evergate_sys::shared_page::{RECORD_BYTES_MAX, Reader};
use evergate_sys::signal::{Signal, Signals};
use evergate_sys::vrrp_socket::VrrpSocket;
use evergate_sys::{clock, oom, privilege, process, real_time, wait};
use rustix::net::sockopt::socket_acceptconn;

use crate::report;
use crate::will::{Held, Shaded, Will, Words};

/// The subcommand that runs it.
pub(crate) const SUBCOMMAND: &str = "watcher";

/// The descriptors that it is started with: the page, the keeper's pidfd,
pub(crate) const PAGE_FD: i32 = 3;
pub(crate) const KEEPER_FD: i32 = 4;
/// And a socket over which it gets more of them: each message brings all that it is to keep.
pub(crate) const LINK_FD: i32 = 5;
pub(crate) const KEEP: &[u8] = b"keep";
/// Most of them: two for each of many interfaces, and listening sockets of every thread during a planned
/// move. Beyond that the end takes longer.
pub(crate) const FDS_KEPT_MAX: usize = seqpacket::FDS_MAX;
/// What it is known as.
const NAME: &str = "evergate-watch";
/// One above the keeper's, which must not keep it from looking.
const PRIORITY: u8 = crate::REAL_TIME_PRIORITY + 1;
/// As little as the keeper's.
const OOM_SCORE: i16 = crate::OOM_SCORE;
/// How often it looks before a keeper without progress counts as hung. One look would not do: after
/// the machine stood still, both have missed as much.
const LOOKS: u32 = 4;
/// Between two looks while there is nothing to lose, and at least.
const LOOK_EVERY_IDLE: Duration = Duration::from_millis(250);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(2);

/// Why there is no watcher.
#[derive(Debug)]
pub enum WatchError {
    /// It was not started by a keeper.
    NotOurs,
    /// What it is to read cannot be read.
    Page(io::Error),
    /// It cannot wait.
    Wait(io::Error),
    /// It cannot give its rights up.
    Rights(io::Error),
    /// The addresses could not be reached.
    Netlink(io::Error),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => write!(f, "a watcher is started by a keeper, and by nobody else"),
            Self::Page(error) => write!(f, "cannot read what is to be done: {error}"),
            Self::Wait(error) => write!(f, "cannot watch the keeper: {error}"),
            Self::Rights(error) => write!(f, "cannot give rights up: {error}"),
            Self::Netlink(error) => write!(f, "cannot reach the addresses of this node: {error}"),
        }
    }
}

impl std::error::Error for WatchError {}

/// Watches the keeper that started this process until that is gone, and does then what is to be done.
///
/// Call it from `main` before anything is opened.
pub fn watch() -> Result<(), WatchError> {
    let mut inherited = Inherited::all().map_err(WatchError::Page)?;
    let [page, keeper, link] = [PAGE_FD, KEEPER_FD, LINK_FD].map(|number| inherited.take(number));
    let (Some(page), Some(keeper), Some(link)) = (page, keeper, link) else {
        return Err(WatchError::NotOurs);
    };
    let watcher = Watcher {
        keeper,
        link,
        kept: Vec::with_capacity(FDS_KEPT_MAX),
        reader: Reader::from_fd(&page).map_err(WatchError::Page)?,
        hands: Hands::new().map_err(WatchError::Netlink)?,
        vigil: Vigil::default(),
        number: None,
        record: Vec::with_capacity(RECORD_BYTES_MAX + size_of::<u64>()),
        will: Will::default(),
    };
    settle()?;
    watcher.run()
}

/// Makes the process fit for its task. That it may not run before others or have its memory locked
/// is told by the keeper, which may not either.
fn settle() -> Result<(), WatchError> {
    let deaf = [
        Signal::Hangup,
        Signal::Interrupt,
        Signal::Quit,
        Signal::Terminate,
        Signal::User1,
        Signal::User2,
    ];
    // What stops a service reaches every process of it; the keeper ends this one when it may.
    Signals::block(&deaf).map_err(WatchError::Wait)?;
    let _ = process::set_name(NAME);
    let _ = oom::spare(OOM_SCORE);
    let _ = real_time::set_priority(PRIORITY);
    let _ = real_time::lock_memory();
    privilege::no_new_privileges().map_err(WatchError::Rights)?;
    // The last one, because memory that is asked for later has to be locked too.
    privilege::keep_only(&[Right::NetAdmin, Right::NetRaw, Right::IpcLock])
        .map_err(WatchError::Rights)
}

struct Watcher {
    /// Readable once the keeper is gone.
    keeper: OwnedFd,
    /// What the keeper would have it keep comes here.
    link: OwnedFd,
    /// Packet sockets of the keeper: the kernel takes tens of milliseconds to close one for good, and
    /// the keeper would not be dead before that was done. And listening sockets that do not see
    /// everything at the moment.
    kept: Vec<OwnedFd>,
    reader: Reader,
    hands: Hands,
    vigil: Vigil,
    /// Of the record that was read last.
    number: Option<u64>,
    /// Where records are copied to, so that nothing is allocated for one.
    record: Vec<u8>,
    will: Will,
}

impl Watcher {
    fn run(mut self) -> Result<(), WatchError> {
        loop {
            let is_gone = self.wait()?;
            let begun = clock::now();
            self.read();
            if is_gone {
                self.carry_out(begun);
                return Ok(());
            }
            self.keep();
            let patience = self.will.patience;
            if self.vigil.look(self.reader.beats()) == Verdict::Hung
                && let Some(patience) = patience
            {
                self.disarm(begun, patience);
            }
        }
    }

    /// Waits for the next look; whether the keeper is gone.
    fn wait(&self) -> Result<bool, WatchError> {
        let every = look_every(self.will.patience);
        let millis = every.as_millis().try_into().unwrap_or(i32::MAX);
        match wait::readable(&self.keeper, millis) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(WatchError::Wait(error)),
        }
    }

    /// Takes what is to be kept in place of what was.
    fn keep(&mut self) {
        let mut word = [0; KEEP.len()];
        let mut fds = Vec::new();
        while let Ok(Received::Packet(_)) = seqpacket::recv(&self.link, &mut word, &mut fds) {
            // What is not kept any more is closed for good here, where nobody waits for that.
            self.kept = std::mem::take(&mut fds);
        }
    }

    /// Reads the record in force, if it is another one, and prepares for it.
    fn read(&mut self) {
        if self.number == Some(self.reader.number()) {
            return;
        }
        if let Some(number) = self.reader.read(&mut self.record) {
            self.number = Some(number);
            // One that is not understood is for a watcher of another release, which is there too.
            self.will = Will::decode(&self.record).unwrap_or_default();
            self.hands.prepare(&self.will);
        }
    }

    /// The keeper is dead: speaks its last words, and removes what it left behind.
    fn carry_out(&mut self, begun: Instant) {
        let mut faults = std::mem::take(&mut self.hands.missing);
        let said = self.hands.say(&self.will.words, &mut faults);
        let removed = self.hands.remove(&self.will.addresses, &mut faults);
        let took = clock::now() - begun;
        self.end_move(&mut faults);
        if self.will.is_empty() {
            return;
        }
        report(format_args!(
            "the keeper is gone: the watcher said so in its place ({said} packets of priority 0) and \
             removed {removed} addresses, within {took:?}{faults}"
        ));
    }

    /// Undoes what a planned move has set for a while: nobody will end it.
    fn end_move(&mut self, faults: &mut Faults) {
        self.hands.unhide(&self.will.hidden, faults);
        // Only now, or it would be told of for a moment.
        for Shaded { interface, ignore, announce } in &self.will.shaded {
            let before = Manners { ignore: *ignore, announce: *announce };
            if let Err(error) = before.restore(interface) {
                faults.take(error);
            }
        }
        self.keep();
        let is_listener = |fd: &&OwnedFd| socket_acceptconn(fd).is_ok_and(|listens| listens);
        for listener in self.kept.iter().filter(is_listener) {
            if let Err(error) = filter::refuse_none(listener) {
                faults.take(error);
            }
        }
    }

    /// The keeper is hung: removes its addresses, and says nothing in its name.
    fn disarm(&mut self, begun: Instant, patience: Duration) {
        if self.will.addresses.is_empty() {
            return;
        }
        let mut faults = Faults::default();
        let removed = self.hands.remove(&self.will.addresses, &mut faults);
        let took = clock::now() - begun;
        report(format_args!(
            "the keeper has made no progress for {patience:?}: the watcher removed {removed} \
             addresses, within {took:?}{faults}"
        ));
    }
}

/// How often to look, so that a keeper that hangs is found out within its time and a quarter.
fn look_every(patience: Option<Duration>) -> Duration {
    patience.map_or(LOOK_EVERY_IDLE, |patience| (patience / LOOKS).max(LOOK_EVERY_MIN))
}

/// Whether the keeper makes progress, look by look.
#[derive(Clone, Copy, Debug, Default)]
struct Vigil {
    /// What was seen last.
    beats: u64,
    /// How often that was the same as before.
    still: u32,
}

/// What a look comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    /// It makes progress, or had no time yet.
    Fine,
    /// It has made none for as long as it may. Said once, until it makes some.
    Hung,
}

impl Vigil {
    fn look(&mut self, beats: u64) -> Verdict {
        if std::mem::replace(&mut self.beats, beats) != beats {
            self.still = 0;
            return Verdict::Fine;
        }
        self.still = self.still.saturating_add(1);
        if self.still == LOOKS { Verdict::Hung } else { Verdict::Fine }
    }
}

/// What reaches the network.
struct Hands {
    netlink: Netlink,
    sockets: BTreeMap<(u32, Family), VrrpSocket>,
    /// Why a socket is missing that there should be.
    missing: Faults,
}

impl Hands {
    fn new() -> io::Result<Self> {
        let netlink = Netlink::open()?;
        Ok(Self { netlink, sockets: BTreeMap::new(), missing: Faults::default() })
    }

    /// Has a socket for everything that may have to be said.
    fn prepare(&mut self, will: &Will) {
        self.missing = Faults::default();
        self.sockets.retain(|key, _| will.words.iter().any(|words| way(words) == *key));
        for key in will.words.iter().map(way) {
            if self.sockets.contains_key(&key) {
                continue;
            }
            match VrrpSocket::open(key.0, key.1) {
                Ok(socket) => drop(self.sockets.insert(key, socket)),
                Err(error) => self.missing.take(error),
            }
        }
    }

    /// Says what is to be said; returns how many packets went out.
    fn say(&self, words: &[Words], faults: &mut Faults) -> usize {
        let mut said = 0;
        for one in words {
            let Some(socket) = self.sockets.get(&way(one)) else {
                continue;
            };
            for &to in &one.to {
                match socket.send(one.source, to, &one.message) {
                    Ok(()) => said += 1,
                    Err(error) => faults.take(error),
                }
            }
        }
        said
    }

    /// Removes hidden addresses.
    fn unhide(&self, hidden: &[IpAddr], faults: &mut Faults) {
        for &ip in hidden {
            if let Err(error) = self.netlink.unhide(ip) {
                faults.take(error);
            }
        }
    }

    /// Removes addresses; returns how many were there.
    fn remove(&self, addresses: &[Held], faults: &mut Faults) -> usize {
        let mut removed = 0;
        for &Held { interface, address: ip, prefix } in addresses {
            match self.netlink.remove(&Place { interface, ip, prefix }) {
                Ok(Change::Made) => removed += 1,
                Ok(Change::Unneeded) => {}
                Err(error) => faults.take(error),
            }
        }
        removed
    }
}

/// What a packet goes out through.
fn way(words: &Words) -> (u32, Family) {
    (words.interface, Family::of(words.source))
}

/// The first thing that failed; the others fail for the same reason as a rule.
#[derive(Debug, Default)]
struct Faults {
    first: Option<io::Error>,
}

impl Faults {
    fn take(&mut self, error: io::Error) {
        self.first.get_or_insert(error);
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.first {
            Some(error) => write!(f, "; not all of it could be done: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_is_hung_after_a_whole_time_without_progress_and_that_is_said_once() {
        let mut vigil = Vigil::default();
        let mut look = |beats| vigil.look(beats);
        assert_eq!([7, 7, 7, 7].map(&mut look), [Verdict::Fine; 4]);
        assert_eq!([7, 7, 8, 8, 8, 8].map(&mut look)[0], Verdict::Hung);
        assert_eq!([8, 8, 8].map(&mut look), [Verdict::Hung, Verdict::Fine, Verdict::Fine]);
        assert_eq!([9, 9, 9, 9, 9].map(&mut look)[4], Verdict::Hung, "again");
        let found =
            [0, 30, 90, 3_600].map(|millis| look_every(Some(Duration::from_millis(millis))));
        assert_eq!(found, [2_000, 7_500, 22_500, 900_000].map(Duration::from_micros));
        assert_eq!(look_every(None), LOOK_EVERY_IDLE);
    }
}
