//! Which route takes a request.

use evergate_e2e::{Client, Node};

/// Routes that say their names.
fn node(routes: &[(&str, &str)]) -> Node {
    let mut config = String::from(
        "[listener.web]\nbind = [\"127.0.0.1:0\"]\n[listener.inner]\nbind = [\"127.0.0.1:0\"]\n",
    );
    for (name, keys) in routes {
        config += &format!("[route.{name}]\nrespond = {{ body = \"{name}\" }}\n{keys}\n");
    }
    Node::start(&config)
}

fn ask(client: &mut Client, method: &str, host: &str, path: &str, lines: &str) -> (u16, String) {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"));
    let response = client.read_response();
    let text = if response.status == 200 { response.text().to_owned() } else { String::new() };
    (response.status, text)
}

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let node = node(&[
        ("rest", "match = \"/*\""),
        ("wild", "match = \"*.example/*\""),
        ("shop", "match = \"shop.example/*\""),
        ("item", "match = \"shop.example/items/{id}\""),
        ("new", "match = \"shop.example/items/new\""),
        ("deep", "match = \"shop.example/items/{id}/*\""),
        ("any_items", "match = \"/items/new\""),
    ]);
    let mut client = Client::connect(node.web());
    let table = [
        ("shop.example", "/items/new", "new"),
        ("SHOP.example:8080", "/items/new", "new"),
        ("shop.example.", "/items/new", "new"),
        ("shop.example", "/items/7", "item"),
        ("shop.example", "/items/7/parts", "deep"),
        ("shop.example", "/items/x/../new", "new"),
        ("shop.example", "/other", "shop"),
        ("blog.example", "/items/new", "wild"),
        ("a.b.example", "/", "wild"),
        ("example", "/", "rest"),
        ("example", "/items/new", "any_items"),
        ("127.0.0.1", "/Items/new", "rest"),
    ];
    for (host, path, route) in table {
        let answer = ask(&mut client, "GET", host, path, "");
        assert_eq!(answer, (200, route.to_owned()), "{host}{path}");
    }
}

#[test]
fn a_method_that_no_route_takes_is_405_with_those_that_some_do() {
    let node = node(&[
        ("read", "match = \"/x\"\nmethods = [\"GET\"]"),
        ("write", "match = \"/x\"\nmethods = [\"PUT\", \"DELETE\"]"),
        ("odd", "match = \"/odd\"\nmethods = [\"PURGE\"]"),
    ]);
    let mut client = Client::connect(node.web());
    let table = [
        ("GET", "/x", 200, None),
        ("DELETE", "/x", 200, None),
        ("PURGE", "/odd", 200, None),
        ("POST", "/x", 405, Some("DELETE, GET, HEAD, PUT")),
        ("get", "/x", 405, Some("DELETE, GET, HEAD, PUT")),
        ("GET", "/odd", 405, Some("PURGE")),
        ("GET", "/none", 404, None),
    ];
    for (method, path, status, allow) in table {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.read_response();
        assert_eq!((response.status, response.field("allow")), (status, allow), "{method} {path}");
        assert_eq!(response.field("connection"), None, "{method} {path}");
    }
    client.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_head().status, 200);
    client.send("HEAD /odd HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.read_head();
    assert_eq!((response.status, response.field("allow")), (405, Some("PURGE")));
    // Methods that a gateway does not do at all.
    let response = Client::ask(node.web(), "TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.status, 405);
    assert!(response.field("allow").is_some(), "RFC 9110, 15.5.6");
}

#[test]
fn fields_decide_between_routes() {
    let node = node(&[
        ("plain", "match = \"/x\""),
        ("beta", "match = \"/x\"\nheaders = { x-beta = \"1\" }"),
        ("mobile", "match = \"/x\"\nheaders = { x-beta = \"1\", user-agent = \"/^Mo.*[0-9]$/\" }"),
    ]);
    let mut client = Client::connect(node.web());
    let table = [
        ("", "plain"),
        ("X-Beta: 1\r\n", "beta"),
        ("X-Beta: 11\r\n", "plain"),
        ("X-Beta: 1\r\nUser-Agent: Mobile/9\r\n", "mobile"),
        ("X-Beta: 1\r\nUser-Agent: Mobile/x\r\n", "beta"),
        ("User-Agent: Mobile/9\r\n", "plain"),
    ];
    for (lines, route) in table {
        let answer = ask(&mut client, "GET", "a", "/x", lines);
        assert_eq!(answer, (200, route.to_owned()), "{lines:?}");
    }
}

#[test]
fn a_route_may_serve_some_listeners_only() {
    let node = node(&[
        ("both", "match = \"/x\""),
        ("inner", "match = \"/x\"\nlisteners = [\"inner\"]"),
        ("hidden", "match = \"/hidden\"\nlisteners = [\"inner\"]"),
    ]);
    let mut web = Client::connect(node.web());
    let mut inner = Client::connect(node.address("inner"));
    assert_eq!(ask(&mut web, "GET", "a", "/x", "").1, "both");
    assert_eq!(ask(&mut inner, "GET", "a", "/x", "").1, "inner");
    assert_eq!(ask(&mut web, "GET", "a", "/hidden", "").0, 404);
    assert_eq!(ask(&mut inner, "GET", "a", "/hidden", "").0, 200);
}

#[test]
fn an_old_request_without_a_host_is_for_any_host() {
    let node = node(&[("any", "match = \"/x\""), ("shop", "match = \"shop.example/x\"")]);
    let response = Client::ask(node.web(), "GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(response.text(), "any");
    assert_eq!(Client::ask(node.web(), "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
}
