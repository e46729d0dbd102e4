//! A node with an app `shop` behind everything, and releases of it to deploy.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use evergate_e2e::{Client, Node, Response, Setup};
use serde_json::Value;

use crate::scene::get;

/// The app; see its source for what it does on request.
pub(crate) const APP: &str = env!("CARGO_BIN_EXE_e2e-app");
/// How often the status is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How often or how fast something is done: less by default than what is promised.
pub(crate) fn count<T>(few: T, full: T) -> T {
    if std::env::var_os("EVERGATE_FULL").is_some() { full } else { few }
}

/// What there is to be on the node.
#[derive(Debug)]
pub(crate) struct Stage {
    words: Vec<String>,
    keys: String,
    node: String,
    more: String,
    pool: String,
    releases: Releases,
}

/// A node with an app.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) node: Node,
    config: String,
    releases: Releases,
}

/// Folders with words for the app, and a link to one of them, in which it starts.
#[derive(Debug)]
struct Releases {
    directory: tempfile::TempDir,
    made: AtomicU16,
}

impl Stage {
    /// So many instances of an app that behaves.
    pub(crate) fn new(instances: u16) -> Self {
        let releases = Releases::new();
        releases.make("");
        Self {
            words: Vec::new(),
            keys: format!("instances = {instances}\n"),
            node: String::new(),
            more: String::new(),
            pool: String::new(),
            releases,
        }
    }

    /// What every release of it does.
    pub(crate) fn words(mut self, words: &str) -> Self {
        self.words.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// A line of `[app.shop]`.
    pub(crate) fn key(mut self, line: &str) -> Self {
        writeln!(self.keys, "{line}").unwrap();
        self
    }

    /// A line of `[pool.shop]`.
    pub(crate) fn pool(mut self, line: &str) -> Self {
        writeln!(self.pool, "{line}").unwrap();
        self
    }

    /// A line of `[node]`.
    pub(crate) fn node(mut self, line: &str) -> Self {
        writeln!(self.node, "{line}").unwrap();
        self
    }

    /// Another app, with a program of its own.
    pub(crate) fn app(mut self, name: &str, run: &[&str], keys: &str) -> Self {
        writeln!(self.more, "[app.{name}]\nrun = {run:?}\nports = {:?}\n{keys}", ports()).unwrap();
        self
    }

    /// Starts the node and waits until every instance may have requests.
    pub(crate) fn start(self) -> Shop {
        let shop = self.launch();
        shop.node.wait_for("every instance is in the pool", |status| {
            let servers = status["pools"][0]["servers"].as_array().expect("a list");
            let up = servers.iter().filter(|server| server["state"] == "up").count();
            up == runs(status, "shop").len()
        });
        shop
    }

    /// Starts the node.
    pub(crate) fn launch(self) -> Shop {
        let config = self.config();
        Shop { node: Setup::new().threads(2).start(&config), config, releases: self.releases }
    }

    fn config(&self) -> String {
        let run: Vec<&str> =
            [APP].into_iter().chain(self.words.iter().map(String::as_str)).collect();
        let Self { keys, node, more, pool, releases, .. } = self;
        format!(
            "{node}\n[log]\naccess = \"off\"\n\n[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
             limits = {{ connections_per_ip = 5000, requests = 100000 }}\n\n\
             [route.all]\nmatch = \"/*\"\npool = \"shop\"\n\n\
             [pool.shop]\nservers = {{ shop = {{ app = \"shop\" }} }}\n{pool}\n\
             [app.shop]\nrun = {run:?}\ncwd = {:?}\nports = {:?}\n{keys}\n{more}",
            releases.current(),
            ports(),
        )
    }
}

impl Shop {
    /// Makes the release that the next deploy rolls out.
    pub(crate) fn release(&self, words: &str) {
        self.releases.make(words);
    }

