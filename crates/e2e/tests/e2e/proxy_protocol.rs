//! PROXY headers, from whoever stands in front and to the servers behind.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use evergate_e2e::program::{command, printed};
use evergate_e2e::{Client, Node, Origin, Program, wait_until};

use crate::scene::{Scene, get, ok};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE: &str = "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n";

/// A header of version 2, from command and family on.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// `192.0.2.1:4711` to `198.51.100.2:443`, with TLVs behind.
fn ipv4_with(tlvs: &[u8]) -> Vec<u8> {
    let ends = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb];
    v2(0x21, 0x11, &[&ends[..], tlvs].concat())
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], value].concat()
}

/// A listener that wants a header, which whoever is on this machine may send.
fn announced(origin: &Origin) -> Scene {
    Scene::to(origin).listener("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]")
}

/// Waits until so many were refused for `reason`: whoever was sees that before it is counted.
fn expect_refused(node: &Node, reason: &str, count: f64) {
    wait_until(&format!("{count} are refused: {reason}"), || refused(node, reason) == count);
}

fn refused(node: &Node, reason: &str) -> f64 {
    let name =
        format!("evergate_proxy_protocol_refused_total{{listener=\"web\",reason=\"{reason}\"}}");
    node.metrics()[&name]
}

#[test]
fn the_header_says_who_the_client_is() {
    let origin = Origin::saying("ok");
    let node = announced(&origin).start();
    let mut ipv6 = [0; 36];
    (ipv6[0], ipv6[1], ipv6[2], ipv6[3], ipv6[15]) = (0x20, 0x01, 0x0d, 0xb8, 1);
    let table = [
        (LINE.as_bytes().to_vec(), "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n".to_vec(), "192.0.2.9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN 192.0.2.1 192.0.2.1 1 2\r\n".to_vec(), "127.0.0.1"),
        (ipv4_with(b""), "192.0.2.1"),
        (v2(0x21, 0x21, &ipv6), "2001:db8::1"),
        (v2(0x21, 0x31, &[b'/'; 216]), "127.0.0.1"),
        (v2(0x21, 0x00, b""), "127.0.0.1"),
        (v2(0x20, 0x00, b""), "127.0.0.1"),
        (v2(0x20, 0x11, &ipv4_with(b"")[16..]), "127.0.0.1"),
    ];
    for (header, client) in table {
        let shown = header.escape_ascii().to_string();
        // At once, and byte by byte.
        let whole = [&header[..], get("/", "").as_bytes()].concat();
        assert_eq!(Client::ask(node.web(), &whole).status, 200, "{shown}");
        assert_eq!(origin.next_request().field("x-forwarded-for"), Some(client), "{shown}");
        let mut slow = Client::connect(node.web());
        for byte in &whole {
            slow.send([*byte]);
        }
        assert_eq!(slow.read_response().status, 200, "{shown}");
        let request = origin.next_request();
        assert_eq!(request.field("x-forwarded-for"), Some(client), "{shown}");
        // There is one header for all requests of a connection.
        slow.send(get("/again", ""));
        assert_eq!(slow.read_response().status, 200, "{shown}");
        let request = origin.next_request();
        assert_eq!(request.field("x-forwarded-for"), Some(client), "{shown}");
    }
    let lines = node.stdout.wait_for(33, "\"client\":");
    assert!(lines[0].contains("\"client\":\"192.0.2.1\""), "{lines:?}");
}

#[test]
fn a_large_body_right_behind_the_header_arrives() {
    let origin = Origin::saying("ok");
    let node = announced(&origin).start();
    let body = "0123456789abcdef".repeat(8 * 1024);
    let request = crate::scene::post(&body, "");
    let header = ipv4_with(&tlv(0xe0, &[0; 4000]));
    let response = Client::ask(node.web(), [&header[..], request.as_bytes()].concat());
    assert_eq!(response.status, 200);
    assert_eq!(origin.next_request().body, body.as_bytes());
}

