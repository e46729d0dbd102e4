//! Filters on real sockets, and a whole move between two nodes on a bridge.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use evergate_core::handover::{FLOWS_MAX, Flow};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::capture::Capture;
use super::filter::{Place, Which, is_too_long, refuse, refuse_none};
use super::shade::{Manners, Shade};
use crate::mac::Mac;
use crate::namespace::lab::{add_address, alone, index, ip};
use crate::netlink::{Connections, Hidden, Meant, Netlink};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 100));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x100));
/// Short for what is refused, long for what is not.
const REFUSED_AFTER: Duration = Duration::from_millis(150);
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// Where packets come by.
fn places(interface: &str, addresses: &[IpAddr]) -> Vec<Place> {
    vec![Place { interface: index(interface), addresses: addresses.into() }]
}

fn own_addresses() {
    ip("addr add 10.9.0.100/32 dev lo");
    add_address("fd09::100/128", "lo");
}

/// Connects from this port, which is none that the kernel chooses by itself (from 32768 on).
fn connect(from: u16, to: SocketAddr, within: Duration) -> std::io::Result<TcpStream> {
    let (family, any): (_, IpAddr) = match to {
        SocketAddr::V4(_) => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
        SocketAddr::V6(_) => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
    };
    // A child that another test starts just now must not hold it.
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::new(any, from))?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    let _ = rustix::net::connect(&socket, &to);
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut fds, Some(&within.try_into().unwrap()))? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    sockopt::socket_error(&socket)??;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(TcpStream::from(socket))
}

fn flow(client_port: u16, to: SocketAddr) -> Flow {
    // On the loopback interface both ends have the same address.
    Flow { client: to.ip(), client_port, local: to.ip(), local_port: to.port() }
}

#[test]
fn a_listener_refuses_without_a_word_what_it_is_told_to() {
    alone(|| {
        own_addresses();
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut next_port = 10_000;
        // Waits for long only for what is to come.
        let mut expect = |address: IpAddr, is_reached: bool, case: &Which| {
            next_port += 1;
            let within = if is_reached { ANSWERED_WITHIN } else { REFUSED_AFTER };
            match connect(next_port, (address, port).into(), within) {
                Ok(_) => assert!(is_reached, "{address} of {case:?}"),
                Err(error) => {
                    assert!(!is_reached, "{address} of {case:?}: {error}");
                    assert_eq!(error.kind(), ErrorKind::TimedOut, "no reset may be sent");
                }
            }
        };
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for which in [Which::All, Which::Beginning, Which::NotOf(Vec::new())] {
            refuse(&listener, &places("lo", &[V4, V6]), &which).unwrap();
            expect(V4, false, &which);
            expect(V6, false, &which);
            expect(localhost, true, &which);
            refuse(&listener, &places("lo", &[V6]), &which).unwrap();
            expect(V4, true, &which);
            refuse_none(&listener).unwrap();
            expect(V6, true, &which);
        }
        let which = Which::Of(Vec::new());
        refuse(&listener, &places("lo", &[V4, V6]), &which).unwrap();
        expect(V4, true, &which);
        expect(V6, true, &which);
        refuse_none(&listener).unwrap();
        refuse_none(&listener).unwrap();
    });
}

#[test]
fn the_kernel_computes_the_mark_of_a_connection_as_we_do() {
    alone(|| {
        own_addresses();
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for address in [V4, V6] {
            let to = SocketAddr::new(address, port);
            // As many as there may be; all of one part of them, and of another.
            let flows: Vec<Flow> = (0..FLOWS_MAX as u16).map(|at| flow(20_000 + at, to)).collect();
            refuse(&listener, &places("lo", &[V4, V6]), &Which::not_of(&flows)).unwrap();
            for client_port in [20_000, 20_001, 21_000, 22_500, 20_000 + FLOWS_MAX as u16 - 1] {
                connect(client_port, to, ANSWERED_WITHIN).unwrap();
            }
            assert!(connect(19_999, to, REFUSED_AFTER).is_err());
            assert!(connect(20_000 + FLOWS_MAX as u16, to, REFUSED_AFTER).is_err());
            refuse(&listener, &places("lo", &[V4, V6]), &Which::of(&flows)).unwrap();
            assert!(connect(20_002, to, REFUSED_AFTER).is_err());
            connect(19_998, to, ANSWERED_WITHIN).unwrap();
        }
    });
}

