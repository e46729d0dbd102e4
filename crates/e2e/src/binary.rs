//! The binary under test.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Path of the `evergate` to test: `EVERGATE_BIN`, or else built here, once in a test run.
///
/// Cargo does not build the binaries of other packages for a test, and a test against the binary
/// of yesterday is worse than none.
pub fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("EVERGATE_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "evergate", "--message-format", "json"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // What cargo has told this test about its package is not said to the other cargo: build scripts
    // look at it, and half of all would be built anew for each run of the tests, and again after it.
    for (name, _) in std::env::vars_os() {
        let of_package = |start: &&str| name.as_encoded_bytes().starts_with(start.as_bytes());
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(of_package) {
            command.env_remove(&name);
        }
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    let built = command.output().expect("cargo runs this test");
    assert!(built.status.success(), "evergate does not build");
    let messages = built.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let messages = messages.filter_map(|line| serde_json::from_slice(line).ok());
    let executable = messages
        .filter(|message: &serde_json::Value| message["target"]["name"] == "evergate")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.expect("cargo says where it put the binary")
}
