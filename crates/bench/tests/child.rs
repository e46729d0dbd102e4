//! Contenders end with the program that started them, whatever ends it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use evergate_bench::process::Tree;

const WRAPPER: &str = env!("CARGO_BIN_EXE_evergate-bench");

fn start(dir: &Path, script: &str) -> Tree {
    let argv = ["/bin/sh", "-c", script].map(OsString::from);
    let log = File::create(dir.join("log")).expect("the folder is ours");
    Tree::start(Path::new(WRAPPER), Some(0), &argv, log).expect("a shell starts")
}

/// Waits until `path` has a whole line, and yields it.
fn line_of(path: &Path) -> String {
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if let Some((line, _)) = text.split_once('\n') {
            return line.to_owned();
        }
        std::thread::yield_now();
    }
}

fn lives(pid: &str) -> bool {
    // One that ended and that nobody has asked about yet is no more alive.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| !text.contains(") Z "))
}

#[test]
fn a_dropped_tree_leaves_no_process_even_if_one_ignores_the_request() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let pids = dir.path().join("pids");
    let stubborn = "trap '' TERM; while :; do sleep 1; done";
    let script = format!("sh -c \"{stubborn}\" & echo $! >{0}; wait", pids.display());
    let tree = start(dir.path(), &script);
    let pid = line_of(&pids);
    assert!(tree.len().expect("/proc is there") >= 2);
    assert!(tree.memory().expect("/proc is there").resident > 0);
    assert!(lives(&pid));
    drop(tree);
    assert!(!lives(&pid), "process {pid} was left behind");
}

#[test]
fn a_child_on_a_strange_parent_does_not_start() {
    let output = Command::new(WRAPPER)
        .args(["child", "--core", "0", "--parent", "1", "--", "/bin/true"])
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("process 1 is not our parent"), "{text}");
}
