//! RFC 3768, sections 6.1 and 6.4: where version 2 differs. Its codec refuses adverts of another
//! interval (section 7.1), so nothing is learned here.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

// 6.1: Skew_Time = (256 - Priority) / 256 in seconds
#[test]
fn the_skew_is_counted_in_seconds_whatever_the_interval() {
    for interval in [SECOND, SECOND * 5] {
        let bench = Bench::new(Policy { interval, ..policy(Version::V2, 100) });
        let skew = Duration::from_nanos(156_000_000_000 / 256);
        assert_eq!(bench.fires_in(), Some(interval * 3 + skew));
    }
}

#[test]
fn the_skew_is_not_rounded_to_seconds() {
    let waits = |priority| Bench::new(policy(Version::V2, priority)).fires_in().unwrap();
    assert_eq!(waits(253) - waits(254), SECOND / 256, "unequal backups must not race");
}

// 6.1: Master_Down_Interval counts the configured interval
#[test]
fn no_interval_is_learned_from_the_master() {
    let mut bench = Bench::new(policy(Version::V2, 100));
    let before = bench.fires_in();
    bench.hear_every(9, 200, SECOND * 7);
    assert_eq!(bench.fires_in(), before);
}

// 6.4.2: priority 0 sets the timer to Skew_Time
#[test]
fn a_backup_follows_after_its_skew_when_the_master_stops() {
    let mut bench = Bench::new(policy(Version::V2, 254));
    bench.hear(9, 255);
    bench.hear(9, 0);
    assert_eq!(bench.fires_in(), Some(SECOND * 2 / 256));
    bench.run(SECOND * 2 / 256);
    assert_eq!(bench.role(), Role::Master);
}

// 6.4.3: a better master is followed, a worse one is not
#[test]
fn masters_give_way_as_in_version_3() {
    let mut bench = Bench::master_of(policy(Version::V2, 200));
    bench.hear(1, 199);
    assert_eq!(bench.role(), Role::Master);
    bench.hear(1, 201);
    assert_eq!(bench.role(), Role::Backup);
}
