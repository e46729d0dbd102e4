//! Much of everything: connections, routes, slow clients, log lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use evergate_e2e::{Client, Node, Origin, Outputs, Setup, free_address, skip, wait_until};
use evergate_sys::signal::Signal;
use evergate_sys::{process, rlimit};

use crate::load::Traffic;
use crate::processes::{Backend, HELLO, kill_worker, pid};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// Memory that is the product's own; how much of its code is resident beside it is the page cache's
/// choice. The bench has the figures of a release build.
const OWN_BYTES_MAX: u64 = 24 * 1024 * 1024;

fn own_bytes(node: &Node) -> (u64, u64) {
    let worker = pid(&node.status()["worker_pid"]);
    let of = |pid| process::own_bytes(pid).unwrap();
    (of(node.pid()), of(worker))
}

fn worker_fds(node: &Node) -> u32 {
    process::usage(pid(&node.status()["worker_pid"])).unwrap().fds.unwrap_or_default()
}

#[test]
fn a_thousand_connections_are_served_and_leave_nothing_behind() {
    rlimit::raise_files().unwrap();
    let backend = Backend::start(free_address());
    // However long it takes until all of them are there.
    let patient = "limits = { header_timeout = \"10m\", idle_timeout = \"10m\",";
    let config = HELLO
        .replace("respond = { body = \"hello\" }", "pool = \"api\"\ntimeout = \"10m\"")
        .replace("limits = {", patient)
        + &format!(
            "[pool.api]\nservers = {{ a = {{ url = \"http://{}\" }} }}\nconnect_timeout = \"60s\"\n",
            backend.address
        );
    let node = Setup::new().threads(2).start(&config);
    Client::ask(node.web(), GET);
    let (fds, before) = (worker_fds(&node), own_bytes(&node));
    let mut clients: Vec<_> = (0..1000).map(|_| Client::connect(node.web())).collect();
    for client in &mut clients {
        client.send(GET);
    }
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    let status = node.status();
    assert_eq!(status["listeners"][0]["connections"], 1000);
    let busy = own_bytes(&node);
    drop(clients);
    node.wait_for("they are gone", |status| status["listeners"][0]["connections"] == 0);
    for round in 0..20 {
        assert_eq!(node.reload(&config.replace("[pool", &format!("# {round}\n[pool"))).0, 200);
    }
    // Idle connections to the server may stay: as many as it may keep for each thread.
    let kept = 2 * 64;
    wait_until("descriptors are given back", || worker_fds(&node) <= fds + kept);
    let after = own_bytes(&node);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    for (when, (keeper, worker)) in
        [("at first", before), ("with 1000 idle connections", busy), ("after 20 reloads", after)]
    {
        eprintln!("{when}: keeper {:.1} MB, worker {:.1} MB", megabytes(keeper), megabytes(worker));
        assert!(keeper + worker <= OWN_BYTES_MAX, "{when}");
    }
    let fds_after = worker_fds(&node);
    eprintln!("descriptors of the worker: {fds} at first, {fds_after} at the end");
}

#[test]
fn descriptors_are_not_lost_in_reloads_and_new_connections() {
    let node = Node::start(HELLO);
    let extra = "[listener.extra]\nbind = [\"127.0.0.1:0\"]\n";
    let fds = |pid| process::usage(pid).unwrap().fds.unwrap();
    let settled = || (fds(node.pid()), worker_fds(&node));
    Client::ask(node.web(), GET);
    // From the first look at the counters on the keeper keeps them; the reloads see to it that it
    // has heard of that.
    node.metrics();
    for config in [format!("{HELLO}{extra}"), HELLO.to_owned()] {
        assert_eq!(node.reload(&config).0, 200);
    }
    let before = settled();
    for round in 0..20 {
        let config = if round % 2 == 0 { format!("{HELLO}{extra}") } else { HELLO.to_owned() };
        assert_eq!(node.reload(&config).0, 200);
        for _ in 0..50 {
            assert_eq!(Client::ask(node.web(), GET).status, 200);
        }
    }
    wait_until("descriptors are given back", || settled() <= before);
}

