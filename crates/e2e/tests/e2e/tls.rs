//! TLS with clients: certificates and when they change, who is let in, sessions, what origins hear.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use evergate_e2e::certificates::Issued;
use evergate_e2e::program::{command, printed};
use evergate_e2e::{Ca, Client, Node, Origin, Setup, wait_until};

use crate::load::Traffic;
use crate::processes::kill_worker;
use crate::scene::{Scene, get};

/// Whoever asks for this is answered at once.
const HELLO: &str = "[route.hello]\nmatch = \"/hello\"\nrespond = { body = \"hello\" }\n";
/// The certificate of most tests.
const CERTS: &str = "certs = [{ cert = \"web.pem\", key = \"web.key\" }]";

/// A scene whose listener has these keys in its `tls`, beside a certificate.
fn secure(origin: &Origin, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    let tls = format!("tls = {{ {CERTS}{comma}{more} }}");
    Scene::to(origin).listener(&tls).more(HELLO).config()
}

/// The one certificate as a client gets it that asks for `name`, or for nobody.
fn shown(address: SocketAddr, name: Option<&str>) -> Option<String> {
    let mut client = s_client(address)?;
    match name {
        Some(name) => client.args(["-servername", name]),
        None => client.arg("-noservername"),
    };
    let said = printed(&mut client);
    let start = said.find("-----BEGIN").unwrap_or_else(|| panic!("no certificate: {said}"));
    let end = said.find("-----END CERTIFICATE-----").expect("it ends");
    Some(said[start..end].to_owned() + "-----END CERTIFICATE-----\n")
}

/// A client of OpenSSL that hangs up after the handshake, unless it has something to say.
fn s_client(address: SocketAddr) -> Option<Command> {
    let mut command = command("openssl")?;
    command.args(["s_client", "-connect", &address.to_string()]).stdin(Stdio::null());
    Some(command)
}

/// curl that asks `node` for what lies at `path` of `host`, and prints body and status.
fn curl(node: &Node, host: &str, path: &str) -> Option<Command> {
    let mut command = command("curl")?;
    let to = format!("::{}", node.web());
    command.args(["-sS", "-w", " %{http_code}", "--connect-to", &to, "--cacert"]);
    command.arg(node.path("ca.pem")).arg(format!("https://{host}{path}"));
    Some(command)
}

/// With a certificate for whom curl shows itself as.
fn with_certificate<'a>(curl: &'a mut Command, node: &Node, name: &str) -> &'a mut Command {
    let file = |ending: &str| node.path(&format!("{name}.{ending}"));
    curl.arg("--cert").arg(file("pem")).arg("--key").arg(file("key"))
}

/// How many handshakes have failed for `reason`.
fn failures(node: &Node, reason: &str) -> f64 {
    let name = "evergate_tls_handshake_failures_total";
    node.metrics()[&format!("{name}{{listener=\"web\",reason=\"{reason}\"}}")]
}

fn handshakes(node: &Node, version: &str) -> f64 {
    let name = "evergate_tls_handshakes_total";
    node.metrics()[&format!("{name}{{listener=\"web\",version=\"{version}\"}}")]
}

#[test]
fn a_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let ca = Ca::new();
    let (first, exact, wildcard) =
        (ca.issue(&["first.test"]), ca.issue(&["a.many.test"]), ca.issue(&["*.many.test"]));
    let mut certs = String::new();
    for name in ["first", "exact", "wildcard"] {
        write!(certs, "{{ cert = \"{name}.pem\", key = \"{name}.key\" }}, ").unwrap();
    }
    let origin = Origin::saying("hello");
    let setup = Setup::new().certificate("first", &first).certificate("exact", &exact);
    let node = setup
        .certificate("wildcard", &wildcard)
        .start(&Scene::to(&origin).listener(&format!("tls = {{ certs = [{certs}] }}")).config());
    let table = [
        (Some("first.test"), &first),
        (Some("a.many.test"), &exact),
        (Some("A.Many.TEST"), &exact),
        (Some("b.many.test"), &wildcard),
        (Some("b.a.many.test"), &first),
        (Some("many.test"), &first),
        (Some("elsewhere.test"), &first),
        (None, &first),
    ];
    for (name, expected) in table {
        let Some(shown) = shown(node.web(), name) else { return };
        assert_eq!(shown, expected.cert, "{name:?}");
    }
}

