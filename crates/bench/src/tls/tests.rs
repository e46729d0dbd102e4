use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::certificate::Certificate;
use crate::generator::Generator;
use crate::load::{Failure, Load, Outcome, Request, Reuse};

/// Long enough for any machine; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(120);
const NAME: &str = "bench.example";

/// A server over TLS that answers each request of `request_bytes` with `body_bytes`.
struct Server {
    address: SocketAddr,
    full_handshakes: Arc<AtomicU64>,
    certificate: Certificate,
}

impl Server {
    fn start(request_bytes: usize, body_bytes: usize) -> Self {
        let certificate = Certificate::of(NAME).expect("the name is one");
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let key = certificate.write(dir.path()).expect("the folder is ours").key;
        let key = PrivateKeyDer::from_pem_file(key).expect("it is a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider knows TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(Vec::from([certificate.der()]), key)
            .expect("they fit");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let full_handshakes = Arc::new(AtomicU64::new(0));
        let (config, full) = (Arc::new(config), Arc::clone(&full_handshakes));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("accepting works");
                let (config, full) = (Arc::clone(&config), Arc::clone(&full));
                thread::spawn(move || serve(stream, config, &full, request_bytes, body_bytes));
            }
        });
        Self { address, full_handshakes, certificate }
    }

    fn pinned(&self) -> Tls {
        Tls::pinned(NAME, self.certificate.der()).expect("the name is one")
    }
}

/// Ends with the connection.
fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    full: &AtomicU64,
    request_bytes: usize,
    body_bytes: usize,
) {
    let connection = ServerConnection::new(config).expect("the configuration is good");
    let mut stream = StreamOwned::new(connection, stream);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {body_bytes}\r\n\r\n");
    let response = [head.as_bytes(), &vec![b'x'; body_bytes]].concat();
    let mut request = vec![0; request_bytes];
    let mut is_first = true;
    while stream.read_exact(&mut request).is_ok() {
        if std::mem::take(&mut is_first)
            && stream.conn.handshake_kind() == Some(HandshakeKind::Full)
        {
            full.fetch_add(1, Ordering::Relaxed);
        }
        if stream.write_all(&response).is_err() {
            break;
        }
    }
}

/// What comes of `count` requests.
fn outcome_of(load: Load, count: u64) -> Outcome {
    let mut generator = Generator::new(None).expect("epoll is there");
    generator.start(load);
    let limit = Instant::now() + PATIENCE;
    let over = |now, outcome: &Outcome| {
        assert!(now < limit, "nothing ends: {outcome:?}");
        outcome.completed + outcome.failures() >= count
    };
    generator.run_until(over).expect("the loop runs");
    generator.drain().expect("the loop runs");
    generator.stop()
}

fn request_bytes(load: &Load) -> usize {
    load.request.render(load.reuse).len()
}

#[test]
fn kept_connections_carry_many_requests_of_any_size() {
    for (upload, body_bytes) in [(0, 1024), (300_000, 1024), (0, 300_000)] {
        let request = Request { host: NAME.to_owned(), path: "/".to_owned(), upload };
        let load = Load { request, ..Load::get(([127, 0, 0, 1], 0).into(), "/", 4) };
        let server = Server::start(request_bytes(&load), body_bytes);
        let (target, tls) = (server.address, Some(server.pinned()));
        let load = Load { target, tls, body_bytes: Some(body_bytes as u64), ..load };
        let outcome = outcome_of(load, 50);
        assert_eq!(outcome.failures(), 0, "{outcome:?}");
        assert_eq!(outcome.connected, 4);
    }
}

#[test]
fn a_connection_per_request_has_a_full_handshake_each() {
    let load = Load { reuse: Reuse::Close, ..Load::get(([127, 0, 0, 1], 0).into(), "/", 4) };
    let server = Server::start(request_bytes(&load), 1024);
    let load = Load { target: server.address, tls: Some(server.pinned()), ..load };
    let outcome = outcome_of(load, 50);
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert_eq!(server.full_handshakes.load(Ordering::Relaxed), outcome.completed);
}

#[test]
fn another_certificate_and_no_tls_at_all_are_failures() {
    let load = Load::get(([127, 0, 0, 1], 0).into(), "/", 1);
    let server = Server::start(request_bytes(&load), 1024);
    let other = Certificate::of(NAME).expect("the name is one").der();
    let tls = Some(Tls::pinned(NAME, other).expect("the name is one"));
    let outcome = outcome_of(Load { target: server.address, tls, ..load.clone() }, 1);
    assert_eq!(outcome.failed.keys().collect::<Vec<_>>(), [&Failure::Tls], "{outcome:?}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let target = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepting works");
        stream.write_all(b"220 smtp ready\r\n").expect("the client listens");
    });
    let tls = Some(Tls::unverified(NAME).expect("the name is one"));
    let outcome = outcome_of(Load { target, tls, ..load }, 1);
    assert_eq!(outcome.failed.keys().collect::<Vec<_>>(), [&Failure::Tls], "{outcome:?}");
}