#[test]
fn filters_of_several_interfaces_are_about_the_addresses_of_each() {
    alone(|| {
        own_addresses();
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let elsewhere = index("lo") + 1000;
        let place = |interface, address| Place { interface, addresses: vec![address] };
        let places = [place(elsewhere, V4), place(index("lo"), V6)];
        refuse(&listener, &places, &Which::All).unwrap();
        connect(10_001, (V4, port).into(), ANSWERED_WITHIN).unwrap();
        assert!(connect(10_002, (V6, port).into(), REFUSED_AFTER).is_err());
        let places = [place(index("lo"), V4), place(elsewhere, V6)];
        refuse(&listener, &places, &Which::not_of(&[])).unwrap();
        assert!(connect(10_003, (V4, port).into(), REFUSED_AFTER).is_err());
        connect(10_004, (V6, port).into(), ANSWERED_WITHIN).unwrap();
    });
}

#[test]
fn a_filter_that_is_too_long_is_told_from_other_failures() {
    alone(|| {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let many = (0..1000).map(|at: u32| IpAddr::from(Ipv6Addr::from_bits(at.into()))).collect();
        let places = [Place { interface: 1, addresses: many }];
        let error = refuse(&listener, &places, &Which::All).unwrap_err();
        assert!(is_too_long(&error), "{error}");
    });
}

#[test]
fn what_was_connected_before_goes_on_behind_any_filter() {
    alone(|| {
        own_addresses();
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut before = TcpStream::connect((V4, port)).unwrap();
        // One that is made while a filter is there keeps it.
        let own = flow(10_333, (V4, port).into());
        refuse(&listener, &places("lo", &[V4, V6]), &Which::not_of(&[own])).unwrap();
        let mut during = connect(10_333, (V4, port).into(), ANSWERED_WITHIN).unwrap();
        for client in [&mut before, &mut during] {
            let (mut server, _) = listener.accept().unwrap();
            refuse(&listener, &places("lo", &[V4, V6]), &Which::All).unwrap();
            client.write_all(b"there").unwrap();
            let mut buffer = [0; 5];
            server.read_exact(&mut buffer).unwrap();
            server.write_all(b"again").unwrap();
            client.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"again");
        }
    });
}

#[test]
fn what_is_half_open_is_listed_and_comes_about_behind_the_filter() {
    alone(|| {
        own_addresses();
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // A handshake is not over before the first data then.
        let defer = libc::TCP_DEFER_ACCEPT;
        crate::sockopt::set_int(&listener, libc::IPPROTO_TCP, defer, 30).unwrap();
        for (from, address) in [(10_334, V4), (10_335, V6)] {
            let to = SocketAddr::new(address, port);
            let mut client = connect(from, to, ANSWERED_WITHIN).unwrap();
            let mut connections = Connections::open().unwrap();
            let mut flows = connections.to(&[V4, V6], Meant::Open, FLOWS_MAX).unwrap().flows;
            flows.retain(|flow| flow.local_port == port);
            assert_eq!(flows, [flow(from, to)]);
            refuse(&listener, &places("lo", &[V4, V6]), &Which::not_of(&flows)).unwrap();
            client.write_all(b"late").unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let mut buffer = [0; 4];
            server.read_exact(&mut buffer).unwrap();
            refuse_none(&listener).unwrap();
            drop((client, server));
            while connections.any(Meant::Open, |flow| [V4, V6].contains(&flow.local)).unwrap() {
                thread::yield_now();
            }
        }
    });
}

/// A thread with a network of its own on the bridge of the test's network, that does what it is
/// told.
struct Node {
    tasks: Option<Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    fn start(name: &'static str, number: u8) -> Self {
        let (tasks, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let thread = thread::spawn(move || {
            crate::namespace::enter_new_network().unwrap();
            todo.into_iter().for_each(|task| task());
        });
        let node = Self { tasks: Some(tasks), thread: Some(thread) };
        let id = node.run(|| rustix::thread::gettid().as_raw_nonzero());
        ip(&format!("link add {name} type veth peer name eth0 address 02:00:00:00:00:0{number}"));
        ip(&format!("link set eth0 netns /proc/{}/task/{id}/ns/net", std::process::id()));
        ip(&format!("link set {name} master bridge up"));
        node.run(move || {
            ip("link set lo up");
            ip("link set eth0 up");
            ip(&format!("addr add 10.9.0.{number}/24 dev eth0"));
            add_address(&format!("fd09::{number}/64"), "eth0");
        });
        node
    }

    fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let task = Box::new(move || drop(tell.send(task())));
        self.tasks.as_ref().unwrap().send(task).unwrap();
        told.recv().expect("the task ends")
    }

