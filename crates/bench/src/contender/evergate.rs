//! Evergate with one thread, and with what it does beside forwarding: health checks, access log,
//! forwarding header fields.

use std::ffi::OsString;
use std::fs;
use std::io;

use super::{AccessLog, Setup};
use crate::case::Source;
use crate::certificate::Files;

pub(super) fn prepare(setup: &Setup<'_>) -> io::Result<Vec<OsString>> {
    let config = setup.dir.join("evergate.toml");
    fs::write(&config, render(setup)?)?;
    Ok(Vec::from([setup.evergate.into(), "run".into(), "-c".into(), config.into()]))
}

fn render(setup: &Setup<'_>) -> io::Result<String> {
    let dir = setup.dir.display();
    let access = match setup.access_log {
        AccessLog::Off => "off",
        AccessLog::On => "json",
    };
    let listen = setup.listen;
    let tls = tls(setup)?;
    let action = match setup.case.source {
        Source::Origin => proxied(setup),
        Source::File => format!("static = {{ root = \"{}\" }}\n", setup.files().display()),
    };
    // The whole load comes from one address, over connections that never end.
    Ok(format!(
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
{tls}
[route.all]
match = \"/*\"
{action}"
    ))
}

fn tls(setup: &Setup<'_>) -> io::Result<String> {
    if !setup.case.transport.is_tls() {
        return Ok(String::new());
    }
    let Files { cert, key, .. } = setup.certificate.write(setup.dir)?;
    let (cert, key) = (cert.display(), key.display());
    Ok(format!("tls = {{ certs = [{{ cert = \"{cert}\", key = \"{key}\" }}] }}\n"))
}

fn proxied(setup: &Setup<'_>) -> String {
    let (origin, keepalive) = (setup.origin, setup.keepalive());
    format!(
        "pool = \"origin\"

[pool.origin]
servers = {{ a = {{ url = \"http://{origin}\" }} }}
keepalive = {keepalive}
check.http = {{ path = \"/health\", every = \"2s\", timeout = \"1s\" }}
"
    )
}
