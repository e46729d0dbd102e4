//! HTTP/1 clients on one side, servers of HTTP/2 that do what a test wants on the other.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use evergate_config::{Files, load_with};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use super::probe::{self, Target};
use crate::access_log::{LogBuffer, LogWriter};
use crate::listener;
use crate::plan::Plan;
use crate::resolve::Addresses;
use crate::shard::Shard;
use crate::tls::termination::Common;

mod calls;
mod tasks;

/// Nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Silence that means that somebody waits.
const STALLED: Duration = Duration::from_millis(300);

type Incoming = (Request<RecvStream>, SendResponse<Bytes>);

struct Text(String);

impl Files for Text {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

/// A thread of the gateway before one server, and where it listens.
struct Gateway {
    shard: Rc<Shard>,
    address: SocketAddr,
}

impl Gateway {
    async fn before(server: SocketAddr) -> Self {
        let text = format!(
            "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
             [route.all]\nmatch = \"/*\"\npool = \"api\"\n\
             [pool.api]\nservers = {{ a = {{ url = \"http://{server}\" }} }}\nprotocol = \"http2\"\n"
        );
        let loaded = load_with(Path::new("/evergate.toml"), &Text(text)).unwrap();
        let plan = Plan::compile(
            &loaded.config,
            &Addresses::default(),
            &Default::default(),
            &Common::default(),
            None,
        );
        let plan = plan.unwrap();
        plan.pools[0].endpoints[0].set_share(100);
        let log = LogBuffer::new(LogWriter::start(io::sink()).unwrap());
        let (reports, _) = tokio::sync::mpsc::channel(8);
        let shard = Rc::new(Shard::new(
            Arc::new(plan),
            1,
            log,
            Default::default(),
            reports,
            Arc::default(),
        ));
        let timers = Rc::clone(&shard.timers);
        spawn_local(async move { timers.run().await });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, closing) = (Arc::default(), Rc::new(Notify::new()));
        spawn_local(listener::run(Rc::clone(&shard), "web".into(), gate, listener, closing));
        Self { shard, address }
    }

    /// Sends `request` and returns all that comes until the end.
    async fn ask(&self, request: &str) -> String {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        // A reset is an end too.
        let _ = tcp.read_to_end(&mut response).await;
        String::from_utf8(response).unwrap()
    }

    fn connects_and_reuses(&self) -> (u64, u64) {
        let plan = self.shard.plan();
        let counters = &plan.pools[0].counters;
        (counters.connects.get(), counters.reuses.get())
    }
}

/// A server that has every request answered by `answer`; the number is that of its connection.
async fn serve<F>(
    builder: server::Builder,
    answer: impl Fn(usize, Incoming) -> F + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Rc::new(answer);
    spawn_local(async move {
        let mut connections = 0;
        while let Ok((tcp, _)) = listener.accept().await {
            connections += 1;
            let (answer, builder, number) = (Rc::clone(&answer), builder.clone(), connections);
            spawn_local(async move {
                let mut connection = builder.handshake::<_, Bytes>(tcp).await.unwrap();
                while let Some(Ok(incoming)) = connection.accept().await {
                    spawn_local(answer(number, incoming));
                }
            });
        }
    });
    address
}

async fn body(stream: &mut RecvStream) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(Ok(data)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    body
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let finished = async { tokio::time::timeout(PATIENCE, test).await.expect("it hangs") };
    LocalSet::new().block_on(&runtime, finished);
}

const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n";
const POST: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

