//! Evergate with one thread, and with what it does beside forwarding: health checks, access log,
//! forwarding header fields.

use std::ffi::OsString;
use std::fs;
use std::io;

use super::{AccessLog, Setup};

pub(super) fn prepare(setup: &Setup<'_>) -> io::Result<Vec<OsString>> {
    let config = setup.dir.join("evergate.toml");
    fs::write(&config, render(setup))?;
    Ok(Vec::from([setup.evergate.into(), "run".into(), "-c".into(), config.into()]))
}

fn render(setup: &Setup<'_>) -> String {
    let dir = setup.dir.display();
    let access = match setup.access_log {
        AccessLog::Off => "off",
        AccessLog::On => "json",
    };
    let (listen, origin) = (setup.listen, setup.origin);
    let keepalive = setup.connections.max(64);
    // The whole load comes from one address, over connections that never end.
    format!(
        "[node]
name = \"bench\"
state_dir = \"{dir}/state\"
run_dir = \"{dir}/run\"
threads = 1

[log]
level = \"info\"
access = \"{access}\"

[listener.web]
bind = [\"{listen}\"]
limits = {{ connections = 4000, connections_per_ip = 4000, requests = 1000000000 }}

[route.all]
match = \"/*\"
pool = \"origin\"

[pool.origin]
servers = {{ a = {{ url = \"http://{origin}\" }} }}
keepalive = {keepalive}
check.http = {{ path = \"/health\", every = \"2s\", timeout = \"1s\" }}
"
    )
}
