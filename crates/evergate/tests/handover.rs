//! Workers that serve side by side and take each other's place, driven as a keeper would.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "handover/carried.rs"]
mod carried;
#[path = "handover/clients.rs"]
mod clients;
#[path = "handover/keeper.rs"]
mod keeper;

use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use clients::{Clients, Connection, ask};
use evergate_control::link::{
    NodeNews, Role, Run, ToKeeper, ToWorker, UpgradeNews, UpgradeOutcome, WorkerNews, WorkerState,
};
use evergate_sys::clock;
use keeper::{Keeper, PATIENCE, Worker, printed};

/// Something that prints numbered lines, most in two pieces.
struct Printing {
    run: Run,
    pipe: PipeReader,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Printing {
    fn start() -> Self {
        let (pipe, mut writer) = std::io::pipe().unwrap();
        let is_over = Arc::<AtomicBool>::default();
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut count = 0;
            while !over.load(Relaxed) {
                writer.write_all(format!("line {count}").as_bytes()).unwrap();
                thread::yield_now();
                writer.write_all(b" is whole\n").unwrap();
                count += 1;
            }
            count
        });
        let run = Run { app: "shop".into(), number: 0, generation: 1 };
        Self { run, pipe, is_over, thread }
    }

    /// Ends it; says how many lines there were.
    fn stop(self) -> u64 {
        self.is_over.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

/// Asks until every one of `bodies` has been the answer.
fn ask_for(address: std::net::SocketAddr, bodies: &[&str]) {
    let until = clock::now() + PATIENCE;
    let mut missing = bodies.to_vec();
    while !missing.is_empty() {
        let body = ask(address);
        assert!(bodies.contains(&body.as_str()), "answered with {body}");
        missing.retain(|one| *one != body);
        assert!(clock::now() < until, "nobody answers with {missing:?}");
    }
}

/// Asks so often that whoever accepts has answered.
fn ask_only_for(address: std::net::SocketAddr, body: &str) {
    (0..100).for_each(|_| assert_eq!(ask(address), body));
}

/// Waits until nobody answers with anything else.
fn ask_until(address: std::net::SocketAddr, body: &str) {
    let until = clock::now() + PATIENCE;
    while ask(address) != body {
        assert!(clock::now() < until, "nobody answers with {body}");
    }
}

fn prove(worker: &Worker, token: &str) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    worker.tell_with(&ToWorker::Probe { token: token.to_owned() }, &[theirs.as_fd()]);
    drop(theirs);
    ours.write_all(b"GET / HTTP/1.1\r\nHost: keeper\r\n\r\n").unwrap();
    let mut answer = String::new();
    ours.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(token), "{answer}");
}

pub(crate) fn upgrade(workers: &[&Worker], outcome: Option<UpgradeOutcome>) -> ToWorker {
    let news = |worker: &&Worker| WorkerNews {
        generation: worker.generation,
        pid: 1,
        version: None,
        state: WorkerState::Standby,
        since_ms: 0,
    };
    let upgrade = UpgradeNews {
        number: 1,
        binary: "/new".to_owned(),
        version: None,
        steps: Vec::new(),
        outcome,
    };
    ToWorker::Node(NodeNews {
        workers: workers.iter().map(news).collect(),
        upgrade: Some(upgrade),
        ..NodeNews::default()
    })
}

