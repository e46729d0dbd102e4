//! Pools follow the runs of their apps.

use super::*;

fn starting(number: u16, generation: u32) -> Instance {
    instance(number, generation, InstanceState::Starting, Some(Place::Port(1)))
}

#[test]
fn a_pool_has_the_runs_that_are_ready_and_no_others() {
    run(async {
        let mut node = Node::start("").await;
        assert!(node.ask("GET", "/").await.starts_with("HTTP/1.1 503"));
        let (a, b) = (Server::start("a").await, Server::start("b").await);
        node.observe(&[a.ready(0, 1), starting(1, 1)]).await;
        for _ in 0..4 {
            assert!(node.ask("GET", "/").await.ends_with("\r\na"));
        }
        assert_eq!(node.gateway.pools()[0].health, Health::Degraded, "one is missing");
        assert!(node.ask("GET", "/health").await.contains("degraded"));
        node.observe(&[a.ready(0, 1), b.ready(1, 1)]).await;
        let mut answers = [node.ask("GET", "/").await, node.ask("GET", "/").await];
        answers.sort_unstable();
        assert!(answers[0].ends_with("\r\na") && answers[1].ends_with("\r\nb"));
        assert_eq!(node.gateway.pools()[0].health, Health::Healthy);
        let hangs = a.run(0, 1, InstanceState::Unhealthy);
        node.observe(&[hangs, b.ready(1, 1)]).await;
        for _ in 0..4 {
            assert!(node.ask("GET", "/").await.ends_with("\r\nb"));
        }
        node.observe(&[a.ready(0, 1), b.ready(1, 1)]).await;
        let answers = [node.ask("GET", "/").await, node.ask("GET", "/").await];
        assert!(answers.iter().any(|answer| answer.ends_with("\r\na")), "it is back");
        let up: Vec<_> = node.events("server_up").into_iter().map(|(name, _)| name).collect();
        assert_eq!(up, ["pool.shop/shop/0", "pool.shop/shop/1", "pool.shop/shop/0"]);
    });
}

#[test]
fn two_runs_of_one_instance_are_two_servers_of_one_name() {
    run(async {
        let mut node = Node::start("").await;
        let (old, new) = (Server::start("old").await, Server::start("new").await);
        node.observe(&[old.ready(0, 1), new.ready(0, 2)]).await;
        let mut answers = [node.ask("GET", "/").await, node.ask("GET", "/").await];
        answers.sort_unstable();
        assert!(answers[0].ends_with("new") && answers[1].ends_with("old"));
        let servers = &node.gateway.pools()[0].servers;
        assert_eq!(servers.iter().map(|one| &one.name).collect::<Vec<_>>(), ["shop/0", "shop/0"]);
        assert_ne!(servers[0].address, servers[1].address);
        let stats = node.gateway.stats().await;
        let merged = &stats.pools[0].servers;
        assert_eq!((merged.len(), merged[0].requests), (1, 2), "a series each");

        node.gateway.adjust("shop", "shop/0", Adjustment::Weight(7)).unwrap();
        let weights = |node: &Node| -> Vec<u32> {
            node.gateway.pools()[0].servers.iter().map(|one| one.weight).collect()
        };
        assert_eq!(weights(&node), [7, 7]);
        node.observe(&[new.ready(0, 2)]).await;
        assert_eq!(node.gateway.stats().await.pools[0].servers[0].requests, 2, "it goes on");
        let newest = Server::start("newest").await;
        node.observe(&[newest.ready(0, 3)]).await;
        assert_eq!(weights(&node), [7], "what the operator wants is of the name");
        assert_eq!(node.gateway.stats().await.pools[0].servers[0].requests, 2);
        node.gateway.adjust("shop", "shop/1", Adjustment::Drain).unwrap();
        node.observe(&[newest.ready(0, 3), old.ready(1, 1)]).await;
        assert_eq!(node.gateway.pools()[0].servers[1].state, "draining", "also before it comes");
        for other in ["shop/2", "shop/", "other", "other/0"] {
            assert!(node.gateway.adjust("shop", other, Adjustment::Drain).is_err(), "{other}");
        }
    });
}

#[test]
fn a_place_that_another_run_has_now_is_another_server() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        node.ask("GET", "/").await;
        node.ask("GET", "/").await;
        assert_eq!(server.connections.available_permits(), 1, "it is kept alive");
        node.observe(&[server.ready(0, 2)]).await;
        assert!(node.until(server.ended.acquire()).await.is_ok(), "idle connections end with it");
        node.ask("GET", "/").await;
        assert_eq!(server.connections.available_permits(), 2);
    });
}

