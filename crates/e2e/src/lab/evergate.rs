//! Evergate, as one of the nodes of the lab.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evergate_sys::signal::{self, Signal};
use serde_json::Value;

use super::network::Place;
use super::product::{Product, SIDE, Variant, Wish};
use super::{VIP, VIP_LOCAL, VIP_V6, VRID, wait_within};
use crate::{Node, Setup};

/// What the virtual address is called in the configuration.
pub const VIP_NAME: &str = "web";
/// The same of the one that moves with it.
pub const COMPANION_NAME: &str = "web6";
/// How long the better node must be well before it takes the address back, if it does.
pub const PREEMPT_DELAY: Duration = Duration::from_secs(1);
/// The line with which the two of them move together.
pub const SYNCED: &str = "sync = \"both\"\n";
/// What heartbeats and adverts are sealed with.
const SECRET: &str = "only-for-the-lab-0123456789-0123456789";
/// The word with which the lab's program is the app behind a node.
pub const APP_WORD: &str = "app";
/// How long a call to a node that is busy with something else is repeated.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// A node that runs Evergate.
#[derive(Debug)]
pub struct Evergate {
    place: Place,
    letter: char,
    /// Its position among the nodes, from 0.
    index: usize,
    wish: Wish,
    /// Lines of `[vip.web]` in place of the usual ones.
    vip: Option<String>,
    /// Whether it speaks to the others beside VRRP.
    has_peers: bool,
    /// The program that the app is a link to.
    app: PathBuf,
    folder: tempfile::TempDir,
    node: Option<Node>,
}

impl Evergate {
    /// A node that is not started yet; `app` is the program that [`APP_WORD`] makes the app.
    pub fn new(place: &Place, index: usize, wish: Wish, app: &Path) -> Self {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix("evergate-").permissions(permissions).tempdir();
        Self {
            place: place.clone(),
            letter: ['A', 'B', 'C'][index],
            index,
            wish,
            vip: None,
            has_peers: true,
            app: app.to_owned(),
            folder: folder.expect("there is room for a directory"),
            node: None,
        }
    }

    /// With these lines in `[vip.web]`, and no heartbeats: for peers that are not Evergate.
    pub fn beside_others(mut self, vip: &str) -> Self {
        self.vip = Some(vip.to_owned());
        self.has_peers = false;
        self
    }

