//! `evergate check`, run as a user would.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

const CONFIG: &str = "[listener.web]\nbind = [\"127.0.0.1:443\"]\n\
    tls = { certs = [{ cert = \"web.pem\", key = \"web.key\" }] }\n\
    [route.all]\nmatch = \"/*\"\nrespond = { body = \"hello\" }\n";

/// A folder with a configuration, a certificate that ends with that year, and its key.
struct Folder(tempfile::TempDir);

impl Folder {
    fn ending(year: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["api.example.org".to_owned(), "10.0.0.7".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("web.pem"), certificate.pem()).unwrap();
        fs::write(folder.path().join("web.key"), key.serialize_pem()).unwrap();
        fs::write(folder.path().join("evergate.toml"), CONFIG).unwrap();
        let folder = Self(folder);
        folder.set_mode(0o640);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.path("web.key"), Permissions::from_mode(mode)).unwrap();
    }

    /// What `check` prints, and its exit code.
    fn check(&self, args: &[&str]) -> (String, i32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evergate"));
        let output = command.arg("check").args(args).arg(self.path("evergate.toml"));
        let output = output.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let shown = text.replace(&format!("{}/", Path::new(self.0.path()).display()), "");
        (shown, output.status.code().unwrap())
    }
}

#[test]
fn certificates_are_listed_with_names_and_ends() {
    let (shown, code) = Folder::ending(2999).check(&[]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[..2], ["evergate.toml: no errors, no warnings", ""]);
    let heads: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(heads, ["CERTIFICATE", "USED", "BY", "NAMES", "ENDS"]);
    let row = "web.pem  listener.web  api.example.org, 10.0.0.7  2999-12-31  in ";
    assert!(lines[3].starts_with(row) && lines[3].ends_with(" days"), "{shown}");
    assert_eq!((lines.len(), code), (4, 0));
}

#[test]
fn a_certificate_that_ended_is_a_warning_and_no_error() {
    let (shown, code) = Folder::ending(2021).check(&[]);
    assert!(shown.starts_with("warning[certificate-expired]: the certificate in "), "{shown}");
    assert!(shown.contains("0 errors, 1 warning\n\nCERTIFICATE"), "{shown}");
    assert!(shown.ends_with("2021-12-31  ended\n"), "{shown}");
    assert_eq!(code, 0);
}

#[test]
fn json_has_the_same_facts() {
    let (shown, code) = Folder::ending(2021).check(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((json["ok"].as_bool(), code), (Some(true), 0));
    assert_eq!(json["diagnostics"][0]["code"], "certificate-expired");
    let certificate = &json["certificates"][0];
    assert_eq!(certificate["used_by"], "listener.web");
    assert_eq!(certificate["file"], "web.pem");
    assert_eq!(certificate["names"], serde_json::json!(["api.example.org", "10.0.0.7"]));
    assert_eq!(certificate["not_after"], 1_640_908_800);
    assert_eq!(certificate["not_before"], 1_577_836_800);
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_way_to_mend_it() {
    let folder = Folder::ending(2999);
    folder.set_mode(0o644);
    let (shown, code) = folder.check(&[]);
    assert!(shown.starts_with("error[exposed-key]: the key web.key is refused"), "{shown}");
    assert!(shown.contains("run `chmod g-w,o= web.key`") && !shown.contains("CERTIFICATE"));
    assert_eq!(code, 1);
}
