//! The network of a lab: namespaces, and a bridge that joins them.
//!
//! All have names with the lab's process id in them, so that what a killed lab left behind is known
//! and removed by the next one. One lab is up at a time: they would disturb each other's figures.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use evergate_sys::signal::Signal;
use rustix::fs::FlockOperation;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::{self, Process, signal_all};
use super::{VIP, frr, wait_within};

/// What all names begin with.
const PREFIX: &str = "evlab-";
/// Where `ip` keeps the names of namespaces.
const NAMES: &str = "/run/netns";
/// Whoever holds this has the lab.
const LOCK: &str = "/run/evergate-lab.lock";
/// First three parts of every address.
pub const SUBNET: &str = "10.77.0";
/// What every IPv6 address begins with; its last part is that of the IPv4 address.
pub const SUBNET_V6: &str = "fd77:";
/// How long processes may take to be gone once killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Place {
    name: String,
    /// The virtual address that is looked for here.
    vip: &'static str,
}

/// Everything, up and connected. Goes with this value, and whatever runs inside with it.
#[derive(Debug)]
pub struct Network {
    /// Where the bridge is. The port of node `a` is `p-a`, that of the client `p-client`.
    pub switch: Place,
    /// Who asks.
    pub client: Place,
    /// Who answers: `a`, `b` and maybe `c`, with `10.77.0.11` and the following addresses on `eth0`.
    pub nodes: Vec<Place>,
    orders: Orders,
    _lock: File,
}

/// Changes of links that take no time: an `ip` that waits for them in the switch.
#[derive(Debug)]
struct Orders {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Place {
    fn new(prefix: &str, what: &str, vip: &'static str) -> Self {
        let place = Self { name: format!("{prefix}-{what}"), vip };
        succeed(Command::new("ip").args(["netns", "add", &place.name]));
        place.ip("link set lo up");
        place
    }

    /// A command that runs here.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(found(program));
        command
    }

    /// The same, ahead of everything that is not real-time: the machine's other work is not what is
    /// measured.
    pub fn real_time(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        if is_real_time_allowed() {
            command.args(["chrt", "--rr", "20"]);
        }
        command.arg(found(program));
        command
    }

