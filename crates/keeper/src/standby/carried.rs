//! Virtual addresses on their way into the keeper's next image: who is master stays that, and what
//! others say meanwhile waits in the sockets.
//!
//! What can be looked up again is not carried: interfaces and their addresses, and what is wrong with
//! them. It is looked at once everything that waits was heard and what is due was sent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;

use evergate_control::link;
use evergate_core::standby::{RouterKey, Standby as Machine};
use evergate_core::time::Instant;
use evergate_sys::random;
use minicbor::{Decode, Encode};
use rustix::event::epoll::{self, CreateFlags};

use super::addresses::Addresses;
use super::adverts::{self, Speakers};
use super::announce::Neighbours;
use super::backing::Backing;
use super::echo::Asking;
use super::heartbeat::{self, Heartbeat};
use super::hooks::{self, Hooks};
use super::lateness::Lateness;
use super::network::Network;
use super::news::Telling;
use super::passing::Passing;
use super::verdicts::{Said, Verdicts};
use super::vip::{self, Vip};
use super::watcher::{self, Watch};
use super::{Running, Standby};
use crate::carried::{Listing, Taken, Uses};

/// Everything about virtual addresses.
#[derive(Clone, Debug, Decode, Default, Encode)]
pub(crate) struct Carried {
    #[n(0)]
    said: Said,
    /// Nothing without a virtual address.
    #[n(1)]
    running: Option<Box<CarriedRunning>>,
}

/// What there is while there are virtual addresses.
#[derive(Clone, Debug, Decode, Encode)]
struct CarriedRunning {
    #[n(0)]
    machine: Machine,
    #[n(1)]
    wish: link::Standby,
    #[n(2)]
    vips: BTreeMap<RouterKey, vip::Carried>,
    #[n(3)]
    speakers: Vec<adverts::Carried>,
    /// What was put on interfaces: the interface's number, the address, and the length of its prefix.
    #[n(4)]
    owned: Vec<(u32, IpAddr, u8)>,
    /// How tracked apps are.
    #[n(5)]
    backing: BTreeMap<String, Backing>,
    #[n(6)]
    hooks: hooks::Carried,
    #[n(7)]
    watch: watcher::Carried,
    #[n(8)]
    problems: BTreeMap<String, String>,
    #[n(9)]
    run_dir: Option<String>,
    /// What was said to peers so far.
    #[n(10)]
    heartbeat: Option<heartbeat::Carried>,
}

impl Carried {
    /// Whether a keeper that does not know it would do harm.
    pub(crate) fn is_needed(&self) -> bool {
        self.running.is_some()
    }

    /// What it refers to.
    pub(crate) fn uses(&self, uses: &mut Uses) {
        if let Some(running) = &self.running {
            running.speakers.iter().for_each(|speaker| speaker.uses(uses));
            running.watch.uses(uses);
        }
    }

    /// Whether this release could go on from it.
    pub(crate) fn check(&self) -> Result<(), String> {
        let vips = self.running.iter().flat_map(|running| running.vips.values());
        for vip in vips {
            Vip::resume(vip.clone()).map_err(|unfit| format!("a virtual address: {unfit}"))?;
        }
        Ok(())
    }

    /// Every process that must be there, running or not yet reaped, with the time of its start.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u32, u64)> {
        let running = self.running.iter();
        running.flat_map(|running| running.hooks.children().chain(running.watch.children()))
    }
}

impl Standby {
    /// All that is known.
    pub(crate) fn carry<'a>(&'a self, listing: &mut Listing<'a>) -> Carried {
        let running = self.running.as_ref().map(|running| Box::new(running.carry(listing)));
        Carried { said: self.said.clone(), running }
    }

    /// Goes on from what was carried.
    pub(crate) fn resume(
        carried: Carried,
        taken: &mut Taken,
        now: Instant,
    ) -> Result<Self, String> {
        let Carried { said, running } = carried;
        let running = running.map(|running| Running::resume(*running, taken, now)).transpose()?;
        Ok(Self { said, running: running.map(Box::new) })
    }

    /// This image goes on for good.
    pub(crate) fn go_on(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.watch.renew(now);
        }
    }
}

