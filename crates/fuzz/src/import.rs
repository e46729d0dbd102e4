//! Configurations of keepalived: whatever the text, there is an answer, and nobody has to mend it but
//! for what only a person can decide.

use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{Files, Severity, import_keepalived, load_with, render};

/// The file that is fuzzed.
const MAIN: &str = "keepalived.conf";
/// The only file in any directory.
const INCLUDED: &str = "more.conf";
const INCLUDED_TEXT: &str = "vrrp_instance MORE {\n  interface eth1\n  virtual_router_id 99\n  \
    virtual_ipaddress {\n    10.9.9.9/24\n  }\n}\n";
/// What every other file holds.
const SECRET: &str = "hunter2-of-a-file-hunter2-of-a-file";

/// What such configurations are made of.
pub(crate) const WORDS: &[&str] = &[
    "global_defs {\n",
    "vrrp_instance VI_1 {\n",
    "vrrp_instance VI_2\n{\n",
    "vrrp_script chk {\n",
    "vrrp_sync_group G {\n group {\n VI_1\n VI_2\n }\n",
    "virtual_ipaddress {\n",
    "virtual_ipaddress_excluded {\n",
    "unicast_peer {\n",
    "track_script {\n chk\n",
    "track_interface {\n eth1 weight -10\n",
    "authentication {\n auth_type PASS\n auth_pass 1111\n",
    "auth_hmac {\n key 1 file:/etc/key\n",
    "interface eth0\n",
    "virtual_router_id 51\n",
    "priority 255\n",
    "advert_int 0.03\n",
    "version 3\n",
    "nopreempt\n",
    "preempt_delay 100000\n",
    "garp_master_repeat 0\n",
    "garp_master_refresh 1e9\n",
    "vrrp_startup_delay 5.5\n",
    "router_id ${env:HOME}\n",
    "10.0.0.100/24 dev eth0\n",
    "fe80::1/64\n",
    "0.0.0.0/0\n",
    "script \"curl http://127.0.0.1/\"\n",
    "notify /bin/notify\n",
    "include *.conf\n",
    "@a ",
    "$A=",
    "${A}",
    "}\n",
    "\"",
    "\\",
    "\n",
    " ",
    "\u{e9}",
    "-1",
    "99999999999999999999",
];

/// Errors of `evergate check` that a person has to mend: what was left out, or is there twice.
const FOR_A_PERSON: [&str; 5] =
    ["missing-key", "nothing-served", "duplicate-router", "address-conflict", "too-many"];

/// What comes out is TOML that `evergate check` takes but for what a person must decide, and what
/// is told has a place in a text.
pub fn import(input: &[u8]) {
    let files = Memory { main: (MAIN, input) };
    let imported = import_keepalived(Path::new(MAIN), &files, None).expect("it is short and there");
    let lines = String::from_utf8_lossy(input).lines().count();
    for note in &imported.notes {
        assert!(!note.message.is_empty() && note.line > 0, "{note}");
        assert!(note.file != MAIN || note.line <= lines, "{note} of {lines} lines");
    }
    let toml = imported.toml.as_bytes();
    let written = Memory { main: ("evergate.toml", toml) };
    if let Err(found) = load_with(Path::new("evergate.toml"), &written) {
        let wrong = |code| !FOR_A_PERSON.contains(&code);
        let is_ours = found.iter().any(|it| it.severity == Severity::Error && wrong(it.code));
        assert!(!is_ours, "{}\n{}", imported.toml, render(&found, false));
    }
}

/// One file that is fuzzed, one to include, and secrets.
struct Memory<'a> {
    main: (&'a str, &'a [u8]),
}

impl Files for Memory<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(match path {
            _ if path == Path::new(self.main.0) => self.main.1.to_vec(),
            _ if path.as_os_str().as_encoded_bytes().contains(&0) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            _ if path.file_name().is_some_and(|name| name == INCLUDED) => INCLUDED_TEXT.into(),
            _ => SECRET.into(),
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec![directory.join(INCLUDED)])
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn mode(&self, _: &Path) -> Option<u32> {
        Some(0o600)
    }

    fn host_name(&self) -> String {
        "fuzz".to_owned()
    }
}
