//! Serving the admin API on the sockets that the keeper holds for it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use evergate_config::{Admin, Secret};
use evergate_console::{Access, Listening, Token, router, serve};
use evergate_control::command::Control;
use evergate_control::link::Address;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::sockets;

/// The admin API's servers, one a socket.
#[derive(Debug)]
pub(super) struct AdminServers {
    control: Control,
    access: watch::Sender<Access>,
    running: BTreeMap<Address, Running>,
}

/// One server. Dropped, it is cut.
#[derive(Debug)]
struct Running {
    actual: Address,
    task: AbortOnDrop,
    /// Closed, it stops accepting and ends when all is answered.
    stop: oneshot::Sender<()>,
}

#[derive(Debug)]
struct AbortOnDrop(Option<JoinHandle<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

impl AdminServers {
    /// None yet; requests will be judged by `admin` and answered by `control`.
    pub(super) fn new(control: Control, admin: &Admin) -> Self {
        Self { control, access: watch::Sender::new(access(admin)), running: BTreeMap::new() }
    }

    /// Judges by `admin` from now on, connections that are open included.
    pub(super) fn set_access(&self, admin: &Admin) {
        self.access.send_replace(access(admin));
    }

    /// Where they really listen.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.running.values().map(|one| sockets::text(&one.actual)).collect()
    }

    /// Whether there is a server for `address`.
    pub(super) fn is_served(&self, address: &Address) -> bool {
        self.running.contains_key(address)
    }

    /// Serves on `socket`, which is bound to `actual`.
    pub(super) fn serve(
        &mut self,
        address: &Address,
        actual: Address,
        socket: OwnedFd,
    ) -> io::Result<()> {
        let listening = match address {
            Address::Tcp(_) => {
                let socket = std::net::TcpListener::from(socket);
                socket.set_nonblocking(true)?;
                Listening::Tcp(TcpListener::from_std(socket)?)
            }
            Address::Unix { .. } => {
                let socket = std::os::unix::net::UnixListener::from(socket);
                socket.set_nonblocking(true)?;
                Listening::Unix(UnixListener::from_std(socket)?)
            }
        };
        let router = router(self.control.clone(), self.access.subscribe());
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let task = AbortOnDrop(Some(tokio::spawn(serve(listening, router, stopped))));
        self.running.insert(address.clone(), Running { actual, task, stop });
        Ok(())
    }

    /// Ends the servers of every address that is not in `kept`, as [`Self::let_go`] does: the reload
    /// that takes an address away may have come in by it.
    pub(super) fn keep_only(&mut self, kept: &[&Address]) {
        let running = std::mem::take(&mut self.running);
        let (kept, gone) = running.into_iter().partition(|(address, _)| kept.contains(&address));
        self.running = kept;
        BTreeMap::into_values(gone).for_each(Running::let_go);
    }

    /// Accepts no more. Whoever is being answered is answered whole, by tasks that end by
    /// themselves.
    pub(super) fn let_go(&mut self) {
        std::mem::take(&mut self.running).into_values().for_each(Running::let_go);
    }
}

impl Running {
    fn let_go(self) {
        let Self { actual: _, mut task, stop } = self;
        drop(stop);
        // Not aborted: `serve` bounds how long it takes.
        drop(task.0.take());
    }
}

fn access(admin: &Admin) -> Access {
    let token = |secret: &Option<Secret>| secret.as_ref().map(|text| Token::new(text.expose()));
    Access {
        allow: admin.allow.clone(),
        viewer: token(&admin.viewer),
        operator: token(&admin.operator),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use evergate_control::command::Command;
    use evergate_control::snapshot::Status;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::sync::{broadcast, mpsc};

    use super::*;

    #[tokio::test]
    async fn who_takes_the_socket_away_is_still_answered_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (commands, mut inbox) = mpsc::channel(1);
        let control = Control { commands, events: broadcast::channel(1).0 };
        let admin = Admin { bind: vec![], allow: vec![], viewer: None, operator: None };
        let mut servers = AdminServers::new(control, &admin);
        let address = Address::Unix { path: path.to_str().unwrap().to_owned(), mode: 0o600 };
        let socket = OwnedFd::from(StdListener::bind(&path).unwrap());
        servers.serve(&address, address.clone(), socket).unwrap();

        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(b"GET /api/v1/vips HTTP/1.0\r\n\r\n").await.unwrap();
        let Some(Command::Status { reply }) = inbox.recv().await else { panic!("it asks that") };
        servers.keep_only(&[]);
        assert!(!servers.is_served(&address));
        // What was told to end has the time to.
        tokio::task::yield_now().await;
        reply.send(Status::default()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer:?}");
    }
}
