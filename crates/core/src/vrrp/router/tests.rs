//! One virtual router, step by step. What the papers demand stands under their numbers; what goes
//! beyond them is in `beyond`.

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::vrrp::{Advert, Version};

mod beyond;
mod rfc3768;
mod rfc9568;

const INTERVAL: Duration = Duration::from_millis(100);
const OURS: [u8; 4] = [10, 0, 0, 5];

fn policy(version: Version, priority: u8) -> Policy {
    Policy {
        version,
        router_id: 51,
        priority,
        interval: if version == Version::V2 { Duration::from_secs(1) } else { INTERVAL },
        preempt: false,
        preempt_delay: Duration::ZERO,
        startup_delay: Duration::ZERO,
        announce_repeat: 5,
        announce_refresh: None,
    }
}

/// A router, its time, and what it wanted done since that was asked last.
struct Bench {
    router: Router,
    now: Instant,
}

/// What others see of it: roles and reasons are left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    Advert(u8),
    Hold,
    Release,
    Announce,
}

impl Bench {
    /// Has a source, is able, and just started.
    fn new(policy: Policy) -> Self {
        let mut bench = Self {
            now: Instant::from_nanos(10_000_000_000),
            router: Router::new(Instant::from_nanos(10_000_000_000), policy),
        };
        bench.put(Input::Source(Some(IpAddr::from(OURS))));
        bench.put(Input::Fitness(Fitness::Able { priority: policy.priority }));
        bench
    }

    fn backup(priority: u8) -> Self {
        let bench = Self::new(policy(Version::V3, priority));
        assert_eq!(bench.router.role(), Role::Backup);
        bench
    }

    fn preempting(priority: u8) -> Self {
        Self::new(Policy { preempt: true, ..policy(Version::V3, priority) })
    }

    fn master(priority: u8) -> Self {
        Self::master_of(policy(Version::V3, priority))
    }

    /// Master for so long that nothing of its claim is left to do.
    fn master_of(policy: Policy) -> Self {
        let mut bench = Self::new(policy);
        bench.run(policy.interval * 20 + Duration::from_secs(2));
        assert_eq!(bench.router.role(), Role::Master);
        bench.seen();
        bench
    }

    fn put(&mut self, input: Input) {
        self.router.handle(self.now, input);
    }

    fn hear(&mut self, host: u8, priority: u8) {
        self.hear_every(host, priority, self.router.policy.interval);
    }

    fn hear_every(&mut self, host: u8, priority: u8, interval: Duration) {
        let from = IpAddr::from([10, 0, 0, host]);
        self.put(Input::Heard { from, advert: Advert { priority, interval } });
    }

    /// Lets time pass, with a tick whenever one is due.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.router.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.put(Input::Tick);
        }
        self.now = end;
    }

    fn shut_down(&mut self, leave: Leave) {
        self.put(Input::Fitness(Fitness::Out { leave, why: "stopping".to_string() }));
    }

    fn fail(&mut self, leave: Leave) {
        self.put(Input::Fitness(Fitness::Faulty { leave, why: "it is down".to_string() }));
    }

    /// How long until its timer fires.
    fn fires_in(&self) -> Option<Duration> {
        self.router.deadline().map(|at| at.since(self.now))
    }

    fn outputs(&mut self) -> Vec<Output> {
        core::iter::from_fn(|| self.router.next_output()).collect()
    }

    fn seen(&mut self) -> Vec<Seen> {
        let seen = self.outputs().into_iter().filter_map(|output| match output {
            Output::Advertise { priority } => Some(Seen::Advert(priority)),
            Output::Hold => Some(Seen::Hold),
            Output::Release => Some(Seen::Release),
            Output::Announce => Some(Seen::Announce),
            Output::Turned { .. } | Output::Rival { .. } | Output::Late { .. } => None,
        });
        seen.collect()
    }

    fn role(&self) -> Role {
        self.router.role()
    }
}

/// Three intervals and the skew of version 3.
fn down(priority: u8, interval: Duration) -> Duration {
    interval * 3 + skew(priority, interval)
}

fn skew(priority: u8, interval: Duration) -> Duration {
    interval * (256 - u32::from(priority)) / 256
}
