//! What becomes of requests when a run leaves or dies.

use super::*;

/// As the keeper sees an instance whose process is gone.
fn crashed(number: u16, generation: u32) -> Instance {
    instance(number, generation, InstanceState::Backoff { for_ms: 250 }, None)
}

#[test]
fn what_a_death_takes_along_is_asked_again_at_once_although_the_connection_stays_open() {
    run(async {
        let mut node = Node::start("retry = { budget = \"0%\" }").await;
        let (dying, other) = (Server::start("dying").await, Server::start("other").await);
        node.observe(&[dying.ready(0, 1)]).await;
        let asking = spawn_local(ask(node.address, "GET", "/hold"));
        node.until(dying.asked()).await;
        node.observe(&[dying.ready(0, 1), other.ready(1, 1)]).await;
        node.observe(&[crashed(0, 1), other.ready(1, 1)]).await;
        node.until(other.asked()).await;
        other.release.notify_one();
        let answer = node.until(asking).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("other"), "{answer}");
        let why = ("pool.shop/shop/0".to_owned(), "its process ended".to_owned());
        assert_eq!(node.events("server_down"), [why]);
    });
}

#[test]
fn a_retry_finds_servers_that_came_after_the_request() {
    run(async {
        let mut node = Node::start("").await;
        let (old, new) = (Server::start("old").await, Server::start("new").await);
        node.observe(&[old.ready(0, 1)]).await;
        let asking = spawn_local(ask(node.address, "GET", "/hold"));
        node.until(old.asked()).await;
        node.observe(&[crashed(0, 1), new.ready(1, 1)]).await;
        node.until(new.asked()).await;
        new.release.notify_one();
        assert!(node.until(asking).await.unwrap().ends_with("new"));
    });
}

#[test]
fn what_may_not_be_repeated_is_refused_at_once() {
    run(async {
        let mut node = Node::start("").await;
        let (dying, other) = (Server::start("dying").await, Server::start("other").await);
        node.observe(&[dying.ready(0, 1)]).await;
        let post = spawn_local(ask(node.address, "POST", "/hold"));
        let half = spawn_local(ask(node.address, "GET", "/half"));
        node.until(dying.asked()).await;
        node.until(dying.asked()).await;
        node.observe(&[other.ready(1, 1)]).await;
        let post = node.until(post).await.unwrap();
        assert!(post.starts_with("HTTP/1.1 502"), "{post}");
        let half = node.until(half).await.unwrap();
        assert!(half.ends_with("\r\ndyin"), "what has begun breaks off: {half}");
        let rejects = node.gateway.stats().await.rejects;
        assert_eq!(rejects, [("upstream_died".to_owned(), 2)]);
        assert_eq!(other.asked.available_permits(), 0);
    });
}

#[test]
fn a_draining_run_is_idle_once_its_last_response_is_out_and_gets_no_new_request() {
    run(async {
        let mut node = Node::start("all_down = \"try-all\"").await;
        let (old, new) = (Server::start("old").await, Server::start("new").await);
        node.observe(&[old.ready(0, 1)]).await;
        let first = spawn_local(ask(node.address, "GET", "/hold"));
        node.until(old.asked()).await;
        let second = spawn_local(ask(node.address, "GET", "/half"));
        node.until(old.asked()).await;
        let drains = old.draining(0, 1, 30_000);
        let run = drains.run.clone();
        node.observe(std::slice::from_ref(&drains)).await;
        assert!(
            node.ask("GET", "/").await.starts_with("HTTP/1.1 503"),
            "also not if all are tried"
        );
        node.observe(&[drains.clone(), new.ready(0, 2)]).await;
        assert!(node.ask("GET", "/").await.ends_with("new"));
        assert_eq!(node.gateway.in_flight(&run), 2);
        assert_eq!(node.gateway.pools()[0].health, Health::Degraded);
        old.release.notify_one();
        assert!(node.until(first).await.unwrap().ends_with("\r\nold"));
        assert!(node.idle.is_empty(), "one is still under way");
        old.release.notify_one();
        assert!(node.until(second).await.unwrap().ends_with("\r\nold"));
        assert_eq!(node.next_idle().await, run);
        node.observe(&[drains, new.ready(0, 2)]).await;
        node.ask("GET", "/").await;
        assert!(node.idle.is_empty(), "it is said once");
        assert_eq!(node.gateway.in_flight(&run), 0);
    });
}

#[test]
fn a_draining_run_that_nothing_was_asked_of_is_idle_at_once() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.draining(0, 4, 30_000)]).await;
        let told = node.idle.pop_front().map(|run| (run.number, run.generation));
        assert_eq!(told, Some((0, 4)), "as after a restart of the worker");
    });
}

#[test]
fn a_run_that_leaves_for_a_while_counts_with_all_that_was_in_flight() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let asking = spawn_local(ask(node.address, "GET", "/hold"));
        node.until(server.asked()).await;
        node.observe(&[server.run(0, 1, InstanceState::Unhealthy)]).await;
        node.observe(&[server.ready(0, 1)]).await;
        assert!(node.ask("GET", "/").await.ends_with("\r\na"));
        node.observe(&[server.draining(0, 1, 30_000)]).await;
        assert!(node.idle.is_empty());
        server.release.notify_one();
        assert!(node.until(asking).await.unwrap().ends_with("\r\na"));
        assert_eq!(node.next_idle().await.generation, 1);
    });
}