#[test]
fn a_host_with_another_certificate_is_misdirected() {
    let ca = Ca::new();
    let origin = Origin::saying("hello");
    let tls = "tls = { certs = [{ cert = \"a.pem\", key = \"a.key\" }, \
               { cert = \"b.pem\", key = \"b.key\" }] }";
    let node = Setup::new()
        .file("ca.pem", &ca.pem())
        .certificate("a", &ca.issue(&["a.test", "also-a.test"]))
        .certificate("b", &ca.issue(&["b.test"]))
        .start(&Scene::to(&origin).listener(tls).config());
    for version in ["--http1.1", "--http2"] {
        for (host, status) in [("a.test", "200"), ("also-a.test", "200"), ("b.test", "421")] {
            let Some(mut curl) = curl(&node, "a.test", "/") else { return };
            let said = printed(curl.args([version, "-H", &format!("Host: {host}")]));
            assert!(said.ends_with(status), "{version} {host}: {said}");
        }
    }
    assert!(origin.requests().iter().all(|request| request.field("host") != Some("b.test")));
}

#[test]
fn http_without_tls_is_told_so() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start_secure();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    let answer = client.read_response();
    assert_eq!(answer.status, 400, "{}", answer.head);
    assert_eq!(answer.text(), "400 Bad Request: this port speaks HTTPS.\n");
    client.expect_close();
    wait_until("it is counted", || failures(&node, "not_tls") == 1.0);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn versions_older_than_the_configuration_wants_are_refused() {
    let ca = Ca::new();
    let origin = Origin::saying("hello");
    let node = Setup::new()
        .file("ca.pem", &ca.pem())
        .certificate("web", &ca.issue(&["web.test"]))
        .start(&secure(&origin, "min_version = \"1.3\""));
    let Some(mut old) = curl(&node, "web.test", "/hello") else { return };
    let refused = old.args(["--tls-max", "1.2"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(35), "{refused:?}");
    wait_until("it is counted", || failures(&node, "no_shared_version") == 1.0);
    let Some(mut new) = curl(&node, "web.test", "/hello") else { return };
    assert_eq!(printed(&mut new), "hello 200");
    assert_eq!((handshakes(&node, "TLSv1.2"), handshakes(&node, "TLSv1.3")), (0.0, 1.0));
    assert_eq!(node.status()["listeners"][0]["protocol"], "https (TLS 1.3)");
}

/// A node that asks for clients' certificates, with files of clients of every kind.
fn asking(origin: &Origin, auth: &str) -> Node {
    let (servers, clients, strangers) = (Ca::new(), Ca::new(), Ca::new());
    let revoked = clients.issue_client("revoked");
    let good = clients.issue_client("good");
    let mut setup = Setup::new()
        .file("ca.pem", &servers.pem())
        .file("clients.pem", &clients.pem())
        .file("clients.crl", &clients.revoke(&[&revoked]))
        .certificate("web", &servers.issue(&["web.test"]));
    let expired = clients.issue_expired(&["expired"]);
    let others = [
        ("good", good),
        ("revoked", revoked),
        ("expired", expired),
        ("stranger", strangers.issue_client("stranger")),
        ("server", clients.issue(&["server"])),
    ];
    for (name, issued) in &others {
        setup = setup.certificate(name, issued);
    }
    let keys = match auth {
        "off" => String::new(),
        auth => format!(
            "client_auth = \"{auth}\", client_ca = \"clients.pem\", client_crl = \"clients.crl\""
        ),
    };
    setup.start(&secure(origin, &keys))
}

/// Whether a client with the certificate `name` is answered, over each version.
fn is_let_in(node: &Node, name: Option<&str>) -> Option<bool> {
    let mut answers = Vec::new();
    for version in ["1.2", "1.3"] {
        let mut curl = curl(node, "web.test", "/hello")?;
        curl.args(["--tls-max", version]);
        if let Some(name) = name {
            with_certificate(&mut curl, node, name);
        }
        let Output { status, stdout, .. } = curl.output().unwrap();
        assert_eq!(status.success(), stdout == b"hello 200", "{name:?} {version}: {stdout:?}");
        answers.push(status.success());
    }
    assert_eq!(answers[0], answers[1], "{name:?} depends on the version");
    Some(answers[0])
}

#[test]
fn only_clients_with_a_good_certificate_are_let_in_where_one_is_required() {
    let node = asking(&Origin::saying("hello"), "required");
    let table = [
        (Some("good"), true, ""),
        (None, false, "client_cert_missing"),
        (Some("revoked"), false, "client_cert_revoked"),
        (Some("stranger"), false, "client_cert_bad"),
        (Some("expired"), false, "client_cert_bad"),
        (Some("server"), false, "client_cert_bad"),
    ];
    for (name, expected, reason) in table {
        let before = if expected { 0.0 } else { failures(&node, reason) };
        let Some(is_let_in) = is_let_in(&node, name) else { return };
        assert_eq!(is_let_in, expected, "{name:?}");
        if !expected {
            wait_until("it is counted", || failures(&node, reason) >= before + 2.0);
        }
    }
    assert_eq!(node.status()["listeners"][0]["protocol"], "https (TLS 1.2+, mTLS required)");
}

#[test]
fn a_bad_certificate_is_refused_even_where_none_is_needed() {
    let node = asking(&Origin::saying("hello"), "optional");
    let table = [
        (None, true),
        (Some("good"), true),
        (Some("revoked"), false),
        (Some("stranger"), false),
        (Some("expired"), false),
    ];
    for (name, expected) in table {
        let Some(is_let_in) = is_let_in(&node, name) else { return };
        assert_eq!(is_let_in, expected, "{name:?}");
    }
    assert_eq!(node.status()["listeners"][0]["protocol"], "https (TLS 1.2+, mTLS optional)");
}

#[test]
fn origins_hear_who_the_client_is_from_us_alone() {
    for (auth, name) in [("required", Some("good")), ("optional", None), ("off", None)] {
        let origin = Origin::saying("hello");
        let node = asking(&origin, auth);
        for version in ["--http1.1", "--http2"] {
            let Some(mut curl) = curl(&node, "web.test", "/") else { return };
            curl.args([
                version,
                "-H",
                "Client-Cert: :c3Bvb2Y=:",
                "-H",
                "Client-Cert-Chain: :eA==:",
            ]);
            curl.args(["-H", "X-Forwarded-Proto: http", "-H", "X_Forwarded_Proto: http"]);
            if let Some(name) = name {
                with_certificate(&mut curl, &node, name);
            }
            assert_eq!(printed(&mut curl), "hello 200");
            let request = origin.next_request();
            assert_eq!(request.field("x-forwarded-proto"), Some("https"), "{}", request.head);
            assert!(request.field("forwarded").unwrap().contains("proto=https"));
            let expected = name.map(|name| {
                let pem = std::fs::read_to_string(node.path(&format!("{name}.pem"))).unwrap();
                let lines = pem.lines().filter(|line| !line.starts_with('-'));
                format!(":{}:", lines.collect::<String>())
            });
            assert_eq!(request.field("client-cert"), expected.as_deref(), "{auth} {version}");
            assert_eq!(request.field("client-cert-chain"), None, "{auth} {version}");
        }
    }
}

/// A node that answers by itself under `issued`.
fn alone(issued: &Issued) -> Node {
    let config = format!(
        "[log]\naccess = \"off\"\n[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
         limits = {{ connections_per_ip = 5000, requests = 100000 }}\n\
         tls = {{ {CERTS} }}\n{HELLO}"
    );
    Setup::new().certificate("web", issued).start(&config)
}

#[test]
fn a_certificate_that_is_replaced_costs_no_request() {
    let ca = Ca::new();
    let mut issued = ca.issue(&["localhost"]);
    let node = alone(&issued);
    if shown(node.web(), Some("localhost")).is_none() {
        return;
    }
    let traffic = Traffic::start_secure(node.web(), "/hello", 200);
    traffic.wait_for(50);
    for _ in 0..3 {
        issued = ca.issue(&["localhost"]);
        node.write_certificate("web", &issued);
        wait_until("the new one is shown", || {
            shown(node.web(), Some("localhost")).unwrap() == issued.cert
        });
        traffic.wait_for(50);
    }
    let report = traffic.finish();
    eprintln!("3 certificates: {report}");
    report.expect_no_failure();
}

#[test]
fn a_bad_certificate_changes_nothing_and_is_told() {
    let ca = Ca::new();
    let good = ca.issue(&["localhost"]);
    let node = alone(&good);
    let keeps_the_old = |why: &str| {
        let status = node
            .wait_for(why, |status| status["config"]["failed_reload"].to_string().contains(why));
        assert_eq!(status["health"], "degraded");
        let Some(shown) = shown(node.web(), Some("localhost")) else { return };
        assert_eq!(shown, good.cert, "{why}");
    };
    let other = ca.issue(&["localhost"]);
    node.write("web.pem", &other.cert);
    keeps_the_old("is not that of the certificate");
    node.write("web.pem", "not a certificate");
    keeps_the_old("it holds no certificate");
    node.write("web.pem", &other.cert);
    node.write("web.key", &other.key);
    keeps_the_old("everybody on this machine can read it");
    // Nobody says that it is mended; it is noticed.
    std::fs::set_permissions(node.path("web.key"), Permissions::from_mode(0o600)).unwrap();
    node.wait_for("it is well again", |status| {
        status["health"] == "healthy" && status["config"]["failed_reload"].is_null()
    });
    let Some(shown) = shown(node.web(), Some("localhost")) else { return };
    assert_eq!(shown, other.cert);
}

#[test]
fn sessions_go_on_after_the_worker_was_killed() {
    let node = alone(&Ca::new().issue(&["localhost"]));
    // The client stays for the answer: with TLS 1.3 the ticket comes after the handshake.
    node.write("request", &get("/hello", "Connection: close\r\n"));
    let resumed = "evergate_tls_resumed_total{listener=\"web\"}";
    let mut kills = 0.0;
    for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let talk = |session: &str| {
            let mut client = s_client(node.web())?;
            client.args([option, "-servername", "localhost", "-ign_eof", session]);
            client.arg(node.path(option)).stdin(std::fs::File::open(node.path("request")).unwrap());
            let said = printed(&mut client);
            assert!(said.contains("hello"), "{said}");
            Some(said)
        };
        let Some(first) = talk("-sess_out") else { return };
        assert!(first.contains(&format!("New, {version}")), "{first}");
        // What was shown goes on, too.
        wait_until("it is counted", || handshakes(&node, version) == 1.0);
        kill_worker(&node);
        kills += 1.0;
        assert_eq!(node.status()["worker_generation"], 1.0 + kills);
        let Some(second) = talk("-sess_in") else { return };
        assert!(second.contains(&format!("Reused, {version}")), "{second}");
        wait_until("it is counted", || node.metrics()[resumed] == kills);
        assert_eq!(handshakes(&node, version), 2.0);
    }
}