    /// Has the configuration applied with `from` replaced by `to`.
    pub(crate) fn change(&self, from: &str, to: &str) {
        let config = self.config.replace(from, to);
        assert_ne!(config, self.config, "there is no {from}");
        let (status, answer) = self.node.reload(&config);
        assert_eq!(status, 200, "{answer:#}");
    }

    /// Every run of `shop`, as the status shows it.
    pub(crate) fn runs(&self) -> Vec<Value> {
        runs(&self.node.status(), "shop")
    }

    /// Waits until the runs of `shop` are as `wanted`.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        runs(&self.node.wait_for(what, |status| wanted(&runs(status, "shop"))), "shop")
    }

    /// Waits until instance `number` of `shop` has one run, in `state`.
    pub(crate) fn wait_for_state(&self, number: u16, state: &str) -> Value {
        let is = |run: &Value| run["number"] == number && run["state"] == state;
        let runs = self.wait_for(&format!("shop/{number} is {state}"), |runs| {
            runs.iter().filter(|run| run["number"] == number).count() == 1 && runs.iter().any(is)
        });
        runs.into_iter().find(is).unwrap()
    }

    /// Has the operator wish something of `shop`; says step by step what that is.
    pub(crate) fn wish(&self, verb: &str) -> Vec<String> {
        let (status, answer) = self.node.api("POST", &format!("/api/v1/apps/shop/{verb}"), None);
        assert_eq!(status, 200, "{verb}: {answer}");
        let plan = answer["plan"].as_array().unwrap();
        plan.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    }

    /// The deploy that is under way, or the last one.
    pub(crate) fn deploy(&self) -> Value {
        self.node.status()["deploys"][0].clone()
    }

    /// Rolls out the newest release and waits for the end; looks at every status on the way.
    pub(crate) fn roll_out(&self, patience: Duration, mut look: impl FnMut(&[Value])) -> Value {
        let number = self.deploy()["number"].as_u64().unwrap_or_default() + 1;
        self.wish("deploy");
        let until = Instant::now() + patience;
        loop {
            let status = self.node.status();
            look(&runs(&status, "shop"));
            let deploy = &status["deploys"][0];
            if deploy["number"] == number && is_over(deploy) {
                return deploy.clone();
            }
            assert!(Instant::now() < until, "no end after {patience:?}: {status:#}");
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// The answer to `GET path`.
    pub(crate) fn get(&self, path: &str) -> Response {
        Client::ask(self.node.web(), get(path, ""))
    }

    /// Which run answers, as it describes itself.
    pub(crate) fn portrait(&self) -> Value {
        let answer = self.get("/");
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_str(answer.text()).unwrap()
    }
}

/// Every run of `app` in a status.
pub(crate) fn runs(status: &Value, app: &str) -> Vec<Value> {
    let all = status["apps"].as_array().expect("a list").iter();
    all.filter(|run| run["app"] == app).cloned().collect()
}

pub(crate) fn is_over(deploy: &Value) -> bool {
    deploy["phase"] == "done" || deploy["phase"] == "failed"
}

impl Releases {
    fn new() -> Self {
        // The app may be nobody.
        let permissions = fs::Permissions::from_mode(0o755);
        let directory = tempfile::Builder::new().permissions(permissions).tempdir();
        let directory = directory.expect("there is room for a directory");
        Self { directory, made: AtomicU16::new(0) }
    }

    fn current(&self) -> PathBuf {
        self.directory.path().join("current")
    }

    /// Makes another and lets the link lead to it.
    fn make(&self, words: &str) {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let release = self.directory.path().join(number.to_string());
        fs::create_dir(&release).expect("it is new");
        fs::write(release.join("words"), format!("release={number} {words}")).expect("it is ours");
        let next = self.directory.path().join("next");
        symlink(release, &next).expect("it is not there");
        fs::rename(next, self.current()).expect("one link replaces the other");
    }
}

/// Ports that no other test hands out.
pub(crate) fn ports() -> String {
    const EACH: u16 = 40;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 21_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 200 * EACH;
    format!("{first}-{}", first + EACH - 1)
}
