//! A whole node: the real binary with a configuration of its own.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use evergate_sys::signal::{self, Signal};
use serde_json::Value;

use crate::certificates::Issued;
use crate::lab::Place;
use crate::{Admin, LOOK_EVERY, Lines, PATIENCE, binary};

/// The name of every node that was given no other, as `Via` shows it.
pub const NAME: &str = "edge-e2e";
/// How long a node may take to end before it is killed.
const END_WITHIN: Duration = Duration::from_secs(15);

/// How to start a node.
#[derive(Clone, Debug)]
pub struct Setup {
    name: String,
    place: Option<Place>,
    threads: u16,
    env: Vec<(String, String)>,
    files: Vec<(String, String)>,
    private_files: Vec<(String, String)>,
    include: Vec<String>,
    outputs: Outputs,
    program: Option<PathBuf>,
}

/// Where standard output and error of a node go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outputs {
    /// Into [`Node::stdout`] and [`Node::stderr`].
    Kept,
    /// Into pipes that nobody reads.
    Unread,
    /// Into pipes that are closed.
    Closed,
    /// Onto a disk that is full.
    Full,
}

/// A running node; it ends with this value.
#[derive(Debug)]
pub struct Node {
    keeper: Child,
    directory: tempfile::TempDir,
    /// What stands in every configuration before that of the test.
    head: String,
    notified: UnixDatagram,
    /// What it printed: access log lines.
    pub stdout: Lines,
    /// What it told the operator.
    pub stderr: Lines,
    setup: Setup,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            name: NAME.to_owned(),
            place: None,
            threads: 1,
            env: Vec::new(),
            files: Vec::new(),
            private_files: Vec::new(),
            include: Vec::new(),
            outputs: Outputs::Kept,
            program: None,
        }
    }
}