#[test]
fn who_comes_later_than_the_others_starts_slowly() {
    run(async {
        let mut node = Node::start("slow_start = \"1ms\"").await;
        let (a, b) = (Server::start("a").await, Server::start("b").await);
        node.observe(&[a.ready(0, 1), b.ready(1, 1)]).await;
        let percents = |node: &Node| -> Vec<u32> {
            node.gateway.pools()[0].servers.iter().map(|one| one.weight_percent).collect()
        };
        assert_eq!(percents(&node), [100, 100], "all come together");
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(5) {
            node.ask("GET", "/").await;
        }
        node.observe(&[a.ready(0, 2), b.ready(1, 1)]).await;
        assert_eq!(percents(&node), [10, 100]);
    });
}

#[test]
fn instances_that_are_not_ready_are_explained() {
    run(async {
        let mut node = Node::start("").await;
        let (a, b) = (Server::start("a").await, Server::start("b").await);
        let failed = Instance {
            last_exit: Some("exit status 1".into()),
            ..instance(2, 5, InstanceState::Fatal { for_ms: None }, None)
        };
        node.observe(&[a.ready(0, 1), b.draining(1, 1, 30_000), failed]).await;
        let question = Question {
            method: "GET".into(),
            url: "http://a/".into(),
            headers: Vec::new(),
            client: None,
        };
        let told = node.gateway.explain(&question).unwrap();
        let told: Vec<_> = told
            .candidates
            .iter()
            .map(|one| (one.name.as_str(), one.eligible, one.reason.as_str()))
            .collect();
        let expected = [
            ("shop/0", true, "up: no checks"),
            ("shop/1", false, "draining"),
            ("shop/2", false, "fatal: exit status 1"),
        ];
        assert_eq!(told, expected);
    });
}

#[test]
fn a_canary_is_counted_apart_while_it_soaks() {
    run(async {
        let mut node = Node::start("").await;
        let (old, new) = (Server::start("old").await, Server::start("new").await);
        node.observe(&[old.ready(0, 1)]).await;
        node.ask("GET", "/").await;
        assert!(node.gateway.samples().is_empty());
        let deploy = |phase| Deploy {
            app: "shop".into(),
            number: 1,
            revision: 2,
            phase,
            done: 0,
            of: 1,
            cause: "deploy".into(),
            message: String::new(),
            since_ms: 0,
        };
        node.observed.deploys = vec![deploy(DeployPhase::Soaking)];
        node.observe(&[old.ready(0, 1), new.ready(0, 2)]).await;
        for _ in 0..4 {
            node.ask("GET", "/").await;
        }
        node.ask("GET", "/fail").await;
        node.ask("GET", "/fail").await;
        let samples = node.gateway.samples();
        let [(app, canary, others)] = &samples[..] else { panic!("{samples:?}") };
        assert_eq!(app, "shop");
        for sample in [canary, others] {
            assert_eq!((sample.requests, sample.errors), (3, 1), "what came before does not count");
            assert!((1..1_000_000).contains(&sample.p99_us), "{sample:?}");
        }
        node.observed.deploys = vec![deploy(DeployPhase::Rolling)];
        node.observe(&[new.ready(0, 2)]).await;
        assert!(node.gateway.samples().is_empty());
    });
}

#[test]
fn a_unix_socket_is_a_place_like_any_other() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let server = Server::start_unix("a", &path).await;
        let check = "check.http = { path = \"/\", every = \"100ms\" }";
        let mut node = Node::start(check).await;
        node.observe(&[server.ready(0, 1)]).await;
        for _ in 0..3 {
            assert!(node.ask("GET", "/").await.ends_with("\r\na"));
        }
        let big = node.ask("GET", "/big").await;
        assert!(big.len() > 1 << 20 && big.ends_with("xx"), "spliced too");
        let stats = node.gateway.stats().await;
        assert_eq!((stats.pools[0].connects, stats.pools[0].reuses), (1, 3), "kept alive");
        let shown = &node.gateway.pools()[0].servers[0];
        assert_eq!(shown.address, format!("unix:{}", path.display()));
        let passed = async |node: &mut Node| {
            while node.gateway.pools()[0].servers[0].reason != "checks pass" {
                node.gateway.turn().await;
            }
        };
        passed(&mut node).await;
    });
}
