//! Second tries: when, of what, where to, and how many.

use evergate_e2e::place::Refusing;
use evergate_e2e::{Client, Origin};

use crate::scene::{Scene, answer, get, ok, post};

/// Closes every connection as soon as a request is there.
fn dropping() -> Origin {
    Origin::scripted(|served| drop(served.read_request()))
}

/// Resets every connection as soon as a request is there.
fn resetting() -> Origin {
    Origin::scripted(|served| {
        served.read_request();
        served.reset();
    })
}

#[test]
fn a_get_goes_to_another_server_whatever_went_wrong() {
    let good = Origin::saying("good");
    for (what, bad) in [
        ("closes", dropping()),
        ("resets", resetting()),
        ("502", Origin::answering(answer(502, "", "bad"))),
        ("503", Origin::answering(answer(503, "", "bad"))),
        ("504", Origin::answering(answer(504, "", "bad"))),
        (
            "half a head",
            Origin::scripted(|served| {
                served.read_request();
                served.write("HTTP/1.1 2");
            }),
        ),
    ] {
        // In turn, beginning with the first by name.
        let scene = Scene::to(&bad).server("b", good.address());
        let node = scene.start();
        let response = Client::ask(node.web(), get("/", ""));
        assert_eq!((response.status, response.text()), (200, "good"), "{what}");
        assert_eq!(bad.requests().len(), 1, "{what}");
        let line = &node.stdout.wait_for(1, "\"statusCode\":200")[0];
        assert!(line.contains("\"upstream\":\"one/b\",\"retries\":1"), "{what}: {line}");
        assert_eq!(node.server("one", "a")["failures"], 1, "{what}");
        let ids: Vec<_> = [&bad, &good]
            .iter()
            .map(|one| one.requests().last().unwrap().field("x-request-id").unwrap().to_owned())
            .collect();
        assert_eq!(ids[0], ids[1], "{what}: one request has one id");
    }
}

#[test]
fn what_is_no_failure_is_not_repeated() {
    for (status, on) in [(500, ""), (404, ""), (429, ""), (503, "on = [\"connect\"], ")] {
        let bad = Origin::answering(answer(status, "", "bad"));
        let good = Origin::saying("good");
        let pool = format!("retry = {{ {on}attempts = 2 }}");
        let node = Scene::to(&bad).server("b", good.address()).pool(&pool).start();
        assert_eq!(Client::ask(node.web(), get("/", "")).status, status);
        assert_eq!(good.connections(), 0, "{status}");
    }
    let bad = Origin::answering(answer(500, "", "bad"));
    let good = Origin::saying("good");
    let pool = "retry = { on = [\"500\"] }";
    let node = Scene::to(&bad).server("b", good.address()).pool(pool).start();
    assert_eq!(Client::ask(node.web(), get("/", "")).text(), "good");
}

#[test]
fn a_post_that_may_have_had_an_effect_is_not_repeated() {
    let good = Origin::saying("good");
    for (bad, status) in
        [(dropping(), 502), (resetting(), 502), (Origin::answering(answer(503, "", "bad")), 503)]
    {
        let node = Scene::to(&bad).server("b", good.address()).start();
        assert_eq!(Client::ask(node.web(), post("hello", "")).status, status);
        assert_eq!(bad.requests().len(), 1);
    }
    assert_eq!(good.connections(), 0);
}

#[test]
fn a_post_that_reached_nobody_goes_to_another_server() {
    let refusing = Refusing::new();
    let good = Origin::saying("good");
    let node = Scene::new().server("a", refusing.address()).server("b", good.address()).start();
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n";
    for request in [post("hello", "").as_str(), chunked] {
        assert_eq!(Client::ask(node.web(), request).text(), "good");
        assert_eq!(good.next_request().body, b"hello");
    }
    assert_eq!(good.requests()[1].trailers, "X-T: 1\r\n");
}

#[test]
fn a_post_with_an_idempotency_key_is_repeated_with_its_body() {
    let bad = dropping();
    let good = Origin::saying("good");
    let node = Scene::to(&bad).server("b", good.address()).start();
    let body = "x".repeat(64 * 1024);
    let request = post(&body, "Idempotency-Key: \"k\"\r\n");
    assert_eq!(Client::ask(node.web(), request).text(), "good");
    assert!(good.next_request().body == body.as_bytes());
    assert!(bad.next_request().body == body.as_bytes());
}

#[test]
fn an_operator_may_let_posts_be_repeated() {
    let bad = dropping();
    let good = Origin::saying("good");
    let pool = "retry = { on = [\"connect\", \"non-idempotent\"] }";
    let node = Scene::to(&bad).server("b", good.address()).pool(pool).start();
    assert_eq!(Client::ask(node.web(), post("hello", "")).text(), "good");
    assert_eq!(good.next_request().body, b"hello");
}

