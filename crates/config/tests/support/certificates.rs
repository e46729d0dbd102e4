//! Certificates and keys as the fixtures name them, made anew for each run: no key lies in the
//! repository. What is shown of them is the same each time: names and dates.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, PKCS_ED25519, SerialNumber, date_time_ymd,
};

/// A date: year, month, day.
type Date = (i32, u8, u8);

/// A year's certificate in the middle of its life.
const GOOD: (Date, Date) = ((2026, 6, 1), (2027, 6, 1));

/// The file below `tls`.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    static FILES: LazyLock<BTreeMap<&'static str, Vec<u8>>> = LazyLock::new(make);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    FILES.get(name).cloned().ok_or_else(|| io::Error::from_raw_os_error(2))
}

fn make() -> BTreeMap<&'static str, Vec<u8>> {
    let mut files = BTreeMap::new();
    let ca_key = KeyPair::generate().expect("there is randomness");
    let mut params = params(&[], GOOD);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, ca_key).expect("it can be signed");
    files.insert("ca.pem", ca.pem().into_bytes());
    files.insert("clients.crl", revocations(&ca));

    let key = KeyPair::generate().expect("there is randomness");
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).expect("there is randomness");
    let certificates: [(&str, &[&str], (Date, Date)); 8] = [
        ("web.pem", &["api.example.org", "*.example.org"], GOOD),
        ("second.pem", &["www.example.org", "api.example.org"], GOOD),
        ("expired.pem", &["a.example.org"], ((2025, 6, 1), (2026, 6, 1))),
        ("expires.pem", &["b.example.org"], ((2025, 12, 1), (2026, 12, 1))),
        ("short.pem", &["c.example.org"], ((2026, 11, 17), (2026, 11, 23))),
        ("short-and-good.pem", &["c.example.org"], ((2026, 11, 19), (2026, 11, 25))),
        ("early.pem", &["d.example.org"], ((2026, 12, 1), (2027, 12, 1))),
        ("nameless.pem", &[], GOOD),
    ];
    for (name, names, life) in certificates {
        let mut params = self::params(names, life);
        params.serial_number = Some(SerialNumber::from(0x1234));
        let certificate = params.signed_by(&key, &ca).expect("it can be signed");
        files.insert(name, (certificate.pem() + &ca.pem()).into_bytes());
        if name == "web.pem" {
            files.insert("web.der", certificate.der().to_vec());
        }
    }
    let mut twin = self::params(&["api.example.org"], GOOD);
    twin.serial_number = Some(SerialNumber::from(0x4321));
    let twin = twin.signed_by(&ed25519, &ca).expect("it can be signed");
    files.insert("twin.pem", twin.pem().into_bytes());
    files.insert("twin.key", ed25519.serialize_pem().into_bytes());

    for (name, serial, state, until) in [
        ("web.ocsp", [0x12, 0x34], [0x80, 0], b"20261201000000Z"),
        ("twin.ocsp", [0x43, 0x21], [0x80, 0], b"20261201000000Z"),
        ("old.ocsp", [0x12, 0x34], [0x80, 0], b"20261101000000Z"),
        ("revoked.ocsp", [0x12, 0x34], [0xa1, 0], b"20261201000000Z"),
    ] {
        files.insert(name, ocsp(serial, state, until));
    }

    let pem = key.serialize_pem();
    for name in ["web.key", "public.key", "shared.key", "open.key", "group.key"] {
        files.insert(name, pem.clone().into_bytes());
    }
    files.insert("other.key", KeyPair::generate().expect("randomness").serialize_pem().into());
    files.insert("locked.key", pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY").into());
    files.insert("cut.pem", ca.pem().replace("-----END CERTIFICATE-----", "").into());
    files.insert("garbled.pem", ca.pem().replace('a', "!").into());
    files.insert("odd.key", ODD_KEY.into());
    files.insert("text.pem", "hush\n".into());
    files.insert("large.pem", vec![b'#'; 2 << 20]);
    files
}

/// A key to agree on secrets with (X25519), which cannot sign.
const ODD_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
-----END PRIVATE KEY-----
";

/// An OCSP response (RFC 6960), without the signature that only clients look at.
fn ocsp(serial: [u8; 2], state: [u8; 2], until: &[u8; 15]) -> Vec<u8> {
    let value = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u8::try_from(content.len()).expect("it is short");
        [&[tag, length], &*content].concat()
    };
    let id = [&*value(0x30, &[]), &value(4, &[]), &value(4, &[]), &value(2, &[&serial])];
    let time = value(0x18, &[b"20261101000000Z"]);
    let next = value(0xa0, &[&value(0x18, &[until])]);
    let answer = value(0x30, &[&value(0x30, &id), &state, &time, &next]);
    let data = value(0x30, &[&value(0xa2, &[]), &time, &value(0x30, &[&answer])]);
    let typed = value(0x30, &[&[6, 1, 0x2a], &value(4, &[&value(0x30, &[&data])])]);
    value(0x30, &[&[10, 1, 0], &value(0xa0, &[&typed])])
}

fn params(names: &[&str], (from, until): (Date, Date)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are names");
    params.distinguished_name.push(DnType::CommonName, "Evergate's tests");
    params.not_before = date_time_ymd(from.0, from.1, from.2);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    params
}

fn revocations(ca: &CertifiedIssuer<'_, KeyPair>) -> Vec<u8> {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 6, 1),
        next_update: date_time_ymd(2027, 6, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).and_then(|list| list.pem()).expect("it can be signed").into_bytes()
}
