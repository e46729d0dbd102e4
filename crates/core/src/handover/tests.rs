//! Moves between two nodes in virtual time, over a network that loses, doubles and delays.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use super::*;
use crate::rng::Rng;
use crate::time::Instant;

mod world;

use world::{CALM, PASS_WITHIN, STEP, Weather, World};

fn flow(number: u16) -> Flow {
    Flow {
        client: IpAddr::V4(Ipv4Addr::new(10, 9, (number >> 8) as u8, number as u8)),
        client_port: 40_000,
        local: IpAddr::V4(Ipv4Addr::new(10, 9, 0, 100)),
        local_port: 443,
    }
}

#[test]
fn a_move_takes_a_few_turns_and_nobody_is_ever_without_a_master() {
    for flows in [0, 1, FLOWS_PART_MAX, FLOWS_MAX] {
        let mut world = World::new(1, Weather { flows, ..CALM });
        world.give();
        world.run(Duration::from_millis(20));
        assert!(world.nodes[1].is_master && !world.nodes[0].is_master);
        assert!(world.nodes[0].is_passing && world.nodes[1].is_passing);
        world.run(Duration::from_millis(400));
        world.assert_settled("calm");
        assert_eq!(world.masterless, Duration::ZERO);
        assert!(world.both <= 3 * STEP, "{:?}", world.both);
        let over = |act: &Act| matches!(act, Act::Over { flows: all, .. } if *all == flows);
        assert_eq!((world.acts(0, over), world.acts(1, over)), (1, 1));
    }
}

#[test]
fn a_better_backup_gets_what_it_asks_for() {
    let mut world = World::new(2, CALM);
    world.want();
    world.run(Duration::from_secs(1));
    assert!(world.nodes[1].is_master);
    world.assert_settled("wanted");
    let yielded = |act: &Act| matches!(act, Act::Yield { reason, .. } if reason.contains("asked"));
    assert_eq!(world.acts(0, yielded), 1);
}

#[test]
fn whoever_will_not_says_why_and_nothing_is_frozen() {
    for wants in [false, true] {
        let mut world = World::new(3, CALM);
        world.nodes[usize::from(!wants)].would = Err("in maintenance".to_string());
        if wants {
            world.want();
        } else {
            world.give();
        }
        world.run(Duration::from_millis(10));
        assert!(world.nodes[0].is_master);
        world.assert_settled("declined");
        let said = |act: &Act| match act {
            Act::Kept { why, .. } | Act::Missed { why, had_asked: true, .. } => {
                why == "in maintenance"
            }
            _ => false,
        };
        assert_eq!(world.acts(usize::from(wants), said), 1);
        assert_eq!(world.acts(0, |act| matches!(act, Act::Freeze { .. })), 0);
    }
}

#[test]
fn a_second_move_waits_for_the_first_one() {
    let mut world = World::new(4, Weather { drains: false, ..CALM });
    world.give();
    world.run(Duration::from_millis(50));
    assert!(!world.nodes[0].mover.is_free() && !world.nodes[1].mover.is_free());
    world.give();
    let kept = |act: &Act| matches!(act, Act::Kept { why, .. } if why.contains("another move"));
    assert_eq!(world.acts(0, kept), 1);
    world.run(PASS_WITHIN);
    world.assert_settled("the bound of passing on");
}

#[test]
fn connections_that_never_end_are_waited_for_as_long_as_was_said() {
    let mut world = World::new(5, Weather { drains: false, ..CALM });
    world.give();
    world.run(PASS_WITHIN - Duration::from_millis(100));
    assert!(world.nodes[0].is_passing && world.nodes[1].is_passing);
    world.run(Duration::from_millis(200));
    world.assert_settled("endless");

    let mut world = World::new(6, Weather { drains: false, ..CALM });
    world.give();
    world.run(Duration::from_millis(100));
    world.feed(0, Event::Hasten(Duration::from_secs(1)));
    world.run(Duration::from_millis(1_100));
    world.assert_settled("hastened");

    let mut world = World::new(6, Weather { drains: false, ..CALM });
    world.give();
    world.feed(0, Event::Hasten(Duration::from_secs(1)));
    world.run(Duration::from_millis(1_200));
    world.assert_settled("hastened before there was anything to pass on");
}

