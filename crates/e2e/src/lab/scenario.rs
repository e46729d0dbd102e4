//! What is done to the nodes, and what must hold then.

mod deaths;
mod moves;
mod networks;
mod repairs;
mod splits;
mod storms;
mod together;
mod variants;

use std::fmt;
use std::time::Duration;

use super::capture::{self, Advert, Capture};
use super::probe::Probe;
use super::product::{Contender, Variant, Wish};
use super::{Moment, Stage, Trace, pause, process, wait_within};

/// How long requests run before the fault.
const BEFORE: Duration = Duration::from_millis(200);
/// And after what follows from it.
const QUIET: Duration = Duration::from_millis(400);
/// Bytes of a version 3 advert for one IPv4 address, without the header of IP.
const ADVERT_BYTES: usize = 12;
/// Bytes that a seal adds.
const SEAL_BYTES: usize = 28;
/// How long the address may take to move before it counts as lost: whoever is merely slow comes to
/// it.
const MOVED_WITHIN: Duration = Duration::from_secs(30);

/// One of them.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// For the command line.
    pub name: &'static str,
    /// What happens, for tables.
    pub about: &'static str,
    /// What must hold.
    pub bound: Bound,
    /// What the nodes are like.
    pub wish: Wish,
    /// Whether others than Evergate can do it.
    pub is_for_all: bool,
    /// How often it runs, if nobody says.
    pub runs: usize,
    play: fn(&mut Play),
}

/// What is measured, and how much of it is too much.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bound {
    /// From the last answer of the old node to the first of the new one, in milliseconds: median
    /// and maximum.
    Gap(u64, u64),
    /// The longest time without an answer, in milliseconds, in every run.
    Silence(u64),
    /// Not one request fails.
    Lossless,
    /// What the scenario itself takes the time of, in milliseconds, in every run.
    Own(u64),
    /// What the scenario itself looks at.
    Checks,
}

/// A scenario while it is played.
#[derive(Debug)]
pub struct Play {
    /// The nodes.
    pub stage: Stage,
    /// Who they are.
    pub contender: Contender,
    /// When the fault began.
    pub event: Option<Moment>,
    /// What does not hold, for people.
    pub problems: Vec<String>,
    /// What does not hold either, and need not where the machine stands still for longer than a node
    /// may be silent: then another one takes over, as it should.
    pub late: Vec<String>,
    /// What the scenario took the time of.
    pub own: Option<Duration>,
    /// How much of it there is to be.
    pub extent: Extent,
    probe: Option<Probe>,
    capture: Option<Capture>,
    /// A line for each packet, once the capture has ended.
    wire: Vec<String>,
}

/// How much of a scenario is played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extent {
    /// For how long a fault that lasts is to last.
    pub lasting: Duration,
    /// How long the probe waits for an answer.
    pub patience: Duration,
    /// Whether what happens again and again happens as often as is promised to be stood.
    pub is_full: bool,
}

