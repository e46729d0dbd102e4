//! Two wires, or a wire and a bare socket, over loopback.

use std::future::poll_fn;

use evergate_config::{self as config, ClientAuth, FileOf, Protocol, TlsVersion, UpstreamTls};
use evergate_pki::{Authorities, Identity};
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::tls::origination::{Meeting, Origination, Purpose};
use crate::tls::termination::{Common, Termination};

struct Ends {
    client: Wire,
    server: Wire,
}

fn certificate() -> (config::Certificate, Authorities) {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let identity = Identity::parse(made.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let authorities = Authorities::parse(made.pem().as_bytes()).unwrap();
    let of = |name: &str| name.into();
    (config::Certificate { identity, cert: of("a.pem"), key: of("a.key"), ocsp: None }, authorities)
}

fn termination(certificate: config::Certificate, min_version: TlsVersion) -> Arc<Termination> {
    let settings = config::Tls {
        certs: vec![certificate],
        acme: None,
        client_auth: ClientAuth::Off,
        client_ca: None,
        client_crl: None,
        min_version,
        handshake_timeout: std::time::Duration::from_secs(60),
    };
    Termination::compile(&settings, false, &Common::default(), None).unwrap()
}

fn origination(authorities: Authorities) -> Arc<Origination> {
    let ca = Some(FileOf { path: "ca.pem".into(), content: authorities });
    let settings = UpstreamTls { ca, ..UpstreamTls::default() };
    Origination::compile(&settings, Protocol::Http1, None).unwrap()
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

async fn shake_hands(server: &mut Wire) -> Result<(), HandshakeError> {
    poll_fn(|cx| server.poll_handshake(cx)).await
}

async fn ends() -> Ends {
    let (certificate, authorities) = certificate();
    let (client, server) = sockets().await;
    let (mut client, mut server) = (Wire::new(client), Wire::new(server));
    let termination = termination(certificate, TlsVersion::Tls12);
    server.serve_tls(Arc::clone(&termination.server)).unwrap();
    let meeting = Meeting::new(&origination(authorities), "localhost").unwrap();
    let (greeted, served) = tokio::join!(
        // Its `Finished` waits for what is written first.
        async {
            let greeted = meeting.shake_hands(&mut client, Purpose::Traffic).await;
            client.write_all(b"hello").await.unwrap();
            client.flush().await.unwrap();
            greeted
        },
        shake_hands(&mut server)
    );
    greeted.unwrap();
    served.unwrap();
    let mut hello = [0; 5];
    server.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    Ends { client, server }
}

/// A client of rustls that is driven by hand, after its handshake on `tcp`.
async fn by_hand(tcp: &mut TcpStream, authorities: &Authorities) -> ClientConnection {
    let config = rustls::ClientConfig::builder_with_provider(evergate_pki::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(Arc::clone(authorities.roots()))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let mut out = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut out).unwrap();
        }
        tcp.write_all(&out).await.unwrap();
        if !connection.is_handshaking() {
            return connection;
        }
        let count = tcp.read(&mut buffer).await.unwrap();
        connection.read_tls(&mut &buffer[..count]).unwrap();
        connection.process_new_packets().unwrap();
    }
}

fn encrypted(connection: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    std::io::Write::write_all(&mut connection.writer(), plain).unwrap();
    let mut out = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut out).unwrap();
    }
    out
}

async fn by_hand_and_wire() -> (TcpStream, ClientConnection, Wire) {
    let (certificate, authorities) = certificate();
    let (mut client, server) = sockets().await;
    let mut server = Wire::new(server);
    server.serve_tls(Arc::clone(&termination(certificate, TlsVersion::Tls12).server)).unwrap();
    let (connection, served) =
        tokio::join!(by_hand(&mut client, &authorities), shake_hands(&mut server));
    served.unwrap();
    (client, connection, server)
}

#[tokio::test]
async fn large_bodies_go_both_ways_at_once() {
    let Ends { client, server } = ends().await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let (mut client_in, mut client_out) = tokio::io::split(client);
    let (mut server_in, mut server_out) = tokio::io::split(server);
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    tokio::join!(
        async {
            client_out.write_all(&body).await.unwrap();
            client_out.shutdown().await.unwrap();
        },
        async {
            server_out.write_all(&body).await.unwrap();
            server_out.shutdown().await.unwrap();
        },
        async { server_in.read_to_end(&mut at_server).await.unwrap() },
        async { client_in.read_to_end(&mut at_client).await.unwrap() },
    );
    assert!(at_server == body && at_client == body);
}

#[tokio::test]
async fn a_record_may_be_split_at_every_byte() {
    let (mut tcp, mut connection, mut server) = by_hand_and_wire().await;
    tcp.set_nodelay(true).unwrap();
    // A record of TLS 1.3: header, ten bytes, their type, tag.
    let length = 5 + 10 + 1 + 16;
    for split in 1..length {
        let bytes = encrypted(&mut connection, b"0123456789");
        assert_eq!(bytes.len(), length);
        let mut received = [0; 10];
        let (sent, read) = tokio::join!(
            async {
                tcp.write_all(&bytes[..split]).await?;
                tokio::task::yield_now().await;
                tcp.write_all(&bytes[split..]).await
            },
            server.read_exact(&mut received)
        );
        sent.unwrap();
        read.unwrap();
        assert_eq!(&received, b"0123456789", "split at {split}");
        let session = server.tls().unwrap();
        assert_eq!((session.kept.capacity(), session.has_plain()), (0, false));
    }
}

