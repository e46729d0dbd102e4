//! What apps print: kept, bounded, shown, and never a reason to wait.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evergate_e2e::upgrade::{Order, is_late};
use evergate_e2e::{Binaries, Client, Node, Outputs, PATIENCE, Setup, binary, skip, wait_until};
use evergate_sys::privilege;
use evergate_sys::signal::Signal;
use serde_json::Value;

use crate::apps::stage::count;
use crate::processes::kill_worker;
use crate::scene::get;

/// Workers killed while an app prints.
const KILLS: usize = 5;
/// How long a flood is watched.
const FLOOD: Duration = Duration::from_secs(3);
/// Only for good would an app wait longer to be rid of what it prints, however slow the machine.
const PRINT_MAX_MS: u64 = 20_000;

/// A node with an app that is run with `words`, and more keys of that app.
fn config(words: &str, keys: &str) -> String {
    let run: Vec<&str> =
        std::iter::once(env!("CARGO_BIN_EXE_e2e-app")).chain(words.split_whitespace()).collect();
    format!(
        "[log]\naccess = \"off\"\n\n[listener.web]\nbind = [\"127.0.0.1:0\"]\n\n\
         [route.all]\nmatch = \"/*\"\npool = \"shop\"\n\n\
         [pool.shop]\nservers = {{ shop = {{ app = \"shop\" }} }}\n\n\
         [app.shop]\nrun = {run:?}\n{keys}\n"
    )
}

/// The node, once its app serves.
fn start(setup: Setup, words: &str, keys: &str) -> Node {
    let node = setup.start(&config(words, keys));
    node.wait_for_state("shop", "shop/0", "up");
    node
}

