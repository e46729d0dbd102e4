//! The keeper's side of the watcher ([`crate::watcher`]): starts it, keeps its page up to date, and
//! replaces it when it dies.
//!
//! One at most serves at a time. After the keeper became another binary the next one is started
//! beside it, and the old one is ended a moment later: while both are there, both would do the same,
//! which does no harm.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use evergate_core::standby::{Note, Severity};
use evergate_core::time::Instant;
use evergate_sys::child::{self, Spec, Starting};
use evergate_sys::exit::Exit;
use evergate_sys::image::Image;
use evergate_sys::process::Known;
use evergate_sys::seqpacket;
use evergate_sys::shared_page::Page;
use evergate_sys::signal::{self, Signal};
use minicbor::{Decode, Encode};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use crate::carried::{Fd, Listing, Taken, Uses};
use crate::notify;
use crate::watcher::{FDS_KEPT_MAX, KEEP, KEEPER_FD, LINK_FD, PAGE_FD, SUBCOMMAND};
use crate::will::Will;

/// Wait after the second failure in a row; the first waits for nothing, later ones double it.
const RESTART_BASE: Duration = Duration::from_millis(100);
/// Longest wait.
const RESTART_CAP: Duration = Duration::from_secs(5);
/// Alive for this long wipes out the failures before it.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How long after an exec the next one is started: until then there is better to do.
const RENEW_AFTER: Duration = Duration::from_millis(200);
/// How long an old watcher stays beside the new one.
const OVERLAP: Duration = Duration::from_secs(1);

/// A watcher, where one is wanted.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// What it reads; there as long as it is wanted.
    page: Option<Page>,
    /// What was written to it last.
    written: Vec<u8>,
    /// Our end of a socket over which it gets descriptors to keep, and at which change of them it got
    /// them last.
    link: Option<OwnedFd>,
    kept_at: Option<u64>,
    serving: Option<Process>,
    /// Of the image before; when it is ended.
    old: Option<(Process, Instant)>,
    /// When the next one is started, if none is there.
    start_at: Option<Instant>,
    /// How many died in a row.
    failures: u32,
    /// Why there is none.
    problem: Option<String>,
    notes: Vec<Note>,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    started_ticks: u64,
    since: Instant,
    /// Nothing in a keeper that has become another binary since.
    starting: Option<Starting>,
}

impl Watch {
    /// Has one from now on, or none.
    pub(crate) fn want(&mut self, now: Instant, is_wanted: bool) {
        match (is_wanted, self.page.is_some()) {
            (true, false) => match Page::new("evergate-will") {
                Ok(page) => {
                    self.page = Some(page);
                    self.start_at = Some(now);
                    self.tick(now);
                }
                Err(error) => self.problem = Some(format!("no memory to share: {error}")),
            },
            (false, true) => self.end(),
            (true, true) | (false, false) => {}
        }
    }

    /// Whether there is one, or should be.
    pub(crate) fn is_wanted(&self) -> bool {
        self.page.is_some()
    }

    /// What is to be done from now on when the keeper is gone. Call it before a packet of priority
    /// above 0 is sent or an address is added, and after it was the last time for either.
    pub(crate) fn write(&mut self, will: &Will) {
        let Some(page) = &mut self.page else {
            return;
        };
        let record = will.encode();
        if record == self.written {
            return;
        }
        match page.write(&record) {
            Ok(()) => self.written = record,
            Err(error) => self.problem = Some(format!("it cannot be told what to do: {error}")),
        }
    }

