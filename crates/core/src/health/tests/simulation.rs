//! Random lives of a server against a plain reading of the rules.

use super::*;

/// The seeds of one run; a failure names its seed.
const SEEDS: core::ops::Range<u64> = 0..256;

/// What the outcomes of a check so far amount to, by the definition of fall and rise.
fn fails(outcomes: &[bool]) -> bool {
    let mut fails = false;
    for (index, &passed) in outcomes.iter().enumerate() {
        let so_far = &outcomes[..=index];
        let run = so_far.iter().rev().take_while(|&&other| other == passed).count();
        let enough = if passed { CHECK.rise } else { CHECK.fall };
        if index == 0 || run >= enough as usize {
            fails = !passed;
        }
    }
    fails
}

struct Model {
    outcomes: [Vec<bool>; 2],
    drain: bool,
    weight: u32,
    ejected_until: Option<Instant>,
    able_since: Option<Instant>,
    was_able: bool,
}

impl Model {
    fn is_able(&self) -> bool {
        let fails = self.outcomes.iter().any(|outcomes| fails(outcomes));
        !fails && self.ejected_until.is_none()
    }

    fn state(&self) -> State {
        match self.drain || self.weight == 0 {
            true => State::Draining,
            false if self.is_able() => State::Up,
            false => State::Down,
        }
    }

    fn take(&mut self, input: &Input, health: &Health) {
        match input {
            Input::Checked { check, outcome } => {
                if outcome.is_ok() {
                    self.ejected_until = None;
                }
                self.outcomes[*check].push(outcome.is_ok());
            }
            Input::FailedInARow { failures: 5.., may_eject: true } => {
                self.ejected_until = health.outlier.deadline();
            }
            Input::Drain => self.drain = true,
            Input::Undrain => self.drain = false,
            Input::Weight(weight) => self.weight = *weight,
            Input::FailedInARow { .. } | Input::Tick => {}
        }
    }
}

pub(super) fn random_input(rng: &mut Rng) -> Input {
    match rng.below(36) {
        0..16 => passed(rng.below(2) as usize),
        16..28 => failed(rng.below(2) as usize, "refused"),
        28..31 => Input::FailedInARow { failures: rng.below(8), may_eject: rng.below(3) > 0 },
        31 => Input::Drain,
        32 | 33 => Input::Undrain,
        34 => Input::Weight(rng.below(3)),
        _ => Input::Tick,
    }
}

#[test]
fn the_verdict_is_what_the_rules_say() {
    for seed in SEEDS {
        let mut rng = Rng::seeded(seed);
        let slow_start = 5 * SECOND;
        let is_late = rng.below(2) == 0;
        let arrival = if is_late { Arrival::Later } else { Arrival::Together };
        let mut health = Health::new(Policy { slow_start, ..policy(2) }, arrival, Instant::EPOCH);
        let mut model = Model {
            outcomes: [vec![], vec![]],
            drain: false,
            weight: 3,
            ejected_until: None,
            able_since: Some(Instant::EPOCH),
            was_able: is_late,
        };
        let mut now = Instant::EPOCH;
        for step in 0..400 {
            now = now + Duration::from_millis(u64::from(rng.below(1_500)));
            // The shell promises to tick at the deadline.
            while let Some(deadline) = health.deadline().filter(|&deadline| deadline <= now) {
                tell(&mut health, &mut model, deadline, Input::Tick, seed, step);
            }
            tell(&mut health, &mut model, now, random_input(&mut rng), seed, step);
        }
    }
}

fn tell(health: &mut Health, model: &mut Model, now: Instant, input: Input, seed: u64, step: u32) {
    let before = health.verdict().clone();
    let told = health.handle(now, input.clone()).cloned();
    let context = format!("seed {seed}, step {step}, {input:?}: {}", shown(health));
    if model.ejected_until.is_some_and(|until| until <= now) {
        model.ejected_until = None;
    }
    model.take(&input, health);
    match (model.able_since, model.is_able()) {
        (None, true) => model.able_since = Some(now),
        (Some(_), false) => (model.able_since, model.was_able) = (None, true),
        (Some(_), true) | (None, false) => {}
    }
    let verdict = health.verdict();
    assert_eq!(verdict.state, model.state(), "{context}");
    assert_eq!(verdict.weight, model.weight, "{context}");
    assert_eq!(told.is_some(), before != *verdict, "told exactly the news; {context}");
    assert_eq!(health.is_ejected(), model.ejected_until.is_some(), "{context}");
    assert!(health.deadline().is_none_or(|deadline| deadline > now), "{context}");
    let Some(since) = model.able_since.filter(|_| verdict.state == State::Up) else {
        return assert_eq!(verdict.weight_percent, 0, "{context}");
    };
    let elapsed = now.since(since).as_secs_f64() / 5.0;
    let linear = if model.was_able { (10.0 + 90.0 * elapsed).min(100.0) } else { 100.0 };
    let percent = f64::from(verdict.weight_percent);
    assert!(percent <= linear + 1e-6 && percent > linear - 10.0 - 1e-6, "{context} {linear}");
}