#[test]
fn heads_bodies_and_trailers_go_both_ways() {
    run(async {
        let server = serve(server::Builder::new(), |_, (request, mut respond)| async move {
            let (parts, mut stream) = request.into_parts();
            assert_eq!(parts.uri.to_string(), "http://example.org/x?y");
            assert_eq!(parts.method, "POST");
            assert_eq!(parts.headers["te"], "trailers");
            assert_eq!(parts.headers["via"].to_str().unwrap().split(' ').next(), Some("1.1"));
            assert_eq!(parts.headers["x-forwarded-for"], "127.0.0.1");
            assert_eq!(parts.headers["x-kept"], "1");
            for gone in ["host", "connection", "x-hop", "transfer-encoding", "keep-alive"] {
                assert!(!parts.headers.contains_key(gone), "{gone}");
            }
            assert_eq!(body(&mut stream).await, b"hello");
            let trailers = stream.trailers().await.unwrap().unwrap();
            assert_eq!(trailers["x-end"], "of request");
            let response = Response::builder().header("x-told", "yes").body(()).unwrap();
            let mut sending = respond.send_response(response, false).unwrap();
            sending.send_data(Bytes::from_static(b"good day"), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            sending.send_trailers(trailers).unwrap();
        });
        let gateway = Gateway::before(server.await).await;
        let response = gateway
            .ask(
                "POST /x?y HTTP/1.1\r\nHost: example.org\r\nConnection: close, x-hop, te\r\n\
                 X-Hop: 1\r\nX-Kept: 1\r\nTE: trailers, gzip\r\nKeep-Alive: 5\r\n\
                 Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-End: of request\r\n\r\n",
            )
            .await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\nx-told: yes\r\n"), "{response}");
        assert!(response.ends_with("8\r\ngood day\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{response}");
    });
}

#[test]
fn requests_share_one_connection_which_is_told_of_as_reuse() {
    run(async {
        let server = serve(server::Builder::new(), |number, (_, mut respond)| async move {
            assert_eq!(number, 1);
            respond.send_response(Response::new(()), true).unwrap();
        });
        let gateway = Gateway::before(server.await).await;
        for _ in 0..5 {
            let response = gateway.ask(GET).await;
            assert!(response.contains("\r\nContent-Length: 0\r\n"), "{response}");
        }
        assert_eq!(gateway.connects_and_reuses(), (1, 4));
    });
}

#[test]
fn a_server_that_takes_one_stream_gets_one_at_a_time_on_each_connection() {
    run(async {
        let mut builder = server::Builder::new();
        builder.max_concurrent_streams(1);
        let busy = Rc::new(RefCell::new(vec![0; 64]));
        let server = serve(builder, move |number, (_, mut respond)| {
            let busy = Rc::clone(&busy);
            async move {
                busy.borrow_mut()[number] += 1;
                assert_eq!(busy.borrow()[number], 1, "two at once");
                tokio::task::yield_now().await;
                busy.borrow_mut()[number] -= 1;
                respond.send_response(Response::new(()), true).unwrap();
            }
        });
        let gateway = Rc::new(Gateway::before(server.await).await);
        let asked = (0..10).map(|_| {
            let gateway = Rc::clone(&gateway);
            spawn_local(async move { gateway.ask(GET).await })
        });
        for response in asked.collect::<Vec<_>>() {
            let response = response.await.unwrap();
            assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        }
        let (connects, reuses) = gateway.connects_and_reuses();
        assert!(connects <= 10 && connects + reuses >= 10, "{connects} {reuses}");
    });
}

#[test]
fn a_refused_stream_is_tried_again_whatever_the_method() {
    run(async {
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        let server = serve(server::Builder::new(), move |_, (request, mut respond)| {
            count.set(count.get() + 1);
            let is_first = count.get() == 1;
            async move {
                if is_first {
                    return respond.send_reset(Reason::REFUSED_STREAM);
                }
                assert_eq!(body(&mut request.into_body()).await, b"hello");
                respond.send_response(Response::new(()), true).unwrap();
            }
        });
        let gateway = Gateway::before(server.await).await;
        let response = gateway.ask(POST).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert_eq!(seen.get(), 2);
    });
}

/// Reads frames until one of this type came.
async fn read_until(tcp: &mut TcpStream, wanted: u8) {
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        tcp.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == wanted {
            return;
        }
    }
}

#[test]
fn a_stream_above_the_last_of_a_goaway_is_tried_again_on_another_connection() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = spawn_local(async move {
            let (mut leaving, _) = listener.accept().await.unwrap();
            leaving.write_all(&SETTINGS).await.unwrap();
            leaving.read_exact(&mut [0; 24]).await.unwrap();
            read_until(&mut leaving, 1).await;
            leaving.write_all(&GOAWAY).await.unwrap();
            let (tcp, _) = listener.accept().await.unwrap();
            let mut connection = server::handshake(tcp).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            spawn_local(async move { while connection.accept().await.is_some() {} });
            assert_eq!(body(&mut request.into_body()).await, b"hello");
            respond.send_response(Response::new(()), true).unwrap();
        });
        let gateway = Gateway::before(address).await;
        let response = gateway.ask(POST).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        serving.await.unwrap();
        let plan = gateway.shard.plan();
        assert_eq!(plan.pools[0].counters.retries.get(), 1);
        assert_eq!(plan.pools[0].pool.endpoints[0].totals(), (2, 0), "leaving is no failure");
    });
}