#[test]
fn an_ocsp_response_goes_along_with_its_certificate() {
    let ca = Ca::new();
    let issued = ca.issue(&["localhost"]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("ca.pem"), ca.pem()).unwrap();
    std::fs::write(file("ca.key"), ca.key()).unwrap();
    std::fs::write(file("web.pem"), &issued.cert).unwrap();
    // OpenSSL's register of an authority: valid, until when, number, file, name.
    let register = format!("V\t401231235959Z\t\t{:04X}\tunknown\t/CN=localhost\n", issued.serial);
    std::fs::write(file("index"), register).unwrap();
    let Some(mut openssl) = command("openssl") else { return };
    openssl.current_dir(folder.path());
    printed(openssl.args(
        "ocsp -index index -CA ca.pem -issuer ca.pem -rsigner ca.pem -rkey ca.key -cert web.pem \
         -ndays 2 -respout web.ocsp"
            .split_whitespace(),
    ));
    let response = file("web.ocsp");
    let tls = format!(
        "tls = {{ certs = [{{ cert = \"web.pem\", key = \"web.key\", ocsp = {response:?} }}] }}"
    );
    // The worker may be somebody else.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let config = Scene::to(&Origin::saying("hello")).listener(&tls).config();
    let node = Setup::new().certificate("web", &issued).start(&config);
    let Some(mut client) = s_client(node.web()) else { return };
    client.args(["-status", "-servername", "localhost", "-CAfile"]).arg(file("ca.pem"));
    let said = printed(&mut client);
    assert!(said.contains("OCSP Response Status: successful"), "{said}");
    assert!(said.contains("Cert Status: good"), "{said}");
}