impl Setup {
    /// One data-plane thread, so that what follows what is certain.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another name.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// In a namespace of the lab.
    pub fn inside(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// With this many data-plane threads.
    pub fn threads(mut self, threads: u16) -> Self {
        self.threads = threads;
        self
    }

    /// With a variable in its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another file beside the configuration.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// With a pattern of files that the configuration includes.
    pub fn include(mut self, pattern: &str) -> Self {
        self.include.push(pattern.to_owned());
        self
    }

    /// With another file beside the configuration, which only its owner may read.
    pub fn private_file(mut self, name: &str, text: &str) -> Self {
        self.private_files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// With a certificate in `NAME.pem` and its key in `NAME.key`.
    pub fn certificate(self, name: &str, issued: &Issued) -> Self {
        let with_cert = self.file(&format!("{name}.pem"), &issued.cert);
        with_cert.private_file(&format!("{name}.key"), &issued.key)
    }

    /// Started from this binary instead of the one under test.
    pub fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// With its standard output and error going there.
    pub fn outputs(mut self, outputs: Outputs) -> Self {
        self.outputs = outputs;
        self
    }

    /// Starts a node with `config`, all but `[node]`, and waits until it serves.
    ///
    /// # Panics
    /// If it does not come to that; its standard error is shown.
    pub fn start(self, config: &str) -> Node {
        let mut node = self.launch(config);
        node.wait_until_ready();
        node
    }

    /// What every node needs in its configuration.
    fn head(&self, directory: &Path) -> String {
        let (run, state) = (directory.join("run"), directory.join("state"));
        let (include, threads, name) = (&self.include, self.threads, &self.name);
        format!(
            "include = {include:?}\n\n[node]\nname = \"{name}\"\nrun_dir = {run:?}\n\
             state_dir = {state:?}\nthreads = {threads}\n\n"
        )
    }

    /// Starts a node and does not wait.
    pub fn launch(self, config: &str) -> Node {
        // The worker is `nobody` when root runs the tests: it must be able to look inside.
        let permissions = std::fs::Permissions::from_mode(0o755);
        let mut builder = tempfile::Builder::new();
        let directory = builder.prefix("evergate-").permissions(permissions).tempdir();
        let directory = directory.expect("there is room for a directory");
        let file = |name: &str| directory.path().join(name);
        for (name, text) in &self.files {
            write(&file(name), text);
        }
        for (name, text) in &self.private_files {
            write(&file(name), text);
            let permissions = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(file(name), permissions).expect("it is ours");
        }
        let head = self.head(directory.path());
        write(&file("evergate.toml"), &format!("{head}{config}"));
        let notified = UnixDatagram::bind(file("notify.sock")).expect("a new directory");
        notified.set_read_timeout(Some(LOOK_EVERY)).expect("not zero");
        let (keeper, stdout, stderr) = self.spawn(directory.path());
        Node { keeper, directory, head, notified, stdout, stderr, setup: self }
    }

    /// Starts the binary with what is in `directory`.
    fn spawn(&self, directory: &Path) -> (Child, Lines, Lines) {
        let file = |name: &str| directory.join(name);
        let program = self.program.as_ref().unwrap_or_else(|| binary::path());
        let mut command = match &self.place {
            Some(place) => place.real_time(program.to_str().expect("a path in UTF-8")),
            None => Command::new(program),
        };
        command.args(["run", "--config"]).arg(file("evergate.toml"));
        command.env("NOTIFY_SOCKET", file("notify.sock"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let output = || match self.outputs {
            Outputs::Kept | Outputs::Unread | Outputs::Closed => Stdio::piped(),
            Outputs::Full => std::fs::File::create("/dev/full").expect("Linux has it").into(),
        };
        command.stdin(Stdio::null()).stdout(output()).stderr(output());
        let mut keeper = command.spawn().expect("the binary is there");
        let (mut stdout, mut stderr) = (Lines::default(), Lines::default());
        match self.outputs {
            Outputs::Kept => {
                stdout = Lines::of(keeper.stdout.take().expect("it is piped"));
                stderr = Lines::of(keeper.stderr.take().expect("it is piped"));
            }
            Outputs::Closed => drop((keeper.stdout.take(), keeper.stderr.take())),
            Outputs::Unread | Outputs::Full => {}
        }
        (keeper, stdout, stderr)
    }
}

fn write(path: &Path, text: &str) {
    let directory = path.parent().expect("it lies in the node's directory");
    std::fs::create_dir_all(directory).expect("it is ours");
    std::fs::write(path, text).expect("a new directory has room");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
}

impl Node {
    /// Starts a node with one data-plane thread; see [`Setup::start`].
    pub fn start(config: &str) -> Self {
        Setup::new().start(config)
    }

    /// The address of the only listener called `name`.
    pub fn address(&self, name: &str) -> SocketAddr {
        let status = self.status();
        let listeners = status["listeners"].as_array().expect("a list");
        let listener = listeners.iter().find(|listener| listener["name"] == name);
        let listener = listener.unwrap_or_else(|| panic!("no listener {name}: {listeners:?}"));
        let address = listener["addresses"][0].as_str().expect("it listens");
        address.parse().expect("an address")
    }

    /// The address of the listener called `web`.
    pub fn web(&self) -> SocketAddr {
        self.address("web")
    }

    /// The keeper's process id.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// A path in the node's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Answer of `GET /api/v1/status`.
    pub fn status(&self) -> Value {
        let (status, body) = self.api("GET", "/api/v1/status", None);
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The server `name` of `pool`, as the status shows it.
    pub fn server(&self, pool: &str, name: &str) -> Value {
        server(&self.status(), pool, name).expect("the server is there").clone()
    }

    /// Metrics by the text before their value.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (_, text) = self.admin("GET", "/metrics", None);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// Status and JSON of a call to the admin API.
    pub fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, text) = self.admin(method, path, body.map(|body| body.to_string()));
        let json = serde_json::from_str(&text);
        (status, json.unwrap_or_else(|_| panic!("{method} {path} answered {status} {text:?}")))
    }

    /// Status and text of a call to the admin API.
    pub fn admin(&self, method: &str, path: &str, body: Option<String>) -> (u16, String) {
        let answer = self.admin_api().call(method, path, &body.unwrap_or_default());
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The admin API, for those that outlive a borrow of the node.
    pub fn admin_api(&self) -> Admin {
        Admin::at(&self.path("run/admin.sock"))
    }

    /// Waits until the status is as `ready` wants it.
    pub fn wait_for(&self, what: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if ready(&status) {
                return status;
            }
            assert!(Instant::now() < until, "waited for {PATIENCE:?} until {what}:\n{status:#}");
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Waits until the server `name` of `pool` is in `state`. Instances of apps are servers only
    /// while they are ready.
    pub fn wait_for_state(&self, pool: &str, name: &str, state: &str) {
        self.wait_for(&format!("{pool}/{name} is {state}"), |status| {
            server(status, pool, name).is_some_and(|server| server["state"] == state)
        });
    }

    /// Writes another configuration and has it applied; says what the admin API answered.
    pub fn reload(&self, config: &str) -> (u16, Value) {
        self.rewrite(config);
        self.api("POST", "/api/v1/reload", None)
    }

    /// Writes a file of the node's directory; its own directory is made if need be.
    pub fn write(&self, name: &str, text: &str) {
        write(&self.path(name), text);
    }

    /// Writes another certificate and its key over those that [`Setup::certificate`] brought.
    pub fn write_certificate(&self, name: &str, issued: &Issued) {
        for (ending, text) in [("pem", &issued.cert), ("key", &issued.key)] {
            // The file is there, and stays as private as it is.
            std::fs::write(self.path(&format!("{name}.{ending}")), text).expect("it is ours");
        }
    }

    /// Writes another configuration.
    pub fn rewrite(&self, config: &str) {
        self.write("evergate.toml", &format!("{}{config}", self.head));
    }

    /// What it told its service manager since this was last asked, a message a line.
    pub fn take_notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        let mut message = [0; 1024];
        while let Ok(count) = self.notified.recv(&mut message) {
            notices.push(String::from_utf8_lossy(&message[..count]).into_owned());
        }
        notices
    }

    /// Sends a signal to the keeper.
    pub fn signal(&self, signal: Signal) {
        signal::send(self.pid(), signal).expect("the keeper runs");
    }

    /// Waits for the end of the keeper.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        self.exit_within(PATIENCE).unwrap_or_else(|| {
            panic!("the node has not ended after {PATIENCE:?}:\n{}", self.stderr.all().join("\n"))
        })
    }

    fn exit_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.keeper.try_wait().expect("it is our child") {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Waits until the keeper says that the node serves.
    ///
    /// # Panics
    /// If it ends instead.
    pub fn wait_until_ready(&mut self) {
        let until = Instant::now() + PATIENCE;
        let mut message = [0; 1024];
        loop {
            match self.notified.recv(&mut message) {
                Ok(count) if message[..count].split(|&b| b == b'\n').any(|l| l == b"READY=1") => {
                    return;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("cannot be notified: {error}"),
            }
            let ended = self.keeper.try_wait().expect("it is our child");
            assert!(
                ended.is_none() && Instant::now() < until,
                "the node does not start: {ended:?}"
            );
        }
    }

    /// Ends the whole node; what is in its directory stays.
    pub fn stop(&mut self) {
        self.end();
    }

    /// Starts a node that was stopped again, in the same directory, and waits until it serves.
    pub fn start_again(&mut self) {
        // What the one before had to say is not about this one.
        self.take_notices();
        (self.keeper, self.stdout, self.stderr) = self.setup.spawn(self.directory.path());
        self.wait_until_ready();
    }

    /// Ends everything that belongs to this node, the hard way if it must be.
    fn end(&mut self) {
        // Two signals: the second says that there is a hurry, and nothing is waited for.
        for signal in [Signal::Terminate, Signal::Interrupt] {
            let _ = signal::send(self.pid(), signal);
        }
        if self.exit_within(END_WITHIN).is_some() {
            return;
        }
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let _ = self.keeper.kill();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let _ = signal::send_group(pid, Signal::Kill);
            let _ = signal::send(pid, Signal::Kill);
        }
        let _ = self.keeper.wait();
    }
}

fn server<'s>(status: &'s Value, pool: &str, name: &str) -> Option<&'s Value> {
    let mut pools = status["pools"].as_array().expect("a list").iter();
    let pool = pools.find(|one| one["name"] == pool).expect("the pool is there");
    let mut servers = pool["servers"].as_array().expect("a list").iter();
    servers.find(|one| one["name"] == name)
}

impl Drop for Node {
    fn drop(&mut self) {
        if !matches!(self.keeper.try_wait(), Ok(Some(_))) {
            self.end();
        }
        if std::thread::panicking() {
            eprintln!("-- standard error of the node:\n{}--", self.stderr.text());
            eprintln!("-- last lines of its access log:\n{}--", self.stdout.last(20));
        }
    }
}
