//! Configurations of keepalived: what becomes of each, and that `evergate check` takes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{Disk, Files, Imported, Severity, import_keepalived, load_with, render};

/// The disk below a directory.
struct Folder(PathBuf);

impl Files for Folder {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Disk.read(&self.0.join(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let paths = Disk.list(&self.0.join(directory))?;
        Ok(paths
            .iter()
            .filter_map(|path| path.strip_prefix(&self.0).ok())
            .map(Path::to_owned)
            .collect())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

/// A text, and a secret for whatever else is asked for.
struct Text(Vec<u8>);

impl Files for Text {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path == Path::new("main") {
            true => Ok(self.0.clone()),
            false => Ok(b"0123456789abcdef0123456789abcdef".to_vec()),
        }
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn mode(&self, _: &Path) -> Option<u32> {
        Some(0o600)
    }
}

fn folder() -> Folder {
    Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keepalived"))
}

fn import(name: &str, id: Option<&str>) -> Imported {
    import_keepalived(Path::new(name), &folder(), id).expect("it can be read")
}

/// What is said of an imported file: the TOML, the notes, and what `evergate check` has to say.
fn shown(imported: &Imported) -> String {
    let notes: Vec<_> = imported.notes.iter().map(|note| format!("{note}\n")).collect();
    let found = match load_with(Path::new("main"), &Text(imported.toml.clone().into_bytes())) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    };
    format!(
        "{}\n=== notes\n{}\n=== check\n{}",
        imported.toml,
        notes.concat(),
        render(&found, false)
    )
}

#[test]
fn every_file_becomes_what_is_expected() {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut differing = Vec::new();
    for (name, id) in [
        ("lab.conf", None),
        ("lab_v2.conf", None),
        ("gateway.conf", None),
        ("wild.conf", None),
        ("lvs.conf", None),
        ("site.conf", Some("edge-a")),
    ] {
        let shown = shown(&import(name, id));
        let path = folder().0.join(format!("{name}.expected"));
        if update {
            fs::write(&path, &shown).expect("goldens can be written");
        } else if fs::read_to_string(&path).unwrap_or_default() != shown {
            differing.push(format!("== {name}\n{shown}"));
        }
    }
    assert!(differing.is_empty(), "{}\nUPDATE_GOLDENS=1 accepts them", differing.join("\n"));
}

#[test]
fn what_the_lab_uses_is_taken_by_check() {
    for name in ["lab.conf", "lab_v2.conf"] {
        let imported = import(name, None);
        let loaded = load_with(Path::new("main"), &Text(imported.toml.clone().into_bytes()))
            .unwrap_or_else(|found| panic!("{}\n{}", imported.toml, render(&found, false)));
        assert!(loaded.warnings.is_empty(), "{}", render(&loaded.warnings, false));
        let vip = &loaded.config.vips["VI"];
        assert_eq!((vip.policy.router_id, vip.interface.as_str()), (51, "eth0"));
        assert!(vip.policy.preempt, "as keepalived does");
    }
}

#[test]
fn what_is_found_on_the_web_is_taken_by_check() {
    let imported = import("wild.conf", None);
    let loaded = load_with(Path::new("main"), &Text(imported.toml.clone().into_bytes()))
        .unwrap_or_else(|found| panic!("{}\n{}", imported.toml, render(&found, false)));
    assert_eq!(loaded.config.vips.len(), 4);
    assert_eq!(loaded.config.vips["VI_1"].peers.len(), 1, "the prefix of a peer means nothing");
}

/// Whoever takes the advice has something that works.
#[test]
fn what_is_proposed_is_taken_by_check_too() {
    for name in ["lab.conf", "lab_v2.conf"] {
        let toml = import(name, None).toml;
        let is_toml = |line: &str| line.starts_with('[') || line.contains(" = ");
        let taken = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if is_toml(rest) => rest.to_owned(),
            _ => line.to_owned(),
        };
        let taken: Vec<_> = toml.lines().map(taken).collect();
        let loaded = load_with(Path::new("main"), &Text(taken.join("\n").into_bytes()))
            .unwrap_or_else(|found| panic!("{toml}\n{}", render(&found, false)));
        assert_eq!(loaded.config.vips["VI"].track.len(), 1, "{toml}");
        assert_eq!(loaded.config.pools["chk"].checks.len(), 1, "{toml}");
    }
}

#[test]
fn machines_are_told_apart_by_their_id() {
    let priority = |id| {
        let toml = import("site.conf", id).toml;
        let line = toml.lines().find(|line| line.starts_with("priority"));
        line.map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(priority(Some("edge-a")), "priority = 200");
    assert_eq!(priority(Some("edge-b")), "priority = 190");
    assert_eq!(priority(None), "priority = 100");
    let notes = import("site.conf", None).notes;
    assert!(notes.iter().any(|note| note.message.contains("--id")), "{notes:?}");
}

#[test]
fn a_secret_is_in_no_note() {
    for name in ["lab_v2.conf", "gateway.conf"] {
        let imported = import(name, None);
        assert!(
            imported.toml.contains("pass = \"secret-o\"") || imported.toml.contains("s3cret12")
        );
        for note in imported.notes {
            assert!(!note.message.contains("secret"), "{note}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error_in_words() {
    let why = import_keepalived(Path::new("absent.conf"), &folder(), None).expect_err("absent");
    assert_eq!(why, "absent.conf cannot be read: no such file or directory");
}

#[test]
fn files_that_include_themselves_come_to_an_end() {
    let loops = Text(b"include main\ninclude main\n".to_vec());
    let imported = import_keepalived(Path::new("main"), &loops, None).expect("it can be read");
    assert!(imported.notes.iter().any(|note| note.message.contains("include each other")));
    let bomb = "$A=xxxxxxxxxxxxxxxx\n$B=$A$A$A$A$A$A$A$A\n$C=$B$B$B$B$B$B$B$B\n$D=$C$C$C$C$C$C$C$C\n\
        $E=$D$D$D$D$D$D$D$D\n$F=$E$E$E$E$E$E$E$E\n$G=$G$G\nglobal_defs { router_id $F$G }\n";
    let bomb = Text(bomb.as_bytes().to_vec());
    import_keepalived(Path::new("main"), &bomb, None).expect("it can be read");
}

/// Slips of the finger in every file we have: an answer each time, and TOML each time.
#[test]
fn no_text_makes_it_panic_and_what_comes_out_is_toml() {
    const LETTERS: &[u8] = b"\"{}#!\\\n$@~ =/.0\xc3";
    for name in ["lab.conf", "gateway.conf", "site.conf", "wild.conf"] {
        let text = fs::read(folder().0.join(name)).expect("it is there");
        for seed in 0..300 {
            let mut rng = evergate_core::rng::Rng::seeded(seed);
            let mut text = text.clone();
            for _ in 0..=rng.below(4) {
                let at = rng.below(text.len() as u32) as usize;
                let letter = LETTERS[rng.below(LETTERS.len() as u32) as usize];
                match rng.below(3) {
                    0 => drop(text.remove(at)),
                    1 => text.insert(at, letter),
                    _ => text[at] = letter,
                }
            }
            let imported = import_keepalived(Path::new("main"), &Text(text), None);
            let toml = imported.expect("it can be read").toml;
            let parsed: Result<toml::Table, _> = toml.parse();
            assert!(parsed.is_ok(), "{name} seed {seed}: {toml}");
            if let Err(found) = load_with(Path::new("main"), &Text(toml.clone().into_bytes())) {
                assert!(found.iter().any(|one| one.severity == Severity::Error), "{toml}");
            }
        }
    }
}
