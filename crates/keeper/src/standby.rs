//! Virtual addresses: what the keeper performs of [`evergate_core::standby`].
//!
//! The machine decides who has which address. Here are the sockets that it hears and speaks through,
//! the addresses on the interfaces, and what it is told of this node. In each turn of the loop what
//! has arrived is taken in first, and only then the time: whoever was held up must know what the
//! others said meanwhile before it acts on a silence that was its own.
//!
//! Nothing of it is there on a node without a virtual address.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use evergate_control::link::{self, Listener, Outcome, StandbyNews};
use evergate_core::standby::{
    Birth, Input, Note, Order, Plan, RouterKey, Severity, Standby as Machine,
};
use evergate_core::time::Instant;
use evergate_core::track::Subject;
use evergate_sys::exit::Exit;
use evergate_sys::privilege::User;
use evergate_sys::{clock, random};
use rustix::event::epoll::{self, CreateFlags, EventData};

mod addresses;
mod adverts;
mod announce;
mod backing;
mod carried;
mod echo;
mod fight;
mod haste;
mod heartbeat;
pub(crate) mod hooks;
mod interface;
mod last_words;
mod lateness;
mod maintenance;
mod network;
mod news;
mod outputs;
mod passing;
mod pause;
mod peers;
mod plan;
mod verdicts;
mod vip;
pub(crate) mod watcher;

use self::addresses::Addresses;
use self::adverts::Speakers;
use self::announce::Neighbours;
pub(crate) use self::carried::Carried;
use self::echo::Asking;
use self::heartbeat::Heartbeat;
use self::hooks::Hooks;
use self::lateness::Lateness;
use self::network::Network;
use self::news::Telling;
use self::passing::Passing;
pub(crate) use self::passing::Retreat;
use self::verdicts::{Said, Verdicts};
use self::vip::Vips;
use self::watcher::Watch;
use crate::apps::Apps;
use crate::report;
use crate::sockets::Sockets;

/// Names of what is waited for.
const ADVERTS: EventData = EventData::new_u64(0);
const NETWORK: EventData = EventData::new_u64(1);
const CLAIMS: EventData = EventData::new_u64(2);
const PEERS: EventData = EventData::new_u64(3);
const ECHOES: EventData = EventData::new_u64(4);
const PACKETS: EventData = EventData::new_u64(5);
/// What an operator is told who wants something of addresses that are not there.
const NO_VIP: &str = "this node has no virtual address";

/// Everything about virtual addresses.
#[derive(Debug, Default)]
pub(crate) struct Standby {
    /// What was said of tracked things. It may come before anybody tracks them.
    said: Said,
    /// Nothing without a virtual address.
    running: Option<Box<Running>>,
}

/// What there is while there are virtual addresses.
#[derive(Debug)]
struct Running {
    machine: Machine,
    /// As it was applied last.
    wish: link::Standby,
    vips: Vips,
    /// Can be read when one of its descriptors can.
    events: OwnedFd,
    network: Network,
    speakers: Speakers,
    addresses: Addresses,
    neighbours: Neighbours,
    heartbeat: Heartbeat,
    asking: Asking,
    passing: Passing,
    verdicts: Verdicts,
    hooks: Hooks,
    watch: Watch,
    lateness: Lateness,
    telling: Telling,
    notes: Vec<Note>,
    /// What cannot be done, by what it is about.
    problems: BTreeMap<String, String>,
    /// What can be sent from where may have changed.
    is_stale: bool,
    /// What is to be told to the network once more.
    to_announce: BTreeSet<RouterKey>,
    /// When to try again what failed.
    retry_at: Option<Instant>,
    /// When it was told last that timers are late.
    late_told_at: Option<Instant>,
    /// Where to remember that the operator has taken this node out of service.
    run_dir: Option<String>,
    is_stopping: bool,
    /// Whether every address was given up, after it was told to stop.
    is_idle: bool,
    /// Whether nothing is said any more, and no address put anywhere.
    is_closed: bool,
}

impl Standby {
    /// From now on virtual addresses are to be like this. What stays as it was is not disturbed.
    pub(crate) fn apply(&mut self, now: Instant, wish: link::Standby, run_dir: Option<&str>) {
        if self.running.is_none() && !wish.plan.routers.is_empty() {
            match Running::new(now, run_dir) {
                Ok(running) => self.running = Some(Box::new(running)),
                Err(error) => report(format_args!("no virtual address can be had: {error}")),
            }
        }
        if let Some(running) = &mut self.running {
            running.apply(now, wish);
        }
    }

