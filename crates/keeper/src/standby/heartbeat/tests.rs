use std::os::fd::AsFd;
use std::time::Duration;

use evergate_core::peer::Policy;
use evergate_core::{handover, peer};
use evergate_sys::clock;
use rustix::event::epoll::CreateFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

const NAME: EventData = EventData::new_u64(7);

/// A node on an address of its own of this machine, and its one peer.
struct Node {
    heartbeat: Heartbeat,
    events: std::os::fd::OwnedFd,
}

impl Node {
    fn start(place: IpAddr, peers: &[&str], port: u16, secret: Option<&[u8]>) -> Self {
        let heartbeat =
            Heartbeat { place: Some(place), ..Heartbeat::new(evergate_sys::random::seed()) };
        let events = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let mut node = Self { heartbeat, events };
        node.apply(peers, port, secret);
        node
    }

    fn apply(&mut self, peers: &[&str], port: u16, secret: Option<&[u8]>) {
        let addresses = peers.iter().map(|peer| peer.parse().unwrap()).collect();
        let setup = Setup { name: "peer".to_owned(), addresses };
        let policy = Policy { interval: Duration::from_millis(100), missing: 3, port };
        let plan = Plan { peers: vec![setup], heartbeat: Some(policy), ..Plan::default() };
        let secret = secret.map(|secret| Key::new(secret.to_vec()));
        let events = (self.events.as_fd(), NAME);
        self.heartbeat.apply(clock::now(), &plan, secret.as_ref(), events);
    }

