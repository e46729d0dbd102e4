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
pub(super) async fn ask_on(tcp: &mut TcpStream, path: &str) -> String {
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
pub(super) async fn hear_end(tcp: &mut TcpStream) {
    let mut rest = Vec::new();
    tcp.read_to_end(&mut rest).await.expect("no reset");
    assert_eq!(rest, b"", "nothing more");
}

#[test]
fn a_connection_without_a_request_gets_one_more_answer_and_new_ones_go_to_the_next_process() {
    run(async {
        let (socket, same) = sockets();
        let mut old = Node::start_on(socket, "", "").await;
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
        let mut new = Node::start_on(same, "", "").await;
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
        let mut node = Node::start_on(socket, "", "").await;
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

#[test]
fn whoever_was_busy_when_the_last_connection_ended_hears_of_it_later() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut tcp = TcpStream::connect(node.address).await.unwrap();
        ask_on(&mut tcp, "/").await;
        node.gateway.retire().await;
        node.gateway.data.retired().await;
        drop(tcp);
        while node.gateway.connections() > 0 {
            tokio::task::yield_now().await;
        }
        // Everything that was on its way has arrived.
        node.gateway.served().await;
        node.gateway.data.emptier().await;
        assert!(node.gateway.is_drained());
    });
}

#[test]
fn a_request_that_comes_after_the_end_is_not_reset() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut idle = TcpStream::connect(node.address).await.unwrap();
        assert!(ask_on(&mut idle, "/").await.ends_with("\r\na"));
        let asking = async {
            hear_end(&mut idle).await;
            idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        };
        let ((), ()) = tokio::join!(asking, node.gateway.stop(PATIENCE));
        hear_end(&mut idle).await;
        // Whoever has heard of an end only hears of a reset by asking for it.
        assert!(idle.take_error().unwrap().is_none());
        assert_eq!(server.connections.available_permits(), 1);
    });
}

#[test]
fn bodies_go_on_both_ways() {
    run(async {
        const PIECE: usize = 64 * 1024;
        const PIECES: usize = 160;
        let (socket, _same) = sockets();
        let mut node = Node::start_on(socket, "", "").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut up = TcpStream::connect(node.address).await.unwrap();
        let length = PIECE * PIECES;
        let head = format!("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        up.write_all(head.as_bytes()).await.unwrap();
        up.write_all(&[b'x'; PIECE]).await.unwrap();
        server.asked().await;
        let mut down = TcpStream::connect(node.address).await.unwrap();
        down.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut heard = vec![0; PIECE];
        let first = down.read(&mut heard).await.unwrap();
        heard.truncate(first);
        node.gateway.retire().await;
        node.gateway.data.retired().await;
        for _ in 1..PIECES {
            up.write_all(&[b'x'; PIECE]).await.unwrap();
        }
        let answer = hear_response(&mut up).await;
        assert!(answer.contains("Connection: close\r\n") && answer.ends_with("\r\na"), "{answer}");
        hear_end(&mut up).await;
        // Its head was out before anybody spoke of an end, so the client may ask once more.
        let head = heard.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        while heard.len() < head + (1 << 20) {
            assert_ne!(down.read_buf(&mut heard).await.unwrap(), 0);
        }
        let answer = ask_on(&mut down, "/").await;
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        hear_end(&mut down).await;
        drop((up, down));
        node.gateway.drained().await;
        // What is kept to the server is closed when it has had its last request.
        for _ in 0..server.connections.available_permits() {
            server.ended.acquire().await.unwrap().forget();
        }
    });
}

#[test]
fn what_takes_longer_than_its_route_allows_is_cut() {
    run(async {
        let (socket, _same) = sockets();
        let mut node = Node::start_on(socket, "drain_timeout = \"300ms\"", "").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let address = node.address;
        let waiting = spawn_local(ask(address, "GET", "/hold"));
        let sized = spawn_local(ask(address, "GET", "/half"));
        let endless = spawn_local(ask(address, "GET", "/events"));
        for _ in 0..3 {
            server.asked().await;
        }
        let begun = tokio::time::Instant::now();
        node.gateway.retire().await;
        node.gateway.drained().await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(240), "{took:?}");
        let waiting = waiting.await.unwrap();
        assert!(
            waiting.starts_with("HTTP/1.1 503") && waiting.contains("Retry-After"),
            "{waiting}"
        );
        assert!(sized.await.unwrap().ends_with("\r\n\r\n"), "the name breaks off");
        assert!(endless.await.unwrap().ends_with("1\r\n!\r\n"), "no last chunk");
        let rejects = node.gateway.stats().await.rejects;
        assert_eq!(rejects, [("drain_timeout".to_owned(), 3)]);
    });
}

