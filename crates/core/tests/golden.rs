//! What a process of an earlier release wrote down is read by this one.
//!
//! Each release leaves a file `golden/MACHINE-VERSION.cbor` for every machine that is carried; the
//! fleet's lie beside its own tests. Every later release reads all of them; when one before the last
//! can no longer be read, its file may go. Before a release, and whenever the form changes
//! meanwhile, write those of this version anew:
//!
//! ```text
//! EVERGATE_GOLDEN=write cargo test -p evergate-core golden
//! ```

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use evergate_core::health::{self, Arrival, CheckPolicy, Health, OutlierPolicy};
use evergate_core::supervise::worker::{self, Fate, Worker};
use evergate_core::time::Instant;
use evergate_core::upgrade::{self, Outcome, Parts, Phase, Served, Side, Upgrade};
use minicbor::{Decode, Encode};

fn at(seconds: u64) -> Instant {
    Instant::EPOCH + Duration::from_secs(seconds)
}

/// Compares what this version writes with its file, and reads those of all versions.
fn golden<T: Encode<()> + for<'b> Decode<'b, ()>>(machine: &str, value: &T) -> Vec<T> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let own = folder.join(format!("{machine}-{}.cbor", env!("CARGO_PKG_VERSION")));
    let bytes = minicbor::to_vec(value).expect("a vector takes every byte");
    if std::env::var_os("EVERGATE_GOLDEN").is_some() {
        fs::write(&own, &bytes).expect("the folder is there");
    }
    let written = fs::read(&own).expect("this version has a file");
    assert!(written == bytes, "the form has changed: say so on purpose, see the head of this file");
    let files = fs::read_dir(folder).expect("the folder is there");
    let names = files.map(|file| file.expect("the folder can be read").path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{machine}-")) && name.ends_with(".cbor")
    };
    let read = names.filter(is_ours).map(|path| {
        let bytes = fs::read(&path).expect("it was listed");
        minicbor::decode(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    });
    read.collect()
}

#[test]
fn golden_health_of_all_releases_is_read() {
    let check = CheckPolicy {
        every: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        fall: 3,
        rise: 2,
    };
    let eject = Duration::from_secs(30);
    let policy = health::Policy {
        weight: 3,
        checks: vec![check; 2],
        outlier: OutlierPolicy { consecutive: 5, eject, ejected_percent_max: 50 },
        slow_start: Duration::from_secs(9),
    };
    let mut server = Health::new(policy.clone(), Arrival::Later, at(10));
    for (check, outcome) in [
        (0, Ok(())),
        (0, Err("status 503".to_owned())),
        (1, Err("connection refused".to_owned())),
        (1, Ok(())),
    ] {
        server.handle(at(11), health::Input::Checked { check, outcome });
    }
    server.handle(at(12), health::Input::FailedInARow { failures: 7, may_eject: true });
    server.handle(at(12), health::Input::Weight(9));
    for carried in golden("health", &server.carried()) {
        let mut next = Health::resume(policy.clone(), carried, at(13));
        let said = |server: &Health| server.verdict().reason.to_string();
        assert_eq!(said(&next), "1 of 2 checks failed: connection refused");
        assert_eq!((next.verdict().weight, next.is_ejected()), (9, true));
        next.handle(at(14), health::Input::Checked { check: 1, outcome: Ok(()) });
        assert_eq!(said(&next), "checks pass", "the streak went on");
    }
}

#[test]
fn golden_upgrades_of_all_releases_are_read() {
    let parts = Parts { worker: true, keeper: true };
    let mut upgrade = Upgrade::new(upgrade::Policy::default(), parts, at(10));
    let served = |side| upgrade::Input::Served(side, Served { requests: 100, errors: 1 });
    for (seconds, input) in [
        (11, upgrade::Input::Checked(Ok(()))),
        (12, upgrade::Input::Ready),
        (12, served(Side::Old)),
        (12, served(Side::New)),
        (13, upgrade::Input::Activated),
        (13, upgrade::Input::Probed(Ok(()))),
        (14, upgrade::Input::Released(Side::Old)),
        (14, upgrade::Input::Lost(Side::Old, "signal 9".to_owned())),
        (15, upgrade::Input::Acquired),
        (90, upgrade::Input::Tick),
        (91, upgrade::Input::Checked(Ok(()))),
    ] {
        upgrade.handle(at(seconds), input);
    }
    while upgrade.next_output().is_some() {}
    for mut next in golden("upgrade", &upgrade) {
        assert_eq!((next.phase(), next.parts()), (Phase::Executing, parts));
        let mut back = next.clone();
        next.handle(at(92), upgrade::Input::Executed);
        assert_eq!(next.outcome(), Some(&Outcome::Done));
        back.handle(at(92), upgrade::Input::Stayed("it crashed".to_owned()));
        assert_eq!(back.outcome(), Some(&Outcome::Partial("it crashed".to_owned())));
    }
}

#[test]
fn golden_workers_of_all_releases_are_read() {
    let mut worker = Worker::new(worker::Policy::default());
    let crash = worker::Input::Exited(Fate::Crashed);
    for (seconds, input) in [
        (1, worker::Input::Start),
        (2, worker::Input::Ready),
        (3, crash),
        (4, worker::Input::Ready),
        (5, crash),
    ] {
        worker.handle(at(seconds), input);
    }
    for mut next in golden("worker", &worker) {
        let due = next.deadline().expect("it is waited for");
        assert_eq!(due, at(5) + Duration::from_millis(100), "the failures count on");
        assert_eq!(next.handle(due, worker::Input::Tick), Some(worker::Output::Spawn));
    }
}
