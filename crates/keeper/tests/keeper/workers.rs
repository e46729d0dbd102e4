//! Workers that come and go.

use std::fs;
use std::path::PathBuf;

use evergate_control::link::{Address, Desired, Listener, Outcome, ToKeeper, ToWorker};
use evergate_sys::listen::{self, Sharing};
use evergate_sys::signal::Signal;
use evergate_sys::{memfd, process};

use crate::puppet;
use crate::stage::{Pace, Stage, Worker, knock, listener, lives};

pub(crate) const TESTS: &[crate::Test] = &[
    ("sockets_outlive_twenty_killed_workers", sockets_outlive_twenty_killed_workers),
    ("a_keeper_is_small", a_keeper_is_small),
    ("a_busy_port_is_explained", a_busy_port_is_explained),
    ("what_is_kept_reaches_the_next_worker", what_is_kept_reaches_the_next_worker),
    ("a_worker_without_hope_ends_all_only_at_first", a_worker_without_hope_ends_all_only_at_first),
    ("the_last_words_of_a_worker_are_heard", the_last_words_of_a_worker_are_heard),
    ("a_program_that_cannot_run_ends_all", a_program_that_cannot_run_ends_all),
    ("a_worker_that_is_never_ready_is_replaced", a_worker_that_is_never_ready_is_replaced),
    ("a_worker_that_is_lost_is_replaced", a_worker_that_is_lost_is_replaced),
    ("files_are_opened_below_the_configuration", files_are_opened_below_the_configuration),
    ("a_hangup_means_reload", a_hangup_means_reload),
];

fn two_listeners(stage: &Stage) -> Desired {
    let admin = Listener {
        name: "admin".into(),
        address: Address::Unix { path: stage.path("run/admin.sock"), mode: 0o600 },
        sockets: 1,
    };
    Desired { listeners: vec![listener("web", "127.0.0.1:0", 3), admin], ..Desired::default() }
}

fn sockets_outlive_twenty_killed_workers() {
    let mut stage = Stage::new(Pace::Quick);
    let mut worker = stage.worker();
    let desired = two_listeners(&stage);
    let first = stage.desire(&worker, &desired);
    assert_eq!((first.listening[0].1.len(), first.listening[1].1.len()), (3, 1));
    worker.say(&ToKeeper::Ready);
    // Once it answers, all that follows from that is done.
    stage.desire(&worker, &desired);
    let fds = process::usage(stage.keeper_pid()).unwrap().fds;
    for round in 1..=20 {
        worker.crash();
        // Dead, dying or just born: there is always somebody to connect to.
        for _ in 0..20 {
            knock(first.address(0));
        }
        worker = stage.worker();
        assert_eq!(worker.generation, round + 1);
        let again = stage.desire(&worker, &desired);
        assert_eq!(again.listening, first.listening, "round {round}: the very same sockets");
        worker.say(&ToKeeper::Ready);
    }
    assert_eq!(process::usage(stage.keeper_pid()).unwrap().fds, fds, "none leaks");
    let ends = |stage: &Stage| stage.stderr().matches("ended: signal 9 (KILL)").count();
    stage.await_true(|stage| (ends(stage) >= 20).then_some(()));
    assert_eq!(ends(&stage), 20);
}

fn a_keeper_is_small() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    stage.desire(&worker, &two_listeners(&stage));
    let usage = process::usage(stage.keeper_pid()).unwrap();
    assert_eq!(usage.threads, 1);
    // The rest is code that other processes share: how much of it is resident is the page cache's
    // choice, and an unoptimised build has several times more of it than a release.
    let own_bytes = process::own_bytes(stage.keeper_pid()).unwrap();
    assert!(own_bytes <= 1 << 20, "{own_bytes} bytes");
}

fn a_busy_port_is_explained() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    // One that would share its port, as another Evergate would.
    let any = "127.0.0.1:0".parse().unwrap();
    let holder = listen::tcp(any, Sharing::Shared, 1).unwrap();
    let taken = holder.local_addr().unwrap();
    let listeners = vec![listener("web", &taken.to_string(), 2), listener("api", "127.0.0.1:0", 1)];
    let desired = Desired { listeners, ..Desired::default() };
    let settled = stage.desire(&worker, &desired);
    let Outcome::Failed(sentence) = &settled.listening[0].0 else { panic!("{settled:?}") };
    let own = format!("(process {}) has port {}", std::process::id(), taken.port());
    assert!(sentence.contains(&own), "{sentence}");
    knock(settled.address(1));
    drop(holder);
    assert_eq!(stage.desire(&worker, &desired).address(0), taken, "free now");
}

