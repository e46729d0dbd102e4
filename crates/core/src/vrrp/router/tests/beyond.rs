//! What goes beyond the papers: leaving in order, pauses, contests, moves, delays.

use super::*;
use crate::vrrp::announce::Schedule;
use Seen::{Advert, Announce, Hold, Release};

const MS: Duration = Duration::from_millis(1);

fn resign(bench: &mut Bench, is_lasting: bool) {
    let why = String::from("because");
    bench.put(Input::Resign { why, hold_off: Duration::ZERO, is_lasting });
}

#[test]
fn whoever_leaves_in_order_keeps_the_addresses_until_a_successor_is_heard() {
    type Leaver = (fn(&mut Bench), Role);
    let leavers: [Leaver; 3] = [
        (|bench| bench.shut_down(Leave::InOrder), Role::Init),
        (|bench| bench.fail(Leave::InOrder), Role::Fault),
        (|bench| resign(bench, true), Role::Backup),
    ];
    for (leaves, role) in leavers {
        let mut bench = Bench::master(254);
        leaves(&mut bench);
        assert_eq!((bench.role(), bench.seen()), (role, std::vec![Advert(0)]));
        bench.run(MS * 5);
        bench.hear(9, 0);
        assert_eq!(bench.seen(), [], "who leaves as well is no successor");
        bench.hear(9, 1);
        assert_eq!((bench.role(), bench.seen()), (role, std::vec![Release]));
    }
}

#[test]
fn whoever_cannot_serve_releases_after_one_master_down_time_though_nobody_follows() {
    let mut bench = Bench::master(254);
    bench.fail(Leave::InOrder);
    bench.run(INTERVAL * 4 - MS);
    assert_eq!(bench.seen(), [Advert(0); 3]);
    bench.run(MS);
    assert_eq!((bench.role(), bench.seen()), (Role::Fault, std::vec![Release]));
}

#[test]
fn whoever_is_to_give_up_but_finds_no_successor_goes_on() {
    let mut bench = Bench::master(254);
    resign(&mut bench, true);
    bench.run(INTERVAL * 4 - MS);
    assert_eq!((bench.role(), bench.seen()), (Role::Backup, std::vec![Advert(0); 3]));
    bench.run(MS);
    assert_eq!(bench.role(), Role::Master);
    assert_eq!(bench.seen(), [Advert(254), Announce], "they were never released");
}

#[test]
fn after_an_order_it_does_not_preempt_its_successor() {
    let mut bench = Bench::master_of(Policy { preempt: true, ..policy(Version::V3, 254) });
    resign(&mut bench, true);
    for _ in 0..1_000 {
        bench.hear(9, 100);
        bench.run(INTERVAL);
    }
    assert_eq!(bench.role(), Role::Backup);
    assert_eq!(
        bench.router.holding_back(bench.now).unwrap(),
        "an operator gave the addresses to the master"
    );
    bench.run(INTERVAL * 4);
    assert_eq!(bench.role(), Role::Master, "the successor has gone");
}

#[test]
fn a_fault_that_ends_while_it_leaves_makes_it_able_again() {
    let mut bench = Bench::master(254);
    bench.fail(Leave::InOrder);
    bench.put(Input::Fitness(Fitness::Able { priority: 254 }));
    assert_eq!(bench.role(), Role::Backup);
    bench.run(INTERVAL * 4 - MS);
    bench.seen();
    bench.run(MS);
    assert_eq!(bench.seen(), [Advert(254), Announce]);
}

#[test]
fn a_fault_that_cannot_wait_releases_at_once_also_while_it_leaves() {
    let mut bench = Bench::master(254);
    bench.shut_down(Leave::InOrder);
    bench.fail(Leave::AtOnce);
    assert_eq!((bench.role(), bench.seen()), (Role::Fault, std::vec![Advert(0), Release]));
}

#[test]
fn whoever_loses_releases_first_and_then_says_so() {
    let mut bench = Bench::master(200);
    bench.hear(9, 201);
    assert_eq!(bench.seen(), [Release, Advert(0)]);
}

#[test]
fn whoever_is_master_no_more_says_so_three_times_because_one_may_be_lost() {
    let mut bench = Bench::master(200);
    bench.hear(9, 201);
    bench.run(MS * 9);
    assert_eq!(bench.seen(), [Release, Advert(0)]);
    bench.run(MS);
    assert_eq!(bench.seen(), [Advert(0)]);
    bench.run(MS * 20);
    assert_eq!(bench.seen(), [Advert(0)]);
    bench.run(INTERVAL * 2);
    assert_eq!((bench.role(), bench.seen()), (Role::Backup, Vec::new()));
}

