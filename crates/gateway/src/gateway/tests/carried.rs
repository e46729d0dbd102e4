//! What one gateway knows and another goes on from.

use evergate_control::state::{Shared, State};

use super::*;

/// A gateway whose listener has these limits.
async fn limited(limits: &str) -> Node {
    let socket = StdListener::bind("127.0.0.1:0").unwrap();
    Node::start_on(socket, &format!("[listener.web.limits]\n{limits}"), "").await
}

impl Node {
    /// A connection that stays open after one answer; nothing if it was one too many.
    async fn connect(&mut self) -> Option<TcpStream> {
        let address = self.address;
        self.until(async move {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 1024];
            let length = tcp.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
            (!answer.contains("too many connections")).then_some(tcp)
        })
        .await
    }

    async fn until_open(&mut self, count: u64) {
        while self.gateway.open(0).total() != count {
            self.until(tokio::task::yield_now()).await;
        }
    }

    /// What other workers are told of this one, through the bytes that they are told.
    fn shared(&self, generation: u32) -> evergate_control::state::Open {
        let (open, counted) = (self.gateway.open(generation), Default::default());
        Shared::decode(&Shared { open, counted }.encode().unwrap()).unwrap().open
    }

    /// What the next worker is told.
    fn carried(&mut self, generation: u32) -> State {
        State::decode(&self.gateway.carry(generation).encode().unwrap()).unwrap()
    }
}

#[test]
fn limits_on_connections_hold_over_all_workers() {
    run(async {
        for limits in ["connections = 3", "connections_per_ip = 3"] {
            let (mut old, mut new) = (limited(limits).await, limited(limits).await);
            let mut held = vec![old.connect().await.unwrap(), old.connect().await.unwrap()];
            assert_eq!(old.shared(1).total(), 2);
            new.gateway.set_elsewhere(1, Some(old.shared(1)));
            new.gateway.set_elsewhere(1, Some(old.shared(1)));
            let first = new.connect().await;
            assert!(first.is_some() && new.connect().await.is_none(), "{limits}");
            held.pop();
            old.until_open(1).await;
            new.gateway.set_elsewhere(1, Some(old.shared(1)));
            let second = new.connect().await;
            assert!(second.is_some() && new.connect().await.is_none(), "{limits}");
            new.gateway.set_elsewhere(1, None);
            assert!(new.connect().await.is_some(), "the other worker is gone");
        }
    });
}

#[test]
fn connections_count_only_while_their_worker_is_there() {
    run(async {
        let mut old = limited("connections = 1").await;
        let held = old.connect().await.unwrap();
        let state = old.carried(7);
        for (others, is_let_in) in [(vec![7], false), (vec![8], true)] {
            let mut new = limited("connections = 1").await;
            new.gateway.inherit(state.clone(), &others);
            assert_eq!(new.connect().await.is_some(), is_let_in, "with {others:?}");
        }
        drop(held);
    });
}

#[test]
fn a_run_that_was_draining_by_wish_is_so_when_the_next_worker_hears_of_it() {
    run(async {
        let server = Server::start("one").await;
        let mut old = Node::start("slow_start = \"60s\"").await;
        old.observe(&[server.ready(0, 1)]).await;
        old.ask("GET", "/").await;
        let before = old.gateway.pools().remove(0).servers.remove(0);
        assert!(before.latency_seconds > 0.0);
        old.gateway.adjust("shop", "shop/0", Adjustment::Drain).unwrap();
        let state = old.carried(1);

        // First what was known, then what is there.
        let mut new = Node::start("slow_start = \"60s\"").await;
        new.gateway.inherit(state.clone(), &[]);
        new.observe(&[server.ready(0, 1)]).await;
        let after = new.gateway.pools().remove(0).servers.remove(0);
        assert_eq!((after.state.as_str(), after.requests), ("draining", 0));
        assert!(after.latency_seconds > 0.0, "{after:?}");
        assert!(new.events("server_up").len() <= 1, "that it is ready is no news");

        // Or the other way round.
        let mut new = Node::start("slow_start = \"60s\"").await;
        new.observe(&[server.ready(0, 1)]).await;
        new.gateway.inherit(state.clone(), &[]);
        assert_eq!(new.gateway.pools().remove(0).servers.remove(0).state, "draining");
        new.gateway.adjust("shop", "shop/0", Adjustment::Undrain).unwrap();
        let after = new.gateway.pools().remove(0).servers.remove(0);
        assert_eq!((after.state.as_str(), after.weight_percent), ("up", 100), "not slowly");
        assert!(new.ask("GET", "/").await.ends_with("one"));

        // Another run of the same instance is drained too, but nothing else is known of it.
        let mut new = Node::start("slow_start = \"60s\"").await;
        new.gateway.inherit(state, &[]);
        new.observe(&[server.ready(0, 2)]).await;
        let after = new.gateway.pools().remove(0).servers.remove(0);
        assert_eq!((after.state.as_str(), after.latency_seconds), ("draining", 0.0));
    });
}

#[test]
fn events_go_on_with_the_numbers_of_the_worker_before() {
    run(async {
        let mut old = Node::start("").await;
        old.gateway.events().push(Level::Info, "one", "test", "");
        let mut new = Node::start("").await;
        new.gateway.events().push(Level::Info, "beside", "test", "");
        // What was there when it started, and what came since.
        new.gateway.inherit(old.carried(1), &[]);
        old.gateway.events().push(Level::Info, "two", "test", "");
        let state = old.carried(1);
        let last = state.history.sequence;
        old.gateway.events().push(Level::Info, "late", "test", "");
        new.gateway.inherit(state, &[]);
        new.gateway.events().push(Level::Info, "three", "test", "");
        let kinds = |node: &mut Node| {
            let events = node.gateway.events().latest();
            assert!(events.windows(2).all(|two| two[0].sequence + 1 == two[1].sequence));
            let test = events.into_iter().filter(|event| event.subject == "test");
            test.map(|event| (event.kind, event.sequence)).collect::<Vec<_>>()
        };
        let told = kinds(&mut new);
        let names: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(names, ["one", "two", "beside", "three"]);
        assert_eq!((told[1].1, told[2].1, told[3].1), (last, last + 1, last + 2));

        // The old one is called back: what it told nobody of yet comes last.
        let state = new.carried(2);
        old.gateway.inherit(state, &[]);
        let told = kinds(&mut old);
        let names: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(names, ["one", "two", "beside", "three", "late"]);
    });
}
