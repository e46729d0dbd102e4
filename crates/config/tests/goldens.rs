//! What operators read when a configuration is wrong: each file of `tests/data` beside the text
//! that is shown for it. `UPDATE_GOLDENS=1 cargo test -p evergate-config` writes them anew.

use std::fs;
use std::path::Path;

use evergate_config::{load_with, render};

mod support;

use support::Fixture;

/// What is shown for a file: errors, or the warnings of one that can be used.
fn shown(fixture: &Fixture, name: &str) -> String {
    let path = format!("{name}.toml");
    let diagnostics = match load_with(Path::new(&path), fixture) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    };
    render(&diagnostics, false)
}

#[test]
fn every_wrong_file_is_explained_as_expected() {
    let fixture = Fixture::new("data");
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut differing = Vec::new();
    for name in fixture.names() {
        let shown = shown(&fixture, &name);
        assert!(!shown.is_empty(), "{name}: there is something to say");
        let path = fixture.path(&format!("{name}.expected"));
        if update {
            fs::write(&path, &shown).expect("goldens can be written");
        } else if fs::read_to_string(&path).unwrap_or_default() != shown {
            differing.push(format!("== {name}\n{shown}"));
        }
    }
    assert!(differing.is_empty(), "{}\nUPDATE_GOLDENS=1 accepts them", differing.join("\n"));
}

#[test]
fn the_reference_in_the_documents_is_that_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.md");
    let reference = evergate_config::reference();
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        fs::write(&path, &reference).expect("documents can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference, "UPDATE_GOLDENS=1 writes {} anew", path.display());
}

#[test]
fn no_expected_text_is_left_over_or_shows_a_secret() {
    let fixture = Fixture::new("data");
    let names = fixture.names();
    assert!(names.len() >= 45, "there are {} wrong files", names.len());
    for entry in fs::read_dir(fixture.path("")).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|ending| ending == "expected") {
            let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            assert!(names.contains(&name), "{name}.expected has no {name}.toml");
            let text = fs::read_to_string(&path).expect("it can be read");
            assert!(!text.contains("hush") && !text.contains("not to be shown"), "{text}");
        }
    }
}

#[test]
fn diagnostics_say_the_same_as_json() {
    let fixture = Fixture::new("data");
    let diagnostics =
        load_with(Path::new("route_conflict.toml"), &fixture).expect_err("it is wrong");
    let json = diagnostics[0].to_json();
    assert_eq!(json["severity"], "error");
    assert_eq!(json["code"], "route-conflict");
    assert_eq!(json["path"], "route.two");
    assert_eq!(json["file"], "route_conflict.toml");
    assert_eq!((json["line"].as_u64(), json["column"].as_u64()), (Some(8), Some(8)));
    assert_eq!(json["related"][0]["line"], 4);
    assert!(json["help"].is_string() && json["message"].is_string());
}

#[test]
fn codes_are_kebab_case_and_every_error_has_a_place_and_a_path() {
    let fixture = Fixture::new("data");
    for name in fixture.names() {
        let path = format!("{name}.toml");
        for diagnostic in load_with(Path::new(&path), &fixture).err().unwrap_or_default() {
            let is_kebab = |b: u8| b.is_ascii_lowercase() || b == b'-';
            assert!(diagnostic.code.bytes().all(is_kebab), "{}", diagnostic.code);
            assert!(!diagnostic.file.is_empty(), "{name}: {diagnostic}");
            let of_whole_file = ["nothing-served", "open-admin"].contains(&diagnostic.code);
            assert!(diagnostic.line > 0 || of_whole_file, "{name}: {diagnostic}");
            let of_text = ["syntax", "duplicate-key"].contains(&diagnostic.code);
            assert!(!diagnostic.path.is_empty() || of_text, "{name}: {diagnostic}");
        }
    }
}
