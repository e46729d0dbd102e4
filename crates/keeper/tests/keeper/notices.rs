//! What a service manager is told: every datagram, in order.

use std::os::unix::net::UnixDatagram;

use evergate_control::link::{ToKeeper, ToWorker};
use evergate_sys::clock;
use evergate_sys::signal::Signal;

use crate::handover::{LONG, Step, advance, begin, hear_order, order, serving, web};
use crate::stage::{PATIENCE, Pace, Stage, Worker};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_reload_is_told_from_its_begin_to_its_end", a_reload_is_told_from_its_begin_to_its_end),
    ("a_reload_ends_with_its_worker", a_reload_ends_with_its_worker),
    ("a_reload_waits_for_whoever_takes_over", a_reload_waits_for_whoever_takes_over),
    ("only_a_worker_that_answers_counts_as_alive", only_a_worker_that_answers_counts_as_alive),
    ("whoever_takes_over_is_asked_at_once", whoever_takes_over_is_asked_at_once),
    ("an_end_that_takes_long_is_told", an_end_that_takes_long_is_told),
];

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
    path: String,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, _folder: folder, path }
    }

    fn stage(&self, more: &[(&str, String)]) -> Stage {
        let mut env = vec![("NOTIFY_SOCKET", self.path.clone())];
        env.extend(more.iter().cloned());
        Stage::with(Pace::Quick, std::env::current_exe().unwrap(), &env)
    }

    fn hear(&self) -> String {
        let mut text = [0; 512];
        let length = self.socket.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    /// Hears that a reload begins now.
    fn hear_reloading(&self) {
        let now = (clock::now() - evergate_core::time::Instant::EPOCH).as_micros();
        let said = self.hear();
        let since = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("one datagram");
        let since: u128 = since.parse().unwrap();
        assert!(now.abs_diff(since) < PATIENCE.as_micros(), "{said}");
    }
}

/// A worker that serves, as the manager knows.
fn ready(stage: &Stage, manager: &Manager) -> Worker {
    let (worker, _) = serving(stage, &web());
    assert_eq!(manager.hear(), "READY=1");
    worker
}

fn a_reload_is_told_from_its_begin_to_its_end() {
    let manager = Manager::new();
    let stage = manager.stage(&[]);
    let worker = ready(&stage, &manager);
    for (is_applied, status) in [
        (true, "the configuration is in force"),
        (false, "the configuration was refused; the one before stays in force"),
    ] {
        stage.signal(Signal::Hangup);
        manager.hear_reloading();
        hear_order(&stage, &worker, &ToWorker::Reload);
        worker.say(&ToKeeper::Reloaded { is_applied });
        assert_eq!(manager.hear(), format!("READY=1\nSTATUS={status}"));
    }
}

fn a_reload_ends_with_its_worker() {
    let manager = Manager::new();
    let stage = manager.stage(&[]);
    let worker = ready(&stage, &manager);
    stage.signal(Signal::Hangup);
    manager.hear_reloading();
    worker.crash();
    let said = manager.hear();
    assert!(said.starts_with("READY=1\nSTATUS=it is not known what became of"), "{said}");
}

fn a_reload_waits_for_whoever_takes_over() {
    let manager = Manager::new();
    let stage = manager.stage(&[]);
    let old = ready(&stage, &manager);
    let new = begin(&stage, &old, &order(LONG));
    stage.signal(Signal::Hangup);
    manager.hear_reloading();
    advance(&stage, &old, &new, &web(), Step::Soaking);
    hear_order(&stage, &new, &ToWorker::Reload);
    new.say(&ToKeeper::Reloaded { is_applied: true });
    assert_eq!(manager.hear(), "READY=1\nSTATUS=the configuration is in force");
}

fn only_a_worker_that_answers_counts_as_alive() {
    let manager = Manager::new();
    let stage = manager.stage(&[("WATCHDOG_USEC", "200000".into())]);
    let old = ready(&stage, &manager);
    let mut number = ping(&stage, &old);
    // An old answer says nothing about now.
    number = ping(&stage, &old).max(number);
    old.say(&ToKeeper::Pong { number: number - 1 });
    // Once the next is asked, what was said before has been heard.
    let number = ping(&stage, &old);
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err(), "nobody is alive");
    manager.socket.set_nonblocking(false).unwrap();
    old.say(&ToKeeper::Pong { number });
    assert_eq!(manager.hear(), "WATCHDOG=1");
}

/// Waits until the watchdog asks.
fn ping(stage: &Stage, worker: &Worker) -> u32 {
    loop {
        match stage.next(worker) {
            (ToWorker::Ping { number }, _) => return number,
            (ToWorker::Observed(_), _) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// However long it is until the next time: who was asked before cannot answer any more.
fn whoever_takes_over_is_asked_at_once() {
    let manager = Manager::new();
    let stage = manager.stage(&[("WATCHDOG_USEC", "3600000000".into())]);
    let old = ready(&stage, &manager);
    ping(&stage, &old);
    let new = begin(&stage, &old, &order(LONG));
    advance(&stage, &old, &new, &web(), Step::Soaking);
    let number = ping(&stage, &new);
    new.say(&ToKeeper::Pong { number });
    assert_eq!(manager.hear(), "WATCHDOG=1");
    old.crash();
    // Or the new one might be found dead first, and who was called back is asked in vain.
    while !matches!(stage.next(&new).0, ToWorker::Gone { .. }) {}
    new.crash();
    let next = stage.worker();
    next.say(&ToKeeper::Ready);
    assert_eq!(manager.hear(), "READY=1");
    let number = ping(&stage, &next);
    next.say(&ToKeeper::Pong { number });
    assert_eq!(manager.hear(), "WATCHDOG=1");
}

fn an_end_that_takes_long_is_told() {
    let manager = Manager::new();
    let stage = manager.stage(&[]);
    let worker = ready(&stage, &manager);
    stage.signal(Signal::Terminate);
    assert_eq!(manager.hear(), "STOPPING=1");
    assert_eq!(manager.hear(), "EXTEND_TIMEOUT_USEC=30000000");
    hear_order(&stage, &worker, &ToWorker::Stop { grace_ms: 30_000 });
    worker.exit(0);
    assert_eq!(stage.end().0.code(), Some(0));
}
