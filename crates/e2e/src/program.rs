//! Foreign programs beside a node: proxies in front of it, servers behind it, clients of it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};

use crate::{free_address, skip, wait_until};

/// A server of somebody else's; it ends with this value.
#[derive(Debug)]
pub struct Program {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Program {
    /// HAProxy in HTTP mode. `rest` follows the line that binds, in a `frontend`. None if there is
    /// no HAProxy here.
    pub fn haproxy(bind: &str, rest: &str) -> Option<Self> {
        let directory = directory();
        let config = directory.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode http\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n\
             frontend front\n bind fd@0 {bind}\n{rest}\n"
        );
        std::fs::write(&config, text).expect("a new directory has room");
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports left");
        let address = listener.local_addr().expect("it is bound");
        let mut command = command("haproxy")?;
        command.args(["-db", "-f"]).arg(config).stdin(OwnedFd::from(listener));
        Some(Self::start(command, address, directory))
    }

    /// nginx. `server` follows the line that listens, in a `server`. None if there is no nginx here.
    pub fn nginx(listen: &str, server: &str) -> Option<Self> {
        let mut command = command("nginx")?;
        let directory = directory();
        let config = directory.path().join("nginx.conf");
        let address = free_address();
        let text = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\nclient_body_temp_path body;\nproxy_temp_path proxy;\n\
             fastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n\
             server {{\nlisten {address} {listen};\n{server}\n}}\n}}\n"
        );
        std::fs::write(&config, text).expect("a new directory has room");
        command.arg("-p").arg(directory.path()).arg("-c").arg(config).stdin(Stdio::null());
        Some(Self::start(command, address, directory))
    }

    /// A Python script whose standard input is the listening socket. None if there is no Python
    /// with these modules here.
    pub fn python(modules: &[&str], script: &str) -> Option<Self> {
        let mut command = python(modules)?;
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports left");
        let address = listener.local_addr().expect("it is bound");
        command.args(["-c", script]).stdin(OwnedFd::from(listener));
        Some(Self::start(command, address, directory()))
    }

    fn start(mut command: Command, address: SocketAddr, directory: tempfile::TempDir) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("it was found");
        wait_until("a foreign program listens", || {
            let ended = child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "it has ended: {ended:?}");
            TcpStream::connect(address).is_ok()
        });
        Self { child, address, _directory: directory }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command of `name`; none, with a word on the skipped test, if there is no such program here.
pub fn command(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers' programs lie where only root looks.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    if found.is_none() {
        skip(&format!("there is no {name} here"));
    }
    found.map(Command::new)
}

/// Python with these modules: `EVERGATE_PYTHON`, or else `python3`; none, with a word on the
/// skipped test, if one of them is missing.
pub fn python(modules: &[&str]) -> Option<Command> {
    let program = std::env::var_os("EVERGATE_PYTHON").unwrap_or_else(|| "python3".into());
    let import = format!("import {}", modules.join(", "));
    let tried = Command::new(&program).args(["-c", &import]).stderr(Stdio::null()).status();
    if tried.is_ok_and(|status| status.success()) {
        return Some(Command::new(program));
    }
    skip(&format!("there is no {} with {}", program.display(), modules.join(", ")));
    None
}

/// What a command that ends has printed on standard output.
///
/// # Panics
/// If it fails; whatever it printed is shown.
pub fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it can be run");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("evergate-").tempdir().expect("there is room for a directory")
}
