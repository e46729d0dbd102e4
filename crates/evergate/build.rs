//! With the feature `embedded`, puts the files below the folder `EVERGATE_EMBED` into the binary.
//!
//! Names that begin with a dot stay out, `.well-known` aside: what lies in such files was hardly
//! meant to be published. Symbolic links are followed, as whoever builds may read them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=EVERGATE_EMBED");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EMBEDDED").is_none() {
        return;
    }
    let root = env::var_os("EVERGATE_EMBED").map(PathBuf::from);
    let Some(root) = root.filter(|root| root.is_absolute() && root.is_dir()) else {
        println!(
            "cargo::error=feature `embedded`: EVERGATE_EMBED must be the absolute path of a folder"
        );
        return;
    };
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, "", &mut files);
    // As they are searched: by bytes.
    files.sort();
    let mut table = String::from("&[\n");
    for (name, path) in &files {
        let content = fs::read(path).expect("it was just listed");
        let tag = hash(&content);
        writeln!(
            table,
            "evergate_gateway::EmbeddedFile {{ path: {name:?}, content: include_bytes!({path:?}), \
             tag: \"{tag:032x}\" }},"
        )
        .expect("a string takes everything");
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("embedded.rs"), table).expect("cargo made the folder");
}

/// Adds the files of `folder`, each under `prefix` and its name.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            println!("cargo::error=feature `embedded`: {} is not UTF-8", path.display());
            continue;
        };
        if name.starts_with('.') && name != ".well-known" {
            continue;
        }
        let below = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{below}/"), files);
        } else if path.is_file() {
            files.push((below, path));
        }
    }
}

/// FNV-1a of 128 bits: the files are our own, so nobody looks for two that have the same.
fn hash(bytes: &[u8]) -> u128 {
    let start = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    bytes.iter().fold(start, |hash: u128, &byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}
