//! WebSockets when their server leaves.

use super::*;

pub(super) const CLOSE_1012: &[u8] = b"\x88\x11\x03\xf4service restart";
/// Time to drain of which the last part is long enough to answer in, and when that begins.
const DRAIN_MS: u32 = 5_000;
const LAST_PART_AFTER: Duration = Duration::from_millis(3_950);

/// A client that has been let in, and has heard the ping of the server.
pub(super) async fn connect(address: SocketAddr) -> TcpStream {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(&[0x89, 0x00]) {
        assert_ne!(tcp.read_buf(&mut heard).await.unwrap(), 0);
    }
    tcp
}

/// Hears the next `count` bytes.
pub(super) async fn hear(tcp: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut heard = vec![0; count];
    tcp.read_exact(&mut heard).await.unwrap();
    heard
}

#[test]
fn a_websocket_is_ended_in_the_last_part_of_the_drain_time_by_a_close_each_way() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut client = node.until(connect(node.address)).await;
        let shown = node.gateway.pools()[0].servers[0].clone();
        assert_eq!((shown.tunnels, shown.in_flight), (1, 1));
        let begun = tokio::time::Instant::now();
        node.observe(&[server.draining(0, 1, DRAIN_MS)]).await;
        assert!(node.idle.is_empty(), "a tunnel is in flight");
        // Half a frame, so that there is something to wait for.
        client.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h']).await.unwrap();
        assert_eq!(node.until(hear(&mut client, CLOSE_1012.len())).await, CLOSE_1012);
        let took = begun.elapsed();
        assert!(took >= LAST_PART_AFTER, "{took:?}");
        client.write_all(b"i").await.unwrap();
        client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        let mut rest = Vec::new();
        node.until(client.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty(), "nothing after the Close: {rest:x?}");
        assert_eq!(node.next_idle().await.generation, 1);
        let heard = server.heard.borrow().clone();
        assert_eq!(heard[..8], [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'], "the frame is whole");
        assert_eq!(heard[8..10], [0x88, 0x8c], "a masked Close");
        let code = [heard[14] ^ heard[10], heard[15] ^ heard[11]];
        assert_eq!(u16::from_be_bytes(code), 1001);
        assert_eq!(heard.len(), 10 + 4 + 12, "and nothing else");
    });
}

#[test]
fn a_process_that_retires_ends_websockets_in_the_last_part_of_the_time_of_their_route() {
    run(async {
        let socket = StdListener::bind("127.0.0.1:0").unwrap();
        let mut node = Node::start_on(socket, "drain_timeout = \"5s\"", "").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut client = node.until(connect(node.address)).await;
        let begun = tokio::time::Instant::now();
        node.gateway.retire().await;
        assert_eq!(node.until(hear(&mut client, CLOSE_1012.len())).await, CLOSE_1012);
        let took = begun.elapsed();
        assert!(took >= LAST_PART_AFTER, "{took:?}");
        client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        let mut rest = Vec::new();
        node.until(client.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty(), "nothing after the Close: {rest:x?}");
        drop(client);
        node.gateway.drained().await;
    });
}

#[test]
fn a_process_that_stops_ends_websockets_within_its_grace() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut client = node.until(connect(node.address)).await;
        let begun = tokio::time::Instant::now();
        let stopping = node.gateway.stop(Duration::from_secs(1));
        let hearing = async {
            assert_eq!(hear(&mut client, CLOSE_1012.len()).await, CLOSE_1012);
            drop(client);
        };
        let ((), ()) = tokio::join!(stopping, hearing);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(790), "{took:?}");
    });
}

#[test]
fn a_websocket_whose_ends_do_not_answer_is_cut() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut client = node.until(connect(node.address)).await;
        // A frame that never ends.
        client.write_all(&[0x82, 0xfe]).await.unwrap();
        let begun = tokio::time::Instant::now();
        node.observe(&[server.draining(0, 1, 300)]).await;
        assert_eq!(node.next_idle().await.generation, 1);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(290), "{took:?}");
    });
}

#[test]
fn a_death_ends_a_websocket_with_a_close_to_the_client() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let mut client = node.until(connect(node.address)).await;
        node.observe(&[]).await;
        assert_eq!(node.until(hear(&mut client, CLOSE_1012.len())).await, CLOSE_1012);
        client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        let mut rest = Vec::new();
        node.until(client.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"");
    });
}

/// Reads from a stream until what came ends with `what`.
async fn hear_stream(stream: &mut h2::RecvStream, what: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !heard.ends_with(what) {
        let data = stream.data().await.expect("more is to come").unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        heard.extend_from_slice(&data);
    }
    heard
}

#[test]
fn a_websocket_over_http2_is_ended_likewise() {
    run(async {
        let mut node = Node::start("").await;
        let server = Server::start("a").await;
        node.observe(&[server.ready(0, 1)]).await;
        let address = node.address;
        let connecting = async {
            let tcp = TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = h2::client::handshake(tcp).await.unwrap();
            spawn_local(connection);
            while !sender.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
            }
            let request = http::Request::builder()
                .method("CONNECT")
                .uri("http://a/ws")
                .header("sec-websocket-version", "13")
                .extension(h2::ext::Protocol::from_static("websocket"));
            let (response, sending) =
                sender.send_request(request.body(()).unwrap(), false).unwrap();
            let mut receiving = response.await.unwrap().into_body();
            hear_stream(&mut receiving, &[0x89, 0x00]).await;
            (sender, sending, receiving)
        };
        let (_sender, mut sending, mut receiving) = node.until(connecting).await;
        node.observe(&[server.draining(0, 1, 500)]).await;
        let heard = node.until(hear_stream(&mut receiving, CLOSE_1012)).await;
        assert_eq!(heard, CLOSE_1012);
        let answer = bytes::Bytes::from_static(&[0x88, 0x80, 0, 0, 0, 0]);
        sending.send_data(answer, false).unwrap();
        while let Some(data) = node.until(receiving.data()).await {
            assert!(data.expect("the stream ends in order").is_empty());
        }
        assert_eq!(node.next_idle().await.generation, 1);
    });
}
