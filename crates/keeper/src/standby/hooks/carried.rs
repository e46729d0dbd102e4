//! Hooks on their way into the keeper's next image: what waits is told there, and what runs is
//! waited for there.

use std::collections::BTreeMap;
use std::time::Duration;

use evergate_core::standby::Turn;
use evergate_core::time::Instant;
use minicbor::{Decode, Encode};

use super::{Hooks, Queue, Running, Telling, WAITING_MAX};

/// Every queue.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(crate) struct Carried {
    #[n(0)]
    node: String,
    #[n(1)]
    queues: BTreeMap<String, CarriedQueue>,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct CarriedQueue {
    #[n(0)]
    programs: Vec<Vec<String>>,
    #[n(1)]
    within: Duration,
    #[n(2)]
    waiting: Vec<Turn>,
    #[n(3)]
    telling: Option<CarriedTelling>,
    #[n(4)]
    failed: u64,
    #[n(5)]
    is_wanted: bool,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct CarriedTelling {
    #[n(0)]
    turn: Turn,
    #[n(1)]
    ahead: Vec<Vec<String>>,
    #[n(2)]
    running: Option<CarriedRunning>,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct CarriedRunning {
    #[n(0)]
    pid: u32,
    #[n(1)]
    started_ticks: u64,
    #[n(2)]
    program: String,
    #[n(3)]
    kill_at: Instant,
    #[n(4)]
    is_killed: bool,
}

impl Carried {
    /// Every process that must be there, running or not yet reaped, with the time of its start.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u32, u64)> {
        let running =
            self.queues.values().filter_map(|queue| queue.telling.as_ref()?.running.as_ref());
        running.map(|running| (running.pid, running.started_ticks))
    }
}

impl Hooks {
    /// All that is known.
    pub(crate) fn carry(&self) -> Carried {
        let queues = self.queues.iter().map(|(name, queue)| (name.clone(), queue.carry()));
        Carried { node: self.node.clone(), queues: queues.collect() }
    }

    /// What was carried.
    pub(crate) fn resume(carried: Carried) -> Self {
        let Carried { node, queues } = carried;
        let queues = queues.into_iter().map(|(name, queue)| (name, Queue::resume(queue)));
        Self { node, queues: queues.collect(), notes: Vec::new() }
    }
}

impl Queue {
    fn carry(&self) -> CarriedQueue {
        CarriedQueue {
            programs: self.programs.clone(),
            within: self.within,
            waiting: self.waiting.iter().cloned().collect(),
            telling: self.telling.as_ref().map(Telling::carry),
            failed: self.failed,
            is_wanted: self.is_wanted,
        }
    }

    fn resume(carried: CarriedQueue) -> Self {
        let CarriedQueue { programs, within, waiting, telling, failed, is_wanted } = carried;
        let waiting = waiting.into_iter().take(WAITING_MAX).collect();
        let telling = telling.map(Telling::resume);
        Self { programs, within, waiting, telling, failed, is_wanted }
    }
}

impl Telling {
    fn carry(&self) -> CarriedTelling {
        let running = self.running.as_ref().map(|running| CarriedRunning {
            pid: running.pid,
            started_ticks: running.started_ticks,
            program: running.program.clone(),
            kill_at: running.kill_at,
            is_killed: running.is_killed,
        });
        CarriedTelling {
            turn: self.turn.clone(),
            ahead: self.ahead.iter().cloned().collect(),
            running,
        }
    }

    fn resume(carried: CarriedTelling) -> Self {
        let CarriedTelling { turn, ahead, running } = carried;
        let running = running.map(|running| {
            let CarriedRunning { pid, started_ticks, program, kill_at, is_killed } = running;
            Running { pid, started_ticks, program, kill_at, is_killed, starting: None }
        });
        Self { turn, ahead: ahead.into(), running }
    }
}

#[cfg(test)]
impl Carried {
    /// One that runs a program, with another change behind it.
    pub(crate) fn sample() -> Self {
        use evergate_core::vrrp::Role;

        let turn = |sequence, before, role| Turn {
            sequence,
            vip: "web".to_owned(),
            role,
            before,
            epoch: 1_700_000_000,
            reason: "no master was heard".to_owned(),
        };
        let programs = vec![vec!["/usr/lib/moved".to_owned(), "web".to_owned()]];
        let running = CarriedRunning {
            pid: 5001,
            started_ticks: 888,
            program: "/usr/lib/moved".to_owned(),
            kill_at: Instant::from_nanos(9_000_000_000),
            is_killed: false,
        };
        let telling = CarriedTelling {
            turn: turn(7, Role::Backup, Role::Master),
            ahead: programs.clone(),
            running: Some(running),
        };
        let queue = CarriedQueue {
            programs,
            within: Duration::from_secs(30),
            waiting: vec![turn(8, Role::Master, Role::Backup)],
            telling: Some(telling),
            failed: 2,
            is_wanted: true,
        };
        Self { node: "edge-a".to_owned(), queues: BTreeMap::from([("web".to_owned(), queue)]) }
    }
}
