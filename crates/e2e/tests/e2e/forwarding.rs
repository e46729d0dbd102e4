//! Heads on their way through, byte for byte: what stays behind, what goes on, what is added.

use evergate_e2e::{Client, Origin};

use crate::scene::{Scene, get, ok};

/// What every request from this machine carries, `id` aside.
const OURS: &str = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
    X-Forwarded-Host: a\r\nX-Real-IP: 127.0.0.1\r\n\
    Forwarded: for=127.0.0.1;proto=http;host=\"a\"\r\nX-Request-Id: ID\r\nVia: 1.1 edge-e2e\r\n";

/// `head` with `ID` in place of the request id, which must look like one.
fn without_id(head: &str) -> String {
    let start = head.find("X-Request-Id: ").expect("every request has an id") + 14;
    let (id, rest) = head[start..].split_at(32);
    assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}");
    format!("{}ID{rest}", &head[..start])
}

/// What the server gets of `request`.
fn forwarded(scene: Scene, origin: &Origin, request: &str) -> String {
    let node = scene.start();
    let response = Client::ask(node.web(), request);
    assert_eq!(response.status, 200, "{}", response.text());
    without_id(&origin.next_request().head)
}

#[test]
fn fields_of_one_connection_stay_behind() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let table = [
        // What is sent, and what of it goes on.
        ("Accept: */*\r\nX-A: 1\r\n", "Accept: */*\r\nX-A: 1\r\n"),
        ("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nX-A: 1\r\n", "X-A: 1\r\n"),
        ("Connection: X-Hop, x-other\r\nX-Hop: 1\r\nX-Other: 2\r\nX-A: 1\r\n", "X-A: 1\r\n"),
        ("X-Hop: 1\r\nConnection: x-hop\r\nConnection: X-Two\r\nX-Two: 2\r\n", ""),
        ("Proxy-Connection: keep-alive\r\nX-A: 1\r\n", "X-A: 1\r\n"),
        ("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n", ""),
        ("HTTP2-Settings: AA\r\n", ""),
        ("TE: gzip\r\nConnection: TE\r\n", ""),
        ("TE: gzip, trailers\r\nConnection: TE\r\n", "Connection: TE\r\nTE: trailers\r\n"),
        // A trailer field without chunks announces nothing.
        ("Trailer: X-Sum\r\n", ""),
        ("X_Forwarded_For: 9.9.9.9\r\nx_a: 1\r\nX-A: 1\r\n", "X-A: 1\r\n"),
        ("X-Empty:\r\nX-Space:   a b  \r\n", "X-Empty:\r\nX-Space:   a b  \r\n"),
        ("COOKIE: a=b\r\nCookie: c=d\r\n", "COOKIE: a=b\r\nCookie: c=d\r\n"),
        ("X-Binary: \u{e9}\r\n", "X-Binary: \u{e9}\r\n"),
    ];
    let mut client = Client::connect(node.web());
    for (sent, goes_on) in table {
        client.send(get("/", sent));
        assert_eq!(client.read_response().status, 200, "{sent:?}");
        let head = without_id(&origin.next_request().head);
        assert_eq!(head, format!("GET / HTTP/1.1\r\nHost: a\r\n{goes_on}{OURS}\r\n"), "{sent:?}");
    }
}