#[test]
fn one_worker_takes_the_place_of_another_and_back_without_a_lost_request_or_line() {
    let mut keeper = Keeper::new();
    let address = keeper.address();
    let printing = Printing::start();
    let mut one = keeper.start(Role::Primary);
    one.tell_with(&ToWorker::Output { run: printing.run.clone() }, &[printing.pipe.as_fd()]);
    one.tell(&ToWorker::Node(NodeNews::default()));
    ask_only_for(address, "one");
    let clients = Clients::start(address);

    keeper.keep_config("two");
    let mut two = keeper.start(Role::Candidate);
    let news = upgrade(&[&one, &two], None);
    one.tell(&news);
    two.tell(&news);
    ask_only_for(address, "one");
    assert_eq!(keeper.admin(), 1);

    two.order(&mut keeper, &ToWorker::Activate, &ToKeeper::Activated);
    ask_for(address, &["one", "two"]);
    prove(&two, "token");

    // What makes no sense changes nothing.
    one.tell(&ToWorker::Retire);
    two.tell(&ToWorker::Release);
    one.order(&mut keeper, &ToWorker::Ping { number: 7 }, &ToKeeper::Pong { number: 7 });
    two.order(&mut keeper, &ToWorker::Ping { number: 8 }, &ToKeeper::Pong { number: 8 });
    ask_for(address, &["one", "two"]);
    assert_eq!(keeper.admin(), 1);

    one.order(&mut keeper, &ToWorker::Release, &ToKeeper::Released);
    ask_for(address, &["one", "two"]);
    keeper.write_file("two, as it is by now");
    two.take_over(&mut keeper, &printing.run, &printing.pipe);
    assert_eq!(keeper.admin(), 2);
    clients.go_on();
    one.order(&mut keeper, &ToWorker::Retire, &ToKeeper::Drained);
    ask_until(address, "two, as it is by now");

    let served = |said: &ToKeeper| match said {
        ToKeeper::Served { requests, errors } => Some((*requests, *errors)),
        _ => None,
    };
    // What it said while it was new comes first.
    let (mut requests, mut errors) = (0, 0);
    while requests < 100 {
        (requests, errors) = two.wait(&mut keeper, served);
    }
    assert_eq!(errors, 0);

    // Back again: the file is not what that worker knew, and it notices.
    two.order(&mut keeper, &ToWorker::Release, &ToKeeper::Released);
    keeper.write_file("three");
    one.take_over(&mut keeper, &printing.run, &printing.pipe);
    assert_eq!(keeper.admin(), 1);
    clients.go_on();
    two.order(&mut keeper, &ToWorker::Retire, &ToKeeper::Drained);
    ask_until(address, "three");
    let mut stays = Connection::open(address).unwrap();
    assert!((0..3).all(|_| !stays.get().unwrap().is_last), "connections may stay again");
    drop(stays);

    // And for good.
    one.order(&mut keeper, &ToWorker::Release, &ToKeeper::Released);
    two.take_over(&mut keeper, &printing.run, &printing.pipe);
    one.order(&mut keeper, &ToWorker::Retire, &ToKeeper::Drained);
    one.tell(&ToWorker::Finish);
    assert_eq!(one.exit_status(), Some(0), "{}", keeper.told(&one));
    two.tell(&upgrade(&[&two], Some(UpgradeOutcome::Done)));
    assert_eq!(keeper.admin(), 2);
    ask_until(address, "three");

    clients.go_on();
    let answers = clients.stop() + clients::answers();
    assert!(answers > 1000);
    let pipe = printing.pipe.try_clone().unwrap();
    let count = printing.stop();
    drop(pipe);
    two.order(&mut keeper, &ToWorker::Stop { grace_ms: 20_000 }, &ToKeeper::Drained);
    assert_eq!(two.exit_status(), Some(0), "{}", keeper.told(&two));
    // One of them has told people, at each time.
    let told = [&one, &two].map(|worker| {
        let told = keeper.told(worker);
        ["upgrade_started", "upgrade_done", "worker_gone"].map(|kind| told.matches(kind).count())
    });
    assert_eq!(told, [[1, 0, 0], [0, 1, 1]]);
    let expected = (0..count).map(|number| format!("shop/0.1 line {number} is whole"));
    let lines = printed(&keeper.path("state/log/shop.log"));
    let first = lines.iter().zip(expected).find(|(line, expected)| *line != expected);
    assert_eq!((first, lines.len() as u64), (None, count));
    // Nor is a line of the access log lost or torn, whichever worker wrote it.
    let logged = keeper.logged();
    let is_torn = |line: &&String| serde_json::from_str::<serde_json::Value>(line).is_err();
    assert_eq!(logged.iter().find(is_torn), None);
    assert_eq!(logged.len() as u64, answers);
}

#[test]
fn a_worker_that_drains_goes_on_and_exits_by_itself_when_its_keeper_is_gone() {
    let mut keeper = Keeper::new();
    let address = keeper.address();
    let mut one = keeper.start(Role::Primary);
    let mut busy = Connection::open(address).unwrap();
    assert_eq!(busy.get().unwrap().body, "one");
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    one.order(&mut keeper, &ToWorker::Release, &ToKeeper::Released);
    one.tell(&ToWorker::Retire);
    one.order(&mut keeper, &ToWorker::Ping { number: 1 }, &ToKeeper::Pong { number: 1 });
    one.orphan();
    busy.send("\r\n").unwrap();
    let answer = busy.answer().unwrap();
    assert!(answer.is_last && answer.body == "one", "{answer:?}");
    assert_eq!(one.exit_status(), Some(0), "{}", keeper.told(&one));
    assert_eq!(keeper.logged().len(), 2, "what it did last is logged too");
}

