//! What is changed, and how that is said to each proxy. All have one thread, and the same time to
//! finish what they began.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::json;

use super::origins::Origins;
use super::{ASK_EVERY, DRAIN_SECONDS, look_until, wait_until};
use crate::process::Tree;
use crate::restarts::node::Node;

/// What is changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Evergate's configuration.
    Reload,
    /// Evergate's worker, for another binary.
    Worker,
    /// Evergate's keeper, for another binary, in place.
    Keeper,
    /// nginx's configuration: SIGHUP.
    Nginx,
    /// HAProxy's configuration: SIGUSR2 to the master, which hands sockets on.
    Haproxy,
}

/// Where it takes place.
pub(super) struct Scene<'a> {
    pub(super) dir: &'a Path,
    pub(super) listen: SocketAddr,
    pub(super) origins: &'a Origins,
    pub(super) evergate: &'a Path,
}

impl Subject {
    /// In the order of the table.
    pub const ALL: [Self; 5] =
        [Self::Reload, Self::Worker, Self::Keeper, Self::Nginx, Self::Haproxy];

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Reload => "evergate, reload",
            Self::Worker => "evergate, another worker",
            Self::Keeper => "evergate, another keeper",
            Self::Nginx => "nginx, reload",
            Self::Haproxy => "haproxy, reload",
        }
    }

    /// The program that must be there.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::Reload | Self::Worker | Self::Keeper => None,
            Self::Nginx => Some("/usr/sbin/nginx"),
            Self::Haproxy => Some("/usr/sbin/haproxy"),
        }
    }

    /// Whether a change is another binary rather than another configuration.
    pub fn is_process(self) -> bool {
        matches!(self, Self::Worker | Self::Keeper)
    }

    /// Writes its configuration; returns what starts it.
    pub(super) fn prepare(self, scene: &Scene<'_>) -> anyhow::Result<Vec<OsString>> {
        let config = self.write(scene, 0)?;
        Ok(match self {
            Self::Reload | Self::Worker | Self::Keeper => {
                Vec::from([scene.evergate.into(), "run".into(), "-c".into(), config])
            }
            Self::Nginx => {
                let (dir, log) = (scene.dir.into(), scene.dir.join("error.log").into());
                let program = self.program().context("it has one")?.into();
                Vec::from([program, "-p".into(), dir, "-e".into(), log, "-c".into(), config])
            }
            Self::Haproxy => {
                let program = self.program().context("it has one")?.into();
                Vec::from([program, "-W".into(), "-f".into(), config])
            }
        })
    }

    /// Does what can be done before change `number` begins: a copy of the binary, told apart by its
    /// last line.
    pub(super) fn make_ready(self, scene: &Scene<'_>, number: u32) -> anyhow::Result<()> {
        if self.is_process() {
            let binary = binary(scene, number);
            fs::copy(scene.evergate, &binary)?;
            let mut file = OpenOptions::new().append(true).open(&binary)?;
            writeln!(file, "\ncopy {number}")?;
            file.sync_all()?;
        }
        Ok(())
    }

    /// Makes change `number`, and waits until it is made.
    pub(super) fn change(self, scene: &Scene<'_>, tree: &Tree, number: u32) -> anyhow::Result<()> {
        let node = || Node::at(&scene.dir.join("run/admin.sock"));
        match self {
            Self::Reload => {
                self.write(scene, number)?;
                node().post("/api/v1/reload", &json!({})).map(drop)
            }
            Self::Worker => upgrade(&node(), scene, number, "worker"),
            Self::Keeper => upgrade(&node(), scene, number, "keeper"),
            Self::Nginx => self.signal(scene, tree, number, Signal::HUP),
            Self::Haproxy => self.signal(scene, tree, number, Signal::USR2),
        }
    }

    /// Has the root take over another configuration, and waits for the process that serves it.
    fn signal(
        self,
        scene: &Scene<'_>,
        tree: &Tree,
        number: u32,
        signal: Signal,
    ) -> anyhow::Result<()> {
        self.write(scene, number)?;
        let before = tree.pids()?;
        let root = i32::try_from(tree.root()).ok().and_then(Pid::from_raw).context("a process")?;
        kill_process(root, signal)?;
        wait_until("there is another process", || {
            Ok(tree.pids()?.iter().any(|pid| !before.contains(pid)))
        })
    }

    /// Writes its configuration, for the change with this number.
    fn write(self, scene: &Scene<'_>, number: u32) -> anyhow::Result<OsString> {
        let text = match self {
            Self::Reload | Self::Worker | Self::Keeper => evergate(scene, number),
            Self::Nginx => nginx(scene, number),
            Self::Haproxy => haproxy(scene, number),
        };
        let path = scene.dir.join("config");
        fs::write(&path, text)?;
        Ok(path.into())
    }
}

