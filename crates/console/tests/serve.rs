//! The admin API over real sockets.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fake;

use std::time::Duration;

use evergate_console::{CONNECTIONS_MAX, Listening, serve};
use fake::{Fake, event, line};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longest wait for an end. Whether it came in order, or because stopping takes five seconds at most,
/// shows in how a stream ends.
const SOON: Duration = Duration::from_secs(90);
/// How a stream ends in order (RFC 9112, section 7.1).
const LAST_CHUNK: &str = "0\r\n\r\n";

struct Server {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(fake: &Fake) -> Server {
    fake.tokens(None, None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = fake.router.clone();
    let task = tokio::spawn(serve(Listening::Tcp(listener), router, async {
        drop(stopped.await);
    }));
    Server { address, stop, task }
}

async fn ask(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The lines of an event stream up to one that starts with `last`.
async fn lines_until(reader: &mut (impl AsyncBufReadExt + Unpin), last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        let length = reader.read_line(&mut line).await.unwrap();
        assert_ne!(length, 0, "the stream ended after {lines:?}");
        lines.push(line.trim_end().to_owned());
        if line.starts_with(last) {
            return lines;
        }
    }
}

fn ids(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.strip_prefix("id: ")).collect()
}

#[tokio::test]
async fn the_unix_socket_is_the_operators() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(Listening::Unix(listener), fake.router.clone(), async {
        drop(stopped.await);
    }));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let request = "POST /api/v1/reload HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                   content-length: 0\r\n\r\n";
    let answer = ask(&mut stream, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    stop.send(()).unwrap();
    task.await.unwrap();
}

#[tokio::test]
async fn events_are_resumed_without_a_gap_or_a_double() {
    let fake = Fake::start();
    let server = start(&fake).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = BufReader::new(stream);
    let request = "GET /events HTTP/1.1\r\nhost: x\r\nlast-event-id: 1\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let lines = lines_until(&mut stream, "id: 3").await;
    assert_eq!(ids(&lines), ["2", "3"], "{lines:?}");
    // Event 3 is already in the list that the stream began with.
    for sequence in [3, 4] {
        fake.control.events.send(event(sequence)).unwrap();
    }
    let lines = lines_until(&mut stream, "data: {\"sequence\":4").await;
    assert_eq!(ids(&lines), ["4"], "{lines:?}");
    server.stop.send(()).unwrap();
    // The stream ends by itself, so stopping does not wait for its reader.
    let mut rest = String::new();
    let ended = async {
        stream.read_to_string(&mut rest).await.unwrap();
        server.task.await.unwrap();
    };
    tokio::time::timeout(SOON, ended).await.unwrap();
    assert!(rest.ends_with(LAST_CHUNK), "{rest:?}");
}

#[tokio::test]
async fn a_number_of_an_earlier_worker_brings_everything() {
    let fake = Fake::start();
    let server = start(&fake).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = BufReader::new(stream);
    let request = "GET /events HTTP/1.1\r\nhost: x\r\nlast-event-id: 900\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let lines = lines_until(&mut stream, "id: 3").await;
    assert_eq!(ids(&lines), ["1", "2", "3"], "{lines:?}");
}

#[tokio::test]
async fn a_ninth_reader_of_events_is_refused_until_one_leaves() {
    let fake = Fake::start();
    let server = start(&fake).await;
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut reader = BufReader::new(TcpStream::connect(server.address).await.unwrap());
        reader.write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        lines_until(&mut reader, "retry: ").await;
        readers.push(reader);
    }
    let request = "GET /events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut ninth = TcpStream::connect(server.address).await.unwrap();
    let answer = ask(&mut ninth, request).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"busy\""), "{answer}");
    readers.pop();
    loop {
        // The server notices the closed connection in its own time.
        let mut reader = BufReader::new(TcpStream::connect(server.address).await.unwrap());
        reader.write_all(request.as_bytes()).await.unwrap();
        if lines_until(&mut reader, "HTTP/1.1").await[0].starts_with("HTTP/1.1 200") {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lines_are_followed_after_the_past_and_a_slow_reader_is_told_what_it_missed() {
    let fake = Fake::start();
    fake.state.lock().unwrap().lines = vec![line(0, "past")];
    let printed = fake.state.lock().unwrap().printed.clone();
    let server = start(&fake).await;
    let mut stream = BufReader::new(TcpStream::connect(server.address).await.unwrap());
    let request = "GET /api/v1/apps/shop/logs?instance=0&follow=true HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let past = lines_until(&mut stream, "{").await;
    assert!(past.last().unwrap().contains("\"text\":\"past\""), "{past:?}");
    printed.send(line(1, "another's")).unwrap();
    printed.send(line(0, "now")).unwrap();
    let now = lines_until(&mut stream, "{").await;
    assert!(now.last().unwrap().contains("\"text\":\"now\""), "{now:?}");
    // More at once than a reader may fall behind.
    for number in 0..9 {
        printed.send(line(0, &number.to_string())).unwrap();
    }
    let lost = lines_until(&mut stream, "{\"lost\":").await;
    assert_eq!(lost.last().unwrap().trim(), "{\"lost\":5}");
    server.stop.send(()).unwrap();
    tokio::time::timeout(SOON, server.task).await.unwrap().unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with(LAST_CHUNK), "{rest:?}");
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let fake = Fake::start();
    let server = start(&fake).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = BufReader::new(TcpStream::connect(server.address).await.unwrap());
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        lines_until(&mut stream, "HTTP/1.1 200").await;
        held.push(stream);
    }
    let mut late = TcpStream::connect(server.address).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    late.write_all(request.as_bytes()).await.unwrap();
    // Once another request has gone round, the late one would have been answered as well.
    let first = &mut held[0];
    first.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    lines_until(first, "HTTP/1.1 404").await;
    let early = late.try_read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(
        early,
        Err(std::io::ErrorKind::WouldBlock),
        "answered although all places are taken"
    );
    held.pop();
    assert!(ask(&mut late, "").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_head_is_cut_off() {
    let fake = Fake::start();
    let server = start(&fake).await;
    let began = tokio::time::Instant::now();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /livez HT").await.unwrap();
    let mut rest = Vec::new();
    // Whether by a clean end or a 408, it must end.
    drop(stream.read_to_end(&mut rest).await);
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn whoever_has_connected_before_the_end_is_answered() {
    let fake = Fake::start();
    let server = start(&fake).await;
    let mut fresh = TcpStream::connect(server.address).await.unwrap();
    let mut used = BufReader::new(TcpStream::connect(server.address).await.unwrap());
    used.get_mut().write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut line = String::new();
    used.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    drop(server.stop);
    // Once it has stopped to accept, nobody listens.
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let answer = ask(&mut fresh, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"),
        "{answer}"
    );
    let answer = ask(&mut used, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 1, "{answer}");
    tokio::time::timeout(SOON, server.task).await.unwrap().unwrap();
}
