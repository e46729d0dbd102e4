//! The node of the demo: a folder, a configuration, a child process.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail};
use evergate_control::snapshot::Status;
use evergate_sys::signal::Signal;
use evergate_sys::{clock, privilege, signal};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ctl::client::{Client, Failure};

/// Name of the app, its pool and its route.
pub(super) const APP: &str = "shop";
/// How many instances.
pub(super) const INSTANCES: u16 = 3;
/// The link to the release that is to run.
const CURRENT: &str = "current";
/// Whom the worker becomes when the demo is run by root.
const USER: &str = "nobody";
/// Longest wait until every instance is up.
const START_MAX: Duration = Duration::from_secs(20);
/// Longest wait until the child has ended by itself.
const STOP_MAX: Duration = Duration::from_secs(15);
/// Time between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Lines of the log shown when something went wrong.
const LOG_LINES_SHOWN: usize = 20;

/// A running node. Dropping it ends the child and removes the folder.
pub(super) struct Node {
    child: Child,
    client: Client,
    folder: TempDir,
}

/// Where the node listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// The app, balanced.
    pub(super) web: SocketAddr,
    /// The console, if the node tells.
    pub(super) admin: Option<SocketAddr>,
}

impl Node {
    /// Makes the folder and starts the child.
    pub(super) fn start(canary_for: Duration) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the own program")?;
        let folder = tempfile::Builder::new()
            .prefix("evergate-demo-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let (run_dir, state_dir) = (folder.path().join("run"), folder.path().join("state"));
        prepare(folder.path(), &run_dir, &state_dir).context("cannot prepare the folder")?;
        release(folder.path(), 1).context("cannot lay out the first release")?;
        let file = folder.path().join("evergate.toml");
        let app = program_for_apps(&program, folder.path())?;
        let current = folder.path().join(CURRENT);
        fs::write(&file, config(&app, [&run_dir, &state_dir, &current], canary_for)?)?;
        fs::set_permissions(&file, Permissions::from_mode(0o644))?;
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new(&program)
            .args(["run".as_ref(), "-c".as_ref(), file.as_os_str()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for the demo, which then stops the child in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self { child, client: Client::new(run_dir.join("admin.sock")), folder })
    }

    /// Waits until it listens and every instance is up; none if `interrupted` says so before.
    pub(super) fn wait_until_ready(
        &mut self,
        interrupted: impl Fn() -> bool,
    ) -> anyhow::Result<Option<Ready>> {
        let began = clock::now();
        loop {
            if interrupted() {
                return Ok(None);
            }
            self.ensure_running()?;
            if let Some(ready) = self.status().as_ref().and_then(ready) {
                return Ok(Some(ready));
            }
            if clock::now() - began > START_MAX {
                let seconds = START_MAX.as_secs();
                bail!(
                    "the node was not ready within {seconds} s; its log ends:\n{}",
                    self.log_tail()
                );
            }
            sleep(LOOK_EVERY);
        }
    }

    /// An error with the log's end if the child is gone.
    pub(super) fn ensure_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(exit) => bail!("the node ended with {exit}; its log ends:\n{}", self.log_tail()),
        }
    }

    /// The state of the node, unless it does not answer right now.
    pub(super) fn status(&self) -> Option<Status> {
        self.client.get("/api/v1/status").ok()
    }

    /// Ends an instance with SIGKILL.
    pub(super) fn kill(&self, instance: u16) -> Result<(), Failure> {
        let target = format!("/api/v1/apps/{APP}/kill?instance={instance}");
        self.client.send::<Value>("POST", &target, &json!({})).map(drop)
    }

    /// Switches the link to the second release and has that rolled out.
    pub(super) fn deploy(&self) -> anyhow::Result<()> {
        release(self.folder.path(), 2).context("cannot lay out the second release")?;
        let target = format!("/api/v1/apps/{APP}/deploy");
        self.client.send::<Value>("POST", &target, &json!({}))?;
        Ok(())
    }

    /// Stops the child in order.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        signal::send(self.child.id(), Signal::Terminate)?;
        let began = clock::now();
        while self.child.try_wait()?.is_none() {
            if clock::now() - began > STOP_MAX {
                let seconds = STOP_MAX.as_secs();
                bail!(
                    "the node did not stop within {seconds} s; its log ends:\n{}",
                    self.log_tail()
                );
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let first = lines.len().saturating_sub(LOG_LINES_SHOWN);
        lines[first..].iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // In order first, so that the instances end too.
            drop(signal::send(self.child.id(), Signal::Terminate));
            let began = clock::now();
            while matches!(self.child.try_wait(), Ok(None)) && clock::now() - began < STOP_MAX {
                sleep(LOOK_EVERY);
            }
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Makes the folders. When root runs the demo, the worker is another user and must get in.
fn prepare(folder: &Path, run_dir: &Path, state_dir: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    for path in [run_dir, state_dir] {
        fs::create_dir(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        if privilege::is_root() {
            let user = privilege::user(USER)?;
            chown(path, Some(user.uid), Some(user.gid))?;
        }
    }
    Ok(())
}

/// Lays a release out in a folder of its own and switches the link to it at once, so that nobody
/// ever finds half of it.
fn release(folder: &Path, number: u16) -> io::Result<()> {
    let (name, new) = (format!("release-{number}"), folder.join("new"));
    let own = folder.join(&name);
    fs::create_dir(&own)?;
    fs::set_permissions(&own, Permissions::from_mode(0o755))?;
    fs::write(own.join("release"), number.to_string())?;
    fs::set_permissions(own.join("release"), Permissions::from_mode(0o644))?;
    symlink(name, &new)?;
    fs::rename(new, folder.join(CURRENT))
}

/// Where the app instances find the program. Those of a root keeper are another user, to whom the
/// folder it was built in may be closed.
fn program_for_apps(program: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    if !privilege::is_root() {
        return Ok(program.to_owned());
    }
    let copy = folder.join("demo-app");
    fs::copy(program, &copy).context("cannot copy the program into the temporary folder")?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

fn config(
    program: &Path,
    [run_dir, state_dir, current]: [&Path; 3],
    canary_for: Duration,
) -> anyhow::Result<String> {
    // A JSON string is a TOML basic string too.
    let quote = |path: &Path| -> anyhow::Result<String> {
        let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        Ok(serde_json::to_string(text)?)
    };
    let (program, current) = (quote(program)?, quote(current)?);
    let (run_dir, state_dir) = (quote(run_dir)?, quote(state_dir)?);
    let canary_ms = canary_for.as_millis();
    Ok(format!(
        r#"[node]
name = "demo"
run_dir = {run_dir}
state_dir = {state_dir}
user = "{USER}"

[admin]
bind = ["127.0.0.1:0"]

[log]
format = "text"
access = "off"

[listener.web]
bind = ["127.0.0.1:0"]
# All load comes from one address.
limits = {{ connections_per_ip = 8192 }}

[route.{APP}]
match = "/*"
pool = "{APP}"

[pool.{APP}]
servers = {{ {APP} = {{ app = "{APP}" }} }}

[app.{APP}]
run = [{program}, "demo-app"]
instances = {INSTANCES}
# A link to a release; a deploy follows it anew.
cwd = {current}
ready.http = "/health"
alive = {{ http = "/health", every = "500ms" }}
# Crashes are what this is about.
backoff = {{ base = "50ms", cap = "500ms", failures = 1000, stable_after = "1s" }}
stop = {{ drain = "5s", timeout = "2s" }}
output.to = "nowhere"
deploy = {{ surge = 1, unavailable = 0, canary_for = "{canary_ms}ms" }}
"#
    ))
}

/// Where it listens, once everything is up.
fn ready(status: &Status) -> Option<Ready> {
    let address = |texts: &[String]| -> Option<SocketAddr> {
        let mut addresses = texts.iter().filter_map(|text| text.parse().ok());
        addresses.find(|address: &SocketAddr| address.port() != 0)
    };
    let web = status.listeners.iter().find(|listener| listener.name == "web")?;
    let web = address(&web.addresses)?;
    let servers = status.pools.iter().flat_map(|pool| &pool.servers);
    let up = servers.filter(|server| server.state == "up").count();
    (up == usize::from(INSTANCES)).then(|| Ready { web, admin: address(&status.admin) })
}

#[cfg(test)]
mod tests {
    use evergate_control::snapshot::{ListenerStatus, PoolStatus, ServerStatus};

    use super::*;

    #[test]
    fn the_configuration_has_neither_errors_nor_warnings() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("evergate.toml");
        let odd = &folder.path().join("a \"b\"\\c");
        fs::create_dir(odd).unwrap();
        let text = config(Path::new("/bin/true"), [odd; 3], Duration::from_secs(2)).unwrap();
        fs::write(&file, text).unwrap();
        let loaded = evergate_config::load(&file)
            .unwrap_or_else(|found| panic!("{}", evergate_config::render(&found, false)));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        assert_eq!(loaded.config.node.run_dir, *odd);
        let app = &loaded.config.apps[APP];
        assert_eq!((app.instances, app.cwd.as_ref()), (INSTANCES, Some(odd)));
        assert_eq!(app.deploy.canary_for, Duration::from_secs(2));
    }

    #[test]
    fn a_release_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let current = || fs::read_to_string(folder.path().join("current/release")).unwrap();
        release(folder.path(), 1).unwrap();
        assert_eq!(current(), "1");
        release(folder.path(), 2).unwrap();
        assert_eq!(current(), "2");
        assert_eq!(fs::read_to_string(folder.path().join("release-1/release")).unwrap(), "1");
    }

    #[test]
    fn it_is_ready_when_it_listens_and_all_are_up() {
        let listener = ListenerStatus {
            name: "web".into(),
            addresses: vec!["127.0.0.1:8".into()],
            ..Default::default()
        };
        let server = ServerStatus { state: "up".into(), ..Default::default() };
        let mut status = Status {
            admin: vec!["/run/x.sock".into(), "127.0.0.1:9".into()],
            listeners: vec![listener],
            pools: vec![PoolStatus { servers: vec![server; 3], ..Default::default() }],
            ..Default::default()
        };
        let found = ready(&status).unwrap();
        assert_eq!((found.web.port(), found.admin.unwrap().port()), (8, 9));
        status.pools[0].servers[1].state = "starting".into();
        assert!(ready(&status).is_none());
        status.pools[0].servers[1].state = "up".into();
        status.listeners.pop();
        assert!(ready(&status).is_none());
    }
}
