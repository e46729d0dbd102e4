use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, SerialNumber, date_time_ymd,
};

use super::*;
use crate::files::Files;
use crate::load::decode_for_test;
use crate::{Diagnostic, load_with, schema};

/// One text in memory; every `${file:…}` is a secret.
struct Memory(String);

impl Files for Memory {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let is_main = path == Path::new("evergate.toml");
        if is_main {
            return Ok(self.0.clone().into_bytes());
        }
        let samples = Samples::get();
        Ok(match path.extension().and_then(|ending| ending.to_str()) {
            Some("pem") => samples.certificate.clone(),
            Some("key") => samples.key.clone(),
            Some("crl") => samples.revocations.clone(),
            _ => b"a-secret".to_vec(),
        })
    }

    fn list(&self, _directory: &Path) -> std::io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn is_user(&self, _name: &str) -> Option<bool> {
        Some(true)
    }
}

/// What files hold that samples name.
struct Samples {
    certificate: Vec<u8>,
    key: Vec<u8>,
    revocations: Vec<u8>,
}

impl Samples {
    fn get() -> &'static Self {
        static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
            let key = KeyPair::generate().expect("there is randomness");
            let names = CertificateParams::new(vec!["example.org".to_owned()]);
            let mut params = names.expect("a name");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let list = CertificateRevocationListParams {
                this_update: date_time_ymd(2026, 1, 1),
                next_update: date_time_ymd(2027, 1, 1),
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let certificate = params.self_signed(&key).expect("it can be signed");
            let issuer = Issuer::new(params, &key);
            let revocations = list.signed_by(&issuer).expect("it can be signed");
            Samples {
                certificate: certificate.pem().into_bytes(),
                key: key.serialize_pem().into_bytes(),
                revocations: revocations.pem().expect("it is PEM").into_bytes(),
            }
        });
        &SAMPLES
    }
}

fn load(text: &str) -> Vec<Diagnostic> {
    match load_with(Path::new("evergate.toml"), &Memory(text.to_owned())) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    }
}

/// Every described key with the path at which it could be written.
fn described() -> Vec<(String, &'static Key)> {
    fn walk(path: &str, keys: &'static [Key], found: &mut Vec<(String, &'static Key)>) {
        for key in keys.iter().filter(|key| key.is_ready()) {
            let path = crate::reader::join(path, key.name);
            match &key.kind {
                Kind::Table(keys) => walk(&path, keys, found),
                Kind::List(Kind::Table(keys)) => walk(&format!("{path}[]"), keys, found),
                Kind::Named(_, keys) => walk(&format!("{path}.NAME"), keys, found),
                _ => {}
            }
            found.push((path, key));
        }
    }
    let mut found = Vec::new();
    walk("", ROOT, &mut found);
    found
}

/// A value at a described path, as TOML.
fn written(path: &str, value: &str) -> String {
    match path.split_once("[].") {
        Some((list, key)) => format!("{list} = [{{ {} }}]\n", written(key, value).trim_end()),
        None => format!("{path} = {value}\n"),
    }
}

/// Errors that a sample has because nothing stands beside it.
const OF_THE_WHOLE: [&str; 15] = [
    "nothing-served",
    "missing-key",
    "no-action",
    "no-certificate",
    "no-trusted-proxies",
    "unknown-reference",
    "bad-prefix",
    "unused-key",
    "unused",
    "no-servers",
    "unknown-parameter",
    "no-kind",
    "wrong-protocol",
    "idle-weight",
    "short-secret",
];

#[test]
fn every_described_key_is_accepted_with_its_sample() {
    for (path, key) in described() {
        if matches!(key.kind, Kind::Named(..)) {
            continue;
        }
        let text = written(&path, &key.sample());
        for diagnostic in load(&text) {
            let code = diagnostic.code;
            assert!(OF_THE_WHOLE.contains(&code), "{text}{code}: {diagnostic}");
        }
    }
}

#[test]
fn every_described_word_is_accepted() {
    for (path, key) in described() {
        let (words, list) = match &key.kind {
            Kind::Choice(words) => (words, false),
            Kind::List(Kind::Choice(words)) => (words, true),
            _ => continue,
        };
        for word in *words {
            let value = if list { format!("[\"{word}\"]") } else { format!("\"{word}\"") };
            let found = load(&written(&path, &value));
            assert!(found.iter().all(|d| d.code != "bad-choice"), "{path} = {value}: {found:?}");
        }
    }
}

#[test]
fn every_described_default_is_accepted_when_it_is_written() {
    for (path, key) in described() {
        let Some(default) = key.default_toml() else { continue };
        let text = written(&path, &default);
        let found = load(&text);
        assert!(found.iter().all(|d| OF_THE_WHOLE.contains(&d.code)), "{text}{found:?}");
    }
}

/// Nothing is described that decoding does not ask for; and as a key that is not described makes
/// decoding panic when it asks, what is described and what is decoded is the same.
#[test]
fn every_described_key_is_read() {
    let mut asked = BTreeSet::new();
    for (path, key) in described() {
        // Keys of named sections are asked for when their section is there.
        if !matches!(key.kind, Kind::Named(..)) {
            asked.extend(decode_for_test(&written(&path, &key.sample())));
        }
    }
    for (path, _) in described() {
        // `include` is read before all else.
        assert!(path == "include" || asked.contains(&path), "`{path}` is described but not read");
    }
}

#[test]
fn sentences_are_sentences_and_things_to_come_are_nouns() {
    fn walk(keys: &'static [Key]) {
        for key in keys {
            if key.is_ready() {
                assert!(key.doc.ends_with('.'), "`{}`: {}", key.name, key.doc);
            } else {
                assert!(!key.doc.ends_with('.') && !key.doc.is_empty(), "`{}`", key.name);
            }
            match &key.kind {
                Kind::Table(keys) | Kind::List(Kind::Table(keys)) | Kind::Named(_, keys) => {
                    walk(keys);
                }
                _ => {}
            }
        }
    }
    walk(ROOT);
}

#[test]
fn the_schema_knows_every_described_key_and_no_other() {
    fn walk(path: &str, schema: &serde_json::Value, found: &mut BTreeSet<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = crate::reader::join(path, name);
            walk(&path, property, found);
            for child in property["patternProperties"].as_object().into_iter().flatten() {
                walk(&format!("{path}.NAME"), child.1, found);
            }
            walk(&format!("{path}[]"), &property["items"], found);
            found.insert(path);
        }
    }
    let mut found = BTreeSet::new();
    walk("", &schema(), &mut found);
    let described: BTreeSet<_> = described().into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, described);
}

#[test]
fn the_reference_has_a_row_for_every_described_key() {
    let text = crate::reference();
    for (path, key) in described() {
        let row = format!("| `{}` |", key.name);
        assert!(text.contains(&row), "`{path}` has no row");
    }
}