#[test]
fn an_announced_proxy_that_is_trusted_too_is_believed() {
    let origin = Origin::saying("ok");
    let trusted = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\", \"192.0.2.0/24\"]";
    let node = Scene::to(&origin).listener(trusted).start();
    let request = format!("{LINE}{}", get("/", "X-Forwarded-For: 203.0.113.5\r\n"));
    assert_eq!(Client::ask(node.web(), request).status, 200);
    let told = origin.next_request();
    assert_eq!(told.field("x-forwarded-for"), Some("203.0.113.5, 192.0.2.1"));
    assert_eq!(told.field("x-real-ip"), Some("203.0.113.5"));
    // Whoever is only announced is not.
    let other = LINE.replace("192.0.2.1", "198.51.100.7");
    let request = format!("{other}{}", get("/", "X-Forwarded-For: 203.0.113.5\r\n"));
    assert_eq!(Client::ask(node.web(), request).status, 200);
    assert_eq!(origin.next_request().field("x-forwarded-for"), Some("198.51.100.7"));
}

#[test]
fn who_is_not_trusted_is_closed_on_and_counted() {
    let origin = Origin::saying("never");
    let trusted = "proxy_protocol = true\ntrusted_proxies = [\"192.0.2.0/24\"]";
    let node = Scene::to(&origin).listener(trusted).start();
    for _ in 0..3 {
        let mut client = Client::connect(node.web());
        // It may be closed before we have sent a word.
        let _ = client.try_send(format!("{LINE}{}", get("/", "")));
        client.expect_close();
    }
    expect_refused(&node, "untrusted", 3.0);
    assert_eq!(origin.requests().len(), 0);
    // However many there are, it is told once a minute.
    let told = node.stderr.wait_for(1, "proxy_header_refused");
    assert!(told[0].contains("listener.web"), "{told:?}");
    assert!(told[0].contains("127.0.0.1 is not one of the listener's trusted_proxies"), "{told:?}");
    assert_eq!(told.len(), 1, "{told:?}");
    wait_until("they are gone", || {
        node.metrics()["evergate_listener_connections{listener=\"web\"}"] == 0.0
    });
}

#[test]
fn what_does_not_begin_with_a_header_is_closed_on_and_counted() {
    let origin = Origin::saying("never");
    let node = announced(&origin).start();
    let wrong_sum = ipv4_with(&tlv(0x03, &[1, 2, 3, 4]));
    let too_long = [SIGNATURE, &[0x21, 0x11, 0x10, 0x01]].concat();
    let table = [
        (get("/", "").into_bytes(), "malformed"),
        (b"\x16\x03\x01\x02\x00".to_vec(), "malformed"),
        (format!("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n{}", get("/", "")).into(), "malformed"),
        (format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)).into_bytes(), "too_long"),
        (too_long, "too_long"),
        (wrong_sum, "checksum"),
        (ipv4_with(&[5, 0, 9]), "malformed"),
    ];
    for (bytes, reason) in table {
        let before = refused(&node, reason);
        let mut client = Client::connect(node.web());
        client.send(&bytes);
        client.expect_close();
        expect_refused(&node, reason, before + 1.0);
    }
    // One that breaks off is as bad; one that says nothing at all looks whether we are there.
    let mut client = Client::connect(node.web());
    client.send(&LINE[..20]);
    client.end();
    client.expect_close();
    expect_refused(&node, "malformed", 5.0);
    let mut client = Client::connect(node.web());
    client.end();
    client.expect_close();
    let total: f64 = ["untrusted", "timeout", "malformed", "too_long", "checksum"]
        .iter()
        .map(|reason| refused(&node, reason))
        .sum();
    assert_eq!(total, 8.0);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_header_has_three_seconds_however_it_drips() {
    let origin = Origin::saying("never");
    let node = announced(&origin).start();
    let begun = Instant::now();
    let mut silent = Client::connect(node.web());
    let mut dripping = Client::connect(node.web());
    let mut sender = dripping.sender();
    let drip = std::thread::spawn(move || {
        for byte in LINE.as_bytes() {
            // Paced by the clock because that is what the test is about.
            std::thread::park_timeout(Duration::from_millis(500));
            if sender.try_send([*byte]).is_err() {
                return;
            }
        }
        panic!("the whole header was taken");
    });
    dripping.expect_close();
    silent.expect_close();
    let elapsed = begun.elapsed();
    // A whole header takes 22 s like that.
    assert!(elapsed >= Duration::from_millis(2900), "{elapsed:?}");
    expect_refused(&node, "timeout", 2.0);
    drip.join().unwrap();
}

