//! The examples at the root of the repository.

use std::path::{Path, PathBuf};

use evergate_config::{Diagnostic, Loaded, format, load, recall, remember, render, to_toml};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("evergate.toml")
}

#[track_caller]
fn loaded(name: &str) -> Loaded {
    load(&example(name)).unwrap_or_else(|diagnostics| panic!("{}", render(&diagnostics, false)))
}

/// What Git does to permissions is no fault of an example.
fn but_permissions(warnings: &[Diagnostic]) -> Vec<Diagnostic> {
    warnings.iter().filter(|warning| warning.code != "public-secret").cloned().collect()
}

#[test]
fn the_examples_load_without_warnings() {
    for name in ["quickstart", "full-gateway"] {
        let warnings = but_permissions(&loaded(name).warnings);
        assert!(warnings.is_empty(), "{name}: {}", render(&warnings, false));
    }
}

#[test]
fn the_examples_are_formatted() {
    for name in ["quickstart", "full-gateway"] {
        let text = std::fs::read_to_string(example(name)).expect("the example is there");
        assert_eq!(format(&text).expect("it is TOML"), text, "{name}");
    }
}

#[test]
fn the_effective_configuration_hides_secrets() {
    let text = to_toml(&loaded("full-gateway").config);
    assert!(!text.contains("example-"), "{text}");
    assert_eq!(text.matches("\"***\"").count(), 4, "two tokens and two keys: {text}");
}

#[test]
fn debug_output_hides_secrets() {
    let text = format!("{:?}", loaded("full-gateway"));
    assert!(!text.contains("example-"), "{text}");
}

#[test]
fn what_is_remembered_is_recalled_without_the_disk() {
    let loaded = loaded("full-gateway");
    let recalled = recall(&remember(&loaded)).expect("it was just remembered");
    assert_eq!(recalled.config, loaded.config);
    assert_eq!(recalled.warnings, loaded.warnings);
    assert_eq!(recalled.sources, loaded.sources);
    assert_eq!(remember(&recalled), remember(&loaded));
}
