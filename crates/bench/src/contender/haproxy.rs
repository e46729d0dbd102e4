//! HAProxy with one thread and connections to the origin that all clients share.

use std::ffi::OsString;
use std::fs;
use std::io;

use super::Setup;
use crate::case::Transport;

pub(super) const PROGRAM: &str = "/usr/sbin/haproxy";

/// HAProxy's own default. A head and a body that fit one buffer pass in one go.
const BUFFER_BYTES: usize = 16 * 1024;

pub(super) fn prepare(setup: &Setup<'_>) -> io::Result<Vec<OsString>> {
    let config = setup.dir.join("haproxy.cfg");
    fs::write(&config, render(setup)?)?;
    // `-db`: in the foreground, one process.
    Ok(Vec::from([PROGRAM.into(), "-db".into(), "-f".into(), config.into()]))
}

fn render(setup: &Setup<'_>) -> io::Result<String> {
    let (listen, origin, case) = (setup.listen, setup.origin, setup.case);
    // Each helps its case and costs the others something, so each contender gets what suits it.
    let splice = if case.body_bytes > BUFFER_BYTES { "option splice-response" } else { "" };
    let buffer = if case.upload_bytes >= BUFFER_BYTES { 2 * BUFFER_BYTES } else { BUFFER_BYTES };
    let protocol = protocol(setup)?;
    let scheme = if case.transport.is_tls() { "https" } else { "http" };
    Ok(format!(
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
  bind {listen} backlog 4096{protocol}
  http-request set-header X-Forwarded-Proto {scheme}
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend origin

backend origin
  server a {origin} pool-max-conn -1 pool-purge-delay 60s
"
    ))
}

/// What follows the address that is listened on.
fn protocol(setup: &Setup<'_>) -> io::Result<String> {
    Ok(match setup.case.transport {
        Transport::Plain => String::new(),
        Transport::Http2Plain => " proto h2".to_owned(),
        Transport::Tls | Transport::Http2 => {
            let both = setup.certificate.write(setup.dir)?.both;
            format!(" ssl crt {} ssl-min-ver TLSv1.2 alpn h2,http/1.1", both.display())
        }
    })
}
