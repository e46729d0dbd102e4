//! What a node says over its admin API.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;

/// A node that is up, or coming up.
#[derive(Debug)]
pub(super) struct Node {
    socket: PathBuf,
}

impl Node {
    pub(super) fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Addresses of the servers of all pools that are up.
    pub(super) fn servers_up(&self) -> anyhow::Result<BTreeSet<String>> {
        let pools = self.get("/api/v1/pools")?;
        let pools = pools["pools"].as_array().or(pools.as_array()).context("no pools")?;
        let servers = pools.iter().filter_map(|pool| pool["servers"].as_array()).flatten();
        let up = servers.filter(|server| server["state"] == "up");
        Ok(up.filter_map(|server| server["address"].as_str().map(str::to_owned)).collect())
    }

    /// Where the process listens.
    pub(super) fn address_of(&self, pid: u32) -> anyhow::Result<String> {
        let answer = self.get("/api/v1/apps")?;
        let mut apps = answer["apps"].as_array().context("no apps")?.iter();
        let app = apps.find(|app| app["pid"] == pid).context("no app has that process")?;
        Ok(app["address"].as_str().context("it has no address")?.to_owned())
    }

    /// Where it serves.
    pub(super) fn web(&self) -> anyhow::Result<SocketAddr> {
        let status = self.get("/api/v1/status")?;
        let address = status["listeners"][0]["addresses"][0].as_str();
        Ok(address.context("it does not listen")?.parse()?)
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut stream = UnixStream::connect(&self.socket)?;
        // HTTP/1.0, so that the end of the body is the end of the connection.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        ensure!(head.contains(" 200 "), "{path}: {head}");
        Ok(serde_json::from_str(body)?)
    }
}
