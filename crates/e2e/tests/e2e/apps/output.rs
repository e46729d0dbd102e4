//! What apps print.

use std::path::{Path, PathBuf};
use std::process::Command;

use evergate_e2e::wait_until;

use super::stage::{APP, Stage};
use crate::load::Traffic;

/// A file system that is soon full.
struct SmallDisk {
    path: tempfile::TempDir,
}

impl SmallDisk {
    /// None, with a word on the skipped test, where one may not mount.
    fn mount() -> Option<Self> {
        let path = tempfile::Builder::new().prefix("evergate-disk-").tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=256k,mode=0777", "tmpfs"]).arg(path.path());
        let is_mounted = command.output().is_ok_and(|done| done.status.success());
        if !is_mounted {
            eprintln!("skipped: no file system can be mounted here");
        }
        is_mounted.then_some(Self { path })
    }

    fn path(&self) -> &Path {
        self.path.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open on it keeps it for that long.
        let _ = Command::new("umount").arg("-l").arg(self.path.path()).status();
    }
}

fn log(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default());
    texts.collect()
}

#[test]
fn what_an_app_prints_is_kept_in_a_file_up_to_a_bound() {
    let shop =
        Stage::new(1).words("print=20000").key("output = { max = \"256KiB\", keep = 3 }").start();
    let folder: PathBuf = shop.node.path("state/log");
    wait_until("the last line is there", || log(&folder).contains("line 19999"));
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().collect();
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 256 * 1024, "{bytes} bytes in {files:?}");
    let text = log(&folder);
    assert!(text.contains("shop/0"), "each line says whose it is: {:.200}", text);
}

#[test]
fn a_full_disk_stops_neither_apps_nor_the_gateway() {
    let Some(disk) = SmallDisk::mount() else { return };
    let shop = Stage::new(1)
        .node(&format!("log_dir = {:?}", disk.path()))
        .app("chatty", &[APP, "flood"], "output = { max = \"64MiB\" }")
        .start();
    let traffic = Traffic::start(shop.node.web(), "/", 200);
    shop.node.stderr.wait_for(1, "no space left");
    traffic.wait_for(200);
    let report = traffic.finish();
    eprintln!("beside a full disk: {report}");
    report.expect_no_failure();
    assert!(shop.runs().iter().all(|run| run["generation"] == 1));
}