#[test]
fn it_says_so_no_more_when_it_is_master_again_or_out_or_was_paused() {
    let mut bench = Bench::master(200);
    bench.hear(9, 201);
    bench.hear(9, 0);
    bench.seen();
    bench.run(skew(200, INTERVAL) - MS);
    assert_eq!(bench.seen(), [], "the winner has given up too");
    bench.run(INTERVAL * 3);
    assert!(!bench.seen().contains(&Advert(0)));
    let mut bench = Bench::master(200);
    bench.shut_down(Leave::AtOnce);
    bench.seen();
    bench.run(INTERVAL * 3);
    assert_eq!(bench.seen(), []);
    let mut bench = Bench::master(200);
    bench.hear(9, 201);
    bench.seen();
    bench.now = bench.now + INTERVAL * 2;
    bench.put(Input::Tick);
    assert_eq!(bench.seen(), []);
}

#[test]
fn a_stop_that_is_said_again_does_not_restart_the_timer() {
    let mut bench = Bench::backup(1);
    bench.hear(9, 254);
    bench.hear(9, 0);
    bench.run(MS * 10);
    bench.hear(9, 0);
    assert_eq!(bench.fires_in(), Some(skew(1, INTERVAL) - MS * 10));
}

#[test]
fn a_third_node_does_not_claim_because_a_contest_was_lost() {
    let mut bench = Bench::backup(100);
    bench.hear(9, 254);
    let before = bench.fires_in();
    bench.hear(8, 0);
    assert_eq!(bench.fires_in(), before, "its master is 9, which is alive");
    bench.hear(9, 0);
    assert_eq!(bench.fires_in(), Some(skew(100, INTERVAL)));
}

#[test]
fn a_worse_master_does_not_become_the_one_to_follow_while_the_better_one_lives() {
    let mut bench = Bench::backup(100);
    bench.hear(9, 254);
    bench.hear(8, 253);
    assert_eq!(bench.router.master(bench.now), Some((IpAddr::from([10, 0, 0, 9]), 254)));
    bench.hear(8, 0);
    assert!(bench.fires_in().unwrap() > INTERVAL * 3);
    bench.run(INTERVAL * 2);
    bench.hear(8, 253);
    bench.run(INTERVAL * 2 + MS);
    bench.hear(8, 253);
    assert_eq!(bench.router.master(bench.now), Some((IpAddr::from([10, 0, 0, 8]), 253)));
}

#[test]
fn a_contest_is_answered_for_a_second() {
    let mut bench =
        Bench::master_of(Policy { interval: Duration::from_secs(30), ..policy(Version::V3, 200) });
    bench.hear(9, 100);
    let start = bench.now;
    let mut offsets = Vec::new();
    for _ in 0..6 {
        assert_eq!(bench.seen(), [Advert(200), Announce]);
        offsets.push(bench.now.since(start).as_millis());
        let left = bench.fires_in().unwrap();
        bench.run(left);
    }
    assert_eq!(offsets, [0, 10, 30, 100, 300, 1_000]);
    assert!(!bench.router.is_busy());
}

#[test]
fn claims_of_a_rival_within_ten_milliseconds_are_answered_as_one() {
    let mut bench =
        Bench::master_of(Policy { interval: Duration::from_secs(30), ..policy(Version::V3, 200) });
    let claim = |bench: &mut Bench| {
        bench.put(Input::RivalOwner { who: "02:00:00:00:00:09".to_string() });
    };
    claim(&mut bench);
    assert_eq!(bench.seen(), [Advert(200), Announce]);
    bench.run(MS * 10 - MS / 10);
    claim(&mut bench);
    assert_eq!(bench.seen(), []);
    bench.run(MS / 10);
    assert_eq!(bench.seen(), [Advert(200), Announce]);
    claim(&mut bench);
    assert_eq!(bench.seen(), [Announce], "from now on all of it again");
    bench.run(MS * 10);
    assert_eq!(bench.seen(), [Advert(200), Announce]);
}

