//! Processes that die under traffic: the worker, the servers behind it, the keeper.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evergate_e2e::{Client, Node, Origin, Setup, Signal as Hint, binary, free_address, wait_until};
use evergate_sys::process;
use evergate_sys::signal::{self, Signal};

use crate::load::{CONNECTIONS, Failure, Traffic};

/// A node that answers by itself.
pub(crate) const HELLO: &str = r#"
[log]
access = "off"

[listener.web]
bind = ["127.0.0.1:0"]
limits = { connections_per_ip = 5000, requests = 100000 }

[route.hello]
match = "/*"
respond = { body = "hello" }
"#;

/// Kills of one worker after the other; more in a row would meet the pause between restarts.
const KILLS_IN_A_ROW: u64 = 5;

#[test]
fn a_killed_worker_refuses_nobody() {
    let (mut kills, mut failures, mut completed) = (0, 0, 0);
    for _ in 0..4 {
        let node = Setup::new().threads(2).start(HELLO);
        let traffic = Traffic::start(node.web(), "/", 2000);
        traffic.wait_for(500);
        for _ in 0..KILLS_IN_A_ROW {
            kill_worker(&node);
            traffic.wait_for(200);
        }
        let report = traffic.finish();
        eprintln!("{KILLS_IN_A_ROW} kills: {report}");
        let cut = report.failed(Failure::Cut) + report.failed(Failure::Stale);
        assert_eq!(report.failures(), cut, "nobody may be refused or kept waiting: {report}");
        assert!(cut <= KILLS_IN_A_ROW * u64::from(2 * CONNECTIONS), "{report}");
        kills += KILLS_IN_A_ROW;
        failures += cut;
        completed += report.completed();
    }
    eprintln!("{kills} kills of the worker: {failures} of {completed} requests failed");
}

/// Kills the worker and waits for the next.
pub(crate) fn kill_worker(node: &Node) {
    let before = node.status();
    signal::send(pid(&before["worker_pid"]), Signal::Kill).unwrap();
    let generation = before["worker_generation"].as_u64().unwrap();
    // The connection to the admin API may be one that the dying worker still takes.
    wait_until("there is another worker", || {
        let status = std::panic::catch_unwind(|| node.status());
        status.is_ok_and(|status| status["worker_generation"].as_u64() > Some(generation))
    });
}

pub(crate) fn pid(value: &serde_json::Value) -> u32 {
    u32::try_from(value.as_u64().expect("a process id")).unwrap()
}