fn what_is_kept_reaches_the_next_worker() {
    let stage = Stage::new(Pace::Quick);
    let mut worker = stage.worker();
    assert!(worker.kept.is_empty());
    let keep = |name: &str| ToKeeper::Keep { name: name.into() };
    worker.say_with(&keep("tickets"), &[&memfd::seal("tickets", b"keys").unwrap()]);
    for text in ["first", "second"] {
        let file = memfd::seal("configuration", text.as_bytes()).unwrap();
        worker.say_with(&keep("config"), &[&file]);
        worker.say(&ToKeeper::Ready);
        stage.desire(&worker, &Desired::default());
        // Also if the one in between says nothing.
        for _ in 0..2 {
            worker.crash();
            worker = stage.worker();
            assert_eq!(worker.kept.len(), 2);
            assert_eq!(memfd::read(&worker.kept["config"], 100).unwrap(), text.as_bytes());
            assert_eq!(memfd::read(&worker.kept["tickets"], 100).unwrap(), b"keys");
        }
    }
}

fn a_worker_without_hope_ends_all_only_at_first() {
    let message = "edge.toml:2:15: an endpoint needs a port\nhelp: add one";
    let stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    worker.say(&ToKeeper::Hopeless { message: message.into() });
    worker.exit(78);
    let (status, stderr) = stage.end();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.starts_with(message), "{stderr}");

    let stage = Stage::new(Pace::Quick);
    stage.worker().exit(evergate_keeper::HOPELESS_STATUS as u8);
    assert_eq!(stage.end().0.code(), Some(1), "the status alone says it too");

    let stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    stage.desire(&worker, &Desired::default());
    worker.crash();
    for _ in 0..3 {
        let worker = stage.worker();
        worker.say(&ToKeeper::Hopeless { message: message.into() });
        worker.exit(78);
    }
    stage.worker();
    assert_eq!(stage.stderr().matches(message).count(), 3);
}

fn the_last_words_of_a_worker_are_heard() {
    let mut stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    stage.desire(&worker, &Desired::default());
    // The keeper finds its exit and all of this at once.
    let keeper = rustix::process::Pid::from_raw(stage.keeper_pid() as i32).unwrap();
    rustix::process::kill_process(keeper, rustix::process::Signal::STOP).unwrap();
    for request in 0..100 {
        worker.say(&ToKeeper::Open { request, path: "/none".into() });
    }
    worker.say(&ToKeeper::Hopeless { message: "last words".into() });
    worker.exit(0);
    stage.await_true(|_| (!lives(worker.pid)).then_some(()));
    rustix::process::kill_process(keeper, rustix::process::Signal::CONT).unwrap();
    let (status, stderr) = stage.end();
    assert_eq!((status.code(), stderr.starts_with("last words")), (Some(1), true), "{stderr}");
}

fn a_program_that_cannot_run_ends_all() {
    let stage = Stage::with(Pace::Quick, PathBuf::from("/no/such/worker"), &[]);
    let (status, stderr) = stage.end();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("cannot run /no/such/worker: no such file"), "{stderr}");
}

fn a_worker_that_is_never_ready_is_replaced() {
    let mut stage = Stage::new(Pace::Impatient);
    // The second was the replacement of the first.
    let why = "it was not ready within 3s";
    stage.await_true(|stage| (stage.stderr().matches(why).count() >= 2).then_some(()));
}

fn a_worker_that_is_lost_is_replaced() {
    type Lose = fn(&Worker);
    let cases: [(&str, Lose); 3] = [
        ("closed its link", |worker| worker.babble(&[puppet::LET_GO])),
        ("no longer follows", |worker| worker.babble(b"\xff\xff")),
        ("speaks protocol 9", |worker| {
            worker.say(&ToKeeper::Hello { protocol: 9, version: "9.9".into() });
        }),
    ];
    for (why, lose) in cases {
        let stage = Stage::new(Pace::Quick);
        let first = stage.worker();
        first.say(&ToKeeper::Ready);
        lose(&first);
        let second = stage.worker();
        assert_ne!(first.pid, second.pid);
        assert!(stage.stderr().contains(why), "{}", stage.stderr());
    }
}

fn files_are_opened_below_the_configuration() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    fs::write(stage.path("key.pem"), "secret").unwrap();
    let open = |request, path: String| {
        worker.say(&ToKeeper::Open { request, path });
        match stage.hear(&worker) {
            (ToWorker::Opened { request: answered, error }, fds) if answered == request => {
                (error, fds)
            }
            (other, _) => panic!("{other:?}"),
        }
    };
    let (error, fds) = open(7, stage.path("key.pem"));
    assert_eq!((error, fds.len()), (None, 1));
    let mut text = [0; 16];
    assert_eq!(rustix::io::read(&fds[0], &mut text), Ok(6));
    let (error, fds) = open(8, "/etc/passwd".into());
    assert!(error.unwrap().contains("outside") && fds.is_empty());
    worker.say(&ToKeeper::Named { paths: vec!["/etc/passwd".into()], users: vec![] });
    assert!(matches!(stage.hear(&worker), (ToWorker::Noted, _)));
    let (error, fds) = open(9, "/etc/passwd".into());
    assert_eq!((error, fds.len()), (None, 1));
}

fn a_hangup_means_reload() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    stage.signal(Signal::Hangup);
    assert!(matches!(stage.hear(&worker), (ToWorker::Reload, _)));
}
