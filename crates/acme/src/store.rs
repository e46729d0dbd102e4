//! What must outlive a process: the account, the certificate with its key, and what the authority
//! must not be asked too often.
//!
//! Everything lies in `state_dir/acme/SECTION/AUTHORITY`, so that a staging authority and the real
//! one never mix. A file is replaced whole or not at all: written beside, flushed, renamed, and the
//! directory flushed. One certificate before the last is kept. A file that is damaged is set aside
//! and counts as missing.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use evergate_core::balance::hash_bytes;
use evergate_core::renewal::{ORDERS_MAX, Term};
use evergate_pki::Identity;

use crate::record::Record;

#[cfg(test)]
mod tests;

const ACCOUNT: &str = "account.pem";
const CERTIFICATE: &str = "certificate.pem";
const PREVIOUS: &str = "certificate.previous.pem";
const HISTORY: &str = "orders";

/// No file of ours is larger.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Where things of one section and one authority are kept.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    section: String,
    /// URL of its directory.
    authority: String,
}

/// An account at the authority.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Account {
    pub(crate) url: String,
    /// PEM.
    pub(crate) key: String,
}

/// A certificate that was issued to us.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Issued {
    pub(crate) identity: Identity,
    /// The names that it was ordered for.
    pub(crate) names: Vec<String>,
    /// In seconds of Unix time.
    pub(crate) issued_at: u64,
    /// PEM.
    chain: String,
    /// PEM.
    key: String,
}

/// What keeps us from asking too often.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct History {
    /// When the latest orders began, in seconds of Unix time; at most [`ORDERS_MAX`].
    pub(crate) orders: Vec<u64>,
    /// Before when the authority wants to hear nothing, in seconds of Unix time.
    pub(crate) silent_until: u64,
}

/// What was there.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) account: Option<Account>,
    pub(crate) certificate: Option<Issued>,
    /// Whether there was a better one, which is damaged.
    pub(crate) is_certificate_damaged: bool,
    pub(crate) history: History,
    /// What is wrong with what was there, and what was done about it.
    pub(crate) damage: Vec<String>,
}

/// A file that cannot be written.
#[derive(Debug)]
pub(crate) struct StoreError {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write {}: {}", self.path.display(), self.source)
    }
}

impl Issued {
    /// Joins a chain and a key, both PEM.
    ///
    /// # Errors
    /// Says why they cannot be used.
    pub(crate) fn new(
        chain: String,
        key: String,
        names: Vec<String>,
        issued_at: u64,
    ) -> Result<Self, String> {
        let identity = Identity::parse(chain.as_bytes(), key.as_bytes());
        let identity = identity.map_err(|error| error.to_string())?;
        if let Some(name) = names.iter().find(|name| !identity.particulars().covers(name)) {
            return Err(format!("the certificate is not for {name}"));
        }
        Ok(Self { identity, names, issued_at, chain, key })
    }

    pub(crate) fn term(&self) -> Term {
        let particulars = self.identity.particulars();
        Term { not_before: particulars.not_before, not_after: particulars.not_after }
    }

    /// Whether it was ordered for these names, in any order.
    pub(crate) fn is_for(&self, names: &[String]) -> bool {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        };
        sorted(&self.names) == sorted(names)
    }
}

impl Store {
    /// Below `root`, which is there.
    pub(crate) fn new(root: &Path, section: &str, authority: &str) -> Self {
        let directory = root.join(section).join(place(authority));
        Self { directory, section: section.to_owned(), authority: authority.to_owned() }
    }