    /// The node.
    ///
    /// # Panics
    /// If it was not started.
    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("it was started")
    }

    /// Where the keeper's binary is replaced from, upgrades are watched and so on.
    pub fn name(&self) -> String {
        format!("edge-{}", self.letter.to_ascii_lowercase())
    }

    /// The configuration, all but `[node]`.
    pub fn config(&self) -> String {
        self.config_with("")
    }

    /// The same with more lines in `[vip.web]`, and maybe tables behind it.
    pub fn config_with(&self, more: &str) -> String {
        let any = if self.wish.variant == Variant::Ipv6 { "[::]" } else { "0.0.0.0" };
        // An app may be asked for what takes longer.
        let drain_timeout = if self.wish.has_app { "20s" } else { "3s" };
        let mut text = format!(
            "[listener.web]\nbind = [\"{any}:80\"]\nlimits = {{ connections_per_ip = 5000 }}\n\n\
             [route.all]\nmatch = \"/*\"\n\
             drain_timeout = \"{drain_timeout}\"\n"
        );
        let letter = self.letter;
        if self.wish.has_app {
            text += "pool = \"web\"\n\n[pool.web]\nservers = { app = { app = \"web\" } }\n\n";
            let app = self.folder.path().join("app");
            let _ = write!(
                text,
                "[app.web]\nrun = [{app:?}, \"{APP_WORD}\", \"{letter}\"]\n\
                 ready = {{ by = \"tcp\", within = \"10s\" }}\n\n"
            );
        } else {
            let _ = write!(text, "respond = {{ body = \"{letter}\" }}\n\n");
        }
        let addresses = match self.wish.variant {
            Variant::Plain | Variant::Hmac | Variant::Unicast => format!("\"{VIP}/24\""),
            Variant::Ipv6 => format!("\"{VIP_LOCAL}/64\", \"{VIP_V6}/64\""),
        };
        let _ = write!(
            text,
            "[vip.{VIP_NAME}]\naddress = [{addresses}]\ninterface = \"eth0\"\nrouter_id = {VRID}\n"
        );
        match &self.vip {
            Some(lines) => text += lines,
            None => text += &self.usual_vip(),
        }
        text += more;
        if self.wish.has_companion {
            text += &self.companion();
        }
        if self.has_peers {
            let _ = writeln!(text, "\n[heartbeat]\nsecret = \"{SECRET}\"");
            for (name, address) in self.others() {
                let _ = write!(text, "\n[peer.edge-{name}]\naddresses = [\"{address}\"]\n");
            }
        }
        text
    }

    /// Letter and address of each other node.
    fn others(&self) -> impl Iterator<Item = (char, String)> {
        let others = (0..self.wish.nodes.max(2)).filter(|&other| other != self.index);
        others.map(|other| (['a', 'b', 'c'][other], self.wish.variant.address(other)))
    }

    fn usual_vip(&self) -> String {
        let priority = 254 - self.index;
        let mut lines = format!("priority = {priority}\ninterval = \"30ms\"\n");
        let app = if self.wish.has_app { ", app.web = \"fault\"" } else { "" };
        let _ = writeln!(lines, "track = {{ listener.web = \"fault\"{app} }}");
        if self.wish.preempts {
            let _ = writeln!(lines, "preempt = true\npreempt_delay = \"{PREEMPT_DELAY:?}\"");
        }
        if self.wish.has_companion {
            lines += SYNCED;
        }
        match self.wish.variant {
            Variant::Plain | Variant::Ipv6 => {}
            Variant::Hmac => {
                let _ = writeln!(lines, "auth = {{ hmac = \"{SECRET}\" }}");
            }
            Variant::Unicast => {
                let peers: Vec<String> = self.others().map(|(_, address)| address).collect();
                let _ = writeln!(lines, "peers = {peers:?}");
            }
        }
        lines
    }

    /// The virtual address that moves with the usual one.
    fn companion(&self) -> String {
        let priority = 254 - self.index;
        format!(
            "\n[vip.{COMPANION_NAME}]\naddress = [\"{VIP_LOCAL}/64\", \"{VIP_V6}/64\"]\n\
             interface = \"eth0\"\nrouter_id = {VRID}\npriority = {priority}\n\
             interval = \"30ms\"\n{SYNCED}\
             track = {{ link.{SIDE} = {{ effect = \"fault\", rise = \"100ms\" }} }}\n"
        )
    }

    /// How the node stands with the virtual address, as its status says.
    pub fn vip(&self) -> Value {
        self.vip_named(VIP_NAME)
    }

    fn vip_named(&self, name: &str) -> Value {
        let status = self.node().status();
        let vips = status["vips"].as_array().cloned().unwrap_or_default();
        vips.into_iter().find(|vip| vip["name"] == name).unwrap_or_default()
    }

    /// Its role with another virtual address.
    pub fn role_of(&self, name: &str) -> String {
        self.vip_named(name)["role"].as_str().unwrap_or("unknown").to_owned()
    }

    /// Whether it hears every other node, and they hear it.
    pub fn hears_all(&self) -> bool {
        let status = self.node().status();
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        peers.iter().all(|peer| {
            let is_heard = peer["state"] == "alive";
            is_heard
                && peer["paths"]
                    .as_array()
                    .is_some_and(|paths| paths.iter().all(|path| path["hears_us"] == true))
        })
    }

    /// Its role there, such as `master`.
    pub fn role(&self) -> String {
        self.role_of(VIP_NAME)
    }

    /// Changes of role so far.
    pub fn turns(&self) -> u64 {
        self.count("turns")
    }

    /// What its status counts under this name for the virtual address.
    pub fn count(&self, name: &str) -> u64 {
        self.vip()["counts"][name].as_u64().unwrap_or_default()
    }

    /// Events of this kind so far.
    pub fn events(&self, kind: &str) -> usize {
        let (_, body) = self.node().api("GET", "/api/v1/events", None);
        let events = body["events"].as_array().or_else(|| body.as_array());
        events.map_or(0, |events| events.iter().filter(|event| event["kind"] == kind).count())
    }

    /// Posts an order; one that is not taken just now is repeated.
    pub fn order(&self, path: &str, body: Value) -> Result<Value, String> {
        let mut answer = (0, Value::Null);
        wait_within(ANSWERS_WITHIN, || {
            answer = self.node().api("POST", path, Some(body.clone()));
            answer.0 == 200
        });
        let (status, said) = answer;
        if status == 200 { Ok(said) } else { Err(format!("{path} answered {status}: {said}")) }
    }
}

impl Product for Evergate {
    fn start(&mut self) {
        if let Some(node) = &mut self.node {
            node.start_again();
            return;
        }
        let link = self.folder.path().join("app");
        if !link.exists() {
            std::os::unix::fs::symlink(&self.app, link).expect("a new directory has room");
        }
        let setup = Setup::new().named(&self.name()).inside(&self.place);
        self.node = Some(setup.start(&self.config()));
    }

    fn stands_by(&mut self) -> bool {
        self.role() == "backup" && self.hears_all()
    }

    fn stop(&mut self) {
        if let Some(node) = &mut self.node {
            node.stop();
        }
    }

    fn begin_stop(&mut self) {
        // One that is gone has been stopped.
        let _ = signal::send(self.node().pid(), Signal::Terminate);
    }

    fn give_up(&mut self) {
        let body = serde_json::json!({ "vip": VIP_NAME });
        if let Err(why) = self.order("/api/v1/failover", body) {
            panic!("the node does not give the address up: {why}");
        }
    }

    fn lose_backend(&mut self) {
        std::fs::remove_file(self.folder.path().join("app")).expect("it is ours");
        let is_app = format!(" {APP_WORD} {}", self.letter);
        let apps = self.place.processes().into_iter().filter(|it| it.command.ends_with(&is_app));
        super::process::signal_all(&apps.collect::<Vec<_>>(), Signal::Kill);
    }

    fn log(&self) -> String {
        self.node.as_ref().map(|node| node.stderr.all().join("\n")).unwrap_or_default()
    }

    fn evergate(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}