    /// Has it keep what `fds` returns as long as nothing else is said, if they are others than before,
    /// which `changes` counts.
    ///
    /// The kernel takes tens of milliseconds to close a packet socket for good, and a process that was
    /// killed is not dead before it has closed all of its own. What the watcher has too is not closed
    /// for good. And listening sockets of which a planned move has filtered something would stay as they
    /// are with a worker that lives on.
    pub(crate) fn keep<'a, I>(&mut self, changes: u64, fds: impl FnOnce() -> I)
    where
        I: Iterator<Item = BorrowedFd<'a>>,
    {
        let Some(link) = self.link.as_ref().filter(|_| self.kept_at != Some(changes)) else {
            return;
        };
        let fds: Vec<_> = fds().take(FDS_KEPT_MAX).collect();
        // One that is gone is replaced, and told then; if it has no room, there is a next time.
        if seqpacket::send(link, KEEP, &fds).is_ok() {
            self.kept_at = Some(changes);
        }
    }

    /// Shows that the keeper goes on. Call it in every turn of the loop.
    pub(crate) fn beat(&self) {
        if let Some(page) = &self.page {
            page.beat();
        }
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let end_at = self.old.as_ref().map(|(_, at)| *at);
        self.start_at.into_iter().chain(end_at).min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.start_at.take_if(|at| *at <= now).is_some() {
            match self.start(now) {
                Ok(process) => {
                    if let Some(old) = self.serving.replace(process) {
                        let before = self.old.replace((old, now + OVERLAP));
                        before.iter().for_each(|(old, _)| old.end());
                    }
                }
                Err(why) => self.fail(now, why),
            }
        }
        if let Some((old, _)) = self.old.take_if(|(_, at)| *at <= now) {
            old.end();
        }
    }

    /// Takes in the exit of a child that is not reaped yet; whether it was a watcher.
    pub(crate) fn exited(&mut self, now: Instant, pid: u32, exit: Exit) -> bool {
        if self.old.take_if(|(old, _)| old.pid == pid).is_some() {
            return true;
        }
        let Some(process) = self.serving.take_if(|serving| serving.pid == pid) else {
            return false;
        };
        if self.page.is_none() {
            return true;
        }
        if now - process.since >= STABLE_AFTER {
            self.failures = 0;
        }
        let fault = process.starting.and_then(Starting::into_fault);
        let why = fault.map_or_else(|| exit.to_string(), |fault| fault.to_string());
        self.fail(now, format!("process {pid} ended: {why}"));
        true
    }

    /// Whether one of the processes is still to be reaped.
    pub(crate) fn is_idle(&self) -> bool {
        self.serving.is_none() && self.old.is_none()
    }

    /// There is nothing to do any more, whatever happens to the keeper: ends it.
    pub(crate) fn end(&mut self) {
        // Before the page goes, so that not even one that is slow to die does anything.
        self.write(&Will::default());
        self.page = None;
        self.link = None;
        self.written.clear();
        self.start_at = None;
        self.failures = 0;
        self.problem = None;
        self.serving.iter().chain(self.old.iter().map(|(old, _)| old)).for_each(Process::end);
    }

    /// Why a keeper that is killed would leave its addresses behind, for people.
    pub(crate) fn problem(&self) -> Option<String> {
        let why = self.problem.as_ref()?;
        Some(format!("no watcher takes over if the keeper is killed: {why}"))
    }

