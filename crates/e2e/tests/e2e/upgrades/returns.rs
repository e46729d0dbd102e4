//! New workers that are not wanted any more: whoever came to them is served to the end.

use std::net::TcpStream;
use std::time::Duration;

use evergate_e2e::upgrade::Order;
use evergate_e2e::{Binaries, Client, Node, Origin, Signal as Hint, wait_until};
use evergate_sys::signal::Signal;

use super::stage::expect_to_drain;
use crate::processes::pid;
use crate::scene::{Scene, answer, get, ok};

/// Longer than any of this takes.
const SOAK: Duration = Duration::from_secs(600);

/// A node whose server answers `/bad` with an error, and `/slow` when it is told to.
struct Stage {
    node: Node,
    origin: Origin,
    go: Hint,
}

impl Stage {
    fn start() -> Self {
        let go = Hint::new();
        let wait = go.clone();
        let origin = Origin::scripted(move |served| {
            while let Some(request) = served.read_request() {
                match request.line.split(' ').nth(1) {
                    Some("/slow") => {
                        wait.wait();
                        served.write(ok("done"));
                    }
                    Some("/bad") => served.write(answer(500, "", "oh")),
                    Some(_) | None => served.write(ok("hello")),
                }
            }
        });
        let node = Scene::to(&origin).start();
        Self { node, origin, go }
    }

    /// Asks for what takes until it is told to; it is under way then.
    fn ask_slowly(&self) -> Client {
        let mut client = Client::connect(self.node.web());
        client.send(get("/slow", ""));
        while !self.origin.next_request().line.contains("/slow") {}
        client
    }

    /// Begins an upgrade and waits until the new worker is watched, and the old one takes no more.
    fn begin(&self, binaries: &Binaries) {
        let (code, answer) = self.node.order(&Order::to(&binaries.good()).worker().soak(SOAK));
        assert_eq!(code, 200, "{answer:#}");
        wait_until("the new worker is watched", || {
            let upgrade = self.node.last_upgrade();
            let last = upgrade["steps"].as_array().and_then(|steps| steps.last());
            last.is_some_and(|step| step["phase"] == "soak")
        });
        // Whoever is idle at the old one is answered by it once more, so this asks anew.
        wait_until("the new worker takes who comes", || {
            let before = self.open_to(1);
            let _client = Client::connect(self.node.web());
            self.open_to(1) == before && self.open_to(2) > 0
        });
    }

    /// Connections to the worker of this generation; none if it is gone.
    fn open_to(&self, generation: u64) -> u64 {
        let workers = self.node.workers();
        let mut workers = workers.as_array().expect("a list").iter();
        let worker = workers.find(|one| one["generation"] == generation);
        worker.and_then(|one| one["connections"].as_u64()).unwrap_or_default()
    }

    fn state_of(&self, generation: u64) -> String {
        let workers = self.node.workers();
        let mut workers = workers.as_array().expect("a list").iter();
        let worker = workers.find(|one| one["generation"] == generation);
        worker.and_then(|one| one["state"].as_str()).unwrap_or("gone").to_owned()
    }
}

#[test]
fn a_worker_that_is_taken_back_finishes_what_it_began() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    stage.begin(&binaries);
    let mut slow: Vec<_> = (0..3).map(|_| stage.ask_slowly()).collect();
    let mut idle = Client::connect(stage.node.web());
    idle.send(get("/", ""));
    assert_eq!(idle.read_response().text(), "hello");
    // Far more errors than the old one had.
    for _ in 0..40 {
        assert!(Client::ask(stage.node.web(), get("/bad", "")).status >= 500);
    }
    let upgrade = stage.node.wait_for_upgrade(1);
    assert_eq!(upgrade["outcome"], "returned", "{upgrade:#}");
    wait_until("the old one serves, the new one finishes", || {
        stage.state_of(1) == "primary" && stage.state_of(2) == "draining"
    });
    wait_until("its connections are known", || stage.open_to(2) >= 3);
    // An idle connection to it is answered once more, like any that a worker leaves behind.
    // On a machine that stands still for five seconds the end comes before the question.
    let asked = idle.try_send(get("/", "")).ok();
    if let Some(Ok(answer)) = asked.map(|()| idle.try_read_response()) {
        assert_eq!(answer.field("connection"), Some("close"));
    }
    slow.iter().for_each(|_| stage.go.give());
    for client in &mut slow {
        let answer = client.read_response();
        assert_eq!((answer.text(), answer.field("connection")), ("done", Some("close")));
    }
    expect_to_drain(&stage.node, 0);
    wait_until("it is gone", || stage.state_of(2) == "gone");
}

#[test]
fn an_end_while_a_worker_is_watched_lets_both_finish() {
    let (mut stage, binaries) = (Stage::start(), Binaries::new());
    let mut at_old = stage.ask_slowly();
    stage.begin(&binaries);
    let mut at_new = stage.ask_slowly();
    let workers = stage.node.workers();
    let workers: Vec<_> =
        workers.as_array().expect("a list").iter().map(|one| pid(&one["pid"])).collect();
    assert_eq!(workers.len(), 2);
    let web = stage.node.web();
    stage.node.signal(Signal::Terminate);
    wait_until("nobody is let in any more", || TcpStream::connect(web).is_err());
    stage.go.give();
    stage.go.give();
    for client in [&mut at_new, &mut at_old] {
        assert_eq!(client.read_response().text(), "done");
    }
    assert_eq!(stage.node.wait_for_exit().code(), Some(0));
    for worker in workers {
        assert!(evergate_sys::process::usage(worker).is_err(), "{worker} outlived its keeper");
    }
}
