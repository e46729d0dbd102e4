//! Memory that stays: a test alone in its process, because that is a matter of the whole of it. What
//! is locked cannot be given back, for example, as another test would.

use evergate_sys::{process, real_time};

#[test]
fn memory_is_locked_where_that_is_allowed() {
    let locked = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    assert_eq!(locked(), 0);
    if let Err(error) = real_time::lock_memory() {
        eprintln!("skipped: no locked memory here: {error}");
        return;
    }
    assert!(locked() > 0);
    let resident = || process::own_usage().unwrap().resident_bytes;
    let before = resident();
    let mut room: Vec<u8> = Vec::new();
    if room.try_reserve_exact(512 << 20).is_err() {
        eprintln!("skipped: that much may not be locked here");
        return;
    }
    assert!(resident() < before + (256 << 20), "nobody has used it");
    drop(room);
    let status = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("VmLck:\t       0 kB"), "a child has locked something");
    real_time::unlock_memory().unwrap();
    assert_eq!(locked(), 0);
}
