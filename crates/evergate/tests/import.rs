//! `evergate import keepalived`, run as a user would.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CARRIED: &str = "vrrp_instance VI_1 {\n  state MASTER\n  interface eth0\n  virtual_router_id 51\n\
    virtual_ipaddress {\n 10.0.0.100/24\n }\n}\n";

fn evergate(args: &[&str], file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergate"));
    command.args(args).arg(file).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn what_is_printed_is_a_configuration_and_the_rest_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (theirs, ours) = (folder.path().join("keepalived.conf"), folder.path().join("e.toml"));
    fs::write(&theirs, CARRIED).unwrap();
    let output = evergate(&["import", "keepalived"], &theirs);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    fs::write(&ours, &output.stdout).unwrap();
    let checked = evergate(&["check"], &ours);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));

    fs::write(&theirs, format!("{CARRIED}virtual_server 10.0.0.100 80 {{\n}}\n")).unwrap();
    let output = evergate(&["import", "keepalived"], &theirs);
    assert_eq!(output.status.code(), Some(1));
    let told = format!("{}:9: `virtual_server` is not carried", theirs.display());
    assert!(text(&output.stderr).starts_with(&told), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("[vip.VI_1]"));

    let output = evergate(&["import", "keepalived", "--json"], &theirs);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["notes"][0]["line"].as_u64(), output.status.code()), (Some(9), Some(1)));
}

#[test]
fn a_file_that_is_not_there_gives_two() {
    let output = evergate(&["import", "keepalived"], Path::new("/nowhere/keepalived.conf"));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(text(&output.stderr).contains("/nowhere/keepalived.conf cannot be read"));
}
