//! What becomes of the target: spelling, absolute form, rewriting, and answers of our own.

use evergate_e2e::{Client, Node, Origin};

use crate::scene::{Scene, get};

#[test]
fn the_path_is_forwarded_as_it_was_routed() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let table = [
        ("/", "/"),
        ("/a/b?x=%2f..//&y", "/a/b?x=%2f..//&y"),
        ("/a/../b/./c//d", "/b/c/d"),
        ("/%61%7e%2D?q", "/a~-?q"),
        ("/%c3%a9/", "/%C3%A9/"),
        ("/a/..", "/"),
        ("/a?", "/a?"),
        ("//evil.example/x", "/evil.example/x"),
        ("/a;v=1/b@c:d", "/a;v=1/b@c:d"),
    ];
    let mut client = Client::connect(node.web());
    for (sent, asked) in table {
        client.send(get(sent, ""));
        assert_eq!(client.read_response().status, 200, "{sent}");
        assert_eq!(origin.next_request().line, format!("GET {asked} HTTP/1.1"), "{sent}");
    }
}

#[test]
fn a_path_that_means_two_things_is_refused() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let paths = [
        "/..",
        "/a/../../b",
        "/%2e%2e/a",
        "/a/%2e/b",
        "/a%2fb",
        "/a\\b",
        "/a%5cb",
        "/a%00",
        "/a%zz",
        "/a%2",
        "/..;/a",
    ];
    let mut client = Client::connect(node.web());
    for path in paths {
        client.send(get(path, ""));
        let response = client.read_response();
        assert_eq!(response.status, 400, "{path}");
        assert_eq!(response.field("connection"), None, "{path}: it is a whole request");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_absolute_target_names_the_host() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let table = [
        ("GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y HTTP/1.1", "a"),
        ("GET HTTP://A HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1", "a"),
        ("GET http://a?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?y HTTP/1.1", "a"),
        ("GET http://b:81/x HTTP/1.0\r\n\r\n", "GET /x HTTP/1.1", "b:81"),
    ];
    for (sent, line, host) in table {
        assert_eq!(Client::ask(node.web(), sent).status, 200, "{sent}");
        let request = origin.next_request();
        assert_eq!((request.line.as_str(), request.field("host")), (line, Some(host)), "{sent}");
    }
}

#[test]
fn the_host_goes_on_as_it_was_sent() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    for host in ["Shop.Example:8080", "127.0.0.1", "[2001:db8::1]:80"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(Client::ask(node.web(), request).status, 200, "{host}");
        assert_eq!(origin.next_request().field("host"), Some(host));
    }
}

fn routes(origin: &Origin) -> Node {
    let tables = r#"
[route.strip]
match = "/v1/*"
pool = "one"
strip_prefix = "/v1"

[route.rewrite]
match = "/old/{tenant}/*"
pool = "one"
rewrite = "/new/{rest}/{tenant}"

[route.query]
match = "/q/{word}"
pool = "one"
rewrite = "/search?q={word}"

[route.redirect]
match = "/go/{place}"
redirect = { to = "https://{host}/to/{place}{query}", status = 307 }

[route.moved]
match = "/moved"
redirect = { to = "/here" }

[route.respond]
match = "/text"
respond = { status = 418, body = "short\n", content_type = "text/x-tea" }

[route.nothing]
match = "/nothing"
respond = { status = 204 }

[route.health]
match = "/healthz"
health = {}

[route.full]
match = "/health/full"
health = { detail = "full" }
"#;
    Scene::to(origin).more(tables).start()
}

#[test]
fn prefixes_are_stripped_and_paths_rewritten() {
    let origin = Origin::saying("ok");
    let node = routes(&origin);
    let table = [
        ("/v1/users?x=1", "/users?x=1"),
        ("/v1/", "/"),
        ("/v1//a/../b", "/b"),
        ("/old/acme/a/b?x", "/new/a/b/acme?x"),
        ("/old/acme/", "/new//acme"),
        ("/q/word?ignored", "/search?q=word"),
        ("/q/w%20d", "/search?q=w%20d"),
    ];
    let mut client = Client::connect(node.web());
    for (sent, asked) in table {
        client.send(get(sent, ""));
        assert_eq!(client.read_response().status, 200, "{sent}");
        assert_eq!(origin.next_request().line, format!("GET {asked} HTTP/1.1"), "{sent}");
    }
}

#[test]
fn routes_without_servers_answer_themselves() {
    let origin = Origin::saying("never");
    let node = routes(&origin);
    let mut client = Client::connect(node.web());

    client.send("GET /go/x%20y?a=b HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n");
    let response = client.read_response();
    assert_eq!((response.status, response.text()), (307, ""));
    assert_eq!(response.field("location"), Some("https://shop.example/to/x%20y?a=b"));
    assert_eq!(response.field("content-length"), Some("0"));

    client.send(get("/moved", ""));
    let response = client.read_response();
    assert_eq!((response.status, response.field("location")), (308, Some("/here")));

    client.send(get("/text", ""));
    let response = client.read_response();
    assert_eq!((response.status, response.text()), (418, "short\n"));
    assert_eq!(response.field("content-type"), Some("text/x-tea"));

    client.send("HEAD /text HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.read_head();
    assert_eq!((response.status, response.field("content-length")), (418, Some("6")));

    client.send(get("/nothing", ""));
    let response = client.read_response();
    assert_eq!((response.status, response.field("content-length")), (204, None));

    client.send(get("/healthz", ""));
    let response = client.read_response();
    assert_eq!(response.status, 200);
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    let body: serde_json::Value = serde_json::from_str(response.text()).expect("JSON");
    assert_eq!(body["status"], "healthy", "{body}");

    client.send(get("/health/full", ""));
    let body: serde_json::Value = serde_json::from_str(client.read_response().text()).unwrap();
    assert_eq!(body["pools"]["one"]["a"]["up"], true, "{body}");
    assert_eq!(origin.connections(), 0);
}