#[tokio::test]
async fn plaintext_that_finds_no_room_is_read_later() {
    let (mut tcp, mut connection, mut server) = by_hand_and_wire().await;
    tcp.write_all(&encrypted(&mut connection, &[7; 40_000])).await.unwrap();
    let mut received = Vec::new();
    let mut small = [0; 1000];
    while received.len() < 40_000 {
        let count = poll_fn(|cx| server.poll_read(cx, &mut small)).await.unwrap();
        assert!(count > 0);
        received.extend_from_slice(&small[..count]);
    }
    assert!(received == [7; 40_000]);
}

#[tokio::test]
async fn an_end_that_was_not_announced_is_an_error() {
    for announced in [true, false] {
        let (mut tcp, mut connection, mut server) = by_hand_and_wire().await;
        let mut bytes = encrypted(&mut connection, b"the rest");
        if announced {
            connection.send_close_notify();
            connection.write_tls(&mut bytes).unwrap();
        }
        tcp.write_all(&bytes).await.unwrap();
        drop(tcp);
        let mut received = Vec::new();
        let ended = server.read_to_end(&mut received).await;
        assert_eq!(received, b"the rest");
        assert_eq!(ended.is_ok(), announced);
    }
}

#[tokio::test]
async fn garbage_after_the_handshake_is_an_error_and_stays_one() {
    let (mut tcp, _, mut server) = by_hand_and_wire().await;
    tcp.write_all(&[0x17, 3, 3, 0, 40]).await.unwrap();
    tcp.write_all(&[0; 40]).await.unwrap();
    for _ in 0..2 {
        let read = poll_fn(|cx| server.poll_read(cx, &mut [0; 100])).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
    let write = poll_fn(|cx| server.poll_write(cx, b"x")).await;
    assert!(write.is_err());
}

#[tokio::test]
async fn whoever_speaks_http_is_told_apart_from_garbage() {
    for (bytes, is_http) in
        [(&b"GET / HTTP/1.1\r\n\r\n"[..], true), (&[0x16, 9, 9, 9, 9, 9, 9], false)]
    {
        let (certificate, _) = certificate();
        let (mut client, server) = sockets().await;
        let mut server = Wire::new(server);
        server.serve_tls(Arc::clone(&termination(certificate, TlsVersion::Tls12).server)).unwrap();
        client.write_all(bytes).await.unwrap();
        match shake_hands(&mut server).await.unwrap_err() {
            HandshakeError::NotTls => assert!(is_http),
            HandshakeError::Refused(_) => assert!(!is_http),
            HandshakeError::Gone => panic!("it is still there"),
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_handshake_is_gone() {
    let (certificate, _) = certificate();
    let (client, server) = sockets().await;
    let mut server = Wire::new(server);
    server.serve_tls(Arc::clone(&termination(certificate, TlsVersion::Tls12).server)).unwrap();
    drop(client);
    assert!(matches!(shake_hands(&mut server).await, Err(HandshakeError::Gone)));
}

#[tokio::test]
async fn a_ticket_breaks_no_silence_and_an_end_does() {
    let Ends { mut client, mut server } = ends().await;
    assert!(client.is_quiet());
    // The ticket goes with the first response.
    server.write_all(b"response").await.unwrap();
    server.flush().await.unwrap();
    let mut response = [0; 8];
    client.read_exact(&mut response).await.unwrap();
    assert!(client.is_quiet());
    drop(server);
    client.socket().readable().await.unwrap();
    assert!(!client.is_quiet());
}

#[tokio::test]
async fn a_wire_that_waits_holds_no_buffer() {
    let Ends { mut client, mut server } = ends().await;
    for _ in 0..3 {
        let mut unsent = Unsent { bytes: vec![1; 200_000], ..Unsent::default() };
        let mut received = vec![0; 200_000];
        let (sent, read) = tokio::join!(
            poll_fn(|cx| server.poll_flush(cx, &mut unsent)),
            client.read_exact(&mut received)
        );
        sent.unwrap();
        read.unwrap();
        assert!(received == vec![1; 200_000]);
        assert!(unsent.is_empty());
        for wire in [&client, &server] {
            let session = wire.tls().unwrap();
            assert_eq!((session.kept.capacity(), session.out.len(), session.waiting()), (0, 0, 0));
        }
    }
}

#[tokio::test]
async fn what_the_socket_does_not_take_is_still_unsent() {
    let Ends { client, mut server } = ends().await;
    let mut unsent = Unsent { bytes: vec![1; 20_000_000], ..Unsent::default() };
    let flushed = poll_fn(|cx| Poll::Ready(server.poll_flush(cx, &mut unsent))).await;
    assert!(flushed.is_pending(), "nobody reads");
    assert!(!unsent.is_empty());
    drop(client);
}