/// What the app says of itself.
fn portrait(node: &Node) -> Value {
    let response = Client::ask(node.web(), "GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(response.status, 200);
    serde_json::from_slice(&response.body).unwrap()
}

/// The output files of the app, oldest first.
fn files(node: &Node) -> Vec<PathBuf> {
    let path = |number: u32| match number {
        0 => node.path("state/log/shop.log"),
        number => node.path(&format!("state/log/shop.log.{number}")),
    };
    (0..10).rev().map(path).filter(|path| path.exists()).collect()
}

/// How often each number was printed, by what the files say.
fn numbers(node: &Node) -> BTreeMap<u64, u32> {
    let mut numbers = BTreeMap::new();
    for path in files(node) {
        for line in fs::read_to_string(path).unwrap().lines() {
            if let Some((_, number)) = line.rsplit_once("line ") {
                *numbers.entry(number.parse().unwrap()).or_default() += 1;
            }
        }
    }
    numbers
}

/// `evergate logs` with these words.
fn logs(node: &Node, words: &str) -> Command {
    let mut command = Command::new(binary::path());
    command.arg("logs").args(words.split_whitespace());
    command.arg("--socket").arg(node.path("run/admin.sock")).stdin(Stdio::null());
    command
}

fn events(node: &Node, kind: &str) -> Vec<String> {
    let (_, answer) = node.api("GET", "/api/v1/events", None);
    let events = answer["events"].as_array().unwrap().iter();
    let reasons = events.filter(|event| event["kind"] == kind).map(|event| &event["reason"]);
    reasons.map(|reason| reason.as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_apps_print_is_kept_and_shown_with_whose_it_is() {
    let node = start(Setup::new(), "print=3", "instances = 2");
    let shown =
        |words: &str| String::from_utf8(logs(&node, words).output().unwrap().stdout).unwrap();
    wait_until("both have printed", || shown("").lines().count() == 6);
    assert_eq!(shown("shop/1"), "shop/1.1 | line 0\nshop/1.1 | line 1\nshop/1.1 | line 2\n");
    assert_eq!(shown("shop/0 -n 1"), "shop/0.1 | line 2\n");
    let json: Value = serde_json::from_str(&shown("shop/0 -n 1 --json")).unwrap();
    assert_eq!((&json["instance"], &json["text"]), (&0.into(), &"line 2".into()));
    let read = || fs::read_to_string(node.path("state/log/shop.log")).unwrap_or_default();
    wait_until("all of it is in the file", || read().lines().count() == 6);
    let text = read();
    let lines = |head: &str| text.lines().filter(|line| line[24..].starts_with(head)).count();
    assert_eq!((lines("Z shop/0.1 line "), lines("Z shop/1.1 line ")), (0, 0), "{text}");
    assert_eq!((lines(" shop/0.1 line "), lines(" shop/1.1 line ")), (3, 3), "{text}");
    let status = node.wait_for("it is counted", |status| status["apps"][0]["output"]["lines"] == 3);
    assert_eq!(status["apps"][0]["output"]["bytes"], 21);
    let output = logs(&node, "shp").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no app `shp`"));
}

#[test]
fn a_flood_stays_under_its_cap_and_its_app_never_waits() {
    let keys = "output = { max = \"1MiB\", keep = 3 }";
    let node = start(Setup::new(), "flood", keys);
    let until = Instant::now() + FLOOD;
    while Instant::now() < until {
        // A file may be renamed or removed between two looks.
        let sizes = files(&node).into_iter().map(|path| fs::metadata(path).map_or(0, |m| m.len()));
        let total: u64 = sizes.sum();
        assert!(total <= 1024 * 1024, "{total}");
        portrait(&node);
    }
    let printed = portrait(&node);
    let rate = printed["printed_bytes"].as_u64().unwrap() / FLOOD.as_secs() / 1_000_000;
    let longest = printed["longest_print_ms"].as_u64().unwrap();
    eprintln!("flood of about {rate} MB/s: the app waited at most {longest} ms");
    assert!(longest < PRINT_MAX_MS, "{longest} ms");
    // Between two names of a file that is put aside there is one less.
    wait_until("four files are there", || files(&node).len() == 4);
}

/// A reader of `evergate logs -f`.
struct Follower {
    running: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Follower {
    fn start(mut command: Command) -> Self {
        let mut running = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(running.stdout.take().unwrap());
        Self { running, lines }
    }

    /// The number in the next line.
    fn next(&mut self) -> u64 {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let number = line.trim().rsplit_once("line ").map(|(_, number)| number.parse().unwrap());
        number.unwrap_or_else(|| panic!("{line:?}"))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

#[test]
fn no_line_is_lost_when_workers_are_killed() {
    let node = start(Setup::new(), "tick=1", "");
    let mut follower = Follower::start(logs(&node, "shop -f"));
    let mut seen = follower.next();
    for _ in 0..KILLS {
        let upto = seen + 200;
        while seen < upto {
            seen = seen.max(follower.next());
        }
        kill_worker(&node);
    }
    // What was printed between two workers is shown too.
    let mut shown = vec![seen];
    while seen < shown[0] + 500 {
        seen = follower.next();
        shown.push(seen);
    }
    shown.sort_unstable();
    shown.dedup();
    assert!(shown.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{shown:?}");
    wait_until("it is in the file", || numbers(&node).contains_key(&seen));
    let numbers = numbers(&node);
    let last = *numbers.keys().last().unwrap();
    assert_eq!(numbers.len() as u64, last + 1, "each number is there");
    let is_twice = |number: u64| numbers.get(&number).is_some_and(|count| *count > 1);
    let twice: Vec<u64> = numbers.keys().copied().filter(|number| is_twice(*number)).collect();
    let begun = twice.iter().filter(|number| **number == 0 || !is_twice(**number - 1)).count();
    eprintln!(
        "{KILLS} kills while {last} lines were printed: none lost, {} written twice",
        twice.len()
    );
    assert!(begun <= KILLS, "at worst the last lines of each worker: {twice:?}");
}

#[test]
fn every_line_is_written_once_when_workers_are_replaced_or_taken_back() {
    let (node, binaries) = (start(Setup::new(), "tick=1", ""), Binaries::new());
    let printed_more = || {
        let upto = numbers(&node).keys().last().copied().unwrap_or_default() + 200;
        wait_until("more is printed", || numbers(&node).contains_key(&upto));
    };
    for number in 1..=count(3, 21) {
        printed_more();
        if number % 3 != 0 {
            let binary = binaries.good();
            node.upgrade_well(&Order::to(&binary).worker());
            binaries.remove(&binary);
            continue;
        }
        let order = Order::to(&binaries.faulty("errors")).worker().soak(2 * PATIENCE);
        let ended = || {
            let (code, answer) = node.order(&order);
            assert_eq!(code, 200, "{answer:#}");
            wait_until("enough has failed", || {
                let _ = Client::connect(node.web()).try_send(get("/", ""));
                node.last_upgrade()["outcome"] != "under way"
            });
            node.last_upgrade()
        };
        let first = ended();
        let last = if is_late(&first) { ended() } else { first };
        assert_eq!(last["outcome"], "returned", "{last:#}");
    }
    printed_more();
    let numbers = numbers(&node);
    let last = *numbers.keys().last().unwrap();
    assert_eq!(numbers.len() as u64, last + 1, "each number is there");
    let twice: Vec<_> = numbers.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn the_last_words_of_an_app_are_kept_when_all_ends() {
    let script = "trap 'echo good bye; exit' TERM; echo hello; while :; do sleep 0.02; done";
    let config = config("", "").replace(
        &format!("run = [{:?}]", env!("CARGO_BIN_EXE_e2e-app")),
        &format!("run = [\"/bin/sh\", \"-c\", {script:?}]\nready = {{ by = \"none\" }}"),
    );
    let mut node = Setup::new().start(&config);
    let path = node.path("state/log/shop.log");
    wait_until("it has said hello", || fs::read(&path).is_ok_and(|text| !text.is_empty()));
    node.signal(Signal::Terminate);
    assert!(node.wait_for_exit().success());
    let text = fs::read_to_string(path).unwrap();
    let words: Vec<&str> = text.lines().map(|line| &line[25..]).collect();
    assert_eq!(words, ["shop/0.1 hello", "shop/0.1 good bye"]);
}

/// A small disk, there as long as this value.
struct Disk(PathBuf);

impl Disk {
    /// None if we may not.
    fn mount(path: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k,mode=777", "tmpfs"]).arg(path);
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then(|| Self(path.to_owned()))
    }

    /// Leaves no room on it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filling");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, for the node may still have a file open there.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{:?} stays mounted", self.0);
    }
}

#[test]
fn a_full_disk_stops_neither_apps_nor_gateway_and_is_reported() {
    if !privilege::is_root() {
        return skip("only root can mount a small disk");
    }
    let node = start(Setup::new(), "tick=2", "");
    let Some(disk) = Disk::mount(&node.path("state/log")) else {
        return skip("this machine does not let root mount a disk");
    };
    let filling = disk.fill();
    wait_until("it is told", || !events(&node, "output_failed").is_empty());
    let failed = events(&node, "output_failed");
    assert!(failed[0].contains("shop.log: no space left on device; free some space"), "{failed:?}");
    let status = node.status();
    assert_eq!(status["health"], "degraded");
    assert!(status["reasons"].to_string().contains("app.shop: output is not kept"), "{status:#}");
    let before = portrait(&node)["printed_bytes"].as_u64().unwrap();
    wait_until("the app goes on", || {
        portrait(&node)["printed_bytes"].as_u64().unwrap() > before + 5000
    });
    assert!(portrait(&node)["longest_print_ms"].as_u64().unwrap() < PRINT_MAX_MS);
    // What is printed meanwhile can be seen.
    let (_, text) = node.admin("GET", "/api/v1/apps/shop/logs?lines=1", None);
    assert!(text.contains("\"text\":\"line "), "{text}");
    fs::remove_file(filling).unwrap();
    wait_until("it is written again", || !events(&node, "output_resumed").is_empty());
    assert_eq!(events(&node, "output_resumed"), ["written again; nothing was lost"]);
    node.wait_for("it is well again", |status| status["health"] == "healthy");
    let numbers: Vec<u64> = numbers(&node).into_keys().collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    assert_eq!(events(&node, "output_failed").len(), 1, "once is enough");
    drop(node);
    drop(disk);
}

#[test]
fn a_reader_of_standard_output_that_stands_still_blocks_no_app() {
    let setup = Setup::new().outputs(Outputs::Unread);
    let node = start(setup, "flood", "output = { to = \"stdout\" }");
    let began = portrait(&node)["printed_bytes"].as_u64().unwrap();
    wait_until("it printed more than every pipe holds", || {
        portrait(&node)["printed_bytes"].as_u64().unwrap() > began + 8_000_000
    });
    let longest = portrait(&node)["longest_print_ms"].as_u64().unwrap();
    assert!(longest < PRINT_MAX_MS, "{longest} ms");
    node.wait_for("what was dropped is counted", |status| {
        status["apps"][0]["output"]["dropped_bytes"].as_u64() > Some(0)
    });
    assert!(files(&node).is_empty());
}