#[test]
fn connections_are_counted_by_the_address_that_is_announced() {
    let origin = Origin::saying("ok");
    let node = announced(&origin).limits("connections_per_ip = 1").start();
    let from = |client: &str| LINE.replace("192.0.2.1", client);
    let held: Vec<_> = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        .map(|client| {
            let mut held = Client::connect(node.web());
            held.send(format!("{}{}", from(client), get("/", "")));
            assert_eq!(held.read_response().status, 200, "{client}");
            held
        })
        .into();
    let response = Client::ask(node.web(), format!("{}{}", from("192.0.2.2"), get("/", "")));
    assert_eq!(response.status, 503);
    let turned_away =
        "evergate_listener_rejected_total{listener=\"web\",reason=\"connections_per_ip\"}";
    assert_eq!(node.metrics()[turned_away], 1.0);
    drop(held);
    node.wait_for("all have left", |status| status["listeners"][0]["connections"] == 0);
    let response = Client::ask(node.web(), format!("{}{}", from("192.0.2.2"), get("/", "")));
    assert_eq!(response.status, 200);
}

#[test]
fn the_log_shows_what_the_proxy_calls_the_connection() {
    let origin = Origin::saying("ok");
    let node = announced(&origin).start();
    let id = "0123456789abcdef0123456789ABCDEF";
    let tlvs = [tlv(0x05, id.as_bytes()), tlv(0x02, b"shop\".example")].concat();
    let mut client = Client::connect(node.web());
    client.send([&ipv4_with(&tlvs)[..], get("/first", "").as_bytes()].concat());
    assert_eq!(client.read_response().status, 200);
    assert_eq!(origin.next_request().field("x-request-id"), Some(id));
    // The second request is another one.
    client.send(get("/second", ""));
    assert_eq!(client.read_response().status, 200);
    assert_ne!(origin.next_request().field("x-request-id"), Some(id));
    for line in node.stdout.wait_for(2, "timestamp") {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["uniqueId"], &line["authority"]), (&id.into(), &"shop\".example".into()));
    }
    let request = [&ipv4_with(&tlv(0x05, b"short"))[..], get("/third", "").as_bytes()].concat();
    assert_eq!(Client::ask(node.web(), request).status, 200);
    assert_eq!(origin.next_request().field("x-request-id").map(str::len), Some(32));
    let line = &node.stdout.wait_for(1, "/third")[0];
    assert!(line.contains("\"uniqueId\":\"short\"") && !line.contains("authority"), "{line}");
}

/// An origin that wants a header of 28 bytes from every connection, and hands it out.
fn introduced() -> (Origin, std::sync::mpsc::Receiver<Vec<u8>>) {
    let (sender, headers) = channel();
    let origin = Origin::scripted(move |served| {
        let Some(start) = served.read_exact_bytes(16) else { return };
        let length = usize::from(u16::from_be_bytes([start[14], start[15]]));
        let Some(rest) = served.read_exact_bytes(length) else { return };
        // Nobody looks any more when the test is over.
        let _ = sender.send([start, rest].concat());
        while served.read_request().is_some() {
            served.write(ok("ok"));
        }
    });
    (origin, headers)
}

#[test]
fn servers_are_told_who_the_client_is_on_every_connection() {
    let (origin, headers) = introduced();
    let scene = Scene::to(&origin);
    let node = scene.clone().pool("proxy_protocol = true").start();
    let mut client = Client::connect(node.web());
    for _ in 0..3 {
        client.send(get("/", ""));
        assert_eq!(client.read_response().status, 200);
        let (from, to) = (client.address().port(), node.web().port());
        let ends =
            [&[127, 0, 0, 1, 127, 0, 0, 1], &from.to_be_bytes()[..], &to.to_be_bytes()].concat();
        assert_eq!(headers.recv().unwrap(), v2(0x21, 0x11, &ends));
    }
    assert_eq!(origin.connections(), 3, "a connection that names its client serves one request");
}