    /// What became of the listeners.
    pub(crate) fn listen<'a>(
        &mut self,
        outcomes: impl Iterator<Item = (&'a Listener, &'a Outcome)>,
    ) {
        self.said.listen(outcomes);
    }

    /// The worker has judged something.
    pub(crate) fn judge(&mut self, subject: Subject, failure: Option<String>) {
        self.said.judge(subject, failure);
    }

    /// Does what the operator wants; says step by step what that is, or why it is not done.
    pub(crate) fn order(&mut self, now: Instant, order: Order) -> Result<Vec<String>, String> {
        let running = self.running.as_mut().ok_or(NO_VIP)?;
        running.order(now, order)
    }

    /// Takes in what has arrived, then the time, and does what follows.
    pub(crate) fn attend(&mut self, now: Instant, apps: &Apps, sockets: &Sockets) {
        if let Some(running) = &mut self.running {
            running.passing.listeners.clear();
            running.passing.listeners.extend(sockets.tcp().cloned());
            running.attend(now, apps, &self.said);
            if running.is_over() {
                haste::unmake();
                self.running = None;
            }
        }
    }

    /// The same where the rest of the keeper cannot be looked at: in the midst of something that
    /// takes a while.
    pub(crate) fn keep_time(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.keep_time(now);
        }
    }

    /// Starts programs that are to be called when a role changes, as `user` if that is another than
    /// we are.
    pub(crate) fn call_hooks(&mut self, now: Instant, user: Option<&User>) {
        if let Some(running) = &mut self.running {
            running.hooks.act(now, user);
            let notes = running.hooks.take_notes();
            running.notes.extend(notes);
        }
    }

    /// Takes in the exit of a child that is not reaped yet; whether it was a hook or a watcher.
    pub(crate) fn exited(&mut self, now: Instant, pid: u32, exit: Exit) -> bool {
        self.running.as_mut().is_some_and(|running| {
            running.watch.exited(now, pid, exit) || running.hooks.exited(pid, exit)
        })
    }

    /// When to attend next, if nothing arrives before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.running.as_ref()?.deadline()
    }

    /// What has happened since the last call.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        self.running.as_mut().map_or_else(Vec::new, |running| std::mem::take(&mut running.notes))
    }

    /// Which connections are to end politely because addresses have moved, if that has changed.
    pub(crate) fn take_retreat(&mut self) -> Option<Retreat> {
        self.running.as_mut().and_then(|running| running.passing.take_retreat())
    }

    /// Something waits until no move is under way.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.feed(now, Input::Hasten);
        }
    }

    /// How virtual addresses are, if it is time to tell.
    pub(crate) fn take_news(&mut self, now: Instant) -> Option<StandbyNews> {
        let running = self.running.as_mut()?;
        running.telling.take(now).then(|| running.news(now))
    }

    /// How virtual addresses are now, for somebody new.
    pub(crate) fn news(&self, now: Instant) -> Option<StandbyNews> {
        self.running.as_ref().map(|running| running.news(now))
    }

    /// The node ends: addresses are given up in order. See [`Standby::is_idle`].
    pub(crate) fn stop(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.is_stopping = true;
            running.feed(now, Input::Stop);
        }
    }

    /// Whether no address is held any more, after [`Standby::stop`], or there never was one.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.as_ref().is_none_or(|running| running.is_idle)
    }

    /// Whether every program that is to be called when a role changes was called, and has ended.
    pub(crate) fn has_told(&self) -> bool {
        self.running.as_ref().is_none_or(|running| running.hooks.is_idle())
    }

    /// Removes every address that is still on an interface because of us, and says nothing any more.
    pub(crate) fn close(&mut self) {
        if let Some(running) = &mut self.running {
            running.close();
        }
    }

    /// The worker cannot be brought back, and why; or it was.
    pub(crate) fn set_helpless(&mut self, now: Instant, why: Option<String>) {
        if let Some(running) = &mut self.running {
            running.feed(now, why.map_or(Input::Helped, |why| Input::Helpless { why }));
        }
    }

    /// What can be read when there is something to take in; nothing without a virtual address.
    pub(crate) fn events(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.events.as_fd())
    }
}

