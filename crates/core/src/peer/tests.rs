use std::net::IpAddr;
use std::string::{String, ToString};
use std::time::Duration;
use std::vec::Vec;

use super::*;
use crate::time::Instant;

mod sessions;
mod simulation;

const INTERVAL: Duration = Duration::from_millis(100);
const POLICY: Policy = Policy { interval: INTERVAL, missing: 3, port: 7947 };
/// When a path counts as dead.
const PATIENCE: Duration = Duration::from_millis(350);
const UNIX_MS: u64 = 1_790_000_000_000;

fn at(millis: u64) -> Instant {
    Instant::EPOCH + Duration::from_millis(millis)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn setup(name: &str, addresses: &[&str]) -> Setup {
    Setup { name: name.to_string(), addresses: addresses.iter().map(|text| ip(text)).collect() }
}

/// Node `a`, which knows `b` over two paths.
fn node() -> Peers {
    let mut peers = Peers::new(at(0), UNIX_MS, 1);
    peers.apply(at(0), "a", Some(POLICY), &[setup("b", &["10.0.0.2", "10.1.0.2"])]);
    peers
}

/// What `b` says over its path of this number.
fn beat(path: u8, number: u64, hears: &[u8]) -> Beat {
    Beat {
        node: "b".to_string(),
        routers: Vec::new(),
        hears: hears.to_vec(),
        path,
        number,
        boot: 77,
        interval: INTERVAL,
    }
}

fn say(peers: &mut Peers, now: Instant, path: usize, beat: Beat) {
    peers.handle(now, Input::Said { peer: 0, path, message: Message::Beat(beat) });
}

/// `b` is heard over both paths, and hears us.
fn say_both(peers: &mut Peers, now: Instant, number: u64) {
    for path in 0..2u8 {
        say(peers, now, usize::from(path), beat(path, number, &[0, 1]));
    }
}

fn outputs(peers: &mut Peers) -> Vec<Output> {
    core::iter::from_fn(|| peers.next_output()).collect()
}

fn notes(peers: &mut Peers) -> Vec<(&'static str, String)> {
    outputs(peers)
        .into_iter()
        .filter_map(|output| match output {
            Output::Say { .. } | Output::Restarted { .. } => None,
            Output::Note(note) => Some((note.kind, note.reason)),
        })
        .collect()
}

/// The beats among the outputs: peer, path, and what is said.
fn beats(peers: &mut Peers) -> Vec<(usize, usize, Beat)> {
    outputs(peers)
        .into_iter()
        .filter_map(|output| match output {
            Output::Say { peer, path, message: Message::Beat(beat) } => Some((peer, path, beat)),
            Output::Say { message: Message::Handover(_), .. }
            | Output::Restarted { .. }
            | Output::Note(_) => None,
        })
        .collect()
}

fn claim(role: Role, priority: u8, is_ready: bool) -> Claim {
    Claim { router: 51, role, priority, epoch: 9, is_ready }
}

#[test]
fn a_beat_goes_over_every_path_in_every_interval() {
    let peers = &mut node();
    for turn in 0..5u64 {
        let now = at(100 * turn);
        assert_eq!(peers.deadline(), Some(if turn == 0 { at(100) } else { now }));
        peers.handle(now, Input::Tick);
        let said = beats(peers);
        let sent: Vec<_> = said.iter().map(|(peer, path, _)| (*peer, *path)).collect();
        assert_eq!(sent, [(0, 0), (0, 1)]);
        for (_, path, beat) in said {
            assert_eq!((beat.node.as_str(), usize::from(beat.path)), ("a", path));
            assert_eq!((beat.number, beat.boot, beat.interval), (turn + 1, 1, INTERVAL));
        }
        peers.handle(now + INTERVAL / 2, Input::Tick);
        assert_eq!(outputs(peers), [], "not before it is time");
    }
}

#[test]
fn without_peers_nothing_is_ever_due() {
    let mut peers = Peers::new(at(0), UNIX_MS, 1);
    peers.apply(at(0), "a", None, &[]);
    peers.handle(at(1_000), Input::Tick);
    assert_eq!((peers.deadline(), outputs(&mut peers)), (None, Vec::new()));
}

#[test]
fn a_peer_is_unknown_then_alive_then_a_link_is_dead_then_the_host() {
    let peers = &mut node();
    assert_eq!(peers.health(0), Health::Unknown);
    peers.handle(at(5_000), Input::Tick);
    assert_eq!(notes(peers), [], "who was never heard has not died");
    say_both(peers, at(5_000), 1);
    assert_eq!(peers.health(0), Health::Alive);
    say(peers, at(5_100), 0, beat(0, 2, &[0, 1]));
    let dead_at = at(5_000) + PATIENCE;
    peers.handle(at(5_349), Input::Tick);
    assert_eq!(peers.health(0), Health::Alive);
    peers.handle(dead_at, Input::Tick);
    assert_eq!(peers.health(0), Health::LinkDead);
    peers.handle(at(5_100) + PATIENCE, Input::Tick);
    assert_eq!(peers.health(0), Health::HostDead);
    assert_eq!(
        notes(peers),
        [
            ("peer_alive", "heard on 1 of 2 paths".to_string()),
            ("peer_link_dead", "no heartbeat from 10.1.0.2".to_string()),
            ("peer_host_dead", "no heartbeat on any path".to_string()),
        ]
    );
    say_both(peers, at(9_000), 50);
    assert_eq!(peers.health(0), Health::Alive);
}

#[test]
fn a_path_on_which_a_peer_never_came_back_is_dead_after_a_while() {
    let peers = &mut node();
    for turn in 0..10 {
        say(peers, at(1_000 + 100 * turn), 0, beat(0, turn + 1, &[0]));
        let expected = if turn < 4 { Health::Alive } else { Health::LinkDead };
        assert_eq!(peers.health(0), expected, "{turn}");
    }
    let said = ["heard on 1 of 2 paths", "no heartbeat from 10.1.0.2"].map(str::to_string);
    assert_eq!(notes(peers).into_iter().map(|(_, reason)| reason).collect::<Vec<_>>(), said);
}

#[test]
fn a_one_way_cut_is_known_to_the_side_that_hears_too() {
    let peers = &mut node();
    for turn in 0..10 {
        say_both(peers, at(100 * turn), turn + 1);
    }
    notes(peers);
    assert_eq!(peers.paths_to(0), [0, 1]);
    for turn in 10..20 {
        // It hears us over its path 0 only; all of its own come in.
        for path in 0..2u8 {
            say(peers, at(100 * turn), usize::from(path), beat(path, turn + 1, &[0]));
        }
        let is_noticed = at(100 * turn) - at(1_000) >= PATIENCE;
        let expected = if is_noticed { Health::LinkDead } else { Health::Alive };
        assert_eq!(peers.health(0), expected, "{turn}");
    }
    assert_eq!(peers.paths_to(0), [0], "what is to arrive goes the other way");
    let said = notes(peers);
    assert_eq!(said, [("peer_link_dead", "10.1.0.2 does not hear us".to_string())]);
    let views = peers.views();
    assert!(views[0].paths[1].is_heard && !views[0].paths[1].hears_us);
}

#[test]
fn both_sides_may_number_their_paths_as_they_like() {
    let peers = &mut node();
    // Its path 1 is our path 0.
    for turn in 0..10 {
        say(peers, at(100 * turn), 0, beat(1, turn + 1, &[1]));
        say(peers, at(100 * turn), 1, beat(0, turn + 1, &[1]));
    }
    assert_eq!(peers.paths_to(0), [0]);
    assert_eq!(peers.address(0), Some(ip("10.0.0.2")));
    assert_eq!(peers.find(ip("10.1.0.2")), Some((0, 1)));
    assert_eq!(peers.find(ip("10.2.0.2")), None);
}

#[test]
fn lost_beats_are_counted_and_late_ones_are_not_lost() {
    let peers = &mut node();
    for number in [3, 4, 7, 8, 5, 9] {
        say(peers, at(1), 0, beat(0, number, &[]));
    }
    let path = &peers.views()[0].paths[0];
    assert_eq!((path.received, path.lost), (6, 1), "6 is missing");
    // Over another path of the peer, or of another start: counted anew.
    say(peers, at(2), 0, beat(1, 1_000, &[]));
    say(peers, at(2), 0, Beat { boot: 78, ..beat(1, 1, &[]) });
    let path = &peers.views()[0].paths[0];
    assert_eq!((path.received, path.lost), (8, 1));
    say(peers, at(2), 0, beat(1, 1_001, &[]));
    assert_eq!(peers.views()[0].paths[0].received, 8, "late, and of the start before");
    say(peers, at(2), 0, Beat { boot: 78, ..beat(1, u64::MAX, &[]) });
    say(peers, at(2), 0, Beat { boot: 78, ..beat(1, 0, &[]) });
    say(peers, at(2), 0, Beat { boot: 78, ..beat(1, u64::MAX, &[]) });
}

#[test]
fn a_new_start_is_noted_once() {
    let peers = &mut node();
    say_both(peers, at(0), 1);
    notes(peers);
    for path in 0..2u8 {
        let beat = Beat { boot: 78, ..beat(path, 1, &[0, 1]) };
        say(peers, at(50), usize::from(path), beat);
    }
    assert_eq!(notes(peers), [("peer_restarted", "it started anew".to_string())]);
}

#[test]
fn a_slower_peer_is_given_its_time() {
    let peers = &mut node();
    let slow = Beat { interval: Duration::from_secs(1), ..beat(0, 1, &[0]) };
    say(peers, at(0), 0, slow);
    peers.handle(at(3_499), Input::Tick);
    assert!(peers.views()[0].paths[0].is_heard);
    peers.handle(at(3_500), Input::Tick);
    assert!(!peers.views()[0].paths[0].is_heard);
    let absurd = Beat { interval: Duration::MAX, ..beat(0, 2, &[0]) };
    say(peers, at(4_000), 0, absurd);
    peers.handle(at(4_000) + 4 * INTERVAL_MAX, Input::Tick);
    assert!(!peers.views()[0].paths[0].is_heard, "there is an end to belief");
}

#[test]
fn a_node_of_another_name_is_not_the_peer() {
    let peers = &mut node();
    for _ in 0..3 {
        say(peers, at(0), 0, Beat { node: "c".to_string(), ..beat(0, 1, &[0]) });
    }
    let said = notes(peers);
    assert_eq!(said, [("peer_misnamed", "the node at 10.0.0.2 calls itself \"c\"".to_string())]);
    assert_eq!(peers.health(0), Health::Unknown);
    assert_eq!(peers.views()[0].paths[0].refused, 3);
}

#[test]
fn claims_are_told_at_once_but_not_too_often() {
    let peers = &mut node();
    beats(peers);
    peers.handle(at(50), Input::Claims([claim(Role::Backup, 200, false)].into()));
    let said = beats(peers);
    assert_eq!(said.len(), 2);
    assert_eq!(said[0].2.routers, [claim(Role::Backup, 200, false)]);
    peers.handle(at(51), Input::Claims([claim(Role::Backup, 200, true)].into()));
    assert_eq!(beats(peers), [], "they were told just now");
    assert_eq!(peers.deadline(), Some(at(60)));
    peers.handle(at(60), Input::Tick);
    assert_eq!(beats(peers)[0].2.routers, [claim(Role::Backup, 200, true)]);
    peers.handle(at(61), Input::Claims([claim(Role::Backup, 200, true)].into()));
    assert_eq!((beats(peers), peers.deadline()), (Vec::new(), Some(at(160))), "it is no news");
}

#[test]
fn a_successor_is_an_able_backup_that_is_ready_and_reached() {
    let with = |claims: &[Claim], hears: &[u8]| {
        let mut peers = node();
        say(&mut peers, at(0), 0, Beat { routers: claims.to_vec(), ..beat(0, 1, hears) });
        peers
    };
    let ready = claim(Role::Backup, 200, true);
    let table = [
        (with(&[ready], &[0]), Some(0)),
        (with(&[ready], &[]), None),
        (with(&[], &[0]), None),
        (with(&[claim(Role::Backup, 200, false)], &[0]), None),
        (with(&[claim(Role::Backup, 0, true)], &[0]), None),
        (with(&[claim(Role::Master, 200, true)], &[0]), None),
        (with(&[claim(Role::Fault, 200, true)], &[0]), None),
        (with(&[claim(Role::Init, 200, true)], &[0]), None),
    ];
    for (mut peers, expected) in table {
        assert_eq!(peers.successor(51), expected);
        assert_eq!(peers.successor(52), None);
        let is_claimed = peers.claim(0, 51).is_some();
        peers.handle(at(10_000), Input::Tick);
        assert_eq!((peers.successor(51), peers.claim(0, 51)), (None, None), "it is dead");
        assert_eq!(peers.epoch(51), if is_claimed { 9 } else { 0 }, "but what it knew is not");
    }
}

#[test]
fn of_several_successors_the_best_is_taken_and_of_equals_the_first() {
    let mut peers = Peers::new(at(0), UNIX_MS, 1);
    let setups = ["b", "c", "d"].map(|name| setup(name, &["10.0.0.2"]));
    peers.apply(at(0), "a", Some(POLICY), &setups);
    for (peer, (node, priority)) in [("b", 100), ("c", 200), ("d", 200)].into_iter().enumerate() {
        let routers = [claim(Role::Backup, priority, true)].into();
        let beat = Beat { node: node.to_string(), routers, ..beat(0, 1, &[0]) };
        peers.handle(at(0), Input::Said { peer, path: 0, message: Message::Beat(beat) });
    }
    assert_eq!(peers.successor(51), Some(1));
}

#[test]
fn what_is_said_of_moves_proves_a_path_too() {
    let peers = &mut node();
    say_both(peers, at(0), 1);
    let message =
        Message::Handover(crate::handover::Message::Accept { number: 1, instead_of: None });
    peers.handle(at(300), Input::Said { peer: 0, path: 0, message });
    peers.handle(at(400), Input::Tick);
    let views = peers.views();
    assert!(views[0].paths[0].is_heard && !views[0].paths[1].is_heard);
}

#[test]
fn echoes_tell_a_dead_process_from_a_dead_host() {
    let peers = &mut node();
    say_both(peers, at(0), 1);
    peers.handle(at(0), Input::Echo { peer: 0, path: 0, answers: false });
    peers.handle(at(0), Input::Echo { peer: 0, path: 1, answers: true });
    peers.handle(at(100), Input::Refused { peer: 0, path: 1 });
    notes(peers);
    peers.handle(at(350), Input::Tick);
    let words = "no heartbeat on any path, though 10.1.0.2 answers echo requests";
    assert_eq!(notes(peers), [("peer_host_dead", words.to_string())]);
    let view = peers.views().remove(0);
    assert_eq!(view.paths[0].answers_echo, Some(false));
    assert_eq!((view.paths[1].answers_echo, view.paths[1].refused), (Some(true), 1));
    assert_eq!(view.paths[0].since_ms, UNIX_MS + 350);
}

#[test]
fn positions_that_do_not_exist_do_nothing() {
    let peers = &mut node();
    outputs(peers);
    for (peer, path) in [(0, 2), (1, 0), (usize::MAX, usize::MAX)] {
        let message = Message::Beat(beat(0, 1, &[0]));
        peers.handle(at(0), Input::Said { peer, path, message });
        peers.handle(at(0), Input::Refused { peer, path });
        peers.handle(at(0), Input::Echo { peer, path, answers: true });
    }
    assert_eq!(outputs(peers), []);
    assert_eq!((peers.address(7), peers.paths_to(7)), (None, Vec::new()));
    assert!(!peers.is_reached(7));
}

#[test]
fn a_reload_disturbs_only_what_changed() {
    let peers = &mut node();
    say_both(peers, at(0), 1);
    outputs(peers);
    let setups = [setup("c", &["10.0.0.3"]), setup("b", &["10.2.0.2", "10.1.0.2"])];
    peers.apply(at(50), "a", Some(POLICY), &setups);
    let views = peers.views();
    assert_eq!(views[0].health, Health::Unknown);
    assert_eq!(views[1].health, Health::Alive, "its new path is given time");
    assert_eq!((views[1].paths[0].received, views[1].paths[1].received), (0, 1));
    assert_eq!(beats(peers).len(), 3);
    peers.apply(at(60), "a", None, &[]);
    assert_eq!((peers.views(), peers.deadline()), (Vec::new(), None));
}

#[test]
fn what_is_known_outlives_the_process() {
    let peers = &mut node();
    say_both(peers, at(0), 1);
    outputs(peers);
    let bytes = minicbor::to_vec(&*peers).unwrap();
    let mut carried: Peers = minicbor::decode(&bytes).unwrap();
    assert_eq!(carried.views(), peers.views());
    assert_eq!(carried.deadline(), peers.deadline());
    for peers in [peers, &mut carried] {
        peers.handle(at(100), Input::Tick);
        assert_eq!(beats(peers)[0].2.number, 2, "it counts on");
        say_both(peers, at(100), 2);
        assert_eq!(notes(peers), []);
    }
}

#[test]
fn a_beat_with_everything_in_it_fits_a_datagram() {
    let longest =
        Claim { router: 511, priority: 255, epoch: u64::MAX, ..claim(Role::Backup, 1, true) };
    let beat = Beat {
        node: "n".repeat(63),
        routers: std::vec![longest; CLAIMS_MAX],
        hears: [0, 1, 2, 3].into(),
        path: 3,
        number: u64::MAX,
        boot: u64::MAX,
        interval: Duration::new(9, 999_999_999),
    };
    let bytes = minicbor::to_vec(Message::Beat(beat)).unwrap();
    assert!(bytes.len() <= 1_300, "{}", bytes.len());
}