#[test]
fn servers_are_told_of_the_client_that_a_trusted_proxy_names() {
    let (origin, headers) = introduced();
    let scene = announced(&origin).pool("proxy_protocol = true");
    let node = scene.start();
    assert_eq!(Client::ask(node.web(), format!("{LINE}{}", get("/", ""))).status, 200);
    assert_eq!(headers.recv().unwrap(), ipv4_with(b""), "both ends are passed on");
    let proxied = get("/", "X-Forwarded-For: 192.0.2.77\r\n");
    assert_eq!(Client::ask(node.web(), format!("PROXY UNKNOWN\r\n{proxied}")).status, 200);
    let header = headers.recv().unwrap();
    assert_eq!(header[16..20], [192, 0, 2, 77]);
    assert_eq!(header[24..26], [0, 0], "nobody told its port");
}

#[test]
fn a_pool_that_starts_to_name_clients_leaves_its_old_connections() {
    let origin = Origin::scripted(|served| {
        if served.number > 0 && served.read_exact_bytes(28).is_none() {
            return;
        }
        while served.read_request().is_some() {
            served.write(ok("ok"));
        }
    });
    let scene = Scene::to(&origin);
    let node = scene.start();
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
    let (status, answer) = node.reload(&scene.pool("proxy_protocol = true").config());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
    assert_eq!(origin.next_request().connection, 0);
    assert_eq!(origin.next_request().connection, 1);
}

#[test]
fn health_checks_speak_for_the_gateway_itself() {
    let (origin, headers) = introduced();
    let checks = "proxy_protocol = true\ncheck.http = { path = \"/up\", every = \"400ms\" }";
    let _node = Scene::to(&origin).pool(checks).start();
    assert_eq!(headers.recv().unwrap(), v2(0x20, 0x00, b""));
    assert_eq!(origin.next_request().line, "GET /up HTTP/1.1");
}

#[test]
fn one_node_tells_the_next() {
    let origin = Origin::saying("ok");
    let inner = announced(&origin).start();
    let scene = Scene::new().server("inner", inner.web()).pool("proxy_protocol = true");
    let outer = scene.listener("trusted_proxies = [\"127.0.0.1\"]");
    let outer = Node::start(&outer.config().replace("web", "front"));
    let request = get("/", "X-Forwarded-For: 192.0.2.5\r\n");
    // Both nodes have one name, so the second takes the request for a loop: that it could read it
    // at all is what counts.
    assert_eq!(Client::ask(outer.address("front"), request).status, 508);
    let line = &inner.stdout.wait_for(1, "\"reason\":\"loop\"")[0];
    assert!(line.contains("\"client\":\"192.0.2.5\""), "{line}");
}

