//! The watcher, with a page that the test writes and a keeper that does nothing but live.
//!
//! All of it runs in a network of its own: an interface that the addresses are on, and the other end
//! of its cable, where what is said can be heard.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "this is the test harness")]

use std::fs;
use std::net::IpAddr;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use evergate_sys::child::{Spec, spawn};
use evergate_sys::exit::{self, Exit};
use evergate_sys::family::Family;
use evergate_sys::flow::filter::{self, Place, Which};
use evergate_sys::flow::shade::{Manners, Shade};
use evergate_sys::image::Image;
use evergate_sys::netlink::{Hidden, Netlink};
use evergate_sys::shared_page::Page;
use evergate_sys::signal::{self, Signal};
use evergate_sys::vrrp_socket::{GROUP_V4, GROUP_V6, MESSAGE_BYTES_MAX, VrrpSocket};
use evergate_sys::{clock, namespace, privilege, seqpacket};
use minicbor::bytes::ByteVec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);
/// After this long without progress the keeper counts as hung.
const HUNG_AFTER: Duration = Duration::from_millis(400);

const OWN: &str = "10.77.0.11";
const VIRTUAL: &str = "10.77.0.100";
const OWN_V6: &str = "fe80::11";
const VIRTUAL_V6: &str = "2001:db8::100";

/// What is said: priority 0 of virtual router 51; the watcher does not look at the rest.
const LAST_WORDS: &[u8] = &[0x31, 51, 0, 1, 0, 3, 0xd0, 0x96, 10, 77, 0, 100];
const LAST_WORDS_V6: &[u8] = &[0x31, 51, 0, 1, 0, 3, 0, 0, 0xfe, 0x80];

type Test = (&'static str, fn(&Lab));

const TESTS: &[Test] = &[
    ("a_keeper_that_dies_is_spoken_for_and_its_addresses_are_removed", a_keeper_that_dies),
    ("a_keeper_that_hangs_loses_its_addresses_and_nothing_is_said", a_keeper_that_hangs),
    ("what_a_planned_move_has_set_is_undone_for_a_keeper_that_dies", a_move_that_nobody_ends),
    ("a_watcher_with_nothing_to_do_leaves_quietly", nothing_to_do),
    ("a_watcher_hears_no_signal_and_has_no_rights_but_those_over_the_network", few_rights),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("watcher") => match evergate_keeper::watch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        _ => run_tests(&arguments),
    }
}

fn run_tests(arguments: &[String]) -> ExitCode {
    let lab = match Lab::new() {
        Ok(lab) => lab,
        Err(why) => {
            println!("skipped: {why}");
            return ExitCode::SUCCESS;
        }
    };
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = 0;
    for (name, test) in TESTS {
        if filter.is_some_and(|part| !name.contains(part.as_str())) {
            continue;
        }
        lab.reset();
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&lab))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The network of this process.
struct Lab {
    near: u32,
    ears: [VrrpSocket; 2],
    netlink: Netlink,
}

impl Lab {
    fn new() -> Result<Self, String> {
        let tool = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
        if !tool.is_ok_and(|status| status.success()) {
            return Err("there is no program ip (iproute2)".to_owned());
        }
        namespace::enter_new_network()
            .map_err(|error| format!("no network of its own can be had: {error}"))?;
        ip("link add near type veth peer name far");
        for end in ["near", "far"] {
            ip(&format!("link set {end} addrgenmode none"));
        }
        // Both ends are in one network: what comes from oneself is to be heard all the same.
        for (key, value) in [("accept_local", "1"), ("rp_filter", "0")] {
            fs::write(format!("/proc/sys/net/ipv4/conf/far/{key}"), value).unwrap();
            fs::write(format!("/proc/sys/net/ipv4/conf/all/{key}"), value).unwrap();
        }
        ip("link set lo up");
        ip("link set near up");
        ip("link set far up");
        ip(&format!("address add {OWN}/24 dev near"));
        ip(&format!("address add {OWN_V6}/64 dev near nodad"));
        ip("address add 10.77.0.1/24 dev far");
        ip("address add fe80::1/64 dev far nodad");
        let netlink = Netlink::open().unwrap();
        let links = netlink.links().unwrap();
        let index = |name| links.iter().find(|link| link.name == name).unwrap().index;
        let ears = [Family::V4, Family::V6].map(|family| {
            let socket = VrrpSocket::open(index("far"), family).unwrap();
            socket.listen_to(&[51]).unwrap();
            socket
        });
        Ok(Self { near: index("near"), ears, netlink })
    }

    /// The virtual addresses are there, and nothing was said.
    fn reset(&self) {
        for address in [format!("{VIRTUAL}/32"), format!("{VIRTUAL_V6}/128")] {
            ip(&format!("address replace {address} dev near nodad"));
        }
        while self.heard(Duration::ZERO).is_some() {}
    }