#[test]
fn a_rival_that_gives_up_pays_for_two_answers() {
    let mut schedule = Schedule::default();
    let mut now = Instant::from_nanos(10_000_000_000);
    let mut answers = |schedule: &mut Schedule| {
        for count in 0.. {
            now = now + MS * 11;
            let _earlier = schedule.take_due(now);
            schedule.contested(now);
            if schedule.take_due(now).is_none() {
                return (count, now);
            }
        }
        unreachable!("no more than so much is lent");
    };
    let (lent, now) = answers(&mut schedule);
    assert_eq!(lent, 20);
    schedule.conceded(now);
    assert_eq!(answers(&mut schedule).0, 2);
}

#[test]
fn a_claim_is_announced_as_often_as_wanted_at_the_end_once_a_second() {
    for (repeat, offsets) in [
        (0, std::vec![0]),
        (1, std::vec![0]),
        (5, std::vec![0, 10, 30, 100, 300]),
        (8, std::vec![0, 10, 30, 100, 300, 1_000, 2_000, 3_000]),
    ] {
        let interval = Duration::from_secs(30);
        let policy = Policy { announce_repeat: repeat, interval, ..policy(Version::V3, 255) };
        let mut bench = Bench::new(policy);
        let start = bench.now;
        let mut seen = Vec::new();
        while bench.seen().contains(&Announce) {
            seen.push(bench.now.since(start).as_millis());
            let left = bench.fires_in().unwrap();
            bench.run(left);
        }
        assert_eq!(seen, offsets);
    }
}

#[test]
fn announcements_stop_with_the_role() {
    let mut bench = Bench::master(200);
    bench.hear(9, 100);
    bench.hear(8, 201);
    bench.seen();
    bench.run(INTERVAL * 3);
    assert!(!bench.seen().contains(&Announce));
}

#[test]
fn two_that_see_only_each_others_announcements_do_not_storm() {
    let mut bench = Bench::master(200);
    for _ in 0..100_000 {
        bench.put(Input::RivalOwner { who: "02:00:00:00:00:09".to_string() });
        bench.run(MS / 10);
    }
    let announced = bench.seen().iter().filter(|seen| **seen == Announce).count();
    assert!((20..=150).contains(&announced), "{announced} in the first 10 s");
    for _ in 0..100_000 {
        bench.put(Input::RivalOwner { who: "02:00:00:00:00:09".to_string() });
        bench.run(MS / 10);
    }
    let announced = bench.seen().iter().filter(|seen| **seen == Announce).count();
    assert!((20..=120).contains(&announced), "{announced} in the next 10 s");
}

#[test]
fn two_owners_do_not_answer_each_other_without_end() {
    let mut bench = Bench::master(255);
    for _ in 0..10_000 {
        bench.hear(9, 255);
        bench.run(MS / 10);
    }
    assert_eq!(bench.role(), Role::Master);
    let said = bench.seen().iter().filter(|seen| **seen == Advert(255)).count();
    assert!(said <= 60, "{said} in a second");
}

#[test]
fn a_paused_master_yields_to_any_other_though_its_own_priority_is_higher() {
    let mut bench = Bench::master(254);
    bench.now = bench.now + INTERVAL * 4;
    bench.hear(9, 1);
    assert_eq!(bench.role(), Role::Backup);
    let outputs = bench.outputs();
    assert!(matches!(outputs[0], Output::Late { .. }), "{outputs:?}");
    assert!(outputs.contains(&Output::Release));
}