#[test]
fn a_candidate_that_nobody_wants_leaves_no_trace() {
    let mut keeper = Keeper::new();
    let mut one = keeper.start(Role::Primary);
    keeper.keep_config("two");
    let mut two = keeper.start(Role::Candidate);
    two.tell(&ToWorker::Finish);
    assert_eq!(two.exit_status(), Some(0), "{}", keeper.told(&two));
    let mut three = keeper.start(Role::Candidate);
    three.orphan();
    assert_eq!(three.exit_status(), Some(0), "{}", keeper.told(&three));
    let mut four = keeper.start(Role::Candidate);
    four.order(&mut keeper, &ToWorker::Stop { grace_ms: 5_000 }, &ToKeeper::Drained);
    assert_eq!(four.exit_status(), Some(0), "{}", keeper.told(&four));
    assert_eq!(keeper.admin(), 1);
    ask_only_for(keeper.address(), "one");
    one.order(&mut keeper, &ToWorker::Stop { grace_ms: 5_000 }, &ToKeeper::Drained);
    assert_eq!(one.exit_status(), Some(0), "{}", keeper.told(&one));
}

#[test]
fn as_long_as_no_worker_has_served_each_says_what_is_in_the_way() {
    let mut keeper = Keeper::new();
    keeper.obstruct("somebody has that port");
    // On a slow machine the first one may be lost before it has said so.
    keeper.lose_one();
    let mut two = keeper.launch(Role::Primary);
    let said = two.wait(&mut keeper, |said| match said {
        ToKeeper::Hopeless { message } => Some(message.clone()),
        ToKeeper::Ready => Some("it is ready".to_owned()),
        _ => None,
    });
    assert!(said.contains("somebody has that port"), "{said}");
    assert_eq!(two.exit_status(), Some(evergate_keeper::HOPELESS_STATUS));
    // Once one has, the next serves what is left.
    keeper.keep_config("one");
    let three = keeper.start(Role::Primary);
    let reasons = keeper.status()["reasons"].to_string();
    assert!(reasons.contains("nothing is listened on"), "{reasons}: {}", keeper.told(&three));
}

#[test]
fn a_worker_that_leaves_without_having_been_primary_keeps_no_socket_open() {
    let mut keeper = Keeper::new();
    let _one = keeper.start(Role::Primary);
    keeper.keep_config("two");
    let mut two = keeper.start(Role::Candidate);
    two.order(&mut keeper, &ToWorker::Activate, &ToKeeper::Activated);
    // Whoever has begun to ask is answered, so it stays for a while.
    let mut strangers = Vec::new();
    let until = clock::now() + PATIENCE;
    let mut asking = loop {
        let mut one = Connection::open(keeper.address()).unwrap();
        if one.get().unwrap().body == "two" {
            break one;
        }
        // A busy worker leaves the next to the other.
        strangers.push(one);
        assert!(clock::now() < until, "nobody answers with two");
    };
    asking.send("GET / HTTP/1.1\r\n").unwrap();
    let listening = keeper.listening();
    let holds = |worker: &Worker| worker.open().iter().any(|open| listening.contains(open));
    assert!(holds(&two));
    two.tell(&ToWorker::Finish);
    two.order(&mut keeper, &ToWorker::Ping { number: 1 }, &ToKeeper::Pong { number: 1 });
    // Else a listener that goes later would go on to take connections that nobody accepts.
    let until = clock::now() + PATIENCE;
    while holds(&two) {
        assert!(clock::now() < until, "it still holds a listening socket");
        thread::yield_now();
    }
    asking.send("Host: a\r\n\r\n").unwrap();
    assert_eq!(asking.answer().unwrap().body, "two");
    assert_eq!(two.exit_status(), Some(0), "{}", keeper.told(&two));
}

#[test]
fn sockets_that_are_bound_at_the_take_over_are_accepted_from_too() {
    let mut keeper = Keeper::short();
    let printing = Printing::start();
    let mut one = keeper.start(Role::Primary);
    keeper.keep_config("two");
    let mut two = keeper.start(Role::Candidate);
    one.order(&mut keeper, &ToWorker::Release, &ToKeeper::Released);
    two.take_over(&mut keeper, &printing.run, &printing.pipe);
    keeper.grow();
    // It asks once more, for it has fewer than it wants.
    two.order(&mut keeper, &ToWorker::Ping { number: 1 }, &ToKeeper::Pong { number: 1 });
    one.order(&mut keeper, &ToWorker::Retire, &ToKeeper::Drained);
    (0..50).for_each(|_| drop(ask(keeper.address())));

    // The old one comes back, which never had the new socket.
    two.order(&mut keeper, &ToWorker::Release, &ToKeeper::Released);
    one.take_over(&mut keeper, &printing.run, &printing.pipe);
    two.order(&mut keeper, &ToWorker::Retire, &ToKeeper::Drained);
    (0..50).for_each(|_| drop(ask(keeper.address())));
    printing.stop();
}