#[test]
fn what_cannot_be_frozen_is_kept() {
    let mut world = World::new(7, Weather { freezes: false, ..CALM });
    world.give();
    world.run(FREEZE_WITHIN + Duration::from_millis(50));
    assert!(world.nodes[0].is_master);
    world.assert_settled("no answer");

    let mut world = World::new(8, Weather { freezes: false, ..CALM });
    world.give();
    world.run(Duration::from_millis(5));
    world.feed(0, Event::Frozen(Err("no right".to_string())));
    world.run(Duration::from_millis(5));
    world.assert_settled("an error");
    let kept = |act: &Act| matches!(act, Act::Kept { why, .. } if why.ends_with(": no right"));
    assert_eq!(world.acts(0, kept), 1);
    world.feed(0, Event::Frozen(Ok(vec![])));
    world.assert_settled("a late answer");
}

#[test]
fn any_message_may_be_lost_doubled_or_late() {
    let mut moved = 0;
    for seed in 0..600 {
        let mut rng = Rng::seeded(seed);
        let weather = Weather {
            lost: rng.below(400),
            doubled: rng.below(400),
            delay_ms_max: rng.below(60),
            freezes: rng.below(10) > 0,
            drains: rng.below(3) > 0,
            flows: rng.below(FLOWS_MAX as u32) as usize / (1 + rng.below(100) as usize),
            crash: None,
        };
        let mut world = World::new(seed, weather);
        if rng.below(2) == 0 {
            world.give()
        } else {
            world.want()
        }
        world.run(PASS_WITHIN + Duration::from_secs(2));
        // The last words may be lost altogether: the successor gives up waiting by itself.
        world.weather.lost = 0;
        if !world.nodes[1].mover.is_idle() {
            world.run(PASS_WITHIN + PASS_BACK_SLACK);
        }
        world.run(Duration::from_secs(1));
        world.assert_settled(&alloc::format!("seed {seed}"));
        moved += usize::from(world.acts(1, |act| matches!(act, Act::Claim { .. })) > 0);
    }
    assert!(moved > 300, "only {moved} of 600 moves were made");
}

#[test]
fn either_node_may_die_at_any_moment() {
    for seed in 0..400 {
        let mut rng = Rng::seeded(seed ^ 0xdead);
        let crash = Some((rng.below(2) as usize, rng.below(60)));
        let weather = Weather { lost: rng.below(200), delay_ms_max: rng.below(8), crash, ..CALM };
        let mut world = World::new(seed, weather);
        if rng.below(2) == 0 {
            world.give()
        } else {
            world.want()
        }
        world.run(Duration::from_secs(3));
        world.weather.lost = 0;
        world.run(PASS_WITHIN + PASS_BACK_SLACK);
        world.assert_settled(&alloc::format!("seed {seed}"));
    }
}

#[test]
fn late_words_of_a_move_that_is_over_begin_nothing() {
    for wants in [false, true] {
        let mut world = World::new(9, CALM);
        if wants {
            world.want()
        } else {
            world.give()
        }
        world.run(Duration::from_secs(1));
        world.assert_settled("moved");
        let said: Vec<Message> =
            world.nodes.iter().flat_map(|node| &node.acts).filter_map(said).collect();
        let before = [world.nodes[0].acts.len(), world.nodes[1].acts.len()];
        for message in said {
            for at in 0..2 {
                world.feed(at, heard(1 - at, message.clone(), Ok(vec![7, 7])));
            }
        }
        assert_eq!([world.nodes[0].acts.len(), world.nodes[1].acts.len()], before);
    }
}

