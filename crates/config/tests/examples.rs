//! The examples at the root of the repository.

use std::path::Path;

use evergate_config::{load, render};

fn loads_without_warnings(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    match load(&path.join("evergate.toml")) {
        Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}", render(&loaded.warnings, false)),
        Err(diagnostics) => panic!("{}", render(&diagnostics, false)),
    }
}

#[test]
fn the_quickstart_loads_without_warnings() {
    loads_without_warnings("quickstart");
}
