//! A node with everything that an upgrade could break.

use evergate_e2e::{Ca, Node, Setup};
use evergate_sys::process;
use serde_json::Value;

use crate::apps::stage::{APP, ports, runs};
use crate::load::{Storm, Strength};
use crate::processes::pid;

/// Instances of the app.
pub(crate) const INSTANCES: u16 = 2;
/// How much more memory may be resident afterwards, in per cent.
const GROWTH_PERCENT_MAX: u64 = 10;

/// A node with an app `shop` behind two listeners, `web` and `tls`.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) config: String,
    /// What was there at first and must stay.
    keeper: u32,
    runs: Vec<(u32, u64)>,
}

/// Resident bytes of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident {
    pub(crate) keeper: u64,
    pub(crate) worker: u64,
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

    /// Process of the primary worker.
    pub(crate) fn worker(&self) -> u32 {
        pid(&self.node.status()["worker_pid"])
    }

    /// # Panics
    /// If the keeper or an instance is another process than at first.
    pub(crate) fn expect_same_processes(&self) {
        let status = self.node.status();
        assert_eq!(pid(&status["keeper_pid"]), self.keeper, "the keeper");
        assert_eq!(runs_of(&status), self.runs, "the apps");
    }

    /// How much memory is resident.
    pub(crate) fn resident(&self) -> Resident {
        let of = |pid| process::usage(pid).expect("it lives").resident_bytes;
        Resident { keeper: of(self.keeper), worker: of(self.worker()) }
    }
}

impl Resident {
    /// # Panics
    /// If `after` is much more.
    pub(crate) fn expect_no_growth(self, after: Self) {
        eprintln!("resident: {self:?} at first, {after:?} at the end");
        let (before, after) = (self.keeper + self.worker, after.keeper + after.worker);
        assert!(
            after <= before + before * GROWTH_PERCENT_MAX / 100,
            "{before}, then {after} bytes"
        );
    }
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

[pool.shop]
servers = {{ shop = {{ app = "shop" }} }}

[app.shop]
run = [{APP:?}]
instances = {INSTANCES}
ports = {ports:?}
"#
    )
}
