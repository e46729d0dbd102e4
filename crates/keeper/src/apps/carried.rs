//! Apps on their way into the next image of the keeper. The machine that decides about them goes by
//! itself; here is what it does not know.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use evergate_control::link::{self, App, Happening, Observed};
use evergate_core::rng::Rng;
use evergate_core::supervise::fleet::Fleet;
use evergate_core::time::Instant;
use evergate_sys::cgroup::{self, Cgroups, Group};
use minicbor::{Decode, Encode};

use super::known::Known;
use super::news::News;
use super::notices::Ears;
use super::process::CarriedProcess;
use super::revision::{CarriedRevision, Revision};
use super::spawn::Supplies;
use super::users::{CarriedUsers, Users};
use super::watch::Clocks;
use super::{Apps, Audience, message, policy};
use crate::carried::{Fd, Listing, Taken, Uses};
use crate::ports::Ports;

/// What is known of apps and their runs.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(crate) struct Carried {
    #[n(0)]
    known: Vec<CarriedKnown>,
    #[n(1)]
    processes: Vec<CarriedProcess>,
    #[n(2)]
    users: CarriedUsers,
    #[n(3)]
    run_dir: Option<String>,
    #[n(4)]
    files_max: u64,
    #[n(5)]
    audience: CarriedAudience,
    #[n(6)]
    is_ending: bool,
    /// Ports at rest, and since when.
    #[n(7)]
    resting: Vec<(u16, u64)>,
    #[n(8)]
    oom_seen: Option<u64>,
    /// Control groups that are to be removed.
    #[n(9)]
    retiring: Vec<Vec<cgroup::Carried>>,
}

/// What is still to be told. Without it a worker misses news, no more.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(crate) struct CarriedNews {
    #[n(0)]
    news: Vec<Happening>,
    #[n(1)]
    lost: u64,
    /// Output of runs that ended while there was no worker.
    #[n(2)]
    leftovers: Vec<(link::Run, Fd)>,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct CarriedKnown {
    #[n(0)]
    app: App,
    #[n(1)]
    is_desired: bool,
    #[n(2)]
    newest: u32,
    #[n(3)]
    revisions: Vec<(u32, CarriedRevision)>,
    #[n(4)]
    limits: Vec<String>,
}

#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
enum CarriedAudience {
    #[default]
    #[n(0)]
    Nobody,
    #[n(1)]
    Greeted,
    #[n(2)]
    Serving,
}

impl Carried {
    /// What it refers to.
    pub(crate) fn uses(&self, uses: &mut Uses) {
        self.processes.iter().for_each(|process| process.uses(uses));
    }

    /// Whether every run is of something that is known.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.processes.iter().try_for_each(|process| {
            let app = self.known.iter().find(|known| known.app.name == process.app());
            let knows =
                |number| app.is_some_and(|app| app.revisions.iter().any(|&(one, _)| one == number));
            process.check(knows)
        })
    }

    /// Every process that must be there, running or not yet reaped, with the time of its start.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u32, u64)> {
        self.processes.iter().filter_map(CarriedProcess::child)
    }
}

impl CarriedNews {
    /// What it refers to.
    pub(crate) fn uses(&self, uses: &mut Uses) {
        self.leftovers.iter().for_each(|&(_, fd)| uses.share(fd));
    }
}

