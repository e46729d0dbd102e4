//! Processes by where they are: what a node consists of is what runs in its namespace.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use evergate_sys::signal::{self, Signal};

/// A process in a namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its arguments, with spaces between.
    pub command: String,
}

impl Process {
    /// Whether this is the process that outlives Evergate's keeper for a moment, to clean up.
    pub fn is_watcher(&self) -> bool {
        self.command.split(' ').nth(1) == Some("watcher")
    }
}

/// Path of a program; servers' programs lie where only root looks.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([
        "/usr/sbin".into(),
        "/sbin".into(),
        "/usr/lib/frr".into(),
    ]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Every process in the network namespace that `mount` stands for, youngest first.
pub(super) fn inside(mount: &Path) -> Vec<Process> {
    let Ok(namespace) = fs::metadata(mount).map(|it| it.ino()) else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_inside = |pid: &u32| {
        fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|it| it.ino() == namespace)
    };
    let mut processes: Vec<Process> = pids
        .filter(is_inside)
        .filter_map(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
            // A process that has ended has no arguments any more.
            (!words.is_empty()).then_some(Process { pid, command: words })
        })
        .collect();
    processes.sort_by_key(|process| std::cmp::Reverse(process.pid));
    processes
}

/// Kills all of them at one time: none may see another one die and act on it, such as by starting a
/// new one or by saying last words.
pub fn kill_all(processes: &[Process]) {
    signal_all(processes, Signal::Stop);
    signal_all(processes, Signal::Kill);
}

/// Sends `signal` to each, in this order; those that have ended are left out.
pub fn signal_all(processes: &[Process], what: Signal) {
    for process in processes {
        let _ = signal::send(process.pid, what);
    }
}