/// The binary's own demonstration app, as a real process on a port of its own.
pub(crate) struct Backend {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Backend {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let mut command = Command::new(binary::path());
        command.arg("demo-app").env("PORT", address.port().to_string()).stdin(Stdio::null());
        let backend = Self { process: command.spawn().unwrap(), address };
        wait_until("the app accepts connections", || TcpStream::connect(address).is_ok());
        backend
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_killed_backend_costs_no_request() {
    let mut backends: Vec<_> = (0..3).map(|_| Backend::start(free_address())).collect();
    let servers: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(number, backend)| format!("s{number} = {{ url = \"http://{}\" }}", backend.address))
        .collect();
    let config = format!(
        r#"
[log]
access = "off"
[listener.web]
bind = ["127.0.0.1:0"]
[route.all]
match = "/*"
pool = "api"
[pool.api]
servers = {{ {} }}
check.http = {{ path = "/health", every = "2s", timeout = "2s", fall = 10 }}
"#,
        servers.join(", ")
    );
    let node = Node::start(&config);
    let traffic = Traffic::start(node.web(), "/health", 400);
    traffic.wait_for(200);
    for round in 0..9 {
        let backend = &mut backends[round % 3];
        let address = backend.address;
        backend.kill();
        traffic.wait_for(100);
        *backend = Backend::start(address);
        let name = format!("s{}", round % 3);
        node.wait_for_state("api", &name, "up");
        traffic.wait_for(100);
    }
    let report = traffic.finish();
    eprintln!("9 kills of a backend: {report}");
    report.expect_no_failure();
}

#[test]
fn a_node_without_its_keeper_goes_on_serving_and_says_so() {
    let mut node = Node::start(HELLO);
    let worker = pid(&node.status()["worker_pid"]);
    let traffic = Traffic::start(node.web(), "/", 200);
    traffic.wait_for(100);
    node.signal(Signal::Kill);
    node.wait_for_exit();
    let status = node.wait_for("the worker notices", |status| status["health"] == "degraded");
    assert!(status["reasons"].to_string().contains("keeper"), "{status}");
    traffic.wait_for(100);
    // What needs no keeper can still be changed.
    let (code, answer) = node.reload(&HELLO.replace("hello\"", "changed\""));
    assert_eq!(code, 200, "{answer}");
    let answer = Client::ask(node.web(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.text(), "changed");
    traffic.finish().expect_no_failure();
    signal::send(worker, Signal::Kill).unwrap();
    wait_until("the worker is gone", || process::usage(worker).is_err());
}

/// A node with a server that answers when the signal is given, and an app beside it.
fn node_with_a_slow_server() -> (Node, Origin, Hint) {
    let go = Hint::new();
    let wait = go.clone();
    let origin = Origin::scripted(move |served| {
        while served.read_request().is_some() {
            wait.wait();
            served.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    });
    let config = format!(
        r#"
[listener.web]
bind = ["127.0.0.1:0"]
[route.slow]
match = "/slow"
pool = "slow"
[pool.slow]
servers = {{ a = {{ url = "{}" }} }}
[route.app]
match = "/app"
pool = "app"
[pool.app]
servers = {{ app = {{ app = "app" }} }}
[app.app]
run = [{:?}, "demo-app"]
"#,
        origin.url(),
        binary::path()
    );
    let node = Node::start(&config);
    node.wait_for_state("app", "app/0", "up");
    (node, origin, go)
}

#[test]
fn a_node_that_is_told_to_end_finishes_what_it_began() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let (mut node, origin, go) = node_with_a_slow_server();
        let web = node.web();
        let app = pid(&node.status()["apps"][0]["pid"]);
        let mut busy = Client::connect(web);
        busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut idle = Client::connect(web);
        idle.send("GET /app?1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(idle.read_response().status, 404, "the app answers");
        origin.next_request();
        node.signal(signal);
        node.stderr.wait_for(1, "\"stopping\"");
        wait_until("new clients are refused", || TcpStream::connect(web).is_err());
        // Half a second is left for one more request, which a slow machine may miss.
        let sent = idle.try_send("GET /app?2 HTTP/1.1\r\nHost: a\r\n\r\n");
        let last = sent.ok().and_then(|()| idle.try_read_response().ok());
        if let Some(last) = &last {
            assert_eq!((last.status, last.field("connection")), (404, Some("close")));
        }
        go.give();
        let answer = busy.read_response();
        assert_eq!((answer.status, answer.text()), (200, "done"));
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(node.wait_for_exit().code(), Some(0));
        assert!(process::usage(app).is_err(), "the app outlived its keeper");
        node.stdout.wait_for(usize::from(last.is_some()), "/app?2");
        node.stdout.wait_for(1, "/slow");
    }
}

#[test]
fn a_second_signal_ends_a_node_at_once() {
    // Without it the node would wait for half a minute.
    const HALF_A_MINUTE: Duration = Duration::from_secs(30);
    for (first, second) in
        [(Signal::Terminate, Signal::Terminate), (Signal::Interrupt, Signal::Interrupt)]
    {
        let (mut node, origin, _go) = node_with_a_slow_server();
        let app = pid(&node.status()["apps"][0]["pid"]);
        let mut busy = Client::connect(node.web());
        busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        origin.next_request();
        node.signal(first);
        node.stderr.wait_for(1, "\"stopping\"");
        let begun = Instant::now();
        node.signal(second);
        assert_eq!(node.wait_for_exit().code(), Some(0));
        assert!(begun.elapsed() < HALF_A_MINUTE, "{:?}", begun.elapsed());
        assert!(process::usage(app).is_err(), "the app outlived its keeper");
    }
}

#[test]
fn a_killed_instance_is_replaced_and_the_pool_follows() {
    let config = format!(
        r#"
[log]
access = "off"
[listener.web]
bind = ["127.0.0.1:0"]
[route.all]
match = "/*"
pool = "shop"
[pool.shop]
servers = {{ shop = {{ app = "shop" }} }}
[app.shop]
run = [{:?}, "demo-app"]
instances = 3
"#,
        binary::path()
    );
    let node = Node::start(&config);
    let names = ["shop/0", "shop/1", "shop/2"];
    for name in names {
        node.wait_for_state("shop", name, "up");
    }
    let traffic = Traffic::start(node.web(), "/health", 300);
    traffic.wait_for(100);
    // Each only once: after the first, restarts come later and later.
    for (number, name) in names.into_iter().enumerate() {
        let before = node.server("shop", name)["address"].clone();
        let killed = pid(&node.status()["apps"][number]["pid"]);
        signal::send(killed, Signal::Kill).unwrap();
        node.wait_for("it is replaced", |status| {
            status["apps"][number]["generation"] == 2 && status["apps"][number]["state"] == "ready"
        });
        node.wait_for_state("shop", name, "up");
        assert_ne!(node.server("shop", name)["address"], before, "a port of its own");
        traffic.wait_for(50);
    }
    let report = traffic.finish();
    eprintln!("3 kills of an instance: {report}");
    report.expect_no_failure();
    let status = node.status();
    assert_eq!(status["apps"][0]["exits"], 1);
    assert!(status["apps"][0]["last_exit"].to_string().contains("signal 9"), "{status}");
}

#[test]
fn an_app_that_keeps_crashing_backs_off_while_another_serves() {
    let config = format!(
        r#"
[log]
access = "off"
[listener.web]
bind = ["127.0.0.1:0"]
[route.all]
match = "/*"
pool = "all"
[pool.all]
servers = {{ good = {{ app = "good" }}, bad = {{ app = "bad" }} }}
[app.good]
run = [{:?}, "demo-app"]
[app.bad]
run = ["/bin/false"]
"#,
        binary::path()
    );
    let node = Node::start(&config);
    node.wait_for_state("all", "good/0", "up");
    let traffic = Traffic::start(node.web(), "/health", 200);
    let status = node.wait_for("it backs off", |status| {
        status["apps"][0]["state"] == "backoff" && status["apps"][0]["exits"].as_u64() >= Some(3)
    });
    traffic.wait_for(200);
    traffic.finish().expect_no_failure();
    assert_eq!(status["apps"][0]["app"], "bad");
    assert!(status["apps"][0]["last_exit"].to_string().contains("exit status 1"), "{status}");
    node.stderr.wait_for(1, "app_exited");
}
