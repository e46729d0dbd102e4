//! An address moves to another machine, and packets of what is connected to it are passed on to this
//! one for a while.

use std::net::Ipv4Addr;

use super::retiring::{ask_on, hear_end};
use super::websockets::{self, CLOSE_1012};
use super::*;

/// Addresses of this machine, of which one moves.
const MOVED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const STAYS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Longer than any of these tests.
const LONG: Duration = Duration::from_secs(600);

/// A node that listens on every address, its server, and where it is connected to.
async fn start() -> (Node, Server, [SocketAddr; 2]) {
    let mut node = Node::start_on(StdListener::bind("[::]:0").unwrap(), "", "").await;
    let server = Server::start("a").await;
    node.observe(&[server.ready(0, 1)]).await;
    let port = node.address.port();
    (node, server, [MOVED, STAYS].map(|address| (address, port).into()))
}

/// Every thread knows of it.
async fn retreat(node: &Node, within: Duration) {
    node.gateway.retreat(vec![MOVED.into()], within).await;
    node.gateway.served().await;
}

#[test]
fn what_is_connected_to_an_address_that_moves_gets_one_more_answer_and_nothing_else_ends() {
    run(async {
        let (node, _server, [moved, stays]) = start().await;
        let mut idle = TcpStream::connect(moved).await.unwrap();
        let mut other = TcpStream::connect(stays).await.unwrap();
        for tcp in [&mut idle, &mut other] {
            assert!(!ask_on(tcp, "/").await.contains("Connection: close"));
        }
        retreat(&node, LONG).await;
        // Whoever reaches it here though it has moved is not to stay.
        let mut late = TcpStream::connect(moved).await.unwrap();
        for tcp in [&mut idle, &mut late] {
            assert!(ask_on(tcp, "/").await.contains("Connection: close\r\n"));
            hear_end(tcp).await;
        }
        let mut fresh = TcpStream::connect(stays).await.unwrap();
        for tcp in [&mut other, &mut fresh] {
            for _ in 0..2 {
                assert!(!ask_on(tcp, "/").await.contains("Connection: close"));
            }
        }
        // It is back.
        node.gateway.retreat(Vec::new(), Duration::ZERO).await;
        node.gateway.served().await;
        let mut back = TcpStream::connect(moved).await.unwrap();
        for _ in 0..2 {
            assert!(!ask_on(&mut back, "/").await.contains("Connection: close"));
        }
    });
}

#[test]
fn a_connection_of_http2_to_an_address_that_moves_is_told_to_go_away_and_others_are_not() {
    run(async {
        let (node, server, [moved, stays]) = start().await;
        let connect = async |address: SocketAddr| {
            let tcp = TcpStream::connect(address).await.unwrap();
            let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
            (sender, spawn_local(connection))
        };
        let get = |path: &str| http::Request::get(format!("http://a{path}")).body(()).unwrap();
        let (mut leaving, ended) = connect(moved).await;
        let (mut staying, _open) = connect(stays).await;
        let (held, _) = leaving.send_request(get("/hold"), true).unwrap();
        server.asked().await;
        retreat(&node, LONG).await;
        while let Ok(ready) = leaving.clone().ready().await {
            leaving = ready;
            let Ok((asked, _)) = leaving.send_request(get("/"), true) else { break };
            if let Err(error) = asked.await {
                assert!(error.is_go_away() || error.is_io(), "{error}");
            }
        }
        server.release.notify_one();
        assert_eq!(held.await.unwrap().status(), 200, "what was asked before is answered");
        ended.await.unwrap().expect("it ends in order");
        for _ in 0..3 {
            staying = staying.ready().await.unwrap();
            let (asked, _) = staying.send_request(get("/"), true).unwrap();
            assert_eq!(asked.await.unwrap().status(), 200);
        }
    });
}

#[test]
fn websockets_and_long_responses_end_before_the_address_is_out_of_reach() {
    run(async {
        let (mut node, server, [moved, stays]) = start().await;
        let mut leaving = node.until(websockets::connect(moved)).await;
        let mut staying = node.until(websockets::connect(stays)).await;
        let sized = spawn_local(ask(moved, "GET", "/half"));
        let endless = spawn_local(ask(moved, "GET", "/events"));
        let waiting = spawn_local(ask(moved, "GET", "/hold"));
        let other = spawn_local(ask(stays, "GET", "/hold"));
        for _ in 0..4 {
            server.asked().await;
        }
        let begun = tokio::time::Instant::now();
        retreat(&node, LONG).await;
        // Another move is wanted: there is less time.
        retreat(&node, Duration::from_secs(1)).await;
        let heard = node.until(websockets::hear(&mut leaving, CLOSE_1012.len())).await;
        assert_eq!(heard, CLOSE_1012);
        assert!(begun.elapsed() >= Duration::from_millis(640), "as late as can be");
        let waiting = node.until(waiting).await.unwrap();
        assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
        assert!(node.until(sized).await.unwrap().ends_with("\r\n\r\n"), "the name breaks off");
        assert!(node.until(endless).await.unwrap().ends_with("1\r\n!\r\n"), "no last chunk");
        // The others have not heard of it.
        staying.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
        server.release.notify_waiters();
        assert!(node.until(other).await.unwrap().ends_with("\r\na"));
        let mut byte = [0];
        let silence =
            tokio::time::timeout(Duration::from_millis(50), staying.read(&mut byte)).await;
        assert!(silence.is_err(), "it is open");
    });
}
