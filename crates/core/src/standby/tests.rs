//! What one node says, step by step; what several do together is in `simulation`.

use core::time::Duration;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::time::Instant;
use crate::vrrp::Version;

mod crossing;
mod duel;
mod groups;
mod joining;
mod moves;
mod orders;
mod reloads;
mod simulation;
mod tracking;
mod upsets;
mod world;

/// The seeds of a simulation, `EVERGATE_SEEDS` times as many if that is set: for long runs. Only
/// the one that `EVERGATE_SEED` names, as failures do.
fn seeds(count: u64) -> core::ops::Range<u64> {
    if let Ok(seed) = std::env::var("EVERGATE_SEED") {
        let digits = seed.strip_prefix("0x").expect("EVERGATE_SEED begins with 0x");
        let seed = u64::from_str_radix(digits, 16).expect("EVERGATE_SEED is hexadecimal");
        return seed..seed + 1;
    }
    let times = std::env::var("EVERGATE_SEEDS").ok();
    let times = times.map_or(1, |text| text.parse().expect("EVERGATE_SEEDS is a number"));
    0..count * times
}

const KEY: RouterKey = RouterKey(51);

fn at(ms: u64) -> Instant {
    Instant::from_nanos((1_000 + ms) * 1_000_000)
}

fn policy() -> Policy {
    Policy {
        version: Version::V3,
        router_id: 51,
        priority: 254,
        interval: Duration::from_millis(30),
        preempt: false,
        preempt_delay: Duration::from_secs(5),
        startup_delay: Duration::ZERO,
        announce_repeat: 5,
        announce_refresh: Some(Duration::from_secs(60)),
    }
}

fn setup(key: RouterKey, name: &str) -> Setup {
    Setup {
        key,
        name: name.to_string(),
        policy: policy(),
        sync: None,
        track: Vec::new(),
        drain: None,
    }
}

fn plan() -> Plan {
    Plan { routers: std::vec![setup(KEY, "web")], ..Plan::default() }
}

fn plan_with(change: impl FnOnce(&mut Policy)) -> Plan {
    let mut plan = plan();
    change(&mut plan.routers[0].policy);
    plan
}

fn node(plan: Plan) -> Standby {
    Standby::new(plan, Birth { now: at(0), unix_ms: 1_700_000_000_000, seed: 1 })
}

/// What it wants done, notes and turns left out.
fn drain(standby: &mut Standby) -> Vec<Output> {
    let outputs = core::iter::from_fn(|| standby.next_output());
    outputs.filter(|output| !matches!(output, Output::Turned(_) | Output::Note(_))).collect()
}

fn ready(standby: &mut Standby, now: Instant) {
    for key in standby.keys() {
        let source = Ok(IpAddr::from([10, 0, 0, 1]));
        standby.handle(now, Input::Interface { router: key, source });
    }
}

#[test]
fn a_lone_node_claims_after_one_master_down_time_and_gives_up_in_order() {
    let mut standby = node(plan());
    assert_eq!(standby.deadline(), None);
    ready(&mut standby, at(0));
    assert_eq!(drain(&mut standby), []);
    let claims_at = standby.deadline().unwrap();
    assert_eq!(claims_at.since(at(0)), Duration::from_nanos(90_000_000 + 30_000_000 * 2 / 256));
    standby.handle(claims_at, Input::Tick);
    let claim = [
        Output::Advertise { router: KEY, priority: 254 },
        Output::Hold(KEY),
        Output::Announce(KEY),
    ];
    assert_eq!(drain(&mut standby), claim);
    assert_eq!(standby.views()[0].role, Role::Master);
    assert_eq!(standby.views()[0].epoch, 1_700_000_000);
    standby.handle(claims_at, Input::Stop);
    assert_eq!(drain(&mut standby), [Output::Advertise { router: KEY, priority: 0 }]);
    for _ in 0..2 {
        standby.handle(standby.deadline().unwrap(), Input::Tick);
        assert_eq!(drain(&mut standby), [Output::Advertise { router: KEY, priority: 0 }]);
    }
    standby.handle(standby.deadline().unwrap(), Input::Tick);
    assert_eq!(drain(&mut standby), [Output::Release(KEY), Output::Idle]);
    assert_eq!(standby.deadline(), None);
}

/// A node that was killed cannot have said that it is no master any more.
#[test]
fn a_node_that_is_started_again_says_so_with_greater_numbers_than_before() {
    let turns = |standby: &mut Standby| {
        let outputs = core::iter::from_fn(|| standby.next_output());
        let turn = |output| match output {
            Output::Turned(turn) => Some((turn.sequence, turn.before, turn.role)),
            _ => None,
        };
        outputs.filter_map(turn).collect::<Vec<_>>()
    };
    let mut first = node(plan());
    assert_eq!(turns(&mut first), [(1_700_000_000_001, Role::Init, Role::Init)]);
    ready(&mut first, at(0));
    first.handle(first.deadline().unwrap(), Input::Tick);
    let told = turns(&mut first);
    assert_eq!(told.last().unwrap().2, Role::Master);
    let birth = Birth { now: at(100), unix_ms: 1_700_000_000_100, seed: 2 };
    let mut second = Standby::new(plan(), birth);
    let (sequence, before, role) = turns(&mut second)[0];
    assert_eq!((before, role), (Role::Init, Role::Init));
    assert!(told.iter().all(|earlier| earlier.0 < sequence));
    // What stays as it was has nothing to say.
    second.apply(at(200), plan());
    assert_eq!(turns(&mut second), []);
}

#[test]
fn it_goes_on_exactly_where_it_was_after_it_was_written_down() {
    let mut standby = node(plan());
    ready(&mut standby, at(0));
    standby.handle(standby.deadline().unwrap(), Input::Tick);
    drain(&mut standby);
    let mut again: Standby = minicbor::decode(&minicbor::to_vec(&standby).unwrap()).unwrap();
    for _ in 0..50 {
        assert_eq!(again.deadline(), standby.deadline());
        let now = standby.deadline().unwrap();
        standby.handle(now, Input::Tick);
        again.handle(now, Input::Tick);
        assert_eq!(drain(&mut again), drain(&mut standby));
        assert_eq!(again.views(), standby.views());
    }
}