#[test]
fn curl_is_understood() {
    let origin = Origin::saying("ok");
    let node = announced(&origin).start();
    let url = format!("http://{}/", node.web());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let Some(mut curl) = command("curl") else { return };
        let said = printed(curl.args(["-sS", "--haproxy-protocol", version, &url]));
        assert_eq!(said, "ok", "{version}");
        assert_eq!(origin.next_request().field("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[test]
fn haproxy_in_front_tells_who_the_client_is() {
    let origin = Origin::saying("ok");
    let node = announced(&origin).start();
    let web = node.web();
    let unique = "unique-id-format %[uuid,regsub(-,,g)]";
    for (send, told) in [
        ("send-proxy", ""),
        ("send-proxy-v2", ""),
        ("send-proxy-v2 proxy-v2-options crc32c,unique-id", unique),
    ] {
        // The address that HAProxy passes on is one that no socket here has.
        let rest = format!(
            " {told}\n http-request set-src hdr(x-from)\n default_backend back\n\
             backend back\n server node {web} {send}"
        );
        let Some(haproxy) = Program::haproxy("", &rest) else { return };
        let request = get("/", "X-From: 203.0.113.7\r\n");
        assert_eq!(Client::ask(haproxy.address(), request).status, 200, "{send}");
        let seen = origin.next_request();
        assert_eq!(seen.field("x-forwarded-for"), Some("203.0.113.7"), "{send}");
        if !told.is_empty() {
            let id = seen.field("x-request-id").unwrap();
            node.stdout.wait_for(1, &format!("\"uniqueId\":\"{id}\""));
        }
    }
}

#[test]
fn the_header_stands_before_the_handshake() {
    let origin = Origin::saying("ok");
    let node = announced(&origin).start_secure();
    let web = node.web();
    // HAProxy passes the client's handshake on, or begins one of its own.
    let passing = format!(
        " mode tcp\n default_backend back\n\
         backend back\n mode tcp\n server node {web} send-proxy-v2"
    );
    let beginning = format!(
        " http-request set-src hdr(x-from)\n default_backend back\n\
         backend back\n server node {web} ssl verify none send-proxy-v2"
    );
    let Some(haproxy) = Program::haproxy("", &passing) else { return };
    for (arguments, address) in
        [(&["--haproxy-protocol"][..], web), (&["--http1.1"], haproxy.address())]
    {
        let Some(mut curl) = command("curl") else { return };
        let url = format!("https://{address}/");
        curl.args(arguments).args(["-sS", "--insecure", &url]);
        assert_eq!(printed(&mut curl), "ok");
        assert_eq!(origin.next_request().field("x-forwarded-for"), Some("127.0.0.1"));
    }
    let Some(haproxy) = Program::haproxy("", &beginning) else { return };
    let request = get("/", "X-From: 203.0.113.7\r\n");
    assert_eq!(Client::ask(haproxy.address(), request).status, 200);
    let seen = origin.next_request();
    assert_eq!(seen.field("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    assert_eq!(refused(&node, "malformed"), 0.0);
}

#[test]
fn servers_with_tls_are_told_before_the_handshake() {
    let origin = Origin::saying("ok");
    let inner = announced(&origin).start_secure();
    let pool = "proxy_protocol = true\ntls = { verify = false }";
    let checked = format!("{pool}\ncheck.http = {{ path = \"/\", every = \"1s\", fall = 1000 }}");
    let scene = Scene::new().server("inner", inner.web()).pool(&checked);
    let scene = scene.listener("trusted_proxies = [\"127.0.0.1\"]");
    let outer = Node::start(&scene.config().replace("http://", "https://"));
    let request = get("/", "X-Forwarded-For: 192.0.2.5\r\n");
    // Both nodes have one name, so the second takes the request for a loop.
    assert_eq!(Client::ask(outer.web(), request).status, 508);
    let line = &inner.stdout.wait_for(1, "\"reason\":\"loop\"")[0];
    assert!(line.contains("\"client\":\"192.0.2.5\""), "{line}");
    assert!(line.contains("https://"), "{line}");
    outer.wait_for_state("one", "inner", "up");
    assert_eq!(refused(&inner, "malformed"), 0.0);
}

#[test]
fn haproxy_and_nginx_behind_learn_who_the_client_is() {
    let haproxy = Program::haproxy(
        "accept-proxy",
        " http-request return status 200 content-type text/plain lf-string \"%[src] %[dst_port]\"",
    );
    let nginx = Program::nginx(
        "proxy_protocol",
        "location / { return 200 \"$proxy_protocol_addr $proxy_protocol_server_port\"; }",
    );
    let (Some(haproxy), Some(nginx)) = (haproxy, nginx) else { return };
    for server in [haproxy, nginx] {
        let trusted = "trusted_proxies = [\"127.0.0.1\"]";
        let checked =
            "proxy_protocol = true\ncheck.http = { path = \"/\", every = \"1s\", fall = 1000 }";
        let scene = Scene::new().server("a", server.address()).listener(trusted).pool(checked);
        let node = scene.start();
        for client in ["192.0.2.44", "2001:db8::44"] {
            let request = get("/", &format!("X-Forwarded-For: {client}\r\n"));
            let response = Client::ask(node.web(), request);
            assert_eq!(response.text(), format!("{client} {}", node.web().port()));
        }
        node.wait_for_state("one", "a", "up");
    }
}