#[test]
fn files_arrive_whole_over_every_version() {
    let ca = Ca::new();
    // No part of it looks like another.
    let text: String = (0..1 << 17).map(|line| format!("{line:07}\n")).collect();
    assert_eq!(text.len(), 1 << 20);
    let config = format!(
        "[listener.web]\nbind = [\"127.0.0.1:0\"]\ntls = {{ {CERTS} }}\n\
         [route.files]\nmatch = \"/*\"\nstatic = {{ root = \"files\" }}\n"
    );
    let node = Setup::new()
        .file("ca.pem", &ca.pem())
        .file("files/big.txt", &text)
        .certificate("web", &ca.issue(&["web.test"]))
        .start(&config);
    let table = [
        (["--http1.1", "--tlsv1.3", "--tls-max", "1.3"], "h1 1.3"),
        (["--http1.1", "--tlsv1.2", "--tls-max", "1.2"], "h1 1.2"),
        (["--http2", "--tlsv1.3", "--tls-max", "1.3"], "h2 1.3"),
        (["--http2", "--tlsv1.2", "--tls-max", "1.2"], "h2 1.2"),
    ];
    for (arguments, name) in table {
        let ask = |more: &[&str]| {
            let mut curl = curl(&node, "web.test", "/big.txt")?;
            Some(printed(curl.args(arguments).args(more)))
        };
        let Some(whole) = ask(&[]) else { return };
        assert!(whole == text.clone() + " 200", "{name}: {} bytes came", whole.len());
        let Some(part) = ask(&["-r", "1000-999999"]) else { return };
        assert!(part == text[1000..1_000_000].to_owned() + " 206", "{name}: {}", part.len());
        let Some(end) = ask(&["-r", "-20000"]) else { return };
        assert!(end == text[text.len() - 20_000..].to_owned() + " 206", "{name}: {}", end.len());
        let Some(parts) = ask(&["-r", "0-7,500000-700000"]) else { return };
        assert!(parts.ends_with(" 206") && parts.contains(&text[500_000..=700_000]), "{name}");
        let Some(limited) = ask(&["--limit-rate", "2M"]) else { return };
        assert!(limited == text.clone() + " 200", "{name} read slowly: {}", limited.len());
    }
}
