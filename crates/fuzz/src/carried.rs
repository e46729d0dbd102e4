//! What one process hands to the next: the blob with its sections, and the machines in them.

use std::fmt::Debug;
use std::time::Duration;

use evergate_core::health::{self, CheckPolicy, Health, OutlierPolicy};
use evergate_core::rng::Rng;
use evergate_core::state::{BYTES_MAX, Refusal, Section, Writer, read};
use evergate_core::supervise::fleet::{self, Exit, Fleet, Probe, Run};
use evergate_core::time::Instant;
use evergate_core::upgrade::{self, Side, Upgrade};
use minicbor::{Decode, Encode};

/// Most things that happen to a machine that was read.
const STEPS: u64 = 24;

/// A blob is read back as it was written, however its sections are; one that is damaged anywhere
/// is refused.
pub fn state(input: &[u8]) {
    match read(input) {
        Ok(sections) => same_sections(&sections),
        Err(Refusal::TooLong) => assert!(input.len() > BYTES_MAX, "it is not too long"),
        Err(Refusal::Foreign | Refusal::Damaged | Refusal::Newer { .. }) => {}
    }
    // The sums stop nearly every mutant, so sections are made of it too.
    let sections: Vec<Section<'_>> = input.chunks(64).filter_map(section).collect();
    same_sections(&sections);
    let mut blob = written(&sections);
    let bit = input.iter().fold(7usize, |sum, &byte| sum.wrapping_mul(31) + usize::from(byte));
    let bit = bit % (8 * blob.len());
    // The schema that it was written in is for people.
    if !(4..6).contains(&(bit / 8)) {
        blob[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&blob).is_err(), "bit {bit} does not matter");
    }
}

fn section(bytes: &[u8]) -> Option<Section<'_>> {
    let (head, body) = bytes.split_at_checked(4)?;
    let (kind, version) = (u16::from(head[0]), u16::from(head[1]));
    Some(Section { kind, version, is_required: head[2] & 1 == 1, body })
}

