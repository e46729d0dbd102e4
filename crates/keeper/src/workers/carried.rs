//! Workers on their way into the keeper's next image. They notice nothing: the link is the same, and
//! nothing is said again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::rc::Rc;

use evergate_control::link::{Desired, Run};
use evergate_core::supervise::worker::Worker as Machine;
use evergate_core::time::Instant;
use evergate_sys::image::Image;
use evergate_sys::process::Known;
use minicbor::{Decode, Encode};

use super::{Standing, Worker, Workers};
use crate::Options;
use crate::binary::Binary;
use crate::carried::{Fd, Listing, Taken, Uses};
use crate::files::Readable;
use crate::link::{self, Link};

/// Every worker.
#[derive(Clone, Debug, Decode, Encode)]
pub(crate) struct Carried {
    #[n(0)]
    machine: Machine,
    /// What workers were or will be started from.
    #[n(1)]
    binaries: Vec<CarriedBinary>,
    /// Which of these the next primary one is started from.
    #[n(2)]
    binary: u32,
    #[n(3)]
    primary: Option<u32>,
    #[n(4)]
    all: Vec<CarriedWorker>,
    #[n(5)]
    count: u32,
    #[n(6)]
    keeper_started_at: u64,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct CarriedBinary {
    #[n(0)]
    path: String,
    #[n(1)]
    image: Fd,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct CarriedWorker {
    #[n(0)]
    generation: u32,
    #[n(1)]
    pid: u32,
    #[n(2)]
    started_ticks: u64,
    #[n(3)]
    link: Option<link::Carried>,
    /// Which of the binaries it was started from.
    #[n(4)]
    binary: u32,
    #[n(5)]
    version: Option<String>,
    #[n(6)]
    is_ready: bool,
    #[n(7)]
    has_drained: bool,
    #[n(8)]
    desired: Option<Desired>,
    /// Files that it named.
    #[n(9)]
    named: Vec<String>,
    #[n(10)]
    users: Vec<String>,
    #[n(11)]
    shared: Option<Fd>,
    #[n(12)]
    kill_at: Option<u64>,
    #[n(13)]
    standing: Standing,
    #[n(14)]
    since_ms: u64,
    /// Runs that it has nothing in flight to any more.
    #[n(15)]
    idle: Vec<Run>,
    #[n(16)]
    is_killed: bool,
    #[n(17)]
    #[cbor(default)]
    knows_trials: bool,
}

impl Carried {
    /// What it refers to.
    pub(crate) fn uses(&self, uses: &mut Uses) {
        self.binaries.iter().for_each(|binary| uses.own(binary.image));
        for worker in &self.all {
            worker.link.iter().for_each(|link| link.uses(uses));
            worker.shared.iter().for_each(|&fd| uses.share(fd));
        }
    }

    /// Whether every worker is of a binary that is there.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut binaries = self.all.iter().map(|worker| worker.binary).chain([self.binary]);
        match binaries.find(|&binary| self.binaries.get(binary as usize).is_none()) {
            Some(binary) => Err(format!("a worker is of binary {binary}, which is not there")),
            None => Ok(()),
        }
    }

    /// Every process that must be there, running or not yet reaped, with the time of its start.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u32, u64)> {
        self.all.iter().map(|worker| (worker.pid, worker.started_ticks))
    }
}

impl Workers {
    /// All of them.
    pub(crate) fn carry<'a>(&'a self, listing: &mut Listing<'a>) -> io::Result<Carried> {
        let mut binaries = Binaries::default();
        let binary = binaries.add(&self.binary, listing);
        let mut all = Vec::new();
        for (&generation, worker) in &self.all {
            let binary = binaries.add(&worker.binary, listing);
            all.push(worker.carry(generation, binary, listing)?);
        }
        Ok(Carried {
            machine: self.machine.clone(),
            binaries: binaries.carried,
            binary,
            primary: self.primary,
            all,
            count: self.count,
            keeper_started_at: self.keeper_started_at,
        })
    }

    /// Those that were carried, and were found to be well.
    pub(crate) fn resume(carried: Carried, options: &Options, taken: &mut Taken) -> Self {
        let binaries = carried.binaries.into_iter().map(|binary| {
            let image = Image::from_fd(taken.owned(binary.image));
            let image = image.expect("it was an image before, and is the same file");
            Rc::new(Binary::resume(PathBuf::from(binary.path), image))
        });
        let binaries: Vec<Rc<Binary>> = binaries.collect();
        let all = carried.all.into_iter().map(|worker| {
            let binary = Rc::clone(&binaries[worker.binary as usize]);
            (worker.generation, Worker::resume(worker, binary, options, taken))
        });
        Self {
            all: all.collect::<BTreeMap<_, _>>(),
            machine: carried.machine,
            binary: Rc::clone(&binaries[carried.binary as usize]),
            primary: carried.primary,
            count: carried.count,
            keeper_started_at: carried.keeper_started_at,
        }
    }
}

