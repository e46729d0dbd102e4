use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use super::*;
use crate::load::{Failure, Pace, Request, Reuse};

/// Long enough for any machine; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// A generator whose load goes straight to its own origin.
fn direct(change: impl FnOnce(&mut Load)) -> Generator {
    let origin = Origin::listen(LOOPBACK.into(), &[1024, 1_000_000]).expect("loopback is there");
    let address = origin.address();
    let mut generator = Generator::new(Some(origin)).expect("epoll is there");
    let mut load = Load { body_bytes: Some(1024), ..Load::get(address, "/1024", 4) };
    change(&mut load);
    generator.start(load);
    generator
}

/// Runs until `count` requests have ended and yields what came of them.
fn ended(generator: &mut Generator, count: u64) -> Outcome {
    let limit = Instant::now() + PATIENCE;
    let over = |now, outcome: &Outcome| {
        assert!(now < limit, "nothing ends: {outcome:?}");
        outcome.completed + outcome.failures() >= count
    };
    generator.run_until(over).expect("the loop runs");
    generator.drain().expect("the loop runs");
    generator.stop()
}

/// A server that reads what comes and answers every connection with `answer`, then closes it.
fn blunt_server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepting works");
            // A client that went away is no concern of this server.
            drop(stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer)));
        }
    });
    address
}

fn failure_at(target: SocketAddr) -> Failure {
    let mut generator = Generator::new(None).expect("epoll is there");
    generator.start(Load { body_bytes: Some(5), ..Load::get(target, "/", 1) });
    let outcome = ended(&mut generator, 1);
    assert_eq!(outcome.completed, 0);
    *outcome.failed.keys().next().expect("one failed")
}

#[test]
fn kept_connections_carry_many_requests() {
    let mut generator = direct(|_| {});
    let outcome = ended(&mut generator, 1000);
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert_eq!(outcome.connected, 4);
    assert_eq!(outcome.latency.len(), outcome.completed);
    assert_eq!(generator.origin().map(Origin::served), Some(outcome.completed));
}

#[test]
fn a_connection_per_request_is_one() {
    let mut generator = direct(|load| load.reuse = Reuse::Close);
    let outcome = ended(&mut generator, 200);
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert_eq!(outcome.connected, outcome.completed);
}

#[test]
fn bodies_larger_than_any_buffer_arrive_whole() {
    let mut generator = direct(|load| {
        load.request = Request { path: "/1000000".to_owned(), ..load.request.clone() };
        load.body_bytes = Some(1_000_000);
    });
    let outcome = ended(&mut generator, 50);
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
}

#[test]
fn uploads_are_read_to_the_end() {
    let upload = 3_000_000;
    let mut generator = direct(|load| load.request = Request { upload, ..load.request.clone() });
    let outcome = ended(&mut generator, 20);
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert_eq!(outcome.connected, 4);
}

#[test]
fn wrong_answers_are_told_apart() {
    let not_there = Request { host: "a".to_owned(), path: "/7".to_owned(), upload: 0 };
    let mut generator = direct(|load| load.request = not_there);
    let outcome = ended(&mut generator, 4);
    assert_eq!(outcome.failed.keys().collect::<Vec<_>>(), [&Failure::Status]);
    assert!(outcome.notes[0].ends_with("wrong status: 404"), "{:?}", outcome.notes);

    let mut generator = direct(|load| load.body_bytes = Some(1025));
    let outcome = ended(&mut generator, 4);
    assert_eq!(outcome.failed.keys().collect::<Vec<_>>(), [&Failure::Body]);
}

#[test]
fn broken_servers_are_told_apart() {
    assert_eq!(failure_at(blunt_server(b"")), Failure::Cut);
    assert_eq!(failure_at(blunt_server(b"HTTP/1.1 200 OK\r\nContent-")), Failure::Cut);
    assert_eq!(
        failure_at(blunt_server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")),
        Failure::Cut
    );
    assert_eq!(
        failure_at(blunt_server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcdef")),
        Failure::Malformed
    );
    assert_eq!(failure_at(blunt_server(b"220 smtp ready\r\n\r\n")), Failure::Malformed);
}

#[test]
fn a_server_that_is_not_there_cannot_be_connected_to() {
    // No port that was just let go of: another test may have it by now.
    assert_eq!(failure_at(([127, 0, 0, 1], 1).into()), Failure::Connect);
}

#[test]
fn a_server_that_never_answers_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let target = listener.local_addr().expect("it is bound");
    let mut generator = Generator::new(None).expect("epoll is there");
    generator.start(Load { timeout: Duration::from_millis(50), ..Load::get(target, "/", 2) });
    let outcome = ended(&mut generator, 2);
    assert_eq!(outcome.failed.keys().collect::<Vec<_>>(), [&Failure::Timeout]);
}

#[test]
fn an_open_loop_keeps_its_schedule() {
    let mut generator = direct(|load| load.pace = Pace::Open { per_second: 2000 });
    let began_at = Instant::now();
    let outcome = ended(&mut generator, 200);
    // The 200th is due after 99.5 ms, however fast the server is.
    assert!(began_at.elapsed() >= Duration::from_micros(99_500));
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
}

#[test]
fn an_open_loop_charges_a_stall_to_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let target = listener.local_addr().expect("it is bound");
    let stall = Duration::from_millis(100);
    let mut generator = Generator::new(None).expect("epoll is there");
    let pace = Pace::Open { per_second: 1000 };
    generator.start(Load { pace, ..Load::get(target, "/", 1) });
    generator.run_for(stall).expect("the loop runs");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client has connected");
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
            if stream.write_all(answer).is_err() {
                break;
            }
        }
    });
    let outcome = ended(&mut generator, 100);
    server.join().expect("the server ends with the connection");
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert!(outcome.latency.max() >= stall - Duration::from_millis(1), "{outcome:?}");
    // All that should have been sent during the stall waited too, each for its share of it.
    assert!(outcome.latency.quantile(500) >= stall / 8, "{outcome:?}");
}