    /// How many of the two virtual addresses are there.
    fn held(&self) -> usize {
        let there: Vec<IpAddr> =
            self.netlink.addresses().unwrap().into_iter().map(|one| one.ip).collect();
        let is_held = |address: &&&str| there.contains(&address.parse().unwrap());
        [VIRTUAL, VIRTUAL_V6].iter().filter(is_held).count()
    }

    fn await_none(&self) {
        let until = clock::now() + PATIENCE;
        while self.held() > 0 {
            assert!(clock::now() < until, "the addresses are still there");
        }
    }

    /// What the far end hears next.
    fn heard(&self, within: Duration) -> Option<(IpAddr, Vec<u8>)> {
        let mut waiting = self.ears.each_ref().map(|ear| PollFd::new(ear, PollFlags::IN));
        poll(&mut waiting, Some(&within.try_into().unwrap())).unwrap();
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        self.ears.iter().find_map(|ear| {
            let heard = ear.receive(&mut buffer).unwrap()?;
            Some((heard.source, heard.message.to_vec()))
        })
    }

    /// A will as the keeper writes it.
    fn will(&self) -> Vec<u8> {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let words = |source, to, message: &[u8]| {
            (self.near, parse(source), vec![to], ByteVec::from(message.to_vec()))
        };
        let words = vec![
            words(OWN, IpAddr::V4(GROUP_V4), LAST_WORDS),
            words(OWN_V6, IpAddr::V6(GROUP_V6), LAST_WORDS_V6),
        ];
        let addresses =
            vec![(self.near, parse(VIRTUAL), 32u8), (self.near, parse(VIRTUAL_V6), 128)];
        minicbor::to_vec((1u32, (Some(HUNG_AFTER), words, addresses))).unwrap()
    }
}

/// A watcher, and a process in the place of its keeper.
struct Play {
    page: Page,
    /// Brings what the watcher is to keep.
    link: OwnedFd,
    keeper: Child,
    watcher: u32,
}

impl Play {
    fn begin(record: &[u8]) -> Self {
        let mut page = Page::new("test").unwrap();
        page.write(record).unwrap();
        let keeper = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&keeper);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let (link, far) = seqpacket::pair().unwrap();
        let image = Image::own().unwrap();
        let watcher = spawn(&Spec {
            program: "evergate".into(),
            image: Some(image.as_fd()),
            args: vec!["watcher".into()],
            fds: vec![(page.as_fd(), 3), (pidfd.as_fd(), 4), (far.as_fd(), 5)],
            no_new_privileges: true,
            ..Spec::default()
        });
        let play = Self { page, link, keeper, watcher: watcher.unwrap() };
        // Ready once it is deaf to signals and has given its rights up.
        play.await_true("it is not ready", || play.status("CapBnd:") == "0000000000000000");
        play
    }

    /// Shows progress until `is_done`.
    fn await_true(&self, what: &str, is_done: impl Fn() -> bool) {
        let until = clock::now() + PATIENCE;
        while !is_done() {
            assert!(clock::now() < until, "{what}");
            self.page.beat();
            std::thread::yield_now();
        }
    }

    fn status(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.watcher)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().to_owned()
    }

    fn kill_keeper(&mut self) {
        self.keeper.kill().unwrap();
    }

    /// How the watcher ends.
    fn end(&self) -> Exit {
        let until = clock::now() + PATIENCE;
        loop {
            match exit::next().unwrap() {
                Some((pid, exit)) if pid == self.watcher => {
                    exit::reap(pid).unwrap();
                    return exit;
                }
                // The keeper, which is dropped later, hides it.
                Some((pid, _)) => exit::reap(pid).unwrap(),
                None => std::thread::yield_now(),
            }
            assert!(clock::now() < until, "the watcher does not end");
        }
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let _ = signal::send(self.watcher, Signal::Kill);
        let _ = exit::reap(self.watcher);
    }
}

fn a_keeper_that_dies(lab: &Lab) {
    let mut play = Play::begin(&lab.will());
    assert!(lab.held() == 2 && lab.heard(Duration::ZERO).is_none(), "not before it is time");
    let killed = clock::now();
    play.kill_keeper();
    let first = lab.heard(PATIENCE).unwrap();
    let said_after = clock::now() - killed;
    let second = lab.heard(PATIENCE).unwrap();
    lab.await_none();
    let removed_after = clock::now() - killed;
    println!("said after {said_after:.1?}, removed after {removed_after:.1?}");
    let mut heard = [first, second];
    heard.sort();
    let parse = |text: &str| text.parse::<IpAddr>().unwrap();
    let expected = [(parse(OWN), LAST_WORDS.to_vec()), (parse(OWN_V6), LAST_WORDS_V6.to_vec())];
    assert_eq!(heard, expected);
    assert_eq!(play.end(), Exit::Status(0));
    assert!(lab.heard(Duration::ZERO).is_none(), "once");
}