    /// Everything that is there.
    pub(crate) fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        let damage = &mut loaded.damage;
        loaded.account = self.read(ACCOUNT, damage, |text| self.decode_account(text)).value;
        let latest = self.read(CERTIFICATE, damage, |text| self.decode_certificate(text));
        loaded.is_certificate_damaged = latest.is_damaged;
        loaded.certificate = latest.value.or_else(|| {
            let previous = self.read(PREVIOUS, damage, |text| self.decode_certificate(text));
            previous.value.filter(|_| latest.is_damaged)
        });
        let history = self.read(HISTORY, damage, |text| self.decode_history(text));
        loaded.history = history.value.unwrap_or_default();
        loaded
    }

    pub(crate) fn save_account(&self, account: &Account) -> Result<(), StoreError> {
        let fields = self.fields([("account", account.url.clone())]);
        let record = Record { fields, body: account.key.clone() };
        let title = format!("Account of [acme.{}]", self.section);
        self.write(ACCOUNT, record.encode(&title).as_bytes())
    }

    /// The one before is kept beside it.
    pub(crate) fn save_certificate(&self, issued: &Issued) -> Result<(), StoreError> {
        let fields = self.fields([
            ("names", issued.names.join(" ")),
            ("issued_at", issued.issued_at.to_string()),
        ]);
        let record = Record { fields, body: format!("{}{}", issued.key, issued.chain) };
        let title = format!("Private key and certificate of [acme.{}]", self.section);
        let text = record.encode(&title);
        if let Ok(before) = fs::read(self.directory.join(CERTIFICATE))
            && before != text.as_bytes()
        {
            self.write(PREVIOUS, &before)?;
        }
        self.write(CERTIFICATE, text.as_bytes())
    }

    pub(crate) fn save_history(&self, history: &History) -> Result<(), StoreError> {
        let orders: Vec<_> = history.orders.iter().map(u64::to_string).collect();
        let fields = self.fields([
            ("orders", orders.join(" ")),
            ("silent_until", history.silent_until.to_string()),
        ]);
        let record = Record { fields, body: String::new() };
        let title = format!("When [acme.{}] ordered, in Unix time", self.section);
        self.write(HISTORY, record.encode(&title).as_bytes())
    }

    fn fields<const N: usize>(
        &self,
        more: [(&'static str, String); N],
    ) -> BTreeMap<&'static str, String> {
        more.into_iter().chain([("authority", self.authority.clone())]).collect()
    }

    fn decode(&self, text: &str, keys: &[&'static str]) -> Result<Record, String> {
        let record = Record::decode(text, &[keys, &["authority"]].concat())?;
        let authority = &record.fields["authority"];
        if *authority == self.authority {
            Ok(record)
        } else {
            Err(format!("it is of another authority: {authority}"))
        }
    }

    fn decode_account(&self, text: &str) -> Result<Account, String> {
        let mut record = self.decode(text, &["account"])?;
        Ok(Account { url: record.fields.remove("account").unwrap_or_default(), key: record.body })
    }

    fn decode_certificate(&self, text: &str) -> Result<Issued, String> {
        let record = self.decode(text, &["names", "issued_at"])?;
        let names = record.fields["names"].split(' ').map(str::to_owned).collect();
        let issued_at = number(&record.fields["issued_at"])?;
        let at = record.body.find("-----BEGIN CERTIFICATE").ok_or("it holds no certificate")?;
        let (key, chain) = record.body.split_at(at);
        Issued::new(chain.to_owned(), key.to_owned(), names, issued_at)
    }

    fn decode_history(&self, text: &str) -> Result<History, String> {
        let record = self.decode(text, &["orders", "silent_until"])?;
        let orders: Result<Vec<_>, _> =
            record.fields["orders"].split_whitespace().take(ORDERS_MAX).map(number).collect();
        Ok(History { orders: orders?, silent_until: number(&record.fields["silent_until"])? })
    }

    /// Reads a file; one that is damaged is set aside.
    fn read<T>(
        &self,
        name: &str,
        damage: &mut Vec<String>,
        decode: impl FnOnce(&str) -> Result<T, String>,
    ) -> Found<T> {
        let path = self.directory.join(name);
        let why = match read_bounded(&path) {
            Ok(text) => match decode(&text) {
                Ok(value) => return Found { value: Some(value), is_damaged: false },
                Err(why) => why,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Found { value: None, is_damaged: false };
            }
            Err(error) => error.to_string(),
        };
        let aside = self.directory.join(format!("{name}.corrupt"));
        let done = match fs::rename(&path, &aside) {
            Ok(()) => format!("it was renamed to {name}.corrupt"),
            Err(error) => format!("it cannot be renamed either: {error}"),
        };
        damage.push(format!("{} cannot be used: {why}; {done}", path.display()));
        Found { value: None, is_damaged: true }
    }

    /// Puts `bytes` in place of a file, whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.directory.join(name);
        let replace = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            let beside = self.directory.join(format!("{name}.new"));
            // What a power cut left would keep its permissions.
            let _ = fs::remove_file(&beside);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            let written = file.write_all(bytes).and_then(|()| file.sync_all());
            if let Err(error) = written.and_then(|()| fs::rename(&beside, &path)) {
                let _ = fs::remove_file(&beside);
                return Err(error);
            }
            File::open(&self.directory)?.sync_all()
        };
        replace().map_err(|source| StoreError { path, source })
    }
}

struct Found<T> {
    value: Option<T>,
    is_damaged: bool,
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    Ok(text)
}

/// The directory's name for an authority: its host, for people, and a hash of its whole URL.
fn place(authority: &str) -> String {
    let rest = authority.split_once("://").map_or(authority, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let host: String = host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
        .take(100)
        .collect();
    format!("{host}-{:08x}", hash_bytes(authority.as_bytes()) as u32)
}
