//! FRR's vrrpd with nginx beside it: another peer to interoperate with.
//!
//! It keeps the address on a macvlan with the router's virtual MAC, which is there all the time and
//! switched off while the node is backup.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evergate_sys::signal::{self, Signal};

use super::network::Place;
use super::nginx::Nginx;
use super::product::Product;
use super::{VIP, VRID, wait_within};

/// What it calls the interface with the address.
pub(super) const INTERFACE: &str = "vrrp4";
/// How long one of its programs may take to be there, or to be gone.
const PATIENCE: Duration = Duration::from_secs(40);

/// A node with FRR and nginx.
#[derive(Debug)]
pub struct Frr {
    place: Place,
    letter: char,
    version: u8,
    interval: Duration,
    priority: u8,
    directory: tempfile::TempDir,
    /// vrrpd, then zebra.
    children: Vec<Child>,
    nginx: Option<Nginx>,
}

impl Frr {
    /// A node that is not started yet.
    pub fn new(place: &Place, letter: char, version: u8, interval: Duration, priority: u8) -> Self {
        let directory = tempfile::Builder::new().prefix("evergate-").tempdir();
        Self {
            place: place.clone(),
            letter,
            version,
            interval,
            priority,
            directory: directory.expect("there is room for a directory"),
            children: Vec::new(),
            nginx: None,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn make_interface(&self) {
        self.place.try_ip(&format!("link del {INTERFACE}"));
        self.place.ip(&format!("link add {INTERFACE} link eth0 type macvlan mode bridge"));
        self.place.ip(&format!("link set {INTERFACE} address 00:00:5e:00:01:{VRID:02x}"));
        self.place.ip(&format!("addr add {VIP}/24 dev {INTERFACE}"));
        self.place.ip(&format!("link set {INTERFACE} up"));
    }

    fn write(&self) {
        // Its programs become a user of their own before they write here.
        let mut asked = Command::new("id");
        let shown = asked.args(["-u", "frr"]).output().expect("every system has it").stdout;
        let user = String::from_utf8_lossy(&shown).trim().parse().ok();
        chown(self.directory.path(), user, None).expect("root may");
        let permissions = Permissions::from_mode(0o755);
        fs::set_permissions(self.directory.path(), permissions).expect("it is ours");
        let (version, priority, ms) = (self.version, self.priority, self.interval.as_millis());
        let text = format!(
            "interface eth0\n vrrp {VRID} version {version}\n vrrp {VRID} priority {priority}\n \
             vrrp {VRID} advertisement-interval {ms}\n vrrp {VRID} ip {VIP}\n"
        );
        fs::write(self.file("vrrpd.conf"), text).expect("a new directory has room");
        fs::write(self.file("zebra.conf"), "").expect("a new directory has room");
    }

    fn spawn(&mut self, name: &str) {
        let mut command = self.place.real_time(name);
        command.arg("-f").arg(self.file(&format!("{name}.conf")));
        command.arg("-i").arg(self.file(&format!("{name}.pid")));
        command.arg("-z").arg(self.file("zserv")).arg("--vty_socket").arg(self.directory.path());
        command.args(["-P", "0", "--log"]).arg(format!("file:{}", self.file("log").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.insert(0, command.spawn().expect("`ip` is there"));
    }
}

impl Product for Frr {
    fn start(&mut self) {
        self.stop();
        self.make_interface();
        self.write();
        self.nginx = Some(Nginx::start(&self.place, self.directory.path(), self.letter));
        let socket = self.file("zserv");
        let _ = fs::remove_file(&socket);
        self.spawn("zebra");
        assert!(wait_within(PATIENCE, || socket.exists()), "zebra does not start");
        self.spawn("vrrpd");
    }

    fn stands_by(&mut self) -> bool {
        // It cannot be asked.
        true
    }

    fn stop(&mut self) {
        for child in &mut self.children {
            let _ = signal::send(child.id(), Signal::Terminate);
            if !wait_within(PATIENCE, || !matches!(child.try_wait(), Ok(None))) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        self.children.clear();
        self.nginx = None;
    }

    fn begin_stop(&mut self) {
        if let Some(vrrpd) = self.children.first() {
            let _ = signal::send(vrrpd.id(), Signal::Terminate);
        }
    }

    fn give_up(&mut self) {
        self.begin_stop();
    }

    fn lose_backend(&mut self) {
        self.nginx = None;
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        self.stop();
    }
}
