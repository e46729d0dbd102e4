//! A network of this test's own: boxes on a switch, each a network namespace.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use evergate_sys::privilege;

/// What the names of these namespaces begin with.
const PREFIX: &str = "egk";

/// Boxes on a switch. All of it goes with this.
pub(crate) struct Lan {
    /// What names begin with that no other has.
    prefix: String,
    boxes: Vec<&'static str>,
}

impl Lan {
    /// A switch, and these boxes on it, with addresses from 10.9.0.11 and fe80::11 on. Nothing
    /// where that cannot be had; then it says why.
    pub(crate) fn new(boxes: &[&'static str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !privilege::is_root() {
            println!("skipped: only root can make network namespaces");
            return None;
        }
        if Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_err() {
            println!("skipped: there is no program ip (iproute2)");
            return None;
        }
        remove_leftovers();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}x{count}", std::process::id());
        let lan = Self { prefix, boxes: boxes.to_vec() };
        lan.make();
        Some(lan)
    }

    fn make(&self) {
        let switch = self.namespace("sw");
        run("ip", &["netns", "add", &switch]);
        let on_switch = |args: &[&str]| run("ip", &[&["-n", &switch], args].concat());
        on_switch(&["link", "add", "br0", "type", "bridge"]);
        on_switch(&["link", "set", "br0", "up"]);
        for (index, name) in self.boxes.iter().enumerate() {
            let namespace = self.namespace(name);
            run("ip", &["netns", "add", &namespace]);
            let last = 11 + index;
            let port = port(name);
            on_switch(&["link", "add", &port, "type", "veth", "peer", "eth0", "netns", &namespace]);
            on_switch(&["link", "set", &port, "master", "br0", "up"]);
            let on_box = |args: &[&str]| drop(self.ip(name, args));
            on_box(&["link", "set", "lo", "up"]);
            // The address is as it is wanted from the beginning.
            on_box(&["link", "set", "eth0", "addrgenmode", "none"]);
            on_box(&["address", "add", &format!("10.9.0.{last}/24"), "dev", "eth0"]);
            on_box(&["link", "set", "eth0", "up"]);
            on_box(&["address", "add", &format!("fe80::{last}/64"), "dev", "eth0", "nodad"]);
        }
    }

    /// The namespace of a box.
    pub(crate) fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Has ip(8) do something on a box; returns what it says.
    pub(crate) fn ip(&self, name: &str, args: &[&str]) -> String {
        run("ip", &[&["-n", &self.namespace(name)], args].concat())
    }

    /// The words to put before a command so that it runs on a box.
    pub(crate) fn enter(&self, name: &str) -> Vec<String> {
        let path = format!("--net=/run/netns/{}", self.namespace(name));
        vec!["nsenter".to_owned(), path, "--".to_owned()]
    }

    /// Has the shell do something on a box; returns what it says.
    pub(crate) fn run(&self, name: &str, script: &str) -> String {
        let words = self.enter(name);
        let words: Vec<&str> =
            words.iter().map(String::as_str).chain(["sh", "-c", script]).collect();
        run(words[0], &words[1..])
    }

    /// Pulls the cable of a box, or puts it in again.
    pub(crate) fn plug(&self, name: &str, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        run("ip", &["-n", &self.namespace("sw"), "link", "set", &port(name), state]);
    }

    /// Whether a box has an address now.
    pub(crate) fn has(&self, name: &str, address: &str) -> bool {
        let all = self.ip(name, &["-o", "address", "show"]);
        all.split_whitespace().any(|word| word.split('/').next() == Some(address))
    }

    /// Removes an address from a box, once: `flush` would go on until it is gone for good.
    pub(crate) fn remove(&self, name: &str, address: &str) {
        let all = self.ip(name, &["-o", "address", "show"]);
        let is_it = |word: &&str| word.split('/').next() == Some(address);
        let found = all.split_whitespace().find(is_it).expect("the address is there");
        self.ip(name, &["address", "delete", found, "dev", "eth0"]);
    }

    /// The link-layer address of a box.
    pub(crate) fn mac(&self, name: &str) -> String {
        let line = self.ip(name, &["-o", "link", "show", "eth0"]);
        let mut words = line.split_whitespace().skip_while(|&word| word != "link/ether");
        words.nth(1).expect("an Ethernet interface").to_owned()
    }

    /// The link-layer address that a box has for an address, once it was asked for.
    pub(crate) fn neighbour(&self, name: &str, address: &str) -> Option<String> {
        let line = self.ip(name, &["neighbour", "show", address]);
        let mut words = line.split_whitespace().skip_while(|&word| word != "lladdr");
        words.nth(1).map(str::to_owned)
    }

    /// Has a box say that it has an address.
    pub(crate) fn announce(&self, name: &str, address: &str) {
        let words = self.enter(name);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["arping", "-q", "-U", "-c1", "-I", "eth0", address]);
        let _ = command.status();
    }

    /// Whether an address answers an echo request of a box.
    pub(crate) fn ping(&self, name: &str, address: &str) -> bool {
        let words = self.enter(name);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["ping", "-c1", "-W1", address]);
        command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in self.boxes.iter().chain(&["sw"]) {
            let _ = Command::new("ip").args(["netns", "delete", &self.namespace(name)]).status();
        }
    }
}

/// Where the cable of a box is plugged in.
fn port(name: &str) -> String {
    format!("to-{name}")
}

/// Removes what tests that were killed have left.
fn remove_leftovers() {
    let names = fs::read_dir("/run/netns").into_iter().flatten();
    for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let of = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('x'));
        if of.is_some_and(|(pid, _)| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = Command::new("ip").args(["netns", "delete", &name]).status();
        }
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