#[test]
fn whoever_wants_another_move_leaves_connections_less_time() {
    for (node, lost) in [(0, 0), (1, 0), (1, 1000)] {
        let mut world = World::new(11, Weather { drains: false, ..CALM });
        world.give();
        world.run(Duration::from_secs(1));
        // Again and again, as whoever waits does; the first time nothing may be heard.
        world.weather.lost = lost;
        for _ in 0..160 {
            world.feed(node, Event::Hasten(NEXT_WITHIN));
            world.run(Duration::from_millis(50));
            world.weather.lost = 0;
        }
        assert!(world.nodes[0].is_passing && world.nodes[1].is_passing, "{node} {lost}");
        world.run(Duration::from_millis(2_300));
        world.assert_settled("hastened");
        let hastened = world.acts(0, |act| matches!(act, Act::Hasten { .. }));
        assert!(hastened > 0, "{node} {lost}");
        let asked =
            world.acts(1, |act| matches!(act, Act::Say { message: Message::Hasten { .. }, .. }));
        assert!(asked <= 160 / 3 * node, "{asked}: not each time");
    }
}

#[test]
fn a_peer_that_speaks_of_another_move_is_through_with_the_one_before() {
    let mut world = World::new(12, Weather { drains: false, ..CALM });
    world.give();
    world.run(Duration::from_secs(1));
    // It was started anew, and has forgotten everything.
    world.nodes[0].mover = Mover::new(77);
    (world.nodes[0].is_passing, world.nodes[0].drained_at) = (false, None);
    let wish = Message::Want { number: 1, routers: vec![51, 307] };
    world.feed(1, heard(0, wish, Ok(vec![7, 7])));
    let over = |act: &Act| matches!(act, Act::Over { .. });
    assert_eq!(world.acts(1, over), 1);
    let offers = |act: &Act| matches!(act, Act::Say { message: Message::Offer { .. }, .. });
    assert_eq!(world.acts(1, offers), 1);
}

#[test]
fn who_is_not_told_how_long_passes_packets_back_for_a_minute() {
    for (said, within) in [
        (None, PASS_BACK_UNSAID),
        (Some(5_000), Duration::from_secs(5) + PASS_BACK_SLACK),
        (Some(u32::MAX), PASS_MAX + PASS_BACK_SLACK),
    ] {
        let mut mover = Mover::new(1);
        let now = Instant::EPOCH;
        let offer = Message::Offer {
            number: 9,
            routers: vec![51],
            epochs: vec![1],
            reason: String::new(),
            pass_within_ms: said,
            instead_of: None,
        };
        mover.handle(now, heard(0, offer, Ok(vec![1])));
        let flows = Message::Flows { number: 9, part: 0, parts: 1, flows: vec![flow(1)] };
        mover.handle(now, heard(0, flows, Ok(vec![])));
        assert_eq!(mover.deadline(), Some(now + within));
    }
}

fn heard(peer: usize, message: Message, would: Result<Vec<u64>, String>) -> Event {
    Event::Said { peer, message, would, pass_within: PASS_WITHIN }
}

fn said(act: &Act) -> Option<Message> {
    match act {
        Act::Say { message, .. } => Some(message.clone()),
        _ => None,
    }
}

#[test]
fn an_old_copy_of_an_offer_does_not_undo_what_was_done() {
    let mut world = World::new(10, CALM);
    world.give();
    let offer = world.nodes[0].acts.iter().find_map(said).unwrap();
    world.run(Duration::from_millis(20));
    assert!(world.nodes[1].is_master);
    let before = world.nodes[1].acts.len();
    let would = Err("it is master already".to_string());
    world.feed(1, heard(0, offer, would));
    assert_eq!(world.nodes[1].acts.len(), before);
}

#[test]
fn parts_that_make_no_sense_are_declined() {
    for (part, parts, count) in [(1, 1, 1), (0, 1, FLOWS_PART_MAX + 1), (0, u16::MAX, 1), (0, 0, 0)]
    {
        let mut mover = Mover::new(1);
        let now = Instant::EPOCH;
        let offer = Message::Offer {
            number: 9,
            routers: vec![51],
            epochs: vec![1],
            reason: String::new(),
            pass_within_ms: None,
            instead_of: None,
        };
        mover.handle(now, heard(0, offer, Ok(vec![1])));
        let flows = (0..count as u16).map(flow).collect();
        let message = Message::Flows { number: 9, part, parts, flows };
        mover.handle(now, heard(0, message, Ok(vec![])));
        let acts: Vec<Act> = core::iter::from_fn(|| mover.next_act()).collect();
        assert!(matches!(acts.last(), Some(Act::Missed { .. })), "{acts:?}");
        assert!(mover.is_idle());
    }
}