#[test]
fn nobody_waits_for_whoever_reads_the_logs() {
    let config = HELLO.replace("access = \"off\"", "access = \"json\"");
    for outputs in [Outputs::Unread, Outputs::Closed, Outputs::Full] {
        let mut node = Setup::new().outputs(outputs).start(&config);
        let traffic = Traffic::start(node.web(), "/a-path-that-makes-the-line-longer", 2000);
        // Each refused reload prints a page.
        for _ in 0..100 {
            assert_ne!(node.reload(&config.repeat(2)).0, 200);
        }
        assert_eq!(node.reload(&config.replace("hello\"", "again\"")).0, 200);
        kill_worker(&node);
        if outputs == Outputs::Unread {
            wait_until("lines are dropped", || {
                node.metrics().get("evergate_log_dropped_total").is_some_and(|&count| count > 0.0)
            });
        }
        assert_eq!(Client::ask(node.web(), GET).text(), "again");
        let report = traffic.finish();
        eprintln!("{outputs:?}: {report}");
        assert!(report.completed() > 0);
        node.signal(Signal::Terminate);
        assert_eq!(node.wait_for_exit().code(), Some(0));
    }
}

#[test]
fn slow_clients_do_not_hurt_others() {
    let node = Node::start(&HELLO.replace("limits = {", "limits = { header_timeout = \"10m\","));
    let mut slow: Vec<_> = (0..200).map(|_| Client::connect(node.web())).collect();
    let traffic = Traffic::start(node.web(), "/", 400);
    for byte in GET.as_bytes() {
        for client in &mut slow {
            client.send([*byte]);
        }
        traffic.wait_for(10);
    }
    let report = traffic.finish();
    eprintln!("beside 200 slow clients: {report}");
    report.expect_no_failure();
    for client in &mut slow {
        assert_eq!(client.read_response().status, 200, "slow, but not too slow");
    }
}

#[test]
fn a_large_configuration_is_loaded_and_served() {
    let mut config = HELLO.replace("match = \"/*\"", "match = \"/\"");
    for number in 0..1000 {
        let url = format!("http://127.0.{}.{}:9", number / 250 + 1, number % 250 + 1);
        writeln!(config, "[pool.p{number}]\nservers = {{ a = {{ url = \"{url}\" }} }}").unwrap();
    }
    for number in 0..10_000 {
        let pool = number % 1000;
        writeln!(config, "[route.r{number}]\nmatch = \"/r{number}/*\"\npool = \"p{pool}\"")
            .unwrap();
    }
    let started = std::time::Instant::now();
    let node = Node::start(&config);
    let took = started.elapsed();
    assert_eq!(Client::ask(node.web(), GET).text(), "hello");
    let started = std::time::Instant::now();
    assert_eq!(node.reload(&config.replace("hello\"", "again\"")).0, 200);
    let reload = started.elapsed();
    assert_eq!(Client::ask(node.web(), GET).text(), "again");
    let started = std::time::Instant::now();
    let metrics = node.metrics();
    let scrape = started.elapsed();
    assert!(metrics.len() > 10_000);
    eprintln!("10,000 routes, 1,000 servers: start {took:?}, reload {reload:?}, scrape {scrape:?}");
}

#[test]
fn counts_add_up_and_promtool_reads_them() {
    let origin = Origin::saying("hello");
    let config = format!(
        "{HELLO}[route.api]\nmatch = \"/api\"\npool = \"api\"\n\
         [pool.api]\nservers = {{ a = {{ url = \"{}\" }} }}\n",
        origin.url()
    );
    let node = Setup::new().threads(2).start(&config);
    let addresses = [("/", 300), ("/api", 200)];
    let web = node.web();
    thread::scope(|scope| {
        for (path, count) in addresses {
            for _ in 0..2 {
                scope.spawn(move || {
                    let mut client = Client::connect(web);
                    for _ in 0..count {
                        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
                        assert_eq!(client.read_response().status, 200);
                    }
                });
            }
        }
    });
    // A reload keeps the counts.
    assert_eq!(node.reload(&config.replace("hello\"", "again\"")).0, 200);
    Client::ask(node.web(), "nonsense\r\n\r\n");
    let sum = |route: &str| -> f64 {
        let metrics = node.metrics();
        let of_route = format!("route=\"{route}\"");
        let counted = metrics.iter().filter(|(name, _)| {
            name.starts_with("evergate_requests_total{") && name.contains(&of_route)
        });
        counted.map(|(_, count)| count).sum()
    };
    wait_until("all are counted", || {
        let sums = (sum("hello"), sum("api"), sum("-"));
        assert!(sums.0 <= 600.0 && sums.1 <= 400.0 && sums.2 <= 1.0, "{sums:?}");
        sums == (600.0, 400.0, 1.0)
    });
    assert_eq!(origin.requests().len(), 400);

    let (code, text) = node.admin("GET", "/metrics", None);
    assert_eq!(code, 200);
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut checking) = promtool.stdout(Stdio::piped()).spawn() else {
        return skip("promtool is not installed");
    };
    checking.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = checking.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}
