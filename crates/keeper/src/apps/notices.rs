//! What runs say about themselves over `NOTIFY_SOCKET`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use evergate_core::sd_notify::{self, MESSAGE_BYTES_MAX, Said};
use evergate_core::supervise::fleet::{Input, Run};
use evergate_core::time::Instant;
use evergate_sys::notify_socket::NotifySocket;
use evergate_sys::privilege::User;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::Apps;
use super::folder;

/// Most datagrams of one run that are read in one turn.
const DATAGRAMS_PER_TURN: usize = 16;

/// Tells when any run has said something. What belongs to a socket that is closed goes by itself.
#[derive(Debug)]
pub(super) struct Ears(OwnedFd);

impl Ears {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// The socket of `run`, below `run_dir`, that only `user` may write to.
    pub(super) fn open(
        &self,
        run_dir: &str,
        run: &Run,
        user: Option<&User>,
    ) -> Result<NotifySocket, String> {
        let path = folder::of_all(run_dir)?.join(format!("{}.notify", folder::name(run)));
        self.bind(&path, user).map_err(|error| format!("cannot make its notify socket: {error}"))
    }

    fn bind(&self, path: &Path, user: Option<&User>) -> io::Result<NotifySocket> {
        let socket = NotifySocket::bind(path, user)?;
        self.listen(&socket)?;
        Ok(socket)
    }

    /// Tells of what is said on `socket`, too.
    pub(super) fn listen(&self, socket: &NotifySocket) -> io::Result<()> {
        Ok(epoll::add(&self.0, socket, EventData::new_u64(0), EventFlags::IN)?)
    }
}

impl AsFd for Ears {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Apps {
    /// Takes in what runs have said. Only of its own processes is a run's word believed.
    pub(crate) fn hear_notices(&mut self, now: Instant) {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let mut inputs = Vec::new();
        for (run, process) in &mut self.processes {
            for _ in 0..DATAGRAMS_PER_TURN {
                let Some(socket) = &process.talk.notify else { break };
                // One that is too long says nothing.
                let Ok(received) = socket.recv(&mut buffer) else { continue };
                let Some(datagram) = received else { break };
                if !datagram.pid.is_some_and(|pid| process.may_be_its(pid)) {
                    continue;
                }
                for said in sd_notify::parse(&buffer[..datagram.bytes]) {
                    let is_ready = match said {
                        Said::Ready => true,
                        Said::Stopping => false,
                        Said::Reloading
                        | Said::Status(_)
                        | Said::Alive
                        | Said::Hangs
                        | Said::MainPid(_)
                        | Said::Extend(_) => continue,
                    };
                    inputs.push(Input::Noticed { run: run.clone(), is_ready });
                }
            }
        }
        for input in inputs {
            self.feed(now, input);
        }
    }
}
