//! What is known of a server survives the process that knew it, and no bytes do harm.

use super::simulation::random_input;
use super::*;

fn across(policy: Policy, health: &Health, now: Instant) -> Health {
    let bytes = minicbor::to_vec(health.carried()).unwrap();
    Health::resume(policy, minicbor::decode(&bytes).unwrap(), now)
}

#[test]
fn a_server_that_was_down_is_down_and_its_streaks_go_on() {
    let mut health = configured(1);
    health.handle(at(0), passed(0));
    repeat(2, &mut health, at(1), &failed(0, "refused"));
    let mut next = across(policy(1), &health, at(2));
    assert_eq!(
        (shown(&next).as_str(), next.pace(0)),
        ("up 3*100% checks pass", Pace::InTransition)
    );
    next.handle(at(3), failed(0, "status 503"));
    let mut next = across(policy(1), &next, at(4));
    assert_eq!(shown(&next), "down 3*0% check failed: status 503");
    next.handle(at(5), passed(0));
    let mut next = across(policy(1), &next, at(6));
    next.handle(at(7), passed(0));
    assert_eq!(shown(&next), "up 3*100% checks pass");
}

#[test]
fn the_next_process_goes_by_its_own_policy() {
    let mut health = configured(2);
    health.handle(at(0), failed(1, "refused"));
    let heavier = |checks| Policy { weight: 9, ..policy(checks) };
    assert_eq!(shown(&across(heavier(2), &health, at(1))).split(' ').nth(1), Some("9*0%"));
    assert_eq!(shown(&across(heavier(1), &health, at(1))), "up 9*100% not yet checked");
    health.handle(at(1), Input::Weight(5));
    health.handle(at(1), Input::Drain);
    assert_eq!(shown(&across(heavier(3), &health, at(2))), "draining 5*0% drained by the operator");

    let mut health = configured(0);
    health.handle(at(0), FAILING);
    let gentle = OutlierPolicy { eject: Duration::from_millis(100), ..OUTLIER };
    let next = across(Policy { outlier: gentle, ..policy(0) }, &health, at(1));
    assert_eq!(shown(&next), "down 3*0% ejected for 1 s after 5 failures in a row");
    assert_eq!(next.deadline(), Some(at(2)), "as long as the new policy ejects at most");
    let next = across(policy(0), &health, at(31));
    assert_eq!((shown(&next).as_str(), next.deadline()), ("up 3*100% no checks", None));
}

#[test]
fn a_life_in_many_processes_is_the_life_in_one() {
    for seed in 0..128 {
        let mut rng = Rng::seeded(seed);
        let policy = Policy { slow_start: 5 * SECOND, ..policy(2) };
        let mut one = Health::new(policy.clone(), Arrival::Later, Instant::EPOCH);
        let mut many = one.clone();
        let mut now = Instant::EPOCH;
        for step in 0..300 {
            now = now + Duration::from_millis(u64::from(rng.below(1_500)));
            let input = random_input(&mut rng);
            one.handle(now, input.clone());
            many.handle(now, input);
            if rng.below(3) == 0 {
                many = across(policy.clone(), &many, now);
            }
            let (one, many) = (format!("{one:?}"), format!("{many:?}"));
            assert_eq!(one, many, "seed {seed}, step {step}");
        }
    }
}

#[test]
fn no_bytes_do_harm() {
    let mut seen = 0;
    for seed in 0..2_000 {
        let mut rng = Rng::seeded(seed);
        let policy = Policy { slow_start: 5 * SECOND, ..policy(2) };
        let mut health = Health::new(policy.clone(), Arrival::Later, Instant::EPOCH);
        for _ in 0..rng.below(20) {
            health.handle(at(100), random_input(&mut rng));
        }
        let mut bytes = minicbor::to_vec(health.carried()).unwrap();
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len() as u32) as usize;
            match rng.below(16) {
                0..8 => bytes[at] = rng.next_u64() as u8,
                8..15 => bytes[at] ^= 1 << rng.below(8),
                _ => bytes.truncate(at + 1),
            }
        }
        let Ok(carried) = minicbor::decode(&bytes) else { continue };
        seen += 1;
        let mut health = Health::resume(policy, carried, at(100));
        for step in 0..20 {
            let now = at(100 + step);
            assert!(health.deadline().is_none_or(|deadline| deadline > now || step > 0));
            health.handle(now, random_input(&mut rng));
            assert!(health.deadline().is_none_or(|deadline| deadline > now), "seed {seed}");
        }
    }
    assert!(seen > 100, "only {seen} were read");
}

#[test]
fn the_largest_numbers_do_no_harm() {
    let failing = Check::Failing { successes: u32::MAX, why: "é".repeat(4_000) };
    let carried = Carried::of(vec![Check::Passing { failures: u32::MAX }, failing]);
    let mut health = Health::resume(policy(2), carried, at(1));
    let Reason::ChecksFailed { why, .. } = &health.verdict().reason else { panic!("one fails") };
    assert!(why.len() <= 1024 && why.starts_with('é'));
    health.handle(at(2), failed(0, "x"));
    health.handle(at(2), passed(1));
    assert_eq!(shown(&health), "down 3*0% 1 of 2 checks failed: x");
}
