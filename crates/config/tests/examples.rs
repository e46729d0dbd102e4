//! The examples at the root of the repository.

use std::path::{Path, PathBuf};

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use evergate_config::{
    Action, Diagnostic, Disk, DiskAt, Files, Loaded, Root, format, load, load_with, recall,
    remember, render, to_toml,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("evergate.toml")
}

#[track_caller]
fn loaded(name: &str) -> Loaded {
    load(&example(name)).unwrap_or_else(|diagnostics| panic!("{}", render(&diagnostics, false)))
}

/// What Git does to permissions, and what is not installed here, is no fault of an example.
fn of_the_text(warnings: &[Diagnostic]) -> Vec<Diagnostic> {
    let is_fault =
        |code| !["public-secret", "missing-program", "missing-directory"].contains(&code);
    warnings.iter().filter(|warning| is_fault(warning.code)).cloned().collect()
}

#[test]
fn the_examples_load_without_warnings() {
    for name in ["quickstart", "full-gateway", "apps"] {
        let warnings = of_the_text(&loaded(name).warnings);
        assert!(warnings.is_empty(), "{name}: {}", render(&warnings, false));
    }
}

#[test]
fn the_examples_are_formatted() {
    for name in ["quickstart", "full-gateway", "https", "apps"] {
        let text = fs::read_to_string(example(name)).expect("the example is there");
        assert_eq!(format(&text).expect("it is TOML"), text, "{name}");
    }
}

/// The two files of a pair, with the secrets beside them in place of those in `/etc`.
fn pair(name: &str) -> (String, Loaded) {
    let path = example("pair").with_file_name(name);
    let text = fs::read_to_string(&path).expect("the example is there");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    for secret in ["vrrp", "heartbeat"] {
        let path = folder.path().join(secret);
        fs::write(&path, "0123456789abcdef").expect("the folder can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the file is ours");
    }
    let file = folder.path().join("evergate.toml");
    let here = format!("{}/", folder.path().display());
    fs::write(&file, text.replace("/etc/evergate/", &here)).expect("the folder can be written");
    let loaded = load(&file).unwrap_or_else(|found| panic!("{name}: {}", render(&found, false)));
    (text, loaded)
}

#[test]
fn the_pair_loads_without_warnings_and_its_two_halves_fit() {
    let [(one, a), (other, b)] = ["edge-a.toml", "edge-b.toml"].map(pair);
    for (text, loaded) in [(&one, &a), (&other, &b)] {
        assert!(loaded.warnings.is_empty(), "{}", render(&loaded.warnings, false));
        assert_eq!(format(text).expect("it is TOML"), *text);
    }
    let (a, b) = (a.config, b.config);
    assert!(a.peers.contains_key(&b.node.name) && b.peers.contains_key(&a.node.name));
    assert_eq!((&a.vips, &a.heartbeat, &a.pools), (&b.vips, &b.heartbeat, &b.pools));
    assert_eq!(a.vips["web"].track.len(), 2);
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

/// The certificates that the example's README has made.
fn make_certificates(folder: &Path) {
    let params = |name: &str| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("it is a name");
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params
    };
    let key = || KeyPair::generate().expect("there is randomness");
    let mut authority = params("plant.example");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(authority, key()).expect("it can be signed");
    let server = key();
    let certificate = params("api.plant.example").signed_by(&server, &ca).expect("as above");
    for (name, text) in [
        ("plant-ca.pem", ca.pem()),
        ("api.pem", certificate.pem()),
        ("api.key", server.serialize_pem()),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).expect("the folder can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the file is ours");
    }
}

/// 2026-06-01, in the middle of the life of those certificates.
const JUNE: u64 = 1_780_272_000;

#[test]
fn the_https_example_loads_with_certificates_beside_it() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    fs::create_dir(folder.path().join("hmi")).expect("the folder can be written");
    let file = folder.path().join("evergate.toml");
    fs::copy(example("https"), &file).expect("the example is there");
    let missing = load_with(&file, &DiskAt(JUNE)).expect_err("there are no certificates yet");
    assert!(missing.iter().all(|found| found.code == "unreadable-file"), "{missing:?}");
    make_certificates(folder.path());
    let loaded = load_with(&file, &DiskAt(JUNE)).unwrap_or_else(|found| panic!("{found:?}"));
    assert!(loaded.warnings.is_empty(), "{}", render(&loaded.warnings, false));
    let certificate = &loaded.config.listeners["plant"].tls.as_ref().expect("it has TLS").certs[0];
    assert_eq!(certificate.identity.particulars().names, ["api.plant.example"]);
    let Action::Static(files) = &loaded.config.routes["hmi"].action else {
        panic!("it serves files")
    };
    assert_eq!(files.root, Root::Folder(folder.path().join("hmi")));
    for name in ["plant-ca.pem", "api.pem", "api.key"] {
        assert!(loaded.config.files.contains(&folder.path().join(name)), "{name} is watched");
    }
    let key = Disk.read(&folder.path().join("api.key")).expect("it was just written");
    let key = String::from_utf8(key).expect("it is PEM");
    let body = key.lines().nth(1).expect("it has more than one line");
    for shown in [format!("{loaded:?}"), to_toml(&loaded.config)] {
        assert!(!shown.contains(body), "a key is shown");
    }
    // Years later, what was remembered is still judged as of then.
    let recalled = recall(&remember(&loaded)).expect("it was just remembered");
    assert_eq!((recalled.warnings.len(), &recalled.config), (0, &loaded.config));
    let late = load_with(&file, &DiskAt(2 * JUNE)).expect("an ended certificate is no error");
    assert_eq!(late.warnings[0].code, "certificate-expired");
}
