//! Middleware in front of a route.

use evergate_e2e::{Client, Origin, Setup};

use crate::scene::{Scene, answer, get, ok};

#[test]
fn fields_are_changed_in_both_directions() {
    let origin =
        Origin::answering(answer(200, "Server: old\r\nX-Powered-By: p\r\nX-Keep: 1\r\n", "ok"));
    let tables = r#"
[middleware.mark.headers]
request.set = { x-tenant = "{rest}", host = "inner.example", user-agent = "gate" }
request.add = { x-via = "{route} {client_ip} {header:x-in} {cookie:c}" }
request.remove = ["X-Secret"]
response.set = { server = "gate" }
response.add = { vary = "origin", x-path = "{path}" }
response.remove = ["x-powered-by"]
"#;
    let node = Scene::to(&origin).route("use = [\"mark\"]").more(tables).start();
    let lines = "User-Agent: me\r\nX-Secret: 1\r\nx-secret: 2\r\nX-In: in\r\nCookie: a=b; c=d\r\n\
        X-Tenant: spoofed\r\nX-Via: first\r\n";
    let response = Client::ask(node.web(), get("/t/x", lines));
    assert_eq!(response.all("server"), ["gate"]);
    assert_eq!(response.all("vary"), ["origin"]);
    assert_eq!(response.all("x-path"), ["/t/x"]);
    assert_eq!(response.all("x-keep"), ["1"]);
    assert_eq!(response.field("x-powered-by"), None);
    let request = origin.next_request();
    assert_eq!(request.all("x-tenant"), ["t/x"]);
    assert_eq!(request.all("host"), ["inner.example"]);
    assert_eq!(request.all("user-agent"), ["gate"]);
    assert_eq!(request.all("x-via"), ["first", "all 127.0.0.1 in d"]);
    assert_eq!(request.field("x-secret"), None);
    // What we tell of the client is about the host it asked for.
    assert_eq!(request.field("x-forwarded-host"), Some("a"));
}