impl Scenario {
    /// Every one.
    pub fn all() -> Vec<Self> {
        let usual = [deaths::ALL, networks::ALL, moves::ALL, splits::ALL, repairs::ALL];
        [usual.concat(), storms::ALL.to_vec(), together::ALL.to_vec(), variants::ALL.to_vec()]
            .concat()
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|scenario| scenario.name == name)
    }

    /// Whether `contender` can do it.
    pub fn is_for(&self, contender: Contender) -> bool {
        self.is_for_all || contender == Contender::Evergate
    }

    /// Plays it.
    pub(super) fn play(&self, play: &mut Play) {
        (self.play)(play);
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Play {
    /// On this stage.
    pub fn on(stage: Stage, contender: Contender, extent: Extent) -> Self {
        let capture = Capture::start(&stage.network.client);
        Self {
            stage,
            contender,
            event: None,
            problems: Vec::new(),
            late: Vec::new(),
            own: None,
            extent,
            probe: None,
            capture,
            wire: Vec::new(),
        }
    }

    /// How often something is done.
    fn count(&self, few: usize, full: usize) -> usize {
        if self.extent.is_full { full } else { few }
    }

    /// Every advert that the client has seen. There is no capture after this.
    fn adverts(&mut self) -> Vec<Advert> {
        self.end_capture();
        self.wire.iter().filter_map(|line| Advert::read(line)).collect()
    }

    fn end_capture(&mut self) {
        if let Some(capture) = self.capture.take() {
            self.wire = capture.stop();
        }
    }

    /// What was on the wire, for people.
    pub(super) fn evidence(&mut self) -> Vec<String> {
        self.end_capture();
        capture::without_repeats(&self.wire)
    }

    /// Starts the probe, lets it run for a while that ends at any phase of what goes on, and notes
    /// the time: the fault is next.
    fn begin(&mut self) {
        self.start_probe();
        self.mark();
    }

    fn start_probe(&mut self) {
        self.probe = Some(self.stage.probe(self.extent.patience));
        let interval = match self.contender {
            Contender::Evergate => 30_000_000,
            Contender::Keepalived(profile) => profile.interval.as_nanos() as u64,
        };
        pause(BEFORE + Duration::from_nanos(Moment::now().0 % interval));
    }

    fn mark(&mut self) {
        self.event = Some(Moment::now());
    }

    fn probe(&self) -> &Probe {
        self.probe.as_ref().expect("it was started")
    }

    /// Waits until somebody else than the first node answers, then a little longer.
    fn wait_for_move(&mut self) {
        let old = self.probe().turns()[0];
        let moved = self.probe().wait_for_other(old, MOVED_WITHIN);
        self.expect(moved, || format!("nobody else answers within {MOVED_WITHIN:?}"));
        pause(QUIET);
    }

    /// Waits until exactly `owner` has the address.
    fn wait_for_owner(&mut self, owner: usize) {
        let came = self.stage.wait_for_owner(owner, MOVED_WITHIN);
        let holders = self.stage.network.holders();
        self.expect(came, || {
            format!("after {MOVED_WITHIN:?} the address is at nodes {holders:?}, not at {owner}")
        });
    }

    /// Waits until something holds that is then expected.
    fn wait_until(&mut self, what: &str, mut ready: impl FnMut(&mut Stage) -> bool) {
        let stage = &mut self.stage;
        let came = wait_within(MOVED_WITHIN, || ready(stage));
        self.expect(came, || format!("after {MOVED_WITHIN:?} it is not so that {what}"));
    }

    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(otherwise());
        }
    }

    /// The same of what a machine that stands still can bring about.
    fn expect_in_time(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.late.push(otherwise());
        }
    }

    /// Ends the probe; what it saw.
    pub(super) fn finish(&mut self) -> Trace {
        let Some(mut probe) = self.probe.take() else { return Trace::default() };
        let is_alive = probe.is_alive();
        let trace = probe.stop();
        // One that has seen nothing has seen nothing fail.
        self.expect(is_alive && !trace.fresh.is_empty(), || {
            "the probe ended before the run".to_owned()
        });
        trace
    }

    /// Expects that adverts were what `wish` wants.
    pub(super) fn expect_adverts(&mut self, wish: Wish) {
        if self.contender != Contender::Evergate || process::program("tcpdump").is_none() {
            return;
        }
        let adverts = self.adverts();
        let is_wished = |advert: &Advert| match wish.variant {
            Variant::Plain => advert.to.is_multicast() && advert.bytes == ADVERT_BYTES,
            Variant::Ipv6 => advert.to.is_multicast() && advert.from.is_ipv6(),
            Variant::Hmac => advert.bytes == ADVERT_BYTES + SEAL_BYTES,
            // A switch that has forgotten where a node is asks for it everywhere.
            Variant::Unicast => !advert.to.is_multicast(),
        };
        let is_companion = |advert: &Advert| wish.has_companion && advert.from.is_ipv6();
        let is_any = !adverts.is_empty() || wish.variant == Variant::Unicast;
        self.expect(is_any, || "the client has seen no advert".to_owned());
        let other = adverts.iter().find(|advert| !is_wished(advert) && !is_companion(advert));
        self.expect(other.is_none(), || format!("there was {other:?}"));
    }
}
