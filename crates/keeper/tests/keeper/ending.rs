//! The end of all, in order.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use evergate_control::link::{
    Address, Desired, Instance, InstanceState, Listener, Outcome, ToKeeper, ToWorker, Verb,
};
use evergate_sys::clock;
use evergate_sys::signal::{self, Signal};

use crate::stage::{Pace, Stage, all_ready, app, listener, lives};

/// How long a worker may take to end that is asked once.
const GRACE: Duration = Duration::from_secs(30);

pub(crate) const TESTS: &[crate::Test] = &[
    ("the_worker_drains_before_the_apps_end", the_worker_drains_before_the_apps_end),
    ("a_second_signal_hurries", a_second_signal_hurries),
    ("apps_end_before_those_they_come_after", apps_end_before_those_they_come_after),
    (
        "a_worker_that_crashes_at_the_end_is_not_replaced",
        a_worker_that_crashes_at_the_end_is_not_replaced,
    ),
    ("the_service_manager_is_told", the_service_manager_is_told),
];

fn everything(stage: &Stage, run: &[&str]) -> Desired {
    let admin = Listener {
        name: "admin".into(),
        address: Address::Unix { path: stage.path("admin.sock"), mode: 0o600 },
        sockets: 1,
    };
    Desired {
        listeners: vec![listener("web", "127.0.0.1:0", 2), admin],
        apps: vec![app("shop", run, 2)],
        run_dir: None,
        ..Desired::default()
    }
}

fn pids(instances: &[Instance]) -> Vec<u32> {
    instances.iter().filter_map(|instance| instance.pid).collect()
}

fn the_worker_drains_before_the_apps_end() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let stage = Stage::new(Pace::Production);
        let worker = stage.worker();
        let settled = stage.desire(&worker, &everything(&stage, &["sleep", "1000"]));
        worker.say(&ToKeeper::Ready);
        let apps = pids(&stage.observe(&worker, all_ready));
        stage.signal(signal);
        assert!(matches!(stage.next(&worker), (ToWorker::Stop { grace_ms: 30_000 }, _)));
        // It drains: nobody new comes, and an app that dies comes back.
        assert!(TcpStream::connect(settled.address(0)).is_err(), "the keeper let go of the port");
        signal::send(apps[0], Signal::Kill).unwrap();
        let healed = |all: &[Instance]| all[0].run.generation == 2 && all_ready(all);
        let apps = pids(&stage.observe(&worker, healed));
        assert!(apps.iter().all(|&pid| lives(pid)));
        // But nothing new begins.
        let mut more = everything(&stage, &["sleep", "1000"]);
        more.apps.push(app("late", &["sleep", "1000"], 1));
        let late = stage.desire(&worker, &more);
        assert_eq!(late.instances, [], "no change to hear of");
        let restart = stage.wish(&worker, ("shop", None), Verb::Restart);
        assert_eq!(restart, Err("the node is stopping".to_owned()));
        let refused = Outcome::Failed("the node is stopping".into());
        assert!(late.listening.iter().all(|(outcome, _)| *outcome == refused), "{late:?}");
        worker.say(&ToKeeper::Drained);
        worker.exit(0);
        let path = stage.path("admin.sock");
        let (status, stderr) = stage.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert!(!apps.iter().any(|&pid| lives(pid)) && !Path::new(&path).exists());
        assert!(!stderr.contains("worker"), "nothing went wrong: {stderr}");
    }
}

fn a_second_signal_hurries() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"];
    stage.desire(&worker, &everything(&stage, &stubborn));
    worker.say(&ToKeeper::Ready);
    let instances = stage.observe(&worker, all_ready);
    stage.signal(Signal::Terminate);
    assert!(matches!(stage.next(&worker), (ToWorker::Stop { .. }, _)));
    // Neither the worker nor the apps do what they were asked; all is over well before they must.
    stage.signal(Signal::Terminate);
    let begun = clock::now();
    let (status, stderr) = stage.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(clock::now() - begun < GRACE);
    assert!(!pids(&instances).iter().any(|&pid| lives(pid)) && !lives(worker.pid));
}

fn apps_end_before_those_they_come_after() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let log = stage.path("log");
    let up = stage.path("up");
    let script =
        format!("trap 'echo $APP >>{log}; exit 0' TERM; echo $APP >>{up}; sleep 1000 & wait");
    let run = ["sh", "-c", script.as_str()];
    let (mut shop, mut page) = (app("shop", &run, 1), app("page", &run, 1));
    shop.after = vec!["db".into()];
    page.after = vec!["shop".into()];
    let wanted = [app("db", &run, 1), page, shop];
    let first = stage.desire(&worker, &crate::stage::apps(&wanted)).instances;
    let states: Vec<_> = first.iter().map(|one| (one.run.app.as_str(), one.state)).collect();
    let expected = [
        ("db", InstanceState::Starting),
        ("page", InstanceState::Waiting),
        ("shop", InstanceState::Waiting),
    ];
    assert_eq!(states, expected);
    assert_eq!(first[1].reason.as_deref(), Some("waits for app shop"));
    stage.observe(&worker, |all| all.len() == 3 && all_ready(all));
    // A program runs before it is ready for a signal.
    let lines = || std::fs::read_to_string(&up).map_or(0, |text| text.lines().count());
    stage.await_true(|_| (lines() == 3).then_some(()));
    worker.say(&ToKeeper::Ready);
    stage.signal(Signal::Terminate);
    assert!(matches!(stage.next(&worker), (ToWorker::Stop { .. }, _)));
    worker.exit(0);
    stage.await_end();
    assert_eq!(std::fs::read_to_string(log).unwrap(), "page\nshop\ndb\n");
}

fn a_worker_that_crashes_at_the_end_is_not_replaced() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    stage.signal(Signal::Terminate);
    assert!(matches!(stage.hear(&worker), (ToWorker::Stop { .. }, _)));
    worker.crash();
    assert_eq!(stage.end().0.code(), Some(0));
}

fn the_service_manager_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::stage::PATIENCE)).unwrap();
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap().to_owned())];
    let stage = Stage::with(Pace::Production, std::env::current_exe().unwrap(), &env);
    let worker = stage.worker();
    let mut text = [0; 32];
    let mut told = || {
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    worker.say(&ToKeeper::Ready);
    assert_eq!(told(), "READY=1");
    stage.signal(Signal::Terminate);
    assert_eq!(told(), "STOPPING=1");
    worker.exit(0);
    assert_eq!(stage.end().0.code(), Some(0));
}
