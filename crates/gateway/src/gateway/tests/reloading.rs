//! Another configuration while requests are in flight.

use std::cell::Cell;
use std::sync::Weak;

use super::retiring::{ask_on, hear_end};
use super::*;

const RELOADS: usize = 100;
const CLIENTS: usize = 4;

/// Asks on one connection until told to stop; says how often.
async fn ask_on_and_on(address: SocketAddr, stop: Rc<Cell<bool>>) -> u64 {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let mut asked = 0;
    while !stop.get() {
        let answer = ask_on(&mut tcp, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\na"), "{answer}");
        asked += 1;
    }
    asked
}

/// Configurations that differ in all that a client must not notice.
fn variant(number: usize) -> Config {
    let table = [
        ("", "", ""),
        ("use = [\"mark\"]", "", "[middleware.mark.headers]\nresponse.set = { x-a = \"b\" }"),
        ("", "keepalive = 100", "[listener.side]\nbind = [\"127.0.0.1:0\"]"),
        ("", "slow_start = \"3s\"", "[listener.web.limits]\nidle_timeout = \"50s\""),
        (
            "",
            "",
            "[route.other]\nmatch = \"/other\"\nrespond = {}\n[pool.other]\nservers = { x = { url = \"http://127.0.0.1:9\" } }",
        ),
    ];
    let (route, pool, more) = table[number % table.len()];
    config(route, pool, more)
}

#[test]
fn a_hundred_reloads_lose_no_request_no_connection_no_count_and_no_memory() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let held = spawn_local(ask(node.address, "GET", "/hold"));
        server.asked().await;
        let stop = Rc::new(Cell::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| spawn_local(ask_on_and_on(node.address, Rc::clone(&stop))))
            .collect();
        let mut plans: Vec<Weak<Plan>> = Vec::new();
        let mut shown = 0;
        for number in 1..=RELOADS {
            plans.push(Arc::downgrade(&node.gateway.plan));
            // So that each plan serves.
            let before = node.gateway.served().await.0;
            while node.gateway.served().await.0 <= before {
                tokio::task::yield_now().await;
            }
            node.reload(variant(number)).await;
            let stats = node.gateway.stats().await;
            let now = stats.pools.iter().find(|pool| pool.name == "shop").unwrap();
            assert!(now.connects + now.reuses >= shown, "it never goes back");
            shown = now.connects + now.reuses;
        }
        // The plans of before are there for the one request that began on the first of them.
        let alive =
            |plans: &[Weak<Plan>]| plans.iter().filter(|one| one.strong_count() > 0).count();
        while alive(&plans[1..]) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(alive(&plans), 1);
        server.release.notify_one();
        assert!(node.until(held).await.unwrap().ends_with("\r\na"));
        stop.set(true);
        let mut asked = 1;
        for client in clients {
            asked += node.until(client).await.unwrap();
        }
        while node.gateway.connections() > 0 {
            tokio::task::yield_now().await;
        }
        while alive(&plans) > 0 {
            tokio::task::yield_now().await;
        }
        let stats = node.gateway.stats().await;
        let pool = &stats.pools[0];
        assert_eq!(pool.connects + pool.reuses, asked, "each took a connection");
        // At most one for each client of each thread, over all the reloads.
        let most = (CLIENTS + 1) * node.gateway.threads();
        assert!(server.connections.available_permits() <= most);
        let servers = &node.gateway.pools()[0].servers[0];
        assert_eq!((servers.in_flight, servers.requests, servers.failures), (0, asked, 0));
        assert_eq!(node.gateway.served().await, (asked, 0));
    });
}

#[test]
fn what_happens_to_a_request_that_began_before_a_reload_is_counted() {
    run(async {
        let mut node = Node::start("").await;
        let (dying, other) = (Server::start("dying").await, Server::start("b").await);
        node.observe(&[dying.ready(0, 1)]).await;
        let asking = spawn_local(ask(node.address, "GET", "/hold"));
        node.until(dying.asked()).await;
        node.reload(variant(1)).await;
        node.reload(variant(2)).await;
        node.observe(&[other.ready(1, 1)]).await;
        node.until(other.asked()).await;
        other.release.notify_one();
        assert!(node.until(asking).await.unwrap().ends_with("\r\nb"));
        let stats = node.gateway.stats().await;
        let pool = &stats.pools[0];
        assert_eq!((pool.retries, pool.connects), (1, 2));
        let retried = stats.routes.iter().find(|route| route.name == "all").unwrap();
        assert_eq!(retried.statuses, [(200, 1)]);
    });
}