#[test]
fn a_master_that_was_paused_for_less_than_its_peers_wait_fights() {
    let mut bench = Bench::master(254);
    let left = bench.fires_in().unwrap();
    bench.run(left);
    bench.now = bench.now + (INTERVAL * 3 - MS);
    bench.hear(9, 1);
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn a_paused_master_that_hears_nobody_goes_on_and_announces() {
    let mut bench = Bench::master(254);
    bench.now = bench.now + INTERVAL * 40;
    bench.put(Input::RivalOwner { who: "02:00:00:00:00:09".to_string() });
    bench.hear(9, 0);
    assert_eq!(bench.seen(), [], "what else was received meanwhile comes first");
    bench.put(Input::Tick);
    assert_eq!(bench.seen(), [Advert(254), Announce]);
    assert!(bench.router.is_busy());
}

#[test]
fn a_paused_backup_listens_for_an_interval_before_it_claims() {
    let mut bench = Bench::backup(254);
    bench.hear(9, 255);
    bench.now = bench.now + INTERVAL * 40;
    bench.put(Input::Tick);
    assert_eq!(bench.role(), Role::Backup);
    assert_eq!(bench.fires_in(), Some(INTERVAL + skew(254, INTERVAL)));
    bench.run(INTERVAL * 2);
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn nothing_is_claimed_before_the_startup_delay_has_passed_unless_told_to() {
    let policy = Policy { startup_delay: INTERVAL * 50, ..policy(Version::V3, 255) };
    let mut bench = Bench::new(policy);
    assert_eq!(bench.fires_in(), Some(INTERVAL * 50));
    bench.hear(9, 1);
    bench.hear(9, 0);
    bench.run(INTERVAL * 50 - MS);
    assert_eq!(bench.role(), Role::Backup);
    bench.run(MS);
    assert_eq!(bench.role(), Role::Master);
    let mut bench = Bench::new(policy);
    bench.put(Input::TakeOver { why: String::from("told to"), is_agreed: true });
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn it_preempts_only_when_it_has_been_well_for_long_enough() {
    let policy = Policy { preempt: true, preempt_delay: INTERVAL * 20, ..policy(Version::V3, 254) };
    let mut bench = Bench::new(policy);
    for _ in 0..20 {
        assert!(!bench.router.wants_to_preempt(bench.now));
        bench.hear(9, 100);
        bench.run(INTERVAL);
    }
    assert!(bench.router.wants_to_preempt(bench.now));
    bench.put(Input::Defer { until: bench.now + INTERVAL * 10 });
    assert!(!bench.router.wants_to_preempt(bench.now));
    for _ in 0..10 {
        bench.hear(9, 100);
        bench.run(INTERVAL);
    }
    assert_eq!(bench.role(), Role::Backup);
    for _ in 0..5 {
        bench.hear(9, 100);
        bench.run(INTERVAL);
    }
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn whoever_cedes_says_nothing_and_does_not_come_back_by_preemption() {
    let mut bench = Bench::master_of(Policy { preempt: true, ..policy(Version::V3, 254) });
    bench.put(Input::Cede { why: String::from("it has claimed") });
    assert_eq!(bench.seen(), [Release]);
    for _ in 0..100 {
        bench.hear(9, 1);
        bench.run(INTERVAL);
    }
    assert_eq!(bench.role(), Role::Backup);
}

#[test]
fn the_old_master_that_agreed_is_not_yielded_to_for_one_master_down_time() {
    for (is_agreed, role) in [(true, Role::Master), (false, Role::Backup)] {
        let mut bench = Bench::backup(100);
        bench.hear(9, 254);
        bench.put(Input::TakeOver { why: String::from("a move"), is_agreed });
        assert_eq!(bench.seen(), [Advert(100), Hold, Announce]);
        bench.run(MS);
        bench.hear(9, 254);
        assert_eq!(bench.role(), role);
    }
    let mut bench = Bench::backup(100);
    bench.hear(9, 254);
    bench.put(Input::TakeOver { why: String::from("a move"), is_agreed: true });
    bench.run(INTERVAL * 5);
    bench.hear(9, 254);
    assert_eq!(bench.role(), Role::Backup);
    let mut bench = Bench::backup(100);
    bench.hear(9, 254);
    bench.put(Input::TakeOver { why: String::from("a move"), is_agreed: true });
    bench.run(MS);
    bench.hear(8, 254);
    assert_eq!(bench.role(), Role::Backup, "a third one has agreed to nothing");
}

#[test]
fn whoever_cannot_serve_does_not_take_over_though_it_is_told_to() {
    let mut bench = Bench::backup(100);
    bench.fail(Leave::InOrder);
    bench.put(Input::TakeOver { why: String::from("told to"), is_agreed: true });
    assert_eq!((bench.role(), bench.seen()), (Role::Fault, Vec::new()));
}

#[test]
fn a_changed_priority_counts_from_the_next_advert() {
    let mut bench = Bench::master(200);
    bench.put(Input::Fitness(Fitness::Able { priority: 150 }));
    bench.run(INTERVAL);
    assert_eq!(bench.seen(), [Advert(150)]);
    bench.hear(1, 160);
    assert_eq!(bench.role(), Role::Backup);
}

#[test]
fn a_rival_is_told_of_only_if_nobody_asked_for_it() {
    let told = |mut bench: Bench, priority: u8| {
        bench.outputs();
        bench.hear(9, priority);
        bench.outputs().iter().any(|output| matches!(output, Output::Rival { .. }))
    };
    assert!(told(Bench::master(200), 100));
    assert!(told(Bench::master(200), 201));
    assert!(told(Bench::master(200), 0), "only masters say 0");
    let preempting = Policy { preempt: true, ..policy(Version::V3, 200) };
    assert!(!told(Bench::master_of(preempting), 201), "it preempts");
    assert!(!told(Bench::new(policy(Version::V3, 255)), 0), "the one that it replaces");
}

#[test]
fn a_refresh_is_an_announcement_without_an_advert() {
    let policy = Policy {
        interval: Duration::from_secs(30),
        announce_refresh: Some(Duration::from_secs(7)),
        ..policy(Version::V3, 200)
    };
    let mut bench = Bench::new(policy);
    bench.run(Duration::from_secs(100));
    bench.seen();
    bench.run(Duration::from_secs(28));
    assert_eq!(bench.seen().iter().filter(|seen| **seen == Announce).count(), 4);
    bench.router.set_policy(bench.now, Policy { announce_refresh: None, ..policy });
    bench.run(Duration::from_secs(29));
    assert!(!bench.seen().contains(&Announce));
}

#[test]
fn its_own_advert_come_back_means_nothing() {
    let mut bench = Bench::master(200);
    bench.hear(OURS[3], 200);
    assert_eq!((bench.role(), bench.outputs()), (Role::Master, Vec::new()));
}

#[test]
fn what_was_written_down_goes_on_as_it_was() {
    let mut bench = Bench::master(200);
    bench.hear(9, 100);
    bench.seen();
    let bytes = minicbor::to_vec(&bench.router).unwrap();
    let mut again = Bench { router: minicbor::decode(&bytes).unwrap(), now: bench.now };
    bench.run(INTERVAL * 20);
    again.run(INTERVAL * 20);
    assert_eq!(again.outputs(), bench.outputs());
}

#[test]
fn a_node_says_in_words_how_long_it_holds_back() {
    let delays = Policy {
        startup_delay: Duration::from_millis(2_345),
        preempt: true,
        preempt_delay: Duration::from_millis(4_567),
        ..policy(Version::V3, 200)
    };
    let mut bench = Bench::new(delays);
    let says = |bench: &Bench| bench.router.holding_back(bench.now);
    assert_eq!(says(&bench).as_deref(), Some("claims nothing for another 2.3 s"));
    bench.now = bench.now + Duration::from_millis(2_400);
    bench.hear(6, 100);
    assert_eq!(says(&bench).as_deref(), Some("preempts in 2.1 s"));
}

#[test]
fn a_backup_that_is_to_wait_claims_no_earlier_and_not_later_than_it_would() {
    let mut bench = Bench::backup(100);
    let fires_in = bench.fires_in().unwrap();
    bench.put(Input::Wait { until: bench.now + fires_in / 2 });
    assert_eq!(bench.fires_in(), Some(fires_in));
    bench.put(Input::Wait { until: bench.now + fires_in * 2 });
    assert_eq!(bench.fires_in(), Some(fires_in * 2));
    bench.hear(9, 200);
    assert_eq!(bench.fires_in(), Some(down(100, INTERVAL)), "its master is there");
}

#[test]
fn a_backup_follows_a_master_that_is_heard_and_that_it_would_not_replace() {
    let mut bench = Bench::backup(100);
    assert_eq!(bench.router.follows_until(bench.now), None);
    bench.hear(9, 200);
    assert_eq!(bench.router.follows_until(bench.now), Some(bench.now + down(100, INTERVAL)));
    bench.hear(9, 0);
    assert_eq!(bench.router.follows_until(bench.now), None, "it has given up");
    let mut bench = Bench::preempting(200);
    bench.hear(9, 200);
    assert!(bench.router.follows_until(bench.now).is_some());
    let mut bench = Bench::preempting(200);
    bench.hear(9, 100);
    assert_eq!(bench.router.follows_until(bench.now), None, "it is to be replaced");
    assert_eq!(Bench::master(100).router.follows_until(bench.now), None);
}

#[test]
fn whoever_resigned_and_was_not_followed_waits_as_long_as_it_was_told_to() {
    let mut bench = Bench::master(200);
    let (why, hold_off) = (String::from("its group"), INTERVAL * 10);
    bench.put(Input::Resign { why, hold_off, is_lasting: false });
    bench.run(bench.router.down_time());
    assert!(!bench.router.holds());
    bench.run(hold_off - Duration::from_nanos(1));
    assert_eq!(bench.role(), Role::Backup);
    bench.run(Duration::from_nanos(1));
    assert_eq!(bench.role(), Role::Master);
}
