//! Certificates, keys and what vouches for them, as files that the configuration names.
//!
//! Whatever is wrong with them is an error at the key that names the file: a certificate that
//! cannot be served must not be found out by clients. What time does to certificates is a warning,
//! for the clock may be as wrong as the certificate.

use evergate_pki::{
    Authorities, Identity, IdentityError, OcspError, OcspResponse, Particulars, PemError,
    Revocations, day,
};

use crate::diagnostic::Diagnostic;
use crate::files::READ_BYTES_MAX;
use crate::keys::{Absent, Key, Kind, key};
use crate::model::{Certificate, FileOf};
use crate::reader::Section;
use crate::substitute::{FileRead, Found};
use crate::value::Value;

/// Bytes of a certificate with its chain, of a key, of an OCSP response.
const IDENTITY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a bundle of authorities; what systems bring has a quarter of it.
const AUTHORITIES_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a revocation list.
const REVOCATIONS_BYTES_MAX: usize = READ_BYTES_MAX;

/// Permissions that nobody but the owner may have on a key, beside the group's to read.
const EXPOSED: u32 = 0o026;

/// `certs` of a listener.
pub(crate) static KEYS: &[Key] = &[
    key(
        "cert",
        Kind::Path,
        Absent::Error,
        "The certificate as PEM, and behind it those between it and its authority.",
    )
    .example("\"web.pem\""),
    key(
        "key",
        Kind::Path,
        Absent::Error,
        "Its private key as PEM, which neither others may read nor the group write.",
    )
    .example("\"web.key\""),
    key(
        "ocsp",
        Kind::Path,
        Absent::Means("none"),
        "An OCSP response for it as DER, which clients get with it.",
    )
    .example("\"web.ocsp\""),
];

/// The certificate and the key that a table names.
pub(crate) fn pair(section: &Section<'_>) -> Option<Certificate> {
    let (cert, key) = (section.get("cert"), section.get("key"));
    let chain = cert.as_ref().and_then(|cert| cert.file(IDENTITY_BYTES_MAX));
    let secret = key.as_ref().and_then(|key| key.file(IDENTITY_BYTES_MAX));
    let (cert, key) = (cert?, key?);
    let secret = secret?;
    refuse_exposed(&key, &secret.found);
    let chain = chain?;
    match Identity::parse(&chain.bytes, &secret.bytes) {
        Ok(identity) => {
            warn_of_life(&cert, &chain.found, identity.particulars());
            Some(Certificate {
                identity,
                cert: chain.found.path,
                key: secret.found.path,
                ocsp: None,
            })
        }
        Err(error) => {
            refuse(&error, (&cert, &chain), (&key, &secret));
            None
        }
    }
}

/// The certificate, the key and the OCSP response that an item of `certs` names.
pub(crate) fn served(section: &Section<'_>) -> Option<Certificate> {
    let certificate = pair(section);
    let Some(value) = section.get("ocsp") else { return certificate };
    let FileRead { found, bytes } = value.file(IDENTITY_BYTES_MAX)?;
    let certificate = certificate?;
    check_ocsp(&value, &found, &bytes, &certificate);
    Some(Certificate {
        identity: certificate.identity.with_ocsp(bytes),
        ocsp: Some(found.path),
        ..certificate
    })
}

/// The authorities in the file that a value names.
pub(crate) fn authorities(value: &Value<'_>) -> Option<FileOf<Authorities>> {
    let FileRead { found, bytes } = value.file(AUTHORITIES_BYTES_MAX)?;
    match Authorities::parse(&bytes) {
        Ok(content) => Some(FileOf { path: found.path, content }),
        Err(error) => {
            let message = format!("the authorities in {} cannot be used: {error}", found.shown);
            value.report(help_pem(Diagnostic::error("bad-certificate", message), &error, &found));
            None
        }
    }
}

/// The revocation lists in the file that a value names.
pub(crate) fn revocations(value: &Value<'_>) -> Option<FileOf<Revocations>> {
    let FileRead { found, bytes } = value.file(REVOCATIONS_BYTES_MAX)?;
    match Revocations::parse(&bytes) {
        Ok(content) => Some(FileOf { path: found.path, content }),
        Err(error) => {
            let message = format!("the revocation list in {} cannot be used: {error}", found.shown);
            value.report(help_pem(Diagnostic::error("bad-revocations", message), &error, &found));
            None
        }
    }
}

