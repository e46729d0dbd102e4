use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair};

use super::*;

const AUTHORITY: &str = "https://ca.example:14000/directory";

fn issued(name: &str, issued_at: u64) -> Issued {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let names = vec![name.to_owned()];
    Issued::new(certificate.pem(), key.serialize_pem(), names, issued_at).unwrap()
}

fn account() -> Account {
    let key = KeyPair::generate().unwrap().serialize_pem();
    Account { url: "https://ca.example:14000/account/1".to_owned(), key }
}

fn store(root: &Path) -> Store {
    Store::new(root, "le", AUTHORITY)
}

fn file(root: &Path, name: &str) -> PathBuf {
    store(root).directory.join(name)
}

#[test]
fn what_is_saved_is_loaded_and_only_its_owner_may_read_it() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let nothing = store.load();
    assert!(nothing.account.is_none() && nothing.certificate.is_none());
    assert!(nothing.damage.is_empty() && !nothing.is_certificate_damaged);
    let (account, issued) = (account(), issued("a.example", 1_790_000_000));
    let history = History { orders: vec![5, 7], silent_until: 9 };
    store.save_account(&account).unwrap();
    store.save_certificate(&issued).unwrap();
    store.save_history(&history).unwrap();
    let loaded = store.load();
    assert!(loaded.account == Some(account) && loaded.certificate == Some(issued.clone()));
    assert_eq!((loaded.history, loaded.damage), (history, Vec::new()));
    for entry in fs::read_dir(&store.directory).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&store.directory), mode(&root.path().join("le"))), (0o700, 0o700));
    assert!(issued.is_for(&["a.example".to_owned()]) && !issued.is_for(&[]));
}

#[test]
fn authorities_do_not_mix() {
    let root = tempfile::tempdir().unwrap();
    store(root.path()).save_certificate(&issued("a.example", 1)).unwrap();
    let staging = Store::new(root.path(), "le", "https://ca.example:14000/staging");
    assert!(staging.load().certificate.is_none());
    // Not even if somebody copies the files.
    fs::rename(store(root.path()).directory, &staging.directory).unwrap();
    let loaded = staging.load();
    assert!(loaded.certificate.is_none() && loaded.is_certificate_damaged);
    assert!(loaded.damage[0].contains("another authority"), "{:?}", loaded.damage);
    assert!(place("https://[::1]:80/x").starts_with("___1__80-"));
}

#[test]
fn the_certificate_before_serves_while_the_last_is_damaged() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let (first, second) = (issued("a.example", 1), issued("a.example", 2));
    store.save_certificate(&first).unwrap();
    store.save_certificate(&second).unwrap();
    assert!(store.load().certificate == Some(second));
    fs::write(file(root.path(), CERTIFICATE), "nonsense").unwrap();
    let loaded = store.load();
    assert!(loaded.certificate == Some(first) && loaded.is_certificate_damaged);
    assert_eq!(loaded.damage.len(), 1, "{:?}", loaded.damage);
    assert!(loaded.damage[0].contains("certificate.pem.corrupt"), "{:?}", loaded.damage);
    assert_eq!(fs::read(file(root.path(), "certificate.pem.corrupt")).unwrap(), b"nonsense");
    assert!(!file(root.path(), CERTIFICATE).exists());
}

#[test]
fn no_file_that_breaks_off_is_believed() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.save_account(&account()).unwrap();
    store.save_certificate(&issued("a.example", 1)).unwrap();
    store.save_history(&History { orders: vec![1], silent_until: 2 }).unwrap();
    for name in [ACCOUNT, CERTIFICATE, HISTORY] {
        let whole = fs::read(file(root.path(), name)).unwrap();
        for end in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            fs::write(file(root.path(), name), &whole[..end]).unwrap();
            let loaded = store.load();
            assert_eq!(loaded.damage.len(), 1, "{name} cut at {end}: {:?}", loaded.damage);
            let is_gone = match name {
                ACCOUNT => loaded.account.is_none(),
                CERTIFICATE => loaded.certificate.is_none(),
                _ => loaded.history == History::default(),
            };
            assert!(is_gone, "{name} cut at {end}");
        }
        fs::write(file(root.path(), name), &whole).unwrap();
        assert!(store.load().damage.is_empty(), "{name} is whole again");
    }
}

#[test]
fn a_power_cut_while_writing_leaves_the_old_file() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let (first, second) = (issued("a.example", 1), issued("a.example", 2));
    store.save_certificate(&first).unwrap();
    fs::write(file(root.path(), "certificate.pem.new"), "half").unwrap();
    assert!(store.load().certificate == Some(first));
    store.save_certificate(&second).unwrap();
    assert!(store.load().certificate == Some(second));
}

#[test]
fn a_file_that_cannot_be_written_is_named_and_the_old_one_stays() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let first = issued("a.example", 1);
    store.save_certificate(&first).unwrap();
    // Root may write anywhere, but nobody puts a file where a directory stands.
    fs::create_dir(file(root.path(), "certificate.pem.new")).unwrap();
    let error = store.save_certificate(&issued("a.example", 2)).unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.contains(CERTIFICATE), "{error}");
    assert!(store.load().certificate == Some(first));
}

#[test]
fn a_chain_must_be_for_every_name() {
    let good = issued("a.example", 1);
    let names = vec!["a.example".to_owned(), "b.example".to_owned()];
    let error = Issued::new(good.chain, good.key, names, 1).err().unwrap();
    assert_eq!(error, "the certificate is not for b.example");
}