    /// Listens on every address, and answers each byte with `letter`.
    fn serve(&self, letter: u8) -> Arc<TcpListener> {
        let listener = self.run(|| Arc::new(TcpListener::bind("[::]:80").unwrap()));
        let served = Arc::clone(&listener);
        thread::spawn(move || {
            while let Ok((mut stream, _)) = served.accept() {
                thread::spawn(move || {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        buffer[..length].fill(letter);
                        if stream.write_all(&buffer[..length]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        listener
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks = None;
        let _ = self.thread.take().expect("it is joined once").join();
    }
}

/// Passes on all that is caught until it is stopped.
fn pass(mut capture: Capture, to: Mac, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    thread::spawn(move || {
        let mut packets = 0;
        while !stop.load(Ordering::Relaxed) {
            let passed = capture.pass_on(to, 64, |_| true).unwrap();
            assert_eq!(passed.lost, 0);
            packets += passed.packets;
            if !passed.has_more {
                let fd = capture.as_fd();
                let mut fds = [PollFd::new(&fd, PollFlags::IN)];
                poll(&mut fds, Some(&Duration::from_millis(20).try_into().unwrap())).unwrap();
            }
        }
        packets
    })
}

fn ask(stream: &mut TcpStream, bytes: usize) -> u8 {
    stream.set_read_timeout(Some(ANSWERED_WITHIN)).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || sender.write_all(&vec![b'?'; bytes]).unwrap());
    let mut answer = vec![0; bytes];
    stream.read_exact(&mut answer).unwrap();
    sending.join().unwrap();
    assert!(answer.iter().all(|letter| *letter == answer[0]));
    answer[0]
}

/// The client's packets to the addresses go to this node.
fn turn(client: &Node, number: u8) {
    client.run(move || {
        for address in [V4, V6] {
            ip(&format!(
                "neigh replace {address} lladdr 02:00:00:00:00:0{number} dev eth0 nud reachable"
            ));
        }
    });
}

#[test]
fn a_move_loses_neither_old_connections_nor_new_ones() {
    alone(|| {
        ip("link add bridge type bridge");
        ip("link set bridge up");
        let (client, old, new) =
            (Node::start("client", 1), Node::start("old", 2), Node::start("new", 3));
        let (old_mac, new_mac) = (Mac([2, 0, 0, 0, 0, 2]), Mac([2, 0, 0, 0, 0, 3]));
        let (old_listener, new_listener) = (old.serve(b'A'), new.serve(b'B'));
        old.run(|| {
            ip("addr add 10.9.0.100/32 dev eth0");
            add_address("fd09::100/128", "eth0");
        });
        turn(&client, 2);
        let mut kept: Vec<TcpStream> = client
            .run(|| [V4, V6, V4].map(|address| TcpStream::connect((address, 80)).unwrap()).into());
        assert!(kept.iter_mut().all(|stream| ask(stream, 1) == b'A'));

        // A new connection every few milliseconds, all the time.
        let (stop, stopped) = mpsc::channel::<()>();
        let failed = Arc::new(AtomicUsize::new(0));
        let probe = probe(&client, stopped, Arc::clone(&failed));

        // Freeze.
        let listener = Arc::clone(&old_listener);
        let (old_capture, flows) = old.run(move || {
            let places = places("eth0", &[V4, V6]);
            let capture = Capture::open(&places[0], old_mac, &Which::All).unwrap();
            refuse(&*listener, &places, &Which::Beginning).unwrap();
            let mut connections = Connections::open().unwrap();
            let flows = connections.to(&[V4, V6], Meant::Open, FLOWS_MAX).unwrap().flows;
            refuse(&*listener, &places, &Which::not_of(&flows)).unwrap();
            capture.narrow(&places[0], &Which::not_of(&flows)).unwrap();
            (capture, flows)
        });
        assert!(flows.len() >= 3, "{flows:?}");
        assert!(kept.iter_mut().all(|stream| ask(stream, 1) == b'A'), "frozen is not deaf");

        // Claim.
        let (listener, theirs) = (Arc::clone(&new_listener), flows.clone());
        let new_capture = new.run(move || {
            let (places, which) = (places("eth0", &[V4, V6]), Which::of(&theirs));
            refuse(&*listener, &places, &which).unwrap();
            let capture = Capture::open(&places[0], new_mac, &which).unwrap();
            ip("addr add 10.9.0.100/32 dev eth0");
            add_address("fd09::100/128", "eth0");
            capture
        });
        let passing = Arc::new(AtomicBool::new(false));
        let back = pass(new_capture, old_mac, Arc::clone(&passing));

        // Pass on, the old node being out of sight.
        let shade = old.run(|| {
            let netlink = Netlink::open().unwrap();
            let shade = Shade::cast("eth0", Manners::of("eth0").unwrap()).unwrap();
            for address in [V4, V6] {
                netlink.hide(Hidden { ip: address, shaded: None }).unwrap();
            }
            assert!(netlink.await_hidden(&[V4, V6], ANSWERED_WITHIN).unwrap());
            ip("addr del 10.9.0.100/32 dev eth0");
            ip("addr del fd09::100/128 dev eth0");
            shade
        });
        // Who is on the old node itself, or comes by another way, is served there.
        let mut near = old.run(|| [V4, V6].map(|ip| TcpStream::connect((ip, 80)).unwrap()));
        assert!(near.iter_mut().all(|stream| ask(stream, 1) == b'A'));
        drop(near);
        let judged = flows.clone();
        let on = pass(old_capture, new_mac, Arc::clone(&passing));

        // The network has not turned yet: all goes to the old node first.
        let mut early: Vec<TcpStream> = client
            .run(|| [V4, V6].map(|address| TcpStream::connect((address, 80)).unwrap()).into());
        assert!(early.iter_mut().all(|stream| ask(stream, 300_000) == b'B'));
        assert!(kept.iter_mut().all(|stream| ask(stream, 300_000) == b'A'));
        turn(&client, 3);
        assert!(early.iter_mut().all(|stream| ask(stream, 300_000) == b'B'));
        assert!(kept.iter_mut().all(|stream| ask(stream, 300_000) == b'A'));
        client.run(|| ip("neigh flush all"));
        // Neither the client's question nor the old node's own one tells of the old node.
        old.run(|| ip("neigh flush all"));
        assert!(kept.iter_mut().all(|stream| ask(stream, 10) == b'A'));
        let mut late = client.run(|| TcpStream::connect((V4, 80)).unwrap());
        assert_eq!(ask(&mut late, 1), b'B');
        drop(stop);
        let asked = probe.join().unwrap();
        assert_eq!(failed.load(Ordering::Relaxed), 0, "of {asked} new connections");
        assert!(asked > 0);

        // Finish.
        drop(kept);
        old.run(move || {
            let mut connections = Connections::open().unwrap();
            while connections.any(Meant::Missed, |flow| judged.contains(flow)).unwrap() {
                thread::yield_now();
            }
            let netlink = Netlink::open().unwrap();
            for address in [V4, V6] {
                netlink.unhide(address).unwrap();
            }
            drop(shade);
        });
        passing.store(true, Ordering::Relaxed);
        let (on, back) = (on.join().unwrap(), back.join().unwrap());
        assert!(on > 0 && back > 0, "passed on {on}, back {back}");
        refuse_none(&*old_listener).unwrap();
        refuse_none(&*new_listener).unwrap();
        assert_eq!(ask(&mut late, 1), b'B');
    });
}

fn probe(client: &Node, stopped: Receiver<()>, failed: Arc<AtomicUsize>) -> JoinHandle<usize> {
    let (tell, told) = mpsc::channel();
    client.run(move || {
        // Threads that are started here are in the client's network.
        tell.send(thread::spawn(move || {
            let mut asked = 0;
            let pace = Duration::from_millis(5);
            while stopped.recv_timeout(pace) == Err(RecvTimeoutError::Timeout) {
                let failed = Arc::clone(&failed);
                let address = if asked % 4 == 0 { V6 } else { V4 };
                asked += 1;
                let asking = move || -> std::io::Result<()> {
                    let within = ANSWERED_WITHIN;
                    let mut stream = TcpStream::connect_timeout(&(address, 80).into(), within)?;
                    stream.set_read_timeout(Some(within))?;
                    stream.write_all(b"?")?;
                    stream.read_exact(&mut [0])
                };
                thread::spawn(move || {
                    if let Err(error) = asking() {
                        eprintln!("a new connection failed: {error}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            asked
        }))
        .unwrap();
    });
    told.recv().unwrap()
}
