use core::cell::RefCell;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;

use super::smooth::Plain;
use super::*;

const POLICIES: [Policy; 6] = [
    Policy::RoundRobin,
    Policy::LeastConn,
    Policy::Random,
    Policy::P2c,
    Policy::IpHash,
    Policy::Hash,
];

fn candidates(weights: &[u32]) -> Vec<Candidate> {
    let candidate = |(id, &weight): (u32, &u32)| Candidate {
        endpoint: EndpointId(id),
        weight,
        key: hash_bytes(&id.to_le_bytes()),
    };
    (0..).zip(weights).map(candidate).collect()
}

fn picker(policy: Policy, weights: &[u32]) -> Picker {
    let mut picker = Picker::new(policy);
    picker.set_candidates(&candidates(weights));
    picker
}

fn idle(_: EndpointId) -> Load {
    Load::default()
}

/// Picks without history or load; panics if there is nothing to pick.
fn pick(picker: &mut Picker, key: u64, rng: &mut Rng) -> EndpointId {
    picker.pick(&Ask { key, tried: &[] }, idle, rng).unwrap()
}

/// Picks `count` times and says who got how many.
fn shares(picker: &mut Picker, count: u32) -> BTreeMap<u32, f64> {
    let mut rng = Rng::seeded(11);
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let key = rng.next_u64();
        *shares.entry(pick(picker, key, &mut rng).0).or_insert(0.0) += 1.0 / f64::from(count);
    }
    shares
}

fn letters(picker: &mut Picker, count: usize) -> String {
    let mut rng = Rng::seeded(0);
    (0..count).map(|_| char::from(b'a' + pick(picker, 0, &mut rng).0 as u8)).collect()
}

#[test]
fn round_robin_goes_on_where_it_was_when_servers_come_and_go() {
    let mut picker = picker(Policy::RoundRobin, &[1, 1, 1]);
    assert_eq!(letters(&mut picker, 4), "abca");
    // One more before all others: what was `a` is `b` now, and so on.
    picker.renumber(|endpoint| Some(EndpointId(endpoint.0 + 1)));
    picker.set_candidates(&candidates(&[1, 1, 1, 1]));
    assert_eq!(letters(&mut picker, 4), "cdab", "b was due, which is c now");
    // The first two go.
    picker.renumber(|endpoint| endpoint.0.checked_sub(2).map(EndpointId));
    picker.set_candidates(&candidates(&[1, 1]));
    assert_eq!(letters(&mut picker, 4), "abab", "c was due, which is a now");
    // All go, one after the other, and others come by their numbers.
    picker.renumber(|endpoint| (endpoint.0 > 0).then_some(EndpointId(0)));
    picker.renumber(|endpoint| {
        assert_eq!(endpoint.0, 0, "the other is gone");
        None
    });
    picker.set_candidates(&candidates(&[1, 1]));
    assert_eq!(letters(&mut picker, 2), "ab");
}

#[test]
fn round_robin_is_the_sequence_of_nginx() {
    assert_eq!(letters(&mut picker(Policy::RoundRobin, &[5, 1, 1]), 14), "aabacaaaabacaa");
    assert_eq!(letters(&mut picker(Policy::RoundRobin, &[1, 1, 1]), 7), "abcabca");
    assert_eq!(letters(&mut picker(Policy::RoundRobin, &[1, 2]), 6), "babbab");
    assert_eq!(letters(&mut picker(Policy::RoundRobin, &[4, 3, 2]), 9), "abcabacba");
}

/// Draws a list of candidates out of 8 servers, of equal weights three times out of four.
fn random_candidates(rng: &mut Rng) -> Vec<Candidate> {
    let mut list = candidates(&[rng.below(4) + 1; 8]);
    if rng.below(4) == 0 {
        list.iter_mut().for_each(|candidate| candidate.weight = rng.below(4) + 1);
    }
    let present = rng.below(255) + 1;
    list.retain(|candidate| present >> candidate.endpoint.0 & 1 == 1);
    list
}

#[test]
fn the_short_way_of_round_robin_gives_the_very_same_sequence() {
    let mut shortcuts = 0;
    for seed in 0..300 {
        let mut rng = Rng::seeded(seed);
        let mut picker = Picker::new(Policy::RoundRobin);
        let mut plain = Plain::default();
        for step in 0..300 {
            if step == 0 || rng.below(20) == 0 {
                let list = random_candidates(&mut rng);
                plain.set(&reduced(&list), &picker.pool);
                picker.set_candidates(&list);
            }
            if rng.below(30) == 0 {
                let endpoint = EndpointId(rng.below(8));
                picker.failed(endpoint);
                if let Some(position) = picker.pool.position(endpoint) {
                    plain.failed(position);
                }
            }
            let tried: Vec<_> = (0..rng.below(10) / 7).map(|_| EndpointId(rng.below(8))).collect();
            let picked = picker.pick(&Ask { key: 0, tried: &tried }, idle, &mut rng);
            let list = &picker.pool.list;
            let fresh = |position: &usize| !tried.contains(&list[*position].endpoint);
            let mut eligible: Vec<_> = (0..list.len()).filter(fresh).collect();
            if eligible.is_empty() {
                eligible = (0..list.len()).collect();
            }
            let expected = list[plain.pick(eligible.into_iter())].endpoint;
            assert_eq!(picked, Some(expected), "seed {seed}, step {step}");
            let Chooser::RoundRobin(smooth) = &picker.chooser else { unreachable!() };
            shortcuts += u32::from(smooth.is_short());
        }
    }
    assert!(shortcuts > 30_000, "the short way was taken {shortcuts} times");
}

