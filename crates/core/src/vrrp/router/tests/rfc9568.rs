//! RFC 9568, sections 5.2.4, 6.1 and 6.4: for each rule a case that keeps it and one in which it
//! must not be applied. What a packet can keep or break is tested with the codec; that a node answers
//! ARP and ND for its addresses and no others follows from holding them.

use super::*;
use Seen::{Advert, Announce, Hold, Release};

// 5.2.4: the owner of the addresses has priority 255 and starts as the active router; 6.4.1
#[test]
fn the_owner_starts_as_master_with_an_advert_and_then_announcements() {
    let mut bench = Bench::new(policy(Version::V3, 255));
    assert_eq!(bench.role(), Role::Master);
    assert_eq!(bench.seen(), [Advert(255), Hold, Announce]);
}

#[test]
fn whoever_is_no_owner_starts_as_backup_and_says_nothing() {
    for priority in [1, 100, 254] {
        let mut bench = Bench::new(policy(Version::V3, priority));
        assert_eq!(bench.role(), Role::Backup);
        assert_eq!(bench.seen(), []);
    }
}

// 6.4.1: the owner sets its Adver_Timer
#[test]
fn the_owner_advertises_again_after_an_interval() {
    let mut bench = Bench::new(Policy { announce_repeat: 1, ..policy(Version::V3, 255) });
    bench.seen();
    bench.run(INTERVAL - Duration::from_nanos(1));
    assert_eq!(bench.seen(), []);
    bench.run(Duration::from_nanos(1));
    assert_eq!(bench.seen(), [Advert(255)]);
}

// 6.4.1: Active_Adver_Interval is the own one until another is learned; Active_Down_Timer is set
#[test]
fn a_backup_that_starts_waits_by_its_own_interval() {
    assert_eq!(Bench::backup(100).fires_in(), Some(down(100, INTERVAL)));
}

#[test]
fn a_backup_that_starts_again_does_not_wait_by_what_it_learned_before() {
    let mut bench = Bench::backup(100);
    bench.hear_every(9, 200, INTERVAL * 5);
    bench.shut_down(Leave::InOrder);
    bench.put(Input::Fitness(Fitness::Able { priority: 100 }));
    assert_eq!(bench.fires_in(), Some(down(100, INTERVAL)));
}

// 6.1: Skew_Time = ((256 - Priority) * Active_Adver_Interval) / 256
#[test]
fn a_worse_backup_waits_longer_by_whole_nanoseconds() {
    let waits = |priority| Bench::backup(priority).fires_in().unwrap();
    assert_eq!(waits(253) - waits(254), INTERVAL / 256);
    assert_eq!(waits(254), Duration::from_nanos(300_781_250));
    assert_eq!(waits(1), Duration::from_nanos(399_609_375));
}

#[test]
fn backups_of_equal_priority_wait_equally_long() {
    assert_eq!(Bench::backup(200).fires_in(), Bench::backup(200).fires_in());
}