#[test]
fn streams_of_http2_finish_and_the_connection_ends() {
    run(async {
        let (socket, _same) = sockets();
        let mut node = Node::start_on(socket, "", "").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let tcp = TcpStream::connect(node.address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(tcp).await.unwrap();
        let connection = spawn_local(connection);
        let get = |path: &str| http::Request::get(format!("http://a{path}")).body(()).unwrap();
        let (held, _) = sender.send_request(get("/hold"), true).unwrap();
        server.asked().await;
        node.gateway.retire().await;
        node.gateway.data.retired().await;
        // Until it has heard, the client may ask.
        while let Ok(ready) = sender.clone().ready().await {
            sender = ready;
            let Ok((asked, _)) = sender.send_request(get("/"), true) else { break };
            match asked.await {
                Ok(answer) => assert_eq!(answer.status(), 200),
                Err(error) => assert!(error.is_go_away() || error.is_io(), "{error}"),
            }
        }
        assert_eq!(node.gateway.connections(), 1);
        server.release.notify_one();
        let answer = held.await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "a");
        connection.await.unwrap().expect("it ends in order");
        node.gateway.drained().await;
    });
}

/// The next frame of HTTP/2: type, stream and payload.
async fn hear_frame(tcp: &mut TcpStream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    tcp.read_exact(&mut head).await.unwrap();
    let [a, b, c, kind, _flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    tcp.read_exact(&mut payload).await.unwrap();
    (kind, u32::from_be_bytes(stream), payload)
}

/// A whole GET on a stream.
fn get_frame(stream: u32, path: &str) -> Vec<u8> {
    // Of the static table of HPACK: GET, http, and names of the authority and the path.
    let mut block = vec![0x82, 0x86, 0x41, 1, b'a', 0x44, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    let mut frame = vec![0, 0, block.len() as u8, 1, 0x5];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&block);
    frame
}

#[test]
fn streams_of_a_client_that_does_not_hear_of_the_end_are_refused_after_a_while() {
    const DATA: u8 = 0;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut tcp = TcpStream::connect(node.address).await.unwrap();
        tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        tcp.write_all(&get_frame(1, "/hold")).await.unwrap();
        server.asked().await;
        node.gateway.retire().await;
        let (mut was_told, mut answered, mut stream) = (false, 0, 3);
        tcp.write_all(&get_frame(stream, "/")).await.unwrap();
        let refused = loop {
            let (kind, of, payload) = hear_frame(&mut tcp).await;
            if kind == SETTINGS && !payload.is_empty() {
                tcp.write_all(b"\0\0\0\x04\x01\0\0\0\0").await.unwrap();
            }
            was_told |= kind == GOAWAY;
            if kind == RST_STREAM {
                break (of, payload);
            }
            if kind == DATA && of == stream {
                answered += 1;
                stream += 2;
                tcp.write_all(&get_frame(stream, "/")).await.unwrap();
            }
        };
        assert!(was_told && answered > 0, "{was_told} {answered}");
        assert_eq!(refused, (stream, vec![0, 0, 0, 7]), "REFUSED_STREAM");
        server.release.notify_one();
        while !matches!(hear_frame(&mut tcp).await, (DATA, 1, _)) {}
        drop(tcp);
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