#[test]
fn connection_cannot_take_away_what_servers_rely_on() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let names = ["Host", "Authorization", "Cookie", "Content-Length", "X-Forwarded-For"];
    for name in names {
        let response = Client::ask(node.web(), get("/", &format!("Connection: {name}\r\n")));
        assert_eq!(response.status, 400, "{name}");
        assert_eq!(response.field("connection"), Some("close"), "{name}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn response_fields_of_one_connection_stay_behind() {
    let origin = Origin::answering(
        "HTTP/1.1 200 Fine Thing\r\nServer: s\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nTE: trailers\r\n\
         Trailer: X-Sum\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nSet-Cookie: a=b\r\n\
         Set-Cookie: c=d\r\nX_Under: kept\r\nContent-Length: 2\r\n\r\nok",
    );
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    let response = client.read_response();
    assert_eq!(
        response.head,
        "HTTP/1.1 200 Fine Thing\r\nServer: s\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nX_Under: kept\r\nContent-Length: 2\r\n\r\n"
    );
    // The server's wish to close is not the client's business.
    client.send(get("/", ""));
    assert_eq!(client.read_response().text(), "ok");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_response_without_a_date_gets_one() {
    let origin = Origin::answering(ok(""));
    let node = Scene::to(&origin).start();
    let response = Client::ask(node.web(), get("/", ""));
    let date = response.field("date").expect("a date");
    assert_eq!((date.len(), &date[26..]), (29, "GMT"), "{date}");
}

const SPOOFED: &str = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\n\
    X-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9;host=evil\r\nX-Request-Id: mine\r\n";

#[test]
fn nobody_is_believed_who_is_not_trusted() {
    let origin = Origin::saying("ok");
    let head = forwarded(Scene::to(&origin), &origin, &get("/", SPOOFED));
    assert_eq!(head, format!("GET / HTTP/1.1\r\nHost: a\r\n{OURS}\r\n"));
}

#[test]
fn what_a_trusted_proxy_says_goes_on_with_its_address_behind() {
    let origin = Origin::saying("ok");
    let id = "0123456789abcdef0123456789ABCDEF";
    let sent = format!(
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 127.0.0.9\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: shop\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /p\r\n\
         X-Real-IP: 9.9.9.9\r\nForwarded: for=192.0.2.7;proto=https\r\nX-Request-Id: {id}\r\n"
    );
    let scene = Scene::to(&origin).listener("trusted_proxies = [\"127.0.0.0/8\"]");
    let node = scene.start();
    assert_eq!(Client::ask(node.web(), get("/", &sent)).status, 200);
    let head = origin.next_request().head;
    assert_eq!(
        head,
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n\
             X-Forwarded-For: 192.0.2.7, 127.0.0.9, 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: shop\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /p\r\n\
             X-Real-IP: 192.0.2.7\r\n\
             Forwarded: for=192.0.2.7;proto=https, for=127.0.0.1;proto=http;host=\"a\"\r\n\
             X-Request-Id: {id}\r\nVia: 1.1 edge-e2e\r\n\r\n"
        )
    );
}

#[test]
fn a_malformed_list_of_a_trusted_proxy_tells_of_nobody() {
    let origin = Origin::saying("ok");
    let scene = Scene::to(&origin).listener("trusted_proxies = [\"127.0.0.0/8\"]");
    let node = scene.start();
    let lines = "X-Forwarded-For: 192.0.2.7, nonsense\r\nX-Request-Id: too-short\r\n";
    assert_eq!(Client::ask(node.web(), get("/", lines)).status, 200);
    let request = origin.next_request();
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(request.field("x-request-id").map(str::len), Some(32));
    let lines = node.stdout.wait_for(1, "\"statusCode\":200");
    assert!(lines[0].contains("\"client\":\"127.0.0.1\""), "{lines:?}");
}

#[test]
fn an_ipv6_client_is_quoted_in_forwarded() {
    let origin = Origin::saying("ok");
    let config = Scene::to(&origin).config().replace("127.0.0.1:0", "[::1]:0");
    let node = evergate_e2e::Node::start(&config);
    let request = "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n";
    assert_eq!(Client::ask(node.web(), request).status, 200);
    let request = origin.next_request();
    assert_eq!(request.field("x-forwarded-for"), Some("::1"));
    assert_eq!(request.field("x-real-ip"), Some("::1"));
    let forwarded = "for=\"[::1]\";proto=http;host=\"[::1]:8080\"";
    assert_eq!(request.field("forwarded"), Some(forwarded));
    assert_eq!(request.field("host"), Some("[::1]:8080"));
}

#[test]
fn via_grows_and_our_own_name_in_it_is_a_loop() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    assert_eq!(Client::ask(node.web(), get("/", "Via: 1.0 other, 1.1 edge (x)\r\n")).status, 200);
    let via = origin.next_request();
    assert_eq!(via.all("via"), ["1.0 other, 1.1 edge (x)", "1.1 edge-e2e"]);
    for line in ["1.1 edge-e2e", "1.0 other, 1.1 EDGE-E2E (comment), 1.1 third"] {
        let response = Client::ask(node.web(), get("/", &format!("Via: {line}\r\n")));
        assert_eq!(response.status, 508, "{line}");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_gateway_in_front_of_itself_ends_the_loop() {
    let origin = Origin::saying("never");
    let scene = Scene::to(&origin);
    let node = scene.start();
    let web = node.web();
    let (status, answer) =
        node.reload(&scene.config().replace(&format!("{}", origin.address()), &format!("{web}")));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(Client::ask(web, get("/", "")).status, 508);
}

#[test]
fn every_request_has_an_id_of_its_own_that_the_log_shows() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..5 {
        client.send(get("/", ""));
        assert_eq!(client.read_response().status, 200);
        let id = origin.next_request().field("x-request-id").expect("an id").to_owned();
        node.stdout.wait_for(1, &format!("\"requestId\":\"{id}\""));
        ids.insert(id);
    }
    assert_eq!(ids.len(), 5);
}
