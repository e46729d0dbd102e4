//! What contenders show to prove who they are: made anew for every measurement.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;

/// A certificate and its key: ECDSA on P-256, which is what authorities issue by default, and
/// vouched for by nobody, so that one certificate is sent, as by any other contender.
pub struct Certificate {
    pair: CertifiedKey<KeyPair>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_tuple("Certificate").field(self.pair.cert.der()).finish()
    }
}

/// Where a certificate lies.
#[derive(Debug)]
pub struct Files {
    /// The certificate.
    pub cert: PathBuf,
    /// The key, which only its owner may read.
    pub key: PathBuf,
    /// Both in one, as HAProxy wants them; only its owner may read it.
    pub both: PathBuf,
}

impl Certificate {
    /// Makes one for `name`.
    pub fn of(name: &str) -> anyhow::Result<Self> {
        Ok(Self { pair: generate_simple_self_signed([name.to_owned()])? })
    }

    /// As it is sent in a handshake.
    pub fn der(&self) -> CertificateDer<'static> {
        self.pair.cert.der().clone()
    }

    /// Writes it into `dir`.
    pub fn write(&self, dir: &Path) -> io::Result<Files> {
        let file = |name: &str| dir.join(name);
        let files = Files { cert: file("cert.pem"), key: file("key.pem"), both: file("both.pem") };
        let (cert, key) = (self.pair.cert.pem(), self.pair.signing_key.serialize_pem());
        fs::write(&files.cert, &cert)?;
        write_secret(&files.key, &key)?;
        write_secret(&files.both, &[cert, key].concat())?;
        Ok(files)
    }
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_may_read_keys() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let certificate = Certificate::of("bench.example").expect("the name is one");
        let files = certificate.write(dir.path()).expect("the folder is ours");
        for file in [&files.key, &files.both] {
            let mode = fs::metadata(file).expect("it was written").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        let both = fs::read_to_string(&files.both).expect("it is ours");
        assert!(both.contains("BEGIN CERTIFICATE") && both.contains("PRIVATE KEY"), "{both}");
    }
}
