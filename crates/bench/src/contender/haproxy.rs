//! HAProxy with one thread and connections to the origin that all clients share.

use std::ffi::OsString;
use std::fs;
use std::io;

use super::Setup;

pub(super) const PROGRAM: &str = "/usr/sbin/haproxy";

/// HAProxy's own default. A head and a body that fit one buffer pass in one go.
const BUFFER_BYTES: usize = 16 * 1024;

pub(super) fn prepare(setup: &Setup<'_>) -> io::Result<Vec<OsString>> {
    let config = setup.dir.join("haproxy.cfg");
    fs::write(&config, render(setup))?;
    // `-db`: in the foreground, one process.
    Ok(Vec::from([PROGRAM.into(), "-db".into(), "-f".into(), config.into()]))
}

fn render(setup: &Setup<'_>) -> String {
    let (listen, origin) = (setup.listen, setup.origin);
    // Each helps its case and costs the others something, so each contender gets what suits it.
    let splice = if setup.body_bytes > BUFFER_BYTES { "option splice-response" } else { "" };
    let buffer = if setup.upload_bytes >= BUFFER_BYTES { 2 * BUFFER_BYTES } else { BUFFER_BYTES };
    format!(
        "global
  nbthread 1
  maxconn 4000
  tune.bufsize {buffer}

defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  option forwardfor
  option http-keep-alive
  {splice}
  http-reuse always

frontend web
  bind {listen} backlog 4096
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend origin

backend origin
  server a {origin} pool-max-conn -1 pool-purge-delay 60s
"
    )
}