    /// Runs a task in a thread of this process that is here.
    pub fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let mount = File::open(self.mount()).expect("it is there as long as this value");
        std::thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(mount.as_fd(), kind).expect("the lab runs as root");
            task()
        })
    }

    /// Runs `ip` with these words here.
    ///
    /// # Panics
    /// If it fails.
    pub fn ip(&self, words: &str) {
        succeed(Command::new("ip").args(["-n", &self.name]).args(words.split(' ')));
    }

    /// The same, and it may fail.
    pub fn try_ip(&self, words: &str) -> bool {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(words.split(' ')).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Runs `nft` with this script here; it may fail.
    pub fn nft(&self, script: &str) -> bool {
        let mut command = self.command("nft");
        command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("`ip` is there");
        let mut stdin = child.stdin.take().expect("it is piped");
        // One that has failed reads no more.
        let _ = stdin.write_all(script.as_bytes());
        drop(stdin);
        child.wait().expect("it is our child").success()
    }

    /// Every process here, youngest first.
    pub fn processes(&self) -> Vec<Process> {
        process::inside(&self.mount())
    }

    /// Whether `address` is on an interface here. That of FRR has it always, and is down if it must
    /// not answer.
    pub fn has_address(&self, address: &str) -> bool {
        self.prefixed(address).is_some()
    }

    /// The same, as it is there: with its prefix.
    pub fn prefixed(&self, address: &str) -> Option<String> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-br", "addr", "show"]);
        let shown = command.output().expect("`ip` is there").stdout;
        String::from_utf8_lossy(&shown).lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (interface, state) = (words.next(), words.next());
            let is_off = interface.is_some_and(|name| name.starts_with(frr::INTERFACE))
                && state == Some("DOWN");
            let found = words.find(|word| word.split('/').next() == Some(address));
            found.filter(|_| !is_off).map(str::to_owned)
        })
    }

    /// The virtual address.
    pub fn vip(&self) -> &'static str {
        self.vip
    }

    /// Whether the virtual address is here.
    pub fn holds(&self) -> bool {
        self.has_address(self.vip)
    }

    /// Link-layer address of `eth0`.
    pub fn hardware(&self) -> String {
        let mut command = self.command("cat");
        let shown = command.arg("/sys/class/net/eth0/address").output().expect("`ip` is there");
        String::from_utf8_lossy(&shown.stdout).trim().to_owned()
    }

    /// Ends every process here, at once.
    pub fn clear(&self) {
        wait_within(GONE_WITHIN, || {
            let processes = self.processes();
            signal_all(&processes, Signal::Kill);
            processes.is_empty()
        });
    }

    fn mount(&self) -> PathBuf {
        Path::new(NAMES).join(&self.name)
    }

    fn remove(&self) {
        self.clear();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

impl Network {
    /// With this many nodes, between which `vip` is to move.
    ///
    /// # Panics
    /// If it cannot be made; ask [`super::missing`] first.
    pub fn of(nodes: usize, vip: &'static str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let lock = lock();
        remove_left_over();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", std::process::id());
        let switch = Place::new(&prefix, "switch", vip);
        switch.ip("link add br0 type bridge stp_state 0 mcast_snooping 0");
        switch.ip("link set br0 up");
        let client = Place::new(&prefix, "client", vip);
        let places = ["a", "b", "c"].iter().take(nodes);
        let places = places.map(|letter| Place::new(&prefix, letter, vip)).collect();
        let orders = Orders::taken_in(&switch);
        let network = Self { switch, client, nodes: places, orders, _lock: lock };
        network.attach(&network.client, "client", 2);
        for (index, (place, letter)) in network.nodes.iter().zip(["a", "b", "c"]).enumerate() {
            network.attach(place, letter, 11 + index);
        }
        network
    }

    /// Gives a namespace its cable, its address and the settings that a node needs.
    fn attach(&self, place: &Place, what: &str, host: usize) {
        self.switch.ip(&format!("link add p-{what} type veth peer name eth0 netns {}", place.name));
        self.switch.ip(&format!("link set p-{what} master br0 up"));
        let mut settings = place.command("sysctl");
        // Ports for a connection every 2 ms; and no interface answers for another one.
        settings.args(["-qw", "net.ipv4.ip_local_port_range=1024 65535"]);
        settings.arg("net.ipv4.conf.all.arp_ignore=1");
        // Nobody else has these addresses: they need not be tried out for seconds.
        settings.arg("net.ipv6.conf.eth0.accept_dad=0");
        succeed(&mut settings);
        place.ip(&format!("addr add {SUBNET}.{host}/24 dev eth0"));
        place.ip(&format!("addr add {SUBNET_V6}:{host}/64 dev eth0"));
        place.ip("link set eth0 up");
    }

    /// Has `ip` change a link of the switch, such as `p-a down`; returns before that is done.
    pub fn set_link(&mut self, words: &str) {
        let stdin = self.orders.stdin.as_mut().expect("only dropping takes it");
        writeln!(stdin, "link set dev {words}").expect("`ip` waits for orders");
    }

    /// The client forgets where addresses are.
    pub fn forget_neighbours(&self) {
        self.client.try_ip("neigh flush dev eth0");
    }

    /// Which nodes have the virtual address.
    pub fn holders(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&index| self.nodes[index].holds()).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The `ip` that waits for orders is inside as well.
        self.orders.stdin = None;
        for place in self.nodes.iter().chain([&self.client, &self.switch]) {
            place.remove();
        }
        let _ = self.orders.child.wait();
    }
}

impl Orders {
    fn taken_in(switch: &Place) -> Self {
        let mut command = switch.real_time("ip");
        command.args(["-force", "-batch", "-"]).stdin(Stdio::piped());
        let mut child = command.spawn().expect("`ip` is there");
        let stdin = child.stdin.take();
        Self { child, stdin }
    }
}

/// Whether this process may start others as real-time ones.
pub fn is_real_time_allowed() -> bool {
    let mut command = Command::new("chrt");
    command.args(["--rr", "20", "true"]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a command.
///
/// # Panics
/// If it fails.
pub(super) fn succeed(command: &mut Command) {
    let output = command.output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}

fn found(name: &str) -> PathBuf {
    process::program(name).unwrap_or_else(|| name.into())
}

fn lock() -> File {
    let file = File::create(LOCK).expect("root may write there");
    rustix::fs::flock(&file, FlockOperation::LockExclusive).expect("it is only waited for");
    file
}

/// Removes the namespaces of labs whose process is gone.
fn remove_left_over() {
    let names = fs::read_dir(NAMES).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let owner = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            Place { name, vip: VIP }.remove();
        }
    }
}