/// A key that others may read is no secret, and one that others may write is not ours.
fn refuse_exposed(value: &Value<'_>, found: &Found) {
    let Some(mode) = value.reader.files.mode(&found.path) else { return };
    if mode & EXPOSED == 0 {
        return;
    }
    let shown = &found.shown;
    let who = match (mode & 0o004 != 0, mode & 0o022 != 0) {
        (true, true) => "everybody on this machine can read it, and others can write it",
        (true, false) => "everybody on this machine can read it",
        (false, _) => "others than its owner can write it",
    };
    let message = format!("the key {shown} is refused for its permissions {mode:03o}: {who}");
    value.report(
        Diagnostic::error("exposed-key", message)
            .help(format!("run `chmod g-w,o= {shown}`; if it was read by others, make a new key")),
    );
}

/// Warns of a certificate that clients do not believe, or soon will not.
fn warn_of_life(value: &Value<'_>, found: &Found, certificate: &Particulars) {
    let Some(now) = value.reader.files.now() else { return };
    let Particulars { not_before, not_after, .. } = certificate;
    let shown = &found.shown;
    let left = not_after.saturating_sub(now);
    let warning = if now < *not_before {
        Diagnostic::warning(
            "certificate-not-yet-valid",
            format!("the certificate in {shown} is not good before {}", day(*not_before)),
        )
        .help("clients refuse it until then; is the clock of this machine right? (see `date`)")
    } else if now > *not_after {
        Diagnostic::warning(
            "certificate-expired",
            format!("the certificate in {shown} ended on {}", day(*not_after)),
        )
        .help("clients refuse it: put a new one in its place, which Evergate notices by itself")
    } else if now > certificate.warn_from() {
        Diagnostic::warning(
            "certificate-expires",
            format!("the certificate in {shown} ends on {}, {}", day(*not_after), in_time(left)),
        )
        .help("put a new one in its place, which Evergate notices by itself")
    } else {
        return;
    };
    value.report(warning);
}

