//! A fake node that listens, and the commands that ask it.

use std::path::PathBuf;
use std::process::Stdio;

use evergate_console::{Listening, serve};
use tokio::net::UnixListener;
use tokio::process::Command;

use crate::fake::Fake;

/// A fake node that listens.
pub(crate) struct Node {
    pub(crate) fake: Fake,
    pub(crate) socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Node {
    pub(crate) fn start() -> Self {
        let fake = Fake::start();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let router = fake.router.clone();
        tokio::spawn(serve(Listening::Unix(listener), router, std::future::pending()));
        Self { fake, socket, _folder: folder }
    }

    /// A command that asks this node.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = command(line);
        command.arg("--socket").arg(&self.socket);
        command
    }
}

/// A command that asks no node, or whom it is told to.
pub(crate) fn command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergate"));
    command.args(line.split_whitespace()).stdin(Stdio::null()).kill_on_drop(true);
    command
}
