//! The line for each request, field by field.

use evergate_e2e::place::Refusing;
use evergate_e2e::{Client, Origin};
use serde_json::Value;

use crate::scene::{Scene, get, ok, post};

/// Keys of `line` in their order, and its values.
fn parse(line: &str) -> (Vec<String>, Value) {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let keys = line.split(",\"").map(|pair| {
        pair.trim_start_matches(['{', '"']).split('"').next().unwrap_or_default().to_owned()
    });
    (keys.collect(), value)
}

#[test]
fn a_json_line_has_these_fields() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start();
    let request = "GET /a/../b?c=\"d HTTP/1.1\r\nHost: Shop:80\r\n\r\n";
    let mut client = Client::connect(node.web());
    let begun = std::time::Instant::now();
    client.send(request);
    assert_eq!(client.read_response().status, 200);
    let id = origin.next_request().field("x-request-id").unwrap().to_owned();
    let (keys, line) = parse(&node.stdout.wait_for(1, "statusCode")[0]);
    // Not before the line is there: its time goes on to the last byte that was sent.
    let elapsed = begun.elapsed();
    assert_eq!(
        keys,
        [
            "timestamp",
            "method",
            "url",
            "statusCode",
            "responseTime",
            "client",
            "route",
            "upstream",
            "retries",
            "bytes",
            "requestId"
        ]
    );
    let timestamp = line["timestamp"].as_str().unwrap();
    assert_eq!(timestamp.len(), "2026-11-21T03:05:00.123Z".len(), "{timestamp}");
    assert!(timestamp.starts_with("20") && timestamp.ends_with('Z'), "{timestamp}");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["url"], "http://Shop:80/a/../b?c=\"d");
    assert_eq!(line["statusCode"], 200);
    let time = line["responseTime"].as_f64().unwrap();
    assert!(time > 0.0 && time <= elapsed.as_secs_f64() * 1000.0, "{time} ms of {elapsed:?}");
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["route"], "all");
    assert_eq!(line["upstream"], "one/a");
    assert_eq!(line["retries"], 0);
    assert_eq!(line["bytes"], 5);
    assert_eq!(line["requestId"], id);
}

#[test]
fn an_answer_of_ours_has_a_reason() {
    let refusing = Refusing::new();
    let scene = Scene::new().server("a", refusing.address()).pool("retry = { attempts = 1 }");
    let more = "[route.text]\nmatch = \"/text\"\nrespond = { body = \"hello\" }";
    let node = scene.more(more).start();
    let head = "HEAD /text HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    let table = [
        // Request, status, reason, route, bytes of the answer's body.
        (get("/text", ""), 200, None, "text", 5),
        (head, 200, None, "text", 0),
        (get("/", ""), 502, Some("upstream_connect"), "all", 44),
        (get("/%2e%2e", ""), 400, Some("bad_path"), "-", 56),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, Some("host_missing"), "-", 33),
        ("nonsense\r\n\r\n".to_owned(), 400, Some("method_malformed"), "-", 41),
    ];
    for (request, status, reason, route, bytes) in table {
        let before = node.stdout.all().len();
        let mut client = Client::connect(node.web());
        client.send(&request);
        assert_eq!(client.read_head().status, status, "{request}");
        let lines = node.stdout.wait_for(before + 1, "timestamp");
        let (_, line) = parse(&lines[before]);
        assert_eq!(line["statusCode"], status, "{line}");
        assert_eq!(line["reason"].as_str(), reason, "{line}");
        assert_eq!(line["route"], route, "{line}");
        assert_eq!(line["bytes"], bytes, "{line}");
        let upstream = (status == 502).then_some("one/a");
        assert_eq!(line["upstream"].as_str(), upstream, "{line}");
    }
}

#[test]
fn a_refused_head_shows_nothing_of_an_earlier_request() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let secret = format!("/{}", "secret".repeat(200));
    assert_eq!(Client::ask(node.web(), get(&secret, "")).status, 200);
    for bad in ["GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\r\nX\r\n\r\n", "x\r\n\r\n"] {
        assert_eq!(Client::ask(node.web(), bad).status, 400, "{bad:?}");
    }
    for line in node.stdout.wait_for(3, "\"statusCode\":400") {
        let (_, line) = parse(&line);
        assert_eq!((&line["method"], &line["url"]), (&"-".into(), &"".into()), "{line}");
    }
}

#[test]
fn a_combined_line_is_as_apache_writes_it() {
    let origin = Origin::answering(ok("hello"));
    let node = Scene::to(&origin).more("[log]\naccess = \"combined\"").start();
    let lines = "Referer: http://r/\"x\r\nUser-Agent: me/1.0\r\n";
    assert_eq!(Client::ask(node.web(), get("/p?q", lines)).status, 200);
    assert_eq!(Client::ask(node.web(), "POST / HTTP/1.0\r\n\r\n").status, 200);
    assert_eq!(Client::ask(node.web(), get("/%2e%2e", "")).status, 400);
    assert_eq!(Client::ask(node.web(), "nonsense\r\n\r\n").status, 400);
    let lines = node.stdout.wait_for(4, " - - [");
    let ids: Vec<_> = origin.requests();
    let id = |index: usize| ids[index].field("x-request-id").unwrap().to_owned();
    // Everything but the date and the time taken.
    let fixed = |line: &str| {
        let (start, rest) = line.split_once('[').unwrap();
        let (date, rest) = rest.split_once("] ").unwrap();
        assert_eq!(date.len(), "21/Nov/2026:03:05:00 +0000".len(), "{date}");
        let (rest, id) = rest.rsplit_once(' ').unwrap();
        let (rest, retries) = rest.rsplit_once(' ').unwrap();
        let (rest, took) = rest.rsplit_once(' ').unwrap();
        assert_eq!(took.split_once('.').map(|(_, millis)| millis.len()), Some(3), "{took}");
        (format!("{start}{rest} {retries}"), id.to_owned())
    };
    let get = "127.0.0.1 - - \"GET /p?q HTTP/1.1\" 200 5 \"http://r/\\u0022x\" \"me/1.0\" one/a 0";
    assert_eq!(fixed(&lines[0]), (get.to_owned(), id(0)));
    let old = "127.0.0.1 - - \"POST / HTTP/1.0\" 200 5 \"-\" \"-\" one/a 0";
    assert_eq!(fixed(&lines[1]), (old.to_owned(), id(1)));
    let refused = "127.0.0.1 - - \"GET /%2e%2e HTTP/1.1\" 400 56 \"-\" \"-\" - 0";
    assert_eq!(fixed(&lines[2]).0, refused);
    assert_eq!(fixed(&lines[3]).0, "127.0.0.1 - - \"-\" 400 41 \"-\" \"-\" - 0");
}

#[test]
fn no_log_is_no_line() {
    let origin = Origin::saying("ok");
    let scene = Scene::to(&origin);
    let node = scene.clone().more("[log]\naccess = \"off\"").start();
    assert_eq!(Client::ask(node.web(), post("x", "")).status, 200);
    // A reload turns it on; only then there is a line.
    let bind = format!("127.0.0.1:{}", node.web().port());
    let (status, answer) = node.reload(&scene.config());
    assert_eq!(status, 200, "{answer} {bind}");
    assert_eq!(Client::ask(node.web(), get("/second", "")).status, 200);
    let lines = node.stdout.wait_for(1, "timestamp");
    assert!(lines[0].contains("/second"), "{lines:?}");
}