// 6.1: Active_Down_Interval = (3 * Active_Adver_Interval) + Skew_Time
#[test]
fn a_master_is_gone_after_three_intervals_and_the_skew() {
    let mut bench = Bench::backup(100);
    bench.run(down(100, INTERVAL));
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn a_master_is_not_gone_a_nanosecond_earlier() {
    let mut bench = Bench::backup(100);
    bench.run(down(100, INTERVAL) - Duration::from_nanos(1));
    assert_eq!((bench.role(), bench.seen()), (Role::Backup, Vec::new()));
}

// 6.1: Preempt_Mode; a worse master is replaced if it is on
#[test]
fn with_preemption_a_worse_master_is_replaced() {
    let mut bench = Bench::preempting(200);
    for _ in 0..10 {
        bench.hear(9, 100);
        bench.run(INTERVAL / 2);
    }
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn without_preemption_a_worse_master_stays() {
    let mut bench = Bench::backup(200);
    for _ in 0..100 {
        bench.hear(9, 1);
        bench.run(INTERVAL);
    }
    assert_eq!(bench.role(), Role::Backup);
}

// 6.1: the owner always preempts, whatever Preempt_Mode says
#[test]
fn the_owner_preempts_though_preemption_is_off() {
    let mut bench = Bench::backup(200);
    bench.hear(9, 200);
    bench.put(Input::Fitness(Fitness::Able { priority: 255 }));
    for _ in 0..10 {
        bench.hear(9, 254);
        bench.run(INTERVAL / 2);
    }
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn an_equal_master_is_never_preempted() {
    let mut bench = Bench::preempting(200);
    for _ in 0..100 {
        bench.hear(1, 200);
        bench.run(INTERVAL);
    }
    assert_eq!(bench.role(), Role::Backup, "a tie is decided between masters only");
}

// 6.4.2: MUST NOT respond to ARP or ND for the addresses, nor accept packets to them
#[test]
fn a_backup_never_has_the_addresses_and_never_says_anything() {
    let mut bench = Bench::backup(100);
    for priority in [100, 200, 255, 0, 7] {
        bench.hear(9, priority);
        assert!(!bench.router.holds());
        assert_eq!(bench.seen(), []);
    }
}

// 6.4.3: MUST respond to ARP and ND for the addresses, and accept
#[test]
fn a_master_has_the_addresses_all_the_time() {
    let mut bench = Bench::master(100);
    for _ in 0..50 {
        bench.run(INTERVAL / 3);
        assert!(bench.router.holds());
    }
    assert!(!bench.seen().contains(&Release));
}

// 6.4.2, Shutdown: the timer is cancelled, Initialize
#[test]
fn a_backup_that_stops_says_nothing_and_has_no_timer() {
    let mut bench = Bench::backup(100);
    bench.shut_down(Leave::InOrder);
    assert_eq!((bench.role(), bench.fires_in()), (Role::Init, None));
    assert_eq!(bench.seen(), []);
}

#[test]
fn a_stopped_one_claims_nothing_whatever_it_hears() {
    let mut bench = Bench::backup(254);
    bench.shut_down(Leave::InOrder);
    bench.hear(9, 0);
    bench.hear(9, 1);
    bench.run(INTERVAL * 100);
    assert_eq!((bench.role(), bench.seen()), (Role::Init, Vec::new()));
}

// 6.4.2, Active_Down_Timer fires: an advert, announcements, Adver_Timer, Active
#[test]
fn a_claim_is_an_advert_and_then_announcements() {
    let mut bench = Bench::backup(100);
    bench.run(down(100, INTERVAL));
    assert_eq!(bench.seen(), [Advert(100), Hold, Announce]);
}

#[test]
fn a_claim_is_made_once() {
    let mut bench = Bench::backup(100);
    bench.run(down(100, INTERVAL) * 10);
    assert_eq!(bench.seen().iter().filter(|seen| **seen == Hold).count(), 1);
}

// 6.4.2, priority 0: the timer is set to Skew_Time
#[test]
fn a_backup_follows_after_its_skew_when_the_master_stops() {
    let mut bench = Bench::backup(100);
    bench.hear(9, 200);
    bench.hear(9, 0);
    assert_eq!(bench.fires_in(), Some(skew(100, INTERVAL)));
    bench.run(skew(100, INTERVAL));
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn a_backup_does_not_claim_before_its_skew_when_the_master_stops() {
    let mut bench = Bench::backup(100);
    bench.hear(9, 200);
    bench.hear(9, 0);
    bench.run(skew(100, INTERVAL) - Duration::from_nanos(1));
    assert_eq!(bench.role(), Role::Backup);
    bench.hear(8, 150);
    assert_eq!(bench.fires_in(), Some(down(100, INTERVAL)), "a better backup was first");
}

#[test]
fn the_skew_after_a_stop_is_counted_in_the_interval_of_that_master() {
    let mut bench = Bench::backup(100);
    bench.hear_every(9, 200, INTERVAL * 4);
    bench.hear_every(9, 0, INTERVAL * 4);
    assert_eq!(bench.fires_in(), Some(skew(100, INTERVAL * 4)));
}

// 6.4.2, priority at least the own one, or Preempt_Mode off: interval learned, timer reset
#[test]
fn an_advert_at_least_as_good_resets_the_timer() {
    for priority in [200, 201, 255] {
        let mut bench = Bench::preempting(200);
        bench.run(INTERVAL);
        bench.hear(9, priority);
        assert_eq!(bench.fires_in(), Some(down(200, INTERVAL)), "{priority}");
    }
}

#[test]
fn a_worse_advert_resets_the_timer_only_without_preemption() {
    let mut bench = Bench::backup(200);
    bench.run(INTERVAL);
    bench.hear(9, 199);
    assert_eq!(bench.fires_in(), Some(down(200, INTERVAL)));
    let mut bench = Bench::preempting(200);
    bench.run(INTERVAL);
    bench.hear(9, 199);
    assert_eq!(bench.fires_in(), Some(down(200, INTERVAL) - INTERVAL), "discarded");
}

#[test]
fn the_interval_is_learned_from_the_master() {
    let mut bench = Bench::backup(100);
    bench.hear_every(9, 200, INTERVAL * 3);
    assert_eq!(bench.fires_in(), Some(down(100, INTERVAL * 3)));
    bench.hear_every(9, 200, INTERVAL / 2);
    assert_eq!(bench.fires_in(), Some(down(100, INTERVAL / 2)));
}

#[test]
fn a_discarded_advert_teaches_no_interval() {
    let mut bench = Bench::preempting(200);
    bench.hear_every(9, 250, INTERVAL);
    bench.hear_every(8, 100, INTERVAL * 7);
    bench.hear_every(9, 0, INTERVAL);
    assert_eq!(bench.fires_in(), Some(skew(200, INTERVAL)));
}

#[test]
fn a_new_master_speaks_in_its_own_interval_not_in_a_learned_one() {
    let mut bench = Bench::backup(100);
    bench.hear_every(9, 200, INTERVAL * 3);
    bench.run(down(100, INTERVAL * 3) + Duration::from_secs(2));
    bench.put(Input::Tick);
    bench.seen();
    bench.run(INTERVAL * 10);
    assert_eq!(bench.seen(), [Advert(100); 10]);
}

// 6.4.3, Shutdown: the timer is cancelled, an advert of priority 0, Initialize
#[test]
fn a_master_that_stops_says_0() {
    let mut bench = Bench::master(100);
    bench.shut_down(Leave::AtOnce);
    assert_eq!(bench.seen(), [Advert(0), Release]);
    assert_eq!((bench.role(), bench.fires_in()), (Role::Init, None));
}

#[test]
fn a_master_that_has_stopped_says_nothing_more_but_that() {
    for leave in [Leave::AtOnce, Leave::InOrder] {
        let mut bench = Bench::master(100);
        bench.shut_down(leave);
        bench.seen();
        bench.hear(9, 0);
        bench.run(INTERVAL * 100);
        let said = bench.seen();
        let alive = said.iter().filter(|seen| matches!(seen, Advert(1..) | Announce));
        assert_eq!(alive.count(), 0, "{leave:?}: {said:?}");
        assert_eq!(bench.role(), Role::Init);
    }
}

// 6.4.3, Adver_Timer fires: an advert, the timer again
#[test]
fn a_master_advertises_in_every_interval() {
    let mut bench = Bench::master(100);
    bench.run(INTERVAL * 20);
    assert_eq!(bench.seen(), [Advert(100); 20]);
}

#[test]
fn a_master_does_not_advertise_more_often_by_itself() {
    let mut bench = Bench::master(100);
    let left = bench.fires_in().unwrap();
    bench.run(left - Duration::from_nanos(1));
    assert_eq!(bench.seen(), []);
}

// 6.4.3, priority 0: an advert at once, the timer again
#[test]
fn a_master_answers_0_at_once() {
    let mut bench = Bench::master(100);
    bench.run(INTERVAL / 2);
    bench.seen();
    bench.hear(9, 0);
    assert_eq!(bench.seen(), [Advert(100), Announce]);
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn a_master_does_not_give_up_because_another_one_does() {
    let mut bench = Bench::master(1);
    bench.hear(200, 0);
    assert_eq!(bench.role(), Role::Master);
}

// 6.4.3: a greater priority, or an equal one and a greater address: Backup, interval learned
#[test]
fn a_master_follows_a_better_one_in_its_interval() {
    let mut bench = Bench::master(200);
    bench.hear_every(1, 201, INTERVAL * 2);
    assert_eq!(bench.role(), Role::Backup);
    assert!(bench.seen().starts_with(&[Release]));
    bench.run(down(200, INTERVAL * 2) - Duration::from_nanos(1));
    assert_eq!(bench.role(), Role::Backup);
    bench.run(Duration::from_nanos(1));
    assert_eq!(bench.role(), Role::Master);
}

#[test]
fn a_master_does_not_follow_a_worse_one() {
    let mut bench = Bench::master(200);
    bench.hear(250, 199);
    assert_eq!(bench.role(), Role::Master);
}

// 6.4.3: addresses are compared as unsigned integers in network byte order
#[test]
fn of_two_equal_masters_the_one_with_the_greater_address_stays() {
    for (theirs, wins) in [
        ([10, 0, 0, 6], false),
        ([10, 0, 0, 4], true),
        ([200, 0, 0, 1], false),
        ([9, 255, 255, 255], true),
    ] {
        let mut bench = Bench::master(200);
        let advert = crate::vrrp::Advert { priority: 200, interval: INTERVAL };
        bench.put(Input::Heard { from: IpAddr::from(theirs), advert });
        let role = if wins { Role::Master } else { Role::Backup };
        assert_eq!(bench.role(), role, "{theirs:?}");
    }
}

#[test]
fn the_address_does_not_matter_between_unequal_masters() {
    let mut bench = Bench::master(200);
    bench.hear(255, 199);
    assert_eq!(bench.role(), Role::Master);
    bench.hear(1, 201);
    assert_eq!(bench.role(), Role::Backup);
}

#[test]
fn ipv6_masters_are_compared_in_the_same_way() {
    let link_local = |last: u16| IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, last]);
    for (theirs, role) in [(0xffff, Role::Backup), (1, Role::Master)] {
        let mut bench = Bench::master(200);
        bench.put(Input::Source(Some(link_local(0x80))));
        let advert = crate::vrrp::Advert { priority: 200, interval: INTERVAL };
        bench.put(Input::Heard { from: link_local(theirs), advert });
        assert_eq!(bench.role(), role, "{theirs:x}");
    }
}

// 6.4.3, any other advert: discarded, and an advert at once
#[test]
fn a_master_answers_a_worse_one_at_once() {
    let mut bench = Bench::master(200);
    bench.run(INTERVAL / 2);
    bench.seen();
    bench.hear(9, 100);
    assert_eq!(bench.seen(), [Advert(200), Announce]);
}

#[test]
fn a_master_does_not_answer_a_better_one_with_its_priority() {
    let mut bench = Bench::master(200);
    bench.hear(9, 201);
    assert!(!bench.seen().contains(&Advert(200)));
}