impl Running {
    fn new(now: Instant, run_dir: Option<&str>) -> io::Result<Self> {
        let birth = Birth { now, unix_ms: clock::unix_millis(), seed: random::seed() };
        let events = epoll::create(CreateFlags::CLOEXEC)?;
        let network = Network::open(events.as_fd())?;
        let mut running = Self {
            machine: Machine::new(Plan::default(), birth),
            wish: link::Standby::default(),
            vips: Vips::new(),
            events,
            network,
            speakers: Speakers::default(),
            addresses: Addresses::default(),
            neighbours: Neighbours::default(),
            heartbeat: Heartbeat::new(random::seed()),
            asking: Asking::new(random::seed()),
            passing: Passing::default(),
            verdicts: Verdicts::default(),
            hooks: Hooks::default(),
            watch: Watch::default(),
            lateness: Lateness::default(),
            telling: Telling::default(),
            notes: Vec::new(),
            problems: BTreeMap::new(),
            is_stale: false,
            to_announce: BTreeSet::new(),
            retry_at: None,
            late_told_at: None,
            run_dir: run_dir.map(str::to_owned),
            is_stopping: false,
            is_idle: false,
            is_closed: false,
        };
        running.make_haste();
        if let Err(error) = Passing::sweep(&running.network) {
            report(format_args!("what was hidden before stays hidden: {error}"));
        }
        Ok(running)
    }

    /// One turn.
    fn attend(&mut self, now: Instant, apps: &Apps, said: &Said) {
        let due = self.machine.deadline();
        self.hear(now);
        self.tend_peers(now);
        self.judge(now, apps, said);
        self.follow_clock(now, due);
        self.look_after_watcher(now);
    }

    fn keep_time(&mut self, now: Instant) {
        let due = self.machine.deadline();
        self.hear(now);
        self.follow_clock(now, due);
    }

    /// Takes in the time, once all that has arrived is known, and does what follows; `due` is when
    /// something was to be done before that.
    fn follow_clock(&mut self, now: Instant, due: Option<Instant>) {
        if let Some(due) = due.filter(|due| *due <= now) {
            self.note_lateness(due, now);
        }
        if self.machine.deadline().is_some_and(|at| at <= now) {
            self.feed(now, Input::Tick);
        }
        self.pass(now);
        self.perform(now);
        self.bequeath();
        self.watch.beat();
    }

    fn judge(&mut self, now: Instant, apps: &Apps, said: &Said) {
        let verdicts = self.verdicts.judge(now, apps, self.network.interfaces(), said);
        for (subject, failure) in verdicts {
            self.feed(now, Input::Verdict { subject, failure });
            self.telling.mark();
        }
    }

    /// Tells the machine.
    fn feed(&mut self, now: Instant, input: Input) {
        self.machine.handle(now, input);
    }

    fn note(&mut self, severity: Severity, kind: &'static str, subject: String, reason: String) {
        self.notes.push(Note { severity, kind, subject, reason });
        self.telling.mark();
    }

    fn order(&mut self, now: Instant, order: Order) -> Result<Vec<String>, String> {
        let is_on = match order {
            Order::Maintenance { is_on } => Some(is_on),
            Order::Failover { .. } => None,
        };
        let mut steps = self.machine.order(now, order)?;
        if let (Some(is_on), Some(run_dir)) = (is_on, &self.run_dir)
            && let Err(why) = maintenance::remember(run_dir, is_on)
        {
            steps.push(why);
        }
        self.telling.mark();
        Ok(steps)
    }

    fn deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.machine.deadline(),
            self.verdicts.deadline(),
            self.telling.deadline(),
            self.hooks.deadline(),
            self.watch.deadline(),
            self.peers_deadline(),
            self.passing.deadline(),
            Addresses::deadline(&self.vips),
            self.retry_at,
        ];
        deadlines.into_iter().flatten().min()
    }

    fn close(&mut self) {
        self.is_closed = true;
        self.stop_passing();
        self.speakers = Speakers::default();
        self.vips.values_mut().for_each(|vip| vip.set_held(false));
        self.take_all_away();
        // Only now, for until here there was something to lose.
        self.watch.end();
    }

    /// Whether nothing is left of it.
    fn is_over(&self) -> bool {
        self.wish.plan.routers.is_empty()
            && !self.is_stopping
            && self.vips.is_empty()
            && self.hooks.is_idle()
            && self.watch.is_idle()
            && self.notes.is_empty()
    }
}
