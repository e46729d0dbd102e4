use std::vec::Vec;

use super::*;

const POLICY: Policy = Policy {
    base: Duration::from_millis(250),
    cap: Duration::from_secs(30),
    failures_lenient: 3,
    stable_after: Duration::from_secs(60),
    stop_timeout: Duration::from_secs(10),
};

fn at(millis: u64) -> Instant {
    Instant::EPOCH + Duration::from_millis(millis)
}

fn instance(state: State) -> Instance {
    Instance { state, ..Instance::new(POLICY, Rng::seeded(1)) }
}

#[test]
fn every_transition() {
    let now = at(100_000);
    let early = at(99_999);
    let stopped = State::Stopped;
    let running = State::Running { since: early };
    let fresh = State::Running { since: now };
    let waiting = State::Backoff { until: at(100_001) };
    let due = State::Backoff { until: now };
    let stopping = |kill_at, then| State::Stopping { kill_at, then };
    let asked = |then| stopping(Some(at(110_000)), then);
    let late = |then| stopping(Some(now), then);
    let killed = |then| stopping(None, then);
    let (spawn, kill) = (Some(Output::Spawn), Some(Output::Kill));
    let terminate = Some(Output::Terminate);
    let table = [
        (stopped, Input::Start, fresh, spawn),
        (stopped, Input::Restart, fresh, spawn),
        (stopped, Input::Stop, stopped, None),
        (stopped, Input::Hurry, stopped, None),
        (stopped, Input::Exited, stopped, None),
        (stopped, Input::Tick, stopped, None),
        (running, Input::Start, running, None),
        (running, Input::Restart, asked(Then::Start), terminate),
        (running, Input::Stop, asked(Then::Stay), terminate),
        (running, Input::Hurry, running, None),
        (running, Input::Tick, running, None),
        (State::Running { since: at(40_000) }, Input::Exited, fresh, spawn),
        (waiting, Input::Start, waiting, None),
        (waiting, Input::Restart, fresh, spawn),
        (waiting, Input::Stop, stopped, None),
        (waiting, Input::Hurry, waiting, None),
        (waiting, Input::Exited, waiting, None),
        (waiting, Input::Tick, waiting, None),
        (due, Input::Tick, fresh, spawn),
        (asked(Then::Stay), Input::Start, asked(Then::Start), None),
        (asked(Then::Stay), Input::Restart, asked(Then::Start), None),
        (asked(Then::Start), Input::Stop, asked(Then::Stay), None),
        (asked(Then::Stay), Input::Hurry, killed(Then::Stay), kill),
        (asked(Then::Stay), Input::Exited, stopped, None),
        (asked(Then::Start), Input::Exited, fresh, spawn),
        (asked(Then::Stay), Input::Tick, asked(Then::Stay), None),
        (late(Then::Start), Input::Tick, killed(Then::Start), kill),
        (killed(Then::Start), Input::Tick, killed(Then::Start), None),
        (killed(Then::Start), Input::Stop, killed(Then::Stay), None),
        (killed(Then::Start), Input::Exited, fresh, spawn),
    ];
    for (state, input, next, output) in table {
        let mut instance = instance(state);
        assert_eq!(instance.handle(now, input), output, "{state:?} {input:?}");
        assert_eq!(instance.state(), next, "{state:?} {input:?}");
    }
}

#[test]
fn waits_grow_after_the_third_failure_and_stop_at_the_cap() {
    let mut instance = instance(State::Stopped);
    let mut now = at(0);
    assert_eq!(instance.handle(now, Input::Start), Some(Output::Spawn));
    for whole_ms in [250, 250, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        assert_eq!(instance.handle(now, Input::Exited), None);
        let until = instance.deadline().unwrap();
        let wait = (until - now).as_millis() as u64;
        assert!((whole_ms / 2..=whole_ms).contains(&wait), "{wait} of {whole_ms}");
        assert_eq!(instance.handle(until, Input::Tick), Some(Output::Spawn));
        now = until;
    }
    assert_eq!((instance.exits(), instance.generation()), (11, 12));
}

#[test]
fn a_long_run_wipes_out_the_failures_before_it() {
    let mut instance = instance(State::Stopped);
    instance.handle(at(0), Input::Start);
    instance.failures = 9;
    let exit = at(0) + POLICY.stable_after;
    assert_eq!(instance.handle(exit, Input::Exited), Some(Output::Spawn), "no wait");
    assert_eq!(instance.handle(exit, Input::Exited), None);
    assert!(instance.deadline().unwrap() - exit <= POLICY.base);
}

