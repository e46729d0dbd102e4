//! Where runs listen, whom they run as, and how they say that they are ready.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use evergate_control::link::{
    App, Desired, Instance, InstanceState, Place, Ready, ReadyBy, Socket, ToKeeper, ToWorker,
};
use evergate_sys::privilege;
use evergate_sys::process;
use evergate_sys::signal::{self, Signal};

use crate::apps::{SLEEP, running};
use crate::stage::{Pace, Stage, all_ready, app};

pub(crate) const TESTS: &[crate::Test] = &[
    ("an_app_inherits_its_socket", an_app_inherits_its_socket),
    ("an_app_has_a_directory_for_its_unix_socket", an_app_has_a_directory_for_its_unix_socket),
    ("an_app_says_that_it_is_ready", an_app_says_that_it_is_ready),
    (
        "an_app_that_says_nothing_is_ready_after_a_second",
        an_app_that_says_nothing_is_ready_after_a_second,
    ),
    (
        "a_port_that_somebody_took_is_not_the_apps_fault",
        a_port_that_somebody_took_is_not_the_apps_fault,
    ),
    ("only_users_that_were_named_early_are_used", only_users_that_were_named_early_are_used),
];

/// The stand-in that this binary has in it.
fn stand_in(stage: &Stage, arguments: &[&str]) -> (App, Desired) {
    let own = std::env::current_exe().unwrap();
    let run = [&[own.to_str().unwrap(), "run-app"], arguments].concat();
    let shop = app("shop", &run, 1);
    let desired =
        Desired { apps: vec![shop.clone()], run_dir: Some(stage.path("")), ..Desired::default() };
    (shop, desired)
}

fn an_app_inherits_its_socket() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let (_, mut desired) = stand_in(&stage, &["inherit"]);
    desired.apps[0].socket = Socket::Inherit;
    stage.desire(&worker, &desired);
    let (pid, port) = running(&stage.observe(&worker, all_ready)[0]);
    let mut answer = String::new();
    let peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    BufReader::new(peer).read_line(&mut answer).unwrap();
    assert_eq!(answer, format!("{pid}\n"));
    // Nobody else has it: who comes after its end is refused.
    stage.desire(&worker, &Desired::default());
    stage.observe(&worker, <[Instance]>::is_empty);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

fn an_app_has_a_directory_for_its_unix_socket() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let (_, mut desired) = stand_in(&stage, &["unix"]);
    desired.apps[0].socket = Socket::Unix;
    stage.desire(&worker, &desired);
    let before = stage.observe(&worker, all_ready).remove(0);
    let (Some(Place::Unix(path)), Some(pid)) = (before.place, before.pid) else { panic!() };
    let folder = Path::new(&path).parent().unwrap().to_owned();
    assert!(folder.ends_with("apps/shop.0.1"), "{path}");
    let mut answer = String::new();
    let mut peer = stage.await_true(|_| UnixStream::connect(&path).ok());
    peer.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, format!("{pid}\n"));
    signal::send(pid, Signal::Kill).unwrap();
    let after = stage.observe(&worker, |all| all[0].run.generation == 2 && all_ready(all));
    assert!(matches!(&after[0].place, Some(Place::Unix(other)) if *other != path));
    assert!(!folder.exists(), "gone with its run");
    // Where others could put something in its way it is not made.
    fs::set_permissions(stage.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    signal::send(after[0].pid.unwrap(), Signal::Kill).unwrap();
    let refused = stage.observe(&worker, |all| matches!(all[0].state, InstanceState::Fatal { .. }));
    assert!(refused[0].last_exit.as_ref().unwrap().contains("node.run_dir"), "{refused:?}");
}

