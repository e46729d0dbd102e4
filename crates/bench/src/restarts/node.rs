//! What a node says over its admin API.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::PATIENCE;

/// A node that is up, or coming up.
#[derive(Debug)]
pub(crate) struct Node {
    socket: PathBuf,
}

impl Node {
    pub(crate) fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Addresses of the servers of all pools that are up.
    pub(crate) fn servers_up(&self) -> anyhow::Result<BTreeSet<String>> {
        let pools = self.get("/api/v1/pools")?;
        let pools = pools["pools"].as_array().or(pools.as_array()).context("no pools")?;
        let servers = pools.iter().filter_map(|pool| pool["servers"].as_array()).flatten();
        let up = servers.filter(|server| server["state"] == "up");
        Ok(up.filter_map(|server| server["address"].as_str().map(str::to_owned)).collect())
    }

    /// Where the process listens.
    pub(crate) fn address_of(&self, pid: u32) -> anyhow::Result<String> {
        let answer = self.get("/api/v1/apps")?;
        let mut apps = answer["apps"].as_array().context("no apps")?.iter();
        let app = apps.find(|app| app["pid"] == pid).context("no app has that process")?;
        Ok(app["address"].as_str().context("it has no address")?.to_owned())
    }

    /// Where it serves.
    pub(crate) fn web(&self) -> anyhow::Result<SocketAddr> {
        let status = self.get("/api/v1/status")?;
        let address = status["listeners"][0]["addresses"][0].as_str();
        Ok(address.context("it does not listen")?.parse()?)
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("POST", path, &body.to_string())
    }

    fn call(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // HTTP/1.0, so that the end of the body is the end of the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        ensure!(head.contains(" 200 "), "{path}: {head} {body}");
        Ok(serde_json::from_str(body)?)
    }
}
