//! The end of all, in order.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use evergate_control::link::{Address, Desired, Listener, Outcome, ToKeeper, ToWorker};
use evergate_sys::signal::{self, Signal};

use crate::stage::{Pace, Stage, app, listener, lives};

pub(crate) const TESTS: &[crate::Test] = &[
    ("the_worker_drains_before_the_apps_end", the_worker_drains_before_the_apps_end),
    ("a_second_signal_hurries", a_second_signal_hurries),
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
    }
}

fn pids(instances: &[evergate_control::link::Instance]) -> Vec<u32> {
    instances.iter().filter_map(|instance| instance.pid).collect()
}

fn the_worker_drains_before_the_apps_end() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let stage = Stage::new(Pace::Production);
        let worker = stage.worker();
        let settled = stage.desire(&worker, &everything(&stage, &["sleep", "1000"]));
        worker.say(&ToKeeper::Ready);
        let apps = pids(&settled.instances);
        stage.signal(signal);
        assert!(matches!(stage.hear(&worker), (ToWorker::Stop { grace_ms: 30_000 }, _)));
        // It drains: nobody new comes, and an app that dies comes back.
        assert!(TcpStream::connect(settled.address(0)).is_err(), "the keeper let go of the port");
        signal::send(apps[0], Signal::Kill).unwrap();
        let healed = stage.observe(&worker, |instances| instances[0].run.generation == 2);
        let apps = pids(&healed);
        assert!(apps.iter().all(|&pid| lives(pid)));
        // But nothing new begins.
        let mut more = everything(&stage, &["sleep", "1000"]);
        more.apps.push(app("late", &["sleep", "1000"], 1));
        let late = stage.desire(&worker, &more);
        assert_eq!(late.instances, [], "no change to hear of");
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
    let settled = stage.desire(&worker, &everything(&stage, &stubborn));
    worker.say(&ToKeeper::Ready);
    stage.signal(Signal::Terminate);
    assert!(matches!(stage.hear(&worker), (ToWorker::Stop { .. }, _)));
    // Neither the worker nor the apps do what they were asked; all is over well before they must.
    stage.signal(Signal::Terminate);
    let begun = evergate_sys::clock::now();
    let (status, stderr) = stage.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(evergate_sys::clock::now() - begun < std::time::Duration::from_secs(5));
    assert!(!pids(&settled.instances).iter().any(|&pid| lives(pid)) && !lives(worker.pid));
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