    /// What happened, for the operator; each is returned once.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn start(&mut self, now: Instant) -> Result<Process, String> {
        let page = self.page.as_ref().ok_or("there is nothing to share")?;
        let said = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        let image = Image::own().map_err(said("cannot open the running binary"))?;
        let keeper = pidfd_open(getpid(), PidfdFlags::empty()).map_err(io::Error::from);
        let keeper = keeper.map_err(said("this kernel has no pidfds (Linux 5.3)"))?;
        let (near, far) = seqpacket::pair().map_err(said("cannot make a socket"))?;
        let stderr = io::stderr();
        let starting = child::start(&Spec {
            program: "evergate".into(),
            image: Some(image.as_fd()),
            args: vec![SUBCOMMAND.into()],
            env: notify::variables().map(|name| (name.into(), None)).collect(),
            stdout: Some(stderr.as_fd()),
            fds: vec![(page.as_fd(), PAGE_FD), (keeper.as_fd(), KEEPER_FD), (far.as_fd(), LINK_FD)],
            no_new_privileges: true,
            ..Spec::default()
        });
        let starting = starting.map_err(|error| error.to_string())?;
        self.link = Some(near);
        self.kept_at = None;
        let pid = starting.pid();
        // It is not reaped yet, so this is it.
        let started_ticks = Known::now(pid).map_or(0, |known| known.started_ticks);
        Ok(Process { pid, started_ticks, since: now, starting: Some(starting) })
    }

    fn fail(&mut self, now: Instant, why: String) {
        let wait = match self.failures {
            0 => Duration::ZERO,
            failures => RESTART_BASE.saturating_mul(1 << (failures - 1).min(16)).min(RESTART_CAP),
        };
        self.failures = self.failures.saturating_add(1);
        self.start_at = Some(now + wait);
        self.notes.push(Note {
            severity: Severity::Warn,
            kind: "watcher_lost",
            subject: "keeper".to_owned(),
            reason: format!("the watcher is started again: {why}"),
        });
        // The first replacement comes at once.
        self.problem = (wait > Duration::ZERO).then_some(why);
    }
}

impl Process {
    fn end(&self) {
        // Not reaped yet, so the number is its own; gone already is as good.
        let _ = signal::send(self.pid, Signal::Kill);
    }
}

/// The same on its way into the keeper's next image.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(crate) struct Carried {
    #[n(0)]
    page: Option<Fd>,
    /// Number and start of each process.
    #[n(1)]
    processes: Vec<(u32, u64)>,
    #[n(2)]
    failures: u32,
    /// What it keeps it keeps as long as this is open, whatever becomes of the sockets here.
    #[n(3)]
    link: Option<Fd>,
}

impl Carried {
    /// What it refers to.
    pub(crate) fn uses(&self, uses: &mut Uses) {
        self.link.iter().for_each(|&link| uses.own(link));
        self.page.iter().for_each(|&page| uses.own(page));
    }

    /// Every process that must be there, running or not yet reaped, with the time of its start.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u32, u64)> {
        self.processes.iter().copied()
    }
}

impl Watch {
    /// All that is known.
    pub(crate) fn carry<'a>(&'a self, listing: &mut Listing<'a>) -> Carried {
        let processes = self.serving.iter().chain(self.old.iter().map(|(old, _)| old));
        Carried {
            page: self.page.as_ref().map(|page| listing.add(page)),
            processes: processes.map(|one| (one.pid, one.started_ticks)).collect(),
            failures: self.failures,
            link: self.link.as_ref().map(|link| listing.add(link)),
        }
    }

    /// What was carried. The watcher goes on meanwhile; [`Self::renew`] starts the next one.
    pub(crate) fn resume(carried: Carried, taken: &mut Taken, now: Instant) -> Self {
        let process =
            |(pid, started_ticks)| Process { pid, started_ticks, since: now, starting: None };
        let mut processes = carried.processes.into_iter().map(process);
        let serving = processes.next();
        let old = processes.next().map(|old| (old, now));
        let page = carried.page.map(|page| taken.owned(page));
        let link = carried.link.map(|link| taken.owned(link));
        let mut watch = Self { serving, old, link, failures: carried.failures, ..Self::default() };
        match page.map(Page::from_fd) {
            Some(Ok(page)) => watch.page = Some(page),
            // Of another release: nobody shows its watcher any more that the keeper goes on.
            Some(Err(_)) => watch.end(),
            None => {}
        }
        watch
    }

    /// Starts one of this image soon, in place of that of the image before, which stays a moment
    /// longer.
    pub(crate) fn renew(&mut self, now: Instant) {
        if self.page.is_some() {
            self.start_at = Some(now + RENEW_AFTER);
        }
    }
}

#[cfg(test)]
impl Carried {
    /// One with a process.
    pub(crate) fn sample() -> Self {
        Self {
            page: Some(Fd::of(90)),
            processes: vec![(5000, 999)],
            failures: 1,
            link: Some(Fd::of(92)),
        }
    }
}