#[test]
fn instances_that_die_together_come_back_apart() {
    let waits: Vec<_> = (0..16)
        .map(|seed| {
            let mut instance = Instance::new(POLICY, Rng::seeded(seed));
            instance.handle(at(0), Input::Start);
            instance.handle(at(0), Input::Exited);
            instance.deadline().unwrap()
        })
        .collect();
    let distinct: std::collections::BTreeSet<_> = waits.iter().collect();
    assert!(distinct.len() > 12, "{waits:?}");
}

/// Runs one instance for an hour; each run lasts what `lifetime` says. Returns when it spawned.
fn spawns_in_an_hour(seed: u64, lifetime: impl Fn(&mut Rng) -> Duration) -> Vec<Instant> {
    let mut rng = Rng::seeded(seed);
    let mut instance = Instance::new(POLICY, Rng::seeded(!seed));
    let (mut now, mut spawns) = (at(0), Vec::new());
    let mut output = instance.handle(now, Input::Start);
    while now < at(3_600_000) {
        match output {
            Some(Output::Spawn) => {
                spawns.push(now);
                now = now + lifetime(&mut rng);
                output = instance.handle(now, Input::Exited);
            }
            None => {
                now = instance.deadline().expect("it always comes back");
                output = instance.handle(now, Input::Tick);
            }
            Some(Output::Terminate | Output::Kill) => panic!("nobody asked for its end"),
        }
    }
    spawns
}

#[test]
fn a_crashing_instance_is_started_at_a_bounded_rate() {
    // Three lenient waits, seven doublings, then one start per half a cap at most.
    let spawns_max = 1 + 3 + 7 + 3_600 / 15;
    for seed in 0..256 {
        let spawns = spawns_in_an_hour(seed, |rng| Duration::from_millis(rng.below(1_000).into()));
        assert!(spawns.len() <= spawns_max, "seed {seed:#x}: {} starts", spawns.len());
        let at_once = spawns.windows(2).filter(|pair| pair[1] - pair[0] < POLICY.base / 2).count();
        assert_eq!(at_once, 0, "seed {seed:#x}");
    }
}

#[test]
fn an_instance_that_lives_now_and_then_is_still_bounded() {
    // A long run earns one start at once and a fresh series of short waits, not more.
    for seed in 0..256 {
        let spawns = spawns_in_an_hour(seed, |rng| match rng.below(4) {
            0 => Duration::from_secs(rng.below(120).into()),
            _ => Duration::ZERO,
        });
        for (i, &start) in spawns.iter().enumerate() {
            let minute = Duration::from_secs(60);
            let within = spawns[i..].iter().take_while(|&&spawn| spawn - start < minute).count();
            assert!(within <= 2 * (1 + 3 + 7) + 60 / 15, "seed {seed:#x}: {within} in a minute");
        }
    }
}

#[test]
fn whatever_happens_a_process_is_never_doubled_and_an_end_is_final() {
    const INPUTS: [Input; 6] =
        [Input::Start, Input::Restart, Input::Stop, Input::Hurry, Input::Exited, Input::Tick];
    for seed in 0..256 {
        let mut rng = Rng::seeded(seed);
        let mut instance = Instance::new(POLICY, Rng::seeded(seed));
        let (mut now, mut alive) = (at(0), false);
        for _ in 0..500 {
            now = now + Duration::from_millis(rng.below(5_000).into());
            let input = INPUTS[rng.below(6) as usize];
            if input == Input::Exited && !alive {
                continue;
            }
            alive &= input != Input::Exited;
            if instance.handle(now, input) == Some(Output::Spawn) {
                assert!(!alive, "seed {seed:#x}: a second process");
                alive = true;
            }
            let has_process =
                matches!(instance.state(), State::Running { .. } | State::Stopping { .. });
            assert_eq!(has_process, alive, "seed {seed:#x}");
        }
        instance.handle(now, Input::Stop);
        instance.handle(now, Input::Hurry);
        if alive {
            assert_eq!(instance.handle(now, Input::Exited), None);
        }
        assert_eq!((instance.state(), instance.deadline()), (State::Stopped, None), "{seed:#x}");
    }
}
