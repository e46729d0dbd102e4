//! Another process takes over, or does not after all.

use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::net::UnixStream;

use super::*;

/// A socket to listen on, and the same once more for another process.
fn sockets() -> (StdListener, StdListener) {
    let socket = StdListener::bind("127.0.0.1:0").unwrap();
    let same = socket.try_clone().unwrap();
    (socket, same)
}

/// Asks on a connection that is kept alive, and gives the head of the response.
async fn ask_on(tcp: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    hear_response(tcp).await
}

/// The next response, whose body is a name of one letter.
async fn hear_response(tcp: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    while !heard.windows(4).any(|four| four == b"\r\n\r\n") {
        assert_ne!(tcp.read_buf(&mut heard).await.unwrap(), 0, "no answer");
    }
    while heard.ends_with(b"\r\n\r\n") {
        assert_ne!(tcp.read_buf(&mut heard).await.unwrap(), 0, "half an answer");
    }
    String::from_utf8(heard).unwrap()
}

/// Waits for an end in order.
async fn hear_end(tcp: &mut TcpStream) {
    let mut rest = Vec::new();
    tcp.read_to_end(&mut rest).await.expect("no reset");
    assert_eq!(rest, b"", "nothing more");
}

#[test]
fn a_connection_without_a_request_gets_one_more_answer_and_new_ones_go_to_the_next_process() {
    run(async {
        let (socket, same) = sockets();
        let mut old = Node::start_on(socket, "").await;
        let (a, b) = (Server::start("a").await, Server::start("b").await);
        old.observe(&[a.ready(0, 1)]).await;
        let mut idle = TcpStream::connect(old.address).await.unwrap();
        assert!(ask_on(&mut idle, "/").await.ends_with("\r\na"));
        let mut fresh = TcpStream::connect(old.address).await.unwrap();
        let mut half = TcpStream::connect(old.address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        while old.gateway.connections() < 3 {
            tokio::task::yield_now().await;
        }

        old.gateway.retire().await;
        old.gateway.data.retired().await;
        let mut new = Node::start_on(same, "").await;
        new.observe(&[b.ready(0, 1)]).await;
        for _ in 0..20 {
            assert!(ask(old.address, "GET", "/").await.ends_with("\r\nb"));
        }
        for tcp in [&mut idle, &mut fresh] {
            let answer = ask_on(tcp, "/").await;
            assert!(answer.contains("Connection: close\r\n") && answer.ends_with("\r\na"));
            hear_end(tcp).await;
        }
        half.write_all(b"st: a\r\n\r\n").await.unwrap();
        let answer = hear_response(&mut half).await;
        assert!(answer.contains("Connection: close\r\n") && answer.ends_with("\r\na"));
        assert!(old.gateway.connections() > 0, "nobody has said that he has heard it");
        drop((idle, fresh, half));
        old.gateway.drained().await;
        assert_eq!(old.gateway.connections(), 0);
        assert_eq!(old.gateway.served().await, (4, 0));
    });
}

#[test]
fn who_resumes_serves_as_if_nothing_had_been() {
    run(async {
        let (socket, same) = sockets();
        let mut node = Node::start_on(socket, "").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut idle = TcpStream::connect(node.address).await.unwrap();
        assert!(ask_on(&mut idle, "/").await.ends_with("\r\na"));
        node.gateway.retire().await;
        assert!(node.gateway.listening().next().is_none());
        node.gateway.resume().await;
        let address = node.address.to_string();
        node.gateway.listen("web", "127.0.0.1:0", &address, vec![same.into()]).await;
        for _ in 0..3 {
            assert!(!ask_on(&mut idle, "/").await.contains("Connection: close"));
        }
        assert!(node.ask("GET", "/").await.ends_with("\r\na"));
        node.gateway.retire().await;
        drop(idle);
        node.gateway.drained().await;
    });
}

/// Has the gateway answer a request that the keeper makes.
async fn probe(gateway: &Gateway, token: &str) -> UnixStream {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    gateway.answer_probe(theirs.into(), token).await;
    ours.set_nonblocking(true).unwrap();
    let mut keeper = UnixStream::from_std(ours).unwrap();
    keeper.write_all(b"GET /any HTTP/1.1\r\nHost: keeper\r\n\r\n").await.unwrap();
    keeper
}

#[test]
fn the_keeper_is_answered_if_every_thread_serves_and_only_then() {
    run(async {
        let node = Node::start("").await;
        let mut keeper = probe(&node.gateway, "0123").await;
        let mut answer = String::new();
        keeper.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n") && answer.ends_with("\r\n\r\n0123"));
        assert_eq!(node.gateway.served().await, (0, 0), "nobody else's business");
        for thread in 0..node.gateway.threads() {
            let stalled = node.gateway.data.stall(thread).await;
            let mut keeper = probe(&node.gateway, "4567").await;
            let mut byte = [0];
            let wait = Duration::from_millis(100);
            let silence = tokio::time::timeout(wait, keeper.read(&mut byte)).await;
            assert!(silence.is_err(), "thread {thread} is stuck");
            drop(stalled);
            assert_eq!(keeper.read(&mut byte).await.unwrap(), 1, "it goes on");
        }
    });
}
