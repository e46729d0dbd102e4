//! Hearing what is said on the network of a test, and when.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use evergate_core::time::Instant;
use evergate_sys::clock;
use evergate_sys::family::Family;
use evergate_sys::netlink::Netlink;
use evergate_sys::vrrp_socket::{MESSAGE_BYTES_MAX, VrrpSocket};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::lan::Lan;

/// How long it may take until it notices that it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What was heard: when, and the priority.
pub(crate) type Heard = Vec<(Instant, u8)>;

/// Listens on a box to virtual router 51.
pub(crate) struct Ear {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Heard>,
}

impl Ear {
    /// Begins to listen.
    pub(crate) fn new(lan: &Lan, name: &str) -> Self {
        let network = File::open(format!("/run/netns/{}", lan.namespace(name))).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), kind).unwrap();
            // To know when something came it must not come late itself.
            let _ = evergate_sys::real_time::set_priority(60);
            let links = Netlink::open().unwrap().links().unwrap();
            let link = links.iter().find(|link| link.name == "eth0").unwrap();
            let socket = VrrpSocket::open(link.index, Family::V4).unwrap();
            socket.listen_to(&[51]).unwrap();
            ready.send(()).unwrap();
            listen(&socket, &ends)
        });
        is_ready.recv().unwrap();
        Self { is_over, thread }
    }

    /// All that was heard.
    pub(crate) fn end(self) -> Heard {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn listen(socket: &VrrpSocket, is_over: &AtomicBool) -> Heard {
    let (mut heard, mut buffer) = (Vec::new(), [0; MESSAGE_BYTES_MAX]);
    while !is_over.load(Ordering::Relaxed) {
        let mut waiting = [PollFd::new(socket, PollFlags::IN)];
        poll(&mut waiting, Some(&LOOK_EVERY.try_into().unwrap())).unwrap();
        while let Some(one) = socket.receive(&mut buffer).unwrap() {
            heard.push((clock::now(), one.message[2]));
        }
    }
    heard
}

/// The longest silence between two adverts.
pub(crate) fn longest_gap(heard: &Heard) -> Duration {
    heard.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap_or_default()
}
