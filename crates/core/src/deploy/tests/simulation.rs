//! Deploys of runs that fail, hang and crash, of gateways that go and operators who interfere.
//!
//! The world plays the fleet: it starts and ends runs as told, starts runs of a settled instance
//! again, and keeps what the deploy promises under watch.

use super::*;
use crate::rng::Rng;

/// The seeds of one run; a failure names its seed.
const SEEDS: core::ops::Range<u64> = 0..2_000;
/// Steps by which every deploy is over; the longest of these seeds takes a tenth.
const STEPS_MAX: u32 = 20_000;
/// The longest anything takes in this world, in milliseconds.
const LONG: u32 = 3_000;

/// A run as the world knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Life {
    Absent,
    Starting {
        ready_at: Instant,
        comes_up: bool,
    },
    Ready,
    /// It failed, and nobody said yet what is to become of it.
    Down,
    Ending {
        until: Instant,
        was_ready: bool,
    },
}

#[derive(Clone, Debug)]
struct Spot {
    number: u16,
    runs: [Life; 2],
    /// The side of which a run is started again.
    home: Side,
    is_moving: bool,
    is_dropped: bool,
    /// It lacks a ready run because one crashed, which is nobody's plan.
    is_hurt: bool,
}

struct World {
    seed: u64,
    rng: Rng,
    now: Instant,
    deploy: Deploy,
    spots: Vec<Spot>,
    /// Percent of new runs that do not come up, and of those that crash later.
    badness: u32,
    /// The same of old runs that come back.
    old_badness: u32,
    has_gateway: bool,
    meddles: bool,
    outcome: Option<Outcome>,
    steps: u32,
}

