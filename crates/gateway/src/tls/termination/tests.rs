use evergate_config::FileOf;
use evergate_pki::Authorities;
use rcgen::{CertificateParams, KeyPair};

use super::*;

fn certificate(names: &[&str]) -> (config::Certificate, Authorities) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let identity = Identity::parse(made.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let certificate =
        config::Certificate { identity, cert: "a.pem".into(), key: "a.key".into(), ocsp: None };
    (certificate, Authorities::parse(made.pem().as_bytes()).unwrap())
}

fn settings(certs: Vec<config::Certificate>) -> config::Tls {
    config::Tls {
        certs,
        acme: None,
        client_auth: ClientAuth::Off,
        client_ca: None,
        client_crl: None,
        min_version: TlsVersion::Tls12,
        handshake_timeout: std::time::Duration::from_secs(60),
    }
}

#[test]
fn the_exact_name_goes_before_a_wildcard_and_that_before_the_first() {
    let certs =
        [&["first.test"][..], &["*.b.test"], &["x.b.test"]].map(|names| certificate(names).0);
    let certificates = Certificates::new(&settings(certs.to_vec()), &SharedIssuance::default());
    let chosen = |name| certificates.choose(name, None).unwrap().particulars().names[0].clone();
    assert_eq!(chosen(Some("x.b.test")), "x.b.test");
    assert_eq!(chosen(Some("y.b.test")), "*.b.test");
    assert_eq!(chosen(Some("z.y.b.test")), "first.test");
    assert_eq!(chosen(Some("b.test")), "first.test");
    assert_eq!(chosen(None), "first.test");
}

#[test]
fn a_host_with_another_certificate_is_misdirected() {
    let certs = [&["a.test", "*.a.test"][..], &["b.test"]].map(|names| certificate(names).0);
    let common = Common::default();
    let termination = Termination::compile(&settings(certs.to_vec()), true, &common, None).unwrap();
    let [a, b] = &certs;
    let (a, b) = (a.identity.particulars(), b.identity.particulars());
    for (shown, host, misdirected) in [
        (a, "a.test", false),
        (a, "x.a.test", false),
        (a, "b.test", true),
        (a, "unknown.test", false),
        (b, "unknown.test", true),
        (b, "a.test", true),
    ] {
        assert_eq!(termination.misdirects(host, shown), misdirected, "{host} on {:?}", shown.names);
    }
}

#[test]
fn a_reload_that_changes_nothing_keeps_what_was_compiled() {
    let common = Common::default();
    let settings_a = settings(vec![certificate(&["a.test"]).0]);
    let before = Termination::compile(&settings_a, true, &common, None).unwrap();
    let same = Termination::compile(&settings_a, true, &common, Some(&before)).unwrap();
    assert!(Arc::ptr_eq(&before, &same));
    let settings_b = settings(vec![certificate(&["a.test"]).0]);
    let other = Termination::compile(&settings_b, true, &common, Some(&before)).unwrap();
    assert!(!Arc::ptr_eq(&before, &other));
}

#[test]
fn a_session_does_not_go_on_where_more_is_wanted_of_clients() {
    let (cert, authorities) = certificate(&["a.test"]);
    let (_, others) = certificate(&["b.test"]);
    let open = settings(vec![cert.clone()]);
    let wanting = |content: &Authorities, client_auth| config::Tls {
        client_auth,
        client_ca: Some(FileOf { path: "ca.pem".into(), content: content.clone() }),
        ..settings(vec![cert.clone()])
    };
    let all = [
        open,
        wanting(&authorities, ClientAuth::Optional),
        wanting(&authorities, ClientAuth::Required),
        wanting(&others, ClientAuth::Required),
    ];
    let common = Common::default();
    let servers = all.map(|one| Termination::compile(&one, true, &common, None).unwrap());
    for (at, from) in servers.iter().enumerate() {
        let ticket = from.server.ticketer.encrypt(b"session").unwrap();
        for (to_at, to) in servers.iter().enumerate() {
            let opened = to.server.ticketer.decrypt(&ticket).is_some();
            assert_eq!(opened, at == to_at, "from {at} to {to_at}");
        }
    }
}