#[test]
fn a_failure_costs_a_server_its_next_turns() {
    for (weights, after) in [([1, 1], "babababa"), ([300, 200], "bbabaababa")] {
        let mut picker = picker(Policy::RoundRobin, &weights);
        letters(&mut picker, if weights[0] == 1 { 2 } else { 5 });
        picker.failed(EndpointId(0));
        assert_eq!(letters(&mut picker, after.len()), after);
    }
}

#[test]
fn servers_that_come_and_go_put_nobody_behind() {
    for seed in 0..50 {
        let mut rng = Rng::seeded(seed);
        let mut picker = Picker::new(Policy::RoundRobin);
        let all = candidates(&[10, 1, 10, 4, 7]);
        for _ in 0..1_000 {
            let present = rng.below(16) + 1;
            let is_present = |c: &&Candidate| present >> c.endpoint.0 & 1 == 1;
            picker.set_candidates(&all.iter().filter(is_present).copied().collect::<Vec<_>>());
            pick(&mut picker, 0, &mut rng);
        }
        picker.set_candidates(&all);
        let picked: BTreeSet<_> = (0..2 * 32).map(|_| pick(&mut picker, 0, &mut rng)).collect();
        assert_eq!(picked.len(), 5, "seed {seed}: within two rounds all had a turn");
    }
}

#[test]
fn least_connections_weighs_and_takes_turns_among_the_tied_only() {
    let mut rng = Rng::seeded(0);
    let mut picker = picker(Policy::LeastConn, &[1, 2, 1, 1]);
    // (in flight of a to d) => who may be next
    let table: [([u32; 4], &[u32]); 5] = [
        ([1, 1, 1, 1], &[1, 1]),
        ([3, 5, 2, 2], &[2, 3, 2, 3]),
        ([1, 2, 1, 0], &[3]),
        ([u32::MAX, u32::MAX, u32::MAX, u32::MAX], &[1]),
        ([5, 10, 5, 6], &[1, 0, 2, 1]),
    ];
    for (in_flight, expected) in table {
        picker = {
            let mut fresh = Picker::new(Policy::LeastConn);
            fresh.set_candidates(&picker.pool.list);
            fresh
        };
        let load = |endpoint: EndpointId| Load {
            in_flight: in_flight[endpoint.index()],
            ..idle(endpoint)
        };
        for &next in expected {
            let picked = picker.pick(&Ask::default(), load, &mut rng);
            assert_eq!(picked, Some(EndpointId(next)), "{in_flight:?}");
        }
    }
}

#[test]
fn shares_follow_weights() {
    for policy in
        [Policy::RoundRobin, Policy::LeastConn, Policy::Random, Policy::IpHash, Policy::Hash]
    {
        for weights in [vec![1, 1, 1, 1], vec![1, 2, 3, 4], vec![1, 100], vec![7]] {
            let total: u32 = weights.iter().sum();
            let shares = shares(&mut picker(policy, &weights), 40_000);
            for (id, &weight) in (0..).zip(&weights) {
                let (share, expected) = (shares[&id], f64::from(weight) / f64::from(total));
                assert!((share - expected).abs() < 0.01, "{policy:?} {weights:?} {shares:?}");
            }
        }
    }
}

#[test]
fn p2c_asks_two_distinct_servers_and_takes_the_cheaper() {
    for weights in [vec![1; 2], vec![3; 5], vec![1, 2, 3, 4], vec![1, 1000, 1]] {
        let mut rng = Rng::seeded(5);
        let mut picker = picker(Policy::P2c, &weights);
        for round in 0..2_000 {
            let asked = RefCell::new(Vec::new());
            let load = |endpoint: EndpointId| {
                asked.borrow_mut().push(endpoint);
                let in_flight = endpoint.0 * 10_000;
                Load { in_flight, latency_nanos: 2_000_000 }
            };
            let tried = [EndpointId(round % 7)];
            let tried = &tried[..usize::from(weights.len() > 2)];
            let picked = picker.pick(&Ask { key: 0, tried }, load, &mut rng);
            let asked = asked.into_inner();
            assert!(asked.len() == 2 && asked[0] != asked[1], "{asked:?}");
            assert!(asked.iter().all(|endpoint| !tried.contains(endpoint)), "{asked:?} {tried:?}");
            assert_eq!(picked, asked.iter().min().copied());
        }
    }
}