#[test]
fn a_route_that_comes_back_goes_on_counting_while_requests_of_before_are_in_flight() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let extra = "[route.extra]\nmatch = \"/hold\"\npool = \"shop\"";
        let count = |stats: &evergate_control::snapshot::Stats| {
            let route = stats.routes.iter().find(|route| route.name == "extra");
            route.map(|route| route.statuses.iter().map(|(_, count)| count).sum::<u64>())
        };
        node.reload(config("", "", extra)).await;
        for _ in 0..2 {
            server.release.notify_one();
            node.ask("GET", "/hold").await;
            node.until(server.asked()).await;
        }
        let asking = spawn_local(ask(node.address, "GET", "/hold"));
        node.until(server.asked()).await;
        node.reload(config("", "", "")).await;
        assert_eq!(count(&node.gateway.stats().await), None);
        node.reload(config("", "", extra)).await;
        assert_eq!(count(&node.gateway.stats().await), Some(2));
        node.reload(config("", "", "")).await;
        server.release.notify_one();
        node.until(asking).await.unwrap();
        assert_eq!(node.gateway.served().await, (3, 0), "also of what is there no more");
        for _ in 0..3 {
            node.reload(config("", "", "")).await;
        }
        assert_eq!(node.gateway.served().await, (3, 0));
    });
}

#[test]
fn a_listener_that_goes_takes_its_connections_along_after_one_more_answer() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let side = "[listener.side]\nbind = [\"127.0.0.1:0\"]";
        node.reload(config("", "", side)).await;
        let socket = StdListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        node.gateway.listen("side", "127.0.0.1:0", &address.to_string(), vec![socket.into()]).await;
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let mut stays = TcpStream::connect(node.address).await.unwrap();
        assert!(!ask_on(&mut tcp, "/").await.contains("Connection: close"));
        assert!(!ask_on(&mut stays, "/").await.contains("Connection: close"));

        node.gateway.close("side", "127.0.0.1:0").await;
        let fewer = "[listener.web.limits]\nconnections = 2";
        node.reload(config("", "", fewer)).await;
        let answer = ask_on(&mut tcp, "/").await;
        assert!(answer.contains("Connection: close\r\n") && answer.ends_with("\r\na"), "{answer}");
        hear_end(&mut tcp).await;
        assert!(TcpStream::connect(address).await.is_err());
        assert!(!ask_on(&mut stays, "/").await.contains("Connection: close"));
        let listeners = node.gateway.listeners();
        let shown = (listeners.len(), listeners[0].connections, listeners[0].connections_max);
        assert_eq!(shown, (1, 1, 2), "it goes on counting, by other limits");
        let _second = TcpStream::connect(node.address).await.unwrap();
        let mut third = TcpStream::connect(node.address).await.unwrap();
        let mut refused = Vec::new();
        node.until(third.read_to_end(&mut refused)).await.unwrap();
        assert!(refused.starts_with(b"HTTP/1.1 503"));
    });
}

#[test]
fn round_robin_goes_on_where_it_was() {
    run(async {
        let mut node = Node::start_on(StdListener::bind("127.0.0.1:0").unwrap(), "", "").await;
        let (a, b) = (Server::start("a").await, Server::start("b").await);
        node.observe(&[a.ready(0, 1), b.ready(1, 1)]).await;
        let mut tcp = TcpStream::connect(node.address).await.unwrap();
        let mut last = String::new();
        for number in 0..20 {
            let answer = ask_on(&mut tcp, "/").await;
            assert_ne!(answer[answer.len() - 1..], last, "they take turns");
            last = answer[answer.len() - 1..].to_owned();
            node.reload(variant(number)).await;
        }
    });
}
