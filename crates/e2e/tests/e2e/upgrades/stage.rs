//! A node with everything that an upgrade could break.

use evergate_e2e::{Ca, Client, Node, Setup, wait_until};
use evergate_sys::process;
use serde_json::Value;

use crate::apps::stage::{APP, ports, runs};
use crate::load::{Storm, Strength};
use crate::processes::pid;
use crate::scene::get;

/// Instances of the app.
pub(crate) const INSTANCES: u16 = 2;
/// How much more memory of its own a node may have afterwards: what a heap keeps of its busiest
/// moment, which is a matter of luck in so few rounds. The bench has the figures of a release build
/// over many.
const OWN_BYTES_MORE_MAX: u64 = 3 * 1024 * 1024;

/// Descriptors that the keeper may have more: that of a new binary.
const FDS_MORE_MAX: u32 = 2;

/// A node with an app `shop` behind two listeners, `web` and `tls`.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) config: String,
    /// What was there at first and must stay.
    keeper: u32,
    runs: Vec<(u32, u64)>,
}

/// What a node takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Memory of their own, in bytes: how much of their code is resident beside it is the page
    /// cache's choice.
    keeper: u64,
    worker: u64,
    /// Descriptors of the keeper.
    fds: u32,
}

impl Stage {
    /// A node that serves.
    pub(crate) fn start() -> Self {
        Self::start_as(Setup::new())
    }

    /// The same, started in another way.
    pub(crate) fn start_as(setup: Setup) -> Self {
        let config = config();
        let issued = Ca::new().issue(&["localhost"]);
        let node = setup.threads(2).certificate("web", &issued).start(&config);
        for number in 0..INSTANCES {
            node.wait_for_state("shop", &format!("shop/{number}"), "up");
        }
        let runs = runs_of(&node.status());
        Self { keeper: node.pid(), runs, node, config }
    }

    /// Requests of all kinds, as many as there is time for.
    pub(crate) fn storm(&self) -> Storm {
        Storm::start(&self.node, crate::apps::stage::count(Strength::FEW, Strength::FULL))
    }

    /// Whether a request is answered as it should be.
    pub(crate) fn serves(&self) -> bool {
        let mut client = Client::connect(self.node.web());
        let sent = client.try_send(get("/", ""));
        sent.is_ok() && client.try_read_response().is_ok_and(|answer| answer.status == 200)
    }

    /// Whether an upgrade is under way and has come to `phase`.
    pub(crate) fn is_in(&self, phase: &str) -> bool {
        let upgrade = self.node.last_upgrade();
        let last = upgrade["steps"].as_array().and_then(|steps| steps.last());
        upgrade["outcome"] == "under way" && last.is_some_and(|step| step["phase"] == phase)
    }

    /// Process of the primary worker.
    pub(crate) fn worker(&self) -> u32 {
        let mut primary = None;
        wait_until("a worker is primary", || {
            let workers = self.node.workers();
            let mut workers = workers.as_array().expect("a list").iter();
            primary = workers.find(|one| one["state"] == "primary").map(|one| pid(&one["pid"]));
            primary.is_some()
        });
        primary.expect("it was waited for")
    }

    /// # Panics
    /// If the keeper or an instance is another process than at first.
    pub(crate) fn expect_same_processes(&self) {
        let status = self.node.status();
        assert_eq!(pid(&status["keeper_pid"]), self.keeper, "the keeper");
        assert_eq!(runs_of(&status), self.runs, "the apps");
    }

    /// What it takes now.
    pub(crate) fn usage(&self) -> Usage {
        let own_bytes = |pid| process::own_bytes(pid).expect("it lives");
        let keeper = process::usage(self.keeper).expect("it lives");
        Usage {
            keeper: own_bytes(self.keeper),
            worker: own_bytes(self.worker()),
            fds: keeper.fds.expect("it is ours"),
        }
    }
}

impl Usage {
    /// # Panics
    /// If `after` is much more.
    pub(crate) fn expect_no_growth(self, after: Self) {
        eprintln!("{self:?} at first, {after:?} at the end");
        assert!(after.fds <= self.fds + FDS_MORE_MAX, "descriptors are lost");
        let (before, after) = (self.keeper + self.worker, after.keeper + after.worker);
        assert!(after <= before + OWN_BYTES_MORE_MAX, "{before}, then {after} bytes");
    }
}

/// Waits until at most `count` workers drain.
pub(crate) fn expect_to_drain(node: &Node, count: usize) {
    wait_until(&format!("at most {count} workers drain"), || {
        let workers = node.workers();
        let workers = workers.as_array().expect("a list").iter();
        workers.filter(|one| one["state"] == "draining").count() <= count
    });
}

/// Process and number of exits of each instance.
fn runs_of(status: &Value) -> Vec<(u32, u64)> {
    let run = |run: &Value| (pid(&run["pid"]), run["exits"].as_u64().expect("a number"));
    runs(status, "shop").iter().map(run).collect()
}

fn config() -> String {
    let ports = ports();
    format!(
        r#"
[log]
access = "off"

[listener.web]
bind = ["127.0.0.1:0"]
limits = {{ connections_per_ip = 5000, requests = 100000 }}

[listener.tls]
bind = ["127.0.0.1:0"]
limits = {{ connections_per_ip = 5000, requests = 100000 }}
tls = {{ certs = [{{ cert = "web.pem", key = "web.key" }}] }}

[route.all]
match = "/*"
pool = "shop"

[route.talk]
match = "/talk"
pool = "shop"
drain_timeout = "3s"

[pool.shop]
servers = {{ shop = {{ app = "shop" }} }}

[app.shop]
run = [{APP:?}]
instances = {INSTANCES}
ports = {ports:?}
"#
    )
}