fn an_app_says_that_it_is_ready() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let (_, mut desired) = stand_in(&stage, &["notify", "STATUS=warming up", "READY=1"]);
    desired.apps[0].ready = Ready { by: ReadyBy::Notify, ..Ready::default() };
    stage.desire(&worker, &desired);
    let ready = stage.observe(&worker, all_ready);
    let environ = fs::read_to_string(format!("/proc/{}/environ", ready[0].pid.unwrap())).unwrap();
    let socket = environ.split('\0').find_map(|line| line.strip_prefix("NOTIFY_SOCKET="));
    let socket = socket.unwrap().to_owned();
    // Others of the same user are not believed.
    let stranger = std::os::unix::net::UnixDatagram::unbound().unwrap();
    stranger.send_to(b"STOPPING=1", &socket).unwrap();
    let again = stage.desire(&worker, &desired).instances;
    assert_eq!(again[0].state, InstanceState::Ready);
    // One goes out of the pool when it says so itself.
    let mut brief = desired.apps[0].clone();
    brief.name = "brief".into();
    brief.run.push("STOPPING=1".into());
    desired.apps.push(brief);
    stage.desire(&worker, &desired);
    let left = stage.observe(&worker, |all| all[0].state == InstanceState::Unhealthy);
    assert!(left[0].reason.is_some(), "{left:?}");
    stage.desire(&worker, &Desired::default());
    stage.observe(&worker, <[Instance]>::is_empty);
    assert!(!Path::new(&socket).exists());
}

fn an_app_that_says_nothing_is_ready_after_a_second() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let mut shop = app("shop", SLEEP, 1);
    shop.ready = Ready { by: ReadyBy::Nothing, ..Ready::default() };
    let begun = evergate_sys::clock::now();
    stage.run(&worker, &[shop]);
    assert!(evergate_sys::clock::now() - begun >= std::time::Duration::from_secs(1));
}

fn a_port_that_somebody_took_is_not_the_apps_fault() {
    let stage = Stage::new(Pace::Production);
    let mut worker = stage.worker();
    worker.probes = false;
    // It waits to be told before it gives up, as one that cannot bind.
    let gate = stage.path("gate");
    let script = format!("while [ ! -e {gate} ]; do sleep 0.01; done; exit 1");
    let mut shop = app("shop", &["sh", "-c", &script], 1);
    shop.ports = (31_100, 31_199);
    let first = stage.desire(&worker, &crate::stage::apps(&[shop])).instances.remove(0);
    let Some(Place::Port(port)) = first.place else { panic!("{first:?}") };
    let _thief = TcpListener::bind(("127.0.0.1", port)).unwrap();
    fs::write(&gate, "").unwrap();
    let hit = stage.observe(&worker, |all| all[0].last_exit.is_some()).remove(0);
    let how = hit.last_exit.unwrap();
    let thief = format!("(process {}) has port {port}", std::process::id());
    assert!(how.starts_with("exit status 1: ") && how.contains(&thief), "{how}");
    assert_eq!((hit.exits, hit.budget.0), (1, 0), "it does not count");
}

fn only_users_that_were_named_early_are_used() {
    if !privilege::is_root() {
        println!("skipped: only root chooses users");
        return;
    }
    let stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    let mut shop = app("shop", SLEEP, 1);
    shop.user = Some("65534".into());
    let refused = stage.desire(&worker, &crate::stage::apps(&[shop.clone()])).instances;
    let why = refused[0].last_exit.as_deref().unwrap();
    assert!(matches!(refused[0].state, InstanceState::Fatal { for_ms: None }), "{refused:?}");
    assert!(why.contains("restart Evergate so that the new user is accepted"), "{why}");
    let users = vec!["65534".into()];
    worker.say(&ToKeeper::Named { paths: vec![], users });
    while !matches!(stage.next(&worker), (ToWorker::Noted, _)) {}
    stage.wish(&worker, ("shop", None), evergate_control::link::Verb::Start).unwrap();
    let (pid, _) = running(&stage.observe(&worker, all_ready)[0]);
    let user = process::user(pid).unwrap();
    assert_eq!((user.uid, user.gid), (65_534, 65_534));
    // It comes back also before the next worker has named anybody.
    worker.say(&ToKeeper::Ready);
    worker.crash();
    let next = stage.worker();
    signal::send(pid, Signal::Kill).unwrap();
    stage.observe(&next, |all| all[0].run.generation == 3 && all_ready(all));
}