impl Apps {
    /// What is known, but for what the machine knows. All that waits to be told was told.
    pub(crate) fn carry<'a>(&'a self, listing: &mut Listing<'a>) -> Carried {
        debug_assert!(self.outbox.is_empty() && !self.is_dirty, "told before");
        let supplies = &self.supplies;
        let processes = self.processes.iter().map(|(run, process)| {
            let known = self.known.get(&run.app);
            let revision = known.and_then(|known| known.number_of(process.revision()));
            process.carry(message::run(run), revision, listing)
        });
        let processes = processes.collect();
        let retiring = self.retiring.iter().chain(supplies.cgroups.retired());
        Carried {
            known: self.known.values().map(Known::carry).collect(),
            processes,
            users: supplies.users.carry(),
            run_dir: supplies.run_dir.clone(),
            files_max: supplies.files_max,
            audience: match self.audience {
                Audience::Nobody => CarriedAudience::Nobody,
                // No keeper becomes another binary between two workers; the next one says more.
                Audience::Between | Audience::Greeted => CarriedAudience::Greeted,
                Audience::Serving => CarriedAudience::Serving,
            },
            is_ending: self.is_ending,
            resting: supplies.ports.carry(),
            oom_seen: self.oom_kills.seen(),
            retiring: retiring.map(Group::carry).collect(),
        }
    }

    /// What is still to be told.
    pub(crate) fn carry_news<'a>(&'a self, listing: &mut Listing<'a>) -> CarriedNews {
        let (news, lost) = self.news.carry();
        let leftovers = self.leftovers.iter();
        let leftovers = leftovers.map(|(run, end)| (message::run(run), listing.add(end)));
        CarriedNews { news, lost, leftovers: leftovers.collect() }
    }

    /// The machine that decides.
    pub(crate) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Apps as they were carried, and were found to be well. What fails here panics: then the image
    /// before goes on, and must find the files of runs where they were.
    pub(crate) fn resume(
        carried: Carried,
        news: CarriedNews,
        (fleet, mut rng): (Fleet, Rng),
        now: Instant,
        taken: &mut Taken,
    ) -> io::Result<Self> {
        let ears = Ears::new()?;
        let mut cgroups = Cgroups::detect();
        cgroups.claim_again();
        let oom_kills = cgroups.oom_kills_outside().since(carried.oom_seen);
        let known = carried.known.into_iter().map(|known| (known.app.name.clone(), known));
        let known: BTreeMap<String, Known> =
            known.map(|(name, known)| (name, Known::resume(known))).collect();
        let mut processes = BTreeMap::new();
        let mut used = Vec::new();
        for process in carried.processes {
            used.extend(process.port());
            let run = policy::run(process.run());
            let revisions = known.get(&run.app).map(|known| &known.revisions);
            processes.insert(run, process.resume(revisions, &ears, taken));
        }
        let ports = Ports::resume(Rng::seeded(rng.next_u64()), used, carried.resting);
        let supplies = Supplies {
            ports,
            users: Users::resume(carried.users),
            ears,
            files_max: carried.files_max,
            run_dir: carried.run_dir,
            cgroups,
            problems: Vec::new(),
        };
        let leftover = |(run, end)| (policy::run(run), taken.shared(end));
        let mut apps = Self {
            fleet,
            known,
            processes,
            supplies,
            oom_kills,
            audience: match carried.audience {
                CarriedAudience::Nobody => Audience::Nobody,
                CarriedAudience::Greeted => Audience::Greeted,
                CarriedAudience::Serving => Audience::Serving,
            },
            news: News::resume(news.news, news.lost),
            outbox: Vec::new(),
            leftovers: news.leftovers.into_iter().map(leftover).collect(),
            retiring: carried.retiring.into_iter().filter_map(Group::resume).collect(),
            has_retired: false,
            told: Observed::default(),
            is_dirty: false,
            is_owed: false,
            is_ending: carried.is_ending,
            clocks: Clocks::default(),
            changes: 0,
        };
        // That was told before; only what differs from it is news.
        apps.told = apps.observe(now);
        apps.set_clocks(now);
        Ok(apps)
    }
}

impl Known {
    fn carry(&self) -> CarriedKnown {
        let carry = |(&number, revision): (&u32, &Rc<Revision>)| (number, revision.carry());
        CarriedKnown {
            app: self.app.clone(),
            is_desired: self.is_desired,
            newest: self.newest,
            revisions: self.revisions.iter().map(carry).collect(),
            limits: self.limits.clone(),
        }
    }

    /// Under which number a revision is known.
    fn number_of(&self, revision: &Rc<Revision>) -> Option<u32> {
        let mut revisions = self.revisions.iter();
        revisions.find(|(_, one)| Rc::ptr_eq(one, revision)).map(|(&number, _)| number)
    }

    fn resume(carried: CarriedKnown) -> Self {
        let resume = |(number, revision)| (number, Rc::new(Revision::resume(revision)));
        Self {
            app: carried.app,
            is_desired: carried.is_desired,
            newest: carried.newest,
            revisions: carried.revisions.into_iter().map(resume).collect(),
            limits: carried.limits,
        }
    }
}

#[cfg(test)]
impl Carried {
    /// Two runs of an app with two revisions.
    pub(crate) fn sample() -> Self {
        let app = App { name: "shop".to_owned(), run: vec!["serve".to_owned()], ..App::default() };
        let revisions = (1..=2).map(|number| (number, CarriedRevision::sample(app.clone())));
        Self {
            processes: vec![CarriedProcess::sample("shop", 0), CarriedProcess::sample("shop", 1)],
            known: vec![CarriedKnown {
                app: app.clone(),
                is_desired: true,
                newest: 2,
                revisions: revisions.collect(),
                limits: vec!["memory: 64 MiB by cgroup v2".to_owned()],
            }],
            users: CarriedUsers::sample(),
            run_dir: Some("/run/evergate".to_owned()),
            files_max: 1024,
            audience: CarriedAudience::Serving,
            is_ending: false,
            resting: vec![(31_007, 5_000_000_000)],
            oom_seen: Some(3),
            retiring: vec![vec![]],
        }
    }
}

#[cfg(test)]
impl CarriedNews {
    /// An event and the output of a run that ended.
    pub(crate) fn sample() -> Self {
        let run = link::Run { app: "shop".to_owned(), number: 2, generation: 9 };
        let news = Happening {
            severity: link::Severity::Warn,
            kind: "app_exited".to_owned(),
            subject: "app.shop/2".to_owned(),
            reason: "exit status 3".to_owned(),
        };
        Self { news: vec![news], lost: 4, leftovers: vec![(run, Fd::of(40))] }
    }
}

/// One app with two instances, which were just told to start.
#[cfg(test)]
pub(crate) fn sample_fleet() -> Fleet {
    use evergate_core::supervise::fleet::{Input, Revision as Number};

    let mut fleet = Fleet::new(Rng::seeded(7));
    let policy = policy::policy(&App { instances: 2, ..App::default() });
    let app = evergate_core::supervise::fleet::App {
        name: "shop".to_owned(),
        policy,
        revision: Number(1),
    };
    fleet.handle(Instant::from_nanos(1_000_000_000), Input::Desired(vec![app]));
    while fleet.next_output().is_some() {}
    fleet
}
