//! The servers behind the proxy, in this process: one of HTTP, one of WebSockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use super::web_sockets;
use crate::generator::Generator;
use crate::origin::Origin;

/// Bytes of the body that is asked for.
const BODY_BYTES: usize = 1024;

/// Both; dropped, they end.
#[derive(Debug)]
pub(super) struct Origins {
    pub(super) http: SocketAddr,
    pub(super) web_sockets: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Origins {
    pub(super) fn start() -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let theirs = Arc::clone(&over);
        // What it is made of stays on one thread.
        let thread = thread::spawn(move || {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let made = Origin::listen(any, &[BODY_BYTES]).and_then(|origin| {
                let address = origin.address();
                Ok((address, Generator::new(Some(origin))?))
            });
            match made {
                Ok((address, mut generator)) => {
                    // Whoever asked waits for this.
                    drop(tell.send(Ok(address)));
                    let ended = generator.run_until(|_, _| theirs.load(Ordering::Relaxed));
                    ended.unwrap_or_else(|error| eprintln!("the origin ended: {error}"));
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
        let http = told.recv().map_err(io::Error::other)??;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        thread::spawn(move || web_sockets::serve(&listener));
        Ok(Self { http, web_sockets: address, over, thread: Some(thread) })
    }
}

impl Drop for Origins {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has nobody left to tell.
            drop(thread.join());
        }
    }
}
