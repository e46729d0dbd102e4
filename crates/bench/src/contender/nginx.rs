//! nginx with one worker, kept connections to the origin, and a buffered access log.

use std::ffi::OsString;
use std::fs;
use std::io;

use super::{AccessLog, Setup};
use crate::case::{Source, Transport};
use crate::certificate::Files;

pub(super) const PROGRAM: &str = "/usr/sbin/nginx";
/// Bodies above this get buffers of 64 KiB instead of the default pages.
const SMALL_BODY_BYTES: usize = 16 * 1024;

pub(super) fn prepare(setup: &Setup<'_>) -> io::Result<Vec<OsString>> {
    let config = setup.dir.join("nginx.conf");
    fs::write(&config, render(setup)?)?;
    Ok(Vec::from([
        PROGRAM.into(),
        "-p".into(),
        setup.dir.into(),
        "-e".into(),
        setup.dir.join("error.log").into(),
        "-c".into(),
        config.into(),
    ]))
}

fn render(setup: &Setup<'_>) -> io::Result<String> {
    let dir = setup.dir.display();
    let access_log = match setup.access_log {
        AccessLog::Off => "off".to_owned(),
        AccessLog::On => format!("{dir}/access.log combined buffer=64k flush=1s"),
    };
    let listen = setup.listen;
    let protocol = match setup.case.transport {
        Transport::Plain => "",
        Transport::Http2Plain => " http2",
        Transport::Tls | Transport::Http2 => " ssl http2",
    };
    let tls = tls(setup)?;
    let (origin, keepalive) = (setup.origin, setup.keepalive());
    let serving = match setup.case.source {
        Source::Origin => proxied(setup),
        Source::File => files(setup),
    };
    Ok(format!(
        "daemon off;
pid {dir}/nginx.pid;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log {dir}/error.log warn;

events {{
  use epoll;
  worker_connections 16384;
  multi_accept on;
}}

http {{
  access_log {access_log};
  client_body_temp_path {dir}/client_body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  client_body_buffer_size 64k;
  keepalive_requests 1000000000;
  server_tokens off;
  tcp_nodelay on;
{tls}
  upstream origin {{
    server {origin};
    keepalive {keepalive};
    keepalive_requests 1000000000;
  }}

  server {{
    listen {listen}{protocol} backlog=4096;
{serving}  }}
}}
"
    ))
}

/// What the manual advises against needless handshakes, though this load has none to spare.
fn tls(setup: &Setup<'_>) -> io::Result<String> {
    if !setup.case.transport.is_tls() {
        return Ok(String::new());
    }
    let Files { cert, key, .. } = setup.certificate.write(setup.dir)?;
    Ok(format!(
        "  ssl_certificate {};
  ssl_certificate_key {};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:SSL:10m;
  ssl_session_timeout 10m;
",
        cert.display(),
        key.display()
    ))
}

fn proxied(setup: &Setup<'_>) -> String {
    let buffers = if setup.case.body_bytes > SMALL_BODY_BYTES {
        "proxy_buffer_size 16k;\n    proxy_buffers 8 64k;\n    proxy_busy_buffers_size 128k;"
    } else {
        "# Default buffers: a response fits one."
    };
    format!(
        "    {buffers}
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
"
    )
}

/// Files are kept open, and looked for in their compressed form first, as Evergate does.
fn files(setup: &Setup<'_>) -> String {
    let root = setup.files();
    format!(
        "    types {{ text/plain txt; }}
    sendfile on;
    tcp_nopush on;
    open_file_cache max=1000 inactive=20s;
    open_file_cache_valid 30s;
    open_file_cache_errors on;
    gzip_static on;
    root {};
",
        root.display()
    )
}
