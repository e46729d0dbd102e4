//! Who starts processes again, configured to do so at once.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::INSTANCES;

/// Ports of the processes under supervisord, which hands out none, begin with this.
const PORTS: &str = "2340";

/// Who looks after processes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Supervisor {
    /// This repository's own, as balancer as well.
    Evergate,
    /// Debian's supervisord.
    Supervisord,
}

impl Supervisor {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evergate => "evergate",
            Self::Supervisord => "supervisord",
        }
    }

    /// Writes its configuration into `dir`; returns what starts it.
    pub(super) fn prepare(
        self,
        dir: &Path,
        bench: &Path,
        evergate: &Path,
    ) -> io::Result<Vec<OsString>> {
        let config = dir.join(format!("{}.conf", self.name()));
        match self {
            Self::Evergate => {
                fs::write(&config, evergate_config(dir, bench))?;
                Ok(Vec::from([evergate.into(), "run".into(), "-c".into(), config.into()]))
            }
            Self::Supervisord => {
                fs::write(&config, supervisord_config(dir, bench))?;
                Ok(Vec::from(["supervisord".into(), "-n".into(), "-c".into(), config.into()]))
            }
        }
    }
}

/// A run that was ready for a millisecond counts as stable, so that the next starts at once.
fn evergate_config(dir: &Path, bench: &Path) -> String {
    let (births, dir) = (dir.join("births.sock"), dir.display());
    format!(
        "[node]
name = \"bench\"
state_dir = \"{dir}/state\"
run_dir = \"{dir}/run\"
threads = 1

[log]
access = \"off\"

[listener.web]
bind = [\"127.0.0.1:0\"]
limits = {{ connections_per_ip = 4000, requests = 1000000000 }}

[route.all]
match = \"/*\"
pool = \"shop\"

[pool.shop]
servers = {{ shop = {{ app = \"shop\" }} }}

[app.shop]
run = [{bench:?}, \"app\", \"--births\", {births:?}]
instances = {INSTANCES}
ready = {{ http = \"/health\" }}
backoff = {{ stable_after = \"1ms\", failures = 1000 }}
"
    )
}

fn supervisord_config(dir: &Path, bench: &Path) -> String {
    let (births, bench) = (dir.join("births.sock").display().to_string(), bench.display());
    let dir = dir.display();
    format!(
        "[supervisord]
logfile={dir}/supervisord.log
pidfile={dir}/supervisord.pid
childlogdir={dir}
user=root

[program:shop]
command={bench} app --births {births} --number %(process_num)d
environment=PORT=\"{PORTS}%(process_num)d\"
process_name=%(process_num)d
numprocs={INSTANCES}
autorestart=true
startsecs=0
startretries=1000
"
    )
}
