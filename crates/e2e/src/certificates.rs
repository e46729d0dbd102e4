//! An authority of a test's own, and certificates that it issues.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long certificates are good, from yesterday on.
const LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// An authority that nobody else knows.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Number of the next certificate.
    serial: AtomicU64,
}

/// A certificate and its key, both as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate; the authority's own is not with it.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// Its number among those of its authority.
    pub serial: u64,
}

impl Ca {
    /// A new one.
    pub fn new() -> Self {
        Self::called("Evergate tests' authority")
    }

    /// A new one with this name.
    pub fn called(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key());
        let issuer = issuer.expect("nothing in it is out of the ordinary");
        // Of two bytes, so that it looks the same wherever it is printed.
        Self { issuer, serial: AtomicU64::new(0x1000) }
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its key, as PEM.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A list, as PEM, that says that these are good no more.
    pub fn revoke(&self, issued: &[&Issued]) -> String {
        let life = params("as long as a certificate");
        let revoked = |one: &&Issued| RevokedCertParams {
            serial_number: SerialNumber::from(one.serial),
            revocation_time: life.not_before,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: life.not_before,
            next_update: life.not_after,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: issued.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer).expect("the authority may sign lists");
        signed.pem().expect("it is signed")
    }

    /// What a server shows whose certificate ended yesterday.
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |params| {
            params.not_after = params.not_before;
            params.not_before -= LIFE;
        })
    }

    /// What a server with these host names and addresses shows.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// What a client called `name` shows.
    pub fn issue_client(&self, name: &str) -> Issued {
        self.issue_with(&[name], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// What a server shows whose certificate is out of the ordinary.
    pub fn issue_with(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Issued {
        let mut params = params(names.first().copied().unwrap_or("nobody"));
        params.subject_alt_names = names.iter().map(|name| alternative(name)).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = key();
        let cert = params.signed_by(&key, &self.issuer).expect("the authority has its key");
        Issued { cert: cert.pem(), key: key.serialize_pem(), serial }
    }
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("Issued").field("cert", &self.cert).finish_non_exhaustive()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970");
    params.not_before = date_time_ymd(1970, 1, 1) + (now - DAY);
    params.not_after = params.not_before + LIFE;
    params
}

fn alternative(name: &str) -> SanType {
    match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().expect("a host name")),
    }
}

/// ECDSA on P-256, which authorities issue by default.
fn key() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}