    /// What arrives next; it surely does.
    fn hear(&mut self) -> Vec<Input> {
        let mut events = Vec::with_capacity(4);
        epoll::wait(&self.events, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        assert!(events.iter().all(|event: &epoll::Event| ({ event.data }) == NAME));
        let mut heard = Vec::new();
        self.heartbeat.receive(clock::now(), |input| heard.push(input));
        heard
    }

    fn say(&mut self, number: u64) {
        self.heartbeat.send(0, Some(0), &message(number));
    }
}

fn message(number: u64) -> Message {
    Message::Handover(handover::Message::Accept { number, instead_of: None })
}

fn said(number: u64) -> Input {
    Input::Said { peer: 0, path: 0, message: message(number) }
}

/// A port that is free on both addresses, as far as can be known.
fn port(one: IpAddr, other: IpAddr) -> u16 {
    loop {
        let first = UdpSocket::bind((one, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if UdpSocket::bind((other, port)).is_ok() {
            return port;
        }
    }
}

fn pair(secrets: [Option<&[u8]>; 2]) -> [Node; 2] {
    let (one, other) = ("127.0.0.1", "127.0.0.2");
    let places = [one.parse().unwrap(), other.parse().unwrap()];
    let port = port(places[0], places[1]);
    let nodes = [
        Node::start(places[0], &[other], port, secrets[0]),
        Node::start(places[1], &[one], port, secrets[1]),
    ];
    for node in &nodes {
        assert_eq!(node.heartbeat.problem(), None);
    }
    nodes
}

const SECRET: Option<&[u8]> = Some(b"a secret of 32 bytes, or of more.");

#[test]
fn two_nodes_hear_each_other_with_and_without_a_secret() {
    for secret in [SECRET, None] {
        let [mut a, mut b] = pair([secret; 2]);
        a.say(1);
        // A knock, which is answered; the answer lets both believe.
        assert_eq!(b.hear(), []);
        assert_eq!(a.hear(), []);
        a.say(2);
        let mut heard = b.hear();
        while heard.is_empty() {
            heard = b.hear();
        }
        assert_eq!(heard, [said(2)]);
        b.say(3);
        let mut heard = a.hear();
        while heard.is_empty() {
            heard = a.hear();
        }
        assert_eq!(heard, [said(3)]);
        assert_eq!(a.heartbeat.counts(), Counts::default());
        assert_eq!(a.heartbeat.take_odd(clock::now()), None);
    }
}

#[test]
fn another_secret_is_refused_and_told_once() {
    let [mut a, mut b] = pair([SECRET, Some(b"another secret")]);
    for _ in 0..3 {
        a.say(1);
        assert_eq!(b.hear(), [Input::Refused { peer: 0, path: 0 }]);
    }
    let now = clock::now();
    let words = "a heartbeat of 127.0.0.1 is refused: its HMAC is wrong";
    let odd = b.heartbeat.take_odd(now);
    assert_eq!(odd, Some(("peer.peer".to_owned(), words.to_owned())));
    a.say(1);
    b.hear();
    assert_eq!(b.heartbeat.take_odd(now), None, "not again so soon");
    a.say(1);
    b.hear();
    b.apply(&["127.0.0.1"], b.heartbeat.port.unwrap(), SECRET);
    a.say(1);
    assert_eq!(b.hear(), [], "with the same secret it is a knock");
}

#[test]
fn strangers_are_counted_and_not_heard() {
    let [mut a, b] = pair([SECRET; 2]);
    let address = |node: &Node| node.heartbeat.sockets[0].1.local_addr().unwrap();
    let stranger = UdpSocket::bind(("127.0.0.3", 0)).unwrap();
    stranger.send_to(b"hello", address(&a)).unwrap();
    assert_eq!(a.hear(), []);
    assert_eq!(a.heartbeat.counts().strangers, 1);
    // From the peer's address, but nothing that a node says.
    b.heartbeat.sockets[0].1.send_to(&[0; 2_000], address(&a)).unwrap();
    assert_eq!(a.hear(), [Input::Refused { peer: 0, path: 0 }]);
}

#[test]
fn the_next_image_goes_on_without_a_knock() {
    let [mut a, mut b] = pair([SECRET; 2]);
    a.say(1);
    b.hear();
    a.hear();
    let bytes = minicbor::to_vec(a.heartbeat.carried()).unwrap();
    let port = a.heartbeat.port.unwrap();
    drop(a);
    let heartbeat = Heartbeat::resume(minicbor::decode(&bytes).unwrap());
    let place = Some("127.0.0.1".parse().unwrap());
    let events = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let mut a = Node { heartbeat: Heartbeat { place, ..heartbeat }, events };
    a.apply(&["127.0.0.2"], port, SECRET);
    a.say(2);
    let mut heard = b.hear();
    while heard.is_empty() {
        heard = b.hear();
    }
    assert_eq!(heard, [said(2)]);
}

#[test]
fn a_port_that_is_taken_is_a_problem_until_it_is_free() {
    let taken = UdpSocket::bind("127.0.0.4:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut node = Node::start("127.0.0.4".parse().unwrap(), &["127.0.0.5"], port, None);
    let problem = node.heartbeat.problem().unwrap();
    assert!(problem.starts_with(&format!("heartbeats on UDP port {port}: ")), "{problem}");
    let at = node.heartbeat.deadline().unwrap();
    node.say(1);
    assert_eq!(node.heartbeat.counts().unsent, 1);
    drop(taken);
    node.heartbeat.tick(at, (node.events.as_fd(), NAME));
    assert_eq!((node.heartbeat.problem(), node.heartbeat.deadline()), (None, None));
    assert_eq!(node.heartbeat.sockets(), 1);
}

#[test]
fn sockets_are_those_that_peers_need() {
    let place: IpAddr = "127.0.0.6".parse().unwrap();
    let mut node = Node::start(place, &["127.0.0.7"], 0, None);
    assert_eq!(node.heartbeat.sockets(), 1);
    let before = node.heartbeat.sockets[0].1.local_addr().unwrap();
    node.apply(&["127.0.0.8"], 0, None);
    let after = node.heartbeat.sockets[0].1.local_addr().unwrap();
    assert_eq!(before, after, "it is not disturbed");
    node.apply(&[], 0, None);
    assert_eq!(node.heartbeat.sockets(), 0);
    node.heartbeat.place = None;
    let Ok(_) = UdpSocket::bind("[::1]:0") else {
        eprintln!("skipped: there is no IPv6 here");
        return;
    };
    node.apply(&["127.0.0.8", "::1"], 0, None);
    assert_eq!((node.heartbeat.sockets(), node.heartbeat.problem()), (2, None));
}

#[test]
fn all_connections_of_a_move_fit_into_the_buffer_of_the_receiver() {
    let [mut a, mut b] = pair([SECRET; 2]);
    a.say(0);
    b.hear();
    a.hear();
    let address = IpAddr::from([1; 16]);
    let flow = handover::Flow { client: address, client_port: 1, local: address, local_port: 2 };
    let flows = vec![flow; handover::FLOWS_PART_MAX];
    let parts = handover::FLOWS_MAX.div_ceil(handover::FLOWS_PART_MAX);
    for part in 0..parts as u16 {
        let parts = parts as u16;
        let flows = flows.clone();
        let message = handover::Message::Flows { number: 1, part, parts, flows };
        a.heartbeat.send(0, None, &Message::Handover(message));
    }
    let heard = std::iter::from_fn(|| {
        let socket = b.heartbeat.sockets[0].1.try_clone().unwrap();
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        let is_there = poll(&mut fds, Some(&Timespec::default())).unwrap() > 0;
        is_there.then(|| b.hear().len())
    });
    assert_eq!(heard.sum::<usize>(), parts);
    assert_eq!(a.heartbeat.counts(), Counts::default());
}

#[test]
fn heartbeats_reach_the_machine_of_peers() {
    let [mut a, mut b] = pair([SECRET; 2]);
    let now = clock::now();
    let policy = Policy { interval: Duration::from_millis(100), missing: 3, port: 1 };
    let mut peers = peer::Peers::new(now, 0, 1);
    peers.apply(now, "a", Some(policy), &a.heartbeat.peers);
    let mut far = peer::Peers::new(now, 0, 2);
    far.apply(now, "peer", Some(policy), &b.heartbeat.peers);
    a.say(0);
    b.hear();
    a.hear();
    while let Some(peer::Output::Say { peer, path, message }) = far.next_output() {
        b.heartbeat.send(peer, Some(path), &message);
    }
    while peers.health(0) != peer::Health::Alive {
        for input in a.hear() {
            peers.handle(now, input);
        }
    }
}