/// `in 9 days`, `in 5 hours`.
fn in_time(seconds: u64) -> String {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    let (count, unit) = match seconds {
        0..HOUR => return "within the hour".to_owned(),
        HOUR..DAY => (seconds / HOUR, "hour"),
        DAY.. => (seconds / DAY, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("in {count} {unit}{plural}")
}

fn check_ocsp(value: &Value<'_>, found: &Found, der: &[u8], certificate: &Certificate) {
    let shown = &found.shown;
    let now = value.reader.files.now();
    match OcspResponse::read(der, &certificate.identity.particulars().serial) {
        Ok(OcspResponse { next_update: Some(until) }) if now.is_some_and(|now| now > until) => {
            let message = format!("the OCSP response in {shown} ended on {}", day(until));
            value
                .report(Diagnostic::warning("ocsp-expired", message).help(
                    "fetch a new one, with each day at best: `openssl ocsp -respout FILE …`",
                ));
        }
        Ok(OcspResponse { next_update: _ }) => {}
        Err(error) => {
            let message = format!("the OCSP response in {shown} cannot be used: {error}");
            let help = match error {
                OcspError::Form | OcspError::Status(_) | OcspError::OtherCertificate => {
                    "fetch the one of this certificate: `openssl ocsp -respout FILE …`"
                }
                OcspError::Revoked | OcspError::Unknown => {
                    "have a new certificate made; clients refuse this one"
                }
            };
            value.report(Diagnostic::error("bad-ocsp", message).help(help));
        }
    }
}

/// Warns of certificates of one listener that are good for nobody.
pub(crate) fn warn_of_names(certs: &[(Value<'_>, Certificate)]) {
    let shown = |value: &Value<'_>| value.found().map(|found| found.shown).unwrap_or_default();
    for (at, (value, certificate)) in certs.iter().enumerate() {
        let names = &certificate.identity.particulars().names;
        if names.is_empty() {
            let message = format!("the certificate in {} is good for no name", shown(value));
            value.report(
                Diagnostic::warning("certificate-without-names", message)
                    .help("have one made with the names of the site as subjectAltName"),
            );
        }
        let algorithm = certificate.identity.certified().key.algorithm();
        let earlier = certs[..at].iter().find_map(|(earlier, other)| {
            // Of two kinds of keys, each client gets the one that it can check.
            let is_twin = other.identity.certified().key.algorithm() == algorithm;
            let others = &other.identity.particulars().names;
            let shared = names.iter().find(|name| others.contains(name));
            shared.filter(|_| is_twin).map(|name| (earlier, name))
        });
        let Some((earlier, name)) = earlier else { continue };
        let message = format!(
            "the certificates in {} and {} are both for `{name}`: clients get the first",
            shown(earlier),
            shown(value)
        );
        value.report(
            Diagnostic::warning("certificate-overlap", message)
                .see(value.reader.locate(earlier.place()), "the first")
                .help("remove one of the two"),
        );
    }
}

fn refuse(
    error: &IdentityError,
    (cert, chain): (&Value<'_>, &FileRead),
    (key, secret): (&Value<'_>, &FileRead),
) {
    let (chain, secret) = (&chain.found, &secret.found);
    match error {
        IdentityError::Chain(PemError::Other(_, "private key")) => {
            let message = format!("{} holds a private key, not a certificate", chain.shown);
            cert.report(
                Diagnostic::error("bad-certificate", message)
                    .help("name the certificate here, and the key under `key`"),
            );
        }
        IdentityError::Key(PemError::Other(_, "certificate")) => {
            let message = format!("{} holds a certificate, not a private key", secret.shown);
            key.report(
                Diagnostic::error("bad-key", message)
                    .help("name the key here, and the certificate under `cert`"),
            );
        }
        IdentityError::Chain(error) => {
            let message = format!("the certificate in {} cannot be used: {error}", chain.shown);
            cert.report(help_pem(Diagnostic::error("bad-certificate", message), error, chain));
        }
        IdentityError::Certificate => {
            let message = format!("what {} holds is no X.509 certificate", chain.shown);
            cert.report(
                Diagnostic::error("bad-certificate", message)
                    .help(format!("look at it: `openssl x509 -in {} -text`", chain.shown)),
            );
        }
        IdentityError::Key(error) => {
            let message = format!("the key in {} cannot be used: {error}", secret.shown);
            key.report(help_pem(Diagnostic::error("bad-key", message), error, secret));
        }
        IdentityError::KeyKind => {
            let message = format!("the key in {} is of a kind that cannot be used", secret.shown);
            key.report(
                Diagnostic::error("bad-key", message).help(
                    "make one of ECDSA P-256 or P-384, Ed25519, or RSA with at least 2048 bits",
                ),
            );
        }
        IdentityError::Mismatch => {
            let message = format!(
                "the key in {} is not that of the certificate in {}",
                secret.shown, chain.shown
            );
            key.report(
                Diagnostic::error("key-mismatch", message)
                    .see(cert.reader.locate(cert.place()), "the certificate")
                    .help(
                        "name the key that the certificate was asked for with; the certificate \
                           of the server must be the first in its file",
                    ),
            );
        }
    }
}

fn help_pem(diagnostic: Diagnostic, error: &PemError, found: &Found) -> Diagnostic {
    let shown = &found.shown;
    match error {
        PemError::Broken(_) => diagnostic.help("it was cut or changed: write the file anew"),
        PemError::Nothing(_) => {
            diagnostic.help("PEM begins with a line such as `-----BEGIN CERTIFICATE-----`; is it \
                             the file you meant?")
        }
        PemError::Other(..) => diagnostic.help("is it the file you meant?"),
        PemError::Der => diagnostic.help(format!(
            "turn it into PEM: `openssl x509 -inform der -in {shown} -out NEW`, for keys `openssl \
             pkey` in place of `openssl x509`"
        )),
        PemError::Encrypted => diagnostic.help(format!(
            "nobody is there to type the passphrase at a start: `openssl pkey -in {shown} -out NEW` \
             takes it away"
        )),
    }
}