/// Where the copy of the binary for this change lies.
fn binary(scene: &Scene<'_>, number: u32) -> PathBuf {
    scene.dir.join(format!("evergate-{number}"))
}

/// Has the node become the copy of its binary.
fn upgrade(node: &Node, scene: &Scene<'_>, number: u32, part: &str) -> anyhow::Result<()> {
    let binary = binary(scene, number);
    let order = json!({ "binary": binary, "parts": part, "soak_ms": 500 });
    node.post("/api/v1/upgrade", &order)?;
    let mut last = serde_json::Value::Null;
    look_until("the upgrade is over", ASK_EVERY, || {
        // Nobody answers while one worker takes over from the other.
        if let Ok(answer) = node.get("/api/v1/upgrade") {
            last = answer["upgrade"].clone();
        }
        Ok(last["number"] == number && last["outcome"] != "under way")
    })?;
    fs::remove_file(&binary)?;
    ensure!(last["outcome"] == "done", "upgrade {number} of the {part}: {last}");
    if part == "worker" {
        let answer = node.get("/api/v1/upgrade")?;
        if answer["workers"].as_array().is_none_or(Vec::is_empty) {
            bail!("no worker is known after upgrade {number}");
        }
    }
    Ok(())
}

fn evergate(scene: &Scene<'_>, number: u32) -> String {
    let (dir, listen, origins) = (scene.dir.display(), scene.listen, scene.origins);
    format!(
        "[node]
name = \"bench\"
state_dir = \"{dir}/state\"
run_dir = \"{dir}/run\"
threads = 1

[log]
access = \"off\"

[listener.web]
bind = [\"{listen}\"]
limits = {{ connections = 4000, connections_per_ip = 4000, requests = 1000000000 }}

[route.all]
match = \"/*\"
pool = \"origin\"
timeout = \"{}s\"

[route.talk]
match = \"/talk\"
pool = \"talk\"
drain_timeout = \"{DRAIN_SECONDS}s\"

[pool.origin]
servers = {{ a = {{ url = \"http://{}\" }} }}

[pool.talk]
servers = {{ a = {{ url = \"http://{}\" }} }}
",
        60 + number,
        origins.http,
        origins.web_sockets,
    )
}

fn nginx(scene: &Scene<'_>, number: u32) -> String {
    let (dir, listen, origins) = (scene.dir.display(), scene.listen, scene.origins);
    format!(
        "daemon off;
pid {dir}/nginx.pid;
worker_processes 1;
worker_rlimit_nofile 20000;
worker_shutdown_timeout {DRAIN_SECONDS}s;
error_log {dir}/error.log warn;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {dir}/client_body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  keepalive_requests 1000000000;
  upstream origin {{ server {}; keepalive 128; }}
  server {{
    listen {listen} backlog=4096;
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_read_timeout {}s;
    }}
    location /talk {{
      proxy_pass http://{};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }}
  }}
}}
",
        origins.http,
        60 + number,
        origins.web_sockets,
    )
}

fn haproxy(scene: &Scene<'_>, number: u32) -> String {
    let (dir, listen, origins) = (scene.dir.display(), scene.listen, scene.origins);
    format!(
        "global
  nbthread 1
  maxconn 4000
  hard-stop-after {DRAIN_SECONDS}s
  stats socket {dir}/stats.sock mode 600 level admin expose-fd listeners

defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server {}s
  timeout tunnel 1h
  timeout http-keep-alive 60s
  option http-keep-alive
  http-reuse always

frontend web
  bind {listen} backlog 4096
  use_backend talk if {{ path /talk }}
  default_backend origin

backend origin
  server a {}

backend talk
  server a {}
",
        60 + number,
        origins.http,
        origins.web_sockets,
    )
}