/// Binaries, each once.
#[derive(Debug, Default)]
struct Binaries {
    numbers: BTreeMap<i32, u32>,
    carried: Vec<CarriedBinary>,
}

impl Binaries {
    fn add<'a>(&mut self, binary: &'a Rc<Binary>, listing: &mut Listing<'a>) -> u32 {
        let next = self.carried.len() as u32;
        let number = *self.numbers.entry(binary.as_fd().as_raw_fd()).or_insert(next);
        if number == next {
            let path = binary.path().to_string_lossy().into_owned();
            self.carried.push(CarriedBinary { path, image: listing.add(binary.as_ref()) });
        }
        number
    }
}

impl Worker {
    fn carry<'a>(
        &'a self,
        generation: u32,
        binary: u32,
        listing: &mut Listing<'a>,
    ) -> io::Result<CarriedWorker> {
        Ok(CarriedWorker {
            generation,
            pid: self.pid,
            // It is not reaped yet, so this is it.
            started_ticks: Known::now(self.pid)?.started_ticks,
            link: self.link.as_ref().map(|link| link.carry(listing)),
            binary,
            version: self.version.clone(),
            is_ready: self.is_ready,
            has_drained: self.has_drained,
            desired: self.desired.clone(),
            named: self.readable.named(),
            users: self.users.clone(),
            shared: self.shared.as_ref().map(|file| listing.add(file)),
            kill_at: self.kill_at.map(Instant::as_nanos),
            standing: self.standing,
            since_ms: self.since_ms,
            idle: self.idle.iter().cloned().collect(),
            is_killed: self.is_killed,
            knows_trials: self.knows_trials,
        })
    }

    fn resume(
        carried: CarriedWorker,
        binary: Rc<Binary>,
        options: &Options,
        taken: &mut Taken,
    ) -> Self {
        let mut readable = Readable::new(options.config_dir.clone());
        readable.name(carried.named);
        Self {
            pid: carried.pid,
            link: carried.link.map(|link| Link::resume(link, taken)),
            binary,
            version: carried.version,
            is_ready: carried.is_ready,
            has_drained: carried.has_drained,
            desired: carried.desired,
            readable,
            knows_trials: carried.knows_trials,
            users: carried.users,
            shared: carried.shared.map(|file| taken.shared(file)),
            idle: carried.idle.into_iter().collect(),
            broken: None,
            is_killed: carried.is_killed,
            is_lost: false,
            kill_at: carried.kill_at.map(Instant::from_nanos),
            standing: carried.standing,
            since_ms: carried.since_ms,
        }
    }
}

#[cfg(test)]
impl Carried {
    /// Two of different binaries.
    pub(crate) fn sample() -> Self {
        use evergate_core::supervise::worker::{Input, Policy};

        let mut machine = Machine::new(Policy::default());
        machine.handle(Instant::from_nanos(1_000_000_000), Input::Start);
        machine.handle(Instant::from_nanos(2_000_000_000), Input::Ready);
        let binary =
            |path: &str, number| CarriedBinary { path: path.to_owned(), image: Fd::of(number) };
        let worker = |generation: u32, standing| CarriedWorker {
            generation,
            pid: 3000 + generation,
            started_ticks: 555,
            link: Some(link::Carried::sample(60 + generation as i32)),
            binary: generation - 1,
            version: Some("0.1.0".to_owned()),
            is_ready: true,
            has_drained: standing != Standing::Primary,
            desired: Some(Desired {
                run_dir: Some("/run/evergate".to_owned()),
                ..Desired::default()
            }),
            named: vec!["/etc/ssl/key.pem".to_owned()],
            users: vec!["shop".to_owned()],
            shared: Some(Fd::of(70)),
            kill_at: Some(9_000_000_000),
            standing,
            since_ms: 1_700_000_000_000,
            idle: vec![Run { app: "shop".to_owned(), number: 1, generation: 6 }],
            is_killed: false,
            knows_trials: standing == Standing::Primary,
        };
        Self {
            machine,
            binaries: vec![binary("/usr/bin/evergate", 50), binary("/opt/evergate", 51)],
            binary: 1,
            primary: Some(2),
            all: vec![worker(1, Standing::Leaving), worker(2, Standing::Primary)],
            count: 2,
            keeper_started_at: 1_700_000_000,
        }
    }
}