fn a_keeper_that_hangs(lab: &Lab) {
    let play = Play::begin(&lab.will());
    let begun = clock::now();
    play.await_true("time passes", || clock::now() - begun > 3 * HUNG_AFTER);
    assert_eq!(lab.held(), 2, "it makes progress");
    let hung = clock::now();
    lab.await_none();
    let removed_after = clock::now() - hung;
    println!("removed after {removed_after:.1?}");
    assert!(removed_after >= HUNG_AFTER * 3 / 4, "not before its time: {removed_after:?}");
    // It goes on, and has its addresses back; the watcher watches on.
    play.page.beat();
    lab.reset();
    let begun = clock::now();
    play.await_true("time passes", || clock::now() - begun > 2 * HUNG_AFTER);
    assert_eq!(lab.held(), 2);
    lab.await_none();
    assert!(lab.heard(Duration::ZERO).is_none(), "nothing is said while the keeper lives");
}

fn a_move_that_nobody_ends(lab: &Lab) {
    const LINK: &str = "near";
    let ip: IpAddr = "10.77.0.102".parse().unwrap();
    let netlink = Netlink::open().unwrap();
    let before = Manners::of(LINK).unwrap();
    let shade = Shade::cast(LINK, before).unwrap();
    netlink.hide(Hidden { ip, shaded: None }).unwrap();
    let listener = TcpListener::bind((ip, 0)).unwrap();
    // Who knocks from this host comes by the loopback interface, the first one of every network.
    let place = Place { interface: 1, addresses: vec![ip] };
    filter::refuse(&listener, &[place], &Which::All).unwrap();
    let address = listener.local_addr().unwrap();
    let knocks = |within| TcpStream::connect_timeout(&address, within).is_ok();
    assert!(!knocks(Duration::from_millis(50)), "it sees nothing");
    let shaded = (LINK, before.ignore, before.announce);
    let nothing = (None::<Duration>, [(); 0], [(); 0]);
    let will = (1u32, (nothing.0, nothing.1, nothing.2, [ip], [shaded]));
    let mut play = Play::begin(&minicbor::to_vec(will).unwrap());
    seqpacket::send(&play.link, b"keep", &[listener.as_fd()]).unwrap();
    assert_ne!(Manners::of(LINK).unwrap(), before, "not before it is time");
    play.kill_keeper();
    assert_eq!(play.end(), Exit::Status(0));
    assert_eq!(Manners::of(LINK).unwrap(), before);
    assert_eq!(netlink.hidden().unwrap(), []);
    assert_eq!(lab.held(), 2, "those are not in the will");
    // Still had, to see that whoever is told of it may come.
    netlink.hide(Hidden { ip, shaded: None }).unwrap();
    assert!(knocks(PATIENCE));
    netlink.unhide(ip).unwrap();
    drop(shade);
}

fn nothing_to_do(lab: &Lab) {
    let mut play = Play::begin(&lab.will());
    // What it read first counts no more.
    play.page
        .write(&minicbor::to_vec((1u32, (None::<Duration>, [(); 0], [(); 0]))).unwrap())
        .unwrap();
    play.kill_keeper();
    assert_eq!(play.end(), Exit::Status(0));
    assert!(lab.held() == 2 && lab.heard(Duration::ZERO).is_none());
    // Nor does what it does not understand.
    let mut play = Play::begin(&minicbor::to_vec((2u32, "of another release")).unwrap());
    play.kill_keeper();
    assert_eq!(play.end(), Exit::Status(0));
    assert!(lab.held() == 2 && lab.heard(Duration::ZERO).is_none());
}

fn few_rights(lab: &Lab) {
    let mut play = Play::begin(&lab.will());
    for signal in [Signal::Terminate, Signal::Interrupt, Signal::Hangup, Signal::User2] {
        signal::send(play.watcher, signal).unwrap();
        signal::send_group(play.watcher, signal).unwrap();
    }
    for name in ["CapEff:", "CapPrm:"] {
        let rights = u64::from_str_radix(&play.status(name), 16).unwrap();
        let few = 1 << 12 | 1 << 13 | 1 << 14;
        assert_eq!(rights & !few, 0, "CAP_NET_ADMIN, CAP_NET_RAW and CAP_IPC_LOCK at most");
    }
    assert_eq!(play.status("NoNewPrivs:"), "1");
    if privilege::is_root() {
        let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", play.watcher)).unwrap();
        println!("oom_score_adj {}, locked {}", score.trim(), play.status("VmLck:"));
    }
    play.kill_keeper();
    assert!(lab.heard(PATIENCE).is_some(), "it still does its task");
    assert_eq!(play.end(), Exit::Status(0));
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
}
