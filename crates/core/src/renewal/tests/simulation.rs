//! Months of a certificate's life: an authority that fails, limits, advises, and clocks that lie.

use super::*;

/// The seeds of one run; a failure names its seed.
const SEEDS: core::ops::Range<u64> = 0..64;
const MONTH: u64 = 30 * DAY;

/// What the authority does for a while.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    Works,
    Fails,
    Limits { until: Instant },
}

struct World {
    rng: Rng,
    seed: u64,
    now: Now,
    life: u64,
    gives_advice: bool,
    mood: Mood,
    mood_until: Instant,
    /// When orders began, on the monotonic clock.
    began: VecDeque<Instant>,
    /// As the shell stores them.
    stored: VecDeque<u64>,
    held: Option<Term>,
    silent_until: Instant,
    issued: u32,
    /// Seconds without a good certificate.
    uncovered: u64,
}

impl World {
    fn new(seed: u64, life: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        Self {
            gives_advice: rng.below(2) == 0,
            rng,
            seed,
            now: at(0),
            life,
            mood: Mood::Works,
            mood_until: at(0).at,
            began: VecDeque::new(),
            stored: VecDeque::new(),
            held: None,
            silent_until: at(0).at,
            issued: 0,
            uncovered: 0,
        }
    }

    fn pass(&mut self, wait: Duration) {
        self.now.at = self.now.at + wait;
        self.now.unix += wait.as_secs();
    }

    /// What the authority answers.
    fn answer(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Planned(at) | Output::Postponed(at) => {
                assert!(at >= self.now.unix, "seed {:#x}: planned in the past", self.seed);
                None
            }
            Output::Ask if self.mood != Mood::Works => Some(Input::AskFailed),
            Output::Ask if !self.gives_advice => Some(Input::NoAdvice),
            Output::Ask => {
                let term = self.held.expect("it is asked about something");
                let start = term.not_after - self.life / 2;
                let ask_after = Duration::from_secs(6 * HOUR);
                Some(Input::Advice { start, end: start + self.life / 10, ask_after })
            }
            Output::Order(_) => Some(self.take_order()),
        }
    }

    fn take_order(&mut self) -> Input {
        let (now, seed) = (self.now.at, self.seed);
        assert!(self.silent_until <= now, "seed {seed:#x}: it was asked to keep quiet");
        self.began.retain(|began| now.since(*began) < ORDERS_WINDOW);
        self.began.push_back(now);
        assert!(self.began.len() <= ORDERS_MAX, "seed {seed:#x}: hammers: {:?}", self.began);
        self.stored.push_back(self.now.unix);
        self.pass(Duration::from_secs(10));
        match self.mood {
            Mood::Works => {
                let unix = self.now.unix;
                let term = Term { not_before: unix - HOUR.min(unix), not_after: unix + self.life };
                self.held = Some(term);
                self.issued += 1;
                Input::Issued(term)
            }
            Mood::Fails => REFUSED,
            Mood::Limits { until } => {
                let wait = until.since(self.now.at);
                self.silent_until = self.now.at + wait;
                Input::Failed { kind: Failure::RateLimited, retry_after: Some(wait) }
            }
        }
    }

    fn change_mood(&mut self) {
        let hours = u64::from(1 + self.rng.below(72));
        self.mood_until = self.now.at + Duration::from_secs(hours * HOUR);
        self.mood = match self.rng.below(8) {
            0 | 1 => Mood::Fails,
            2 => Mood::Limits { until: self.mood_until },
            _ => Mood::Works,
        };
    }

    fn past(&self) -> Past {
        let silent = self.silent_until.since(self.now.at).as_secs();
        Past {
            held: self.held,
            lack: None,
            orders: self.stored.iter().copied().collect(),
            silent_until: if silent == 0 { 0 } else { self.now.unix + silent + 1 },
        }
    }

    fn start(&mut self) -> Renewal {
        let rng = Rng::seeded(self.rng.next_u64());
        let mut renewal = Renewal::new(Policy::default(), self.past(), self.now, rng);
        renewal.handle(self.now, Input::Tick);
        renewal
    }

    /// Does all that is wanted, and checks what must hold at every moment.
    fn perform(&mut self, renewal: &mut Renewal) {
        while let Some(output) = renewal.next_output() {
            if let Some(input) = self.answer(output) {
                renewal.handle(self.now, input);
            }
        }
        let seed = self.seed;
        assert!(renewal.deadline().is_some_and(|at| at > self.now.at), "seed {seed:#x}");
        assert_eq!(renewal.held.map(|held| held.term), self.held, "seed {seed:#x}: kept");
    }
}

fn run(world: &mut World, months: u64, mut disturb: impl FnMut(&mut World, &mut Renewal)) {
    let mut renewal = world.start();
    world.perform(&mut renewal);
    let end = world.now.at + Duration::from_secs(months * MONTH);
    while world.now.at < end {
        let deadline = renewal.deadline().expect("something is always planned");
        let before = world.now;
        world.pass(deadline.since(world.now.at) + Duration::from_millis(1));
        if world.held.is_none_or(|term| term.not_after < world.now.unix) {
            world.uncovered += world.now.at.since(before.at).as_secs();
        }
        disturb(world, &mut renewal);
        renewal.handle(world.now, Input::Tick);
        world.perform(&mut renewal);
    }
}

#[test]
fn with_an_authority_that_works_there_is_always_a_certificate() {
    for life in [6 * DAY, 90 * DAY, 365 * DAY] {
        for seed in SEEDS {
            let mut world = World::new(seed, life);
            run(&mut world, 24, |_, _| {});
            assert_eq!(world.uncovered, 0, "seed {seed:#x}");
            let lives = (24 * MONTH / life) as u32;
            let range = lives..=2 * lives + 2;
            assert!(range.contains(&world.issued), "seed {seed:#x}: {} orders", world.issued);
        }
    }
}

#[test]
fn an_authority_in_trouble_is_not_hammered_and_costs_no_long_lived_certificate() {
    for seed in SEEDS {
        let mut world = World::new(seed, LIFE);
        run(&mut world, 12, |world, renewal| {
            if world.mood_until <= world.now.at {
                world.change_mood();
            }
            // The worker dies at times.
            if world.rng.below(50) == 0 {
                *renewal = world.start();
            }
        });
        // Moods change within three days and the lead is thirty: only the first may be late.
        assert!(world.uncovered < 30 * DAY, "seed {seed:#x}: {} s", world.uncovered);
        assert!(world.issued >= 4, "seed {seed:#x}");
    }
}

#[test]
fn clocks_that_are_set_make_nobody_hammer_and_are_noticed() {
    for seed in SEEDS {
        let mut world = World::new(seed, LIFE);
        run(&mut world, 6, |world, _| {
            if world.mood_until <= world.now.at {
                world.change_mood();
            }
            if world.rng.below(40) == 0 {
                let days = u64::from(world.rng.below(400));
                let forward = world.rng.below(2) == 0;
                let unix = world.now.unix;
                world.now.unix = if forward { unix + days * DAY } else { unix - days * DAY };
            }
        });
        assert!(world.issued > 0, "seed {seed:#x}");
        // When the authority works and the clock stands still, there is a certificate within a day.
        world.mood = Mood::Works;
        let calm = world.now.at;
        run(&mut world, 1, |world, _| assert_eq!(world.mood, Mood::Works));
        let held = world.held.expect("one was issued");
        assert!(held.not_after > world.now.unix, "seed {seed:#x}: calm since {calm:?}");
    }
}