#[test]
fn a_post_that_a_server_broke_off_is_not_sent_twice() {
    run(async {
        let server = serve(server::Builder::new(), |_, (_, mut respond)| async move {
            respond.send_reset(Reason::INTERNAL_ERROR);
        });
        let gateway = Gateway::before(server.await).await;
        let response = gateway.ask(POST).await;
        assert!(response.starts_with("HTTP/1.1 502"), "{response}");
        assert!(response.contains("the server gave the request up"), "{response}");
    });
}

#[test]
fn a_server_that_does_not_speak_http2_is_told_of() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        spawn_local(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let _ =
                    tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            }
        });
        let gateway = Gateway::before(address).await;
        let response = gateway.ask(POST).await;
        assert!(response.starts_with("HTTP/1.1 502"), "{response}");
        assert!(response.contains("the server does not speak HTTP/2"), "{response}");
    });
}

#[test]
fn a_client_that_does_not_read_makes_the_server_wait() {
    const TOTAL: usize = 64 << 20;
    /// Far more than our own bounds, for the kernel keeps megabytes too.
    const AHEAD_MAX: usize = 24 << 20;
    run(async {
        let (sent, moved) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let (count, tell) = (Rc::clone(&sent), Rc::clone(&moved));
        let server = serve(server::Builder::new(), move |_, (_, mut respond)| {
            let (count, tell) = (Rc::clone(&count), Rc::clone(&tell));
            async move {
                let mut sending = respond.send_response(Response::new(()), false).unwrap();
                while count.get() < TOTAL {
                    sending.reserve_capacity(TOTAL - count.get());
                    let room = poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
                    sending.send_data(Bytes::from(vec![b'x'; room]), false).unwrap();
                    count.set(count.get() + room);
                    tell.notify_one();
                }
                sending.send_data(Bytes::new(), true).unwrap();
            }
        });
        let gateway = Gateway::before(server.await).await;
        let mut tcp = TcpStream::connect(gateway.address).await.unwrap();
        tcp.write_all(GET.as_bytes()).await.unwrap();
        while tokio::time::timeout(STALLED, moved.notified()).await.is_ok() {}
        assert!(sent.get() > 0 && sent.get() < AHEAD_MAX, "{} bytes ahead", sent.get());
        let mut received = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match tcp.read(&mut buffer).await.unwrap() {
                0 => break,
                count => received += count,
            }
        }
        assert!(received > TOTAL, "{received}");
    });
}