fn index(side: Side) -> usize {
    match side {
        Side::Old => 0,
        Side::New => 1,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let instances = 1 + rng.below(6) as u16;
        let (surge, unavailable) = (rng.below(4) as u16, rng.below(4) as u16);
        let on_failure = [OnFailure::Abort, OnFailure::Rollback, OnFailure::Continue];
        let on_failure = on_failure[rng.below(3) as usize];
        let mut order = order(instances, surge, unavailable, on_failure);
        if rng.below(4) == 0 {
            order.purpose = Purpose::Restart;
        }
        let spot = |number| Spot {
            number,
            runs: [Life::Ready, Life::Absent],
            home: Old,
            is_moving: false,
            is_dropped: false,
            is_hurt: false,
        };
        Self {
            seed,
            deploy: Deploy::new(order, at(0)),
            now: at(0),
            spots: (0..instances).map(spot).collect(),
            badness: [0, 0, 5, 30, 100][rng.below(5) as usize],
            old_badness: [0, 0, 20][rng.below(3) as usize],
            has_gateway: true,
            meddles: rng.below(2) == 0,
            rng,
            outcome: None,
            steps: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.below(100) < percent
    }

    fn soon(&mut self) -> Instant {
        self.now + Duration::from_millis(u64::from(1 + self.rng.below(LONG)))
    }

    fn run(&mut self) {
        self.perform();
        while self.outcome.is_none() {
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "seed {:#x}: no end: {:?}", self.seed, self.deploy);
            let wait = Duration::from_millis(u64::from(1 + self.rng.below(200)));
            let next = self.now + wait;
            let tick = self.deploy.deadline().filter(|&at| at <= next);
            self.now = tick.unwrap_or(next);
            if tick.is_some() {
                self.tell(Input::Tick);
            }
            self.live();
            self.meddle();
            self.check();
        }
        self.check_end();
    }

    fn tell(&mut self, input: Input) {
        if self.outcome.is_none() {
            self.deploy.handle(self.now, input);
            self.perform();
        }
    }

    fn perform(&mut self) {
        while let Some(output) = self.deploy.next_output() {
            assert_eq!(self.outcome, None, "seed {:#x}: {output:?} after the end", self.seed);
            match output {
                Output::Start { number, side } => self.start(number, side),
                Output::End { number, side } => self.end(number, side),
                Output::Settle { number, side } => self.settle(number, side),
                Output::Judged(_) => {}
                Output::Over(outcome) => self.outcome = Some(outcome),
            }
        }
    }

    fn start(&mut self, number: u16, side: Side) {
        let badness = if side == New { self.badness } else { self.old_badness };
        let (ready_at, comes_up) = (self.soon(), !self.chance(badness));
        let seed = self.seed;
        let spot = self.spot(number);
        assert!(!spot.is_dropped, "seed {seed:#x}: {number} was dropped");
        assert_eq!(spot.runs[index(side)], Life::Absent, "seed {seed:#x}: {spot:?}");
        spot.is_moving = true;
        spot.runs[index(side)] = Life::Starting { ready_at, comes_up };
    }

    fn end(&mut self, number: u16, side: Side) {
        let until = self.soon();
        let seed = self.seed;
        let spot = self.spot(number);
        assert!(!spot.is_dropped, "seed {seed:#x}: {number} was dropped");
        spot.is_moving = true;
        let life = &mut spot.runs[index(side)];
        match *life {
            Life::Ready => *life = Life::Ending { until, was_ready: true },
            Life::Starting { .. } | Life::Down => *life = Life::Ending { until, was_ready: false },
            Life::Absent | Life::Ending { .. } => panic!("seed {seed:#x}: ends nothing: {spot:?}"),
        }
    }

    fn settle(&mut self, number: u16, side: Side) {
        let seed = self.seed;
        let spot = self.spot(number);
        let other = spot.runs[index(side.other())];
        assert_eq!(other, Life::Absent, "seed {seed:#x}: settled beside another: {spot:?}");
        spot.is_moving = false;
        spot.home = side;
        if spot.runs[index(side)] == Life::Down {
            spot.is_hurt = true;
        }
    }

    fn spot(&mut self, number: u16) -> &mut Spot {
        &mut self.spots[usize::from(number)]
    }

    /// Lets every run go on with what it does.
    fn live(&mut self) {
        for place in 0..self.spots.len() {
            for side in [Old, New] {
                self.live_on(place, side);
            }
        }
    }

    fn live_on(&mut self, place: usize, side: Side) {
        let spot = self.spots[place].clone();
        let number = spot.number;
        let set = |world: &mut Self, life| world.spots[place].runs[index(side)] = life;
        match spot.runs[index(side)] {
            Life::Starting { ready_at, comes_up } if ready_at <= self.now => {
                if comes_up {
                    set(self, Life::Ready);
                    self.spots[place].is_hurt = false;
                    self.tell(ready(number, side));
                } else {
                    set(self, Life::Down);
                    self.tell(failed(number, side));
                }
            }
            Life::Ending { until, .. } if until <= self.now => {
                set(self, Life::Absent);
                self.tell(gone(number, side));
            }
            Life::Ready if side == New && self.rng.below(400) < self.badness => {
                set(self, Life::Down);
                self.spots[place].is_hurt = true;
                self.tell(failed(number, New));
            }
            // A run of the side that the instance has is started again, as ever.
            Life::Down if spot.home == side => {
                let ready_at = self.soon();
                set(self, Life::Starting { ready_at, comes_up: true });
            }
            Life::Absent
            | Life::Ready
            | Life::Down
            | Life::Starting { .. }
            | Life::Ending { .. } => {}
        }
    }

    /// What others do to it.
    fn meddle(&mut self) {
        if self.deploy.canary().is_some() && self.chance(20) {
            let errors = if self.chance(self.badness / 5) { 60 } else { 0 };
            self.tell(sampled(60, errors));
        }
        if !self.has_gateway {
            if self.chance(10) {
                self.has_gateway = true;
                self.tell(Input::Gateway(true));
            }
            return;
        }
        if !self.meddles {
            return;
        }
        match self.rng.below(600) {
            0..4 => {
                self.has_gateway = false;
                self.tell(Input::Gateway(false));
            }
            4 => self.tell(abort()),
            5 => {
                let place = self.rng.below(self.spots.len() as u32) as usize;
                let spot = &mut self.spots[place];
                if !core::mem::replace(&mut spot.is_dropped, true) {
                    spot.runs = [Life::Absent; 2];
                    let number = spot.number;
                    self.tell(Input::Dropped { number });
                }
            }
            _ => {}
        }
    }

    /// What holds at every moment.
    fn check(&self) {
        let policy = &self.deploy.order.policy;
        let (extra_max, missing_max) = match (policy.surge, policy.unavailable) {
            (0, 0) => (1, 0),
            (0, missing) => (0, missing),
            (extra, _) => (extra, 0),
        };
        let spots = || self.spots.iter().filter(|spot| !spot.is_dropped);
        let has = |spot: &Spot, what: fn(&Life) -> bool| spot.runs.iter().any(what);
        let extra = spots().filter(|spot| spot.runs.iter().all(|life| *life != Life::Absent));
        let extra = extra.count();
        let missing =
            spots().filter(|spot| !spot.is_hurt && !has(spot, |&life| life == Life::Ready));
        let missing = missing.count();
        let moving = spots().filter(|spot| spot.is_moving).count();
        let context = || format!("seed {:#x}: {:?}\n{:?}", self.seed, self.spots, self.deploy);
        // A failed run that is cleared away beside one that comes back is counted as well.
        assert!(extra <= usize::from(extra_max), "{extra} too many: {}", context());
        assert!(missing <= usize::from(missing_max), "{missing} missing: {}", context());
        assert!(moving <= usize::from(extra_max.max(missing_max)), "{moving}: {}", context());
    }

    /// What holds in the end.
    fn check_end(&self) {
        let context = || format!("seed {:#x}: {:?}\n{:?}", self.seed, self.spots, self.deploy);
        for spot in self.spots.iter().filter(|spot| !spot.is_dropped) {
            let other = spot.runs[index(spot.home.other())];
            assert_eq!(other, Life::Absent, "{}", context());
            let serves = spot.runs[index(spot.home)] == Life::Ready;
            assert!(serves || spot.is_hurt, "nothing serves: {}", context());
        }
        let homes = |side| self.spots.iter().filter(move |one| !one.is_dropped && one.home == side);
        match &self.outcome {
            Some(Outcome::Done) => assert_eq!(homes(Old).count(), 0, "{}", context()),
            Some(Outcome::Failed(_)) => {
                let rolls_back = self.deploy.order.policy.on_failure == OnFailure::Rollback;
                let is_clean = !rolls_back || self.old_badness > 0 || homes(New).count() == 0;
                assert!(is_clean, "not rolled back: {}", context());
            }
            None => unreachable!("it ran to its end"),
        }
        assert_eq!(usize::from(self.deploy.done()), homes(New).count(), "{}", context());
    }
}

#[test]
fn every_deploy_ends_and_keeps_its_promises_on_the_way() {
    let (mut done, mut failed) = (0, 0);
    for seed in SEEDS {
        let mut world = World::new(seed);
        world.run();
        match world.outcome {
            Some(Outcome::Done) => done += 1,
            Some(Outcome::Failed(_)) | None => failed += 1,
        }
    }
    assert!(done > 400 && failed > 400, "a dull world: {done} done, {failed} failed");
}