impl Running {
    fn carry<'a>(&'a self, listing: &mut Listing<'a>) -> CarriedRunning {
        let owned = self.addresses.owned().iter();
        CarriedRunning {
            machine: self.machine.clone(),
            wish: self.wish.clone(),
            vips: self.vips.iter().map(|(&key, vip)| (key, vip.carry())).collect(),
            speakers: self.speakers.carry(listing),
            owned: owned.map(|(&(interface, ip), &prefix)| (interface, ip, prefix)).collect(),
            backing: self.verdicts.carry(),
            hooks: self.hooks.carry(),
            watch: self.watch.carry(listing),
            problems: self.problems.clone(),
            run_dir: self.run_dir.clone(),
            heartbeat: Some(self.heartbeat.carried()),
        }
    }

    fn resume(carried: CarriedRunning, taken: &mut Taken, now: Instant) -> Result<Self, String> {
        let said = |error: std::io::Error| format!("virtual addresses cannot be had: {error}");
        let events = epoll::create(CreateFlags::CLOEXEC).map_err(|error| said(error.into()))?;
        let network = Network::open(events.as_fd()).map_err(said)?;
        let speakers = Speakers::resume(carried.speakers, taken, events.as_fd()).map_err(said)?;
        let vips = carried.vips.into_iter().map(|(key, vip)| {
            (key, Vip::resume(vip).expect("it can be spoken of, as was checked"))
        });
        let owned = carried.owned.into_iter();
        let mut running = Self {
            machine: carried.machine,
            verdicts: Verdicts::resume(carried.backing, &carried.wish.plan),
            wish: carried.wish,
            vips: vips.collect(),
            events,
            network,
            // Listens again where there is something to listen for, as addresses are looked at.
            neighbours: Neighbours::default(),
            heartbeat: carried
                .heartbeat
                .map_or_else(|| Heartbeat::new(random::seed()), Heartbeat::resume),
            asking: Asking::new(random::seed()),
            passing: Passing::default(),
            speakers,
            addresses: Addresses::resume(
                owned.map(|(interface, ip, prefix)| ((interface, ip), prefix)).collect(),
            ),
            hooks: Hooks::resume(carried.hooks),
            watch: Watch::resume(carried.watch, taken, now),
            lateness: Lateness::default(),
            telling: Telling::default(),
            notes: Vec::new(),
            problems: carried.problems,
            is_stale: false,
            to_announce: Default::default(),
            // What has changed meanwhile is made good once what has arrived was heard.
            retry_at: Some(now),
            late_told_at: None,
            run_dir: carried.run_dir,
            is_stopping: false,
            is_idle: false,
            is_closed: false,
        };
        running.make_haste();
        running.apply_peers(now);
        Ok(running)
    }
}

#[cfg(test)]
impl Carried {
    /// A backup that calls a hook, with a watcher.
    pub(crate) fn sample() -> Self {
        use std::time::Duration;

        use evergate_core::standby::{Birth, Input, Plan, Setup};
        use evergate_core::vrrp::{Policy, Version};

        let key = RouterKey(51);
        let policy = Policy {
            version: Version::V3,
            router_id: 51,
            priority: 254,
            interval: Duration::from_millis(30),
            preempt: false,
            preempt_delay: Duration::from_secs(5),
            startup_delay: Duration::ZERO,
            announce_repeat: 5,
            announce_refresh: Some(Duration::from_secs(60)),
        };
        let setup = Setup {
            key,
            name: "web".to_owned(),
            policy,
            sync: None,
            track: Vec::new(),
            drain: None,
        };
        let plan = Plan {
            node: "edge-a".to_owned(),
            routers: vec![setup],
            peers: Vec::new(),
            heartbeat: None,
        };
        let birth = Birth { now: Instant::from_nanos(1_000), unix_ms: 1_700_000_000_000, seed: 7 };
        let mut machine = Machine::new(plan.clone(), birth);
        let source = Ok(IpAddr::from([10, 77, 0, 11]));
        machine.handle(Instant::from_nanos(2_000), Input::Interface { router: key, source });
        while machine.next_output().is_some() {}
        let wished = link::Vip {
            key,
            addresses: vec![(IpAddr::from([10, 77, 0, 100]), 24)],
            interface: "eth0".to_owned(),
            peers: Vec::new(),
            auth: link::VipAuth::Hmac(link::Key::new(b"not a secret".to_vec())),
            checksum: link::VipChecksum::Auto,
            hooks: vec![vec!["/usr/lib/moved".to_owned(), "web".to_owned()]],
            hook_within: Duration::from_secs(30),
        };
        let vip = Vip::new("web".to_owned(), wished.clone(), policy, None).unwrap();
        let wish =
            link::Standby { node: "edge-a".to_owned(), plan, vips: vec![wished], secret: None };
        let running = CarriedRunning {
            machine,
            wish,
            vips: BTreeMap::from([(key, vip.carry())]),
            speakers: vec![adverts::Carried::sample()],
            owned: vec![(3, IpAddr::from([10, 77, 0, 100]), 24)],
            backing: BTreeMap::from([("shop".to_owned(), Backing::default())]),
            hooks: hooks::Carried::sample(),
            watch: watcher::Carried::sample(),
            problems: BTreeMap::from([("memory".to_owned(), "it cannot be locked".to_owned())]),
            run_dir: Some("/run/evergate".to_owned()),
            heartbeat: None,
        };
        Self { said: Said::default(), running: Some(Box::new(running)) }
    }
}