#[test]
fn a_client_that_goes_away_cancels_the_stream() {
    run(async {
        let (begun, over) = (Rc::new(Notify::new()), Rc::new(Cell::new(None)));
        let (tell, reason, ended) = (Rc::clone(&begun), Rc::clone(&over), Rc::new(Notify::new()));
        let told = Rc::clone(&ended);
        let server = serve(server::Builder::new(), move |_, (_, mut respond)| {
            let (tell, reason, told) = (Rc::clone(&tell), Rc::clone(&reason), Rc::clone(&told));
            async move {
                let mut sending = respond.send_response(Response::new(()), false).unwrap();
                sending.send_data(Bytes::from_static(b"begin"), false).unwrap();
                tell.notify_one();
                // That it is gone is only seen when there is something to send.
                loop {
                    sending.reserve_capacity(4);
                    let room = poll_fn(|cx| {
                        if let Poll::Ready(reset) = sending.poll_reset(cx) {
                            return Poll::Ready(Err(reset.unwrap()));
                        }
                        sending.poll_capacity(cx).map(Ok)
                    });
                    if let Err(reset) = room.await {
                        reason.set(Some(reset));
                        return told.notify_one();
                    }
                    let _ = sending.send_data(Bytes::from_static(b"more"), false);
                }
            }
        });
        let gateway = Gateway::before(server.await).await;
        let mut tcp = TcpStream::connect(gateway.address).await.unwrap();
        tcp.write_all(GET.as_bytes()).await.unwrap();
        begun.notified().await;
        tcp.read_exact(&mut [0; 8]).await.unwrap();
        drop(tcp);
        ended.notified().await;
        assert_eq!(over.get(), Some(Reason::CANCEL));
    });
}

#[test]
fn an_answer_that_did_not_wait_for_the_request_ends_it_without_an_error() {
    run(async {
        let (ended, reason) = (Rc::new(Notify::new()), Rc::new(Cell::new(None)));
        let (told, heard) = (Rc::clone(&ended), Rc::clone(&reason));
        let server = serve(server::Builder::new(), move |_, (request, mut respond)| {
            let (told, heard) = (Rc::clone(&told), Rc::clone(&heard));
            async move {
                let mut stream = request.into_body();
                respond.send_response(Response::new(()), true).unwrap();
                while let Some(data) = stream.data().await {
                    if let Err(error) = data {
                        heard.set(error.reason());
                        break;
                    }
                }
                told.notify_one();
            }
        });
        let gateway = Gateway::before(server.await).await;
        let mut tcp = TcpStream::connect(gateway.address).await.unwrap();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello";
        tcp.write_all(head.as_bytes()).await.unwrap();
        ended.notified().await;
        assert_eq!(reason.get(), Some(Reason::NO_ERROR));
    });
}

#[test]
fn a_response_that_breaks_off_is_not_ended_as_if_it_were_whole() {
    run(async {
        let server = serve(server::Builder::new(), |_, (_, mut respond)| async move {
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            sending.send_data(Bytes::from_static(b"half"), false).unwrap();
            tokio::task::yield_now().await;
            sending.send_reset(Reason::INTERNAL_ERROR);
        });
        let gateway = Gateway::before(server.await).await;
        let response = gateway.ask(GET).await;
        assert!(!response.contains("\r\n0\r\n"), "{response}");
    });
}

#[test]
fn interim_responses_are_passed_on() {
    run(async {
        let server = serve(server::Builder::new(), |_, (_, mut respond)| async move {
            let hints = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
            respond.send_informational(hints).unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        });
        let gateway = Gateway::before(server.await).await;
        let response = gateway.ask(GET).await;
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert!(response.starts_with(hints), "{response}");
    });
}

#[test]
fn a_check_reads_the_status_of_a_get() {
    run(async {
        let server = serve(server::Builder::new(), |_, (request, mut respond)| async move {
            assert_eq!(request.uri(), "http://example.org/health");
            let response = Response::builder().status(503).body(()).unwrap();
            respond.send_response(response, false).unwrap();
        });
        let tcp = TcpStream::connect(server.await).await.unwrap();
        let target = Target { scheme: "http", authority: "example.org", path: "/health" };
        assert_eq!(probe::get(tcp, target).await, Ok(503));
    });
}