#[test]
fn words_of_another_peer_do_not_count() {
    let mut mover = Mover::new(1);
    let now = Instant::EPOCH;
    let offer =
        Offer { peer: 1, routers: vec![(51, 1)], reason: String::new(), pass_within: PASS_DEFAULT };
    mover.handle(now, Event::Give(offer));
    let Some(Act::Say { message: Message::Offer { number, .. }, .. }) = mover.next_act() else {
        panic!("an offer comes first");
    };
    let message = Message::Accept { number, instead_of: None };
    mover.handle(now, heard(0, message.clone(), Ok(vec![])));
    assert_eq!(mover.next_act(), None);
    mover.handle(now, heard(1, message, Ok(vec![])));
    assert_eq!(mover.next_act(), Some(Act::Freeze { routers: vec![51] }));
}

/// Messages as the release before this one has them.
#[derive(Debug, Decode, Encode, PartialEq)]
enum Before {
    #[n(2)]
    Accept {
        #[n(0)]
        number: u64,
    },
    #[n(3)]
    Decline {
        #[n(0)]
        number: u64,
        #[n(1)]
        why: String,
    },
}

#[test]
fn nodes_of_the_release_before_understand_answers_and_are_understood() {
    let why = || "in maintenance".to_string();
    let pairs = [
        (Before::Accept { number: 7 }, Message::Accept { number: 7, instead_of: None }),
        (
            Before::Decline { number: 7, why: why() },
            Message::Decline { number: 7, why: why(), is_busy: false },
        ),
    ];
    for (before, message) in pairs {
        let read: Message = minicbor::decode(&minicbor::to_vec(&before).unwrap()).unwrap();
        assert_eq!(read, message);
        let said = match message {
            Message::Accept { number, .. } => Message::Accept { number, instead_of: Some(9) },
            Message::Decline { number, why, .. } => Message::Decline { number, why, is_busy: true },
            other => other,
        };
        let read: Before = minicbor::decode(&minicbor::to_vec(&said).unwrap()).unwrap();
        assert_eq!(read, before);
    }
}

#[test]
fn marks_differ_by_every_bit_and_have_no_pattern() {
    let mut marks: Vec<u32> = (0..FLOWS_MAX as u16).map(|number| flow(number).mark()).collect();
    let ports = (1..FLOWS_MAX as u16).map(|client_port| Flow { client_port, ..flow(0) }.mark());
    marks.extend(ports);
    let v6 = |number: u16| Flow {
        client: IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, number, 0, 1)),
        ..flow(0)
    };
    marks.extend((0..FLOWS_MAX as u16).map(|number| v6(number).mark()));
    let all = marks.len();
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(marks.len(), all);
}

#[test]
fn a_move_ends_at_whoever_is_left_when_the_other_node_starts_anew() {
    let ms = Duration::from_millis;
    for (who, after) in [(0, ms(3)), (0, ms(50)), (1, ms(50))] {
        let mut world = World::new(1, Weather { drains: false, ..CALM });
        world.give();
        world.run(after);
        assert!(!world.nodes[who].mover.is_free(), "{after:?}");
        // Of another one it says nothing.
        world.feed(who, Event::Restarted { peer: 7 });
        assert!(!world.nodes[who].mover.is_free(), "{after:?}");
        world.feed(who, Event::Restarted { peer: 1 - who });
        assert!(world.nodes[who].mover.is_free(), "{after:?}");
        let ended = |act: &Act| match act {
            Act::Over { flows, .. } => *flows == 100,
            Act::Kept { why, .. } => why == "it started anew",
            _ => false,
        };
        assert_eq!(world.acts(who, ended), 1, "{after:?}");
        assert!(!world.nodes[who].is_passing && world.nodes[who].frozen_since.is_none());
    }
}