#[test]
fn what_an_operator_says_of_the_client_is_said_once() {
    let origin = Origin::saying("ok");
    let tables = r#"
[middleware.outside.headers]
request.set = { x-forwarded-proto = "https", x-request-id = "{client_ip}" }
request.remove = ["x-real-ip", "via"]
"#;
    let node = Scene::to(&origin).route("use = [\"outside\"]").more(tables).start();
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
    let request = origin.next_request();
    assert_eq!(request.all("x-forwarded-proto"), ["https"]);
    assert_eq!(request.all("x-request-id"), ["127.0.0.1"]);
    assert_eq!(request.all("x-real-ip"), [""; 0]);
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn addresses_are_let_in_or_not() {
    let origin = Origin::saying("ok");
    let tables = r#"
[middleware.here.ip]
allow = ["127.0.0.0/8"]
deny = ["192.0.2.0/24"]
"#;
    let scene = Scene::to(&origin).route("use = [\"here\"]").more(tables);
    let node = scene.clone().listener("trusted_proxies = [\"127.0.0.1\"]").start();
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
    for (client, status) in [("127.0.0.9", 200), ("192.0.2.7", 403), ("198.51.100.1", 403)] {
        let lines = format!("X-Forwarded-For: {client}\r\n");
        assert_eq!(Client::ask(node.web(), get("/", &lines)).status, status, "{client}");
    }
    // Nobody is believed who is not trusted.
    let node = scene.start();
    let lines = "X-Forwarded-For: 192.0.2.7\r\n";
    assert_eq!(Client::ask(node.web(), get("/", lines)).status, 200);
}

#[test]
fn a_key_opens_and_nothing_else_does() {
    let origin = Origin::saying("ok");
    let tables = r#"
[middleware.partners.api_key]
header = "X-Key"
keys = ["${file:keys}"]
"#;
    let config = Scene::to(&origin).route("use = [\"partners\"]").more(tables).config();
    let node = Setup::new().file("keys", "# partners\nalpha\n\nbeta\n").start(&config);
    let mut client = Client::connect(node.web());
    for (lines, status) in [
        ("X-Key: alpha\r\n", 200),
        ("x-key: beta\r\n", 200),
        ("", 401),
        ("X-Key: \r\n", 401),
        ("X-Key: Alpha\r\n", 401),
        ("X-Key: # partners\r\n", 401),
        ("X-Key: wrong\r\nX-Key: alpha\r\n", 401),
    ] {
        client.send(get("/", lines));
        let response = client.read_response();
        assert_eq!(response.status, status, "{lines:?}");
        let asks = (status == 401).then_some("ApiKey");
        assert_eq!(response.field("www-authenticate"), asks, "{lines:?}");
    }
    assert_eq!(origin.requests().len(), 2);
}

const CORS: &str = r#"
[middleware.browsers.cors]
origins = ["https://hmi.example"]
methods = ["GET", "PUT"]
headers = ["x-token"]
expose = ["x-served-by"]
credentials = true
max_age = "10m"
"#;

#[test]
fn a_preflight_is_answered_without_a_server() {
    let origin = Origin::saying("never");
    let node = Scene::to(&origin).route("use = [\"browsers\"]").more(CORS).start();
    let preflight = |from: &str| {
        format!(
            "OPTIONS /x HTTP/1.1\r\nHost: a\r\nOrigin: {from}\r\n\
             Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-token\r\n\r\n"
        )
    };
    let mut client = Client::connect(node.web());
    client.send(preflight("https://hmi.example"));
    let response = client.read_response();
    assert_eq!((response.status, response.field("content-length")), (204, None));
    assert_eq!(response.field("access-control-allow-origin"), Some("https://hmi.example"));
    assert_eq!(response.field("access-control-allow-methods"), Some("GET, PUT"));
    assert_eq!(response.field("access-control-allow-headers"), Some("x-token"));
    assert_eq!(response.field("access-control-allow-credentials"), Some("true"));
    assert_eq!(response.field("access-control-max-age"), Some("600"));
    assert_eq!(response.field("vary"), Some("Origin"));
    client.send(preflight("https://evil.example"));
    let response = client.read_response();
    assert_eq!(response.status, 204);
    assert_eq!(response.field("access-control-allow-origin"), None);
    assert_eq!(response.field("access-control-allow-methods"), None);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_answer_to_another_origin_is_marked() {
    let origin =
        Origin::answering(answer(200, "Access-Control-Allow-Origin: *\r\nVary: Accept\r\n", "ok"));
    let node = Scene::to(&origin).route("use = [\"browsers\"]").more(CORS).start();
    let response = Client::ask(node.web(), get("/", "Origin: https://hmi.example\r\n"));
    assert_eq!(response.all("access-control-allow-origin"), ["https://hmi.example"]);
    assert_eq!(response.all("access-control-allow-credentials"), ["true"]);
    assert_eq!(response.all("access-control-expose-headers"), ["x-served-by"]);
    assert_eq!(response.all("vary"), ["Accept", "Origin"]);
    for lines in ["Origin: https://evil.example\r\n", "Origin: https://hmi.example.evil\r\n", ""] {
        let response = Client::ask(node.web(), get("/", lines));
        assert_eq!((response.status, response.text()), (200, "ok"));
        assert_eq!(response.field("access-control-allow-origin"), None, "{lines}");
        assert_eq!(response.all("vary"), ["Accept", "Origin"], "{lines}");
    }
    // An OPTIONS that is no preflight is a request like any other.
    let request = get("/", "Origin: https://hmi.example\r\n").replace("GET", "OPTIONS");
    assert_eq!(Client::ask(node.web(), request).text(), "ok");
}

#[test]
fn a_refusal_behind_cors_can_be_read_by_scripts() {
    let origin = Origin::saying("never");
    let tables = format!("{CORS}\n[middleware.key.api_key]\nkeys = [\"k\"]\n");
    let node = Scene::to(&origin).route("use = [\"browsers\", \"key\"]").more(&tables).start();
    let response = Client::ask(node.web(), get("/", "Origin: https://hmi.example\r\n"));
    assert_eq!(response.status, 401);
    assert_eq!(response.field("access-control-allow-origin"), Some("https://hmi.example"));
}

#[test]
fn filters_judge_in_the_order_of_the_route() {
    let origin = Origin::answering(ok("ok"));
    let tables = r#"
[middleware.key.api_key]
keys = ["k"]
[middleware.nobody.ip]
deny = ["0.0.0.0/0"]
[route.first]
match = "/first"
pool = "one"
use = ["key", "nobody"]
[route.second]
match = "/second"
pool = "one"
use = ["nobody", "key"]
"#;
    let node = Scene::to(&origin).more(tables).start();
    assert_eq!(Client::ask(node.web(), get("/first", "")).status, 401);
    assert_eq!(Client::ask(node.web(), get("/second", "")).status, 403);
}
