//! What the documents and examples show, checked as a reader would who copies it.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// Warnings of what is not on this machine, which is no fault of a text.
const OF_THE_MACHINE: [&str; 5] = [
    "missing-program",
    "missing-directory",
    "missing-folder",
    "missing-interface",
    "limit-unsupported",
];

/// Where the examples keep their secrets and programs.
const ETC: &str = "/etc/evergate/";

/// Sections that a snippet may leave to those before it: what asks for one, and the section itself.
const BESIDE: [(&[&str], &str); 5] = [
    (&[""], "[listener.web]\nbind = [\"127.0.0.1:8080\"]\n"),
    (&["[pool.shop]"], "[route.beside]\nmatch = \"/beside\"\npool = \"shop\"\n"),
    (&[""], "[route.beside]\nmatch = \"/beside\"\nrespond = { body = \"hello\" }\n"),
    (
        &["pool.api", "pool = \"api\""],
        "[pool.api]\nservers = { a = { url = \"http://127.0.0.1:3000\" } }\n",
    ),
    (&["app = \"shop\""], "[app.shop]\nrun = [\"/srv/shop/current/bin/shop\"]\n"),
];

/// What a virtual address needs, where a snippet only shows one more of its keys.
const VIP: &str = "address = [\"10.0.0.100/24\"]\ninterface = \"lo\"\nrouter_id = 51\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files with an ending right below a directory.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == ending)).collect();
    found.sort();
    found
}

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("examples")).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// A folder with whatever the texts name: certificates, keys, secrets, programs.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["api.plant.example".to_owned()]).unwrap();
    let certificate = params.clone().self_signed(&key).unwrap().pem();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let secret = "0123456789abcdef0123456789abcdef\n";
    let put = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    for name in ["web.pem", "shop.crt", "api.pem"] {
        put(name, &certificate, 0o600);
    }
    for name in ["web.key", "shop.key", "api.key"] {
        put(name, &key.serialize_pem(), 0o600);
    }
    put("plant-ca.pem", &authority, 0o600);
    for name in ["heartbeat", "heartbeat.key", "vrrp", "vrrp.key"] {
        put(&format!("etc/{name}"), secret, 0o600);
    }
    put("etc/notify", "#!/bin/sh\n", 0o755);
    folder
}

/// Faults that `evergate check` finds in a text, but for those of the machine.
fn faults(folder: &Path, text: &str) -> Vec<String> {
    let file = folder.join("evergate.toml");
    fs::write(&file, text.replace(ETC, &format!("{}/etc/", folder.display()))).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergate"));
    let output = command.args(["check", "--json"]).arg(&file).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["ok"].as_bool(), Some(output.status.success()));
    let found = json["diagnostics"].as_array().unwrap().iter();
    let of_text = found.filter(|one| !OF_THE_MACHINE.contains(&one["code"].as_str().unwrap()));
    of_text.map(|one| format!("{}: {} {}", one["code"], one["path"], one["message"])).collect()
}

/// Every block of TOML in a document, with the line that it begins at.
fn snippets(document: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = document.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if line == "```toml" {
            let body = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            found.push((index + 2, body.map(|line| format!("{line}\n")).collect()));
        }
    }
    found
}

/// A snippet with the keys and sections around it that it leaves out.
fn whole(snippet: &str) -> String {
    let is_key = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let begins_in_a_section = snippet.lines().find(is_key).is_some_and(|it| it.starts_with('['));
    let mut text = match begins_in_a_section {
        true => snippet.to_owned(),
        false => format!("[vip.web]\n{snippet}"),
    };
    if text.contains("[vip.web]\n") && !text.contains("\naddress = ") {
        text = text.replace("[vip.web]\n", &format!("[vip.web]\n{VIP}"));
    }
    for (marks, section) in BESIDE {
        let head = section.split('.').next().unwrap();
        let name = section.lines().next().unwrap();
        let is_there = if marks == [""] { text.contains(head) } else { text.contains(name) };
        if !is_there && marks.iter().any(|mark| text.contains(mark)) {
            text.push_str(section);
        }
    }
    text
}

#[test]
fn every_snippet_of_the_documents_is_a_good_configuration() {
    let mut documents = vec![root().join("README.md")];
    documents.extend(files(&root().join("docs"), "md"));
    documents.extend(examples().iter().flat_map(|example| files(example, "md")));
    let mut count = 0;
    for document in documents {
        for (line, snippet) in snippets(&fs::read_to_string(&document).unwrap()) {
            count += 1;
            let (folder, text) = (folder(), whole(&snippet));
            let faults = faults(folder.path(), &text);
            assert!(faults.is_empty(), "{}:{line}: {faults:#?}\n{text}", document.display());
        }
    }
    assert!(count >= 12, "only {count} snippets were found");
}

#[test]
fn every_example_is_a_good_configuration() {
    let mut count = 0;
    for example in examples() {
        for file in files(&example, "toml") {
            count += 1;
            let folder = folder();
            for below in ["conf.d", "secrets", "hmi"] {
                copy(&example.join(below), &folder.path().join(below));
            }
            let faults = faults(folder.path(), &fs::read_to_string(&file).unwrap());
            assert!(faults.is_empty(), "{}: {faults:#?}", file.display());
        }
    }
    assert!(count >= 6, "only {count} examples were found");
}

/// The files of a directory, for nobody else to read.
fn copy(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    fs::create_dir_all(to).unwrap();
    for entry in entries.map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let copied = to.join(entry.file_name());
        fs::copy(entry.path(), &copied).unwrap();
        fs::set_permissions(&copied, Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_snippet_that_is_wrong_is_found() {
    let folder = folder();
    let wrong = whole("[vip.web]\n# ...\ntrack = { pool.lost = \"fault\" }\n");
    let faults = faults(folder.path(), &wrong);
    assert!(faults.len() == 1 && faults[0].contains("there is no pool `lost`"), "{faults:?}");
}
