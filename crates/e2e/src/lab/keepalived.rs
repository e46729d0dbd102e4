//! keepalived with nginx beside it: the contender, and a peer to interoperate with.

use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::time::Duration;

use evergate_sys::signal::{self, Signal};

use super::network::Place;
use super::nginx::Nginx;
use super::product::Product;
use super::{VIP, VRID, wait_within};

/// How long it may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How a keepalived is configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Profile {
    /// For the command line and tables.
    pub name: &'static str,
    /// Which VRRP.
    pub version: u8,
    /// Between two adverts.
    pub interval: Duration,
}

/// A node with keepalived and nginx.
#[derive(Debug)]
pub struct Keepalived {
    place: Place,
    letter: char,
    profile: Profile,
    priority: u8,
    directory: tempfile::TempDir,
    child: Option<Child>,
    nginx: Option<Nginx>,
}

/// What it says when its check of nginx has succeeded.
const CHECKED: &str = "VRRP_Script(chk) succeeded";
/// What it says when it takes part.
const FOLLOWS: &str = "Entering BACKUP STATE";

/// The password of version 2, in clear as it is.
pub const PASSWORD: &str = "s3cret12";

impl Profile {
    /// What most people run: version 2, a second, a password.
    pub const V2_1S: Self = Self { name: "v2-1", version: 2, interval: Duration::from_secs(1) };
    /// What people run who have read the manual.
    pub const V3_100MS: Self =
        Self { name: "v3-0.1", version: 3, interval: Duration::from_millis(100) };
    /// As fast as Evergate is by default.
    pub const V3_30MS: Self =
        Self { name: "v3-0.03", interval: Duration::from_millis(30), ..Self::V3_100MS };
}

impl Keepalived {
    /// A node that is not started yet.
    pub fn new(place: &Place, letter: char, profile: Profile, priority: u8) -> Self {
        let directory = tempfile::Builder::new().prefix("evergate-").tempdir();
        let directory = directory.expect("there is room for a directory");
        Self {
            place: place.clone(),
            letter,
            profile,
            priority,
            directory,
            child: None,
            nginx: None,
        }
    }

    fn write(&self, priority: u8) {
        let Profile { version, interval, .. } = self.profile;
        let seconds = interval.as_secs_f64();
        let auth = match version {
            2 => format!("authentication {{\n auth_type PASS\n auth_pass {PASSWORD}\n }}"),
            _ => String::new(),
        };
        let text = format!(
            "global_defs {{
  router_id lab-{letter}
  vrrp_version {version}
  script_user root
  enable_script_security
  vrrp_garp_master_refresh 0
}}
vrrp_script chk {{
  script \"/usr/bin/curl -sf -m 0.5 -o /dev/null http://127.0.0.1/\"
  interval 1
  timeout 1
  fall 2
  rise 2
}}
vrrp_instance VI {{
  state BACKUP
  interface eth0
  virtual_router_id {VRID}
  priority {priority}
  advert_int {seconds}
  {auth}
  virtual_ipaddress {{
    {VIP}/24 dev eth0
  }}
  track_script {{
    chk
  }}
}}
",
            letter = self.letter
        );
        fs::write(self.directory.path().join("keepalived.conf"), text).expect("there is room");
    }

    fn signal(&self, what: Signal) {
        if let Some(child) = &self.child {
            let _ = signal::send(child.id(), what);
        }
    }
}

impl Product for Keepalived {
    fn start(&mut self) {
        self.stop();
        // Whatever a killed one has left behind.
        self.place.try_ip(&format!("addr del {VIP}/24 dev eth0"));
        self.write(self.priority);
        let file = |name: &str| self.directory.path().join(name);
        self.nginx = Some(Nginx::start(&self.place, self.directory.path(), self.letter));
        let log = File::options().create(true).append(true).open(file("log"));
        let log = log.expect("a new directory has room");
        let mut command = self.place.real_time("keepalived");
        command.args(["-n", "-l", "-P", "-D", "-f"]).arg(file("keepalived.conf"));
        command.arg("-p").arg(file("pid")).arg("-r").arg(file("vrrp.pid"));
        command.arg("-c").arg(file("checkers.pid"));
        let out = log.try_clone().expect("there are descriptors left");
        command.stdin(Stdio::null()).stdout(out).stderr(log);
        self.child = Some(command.spawn().expect("`ip` is there"));
    }

    fn stands_by(&mut self) -> bool {
        let log = self.log();
        [CHECKED, FOLLOWS].iter().all(|line| log.contains(line))
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = signal::send(child.id(), Signal::Terminate);
            if !wait_within(END_WITHIN, || !matches!(child.try_wait(), Ok(None))) {
                self.place.clear();
                let _ = child.wait();
            }
        }
        self.nginx = None;
        for name in ["pid", "vrrp.pid", "checkers.pid"] {
            let _ = fs::remove_file(self.directory.path().join(name));
        }
    }

    fn begin_stop(&mut self) {
        self.signal(Signal::Terminate);
    }

    fn give_up(&mut self) {
        self.write(50);
        self.signal(Signal::Hangup);
    }

    fn lose_backend(&mut self) {
        self.nginx = None;
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        self.stop();
    }
}