#[test]
fn a_chunked_body_is_repeated_whole_with_its_trailers() {
    let bad = dropping();
    let good = Origin::saying("good");
    let node = Scene::to(&bad).server("b", good.address()).start();
    let request = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n";
    assert_eq!(Client::ask(node.web(), request).text(), "good");
    for origin in [&bad, &good] {
        let request = origin.next_request();
        assert_eq!(
            (request.body.as_slice(), request.trailers.as_str()),
            (&b"hello world"[..], "X-T: 1\r\n")
        );
    }
}

#[test]
fn a_body_past_the_replay_buffer_is_not_repeated() {
    let bad = dropping();
    let good = Origin::saying("good");
    let node = Scene::to(&bad).server("b", good.address()).start();
    let body = "x".repeat(64 * 1024 + 1);
    let request = post(&body, "").replace("POST", "PUT");
    assert_eq!(Client::ask(node.web(), request).status, 502);
    assert_eq!(good.connections(), 0);
}

#[test]
fn a_body_that_was_half_taken_is_repeated_from_its_start() {
    // The first server gives up after the head; the client sends on meanwhile.
    let bad = Origin::scripted(|served| {
        served.read_head();
        served.reset();
    });
    let good = Origin::saying("good");
    let node = Scene::to(&bad).server("b", good.address()).start();
    let mut client = Client::connect(node.web());
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    bad.wait_for_ends(1);
    client.send("world");
    assert_eq!(client.read_response().text(), "good");
    assert_eq!(good.next_request().body, b"helloworld");
}

#[test]
fn a_server_that_asks_for_time_is_not_answered_by_another_try() {
    let bad = Origin::answering(answer(503, "Retry-After: 5\r\n", "later"));
    let good = Origin::saying("good");
    let node = Scene::to(&bad).server("b", good.address()).start();
    let response = Client::ask(node.web(), get("/", ""));
    assert_eq!((response.status, response.text()), (503, "later"));
    assert_eq!(response.field("retry-after"), Some("5"));
    assert_eq!(good.connections(), 0);
}

#[test]
fn tries_are_counted_and_the_last_answer_is_passed_on() {
    let origins: Vec<_> =
        (0..4).map(|n| Origin::answering(answer(502 + n % 3, "", &format!("{n}")))).collect();
    let mut scene = Scene::new().pool("retry = { attempts = 3 }");
    for (origin, name) in origins.iter().zip(["a", "b", "c", "d"]) {
        scene = scene.server(name, origin.address());
    }
    let node = scene.start();
    let response = Client::ask(node.web(), get("/", ""));
    assert_eq!((response.status, response.text()), (504, "2"));
    let asked: Vec<_> = origins.iter().map(|origin| origin.requests().len()).collect();
    assert_eq!(asked, [1, 1, 1, 0]);
}

#[test]
fn the_same_server_is_tried_again_when_there_is_no_other() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        if served.number > 0 {
            served.write(ok("second"));
        }
    });
    let node = Scene::to(&origin).start();
    assert_eq!(Client::ask(node.web(), get("/", "")).text(), "second");
}

#[test]
fn a_kept_connection_that_dies_under_a_request_is_replaced() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.write(ok("first"));
        served.read_request();
        // Not a byte of an answer on the first connection.
        if served.number > 0 {
            served.write(ok("again"));
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    assert_eq!(client.read_response().text(), "first");
    client.send(get("/", ""));
    assert_eq!(client.read_response().text(), "first");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn retries_are_a_share_of_the_requests() {
    let bad = Origin::answering(answer(503, "", "bad"));
    let pool = "retry = { budget = \"0%\" }\noutlier = { consecutive = 0 }";
    let node = Scene::to(&bad).pool(pool).start();
    let begun = std::time::Instant::now();
    let mut client = Client::connect(node.web());
    for _ in 0..30 {
        client.send(get("/", ""));
        assert_eq!(client.read_response().status, 503);
    }
    // One a second is always left, over a window of ten seconds.
    let metrics = node.metrics();
    let retries = metrics["evergate_pool_retries_total{pool=\"one\"}"];
    let most = 11.0 + begun.elapsed().as_secs_f64();
    assert!(retries >= 10.0 && retries <= most, "{retries}, at most {most}");
    assert_eq!(bad.requests().len() as f64, 30.0 + retries);
    let denied = metrics["evergate_pool_retries_denied_total{pool=\"one\"}"];
    assert_eq!(denied, 30.0 - retries);
}

#[test]
fn nothing_is_repeated_once_the_response_has_begun() {
    let bad = Origin::scripted(|served| {
        served.read_request();
        served.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    });
    let good = Origin::saying("good");
    let node = Scene::to(&bad).server("b", good.address()).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    client.try_read_response().expect_err("the body never came");
    assert_eq!(good.connections(), 0);
}

#[test]
fn the_deadline_covers_all_tries() {
    let silent = || {
        Origin::scripted(|served| {
            served.read_request();
            served.wait_for_end();
        })
    };
    let (first, second) = (silent(), silent());
    let scene = Scene::to(&first).server("b", second.address());
    let scene = scene.pool("retry = { on = [\"timeout\"], attempts = 5 }");
    let node = scene.route("timeout = \"300ms\"").start();
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 504);
    assert_eq!(second.connections(), 0);
}