#[test]
fn p2c_weighs_latency_load_and_weight() {
    let ms = 1_000_000;
    // (weight, in flight, latency) of a and b => the cheaper
    let table = [
        ((1, 0, 10 * ms), (1, 0, 11 * ms), 0),
        ((1, 3, 10 * ms), (1, 0, 30 * ms), 1),
        ((1, 0, 0), (1, 1, 0), 0),
        ((1, 2, 1), (1, 1, LATENCY_NANOS_MIN), 1),
        ((4, 3, 10 * ms), (1, 0, 11 * ms), 0),
        ((1, u32::MAX, u64::MAX), (u32::MAX, u32::MAX, u64::MAX), 1),
    ];
    for (a, b, cheaper) in table {
        let mut rng = Rng::seeded(1);
        let mut picker = picker(Policy::P2c, &[a.0, b.0]);
        let load = |endpoint: EndpointId| {
            let (_, in_flight, latency_nanos) = [a, b][endpoint.index()];
            Load { in_flight, latency_nanos }
        };
        for _ in 0..20 {
            let picked = picker.pick(&Ask::default(), load, &mut rng);
            assert_eq!(picked, Some(EndpointId(cheaper)), "{a:?} {b:?}");
        }
    }
}

#[test]
fn one_server_more_or_less_moves_few_keys() {
    let mut rng = Rng::seeded(2);
    for policy in [Policy::IpHash, Policy::Hash] {
        for weights in [[3; 20], core::array::from_fn(|index| 1 + index as u32 % 3)] {
            let list = candidates(&weights);
            let (mut with, mut without) = (Picker::new(policy), Picker::new(policy));
            let leaves = EndpointId(7);
            with.set_candidates(&list);
            let fewer: Vec<_> = list.into_iter().filter(|c| c.endpoint != leaves).collect();
            without.set_candidates(&fewer);
            let mut moved = 0;
            for _ in 0..20_000 {
                let key = rng.next_u64();
                let before = pick(&mut with, key, &mut rng);
                let after = pick(&mut without, key, &mut rng);
                assert!(before == after || before == leaves, "only its own keys move");
                moved += u32::from(before != after);
            }
            assert!(f64::from(moved) < 1.5 / 20.0 * 20_000.0 && moved > 0, "{policy:?} {moved}");
        }
    }
}

#[test]
fn a_hot_key_spills_over_before_a_server_has_more_than_its_bound() {
    for weights in [vec![1; 5], vec![1, 2, 4]] {
        let mut rng = Rng::seeded(9);
        let mut picker = picker(Policy::Hash, &weights);
        let mut in_flight = vec![0u32; weights.len()];
        let weight_all: u32 = weights.iter().sum();
        for sent in 0..2_000u32 {
            let load = |endpoint: EndpointId| Load {
                in_flight: in_flight[endpoint.index()],
                ..idle(endpoint)
            };
            let picked = picker.pick(&Ask { key: 42, tried: &[] }, load, &mut rng).unwrap().index();
            let fair = f64::from(sent) * f64::from(weights[picked]) / f64::from(weight_all);
            assert!(f64::from(in_flight[picked]) <= 1.25 * fair + 1.0, "{in_flight:?}");
            in_flight[picked] += 1;
        }
        assert!(in_flight.iter().filter(|&&n| n > 0).count() > 1, "{in_flight:?}");
    }
}

#[test]
fn every_policy_prefers_untried_candidates_and_returns_nothing_else() {
    for policy in POLICIES {
        for seed in 0..60 {
            let mut rng = Rng::seeded(seed);
            let mut picker = Picker::new(policy);
            assert_eq!(picker.pick(&Ask::default(), idle, &mut rng), None);
            for step in 0..100 {
                if step % 10 == 0 {
                    picker.set_candidates(&random_candidates(&mut rng));
                }
                let tried: Vec<_> = (0..rng.below(6)).map(|_| EndpointId(rng.below(10))).collect();
                let in_flight = rng.below(5);
                let load = |endpoint: EndpointId| Load {
                    in_flight: in_flight * endpoint.0,
                    latency_nanos: u64::from(endpoint.0),
                };
                let ask = Ask { key: rng.next_u64(), tried: &tried };
                let picked = picker.pick(&ask, load, &mut rng).unwrap();
                let list = &picker.pool.list;
                assert!(list.iter().any(|c| c.endpoint == picked), "{policy:?} seed {seed}");
                let is_fresh_left = list.iter().any(|c| !tried.contains(&c.endpoint));
                assert!(!(is_fresh_left && tried.contains(&picked)), "{policy:?} seed {seed}");
                picker.failed(picked);
            }
        }
    }
}

#[test]
fn the_same_key_finds_the_same_server_in_every_picker() {
    let mut rng = Rng::seeded(4);
    let mut list = candidates(&[1, 2, 3, 4, 5]);
    let (mut here, mut there) = (Picker::new(Policy::Hash), Picker::new(Policy::Hash));
    here.set_candidates(&list);
    list.reverse();
    there.set_candidates(&list);
    for _ in 0..1_000 {
        let key = rng.next_u64();
        assert_eq!(pick(&mut here, key, &mut rng), pick(&mut there, key, &mut rng));
    }
}
