//! The configuration: whatever the text, what it says is judged in full and secrets stay secret.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{Diagnostic, Files, Loaded, Severity, load_with, recall, remember, render};

/// The file that is fuzzed.
const MAIN: &str = "evergate.toml";
/// The only file in any directory.
const INCLUDED: &str = "more.toml";
const INCLUDED_TEXT: &str = "[pool.more]\nservers = { a = { url = \"http://127.0.0.1:9009\" } }\n";
/// What every variable of the environment holds.
const VARIABLE: &str = "hunter2-of-a-variable-hunter2-of-a-variable-hunter2-of-a-variable";
/// What every other file holds.
const FILE: &str = "hunter2-of-a-file-hunter2-of-a-file-hunter2-of-a-file-hunter2-of-a-file";

/// What configurations are made of.
pub(crate) const WORDS: &[&str] = &[
    "[node]\n",
    "[admin]\n",
    "[log]\n",
    "[listener.web]\n",
    "[route.api]\n",
    "[pool.api]\n",
    "[app.shop]\n",
    "[acme.le]\n",
    "[vip.web]\n",
    "[peer.b]\n",
    "[heartbeat]\n",
    "address = [\"10.0.0.100/24\", \"fd00::100/64\"]\n",
    "addresses = [\"10.0.0.12\"]\n",
    "interface = \"eth0\"\n",
    "router_id = 51\n",
    "track = { pool.api = \"fault\", link = -50, gateway = { ping = \"10.0.0.1\" } }\n",
    "auth = { hmac = \"${file:key}\" }\n",
    "on_change = [\"/etc/notify\"]\n",
    "version = 2\n",
    "tls = { certs = [{ cert = \"a.pem\", key = \"a.key\", ocsp = \"a.ocsp\" }], acme = \"le\" }\n",
    "run = [\"/bin/app\"]\n",
    "after = [\"shop\"]\n",
    "user = \"${env:TOKEN}\"\n",
    "ready = { http = \"/\" }\n",
    "limits.cpu = ",
    "deploy = { surge = 0 }\n",
    "socket = \"unix\"\n",
    "domains = [\"a.example\"]\n",
    "static = { root = \"/srv\", spa = \"a\" }\n",
    "-----BEGIN PRIVATE KEY-----",
    "https://",
    "[middleware.m]\n",
    "[[",
    "]]\n",
    " = ",
    "\"",
    "'''",
    "{ ",
    " }",
    "[ ",
    " ]",
    ", ",
    ".",
    "#",
    "\n",
    "true",
    "10s",
    "32KiB",
    "50%",
    "100/s",
    "1e400",
    "-1",
    "99999999999999999999",
    "0x10",
    "1979-05-27T07:32:00Z",
    "\"${env:TOKEN}\"",
    "\"${file:key}\"",
    "${env:A",
    "include = [\"conf.d/*.toml\"]\n",
    "match = \"/a/{b}/*\"\n",
    "pool = \"api\"\n",
    "bind = [\"127.0.0.1:0\"]\n",
    "servers = { a = { url = \"http://[::1]:1\" } }\n",
    "\u{e9}",
    "\u{1f600}",
    "\\u0000",
];

/// Every judgement lies inside the text and can be shown without a secret, and a configuration
/// that loads is the same when it is recalled.
pub fn config(input: &[u8]) {
    match load_with(Path::new(MAIN), &Memory { main: input }) {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|found| found.severity == Severity::Warning));
            expect_shown(input, &loaded.warnings);
            expect_no_secret(input, &format!("{loaded:?}"));
            expect_recalled(&loaded);
        }
        Err(diagnostics) => {
            assert!(diagnostics.iter().any(|found| found.severity == Severity::Error));
            expect_shown(input, &diagnostics);
        }
    }
}

fn expect_shown(input: &[u8], diagnostics: &[Diagnostic]) {
    let mut shown = render(diagnostics, false);
    for found in diagnostics {
        assert!(!found.message.is_empty() && !found.code.is_empty());
        assert_eq!(found.line == 0, found.column == 0, "a place has both: {found:?}");
        if found.file == MAIN && found.line > 0 {
            let text = String::from_utf8_lossy(input);
            let line = text.split('\n').nth(found.line - 1).expect("the line exists");
            assert!(found.column <= line.chars().count() + 1, "{found:?} in {line:?}");
        }
        write!(shown, "{found:?}{}", found.to_json()).expect("a string takes every text");
    }
    expect_no_secret(input, &shown);
}

fn expect_no_secret(input: &[u8], shown: &str) {
    let says = |word: &str| input.windows(word.len()).any(|part| part == word.as_bytes());
    // What is included is no secret, and neither is its path.
    if !says("include") {
        assert!(says(VARIABLE) || !shown.contains(VARIABLE), "a variable is shown: {shown}");
        assert!(says(FILE) || !shown.contains(FILE), "a file is shown: {shown}");
    }
}

fn expect_recalled(loaded: &Loaded) {
    let again = recall(&remember(loaded)).expect("what was remembered can be recalled");
    assert_eq!(again.config, loaded.config);
    assert!(again.sources == loaded.sources);
}

/// One fuzzed file, one to include, and secrets.
struct Memory<'a> {
    main: &'a [u8],
}

impl Files for Memory<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(match path {
            _ if path == Path::new(MAIN) => self.main.to_vec(),
            // As Linux does.
            _ if is_impossible(path) => return Err(io::ErrorKind::InvalidInput.into()),
            _ if path.file_name().is_some_and(|name| name == INCLUDED) => INCLUDED_TEXT.into(),
            _ if path.extension().is_some_and(|kind| kind == "missing") => {
                return Err(io::ErrorKind::NotFound.into());
            }
            _ => FILE.into(),
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        if is_impossible(directory) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(vec![directory.join(INCLUDED)])
    }

    fn env(&self, name: &str) -> Option<String> {
        (name != "MISSING").then(|| VARIABLE.to_owned())
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        (!path.ends_with("gone")).then_some(if path.ends_with("inert") { 0o644 } else { 0o755 })
    }

    fn is_directory(&self, path: &Path) -> Option<bool> {
        (!path.ends_with("hidden")).then_some(path.ends_with("srv"))
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        path.ends_with("script").then(|| "/usr/bin/env gone".to_owned())
    }

    fn is_user(&self, name: &str) -> Option<bool> {
        (name != "hidden").then_some(name.len() < 8)
    }

    fn host_name(&self) -> String {
        "fuzz".to_owned()
    }
}

fn is_impossible(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&0)
}
