//! A network of one's own, for tests and labs: interfaces, addresses and sockets that nobody else
//! sees and that are gone with the last process in it.

use std::io;

use rustix::thread::UnshareFlags;

/// Puts the calling thread, and all that it starts, into a new network with nothing in it but a
/// loopback interface that is down. Other threads stay where they are, as do sockets that are open.
/// Needs `CAP_SYS_ADMIN`.
#[expect(unsafe_code, reason = "rustix fears for descriptors, which this does not touch")]
pub fn enter_new_network() -> io::Result<()> {
    // SAFETY: a thread that no longer shares its network is still sound; it would not be if it no
    // longer shared its descriptors (CLONE_FILES).
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}

#[cfg(test)]
pub(crate) mod lab {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use evergate_core::time::Instant;
    use rustix::event::{PollFd, PollFlags, poll};

    use crate::clock;
    use crate::netlink::Netlink;

    const ENOUGH: Duration = Duration::from_secs(60);

    /// Runs `test` in a thread with a network of its own, or says why it cannot.
    pub(crate) fn alone(test: impl FnOnce() + Send + 'static) {
        let outcome = thread::spawn(|| {
            if let Some(why) = missing() {
                eprintln!("skipped: {why}");
                return;
            }
            ip("link set lo up");
            test();
        });
        if let Err(panic) = outcome.join() {
            std::panic::resume_unwind(panic);
        }
    }

    /// Enters a new network; why not if it cannot.
    fn missing() -> Option<String> {
        if Command::new("ip").arg("-V").output().is_err() {
            return Some("no `ip` command".into());
        }
        let error = super::enter_new_network().err()?;
        Some(format!("no network of its own: {error}"))
    }

    /// Configures this thread's network, in the words of ip(8).
    pub(crate) fn ip(arguments: &str) {
        let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {arguments}: {said}");
    }

    /// Gives an interface that is up an address of IPv6, and waits until that can be reached.
    pub(crate) fn add_address(address: &str, device: &str) {
        ip(&format!("addr add {address} dev {device} nodad"));
        let (address, _) = address.split_once('/').unwrap();
        let place = [(index(device), address.parse().unwrap())];
        assert!(Netlink::open().unwrap().await_local(&place, ENOUGH).unwrap());
    }

    /// A thread with a network of its own, at the far end of a cable: the interface `far`, where this
    /// thread's network has `near`.
    pub(crate) struct Far<T> {
        thread: thread::JoinHandle<T>,
    }

    impl<T: Send + 'static> Far<T> {
        /// Lays the cable and starts `run` at its far end.
        pub(crate) fn start(run: impl FnOnce() -> T + Send + 'static) -> Self {
            let (told, id) = std::sync::mpsc::channel();
            let (go, laid) = std::sync::mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                super::enter_new_network().unwrap();
                told.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
                laid.recv().unwrap();
                ip("link set lo up");
                run()
            });
            let id = id.recv().unwrap();
            let network = format!("/proc/{}/task/{id}/ns/net", std::process::id());
            ip("link add near type veth peer name far");
            ip(&format!("link set far netns {network}"));
            go.send(()).unwrap();
            Self { thread }
        }

        pub(crate) fn is_over(&self) -> bool {
            self.thread.is_finished()
        }

        pub(crate) fn join(self) -> T {
            match self.thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    }

    /// Index of the interface of that name in this thread's network.
    pub(crate) fn index(name: &str) -> u32 {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        rustix::net::netdevice::name_to_index(&socket, name).unwrap()
    }

    /// For what cannot be waited for: fails after a time that is more than enough.
    pub(crate) struct Patience(Instant);

    impl Patience {
        pub(crate) fn new() -> Self {
            Self(clock::now() + ENOUGH)
        }

        pub(crate) fn check(&self) {
            assert!(clock::now() < self.0, "it never came");
        }
    }

    /// Waits until it is so; fails after a time that is more than enough. For what a child that
    /// another test starts just now may put off: until its exec it holds a copy of all that is open.
    pub(crate) fn await_true(mut is_so: impl FnMut() -> bool) {
        let patience = Patience::new();
        while !is_so() {
            patience.check();
            thread::yield_now();
        }
    }

    /// Waits until there is something to read; fails after a time that is more than enough.
    pub(crate) fn await_readable(fd: impl AsFd) {
        assert!(is_readable_within(fd, ENOUGH), "nothing came");
    }

    /// Whether there is something to read now or in a moment; a "no" proves nothing.
    pub(crate) fn is_readable_soon(fd: impl AsFd) -> bool {
        is_readable_within(fd, Duration::from_millis(20))
    }

    fn is_readable_within(fd: impl AsFd, time: Duration) -> bool {
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        poll(&mut fds, Some(&time.try_into().unwrap())).unwrap() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_network_has_nothing_but_a_loopback() {
        let outcome = std::thread::spawn(|| match enter_new_network() {
            Ok(()) => {
                let listed = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
                assert_eq!(listed.lines().skip(2).count(), 1, "{listed}");
            }
            Err(error) => eprintln!("skipped: {error}"),
        });
        outcome.join().unwrap();
    }
}