fn same_sections(sections: &[Section<'_>]) {
    assert_eq!(read(&written(sections)).as_deref(), Ok(sections), "sections survive");
}

fn written(sections: &[Section<'_>]) -> Vec<u8> {
    let mut writer = Writer::new();
    sections.iter().for_each(|section| writer.section(*section));
    writer.finish().expect("it is no longer than the input and its heads")
}

/// Whatever is said of a server: it is the same after it was written down, and no harm to a server
/// that goes on from it.
pub fn health(input: &[u8]) {
    let Some(carried) = survives::<health::Carried>(input) else { return };
    let check = CheckPolicy {
        every: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        fall: 3,
        rise: 2,
    };
    let outlier =
        OutlierPolicy { consecutive: 5, eject: Duration::from_secs(30), ejected_percent_max: 50 };
    let mut rng = rng(input);
    for checks in 0..3 {
        let slow_start = Duration::from_secs(u64::from(rng.below(10)));
        let checks = vec![check; checks];
        let policy = health::Policy { weight: 3, checks, outlier, slow_start };
        live_on(Health::resume(policy.clone(), carried.clone(), at(1_000)), &policy, &mut rng);
    }
}

fn live_on(mut health: Health, policy: &health::Policy, rng: &mut Rng) {
    let is_due = |health: &Health, now| health.deadline().is_some_and(|deadline| deadline <= now);
    assert!(!is_due(&health, at(1_000)), "what is due was done: {health:?}");
    for step in 0..STEPS {
        let check = rng.below(policy.checks.len().max(1) as u32) as usize;
        let input = match rng.below(8) {
            0 | 1 if !policy.checks.is_empty() => health::Input::Checked { check, outcome: Ok(()) },
            2..5 if !policy.checks.is_empty() => {
                health::Input::Checked { check, outcome: Err("refused".into()) }
            }
            5 => health::Input::FailedInARow { failures: 5, may_eject: true },
            6 => health::Input::Undrain,
            _ => health::Input::Tick,
        };
        let now = at(1_000 + 7 * step);
        health.handle(now, input);
        assert!(!is_due(&health, now), "what is due was done: {health:?}");
        let verdict = health.verdict();
        let is_up = verdict.state == health::State::Up;
        assert_eq!(is_up, verdict.weight_percent > 0, "{verdict:?}");
        assert!(verdict.weight <= u32::from(u16::MAX) && verdict.weight_percent <= 100);
    }
}

/// Whatever is said of an upgrade: it is the same after it was written down, and it ends.
pub fn upgrade(input: &[u8]) {
    let Some(mut upgrade) = survives::<Upgrade>(input) else { return };
    let mut rng = rng(input);
    let mut outputs = 0;
    let mut drain = |upgrade: &mut Upgrade| {
        while upgrade.next_output().is_some() {
            outputs += 1;
        }
        assert!(outputs < 40 + input.len(), "it wants ever more");
    };
    drain(&mut upgrade);
    for step in 0..STEPS / 2 {
        upgrade.handle(at(1_000 + step), upgrade_input(&mut rng));
        drain(&mut upgrade);
    }
    // Each phase has a time, so as many ticks are enough.
    for _ in 0..9 {
        if let Some(deadline) = upgrade.deadline() {
            upgrade.handle(deadline, upgrade::Input::Tick);
            drain(&mut upgrade);
        }
    }
    assert!(upgrade.deadline().is_none() && upgrade.outcome().is_some(), "no end: {upgrade:?}");
}

fn upgrade_input(rng: &mut Rng) -> upgrade::Input {
    let served = upgrade::Served { requests: rng.next_u64(), errors: rng.next_u64() };
    match rng.below(14) {
        0 => upgrade::Input::Checked(Ok(())),
        1 => upgrade::Input::Checked(Err("too old".into())),
        2 => upgrade::Input::Ready,
        3 => upgrade::Input::Activated,
        4 => upgrade::Input::Probed(Ok(())),
        5 => upgrade::Input::Released(Side::Old),
        6 => upgrade::Input::Acquired,
        7 => upgrade::Input::Served(Side::Old, served),
        8 => upgrade::Input::Served(Side::New, served),
        9 => upgrade::Input::Lost(Side::Old, "signal 9".into()),
        10 => upgrade::Input::Executed,
        11 => upgrade::Input::Released(Side::New),
        12 => upgrade::Input::Stop("the end".into()),
        _ => upgrade::Input::Tick,
    }
}

/// Whatever is said of a fleet: it is the same after it was written down, and nothing that happens
/// to it then breaks a promise.
pub fn fleet(input: &[u8]) {
    let Some(mut fleet) = survives::<Fleet>(input) else { return };
    let mut rng = rng(input);
    let mut now = at(1_000);
    let tell = |fleet: &mut Fleet, now, input| {
        fleet.handle(now, input);
        while fleet.next_output().is_some() {}
    };
    tell(&mut fleet, now, fleet::Input::Tick);
    for _ in 0..STEPS {
        let views = fleet.views(now);
        let run = views.get(rng.below(views.len() as u32) as usize).map(|view| view.run.clone());
        let input = run.map_or(fleet::Input::Tick, |run| fleet_input(&mut rng, run));
        now = now + Duration::from_millis(u64::from(rng.below(20_000)));
        tell(&mut fleet, now, input);
        drop(fleet.deploys(now));
    }
    tell(&mut fleet, now, fleet::Input::End);
    tell(&mut fleet, now, fleet::Input::Hurry);
    expect_same(&fleet, decoded(&encoded(&fleet)));
}

fn fleet_input(rng: &mut Rng, run: Run) -> fleet::Input {
    match rng.below(10) {
        0 | 1 => fleet::Input::Noticed { run, is_ready: true },
        2 => fleet::Input::Probed { run, probe: Probe::Ready, failure: None },
        3 => fleet::Input::Probed { run, probe: Probe::Alive, failure: Some("no".into()) },
        4 => fleet::Input::Exited { run, exit: Exit::Status(1), how: "1".into(), has_rest: false },
        5 => fleet::Input::Exited { run, exit: Exit::Signal(9), how: "9".into(), has_rest: true },
        6 => fleet::Input::Emptied(run),
        7 => fleet::Input::Idle(run),
        8 => fleet::Input::Gateway(rng.below(2) == 0),
        _ => fleet::Input::Tick,
    }
}

/// What was read, if it could be; it is the same after it was written down.
fn survives<T: Debug + Encode<()> + for<'b> Decode<'b, ()>>(input: &[u8]) -> Option<T> {
    let value = decoded(input)?;
    expect_same(&value, decoded(&encoded(&value)));
    Some(value)
}

fn decoded<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    minicbor::decode(bytes).ok()
}

fn encoded<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a vector takes every byte")
}

fn expect_same<T: Debug>(value: &T, again: Option<T>) {
    let again = again.expect("what was encoded can be decoded");
    assert_eq!(format!("{value:?}"), format!("{again:?}"), "it survives being encoded");
}

fn rng(input: &[u8]) -> Rng {
    Rng::seeded(input.iter().fold(7, |sum, &byte| sum ^ u64::from(byte).wrapping_add(sum << 5)))
}

fn at(seconds: u64) -> Instant {
    Instant::EPOCH + Duration::from_secs(seconds)
}
