use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::task::Waker;

use super::*;
use crate::buffers::Buffers;
use crate::exchange::tests::shard;
use crate::farewell::Farewell;

/// One end, in memory.
#[derive(Default)]
struct End {
    says: VecDeque<Vec<u8>>,
    has_left: bool,
    heard: Vec<u8>,
    is_shut: bool,
}

impl Side for End {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.says.pop_front() {
            Some(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Poll::Ready(Ok(bytes.len()))
            }
            None if self.has_left => Poll::Ready(Ok(0)),
            None => Poll::Pending,
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>, unsent: &mut Unsent) -> Poll<io::Result<()>> {
        self.heard.extend_from_slice(unsent.rest());
        unsent.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Poll::Ready(Ok(()))
    }
}

const PING: &[u8] = &[0x89, 0x02, b'h', b'i'];
const CLOSE_1012: &[u8] = b"\x88\x11\x03\xf4service restart";

fn poll(half: &mut Half, from: &mut End, to: &mut End) -> Poll<Result<(), HalfSide>> {
    half.poll(&mut Context::from_waker(Waker::noop()), &Buffers::new(), from, to)
}

fn websocket() -> Half {
    Half::new(Some(Frames::default()))
}

#[test]
fn a_goodbye_is_said_between_two_frames_and_nothing_after_it() {
    let (mut half, mut from, mut to) = (websocket(), End::default(), End::default());
    from.says.push_back([PING, &PING[..3]].concat());
    assert_eq!(poll(&mut half, &mut from, &mut to), Poll::Pending);
    half.tell(goodbye());
    assert!(!half.is_told(), "a frame is under way");
    from.says.push_back([&PING[3..], PING].concat());
    assert_eq!(poll(&mut half, &mut from, &mut to), Poll::Pending, "the answer is waited for");
    assert_eq!(to.heard, [PING, PING, CLOSE_1012].concat());
    from.says.push_back(b"\x88\x02\x03\xf4".to_vec());
    assert_eq!(poll(&mut half, &mut from, &mut to), Poll::Ready(Ok(())));
    assert!(to.is_shut);
    assert_eq!(to.heard, [PING, PING, CLOSE_1012].concat());
}

#[test]
fn whoever_has_said_goodbye_is_told_nothing_more() {
    let (mut half, mut from, mut to) = (websocket(), End::default(), End::default());
    from.says.push_back(b"\x88\x02\x03\xe8".to_vec());
    assert_eq!(poll(&mut half, &mut from, &mut to), Poll::Pending);
    half.tell(goodbye());
    assert_eq!(poll(&mut half, &mut from, &mut to), Poll::Ready(Ok(())));
    assert_eq!(to.heard, b"\x88\x02\x03\xe8");
}

#[test]
fn an_end_without_a_close_is_seen() {
    let (mut half, mut from, mut to) = (websocket(), End::default(), End::default());
    from.says.push_back(PING.to_vec());
    from.has_left = true;
    assert_eq!(poll(&mut half, &mut from, &mut to), Poll::Ready(Ok(())));
    assert!(half.broke_off() && half.may_tell());
    let mut closed = websocket();
    closed.take(b"\x88\x00");
    closed.end();
    assert!(!closed.broke_off() && !closed.may_tell());
}

#[test]
fn other_protocols_pass_as_they_are() {
    let (mut half, mut from, mut to) = (Half::new(None), End::default(), End::default());
    from.says.push_back(b"anything".to_vec());
    from.has_left = true;
    assert_eq!(poll(&mut half, &mut from, &mut to), Poll::Ready(Ok(())));
    assert_eq!((to.heard.as_slice(), half.moved), (&b"anything"[..], 8));
    assert!(!half.broke_off() && !half.may_tell());
}

#[test]
fn moments_lie_within_the_window_and_leave_time_for_an_answer() {
    let (from, cut_at) = (Instant::from_nanos(0), Instant::from_nanos(6_000_000_000));
    let mut rng = Rng::seeded(3);
    let moments: Vec<_> = (0..1000).map(|_| moment(from, cut_at, &mut rng)).collect();
    assert!(moments.iter().all(|at| *at + GOODBYE_WAIT <= cut_at));
    let early = moments.iter().filter(|at| at.since(from) < Duration::from_millis(2_500)).count();
    assert!((400..600).contains(&early), "they are spread evenly: {early}");
    assert_eq!(moment(cut_at, cut_at, &mut rng), cut_at);
}

#[test]
fn the_end_that_comes_first_counts_and_none_if_there_is_none_any_more() {
    const MINUTE: Duration = Duration::from_secs(60);
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 101));
    let (shard, _told) = shard();
    let now = clock::now();
    let endpoint = Endpoint::new("pool", "a", "127.0.0.1:1", None);
    let terms = Terms {
        endpoint: &endpoint,
        speaks: Speech::WebSocket,
        idle_max: 60 * MINUTE,
        drain_timeout: 10 * MINUTE,
        local: Some(HERE),
    };
    let mut tunnel = Tunnel {
        shard: &shard,
        terms: &terms,
        up: websocket(),
        down: websocket(),
        moved_at: now,
        timer: shard.timers.timer(),
        stage: Stage::Open,
        rng: Rng::seeded(1),
    };
    let mut ends_at = || {
        assert_eq!(tunnel.look(now), Next::Wait);
        match tunnel.stage {
            Stage::Open => None,
            Stage::Draining { tell_at, cut_at } => Some((tell_at, cut_at)),
            Stage::Ending { .. } => panic!("it is too early"),
        }
    };
    assert_eq!(ends_at(), None);
    shard.take_leave(Some(Farewell::retiring(now)));
    let first = ends_at();
    assert_eq!(first.map(|(_, cut_at)| cut_at), Some(now + 10 * MINUTE));
    assert!(first.is_some_and(|(tell_at, _)| tell_at >= now + 8 * MINUTE));
    assert_eq!(ends_at(), first, "a look changes nothing");
    endpoint.drain(now + 4 * MINUTE, now + 5 * MINUTE);
    assert_eq!(ends_at().map(|(_, cut_at)| cut_at), Some(now + 5 * MINUTE), "of the server");
    shard.take_leave(Some(Farewell::stopping(now, now + MINUTE)));
    assert_eq!(ends_at().map(|(_, cut_at)| cut_at), Some(now + MINUTE), "of the process");
    let moving = Farewell::moving(now, MINUTE / 2);
    shard.retreat([HERE].into(), moving);
    assert_eq!(
        ends_at().map(|(_, cut_at)| cut_at),
        Some(moving.window(MINUTE).1),
        "of the address"
    );
    shard.retreat([ELSEWHERE].into(), moving);
    assert_eq!(ends_at().map(|(_, cut_at)| cut_at), Some(now + MINUTE), "of another address");
    shard.retreat([].into(), moving);
    shard.take_leave(None);
    assert_eq!(ends_at().map(|(_, cut_at)| cut_at), Some(now + 5 * MINUTE));

    let stays = Endpoint::new("pool", "b", "127.0.0.1:1", None);
    let terms = Terms { endpoint: &stays, ..terms };
    tunnel.terms = &terms;
    assert_eq!(tunnel.look(now), Next::Wait);
    assert!(matches!(tunnel.stage, Stage::Open), "it goes on after all");
}
